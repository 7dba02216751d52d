# SPDX-License-Identifier: Apache-2.0
"""Which runs to end for a job: of few candidates the best set, of many a good one, node by node. Called by preemption,
which says what is legal.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import nsmallest
from itertools import islice, product
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from leitstand.core.facts import Resources
from leitstand.core.places.placement import Place
from leitstand.core.places.steps import INFINITY
from leitstand.core.sharing.shares import Held, Node
from leitstand.core.yielding.offers import Offers, Room, Window, Yielding, need_of
from leitstand.core.yielding.takeable import Takeable

if TYPE_CHECKING:
    from leitstand.core.yielding.preemption import Scene

CANDIDATES_MAX: Final = 64  # runs above which nobody looks whether they form few groups
SETS_MAX: Final = 4096  # of victims that are tried one by one: 12 runs, or groups of equal ones
ALONE_MAX: Final = 64  # runs tried one by one where the cheapest nodes gave nothing good
PUT_BACKS_MAX: Final = 256  # searches for places to see who need not go
SOON_MAX: Final = 256  # runs tried before all are laid out in columns
OFFERS_MAX: Final = 16  # kept for other jobs of the same shape

Found = tuple[Sequence[Yielding], list[Place]]


class Wanted(NamedTuple):
    """A job that waits. `leaf`: its project in the tree, where it counts as pending."""

    job: str
    leaf: Node
    charge: int
    priority: int
    asked: Resources
    limit_us: int


class Scope(NamedTuple):
    """Whom a job may take. `covered`: the lowest node where it is covered; `own`: its leaf, if runs below `priority`
    there may go; `others`: whether runs outside `covered` may; `settled`: only runs that nobody covers; `fair`: only of
    those who have lagged no more."""

    covered: Node
    own: Node | None
    priority: int
    others: bool
    settled: bool = False
    fair: bool = False


class Case(NamedTuple):
    """One job, one cause, one window of time."""

    wanted: Wanted
    held: Held
    scope: Scope
    room: Room
    window: Window


_NOBODY: Final[Mapping[str, object]] = {}
_COST: Final = attrgetter("cost")
_Key = tuple[Scope, Window, tuple[int, int, int], int, bool, str]  # of offers
_Field = dict[int, list[Yielding]]


class Search:
    """The search for victims in one scene."""

    def __init__(self, scene: "Scene") -> None:
        self.scene = scene
        self.cover = scene.cover
        self.takeable = Takeable(scene)
        self._offers: dict[_Key, Offers] = {}
        self._promising: dict[tuple[Scope, Window, Resources], None] = {}  # the last search found somebody
        self._fields: dict[Scope, tuple[_Field, dict[Node, None]]] = {}  # and the leaves whose runs are in it

    def victims(self, case: Case, leaves: Mapping[Node, int]) -> Found | None:
        """Legal victims in `leaves` (how much charge of each may go at most), and the places of the job then."""
        groups = self._few(case, leaves)
        return self._some(case, leaves) if groups is None else self._exact(case, groups, leaves)

    def touch(self, positions: Sequence[int]) -> None:
        """What these nodes have has changed."""
        for offers in self._offers.values():
            offers.touch(positions)

    def forget(self) -> None:
        """Rooms were dropped."""
        self._offers.clear()

    def forget_run(self, run: Yielding) -> None:
        """It was taken. Who is covered changes with that."""
        self.takeable.forget(run)
        self._offers = {key: offers for key, offers in self._offers.items() if not key[0].settled}
        self._fields = {scope: field for scope, field in self._fields.items() if not scope.settled}
        for field, _ in self._fields.values():
            for position in dict.fromkeys(position for position, _ in run.places):
                runs = field.get(position, [])
                if run in runs:
                    runs.remove(run)

    # ── few candidates: the best set ──────────────────────────────────────────────────────────────────────────────
    def _few(self, case: Case, leaves: Iterable[Node]) -> list[list[Yielding]] | None:
        """Groups of equal candidates, if they are few enough to try every set."""
        leaves, count = list(leaves), 0
        for leaf in leaves:
            count += len(self.scene.of(leaf))
            if count > CANDIDATES_MAX:
                return None
        groups: dict[object, list[Yielding]] = {}
        for leaf in leaves:
            alike = leaf is case.scope.own
            for run in self.scene.of(leaf).values():
                if self.scene.may_go(case.scope, run):
                    pattern = (leaf, self.scene.held[run.run].priority, tuple(run.places), tuple(run.parts))
                    key: object = (*pattern, run.charge, run.lost) if alike else run.run
                    groups.setdefault(key, []).append(run)
        sets = 1
        for group in groups.values():
            sets *= len(group) + 1
        return list(groups.values()) if sets <= SETS_MAX else None

    def _exact(self, case: Case, groups: list[list[Yielding]], leaves: Mapping[Node, int]) -> Found | None:
        """The best legal set: none is put back from the first that works, for a part of it would have come before. No
        leaf gives more than `leaves` says."""
        groups = [[run for run in group if run.charge <= leaves[run.leaf]] for group in groups]
        everybody = [run for group in groups for run in group]
        if case.room.find(everybody, case.wanted.asked, self.scene.find) is None:
            return None
        for group in groups:
            group.sort(key=lambda run: run.run)
        most = most_of(case.wanted)
        sets = []
        for counts in product(*(range(len(group) + 1) for group in groups)):
            victims = [run for group, count in zip(groups, counts, strict=True) for run in group[:count]]
            if not _is_within(victims, leaves):
                continue
            if victims and len(self.scene.closed(victims)) == len(victims):
                sets.append((rank_of(victims, most), victims))
        sets.sort(key=lambda entry: entry[0])
        surplus = 0 if case.wanted.asked.is_part else self._spare_tasks(case, ())[0]
        for _, victims in sets:
            if surplus < 0 and surplus + self._gained(case, victims) < 0:
                continue
            places = self.scene.places(case, victims)
            if places is not None:
                return victims, places
        return None

    def _gained(self, case: Case, victims: Sequence[Yielding]) -> int:
        """How many more tasks fit once they have left, as far as a count tells."""
        need, nodes = need_of(case.wanted.asked, case.room.size)
        gained = 0
        for position, leaving in _by_position(victims).items():
            if case.room.serves(position):
                gained += _tasks(case.room.amount(position, leaving), need, nodes)
                gained -= _tasks(case.room.amount(position), need, nodes)
        return gained

    # ── many candidates: node by node ─────────────────────────────────────────────────────────────────────────────
    def _some(self, case: Case, leaves: Mapping[Node, int]) -> Found | None:
        """A good legal set: the cheapest nodes, without whom they do not need. Tried by lost work, then by charge, then
        with none but runs that nobody covers."""
        key = (case.scope, case.window, case.wanted.asked)
        if key not in self._promising and not self._would_fit(case, case.scope, leaves):
            return None
        self._promising[key] = None
        most = most_of(case.wanted)
        best: Found | None = None
        for settled, light in ((False, False), (False, True), (True, False), (True, True)):
            scope = case.scope._replace(settled=settled)
            if settled and not light and not self._would_fit(case, scope, leaves):
                break
            for mask in self.scene.within(case.wanted.asked):
                offers = self._offers_of(case, scope, light)
                chosen = self._chosen(case, offers, mask, leaves)
                found = None if chosen is None else self._put_back(case, *chosen)
                if found is not None and (best is None or rank_of(found[0], most) < rank_of(best[0], most)):
                    best = found
            if best is not None and not rank_of(best[0], most)[0]:
                return best
            if best is not None and settled:
                break
        alone = self._alone(case, leaves)
        if best is None and alone is None:
            del self._promising[key]
        return min(
            (found for found in (best, alone) if found),
            key=lambda found: rank_of(found[0], most),
            default=None,
        )

    def _would_fit(self, case: Case, scope: Scope, leaves: Mapping[Node, int]) -> bool:
        """Whether the job would fit if all left who can be among the victims at all, as far as is known soon: far more
        often than not it does not, and this is known sooner than whom to take."""
        asked, room, takeable = case.wanted.asked, case.room, self.takeable
        need, nodes = need_of(asked, room.size)
        if nodes == 1 and not asked.gpu_milli and not scope.settled and self._hosts_soon(case, leaves):
            return True
        able = takeable.able(scope, leaves)
        if scope.settled:
            able = takeable.without(able, {leaf: self._covered(scope, leaf) for leaf in leaves})
        if nodes > 1 or asked.gpu_milli:
            if asked.nodes > 1 and not asked.is_part and takeable.tasks(room, need, able) < nodes:
                return False
            return room.find(takeable.runs(able), asked, self.scene.find) is not None
        if room.find((), asked, self.scene.find) is not None:
            return True
        return takeable.host(room, need, able)

    def _hosts_soon(self, case: Case, leaves: Mapping[Node, int]) -> bool:
        """Whether a task fits on a node once some of the first few left who may go: often one of them is enough."""
        room, there = case.room, dict[int, list[Yielding]]()
        need, _ = need_of(case.wanted.asked, room.size)
        every = ((leaf, run) for leaf in leaves for run in self.scene.of(leaf).values())
        for leaf, run in islice(every, SOON_MAX):
            if run.charge > leaves[leaf] or not self.scene.may_go(case.scope, run):
                continue
            for position in run.positions:
                on = there.setdefault(position, [])
                on.append(run)
                if room.serves(position) and room.fits(position, on, need):
                    return True
        return False

    def _alone(self, case: Case, leaves: Iterable[Node]) -> Found | None:
        """A victim that is enough by itself: one of the cheapest, first of those that nobody covers."""
        most = most_of(case.wanted)
        full = not case.wanted.asked.gpu_milli and (
            case.room.find((), case.wanted.asked, self.scene.find) is None
        )
        if full and not self._may_help(case, leaves):
            return None
        ranked: list[tuple[object, Yielding]] = []
        for leaf in leaves:
            covered = self._covered(case.scope, leaf)
            for run in self.scene.of(leaf).values():
                if self.scene.may_go(case.scope, run):
                    ranked.append(((run.job in covered, rank_of([run], most)), run))
        for _, run in nsmallest(ALONE_MAX, ranked):
            closed = self.scene.closed([run])
            if full and not self._helps(case, closed):
                continue
            places = self.scene.places(case, closed)
            if places is not None:
                return closed, places
        return None

    def _may_help(self, case: Case, leaves: Iterable[Node]) -> bool:
        """Whether a task fits somewhere once one of them left, unless elastic runs have units, who go with them."""
        if self.scene.has_units():
            return True
        able = self.takeable.able(case.scope, dict.fromkeys(leaves, INFINITY))
        need, _ = need_of(case.wanted.asked, case.room.size)
        return any(self._helps(case, [run]) for run in self.takeable.alone(case.room, need, able))

    def _helps(self, case: Case, runs: list[Yielding]) -> bool:
        """Whether a task fits on one of their nodes once they left."""
        need, _ = need_of(case.wanted.asked, case.room.size)
        return any(case.room.fits(at, there, need) for at, there in _by_position(runs).items())

    def _offers_of(self, case: Case, scope: Scope, light: bool) -> Offers:
        need, nodes = need_of(case.wanted.asked, case.room.size)
        most = most_of(case.wanted) // nodes
        mig = case.wanted.asked.mig
        key = (scope, case.window, need, most, light, mig)
        field = self._field(scope)
        offers = self._offers.get(key)
        if offers is None:
            if len(self._offers) >= OFFERS_MAX:
                self._offers.pop(next(iter(self._offers)))
            offers = self._offers[key] = Offers(case.room, need, field, most, light, mig=mig)
        offers.refresh()
        return offers

    def _field(self, scope: Scope) -> _Field:
        """Runs that may go, by position, the cheapest first. Those of leaves that are open no more stay: whoever takes
        from the field asks how much a leaf can give."""
        field, leaves = self._fields.setdefault(scope, ({}, {}))
        new = [leaf for leaf in self.scene.open(scope._replace(settled=False)) if leaf not in leaves]
        if not new:
            return field
        leaves.update(dict.fromkeys(new))
        changed: dict[int, None] = {}
        for leaf in new:
            covered = self._covered(scope, leaf) if scope.settled else _NOBODY
            for run in self.scene.of(leaf).values():
                if covered and self.scene.held[run.run].id in covered:
                    continue
                if self.scene.may_go(scope, run):
                    for position in run.positions:
                        field.setdefault(position, []).append(run)
                        changed[position] = None
        for position in changed:
            if len(field[position]) > 1:
                field[position].sort(key=_COST)
        for key, offers in self._offers.items():
            if key[0] == scope:
                offers.touch(changed)
        return field

    def _covered(self, scope: Scope, leaf: Node) -> Mapping[str, object]:
        """Runs that are covered at the highest node above the leaf that is off the job's path."""
        path = dict.fromkeys(scope.covered.path())
        if leaf in path:
            return _NOBODY
        while leaf.parent is not None and leaf.parent not in path:
            leaf = leaf.parent
        return self.cover.runs(leaf)

    def _chosen(
        self, case: Case, offers: Offers, mask: int, leaves: Mapping[Node, int]
    ) -> tuple[list[Yielding], list[Place]] | None:
        """Victims on ever more of the cheapest nodes of `mask`, then any, until the job fits, and where it does."""
        path = dict.fromkeys(case.wanted.leaf.path())
        _, nodes = need_of(case.wanted.asked, case.room.size)
        taken: dict[str, Yielding] = {}
        used: dict[Node, int] = {}
        tried = nodes
        for count, runs in enumerate(_batches(offers, mask), 1):
            more = [run for run in self.scene.closed(runs) if run.run not in taken]
            if self._spares(more, leaves, used, path):
                taken.update((run.run, run) for run in more)
            if count == tried:
                victims = list(taken.values())
                places = self._fits(case, victims)
                if places is not None:
                    return victims, places
                tried *= 2
        victims = list(taken.values())
        places = self._fits(case, victims)
        return None if places is None else (victims, places)

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

    def _fits(self, case: Case, victims: Sequence[Yielding]) -> list[Place] | None:
        if not self.scene.within_limits(case, self.scene.change(case, victims)):
            return None
        return case.room.find(victims, case.wanted.asked, self.scene.find)

    # ── who need not go ───────────────────────────────────────────────────────────────────────────────────────────
    def _put_back(self, case: Case, victims: list[Yielding], where: list[Place]) -> Found | None:
        """What is left of the victims once those stay who need not go, the most costly first. `where`: the job's
        places if all go."""
        order = sorted(victims, key=lambda run: run.cost, reverse=True)
        if self.scene.within_limits(case, self.scene.change(case, ())):
            order = self.scene.closed(still_needed(case.wanted.asked, case.room, order, where))
        same = where if len(order) == len(victims) else None
        places = self.scene.places(case, order, same)
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
            if len(self.scene.closed(rest)) > len(rest):  # its run goes
                continue
            tries += 1
            found = self.scene.places(case, rest)
            if found is None:
                needless[pattern] = None
            else:
                order, places = rest, found
                spare = self._spare_tasks(case, order)
        return order, places

    def _spare_tasks(self, case: Case, victims: Sequence[Yielding]) -> tuple[int, dict[int, list[Yielding]]]:
        """How many tasks more than needed all nodes hold at most, and who leaves where."""
        by_position = _by_position(victims)
        need, nodes = need_of(case.wanted.asked, case.room.size)
        held = 0
        fitting = case.room.free.ascending(need[0]) if need[0] else case.room.serving()
        for position in {**by_position, **dict.fromkeys(fitting)}:
            if case.room.serves(position):
                held += _tasks(case.room.amount(position, by_position.get(position, ())), need, nodes)
        whole = case.wanted.asked.gpus // need[0] if need[0] and not case.wanted.asked.is_part else nodes
        return held - min(whole, nodes), by_position

    def _could_stay(
        self,
        case: Case,
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


def _batches(offers: Offers, mask: int) -> Iterator[Sequence[Yielding]]:
    """Who may leave together: for one task on a node after another, cheapest first, then one by one."""
    for offer in offers.cheapest():
        if mask >> offer.position & 1:
            yield offer.runs
    seen: dict[str, Yielding] = {}
    for runs in offers.on.values():
        seen.update((run.run, run) for run in runs)
    for run in sorted(seen.values(), key=lambda run: run.cost):
        yield (run,)


def most_of(wanted: Wanted) -> int:
    """What may be evicted for it where that is possible: 1.2 times its charge."""
    return wanted.charge * 6 // 5


def rank_of(victims: Sequence[Yielding], most: int) -> tuple[bool, int, int, int, tuple[str, ...]]:
    """The order of choice: within the limit least lost work, beyond it least charge."""
    lost, charge = sum(run.lost for run in victims), sum(run.charge for run in victims)
    ids = tuple(sorted(run.run for run in victims))
    first, second = (charge, lost) if charge > most else (lost, charge)
    return charge > most, first, second, len(victims), ids


def still_needed(
    asked: Resources, room: Room, victims: list[Yielding], places: list[Place]
) -> list[Yielding]:
    """Victims without those that fit beside the job where it would run now."""
    by_position = _by_position(victims)
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
            have, want = room.amount(position, others), used.get(position, (0, 0, 0))
            stays = stays and all(a >= b for a, b in zip(have, want, strict=True))
        if not stays or asked.is_part:
            needed.append(run)
            continue
        for position in dict.fromkeys(position for position, _ in run.places):
            by_position[position].remove(run)
    return needed


def _is_within(runs: Sequence[Yielding], leaves: Mapping[Node, int]) -> bool:
    """Whether they take no more of any leaf than it can give."""
    taken: dict[Node, int] = {}
    for run in runs:
        taken[run.leaf] = taken.get(run.leaf, 0) + run.charge
    return all(charge <= leaves[leaf] for leaf, charge in taken.items())


def _by_position(runs: Iterable[Yielding]) -> dict[int, list[Yielding]]:
    found: dict[int, list[Yielding]] = {}
    for run in runs:
        for position in dict.fromkeys(position for position, _ in run.places):
            found.setdefault(position, []).append(run)
    return found


def _tasks(amount: tuple[int, int, int], need: tuple[int, int, int], most: int) -> int:
    """How many tasks fit into what a node has free, at most `most`."""
    return min([most, *(have // each for have, each in zip(amount, need, strict=True) if each)])
