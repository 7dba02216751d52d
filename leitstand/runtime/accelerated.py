# SPDX-License-Identifier: Apache-2.0
"""The clock of a twin that people watch: virtual time that goes on as the world's does, so many times faster.

Called by the writer of `leitstand up --twin`, in place of the live clock. Nothing that is due is ever late: time stops
at each due instant until the loop has decided what happens there. Where the loop cannot keep up, time lags behind the
speed that was asked for, what was lost of it is not made up, and `reached` tells how fast it really goes.
"""

import time
from collections import deque
from typing import Final

from leitstand.core.units import SECOND_US
from leitstand.runtime.clock import LiveClock
from leitstand.runtime.dial import FAR_US, Dial

SPEED_MAX: Final = 100_000.0
BEHIND_US: Final = SECOND_US  # of the world's time: what is made up by going on at once; more is lost
SAMPLE_US: Final = SECOND_US  # between two samples of the speed that is reached
SAMPLES: Final = 11


class AcceleratedClock(LiveClock):
    """Goes on from `last` (µs) at `speed`, however the clock of the machine is set meanwhile. `dial`: shows the time to
    other processes."""

    def __init__(self, last: int, speed: float, dial: Dial) -> None:
        super().__init__(last)
        self._speed = speed
        self._dial = dial
        self._at, self._from = last, _monotonic_us()  # it was `_at` at `_from` of the world's time
        self._samples: deque[tuple[int, int]] = deque([(self._from, last)], SAMPLES)

    def reached(self, at: int) -> float:
        """How many times faster than the world's this time went of late, if it is `at` now; the speed asked for, before
        anything is known."""
        (from_us, before), world_us = self._samples[0], _monotonic_us()
        passed_us = world_us - from_us
        if passed_us < SAMPLE_US:
            return self._speed
        return min((at - before) / passed_us, self._speed)

    def wait(self, due: int | None) -> int:
        now = self._now()
        until = FAR_US if due is None else max(due, self._stamp)
        shown = max(self._stamp, min(now, until))
        self._dial.set(shown, until, self._speed, self.reached(shown))
        timeout = None if due is None else max(0, due - now) / self._speed / SECOND_US
        for key, mask in self._selector.select(timeout):
            key.data(mask)
        now = self._now()
        if due is not None and now >= due:
            self._lose(now - max(due, self._stamp))
            now = due
        self._stamp = max(now, self._stamp + 1)
        self._sample()
        return self._stamp

    def _now(self) -> int:
        return self._shown(_monotonic_us())

    def _shown(self, world_us: int) -> int:
        return self._at + int((world_us - self._from) * self._speed)

    def _lose(self, behind_us: int) -> None:
        """What the loop is behind by more than it can make up soon did not happen."""
        lost_us = behind_us - int(BEHIND_US * self._speed)
        if lost_us > 0:
            self._at -= lost_us

    def _sample(self) -> None:
        world_us = _monotonic_us()
        if world_us - self._samples[-1][0] >= SAMPLE_US:
            self._samples.append((world_us, self._stamp))

    def close(self) -> None:
        """Time stands still until the next clock goes on with it."""
        self._dial.set(self._stamp, self._stamp, self._speed, self.reached(self._stamp))
        super().close()


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000
