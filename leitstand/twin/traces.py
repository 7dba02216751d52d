# SPDX-License-Identifier: Apache-2.0
"""A recorded workload: who asked for how many GPUs, when, for how long. Called by the replay and the CLI.

`read_trace` reads a file, judges every value and returns the jobs by submit time, ties in the order of the file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from leitstand.core.units import SECOND_US
from leitstand.twin.readers import Floats, Table, TraceError, read_table

__all__ = ["Trace", "TraceError", "read_trace"]

Ints = npt.NDArray[np.int64]

TIME_MAX_S: Final = 9 * 10**9  # 285 years: what the core takes as a duration, and exact in every JSON reader
GPUS_MAX: Final = 1_000_000
PRIORITY_MAX: Final = 100
DROPPED_LISTED_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Trace:
    """Jobs by submit time as columns of equal length.

    `submit_us` (may be negative), `duration_us` (≥ 1: a job of no
    length lasts one tick of the clock), `gpus` (≥ 1) and `priority` (0..100): int64. `tenant` and
    `user` index `tenants` and `users` (-1: the source names no user). `dropped`: how many rows were left out as
    unusable; `dropped_why`: one sentence for each of the first 1,000.
    """

    name: str
    job_ids: list[str]
    tenants: list[str]
    tenant: Ints
    users: list[str]
    user: Ints
    submit_us: Ints
    duration_us: Ints
    gpus: Ints
    priority: Ints
    dropped: int = 0
    dropped_why: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.job_ids)


@dataclass(frozen=True, slots=True)
class _Fault:
    row: int
    column: str
    value: str
    what: str


def read_trace(path: Path, *, lenient: bool = False) -> Trace:
    """The trace in `path`, ordered by submit time, ties in file order.

    TraceError names file, row or line, column, value and remedy of the first unusable value; `lenient` leaves such
    rows out and lists them instead.
    """
    table = read_table(path)
    faults = sorted(_faults(table), key=lambda fault: fault.row)
    if faults and not lenient:
        raise TraceError(_refusal(table, faults))
    keep = np.ones(len(table.places), dtype=np.bool_)
    keep[[fault.row for fault in faults]] = False
    if not keep.any():
        raise TraceError(f"{path}: none of its {len(keep)} rows can be used; {_sentence(table, faults[0])}")
    submit_us = _us(table.numbers["submit_s"])
    rows = np.flatnonzero(keep)
    rows = rows[np.argsort(submit_us[rows], kind="stable")]
    first_faults = {fault.row: fault for fault in reversed(faults)}
    return _trace(
        table,
        rows,
        dropped=len(keep) - len(rows),
        why=tuple(_sentence(table, first_faults[row]) for row in sorted(first_faults)[:DROPPED_LISTED_MAX]),
    )


def _trace(table: Table, rows: Ints, *, dropped: int, why: tuple[str, ...]) -> Trace:
    tenants, tenant = _coded(table.texts["tenant"], rows)
    users, user = _coded(table.texts.get("user") or [None] * len(table.places), rows)
    job_ids = table.texts["job_id"]
    priority = table.numbers.get("priority")
    return Trace(
        name=table.path.stem,
        job_ids=[job_ids[row] or "" for row in rows.tolist()],
        tenants=tenants,
        tenant=tenant,
        users=users,
        user=user,
        submit_us=_us(table.numbers["submit_s"][rows]),
        duration_us=np.maximum(_us(table.numbers["duration_s"][rows]), 1),
        gpus=table.numbers["gpus"][rows].astype(np.int64),
        priority=np.zeros(len(rows), np.int64)
        if priority is None
        else np.nan_to_num(priority[rows]).astype(np.int64),
        dropped=dropped,
        dropped_why=why,
    )


def _us(seconds: Floats) -> Ints:
    """Microseconds nearest to `seconds` (ties to even), as `core.units.seconds_to_us`; unusable values become 0."""
    usable = np.abs(seconds) <= TIME_MAX_S
    us: Ints = np.rint(np.where(usable, seconds, 0.0) * SECOND_US).astype(np.int64)
    return us


def _coded(texts: list[str | None], rows: Ints) -> tuple[list[str], Ints]:
    """The distinct texts by first appearance, and for each row the index of its text; -1 for None."""
    codes: dict[str | None, int] = {None: -1}
    names: list[str] = []
    coded = np.empty(len(rows), np.int64)
    for at, row in enumerate(rows.tolist()):
        text = texts[row]
        code = codes.get(text)
        if code is None:
            assert text is not None
            code = codes[text] = len(names)
            names.append(text)
        coded[at] = code
    return names, coded


# ── judging values ────────────────────────────────────────────────────────────────────────────────────────────────
def _faults(table: Table) -> list[_Fault]:
    """Every value that the replay cannot use."""
    submit, duration, gpus = (table.numbers[name] for name in ("submit_s", "duration_s", "gpus"))
    with np.errstate(invalid="ignore"):
        checks = [
            ("submit_s", submit, ~(np.abs(submit) <= TIME_MAX_S), f"is not a time within ±{TIME_MAX_S} s"),
            ("duration_s", duration, ~((duration >= 0) & (duration <= TIME_MAX_S)),
             f"is not a duration in 0..{TIME_MAX_S} s"),
            ("gpus", gpus, ~((gpus >= 1) & (gpus <= GPUS_MAX) & (gpus == np.rint(gpus))),
             f"is not a whole number of GPUs in 1..{GPUS_MAX}"),
        ]  # fmt: skip
        if (priority := table.numbers.get("priority")) is not None:
            given = ~np.isnan(priority)
            given[[row for column, row in table.unread if column == "priority"]] = True
            usable = (priority >= 0) & (priority <= PRIORITY_MAX) & (priority == np.rint(priority))
            checks.append(
                ("priority", priority, given & ~usable, f"is not a whole number in 0..{PRIORITY_MAX}")
            )
    faults = [
        _Fault(row, column, _value(table, column, row, values), what)
        for column, values, bad, what in checks
        for row in np.flatnonzero(bad).tolist()
    ]
    for column in ("job_id", "tenant"):
        texts = table.texts[column]
        faults += [_Fault(row, column, "(absent)", "is needed") for row, text in enumerate(texts) if not text]
    return faults + _doubled(table)


def _doubled(table: Table) -> list[_Fault]:
    """Rows whose job id an earlier row has."""
    ids = table.texts["job_id"]
    if len(set(ids)) == len(ids):
        return []
    first: dict[str, int] = {}
    faults = []
    for row, job in enumerate(ids):
        if job and first.setdefault(job, row) != row:
            where = f"{table.unit} {table.places[first[job]]}"
            faults.append(_Fault(row, "job_id", job, f"is the id of the job in {where} already"))
    return faults


def _value(table: Table, column: str, row: int, values: Floats) -> str:
    if (column, row) in table.unread:
        return repr(table.unread[column, row])
    value = float(values[row])
    return "(absent or NaN)" if value != value else f"{value:.7g}"


def _sentence(table: Table, fault: _Fault) -> str:
    return f"{table.unit} {table.places[fault.row]}, column {fault.column}: {fault.value} {fault.what}"


def _refusal(table: Table, faults: list[_Fault]) -> str:
    others = len({fault.row for fault in faults}) - 1
    more = f" ({others} more such row{'s' * (others > 1)})" if others else ""
    return (
        f"{table.path}: {_sentence(table, faults[0])}{more}; "
        "correct the file, or leave such rows out with --lenient (they are counted and listed)"
    )
