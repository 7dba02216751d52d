# SPDX-License-Identifier: Apache-2.0
"""What nodes would have free if some runs left, and at what cost. Called by preemption.

`Room` is what a search for places reads (`Free`), with the capacity of some runs given back for as long as the search
lasts. `Offers` keeps for one shape what the cheapest runs on each node are whose end makes room for one task.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple, Protocol

from leitstand.core.facts import Resources
from leitstand.core.places.fit import Free
from leitstand.core.places.placement import Place
from leitstand.core.places.steps import Amount
from leitstand.core.places.window import View, listed
from leitstand.core.sharing.shares import Node

TRIED_ON_NODE: Final = 6  # runs on one node of which all sets are tried; of more, some are taken by cost


class Yielding(NamedTuple):
    """A run as preemption sees it. `run`: its id (`acme-42.1`); `places` with CPU and memory (`parts`) of each; `lost`:
    GPU·µs of work that its end would cost."""

    run: str
    leaf: Node
    places: Sequence[Place]
    parts: Sequence[tuple[int, int]]
    charge: int
    lost: int
    placed_us: int
    stopping: bool

    @property
    def job(self) -> str:
        """The job whose run it is; the tree knows it by that."""
        return self.run.rpartition(".")[0]

    @property
    def cost(self) -> tuple[int, int, str]:
        """The lower the sooner it goes."""
        return self.lost, self.charge, self.run


class Capacity(Protocol):
    """What preemption asks of the timeline."""

    def view(
        self, now: int, limit_us: int, own: str, ignore: Collection[str], without: Collection[str]
    ) -> Free: ...
    def room(
        self,
        position: int,
        window: tuple[int, int],
        own: str,
        ignore: Collection[str],
        without: Collection[str],
    ) -> Amount: ...
    def changes(self, position: int) -> bool: ...
    def reservation(self, job: str) -> object | None: ...


class Window(NamedTuple):
    """For which time, for whose reservation and beside which kinds of reservations room is wanted."""

    limit_us: int
    own: str
    ignore: tuple[str, ...]


class Room(View):
    """See the module. `gone`: runs whose end is awaited: what they hold counts as free."""

    __slots__ = ("_gone", "_now", "_serving", "_timeline", "_window")

    def __init__(self, timeline: Capacity, now: int, window: Window, gone: dict[str, None]) -> None:
        free = timeline.view(now, window.limit_us, window.own, window.ignore, gone)
        super().__init__(free.size, list(free.levels), ([], [], []))
        columns = (free.gpus, free.cpus_milli, free.memory_mib)
        self.gpus, self.cpus_milli, self.memory_mib = map(listed, columns)
        self.shared = dict(free.shared)
        self._timeline, self._now, self._window, self._gone = timeline, now, window, gone
        self._serving = 0
        for nodes in free.levels:
            self._serving |= nodes

    def amount(self, position: int, leaving: Collection[Yielding] = ()) -> Amount:
        """What the node would have free if these runs left too."""
        if not leaving:
            return self.gpus[position].bit_count(), self.cpus_milli[position], self.memory_mib[position]
        if position in self.shared or self._timeline.changes(position):
            return self._look(position, leaving)
        gpus, cpus_milli, memory_mib = self.amount(position)
        for run in leaving:
            for (at, more), (cpus, memory) in zip(run.places, run.parts, strict=True):
                if at == position:
                    gpus, cpus_milli, memory_mib = gpus + more, cpus_milli + cpus, memory_mib + memory
        return gpus, cpus_milli, memory_mib

    def refresh(self, position: int) -> None:
        """What the node has changed."""
        self.put(position, self._look(position, ()))

    def serves(self, position: int) -> bool:
        """Whether the node is in service."""
        return bool(self._serving >> position & 1)

    def find(
        self, leaving: Iterable[Yielding], search: Callable[[Free], list[Place] | None]
    ) -> list[Place] | None:
        """What `search` finds if these runs left."""
        by_position: dict[int, list[Yielding]] = {}
        for run in leaving:
            for position in dict.fromkeys(position for position, _ in run.places):
                by_position.setdefault(position, []).append(run)
        before = [(position, self.amount(position)) for position in by_position]
        for position, runs in by_position.items():
            self.put(position, self.amount(position, runs))
        try:
            return search(self)
        finally:
            for position, amount in before:
                self.put(position, amount)

    def put(self, position: int, amount: Amount) -> None:
        """Set what is free on a node."""
        gpus, self.cpus_milli[position], self.memory_mib[position] = amount  # type: ignore[index]
        before = self.gpus[position].bit_count()
        if gpus == before:
            return
        self.gpus[position] = (1 << gpus) - 1  # type: ignore[index]
        levels = self.levels
        assert isinstance(levels, list), "made so"
        while len(levels) <= gpus:
            levels.append(0)
        if self.serves(position):
            levels[before] ^= 1 << position
            levels[gpus] |= 1 << position

    def _look(self, position: int, leaving: Collection[Yielding]) -> Amount:
        window = self._window
        gone = {**self._gone, **dict.fromkeys(run.run for run in leaving)} if leaving else self._gone
        until = self._now + window.limit_us
        return self._timeline.room(position, (self._now, until), window.own, window.ignore, gone)


class Offer(NamedTuple):
    """The runs that would leave so that one task fits on the node. `over`: they hold more than may be evicted."""

    over: bool
    weight: int
    other: int
    runs_count: int
    position: int
    runs: tuple[Yielding, ...]


class Offers:
    """Offers of all nodes for one task of a shape, cheapest first. `runs_on`: runs on a node that may be taken,
    cheapest first. `light`: the least charge counts first, then lost work; else the other way round. `where`: only of
    these nodes, as long as nothing is refreshed."""

    def __init__(
        self,
        room: Room,
        need: Amount,
        runs_on: Callable[[int], list[Yielding]],
        most: int,
        light: bool = False,
        where: Iterable[int] | None = None,
    ) -> None:
        self.room = room
        self.need = need
        self.runs_on = runs_on
        self.most = most
        self.light = light
        self._now: dict[int, Offer] = {}
        for position in range(len(room.gpus)) if where is None else where:
            if room.serves(position) and (offer := self._best(position)) is not None:
                self._now[position] = offer
        self._heap = list(self._now.values())
        heapify(self._heap)

    def refresh(self, position: int) -> None:
        """The room or the runs on the node have changed."""
        offer = self._best(position) if self.room.serves(position) else None
        if offer is None:
            self._now.pop(position, None)
        elif self._now.get(position) != offer:
            self._now[position] = offer
            heappush(self._heap, offer)

    def cheapest(self) -> Iterator[Offer]:
        """Offers in order; what was read stays."""
        heap, read = self._heap, []
        try:
            while heap:
                offer = heappop(heap)
                if self._now.get(offer.position) is offer:
                    read.append(offer)
                    yield offer
        finally:
            for offer in read:
                heappush(heap, offer)

    def _best(self, position: int) -> Offer | None:
        if self._fits(position, ()):
            return Offer(False, 0, 0, 0, position, ())
        runs = self.runs_on(position)
        if not runs or not self._fits(position, runs):
            return None
        if len(runs) <= TRIED_ON_NODE:
            sets: Iterable[tuple[Yielding, ...]] = _sets(runs)
        else:
            denser = sorted(runs, key=lambda run: (-_gpus_on(run, position), run.cost))
            sets = [self._some(position, some) for some in (runs, denser)]
        best: Offer | None = None
        for some in sets:
            offer = self._offer(position, some)
            if (best is None or offer < best) and self._fits(position, some):
                best = offer
        return best

    def _offer(self, position: int, runs: tuple[Yielding, ...]) -> Offer:
        lost, charge = sum(run.lost for run in runs), sum(run.charge for run in runs)
        first, second = (charge, lost) if self.light else (lost, charge)
        return Offer(charge > self.most, first, second, len(runs), position, runs)

    def _fits(self, position: int, runs: Sequence[Yielding]) -> bool:
        gpus, cpus_milli, memory_mib = self.room.amount(position, runs)
        return gpus >= self.need[0] and cpus_milli >= self.need[1] and memory_mib >= self.need[2]

    def _some(self, position: int, runs: list[Yielding]) -> tuple[Yielding, ...]:
        """Runs taken in order until the task fits, without those that turn out not to be needed."""
        taken: list[Yielding] = []
        for run in runs:
            taken.append(run)
            if self._fits(position, taken):
                break
        for run in sorted(taken, key=lambda run: run.cost, reverse=True):
            rest = [other for other in taken if other is not run]
            if self._fits(position, rest):
                taken = rest
        return tuple(taken)


def need_of(asked: Resources, size: int) -> tuple[Amount, int]:
    """What one task needs at least, and how many nodes that takes at most. `size`: GPUs of the largest node."""
    if asked.gpu_milli:
        return (1, *asked.part(0)), max(asked.nodes, 1)
    if asked.nodes == 0 and asked.gpus > size > 0:
        return (size, *asked.part(size)), -(-asked.gpus // size)
    gpus = asked.gpus // max(asked.nodes, 1)
    return (gpus, *asked.part(gpus)), max(asked.nodes, 1)


def _sets(runs: list[Yielding]) -> Iterator[tuple[Yielding, ...]]:
    for bits in range(1, 1 << len(runs)):
        yield tuple(run for index, run in enumerate(runs) if bits >> index & 1)


def _gpus_on(run: Yielding, position: int) -> int:
    return sum(gpus for at, gpus in run.places if at == position)
