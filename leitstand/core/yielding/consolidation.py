# SPDX-License-Identifier: Apache-2.0
"""Consolidation: runs move so that a job which fits by count also finds its shape. Called by the fair plan at ticks,
for a job that can neither start nor take from anybody.

A run moves only if places are held for it before it stops: free now, for a whole time limit, beside all that is
reserved. What it leaves is held for the job. Facts, in this order: a claim for each run that moves, the claim of the
job, the stops. The runs of a move keep what they count for and since when, so nothing that is covered falls and usage
rises by the job: each consolidation goes up, none undoes another.

Who moves: any run that is not pinned and older than M, while all that move hold at most 1.2 times what the job asks
for; beyond that only *willing* ones, which save their work. In either case the work they lose is at most what the job
gains, its charge times the time for which it would wait otherwise. A tick moves no more runs than the rules allow.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, islice
from typing import TYPE_CHECKING, Final, NamedTuple

from leitstand.core import budgets
from leitstand.core import facts as f
from leitstand.core.places.fit import positions_of
from leitstand.core.places.placement import Place, counted
from leitstand.core.places.steps import INFINITY, Amount
from leitstand.core.places.timeline import ENDING
from leitstand.core.sharing.counts import Counts
from leitstand.core.sharing.shares import Held
from leitstand.core.sharing.standing import limit_of
from leitstand.core.yielding.cover import LAST
from leitstand.core.yielding.offers import Offer, Offers, Room, Window, Yielding, need_of
from leitstand.core.yielding.preemption import Scene
from leitstand.core.yielding.victims import Wanted, most_of, rank_of, still_needed

if TYPE_CHECKING:
    from leitstand.core.jobs import Job
    from leitstand.core.state import State

MOVES_MAX: Final = 1_000  # runs that one tick moves, whatever the rules allow
SEARCHES_MAX: Final = 4  # that find nobody to move, in a tick that looks at everybody at once
NODES_MAX: Final = 256  # looked at for one job: those with the most free GPUs
DOMAINS_MAX: Final = 16  # whose clearing is tried, the cheapest first
STUCK_MAX: Final = 4  # runs found to have nowhere to go, after each of which somebody else is looked for
FEW: Final = 8  # runs that may move, of which all sets are tried

Stuck = dict[str, None]
Reach = dict[f.Resources, tuple[int, int]]
Cleared = tuple[list[Yielding], list[Place]]  # runs, and where the job goes without them


class Move(NamedTuple):
    """A run and the places where it goes on."""

    run: Yielding
    places: list[Place]


class Moves(NamedTuple):
    """Places for a job once these runs have moved."""

    places: list[Place]
    runs: tuple[Move, ...]


class Case(NamedTuple):
    """One job. `room`: what is free for it once all that is being freed is; `willing`: only willing runs move;
    `reach`: for a shape the longest time limit of which it is known that a run finds places, and the shortest of which
    it finds none."""

    wanted: Wanted
    room: Room
    willing: bool
    stuck: Stuck
    reach: Reach


class Consolidation:
    """The consolidation of one plan in one pool. `scene`: that of the plan, which is told what moved; `searches`: how
    many may find nobody."""

    def __init__(self, state: "State", pool: str, scene: Scene, searches: int = SEARCHES_MAX) -> None:
        self.state = state
        self.scene = scene
        self.sharing = scene.sharing
        self.wait_us = scene.sharing.freed_us
        self.pool = pool
        self.searches = searches
        self._failed: dict[tuple[object, ...], None] = {}  # shapes for which nobody can move
        self._movable: dict[tuple[str, bool], bool] = {}
        self._rooms: dict[f.Resources, bool] = {}  # whether there is room at all for a run of a shape
        self._pledged: dict[str, tuple[int, int]] = {}  # tenant → charge and longest limit of what moved
        standing = state.pools[pool].standing
        self.left = min(scene.sharing.moves_max, MOVES_MAX) - (standing.moved if standing is not None else 0)
        stopping = standing.stopping if standing is not None else ()
        runs = (state.runs[run] for run in stopping if run in state.runs)  # units that go are few
        self._freeing = sum(task.bits.bit_count() for run in runs for task in run.tasks)

    def may(self, wanted: Wanted) -> bool:
        """Whether to look for moves at all: as far as is known without a search, the job has room by count, it is
        inside a deserved share, and a move takes no longer than runs are protected anyway."""
        if self.left <= 0 or not self.searches or wanted.asked.is_part:
            return False
        if (
            wanted.asked,
            wanted.limit_us,
        ) in self._failed or wanted.asked.gpus > self._free() + self._freeing:
            return False
        if self.wait_us > self.sharing.protected_us:  # who moves can be recalled only when it has arrived
            return False
        held = Held(wanted.job, wanted.leaf, wanted.charge, wanted.priority, LAST)
        return bool(self.scene.cover.covered(held))

    def _free(self) -> int:
        """GPUs that nobody uses now."""
        levels = self.state.pools[self.pool].free.levels
        return sum(size * mask.bit_count() for size, mask in enumerate(levels))

    def moves(self, wanted: Wanted, counts: Counts, otherwise: Callable[[], int]) -> Moves | None:
        """The moves that lose least work; None if there are none. `counts`: usage over time with all that is reserved;
        `otherwise`: when the job would start without moves."""
        room = self._room(wanted, (ENDING,), wanted.limit_us)
        reach: Reach = {}
        for willing in (False, True):
            found = self._find(Case(wanted, room, willing, {}, reach))
            if found is not None and self._stands(wanted, counts, found.runs):
                if self._pays(wanted, found.runs, otherwise()):
                    return found
                break
        self._failed[wanted.asked, wanted.limit_us] = None
        self.searches -= 1
        return None

    def carry_out(self, wanted: Wanted, moves: Moves, emit: Callable[[f.Fact], None]) -> None:
        """Hold the places, then stop the runs."""
        tree, names = self.scene.tree, self.state.pools[self.pool].names
        used, before = tree.root.running, [tree.held[move.run.job] for move in moves.runs]
        for move in moves.runs:
            emit(f.CapacityReserved(move.run.job, "claim", self.scene.now, counted(move.places, names)))
        made = self.state.reservations.get(wanted.job)
        promised = made is not None and made.pins
        tasks = counted(moves.places, names)
        emit(f.CapacityReserved(wanted.job, "claim", self.scene.now, tasks, promised))
        for move in moves.runs:
            emit(f.RunStopOrdered(move.run.run, f.MOVE, wanted.job))
        self._pledged = self._pledges([move.run for move in moves.runs])
        self._movable.clear()
        assert tree.root.running == used + wanted.charge, (
            "a consolidation starts its job and stops nobody else"
        )
        assert all(tree.held[held.id] is held for held in before), "who moves counts as before"
        self.left -= len(moves.runs)
        positions = [
            at for places in (moves.places, *(move.places for move in moves.runs)) for at, _ in places
        ]
        self.scene.moved([move.run for move in moves.runs], wanted.job, positions)

    # ── whether it is worth it ────────────────────────────────────────────────────────────────────────────────────
    def _stands(self, wanted: Wanted, counts: Counts, moves: Sequence[Move]) -> bool:
        """Whether all that is reserved keeps its count, though whoever moves gets a whole time limit again."""
        tree, fits = self.scene.tree, True
        for move in moves:
            counts.end(move.run.job, move.run.leaf)
        for move in moves:
            limit_us = limit_of(self._job(move.run)) + self.wait_us
            fits = fits and counts.allows(move.run.leaf, move.run.charge, limit_us, move.run.job)
            until_us = min(self.scene.now + limit_us, INFINITY)
            counts.start(move.run.job, move.run.leaf, move.run.charge, until_us)
        limit_us = wanted.limit_us + self.wait_us
        fits = fits and counts.allows(wanted.leaf, wanted.charge, limit_us, wanted.job)
        for move in moves:
            counts.start(move.run.job, move.run.leaf, move.run.charge, tree.held[move.run.job].until_us)
        return fits

    def _pays(self, wanted: Wanted, moves: Sequence[Move], otherwise_us: int) -> bool:
        """Whether the job gains at least what the others lose."""
        sooner_us = otherwise_us - self.scene.now - self.wait_us
        return sum(move.run.lost for move in moves) <= wanted.charge * sooner_us and sooner_us > 0

    # ── who moves ─────────────────────────────────────────────────────────────────────────────────────────────────
    def _find(self, case: Case) -> Moves | None:
        """The cheapest sets in turn; where a run has nowhere to go, others are looked for."""
        for _ in range(STUCK_MAX):
            known = len(case.stuck)
            few = self._few(case)
            for runs, places in self._many(case) if few is None else few:
                moved = self._elsewhere(case, runs, places) if self._can_pay(runs) else None
                if moved is not None:
                    return Moves(places, moved)
            if few is not None or len(case.stuck) == known:
                return None
        return None

    def _most(self, case: Case) -> int:
        """How much may move."""
        return INFINITY if case.willing else most_of(case.wanted)

    def _few(self, case: Case) -> Iterator[Cleared] | None:
        """Where few runs may move, all sets of them without which the job fits, the best first."""
        able = (run for run in self.scene.everybody() if self._may_move(case, run))
        movable = list(islice(able, FEW + 1))
        return self._sets(case, movable) if len(movable) <= FEW else None

    def _sets(self, case: Case, movable: list[Yielding]) -> Iterator[Cleared]:
        most = self._most(case)
        sets = [
            some
            for count in range(1, min(len(movable), self.left) + 1)
            for some in combinations(movable, count)
            if sum(run.charge for run in some) <= most
        ]
        for some in sorted(sets, key=lambda some: rank_of(some, most)):
            places = self._places(case, some)
            if places is not None:
                yield list(some), places

    def _many(self, case: Case) -> list[Cleared]:
        """Sets of runs without which the job fits, made of the cheapest nodes; the best first."""
        most = self._most(case)
        found: dict[tuple[str, ...], Cleared] = {}
        for light in (False, True):
            for runs in () if found else self._cleared(case, light):
                runs, places = self._trimmed(case, runs)
                ids = tuple(sorted(run.run for run in runs))
                if runs and len(runs) <= self.left and sum(run.charge for run in runs) <= most:
                    found[ids] = runs, places
        return sorted(found.values(), key=lambda one: rank_of(one[0], most))[:DOMAINS_MAX]

    def _cleared(self, case: Case, light: bool) -> Iterable[list[Yielding]]:
        """Of each domain that may hold the job, who leaves its cheapest nodes so that the job fits there."""
        asked, room = case.wanted.asked, case.room
        need, nodes = need_of(asked, room.size)
        masks = self.scene.within(asked)
        serving = 0
        for level in room.free.levels:
            serving |= level
        domain = {at: number for number, mask in enumerate(masks) for at in positions_of(mask & serving)}
        nearest = dict.fromkeys(self._nearest(room, domain))
        offers = Offers(room, need, self._on(case, nearest), most_of(case.wanted), light, nearest)
        by_domain: dict[int, list[Offer]] = {}
        for offer in offers.cheapest():
            by_domain.setdefault(domain[offer.position], []).append(offer)
        cheapest = sorted(
            by_domain.values(),
            key=lambda some: (len(some) < nodes, sum(offer.weight for offer in some[:nodes])),
        )
        for some in cheapest[:DOMAINS_MAX]:
            runs = self._first_that_fit(case, some, nodes)
            if runs is not None:
                yield runs

    def _first_that_fit(self, case: Case, offers: list[Offer], nodes: int) -> list[Yielding] | None:
        """Who leaves ever more of the cheapest nodes, until the job fits."""
        taken: dict[str, Yielding] = {}
        tried = nodes
        for count, offer in enumerate(offers, 1):
            taken.update((run.run, run) for run in offer.runs)
            if count == tried or count == len(offers):
                if self._places(case, taken.values()) is not None:
                    return list(taken.values())
                tried *= 2
        return None

    def _trimmed(self, case: Case, runs: list[Yielding]) -> tuple[list[Yielding], list[Place]]:
        """Without those beside whom the job fits where it would go; the most costly stay first."""
        runs = sorted(runs, key=lambda run: run.cost, reverse=True)
        places = self._places(case, runs)
        assert places is not None, "it fits without them"
        return still_needed(case.wanted.asked, case.room, runs, places), places

    def _places(self, case: Case, leaving: Iterable[Yielding]) -> list[Place] | None:
        return case.room.find(list(leaving), case.wanted.asked, self.scene.find)

    def _nearest(self, room: Room, allowed: dict[int, int]) -> list[int]:
        """Positions to look at, those with most free GPUs first."""
        if len(allowed) <= NODES_MAX:
            return list(allowed)
        nearest: list[int] = []
        for mask in reversed(room.free.levels):
            nearest += [position for position in positions_of(mask) if position in allowed]
            if len(nearest) >= NODES_MAX:
                break
        return nearest[:NODES_MAX]

    def _on(self, case: Case, nodes: Iterable[int]) -> dict[int, list[Yielding]]:
        """The runs on these nodes that may move, cheapest first."""
        found = {}
        for position in nodes:
            runs = [run for run in self.scene.on(position) if self._may_move(case, run)]
            if runs:
                found[position] = sorted(runs, key=lambda run: run.cost)
        return found

    def _may_move(self, case: Case, run: Yielding) -> bool:
        if run.run in case.stuck or run.is_unit:
            return False
        known = self._movable.get((run.run, case.willing))
        if known is None:
            known = self._movable[run.run, case.willing] = self._is_movable(case, run)
        return known and self._reaches(case, self._job(run))

    def _reaches(self, case: Case, job: "Job") -> bool:
        """Whether a run of the job finds places for its whole limit, those that the job of the case will have aside."""
        limit_us = limit_of(job)
        long_us, short_us = case.reach.get(job.resources, (-1, INFINITY + 1))
        if long_us < limit_us < short_us:
            room = self._room(case.wanted, (), limit_us)
            if self.scene.find(job.resources, room.free) is None:
                short_us = limit_us
            else:
                long_us = limit_us
            case.reach[job.resources] = long_us, short_us
        return limit_us <= long_us

    def _is_movable(self, case: Case, run: Yielding) -> bool:
        job = self._job(run)
        placed = self.state.runs[run.run]
        arrives_us = self.scene.now + self.wait_us
        return (
            (job.checkpoint_every_us > 0 or not case.willing)
            and placed.has_started
            and self.scene.now - placed.placed_us >= self.sharing.protected_us
            and not job.resources.is_part
            and not job.nodes_most
            and not (job.deadline_us and arrives_us > job.deadline_us - job.max_duration_us)
            and self._can_pay([run])
            and self._has_room(job.resources)
        )

    # ── where to ──────────────────────────────────────────────────────────────────────────────────────────────────
    def _elsewhere(self, case: Case, runs: list[Yielding], places: list[Place]) -> tuple[Move, ...] | None:
        """Places for all of them, free now and beside those of the job; None: one of them is stuck."""
        longest_us = max(limit_of(self._job(run)) for run in runs)
        room = self._room(case.wanted, (), longest_us)
        self._set_aside(room, case.wanted.asked, runs, places)
        moved = []
        for run in sorted(runs, key=lambda run: (-run.charge, run.run)):
            asked = self._job(run).resources
            found = self.scene.find(asked, room.free)
            if found is None or len(found) < len(run.places):  # an elastic job does not shrink by a move
                case.stuck[run.run] = None
                return None
            for position, gpus in found:
                room.free.put(position, _less(room.amount(position), (gpus, *asked.part(gpus))))
            moved.append(Move(run, found))
        return tuple(moved)

    def _set_aside(self, room: Room, asked: f.Resources, runs: list[Yielding], places: list[Place]) -> None:
        """Leave on the nodes of the job what is free now and still is when it runs there."""
        leaving: dict[int, list[Yielding]] = {}
        for run in runs:
            for position in dict.fromkeys(position for position, _ in run.places):
                leaving.setdefault(position, []).append(run)
        after = {position: room.amount(position, leaving.get(position, ())) for position, _ in places}
        for position, gpus in places:
            after[position] = _less(after[position], (gpus, *asked.part(gpus)))
        for position, amount in after.items():
            now = room.amount(position)
            room.free.put(position, (min(now[0], amount[0]), min(now[1], amount[1]), min(now[2], amount[2])))

    def _room(self, wanted: Wanted, ignore: tuple[str, ...], limit_us: int) -> Room:
        own = wanted.job if self.scene.timeline.reservation(wanted.job) is not None else ""
        window = Window(min(limit_us + self.wait_us, INFINITY), own, ignore)
        return Room(self.scene.timeline, self.scene.now, window)

    def _has_room(self, asked: f.Resources) -> bool:
        """Whether a run of this shape finds places now, the job aside."""
        known = self._rooms.get(asked)
        if known is None:
            room = Room(self.scene.timeline, self.scene.now, Window(self.wait_us, "", ()))
            known = self._rooms[asked] = self.scene.find(asked, room.free) is not None
        return known

    # ── who pays ──────────────────────────────────────────────────────────────────────────────────────────────────
    def _can_pay(self, runs: Sequence[Yielding]) -> bool:
        """Whether the budgets of their tenants can pay one more whole run of each, beside all that moved already: who
        moves reserves again."""
        start_us = self.scene.now + self.wait_us
        for name, (charge, longest_us) in self._pledges(runs).items():
            tenant = self.state.tenants[name]
            found = budgets.reserve(self.state, tenant, budgets.Need(charge, longest_us, self.pool), start_us)
            if isinstance(found, budgets.Short):
                return False
        return True

    def _pledges(self, runs: Sequence[Yielding]) -> dict[str, tuple[int, int]]:
        """What moved already, and these: by tenant that pays with budgets, charge and longest limit."""
        pledged = dict(self._pledged)
        for run in runs:
            job = self._job(run)
            if job.reserved:
                charge, longest_us = pledged.get(job.tenant, (0, 0))
                charge += budgets.most(job.resources, job.charge_milli)
                pledged[job.tenant] = charge, max(longest_us, job.max_duration_us)
        return pledged

    def _job(self, run: Yielding) -> "Job":
        return self.state.jobs[run.job]


def _less(amount: Amount, taken: Amount) -> Amount:
    return max(amount[0] - taken[0], 0), max(amount[1] - taken[1], 0), max(amount[2] - taken[2], 0)
