# SPDX-License-Identifier: Apache-2.0
"""Traces and clusters are read as they are written down: values, order, optional columns, all three formats."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leitstand.core.facts import NodeAdded, TenantAdded
from leitstand.twin.cluster import Cluster, fleet, read_cluster
from leitstand.twin.traces import read_trace

DATA = Path(__file__).parent.parent / "data"
HEADER = "job_id,tenant,user,submit_s,duration_s,gpus,nodes,cpus,mem_gb,state"


def written(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "jobs.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def as_parquet(folder: Path, **columns: object) -> Path:
    path = folder / "jobs.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_csv_gives_integer_microseconds_and_codes(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path, "a,t1,u1,-2.5,0.000001,1,,,,", "b,t2,,0.1,2e3,8.0,1,4,64,Passed"))
    assert trace.job_ids == ["a", "b"]
    assert trace.submit_us.tolist() == [-2_500_000, 100_000]
    assert trace.duration_us.tolist() == [1, 2_000_000_000]
    assert trace.gpus.tolist() == [1, 8]
    assert [trace.tenants[code] for code in trace.tenant] == ["t1", "t2"]
    assert trace.users == ["u1"]
    assert trace.user.tolist() == [0, -1]
    assert trace.priority.tolist() == [0, 0]
    assert {column.dtype for column in (trace.submit_us, trace.duration_us, trace.gpus)} == {
        np.dtype(np.int64)
    }


def test_jobs_are_ordered_by_submit_time_and_ties_by_row(tmp_path: Path) -> None:
    rows = [f"j{number},t,,{number % 3},1,1,,,," for number in range(60)]
    trace = read_trace(written(tmp_path, *rows))
    assert trace.job_ids == [f"j{number}" for rest in range(3) for number in range(rest, 60, 3)]


def test_all_three_formats_give_the_same_jobs(tmp_path: Path) -> None:
    jobs = [
        ("1", "group-7", "3", 0.0, 60.0, 4.0),
        ("2", "queue-2", None, 5.0, 61.0, 1.0),
        ("3", "all", "4", 9.0, 1.0, 2.0),
    ]
    lines = [",".join("" if value is None else str(value) for value in job) + ",,,," for job in jobs]
    swf = tmp_path / "jobs.swf"
    swf.write_text(
        "; a header; with semicolons\n\n"
        "1 0 9 60 9 -1 -1 4 -1 -1 1 3 7 -1 2 -1 -1 -1\n"
        "2 5 9 61 1 -1 -1 -1 -1 -1 1 -1 -1 -1 2 -1 -1 -1\n"
        "  3 9 -1 1 2 -1 -1 2 -1 -1 0 4 -1 -1 -1 -1 -1 -1\n"
    )
    names = ("job_id", "tenant", "user", "submit_s", "duration_s", "gpus")
    columns = {name: [job[at] for job in jobs] for at, name in enumerate(names)}
    columns["gpus"] = pa.array(columns["gpus"], pa.float32())
    columns["job_id"] = pa.array(columns["job_id"], pa.large_string())
    columns["tenant"] = pa.array(columns["tenant"]).dictionary_encode()
    traces = [
        read_trace(path)
        for path in (written(tmp_path, *lines), swf, as_parquet(tmp_path, **columns, anything=[None] * 3))
    ]
    assert traces[0].job_ids == ["1", "2", "3"]
    assert traces[0].submit_us.tolist() == [0, 5_000_000, 9_000_000]
    for other in traces[1:]:
        for column in ("job_ids", "tenants", "tenant", "users", "user", "submit_us", "duration_us", "gpus"):
            assert list(getattr(other, column)) == list(getattr(traces[0], column)), column


def test_swf_takes_requested_processors_and_else_allocated(tmp_path: Path) -> None:
    path = tmp_path / "jobs.swf"
    path.write_text(
        "1 0 0 60 3 -1 -1 4 -1 -1 1 3 7 -1 2 -1 -1 -1\n2 0 0 60 3 -1 -1 -1 -1 -1 1 3 7 -1 2 -1 -1 -1\n"
    )
    assert read_trace(path).gpus.tolist() == [4, 3]


def test_a_submit_time_of_minus_one_in_swf_is_a_time(tmp_path: Path) -> None:
    path = tmp_path / "jobs.swf"
    path.write_text("1 -1 0 60 3 -1 -1 4 -1 -1 1 3 7 -1 2 -1 -1 -1\n")
    assert read_trace(path).submit_us.tolist() == [-1_000_000]


def test_a_job_of_no_length_lasts_one_tick(tmp_path: Path) -> None:
    assert read_trace(written(tmp_path, "a,t,,0,0,1,,,,")).duration_us.tolist() == [1]


def test_columns_come_in_any_order_and_optional_ones_may_be_missing(tmp_path: Path) -> None:
    path = written(tmp_path, "1,5,a,7,t,\ufeffx", header="\ufeffgpus,duration_s,job_id,submit_s,tenant,note")
    trace = read_trace(path)
    assert (trace.gpus[0], trace.duration_us[0], trace.submit_us[0]) == (1, 5_000_000, 7_000_000)
    assert trace.users == []


def test_priorities_are_read_where_a_trace_has_them(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path, "a,t,,0,1,1,,,,,7", "b,t,,0,1,1,,,,,", header=HEADER + ",priority"))
    assert trace.priority.tolist() == [7, 0]


def test_time_limits_are_read_where_a_trace_has_them(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path, "a,t,,0,1,1,,,,,7.5", "b,t,,0,1,1,,,,,", header=HEADER + ",limit_s"))
    assert trace.limit_us is not None
    assert trace.limit_us.tolist() == [7_500_000, 0]
    assert read_trace(written(tmp_path, "a,t,,0,1,1,,,,")).limit_us is None
    swf = tmp_path / "jobs.swf"
    swf.write_text(
        "1 0 0 60 3 -1 -1 4 900 -1 1 3 7 -1 2 -1 -1 -1\n2 0 0 60 3 -1 -1 4 0 -1 1 3 7 -1 2 -1 -1 -1\n"
    )
    limits = read_trace(swf).limit_us
    assert limits is not None
    assert limits.tolist() == [900_000_000, 0]


def test_jobs_out_of_order_are_sorted_and_counted(tmp_path: Path) -> None:
    trace = read_trace(
        written(tmp_path, "a,t,,5,1,1,,,,", "b,t,,3,1,1,,,,", "c,t,,4,1,1,,,,", "d,t,,9,1,1,,,,")
    )
    assert (trace.job_ids, trace.unsorted) == (["b", "c", "a", "d"], 1)


def test_lenient_leaves_unusable_rows_out_and_says_which(tmp_path: Path) -> None:
    path = written(
        tmp_path, "a,t,,0,1,0.5,,,,", "b,t,,0,1,1,,,,", "b,t,,5,1,1,,,,", "c,,,x,1,1,,,,", "d,t,,9,1,2,,,,"
    )
    trace = read_trace(path, lenient=True)
    assert trace.job_ids == ["b", "d"]
    assert trace.dropped == 3
    assert trace.dropped_why == (
        "line 2, column gpus: 0.5 is not a whole number of GPUs in 1..1000000",
        "line 4, column job_id: b is the id of the job in line 3 already",
        "line 5, column submit_s: 'x' is not a time within ±9000000000 s",
    )


def test_the_committed_synthetic_traces_are_usable() -> None:
    trace = read_trace(DATA / "synthetic.csv")
    assert (len(trace), trace.dropped) == (420, 0)
    assert trace.submit_us[0] < 0
    assert np.all(np.diff(trace.submit_us) >= 0)
    assert len(read_trace(DATA / "synthetic.swf")) == 40


# ── clusters ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_cluster_becomes_tenants_and_nodes(tmp_path: Path) -> None:
    path = tmp_path / "x.cluster.json"
    path.write_text(
        json.dumps({"gpus_per_node": 4, "vc_nodes": {"b": 2, "a": 1, "none": 0}, "note": "ignored"})
    )
    cluster = read_cluster(path)
    assert cluster == Cluster(4, {"b": 2, "a": 1, "none": 0})
    assert cluster.gpus == 12
    facts = fleet(cluster, static=True)
    assert [fact.tenant for fact in facts if isinstance(fact, TenantAdded)] == ["b", "a", "none"]
    nodes = [fact for fact in facts if isinstance(fact, NodeAdded)]
    assert [(node.node, node.pool, node.gpus) for node in nodes] == [
        ("node-00001", "b", 4),
        ("node-00002", "b", 4),
        ("node-00003", "a", 4),
    ]
    pooled = [fact.pool for fact in fleet(cluster, static=False) if isinstance(fact, NodeAdded)]
    assert pooled == ["shared"] * 3


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is no cluster file"),
        ("{", "is no cluster file"),
        ("[1]", "holds list, no object"),
        ('{"vc_nodes": {"a": 1}}', "gpus_per_node is missing"),
        ('{"gpus_per_node": 8}', "vc_nodes is missing"),
        ('{"gpus_per_node": 0, "vc_nodes": {"a": 1}}', "gpus_per_node is 0, no whole number in 1..1024"),
        ('{"gpus_per_node": true, "vc_nodes": {"a": 1}}', "gpus_per_node is True"),
        ('{"gpus_per_node": 8, "vc_nodes": [1]}', "vc_nodes is list, no object"),
        ('{"gpus_per_node": 8, "vc_nodes": {"a": 1.5}}', "vc_nodes of tenant 'a' is 1.5"),
        ('{"gpus_per_node": 8, "vc_nodes": {"a": -1}}', "vc_nodes of tenant 'a' is -1"),
        ('{"gpus_per_node": 8, "vc_nodes": {"a": 1}, "classes": ["a"]}', "classes is list, no object"),
        (
            '{"gpus_per_node": 8, "vc_nodes": {"a": 1}, "classes": {"a": "x"}}',
            "class 'x' of tenant 'a' is unknown",
        ),
        (
            '{"gpus_per_node": 8, "vc_nodes": {"a": 1}, "classes": {"b": "public"}}',
            "classes names tenant 'b'",
        ),
        ('{"gpus_per_node": 8, "vc_nodes": {"a": 1, "a": 2}}', "'a' stands twice"),
        ('{"gpus_per_node": 8, "vc_nodes": {"": 1}}', "empty name"),
        ('{"gpus_per_node": 8, "vc_nodes": {"a": 0}}', "adds up to 0 nodes"),
        ('{"gpus_per_node": 8, "vc_nodes": {"a": 99999, "b": 2}}', "adds up to 100001 nodes"),
    ],
)
def test_a_bad_cluster_file_is_refused_with_its_name(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "x.cluster.json"
    path.write_text(content)
    with pytest.raises(ValueError) as refused:
        read_cluster(path)
    assert says in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_missing_cluster_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x\.cluster\.json: cannot be read: No such file"):
        read_cluster(tmp_path / "x.cluster.json")
