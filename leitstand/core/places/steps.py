# SPDX-License-Identifier: Apache-2.0
"""The future of nodes as steps, and the search over all of them at once. Called by the timeline only.

A `Profile` is one node: from each of its times on so much is free, until the next. A `Grid` holds the profiles of a
pool as arrays, a row for each node, so that "when do n nodes have room for this, for so long" is a dozen operations on
arrays instead of a walk over thousands of nodes. Times and amounts are int64; INFINITY is far below its end.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from leitstand.core.facts import Resources
from leitstand.core.places.fit import WHOLE_MILLI

INFINITY: Final = 2**62  # µs: never ends

COLOCATED_MAX: Final = 64  # tasks of a gang that may share a node, up to which they are counted exactly

Amount = tuple[int, int, int]  # GPUs, cpus_milli, memory_mib
Change = tuple[int, int, int, int]  # from this time on so much more is free

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]


class Profile(NamedTuple):
    """What is free on one node: `free[i]` from `times[i]` to `times[i + 1]`, the last for ever, nothing below 0.

    `times[0]` is when it was worked out, `stale_us` when it must be again. `lows[i]`: the least of `free[: i + 1]`.
    `short`: at some time more is reserved than will be there.
    """

    times: list[int]
    free: list[Amount]
    lows: list[Amount]
    stale_us: int
    short: bool

    def low(self, until_us: int) -> Amount:
        """The least that is free from `times[0]` until then."""
        return self.lows[bisect_left(self.times, until_us, 1) - 1]

    def low_with(self, until_us: int, given: Sequence[tuple[int, Amount]]) -> Amount:
        """The same, if so much more were free until these times, each of which is one of `times` or INFINITY."""
        low_gpus = low_cpus = low_memory = INFINITY
        for at_us, (gpus, cpus_milli, memory_mib) in zip(self.times, self.free, strict=True):
            if at_us >= until_us and low_gpus < INFINITY:
                break
            for end_us, more in given:
                if at_us < end_us:
                    gpus, cpus_milli, memory_mib = gpus + more[0], cpus_milli + more[1], memory_mib + more[2]
            low_gpus, low_cpus = min(low_gpus, gpus), min(low_cpus, cpus_milli)
            low_memory = min(low_memory, memory_mib)
        return low_gpus, low_cpus, low_memory

    def least_gpus(self, from_us: int, until_us: int) -> int:
        """The fewest GPUs that are free in this span, which is not empty and begins after `times[0]`."""
        times = self.times
        first = bisect_right(times, from_us) - 1
        return min(gpus for gpus, _, _ in self.free[first : bisect_left(times, until_us)])


def profile(now: int, free: Amount, changes: list[Change], stale_us: int) -> Profile:
    """Sum up changes, in any order, after `free` of `now`."""
    changes.sort()
    gpus, cpus_milli, memory_mib = free
    times = [now]
    steps = [free]
    for at_us, more_gpus, more_cpus, more_memory in changes:
        gpus += more_gpus
        cpus_milli += more_cpus
        memory_mib += more_memory
        step = (gpus, cpus_milli, memory_mib)
        if at_us <= times[-1]:
            steps[-1] = step
        else:
            times.append(at_us)
            steps.append(step)
    short = False
    lows = []
    low_gpus, low_cpus, low_memory = steps[0]
    for index, (gpus, cpus_milli, memory_mib) in enumerate(steps):
        if gpus < 0 or cpus_milli < 0 or memory_mib < 0:
            short = True
            gpus, cpus_milli, memory_mib = max(gpus, 0), max(cpus_milli, 0), max(memory_mib, 0)
            steps[index] = (gpus, cpus_milli, memory_mib)
        if gpus < low_gpus:
            low_gpus = gpus
        if cpus_milli < low_cpus:
            low_cpus = cpus_milli
        if memory_mib < low_memory:
            low_memory = memory_mib
        lows.append((max(low_gpus, 0), max(low_cpus, 0), max(low_memory, 0)))
    if len(times) > 1 and times[1] < stale_us:
        stale_us = times[1]
    return Profile(times, steps, lows, stale_us, short)


class Demand(NamedTuple):
    """A condition that is necessary for a gang to find places, and that decides when it may newly find some: over all
    `shapes`, at least `pairs` pairs of a node and a shape that fits on it. No shapes: nothing is known."""

    pairs: int
    shapes: tuple[Amount, ...]


class Where(NamedTuple):
    """What is known of where a gang may go. `colocate`: its tasks may share a node; `within`: bit mask of the nodes
    that it may have; `size`: GPUs of the largest of them, 0: not known; `domain`: a number for each node, if all of it
    must be on nodes with the same."""

    colocate: bool = True
    within: int = -1
    size: int = 0
    domain: Sequence[int] | None = None


ANYWHERE: Final = Where()


def demands(asked: Resources, largest: int, where: Where) -> list[Demand]:
    """What a gang needs of nodes with at most `largest` GPUs."""
    gpus = asked.gpus
    if asked.mig:  # any node may be the one that was missing; partitioned GPUs come free at other times
        count = max(asked.nodes, 1)
        return [Demand(1, ((1, asked.cpus_milli // count, asked.memory_mib // count),))]
    size = where.size or largest
    if asked.nodes == 0:
        if not where.size and (asked.gpu_type or asked.level or asked.slice_level):
            return [Demand(1, ())]  # the largest node that it may have decides how it is cut
        if gpus > size > 0:
            whole, rest = divmod(gpus, size)
            needs = [Demand(whole, ((size, *asked.part(size)),))]
            if rest:
                needs.append(Demand(whole + 1, ((rest, *asked.part(rest)),)))
            return needs
    count = max(asked.nodes, 1)
    gpus, cpus_milli, memory_mib = gpus // count, asked.cpus_milli // count, asked.memory_mib // count
    per_gpu = WHOLE_MILLI // asked.gpu_milli if asked.gpu_milli else 0  # tasks that share one
    if count == 1 or not where.colocate:
        return [Demand(count, ((gpus or min(per_gpu, 1), cpus_milli, memory_mib),))]
    most = count
    if gpus or per_gpu:
        most = max(1, min(most, size // gpus if gpus else size * per_gpu))
    if most > COLOCATED_MAX:
        return [Demand(count, ())]
    # m tasks on one node are m pairs: the shape of one task fits, that of two, … that of m
    shapes = []
    for tasks in range(1, most + 1):
        held = -(-tasks // per_gpu) if per_gpu else tasks * gpus
        shapes.append((held, tasks * cpus_milli, tasks * memory_mib))
    return [Demand(count, tuple(shapes))]


class Seen(NamedTuple):
    """What is free throughout a window, by position: amounts, and a bit mask of positions for each number of GPUs."""

    levels: list[int]
    gpus: list[int]
    cpus_milli: list[int]
    memory_mib: list[int]


class Spans(NamedTuple):
    """Parallel arrays: node `nodes[i]` has room for a window that begins at any time of [firsts[i], lasts[i]]."""

    nodes: _Ints
    firsts: _Ints
    lasts: _Ints


class Grid:
    """Profiles of all nodes of a pool. A row ends with at least one place at INFINITY that holds nothing."""

    def __init__(self) -> None:
        self.rows = 0
        self.times: _Ints = np.full((0, 2), INFINITY, np.int64)
        self.free: _Ints = np.full((3, 0, 2), -1, np.int64)  # of GPUs, CPU, memory
        self.stale: _Ints = np.zeros(0, np.int64)  # when a row must be worked out anew; 0: at once

    def grow(self, rows: int) -> None:
        """Have rows for so many nodes."""
        room, steps = self.times.shape
        if rows > room:
            self._reshape(max(rows, 2 * room), steps)
        self.rows = rows

    def _reshape(self, rows: int, steps: int) -> None:
        times = np.full((rows, steps), INFINITY, np.int64)
        free = np.full((3, rows, steps), -1, np.int64)
        stale = np.zeros(rows, np.int64)
        old_rows, old_steps = self.times.shape
        times[:old_rows, :old_steps] = self.times
        free[:, :old_rows, :old_steps] = self.free
        stale[:old_rows] = self.stale
        self.times, self.free, self.stale = times, free, stale

    def put(self, position: int, known: Profile) -> None:
        """Write the row of one node."""
        count = len(known.times)
        if count >= self.times.shape[1]:
            self._reshape(self.times.shape[0], count + 1 + count // 2)
        self.times[position, :count] = known.times
        self.times[position, count:] = INFINITY
        self.free[:, position, :count] = np.array(known.free, np.int64).T
        self.free[:, position, count:] = -1
        self.stale[position] = known.stale_us

    def outdated(self, now: int) -> list[int]:
        """Positions whose rows do not hold now any more."""
        found: list[int] = np.flatnonzero(self.stale[: self.rows] <= now).tolist()
        return found

    def starts(
        self, needs: Sequence[Demand], window: tuple[int, int], serving: int, domain: Sequence[int] | None
    ) -> list[int]:
        """Times from `window[0]` on, ascending, at which all `needs` hold for a window of `window[1]` µs and one of
        them holds for more than just before. `serving`: bit mask of the nodes in service; `domain`: a number for each
        node, if the needs must be met within one."""
        if any(not need.shapes for need in needs):
            times = np.unique(np.maximum(self.times[: self.rows], window[0]))
            return [at for at in times.tolist() if at < INFINITY]
        inside = _unpacked(serving, self.rows)
        spans = [self._spans(need, window, inside) for need in needs]
        firsts = np.concatenate([span.firsts for span in spans])
        if len(firsts) == 0:
            return []
        times = np.unique(firsts)
        # A time within a domain becomes one number, so that all domains are counted in one sorted order.
        stride = len(times) + 1
        of_node = None if domain is None else np.asarray(domain, np.int64) * stride
        begins = [np.searchsorted(times, span.firsts) for span in spans]
        stops = [np.searchsorted(times, span.lasts, "right") for span in spans]
        if of_node is not None:
            begins = [begin + of_node[span.nodes] for begin, span in zip(begins, spans, strict=True)]
            stops = [stop + of_node[span.nodes] for stop, span in zip(stops, spans, strict=True)]
        keys = np.unique(np.concatenate(begins))
        met = np.ones(len(keys), np.bool_)
        for need, begin, stop in zip(needs, begins, stops, strict=True):
            running = np.searchsorted(np.sort(begin), keys, "right")
            running -= np.searchsorted(np.sort(stop), keys, "right")
            met &= running >= need.pairs
        found: list[int] = times[np.unique(keys[met] % stride)].tolist()
        return found

    def _spans(self, need: Demand, window: tuple[int, int], inside: _Bools) -> Spans:
        """When nodes have room for the shapes of a need."""
        all_spans = [self._spans_of(shape, window, inside) for shape in need.shapes]
        if len(all_spans) == 1:
            return all_spans[0]
        return Spans(*(np.concatenate(columns) for columns in zip(*all_spans, strict=True)))

    def _spans_of(self, shape: Amount, window: tuple[int, int], inside: _Bools) -> Spans:
        now, limit_us = window
        free = self.free[:, : self.rows]
        fits = (free[0] >= shape[0]) & inside[:, None]
        for amount, column in zip(shape[1:], free[1:], strict=True):
            if amount:
                fits &= column >= amount
        flat = fits.ravel()
        edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1  # a row ends unfit: begins and ends take turns
        if len(flat) and flat[0]:
            edges = np.concatenate((np.zeros(1, np.int64), edges))
        begins, ends = edges[::2], edges[1::2]
        times = self.times[: self.rows].ravel()
        firsts = np.maximum(times[begins], now)
        stops = times[ends]
        lasts = np.where(stops == INFINITY, INFINITY, stops - limit_us)
        kept = firsts <= lasts
        nodes = begins[kept] // fits.shape[1]
        return Spans(nodes, firsts[kept], lasts[kept])

    def seen(self, window: tuple[int, int], serving: int, most: int) -> Seen:
        """What is free throughout [window[0], window[1]) on all nodes, at most `most` GPUs."""
        from_us, until_us = window
        times = self.times[: self.rows]
        inside = (times[:, :-1] < until_us) & (times[:, 1:] > from_us)
        gpus, cpus_milli, memory_mib = np.where(inside, self.free[:, : self.rows, :-1], INFINITY).min(axis=2)
        gpus = np.minimum(gpus, most)
        serves = _unpacked(serving, self.rows)
        levels = [_packed((gpus == count) & serves) for count in range(most + 1)]
        masks = [(1 << count) - 1 for count in range(most + 1)]
        return Seen(
            levels, [masks[count] for count in gpus.tolist()], cpus_milli.tolist(), memory_mib.tolist()
        )


def _unpacked(mask: int, count: int) -> _Bools:
    """The lowest `count` bits of a mask."""
    raw = (mask & ((1 << count) - 1)).to_bytes(count + 7 >> 3, "little")
    return np.unpackbits(np.frombuffer(raw, np.uint8), count=count, bitorder="little").astype(np.bool_)


def _packed(bits: _Bools) -> int:
    return int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little")
