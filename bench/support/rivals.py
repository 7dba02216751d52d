# SPDX-License-Identifier: Apache-2.0
"""Other disciplines on the same record: FIFO, shortest first by true or predicted length, EASY backfill. Called by
bench/months.py; shares no code with the core.

Nodes, placement and order of events are those of the replay: what ends at t is free before what arrives at t queues; a
job goes to the tightest node that holds it, lowest position on ties, a larger one to whole free nodes of the largest
size and, with what is left over, to the tightest other. Nobody is ever stopped.
"""

import time
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Final

from leitstand.twin.studies.playing import Played
from leitstand.twin.studies.record import Record

Places = list[tuple[int, int]]  # position, GPUs

NEWEST_PART: Final = 0.2  # of a prediction: the length of the last job of its kind
UNKNOWN_US: Final = 3_600_000_000  # predicted before any job has ended


class Fleet:
    """Free GPUs by position; `size`: of the largest node; `levels[n]`: bit mask of the nodes with n free."""

    def __init__(self, free: list[int], size: int) -> None:
        self.free = list(free)
        self.size = size
        self.levels = [0] * (self.size + 1)
        for position, gpus in enumerate(free):
            self.levels[gpus] |= 1 << position

    def find(self, gpus: int) -> Places | None:
        """Where a job of so many GPUs goes, or None."""
        if gpus <= self.size:
            position = self._tightest(gpus, 0)
            return None if position < 0 else [(position, gpus)]
        whole, rest = divmod(gpus, self.size)
        empty = self.levels[self.size]
        if empty.bit_count() < whole:
            return None
        places: Places = []
        chosen = 0
        for _ in range(whole):
            lowest = empty & -empty
            places.append((lowest.bit_length() - 1, self.size))
            empty ^= lowest
            chosen |= lowest
        if rest:
            position = self._tightest(rest, chosen)
            if position < 0:
                return None
            places.append((position, rest))
        return places

    def _tightest(self, gpus: int, chosen: int) -> int:
        for level in self.levels[gpus:]:
            open_ = level & ~chosen
            if open_:
                return (open_ & -open_).bit_length() - 1
        return -1

    def change(self, places: Places, sign: int) -> None:
        """Give (1) or take (-1) these GPUs."""
        for position, gpus in places:
            bit = 1 << position
            self.levels[self.free[position]] ^= bit
            self.free[position] += sign * gpus
            self.levels[self.free[position]] |= bit


def empty(record: Record) -> Fleet:
    """Its nodes, with nothing on them."""
    sizes = [gpus for gpus, _ in record.nodes]
    return Fleet(sizes, max(sizes))


@dataclass
class History:
    """Predicted lengths, as in Helios a mean that leans to the newest: of jobs of the same tenant and size that have
    ended, else of the same tenant, else of all (the recorded jobs name no users)."""

    means: dict[tuple[int, ...], float] = field(default_factory=dict)

    def learn(self, tenant: int, gpus: int, duration_us: int) -> None:
        for key in ((tenant, gpus), (tenant,), ()):
            mean = self.means.get(key, duration_us)
            self.means[key] = mean + NEWEST_PART * (duration_us - mean)

    def predict_us(self, tenant: int, gpus: int) -> float:
        means = self.means
        return means.get((tenant, gpus)) or means.get((tenant,)) or means.get((), UNKNOWN_US)


class Rival:
    """One discipline at work: `queues` by size, each in the order of the discipline."""

    def __init__(self, record: Record) -> None:
        self.fleet = empty(record)
        self.gpus: list[int] = record.gpus.tolist()
        self.tenant: list[int] = record.tenant.tolist()
        self.duration: list[int] = record.duration_us.tolist()
        self.queues: dict[int, list[tuple[float, int]]] = {}
        self.running: list[tuple[int, int]] = []  # heap of (end, row)
        self.places: dict[int, Places] = {}
        self.history = History()
        self.played = Played.empty(len(record))

    def start(self, now: int, row: int, places: Places) -> None:
        self.fleet.change(places, -1)
        self.places[row] = places
        self.played.start_us[row] = now
        heappush(self.running, (now + self.duration[row], row))

    def end(self, now: int, row: int) -> None:
        self.fleet.change(self.places.pop(row), 1)
        self.history.learn(self.tenant[row], self.gpus[row], self.duration[row])
        played = self.played
        played.end_us[row] = now
        played.runs.append((row, int(played.start_us[row]), now))

    def heads(self) -> list[tuple[tuple[float, int], int, int]]:
        """Heap of the first of every size: (key, size, its place in the queue)."""
        heads = [(queue[0], gpus, 0) for gpus, queue in self.queues.items() if queue]
        heapify(heads)
        return heads


Rank = Callable[[Rival, int], float]
RANKS: Final[dict[str, Rank]] = {
    "fifo-strict": lambda rival, row: 0,
    "fifo-greedy": lambda rival, row: 0,
    "sjf": lambda rival, row: rival.duration[row],
    "predicted": lambda rival, row: (
        rival.history.predict_us(rival.tenant[row], rival.gpus[row]) * rival.gpus[row]
    ),
    "easy": lambda rival, row: 0,
}


def simulate(record: Record, discipline: str) -> Played:
    """Every start and end of the record under one of RANKS; `predicted` orders by predicted GPU time, as of the
    submission. `fifo-greedy` passes over what does not fit, `easy` backfills what does not delay the head, the others
    wait for their head."""
    begun_s = time.process_time()
    rival, rank = Rival(record), RANKS[discipline]
    plan = {"easy": Easy(rival).plan, "fifo-greedy": lambda now: in_order(rival, now, strict=False)}.get(
        discipline, lambda now: in_order(rival, now, strict=True)
    )
    submits: list[int] = record.submit_us.tolist()
    most = max_gpus(record)
    number = 0
    while number < len(submits) or rival.running:
        ends = rival.running[0][0] if rival.running else submits[number]
        now = min(ends, submits[number]) if number < len(submits) else ends
        while rival.running and rival.running[0][0] == now:
            rival.end(now, heappop(rival.running)[1])
        while number < len(submits) and submits[number] == now:
            if rival.gpus[number] > most:
                rival.played.rejected.append(number)
            else:
                insort(rival.queues.setdefault(rival.gpus[number], []), (rank(rival, number), number))
            number += 1
        plan(now)
    assert not any(rival.queues.values()), "jobs never started"
    rival.played.cpu_s = time.process_time() - begun_s
    return rival.played


def max_gpus(record: Record) -> int:
    """The largest job that the empty fleet holds."""
    whole = empty(record)
    return max(gpus for gpus in range(1, record.capacity + 1) if whole.find(gpus))


def in_order(rival: Rival, now: int, *, strict: bool) -> None:
    """Place from the head; where a job does not fit, stop (strict) or pass over all of its size."""
    heads = rival.heads()
    while heads:
        (_, row), gpus, _ = heads[0]
        places = rival.fleet.find(gpus)
        if places is None:
            if strict:
                return
            heappop(heads)
            continue
        heappop(heads)
        queue = rival.queues[gpus]
        del queue[0]
        rival.start(now, row, places)
        if queue:
            heappush(heads, (queue[0], gpus, 0))


class Easy:
    """EASY backfill with true limits. The head gets the earliest places that it can have; others start in any order
    of arrival if they end by then, or leave those places alone.

    With true limits that time stands until the head starts: what is backfilled is gone by then or beside it.
    """

    def __init__(self, rival: Rival) -> None:
        self.rival = rival
        self.head = -1
        self.shadow_us = 0
        self.spare = rival.fleet  # what nobody has at that time, the head served

    def plan(self, now: int) -> None:
        rival = self.rival
        while True:
            first = min((queue[0] for queue in rival.queues.values() if queue), default=None)
            if first is None:
                return
            row = first[1]
            places = rival.fleet.find(rival.gpus[row])
            if places is None:
                break
            del rival.queues[rival.gpus[row]][0]
            rival.start(now, row, places)
        if self.head != row:
            self._reserve(row)
        self._backfill(now)

    def _reserve(self, row: int) -> None:
        """The earliest time at which the head fits, and what is left beside it then."""
        rival = self.rival
        then, ends, at = Fleet(rival.fleet.free, rival.fleet.size), sorted(rival.running), 0
        places = None
        while places is None:
            end = ends[at][0]
            while at < len(ends) and ends[at][0] == end:
                then.change(rival.places[ends[at][1]], 1)
                at += 1
            places = then.find(rival.gpus[row])
        then.change(places, -1)
        self.head, self.shadow_us, self.spare = row, end, then

    def _backfill(self, now: int) -> None:
        rival, left_us = self.rival, self.shadow_us - now
        beside: Fleet | None = None  # what is free and stays free of the head's places
        heads = rival.heads()
        while heads:
            _, gpus, at = heappop(heads)
            queue = rival.queues[gpus]
            places = rival.fleet.find(gpus)
            if places is None:
                continue
            row = queue[at][1]
            if row == self.head:
                at += 1
            elif rival.duration[row] <= left_us:
                del queue[at]
                rival.start(now, row, places)
                if beside is not None:
                    beside = self._beside()
            else:
                if beside is None:
                    beside = self._beside()
                places = beside.find(gpus)
                if places is None:  # of this size only what ends in time can start
                    at += 1
                    while at < len(queue) and rival.duration[queue[at][1]] > left_us:
                        at += 1
                else:
                    del queue[at]
                    rival.start(now, row, places)
                    beside.change(places, -1)
                    self.spare.change(places, -1)
            if at < len(queue):
                heappush(heads, (queue[at], gpus, at))

    def _beside(self) -> Fleet:
        fleet = self.rival.fleet
        return Fleet([min(pair) for pair in zip(fleet.free, self.spare.free, strict=True)], fleet.size)
