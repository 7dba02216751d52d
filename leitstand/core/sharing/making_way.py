# SPDX-License-Identifier: Apache-2.0
"""Way is made for promises and bookings: whoever would exceed at their start what can be called back is told to end in
time. Called by the fair plan before anything else.

Nobody is told to end for a promise because an engine was late: a run that would be over, had it begun when it was to,
is not in its way. The promise waits for it (`overdue`), or is broken by name. Else two jobs that need all of their
limits would end one another for ever, each for the promise that the other one got when it had to go (decision 21).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from leitstand.core.bookings import booked
from leitstand.core.places.closures import lacking
from leitstand.core.sharing.foreseen import Foreseen, Start, occupied
from leitstand.core.sharing.shares import Held, Node
from leitstand.core.sharing.standing import limit_of
from leitstand.core.yielding.offers import Yielding

if TYPE_CHECKING:
    from leitstand.core.sharing.fair import Fair


class _Way(NamedTuple):
    """What way is made for: a promise or a booking `id` of the project `leaf`. `waits`: for who is late, as a promise
    does; a booking begins when it was to."""

    id: str
    leaf: Node
    start_us: int
    waits: bool

    def is_barred_by(self, held: Held) -> bool:
        """Whether the run may still be there at the start, and not only because its engine was late."""
        return held.until_us > self.start_us and not (self.waits and held.planned_us <= self.start_us)


_NOBODY: Final[Mapping[Node, int]] = {}


def make_way(plan: "Fair") -> None:
    """For each promise that starts, and each booking that begins, as soon as a run can be made to end: the cheapest run
    that is in its way by count is told to end, never one that is pinned or inside a guarantee as of then. Limits are
    those of its start."""
    sharing = plan.state.rules.sharing
    for way in _due(plan):
        if plan.now < way.start_us - sharing.freed_us:
            continue
        starts, foreseen = _starts(plan, way.start_us), None
        while (over := _over(plan, way, starts)) is not None:
            foreseen = foreseen or _foreseen(plan, way, starts)
            victim = _cheapest(plan, way, over, foreseen.owed(over.id))
            if victim is None:
                break
            plan.stop([victim.run], "recall", way.id)
            plan.usage.forget()


def is_due(plan: "Fair", now: int) -> bool:
    """Whether a promise starts so soon that way may have to be made for it."""
    call_us = plan.standing.next_call()
    is_called = call_us is not None and call_us + plan.state.rules.sharing.protected_us <= now
    return is_called or bool(plan.standing.due)


def next_time(plan: "Fair", now: int) -> int | None:
    """When time alone makes way for a promise (µs), after `now`."""
    sharing, standing = plan.state.rules.sharing, plan.standing
    times = [plan.state.reservations[job].start_us - sharing.freed_us for job in standing.due]
    call_us = standing.next_call()
    if call_us is not None:  # of one that does not count as pinned yet: m before its start it will
        times.append(call_us + sharing.protected_us)
    return min((at_us for at_us in times if at_us > now), default=None)


def _due(plan: "Fair") -> list[_Way]:
    """Promises that are due and bookings that begin soon, or did just now."""
    standing, reservations = plan.standing, plan.state.reservations
    found = [_Way(job, leaf, reservations[job].start_us, True) for job, (leaf, _) in standing.due.items()]
    for booking in booked.of_pool(plan.state, plan.name):
        if booking.step == "clearing" or (booking.has_begun and booking.from_us >= plan.now):
            leaf = standing.tree.node(booked.leaf_of(plan.state, booking))
            found.append(_Way(booking.id, leaf, booking.from_us, False))
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


def _over(plan: "Fair", way: _Way, starts: list[Start]) -> Node | None:
    """The node whose limit, or the root if lending, these starts would break then, beside what runs now and is in the
    way."""
    over = _over_beside(plan, way, starts, _NOBODY)
    if over is None or not way.waits:
        return over
    late = _late(plan, way)  # of thousands of runs: only where it matters
    return _over_beside(plan, way, starts, late) if late else over


def _late(plan: "Fair", way: _Way) -> dict[Node, int]:
    """By node, what counts as running at the start and should be over: it began late, or is past its end."""
    found: dict[Node, int] = {}
    soonest_us, start_us = plan.now + 1, max(way.start_us, plan.now)
    for held in plan.standing.tree.held.values():
        if max(held.until_us, soonest_us) > start_us and min(held.planned_us, held.until_us) <= way.start_us:
            for node in held.leaf.path():
                found[node] = found.get(node, 0) + held.charge
    return found


def _over_beside(plan: "Fair", way: _Way, starts: list[Start], late: Mapping[Node, int]) -> Node | None:
    """The same, if what is `late` counts no more."""
    tree, running, at_us = plan.standing.tree, plan.usage.running(), way.start_us
    then = plan.usage.ahead().tree(plan.now, at_us)
    used: dict[Node, int] = {}
    for start in starts:
        for node in tree.node(start.leaf).path():
            used[node] = used.get(node, 0) + start.charge
    for node in way.leaf.path():
        limit = then.node(node.id)
        used[node] = used.get(node, 0) + running.used(node, at_us) - late.get(node, 0)
        if limit.borrow >= 0 and used[node] > limit.guarantee + limit.borrow:
            return node
    if not then.floors:
        return tree.root if used[tree.root] > tree.capacity else None
    projects: dict[str, int] = {}
    for held in tree.held.values():
        if way.is_barred_by(held):
            projects[held.leaf.id] = projects.get(held.leaf.id, 0) + held.charge
    for start in starts:
        projects[start.leaf] = projects.get(start.leaf, 0) + start.charge
    capacity = tree.capacity - lacking(plan.pool.lacks(plan.now), at_us)
    return tree.root if occupied(then.root, projects) > capacity else None


def _foreseen(plan: "Fair", way: _Way, starts: list[Start]) -> Foreseen:
    running = [held for held in plan.standing.tree.held.values() if way.is_barred_by(held)]
    return Foreseen(plan.usage.ahead().tree(plan.now, way.start_us), running, starts, way.start_us)


def _cheapest(plan: "Fair", way: _Way, node: Node, owed: Mapping[str, None]) -> Yielding | None:
    """The run below `node` that loses least, of those that can be taken and are inside no guarantee."""
    oldest = plan.now - plan.state.rules.sharing.protected_us
    found = [
        run
        for held in node.held()
        if way.is_barred_by(held)
        and not held.pinned_us
        and held.id not in owed
        and (run := plan.run_of(held)) is not None
        and not run.stopping
        and run.placed_us <= oldest
    ]
    return min(found, key=lambda run: run.cost, default=None)
