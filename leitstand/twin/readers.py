# SPDX-License-Identifier: Apache-2.0
"""Files of recorded jobs, as they are: Parquet, CSV and the Standard Workload Format, each read into one `Table`.

Called by `leitstand.twin.traces`, which judges the values. A reader refuses what is not a table of its kind at all
(no such file, truncated, wrong columns, a line of the wrong width); a value that cannot be read as a number becomes
NaN and keeps its text in `Table.unread`, so that the judge can name it.
"""

import csv
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Floats = npt.NDArray[np.float64]

ROWS_MAX: Final = 20_000_000

TEXTS_REQUIRED: Final = ("job_id", "tenant")
NUMBERS_REQUIRED: Final = ("submit_s", "duration_s", "gpus")
TEXTS_OPTIONAL: Final = ("user",)
NUMBERS_OPTIONAL: Final = ("priority",)
_REQUIRED: Final = TEXTS_REQUIRED + NUMBERS_REQUIRED


class TraceError(ValueError):
    """A trace or cluster file that cannot be used: the message names the file, the place, the value and the remedy."""


@dataclass(frozen=True, slots=True)
class Table:
    """The columns that the twin reads, one value per row; an absent value is None in a text and NaN in a number.

    `unit`: what the numbers in `places` count ("row", "line"), for messages. `unread`: text that is no number, by
    (column, row index).
    """

    path: Path
    unit: str
    places: npt.NDArray[np.int64]
    texts: dict[str, list[str | None]]
    numbers: dict[str, Floats]
    unread: dict[tuple[str, int], str] = field(default_factory=dict)


def read_table(path: Path) -> Table:
    """The table in `path`, by its suffix (.parquet, .csv, .swf); TraceError if it is not one."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise TraceError(
            f"{path}: suffix {path.suffix or '(none)'} is not a trace format; name the file .parquet, .csv or .swf"
        )
    with _file_errors(path):
        if path.stat().st_size == 0:
            raise TraceError(f"{path}: the file is empty (0 bytes); fetch or export it again")
        table = reader(path)
    if not len(table.places):
        raise TraceError(f"{path}: the file holds no job; a trace needs at least one")
    return table


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    """What the operating system or a decoder says about `path`, as a TraceError."""
    try:
        yield
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TraceError(
            f"{path}: byte {error.start} is not UTF-8 text; convert the file (iconv -t UTF-8)"
        ) from error


# ── Parquet ───────────────────────────────────────────────────────────────────────────────────────────────────────
def read_parquet(path: Path) -> Table:
    """Parquet with the columns job_id, tenant, submit_s, duration_s, gpus and, if present, user and priority.

    Other columns (nodes, cpus, mem_gb, state, extras) are not read. Rows count from 1.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            _check_columns(path, names)
            _check_rows(path, file.metadata.num_rows)
            wanted = [n for n in (*_REQUIRED, *TEXTS_OPTIONAL, *NUMBERS_OPTIONAL) if n in names]
            data = file.read(columns=wanted, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the file system's; damaged pages come without a number
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TraceError(
            f"{path}: is not whole Parquet ({detail}); it may be truncated: fetch or export it again"
        ) from error
    return Table(
        path,
        "row",
        np.arange(1, data.num_rows + 1),
        {n: _arrow_texts(path, n, data.column(n)) for n in wanted if n in TEXTS_REQUIRED + TEXTS_OPTIONAL},
        {
            n: _arrow_numbers(path, n, data.column(n))
            for n in wanted
            if n in NUMBERS_REQUIRED + NUMBERS_OPTIONAL
        },
    )


def _arrow_texts(path: Path, name: str, column: Any) -> list[str | None]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_null(kind)
    ):
        raise TraceError(f"{path}: column {name} has type {column.type}; it must be text or whole numbers")
    texts: list[str | None] = column.cast(pa.string()).to_pylist()
    return texts


def _arrow_numbers(path: Path, name: str, column: Any) -> Floats:
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
        raise TraceError(
            f"{path}: column {name} has type {kind}; it must be a number (convert it before export)"
        )
    numbers: Floats = column.cast(pa.float64(), safe=False).combine_chunks().to_numpy(zero_copy_only=False)
    return numbers


# ── CSV ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def read_csv(path: Path) -> Table:
    """CSV in UTF-8 with a header that names the columns of the Parquet form; an empty field is an absent value.

    Places are line numbers of the file (the header is line 1).
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file)
        try:
            header = [name.strip() for name in next(lines, [])]
            _check_columns(path, header)
            rows, places = _csv_rows(path, lines, len(header))
        except csv.Error as error:
            raise TraceError(f"{path}: line {lines.line_num} is not CSV: {error}") from error
    columns = dict(zip(header, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(header, ())
    unread: dict[tuple[str, int], str] = {}
    return Table(
        path,
        "line",
        places,
        {
            n: [text or None for text in columns[n]]
            for n in (*TEXTS_REQUIRED, *TEXTS_OPTIONAL)
            if n in columns
        },
        {n: _numbers(n, columns[n], unread) for n in (*NUMBERS_REQUIRED, *NUMBERS_OPTIONAL) if n in columns},
        unread,
    )


def _csv_rows(path: Path, lines: Any, width: int) -> tuple[list[list[str]], npt.NDArray[np.int64]]:
    rows = []
    places = array("q")
    for row in lines:
        if not row:
            continue  # a blank line
        if len(row) != width:
            raise TraceError(
                f"{path}: line {lines.line_num} has {len(row)} fields, the header has {width}; "
                "correct the line (a comma in a value needs quotes)"
            )
        rows.append(row)
        places.append(lines.line_num)
        _check_rows(path, len(rows))
    return rows, np.array(places, dtype=np.int64)


def _numbers(name: str, texts: tuple[str, ...], unread: dict[tuple[str, int], str]) -> Floats:
    values = array("d")
    for row, text in enumerate(texts):
        try:
            values.append(float(text) if text else np.nan)
        except ValueError:
            values.append(np.nan)
            unread[name, row] = text
    return np.array(values, dtype=np.float64)


# ── Standard Workload Format ──────────────────────────────────────────────────────────────────────────────────────
SWF_FIELDS: Final = 18
_SWF_GAP: Final = "-1"
# Positions from 0 of the fields that are read.
_JOB, _SUBMIT, _RUN_TIME, _ALLOCATED, _REQUESTED, _USER, _GROUP, _QUEUE = 0, 1, 3, 4, 7, 11, 12, 14


def read_swf(path: Path) -> Table:
    """Standard Workload Format of the Parallel Workloads Archive: `;` lines are its header, 18 fields a line.

    Used, counted from 1: 1 job number; 2 submit time; 4 run time; 8 requested processors (5 allocated, where 8 is
    -1), taken as GPUs; 12 user; 13 group as `group-N`, else 15 queue as `queue-N`, else `all`, as tenant. A gap (-1)
    in time or processors is an absent value. Not used: wait time (the replay decides it), CPU time, memory, requested
    time, status, executable, partition, preceding job and think time.
    """
    rows = []
    places = array("q")
    with path.open(encoding="utf-8", newline=None) as file:
        for number, line in enumerate(file, 1):
            if line.startswith(";") or not line.strip():
                continue
            fields = line.split()
            if len(fields) != SWF_FIELDS:
                raise TraceError(
                    f"{path}: line {number} has {len(fields)} fields, Standard Workload Format has {SWF_FIELDS}; "
                    "the file may be truncated: fetch it again"
                )
            rows.append(fields)
            places.append(number)
            _check_rows(path, len(rows))
    unread: dict[tuple[str, int], str] = {}
    gpus = [row[_ALLOCATED] if row[_REQUESTED] == _SWF_GAP else row[_REQUESTED] for row in rows]
    return Table(
        path,
        "line",
        np.array(places, dtype=np.int64),
        {
            "job_id": [row[_JOB] for row in rows],
            "tenant": [_swf_tenant(row) for row in rows],
            "user": [None if row[_USER] == _SWF_GAP else row[_USER] for row in rows],
        },
        {
            # a submit time of -1 is a time: traces may start before their zero
            "submit_s": _numbers("submit_s", tuple(row[_SUBMIT] for row in rows), unread),
            "duration_s": _numbers("duration_s", tuple(_swf_value(row[_RUN_TIME]) for row in rows), unread),
            "gpus": _numbers("gpus", tuple(_swf_value(text) for text in gpus), unread),
        },
        unread,
    )


def _swf_tenant(fields: list[str]) -> str:
    if fields[_GROUP] != _SWF_GAP:
        return f"group-{fields[_GROUP]}"
    if fields[_QUEUE] != _SWF_GAP:
        return f"queue-{fields[_QUEUE]}"
    return "all"


def _swf_value(text: str) -> str:
    return "" if text == _SWF_GAP else text


# ── shared ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _check_columns(path: Path, names: list[str]) -> None:
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        raise TraceError(
            f"{path}: column{'s' * (len(missing) > 1)} {', '.join(missing)} missing; the file has "
            f"{', '.join(names)[:200] or 'none'}; needed are {', '.join(_REQUIRED)}"
        )
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise TraceError(f"{path}: column {doubled[0]} stands twice in the header; keep one")


def _check_rows(path: Path, rows: int) -> None:
    if rows > ROWS_MAX:
        raise TraceError(f"{path}: more than {ROWS_MAX} rows; replay a part of it")


READERS: Final[dict[str, Callable[[Path], Table]]] = {
    ".parquet": read_parquet,
    ".csv": read_csv,
    ".swf": read_swf,
}
