# SPDX-License-Identifier: Apache-2.0
"""Whether what was promised stands under other contracts. A pure reading: called where a change of entitlements or a
commitment is decided.

Whoever was promised a start, and whoever runs because of one, must be safe under the contracts as they would be, at
any time that is known now (`promises`); and a promise that starts so soon that others are told to end for it must find
room, by limits and by lending, once all have gone who can be gone by then. What was in danger before is no reason to
refuse.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from leitstand.core.bookings import booked
from leitstand.core.places.closures import lacking
from leitstand.core.sharing.ahead import Ahead
from leitstand.core.sharing.entitlements import Contracts, upwards
from leitstand.core.sharing.foreseen import Foreseen, Start, occupied
from leitstand.core.sharing.promises import Bound, bounds, excess
from leitstand.core.sharing.shares import Held, Tree
from leitstand.core.sharing.standing import limit_of
from leitstand.core.sharing.units import PRIORITY, owner

if TYPE_CHECKING:
    from leitstand.core.fleet import Pool
    from leitstand.core.state import State

DATES_MAX: Final = 16  # that are tried to name one at which a change is safe


class Danger(NamedTuple):
    """At `at_us` the start of `job` could not be kept, for want of `milli` at `node`: if all guarantees are called, or,
    `late`, since who is in its way cannot be gone by then. `ends`: when something that was promised is no hindrance any
    more, ascending."""

    job: str
    node: str
    milli: int
    at_us: int
    late: bool
    ends: tuple[int, ...] = ()


def endangered(state: "State", name: str, now: int, before: Contracts, after: Contracts) -> Danger | None:
    """The first danger that `after` brings to what was promised in the pool, and `before` did not; None: none."""
    if state.pools[name].standing is None:
        return None
    known = bounds(state, name, now)
    return _Change(state, name, now, (before, after)).danger(known) if known else None


def earliest(dates: Iterable[int], is_free: Callable[[int], bool]) -> int | None:
    """The first of these times, ascending, from which on a change `is_free` of danger; None: it is at none of the
    DATES_MAX first, nor at the last."""
    every = list(dates)
    tried = every[:DATES_MAX] + every[DATES_MAX:][-1:]
    return next((date for date in tried if is_free(date)), None)


class _Change:
    """Other contracts of one pool from `now` on."""

    def __init__(self, state: "State", name: str, now: int, contracts: tuple[Contracts, Contracts]) -> None:
        self.state, self.now, self.name = state, now, name
        self.pool: Pool = state.pools[name]
        assert self.pool.standing is not None, "the discipline is fair"
        self.tree = self.pool.standing.tree
        self.was, self.will = (Ahead(one, state.rules.sharing) for one in contracts)
        self.lacks = self.pool.lacks(now)

    def danger(self, known: dict[str, Bound]) -> Danger | None:
        found = self._unsafe(known) or self._late()
        if found is None:
            return None
        ends = {bound.until_us for bound in known.values()} | {bound.from_us + 1 for bound in known.values()}
        return found._replace(ends=tuple(sorted(end for end in ends if end > self.now)))

    def _room(self, at_us: int) -> int:
        """C(t)."""
        return self.pool.capacity() - lacking(self.lacks, at_us)

    # ── with all guarantees called ────────────────────────────────────────────────────────────────────────────────
    def _unsafe(self, known: dict[str, Bound]) -> Danger | None:
        coming = sorted(known.items(), key=lambda one: one[1].from_us)
        last = max(bound.until_us for bound in known.values())
        moments = {self.now, *(bound.from_us for bound in known.values())}
        moments.update(edge for lack in self.lacks for edge in lack[1:])
        moments.update(self.was.between(self.now, last), self.will.between(self.now, last))
        spare = self.state.rules.sharing.spare_milli
        active: list[tuple[str, Bound]] = []
        taken = 0
        for moment in sorted(moment for moment in moments if self.now <= moment < last):
            while taken < len(coming) and coming[taken][1].from_us <= moment:
                active.append(coming[taken])
                taken += 1
            active = [one for one in active if one[1].until_us > moment]
            if not active:
                continue
            held, room = [bound for _, bound in active], self._room(moment) - spare
            found = excess(self.will.tree(self.now, moment), held, moment, room)
            if found:
                earlier = excess(self.was.tree(self.now, moment), held, moment, room)
                worse = [node for node in sorted(found) if found[node] > earlier.get(node, 0)]
                if worse:
                    job = next(job for job, bound in active if is_below(bound.leaf.id, worse[0]))
                    return Danger(job, worse[0], found[worse[0]], moment, False)
        return None

    # ── with those gone who can be ────────────────────────────────────────────────────────────────────────────────
    def _late(self) -> Danger | None:
        state, until_us = self.state, self.now + self.state.rules.sharing.until_freed_us
        for made in state.reservations.values():
            job = state.jobs[made.job]
            if made.kind == "promise" and job.pool == self.name and made.start_us <= until_us:
                at_us, leaf = max(made.start_us, self.now), state.leaf(job)
                found = self._crowded(self.will.tree(self.now, at_us), leaf, at_us)
                if found and self._crowded(self.was.tree(self.now, at_us), leaf, at_us) is None:
                    return Danger(job.id, *found, at_us, True)
        return None

    def _crowded(self, then: Tree, leaf: str, at_us: int) -> tuple[str, int] | None:
        """The node that would be above its limit when a promise in `leaf` starts, and by how much."""
        starts = self._starts(at_us)
        running = [held for held in self.tree.held.values() if held.until_us > at_us]
        foreseen = Foreseen(then, running, starts, at_us)
        for node in [then.node(name) for name in upwards(leaf)]:
            if node.depth and node.borrow < 0:
                continue
            owed = foreseen.owed(node.id)
            used: dict[str, int] = {}
            for start in starts:
                used[start.leaf] = used.get(start.leaf, 0) + start.charge
            for held in running:
                if held.id in owed or not self._can_go(held, at_us):
                    used[held.leaf.id] = used.get(held.leaf.id, 0) + held.charge
            beyond = 0 if node.depth else occupied(node, used) - self._room(at_us)
            if node.borrow >= 0:
                most = node.guarantee + node.borrow
                below = sum(charge for name, charge in used.items() if is_below(name, node.id))
                beyond = max(beyond, below - most)
            if beyond > 0:
                return node.id, beyond
        return None

    def _starts(self, at_us: int) -> list[Start]:
        """The promises and bookings that will have started by then, and may still run."""
        state, found = self.state, []
        for made in state.reservations.values():
            job = state.jobs[made.job]
            if made.kind != "promise" or job.pool != self.name or made.start_us > at_us:
                continue
            if at_us < made.start_us + limit_of(job):
                found.append(Start(job.id, state.leaf(job), job.charge_milli))
        return found + booked.starts(state, self.name, at_us)

    def _can_go(self, held: Held, at_us: int) -> bool:
        """Whether a run that is told to end in time is gone by then."""
        sharing, job = self.state.rules.sharing, self.state.jobs.get(owner(held.id))
        run = self.state.runs.get(job.run) if job is not None else None
        if run is None:  # a claim, or a booking
            return False
        from_us = self.now
        if held.priority != PRIORITY:  # a unit goes at any time
            from_us = max(self.now, held.pinned_us, run.since_us + sharing.protected_us)
        return from_us + sharing.freed_us <= at_us


def is_below(leaf: str, node: str) -> bool:
    return not node or leaf == node or leaf.startswith(f"{node}/")
