# SPDX-License-Identifier: Apache-2.0
"""An engine without machines: runs last as long as they are expected to, in whatever time the clock tells.

Used by replay, forecast and tests; the clock is the loop's, so in virtual time it costs nothing to wait.
"""

from collections.abc import Sequence
from heapq import heappop, heappush

from leitstand.core.facts import Observation, RunEnded, RunStarted
from leitstand.runtime.ports import Order, StartRun


class SimulatedEngine:
    """Starts at once. A run ends after `expected_us` with exit code 0, or at its time limit, or when it is stopped."""

    def __init__(self) -> None:
        self._due: list[tuple[int, int, str]] = []  # heap of (time, order of sending, run)
        self._started: list[RunStarted] = []
        self._live: dict[str, RunEnded] = {}  # the end each run will have
        self._sent = 0

    def next_time(self) -> int | None:
        if self._started:
            return self._started[0].at_us
        while self._due and self._due[0][2] not in self._live:
            heappop(self._due)  # stopped before
        return self._due[0][0] if self._due else None

    def take(self, now: int) -> Sequence[Observation]:
        observations: list[Observation] = list(self._started)
        self._started.clear()
        while self._due and self._due[0][0] <= now:
            ended = self._live.pop(heappop(self._due)[2], None)
            if ended is not None:
                observations.append(ended)
        return observations

    def send(self, orders: Sequence[Order]) -> None:
        for order in orders:
            if isinstance(order, StartRun):
                self._start(order, order.placed_us)
            else:
                self._stop(order.run)

    def _start(self, order: StartRun, at: int) -> None:
        run = order.run
        if run in self._live:
            return
        self._sent += 1
        if order.expected_us <= order.max_duration_us:
            ended = RunEnded(run, at + order.expected_us, "exited", 0)
        else:
            ended = RunEnded(run, at + order.max_duration_us, "time_limit")
        self._live[run] = ended
        heappush(self._due, (ended.at_us, self._sent, run))
        self._started.append(RunStarted(run, at))

    def _stop(self, run: str) -> None:
        ended = self._live.get(run)
        if ended is None:
            return
        # Clipped by the core to [started, now]: a stop takes effect when it is decided.
        self._live[run] = RunEnded(run, ended.at_us, "stopped")
        self._sent += 1
        heappush(self._due, (-(2**62), self._sent, run))

    def resume(self, runs: Sequence[StartRun]) -> None:
        """Runs that were under way end when they would have; ends that were lost are reported at once."""
        for order in runs:
            self._start(order, order.placed_us)

    def read_log(self, run: str, task: int, offset: int, limit: int) -> bytes:
        raise KeyError(f"run {run}: a simulated engine writes no logs")

    def close(self) -> None:
        pass
