# SPDX-License-Identifier: Apache-2.0
"""Engines that are late, on any history: runs begin late, outlast their limits, and end when they like if told to.
Nothing is oversold, nothing goes round without input, everything ends, and a restart decides the same."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from leitstand.core import facts as f
from leitstand.core.units import SECOND_US
from tests.properties.test_promises import History, Watched, histories, many
from tests.properties.test_restart import Compared

TOO_LONG = 20 * 60  # s: twice the recall time
Lateness = tuple[int, int, int]  # s: to end who is told to, beyond limits, to start
lateness = st.tuples(
    st.sampled_from([30, 45, 200, TOO_LONG]),
    st.sampled_from([0, 5, 45, 200, TOO_LONG]),
    st.sampled_from([0, 5, 45, 200]),
)


class Late(Watched):
    """What may break is what a late engine breaks: promises, and claims that are in time."""

    def __init__(self, history: History, late_s: Lateness) -> None:
        self.late_s = late_s
        self.decided: Counter[tuple[str, int]] = Counter()  # by job and minute
        self.asked: Counter[int] = Counter()  # by minute: what was told
        super().__init__(history)

    def _look(self, now: int, facts: list[f.Fact]) -> None:
        cloud = self.cloud
        cloud.stop_us, cloud.late_us, cloud.start_us = (seconds * SECOND_US for seconds in self.late_s)
        self._look_at_nodes()
        self._look_at_budgets()
        self._look_at_limits_without_the_late()
        minute = now // (60 * SECOND_US)
        for fact in facts:
            if isinstance(fact, f.CapacityReserved):
                self.decided[fact.job, minute] += 1
            elif not isinstance(fact, f.ReservationDropped | f.RunPlaced | f.SharesTicked | f.RunStopOrdered):
                self.asked[minute] += 1
        for (job, then), times in self.decided.items():
            assert times <= 3 + 3 * self.asked[then], f"{job} is reserved for {times} times in a minute"
        self.decided = Counter({key: times for key, times in self.decided.items() if key[1] == minute})

    def _look_at_limits_without_the_late(self) -> None:
        """Starts respect limits, but for runs that should be gone by far: they count again."""
        standing = self.standing
        late = [held for held in standing.told_held.values() if standing.tree.held.get(held.id) is held]
        for name, node in standing.tree.nodes.items():
            if node.borrow >= 0:
                gone = sum(held.charge for held in late if node in held.leaf.path())
                assert node.running - gone <= node.guarantee + node.borrow, f"{name} is over its limit"


@many(40)
@given(histories(), lateness)
def test_nothing_is_oversold_or_goes_round_and_everything_ends_though_the_engine_is_late(
    history: History, late_s: Lateness
) -> None:
    watched = Late(history, late_s)
    assert not watched.cloud.core.state.jobs
    assert not watched.standing.tree.held


@many(20)
@given(histories(), lateness, st.sets(st.integers(0, 60), min_size=1, max_size=3))
def test_a_restart_decides_the_same_though_the_engine_is_late(
    history: History, late_s: Lateness, restarts: set[int]
) -> None:
    Compared(history, restarts, late_s)
