# SPDX-License-Identifier: Apache-2.0
"""What has to be so of the journal, and when all is over. Each check is a small function with a name, called by way of
`checking`.
"""

import zlib
from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec

from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.state import Projection, State
from leitstand.core.units import SECOND_US
from leitstand.twin.history import differs_at, moments, tell_again
from leitstand.twin.retelling import retell
from tests.simulate.checking import Broken, after, broken, end
from tests.simulate.checks import reserved

if TYPE_CHECKING:
    from tests.simulate.world import World

# Faults that are known and not mended yet; each is accepted only where telling the core just that makes it decide the
# same, and counted. What a plan of `fair` remembers beside the state (whom it has looked at) differs, in some
# worlds, after a cycle that decided nothing, or after a restart.
KNOWN: Final = (
    ("a cycle that decided nothing changes a later plan", True, False),
    ("a restart changes a later plan", False, True),
    ("a restart and a cycle that decided nothing change a later plan", True, True),
)


# ── journal ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@after
def state_is_what_the_journal_says(world: "World") -> None:
    """The live state has the jobs, the runs and the nodes of the facts."""
    assert world.plane is not None
    state, tally = world.plane.core.state, world.tally
    if len(state.jobs) != len(tally.jobs) or len(state.runs) != len(tally.runs):
        raise broken(
            state_is_what_the_journal_says,
            f"the state has {len(state.jobs)} jobs and {len(state.runs)} runs, the facts {len(tally.jobs)} and "
            f"{len(tally.runs)}",
        )
    for name, run in tally.runs.items():
        if state.runs[name].tasks != run.tasks or state.runs[name].stopping != run.stopping:
            raise broken(state_is_what_the_journal_says, f"{name} is {state.runs[name]}")
    for name in tally.reservations.keys() ^ state.reservations.keys():
        raise broken(state_is_what_the_journal_says, f"what is reserved for {name} is in one of both alone")
    for name, node in tally.nodes.items():
        if state.nodes[name].in_service is (name in tally.out) or state.nodes[name].gpus != node.gpus:
            raise broken(state_is_what_the_journal_says, f"{name} is {state.nodes[name]}")
    _note_state(world, state)


@after
def refold_equals_state(world: "World", other: State | None = None) -> None:
    """The journal folded anew, and the state restored from its projection, are the live state. `other`: one that was
    restored by way of a snapshot, compared with a full fold."""
    every = world.plan.refold_every
    if other is None and (not every or world.out.cycles % every):
        return
    live = other if other is not None else world.plane.core.state  # type: ignore[union-attr]
    folded = State()
    for entry in world.store.read(0):
        folded.apply(entry.at, entry.fact)
    if folded.digest() != live.digest():
        raise broken(refold_equals_state, f"at entry {world.store.head.seq}: {_difference(folded, live)}")
    stored = msgspec.msgpack.encode(live.project())
    if State.restore(msgspec.msgpack.decode(stored, type=Projection)).digest() != live.digest():
        raise broken(refold_equals_state, f"at entry {world.store.head.seq} a snapshot is another state")


def _difference(one: State, other: State) -> str:
    mine, its = msgspec.to_builtins(one.project()), msgspec.to_builtins(other.project())
    fields = [name for name in mine if mine[name] != its[name]]
    name = fields[0] if fields else ""
    return f"{fields}: {str(mine.get(name))[:300]} is not {str(its.get(name))[:300]}"


def _note_state(world: "World", state: State) -> None:
    """A coarse picture of where the world is, to count how many there were."""

    def some(count: int) -> int:
        return min(count, 4) if count < 8 else count.bit_length() + 2

    tally = world.tally
    states = Counter(job.state for job in state.jobs.values())
    kinds = Counter(made.kind for made in state.reservations.values())
    picture = (
        state.rules.discipline,
        tuple(some(states[name]) for name in ("pending", "starting", "running", "stopping")),
        tuple(min(kinds[kind], 3) for kind in f.RESERVATIONS),
        tuple(sorted({run.stopping for run in state.runs.values()})),
        tuple(sorted(step for _, step in tally.windows.values())),
        tuple(sorted(booking.step for booking in tally.bookings.values())),
        min(len(tally.out), 3),
        len(tally.suspended),
        sum(job.held for job in tally.jobs.values()) > 0,
        sum(bool(run.leaving) for run in tally.runs.values()) > 0,
        min(sum(bool(job.reserved) for job in tally.jobs.values()), 3),
    )
    world.out.states.add(hash_of(picture))


def hash_of(picture: object) -> int:
    """The same on every machine."""
    body = repr(picture).encode()
    return zlib.crc32(body) << 32 | zlib.adler32(body)


# ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def who_is_left(world: "World") -> str:
    """What keeps a plan from its end."""
    tally = world.tally
    jobs = [f"{name} ({'held' if job.held else job.run or 'waits'})" for name, job in tally.jobs.items()]
    quiet_s = (world.now_us - world.plan.quiet_us) // SECOND_US
    return f"{len(jobs)} jobs {jobs[:5]}, {len(tally.runs)} runs, {quiet_s} s after all faults"


@end
def everything_has_ended(world: "World") -> None:
    """Every job in a terminal state, nobody on the machines, nothing held of anything."""
    assert world.plane is not None
    tally, state = world.tally, world.plane.core.state
    alive = [live.order.run for live in world.alive()]
    if tally.jobs or tally.runs or alive or tally.bookings or state.reservations:
        raise Broken("everything_ends", f"{who_is_left(world)}, on machines {alive[:5]}")
    if +reserved(world):
        raise Broken("everything_ends", f"budgets hold {dict(+reserved(world))} for nobody")
    for name, pool in state.pools.items():
        standing = pool.standing
        if standing is not None and (standing.tree.held or standing.tree.root.running):
            raise Broken("everything_ends", f"shares of {name} still hold {list(standing.tree.held)[:5]}")
        for position in pool.whole.ascending(0):
            if pool.free.gpus[position] != pool.whole.gpus[position]:
                raise Broken("everything_ends", f"{pool.names[position]} is not free")
            if pool.free.cpus_milli[position] != pool.whole.cpus_milli[position]:
                raise Broken("everything_ends", f"cores of {pool.names[position]} are not free")


@end
def the_journal_is_the_state(world: "World") -> None:
    """See `refold_equals_state`, once more when all is over."""
    assert world.plane is not None
    refold_equals_state(world, world.plane.core.state)


@end
def retelling_decides_the_same(world: "World") -> None:
    """One core that is told the whole journal's observations, without any restart, decides every fact again. Not where
    a restart comes while a plan is cut by the pace of the rules (docs/proofs.md): that is known, and counted."""
    if not world.plan.retold:
        return
    if world.restarts and world.paced:
        world.out.faults["known: pace"] += 1
        return
    told = retell(world.store.read(0))
    if told.difference is None:
        return
    for known, empty, restarts in KNOWN:
        if _is_the_same(world, empty, restarts):
            world.out.faults[f"known: {known}"] += 1
            return
    raise broken(retelling_decides_the_same, str(told.difference))


def _is_the_same(world: "World", empty: bool, restarts: bool) -> bool:
    """Whether every fact is decided again if the core is told of cycles that decided nothing, too, and restarts where
    the writer did."""
    core, told = Core(), {moment.at: moment for moment in moments(world.store.read(0))}
    for at in sorted({*(world.stamps if empty else ()), *told}):
        moment = told.get(at)
        if moment is None:
            if core.cycle(at, ()):
                return False
            continue
        if restarts and any(isinstance(fact, f.WriterStarted) for fact in moment.facts):
            stored = msgspec.msgpack.encode(core.state.project())
            core = Core(State.restore(msgspec.msgpack.decode(stored, type=Projection)))
        decided = tell_again(core, moment)
        if differs_at(moment.facts, decided) < max(len(moment.facts), len(decided)):
            return False
    return True


@end
def ends_are_those_of_the_engines(world: "World") -> None:
    """Every run that ever got places has ended in the journal as it did in truth; no job ran on after it ended well."""
    tally = world.tally
    for run, truth in world.said.items():
        if run in tally.placed and truth.started_us and run not in tally.ends:
            raise broken(ends_are_those_of_the_engines, f"{run} ended and the journal does not know")
        known = tally.ends.get(run)
        if known is not None and known[1].outcome != truth.outcome:
            raise broken(
                ends_are_those_of_the_engines, f"{run} ended {truth.outcome}, not {known[1].outcome}"
            )
    missing = [run for run in tally.placed if run not in world.started]
    if missing:
        raise broken(ends_are_those_of_the_engines, f"{missing[:5]} never got their places")
