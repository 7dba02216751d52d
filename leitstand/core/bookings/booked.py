# SPDX-License-Identifier: Apache-2.0
"""Bookings and their life. `APPLY` folds their facts (called by the state), `due` says what time makes of them (called
by the cycle).

    booked ─▶ clearing ─▶ begun ─▶ closing ─▶ over        cancelled: at any time

`clearing` and `closing` begin as long before the window, and its end, as a run may take to save its work and stop: who
is in its place, and who runs in it, is told to end.

To everybody else a booking is a reservation of its places for all of its window, and from its begin on a pinned run of
its owner. Who runs in it counts nothing; what he holds is taken out of the reservation for as long as he runs.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from leitstand.core import facts as f
from leitstand.core import resizing
from leitstand.core.bookings import paying
from leitstand.core.fact import Fact
from leitstand.core.places.placement import Place
from leitstand.core.places.steps import Amount
from leitstand.core.sharing.entitlements import node_of
from leitstand.core.sharing.foreseen import Start
from leitstand.core.sharing.shares import Held
from leitstand.core.sharing.standing import Standing, parts_of
from leitstand.core.tenancy import WORKING

if TYPE_CHECKING:
    from leitstand.core.jobs import Job
    from leitstand.core.state import State

KIND: Final = "booking"  # of its reservation in the timeline


class Booking(msgspec.Struct, gc=False):
    """See `BookingMade`. `number`: order of making. `step`: booked or one of BOOKING_STEPS. `idle_us`: since when,
    after its begin, nobody uses it; 0: somebody does. `booked_milli`: what it counted for when it was made;
    `lost_milli_us`: what failures took of that, charge × time."""

    id: str
    number: int
    tenant: str
    project: str
    projects: tuple[str, ...]
    pool: str
    resources: f.Resources
    charge_milli: int
    from_us: int
    until_us: int
    tasks: tuple[f.Task, ...]
    yields: tuple[str, ...] = ()
    release_idle_us: int = 0
    by: str = ""
    request: str = ""
    request_digest: str = ""
    reserved: f.Parts = ()
    price_micro_eur: int = 0
    booked_milli: int = 0
    step: str = "booked"
    idle_us: int = 0
    lost_milli_us: int = 0

    @property
    def has_begun(self) -> bool:
        """Whether its jobs may run, or did."""
        return self.step in ("begun", "closing")

    def is_for(self, tenant: str, project: str) -> bool:
        """Whether jobs of the project may name it."""
        return tenant == self.tenant and project in (self.project, *self.projects)


class Bookings(msgspec.Struct):
    """`made`: bookings ever made; `of`: by id, those that are not over."""

    made: int = 0
    of: dict[str, Booking] = msgspec.field(default_factory=dict)


class Inside:
    """The jobs that name a booking, by its id; derived. `jobs`: that live; `waiting`: for nothing but room in it;
    `awake`: bookings in which somebody may start that could not before."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, None]] = {}
        self.waiting: dict[str, dict[str, None]] = {}
        self.awake: dict[str, None] = {}

    def enter(self, job: "Job") -> None:
        """The job was admitted."""
        assert job.booking is not msgspec.UNSET, "it names one"
        self.jobs.setdefault(job.booking, {})[job.id] = None

    def wait(self, job: "Job") -> None:
        """It waits for room in its booking."""
        assert job.booking is not msgspec.UNSET, "it names one"
        self.waiting.setdefault(job.booking, {})[job.id] = None
        self.awake[job.booking] = None

    def wait_no_more(self, job: "Job") -> None:
        """It starts, is held, or is over."""
        _drop(self.waiting, job)

    def wake(self, state: "State", pool: str) -> None:
        """Capacity of the pool was freed: perhaps where a booking waited for it."""
        for id in self.waiting:
            booking = state.bookings.of.get(id)
            if booking is not None and booking.has_begun and booking.pool == pool:
                self.awake[id] = None

    def leave(self, job: "Job") -> None:
        """It is over."""
        _drop(self.waiting, job)
        _drop(self.jobs, job)


def _drop(of: dict[str, dict[str, None]], job: "Job") -> None:
    assert job.booking is not msgspec.UNSET, "it names one"
    known = of.get(job.booking)
    if known is not None:
        known.pop(job.id, None)
        if not known:
            del of[job.booking]


# ── questions ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def of_job(state: "State", job: "Job") -> Booking | None:
    """The booking that the job names; None if it names none, or that is over."""
    return None if job.booking is msgspec.UNSET else state.bookings.of.get(job.booking)


def of_pool(state: "State", pool: str) -> list[Booking]:
    """Those of a pool, in the order in which they were made."""
    return [one for one in state.bookings.of.values() if one.pool == pool]


def leaf_of(state: "State", booking: Booking) -> str:
    """Where it stands in the entitlement tree."""
    return node_of(state.tenants[booking.tenant], booking.project)


def starts(state: "State", pool: str, at_us: int) -> list[Start]:
    """Those of the pool that will have begun by then, and have not yet."""
    return [
        Start(one.id, leaf_of(state, one), one.charge_milli)
        for one in of_pool(state, pool)
        if not one.has_begun and one.from_us <= at_us < one.until_us
    ]


def amounts(state: "State", booking: Booking) -> dict[int, Amount]:
    """What it holds on each node, whoever runs in it."""
    places = state.places(booking.tasks)
    found: dict[int, Amount] = {}
    for (position, gpus), part in zip(places, parts_of(booking.resources, places), strict=True):
        found[position] = _plus(found.get(position, (0, 0, 0)), (gpus, *part))
    return found


def left(state: "State", booking: Booking) -> dict[int, Amount]:
    """The same without what its jobs hold; a GPU that they share is held whole."""
    found = amounts(state, booking)
    shared: dict[int, int] = {}
    for id in state.inside.jobs.get(booking.id, ()):
        job = state.jobs[id]
        run = state.runs.get(job.run)
        for task in run.tasks if run is not None else ():
            position, bits = state.nodes[task.node].position, task.bits
            if position not in found:
                continue
            cpus_milli, memory_mib = job.resources.part(bits.bit_count())
            if job.resources.gpu_milli:
                bits &= ~shared.get(position, 0)
                shared[position] = shared.get(position, 0) | bits
            found[position] = _plus(found[position], (-bits.bit_count(), -cpus_milli, -memory_mib))
    return {position: (max(a, 0), max(b, 0), max(c, 0)) for position, (a, b, c) in found.items()}


def notice(state: "State") -> int:
    """How long before its window, and before its end, runs are told to end: never at the last moment, when it is too
    late for who starts then."""
    return max(state.rules.sharing.freed_us, 1)


def _plus(one: Amount, other: Amount) -> Amount:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


# ── what time makes of them ───────────────────────────────────────────────────────────────────────────────────────────
def next_time(state: "State") -> int | None:
    """When time alone will change a booking (µs)."""
    if not state.bookings.of:
        return None
    notice_us = notice(state)
    return min((_due_us(state, one, notice_us) for one in state.bookings.of.values()), default=None)


def due(state: "State", now: int) -> list[Fact]:
    """The next step of the first booking that has one due, with who is told to end, or has waited in vain; [] if none
    has."""
    if not state.bookings.of:
        return []
    notice_us = notice(state)
    found = [
        (due_us, one.number, one.id)
        for one in state.bookings.of.values()
        if (due_us := _due_us(state, one, notice_us)) <= now
    ]
    if not found:
        return []
    booking = state.bookings.of[min(found)[2]]
    if cause := _ends(state, booking, now):
        return ending(state, booking, f.BookingEnded(booking.id, cause, paying.whole(state, booking)))
    step = _NEXT[booking.step]
    facts: list[Fact] = [f.BookingAdvanced(booking.id, step)]
    if step == "clearing":
        facts += clearing(state, booking)
    elif step == "closing":
        facts += _stops(state, booking)
    return facts


def ending(state: "State", booking: Booking, end: Fact) -> list[Fact]:
    """The end of a booking, with that of the jobs that name it: who runs is told to, who waits has nothing to wait
    for."""
    waits = [id for id in state.inside.jobs.get(booking.id, ()) if not state.jobs[id].run]
    ends = [f.JobEnded(id, "failed", "booking_ended") for id in waits]
    return [end, *_stops(state, booking), *ends]


_NEXT: Final = {"booked": "clearing", "clearing": "begun", "begun": "closing"}


def _due_us(state: "State", booking: Booking, notice_us: int) -> int:
    if not _stands(state, booking) or not booking.tasks:
        return 0
    if booking.step == "closing":
        return booking.until_us
    if booking.step == "begun":
        idle_us = booking.idle_us + booking.release_idle_us
        closing_us = booking.until_us - notice_us
        return min(idle_us, closing_us) if booking.idle_us and booking.release_idle_us else closing_us
    return booking.from_us - (notice_us if booking.step == "booked" else 0)


def _ends(state: "State", booking: Booking, now: int) -> str:
    """Why it ends now, one of BOOKING_ENDS; '' if it does not."""
    if not _stands(state, booking):
        return "rules" if state.rules.discipline != "fair" else "exit"
    if not booking.tasks:
        return "lost"
    if booking.until_us <= now:
        return "over"
    idle = booking.step == "begun" and booking.idle_us and booking.release_idle_us
    return "idle" if idle and booking.idle_us + booking.release_idle_us <= now else ""


def _stands(state: "State", booking: Booking) -> bool:
    return state.rules.discipline == "fair" and state.tenants[booking.tenant].stage in WORKING


def clearing(state: "State", booking: Booking) -> list[Fact]:
    """Whoever is in its place is told to end; an elastic run only there, if it can."""
    nodes = dict.fromkeys(task.node for task in booking.tasks)
    facts: list[Fact] = []
    for id in booking.yields:
        run = state.runs.get(id)
        if run is not None and not run.stopping and any(task.node in nodes for task in run.tasks):
            smaller = resizing.without(state, run, nodes, "recall", booking.id)
            facts.append(smaller or f.RunStopOrdered(id, "recall", booking.id))
    return facts


def _stops(state: "State", booking: Booking) -> list[Fact]:
    runs = (state.runs.get(state.jobs[id].run) for id in state.inside.jobs.get(booking.id, ()))
    return [
        f.RunStopOrdered(run.id, f.BOOKING) for run in runs if run is not None and run.stopping != f.BOOKING
    ]


# ── what the plan knows of them ───────────────────────────────────────────────────────────────────────────────────────
def call(state: "State", pool: str, now: int) -> None:
    """Bookings that begin within m count as pinned. Called whenever the shares of a pool are brought up to date."""
    standing = state.pools[pool].standing
    if standing is None:
        return
    for booking in state.bookings.of.values():
        if booking.pool != pool or booking.has_begun or booking.id in standing.booked:
            continue
        if booking.from_us - state.rules.sharing.until_freed_us <= now:
            leaf = standing.tree.node(leaf_of(state, booking))
            standing.booked[booking.id] = leaf, booking.charge_milli
            standing.tree.book(leaf, booking.charge_milli)


def derive(state: "State") -> None:
    """Hold all bookings anew, after what runs is known."""
    for booking in state.bookings.of.values():
        _stand(state, booking)


def changed(state: "State", job: "Job", at: int) -> None:
    """A run of a job that names a booking started or ended."""
    booking = of_job(state, job)
    if booking is None:
        return
    _hold(state, booking)
    if booking.has_begun:
        used = any(state.jobs[id].run for id in state.inside.jobs.get(booking.id, ()))
        booking.idle_us = 0 if used else at
    state.inside.awake[booking.id] = None


def _stand(state: "State", booking: Booking) -> None:
    """Hold its places, count it as running if it has begun, and say until when runs in its place may last."""
    standing = state.pools[booking.pool].standing
    if standing is None:
        return
    _hold(state, booking)
    if booking.has_begun:
        _count(state, standing, booking)
        state.inside.awake[booking.id] = None
    else:
        _cut(state, standing, booking.yields, booking.from_us)


def _unstand(state: "State", booking: Booking) -> None:
    """The opposite."""
    pool = state.pools[booking.pool]
    standing = pool.standing
    if standing is None:
        return
    standing.timeline.release(booking.id)
    standing.timeline.fence(booking.id, {})
    _uncount(standing, booking)
    _uncut(state, standing, booking)


def _hold(state: "State", booking: Booking) -> None:
    """In the timeline: what its jobs leave of it, for all of its window."""
    standing = state.pools[booking.pool].standing
    if standing is None or not booking.tasks:
        return
    rest = left(state, booking)
    places: list[Place] = [(position, gpus) for position, (gpus, _, _) in rest.items()]
    parts = [(cpus_milli, memory_mib) for _, cpus_milli, memory_mib in rest.values()]
    span = booking.from_us, booking.until_us
    standing.timeline.reserve(booking.id, KIND, places, parts, *span, slack_us=span[1] - span[0])
    standing.timeline.fence(booking.id, shared_in(state, booking))


def shared_in(state: "State", booking: Booking) -> dict[int, int]:
    """The GPUs that its jobs share, as a bit mask by position."""
    found: dict[int, int] = {}
    for id in state.inside.jobs.get(booking.id, ()):
        job = state.jobs[id]
        if job.resources.gpu_milli and job.run:
            for task in state.runs[job.run].tasks:
                position = state.nodes[task.node].position
                found[position] = found.get(position, 0) | task.bits
    return found


def _count(state: "State", standing: Standing, booking: Booking) -> None:
    """It runs, as far as shares are concerned."""
    leaf = standing.tree.node(leaf_of(state, booking))
    held = Held(booking.id, leaf, booking.charge_milli, 0, (booking.from_us, -booking.number))
    held.pinned_us = held.until_us = booking.until_us
    standing.tree.start(held)
    standing.backlog.run(booking.id, held.charge, booking.from_us, booking.until_us)


def _uncount(standing: Standing, booking: Booking) -> None:
    if booking.id in standing.tree.held:
        standing.tree.end(booking.id)
        standing.backlog.end(booking.id)
    if booking.id in standing.booked:
        leaf, charge = standing.booked.pop(booking.id)
        standing.tree.book(leaf, -charge)


def _cut(state: "State", standing: Standing, runs: Iterable[str], until_us: int) -> None:
    """These runs are over by then."""
    for id in runs:
        run = state.runs.get(id)
        if run is not None:
            standing.cuts[id] = until_us
            if not run.stopping:
                standing.cut(state.jobs[run.job], run)


def _uncut(state: "State", standing: Standing, booking: Booking) -> None:
    """Who was to yield is over at his limit alone."""
    for id in booking.yields:
        run = state.runs.get(id)
        if standing.cuts.pop(id, None) is not None and run is not None and not run.stopping:
            standing.cut(state.jobs[run.job], run)


# ── apply ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _made(state: "State", at: int, fact: f.BookingMade) -> None:
    state.bookings.made += 1
    booking = state.bookings.of[fact.booking] = Booking(
        fact.booking,
        state.bookings.made,
        fact.tenant,
        fact.project,
        fact.projects,
        fact.pool,
        fact.resources,
        fact.charge_milli,
        fact.from_us,
        fact.until_us,
        fact.tasks,
        fact.yields,
        fact.release_idle_us,
        fact.by,
        fact.request,
        fact.request_digest,
    )
    booking.booked_milli = fact.charge_milli
    paying.hold(state, booking, fact.reserved, fact.price_micro_eur)
    _stand(state, booking)


def _advanced(state: "State", at: int, fact: f.BookingAdvanced) -> None:
    booking = state.bookings.of[fact.booking]
    booking.step = fact.step
    standing = state.pools[booking.pool].standing
    if fact.step == "begun" and standing is not None:
        _uncount(standing, booking)
        _count(state, standing, booking)
        _uncut(state, standing, booking)
        booking.idle_us = at
        state.inside.awake[booking.id] = None


def _moved(state: "State", at: int, fact: f.BookingMoved) -> None:
    booking = state.bookings.of[fact.booking]
    _unstand(state, booking)
    booking.tasks, booking.yields = fact.tasks, fact.yields
    _stand(state, booking)


def _broken(state: "State", at: int, fact: f.BookingBroken) -> None:
    booking = state.bookings.of[fact.booking]
    _unstand(state, booking)
    missing = booking.charge_milli - fact.charge_milli
    booking.lost_milli_us += missing * (booking.until_us - min(max(at, booking.from_us), booking.until_us))
    booking.tasks, booking.charge_milli = fact.tasks, fact.charge_milli
    _stand(state, booking)


def _over(state: "State", at: int, fact: f.BookingEnded | f.BookingCancelled) -> None:
    booking = state.bookings.of.pop(fact.booking)
    paying.spend(state, booking, fact.posted)
    _unstand(state, booking)
    state.inside.awake.pop(booking.id, None)


APPLY: Final[dict[type[Fact], Callable[["State", int, Any], None]]] = {
    f.BookingMade: _made,
    f.BookingCancelled: _over,
    f.BookingAdvanced: _advanced,
    f.BookingMoved: _moved,
    f.BookingBroken: _broken,
    f.BookingEnded: _over,
}
