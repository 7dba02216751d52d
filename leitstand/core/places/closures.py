# SPDX-License-Identifier: Apache-2.0
"""When which nodes of one pool are closed: its maintenance windows by position, and what they take from the capacity.
Kept by `leitstand.core.maintenance` with every fact; read by the timeline (a closed node has nothing), by the fleet
and by the counts of the fair plan (C(t): what is in service, less known windows)."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from leitstand.core.places.fit import WHOLE_MILLI, Availability, positions_of
from leitstand.core.places.steps import INFINITY

Span = tuple[int, int]  # from, until; INFINITY for an open end


class Lack(NamedTuple):
    """In [from_us, until_us) the pool has so much less than it has now, or more if `charge` is negative."""

    charge: int
    from_us: int
    until_us: int


class Closures:
    """See the module. `mask`: nodes with a window, begun or to come; `down`: those in one that has begun."""

    __slots__ = ("_begun", "_closed", "_losses", "_spans", "_windows", "down", "mask")

    def __init__(self) -> None:
        self.mask = 0
        self.down = 0
        self._windows: dict[str, tuple[int, Span]] = {}
        self._begun: dict[str, None] = {}
        self._spans: dict[int, list[Span]] = {}  # by position, ascending, apart from each other
        self._losses: dict[Span, int] | None = None  # worked out when asked for,
        self._closed: int | None = None  # and so is this

    def copy(self) -> "Closures":
        """Another one of the same content, to ask what would be."""
        made = Closures()
        made._windows, made._begun = dict(self._windows), dict(self._begun)
        made._derive()
        return made

    # ── change ────────────────────────────────────────────────────────────────────────────────────────────────────
    def put(self, window: str, positions: Iterable[int], span: Span) -> None:
        """The window closes these nodes in that span, once it has begun from then on at the latest."""
        mask = 0
        for position in positions:
            mask |= 1 << position
        self._windows[window] = mask, span
        self._derive()

    def begin(self, window: str) -> None:
        """The window has begun."""
        self._begun[window] = None
        self._derive()

    def drop(self, window: str) -> None:
        """The window is over, or is not to be."""
        self._windows.pop(window, None)
        self._begun.pop(window, None)
        self._derive()

    def forget(self) -> None:
        """Nodes came, went or have other amounts: what windows take is to be worked out again."""
        self._losses = self._closed = None

    def _derive(self) -> None:
        self.mask = self.down = 0
        self.forget()
        spans: dict[int, list[Span]] = {}
        for window, (mask, span) in self._windows.items():
            self.mask |= mask
            if window in self._begun:
                self.down |= mask
            for position in positions_of(mask):
                spans.setdefault(position, []).append(span)
        self._spans = {position: _apart(found) for position, found in spans.items()}

    # ── questions ─────────────────────────────────────────────────────────────────────────────────────────────────
    def spans(self, position: int) -> list[Span]:
        """When the node is closed, ascending."""
        return self._spans.get(position, _OPEN)

    def within(self, from_us: int, until_us: int) -> int:
        """The nodes that are closed at a time in [from_us, until_us)."""
        mask = 0
        for nodes, (begin_us, end_us) in self._windows.values():
            if begin_us < until_us and end_us > from_us:
                mask |= nodes
        return mask

    def cut(self, positions: Iterable[int], start_us: int, until_us: int) -> int:
        """When a run on these nodes from `start_us` on is over, at its limit `until_us` or when a node closes."""
        if self.mask:
            for position in positions:
                for from_us, open_us in self._spans.get(position, _OPEN):
                    if open_us > start_us:
                        until_us = min(until_us, max(from_us, start_us))
        return until_us

    def losses(self, whole: Availability) -> dict[Span, int]:
        """What windows take of a pool that has `whole` if nothing runs: span → charge; spans may overlap."""
        if self._losses is None:
            found: dict[Span, int] = {}
            for position, charge in _charges(whole, self.mask):
                for span in self._spans[position]:
                    found[span] = found.get(span, 0) + charge
            self._losses = found
        return self._losses

    def closed(self, whole: Availability) -> int:
        """How much of the pool is in windows that have begun."""
        if self._closed is None:
            self._closed = sum(charge for _, charge in _charges(whole, self.down))
        return self._closed

    def lost(self, whole: Availability, at_us: int) -> int:
        """How much of the pool is closed then."""
        if not self.mask:
            return 0
        found = self.losses(whole).items()
        return sum(charge for (from_us, until_us), charge in found if from_us <= at_us < until_us)

    def lacks(self, whole: Availability, now: int) -> list[Lack]:
        """How the capacity of later times differs from that of `now`."""
        if not self.mask:
            return []
        found = []
        for (from_us, until_us), charge in self.losses(whole).items():
            if from_us > now:
                found.append(Lack(charge, from_us, until_us))
            elif now < until_us < INFINITY:
                found.append(Lack(-charge, until_us, INFINITY))
        return found


def lacking(lacks: Iterable[Lack], at_us: int) -> int:
    """How much less there is then than now."""
    return sum(one.charge for one in lacks if one.from_us <= at_us < one.until_us)


def _charges(whole: Availability, mask: int) -> Iterator[tuple[int, int]]:
    """The nodes of the mask that are in service, with what each counts for."""
    serving = 0
    for nodes in whole.levels:
        serving |= nodes
    for position in positions_of(mask & serving):
        gpus = whole.count(position) * WHOLE_MILLI
        yield position, gpus if whole.size or whole.slots is not None else whole.cpus_milli[position]


def _apart(spans: list[Span]) -> list[Span]:
    """The same times as spans that do not touch."""
    spans.sort()
    found = [spans[0]]
    for from_us, until_us in spans[1:]:
        if from_us <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], until_us)
        else:
            found.append((from_us, until_us))
    return found


_OPEN: list[Span] = []
