# SPDX-License-Identifier: Apache-2.0
"""What nodes would have free if some runs left, and at what cost. Called by preemption.

`Room` is what is free in one window of time, with the capacity of some runs given back for as long as a search for
places lasts. `Offers` keeps for one shape what the cheapest runs on each node are whose end makes room for one task.
"""

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import combinations
from operator import attrgetter
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from leitstand.core.facts import Resources
from leitstand.core.places.cutting import Asker
from leitstand.core.places.fit import Free
from leitstand.core.places.placement import Place
from leitstand.core.places.slots import Slots
from leitstand.core.places.steps import Amount
from leitstand.core.places.window import Laid
from leitstand.core.sharing.shares import Node
from leitstand.core.sharing.units import counts_as

_MOST: Final = 2**61  # of GPUs, CPU and memory
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
        """The job whose run it is, or the unit; the tree knows it by that."""
        return counts_as(self.run)

    @property
    def is_unit(self) -> bool:
        """Whether it is what an elastic run has beyond its least size, and goes alone."""
        return "+" in self.run

    @property
    def positions(self) -> Iterable[int]:
        """Its nodes, each once."""
        places = self.places
        return (places[0][0],) if len(places) == 1 else dict.fromkeys([position for position, _ in places])

    @property
    def cost(self) -> tuple[int, int, str]:
        """The lower the sooner it goes."""
        return self.lost, self.charge, self.run


_CHARGE: Final = attrgetter("charge")


class Capacity(Protocol):
    """What preemption asks of the timeline."""

    def laid(self, now: int, limit_us: int, own: str, ignore: Collection[str]) -> Laid: ...
    def room(
        self,
        position: int,
        window: tuple[int, int],
        own: str,
        ignore: Collection[str],
        without: Collection[str],
    ) -> Amount: ...
    def changes(self, position: int) -> bool: ...
    def runs_on(self, position: int) -> list[str]: ...
    def slots(self, asker: Asker) -> Slots | None: ...
    def reservation(self, job: str) -> object | None: ...


class Window(NamedTuple):
    """For which time, for whose reservation and beside which kinds of reservations room is wanted, and whether those
    count who were told to end (`ENDING`)."""

    limit_us: int
    own: str
    ignore: tuple[str, ...]


class Room:
    """See the module. `free`: what is free in the window."""

    def __init__(self, timeline: Capacity, now: int, window: Window) -> None:
        self.free = timeline.laid(now, window.limit_us, window.own, window.ignore)
        self._timeline, self._now, self._window = timeline, now, window
        self._serving = 0
        for nodes in self.free.levels:
            self._serving |= nodes
        self._slots: dict[int, int] = {}  # of the columns
        self._grown = 0  # how many of the notes that somebody more may leave are in them
        self._free = np.zeros((0, 3), np.int64)
        self.bests = np.zeros((0, 3), np.int64)
        self._full: dict[Resources, None] = {}  # shapes that find no place unless somebody leaves
        self._stale: dict[int, None] = {}
        self._looked: dict[int, dict[tuple[str, ...], Amount]] = {}  # node → who leaves → what is free then

    @property
    def size(self) -> int:
        """GPUs of the largest node."""
        return self.free.size

    def amount(self, position: int, leaving: Collection[Yielding] = ()) -> Amount:
        """What the node would have free if these runs left too."""
        if not leaving:
            return self.free.amount(position)
        if self.free.is_parted(position) or self._timeline.changes(position):
            looked = self._looked.setdefault(position, {})
            runs = tuple(run.run for run in leaving)
            if runs not in looked:
                looked[runs] = self._look(position, runs)
            return looked[runs]
        return self._sum(position, leaving)

    def fits(self, position: int, leaving: Collection[Yielding], need: Amount) -> bool:
        """Whether the node would have as much free as needed if these runs left too. What a run holds it gives back for
        a part of the window at most, and no more than that but for shared GPUs: a sum says no soon."""
        if not self.free.is_parted(position):
            have = self._sum(position, leaving)
            if have[0] < need[0] or have[1] < need[1] or have[2] < need[2]:
                return False
            if not leaving or not self._timeline.changes(position):
                return True
        have = self.amount(position, leaving)
        return have[0] >= need[0] and have[1] >= need[1] and have[2] >= need[2]

    def columns(self, positions: Sequence[int], grown: Sequence[int]) -> npt.NDArray[np.int64]:
        """What is free on these nodes, a row for each: as much as there could ever be where runs share GPUs. Others are
        added to `positions`, none goes; `grown` notes the numbers of those where somebody more may leave. `bests`: what
        they would have at most, as far as that is known."""
        known = len(self._free)
        if known < len(positions):
            new = positions[known:]
            self._slots.update((position, slot) for slot, position in enumerate(new, known))
            amounts = np.array([self._column(position) for position in new], np.int64)
            self._free = np.concatenate([self._free, amounts])
            self.bests = np.concatenate([self.bests, np.full_like(amounts, _MOST)])
        if self._grown < len(grown):
            self.bests[grown[self._grown :]] = _MOST
            self._grown = len(grown)
        return self._free

    def note_best(self, slot: int, position: int, leaving: Collection[Yielding]) -> None:
        """No more than these will ever leave the node."""
        if not self.free.is_parted(position):
            self.bests[slot] = self.amount(position, leaving)

    def _column(self, position: int) -> Amount:
        return (_MOST, _MOST, _MOST) if self.free.is_parted(position) else self.free.amount(position)

    def _sum(self, position: int, leaving: Iterable[Yielding]) -> Amount:
        gpus, cpus_milli, memory_mib = self.free.amount(position)
        for run in leaving:
            for (at, more), (cpus, memory) in zip(run.places, run.parts, strict=True):
                if at == position:
                    gpus, cpus_milli, memory_mib = gpus + more, cpus_milli + cpus, memory_mib + memory
        return gpus, cpus_milli, memory_mib

    def touch(self, positions: Iterable[int]) -> None:
        """What these nodes have has changed; to be brought in by `refresh`."""
        for position in positions:
            self._stale[position] = None
            self._looked.pop(position, None)

    def refresh(self) -> None:
        """Bring in what changed."""
        if self._stale:
            for position in self._stale:
                self.free.put(position, self._look(position, ()))
                slot = self._slots.get(position)
                if slot is not None:
                    self._free[slot], self.bests[slot] = self._column(position), _MOST
            self.free.slots = None  # to be worked out anew
            self._stale.clear()
            self._full.clear()

    def serves(self, position: int) -> bool:
        """Whether the node is in service."""
        return bool(self._serving >> position & 1)

    def serving(self) -> Iterator[int]:
        """The nodes in service."""
        return (position for position in range(len(self.free.gpus)) if self.serves(position))

    def find(
        self,
        leaving: Collection[Yielding],
        asked: Resources,
        search: Callable[[Resources, Free], list[Place] | None],
    ) -> list[Place] | None:
        """What `search` finds for `asked` if these runs left."""
        if not leaving:
            if asked in self._full:
                return None
            places = search(asked, self.free)
            if places is None:
                self._full[asked] = None
            return places
        by_position: dict[int, list[Yielding]] = {}
        for run in leaving:
            for position in dict.fromkeys(position for position, _ in run.places):
                by_position.setdefault(position, []).append(run)
        before = [(position, self.amount(position)) for position in by_position]
        for position, runs in by_position.items():
            self.free.put(position, self.amount(position, runs))
        if asked.mig:
            self.free.slots = self.slots(leaving)
        try:
            return search(asked, self.free)
        finally:
            for position, amount in before:
                self.free.put(position, amount)
            if asked.mig:
                self.free.slots = None

    def slots(self, leaving: Collection[Yielding]) -> Slots | None:
        """MIG instances that would be free if these runs left too."""
        if not leaving:
            return self.free.slots
        window, gone = self._window, dict.fromkeys(run.run for run in leaving)
        until_us = self._now + window.limit_us
        return self._timeline.slots(Asker(self._now, self._now, until_us, window.own, window.ignore, gone))

    def holds_instance(self, position: int, mig: str, leaving: Collection[Yielding]) -> bool:
        """Whether the node would have an instance of the profile if these runs left too."""
        slots = self.slots(leaving)
        whole = self.amount(position, leaving)[0]
        return slots is not None and slots.room(position, mig, whole) > 0

    def _look(self, position: int, leaving: Collection[str]) -> Amount:
        window = self._window
        until = self._now + window.limit_us
        return self._timeline.room(position, (self._now, until), window.own, window.ignore, leaving)


class Offer(NamedTuple):
    """The runs that would leave so that one task fits on the node. `over`: they hold more than may be evicted;
    `runs_count`: -1 where nobody looked yet which."""

    over: bool
    weight: int
    other: int
    runs_count: int
    position: int
    runs: tuple[Yielding, ...]


class Offers:
    """Offers of nodes for one task of a shape, cheapest first. `on`: runs that may be taken, by position, cheapest
    first. `light`: the least charge counts first, then lost work; else the other way round. `where`: only of these
    nodes. `mig`: the task has an instance of this profile.

    What a node offers is worked out when it may be next: before that its cheapest run alone says what it costs at
    least."""

    def __init__(
        self,
        room: Room,
        need: Amount,
        on: Mapping[int, Sequence[Yielding]],
        most: int,
        light: bool = False,
        where: Container[int] | None = None,
        mig: str = "",
    ) -> None:
        self.room = room
        self.mig = mig
        self.need = need
        self.on = on
        self.most = most
        self.light = light
        self._stale: dict[int, None] = {}
        free = dict.fromkeys(room.free.ascending(need[0])) if need[0] else dict.fromkeys(room.serving())
        fits = [position for position in free if self._fits(position, ())]
        least = dict.fromkeys(fits, 0)
        self._heap = [
            Offer(False, 0 if position in least else self._cheapest(position), 0, -1, position, ())
            for position in {**least, **dict.fromkeys(on)}
            if room.serves(position) and (where is None or position in where)
        ]
        self._now = {offer.position: offer for offer in self._heap}
        heapify(self._heap)

    def touch(self, positions: Iterable[int]) -> None:
        """What these nodes have has changed; to be brought in by `refresh`."""
        self._stale.update(dict.fromkeys(positions))

    def refresh(self) -> None:
        """Bring in what changed, after the room."""
        for position in self._stale:
            if self.room.serves(position):
                offer = self._now[position] = self._least(position)
                heappush(self._heap, offer)
        self._stale.clear()

    def cheapest(self) -> Iterator[Offer]:
        """Offers in order; what was read stays."""
        heap, read = self._heap, []
        try:
            while heap:
                offer = heappop(heap)
                if self._now.get(offer.position) is not offer:
                    continue
                if offer.runs_count < 0:  # only what it costs at least
                    best = self._best(offer.position)
                    if best is None:
                        del self._now[offer.position]
                    else:
                        self._now[offer.position] = best
                        heappush(heap, best)
                    continue
                read.append(offer)
                yield offer
        finally:
            for offer in read:
                heappush(heap, offer)

    def _least(self, position: int) -> Offer:
        """What the node offers at best."""
        least = 0 if self._fits(position, ()) else self._cheapest(position)
        return Offer(False, least, 0, -1, position, ())

    def _cheapest(self, position: int) -> int:
        """What the cheapest of its runs weighs."""
        runs = self.on.get(position)
        if not runs:
            return 0
        return min(map(_CHARGE, runs)) if self.light else runs[0].lost

    def _best(self, position: int) -> Offer | None:
        if self._fits(position, ()):
            return Offer(False, 0, 0, 0, position, ())
        runs = self.on.get(position)
        if not runs or not self._fits(position, runs):
            return None
        if len(runs) <= TRIED_ON_NODE:
            return self._best_of(position, runs)
        denser = sorted(runs, key=lambda run: (-_gpus_on(run, position), run.cost))
        return min(self._offer(position, self._some(position, some)) for some in (runs, denser))

    def _best_of(self, position: int, runs: Sequence[Yielding]) -> Offer | None:
        """The best of all sets of these runs. Of more runs none is better than of fewer if the least that they weigh
        is more already."""
        weights = sorted(run.charge if self.light else run.lost for run in runs)
        best: Offer | None = None
        for count in range(1, len(runs) + 1):
            if best is not None and not best.over and sum(weights[:count]) > best.weight:
                return best
            for some in combinations(runs, count):
                offer = self._offer(position, some)
                if (best is None or offer < best) and self._fits(position, some):
                    best = offer
        return best

    def _offer(self, position: int, runs: tuple[Yielding, ...]) -> Offer:
        lost, charge = sum(run.lost for run in runs), sum(run.charge for run in runs)
        first, second = (charge, lost) if self.light else (lost, charge)
        return Offer(charge > self.most, first, second, len(runs), position, runs)

    def _fits(self, position: int, runs: Sequence[Yielding]) -> bool:
        return self.room.fits(position, runs, self.need) and (
            not self.mig or self.room.holds_instance(position, self.mig, runs)
        )

    def _some(self, position: int, runs: Sequence[Yielding]) -> tuple[Yielding, ...]:
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
    if asked.is_part:  # of a MIG instance a count of GPUs tells nothing: partitioned ones have none whole
        return (0 if asked.mig else 1, *asked.part(0)), max(asked.nodes, 1)
    if asked.nodes == 0 and asked.gpus > size > 0:
        return (size, *asked.part(size)), -(-asked.gpus // size)
    gpus = asked.gpus // max(asked.nodes, 1)
    return (gpus, *asked.part(gpus)), max(asked.nodes, 1)


def _gpus_on(run: Yielding, position: int) -> int:
    return sum(gpus for at, gpus in run.places if at == position)
