# SPDX-License-Identifier: Apache-2.0
"""Way is made for promises and bookings: whoever would exceed at their start what can be called back is told to end in
time. Called by the fair plan before anything else.
"""

from typing import TYPE_CHECKING

from leitstand.core.bookings import booked
from leitstand.core.places.closures import lacking
from leitstand.core.sharing.foreseen import Foreseen, Start, occupied
from leitstand.core.sharing.shares import Node
from leitstand.core.sharing.standing import limit_of
from leitstand.core.yielding.offers import Yielding

if TYPE_CHECKING:
    from leitstand.core.sharing.fair import Fair


def make_way(plan: "Fair") -> None:
    """For each promise that starts, and each booking that begins, as soon as a run can be made to end: the cheapest run
    that is in its way by count is told to end, never one that is pinned or inside a guarantee as of then. Limits are
    those of its start."""
    sharing = plan.state.rules.sharing
    for job, leaf, start_us in _due(plan):
        if plan.now < start_us - sharing.freed_us:
            continue
        starts, foreseen = _starts(plan, start_us), None
        while (over := _over(plan, leaf, starts, start_us)) is not None:
            foreseen = foreseen or _foreseen(plan, starts, start_us)
            victim = _cheapest(plan, over, foreseen.owed(over.id), start_us)
            if victim is None:
                break
            plan.stop([victim.run], "recall", job)
            plan.usage.forget()


def _due(plan: "Fair") -> list[tuple[str, Node, int]]:
    """Promises that are due and bookings that begin soon, or did just now: id, project, start."""
    standing, reservations = plan.standing, plan.state.reservations
    found = [(job, leaf, reservations[job].start_us) for job, (leaf, _) in standing.due.items()]
    for booking in booked.of_pool(plan.state, plan.name):
        if booking.step == "clearing" or (booking.has_begun and booking.from_us >= plan.now):
            leaf = standing.tree.node(booked.leaf_of(plan.state, booking))
            found.append((booking.id, leaf, booking.from_us))
    return found


def _starts(plan: "Fair", at_us: int) -> list[Start]:
    """The promises and bookings that will have started by then, and may still run."""
    state = plan.state
    promises = [
        Start(job, leaf.id, charge)
        for job, (leaf, charge) in plan.standing.due.items()
        if (start_us := state.reservations[job].start_us) <= at_us < start_us + limit_of(state.jobs[job])
    ]
    return promises + booked.starts(state, plan.name, at_us)


def _over(plan: "Fair", leaf: Node, starts: list[Start], at_us: int) -> Node | None:
    """The node whose limit, or the root if lending, these starts would break then, beside what runs now and may still
    run then."""
    tree, running = plan.standing.tree, plan.usage.running()
    then = plan.usage.ahead().tree(plan.now, at_us)
    more: dict[Node, int] = {}
    for start in starts:
        for node in tree.node(start.leaf).path():
            more[node] = more.get(node, 0) + start.charge
    for node in leaf.path():
        limit = then.node(node.id)
        if (
            limit.borrow >= 0
            and running.used(node, at_us) + more.get(node, 0) > limit.guarantee + limit.borrow
        ):
            return node
    if not then.floors:
        return tree.root if running.used(tree.root, at_us) + more.get(tree.root, 0) > tree.capacity else None
    used: dict[str, int] = {}
    for held in tree.held.values():
        if held.until_us > at_us:
            used[held.leaf.id] = used.get(held.leaf.id, 0) + held.charge
    for start in starts:
        used[start.leaf] = used.get(start.leaf, 0) + start.charge
    capacity = tree.capacity - lacking(plan.pool.lacks(plan.now), at_us)
    return tree.root if occupied(then.root, used) > capacity else None


def _foreseen(plan: "Fair", starts: list[Start], at_us: int) -> Foreseen:
    tree = plan.standing.tree
    running = [held for held in tree.held.values() if held.until_us > at_us]
    return Foreseen(plan.usage.ahead().tree(plan.now, at_us), running, starts, at_us)


def _cheapest(plan: "Fair", node: Node, owed: dict[str, None], at_us: int) -> Yielding | None:
    """The run below `node` that loses least, of those that can be taken and are inside no guarantee."""
    oldest = plan.now - plan.state.rules.sharing.protected_us
    found = [
        run
        for held in node.held()
        if held.until_us > at_us
        and not held.pinned_us
        and held.id not in owed
        and (run := plan.run_of(held)) is not None
        and not run.stopping
        and run.placed_us <= oldest
    ]
    return min(found, key=lambda run: run.cost, default=None)
