# SPDX-License-Identifier: Apache-2.0
"""The answer in plain sentences. Called by the report and the CLI."""

from typing import Final

from leitstand.core.units import SECOND_US
from leitstand.twin.forking.figures import ALL, Answer, Compared, Range, Ranges
from leitstand.twin.forking.telling import Told
from leitstand.twin.forking.times import shown, shown_span
from leitstand.twin.forking.whatif import AS_PLANNED

SAME_S: Final = 60.0  # a difference of waits that nobody feels,
SAME_PART: Final = 0.02  # or so small a part of them
NAMED_MAX: Final = 5


def sentences(answer: Answer, one: Compared) -> list[str]:
    """What the scenario means, against what is planned: waits, use, lost work, guarantees, money; then what was
    refused."""
    planned = next((other for other in answer.scenarios if other.name == AS_PLANNED), None)
    said = [] if planned is None or one is planned else _against(answer, planned, one)
    if one is planned:
        said = _as_it_is(one)
    return [*said, *(refusal(told) for told in one.told if told.refused)]


def _as_it_is(one: Compared) -> list[str]:
    figures = one.figures[ALL]
    jobs = (
        f"Of {figures['jobs'].mean:,.0f} jobs {figures['started'].mean:,.0f} start; the mean wait is "
        f"{_span(figures.get('wait_s'))}, one in ten waits longer than {_span(figures.get('wait_p90_s'))}."
    )
    said = [
        jobs,
        f"{figures['utilisation'].mean:.1%} of the capacity is used.",
    ]
    if figures["lost_gpu_hours"].mean >= 1:
        said.append(f"{figures['lost_gpu_hours'].mean:,.0f} GPU-hours of work are lost and done again.")
    return said


def _against(answer: Answer, planned: Compared, one: Compared) -> list[str]:
    said = []
    for name in answer.classes:
        waits = _waits(name, planned.figures.get(name, {}), one, name)
        if waits:
            said.append(waits)
    if not said:
        said.append("Nobody waits noticeably longer or less.")
    figures, more = one.figures[ALL], one.more[ALL]
    before = planned.figures[ALL]
    said.append(
        f"Utilisation is {figures['utilisation'].mean:.1%} instead of {before['utilisation'].mean:.1%}; "
        f"{_signed(more['useful_gpu_hours'].mean)} GPU-hours of work are done."
    )
    if abs(more["lost_gpu_hours"].mean) >= 1:
        said.append(f"{_signed(more['lost_gpu_hours'].mean)} GPU-hours of work are lost and done again.")
    for name in answer.classes:
        owed = one.more.get(name, {}).get("guaranteed_gpu_hours")
        if owed is not None and abs(owed.mean) >= 1:
            part = one.figures[name].get("guarantee_used")
            said.append(
                f"{name.capitalize()} is guaranteed {_signed(owed.mean)} GPU-hours, and uses "
                f"{part.mean if part else 0:.0%} of its guarantee."
            )
    if answer.priced:
        said.append(f"Revenue: {_signed(more['eur'].mean)} EUR.")
    return said


def _waits(name: str, before: Ranges, one: Compared, group: str) -> str:
    now, old, more = (
        one.figures.get(group, {}).get("wait_s"),
        before.get("wait_s"),
        one.more.get(group, {}).get("wait_s"),
    )
    if now is None or old is None or more is None or abs(more.mean) < max(SAME_S, SAME_PART * old.mean):
        return ""
    way = "longer" if more.mean > 0 else "less"
    spread = ""
    if more.low != more.high:
        spread = f" (with other seeds {_signed_span(more.low)} to {_signed_span(more.high)})"
    return (
        f"{name.capitalize()} waits {shown_span(abs(more.mean) * SECOND_US)} {way}: "
        f"{shown_span(now.mean * SECOND_US)} on average instead of {shown_span(old.mean * SECOND_US)}{spread}."
    )


def refusal(told: Told) -> str:
    """What was not granted, why, and from when on it was."""
    since = (
        f"It was asked again every day, and granted on {shown(told.granted_us)}."
        if told.granted_us
        else ("It was asked again every day, and never granted in this time.")
    )
    return f"Refused: {told.what}. The core says: {told.refused}. {since}"


def _span(value: Range | None) -> str:
    return "-" if value is None else shown_span(value.mean * SECOND_US)


def _signed(value: float) -> str:
    return f"{value:+,.0f}".replace("-", "\N{MINUS SIGN}")


def _signed_span(seconds: float) -> str:
    sign = "\N{MINUS SIGN}" if seconds < 0 else "+"
    return sign + shown_span(abs(seconds) * SECOND_US)
