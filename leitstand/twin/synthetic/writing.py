# SPDX-License-Identifier: Apache-2.0
"""A generated workload as files that the replay takes: the trace (Parquet) and its cluster (JSON).

Called by the CLI.
"""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from leitstand.twin.synthetic.columns import KINDS, STATES
from leitstand.twin.synthetic.exact import Ints
from leitstand.twin.synthetic.generate import Workload
from leitstand.twin.synthetic.parameters import Model

ROWS_AT_ONCE: Final = 1_000_000


def cluster_path(trace: Path) -> Path:
    """Where the cluster of `trace` is written: beside it."""
    return trace.with_suffix(".cluster.json")


def write(workload: Workload, model: Model, trace: Path) -> None:
    """Both files, new or in place of older ones; a file that would not be whole is not left behind."""
    if not trace.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(trace.parent))
    with _whole(trace) as path:
        write_trace(workload, model, path)
    with _whole(cluster_path(trace)) as path:
        path.write_text(json.dumps(_cluster(workload), indent=1) + "\n", encoding="utf-8")


def write_trace(workload: Workload, model: Model, path: Path) -> None:
    """One row per job. Beyond what the replay reads: class, project, kind, group (jobs submitted together), gpu_milli,
    limit_s and state."""
    notes = {
        "leitstand.model": f"synthetic {workload.model}",
        "leitstand.digest": workload.digest,
        "leitstand.demand": json.dumps(
            {name: getattr(workload.demand, name) for name in workload.demand.__struct_fields__}
        ),
        "leitstand.sources": "; ".join(
            f"{source.title} ({source.licence})" for source in model.fitted.sources.values()
        ),
    }
    writer = None
    try:
        for start in range(0, len(workload.jobs), ROWS_AT_ONCE):
            rows = np.arange(start, min(start + ROWS_AT_ONCE, len(workload.jobs)))
            table = _table(workload, rows)
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema.with_metadata(notes), compression="zstd")
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _table(workload: Workload, rows: Ints) -> Any:
    jobs = workload.jobs.take(rows)
    classes = sorted(set(workload.tenant_class))
    class_of = np.array([classes.index(name) for name in workload.tenant_class])
    projects = sorted(set(workload.projects))
    number = {name: at for at, name in enumerate(projects)}
    project_of = np.array([number[name] for name in workload.projects])
    prefix = pa.scalar("j")
    return pa.table(
        {
            "job_id": pc.binary_join_element_wise(prefix, pa.array(rows + 1).cast(pa.string()), ""),
            "tenant": _coded(jobs.tenant, workload.tenants),
            "user": _coded(jobs.user, workload.users),
            "submit_s": jobs.submit_s,
            "duration_s": jobs.duration_s,
            "gpus": jobs.gpus.astype(np.int32),
            "state": _coded(jobs.state, list(STATES)),
            "priority": np.array(_priorities(workload), np.int32)[jobs.kind],
            "class": _coded(class_of[jobs.tenant], classes),
            "project": _coded(project_of[jobs.user], projects),
            "kind": _coded(jobs.kind, list(KINDS)),
            "group": jobs.group,
            "gpu_milli": jobs.milli.astype(np.int32),
            "limit_s": jobs.limit_s,
        }
    )


def _coded(codes: Ints, names: list[str]) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names))


def _priorities(workload: Workload) -> list[int]:
    return [workload.priorities[kind] for kind in KINDS]


def _cluster(workload: Workload) -> dict[str, Any]:
    demand = workload.demand
    return {
        "gpus_per_node": demand.node_gpus,
        "vc_nodes": dict(zip(workload.tenants, workload.nodes, strict=True)),
        "classes": dict(zip(workload.tenants, workload.tenant_class, strict=True)),
        "note": f"synthetic cloud, model {workload.model}, seed {demand.seed}: {demand.gpus} GPUs, "
        f"{demand.days} days, load {demand.load:g}",
    }


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to, which takes the place of `path` if all went well."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
