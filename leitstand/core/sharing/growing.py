# SPDX-License-Identifier: Apache-2.0
"""Runs of elastic jobs that grow and shrink. Called by the fair plan: at ticks, after all else, they take what is free
(`grow`); for jobs that take back what they are owed, their units go as victims do (`yielding`, `shrunk`).

A unit is the last in everything: it takes only what no reservation, limit, budget or level forbids and no waiting job
inside its share would use, and it may be taken at any time, without regard to how long it runs. A run that was told to
change grows only after M, so what nobody disturbs comes to rest. First those inside their shares grow, in turns, then
the others.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from leitstand.core import budgets, resizing
from leitstand.core import facts as f
from leitstand.core.metering import lost
from leitstand.core.places.joining import joined
from leitstand.core.places.placement import tasks_of
from leitstand.core.places.steps import INFINITY
from leitstand.core.sharing.heads import Head
from leitstand.core.sharing.shares import Held, Node
from leitstand.core.sharing.standing import Class, key_of, limit_of
from leitstand.core.sharing.turns import Asked, Round
from leitstand.core.sharing.units import Unit, run_of
from leitstand.core.yielding.offers import Yielding

if TYPE_CHECKING:
    from collections.abc import Collection

    from leitstand.core.jobs import Job, Run
    from leitstand.core.sharing.fair import Fair

GROWN_MAX: Final = 32  # runs that grow in one tick of a pool
LOOKED_MAX: Final = 128  # runs that are looked at for that, inside their shares and then all
GROWTHS_MAX: Final = 1_000  # of one run
_ANY_TIME: Final = -(2**62)  # a unit is always old enough to go


# ── called by the plan: more ──────────────────────────────────────────────────────────────────────────────────────────
def may_grow(plan: "Fair") -> bool:
    """Whether some run of the pool has less than its most and an engine that could give it more."""
    return bool(plan.standing.units.growing) and any(
        site.resizes is True for site in plan.state.sites.values()
    )


def grow(plan: "Fair") -> None:
    """Runs take what is free, those first whose turn it would be to start."""
    if not may_grow(plan) or not any(plan.pool.free.levels[1:]) or _somebody_waits_inside(plan):
        return
    left = GROWN_MAX
    for inside in (True, False):
        growing = plan.standing.units.growing
        lines = {leaf: _line(plan, list(growing[leaf])) for leaf in plan.in_turn(growing, plan.now)}
        tick_s = plan.state.rules.sharing.tick_s
        everybody = Asked(lines, lambda leaf, owed: lines[leaf], lambda head, owed: True, tick_s)  # noqa: B023
        turns = Round(plan.standing.tree, everybody)
        for _ in range(LOOKED_MAX):
            turn = turns.next() if left else None
            if turn is None:
                break
            left -= _grow(plan, plan.state.jobs[turn.head.job], turn.leaf, inside)
            turns.done()


def _somebody_waits_inside(plan: "Fair") -> bool:
    """Whether the head of a project waits inside its share, and neither is a place reserved for it, which nobody takes,
    nor is the pool too small for it."""
    state, standing = plan.state, plan.standing
    for name, line in standing.lines.items():
        job, leaf = state.jobs[line.order[0][0][-1]], standing.tree.node(name)
        inside = leaf.running + job.charge_milli <= leaf.deserved
        if inside and job.id not in state.reservations and plan.pool.could_hold(job.resources):
            return True
    return False


def _line(plan: "Fair", names: list[str]) -> Iterator[Head]:
    jobs = sorted((plan.state.jobs[name] for name in names), key=key_of)
    return (
        Head(plan.state.leaf(job), job.id, Class(job.resources, limit_of(job)), job.unit_milli, True)
        for job in jobs
    )


def _grow(plan: "Fair", job: "Job", leaf: Node, inside: bool) -> bool:
    """Give the run of the job as many units as it may have now; whether it got any."""
    run = plan.state.runs[job.run]
    left_us = _left_us(plan, job, run)
    most = (min(job.nodes_most, plan.pool.tasks_max) - len(run.tasks)) // job.unit_nodes
    if inside:
        most = min(most, (leaf.deserved - leaf.running) // job.unit_milli)
    if left_us < plan.state.rules.sharing.protected_us or most <= 0:
        return False
    most = _largest(most, lambda units: _is_allowed(plan, job, leaf, units, left_us))
    if not most:
        return False
    view = plan.standing.timeline.view(plan.now, left_us)
    places = joined(plan.pool, job.resources, plan.state.places(run.tasks), most, view)
    if not places:
        return False
    tasks = (*run.tasks, *tasks_of(places, view, plan.pool.names))
    paid = budgets.resized(plan.state, plan.now, job, run, len(tasks))
    if isinstance(paid, f.BudgetReserved):
        plan.emit(paid)
    plan.emit(resizing.ordered(run, tasks, f.GROWTH))
    plan.usage.grows(job.id)
    return True


def _left_us(plan: "Fair", job: "Job", run: "Run") -> int:
    """How long the run may go on; 0 if it must not grow now: it was told to change a short time ago, or too often."""
    if not resizing.can_resize(plan.state, run) or run.sizes is UNSET:
        return 0
    rests_until_us = run.sizes.ordered_us + plan.state.rules.sharing.protected_us
    if (
        run.sizes.pending
        or run.sizes.grown >= GROWTHS_MAX
        or (run.sizes.number and plan.now < rests_until_us)
    ):
        return 0
    until_us = plan.standing.tree.held[job.id].until_us
    return INFINITY if until_us >= INFINITY else max(until_us - plan.now, 0)


def _is_allowed(plan: "Fair", job: "Job", leaf: Node, units: int, left_us: int) -> bool:
    """Whether limits, lending, reservations by count and budgets leave room for so many more units."""
    state, charge = plan.state, units * job.unit_milli
    if plan._forbidden(leaf, charge):
        return False
    if state.reservations and not plan.usage.reserved().allows(leaf, charge, left_us, ""):
        return False
    run = state.runs[job.run]
    tasks = len(run.tasks) + units * job.unit_nodes
    return not isinstance(budgets.resized(state, plan.now, job, run, tasks), budgets.Short)


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """The greatest number up to `most` that fits, 0 for none; what fits with more fits with fewer."""
    least = 0
    while least < most:
        middle = (least + most + 1) // 2
        if fits(middle):
            least = middle
        else:
            most = middle - 1
    return least


# ── called by the plan: less ──────────────────────────────────────────────────────────────────────────────────────────
def yielding(plan: "Fair", held: Held, unit: Unit) -> Yielding | None:
    """A unit as preemption sees it: what its end costs is that its nodes start something else. None: its engine gives
    it up no more without its run, and that is protected."""
    run = plan.state.runs[run_of(unit.id)]
    if not resizing.can_resize(plan.state, run):
        oldest = plan.now - plan.state.rules.sharing.protected_us
        if plan.standing.tree.held[run.job].pinned_us or run.since_us > oldest:
            return None
    restart = plan.state.rules.sharing.restart_us * held.charge
    return Yielding(unit.id, held.leaf, unit.places, unit.parts, held.charge, restart, _ANY_TIME, False)


def lost_beyond(plan: "Fair", job: "Job", run: "Run") -> int:
    """The work (GPU·µs) of all units that is lost if their run ends, beside their restart."""
    if run.sizes is UNSET:
        return 0
    units = (len(run.tasks) - job.resources.nodes) // job.unit_nodes
    return lost(job, run, plan.now) * units * job.unit_milli


def shrunk(plan: "Fair", names: "Collection[str]", cause: str, job: str) -> f.RunResizeOrdered:
    """The order to go on without these units of one run."""
    run = plan.state.runs[run_of(next(iter(names)))]
    own = plan.state.jobs[run.job]
    tasks, size = list(run.tasks[: own.resources.nodes]), own.unit_nodes
    for index, unit in enumerate(plan.standing.units.units(own.id).values()):
        if unit.id not in names:
            first = own.resources.nodes + index * size
            tasks += run.tasks[first : first + size]
    return resizing.ordered(run, tuple(tasks), cause, job)
