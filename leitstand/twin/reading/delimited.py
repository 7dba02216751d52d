# SPDX-License-Identifier: Apache-2.0
"""Jobs as text, one a line: CSV with the columns of the Parquet form, and the Standard Workload Format.

Called by `leitstand.twin.reading.formats`. A line of the wrong width is no row; it is kept apart by its number.
"""

import csv
from array import array
from pathlib import Path
from typing import Any, Final

import numpy as np

from leitstand.twin.reading.table import (
    NUMBERS_OPTIONAL,
    NUMBERS_REQUIRED,
    TEXTS_OPTIONAL,
    TEXTS_REQUIRED,
    Broken,
    Form,
    Table,
    TraceError,
    check_columns,
    check_rows,
    numbers_of,
)


def read_csv(path: Path, form: Form) -> Table:
    """CSV in UTF-8 with a header that names the columns of the Parquet form; an empty field is an absent value.

    Places are line numbers of the file (the header is line 1).
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file)
        try:
            header = [name.strip() for name in next(lines, [])]
            check_columns(path, header)
            rows, places, broken = _csv_rows(path, lines, len(header))
        except csv.Error as error:
            raise TraceError(f"{path}: line {lines.line_num} is not CSV: {error}") from error
    columns = dict(zip(header, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(header, ())
    unread: dict[tuple[str, int], str] = {}
    return Table(
        path,
        "line",
        np.array(places, dtype=np.int64),
        {
            n: [text or None for text in columns[n]]
            for n in (*TEXTS_REQUIRED, *TEXTS_OPTIONAL)
            if n in columns
        },
        {
            n: numbers_of(n, columns[n], unread)
            for n in (*NUMBERS_REQUIRED, *NUMBERS_OPTIONAL)
            if n in columns
        },
        unread,
        broken=broken,
    )


def _csv_rows(path: Path, lines: Any, width: int) -> tuple[list[list[str]], "array[int]", list[Broken]]:
    rows: list[list[str]] = []
    places = array("q")
    broken = []
    for row in lines:
        if not row:
            continue  # a blank line
        if len(row) != width:
            what = f"has {len(row)} fields, the header has {width} (a comma in a value needs quotes)"
            broken.append(Broken(lines.line_num, what))
            continue
        rows.append(row)
        places.append(lines.line_num)
        check_rows(path, len(rows))
    return rows, places, broken


# ── Standard Workload Format ──────────────────────────────────────────────────────────────────────────────────────
SWF_FIELDS: Final = 18
_GAP: Final = "-1"
# Positions from 0 of the fields that are read.
_JOB, _SUBMIT, _RUN_TIME, _ALLOCATED, _REQUESTED, _LIMIT, _USER, _GROUP, _QUEUE = 0, 1, 3, 4, 7, 8, 11, 12, 14


def read_swf(path: Path, form: Form) -> Table:
    """Standard Workload Format of the Parallel Workloads Archive: `;` lines are its header, 18 fields a line.

    Used, counted from 1: 1 job number; 2 submit time; 4 run time; 8 requested processors (5 allocated, where 8 is
    -1), taken as GPUs; 9 requested time as time limit, where it is over 0; 12 user; 13 group as `group-N`, else 15
    queue as `queue-N`, else `all`, as tenant. A gap (-1) in time or processors is an absent value. Not used: wait time
    (the replay decides it), CPU time, memory, status, executable, partition, preceding job and think time.
    """
    rows = []
    places = array("q")
    broken = []
    with path.open(encoding="utf-8", newline=None) as file:
        for number, line in enumerate(file, 1):
            if line.startswith(";") or not line.strip():
                continue
            fields = line.split()
            if len(fields) != SWF_FIELDS:
                what = f"has {len(fields)} fields, Standard Workload Format has {SWF_FIELDS} (truncated?)"
                broken.append(Broken(number, what))
                continue
            rows.append(fields)
            places.append(number)
            check_rows(path, len(rows))
    unread: dict[tuple[str, int], str] = {}
    gpus = [row[_ALLOCATED] if row[_REQUESTED] == _GAP else row[_REQUESTED] for row in rows]
    limits = ["" if row[_LIMIT] == "0" else _value(row[_LIMIT]) for row in rows]
    return Table(
        path,
        "line",
        np.array(places, dtype=np.int64),
        {
            "job_id": [row[_JOB] for row in rows],
            "tenant": [_tenant(row) for row in rows],
            "user": [None if row[_USER] == _GAP else row[_USER] for row in rows],
        },
        {
            # a submit time of -1 is a time: traces may start before their zero
            "submit_s": numbers_of("submit_s", (row[_SUBMIT] for row in rows), unread),
            "duration_s": numbers_of("duration_s", (_value(row[_RUN_TIME]) for row in rows), unread),
            "gpus": numbers_of("gpus", map(_value, gpus), unread),
            "limit_s": numbers_of("limit_s", limits, unread),
        },
        unread,
        broken=broken,
    )


def _tenant(fields: list[str]) -> str:
    if fields[_GROUP] != _GAP:
        return f"group-{fields[_GROUP]}"
    if fields[_QUEUE] != _GAP:
        return f"queue-{fields[_QUEUE]}"
    return "all"


def _value(text: str) -> str:
    return "" if text == _GAP else text
