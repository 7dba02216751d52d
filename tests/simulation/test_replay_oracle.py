# SPDX-License-Identifier: Apache-2.0
"""Every start time of a replay equals the oracle's: committed traces and random ones, all rules, static and shared."""

from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from leitstand.core.facts import JobEnded, JobRejected, JobSubmitted, RunPlaced, RunStarted, UsageMetered
from leitstand.core.rules import DISCIPLINES
from leitstand.journal.memory import MemoryJournal
from leitstand.twin.cluster import Cluster, read_cluster
from leitstand.twin.outcome import Tally
from leitstand.twin.replay import Setting, TraceSource, run
from leitstand.twin.traces import Ints, Trace, read_trace
from tests.simulation.oracle import ORDERS, Asked, starts

DATA = Path(__file__).parent.parent / "data"
SETTINGS = list(product(ORDERS, [True, False]))  # `fair` has no order that an oracle could follow


def test_the_oracle_knows_every_rule() -> None:
    assert {*ORDERS, "fair"} == set(DISCIPLINES)


@pytest.mark.parametrize(("discipline", "static"), SETTINGS)
@pytest.mark.parametrize(
    ("file", "cluster_file"),
    [("synthetic.csv", "synthetic.cluster.json"), ("synthetic.swf", "synthetic_swf.cluster.json")],
)
def test_committed_traces_start_as_the_oracle_says(
    file: str, cluster_file: str, discipline: str, static: bool
) -> None:
    jobs, cluster = read_trace(DATA / file), read_cluster(DATA / cluster_file)
    expected = oracle(jobs, cluster, discipline, static)
    assert replayed(jobs, cluster, discipline, static) == expected
    waited = [
        start
        for start, submit in zip(expected, jobs.submit_us, strict=True)
        if start is not None and start > submit
    ]
    assert len(waited) > len(jobs) / 10, "nothing to decide"


def test_the_committed_trace_tells_the_rules_apart() -> None:
    jobs, cluster = read_trace(DATA / "synthetic.csv"), read_cluster(DATA / "synthetic.cluster.json")
    outcomes = {tuple(oracle(jobs, cluster, discipline, static)) for discipline, static in SETTINGS}
    assert len(outcomes) == len(SETTINGS)


@st.composite
def workloads(draw: st.DrawFn) -> tuple[Trace, Cluster]:
    """Up to 40 jobs in few tenants, with many ties, on few small nodes."""
    node_gpus = draw(st.integers(1, 8))
    nodes_of = draw(st.dictionaries(st.sampled_from("abc"), st.integers(0, 4), min_size=1))
    if not sum(nodes_of.values()):
        nodes_of[min(nodes_of)] = 1
    job = st.builds(
        Asked,
        tenant=st.sampled_from([*sorted(nodes_of), *sorted(nodes_of), "x"]),
        submit=st.integers(-3, 25),
        duration=st.integers(1, 12),
        gpus=st.one_of(st.integers(1, node_gpus), st.integers(1, 3 * node_gpus)),
        priority=st.integers(0, 2),
    )
    jobs = draw(
        st.lists(job, min_size=1, max_size=40).filter(lambda jobs: any(job.tenant != "x" for job in jobs))
    )
    return trace_of(jobs), Cluster(node_gpus, nodes_of)


@settings(max_examples=400, deadline=None)
@given(workloads(), st.sampled_from(SETTINGS))
def test_random_traces_start_as_the_oracle_says(
    workload: tuple[Trace, Cluster], setting: tuple[str, bool]
) -> None:
    jobs, cluster = workload
    expected = oracle(jobs, cluster, *setting)
    starts = [start for start in expected if start is not None]
    event("somebody waits" if any(start not in jobs.submit_us for start in starts) else "nobody waits")
    assert replayed(jobs, cluster, *setting) == expected


# ── both sides ────────────────────────────────────────────────────────────────────────────────────────────────────
def trace_of(jobs: list[Asked]) -> Trace:
    jobs = sorted(jobs, key=lambda job: job.submit)
    tenants = sorted({job.tenant for job in jobs})

    def column(values: Iterable[int]) -> Ints:
        return np.array(list(values), np.int64)

    return Trace(
        name="random",
        job_ids=[str(number) for number in range(len(jobs))],
        tenants=tenants,
        tenant=column(tenants.index(job.tenant) for job in jobs),
        users=[],
        user=column(-1 for _ in jobs),
        submit_us=column(job.submit for job in jobs),
        duration_us=column(job.duration for job in jobs),
        gpus=column(job.gpus for job in jobs),
        priority=column(job.priority for job in jobs),
    )


def oracle(trace: Trace, cluster: Cluster, discipline: str, static: bool) -> list[int | None]:
    columns = (trace.submit_us, trace.duration_us, trace.gpus, trace.priority)
    rows = zip(trace.tenant.tolist(), *(column.tolist() for column in columns), strict=True)
    jobs = [Asked(trace.tenants[tenant], *rest) for tenant, *rest in rows]
    return starts(jobs, cluster.nodes_of, cluster.gpus_per_node, discipline, static)


def replayed(trace: Trace, cluster: Cluster, discipline: str, static: bool) -> list[int | None]:
    """Start time by row, read from the journal; what else the journal says of a job must agree with the trace."""
    setting = Setting(Path("trace"), Path("cluster"), discipline, static)
    journal, tally = MemoryJournal(), Tally()
    run(TraceSource(trace, cluster, setting), journal, tally)
    named = [row for row, tenant in enumerate(trace.tenant) if trace.tenants[tenant] in cluster.nodes_of]
    rows = iter(named)
    row_of: dict[str, int] = {}
    start_us: list[int | None] = [None] * len(trace)
    ended = set()
    for entry in journal.read(0):
        fact, at = entry.fact, entry.at
        if isinstance(fact, JobSubmitted):
            row = row_of[fact.job] = next(rows)
            assert (at, fact.expected_us) == (trace.submit_us[row], trace.duration_us[row])
        elif isinstance(fact, RunPlaced):
            start_us[row_of[fact.job]] = at
        elif isinstance(fact, RunStarted):
            assert fact.at_us == at == start_us[row_of[job_of(fact.run)]]
        elif isinstance(fact, UsageMetered):
            row = row_of[job_of(fact.run)]
            assert (fact.wall_us, fact.gpu_us) == (
                trace.duration_us[row],
                trace.duration_us[row] * trace.gpus[row],
            )
        elif isinstance(fact, JobEnded):
            row = row_of[fact.job]
            assert at == start_us[row] + trace.duration_us[row]
            assert fact.state == "succeeded"
            ended.add(row)
        elif isinstance(fact, JobRejected):
            assert fact.reason == "no_such_capacity"
    assert next(rows, None) is None, "a job was never submitted"
    assert ended == {row for row, start in enumerate(start_us) if start is not None}
    assert (tally.jobs, tally.rejected) == (len(ended), len(named) - len(ended))
    return start_us


def job_of(run: str) -> str:
    return run.rpartition(".")[0]
