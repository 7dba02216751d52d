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

from leitstand.core.units import SECOND_US
from leitstand.twin.forking.course import Played
from leitstand.twin.forking.figures import Answer
from leitstand.twin.forking.report_page import page
from leitstand.twin.forking.tally import MILLI_HOUR
from leitstand.twin.page import html

FILES: Final = ("report.html", "report.json", "jobs.parquet", "hours.parquet")


def write_report(folder: Path, answer: Answer, played: Sequence[Played]) -> None:
    """All four files, in place of older ones; OSError if they cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(answer), indent=1) + b"\n")
    pq.write_table(_jobs(played), folder / "jobs.parquet", compression="zstd")
    pq.write_table(_hours(played), folder / "hours.parquet", compression="zstd")
    (folder / "report.html").write_text(html(page(answer, played)), encoding="utf-8")


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
