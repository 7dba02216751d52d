# SPDX-License-Identifier: Apache-2.0
"""A recorded workload: who asked for how many GPUs, when, for how long. Called by the replay and the CLI.

`read_trace` reads a file, judges every value and returns the jobs by submit time, ties in the order of the file.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from leitstand.core.units import SECOND_US
from leitstand.twin.reading.formats import read_table
from leitstand.twin.reading.table import Fault, Floats, Form, Table, TraceError, shown

__all__ = ["Form", "Trace", "TraceError", "read_trace"]

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
    `user` index `tenants` and `users` (-1: the source names no user). `limit_us`: the time limit that was asked for
    (0: none is known), None: of no job. `dropped`: how many rows were left out as unusable; `dropped_why`: one sentence
    for each of the first 1,000. `set_aside`: rows that are right but hold no job to replay, counted by why.
    `unsorted`: jobs that stand after one that was submitted later.
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
    limit_us: Ints | None = None
    set_aside: dict[str, int] = field(default_factory=dict)
    unsorted: int = 0

    def __len__(self) -> int:
        return len(self.job_ids)


def read_trace(path: Path, *, lenient: bool = False, form: Form | None = None) -> Trace:
    """The trace in `path`, ordered by submit time, ties in file order. `form`: how to read what does not say it itself.

    TraceError names file, row or line, column, value and remedy of the first unusable value; `lenient` leaves such
    rows out and lists them instead.
    """
    table = read_table(path, form)
    faults = sorted([*table.faults, *_faults(table)], key=lambda fault: fault.row)
    troubles = _troubles(table, faults)
    if troubles and not lenient:
        raise TraceError(_refusal(table, troubles))
    keep = np.ones(len(table.places), dtype=np.bool_)
    keep[[fault.row for fault in faults]] = False
    if not keep.any():
        every = len(keep) + len(table.broken)
        raise TraceError(f"{path}: none of its {every} rows can be used; {troubles[0]}")
    submit_us = _us(table.numbers["submit_s"])
    rows = np.flatnonzero(keep)
    unsorted = int(np.count_nonzero(np.diff(submit_us[rows]) < 0))
    rows = rows[np.argsort(submit_us[rows], kind="stable")]
    return _trace(table, rows, troubles, unsorted)


def _trace(table: Table, rows: Ints, troubles: list[str], unsorted: int) -> Trace:
    tenants, tenant = _coded(table.texts["tenant"], rows)
    users, user = _coded(table.texts.get("user") or [None] * len(table.places), rows)
    texts, numbers = table.texts["job_id"], table.numbers
    priority, limit = numbers.get("priority"), numbers.get("limit_s")
    limit_us = None if limit is None else _us(np.nan_to_num(limit[rows]))
    return Trace(
        name=table.path.name.removesuffix(table.path.suffix),
        job_ids=[text for row in rows.tolist() if (text := texts[row]) is not None],
        tenants=tenants,
        tenant=tenant,
        users=users,
        user=user,
        submit_us=_us(numbers["submit_s"][rows]),
        duration_us=np.maximum(_us(numbers["duration_s"][rows]), 1),
        gpus=numbers["gpus"][rows].astype(np.int64),
        priority=np.zeros(len(rows), np.int64)
        if priority is None
        else np.nan_to_num(priority[rows]).astype(np.int64),
        dropped=len(troubles),
        dropped_why=tuple(troubles[:DROPPED_LISTED_MAX]),
        limit_us=limit_us if limit_us is not None and limit_us.any() else None,
        set_aside=table.set_aside,
        unsorted=unsorted,
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
def _faults(table: Table) -> list[Fault]:
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
            usable = (priority >= 0) & (priority <= PRIORITY_MAX) & (priority == np.rint(priority))
            bad = _given(table, "priority", priority) & ~usable
            checks.append(("priority", priority, bad, f"is not a whole number in 0..{PRIORITY_MAX}"))
        if (limit := table.numbers.get("limit_s")) is not None:
            bad = _given(table, "limit_s", limit) & ~((limit > 0) & (limit <= TIME_MAX_S))
            checks.append(("limit_s", limit, bad, f"is not a time limit over 0, up to {TIME_MAX_S} s"))
    faults = [
        Fault(row, column, _value(table, column, row, values), what + _unit(column, values[row]))
        for column, values, bad, what in checks
        for row in np.flatnonzero(bad).tolist()
    ]
    for column in ("job_id", "tenant"):
        texts = table.texts[column]
        faults += [Fault(row, column, "(absent)", "is needed") for row, text in enumerate(texts) if not text]
    return faults + _doubled(table)


def _given(table: Table, column: str, values: Floats) -> npt.NDArray[np.bool_]:
    """Where an optional column has anything."""
    given = ~np.isnan(values)
    given[[row for name, row in table.unread if name == column]] = True
    return given


def _unit(column: str, value: float) -> str:
    """A hint at the unit that a time far too large probably has."""
    if column == "gpus" or not TIME_MAX_S < abs(value) <= TIME_MAX_S * 10**9:
        return ""
    factor = next(10**power for power in (3, 6, 9) if abs(value) <= TIME_MAX_S * 10**power)
    return f" (it may count {_FINER[factor]}: divide the column by {factor})"


_FINER: Final = {10**3: "milliseconds", 10**6: "microseconds", 10**9: "nanoseconds"}


def _doubled(table: Table) -> list[Fault]:
    """Rows whose job id an earlier row has."""
    ids = table.texts["job_id"]
    if len(set(ids)) == len(ids):
        return []
    first: dict[str, int] = {}
    faults = []
    for row, job in enumerate(ids):
        if job and first.setdefault(job, row) != row:
            where = f"{table.unit} {table.places[first[job]]}"
            faults.append(Fault(row, "job_id", shown(job), f"is the id of the job in {where} already"))
    return faults


def _value(table: Table, column: str, row: int, values: Floats) -> str:
    if (column, row) in table.unread:
        return repr(shown(table.unread[column, row]))
    value = float(values[row])
    return "(absent or NaN)" if value != value else f"{value:.7g}"


def _troubles(table: Table, faults: list[Fault]) -> list[str]:
    """A sentence for each place that cannot be used, in the order of the file: the first fault of a row."""
    first = {fault.row: fault for fault in reversed(faults)}
    said = [(int(table.places[row]), _sentence(table, fault)) for row, fault in first.items()]
    said += [(place, f"{table.unit} {place} {what}") for place, what in table.broken]
    return [sentence for _, sentence in sorted(said)]


def _sentence(table: Table, fault: Fault) -> str:
    column = table.called.get(fault.column, fault.column)
    return f"{table.unit} {table.places[fault.row]}, column {column}: {fault.value} {fault.what}"


def _refusal(table: Table, troubles: list[str]) -> str:
    others = len(troubles) - 1
    more = f" ({others} more such row{'s' * (others > 1)})" if others else ""
    return (
        f"{table.path}: {troubles[0]}{more}; "
        "correct the file, or leave such rows out with --lenient (they are counted and listed)"
    )
