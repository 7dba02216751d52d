# SPDX-License-Identifier: Apache-2.0
"""Acts against their definition: legal on what runs then, the best of all legal sets, and coming to an end."""

from fractions import Fraction
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from leitstand.core.facts import Resources
from leitstand.core.places.fit import Availability
from leitstand.core.places.placement import place
from leitstand.core.rules import Sharing
from leitstand.core.sharing.shares import Held, Node
from leitstand.core.units import MINUTE_US
from leitstand.core.yielding.offers import Yielding
from leitstand.core.yielding.preemption import Wanted
from tests.properties.test_cover import LEAVES, amount, cover, entitlements, occupied, valid
from tests.unit.sharing_world import GPU, World

SIZES = (3, 2, 2, 2)


@st.composite
def worlds(draw: st.DrawFn, most: int = 7) -> World:
    """A small fleet, mostly full, with a tree; charges in whole GPUs."""
    ahead_us = draw(st.sampled_from((0, MINUTE_US)))
    world = World(*SIZES[: draw(st.integers(2, 4))], sharing=Sharing(ahead_us=ahead_us))
    for leaf in LEAVES:
        world.tree.node(leaf)
    for node, guarantee, weight, borrow, lend in draw(entitlements):
        world.entitle(
            node,
            guarantee // 3 * GPU,
            weight,
            borrow * GPU if borrow > 3 else -1,
            lend * GPU if lend >= 0 else -1,
        )
    favoured = draw(st.sampled_from(LEAVES))  # most runs are of one project, most jobs of another
    for number in range(most):
        leaf = favoured if draw(st.integers(0, 2)) else draw(st.sampled_from(LEAVES))
        gpus = draw(st.sampled_from((1, 2, 2, 3)))
        places = place(world.free, Resources(gpus, gpus if draw(st.integers(0, 3)) == 0 else 1))
        node = world.tree.node(leaf)
        if (
            places is None
            or not world.tree.lends(node, gpus * GPU)
            or world.tree.over_limit(node, gpus * GPU)
        ):
            continue
        young = draw(st.integers(0, 9)) == 0
        cost, priority = draw(st.integers(0, 9)), draw(st.integers(0, 1))
        world.run(f"r{number}", leaf, places, cost, priority, age_us=1 if young else 0)
        if draw(st.integers(0, 9)) == 0:
            world.tree.pin(f"r{number}", world.now + 1)
    for node in world.tree.nodes.values():
        node.lag = draw(st.sampled_from((0, 0, -5, -1, 1, 5))) * GPU * 60
    valid(world.tree)
    return world


jobs = st.tuples(st.sampled_from(LEAVES), st.integers(1, 3), st.booleans(), st.integers(0, 1))


def places_without(world: World, wanted: Wanted, victims: tuple[Yielding, ...]) -> bool:
    """Whether the job finds places once these runs (and those that are stopping) are gone, claims respected."""
    free = Availability()
    for position, size in enumerate(SIZES[: len(world.free.gpus)]):
        held = sum(
            gpus
            for run in world.runs.values()
            if run not in victims and not run.stopping
            for at, gpus in run.places
            if at == position
        )
        for job in world.timeline.on(position):
            reservation = world.timeline.reservation(job)
            assert reservation is not None
            held += sum(gpus for at, gpus in reservation.places if at == position)
        free.put(position, size, (1 << max(0, size - held)) - 1, 100_000, 100_000)
        free.size = max(free.size, size)
    return place(free, wanted.asked) is not None


def meeting(one: Node, other: Node) -> Node:
    path = list(one.path())
    return next(node for node in other.path() if node in path)


def allowed(world: World, wanted: Wanted, victims: tuple[Yielding, ...], cause: str) -> bool:
    """A1 to A5, by definition, for a cause."""
    tree = world.tree
    job = Held(wanted.job, wanted.leaf, wanted.charge, wanted.priority, (2**63, 0))
    before = list(tree.held.values())
    gone = [tree.held[run.job] for run in victims]
    after = [held for held in before if held not in gone] + [job]
    path = [node for node in wanted.leaf.path() if node.parent is not None]
    covered = [node for node in path if job in cover(node, after)]
    if not covered:
        return False
    if cause == "recall" and not any(
        node.guarantee and occupied(node, [*before, job]) <= node.guarantee for node in wanted.leaf.path()
    ):
        return False
    if cause == "priority" and wanted.leaf not in covered:
        return False
    for run, held in zip(victims, gone, strict=True):
        if run.stopping or held.pinned_us or world.now - run.placed_us < world.sharing.protected_us:
            return False
        if held.leaf is wanted.leaf:
            if held.priority >= wanted.priority or wanted.leaf not in covered:
                return False
            continue
        if cause == "priority":
            return False
        lca = meeting(held.leaf, wanted.leaf)
        side = next(node for node in wanted.leaf.path() if node.parent is lca)
        if side not in covered:
            return False
        child = next(node for node in held.leaf.path() if node.parent is lca)
        if cause == "rebalance" and lagged_s(side) - lagged_s(child) < world.sharing.ahead_s:
            return False
    for node in wanted.leaf.path():
        used = sum(held.charge for held in after if node in held.leaf.path())
        if node.borrow >= 0 and used > node.guarantee + node.borrow:
            return False
    if occupied(tree.root, after) > tree.capacity:
        return False
    for node in tree.nodes.values():
        if node not in (*path, tree.root) and vector(node, before) > vector(node, after):
            return False
    return places_without(world, wanted, victims)


def lagged_s(node: Node) -> Fraction:
    """How long it got nothing of its share, or that much more (negative)."""
    return Fraction(node.lag, max(1, node.deserved))


def vector(node: Node, runs: list[Held]) -> list[int]:
    """What is covered, by priority, the highest first."""
    covered = amount(node, cover(node, runs))
    return [covered.get(priority, 0) for priority in (2, 1, 0)]


def potential(world: World, extra: tuple[Held, ...] = ()) -> list[list[int]]:
    """By level, the deepest first: covered at leaves by priority, then at inner nodes; then what runs."""
    runs = [*world.tree.held.values(), *extra]
    levels = []
    for depth in range(4, 0, -1):
        for inner in (False, True):
            nodes = [
                node
                for node in world.tree.nodes.values()
                if node.depth == depth and bool(node.children) == inner
            ]
            vectors = [vector(node, runs) for node in nodes]
            levels.append([sum(column) for column in zip(*vectors, strict=True)] if vectors else [])
    return [*levels, [sum(held.charge for held in runs)]]


def rank(wanted: Wanted, victims: tuple[Yielding, ...]) -> tuple[object, ...]:
    lost, charge = sum(run.lost for run in victims), sum(run.charge for run in victims)
    ids = tuple(sorted(run.run for run in victims))
    if 10 * charge <= 12 * wanted.charge:
        return False, lost, charge, len(victims), ids
    return True, charge, lost, len(victims), ids


def best(world: World, wanted: Wanted, cause: str) -> tuple[str, ...] | None:
    """The best of all sets that are legal (A6 too), by trying all; () if nobody has to go."""
    runs = [run for run in world.runs.values() if not run.stopping]
    sets = [some for size in range(len(runs) + 1) for some in combinations(runs, size)]
    fine = {some: allowed(world, wanted, some, cause) for some in sets}
    legal = [
        some
        for some in sets
        if fine[some] and not any(fine[tuple(one for one in some if one is not back)] for back in some)
    ]
    if not legal:
        return None
    if () in legal:
        return ()
    return tuple(sorted(run.run for run in min(legal, key=lambda some: rank(wanted, some))))


def wants(world: World, number: int, job: tuple[str, int, bool, int]) -> Wanted:
    leaf, gpus, gang, priority = job
    return world.wants(f"w{number}", leaf, gpus, priority, nodes=gpus if gang else 1)


@settings(max_examples=400, deadline=None)
@given(worlds(), jobs, st.sampled_from(["recall", "priority", "rebalance"]))
def test_the_act_is_the_best_of_all_legal_ones(
    world: World, job: tuple[str, int, bool, int], cause: str
) -> None:
    wanted = wants(world, 0, job)
    found = world.scene().act(wanted, (cause,))
    expected = best(world, wanted, cause)
    assert (found.victims if found else None) == expected


@settings(max_examples=200, deadline=None)
@given(worlds(12), jobs, st.sampled_from(["recall", "priority", "rebalance"]))
def test_an_act_for_many_candidates_is_legal_and_light_where_that_is_possible(
    world: World, job: tuple[str, int, bool, int], cause: str
) -> None:
    wanted = wants(world, 0, job)
    scene = world.scene()
    scene._search._few = lambda case, leaves: None  # type: ignore[method-assign]  # as if there were too many to try all
    found = scene.act(wanted, (cause,))
    alone = [run for run in world.runs.values() if allowed(world, wanted, (run,), cause)]
    light = not allowed(world, wanted, (), cause) and any(
        10 * run.charge <= 12 * wanted.charge for run in alone
    )
    if found is None:
        assert not alone, "one run would be enough"
        return
    victims = tuple(world.runs[id] for id in found.victims)
    assert allowed(world, wanted, victims, cause)
    for back in victims:
        assert not allowed(world, wanted, tuple(run for run in victims if run is not back), cause)
    if light:
        assert not rank(wanted, victims)[0]


@settings(max_examples=80, deadline=None)
@given(worlds(8), st.lists(jobs, min_size=1, max_size=4))
def test_acts_raise_the_potential_and_end(world: World, asked: list[tuple[str, int, bool, int]]) -> None:
    waiting = {f"w{number}": wants(world, number, job) for number, job in enumerate(asked)}
    for job, run in [(run.job, run) for run in world.runs.values()]:
        held = world.tree.held[job]
        nodes = len(run.places)
        world.asked[job] = Resources(sum(gpus for _, gpus in run.places), nodes)
        waiting.setdefault(job, Wanted(job, run.leaf, run.charge, held.priority, world.asked[job], 10**9))
    scene = world.scene()
    acts = 0
    moved = True
    while moved:
        moved = False
        for job, wanted in waiting.items():
            if job in world.tree.held:
                continue
            found = scene.act(wanted, ("recall", "priority", "rebalance"))
            if found is None:
                continue
            before = potential(world)
            world.carry_out(wanted, found)
            scene.done(found)
            assert potential(world) > before
            acts += 1
            moved = True
            assert acts <= 60, "acts do not end"
