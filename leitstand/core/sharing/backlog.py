# SPDX-License-Identifier: Apache-2.0
"""How much work lies before a pool, in charge × time: of runs until their limits, and of what waits. Kept by the
standing with every fact; read where a job chooses among pools.

Sums alone, so that every change and every question is O(1).
"""

from typing import Final

from leitstand.core.units import DAY_US

LONGEST_US: Final = 30 * DAY_US  # a job without a time limit counts for so long


class Backlog:
    """Charges in thousandths of a GPU, work in charge × µs. `work`: leaf → what waits there, `all_work` of all leaves;
    `waiting`: the charge of what waits; `running`: of what runs or counts as running."""

    __slots__ = ("_runs", "_until", "all_work", "running", "waiting", "work")

    def __init__(self) -> None:
        self.work: dict[str, int] = {}
        self.all_work = 0
        self.waiting = 0
        self.running = 0
        self._until = 0  # Σ charge × end
        self._runs: dict[str, tuple[int, int]] = {}  # job → (charge, end)

    @property
    def runs(self) -> int:
        """How many run, or count as running."""
        return len(self._runs)

    def wait(self, leaf: str, charge: int, limit_us: int) -> None:
        """A job waits for capacity."""
        work = charge * min(limit_us, LONGEST_US)
        self.work[leaf] = self.work.get(leaf, 0) + work
        self.all_work += work
        self.waiting += charge

    def leave(self, leaf: str, charge: int, limit_us: int) -> None:
        """It waits no more."""
        work = charge * min(limit_us, LONGEST_US)
        self.work[leaf] -= work
        self.all_work -= work
        self.waiting -= charge
        if not self.work[leaf]:
            del self.work[leaf]

    def run(self, job: str, charge: int, start_us: int, until_us: int) -> None:
        """The job runs, or counts as running, until then at the latest; said again, it replaces what was said."""
        self.end(job)
        until_us = min(until_us, start_us + LONGEST_US)
        self._runs[job] = charge, until_us
        self.running += charge
        self._until += charge * until_us

    def until_us(self, job: str) -> int:
        """When a job that runs, or counts as running, is over at the latest."""
        return self._runs[job][1]

    def end(self, job: str) -> None:
        """It runs no more, if it ran."""
        charge, until_us = self._runs.pop(job, (0, 0))
        self.running -= charge
        self._until -= charge * until_us

    def left(self, now: int) -> int:
        """The work that running jobs have left at `now` (µs), by their limits."""
        return max(self._until - self.running * now, 0)
