# SPDX-License-Identifier: Apache-2.0
"""Whether a booking can be had, where, and from when on if not at once. A pure reading: called to decide on one, and by
the API to show it beforehand.

It can be had if it is *safe*: at every moment of its window all guarantees can be called and all that is promised,
pinned or booked still runs, with what is in service then, within every limit; and if it has places beside all that is
promised or booked, beside runs that are pinned or inside guarantees that would be called, and outside of maintenance.
Other runs in its place yield.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from leitstand.core import facts as f
from leitstand.core.bookings import booked
from leitstand.core.bookings.booked import KIND, Booking, leaf_of, notice
from leitstand.core.metering import lost
from leitstand.core.places.closures import lacking
from leitstand.core.places.placement import Place, counted
from leitstand.core.places.steps import INFINITY
from leitstand.core.places.timeline import Timeline
from leitstand.core.sharing.ahead import Ahead
from leitstand.core.sharing.entitlements import contracts_of, upwards
from leitstand.core.sharing.foreseen import Foreseen, Start
from leitstand.core.sharing.promises import Bound, bounds, excess
from leitstand.core.sharing.standing import Standing, limit_of, parts_of
from leitstand.core.sharing.units import run_of

if TYPE_CHECKING:
    from leitstand.core.state import State

DATES_MAX: Final = 16  # begins that are tried to name a free one
YIELDS_MAX: Final = 256  # runs that one booking tells to end


class Found(NamedTuple):
    """It can be had: places, the runs there that yield, the jobs whose plan has no room any more."""

    tasks: tuple[f.Task, ...]
    yields: tuple[str, ...] = ()
    drops: tuple[str, ...] = ()


class Lack(NamedTuple):
    """It cannot. `milli`: so much more than `node` ('': the root) may use would run at `at_us` if all guarantees were
    called; 0: there are no places, or `yields` runs would have to end. `next_us`: the first moment at which that may be
    over, None: not known."""

    at_us: int
    node: str = ""
    milli: int = 0
    next_us: int | None = None
    yields: int = 0


def find(state: "State", now: int, asked: Booking) -> Found | Lack:
    """Whether the booking, which is not there yet, can be had as asked at `now` (µs)."""
    search = Search(state, now, asked)
    return search.at(asked.from_us)


def earliest(state: "State", now: int, asked: Booking) -> int | None:
    """From when on it can be had, if it is as long; None: no such time was found among the DATES_MAX first at which
    something that forbids it is over."""
    search = Search(state, now, asked)
    at_us: int | None = asked.from_us
    for _ in range(DATES_MAX):
        if at_us is None:
            return None
        found = search.at(at_us)
        if isinstance(found, Found):
            return at_us
        at_us = found.next_us
    return None


class Search:
    """The pool without, and then with, the booking."""

    def __init__(self, state: "State", now: int, asked: Booking) -> None:
        self.state, self.now, self.asked = state, now, asked
        self.pool = state.pools[asked.pool]
        assert self.pool.standing is not None, "the discipline is fair"
        self.standing: Standing = self.pool.standing
        self.leaf = leaf_of(state, asked)
        self.length_us = asked.until_us - asked.from_us
        others = bounds(state, asked.pool, now)
        others.pop(asked.id, None)
        self.others = list(others.values())
        contracts = contracts_of(state, asked.pool)
        self.ahead = Ahead(contracts, state.rules.sharing, self.standing.tree)
        self.before = self.standing.timeline.copy(self.pool.closures)
        self.before.release(asked.id)
        self.cleared = self.before.copy(self.pool.closures)
        self.may_yield = dict.fromkeys(self._that_may_yield())
        self.smaller = self.before.copy(self.pool.closures)  # elastic runs have their least size
        for run in self.may_yield:
            for unit in self._units(run):
                self.smaller.until(unit, min(self.before.until_us(unit), max(asked.from_us, now + 1)))
        self.clear(max(asked.from_us, now + 1))

    def clear(self, from_us: int) -> None:
        """Whoever may yield has left by then."""
        for run in self.may_yield:
            self._yields(self.cleared, run, from_us)

    def _yields(self, timeline: Timeline, run: str, from_us: int) -> None:
        """A run leaves then, with all that an elastic one has beyond its least size."""
        for id in (run, *self._units(run)):
            timeline.until(id, min(self.before.until_us(id), from_us))

    def _units(self, run: str) -> list[str]:
        return [unit.id for unit in self.standing.units.units(self.state.runs[run].job).values()]

    def at(self, from_us: int) -> Found | Lack:
        """If it began then."""
        until_us = from_us + self.length_us
        own = Bound(self.standing.tree.node(self.leaf), self.asked.charge_milli, from_us, until_us)
        lack = self._unsafe(own)
        if lack is not None:
            return lack
        places = None
        for timeline in (self.before, self.smaller, self.cleared):  # where nobody has to go comes first
            if places is None or places[0] != from_us:
                places = self._places(timeline, from_us)
        if places is None or places[0] != from_us:
            return Lack(from_us, next_us=None if places is None else places[0])
        return self.with_places(places[1], from_us)

    def _places(self, timeline: Timeline, from_us: int) -> tuple[int, list[Place]] | None:
        asked = self.asked.resources
        return timeline.earliest(
            asked,
            self.now,
            self.length_us,
            lambda view: self.pool.place(asked, view),
            ignore=f.PLANNED,
            where=self.pool.where(asked),
            after_us=from_us,
        )

    # ── what it meets ─────────────────────────────────────────────────────────────────────────────────────────────
    def _that_may_yield(self) -> Iterator[str]:
        """Runs that are neither pinned then nor inside a guarantee, after all that is promised or booked then."""
        state, asked, at_us = self.state, self.asked, self.asked.from_us
        starts = [Start(asked.id, self.leaf, asked.charge_milli)]
        starts += [one for one in booked.starts(state, asked.pool, at_us) if one.job != asked.id]
        for made in state.reservations.values():
            job = state.jobs[made.job]
            runs = made.start_us <= at_us < made.start_us + limit_of(job)
            if made.kind == "promise" and job.pool == asked.pool and runs:
                starts.append(Start(job.id, state.leaf(job), job.charge_milli))
        running = [held for held in self.standing.tree.held.values() if held.until_us > at_us]
        running = [held for held in running if held.id != asked.id]
        owed = Foreseen(self.ahead.tree(self.now, at_us), running, starts, at_us).owed("")
        told_us = at_us - notice(state)
        for run in state.runs.values():
            job = state.jobs[run.job]
            if (
                job.pool == asked.pool
                and job.id not in owed
                and not run.stopping
                and run.pinned_us <= told_us
            ):
                yield run.id

    def with_places(self, places: list[Place], from_us: int) -> Found | Lack:
        """Who yields for these places from then on, the cheapest first, and whose plan goes."""
        asked, trial = self.asked, self.before.copy(self.pool.closures)
        parts = parts_of(asked.resources, places)
        positions = dict.fromkeys(position for position, _ in places)
        plans = [job for position in positions for job in trial.on(position) if self._is_plan(job)]
        for job in dict.fromkeys(plans):
            trial.release(job)
        span = from_us, from_us + self.length_us
        trial.reserve(asked.id, KIND, places, parts, *span, slack_us=self.length_us)
        yields: list[str] = []
        for position in positions:
            late = [run_of(id) for id in trial.runs_on(position) if trial.until_us(id) > from_us]
            runs = dict.fromkeys(run for run in late if run in self.may_yield)
            there = sorted(runs, key=self._cost, reverse=True)
            while there and trial.is_short(position, self.now):
                yields.append(there.pop())
                self._yields(trial, yields[-1], from_us)
        if len(yields) > YIELDS_MAX:
            return Lack(from_us, yields=len(yields))
        drops = self._crowded_out(trial, dict.fromkeys(plans))
        return Found(counted(places, self.pool.names), tuple(yields), drops)

    def _crowded_out(self, trial: Timeline, plans: Iterable[str]) -> tuple[str, ...]:
        """Plans for which there is no room beside it; the earlier ones stay first."""
        gone = []
        for job in plans:
            made = self.before.reservation(job)
            assert made is not None, "it was there before"
            asked = self.state.jobs[job].resources
            parts = parts_of(asked, made.places)
            span = (made.from_us, made.until_us)
            trial.reserve(job, made.kind, made.places, parts, *span, asked.gpu_milli, mig=asked.mig)
            if any(trial.is_short(position, self.now) for position, _ in made.places):
                trial.release(job)
                gone.append(job)
        return tuple(gone)

    def _is_plan(self, job: str) -> bool:
        made = self.before.reservation(job)
        return made is not None and made.kind in f.PLANNED

    def _cost(self, run_id: str) -> tuple[int, int, str]:
        """What it would lose if it ended then."""
        run = self.state.runs[run_id]
        job = self.state.jobs[run.job]
        return lost(job, run, self.asked.from_us) * max(job.charge_milli, 1), job.charge_milli, run_id

    # ── whether it is safe ────────────────────────────────────────────────────────────────────────────────────────
    def _unsafe(self, own: Bound) -> Lack | None:
        """The first moment at which not everything stands, and when that may be over."""
        near = [one for one in self.others if one.from_us < own.until_us and one.until_us > own.from_us]
        lacks = self.pool.lacks(self.now)
        edges = [one.from_us for one in near] + [edge for lack in lacks for edge in lack[1:]]
        edges += self.ahead.between(own.from_us, own.until_us)
        moments = {own.from_us, *(edge for edge in edges if own.from_us < edge < own.until_us)}
        whole = self.pool.capacity() - self.state.rules.sharing.spare_milli
        for moment in sorted(moments):
            room = whole - lacking(lacks, moment)
            over = excess(self.ahead.tree(self.now, moment), [own, *near], moment, room)
            mine = [node for node in upwards(self.leaf) if node in over]  # of others it takes nothing
            if mine:
                ends = (
                    [one.until_us for one in self.others]
                    + [lack.until_us for lack in lacks]
                    + self.ahead.edges
                )
                later = [end for end in ends if moment < end < INFINITY]
                return Lack(moment, mine[0], over[mine[0]], min(later, default=None))
        return None
