# SPDX-License-Identifier: Apache-2.0
"""Jobs as Slurm's `sacct --parsable2` prints them. Called by `leitstand.twin.reading.formats`.

The columns may come in any order, with others between. Steps (`12.batch`, `12.0`) belong to a job whose record is
there already.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from itertools import count
from math import inf, nan
from pathlib import Path
from typing import Final, TextIO

from leitstand.twin.reading.dates import NO_MOMENT, local_s, zone
from leitstand.twin.reading.slurm import UNLIMITED, Record, elapsed_s, state_of, table_of, tres_gpus
from leitstand.twin.reading.table import (
    Broken,
    Form,
    Table,
    TraceError,
    check_once,
    check_rows,
    empty,
    listed,
    shown,
)

COMMAND: Final = (
    "sacct --allusers --duplicates --parsable2 --starttime=2026-01-01 --endtime=now --format="
    "JobID,User,Account,Partition,Submit,Start,End,Elapsed,Timelimit,State,ReqTRES,AllocTRES"
)
STEP: Final = "steps of jobs"
LINE_MAX: Final = 1_000_000  # characters
CALLED: Final = {
    "job_id": "JobID",
    "tenant": "Account",
    "user": "User",
    "submit_s": "Submit",
    "duration_s": "Elapsed",
    "limit_s": "Timelimit",
    "gpus": "AllocTRES",
}
# Columns in which a user's own text may hold the separator.
_FREE: Final = frozenset(
    ("jobname", "comment", "admincomment", "systemcomment", "constraints", "workdir", "submitline", "extra", "wckey")
)  # fmt: skip
_NEVER: Final = frozenset(("", "None", "Unknown", "N/A"))


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where each column stands, by its name in lower case; `tenant`: the one that names tenants."""

    at: dict[str, int]
    width: int
    tenant: str
    free: int  # the only column of free text, -1: none or several
    zone: tzinfo

    def of(self, fields: Sequence[str], name: str) -> str:
        """What stands in column `name`, '' where there is no such column."""
        index = self.at.get(name)
        return "" if index is None else fields[index].strip()


def read_sacct(path: Path, form: Form) -> Table:
    """`sacct --parsable2` (or `--parsable`) with its header line, in UTF-8.

    Used: JobID, Account (or the column that `form` names) as tenant, User, Submit, Start, End, State, Timelimit,
    Elapsed (else ElapsedRaw, else End - Start), and AllocTRES (else ReqTRES) for GPUs. Places are line numbers.
    """
    table = empty(path, "line")
    with path.open(encoding="utf-8-sig", newline="\n", errors="strict") as file:
        header = file.readline(LINE_MAX).rstrip("\r\n")
        columns = _columns(path, header, form)
        called = CALLED | ({"tenant": shown(form.tenant_from)} if form.tenant_from else {})
        return table_of(list(_records(file, columns, table)), table, called)


def is_sacct(line: str) -> bool:
    """Whether `line` is the header of such a file."""
    return "|" in line and "jobid" in [name.strip().lower() for name in line.split("|")]


def _columns(path: Path, header: str, form: Form) -> _Columns:
    names = [name.strip() for name in header.removesuffix("|").split("|")]
    known = [name.lower() for name in names]
    remedy = f"; export it with: {COMMAND}"
    if "jobid" not in known:
        raise TraceError(
            f"{path}: line 1 is no header of sacct --parsable2 ({shown(header) or 'it is empty'}){remedy}"
        )
    check_once(path, known)
    tenant = form.tenant_from.lower() or "account"
    needed = ["jobid", "submit", "start", "end", tenant]
    missing = [name for name in needed if name not in known]
    if not {"alloctres", "reqtres"} & set(known):
        missing.append("alloctres")
    if missing:
        said = ", ".join(_SPELT.get(name, shown(name)) for name in missing)
        raise TraceError(
            f"{path}: column{'s' * (len(missing) > 1)} {said} missing; the file has {listed(names)}{remedy}"
        )
    free = [index for index, name in enumerate(known) if name in _FREE]
    at = {name: index for index, name in enumerate(known)}
    return _Columns(at, len(names), tenant, free[0] if len(free) == 1 else -1, zone(form.time_zone))


_SPELT: Final = {
    "jobid": "JobID",
    "submit": "Submit",
    "start": "Start",
    "end": "End",
    "account": "Account",
    "alloctres": "AllocTRES",
}


def _records(file: TextIO, columns: _Columns, table: Table) -> Iterator[Record]:
    """The record of each line; steps are counted, lines of another width kept apart."""
    for number in count(2):
        line = file.readline(LINE_MAX)
        if not line:
            return
        text = line.rstrip("\r\n")
        if not text.strip():
            continue
        check_rows(table.path, number - 1)
        fields = _fields(text, columns)
        if not line.endswith("\n"):
            what = "ends the file without a line break: it may be truncated (add one if it is whole)"
            table.broken.append(Broken(number, what))
        elif len(fields) != columns.width:
            what = (
                f"has {len(fields)} fields, the header has {columns.width} (truncated, or a | in a free text)"
            )
            table.broken.append(Broken(number, what))
        elif "." in columns.of(fields, "jobid"):
            table.set_aside[STEP] = table.set_aside.get(STEP, 0) + 1
        else:
            yield _record(number, fields, columns)


def _fields(text: str, columns: _Columns) -> list[str]:
    """The fields of a line; separators too many belong to the only free text, and to the end of --parsable."""
    fields = text.split("|")
    over = len(fields) - columns.width
    if over > 0 and not fields[-1]:
        fields.pop()
        over -= 1
    if over > 0 and columns.free >= 0:
        first, last = columns.free, columns.free + over + 1
        fields[first:last] = ["|".join(fields[first:last])]
    return fields


def _record(number: int, fields: list[str], columns: _Columns) -> Record:
    faults: list[tuple[str, str, str]] = []

    def moment(name: str, earliest_s: float = -inf) -> float:
        text = columns.of(fields, name.lower())
        if text in _NEVER:
            return nan
        at = local_s(text, columns.zone, earliest_s)
        if at != at:
            faults.append((name, repr(shown(text)), NO_MOMENT))
        return at

    def span(name: str, raw: str, unit_s: int, none: frozenset[str]) -> float:
        text = columns.of(fields, name.lower())
        digits = columns.of(fields, raw.lower())
        if text in none:
            usable = digits.isascii() and digits.isdigit() and len(digits) < 16
            return float(digits) * unit_s if usable else nan
        length = elapsed_s(text)
        if length != length:
            faults.append((name, repr(shown(text)), "is no duration (written [days-]hours:minutes:seconds)"))
        return length

    submit_s = moment("Submit")
    start_s = moment("Start", submit_s)
    end_s = moment("End", start_s)
    held = columns.of(fields, "alloctres")
    name, tres = ("AllocTRES", held) if held else ("ReqTRES", columns.of(fields, "reqtres"))
    gpus = tres_gpus(tres)
    if gpus != gpus:
        faults.append((name, repr(shown(tres)), "is no list like cpu=8,gres/gpu=4"))
    return Record(
        number,
        columns.of(fields, "jobid"),
        columns.of(fields, columns.tenant),
        columns.of(fields, "user"),
        state_of(columns.of(fields, "state")),
        submit_s,
        start_s,
        end_s,
        span("Elapsed", "ElapsedRaw", 1, frozenset(("",))),
        span("Timelimit", "TimelimitRaw", 60, UNLIMITED),
        gpus,
        bool(held) or "alloctres" not in columns.at,
        faults,
    )
