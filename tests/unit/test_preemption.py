# SPDX-License-Identifier: Apache-2.0
"""Who yields: the example of docs/scheduling.md, failures of other schedulers as scenarios, and what an act may do."""

import pytest

from leitstand.core.rules import Sharing
from leitstand.core.units import HOUR_US, MINUTE_US
from leitstand.core.yielding.preemption import Act, Wanted
from tests.unit.sharing_world import GPU, World

ALL = ("recall", "priority", "rebalance")


def act(world: World, wanted: Wanted, causes: tuple[str, ...] = ALL) -> Act | None:
    return world.scene().act(wanted, causes)


def e1() -> World:
    """Example E1 of docs/scheduling.md."""
    world = World(*[8] * 8)
    world.entitle("industry", 32_000, 2)
    world.entitle("industry/a", 24_000)
    world.entitle("industry/b", 8_000)
    world.entitle("research", 16_000)
    world.entitle("research/c", 8_000)
    world.entitle("research/d", 0)
    for job, cost in zip(("a1", "a2", "a3", "a4", "a5"), (90, 10, 50, 60, 70), strict=True):
        world.run(job, "industry/a", 8, cost)
    world.run("c1", "research/c", 4)
    world.run("d1", "research/d", 8, position=6)
    world.run("d2", "research/d", 8, position=7)
    world.run("d3", "research/d", 4)
    world.tree.wait(world.tree.node("research/d"), 20_000)
    world.tree.settle()
    return world


def deserved(world: World, *nodes: str) -> list[int]:
    return [world.tree.nodes[node].deserved for node in nodes]


def test_e1_the_run_of_the_own_class_that_loses_least_goes() -> None:
    world = e1()
    wanted = world.wants("b1", "industry/b", 8)
    assert deserved(world, "industry", "research", "industry/a", "research/d") == [42667, 21333, 34667, 17333]
    found = act(world, wanted)
    assert found is not None
    assert found.victims == ("a2.1",)
    assert found.places == [(1, 8)]
    assert found.cause == "recall"


def test_e1_a_smaller_job_takes_the_cheaper_run_of_the_same_size() -> None:
    world = e1()
    found = act(world, world.wants("b1", "industry/b", 4))
    assert found is not None
    assert found.victims == ("d3.1",)


def test_e1_a_job_beyond_its_share_takes_nothing() -> None:
    world = e1()
    assert act(world, world.wants("b1", "industry/b", 16, nodes=2)) is None


def kueue_3779(best_effort_weight: int) -> tuple[World, Wanted]:
    world = World(300)
    world.entitle("a", 150_000)
    world.entitle("b", 150_000)
    world.entitle("be", 0, best_effort_weight)
    world.run("a1", "a", 250)
    world.run("be1", "be", 50)
    return world, world.wants("a2", "a", 50)


def test_kueue_3779_a_tenant_beyond_its_share_evicts_no_best_effort_run() -> None:
    world, wanted = kueue_3779(1)
    assert deserved(world, "a", "be") == [250_000, 50_000]
    assert act(world, wanted) is None


def test_kueue_3779_best_effort_without_weight_goes_once() -> None:
    world, wanted = kueue_3779(0)
    assert deserved(world, "a", "be") == [300_000, 0]
    found = act(world, wanted)
    assert found is not None
    assert found.victims == ("be1.1",)
    world.carry_out(wanted, found)
    assert act(world, Wanted("be1", world.tree.node("be"), 50 * GPU, 0, world.asked["a2"], 1)) is None


def kueue_7101() -> World:
    world = World(*[1] * 8)
    world.entitle("one")
    world.entitle("two")
    for index in range(4):
        world.run(f"one-{index}", "one", [(2 * index, 1), (2 * index + 1, 1)])
    return world


@pytest.mark.parametrize("gpus", [6, 5])
def test_kueue_7101_a_gang_beyond_half_waits(gpus: int) -> None:
    world = kueue_7101()
    assert act(world, world.wants("two-1", "two", gpus, nodes=gpus)) is None


def test_kueue_7101_half_of_the_capacity_changes_hands_once() -> None:
    world = kueue_7101()
    wanted = world.wants("two-1", "two", 4, nodes=4)
    found = act(world, wanted)
    assert found is not None
    assert found.victims == ("one-0.1", "one-1.1")
    world.carry_out(wanted, found)
    assert act(world, world.wants("two-2", "two", 3, nodes=3)) is None
    for job in ("one-0", "one-1"):
        again = Wanted(job, world.tree.node("one"), 2 * GPU, 0, world.asked["two-1"], 1)
        assert act(world, again) is None


def kueue_6774() -> World:
    world = World(8)
    world.entitle("lender", 8_000)
    world.entitle("one", weight=0)
    world.entitle("two", weight=0)
    return world


def test_kueue_6774_without_weights_the_idle_share_is_halved_by_units_and_then_stays() -> None:
    world = kueue_6774()
    for index in range(8):
        world.run(f"one-{index}", "one", 1)
    acts = 0
    for index in range(8):
        wanted = world.wants(f"two-{index}", "two", 1)
        found = act(world, wanted)
        if found is not None:
            assert len(found.victims) == 1
            world.carry_out(wanted, found)
            acts += 1
    assert acts == 4
    for index in range(4):
        again = Wanted(f"one-{index}", world.tree.node("one"), GPU, 0, world.asked["two-0"], 1)
        assert act(world, again) is None


def test_kueue_6774_a_gang_does_not_push_out_a_gang() -> None:
    world = kueue_6774()
    world.run("one-1", "one", 8)
    assert act(world, world.wants("two-1", "two", 8)) is None


def test_kueue_14543_a_covered_neighbour_stays_and_the_own_lower_priority_goes() -> None:
    world = World(8)
    world.entitle("a", 4_000)
    world.entitle("b", 4_000)
    world.run("a1", "a", 2)
    world.run("a2", "a", 2, cost=5)
    world.run("b1", "b", 4, cost=0)
    found = act(world, world.wants("a3", "a", 4, priority=1))
    assert found is not None
    assert found.victims == ("a1.1", "a2.1")


def test_kueue_pr_13863_waits_for_the_node_that_is_being_freed() -> None:
    world = World(8, 8)
    world.entitle("a", 16_000)
    world.entitle("b")
    world.run("b1", "b", 8)
    world.run("b2", "b", 8, cost=0)
    node = world.tree.node("b")
    world.tree.end("b1")
    world.tree.wait(node, 8_000)
    world.timeline.stop("b1.1", world.now + world.sharing.grace_us)
    world.runs["b1.1"] = world.runs["b1.1"]._replace(stopping=True)
    wanted = world.wants("a1", "a", 8)
    found = act(world, wanted)
    assert found == Act((), [(0, 8)], "recall")
    world.carry_out(wanted, found)
    second = act(world, world.wants("a2", "a", 8))
    assert second == Act(("b2.1",), [(1, 8)], "recall"), "what is being freed is freed for one job only"


def test_kai_1565_an_over_share_queue_takes_and_moves_nothing() -> None:
    world = World(*[8] * 50)
    world.entitle("over", 100_000)
    world.entitle("under", 300_000)
    for index in range(25):
        world.run(f"over-{index}", "over", 8)
    for index in range(22):
        world.run(f"under-{index}", "under", 8)
    world.tree.wait(world.tree.node("under"), 0)
    wanted = world.wants("over-x", "over", 48, nodes=6)
    assert deserved(world, "over", "under") == [224_000, 176_000]
    assert act(world, wanted) is None


def test_kai_1750_the_second_run_of_the_sibling_goes() -> None:
    world = World(*[1] * 7)
    world.entitle("a", 3_000)
    world.entitle("b", 2_000)
    world.entitle("c", 2_000)
    world.run("a1", "a", [(0, 1), (1, 1)])
    world.run("b1", "b", [(2, 1), (3, 1)], cost=0)
    world.run("c1", "c", [(4, 1), (5, 1)])
    world.run("c2", "c", 1)
    found = act(world, world.wants("a2", "a", 1))
    assert found is not None
    assert found.victims == ("c2.1",)


# ── what an act may do ────────────────────────────────────────────────────────────────────────────────────────────
def lent(*runs: tuple[str, int], **options: int) -> World:
    """Owner with a guarantee of all, borrower with these runs on nodes of 4."""
    world = World(4, 4)
    world.entitle("owner", 8_000)
    world.entitle("borrower")
    for job, cost in runs:
        world.run(job, "borrower", 4, cost, **options)
    return world


def test_a_run_younger_than_the_protected_time_stays() -> None:
    world = lent(("b1", 0), age_us=9 * MINUTE_US)
    world.run("b2", "borrower", 4, 9)
    found = act(world, world.wants("o1", "owner", 4))
    assert found is not None
    assert found.victims == ("b2.1",)


def test_a_pinned_run_stays() -> None:
    world = lent(("b1", 0), ("b2", 9))
    world.tree.pin("b1", world.now + 1)
    found = act(world, world.wants("o1", "owner", 4))
    assert found is not None
    assert found.victims == ("b2.1",)


def test_rebalancing_is_no_recall() -> None:
    world = lent(("b1", 0), ("b2", 9))
    world.entitle("owner", 0)
    wanted = world.wants("o1", "owner", 4)
    assert act(world, wanted, ("recall", "priority")) is None
    found = act(world, wanted, ("rebalance",))
    assert found is not None
    assert (found.victims, found.cause) == (("b1.1",), "rebalance")


@pytest.mark.parametrize(("lag", "goes"), [(60, False), (119, False), (120, True)])
def test_found_rebalancing_takes_nothing_from_who_lags_more_for_the_size_of_its_share(
    lag: int, goes: bool
) -> None:
    world = World(8, 8)
    world.entitle("x", weight=3)
    world.entitle("y", weight=1)
    for job, leaf, gpus in (("x1", "x", 8), ("y1", "y", 4), ("y2", "y", 4)):
        world.run(job, leaf, gpus)
    world.tree.wait(world.tree.node("y"), 8 * GPU)
    wanted = world.wants("x2", "x", 4)
    assert deserved(world, "x", "y") == [12 * GPU, 4 * GPU]
    world.tree.nodes["x"].lag, world.tree.nodes["y"].lag = lag, 40  # y's turn comes first while 40/4 > lag/12
    assert (act(world, wanted, ("rebalance",)) is not None) is goes


@pytest.mark.parametrize(("behind_s", "goes"), [(0, False), (1_799, False), (1_800, True)])
def test_rebalancing_takes_only_from_who_is_ahead_by_an_hour_of_shares(behind_s: int, goes: bool) -> None:
    world = World(8, 8, sharing=Sharing(ahead_us=HOUR_US))
    for leaf in ("x", "y"):
        world.entitle(leaf)
    for job, leaf in (("x1", "x"), ("x2", "x"), ("y1", "y"), ("x3", "x")):
        world.run(job, leaf, 4)
    wanted = world.wants("y2", "y", 4)
    assert deserved(world, "x", "y") == [8 * GPU, 8 * GPU]
    world.tree.nodes["x"].lag = -1_800 * 8 * GPU
    world.tree.nodes["y"].lag = behind_s * 8 * GPU
    assert (act(world, wanted, ("rebalance",)) is not None) is goes


def test_priority_takes_only_strictly_lower_runs_of_the_own_project() -> None:
    world = World(4, 4)
    world.entitle("a")
    world.run("a1", "a", 4, cost=0, priority=1)
    world.run("a2", "a", 4, cost=9, priority=0)
    wanted = world.wants("a3", "a", 4, priority=1)
    found = act(world, wanted, ("priority",))
    assert found is not None
    assert found.victims == ("a2.1",)
    assert act(world, world.wants("a4", "a", 4, priority=0), ("priority",)) is None


def test_a_promise_on_a_node_is_respected_and_a_plan_gives_way_to_a_recall() -> None:
    for kind, victims in (("promise", ("b2.1",)), ("plan", ("b1.1",))):
        world = lent(("b1", 0), ("b2", 9))
        limit_us = 10 * MINUTE_US
        world.timeline.reserve(
            "x", kind, [(0, 4)], [(0, 0)], world.now + 5 * MINUTE_US, world.now + 50 * MINUTE_US
        )
        found = act(world, world.wants("o1", "owner", 4, limit_us=limit_us))
        assert found is not None
        assert found.victims == victims


def test_the_evicted_charge_stays_near_the_asked_one_where_a_set_allows() -> None:
    world = World(8, 1, 1)
    world.entitle("owner", 10_000)
    world.entitle("borrower")
    world.run("b1", "borrower", 8, cost=0)
    world.run("b2", "borrower", 1, cost=50)
    world.run("b3", "borrower", 1, cost=60)
    found = act(world, world.wants("o1", "owner", 1))
    assert found is not None
    assert found.victims == ("b2.1",)


def test_what_may_not_be_lent_is_freed_even_where_nodes_have_room() -> None:
    world = World(4, 4)
    world.entitle("owner", 4_000)
    world.entitle("keeper", 4_000, lend=0)
    world.entitle("borrower")
    world.run("b1", "borrower", 4)
    found = act(world, world.wants("o1", "owner", 4))
    assert found is not None
    assert found.victims == ("b1.1",)


# ── many runs ─────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("nodes", [10, 100])
def test_a_gang_takes_back_no_more_runs_than_its_nodes_hold(nodes: int) -> None:
    world = World(*[8] * nodes)
    world.entitle("zero", weight=0)
    world.entitle("one", 8 * GPU * nodes)
    for index in range(8 * nodes):
        world.run(f"z-{index}", "zero", 1, cost=index * 7919 % 1013)
    count = nodes // 10
    found = act(world, world.wants("g-1", "one", 8 * count, nodes=count))
    assert found is not None
    assert len(found.victims) == 8 * count


def test_single_gpus_are_taken_back_one_by_one_in_one_scene() -> None:
    world = World(*[8] * 10)
    world.entitle("zero", weight=0)
    world.entitle("one", 80 * GPU)
    for index in range(80):
        world.run(f"z-{index}", "zero", 1, cost=index * 37 % 80)
    wanted = [world.wants(f"o-{index}", "one", 1) for index in range(80)]
    scene = world.scene()
    costs = []
    for one in wanted:
        found = scene.act(one, ("recall",))
        assert found is not None
        assert len(found.victims) == 1
        costs.append(world.runs[found.victims[0]].lost)
        world.carry_out(one, found)
        scene.done(found)
    assert costs == list(range(80)), "the cheapest first, everybody once"
