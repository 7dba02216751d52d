# SPDX-License-Identifier: Apache-2.0
"""The plan of one pool under the discipline `fair`: who starts, who waits for what, who yields. Called by the cycle
when something changed in the pool.

    due reservations start · whose turn it is: start, or take back what is owed, or reserve · at ticks: rebalance

What it keeps between cycles is a cache: with it empty it decides the same. `docs/scheduling.md` tells the algorithm.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from leitstand.core import facts as f
from leitstand.core import resizing
from leitstand.core.metering import lost
from leitstand.core.places.cutting import Asker
from leitstand.core.places.fit import Free
from leitstand.core.places.placement import Place, tasks_of
from leitstand.core.places.steps import INFINITY
from leitstand.core.rules import Sharing
from leitstand.core.sharing import calling, growing, keeping, making_way, overdue, phases, repair, reserving
from leitstand.core.sharing.due import start as start_reserved
from leitstand.core.sharing.due import start_due
from leitstand.core.sharing.entitlements import next_change
from leitstand.core.sharing.heads import Head, Heads, Look, may_serve
from leitstand.core.sharing.shares import Held, Node
from leitstand.core.sharing.standing import Class, Standing, limit_of, parts_of
from leitstand.core.sharing.turns import Asked, Turns
from leitstand.core.sharing.units import counts_as, run_of
from leitstand.core.sharing.usage import Usage
from leitstand.core.yielding.consolidation import SEARCHES_MAX, Consolidation
from leitstand.core.yielding.cover import Cover
from leitstand.core.yielding.preemption import Act, Scene, Wanted, Yielding

if TYPE_CHECKING:
    from leitstand.core.fleet import Pool
    from leitstand.core.jobs import Job, Run
    from leitstand.core.state import State

REBALANCED_MAX: Final = 32  # projects that may rebalance in one tick; the next begins behind them
PASSES_MAX: Final = 4  # of one plan, while what was decided may let others start; then the next plan goes on
PLACES_MAX: Final = 1024  # of runs that are kept, and two of each that runs
ROUNDS_MAX: Final = 256  # of turns in one look; what is left then is left to the next
_Stands = tuple[list[Place], list[tuple[int, int]]]  # places, with CPU and memory of each
LOOSENS: Final = (f.RunStopOrdered, f.RunResizeOrdered, f.ReservationDropped)  # what may let others start


class Fair:
    """The plan of the pool `name`. `emit` records a fact and applies it."""

    def __init__(self, state: "State", name: str, emit: Callable[[f.Fact], None]) -> None:
        self.state = state
        self.name = name
        self._record = emit
        self.heads = Heads()
        self.tried: dict[
            str, int
        ] = {}  # due reservations (their number) that wait for capacity on their nodes
        self.moved: dict[int, None] = {}  # positions where anything changed since they were tried
        self.mended: dict[str, int] = {}  # jobs with first call that were looked at, after so many stops
        self.ticked = False
        self.calls: dict[str, None] = {}  # projects whose time in the tick has come since the last plan
        self.changed = False  # whether time has changed contracts since the last plan
        self.reserved = 0  # reservations of this plan
        self.called_ahead = 0  # jobs of this plan for which a guarantee was called ahead
        self._fell: dict[Node, None] = {}  # projects whose runs an act of this plan has stopped
        self.rebalanced: dict[str, None] = {}  # projects for which this plan may rebalance
        self._scene: Scene | None = None
        self._stale = False
        self._consolidation: Consolidation | None = None
        self._cover: Cover | None = None
        self._places: dict[str, tuple[object, _Stands]] = {}  # of runs, by tasks
        self.usage = Usage(self)
        # positions where capacity was freed; None: anything may have changed
        self.freed: dict[int, None] | None = None
        self.looked_at: dict[int, None] | None = None  # of them, those that the last plan knew
        self._loosened = False  # whether something was decided since the last look that may let others start
        self._dropped = False  # whether a reservation was dropped since room was last taken up

    def emit(self, fact: f.Fact) -> None:
        """Record a fact and apply it."""
        self._loosened = self._loosened or isinstance(fact, LOOSENS)
        self._record(fact)

    # ── called by the cycle ───────────────────────────────────────────────────────────────────────────────────────
    def resume(self) -> None:
        """Before the first cycle of a core: the last one left nobody whom it should have looked at."""
        standing = self.standing
        standing.looked()
        self.mended = dict.fromkeys(standing.failed, standing.stops)

    def wake(self, positions: Iterable[int] | None = None) -> None:
        """Capacity at these positions was freed; without positions: anything may have changed."""
        self.mended.clear()
        if positions is None:
            self.freed = None
        elif self.freed is not None:
            self.freed.update(dict.fromkeys(positions))

    def tick(self, now: int) -> None:
        """Take up the intervals that are over, before anything else changes usage or demand."""
        standing, tick_us = self.standing, self.state.rules.sharing.tick_us
        called_us, count = standing.called_us, len(standing.lines)
        self.changed = self.changed or standing.tree.shows_until_us <= now
        ticks = (now - standing.ticked_us) // tick_us
        if ticks > 0:
            self.emit(f.SharesTicked(self.name, ticks if standing.ticked_us else 0))
            self.ticked = True
        until_us = phases.last_end(now, count, tick_us)
        if ticks > 0 and count <= phases.AT_ONCE_MAX:
            self.heads.forget()
        elif count > phases.AT_ONCE_MAX and until_us > called_us:
            self.calls |= phases.called(standing.lines, (called_us, until_us), tick_us)
            if until_us > standing.called_us and self.calls:
                self.emit(f.ProjectsCalled(self.name, until_us))

    def is_due(self, now: int) -> bool:
        """Whether there is something to look at: a reservation that starts, or what the pace did not allow before."""
        due = self.standing.timeline.next_start()
        if self.changed or self.calls or making_way.is_due(self, now):
            return True
        return (due is not None and due <= now) or bool(
            self.freed is None
            or self.freed
            or self.standing.timeline.has_loosened()
            or self.standing.fresh
            or self.standing.opened
            or self.heads.again
        )

    def next_wake(self, now: int) -> int | None:
        """When time alone will let something start, or shares move."""
        standing = self.standing
        due = standing.timeline.next_start(now)
        if self.state.paced_us > now and standing.waiting:
            due = self.state.paced_us if due is None else min(due, self.state.paced_us)
        for at_us in (repair.next_time(self), overdue.next_time(self), making_way.next_time(self, now)):
            if at_us is not None and at_us > now:
                due = at_us if due is None else min(due, at_us)
        change = next_change(self.state, self.name, now)
        if change is not None and standing.waiting:
            due = change if due is None else min(due, change)
        if (standing.waiting and standing.tree.held) or growing.may_grow(self):
            tick = standing.ticked_us + self.state.rules.sharing.tick_us
            due = tick if due is None else min(due, tick)
        if len(standing.lines) > phases.AT_ONCE_MAX and standing.tree.held:
            phase = phases.next_end(now, len(standing.lines), self.state.rules.sharing.tick_us)
            due = phase if due is None else min(due, phase)
        return due

    def plan(self, now: int) -> None:
        """Decide all that can be decided at `now`."""
        self.now, self.reserved, self.called_ahead = now, 0, 0
        self.heads.begin()
        self.usage.forget()
        if self.ticked:
            self.tried.clear()
            self.mended.clear()
        self.heads.call(self.calls)
        ticked = self.ticked
        for _ in range(PASSES_MAX):
            self._look()
            self.ticked = False
            self.calls.clear()
            if not (self._may_start() and self._is_left()):
                break
        if ticked:
            growing.grow(self)
        self.changed = False
        self.mended = dict.fromkeys(self.mended, self.standing.stops)
        self.heads.end(not self._may_start())

    def _look(self) -> None:
        """Look at everybody who may matter, once."""
        self.usage.look_again()
        keeping.refresh(self.state, self.name, self.now)
        self.standing.tree.settle()
        self._close_scene()
        self.looked_at, self.freed = self.freed, {}
        self._loosened = False
        self.heads.wake(self.looked_at, self.pool.free)
        self._hope(self.looked_at or ())
        self._take_up_room()
        self._allow()
        making_way.make_way(self)
        start_due(self)
        repair.mend(self)
        self._take_turns()
        self._close_scene()
        if not self._may_start():  # the next plan goes on
            self.freed = None if self.looked_at is None else self.looked_at | self.freed

    def _is_left(self) -> bool:
        """Whether somebody is left to look at: what was decided may let others start, or lets them be served."""
        standing, heads = self.standing, self.heads
        if self._loosened or self.freed or heads.again or heads.take_up(standing):
            return True
        standing.looked()
        return False

    # ── turns ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _take_turns(self) -> None:
        """Heads in the order of shares: each starts, or takes back what it is owed, or gets a reservation. Where that
        leaves room at any time, the turns begin anew: whoever it may serve comes in his turn, whether he was asleep or
        not."""
        heads, standing = self.heads, self.standing
        heads.kept.clear()
        heads.reserves = self.reserved < reserving.most(self)
        ticks = self.ticked and heads.all
        in_turn = self.in_turn(standing.lines, standing.called_us - 1) if ticks or self.calls else {}
        self.rebalanced = in_turn if ticks else {leaf: None for leaf in self.calls if leaf in in_turn}
        everybody = ticks or self.looked_at is None
        for _ in range(ROUNDS_MAX):
            self._take_up_room()
            leaves = dict.fromkeys(standing.lines) if everybody else heads.leaves(standing)
            heads.take_up(standing)
            heads.ask(standing)
            if self._may_start():
                standing.looked()
                heads.again.clear()
            if not self._ask(Asked(leaves, self._line, heads.counts, self.state.rules.sharing.tick_s)):
                break
            everybody = ticks
        else:
            self._loosened = True  # the next look goes on

    def _ask(self, asked: Asked) -> bool:
        """One after another, until there is more room at some time; whether there is."""
        heads, turns = self.heads, Turns(self.standing.tree, asked)
        heads.passed.clear()
        while self._may_start() and (turn := turns.next()) is not None:
            job = self.state.jobs[turn.head.job]
            may_start, asks = heads.may_start(turn.head, turn.owed), heads.asks(turn.head)
            heads.looked_at(turn.head)
            if (not may_start or not self._try(job, turn.leaf, turn.head.cls, asks)) and asks:
                self._serve(job, turn.leaf)  # of others nobody knows after a restart whether they were asleep
            if self._take_up_room():
                self._fell.clear()
                return True
            turns.done()
            for fallen in self._fell:
                turns.again(fallen)
            self._fell.clear()
        return False

    def _take_up_room(self) -> bool:
        """Whether there is more room at some time, and somebody whom that may serve: who slept, hopes, was kept, or has
        lost his reservation."""
        positions, dropped = self.standing.timeline.loosened(), self._dropped
        self._dropped = False
        if not positions:
            return dropped
        woken = self.heads.wake(positions, self.pool.free)
        hoping = self._hope(positions)
        return self.heads.allow() or woken or hoping or dropped

    def in_turn(self, leaves: Iterable[str], at_us: int) -> dict[str, None]:
        """The projects whose turn it is to rebalance in the tick of this moment."""
        every = sorted(leaves)
        if len(every) <= REBALANCED_MAX:
            return dict.fromkeys(every)
        first = at_us // self.state.rules.sharing.tick_us * REBALANCED_MAX % len(every)
        return dict.fromkeys((every + every)[first : first + REBALANCED_MAX])

    def _hope(self, positions: Iterable[int]) -> bool:
        """Capacity was freed where places are reserved: perhaps those for whom can start sooner; whether there are
        any."""
        waiting, free, found = self.standing.waiting, self.pool.free, False
        for position in positions:
            for job in self.standing.timeline.on(position):
                if job in waiting and may_serve(waiting[job][1].asked, position, free):
                    self.heads.hope(self.state.jobs[job], *waiting[job])
                    found = True
        return found

    def _allow(self) -> None:
        """Whom limits forbade to start before his reservation, and forbid no more, may start sooner."""
        for id in list(self.heads.forbidden):
            if id not in self.standing.waiting or id not in self.state.reservations:
                del self.heads.forbidden[id]
                continue
            job, (leaf, cls) = self.state.jobs[id], self.standing.waiting[id]
            if not self._forbidden(self.standing.tree.node(leaf), job.charge_milli):
                del self.heads.forbidden[id]
                self.heads.hope(job, leaf, cls)

    def _line(self, leaf: str, owed: bool) -> Iterator[Head]:
        """Whom to look at in a leaf; nobody where nobody waits any more."""
        line, look = self.standing.lines.get(leaf), Look(self.state.rules.sharing.reservations_leaf_max, owed)
        return iter(()) if line is None else self.heads.line(leaf, line, self.state.jobs, look)

    def _may_start(self) -> bool:
        """Whether the pace that the rules set allows another start now."""
        return not self.state.rules.sharing.start_interval_us or self.state.paced_us <= self.now

    def _try(self, job: "Job", leaf: Node, cls: Class, asks: bool = False) -> bool:
        """Start the job if that is allowed and delays nobody who comes first. One that `asks` to be served is not
        started where others have plans: perhaps it takes back what it is owed instead."""
        forbidden = bool(self._forbidden(leaf, job.charge_milli))
        fits = not forbidden and self.usage.leaves_room(job, leaf)
        if fits:
            view = self.standing.timeline.view(self.now, cls.limit_us, own=job.id)
            places = self.pool.place(cls.asked, view)
            if places is not None:
                self._start(job, leaf, places, view)
                return True
        if not forbidden and not asks and calling.start(self, job, leaf):
            return True
        if forbidden and job.id in self.state.reservations:
            self.heads.forbidden[job.id] = None
        elif job.id in self.state.reservations:
            self.heads.passes(cls)
        else:
            if fits:
                self.heads.bar(cls)
                view = self.standing.timeline.view(self.now, cls.limit_us, job.id, ("plan",))
                if self.pool.place(cls.asked, view) is None:
                    self.heads.shut_out(cls)
            else:
                self.heads.keep(leaf.id, cls, forbidden)
        return False

    def _forbidden(self, leaf: Node, charge: int) -> str:
        """'' or why shares forbid a start: limit | lending."""
        if self.standing.tree.over_limit(leaf, charge) is not None:
            return "limit"
        return "" if self.standing.tree.lends(leaf, charge) else "lending"

    def _start(self, job: "Job", leaf: Node, places: list[Place], view: Free) -> None:
        tasks = tasks_of(places, view, self.pool.names, job.resources.gpu_milli, job.resources.mig)
        known = self.standing.timeline.reservation(job.id)
        self.emit(f.RunPlaced(f"{job.id}.{job.runs + 1}", job.id, tasks))
        self.usage.starts(job, known is not None)
        self._touch(places)
        if known is not None:
            self._touch(known.places)

    # ── who cannot start ──────────────────────────────────────────────────────────────────────────────────────────
    def _serve(self, job: "Job", leaf: Node) -> bool:
        """Take back for the job what it is owed, or else reserve; whether it waits no more."""
        heads = self.heads
        if heads.is_served(job.id, leaf.id):
            return False
        if heads.serve(job.id, leaf.id):
            # who is promised a start so soon counts as covered already, and has nobody taken for it but in time
            act = None if job.id in self.standing.due else self._act(job, leaf)
            if act is not None:
                self._carry_out(job, leaf, act)
                return True
            if leaf.id in self.rebalanced and self._move(job, leaf):
                return True
            if not self._forbidden(leaf, job.charge_milli) and calling.start(self, job, leaf):
                return True
            calling.call(self, job, leaf)
        if job.id not in self.state.reservations:
            reserving.reserve(self, job, leaf)
        return False

    def _act(self, job: "Job", leaf: Node) -> Act | None:
        causes = self._causes(job, leaf)
        if not causes:
            return None
        if self._scene is None:
            self._scene = self._make_scene()
        wanted = Wanted(job.id, leaf, job.charge_milli, job.priority, job.resources, limit_of(job))
        act = self._scene.act(wanted, causes)
        return act if act is not None and self.usage.keeps_promises(job, leaf, act.victims) else None

    def _causes(self, job: "Job", leaf: Node) -> list[str]:
        """For which causes the job might take from others, as far as a glance tells."""
        comes_first = (
            leaf.runs and leaf.runs[-1][1].priority < job.priority
        )  # before a run of its own project
        covered = comes_first or any(
            self._may_cover(node, leaf, job.charge_milli) for node in leaf.path() if node.depth
        )
        causes = []
        if covered and self.standing.tree.guaranteed(leaf, job.charge_milli) is not None:
            causes.append("recall")
        if comes_first or job.id in self.standing.failed:  # who has first call awaits what is being freed
            causes.append("priority")
        if covered and leaf.id in self.rebalanced:
            causes.append("rebalance")
        return causes

    def _may_cover(self, node: Node, leaf: Node, charge: int) -> bool:
        """Whether the job may be covered at the node: surely not if all runs there are and it does not fit."""
        return (
            node.running > node.deserved
            or self.standing.tree.occupied_with(node, leaf, charge) <= node.deserved
        )

    def _carry_out(self, job: "Job", leaf: Node, act: Act) -> None:
        sharing, gone = self.state.rules.sharing, {**self.standing.stopping, **dict.fromkeys(act.victims)}
        freed_us = self.now + sharing.freed_us
        tasks = reserving.tasks(
            self, job, act.places, Asker(self.now, self.now, freed_us, job.id, ("plan",), gone)
        )
        made, known = self.state.reservations.get(job.id), self.standing.timeline.reservation(job.id)
        promised = made is not None and made.pins
        self.emit(f.CapacityReserved(job.id, "claim", self.now, tasks, promised))
        self.usage.claims(job.id)
        self._displace(act.places)
        if known is not None:  # what it had reserved elsewhere
            self._touch(known.places)
        for victim in act.victims:
            self.usage.stops(counts_as(victim))
            self._fell[self.standing.tree.held[counts_as(victim)].leaf] = None
        self.stop(act.victims, act.cause, job.id)
        assert self._scene is not None, "an act has a scene"
        self._scene.done(act)
        if self._stale:  # more ends than was asked for
            self._scene, self._stale = None, False
            self.usage.forget()
        if not act.victims:  # what it waits for may be there already
            start_reserved(self, job)

    def stop(self, victims: Sequence[str], cause: str, job: str) -> None:
        """Tell runs, and units of others, to end, so that the job can start."""
        units: dict[str, list[str]] = {}
        for victim in victims:
            run = run_of(victim)
            if run == victim:
                self.emit(f.RunStopOrdered(victim, cause, job))
            elif run not in victims:
                units.setdefault(run, []).append(victim)
        for run, names in units.items():
            if resizing.can_resize(self.state, self.state.runs[run]):
                self.emit(growing.shrunk(self, names, cause, job))
            else:  # its engine did when it grew
                self.emit(f.RunStopOrdered(run, cause, job))
                self._stale = True

    def _move(self, job: "Job", leaf: Node) -> bool:
        """Let runs move for a job that fits by count, if it is worth it; whether it waits no more."""
        if not phases.is_eager(job.number, self.now - job.submitted_us, self.state.rules.sharing.tick_us):
            return False
        if self._forbidden(leaf, job.charge_milli):
            return False
        if self._scene is None:
            self._scene = self._make_scene()
        if self._consolidation is None:
            self._consolidation = Consolidation(self.state, self.name, self._scene, self._searches())
        wanted = Wanted(job.id, leaf, job.charge_milli, job.priority, job.resources, limit_of(job))
        if not self._consolidation.may(wanted) or not self.usage.leaves_room(job, leaf):
            return False
        moves = self._consolidation.moves(wanted, self.usage.reserved(), lambda: self._otherwise(job, leaf))
        if moves is None:
            return False
        self._consolidation.carry_out(wanted, moves, self.emit)
        for moved in (job.id, *(move.run.job for move in moves.runs)):
            self.usage.claims(moved)
        return True

    def _searches(self) -> int:
        """How many searches for moves may find nobody in this plan."""
        if self.heads.all:
            return SEARCHES_MAX
        tick_us, standing = self.state.rules.sharing.tick_us, self.standing
        return phases.searches(standing.called_us, len(standing.lines), tick_us)

    def _otherwise(self, job: "Job", leaf: Node) -> int:
        """When the job starts if nothing is done for it."""
        made = self.state.reservations.get(job.id)
        found = (made.start_us,) if made is not None else reserving.earliest(self, job, leaf)
        return INFINITY if found is None else found[0]

    def _displace(self, places: list[Place]) -> None:
        """Plans that a claim leaves no room for; promises it leaves alone."""
        timeline = self.standing.timeline
        for position in dict.fromkeys(position for position, _ in places):
            plans = [job for job in timeline.on(position) if self.state.reservations[job].kind == "plan"]
            while plans and position in timeline.oversold(self.now):
                self._drop(plans.pop(), "recalled")

    def _drop(self, job: str, cause: str) -> None:
        """Hold nothing for the job any more; it may get something else at once."""
        known = self.standing.timeline.reservation(job)
        self.emit(f.ReservationDropped(job, cause))
        self._dropped = True
        self.usage.drops(job)
        leaf = self.state.leaf(self.state.jobs[job])
        self.heads.unserve(job, leaf)
        self.heads.again[leaf] = None
        if known is not None:
            self._touch(known.places)

    def _touch(self, places: Iterable[Place]) -> None:
        """What is free or reserved there has changed."""
        if self._scene is not None:
            self._scene.touch(dict.fromkeys(position for position, _ in places))

    def _close_scene(self) -> None:
        """Whatever it knew of acts may be different now."""
        if self._scene is not None:
            self._scene.close()
        self._scene = self._consolidation = None

    def _make_scene(self, sharing: Sharing | None = None) -> Scene:
        standing, sharing = self.standing, sharing or self.state.rules.sharing
        return Scene(
            standing.tree,
            standing.timeline,
            self.run_of,
            self.now,
            sharing,
            self.pool.place,
            self.pool.within,
            self._known_cover(),
        )

    def _known_cover(self) -> Cover:
        """The cover of the tree; what is known of it stays true from plan to plan, but for other entitlements."""
        tree = self.standing.tree
        if self._cover is None or self._cover.edition != tree.edition:
            self._cover = Cover(tree)
        self._cover.refresh()
        return self._cover

    def run_of(self, held: Held) -> Yielding | None:
        if "+" in held.id:
            unit = self.standing.units.unit(held.id)
            assert unit is not None, "only units have such names"
            return growing.yielding(self, held, unit)
        state = self.state
        job = state.jobs[held.id]
        run = state.runs.get(job.run)
        if run is None:
            return None
        places, parts = self._stands(run, job)
        charge = job.charge_milli
        cost = (lost(job, run, self.now) + state.rules.sharing.restart_us) * (charge or 1)
        if run.sizes is not UNSET:
            cost += growing.lost_beyond(self, job, run)
        return Yielding(run.id, held.leaf, places, parts, charge, cost, run.since_us, bool(run.stopping))

    def _stands(self, run: "Run", job: "Job") -> _Stands:
        """Places of a run, of an elastic one those of its least size, with CPU and memory of each."""
        known = self._places.get(run.id)
        if known is None or known[0] is not run.tasks:
            if len(self._places) > PLACES_MAX + 2 * len(self.state.runs):  # most of them are over
                self._places.clear()
            places = self.state.places(run.tasks[: job.resources.nodes] if job.nodes_most else run.tasks)
            known = self._places[run.id] = run.tasks, (places, parts_of(job.resources, places))
        return known[1]

    @property
    def pool(self) -> "Pool":
        return self.state.pools[self.name]

    @property
    def standing(self) -> Standing:
        standing = self.pool.standing
        assert standing is not None, "the discipline is fair"
        return standing
