# SPDX-License-Identifier: Apache-2.0
"""The rules of sharing hold together, on the model: promises over time joined with acts on the tree. Each rule that was
mended has the counter-example that showed it wrong; docs/scheduling.md tells them in words."""

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.properties import sharing_model as m
from tests.properties.sharing_acts import Act, choose, gone, judged, legal, make_room, moves, recallable
from tests.properties.sharing_model import FOREVER, Job, Load, Node, Old, Promise, Run, Terms, World
from tests.properties.sharing_room import Booking, arrange
from tests.properties.sharing_sim import Simulation, next_head, play


def flat(size: int, *nodes: tuple[object, ...], **fields: object) -> World:
    """A world of one machine and leaves (id, G, w, …) under a root."""
    leaves = [Node(str(n[0]), "r", ((0, int(str(n[1]))),), int(str(n[2]))) for n in nodes]
    root = Node("r", None, ((0, sum(m.guarantee(n, 0) for n in leaves)),))
    return World({n.id: n for n in [root, *leaves]}, {"m": ((0, size),)}, **fields)  # type: ignore[arg-type]


def runs(*rows: tuple[object, ...]) -> tuple[Run, ...]:
    """Runs (id, leaf, charge[, cost[, priority]]) that began long ago, in this order."""
    found = []
    for n, (id, leaf, charge, *rest) in enumerate(rows):
        cost, priority = ([*rest, 0, 0] if len(rest) < 2 else rest)[:2]
        run = Run(
            str(id), str(leaf), int(str(charge)), n, int(str(priority)), start=-100, cost=int(str(cost))
        )
        found.append(replace(run, places=(("m", run.charge),)))
    return tuple(found)


def asking(
    world: World, leaf: str, charge: int, priority: int = 0, limit: int = FOREVER
) -> tuple[World, Job]:
    """The world with one more job that waits, last of all."""
    job = Job("new", leaf, charge, 10**6, priority, limit)
    return replace(world, waiting=(*world.waiting, job)), job


def victims(world: World, job: Job, kind: str = "rebalance") -> set[str] | None:
    outcome = choose(world, job, kind)
    return None if outcome is None else set(outcome.act.victims)


# ── random worlds in time ─────────────────────────────────────────────────────────────────────────────────────────
@st.composite
def trees(draw: st.DrawFn, size: int) -> dict[str, Node]:
    """A tree of any shape whose guarantees are valid."""
    left = {"r": draw(st.integers(size // 2, size))}
    nodes = {"r": Node("r", None, ((0, left["r"]),))}
    for n in range(draw(st.integers(2, 7))):
        parent = draw(st.sampled_from(sorted(nodes)))
        share = draw(st.integers(0, left[parent]))
        left[parent] -= share
        left[f"n{n}"] = share
        limit = st.one_of(st.none(), st.none(), st.integers(0, size))
        weight = draw(st.integers(0, 3))
        nodes[f"n{n}"] = Node(f"n{n}", parent, ((0, share),), weight, draw(limit), draw(limit))
    return nodes


@st.composite
def stories(
    draw: st.DrawFn, scattered: bool = False, failing: bool = False, elastic: bool = False
) -> Simulation:
    """A simulation that has been played: arrivals, ends, cancels, contracts, windows and, if asked for, failures."""
    count, size = (
        (draw(st.integers(2, 3)), draw(st.sampled_from([2, 4])))
        if scattered
        else (1, draw(st.integers(3, 8)))
    )
    machines = {f"m{n}": ((0, size),) for n in range(count)}
    simulation = Simulation(World(draw(trees(count * size)), machines))
    tree = simulation.world.tree
    leaves = [id for id in sorted(tree) if not m.children(tree, id)]
    inputs: list[tuple[int, object]] = []
    for n in range(draw(st.integers(3, 9))):
        tasks = draw(st.integers(1, count))
        charge = tasks * draw(st.integers(1, min(size, 4)))
        limit = draw(st.sampled_from([4, 6, 9, 15, FOREVER]))
        job = Job(f"j{n}", draw(st.sampled_from(leaves)), charge, n, draw(st.integers(0, 2)), limit, tasks)
        lasts, units = draw(st.integers(1, 30)), draw(st.integers(0, 2)) if elastic else 0
        inputs.append((draw(st.integers(0, 12)), lambda s, j=job, t=lasts, u=units: s.submit(j, t, u)))
    for _ in range(draw(st.integers(0, 3))):
        inputs.append((draw(st.integers(1, 15)), draw(changes(sorted(tree)))))
    if failing:
        inputs.append(
            (draw(st.integers(3, 15)), lambda s: s.fail("m0" if "m0" in s.world.machines else "m", 1))
        )
    return play(simulation, inputs, 28)  # type: ignore[arg-type]


@st.composite
def changes(draw: st.DrawFn, nodes: list[str]) -> object:
    """Something that is asked of a simulation: another contract, a window of less capacity, a cancel."""
    id, by, later = draw(st.sampled_from(nodes)), draw(st.integers(-4, 4)), draw(st.integers(0, 12))
    kind = draw(st.sampled_from(["guarantee", "borrow", "lend", "weight", "window", "cancel"]))

    def change(s: Simulation) -> None:
        node, since = s.world.tree[id], s.world.now + later
        if kind == "cancel":
            s.cancel(f"j{abs(by)}")
        elif kind == "window":
            name, steps = next(iter(s.world.machines.items()))
            if len(steps) == 1 and later > s.world.terms.m:
                full = m.at(steps, 0)
                less = (*steps, (since, max(0, full - abs(by))), (since + 4, full))
                s.change(replace(s.world, machines={**s.world.machines, name: less}))
        else:
            if kind == "guarantee":
                before = tuple(step for step in node.guarantee if step[0] < since)
                steps = (*before, (since, max(0, m.at(node.guarantee, since) + by)))
                node = replace(node, guarantee=steps)
            elif kind == "weight":
                node = replace(node, weight=abs(by))
            else:
                node = replace(node, **{kind: abs(by)})  # type: ignore[arg-type]
            s.change(replace(s.world, tree={**s.world.tree, id: node}))

    return change


few = settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@few
@given(stories())
def test_by_count_every_promise_recall_limit_and_the_potential_hold_together(story: Simulation) -> None:
    assert story.broken == []


@few
@given(stories(scattered=True))
def test_on_machines_with_gangs_no_promise_breaks_and_nothing_is_oversold(story: Simulation) -> None:
    assert story.broken == [], (
        story.world.tree,
        story.world.machines,
        [e for e in story.log if e[1] != "plan"],
    )


@few
@given(stories(failing=True, elastic=True))
def test_failures_break_promises_only_and_elastic_units_keep_the_potential(story: Simulation) -> None:
    assert story.broken == []


@few
@given(stories())
def test_without_input_evictions_cease(story: Simulation) -> None:
    for run in story.world.runs:
        story.lasts[run.id] = FOREVER
        story._replace(replace(run, limit=FOREVER))
    story.world = replace(
        story.world, promises=(), waiting=tuple(replace(j, limit=FOREVER) for j in story.world.waiting)
    )
    story.lasts = dict.fromkeys(story.lasts, FOREVER)
    for _ in range(60):
        story.step()
    assert [e for e in story.log if e[1] == "evict" and e[0] > story.world.now - 25] == []  # type: ignore[operator]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_deserved_shares_add_up_and_what_a_child_covers_its_parent_covers(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 12))
    tree = data.draw(trees(size))
    leaves = [id for id in sorted(tree) if not m.children(tree, id)]
    amounts = st.dictionaries(st.sampled_from(leaves), st.integers(0, 9))
    running, pending = data.draw(amounts), data.draw(amounts)
    left = data.draw(st.integers(0, size))  # capacity may be lost
    share = m.deserved(tree, Load(running, pending), left)
    demand, base = m.demand_and_base(tree, Load(running, pending), 0)
    assert all(share[id] <= max(demand[id], base[id]) for id in tree if id != "r")
    for id in tree:
        assert sum(share[c] for c in m.children(tree, id)) <= share[id]
        if left == size:
            assert share[id] >= base[id]
    units = [
        Run(f"{leaf}{n}", leaf, 1 + n % 3, n, n % 2) for leaf, many in running.items() for n in range(many)
    ]
    covered = m.cover(tree, units, share)
    for id in tree:
        for c in m.children(tree, id):
            assert covered[c] <= covered[id]


# ── the examples of docs/scheduling.md ────────────────────────────────────────────────────────────────────────────
def e1() -> World:
    rows = [
        ("r", None, 48000, 1), ("industry", "r", 32000, 2), ("research", "r", 16000, 1), ("A", "industry", 24000, 1),
        ("B", "industry", 8000, 1), ("C", "research", 8000, 1), ("D", "research", 0, 1),
    ]  # fmt: skip
    tree = {id: Node(id, parent, ((0, g),), w) for id, parent, g, w in rows}
    costs = (90, 10, 50, 60, 70)
    held = [(f"a{n}", "A", 8000, cost) for n, cost in enumerate(costs)]
    held += [("c", "C", 4000, 99), ("d0", "D", 8000, 1), ("d1", "D", 8000, 1), ("d2", "D", 4000, 1)]
    return World(tree, {"m": ((0, 64000),)}, runs(*held))


def test_e1_the_deserved_share_says_whose_run_goes() -> None:
    world = e1()
    share = m.shares(world)
    assert [share[n] for n in ("industry", "research", "A", "C", "D")] == [40000, 24000, 40000, 4000, 20000]
    world, job = asking(e1(), "B", 8000)
    share = m.shares(world)
    assert [share[n] for n in ("industry", "research", "A", "D")] == [42667, 21333, 34667, 17333]
    assert victims(world, job) == {"a1"}
    assert "A4 D" in legal(world, Act(job, frozenset({"d0"}), "rebalance"))
    world, job = asking(e1(), "B", 4000)
    assert victims(world, job) == {"d2"}
    assert victims(*asking(e1(), "B", 16000)) is None


def e2() -> World:
    held = [replace(r, limit=100 + end) for r, end in zip(
        runs(("x", "X", 8), ("y30", "Y", 4), ("y100", "Y", 4)), (40, 30, 100), strict=True)]  # fmt: skip
    return flat(16, ("X", 8, 1), ("Y", 0, 1), ("Z", 4, 0), runs=tuple(held), terms=Terms(10, 1, 1))


def test_e2_a_start_is_promised_only_where_nobody_can_recall_it() -> None:
    world = e2()
    big, small = Job("p", "Y", 8, 9, 0, 50), Job("p", "Y", 4, 9, 0, 50)
    assert m.safe(replace(world, promises=(Promise(big, 40),)))
    world = replace(world, promises=(Promise(small, 30),))
    assert m.safe(world) == []
    world, job = asking(replace(world, now=5, waiting=(small,)), "Z", 4)
    assert recallable(world, job) == "Z"
    assert victims(world, job, "recall") == {"y100"}


def test_e3_what_is_not_lent_is_not_lent() -> None:
    world = flat(8, ("lender", 8, 1), ("borrower", 0, 1))
    world = replace(world, tree={**world.tree, "lender": replace(world.tree["lender"], lend=2)})
    assert legal(*_start(world, "borrower", 2)) == []
    world = replace(world, runs=runs(("b", "borrower", 2)))
    assert legal(*_start(world, "borrower", 1)) == ["A1 lending"]


def _start(world: World, leaf: str, charge: int) -> tuple[World, Act]:
    world, job = asking(world, leaf, charge)
    return world, Act(job)


# ── what other schedulers got wrong ───────────────────────────────────────────────────────────────────────────────
def test_a_best_effort_run_is_not_evicted_and_started_again_for_ever() -> None:
    for weight, deserved, gone_ in ((1, 250, None), (0, 300, {"be"})):
        world = flat(
            300, ("A", 150, 1), ("B", 150, 1), ("BE", 0, weight), runs=runs(("a", "A", 250), ("be", "BE", 50))
        )
        world, job = asking(world, "A", 50)
        assert m.shares(world)["A"] == deserved
        assert victims(world, job) == gone_


def test_gangs_share_half_and_half_without_flapping() -> None:
    world = flat(8, ("P", 0, 1), ("Q", 0, 1), runs=runs(*((f"p{n}", "P", 2) for n in range(4))))
    assert victims(*asking(world, "Q", 6)) is None
    assert victims(*asking(world, "Q", 5)) is None
    found = victims(*asking(world, "Q", 4))
    assert found is not None
    assert len(found) == 2
    rest = tuple(r for r in world.runs if r.id not in found) + runs(("q", "Q", 4))
    assert victims(*asking(replace(world, runs=rest), "Q", 3)) is None


def test_two_borrowers_of_an_idle_lender_do_not_loop() -> None:
    world = flat(
        8, ("lender", 8, 0), ("P", 0, 1), ("Q", 0, 1), runs=runs(*((f"p{n}", "P", 1) for n in range(8)))
    )
    simulation = Simulation(world)
    for r in world.runs:
        simulation.lasts[r.id] = FOREVER
    for n in range(8):
        simulation.submit(Job(f"q{n}", "Q", 1, n), FOREVER)
    for _ in range(20):
        simulation.step()
    assert sum(e[1] == "evict" for e in simulation.log) == 4
    assert simulation.broken == []
    world = replace(world, runs=runs(("p", "P", 8)))
    assert victims(*asking(world, "Q", 8)) is None


def test_legality_is_checked_on_the_final_set() -> None:
    held = runs(("low", "A", 2, 5, 0), ("b", "B", 4, 1, 0), ("mid", "A", 2, 9, 1))
    world = flat(8, ("A", 4, 1), ("B", 4, 1), runs=held)
    world, job = asking(world, "A", 2, priority=2)
    assert victims(world, job, "priority") == {"low"}
    assert legal(world, Act(job, frozenset({"b"}), "rebalance"))


def test_what_is_being_freed_is_awaited_and_the_gang_stays() -> None:
    held = runs(("gang", "A", 6), ("ends", "B", 2))
    held = (held[0], replace(held[1], limit=102))
    world, job = asking(flat(8, ("A", 0, 1), ("B", 4, 1), runs=held), "B", 2)
    outcome = choose(world, job, "recall")
    assert outcome is not None
    assert (outcome.act.victims, outcome.start) == (frozenset(), 2)


def test_a_queue_over_its_share_has_nothing_moved_for_it() -> None:
    held = runs(*((f"p{n}", "P", 50) for n in range(4)), *((f"q{n}", "Q", 44) for n in range(4)))
    world, job = asking(flat(400, ("P", 100, 1), ("Q", 300, 1), runs=held), "P", 48)
    assert m.shares(world)["P"] == 224
    assert victims(world, job) is None
    assert moves(world, job) is None


def test_reclaim_finds_the_sibling_above_its_quota_and_too_much_promised_is_refused() -> None:
    held = runs(("low", "P", 3), ("q0", "Q", 2), ("q1", "Q", 2))
    world, job = asking(flat(7, ("P", 3, 1), ("Q", 2, 1), ("R", 2, 1), runs=held), "R", 2)
    assert victims(world, job, "recall") in ({"q0"}, {"q1"})
    assert victims(world, job, "recall") == {"q0"}  # the same cost: by id
    assert m.valid(flat(7, ("P", 10, 1)).tree, {"m": ((0, 7),)}, Terms())


def test_halves_of_gpus_fill_each_twice() -> None:
    cards = {f"g{n}": ((0, 1000),) for n in range(8)}
    placed = arrange(cards, [Booking(0, 1, (), 1, 500)] * 16, (0, 1))
    assert placed is not None
    assert sorted(p[0][0] for p in placed) == sorted([*cards, *cards])


# ── counter-examples that mended a rule ───────────────────────────────────────────────────────────────────────────
def nested(borrow: int | None = None) -> World:
    """p lends what its child `own` is guaranteed to `guest`; q beside it takes whatever is left."""
    rows = [("r", None, 12, 1), ("p", "r", 4, 0), ("q", "r", 8, 1), ("own", "p", 4, 1), ("guest", "p", 0, 1)]
    tree = {id: Node(id, parent, ((0, g),), w) for id, parent, g, w in rows}
    tree["p"] = replace(tree["p"], borrow=borrow)
    return World(tree, {"m": ((0, 16),)})


def test_mended_what_is_pinned_in_one_child_does_not_eat_the_guarantee_of_another() -> None:
    load = Load({"guest": 4, "q": 12}, {"own": 4}, {"guest": 4})
    assert m.deserved(nested().tree, load, 16, old=Old(base=True))["own"] == 0
    share = m.deserved(nested().tree, load, 16)
    assert (share["own"], share["guest"], share["q"]) == (4, 4, 8)


def test_mended_a_promise_is_safe_only_if_all_guarantees_fit_the_limits_on_the_way() -> None:
    world = replace(nested(borrow=0), promises=(Promise(Job("guest1", "guest", 4, 1, 0, 50), 10),))
    assert m.safe(replace(world, old=Old(safe=True))) == []
    assert m.safe(world) == ["at 10: p needs 8, may use 4"]


def test_mended_who_yields_to_a_promise_is_told_m_before_it() -> None:
    held = runs(("x", "X", 8), ("z", "Z", 4), *((f"u{n}", "U", 1) for n in range(4)))
    promise = Promise(Job("y", "Y", 4, 9, 0, 20), 5)
    world = flat(16, ("X", 8, 1), ("Y", 0, 1), ("Z", 4, 0), ("U", 0, 1000), runs=held, promises=(promise,))
    world = replace(world, waiting=(promise.job,))
    assert m.shares(replace(world, old=Old(due=True)))["U"] == 4  # nobody yields before the start,
    assert make_room(replace(world, now=5), promise) is None  # and then it is too late
    assert m.shares(world)["U"] == 0
    assert make_room(world, promise) == frozenset({"u0", "u1", "u2", "u3"})


def test_mended_an_act_may_lower_lending_that_a_commitment_has_made_too_high() -> None:
    world = flat(16, ("x", 8, 1), ("y", 0, 1), runs=runs(*((f"y{n}", "y", 4) for n in range(4))))
    world = replace(world, tree={**world.tree, "x": replace(world.tree["x"], lend=0)})
    world, job = asking(world, "x", 4)
    old = victims(replace(world, old=Old(lending=True)), job, "recall")
    assert old is not None
    assert len(old) == 2  # 8 for a job of 4
    assert victims(world, job, "recall") == {"y0"}


def test_mended_capacity_that_is_lost_leaves_a_node_that_lends_nothing_covered_up_to_its_share() -> None:
    tree = {n.id: n for n in [
        Node("r", None, ((0, 8),)), Node("p", "r", ((0, 8),), lend=0), Node("a", "p", ((0, 8),), lend=0),
    ]}  # fmt: skip
    held = [Run("a1", "a", 4, 1)]
    share = m.deserved(tree, Load({"a": 4}), 4)
    assert m.cover(tree, held, share, old=Old(floor=True))["p"] == frozenset()
    assert m.cover(tree, held, share)["p"] == {"a1"}


def test_mended_a_claim_that_waits_for_its_capacity_is_not_protected() -> None:
    claim = Run("claim", "y", 4, 1, start=5, claim=True)
    world = flat(8, ("x", 8, 1), ("y", 0, 1), runs=(claim,))
    assert gone(replace(world, old=Old(claims=True)), claim) > world.tree["x"].recall
    assert gone(world, claim) == 0


def test_mended_who_lags_starts_before_who_is_covered_and_is_not_evicted_at_once() -> None:
    held = runs(("a0", "A", 4), *((f"b{n}", "B", 1) for n in range(8)))
    world = flat(16, ("A", 0, 5), ("B", 0, 11), runs=held, lag={"A": 100, "B": -100})
    wait = (Job("a1", "A", 4, 1), *(Job(f"w{n}", "B", 1, 2 + n) for n in range(8)))
    world = replace(world, waiting=wait)
    assert m.shares(world)["A"] == 5
    first, old = next_head(world, set()), next_head(replace(world, old=Old(order=True)), set())
    assert (old and old.id, first and first.id) == ("w0", "a1")
    full = replace(world, runs=(*held, replace(runs(("a1", "A", 4))[0], order=50)), waiting=wait[1:])
    act = Act(wait[1], frozenset({"a1"}), "rebalance")
    assert (
        judged(replace(full, old=Old(brake=True)), act)[0] is not None
    )  # started by lag, evicted at the next tick
    assert "A7 a1" in legal(full, act)


def test_mended_a_limit_that_is_lowered_has_who_stands_above_it_yield_in_time_for_a_promise() -> None:
    world = flat(8, ("n", 5, 1), ("o", 0, 1), runs=runs(("long", "n", 4)))
    promise = Promise(Job("p", "n", 4, 9, 0, 6), 5)
    simulation = Simulation(replace(world, waiting=(promise.job,), promises=(promise,)))
    simulation.lasts = {"long": FOREVER, "p": 6}
    lower = replace(world.tree["n"], borrow=2)
    assert simulation.change(replace(simulation.world, tree={**world.tree, "n": lower}))
    assert [e[2] for e in simulation.log if e[1] == "evict"] == ["long"]
    for _ in range(6):
        simulation.step()
    assert [e[0] for e in simulation.log if e[1:3] == ("start", "p")] == [2]  # earlier, once there is room
    assert simulation.broken == []


# ── what moves ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_consolidation_moves_only_to_places_that_are_free_before() -> None:
    machines = {f"m{n}": ((0, 4),) for n in range(3)}
    held = tuple(
        replace(r, places=((place, r.charge),))
        for r, place in zip(runs(("a", "A", 2), ("b", "A", 2), ("c", "A", 3)), machines, strict=True)
    )
    world = replace(flat(12, ("A", 0, 1), ("B", 4, 1)), machines=machines, runs=held)
    world, job = asking(world, "B", 4)
    assert moves(world, job) == {"b": (("m0", 2),), "new": (("m1", 4),)}
    crowded = replace(world, runs=(*held, replace(runs(("d", "A", 1))[0], places=(("m0", 1),)), replace(
        runs(("e", "A", 1))[0], id="e", places=(("m1", 1),))))  # fmt: skip
    assert moves(crowded, job) is None
