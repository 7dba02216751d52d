# SPDX-License-Identifier: Apache-2.0
"""Who yields so that a job can start, at what cost, provably ending. Called by the fair plan.

An *act* starts a job and ends some runs, its victims; legality is judged on what then runs. A victim's job is as
entitled as before, so it must hurt nobody within his share: with x the lowest node on the job's path at which the job
is covered, victims run outside x (or in the job's own project, if x is that, at a lower priority), and the amount that
is covered falls at no node off the path. Each act raises a potential, so acts end; that is asserted with every act.

Causes: `recall` takes back a guarantee, `priority` serves the job's own project, `rebalance` restores deserved shares.
What is being freed anyway is awaited before anybody has to go. `docs/scheduling.md` has the rules and the proof.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from leitstand.core.facts import Resources
from leitstand.core.places.fit import Free
from leitstand.core.places.placement import Place
from leitstand.core.places.timeline import ENDING
from leitstand.core.rules import Sharing
from leitstand.core.sharing.shares import Held, Node, Tree
from leitstand.core.sharing.units import counts_as, run_of
from leitstand.core.yielding.cover import LAST, Amount, Change, Cover, falls
from leitstand.core.yielding.offers import Capacity, Room, Window
from leitstand.core.yielding.offers import Yielding as Yielding
from leitstand.core.yielding.victims import Case, Scope, Search
from leitstand.core.yielding.victims import Wanted as Wanted

CHANGES_MAX: Final = 8  # that are kept while one act is looked for
ROOMS_MAX: Final = 64  # kept for other jobs of the same shape and limit

Find = Callable[[Resources, Free], list[Place] | None]


class Act(NamedTuple):
    """`victims`: runs to stop, none if what is being freed is enough; `places` are then held for the job."""

    victims: tuple[str, ...]
    places: list[Place]
    cause: str


class Scene:
    """All that can yield in one pool at `now`; kept over the acts of one plan.

    `run_of`: the run that stands in the tree as `Held`, None for a claim; `find`: places for a shape in what is free.
    `within`: for a shape the sets of nodes (bit masks) of which one has to hold all of it. The caller settles the tree,
    carries out an act before it says `done`, and says `touch` when anything else changes what is free or reserved on
    some nodes. `cover`: that of the tree, if it is known."""

    def __init__(
        self,
        tree: Tree,
        timeline: Capacity,
        run_of: Callable[[Held], Yielding | None],
        now: int,
        sharing: Sharing,
        find: Find,
        within: Callable[[Resources], list[int]] = lambda asked: [-1],
        cover: Cover | None = None,
    ) -> None:
        self.tree = tree
        self.timeline = timeline
        self.now = now
        self.sharing = sharing
        self.find = find
        self.within = within
        self.cover = cover or Cover(tree)
        self.held: dict[str, Held] = {}  # of runs that somebody looked at
        self._run_of = run_of
        self._known: dict[Held, Yielding | None] = {}
        self._of: dict[Node, dict[str, Yielding]] = {}
        self._units: dict[str, dict[str, Yielding]] = {}  # of runs of elastic jobs
        self._opened: dict[Scope, dict[Node, int]] = {}
        self._gathered: dict[Node, dict[Node, int]] = {}  # leaves at or below nodes, whoever asks
        self._ahead: dict[
            Node, dict[Node, None]
        ] = {}  # by `covered`, leaves that are ahead enough to give units, not runs
        self._acting = ""  # the job of the last act
        self._rooms: dict[Window, Room] = {}
        self._changes: dict[tuple[Held, tuple[str, ...]], Change] = {}
        self._search = Search(self)

    def of(self, leaf: Node) -> dict[str, Yielding]:
        """The runs of a leaf that are old enough to be taken, and not promised."""
        known = self._of.get(leaf)
        if known is None:
            known = self._of[leaf] = {}
            for _, held in leaf.runs:
                run = self._takeable(held)
                if run is not None:
                    known[run.run] = run
                    if run.is_unit:
                        self._units.setdefault(run_of(run.run), {})[run.run] = run
        return known

    def on(self, position: int) -> list[Yielding]:
        """The same of a node."""
        found = []
        for name in self.timeline.runs_on(position):
            held = self.tree.held.get(counts_as(name))
            run = None if held is None else self._takeable(held)
            if run is not None and run.run == name:
                found.append(run)
        return found

    def _takeable(self, held: Held) -> Yielding | None:
        known = self._known
        if held in known:
            return known[held]
        run = None if held.pinned_us else self._run_of(held)
        if run is not None:
            if run.stopping or run.placed_us > self.now - self.sharing.protected_us:
                run = None
            else:
                self.held[run.run] = held
        known[held] = run
        return run

    def closed(self, victims: Iterable[Yielding]) -> list[Yielding]:
        """With a run its units go."""
        victims = list(victims)
        if not self._units:
            return victims
        every = {run.run: run for run in victims}
        for run in victims:
            every.update(self._units.get(run.run, {}))
        return list(every.values())

    def has_units(self) -> bool:
        """Whether somebody whose units go with him was looked at."""
        return bool(self._units)

    def everybody(self) -> Iterator[Yielding]:
        """The same of all leaves."""
        return (run for node in self.tree.nodes.values() if node.runs for run in self.of(node).values())

    # ── called by the plan ────────────────────────────────────────────────────────────────────────────────────────
    def close(self) -> None:
        """Nobody asks any more: all that it knows is freed at once, and not by the collector."""
        del self._search

    def act(self, wanted: Wanted, causes: Iterable[str]) -> Act | None:
        """How the job may start at the cost of others, for the first of `causes` that applies; None if it may not."""
        held = Held(wanted.job, wanted.leaf, wanted.charge, wanted.priority, LAST)
        covered = self.cover.covered(held) if wanted.charge > 0 else []
        if not covered:
            return None
        self._changes.clear()
        for cause in causes:
            scope = self._scope(wanted, covered[0], cause)
            if scope is None:
                continue
            for window in self._windows(wanted, cause):
                act = self._act(Case(wanted, held, scope, self._room(window), window), cause)
                if act is not None:
                    self._acting = wanted.job
                    return act
        return None

    def done(self, act: Act) -> None:
        """The act was carried out: the victims are stopping, the job's claim runs in the tree."""
        changes = []
        positions = dict.fromkeys(position for position, _ in act.places)
        for id in act.victims:
            held = self.held.pop(id)
            del self._known[held]
            run = self._of[held.leaf].pop(id)
            if run.is_unit:
                del self._units[run_of(id)][id]
            changes.append((held, False))
            self._search.forget_run(run)
            positions.update(dict.fromkeys(position for position, _ in run.places))
        claim = self.tree.held.get(self._acting)
        if claim is not None:
            changes.append((claim, True))
        self.cover.note(changes)
        self._opened.clear()
        self._gathered.clear()
        self.touch(positions)

    def moved(self, runs: Iterable[Yielding], job: str, positions: Iterable[int]) -> None:
        """These runs move, so that the job has its claim; these nodes hold places for them or for it. Who moves counts
        as before."""
        changed = dict.fromkeys(positions)
        for run in runs:
            held = self.held.pop(run.run)
            del self._known[held]
            self._of.get(held.leaf, {}).pop(run.run, None)
            self._search.forget_run(run)
            changed.update(dict.fromkeys(position for position, _ in run.places))
        self.cover.note([(self.tree.held[job], True)])
        self._opened.clear()
        self._gathered.clear()
        self.touch(changed)

    def touch(self, positions: Iterable[int]) -> None:
        """What is free or reserved on these nodes has changed."""
        positions = list(positions)
        for room in self._rooms.values():
            room.touch(positions)
        self._search.touch(positions)

    # ── whom it may take ──────────────────────────────────────────────────────────────────────────────────────────
    def _scope(self, wanted: Wanted, covered: Node, cause: str) -> Scope | None:
        own = wanted.leaf if covered is wanted.leaf else None
        if cause == "priority":
            return Scope(covered, own, wanted.priority, False) if own else None
        if cause == "recall" and self.tree.guaranteed(wanted.leaf, wanted.charge) is None:
            return None
        return Scope(covered, own, wanted.priority if own else 0, True, fair=cause == "rebalance")

    def may_go(self, scope: Scope, run: Yielding) -> bool:
        """Whether a run of a leaf that is open may go: in the job's own leaf, if its priority is lower."""
        if run.leaf is scope.own:
            return self.held[run.run].priority < scope.priority
        return run.is_unit or run.leaf not in self.giving_units(scope)

    def giving_units(self, scope: Scope) -> Mapping[Node, None]:
        """Of the leaves that are open, those whose units alone may go."""
        return self._ahead.get(scope.covered, {}) if scope.fair else {}

    def open(self, scope: Scope) -> dict[Node, int]:
        """Leaves whose runs may go: the job's own, and those outside the node where the job is covered, in a rebalance
        where the job's side is behind theirs, where the two meet, by what makes somebody ahead, or for units at all.
        How much of them at most, as far as a sum tells."""
        leaves = self._opened.get(scope)
        if leaves is None:
            leaves = self._opened[scope] = {}
            if scope.own is not None and scope.own.running > 0 and self.of(scope.own):
                leaves[scope.own] = scope.own.running
            side: Node | None = None
            for node in scope.covered.path() if scope.others else ():
                if side is not None:
                    for child in node.children.values():
                        if child is side:
                            continue
                        if not scope.fair or side.is_behind(child, self.sharing.ahead_s):
                            leaves.update(self._below(child))
                        elif side.is_behind(child, 0):
                            self._gather_units(scope, child, leaves)
                side = node
        return leaves

    def _gather_units(self, scope: Scope, node: Node, leaves: dict[Node, int]) -> None:
        """The same at or below `node`, of which only units may go."""
        for leaf, most in self._below(node).items():
            if any(run.is_unit for run in self.of(leaf).values()):
                leaves[leaf] = most
                self._ahead.setdefault(scope.covered, {})[leaf] = None

    def _below(self, node: Node) -> dict[Node, int]:
        """Leaves at or below `node` with more than what is covered; not to be changed."""
        found = self._gathered.get(node)
        if found is None:
            found = self._gathered[node] = {}
            self._gather(node, node.running, found)
        return found

    def _gather(self, node: Node, most: int, leaves: dict[Node, int]) -> None:
        """Leaves at or below `node` with more than what is covered at any node down to them."""
        if not node.running or (not node.children and node.running <= self.cover.share(node)):
            return  # in a leaf within its share everybody is covered
        most = min(most, node.running - sum(self.cover.amount(node).values()))
        if most <= 0:
            return
        if not node.children:
            if self.of(node):
                leaves[node] = most
            return
        for child in node.children.values():
            self._gather(child, most, leaves)

    # ── where ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _windows(self, wanted: Wanted, cause: str) -> Iterator[Window]:
        """The time for which room is looked for. A recall comes before what is only planned; what is promised it leaves
        alone, at any time, since promises keep the nodes that they name."""
        sharing = self.sharing
        own = wanted.job if self._has_reservation(wanted.job) else ""
        wait_us = sharing.freed_us
        ignore = ("plan", ENDING) if cause == "recall" else (ENDING,)
        yield Window(wanted.limit_us + wait_us, own, ignore)

    def _has_reservation(self, job: str) -> bool:
        return self.timeline.reservation(job) is not None

    def _room(self, window: Window) -> Room:
        room = self._rooms.get(window)
        if room is None:
            room = Room(self.timeline, self.now, window)
            if len(self._rooms) >= ROOMS_MAX:
                self._rooms.pop(next(iter(self._rooms)))
                self._search.forget()
            self._rooms[window] = room
        room.refresh()
        return room

    # ── who ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def _act(self, case: Case, cause: str) -> Act | None:
        places = self.places(case, ())
        if places is not None:
            return Act((), places, cause)
        leaves = self.open(case.scope)
        if not leaves:
            return None
        found = self._search.victims(case, leaves)
        if found is None:
            return None
        victims, places = found
        self._assert_rising(case, victims)
        return Act(tuple(sorted(run.run for run in victims)), places, cause)

    def places(
        self, case: Case, victims: Sequence[Yielding], known: list[Place] | None = None
    ) -> list[Place] | None:
        """Where the job would run without the victims (`known`, if that was found), if all that the rules ask holds
        then."""
        change = self.change(case, victims)
        if not self.within_limits(case, change) or not self._keeps_covered(case, change):
            return None
        if known is not None:
            return known
        return case.room.find(victims, case.wanted.asked, self.find)

    def change(self, case: Case, victims: Sequence[Yielding]) -> Change:
        """What runs otherwise; the last few are kept, since several questions are asked of each."""
        key = case.held, tuple(run.run for run in victims)
        known = self._changes.get(key)
        if known is None:
            if len(self._changes) >= CHANGES_MAX:
                self._changes.clear()
            known = self._changes[key] = Change([self.held[run] for run in key[1]], case.held)
        return known

    def within_limits(self, case: Case, change: Change) -> bool:
        for node in case.wanted.leaf.path():
            if node.borrow >= 0 and change.running[node] > node.guarantee + node.borrow:
                return False
        return change.occupied[self.tree.root] <= max(self.tree.capacity, self.tree.root.occupied)

    def _keeps_covered(self, case: Case, change: Change) -> bool:
        """Whether the amount that is covered falls at no node off the job's path. It does not where nobody goes who was
        covered: then the same runs are."""
        path = dict.fromkeys(case.wanted.leaf.path())
        return all(node in path or self.cover.keeps(node, change) for node in change.running)

    # ── it ends ───────────────────────────────────────────────────────────────────────────────────────────────────
    def _assert_rising(self, case: Case, victims: Sequence[Yielding]) -> None:
        """The potential, restricted to nodes that change, rises: what is covered, the deepest level first."""
        change = self.change(case, victims)
        assert len(change.gone) == len(victims), "nobody goes twice"
        levels: dict[int, list[Node]] = {}
        for node in change.running:
            levels.setdefault(node.depth, []).append(node)
        for depth in sorted(levels, reverse=True):
            for of_leaves in (True, False):
                before: dict[int, int] = {}
                after: dict[int, int] = {}
                for node in levels[depth]:
                    if bool(node.children) != of_leaves:
                        _sum(before, self.cover.amount(node))
                        _sum(after, self.cover.amount(node, change))
                assert not falls(before, after), "an act lowers what is covered"
                if falls(after, before):
                    return
        raise AssertionError("an act covers no more than before")


def _sum(total: dict[int, int], amount: Amount) -> None:
    for priority, charge in amount.items():
        total[priority] = total.get(priority, 0) + charge
