# SPDX-License-Identifier: Apache-2.0
"""What every reader of recorded jobs gives: columns as they stand in the file, and what could not be read.

Called by the readers of this package, one module per format, and by `leitstand.twin.traces`, which judges the values.
A reader refuses what is no file of its kind at all; a line that is no row, a value that cannot be, and rows that hold
no job to replay stay here by their places, so that the judge can name or count them.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

ROWS_MAX: Final = 20_000_000

TEXTS_REQUIRED: Final = ("job_id", "tenant")
NUMBERS_REQUIRED: Final = ("submit_s", "duration_s", "gpus")
TEXTS_OPTIONAL: Final = ("user",)
NUMBERS_OPTIONAL: Final = ("priority", "limit_s")
REQUIRED: Final = TEXTS_REQUIRED + NUMBERS_REQUIRED
SHOWN_MAX: Final = 60  # characters of a value in a message


class TraceError(ValueError):
    """A trace or cluster file that cannot be used: the message names the file, the place, the value and the remedy."""


class Fault(NamedTuple):
    """What a reader itself found wrong with a value of a row (its index)."""

    row: int
    column: str
    value: str
    what: str


class Broken(NamedTuple):
    """A place of the file that is no row, and why: it can only be left out."""

    place: int
    what: str


@dataclass(frozen=True, slots=True)
class Table:
    """The columns that the twin reads, one value per row; an absent value is None in a text and NaN in a number.

    `unit`: what the numbers in `places` count ("row", "line", "item"), for messages; `called`: what a column is called
    in the file, where it is not its own name. `unread`: text that is no number, by (column, row index). `set_aside`:
    rows that are right but hold no job to replay, counted by why.
    """

    path: Path
    unit: str
    places: npt.NDArray[np.int64]
    texts: dict[str, list[str | None]]
    numbers: dict[str, Floats]
    unread: dict[tuple[str, int], str] = field(default_factory=dict)
    called: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    set_aside: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Form:
    """How a file is to be read where it does not say so itself.

    `name`: of the format, '' to tell it from suffix and content. `time_zone`: of local times (IANA name).
    `tenant_from`: which column (Slurm) or label (Kubernetes) names the tenant, '' for account and namespace.
    """

    name: str = ""
    time_zone: str = "UTC"
    tenant_from: str = ""


def empty(path: Path, unit: str) -> Table:
    """A table without rows, in which a reader notes what is no row."""
    return Table(path, unit, np.zeros(0, np.int64), {}, {})


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """What the operating system or a decoder says about `path`, as a TraceError."""
    try:
        yield
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TraceError(
            f"{path}: byte {error.start} is not UTF-8 text; convert the file (iconv -t UTF-8)"
        ) from error
    except RecursionError as error:
        raise TraceError(f"{path}: is nested too deeply; this is no trace") from error


def check_columns(path: Path, names: Sequence[str]) -> None:
    """TraceError unless all columns of the Parquet form are among `names`, and none stands twice."""
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise TraceError(
            f"{path}: column{'s' * (len(missing) > 1)} {', '.join(missing)} missing; the file has "
            f"{listed(names) or 'none'}; needed are {', '.join(REQUIRED)}"
        )
    check_once(path, names)


def check_once(path: Path, names: Sequence[str]) -> None:
    """TraceError if a column stands twice."""
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise TraceError(f"{path}: column {shown(doubled[0])} stands twice in the header; keep one")


def check_rows(path: Path, rows: int) -> None:
    """TraceError if there are more rows than a trace may have."""
    if rows > ROWS_MAX:
        raise TraceError(f"{path}: more than {ROWS_MAX} rows; replay a part of it")


def numbers_of(column: str, texts: Iterable[str], unread: dict[tuple[str, int], str]) -> Floats:
    """`texts` as numbers; NaN for '' and for what is none, which `unread` keeps."""
    values = array("d")
    for row, text in enumerate(texts):
        try:
            values.append(float(text) if text else np.nan)
        except ValueError:
            values.append(np.nan)
            unread[column, row] = text
    return np.array(values, dtype=np.float64)


def listed(names: Iterable[str]) -> str:
    """Names for a message, as many as fit."""
    return ", ".join(map(shown, islice(names, 50)))[:200]


def shown(value: object) -> str:
    """A value for a message: short, and without control characters."""
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(value))
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…"
