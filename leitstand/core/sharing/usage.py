# SPDX-License-Identifier: Apache-2.0
"""Usage over time of one pool as one plan knows it: what runs, what is reserved, what nobody can take. Called by the
fair plan, which says with every decision what changed.

Each of the three counts is made when somebody asks for it: most plans need one or none.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from leitstand.core.bookings import booked
from leitstand.core.places.steps import INFINITY
from leitstand.core.sharing import repair
from leitstand.core.sharing.ahead import Ahead
from leitstand.core.sharing.counts import Counts, Running
from leitstand.core.sharing.entitlements import contracts_of
from leitstand.core.sharing.lines import Window
from leitstand.core.sharing.promises import Bound, Room, bounds, promised, safe
from leitstand.core.sharing.shares import Node
from leitstand.core.sharing.standing import limit_of
from leitstand.core.sharing.units import counts_as

if TYPE_CHECKING:
    from leitstand.core.jobs import Job
    from leitstand.core.sharing.fair import Fair


class Usage:
    """See the module."""

    def __init__(self, plan: "Fair") -> None:
        self._plan = plan
        self._runs: Running | None = None  # kept from plan to plan
        self._base: Running | None = None  # the same, as of this one
        self._since: list[tuple[str, Node, int, Window | None]] = []  # what started or ended (None) since
        self._running: Counts | None = None
        self._reserved: Counts | None = None
        self._promised: Counts | None = None
        self._bounds: dict[str, Bound] | None = None  # by job: what nobody can take
        self._ahead: tuple[object, Ahead] | None = None  # kept until contracts or rules change

    # ── counts ────────────────────────────────────────────────────────────────────────────────────────────────────
    def running(self) -> Counts:
        """Of what runs, as of the last time anything was told to end."""
        if self._running is None:
            self._running = self._of_runs()
        return self._running

    def reserved(self) -> Counts:
        """With all that is reserved."""
        counts = self._reserved
        if counts is None:
            plan, state = self._plan, self._plan.state
            counts = self._reserved = self._of_runs()
            for made in state.reservations.values():
                job = state.jobs[made.job]
                if made.kind == "hold" and job.pool == plan.name:
                    repair.count(plan, counts, job)
                elif made.kind != "claim" and job.pool == plan.name:
                    self._put(counts, job, made.start_us)
            self._put_bookings(counts)
        return counts

    def promised(self) -> Counts:
        """With promises alone."""
        counts = self._promised
        if counts is None:
            plan, state = self._plan, self._plan.state
            counts = self._promised = self._of_runs()
            for made in state.reservations.values():
                job = state.jobs[made.job]
                if made.kind == "promise" and job.pool == plan.name:
                    self._put(counts, job, made.start_us)
            self._put_bookings(counts)
        return counts

    def _of_runs(self) -> Counts:
        plan, tree = self._plan, self._plan.standing.tree
        if self._base is None:
            if self._runs is None or self._runs.tree is not tree:
                self._runs = Running(tree)
            self._base = self._runs
            self._base.refresh(plan.now)
            self._since.clear()
        ceilings = self.ahead().ceilings(plan.now)
        counts = Counts(tree, self._base, plan.pool.lacks(plan.now), ceilings)
        for change in self._since:
            _tell(counts, *change)
        return counts

    def _put(self, counts: Counts, job: "Job", start_us: int) -> None:
        start_us = max(start_us, self._plan.now)
        window = (start_us, min(start_us + limit_of(job), INFINITY))
        counts.put(job.id, self._leaf(job), job.charge_milli, window)

    def _put_bookings(self, counts: Counts) -> None:
        """Those that have not begun; the others run."""
        plan = self._plan
        for booking in booked.of_pool(plan.state, plan.name):
            if not booking.has_begun:
                leaf = plan.standing.tree.node(booked.leaf_of(plan.state, booking))
                counts.put(booking.id, leaf, booking.charge_milli, (booking.from_us, booking.until_us))

    def _known(self) -> list[Counts]:
        return [counts for counts in (self._reserved, self._promised) if counts is not None]

    def _leaf(self, job: "Job") -> Node:
        return self._plan.standing.tree.node(self._plan.state.leaf(job))

    # ── what changed ──────────────────────────────────────────────────────────────────────────────────────────────
    def starts(self, job: "Job", had_reservation: bool) -> None:
        """The job starts now."""
        now = self._plan.now
        self._changed(job.id, self._leaf(job), job.charge_milli, (now, min(now + limit_of(job), INFINITY)))
        if had_reservation:
            self._bounds = None

    def claims(self, job: str) -> None:
        """The job has a claim: it counts as running."""
        held = self._plan.standing.tree.held[job]
        self._changed(job, held.leaf, held.charge, (self._plan.now, held.until_us))

    def stops(self, job: str) -> None:
        """The run of the job is about to be told to end."""
        held = self._plan.standing.tree.held[job]
        self._changed(job, held.leaf, held.charge, None)

    def _changed(self, job: str, leaf: Node, charge: int, window: Window | None) -> None:
        change = job, leaf, charge, window
        for counts in self._known():
            _tell(counts, *change)
        if self._base is not None:
            self._since.append(change)

    def grows(self, job: str) -> None:
        """The run of the job has units, perhaps more than before."""
        standing = self._plan.standing
        for name in standing.units.units(job):
            self.claims(name)

    def drops(self, job: str) -> None:
        """Nothing is reserved for the job any more."""
        self._bounds = None
        for counts in self._known():
            counts.drop(job)

    def reserves(self, job: "Job", leaf: Node, kind: str, start_us: int) -> None:
        """The job has a promise or a plan."""
        if self._reserved is not None:
            self._put(self._reserved, job, start_us)
        if kind == "promise":
            if self._promised is not None:
                self._put(self._promised, job, start_us)
            if self._bounds is not None:
                self._bounds[job.id] = self._bound(job, leaf, start_us)

    def holds(self, job: "Job") -> None:
        """What the job holds after a failure is another."""
        if self._reserved is not None:
            repair.count(self._plan, self._reserved, job)

    def look_again(self) -> None:
        """The plan goes on: what runs is counted with all that was said since."""
        self._running = None

    def forget(self) -> None:
        """Anything may have changed."""
        self._base = self._running = self._reserved = self._promised = self._bounds = None

    # ── questions ─────────────────────────────────────────────────────────────────────────────────────────────────
    def leaves_room(self, job: "Job", leaf: Node) -> bool:
        """Whether a start now leaves what is reserved its count."""
        if not self._plan.state.reservations and not self._plan.state.bookings.of:
            return True
        return self.reserved().allows(leaf, job.charge_milli, limit_of(job), job.id)

    def keeps_promises(self, job: "Job", leaf: Node, gone: Sequence[str] = ()) -> bool:
        """Whether promises keep their count beside the job without these runs; places they keep by the view in which
        its own are found."""
        state, tree = self._plan.state, self._plan.standing.tree
        if all(promised == job.id for promised in self._plan.standing.promised) and not state.bookings.of:
            return True
        counts = self.promised()
        victims = [tree.held[counts_as(victim)] for victim in gone]
        for held in victims:
            counts.end(held.id, held.leaf)
        freed_us = state.rules.sharing.freed_us
        allowed = counts.allows(leaf, job.charge_milli, min(limit_of(job) + freed_us, INFINITY), job.id)
        for held in victims:
            counts.start(held.id, held.leaf, held.charge, held.until_us)
        return allowed

    def is_safe(self, job: "Job", leaf: Node, start_us: int) -> bool:
        """Whether the start can be promised: no guarantee that is called takes it, and it is ours to give."""
        plan = self._plan
        if plan.pool.delegated:
            return False
        if self._bounds is None:
            self._bounds = bounds(plan.state, plan.name, plan.now)
        tree = plan.standing.tree
        asked = self._bound(job, leaf, start_us)
        room = Room(tree.capacity - plan.state.rules.sharing.spare_milli, plan.now)
        return safe(self.ahead(), asked, self._bounds.values(), room, plan.pool.lacks(plan.now))

    def ahead(self) -> Ahead:
        """What contracts will make of the tree."""
        state, name = self._plan.state, self._plan.name
        contracts, tree = contracts_of(state, name), self._plan.standing.tree
        key = (contracts.version, state.rules_digest)
        if self._ahead is None or self._ahead[0] != key:
            self._ahead = key, Ahead(contracts, state.rules.sharing, tree)
        return self._ahead[1]

    def _bound(self, job: "Job", leaf: Node, start_us: int) -> Bound:
        """What nobody could take from a promise."""
        until_us = self._plan.state.rules.sharing.until_freed_us
        return promised(leaf, job.charge_milli, start_us, (limit_of(job), until_us))


def _tell(counts: Counts, job: str, leaf: Node, charge: int, window: Window | None) -> None:
    """A job runs in this window; without one: no more."""
    if window is None:
        counts.end(job, leaf)
    else:
        counts.put(job, leaf, charge, window)
