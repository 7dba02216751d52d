# SPDX-License-Identifier: Apache-2.0
"""What the core promises on any history: nothing oversold, one end per job, exact metering, refold equals state."""

from collections import Counter
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.queue import STRICT
from leitstand.core.rules import DISCIPLINES, Rules
from leitstand.core.state import Projection, State

shapes = st.one_of(
    st.builds(f.Resources, gpus=st.integers(0, 9), nodes=st.just(1), cpus_milli=st.integers(0, 5000)),
    st.builds(f.Resources, gpus=st.integers(0, 20), nodes=st.just(0), memory_mib=st.integers(0, 90)),
    st.builds(
        lambda n, g, c: f.Resources(n * g, n, n * c),
        st.integers(2, 4),
        st.integers(0, 4),
        st.integers(0, 900),
    ),
)
submissions = st.builds(
    f.SubmitJob,
    tenant=st.sampled_from(["acme", "beta", "nobody"]),
    project=st.just("default"),
    resources=shapes,
    priority=st.integers(0, 3),
    expected_us=st.integers(0, 50),
    max_duration_us=st.integers(0, 60),
    request=st.sampled_from(["", "", "r1", "r2"]),
    request_digest=st.sampled_from(["d", "d", "e"]),
)
fleet_changes = st.one_of(
    st.builds(
        f.NodeReported,
        st.sampled_from(["n0", "n1", "n9"]),
        st.sampled_from(["xid", "nvlink", "operator"]),
        st.sampled_from([0, 31, 79, 94]),
        st.integers(-1, 9),
    ),
    st.builds(
        f.NodeRepaired,
        st.sampled_from(["n0", "n0", "n1", "n9"]),
        st.sampled_from(["", "burn-in"]),
        st.sampled_from(["acme", "nobody"]),
        st.integers(0, 50),
    ),
    st.builds(f.NodeRemoved, st.sampled_from(["n0", "n1", "n9"])),
    st.builds(
        f.NodeAdded,
        node=st.sampled_from(["n0", "n1", "n2", "n3", "n4"]),
        site=st.just("s"),
        gpus=st.integers(0, 8),
        cpus_milli=st.integers(0, 9000),
        memory_mib=st.integers(0, 100),
        pool=st.sampled_from(["shared", "shared", "acme", "beta"]),
    ),
    st.builds(
        lambda d, s: f.RulesSet(Rules(discipline=d, static=s), ""),
        st.sampled_from(DISCIPLINES),
        st.booleans(),
    ),
)
# A step either says something new, or tells the n-th live run to start or end, or cancels the n-th live job.
steps = st.one_of(
    submissions,
    submissions,
    fleet_changes,
    st.tuples(st.sampled_from(["start", "end", "end", "cancel"]), st.integers(0, 30), st.integers(-5, 5)),
)
histories = st.lists(st.tuples(st.integers(0, 20), st.lists(steps, max_size=4)), max_size=40)


def observe(core: Core, now: int, step: Any) -> Any:
    if not isinstance(step, tuple):
        return step
    verb, index, off = step
    if verb == "cancel":
        jobs = list(core.state.jobs)
        return f.CancelJob(jobs[index % len(jobs)]) if jobs else None
    runs = list(core.state.runs)
    if not runs:
        return None
    run = runs[index % len(runs)]
    if verb == "start":
        return f.RunStarted(run, now + off)
    outcome = f.OUTCOMES[index % len(f.OUTCOMES)]
    return f.RunEnded(
        run, now + off, outcome, index % 2 if outcome == "exited" else None, started_us=now + off
    )


def play(history: list[tuple[int, list[Any]]]) -> tuple[Core, list[tuple[int, f.Fact]]]:
    core, journal, now = Core(), [], 1000
    opening: list[f.Observation] = [
        f.TenantAdded("acme"),
        f.TenantAdded("beta", "research"),
        f.SiteAdded("s", "x"),
    ]
    opening += [f.NodeAdded(f"n{i}", "s", g, 8000, 64) for i, g in enumerate((8, 4))]
    for wait, steps_now in [(0, None), *history]:
        now += wait
        if steps_now is None:
            observations = opening
        else:
            observations = [o for o in (observe(core, now, s) for s in steps_now) if o is not None]
        facts = core.cycle(now, observations)
        assert len(core.answers) == len(observations)
        journal += [(now, fact) for fact in facts]
        check_nothing_oversold(core.state)
    return core, journal


def check_nothing_oversold(state: State) -> None:
    held: Counter[tuple[str, int]] = Counter()
    cpus: Counter[str] = Counter()
    for run in state.runs.values():
        for task in run.tasks:
            held.update((task.node, index) for index in task.gpus)
            cpus[task.node] += state.jobs[run.job].resources.part(len(task.gpus))[0]
    assert not held or max(held.values()) == 1
    for pool in state.pools.values():
        for position, name in enumerate(pool.names):
            node = state.nodes[name]
            free = pool.free.gpus[position]
            assert free >> node.gpus == 0
            assert all(not free >> index & 1 for (owner, index) in held if owner == name)
            levels = [level for level, mask in enumerate(pool.free.levels) if mask >> position & 1]
            assert levels == ([free.bit_count()] if node.in_service else [])
            assert pool.free.cpus_milli[position] == node.cpus_milli - cpus[name]


@settings(max_examples=100, deadline=None)
@given(histories)
def test_nothing_is_oversold_and_every_job_ends_at_most_once(history: list[Any]) -> None:
    core, journal = play(history)
    ends = Counter(fact.job for _, fact in journal if isinstance(fact, f.JobEnded | f.JobRejected))
    assert not ends or max(ends.values()) == 1
    submitted = [fact.job for _, fact in journal if isinstance(fact, f.JobSubmitted)]
    assert len(set(submitted)) == len(submitted)
    assert set(submitted) == set(ends) | set(core.state.jobs)
    assert Counter(job.state == "pending" for job in core.state.jobs.values())[True] == sum(
        tenant.pending for tenant in core.state.tenants.values()
    )


@settings(max_examples=100, deadline=None)
@given(histories)
def test_refolding_the_journal_gives_the_state_and_so_does_its_projection(history: list[Any]) -> None:
    core, journal = play(history)
    folded = Core()
    folded.fold(journal)
    assert folded.state.digest() == core.state.digest()
    stored = msgspec.msgpack.encode(core.state.project())
    restored = State.restore(msgspec.msgpack.decode(stored, type=Projection))
    assert restored.digest() == core.state.digest()
    assert list(core.state.request_ages) == list(core.state.requests) == list(restored.request_ages)
    check_nothing_oversold(restored)
    for name, pool in core.state.pools.items():
        for mine, its in ((restored.pools[name].free, pool.free), (restored.pools[name].whole, pool.whole)):
            assert (mine.size, mine.gpus, mine.cpus_milli, mine.memory_mib) == (
                its.size,
                its.gpus,
                its.cpus_milli,
                its.memory_mib,
            )
        assert restored.pools[name].queue.waiting == pool.queue.waiting


@settings(max_examples=100, deadline=None)
@given(histories, histories)
def test_a_restart_in_the_middle_decides_the_same(before: list[Any], after: list[Any]) -> None:
    whole, journal = play(before + after)
    cut, first = play(before)
    core = Core(
        State.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(cut.state.project()), type=Projection))
    )
    now = 1000 + sum(wait for wait, _ in before)
    second: list[tuple[int, f.Fact]] = []
    for wait, steps_now in after:
        now += wait
        observations = [o for o in (observe(core, now, s) for s in steps_now) if o is not None]
        second += [(now, fact) for fact in core.cycle(now, observations)]
    assert first + second == journal
    assert core.state.digest() == whole.state.digest()


@settings(max_examples=100, deadline=None)
@given(histories)
def test_usage_is_exactly_the_clipped_engine_time_times_what_was_held(history: list[Any]) -> None:
    _, journal = play(history)
    placed: dict[str, f.RunPlaced] = {}
    started: dict[str, int] = {}
    ended: dict[str, int] = {}
    metered: dict[str, f.UsageMetered] = {}
    for at, fact in journal:
        if isinstance(fact, f.RunPlaced):
            placed[fact.run] = fact
        elif isinstance(fact, f.RunStarted):
            assert fact.at_us <= at
            started[fact.run] = fact.at_us
        elif isinstance(fact, f.RunEnded):
            assert fact.at_us <= at
            ended[fact.run] = fact.at_us
        elif isinstance(fact, f.UsageMetered):
            assert fact.run not in metered
            metered[fact.run] = fact
    assert set(metered) == set(started) & set(ended)
    for run, usage in metered.items():
        gpus = sum(len(task.gpus) for task in placed[run].tasks)
        assert usage.gpu_us == (ended[run] - started[run]) * gpus


@settings(max_examples=100, deadline=None)
@given(histories)
def test_after_a_plan_nothing_that_is_due_would_fit(history: list[Any]) -> None:
    core, _ = play(history)
    strict = core.state.rules.discipline in STRICT
    for pool in core.state.pools.values():
        heads = sorted(pool.queue.heads(()), key=lambda head: head[0])
        if strict:
            heads = [head for head in heads if pool.could_hold(head[1])][:1]
        for _, shape in heads:
            assert pool.find(shape) is None
