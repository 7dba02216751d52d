# SPDX-License-Identifier: Apache-2.0
"""Writes what a fork found into a folder: `report.html`, `report.json`, `jobs.parquet`, `hours.parquet`. Called by the
CLI.

The same courses give the same bytes. The page is one file that needs neither network nor script.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader, StrictUndefined

from leitstand.core.units import SECOND_US
from leitstand.twin.forking import plots
from leitstand.twin.forking.course import Played
from leitstand.twin.forking.figures import ALL, Answer, Range
from leitstand.twin.forking.tally import MILLI_HOUR
from leitstand.twin.forking.telling import Told
from leitstand.twin.forking.times import shown, shown_span
from leitstand.twin.forking.whatif import AS_PLANNED
from leitstand.twin.forking.words import sentences

FILES: Final = ("report.html", "report.json", "jobs.parquet", "hours.parquet")


def write_report(folder: Path, answer: Answer, played: Sequence[Played]) -> None:
    """All four files, in place of older ones; OSError if they cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(answer), indent=1) + b"\n")
    pq.write_table(_jobs(played), folder / "jobs.parquet", compression="zstd")
    pq.write_table(_hours(played), folder / "hours.parquet", compression="zstd")
    (folder / "report.html").write_text(page(answer, played), encoding="utf-8")


def page(answer: Answer, played: Sequence[Played]) -> str:
    """The report as a page."""
    environment = Environment(
        loader=PackageLoader("leitstand.twin.forking", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(date=_date, number=_number, span=_span, percent=_percent, change=_change)
    top, until_us = plots.top_of(played), round(answer.until_s * SECOND_US)
    return environment.get_template("report.html.j2").render(
        answer=answer,
        all=ALL,
        groups=[ALL, *answer.classes],
        changes=_changes(answer),
        says={one.name: sentences(answer, one) for one in answer.scenarios},
        drawn={one.name: plots.over_time(one.name, played, top, until_us) for one in answer.scenarios},
        waits=plots.waits(answer) if answer.classes else "",
        shown=shown,
    )


def _changes(answer: Answer) -> dict[str, list[Told]]:
    """By scenario, what happens in it: of what is planned, only where it is planned."""
    planned = next((one.told for one in answer.scenarios if one.name == AS_PLANNED), ())
    known = {told.what for told in planned}
    return {
        one.name: [told for told in one.told if one.name == AS_PLANNED or told.what not in known]
        for one in answer.scenarios
    }


# ── numbers for people ────────────────────────────────────────────────────────────────────────────────────────────
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


# ── tables ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _jobs(played: Sequence[Played]) -> Any:
    """One row per job and course. Times in seconds since 1970, null: not by the end."""
    columns: dict[str, list[Any]] = {name: [] for name in _JOBS.names}
    for one in played:
        for row in one.rows:
            values = (
                one.scenario,
                one.seed,
                row.job,
                row.tenant_class,
                row.tenant,
                row.project,
                row.gpus_milli / 1000,
                row.submitted_us / SECOND_US,
                row.placed_us / SECOND_US if row.placed_us else None,
                row.ended_us / SECOND_US if row.ended_us else None,
                row.state,
                row.ran,
                row.stops,
                row.failures,
                row.used / MILLI_HOUR,
                row.lost / MILLI_HOUR,
            )
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    return pa.table(columns, schema=_JOBS)


def _hours(played: Sequence[Played]) -> Any:
    """One row per course, hour and class ('' all). Means over the hour in GPUs."""
    columns: dict[str, list[Any]] = {name: [] for name in _HOURS.names}
    for one in played:
        for hour in one.hours:
            for name in ("", *sorted({*hour.used, *hour.waiting, *hour.guaranteed})):
                parts = [
                    by_class.get(name, 0.0) if name else sum(by_class.values())
                    for by_class in (hour.used, hour.waiting, hour.guaranteed, hour.within, hour.eur)
                ]
                values = (
                    one.scenario,
                    one.seed,
                    hour.at_us / SECOND_US,
                    name,
                    None if name else hour.capacity,
                    *parts,
                    None if name else hour.waiting_jobs,
                )
                for column, value in zip(columns.values(), values, strict=True):
                    column.append(value)
    return pa.table(columns, schema=_HOURS)


_JOBS: Final = pa.schema(
    [
        ("scenario", pa.string()),
        ("seed", pa.int64()),
        ("job", pa.string()),
        ("class", pa.string()),
        ("tenant", pa.string()),
        ("project", pa.string()),
        ("gpus", pa.float64()),
        ("submitted_s", pa.float64()),
        ("placed_s", pa.float64()),
        ("ended_s", pa.float64()),
        ("state", pa.string()),
        ("ran_before", pa.bool_()),
        ("stops", pa.int32()),
        ("failures", pa.int32()),
        ("gpu_hours", pa.float64()),
        ("lost_gpu_hours", pa.float64()),
    ]
)
_HOURS: Final = pa.schema(
    [
        ("scenario", pa.string()),
        ("seed", pa.int64()),
        ("hour_s", pa.float64()),
        ("class", pa.string()),
        ("capacity_gpus", pa.float64()),
        ("used_gpus", pa.float64()),
        ("waiting_gpus", pa.float64()),
        ("guaranteed_gpus", pa.float64()),
        ("guarantee_used_gpus", pa.float64()),
        ("eur", pa.float64()),
        ("waiting_jobs", pa.int64()),
    ]
)
