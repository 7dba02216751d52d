# SPDX-License-Identifier: Apache-2.0
"""Jobs in a Parquet table, the form that the twin also writes. Called by `leitstand.twin.reading.formats`."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from leitstand.twin.reading.table import (
    NUMBERS_OPTIONAL,
    NUMBERS_REQUIRED,
    REQUIRED,
    TEXTS_OPTIONAL,
    TEXTS_REQUIRED,
    Floats,
    Form,
    Table,
    TraceError,
    check_columns,
    check_rows,
    shown,
)


def read_parquet(path: Path, form: Form) -> Table:
    """Parquet with the columns job_id, tenant, submit_s, duration_s, gpus and, if present, user, priority and limit_s.

    Other columns (nodes, cpus, mem_gb, state, extras) are not read. Rows count from 1.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            check_columns(path, names)
            check_rows(path, file.metadata.num_rows)
            wanted = [n for n in (*REQUIRED, *TEXTS_OPTIONAL, *NUMBERS_OPTIONAL) if n in names]
            data = file.read(columns=wanted, use_threads=False)
        texts = {n: _texts(path, n, data.column(n)) for n in wanted if n in TEXTS_REQUIRED + TEXTS_OPTIONAL}
        numbers = {
            n: _numbers(path, n, data.column(n)) for n in wanted if n in NUMBERS_REQUIRED + NUMBERS_OPTIONAL
        }
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: holds text that is not UTF-8; export it again") from error
    except (pa.ArrowException, OSError, MemoryError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the file system's; damaged pages come without a number
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TraceError(
            f"{path}: is not whole Parquet ({shown(detail)}); it may be truncated: fetch or export it again"
        ) from error
    return Table(path, "row", np.arange(1, data.num_rows + 1), texts, numbers)


def _texts(path: Path, name: str, column: Any) -> list[str | None]:
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


def _numbers(path: Path, name: str, column: Any) -> Floats:
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
        raise TraceError(
            f"{path}: column {name} has type {kind}; it must be a number (convert it before export)"
        )
    numbers: Floats = column.cast(pa.float64(), safe=False).combine_chunks().to_numpy(zero_copy_only=False)
    return numbers
