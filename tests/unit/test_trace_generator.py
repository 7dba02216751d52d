# SPDX-License-Identifier: Apache-2.0
"""A generator's configuration becomes queues, a trace and a cluster; what it must not hold is named with its line."""

import re
from pathlib import Path

import pytest

from leitstand.twin.cluster import Cluster, read_cluster
from leitstand.twin.reading.generator import read_generator
from leitstand.twin.replay import Setting, replay
from leitstand.twin.traces import Form, TraceError, read_trace

BASELINE = Path(__file__).parents[2] / "bench" / "workloads" / "kueue-baseline.yaml"
WHOLE = """\
cohorts:
  - className: c
    count: 2
    queuesSets:
      - className: q
        count: 2
        nominalQuota: 3
        borrowingLimit: 1500m
        reclaimWithinCohort: Any
        workloadsSets:
          - count: 2
            creationIntervalMs: 100
            workloads:
              - {className: big, runtimeMs: 700, priority: 100, request: 500m, podCount: 4, tasLevel: rack}
              - {className: small, runtimeMs: 50, priority: 50, request: 1}
"""


def written(folder: Path, content: str) -> Path:
    path = folder / "generator.yaml"
    path.write_text(content)
    return path


def test_every_workload_is_created_so_long_after_the_one_before(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path, WHOLE))
    assert len(trace) == 2 * 2 * 2 * 2
    first = [number for number, user in enumerate(trace.user) if trace.users[user] == "q-0-0-c-0"]
    assert [trace.job_ids[number] for number in first] == [
        "q-0-0-c-0/big-0-0-0",
        "q-0-0-c-0/small-0-0-1",
        "q-0-0-c-0/big-0-1-0",
        "q-0-0-c-0/small-0-1-1",
    ]
    assert trace.submit_us[first].tolist() == [100_000, 200_000, 300_000, 400_000]
    assert trace.duration_us[first].tolist() == [700_000, 50_000, 700_000, 50_000]
    assert trace.gpus[first].tolist() == [2, 1, 2, 1]
    assert trace.priority[first].tolist() == [100, 50, 100, 50]
    assert trace.tenants == ["c-0", "c-1"]


def test_priorities_out_of_bounds_count_by_rank(tmp_path: Path) -> None:
    path = written(tmp_path, WHOLE.replace("priority: 100", "priority: 20000"))
    assert sorted(set(read_trace(path).priority.tolist())) == [0, 1]


def test_the_quotas_are_a_cluster(tmp_path: Path) -> None:
    assert read_cluster(written(tmp_path, WHOLE)) == Cluster(6, {"c-0": 1, "c-1": 1})
    assert read_cluster(BASELINE) == Cluster(120, {f"cohort-{number}": 1 for number in range(5)})


def test_the_baseline_is_replayed_as_its_ideal_schedule() -> None:
    """The list schedule of the published study: priority, then arrival, one pool a cohort, no latency: 67.0 s."""
    outcome = replay(Setting(BASELINE, BASELINE, "priority", static=True))
    assert (outcome.jobs, outcome.rejected, outcome.left_out) == (15_000, 0, 0)
    assert round(outcome.makespan_s, 1) == 67.0


OLDER = "".join(line.removeprefix("  ") for line in WHOLE.splitlines(keepends=True)[1:])
LATER = WHOLE.replace(
    "nominalQuota: 3\n        borrowingLimit: 1500m",
    "resources: [{name: pods, nominalQuota: 9}, {name: cpu, nominalQuota: 3, borrowingLimit: 1500m, lendingLimit: 1}]",
)


@pytest.mark.parametrize("content", [WHOLE, OLDER, LATER, f"topology: {{name: t}}\ndra: {{}}\n{WHOLE}"])
def test_every_generation_of_the_form_is_read(tmp_path: Path, content: str) -> None:
    (first, second) = read_generator(written(tmp_path, content))
    assert (first.name, second.name) == ("c-0", "c-1")
    assert [queue.name for queue in second.queues] == ["q-0-0-c-1", "q-0-1-c-1"]
    assert {(queue.nominal_milli, queue.borrow_milli) for queue in first.queues} == {(3000, 1500)}
    kinds = [(kind.kind, kind.milli, kind.pods) for kind in first.queues[0].sets[0].workloads]
    assert kinds == [("big", 2000, 4), ("small", 1000, 1)]


def test_without_a_borrowing_limit_there_is_none(tmp_path: Path) -> None:
    path = written(tmp_path, WHOLE.replace("        borrowingLimit: 1500m\n", ""))
    assert read_generator(path)[0].queues[0].borrow_milli == -1


def test_workloads_that_ask_for_no_cpu_are_counted(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path, WHOLE.replace(", request: 1}", "}")))
    assert (len(trace), trace.set_aside) == (8, {"ask for no CPU": 8})


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("runtimeMs: 50,", "runtimMs: 50,", "line 15: key 'runtimMs' of a workload is not known; did you"),
        ("    count: 2\n    queues", "    colour: 2\n    queues", "line 3: key 'colour' of a cohort is not known"),
        ("cohorts:", "cohorts: []\nmore:", "line 2: key 'more' of the configuration is not known"),
        ("count: 2\n    queues", "count: 2\n    count: 3\n    queues", "line 4: key 'count' stands twice"),
        ("runtimeMs: 50,", "", "line 15: a workload lacks the key 'runtimeMs'; add it"),
        ("nominalQuota: 3", "nominalQuota: three", "line 7: nominalQuota is 'three', no quantity like 20 or 500m"),
        ("nominalQuota: 3\n", "reclaimWithinCohort: Any\n", "line 9: key 'reclaimWithinCohort' stands"),
        ("        nominalQuota: 3\n", "", "line 5 has neither nominalQuota nor resources"),
        ("runtimeMs: 50", "runtimeMs: -5", "line 15: runtimeMs is '-5', no whole number in 0"),
        ("priority: 50", "priority: high", "line 15: priority is 'high', no whole number"),
        ("count: 2\n    queues", "count: 9999999\n    queues", "line 3: count is '9999999', no whole number"),
        ("count: 2\n    queues", "count: 999999\n    queues", "makes 1999998 queues, at most are 100000"),
        ("count: 2\n            cr", "count: 1000000\n            cr", "more than 3000 rows"),
        ("count: 2\n    queues", "count: 0\n    queues", "makes no queue"),
        ("className: c\n", "className: ''\n", "line 2: className is '', no name of 1 to 200 letters"),
        ("nominalQuota: 3", "resources: 5", "line 7: resources is '5', no list; write its entries with dashes"),
        ("className: q", "className: [q]", "line 5: className is a list, no name"),
        ("request: 1}", "request: 1", "is not YAML"),
        ("request: 1}", "request: 100m}", "line 11, column request: 0.1 is not a whole number of GPUs"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leitstand.twin.reading.table.ROWS_MAX", 3000)
    assert old in WHOLE
    path = written(tmp_path, WHOLE.replace(old, new, 1))
    with pytest.raises(TraceError, match=says) as refused:
        read_trace(path, form=Form("kueue"))
    assert str(path) in str(refused.value)


def test_two_cohorts_of_one_name_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, WHOLE + WHOLE.removeprefix("cohorts:\n"))
    with pytest.raises(TraceError, match="cohort 'c-0' is made twice"):
        read_generator(path)


def test_quotas_that_are_no_whole_number_are_no_cluster(tmp_path: Path) -> None:
    path = written(tmp_path, WHOLE.replace("nominalQuota: 3", "nominalQuota: 1200m"))
    with pytest.raises(TraceError, match=re.escape("add up to 2.4 CPUs, which is no whole number")):
        read_cluster(path)
