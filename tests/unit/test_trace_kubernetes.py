# SPDX-License-Identifier: Apache-2.0
"""A listing of Kubernetes Jobs becomes a trace, the same from JSON and YAML."""

import json
from pathlib import Path
from typing import Any

import pytest

from leitstand.twin.traces import Form, TraceError, read_trace

DATA = Path(__file__).parent.parent / "data" / "kubernetes"
MORNING_S = 1_772_438_400  # 2026-03-02T08:00:00Z


def job(name: str = "j", **spec: Any) -> dict[str, Any]:
    """A Job of two GPUs that ran for a minute."""
    container = {"name": "c", "resources": {"limits": {"nvidia.com/gpu": "2"}}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "n", "creationTimestamp": "2026-03-02T08:00:00Z"},
        "spec": {"parallelism": 1, "template": {"spec": {"containers": [container]}}} | spec,
        "status": {"startTime": "2026-03-02T08:00:10Z", "completionTime": "2026-03-02T08:01:10Z"},
    }


def listing(folder: Path, *items: Any) -> Path:
    path = folder / "jobs.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(items)}))
    return path


def pod(**spec: Any) -> dict[str, Any]:
    return {"template": {"spec": spec}}


def gpus(count: object, resource: str = "nvidia.com/gpu", **more: Any) -> dict[str, Any]:
    return {"resources": {"limits": {resource: count}}} | more


@pytest.mark.parametrize("name", ["jobs.yaml", "jobs.json"])
def test_a_listing_is_read(name: str) -> None:
    trace = read_trace(DATA / name)
    assert trace.job_ids == ["werk-nord/vision-train", "uni-sued/sweep"]
    assert [trace.tenants[code] for code in trace.tenant] == ["werk-nord", "uni-sued"]
    assert trace.submit_us.tolist() == [MORNING_S * 10**6, (MORNING_S + 300) * 10**6]
    assert trace.duration_us.tolist() == [3600 * 10**6, 1800 * 10**6]  # the second failed
    assert trace.gpus.tolist() == [32, 3]  # 4 pods of 8; 3 of 100 at once
    assert trace.limit_us is not None
    assert trace.limit_us.tolist() == [7200 * 10**6, 0]
    assert trace.set_aside == {
        "never started": 1,
        "still running": 1,
        "without GPU": 1,
        "of another kind than Job": 1,
    }


def test_one_job_alone_is_a_listing_too(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text(json.dumps(job()))
    assert read_trace(path).job_ids == ["n/j"]


def test_a_label_may_name_the_tenant(tmp_path: Path) -> None:
    labelled = job()
    labelled["metadata"]["labels"] = {"example.org/team": "optics"}
    form = Form(tenant_from="example.org/team")
    assert read_trace(listing(tmp_path, labelled), form=form).tenants == ["optics"]
    with pytest.raises(
        TraceError, match=r"item 2, column metadata.labels.example.org/team: \(absent\) is needed"
    ):
        read_trace(listing(tmp_path, labelled, job("k")), form=form)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"parallelism": 4, "completions": 2}, 4),
        ({"parallelism": 4, "completions": None}, 8),
        (pod(containers=[gpus(1), gpus(2), {"name": "plain"}]), 3),
        (pod(containers=[gpus(1)], initContainers=[gpus(4)]), 4),
        (pod(containers=[gpus(1)], initContainers=[gpus(1, restartPolicy="Always"), gpus(1)]), 2),
        (pod(containers=[gpus(3, "amd.com/gpu")]), 3),
        (pod(containers=[{"resources": {"requests": {"nvidia.com/gpu": 5}}}]), 5),
        (pod(containers=[gpus(2), gpus(7, "nvidia.com/mig-1g.10gb")]), 2),
    ],
)
def test_gpus_are_those_of_the_pods_that_run_at_once(tmp_path: Path, spec: Any, expected: int) -> None:
    assert read_trace(listing(tmp_path, job(**spec))).gpus.tolist() == [expected]


@pytest.mark.parametrize("text", ["2026-03-02T09:30:00.25+01:30", "2026-03-02T05:00:00.25-03:00"])
def test_offsets_and_fractions_of_seconds_are_read(tmp_path: Path, text: str) -> None:
    other = job()
    other["metadata"]["creationTimestamp"] = text
    assert read_trace(listing(tmp_path, other)).submit_us.tolist() == [MORNING_S * 10**6 + 250_000]


def test_a_job_that_makes_no_pods_never_started_and_one_that_may_fail_still_runs(tmp_path: Path) -> None:
    runs = job("runs")
    runs["status"] = {
        "startTime": "2026-03-02T08:00:10Z",
        "conditions": [
            {"type": "Failed", "status": "False", "lastTransitionTime": "2026-03-02T08:01:00Z"},
            {"type": "FailureTarget", "status": "True", "lastTransitionTime": "2026-03-02T08:01:00Z"},
        ],
    }
    trace = read_trace(listing(tmp_path, job("good"), job("none", parallelism=0), runs))
    assert trace.job_ids == ["n/good"]
    assert trace.set_aside == {"never started": 1, "still running": 1}


def spoilt(where: str, key: str, value: object) -> dict[str, Any]:
    bad = job("bad")
    bad[where][key] = value
    return bad


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (spoilt("metadata", "creationTimestamp", "soon"), "metadata.creationTimestamp: 'soon' is no moment"),
        (spoilt("metadata", "creationTimestamp", None), "metadata.creationTimestamp: (absent or NaN)"),
        (spoilt("metadata", "creationTimestamp", 1_772_438_400), "metadata.creationTimestamp: 1772438400 is no moment"),
        (spoilt("metadata", "creationTimestamp", "0001-01-01T00:00:00Z"), "'0001-01-01T00:00:00Z' is no moment"),
        (spoilt("metadata", "name", None), "metadata.name: (absent) is needed"),
        (spoilt("metadata", "namespace", 3), "metadata.namespace: (absent) is needed"),
        (spoilt("status", "completionTime", "2026-03-02T08:00:09Z"), "status.completionTime: 1772438409 is before its"),
        (spoilt("status", "startTime", "2026-03-02T07:59:59Z"), "status.startTime: 1772438399 is before its creation"),
        (spoilt("spec", "parallelism", -1), "spec.parallelism: -1 is not a whole number in 0..1000000000"),
        (spoilt("spec", "completions", "many"), "spec.completions: 'many' is not a whole number"),
        (spoilt("spec", "activeDeadlineSeconds", 1.5), "spec.activeDeadlineSeconds: 1.5 is not a whole number"),
        (spoilt("spec", "parallelism", 10**9), "nvidia.com/gpu: 2e+09 is not a whole number of GPUs in 1..1000000"),
        (job("bad", **pod(containers=[gpus("500m")])), "nvidia.com/gpu: '500m' is not a whole number"),
        (job("good"), "metadata.name: n/good is the id of the job in item 1 already"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_named_with_item_and_key(tmp_path: Path, bad: Any, says: str) -> None:
    path = listing(tmp_path, job("good"), bad, 7)
    with pytest.raises(TraceError) as refused:
        read_trace(path)
    assert f"{path}: item 2, column {says}" in str(refused.value) or says in str(refused.value)
    assert "item 2, column" in str(refused.value)
    kept = read_trace(path, lenient=True)
    assert (kept.job_ids, kept.dropped) == (["n/good"], 2)
    assert kept.dropped_why[1] == "item 3 is 7, no object"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("jobs.json", '{"apiVersion": "v1", "kind": "List", "items": [', "is not whole JSON"),
        ("jobs.json", "[1, 2]", "neither a listing of Kubernetes (kind, items) nor of sacct --json (jobs) nor a"),
        ("jobs.json", '{"apiVersion": "v1", "kind": "List"}', 'has no list "items"; export it with: kubectl get jobs'),
        ("jobs.json", '{"apiVersion": "v1", "kind": "List", "items": []}', "holds no job"),
        ("jobs.yaml", "kind: List\napiVersion: v1\nitems: [\n", "line 4 is not YAML"),
        ("jobs.yaml", "kind: List\n---\nkind: List\n", "is not YAML: expected a single document"),
        ("jobs.yaml", "a: !!python/object/apply:os.abort []\n", "is not YAML: could not determine a constructor"),
        ("jobs.yaml", "just words\n", "but a str; export it again"),
        ("jobs.yaml", "[" * 5000, "line 1 is nested more than 100 deep"),
        ("jobs.yaml", "- " * 500_000 + "a", "line 1 is nested more than 100 deep"),
        ("jobs.yaml", "[" * 500_000 + "]" * 500_000, "line 1 is nested more than 100 deep"),
        ("jobs.json", "[" * 100_000, "is nested too deeply"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_listing_is_refused(tmp_path: Path, name: str, content: str, says: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(TraceError) as refused:
        read_trace(path)
    assert str(path) in str(refused.value)
    assert says in str(refused.value)
