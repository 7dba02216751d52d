# SPDX-License-Identifier: Apache-2.0
"""What has to be so of sharing: limits, promises, guarantees, who yields. Each check is a small function with a name,
called by way of `checking`.
"""

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.places.timeline import ENDING
from leitstand.core.sharing.standing import limit_of
from leitstand.core.units import HOUR_US, SECOND_US
from leitstand.core.yielding.cover import Cover
from tests.simulate.checking import after, before, broken

if TYPE_CHECKING:
    from tests.simulate.world import World

EVICTIONS_MAX: Final = 12  # of one job after everything is quiet: each has to raise what is covered


# ── sharing ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@after
def limits_hold(world: "World") -> None:
    """No node of a tree uses more than its guarantee and its borrow limit, but for what ran before these were lowered.
    Claims and bookings that have begun count; who is told to end does not."""
    tally = world.tally
    if tally.rules.discipline != "fair":
        return
    assert world.plane is not None
    used: dict[str, Counter[str]] = {}

    def note(pool: str, leaf: str, charge: int) -> None:
        of = used.setdefault(pool, Counter())
        parts = leaf.split("/")
        for depth in range(len(parts) + 1):
            of["/".join(parts[:depth])] += charge

    for run in tally.runs.values():
        job = tally.jobs[run.job]
        if not run.stopping and not job.said.booking and not job.said.burn_in:
            note(job.pool, tally.leaf(job), tally.charge(job, len(run.tasks)))
    for name, made in tally.reservations.items():
        job = tally.jobs[name]
        if made.kind == "claim":
            note(job.pool, tally.leaf(job), job.charge_milli)
    for booking in tally.bookings.values():
        if booking.step in ("begun", "closing"):
            note(booking.said.pool, booking.leaf, booking.charge_milli)
    changed = tally.losses or tally.contracts
    if changed and world.notes.get("looked after") != world.restarts:  # what ran before is not known
        world.notes["used"], world.notes["looked after"] = used, world.restarts
        return
    past: dict[str, Counter[str]] = world.notes.get("used", {})
    for name, of in used.items():
        standing = world.plane.core.state.pools[name].standing
        for path, charge in of.items() if standing is not None else ():
            node = standing.tree.nodes.get(path)  # type: ignore[union-attr]
            if node is None or node.borrow < 0:
                continue
            allowed = node.guarantee + node.borrow
            if charge > max(allowed, past.get(name, Counter())[path] if changed else 0):
                raise broken(limits_hold, f"{path or 'the root'} of {name} uses {charge} of {allowed}")
    world.notes["used"], world.notes["looked after"] = used, world.restarts


@before(f.CapacityReserved, f.ReservationDropped, f.PromiseBroken, f.RunPlaced, f.JobHeld, a.TenantSuspended)
def promises_are_not_moved(world: "World", at: int, fact: Any) -> None:
    """A promised start is never later than it was, and a promise goes only by name, or with its job's own wish."""
    promised: dict[str, int] = world.notes.setdefault("promised", {})
    if isinstance(fact, a.TenantSuspended):
        for name in [name for name in promised if world.tally.jobs[name].said.tenant == fact.tenant]:
            del promised[name]
        return
    name = fact.job
    if isinstance(fact, f.PromiseBroken):
        promised.pop(name, None)
        if fact.cause == "node_failed" and not world.tally.losses:
            raise broken(
                promises_are_not_moved, f"that of {name} is broken by {fact.cause}, and nothing was lost"
            )
    elif isinstance(fact, f.CapacityReserved):
        before_us = promised.get(name)
        is_late = fact.promised and bool(world.plan.faults) and before_us is not None and before_us <= at
        if is_late:  # an engine is: others yield for it now
            promised.pop(name)
        elif before_us is not None and fact.start_us > before_us:
            raise broken(promises_are_not_moved, f"{name} was promised {before_us}, now {fact.start_us}")
        if fact.kind == "promise":
            promised[name] = fact.start_us
        elif before_us is not None and not is_late and not (fact.kind == "claim" and fact.promised):
            raise broken(promises_are_not_moved, f"the promise of {name} became a {fact.kind}")
        else:
            promised.pop(name, None)
    elif isinstance(fact, f.RunPlaced | f.JobHeld):
        promised.pop(name, None)
    elif name in promised and fact.cause != "ended":
        raise broken(promises_are_not_moved, f"the promise of {name} is dropped: {fact.cause}")


@after
def promises_are_kept(world: "World") -> None:
    """Who was promised a start has started by then, or is told why not. An engine that fails, or starts runs late, may
    be late with their ends by the time to stop a run and a tick; a prompt one by what it takes to say so. Where starts
    have a pace, it waits for as many as there are jobs, one by one: in starts, since none is made while the writer is
    away."""
    tally = world.tally
    promised: dict[str, int] = world.notes.setdefault("promised", {})
    for name in [name for name in promised if not _wants(world, name)]:
        del promised[name]
    sharing = tally.rules.sharing
    late_us = SECOND_US if world.plan.is_prompt else sharing.freed_us + sharing.tick_us
    since: dict[str, int] = world.notes.setdefault(
        "held back", {}
    )  # how many had started when it became late
    late = {name: at for name, at in promised.items() if tally.at > at + late_us}
    world.notes["held back"] = {name: since.get(name, len(tally.placed)) for name in late}
    is_paced = sharing.start_interval_us and tally.paced_us > tally.at
    for name, start_us in late.items():
        others = len(tally.placed) - world.notes["held back"][name]
        if not is_paced or others > len(tally.jobs):
            raise broken(promises_are_kept, f"{name} was promised {start_us}, it is {tally.at}")


def _wants(world: "World", name: str) -> bool:
    """Whether the job still waits for the start that it was promised."""
    tally = world.tally
    job = tally.jobs.get(name)
    if job is None or not job.waits or job.held or job.said.tenant in tally.suspended:
        return False
    return tally.rules.discipline == "fair" and name in tally.reservations


@after
def guarantees_hold(world: "World") -> None:
    """A job of one GPU, one of the first of its project and inside its guarantee, starts within the recall time, where
    nothing fails, no contract changes, and no promise has the place that others would leave to it.
    (`tests/properties/test_guarantees.py` has gangs, tenants and classes.)"""
    plan, tally = world.plan, world.tally
    if not plan.is_calm or tally.rules.discipline != "fair" or tally.rules.sharing.start_interval_us:
        return
    if not _is_plain(world):
        return
    assert world.plane is not None
    since: dict[str, int] = world.notes.setdefault("owed", {})
    owed: dict[str, int] = {}
    for name, job in tally.jobs.items():
        if not job.waits or job.resources != f.Resources(1, 1) or not _is_first(world, name):
            continue
        standing = world.plane.core.state.pools[job.pool].standing
        assert standing is not None
        leaf = tally.leaf(job)
        node = standing.tree.nodes.get(leaf)
        if node is None:
            continue
        mine = sum(
            other.charge_milli
            for key, other in tally.jobs.items()
            if key != name and tally.leaf(other) == leaf and other.pool == job.pool and _counts(world, key)
        )
        if (
            node.running + mine + job.charge_milli <= node.guarantee
            and not standing.tree.over_limit(node, 1000)
            and not _comes_after_promises(world, name)
        ):
            owed[name] = since.get(name, tally.at)
    world.notes["owed"] = owed
    sharing = tally.rules.sharing  # the recall time holds if it is longer than this
    patience_us = max(sharing.recall_us, sharing.until_freed_us + sharing.tick_us) + sharing.tick_us
    for name, from_us in owed.items():
        if tally.at > from_us + patience_us:
            raise broken(guarantees_hold, f"{name} is inside its guarantee since {from_us}, it is {tally.at}")


def _is_first(world: "World", name: str) -> bool:
    """Whether the job waits for nothing but capacity, as one of the first of its project: for others nothing is taken
    back yet."""
    assert world.plane is not None
    state = world.plane.core.state
    standing = state.pools[state.jobs[name].pool].standing if name in state.jobs else None
    if standing is None or name not in standing.waiting:
        return False
    line = standing.lines[standing.waiting[name][0]]
    first = line.order[: state.rules.sharing.reservations_leaf_max]
    return any(key[-1] == name for key, _ in first)


def _comes_after_promises(world: "World", name: str) -> bool:
    """Whether the job would have places for all its limit, if those left whom no share covers and nobody has promised,
    but has none beside what is promised: a promise keeps its nodes, and a recall leaves it alone."""
    assert world.plane is not None
    state = world.plane.core.state
    job = state.jobs[name]
    pool = state.pools[job.pool]
    standing = pool.standing
    assert standing is not None, "the discipline is fair"
    standing.tree.settle()
    cover = Cover(standing.tree)
    covered = {key for node in standing.tree.root.children.values() for key in cover.runs(node)}
    gone = {
        state.jobs[held.id].run: None
        for held in standing.tree.held.values()
        if held.id not in covered and not held.pinned_us and state.jobs[held.id].run
    }
    span_us = limit_of(job) + state.rules.sharing.recall_us
    alone, beside = (
        pool.place(job.resources, standing.timeline.view(world.tally.at, span_us, name, ignore, gone))
        for ignore in (("plan", "promise", ENDING), ("plan", ENDING))
    )
    return alone is not None and beside is None


def _counts(world: "World", name: str) -> bool:
    """Whether the job waits with a promise, which its node will need room for."""
    made = world.tally.reservations.get(name)
    return made is not None and made.kind == "promise"


def _is_plain(world: "World") -> bool:
    """Whether whoever yields leaves whole GPUs: nobody has parts of them, nobody has units."""
    return not any(
        ask.what.resources.gpu_milli
        or ask.what.elastic
        or any(one.gpu_milli for one in ask.what.alternatives)
        for ask in world.plan.asks
        if isinstance(ask.what, f.SubmitJob)
    )


@before(f.RunStopOrdered)
def evictions_end(world: "World", at: int, fact: f.RunStopOrdered) -> None:
    """When nobody asks for more and nothing fails, no job is stopped for others again and again."""
    if fact.cause not in f.YIELDS or world.now_us < world.plan.quiet_us + HOUR_US:
        return
    stops = world.notes.setdefault("stops", Counter())
    stops[fact.run.rpartition(".")[0]] += 1
    if max(stops.values()) > EVICTIONS_MAX:
        raise broken(
            evictions_end, f"{fact.run} is stopped for {fact.job}, {max(stops.values())} times by now"
        )


@before(f.RunStopOrdered)
def the_young_are_protected(world: "World", at: int, fact: f.RunStopOrdered) -> None:
    """Nobody is taken for another job before it is so old as the rules say."""
    tally = world.tally
    run = tally.runs[fact.run]
    if fact.cause not in f.TAKES or fact.job in tally.bookings:
        return
    if fact.job not in tally.jobs or tally.reservations.get(fact.job) is None:
        return
    age_us = at - run.since
    if tally.reservations[fact.job].kind == "claim" and age_us < tally.rules.sharing.protected_us:
        raise broken(the_young_are_protected, f"{fact.run} is taken for {fact.job}, {age_us} µs old")
