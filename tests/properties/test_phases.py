# SPDX-License-Identifier: Apache-2.0
"""Pools with more projects than a tick looks at at once: a restart at any moment decides the same, nobody is left out,
everything ends. LEITSTAND_HUNT=1000 looks for new counter-examples."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.sharing import phases
from leitstand.core.sharing.fair import Fair
from leitstand.core.units import MINUTE_US, SECOND_US
from tests.properties.test_promises import RULES, many
from tests.properties.test_restart import Restarted
from tests.unit.story import cluster

PROJECTS = 80  # of which mostly more than AT_ONCE_MAX have somebody who waits
Jobs = list[tuple[int, int, int, int, int, int]]  # second, project, GPUs, nodes, minutes, priority
jobs = st.lists(
    st.tuples(
        st.integers(0, 3_000),
        st.integers(0, PROJECTS - 1),
        st.sampled_from([1, 1, 2, 4, 8]),
        st.sampled_from([1, 1, 1, 2]),
        st.integers(5, 60),
        st.integers(0, 1),
    ),
    max_size=40,
)
guarantees = st.lists(st.integers(0, 4), min_size=4, max_size=4)


class Crowd(Restarted):
    """A cloud with many projects, that of every number with a job that waits from the start, and more `jobs`. Cores
    made anew before the cycles of `restarts`, or before each for that one alone (None), decide the same. `looked`: when
    the first of each project was looked at."""

    def __init__(self, jobs: Jobs, said: list[int], restarts: Iterable[int] | None = ()) -> None:
        core = cluster(8, 8, rules=RULES, tenants=("a",))
        entitled = [a.Entitlement(f"industry/a/p{at}", 1000 * milli) for at, milli in enumerate(said)]
        core.cycle(0, [a.ProjectAdded("a", f"p{at}") for at in range(PROJECTS)])
        core.cycle(0, [a.EntitlementsChanged("shared", tuple(entitled))])
        assert [one for one in core.answers if one.refused] == []
        super().__init__(core, restarts)
        for at in range(PROJECTS):
            self.cloud.at(at, _job(at, 1, 1, 30, 0))
        for second, *job in jobs:
            self.cloud.at(second, _job(*job))


def _job(project: int, gpus: int, nodes: int, minutes: int, priority: int) -> f.SubmitJob:
    span = minutes * MINUTE_US
    return f.SubmitJob(
        "a",
        f"p{project}",
        f.Resources(max(gpus, nodes), nodes),
        priority=priority,
        expected_us=span,
        max_duration_us=span,
    )


@many(3)
@given(jobs, guarantees)
def test_a_restart_before_any_cycle_decides_the_same_where_a_tick_is_spread(
    some: Jobs, said: list[int]
) -> None:
    crowd = Crowd(some, said, None)
    crowd.cloud.until(1_500)
    assert crowd.cloud.all(f.ProjectsCalled)


@many(3)
@given(jobs, guarantees, st.lists(st.integers(0, 200), min_size=1, max_size=3))
def test_a_restart_in_the_middle_of_a_tick_decides_the_same(
    some: Jobs, said: list[int], cuts: list[int]
) -> None:
    Crowd(some, said, cuts).cloud.until(3 * 3600)


@many(4)
@given(jobs, guarantees)
def test_the_head_of_every_project_is_looked_at_within_a_tick_and_a_phase_and_everything_ends(
    some: Jobs, said: list[int]
) -> None:
    """Between two looks at a head that waits all the while there is at most a tick and the longest phase."""
    served: dict[str, int] = {}
    most = RULES.sharing.tick_us + phases.length_us(phases.AT_ONCE_MAX + 1, RULES.sharing.tick_us)
    crowd = Crowd(some, said)
    state, serve = crowd.cloud.core.state, Fair._serve

    def watched(plan: Fair, job, leaf) -> bool:  # type: ignore[no-untyped-def]
        if not plan.heads.is_served(job.id, leaf.id):
            served[job.id] = plan.now
        return serve(plan, job, leaf)

    def look(now: int, facts: list[f.Fact]) -> None:
        standing = state.pools["shared"].standing
        assert standing is not None
        for line in standing.lines.values():
            head = line.order[0][0][-1]
            assert now - served.setdefault(head, now) <= most, f"nobody looks at {head}"
        for fact in facts:
            if isinstance(fact, f.RunPlaced):
                served.pop(fact.job, None)

    crowd.cloud.watch = look
    Fair._serve = watched  # type: ignore[method-assign]
    try:
        crowd.cloud.until(12 * 3600)
    finally:
        Fair._serve = serve  # type: ignore[method-assign]
    assert not state.jobs or all(job.state not in ("pending", "running") for job in state.jobs.values())
    assert crowd.cloud.now >= 3_000 * SECOND_US
