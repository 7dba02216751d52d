# SPDX-License-Identifier: Apache-2.0
"""Files of recorded jobs that others write, each format with what its reader promises and with seeds: a trace whose
every value a replay can use, or TraceError that names the file; no other exception, whatever the bytes.

Called by `tests.fuzz.parsers`, which holds the readers of everything else.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from leitstand.twin.cluster import read_cluster
from leitstand.twin.traces import GPUS_MAX, PRIORITY_MAX, Form, Trace, TraceError, read_trace
from leitstand.twin.workload import describe

DATA: Final = Path(__file__).resolve().parents[1] / "data"
WORKLOADS: Final = Path(__file__).resolve().parents[2] / "bench" / "workloads"
SUFFIX: Final = {
    "parquet": ".parquet",
    "csv": ".csv",
    "swf": ".swf",
    "sacct": ".txt",
    "sacct-json": ".json",
    "kubernetes": ".yaml",
    "kueue": ".yml",
}


def check(name: str, folder: Path, data: bytes) -> None:
    """Read `data` as a file of the format `name`, told and untold, strict and lenient."""
    path = folder / f"trace{SUFFIX[name]}"
    path.write_bytes(data)
    strict = _read(path, Form(name), lenient=False)
    lenient = _read(path, Form(name), lenient=True)
    if strict is not None:
        assert lenient is not None
        assert (strict.job_ids, strict.dropped, lenient.dropped) == (lenient.job_ids, 0, 0)
    _read(path, Form(), lenient=True)
    for found in (strict, lenient):
        if found is not None:
            _usable(found)


def check_cluster(folder: Path, data: bytes) -> None:
    """A cluster with nodes of some size, or TraceError that names the file; as JSON and as a generator's quotas."""
    for name in ("some.cluster.json", "some.yaml"):
        path = folder / name
        path.write_bytes(data)
        try:
            cluster = read_cluster(path)
        except TraceError as refusal:
            _says(path, refusal)
            continue
        assert 0 < cluster.gpus_per_node <= cluster.gpus
        assert all(nodes >= 0 for nodes in cluster.nodes_of.values())


def clusters() -> Iterator[bytes]:
    """Clusters in both forms."""
    yield b'{"gpus_per_node": 8, "vc_nodes": {"a": 4, "b": 0}, "note": [1, null, {"x": "y"}]}'
    yield from _kueue()


def _read(path: Path, form: Form, *, lenient: bool) -> Trace | None:
    try:
        return read_trace(path, lenient=lenient, form=form)
    except TraceError as refusal:
        _says(path, refusal)
        return None


def _says(path: Path, refusal: Exception) -> None:
    said = str(refusal)
    assert str(path) in said
    assert said.isprintable(), said
    assert len(said) < 2000 + len(str(path)), said


def _usable(trace: Trace) -> None:
    assert len(trace) == len(set(trace.job_ids)) == len(trace.gpus)
    assert all(trace.job_ids)
    assert all(trace.tenants)
    assert (np.diff(trace.submit_us) >= 0).all()
    assert (trace.duration_us >= 1).all()
    assert ((trace.gpus >= 1) & (trace.gpus <= GPUS_MAX)).all()
    assert ((trace.priority >= 0) & (trace.priority <= PRIORITY_MAX)).all()
    assert trace.limit_us is None or (trace.limit_us >= 0).all()
    assert len(trace.dropped_why) == min(trace.dropped, 1000)
    assert describe(trace).jobs == len(trace)


def seeds(name: str) -> Iterator[bytes]:
    """What is right in the format `name`."""
    yield from _SEEDS[name]()


def _parquet() -> Iterator[bytes]:
    columns = {"job_id": ["a", "b"], "tenant": ["t", "t"], "user": ["u", None], "submit_s": [0.0, 2.5]}
    numbers = {"duration_s": [1.0, 2.0], "gpus": [1, 8], "priority": [0, 7], "limit_s": [None, 60.0]}
    for compression in ("none", "zstd"):
        file = io.BytesIO()
        pq.write_table(pa.table({**columns, **numbers}), file, compression=compression)
        yield file.getvalue()


def _csv() -> Iterator[bytes]:
    yield b"job_id,tenant,submit_s,duration_s,gpus,priority,limit_s\na,t,0,1,1,,\nb,t,-2.5,3e2,8,7,600\n"
    yield b'\xef\xbb\xbfgpus,duration_s,job_id,submit_s,tenant,user\n1,5,"a,b",7,t,\xc3\xbc\n'


def _swf() -> Iterator[bytes]:
    yield b"; head\n1 0 0 60 3 -1 -1 4 600 -1 1 3 7 -1 2 -1 -1 -1\n2 5 0 60 3 -1 -1 -1 -1 -1 1 3 -1 -1 2 -1 -1 -1\n"


def _sacct() -> Iterator[bytes]:
    lines = (DATA / "slurm" / "sacct.txt").read_bytes().splitlines(keepends=True)
    yield b"".join(lines[:8])
    yield b"".join([lines[0], *(line for line in lines if line.startswith((b"6|", b"13+", b"15|", b"23|")))])
    yield (DATA / "slurm" / "trailing.txt").read_bytes()[:700].rpartition(b"\n")[0] + b"\n"


def _sacct_json() -> Iterator[bytes]:
    jobs = json.loads((DATA / "slurm" / "sacct.json").read_bytes())["jobs"]
    for job in jobs:
        job["steps"] = []
    yield json.dumps({"jobs": [job for job in jobs if job["job_id"] in (2, 6, 13, 14)]}).encode()
    later = {
        "job_id": {"set": True, "infinite": False, "number": 7},
        "account": "a",
        "state": {"current": ["COMPLETED"]},
        "time": {"submission": 1795436979, "start": 1795436979, "end": 1795436997, "elapsed": 18,
                 "limit": {"set": True, "infinite": False, "number": 10}},
        "tres": {"allocated": [{"type": "gres", "name": "gpu", "count": 2}]},
    }  # fmt: skip
    yield json.dumps({"jobs": [later]}).encode()


def _kubernetes() -> Iterator[bytes]:
    whole = (DATA / "kubernetes" / "jobs.yaml").read_bytes()
    yield whole
    yield (DATA / "kubernetes" / "jobs.json").read_bytes()  # JSON is YAML, too
    yield whole.replace(b"items:", b"items: &all").replace(b"kind: List", b"kind: List\nmore: *all")


def _kueue() -> Iterator[bytes]:
    yield (WORKLOADS / "kueue-baseline.yaml").read_bytes().replace(b"count: 350", b"count: 3")
    yield (
        b"- className: c\n  count: 2\n  queuesSets:\n  - className: q\n    nominalQuota: 2500m\n    workloadsSets:\n"
        b"    - workloads:\n      - {className: w, runtimeMs: 5, priority: -1, request: 500m, podCount: 2}\n"
    )
    yield (
        b"cohorts:\n- className: c\n  queuesSets:\n  - className: q\n    resources:\n    - {name: pods}\n"
        b"    - {name: cpu, nominalQuota: 4, borrowingLimit: 1, lendingLimit: 2}\n    workloadsSets:\n"
        b"    - {count: 2, creationIntervalMs: 9, workloads: [{className: w, runtimeMs: 5, request: 1}]}\n"
    )


_SEEDS: Final = {
    "parquet": _parquet,
    "csv": _csv,
    "swf": _swf,
    "sacct": _sacct,
    "sacct-json": _sacct_json,
    "kubernetes": _kubernetes,
    "kueue": _kueue,
}
