# SPDX-License-Identifier: Apache-2.0
"""Views that begin now, by their end. Called by the timeline, which keeps one of these for everybody who sees the same.

Many are asked for in one plan, one for every time limit. Two of them differ only on nodes where less is free from some
time between their ends on, so each is made from the nearest that ends sooner.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection
from typing import Final

from leitstand.core.places.fit import Availability
from leitstand.core.places.steps import Profile
from leitstand.core.places.window import Laid

VIEWS_MAX: Final = 256  # kept; beyond that all are made again


class Views:
    """From `now` on. `held`, `given`: bit masks of the nodes where less, and where more than what is free now is there;
    `profile`: the steps of such a node; `closed`: the nodes that close before then."""

    def __init__(
        self,
        now: int,
        free: Availability,
        held: int,
        given: Callable[[], int],
        profile: Callable[[int], Profile],
        closed: Callable[[int], int],
    ) -> None:
        self._free = free
        self._profile = profile
        self._closed = closed
        self._given = given
        first = Laid(free, self._look(now + 1), held, given())
        self._falls: list[tuple[int, int]] = []  # (time, position): where less may be free from then on
        self._seen: dict[int, None] = {}  # positions that views know of
        self._log: list[int] = []  # those that changed, in that order,
        self._noted = 0  # and how many of them are in the above
        for position in first.known():
            self._falls += self._note(position)
        self._falls.sort()
        first.close(closed(now + 1))
        self._ends = [now + 1]  # ascending
        self._views = {now + 1: (first, 0)}  # view, how much of the log it knows

    def touch(self, positions: Collection[int]) -> None:
        """Something changed there."""
        self._log += positions

    def until(self, until_us: int) -> Laid:
        """What is free throughout the time from now to then, for who has no reservation; not to be changed."""
        for position in dict.fromkeys(self._log[self._noted :]):
            for fall in self._note(position):
                insort(self._falls, fall)
        self._noted = len(self._log)
        until_us = max(until_us, self._ends[0])
        view, at = self._views.get(until_us, (None, 0))
        if view is None:
            view, at = self._longer(until_us)
        for position in dict.fromkeys(self._log[at:]):
            self._look_again(view, position)
        self._views[until_us] = view, len(self._log)
        return view

    def _longer(self, until_us: int) -> tuple[Laid, int]:
        """The view until then, from the nearest one that ends before."""
        if len(self._ends) >= VIEWS_MAX:
            del self._ends[1:]
            self._views = {end_us: self._views[end_us] for end_us in self._ends}
        index = bisect_right(self._ends, until_us)
        nearest_us = self._ends[index - 1]
        nearest, at = self._views[nearest_us]
        view = nearest.copy(self._look(until_us), self._seen)
        falls = self._falls[bisect_left(self._falls, (nearest_us,)) : bisect_left(self._falls, (until_us,))]
        for position in dict.fromkeys(position for _, position in falls):
            self._look_again(view, position)
        view.close(self._closed(until_us))
        self._ends.insert(index, until_us)
        return view, at

    def _look_again(self, view: Laid, position: int) -> None:
        if self._may_have(position):
            view.look_again(position)
        else:
            view.empty(position)

    def _may_have(self, position: int) -> bool:
        return bool(self._free.gpus[position] or self._given() >> position & 1)

    def _look(self, until_us: int) -> Callable[[int], tuple[int, int, int]]:
        profile = self._profile
        return lambda position: profile(position).low(until_us)

    def _note(self, position: int) -> list[tuple[int, int]]:
        """When less is free on a node than before; where no GPU is free now, views learn that when they are asked."""
        if not self._may_have(position):
            self._seen.pop(position, None)
            return []
        self._seen[position] = None
        known = self._profile(position)
        steps = zip(known.times[1:], known.lows[1:], known.lows, strict=False)
        return [(time, position) for time, low, before in steps if low != before]
