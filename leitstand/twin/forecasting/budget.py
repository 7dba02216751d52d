# SPDX-License-Identifier: Apache-2.0
"""How much of a core a background process may use. Called by `leitstand.app.forecaster`, often."""

import time
from collections.abc import Callable
from typing import Final

BURST_S: Final = 0.2  # CPU time that may be saved up
OWED_S: Final = 1e-6  # that nobody sleeps for: the next call counts it
SLEEP_MAX_S: Final = 5.0  # at once, so that whoever stops the process need not wait for long


class Budget:
    """A `share` (0 to 1] of one core, by the process's own CPU time; whoever used more sleeps the rest."""

    def __init__(
        self,
        share: float,
        used: Callable[[], float] = time.process_time,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._share = share
        self._used_of, self._clock, self._sleep = used, clock, sleep
        self._used_s, self._at_s = used(), clock()
        self._credit_s = BURST_S

    def spend(self) -> None:
        """Return once what was used is within the share again."""
        self._account()
        while self._credit_s < -OWED_S:
            self._sleep(min(-self._credit_s / self._share, SLEEP_MAX_S))
            self._account()

    def _account(self) -> None:
        used_s, at_s = self._used_of(), self._clock()
        earned_s = self._share * (at_s - self._at_s)
        self._credit_s = min(self._credit_s + earned_s, BURST_S) - (used_s - self._used_s)
        self._used_s, self._at_s = used_s, at_s
