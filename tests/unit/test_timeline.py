# SPDX-License-Identifier: Apache-2.0
"""The timeline on small pools: what counts when, who is due, and what shared GPUs, lost nodes and late ends mean."""

import pytest

from leitstand.core.facts import Resources
from leitstand.core.places.fit import Availability, Free
from leitstand.core.places.placement import Place
from leitstand.core.places.steps import Where
from leitstand.core.places.timeline import EXACT_TRIES, INFINITY, Timeline
from leitstand.core.places.window import whole_left


def pool(*gpus: int) -> Availability:
    """Nodes with so many free GPUs, as many cores, and 100 MiB."""
    free = Availability()
    for position, count in enumerate(gpus):
        free.put(position, count, (1 << count) - 1, count * 1000, 100)
    free.size = max(gpus)
    return free


def run(timeline: Timeline, free: Availability, name: str, position: int, mask: int, until: int) -> None:
    count = mask.bit_count()
    free.take(position, mask, count * 1000, 0)
    timeline.occupy(name, [(position, count)], [(count * 1000, 0)], until)


def one_node(gpus: int) -> tuple[Resources, "Finder"]:
    return Resources(gpus, 1, gpus * 1000), Finder(gpus)


class Finder:
    """The lowest node with enough free; counts how often it was asked."""

    def __init__(self, gpus: int) -> None:
        self.gpus = gpus
        self.asked = 0

    def __call__(self, free: Free) -> list[Place] | None:
        self.asked += 1
        position = free.tightest(self.gpus, self.gpus * 1000, 0)
        return None if position < 0 else [(position, self.gpus)]


def test_without_reservations_a_view_is_what_is_free_now() -> None:
    free = pool(4, 4)
    timeline = Timeline(free)
    run(timeline, free, "r", 0, 3, 10)
    assert timeline.view(0, INFINITY) is free
    timeline.reserve("j", "plan", [(1, 1)], [(0, 0)], 5, 9)
    assert timeline.view(0, INFINITY) is not free
    timeline.release("j")
    assert timeline.view(0, INFINITY) is free


def test_a_window_that_ends_where_a_reservation_begins_is_not_touched_by_it() -> None:
    free = pool(4)
    timeline = Timeline(free)
    timeline.reserve("j", "plan", [(0, 3)], [(3000, 60)], 10, 20)
    before = timeline.view(0, 10)
    assert (before.gpus[0], before.cpus_milli[0], before.memory_mib[0]) == (15, 4000, 100)
    across = timeline.view(0, 11)
    assert (across.gpus[0], across.cpus_milli[0], across.memory_mib[0]) == (1, 1000, 40)
    assert [nodes.bit_count() for nodes in across.levels] == [0, 1, 0, 0, 0]
    after = timeline.earliest(*_question(4, 5))
    assert after == (0, [(0, 4)])
    assert timeline.earliest(*_question(4, 11)) == (20, [(0, 4)])


def test_a_gap_between_reservations_holds_what_is_as_long_as_the_gap_and_nothing_longer() -> None:
    timeline = Timeline(pool(4))
    for job, start in (("a", 0), ("b", 15), ("c", 32)):
        timeline.reserve(job, "plan", [(0, 4)], [(0, 0)], start, start + 10)
    assert timeline.earliest(*_question(4, 5)) == (10, [(0, 4)])
    assert timeline.earliest(*_question(4, 7)) == (25, [(0, 4)])
    longer = _question(4, 8)
    assert timeline.earliest(*longer) == (42, [(0, 4)])
    assert longer[-1].asked == 1


def _question(gpus: int, limit: int, now: int = 0) -> tuple[Resources, int, int, Finder]:
    asked, find = one_node(gpus)
    return asked, now, limit, find


def test_a_run_past_its_end_holds_what_it_holds_and_counts_as_ending_just_after_now() -> None:
    free = pool(4)
    timeline = Timeline(free)
    run(timeline, free, "late", 0, 15, 10)
    assert timeline.earliest(*_question(4, 5, now=9)) == (10, [(0, 4)])
    assert timeline.earliest(*_question(4, 5, now=10)) == (11, [(0, 4)])
    assert timeline.earliest(*_question(4, 5, now=50)) == (51, [(0, 4)])
    timeline.until("late", 70)
    assert timeline.earliest(*_question(4, 5, now=50)) == (70, [(0, 4)])
    timeline.until("late", INFINITY)
    assert timeline.earliest(*_question(4, 5, now=50)) is None


def test_a_reservation_past_its_start_counts_from_now_for_its_whole_length() -> None:
    free = pool(4)
    timeline = Timeline(free)
    timeline.reserve("j", "claim", [(0, 4)], [(0, 0)], 10, 30)
    assert timeline.earliest(*_question(1, 5, now=6)) == (30, [(0, 1)])
    assert timeline.earliest(*_question(1, 5, now=15)) == (35, [(0, 1)])
    assert timeline.earliest(*_question(1, 5, now=20)) == (40, [(0, 1)])
    assert timeline.earliest(*_question(1, 5, now=90)) == (110, [(0, 1)])
    assert timeline.view(90, 5).levels[4] == 0


def test_due_are_reservations_by_start_then_by_the_order_of_reserving() -> None:
    timeline = Timeline(pool(4))
    for job, start in (("c", 20), ("b", 10), ("a", 10), ("d", 30), ("e", 5)):
        timeline.reserve(job, "promise", [(0, 1)], [(0, 0)], start, 40)
    timeline.release("e")
    timeline.release("nobody")
    assert timeline.due(9) == []
    assert timeline.due(20) == ["b", "a", "c"]
    assert (timeline.next_start(), timeline.next_start(10), timeline.next_start(30)) == (10, 20, None)
    timeline.reserve("b", "plan", [(0, 1)], [(0, 0)], 20, 40)
    assert timeline.due(20) == ["a", "c", "b"]
    known = timeline.reservation("b")
    assert known is not None
    assert (known.kind, known.from_us, known.places) == ("plan", 20, ((0, 1),))
    assert timeline.reservation("e") is None


def test_reservations_on_a_node_are_named_in_the_order_in_which_they_were_made() -> None:
    timeline = Timeline(pool(4, 4))
    timeline.reserve("b", "plan", [(0, 1), (1, 1)], [(0, 0)] * 2, 10, 20)
    timeline.reserve("a", "plan", [(1, 1), (1, 1)], [(0, 0)] * 2, 5, 20)
    timeline.reserve("b", "plan", [(1, 2)], [(0, 0)], 10, 20)
    assert (timeline.on(0), timeline.on(1), timeline.on(7)) == ([], ["a", "b"], [])


def test_a_reservation_that_the_node_will_not_hold_is_reported() -> None:
    free = pool(4, 4)
    timeline = Timeline(free)
    run(timeline, free, "r", 0, 3, 10)
    timeline.reserve("j", "plan", [(0, 4), (1, 4)], [(0, 0)] * 2, 10, 20)
    assert timeline.feasible(0)
    timeline.until("r", 11)
    assert timeline.oversold(0) == [0]
    timeline.until("r", 3)
    free.withdraw(1)
    assert timeline.oversold(0) == [1]


def test_a_node_out_of_service_is_never_found_and_one_that_came_back_is_as_it_is_then() -> None:
    free = pool(4, 2)
    timeline = Timeline(free)
    assert timeline.earliest(*_question(4, 5)) == (0, [(0, 4)])
    free.withdraw(0)
    free.size = 2
    assert timeline.earliest(*_question(4, 5)) is None
    timeline.reserve("j", "plan", [(0, 1)], [(0, 0)], 2, 9)
    assert [nodes & 1 for nodes in timeline.view(0, 5).levels] == [0] * 5
    free.put(0, 8, 255, 8000, 100)
    free.size = 8
    timeline.touch(0)
    assert timeline.earliest(*_question(8, 5)) == (9, [(0, 8)])
    free.put(2, 8, 255, 8000, 100)  # a new one is seen by itself
    assert timeline.earliest(*_question(8, 5)) == (0, [(2, 8)])


def test_gpus_that_a_node_lost_under_its_runs_do_not_come_back() -> None:
    free, whole = pool(4), pool(4)
    timeline = Timeline(free, whole)
    run(timeline, free, "a", 0, 3, 10)
    run(timeline, free, "b", 0, 12, 20)
    free.put(0, 2, 0, 0, 100)
    whole.put(0, 2, 3, 2000, 100)
    timeline.touch(0)
    assert timeline.earliest(Resources(3, 1), 0, 5, Finder(0)) is None
    assert timeline.earliest(Resources(1, 1), 0, 5, Finder(0)) == (20, [(0, 0)])


def test_victims_count_as_ended_and_their_end_is_not_counted_twice() -> None:
    free = pool(8)
    timeline = Timeline(free)
    run(timeline, free, "victim", 0, 0b1110, 10)
    run(timeline, free, "other", 0, 0b0001, INFINITY)
    timeline.reserve("j", "promise", [(0, 7)], [(7000, 0)], 10, 20)
    assert timeline.view(0, 10, without=["victim"]).gpus[0].bit_count() == 7
    assert timeline.view(0, 11, without=["victim"]).levels[0] == 1
    assert timeline.view(0, 11, "j", without=["victim"]).levels[7] == 1
    assert timeline.view(0, 11, ignore=("promise",), without=["victim"]).cpus_milli[0] == 7000


# ── shared GPUs ───────────────────────────────────────────────────────────────────────────────────────────────────────
def sharing() -> tuple[Availability, Timeline]:
    """Two GPUs; runs share the first until 20 (`a`) and 10 (`b`)."""
    free = pool(2)
    timeline = Timeline(free)
    free.take(0, 1, 0, 0)
    free.shared[0] = {0: 200}
    timeline.occupy("a", [(0, 1)], [(0, 0)], 20, [(0, 500)])
    timeline.occupy("b", [(0, 1)], [(0, 0)], 10, [(0, 300)])
    return free, timeline


def test_a_shared_gpu_is_whole_again_when_the_last_that_shares_it_ends() -> None:
    _, timeline = sharing()
    assert timeline.earliest(Resources(2, 1), 0, 5, Finder(2)) == (20, [(0, 2)])


def test_a_part_of_a_shared_gpu_is_offered_as_long_as_nobody_misses_it_later() -> None:
    _, timeline = sharing()
    timeline.reserve("j", "promise", [(0, 2)], [(0, 0)], 30, 40)
    assert timeline.view(0, 30).shared == {0: {0: 200}}
    assert timeline.view(0, 31).shared == {0: {0: 0}}
    timeline.reserve("j", "promise", [(0, 1)], [(0, 0)], 12, 40)
    assert timeline.view(0, 20).shared == {0: {0: 200}}  # it is shared then anyway
    assert timeline.view(0, 21).shared == {
        0: {0: 200}
    }  # the other GPU is held by the reservation, not by the view
    assert timeline.view(0, 21).levels[1] == 0


def test_parts_that_victims_give_back_are_offered_and_what_nobody_shares_is_whole() -> None:
    _, timeline = sharing()
    view = timeline.view(0, 5, without=["a"])
    assert (view.shared[0], view.gpus[0].bit_count()) == ({0: 700}, 1)
    view = timeline.view(0, 5, without=["a", "b"])
    assert (view.shared[0], view.gpus[0].bit_count()) == ({}, 2)


def test_a_shared_gpu_that_is_not_offered_leaves_what_is_spare_to_the_next() -> None:
    assert whole_left({0: 300, 1: 400, 2: 500}, {0: 10, 1: 20, 2: 30}, {0: 0, 1: 1, 2: 1}) == {
        0: 0,
        1: 400,
        2: 0,
    }


def test_a_reservation_of_parts_holds_as_many_whole_gpus_as_they_need() -> None:
    timeline = Timeline(pool(4))
    timeline.reserve("j", "plan", [(0, 1)] * 3, [(0, 0)] * 3, 0, 10, gpu_milli=500)
    assert timeline.view(0, 5).gpus[0] == 0b0011


# ── searches ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_is_left_over_of_whole_nodes_may_be_what_the_gang_waits_for() -> None:
    free = pool(2, 2)
    timeline = Timeline(free)
    run(timeline, free, "a", 1, 1, 10)
    run(timeline, free, "b", 1, 2, 30)
    rest = [(0, 2), (1, 1)]
    found = timeline.earliest(Resources(3, 0), 0, 5, lambda view: rest if view.levels[1] == 2 else None)
    assert found == (10, rest)


def test_only_times_at_which_the_gang_can_fit_are_searched() -> None:
    free = pool(*[1] * 40)
    timeline = Timeline(free)
    for position in range(40):
        run(timeline, free, f"r{position}", position, 1, 10 + position)
    searched = []

    def find(view: Free) -> list[Place] | None:
        searched.append(view.levels[1].bit_count())
        return [(position, 1) for position in range(30)] if searched[-1] >= 30 else None

    found = timeline.earliest(Resources(30, 30), 0, 5, find, where=Where(colocate=False))
    assert found is not None
    assert (found[0], searched) == (39, [30])
    halves = [position % 2 for position in range(40)]
    searched.clear()
    found = timeline.earliest(
        Resources(20, 20), 0, 5, lambda view: find(view) or [], where=Where(colocate=False, domain=halves)
    )
    assert found is not None
    assert (found[0], searched) == (48, [39])  # the even ones are the first of which twenty are free
    within = sum(1 << position for position in range(20, 40))
    assert (
        timeline.earliest(Resources(25, 25), 0, 5, find, where=Where(colocate=False, within=within)) is None
    )


def test_a_search_that_goes_on_failing_is_asked_less_and_less_and_at_the_last_time() -> None:
    count = EXACT_TRIES + 200
    free = pool(count)
    timeline = Timeline(free)
    for index in range(count):
        run(timeline, free, f"r{index}", 0, 1 << index, 10 + index)
    asked = Resources(count, 0, level="rack")  # of which nothing is known before a search
    find = Finder(count)
    assert timeline.earliest(asked, 0, 5, find) == (9 + count, [(0, count)])
    assert find.asked == EXACT_TRIES + 8  # steps of 2, 4, … 128, and the last
    exact = Finder(EXACT_TRIES - 2)
    found = timeline.earliest(asked, 0, 5, exact)
    assert found is not None
    assert found[0] == 9 + EXACT_TRIES - 2


@pytest.mark.parametrize("asked", [Resources(4, 0, gpu_type="small"), Resources(4, 0, level="rack")])
def test_a_shape_whose_cut_depends_on_the_nodes_it_may_have_is_searched_at_every_time(
    asked: Resources,
) -> None:
    free = pool(8, 2, 2)
    timeline = Timeline(free)
    run(timeline, free, "big", 0, 255, INFINITY)
    run(timeline, free, "a", 1, 3, 10)
    run(timeline, free, "b", 2, 3, 20)
    small = [(1, 2), (2, 2)]
    found = timeline.earliest(asked, 0, 5, lambda view: small if view.levels[2].bit_count() == 2 else None)
    assert found == (20, small)
    found = timeline.earliest(asked, 0, 5, lambda view: small, where=Where(size=2, within=6))
    assert found == (20, small)
