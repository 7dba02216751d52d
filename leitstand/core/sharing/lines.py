# SPDX-License-Identifier: Apache-2.0
"""A count over time, as steps. Called by what counts usage of the entitlement tree over time."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from leitstand.core.places.steps import INFINITY

Window = tuple[int, int]  # from, until
Steps = list[tuple[int, int]]  # (time, so much more from then on)

_Ints = npt.NDArray[np.int64]


class Line:
    """Usage as steps: `used[i]` from `times[i]` to `times[i + 1]`, the last for ever, nothing before the first."""

    __slots__ = ("times", "used")

    def __init__(self, changes: Steps) -> None:
        table = np.array(changes, np.int64).reshape(-1, 2)
        self.times, self.used = _summed(table[:, 0], table[:, 1])

    def add(self, charge: int, window: Window) -> None:
        """So much more (less, if negative) in the window."""
        first = self._cut(window[0])
        last = self._cut(window[1]) if window[1] < INFINITY else len(self.times)
        self.used[first:last] += charge

    def _cut(self, at_us: int) -> int:
        """The index of the step that begins then, made if there is none."""
        index = int(self.times.searchsorted(at_us))
        if index == len(self.times) or self.times[index] != at_us:
            self.times = np.insert(self.times, index, at_us)
            self.used = np.insert(self.used, index, self.used[index - 1] if index else 0)
        return index

    def at(self, at_us: int) -> int:
        """The use as of then."""
        index = int(self.times.searchsorted(at_us, "right"))
        return int(self.used[index - 1]) if index else 0

    def most(self, until_us: int) -> int:
        """The greatest use before then."""
        return int(self.used[: self.times.searchsorted(until_us)].max(initial=-INFINITY))

    def earliest(self, most: int, start: int, limit_us: int) -> int | None:
        """The first moment from `start` on from which at most `most` is used for `limit_us`; None: never."""
        over = self.used > most
        turns = np.flatnonzero(np.diff(over, prepend=False))  # over and not over take turns
        froms = np.maximum(np.concatenate(([start], self.times[turns[1::2]])), start)
        untils = self.times[turns[::2]]
        found = np.flatnonzero(untils - froms[: len(untils)] >= limit_us)
        if len(found):
            return int(froms[found[0]])
        return int(froms[-1]) if len(froms) > len(untils) else None

    def since(self, at_us: int) -> "Line":
        """What is left of it from then on."""
        first = max(int(self.times.searchsorted(at_us, "right")) - 1, 0)
        times, used = self.times[first:].copy(), self.used[first:].copy()
        times[0] = at_us
        return _of(times, used)

    def copy(self) -> "Line":
        """Another one that changes on its own."""
        return _of(self.times.copy(), self.used.copy())

    # ── sums ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def plus(self, other: "Line", sign: int = 1) -> "Line":
        """Both together; with the sign -1, without the other."""
        return total([self, other], [1, sign])

    def at_least(self, least: int) -> "Line":
        """The same, but nowhere less than that."""
        return _of(self.times, np.maximum(self.used, least))

    def rising(self, more: "Line") -> "Line":
        """Both together where `more` is anything, else nothing."""
        both = self.plus(more)
        at = np.maximum(more.times.searchsorted(both.times, side="right") - 1, 0)
        both.used[more.used[at] <= 0] = 0
        return both


def total(lines: Sequence[Line], signs: Sequence[int] = ()) -> Line:
    """All of them together, each with its sign; not one of them is changed."""
    times = np.concatenate([line.times for line in lines])
    steps = [np.diff(line.used, prepend=0) for line in lines]
    if signs:
        steps = [step * sign for step, sign in zip(steps, signs, strict=True)]
    return _of(*_summed(times, np.concatenate(steps)))


def _summed(times: _Ints, steps: _Ints) -> tuple[_Ints, _Ints]:
    """Times, each once and ascending, and the sum of all steps up to each."""
    order = np.argsort(times, kind="stable")
    times, used = times[order], np.cumsum(steps[order])
    last = np.ones(len(times), np.bool_)
    np.not_equal(times[1:], times[:-1], out=last[:-1])
    return times[last], used[last]


def _of(times: _Ints, used: _Ints) -> Line:
    line = Line.__new__(Line)
    line.times, line.used = times, used
    return line


def steps_of(charge: int, window: Window) -> Steps:
    """So much in the window."""
    from_us, until_us = window
    return [(from_us, charge), (until_us, -charge)] if until_us < INFINITY else [(from_us, charge)]
