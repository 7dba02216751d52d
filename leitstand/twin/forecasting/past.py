# SPDX-License-Identifier: Apache-2.0
"""What a forecast knows of the past: how long jobs took, and what was submitted when. Fed with the facts of a journal
in order by whoever follows it; asked by `forks`.
"""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

import numpy as np
from msgspec.structs import replace

from leitstand.core import facts as f
from leitstand.core.state import State
from leitstand.core.units import DAY_US, HOUR_US
from leitstand.twin.forecasting.lengths import Lengths
from leitstand.twin.history import Moment
from leitstand.twin.truth import length_us

DAYS_KEPT: Final = 14
SUBMISSIONS_MAX: Final = 100_000  # the newest
BLOCK_US: Final = 6 * HOUR_US  # of the past, in one piece


class Past:
    """See the module. `lengths`: what jobs took."""

    def __init__(self) -> None:
        self.lengths = Lengths()
        self._submitted: list[f.JobSubmitted] = []
        self._at: list[int] = []  # when each of them was
        self._since_us: int | None = None  # all that was submitted from then on is known

    def note(self, at: int, fact: f.Fact, state: State) -> None:
        """Take up a fact that `state` is about to apply."""
        if isinstance(fact, f.RunEnded):
            took_us = length_us(fact, state)
            if took_us is not None:
                self.lengths.learn(state, state.jobs[state.runs[fact.run].job], took_us)
        elif isinstance(fact, f.JobSubmitted):
            if self._since_us is None:
                self._since_us = at
            if not fact.index and not fact.booking:  # of an array the first stands for all
                self._submitted.append(fact)
                self._at.append(at)
                if len(self._at) > 2 * SUBMISSIONS_MAX:
                    self._forget()

    def arrivals(self, from_us: int, until_us: int, chance: np.random.Generator) -> Iterator[Moment]:
        """What may be submitted in [from_us, until_us): each block of some hours is that of one of the last days at the
        same time of day; before the first submission there was nothing."""
        if self._since_us is None or self._since_us >= from_us:
            return
        begin_us = from_us
        while begin_us < until_us:
            shift_us = self._shift(from_us, begin_us, chance)
            end_us = min(begin_us + BLOCK_US, until_us)
            first = bisect_left(self._at, begin_us - shift_us)
            last = bisect_left(self._at, end_us - shift_us)
            for row in range(first, last):
                at = self._at[row] + shift_us
                yield Moment(at, 0, (_again(self._submitted[row], shift_us),))
            begin_us = end_us

    def _shift(self, from_us: int, begin_us: int, chance: np.random.Generator) -> int:
        """From how long before a block its submissions are taken."""
        assert self._since_us is not None, "something was submitted"
        ahead = -(-(begin_us + BLOCK_US - from_us) // DAY_US)  # so many days back it is over
        known = min((begin_us - self._since_us) // DAY_US, ahead + DAYS_KEPT - 1)
        return DAY_US * int(chance.integers(ahead, max(known, ahead) + 1))

    def _forget(self) -> None:
        del self._submitted[:-SUBMISSIONS_MAX], self._at[:-SUBMISSIONS_MAX]
        self._since_us = self._at[0]


def _again(fact: f.JobSubmitted, shift_us: int) -> f.JobSubmitted:
    """The same request so much later, on its own: nobody else's answer, and waiting for no job of the past."""
    return replace(
        fact,
        request="",
        request_digest="",
        after=(),
        held=False,
        begin_us=fact.begin_us and fact.begin_us + shift_us,
        deadline_us=fact.deadline_us and fact.deadline_us + shift_us,
    )
