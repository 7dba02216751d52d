# SPDX-License-Identifier: Apache-2.0
"""An engine without machines: runs last as long as they are expected to, in whatever time the clock tells.

Used by replay, forecast and tests; the clock is the loop's, so in virtual time it costs nothing to wait. A run of an
elastic job does twice the work with twice the tasks: `expected_us` is what it takes with its least number.
"""

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from leitstand.core.facts import Observation, RunEnded, RunResized, RunStarted
from leitstand.runtime.ports import Order, ResizeRun, StartRun


class _Work(NamedTuple):
    """What an elastic run has left at `since_us`, in tasks × µs, with so many tasks; over at `limit_us` in any case.
    `number`: of the last order to go on with others."""

    left: int
    since_us: int
    tasks: int
    limit_us: int
    number: int = 0

    def resized(self, at_us: int, tasks: int) -> "_Work":
        left = max(self.left - self.tasks * (at_us - self.since_us), 0)
        return self._replace(left=left, since_us=at_us, tasks=tasks)

    def end(self, run: str) -> RunEnded:
        ends_us = self.since_us - (-self.left // self.tasks)
        if ends_us <= self.limit_us:
            return RunEnded(run, ends_us, "exited", 0)
        return RunEnded(run, self.limit_us, "time_limit")


class SimulatedEngine:
    """Starts and resizes at once. A run ends after `expected_us` with exit code 0, or at its time limit, or when it is
    stopped."""

    def __init__(self) -> None:
        self._due: list[tuple[int, int, str]] = []  # heap of (time, order of sending, run)
        self._reports: list[RunStarted | RunResized] = []
        self._live: dict[str, RunEnded] = {}  # the end each run will have
        self._work: dict[str, _Work] = {}  # of elastic runs
        self._sent = 0

    def next_time(self) -> int | None:
        if self._reports:
            return self._reports[0].at_us
        while self._due and self._due[0][2] not in self._live:
            heappop(self._due)  # stopped before
        return self._due[0][0] if self._due else None

    def take(self, now: int) -> Sequence[Observation]:
        observations: list[Observation] = list(self._reports)
        self._reports.clear()
        while self._due and self._due[0][0] <= now:
            due_us, _, run = heappop(self._due)
            ended = self._live.get(run)
            if ended is not None and (ended.outcome == "stopped" or due_us == ended.at_us):
                del self._live[run]
                self._work.pop(run, None)
                stopped = ended.outcome == "stopped"  # which takes effect when it is decided
                observations.append(RunEnded(run, now, "stopped") if stopped else ended)
        return observations

    def send(self, orders: Sequence[Order]) -> None:
        for order in orders:
            if isinstance(order, StartRun):
                self._start(order, order.placed_us)
            elif isinstance(order, ResizeRun):
                self._resize(order)
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
        if order.nodes_most:
            steps = order.steps or ((at, len(order.tasks)),)
            first_us, least = steps[0]
            work = _Work(order.expected_us * least, first_us, least, first_us + order.max_duration_us)
            for at_us, tasks in steps[1:]:
                work = work.resized(at_us, tasks)
            self._work[run], ended = work, work.end(run)
        self._live[run] = ended
        heappush(self._due, (ended.at_us, self._sent, run))
        self._reports.append(RunStarted(run, at))

    def _resize(self, order: ResizeRun) -> None:
        run, work = order.run, self._work.get(order.run)
        if work is None or self._live[run].outcome == "stopped":
            return
        if order.number > work.number:
            work = work.resized(max(order.ordered_us, work.since_us), len(order.tasks))
            self._work[run] = work._replace(number=order.number)
            self._live[run] = ended = work.end(run)
            self._sent += 1
            heappush(self._due, (ended.at_us, self._sent, run))
        self._reports.append(RunResized(run, order.number, work.since_us))

    def _stop(self, run: str) -> None:
        ended = self._live.get(run)
        if ended is None:
            return
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
