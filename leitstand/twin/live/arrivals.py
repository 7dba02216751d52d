# SPDX-License-Identifier: Apache-2.0
"""The work of a watched twin as a source: round after round of jobs, each at its own instant. Called by the writer.

Where it goes on after a restart follows from time alone: what was submitted up to the last stamp of the journal was
taken by the cycle with that stamp, or an earlier one.
"""

import logging
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from leitstand.core.decision import Answer
from leitstand.core.facts import Observation, SubmitJob
from leitstand.runtime.loop import Settling
from leitstand.runtime.ports import Head

_log = logging.getLogger("leitstand.twin")


@dataclass(frozen=True, slots=True)
class Round:
    """Jobs with their times after the beginning of the round (µs, in order)."""

    after_us: list[int]
    asked: list[SubmitJob]


class Arrivals(Settling):
    """See the module. `rounds(n)`: the n-th round, counted from 0; each is `period_us` long, the first begins at
    `anchor_us`. What came up to `done_us` is not told again. `taken`: how many were told, `refused`: how many of
    these the core did not take, by why."""

    def __init__(self, rounds: Callable[[int], Round], period_us: int, anchor_us: int, done_us: int) -> None:
        self._rounds = rounds
        self._period_us = period_us
        self._anchor_us = anchor_us
        self._number = max((done_us - anchor_us) // period_us, 0)
        self._round = rounds(self._number)
        self._next = bisect_right(self._round.after_us, done_us - self._begin_us)
        self._told = 0
        self.taken = 0
        self.refused: Counter[str] = Counter()
        self._turn()

    @property
    def _begin_us(self) -> int:
        return self._anchor_us + self._number * self._period_us

    def next_time(self) -> int | None:
        return self._begin_us + self._round.after_us[self._next]

    def take(self, now: int) -> Sequence[Observation]:
        first = self._next
        self._next = bisect_right(self._round.after_us, now - self._begin_us, first)
        taken = self._round.asked[first : self._next]
        self._told = len(taken)
        self.taken += self._told
        self._turn()
        return taken

    def settle(self, answers: Sequence[Answer], head: Head) -> None:
        """Say of what is refused why, once for each reason."""
        for answer in answers if self._told else ():
            if not answer.refused:
                continue
            if answer.refused not in self.refused:
                _log.warning("work of the twin is refused: %s %s", answer.refused, answer.detail)
            self.refused[answer.refused] += 1

    def _turn(self) -> None:
        """On to a round in which something is left. Every round has jobs."""
        while self._next >= len(self._round.after_us):
            self._number += 1
            self._round = self._rounds(self._number)
            assert self._round.after_us, "a round without jobs"
            self._next = 0
