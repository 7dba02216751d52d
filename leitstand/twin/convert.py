# SPDX-License-Identifier: Apache-2.0
"""A trace written as Parquet, which other tools read, and which is read back as it was. Called by the CLI."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from leitstand.core.units import SECOND_US
from leitstand.twin.traces import Trace, TraceError


def write_trace(trace: Trace, path: Path) -> None:
    """Write `trace` to the new file `path`: job_id, tenant, user, submit_s, duration_s, gpus, priority, limit_s.

    Seconds are floats: up to 2³² s (the year 2106) every microsecond is read back, beyond that the next one may be.
    TraceError if there is something already, or it cannot be written; what was begun is removed again.
    """
    if path.suffix.lower() != ".parquet":
        raise TraceError(f"{path}: suffix {path.suffix or '(none)'} is not .parquet; that is what is written")
    users = [*trace.users, None]  # the last for -1: none
    columns = {
        "job_id": pa.array(trace.job_ids, pa.string()),
        "tenant": pa.array([trace.tenants[code] for code in trace.tenant.tolist()], pa.string()),
        "user": pa.array([users[code] for code in trace.user.tolist()], pa.string()),
        "submit_s": pa.array(trace.submit_us / SECOND_US, pa.float64()),
        "duration_s": pa.array(trace.duration_us / SECOND_US, pa.float64()),
        "gpus": pa.array(trace.gpus, pa.int64()),
        "priority": pa.array(trace.priority, pa.int64()),
    }
    if trace.limit_us is not None:
        columns["limit_s"] = pa.array(
            trace.limit_us / SECOND_US, pa.float64(), mask=np.asarray(trace.limit_us == 0)
        )
    try:
        with path.open("xb") as file:
            try:
                pq.write_table(pa.table(columns), file, compression="zstd")
            except BaseException:
                path.unlink(missing_ok=True)
                raise
    except FileExistsError as error:
        raise TraceError(f"{path}: exists already; name a new file, or remove this one") from error
    except OSError as error:
        raise TraceError(f"{path}: cannot be written: {error.strerror or error}") from error
