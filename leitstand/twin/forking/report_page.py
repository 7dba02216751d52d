# SPDX-License-Identifier: Apache-2.0
"""What a fork found as a page: the answer in sentences, waits, the course of each scenario, numbers. Called by
`report`."""

from collections.abc import Sequence
from typing import Final

from leitstand.core.units import SECOND_US
from leitstand.twin.forking import plots
from leitstand.twin.forking.course import Played
from leitstand.twin.forking.figures import ALL, Answer, Compared, Range
from leitstand.twin.forking.telling import Told
from leitstand.twin.forking.times import shown, shown_span
from leitstand.twin.forking.whatif import AS_PLANNED
from leitstand.twin.forking.words import sentences
from leitstand.twin.page import Listing, Page, Part, Picture, Section, Table

TROUBLES: Final = ("Refused", "Without effect")  # how sentences about what was not as wanted begin
WAITS: Final = (
    "Mean wait from submission to the first start, and how much more or less than planned. Who has not started by the "
    "end has waited until then."
)
DRAWN: Final = (
    "GPUs in service (black), used (blue) and asked for by jobs that wait (orange, dashed); cut at the same height in "
    "all scenarios."
)
MEANING: Final = (
    "Jobs that were running at the fork count with their GPU-hours, not with their waits. A job that is stopped for "
    "another one, or whose node fails, goes on from its last checkpoint: what it did since is lost. Guarantees are "
    "those of classes, commitments included. Revenue is use at the price of its class, as it is metered (work that is "
    "done again included), and commitments at theirs, used or not; use within a commitment is paid by it."
)
FILES: Final = "All numbers are in `report.json`, every job in `jobs.parquet`, every hour in `hours.parquet`."


def page(answer: Answer, played: Sequence[Played]) -> Page:
    """The report."""
    sections = [
        Section("The answer", _answer(answer)),
        Section("Who waits how long", _waits(answer)),
        Section("Capacity, use and waiting over time", _over_time(answer, played)),
        Section("In numbers", [part for one in answer.scenarios for part in _numbers(answer, one)]),
        Section("How to read this", [_source(answer), MEANING, FILES]),
    ]
    return Page(answer.question or "What if?", _lead(answer), sections)


def _lead(answer: Answer) -> str:
    seeds = len(answer.scenarios[0].seeds)
    chance = f" and {seeds} seeds of chance" if seeds > 1 else ""
    return (
        f"From {_date(answer.from_s)} to {_date(answer.until_s)}: {answer.comes}. Every scenario was played on the "
        f"scheduler itself, with the same jobs{chance}; waits are compared with what comes as planned."
    )


def _answer(answer: Answer) -> list[Part]:
    cut = "**Cut short:** {} courses were not played to their end and are not in here."
    said = [_listing(one, sentences(answer, one)) for one in answer.scenarios]
    return [*([cut.format(answer.unfinished)] if answer.unfinished else []), *said]


def _listing(one: Compared, items: Sequence[str]) -> Listing:
    return Listing(_title(one), [_marked(item) for item in items])


def _marked(item: str) -> str:
    begins = next((begins for begins in TROUBLES if item.startswith(begins)), "")
    return f"**{begins}**{item.removeprefix(begins)}" if begins else item


def _waits(answer: Answer) -> list[Part]:
    says = "Bars of the mean wait of each class in each scenario; the numbers are in the table below"
    picture = [Picture("waits", plots.waits(answer), says)] if answer.classes else []
    rows = [
        (group or "all", *(_wait(one, group) for one in answer.scenarios)) for group in (ALL, *answer.classes)
    ]
    return [*picture, Table(WAITS, ("Class", *(one.name for one in answer.scenarios)), rows)]


def _wait(one: Compared, group: str) -> str:
    span = _span(one.figures.get(group, {}).get("wait_s"))
    return f"{span}; {_change(one.more.get(group, {}).get('wait_s'))}" if one.more else span


def _over_time(answer: Answer, played: Sequence[Played]) -> list[Part]:
    top, until_us = plots.top_of(played), round(answer.until_s * SECOND_US)
    parts: list[Part] = [DRAWN]
    for number, one in enumerate(answer.scenarios, 1):
        drawn = plots.over_time(one.name, played, top, until_us)
        says = f"{one.name}: GPUs in service, used and waited for, over time"
        parts += [Listing(_title(one), _changes(answer, one)), Picture(f"scenario-{number}", drawn, says)]
    return parts


def _changes(answer: Answer, one: Compared) -> list[str]:
    """What happens in a scenario: of what is planned, only where it is planned."""
    planned = next((other.told for other in answer.scenarios if other.name == AS_PLANNED), ())
    known = {told.what for told in planned}
    return [told.what + _fate(told) for told in one.told if one.name == AS_PLANNED or told.what not in known]


def _fate(told: Told) -> str:
    if told.refused:
        return f": granted on {shown(told.granted_us)}" if told.granted_us else ": refused"
    return "" if told.granted_us else ": not within this time"


def _numbers(answer: Answer, one: Compared) -> list[Part]:
    everything = one.figures[ALL]
    caption = (
        f"{_title(one)}: {_percent(everything['utilisation'])} of {_number(everything['capacity_gpu_hours'])} "
        "GPU-hours of capacity used"
    )
    if one.failed_nodes:
        caption += f"; {one.failed_nodes:,.0f} failures of nodes"
    if one.refused:
        caption += f"; {one.refused:,.0f} submissions not taken"
    head = (
        "Class", "jobs", "started", "mean wait", "median wait", "one in ten waits longer than", "GPU-hours",
        "stopped for others", "lost GPU-hours", "guarantee used", *(("revenue [EUR]",) if answer.priced else ()),
    )  # fmt: skip
    tenants = ("Tenant", "jobs", "started", "mean wait", "than planned", "GPU-hours", "lost GPU-hours")
    return [
        Table(caption, head, [_class(answer, one, group) for group in (ALL, *answer.classes)]),
        Table(
            f"{_title(one)}, by tenant", tenants, [_tenant(one, name) for name in answer.tenants], folded=True
        ),
    ]


def _class(answer: Answer, one: Compared, group: str) -> tuple[str, ...]:
    figures = one.figures.get(group, {})
    names = ("jobs", "started", "gpu_hours", "stops", "lost_gpu_hours", "eur")
    numbers = {name: _number(figures.get(name)) for name in names}
    waits = [_span(figures.get(name)) for name in ("wait_s", "wait_p50_s", "wait_p90_s")]
    used = [numbers[name] for name in ("gpu_hours", "stops", "lost_gpu_hours")]
    paid = [numbers["eur"]] if answer.priced else []
    guaranteed = _percent(figures.get("guarantee_used"))
    return (group or "all", numbers["jobs"], numbers["started"], *waits, *used, guaranteed, *paid)


def _tenant(one: Compared, name: str) -> tuple[str, ...]:
    figures = one.figures.get(name, {})
    counts = [_number(figures.get(column)) for column in ("jobs", "started", "gpu_hours", "lost_gpu_hours")]
    more = _change(one.more.get(name, {}).get("wait_s"))
    return (name, *counts[:2], _span(figures.get("wait_s")), more, *counts[2:])


def _source(answer: Answer) -> Listing:
    return Listing(
        "What was played",
        [
            f"source: {answer.source}",
            f"from {_date(answer.from_s)} until {_date(answer.until_s)} (UTC)",
            f"jobs that come: {answer.comes}",
            f"seeds: {', '.join(map(str, answer.scenarios[0].seeds))}",
            *([_steps(answer.step_s)] if answer.step_s else []),
        ],
    )


def _steps(step_s: float) -> str:
    return f"played in steps of {step_s:,.0f} s: what happens within one is seen at its end, and starts are as late"


# ── numbers for people ────────────────────────────────────────────────────────────────────────────────────────────
def _title(one: Compared) -> str:
    return one.name[:1].upper() + one.name[1:]


def _date(seconds: float) -> str:
    return shown(round(seconds * SECOND_US))


def _number(value: Range | None) -> str:
    return "–" if value is None else f"{value.mean:,.0f}"


def _percent(value: Range | None) -> str:
    return "–" if value is None else f"{value.mean:.1%}"


def _span(value: Range | None) -> str:
    if value is None:
        return "–"
    text = shown_span(value.mean * SECOND_US)
    if value.low != value.high:
        text += f" ({shown_span(value.low * SECOND_US)} to {shown_span(value.high * SECOND_US)})"
    return text


def _change(value: Range | None) -> str:
    """A difference of waits, with its sign."""
    if value is None:
        return "–"
    if abs(value.mean) < 1:
        return "same"
    sign = "+" if value.mean > 0 else "\N{MINUS SIGN}"
    return sign + shown_span(abs(value.mean) * SECOND_US)
