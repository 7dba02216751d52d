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
from heapq import nsmallest
from itertools import product
from typing import Final, NamedTuple

from leitstand.core.cover import LAST, Amount, Change, Cover, falls
from leitstand.core.facts import Resources
from leitstand.core.fit import Free
from leitstand.core.offers import Capacity, Offers, Room, Window, Yielding, need_of
from leitstand.core.placement import Place
from leitstand.core.rules import Sharing
from leitstand.core.shares import Held, Node, Tree

CANDIDATES_MAX: Final = 64  # runs above which nobody looks whether they form few groups
SETS_MAX: Final = 4096  # of victims that are tried one by one: 12 runs, or groups of equal ones
ALONE_MAX: Final = 64  # runs tried one by one where the cheapest nodes gave nothing good
PUT_BACKS_MAX: Final = 256  # searches for places to see who need not go
ROOMS_MAX: Final = 8  # kept for other jobs of the same shape and limit
OFFERS_MAX: Final = 16

Find = Callable[[Resources, Free], list[Place] | None]


class Wanted(NamedTuple):
    """A job that waits. `leaf`: its project in the tree, where it counts as pending."""

    job: str
    leaf: Node
    charge: int
    priority: int
    asked: Resources
    limit_us: int


class Act(NamedTuple):
    """`victims`: runs to stop, none if what is being freed is enough; `places` are then held for the job."""

    victims: tuple[str, ...]
    places: list[Place]
    cause: str


class _Scope(NamedTuple):
    """Whom a job may take. `covered`: the lowest node where it is covered; `own`: its leaf, if runs below `priority`
    there may go; `others`: whether runs outside `covered` may; `settled`: only runs that nobody covers."""

    covered: Node
    own: Node | None
    priority: int
    others: bool
    settled: bool = False


class _Case(NamedTuple):
    """One job, one cause, one window of time."""

    wanted: Wanted
    held: Held
    scope: _Scope
    room: Room
    window: Window


class Scene:
    """All that can yield in one pool at `now`; kept over the acts of one plan.

    `runs`: by id, those that are stopping too. `find`: places for a shape in what is free. `within`: for a shape the
    sets of nodes (bit masks) of which one has to hold all of it. The caller settles the tree, carries out an act before
    it says `done`, and says `touch` when anything else changes what is free or reserved on some nodes."""

    def __init__(
        self,
        tree: Tree,
        timeline: Capacity,
        runs: Mapping[str, Yielding],
        now: int,
        sharing: Sharing,
        find: Find,
        within: Callable[[Resources], list[int]] = lambda asked: [-1],
    ) -> None:
        self.tree = tree
        self.timeline = timeline
        self.now = now
        self.sharing = sharing
        self.find = find
        self.within = within
        self.cover = Cover(tree)
        self.gone: dict[str, None] = {}  # runs that are stopping
        self.candidates: dict[str, Yielding] = {}
        self.held: dict[str, Held] = {}
        self._on: dict[int, list[Yielding]] = {}
        self._of: dict[Node, dict[str, Yielding]] = {}
        self._acting = ""  # the job of the last act
        self._rooms: dict[Window, Room] = {}
        self._offers: dict[tuple[object, ...], Offers] = {}
        for run in sorted(runs.values(), key=lambda run: run.cost):
            self._take_up(run)

    def _take_up(self, run: Yielding) -> None:
        if run.stopping:
            self.gone[run.run] = None
            return
        held = self.tree.held.get(run.job)
        if held is None or held.pinned_us or self.now - run.placed_us < self.sharing.protected_us:
            return
        self.candidates[run.run] = run
        self.held[run.run] = held
        self._of.setdefault(run.leaf, {})[run.run] = run
        for position in dict.fromkeys(position for position, _ in run.places):
            self._on.setdefault(position, []).append(run)

    # ── called by the plan ────────────────────────────────────────────────────────────────────────────────────────
    def act(self, wanted: Wanted, causes: Iterable[str]) -> Act | None:
        """How the job may start at the cost of others, for the first of `causes` that applies; None if it may not."""
        held = Held(wanted.job, wanted.leaf, wanted.charge, wanted.priority, LAST)
        covered = self.cover.covered(held) if wanted.charge > 0 else []
        if not covered:
            return None
        for cause in causes:
            scope = self._scope(wanted, covered[0], cause)
            if scope is None:
                continue
            for window in self._windows(wanted, cause):
                act = self._act(_Case(wanted, held, scope, self._room(window), window), cause)
                if act is not None:
                    self._acting = wanted.job
                    return act
        return None

    def done(self, act: Act) -> None:
        """The act was carried out: the victims are stopping, the job's claim runs in the tree."""
        changes = []
        positions = dict.fromkeys(position for position, _ in act.places)
        for id in act.victims:
            run = self.candidates.pop(id)
            changes.append((self.held.pop(id), False))
            del self._of[run.leaf][id]
            for position in dict.fromkeys(position for position, _ in run.places):
                self._on[position].remove(run)
                positions[position] = None
            self.gone[id] = None
        claim = self.tree.held.get(self._acting)
        if claim is not None:
            changes.append((claim, True))
        self.cover.note(changes)
        self.touch(positions)

    def touch(self, positions: Iterable[int]) -> None:
        """What is free or reserved on these nodes has changed."""
        for position in positions:
            for room in self._rooms.values():
                room.refresh(position)
            for offers in self._offers.values():
                offers.refresh(position)

    # ── whom it may take ──────────────────────────────────────────────────────────────────────────────────────────
    def _scope(self, wanted: Wanted, covered: Node, cause: str) -> _Scope | None:
        own = wanted.leaf if covered is wanted.leaf else None
        if cause == "priority":
            return _Scope(covered, own, wanted.priority, False) if own else None
        if cause == "recall" and self.tree.guaranteed(wanted.leaf, wanted.charge) is None:
            return None
        return _Scope(covered, own, wanted.priority if own else 0, True)

    def _may_go(self, scope: _Scope, run: Yielding) -> bool:
        if run.leaf is scope.own:
            return self.held[run.run].priority < scope.priority
        return scope.others and not _is_below(run.leaf, scope.covered)

    def _open(self, scope: _Scope) -> dict[Node, int]:
        """Leaves whose runs may go; how much of them at most, as far as a sum tells."""
        path = dict.fromkeys(scope.covered.path())
        left: dict[Node, int] = {}
        leaves: dict[Node, int] = {}
        for leaf, runs in self._of.items():
            if not runs or (leaf is not scope.own and (not scope.others or _is_below(leaf, scope.covered))):
                continue
            most = leaf.running
            for node in leaf.path():
                if node in path or leaf is scope.own:
                    break
                if node not in left:
                    left[node] = node.running - sum(self.cover.amount(node).values())
                most = min(most, left[node])
            if most > 0:
                leaves[leaf] = most
        return leaves

    # ── where ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _windows(self, wanted: Wanted, cause: str) -> Iterator[Window]:
        """The time for which room is looked for. A recall may take what is promised later than its run could be taken
        back again, since a promise may then go elsewhere; it comes before what is only planned."""
        sharing = self.sharing
        own = wanted.job if self._has_reservation(wanted.job) else ""
        wait_us = sharing.grace_us + sharing.stop_us
        ignore = ("plan",) if cause == "recall" else ()
        yield Window(wanted.limit_us + wait_us, own, ignore)
        if cause == "recall" and wanted.limit_us > sharing.until_freed_us:
            yield Window(sharing.until_freed_us + wait_us, own, ignore)

    def _has_reservation(self, job: str) -> bool:
        return self.timeline.reservation(job) is not None

    def _room(self, window: Window) -> Room:
        room = self._rooms.get(window)
        if room is None:
            room = Room(self.timeline, self.now, window, self.gone)
            if len(self._rooms) >= ROOMS_MAX:
                self._rooms.pop(next(iter(self._rooms)))
                self._offers.clear()
            self._rooms[window] = room
        return room

    # ── who ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def _act(self, case: _Case, cause: str) -> Act | None:
        places = self._places(case, ())
        if places is not None:
            return Act((), places, cause)
        leaves = self._open(case.scope)
        runs = self._few(case, leaves)
        found = self._some(case, leaves) if runs is None else self._exact(case, runs)
        if found is None:
            return None
        victims, places = found
        self._assert_rising(case, victims)
        return Act(tuple(sorted(run.run for run in victims)), places, cause)

    def _places(self, case: _Case, victims: Sequence[Yielding]) -> list[Place] | None:
        """Where the job would run without the victims, if all that the rules ask holds then."""
        change = self._change(case, victims)
        if not self._within_limits(case, change) or not self._keeps_covered(case, change):
            return None
        return case.room.find(victims, lambda free: self.find(case.wanted.asked, free))

    def _change(self, case: _Case, victims: Iterable[Yielding]) -> Change:
        return Change([self.held[run.run] for run in victims], case.held)

    def _within_limits(self, case: _Case, change: Change) -> bool:
        for node in case.wanted.leaf.path():
            if node.borrow >= 0 and change.running[node] > node.guarantee + node.borrow:
                return False
        return change.occupied[self.tree.root] <= self.tree.capacity

    def _keeps_covered(self, case: _Case, change: Change) -> bool:
        """Whether the amount that is covered falls at no node off the job's path."""
        path = dict.fromkeys(case.wanted.leaf.path())
        return not any(
            falls(self.cover.amount(node), self.cover.amount(node, change))
            for node in change.running
            if node not in path
        )

    # ── few candidates: the best set ──────────────────────────────────────────────────────────────────────────────
    def _few(self, case: _Case, leaves: Iterable[Node]) -> list[list[Yielding]] | None:
        """Groups of equal candidates, if they are few enough to try every set."""
        leaves = list(leaves)
        if sum(len(self._of[leaf]) for leaf in leaves) > CANDIDATES_MAX:
            return None
        groups: dict[object, list[Yielding]] = {}
        for leaf in leaves:
            alike = leaf is case.scope.own
            for run in self._of[leaf].values():
                if self._may_go(case.scope, run):
                    pattern = (leaf, self.held[run.run].priority, tuple(run.places), tuple(run.parts))
                    key: object = (*pattern, run.charge, run.lost) if alike else run.run
                    groups.setdefault(key, []).append(run)
        sets = 1
        for group in groups.values():
            sets *= len(group) + 1
        return list(groups.values()) if sets <= SETS_MAX else None

    def _exact(
        self, case: _Case, groups: list[list[Yielding]]
    ) -> tuple[Sequence[Yielding], list[Place]] | None:
        """The best legal set: none is put back from the first that works, for a part of it would have come before."""
        everybody = [run for group in groups for run in group]
        if case.room.find(everybody, lambda free: self.find(case.wanted.asked, free)) is None:
            return None
        for group in groups:
            group.sort(key=lambda run: run.run)
        most = _most(case.wanted)
        sets = []
        for counts in product(*(range(len(group) + 1) for group in groups)):
            victims = [run for group, count in zip(groups, counts, strict=True) for run in group[:count]]
            if victims:
                sets.append((_rank(victims, most), victims))
        sets.sort(key=lambda entry: entry[0])
        for _, victims in sets:
            places = self._places(case, victims)
            if places is not None:
                return victims, places
        return None

    # ── many candidates: node by node ─────────────────────────────────────────────────────────────────────────────
    def _some(self, case: _Case, leaves: Mapping[Node, int]) -> tuple[Sequence[Yielding], list[Place]] | None:
        """A good legal set: the cheapest nodes, without whom they do not need. Tried by lost work, then by charge, then
        with none but runs that nobody covers."""
        most = _most(case.wanted)
        best: tuple[Sequence[Yielding], list[Place]] | None = None
        for settled, light in ((False, False), (False, True), (True, False), (True, True)):
            scope = case.scope._replace(settled=settled)
            for mask in self.within(case.wanted.asked):
                offers = self._offers_of(case, scope, light)
                victims = self._chosen(case, offers, mask, leaves)
                found = None if victims is None else self._put_back(case, victims)
                if found is not None and (best is None or _rank(found[0], most) < _rank(best[0], most)):
                    best = found
            if best is not None and not _rank(best[0], most)[0]:
                return best
            if best is not None and settled:
                break
        alone = self._alone(case, leaves)
        return min(
            (found for found in (best, alone) if found), key=lambda found: _rank(found[0], most), default=None
        )

    def _alone(self, case: _Case, leaves: Iterable[Node]) -> tuple[Sequence[Yielding], list[Place]] | None:
        """The best victim that is enough by itself, of the cheapest."""
        most = _most(case.wanted)
        runs = [run for leaf in leaves for run in self._of[leaf].values() if self._may_go(case.scope, run)]
        for run in nsmallest(ALONE_MAX, runs, key=lambda run: _rank([run], most)):
            places = self._places(case, [run])
            if places is not None:
                return [run], places
        return None

    def _offers_of(self, case: _Case, scope: _Scope, light: bool) -> Offers:
        need, nodes = need_of(case.wanted.asked, case.room.size)
        most = _most(case.wanted) // nodes
        key = (scope, case.window, need, most, light)
        offers = self._offers.get(key)
        if offers is None:
            if len(self._offers) >= OFFERS_MAX:
                self._offers.pop(next(iter(self._offers)))
            covered = self._covered(scope) if scope.settled else {}

            def runs_on(position: int) -> list[Yielding]:
                runs = self._on.get(position, ())
                return [run for run in runs if run.job not in covered and self._may_go(scope, run)]

            offers = Offers(case.room, need, runs_on, most, light)
            if not scope.settled:  # who is covered changes with every act
                self._offers[key] = offers
        return offers

    def _covered(self, scope: _Scope) -> dict[str, Held]:
        """Runs that are covered at the highest node above them that is off the job's path."""
        path = dict.fromkeys(scope.covered.path())
        covered: dict[str, Held] = {}
        for node in path:
            for child in node.children.values():
                if node is not scope.covered and child not in path:
                    covered.update(self.cover.runs(child))
        return covered

    def _chosen(
        self, case: _Case, offers: Offers, mask: int, leaves: Mapping[Node, int]
    ) -> list[Yielding] | None:
        """Victims on ever more of the cheapest nodes of `mask`, then any, until the job fits."""
        path = dict.fromkeys(case.wanted.leaf.path())
        _, nodes = need_of(case.wanted.asked, case.room.size)
        taken: dict[str, Yielding] = {}
        used: dict[Node, int] = {}
        tried = nodes
        for count, runs in enumerate(_batches(offers, mask), 1):
            more = [run for run in runs if run.run not in taken]
            if self._spares(more, leaves, used, path):
                taken.update((run.run, run) for run in more)
            if count == tried:
                if self._fits(case, taken.values()):
                    return list(taken.values())
                tried *= 2
        return list(taken.values()) if self._fits(case, taken.values()) else None

    def _spares(
        self,
        runs: list[Yielding],
        leaves: Mapping[Node, int],
        used: dict[Node, int],
        path: Mapping[Node, None],
    ) -> bool:
        """Whether their nodes can give these runs beside what they gave already; notes it then."""
        more: dict[Node, int] = {}
        for run in runs:
            if run.leaf not in leaves:
                return False
            for node in run.leaf.path():
                if node in path:
                    break
                more[node] = more.get(node, 0) + run.charge
        for node, charge in more.items():
            left = node.running - sum(self.cover.amount(node).values())
            if used.get(node, 0) + charge > left:
                return False
        for node, charge in more.items():
            used[node] = used.get(node, 0) + charge
        return True

    def _fits(self, case: _Case, victims: Iterable[Yielding]) -> bool:
        victims = list(victims)
        if not self._within_limits(case, self._change(case, victims)):
            return False
        return case.room.find(victims, lambda free: self.find(case.wanted.asked, free)) is not None

    # ── who need not go ───────────────────────────────────────────────────────────────────────────────────────────
    def _put_back(
        self, case: _Case, victims: list[Yielding]
    ) -> tuple[Sequence[Yielding], list[Place]] | None:
        """What is left of the victims once those stay who need not go, the most costly first."""
        order = sorted(victims, key=lambda run: run.cost, reverse=True)
        places = case.room.find(order, lambda free: self.find(case.wanted.asked, free))
        assert places is not None, "the victims make room"
        if self._within_limits(case, self._change(case, ())):
            order = _still_needed(case, order, places)
        places = self._places(case, order)
        if places is None or len(order) == 1:  # without anybody it does not fit, as was seen
            return None if places is None else (order, places)
        spare = self._spare_tasks(case, order)
        needless: dict[object, None] = {}  # patterns that cannot stay
        tries = 0
        for run in list(order):
            pattern = (run.leaf, tuple(run.places), tuple(run.parts), run.charge)
            if pattern in needless or tries >= PUT_BACKS_MAX or not self._could_stay(case, run, spare):
                continue
            rest = [other for other in order if other is not run]
            tries += 1
            found = self._places(case, rest)
            if found is None:
                needless[pattern] = None
            else:
                order, places = rest, found
                spare = self._spare_tasks(case, order)
        return order, places

    def _spare_tasks(self, case: _Case, victims: Sequence[Yielding]) -> tuple[int, dict[int, list[Yielding]]]:
        """How many tasks more than needed all nodes hold at most, and who leaves where."""
        by_position: dict[int, list[Yielding]] = {}
        for run in victims:
            for position in dict.fromkeys(position for position, _ in run.places):
                by_position.setdefault(position, []).append(run)
        need, nodes = need_of(case.wanted.asked, case.room.size)
        held = 0
        for position in range(len(case.room.gpus)):
            if case.room.serves(position):
                held += _tasks(case.room.amount(position, by_position.get(position, ())), need, nodes)
        whole = case.wanted.asked.gpus // need[0] if need[0] and not case.wanted.asked.gpu_milli else nodes
        return held - min(whole, nodes), by_position

    def _could_stay(
        self,
        case: _Case,
        run: Yielding,
        spare: tuple[int, dict[int, list[Yielding]]],
    ) -> bool:
        """Whether the job may fit beside `run` too, as far as a count of tasks tells."""
        surplus, by_position = spare
        need, nodes = need_of(case.wanted.asked, case.room.size)
        for position in dict.fromkeys(position for position, _ in run.places):
            leaving = by_position[position]
            others = [other for other in leaving if other is not run]
            surplus -= _tasks(case.room.amount(position, leaving), need, nodes)
            surplus += _tasks(case.room.amount(position, others), need, nodes)
        return surplus >= 0

    # ── it ends ───────────────────────────────────────────────────────────────────────────────────────────────────
    def _assert_rising(self, case: _Case, victims: Sequence[Yielding]) -> None:
        """The potential, restricted to nodes that change, rises: what is covered, the deepest level first."""
        change = self._change(case, victims)
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


def _batches(offers: Offers, mask: int) -> Iterator[Sequence[Yielding]]:
    """Who may leave together: for one task on a node after another, cheapest first, then one by one."""
    for offer in offers.cheapest():
        if mask >> offer.position & 1:
            yield offer.runs
    seen: dict[str, Yielding] = {}
    for position in range(len(offers.room.gpus)):
        seen.update((run.run, run) for run in offers.runs_on(position))
    for run in sorted(seen.values(), key=lambda run: run.cost):
        yield (run,)


def _most(wanted: Wanted) -> int:
    """What may be evicted for it where that is possible: 1.2 times its charge."""
    return wanted.charge * 6 // 5


def _rank(victims: Sequence[Yielding], most: int) -> tuple[bool, int, int, int, tuple[str, ...]]:
    """The order of choice: within the limit least lost work, beyond it least charge."""
    lost, charge = sum(run.lost for run in victims), sum(run.charge for run in victims)
    ids = tuple(sorted(run.run for run in victims))
    first, second = (charge, lost) if charge > most else (lost, charge)
    return charge > most, first, second, len(victims), ids


def _still_needed(case: _Case, victims: list[Yielding], places: list[Place]) -> list[Yielding]:
    """Victims without those that fit beside the job where it would run now."""
    asked = case.wanted.asked
    by_position: dict[int, list[Yielding]] = {}
    for run in victims:
        for position in dict.fromkeys(position for position, _ in run.places):
            by_position.setdefault(position, []).append(run)
    used: dict[int, tuple[int, int, int]] = {}
    for position, gpus in places:
        cpus, memory = asked.part(gpus)
        before = used.get(position, (0, 0, 0))
        used[position] = before[0] + gpus, before[1] + cpus, before[2] + memory
    needed = []
    for run in victims:
        stays = True
        for position in dict.fromkeys(position for position, _ in run.places):
            others = [other for other in by_position[position] if other is not run]
            have, want = case.room.amount(position, others), used.get(position, (0, 0, 0))
            stays = stays and all(a >= b for a, b in zip(have, want, strict=True))
        if not stays or asked.gpu_milli:
            needed.append(run)
            continue
        for position in dict.fromkeys(position for position, _ in run.places):
            by_position[position].remove(run)
    return needed


def _tasks(amount: tuple[int, int, int], need: tuple[int, int, int], most: int) -> int:
    """How many tasks fit into what a node has free, at most `most`."""
    return min([most, *(have // each for have, each in zip(amount, need, strict=True) if each)])


def _is_below(node: Node, above: Node) -> bool:
    while node.depth > above.depth:
        assert node.parent is not None, "it is not the root"
        node = node.parent
    return node is above


def _sum(total: dict[int, int], amount: Amount) -> None:
    for priority, charge in amount.items():
        total[priority] = total.get(priority, 0) + charge
