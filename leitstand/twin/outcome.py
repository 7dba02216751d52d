# SPDX-License-Identifier: Apache-2.0
"""What became of the jobs of a replay: a tally over the facts as they are appended, and the numbers made of it.

Called by `leitstand.twin.replay`. Everything is counted in integer microseconds; a mean is one division of exact
integers, a percentile is the value of a job (nearest rank), and seconds appear in the result only.
"""

from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from leitstand.core.facts import (
    Fact,
    JobEnded,
    JobRejected,
    JobSubmitted,
    RunPlaced,
    TenantAdded,
    UsageMetered,
)
from leitstand.core.units import SECOND_US

PROGRESS_EVERY: Final = 500  # jobs


class Spread(msgspec.Struct, frozen=True):
    """Seconds over jobs; None where there was no job. `p50`, `p99`: nearest rank."""

    mean: float | None
    p50: float | None
    p99: float | None


class TenantOutcome(msgspec.Struct, frozen=True):
    """The jobs of one tenant that ran to their end."""

    jobs: int
    queue_s: Spread
    jct_s: Spread


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a replay.

    `jobs`: those that ran to their end. `queue_s`: from submission to placement; `jct_s`: from submission to end.
    `makespan_s`: from the first submission to the last end. `utilisation`: metered GPU time over all GPUs × makespan.
    `rejected`: by admission (larger than the fleet, or than the tenant's own nodes); `too_large` names the first 1,000.
    `left_out`: jobs of tenants that the cluster does not name, in `left_out_of` by tenant (the first 1,000).
    `dropped`: unusable rows of the file, with `dropped_why` for each of the first 1,000. `set_aside`: rows that are
    right but hold no job to replay, by why. `digest`: the journal's chain head: equal digests, equal decisions.
    `facts`: entries of the journal. `cpu_s`: user + system from opening the trace to this result, imports excluded.
    """

    trace: str
    rules: str
    static: bool
    jobs: int
    rejected: int
    left_out: int
    dropped: int
    dropped_why: tuple[str, ...]
    makespan_s: float
    queue_s: Spread
    jct_s: Spread
    utilisation: float
    per_tenant: dict[str, TenantOutcome]
    digest: str
    facts: int
    cpu_s: float
    set_aside: dict[str, int]
    left_out_of: dict[str, int]
    too_large: tuple[str, ...]


class Tally:
    """Waiting and completion times by tenant, in µs, of jobs that ran to their end, in the order of their ends.

    `progress` is called with the number of jobs done, every 500 of them.
    """

    def __init__(self, progress: Callable[[int], None] | None = None) -> None:
        self.queue_us: dict[str, array[int]] = {}
        self.jct_us: dict[str, array[int]] = {}
        self.gpu_us = 0
        self.rejected = 0
        self.facts = 0
        self.first_us: int | None = None  # the first submission
        self.last_us = 0  # the last end
        self._submitted_us: dict[str, int] = {}  # of live jobs
        self._placed_us: dict[str, int] = {}
        self._tenant: dict[str, str] = {}
        self._done = 0
        self._progress = progress
        self._note: dict[type[Fact], Callable[[int, Any], None]] = {
            TenantAdded: self._tenant_added,
            JobSubmitted: self._job_submitted,
            JobRejected: self._job_rejected,
            RunPlaced: self._run_placed,
            UsageMetered: self._usage_metered,
            JobEnded: self._job_ended,
        }

    def note(self, at: int, facts: Sequence[Fact]) -> None:
        """Count `facts` stamped `at`; in the order of the journal, each once."""
        kinds = self._note
        self.facts += len(facts)
        for fact in facts:
            kind = kinds.get(type(fact))
            if kind is not None:
                kind(at, fact)

    @property
    def live(self) -> int:
        """Jobs that were submitted and have not ended."""
        return len(self._submitted_us)

    def _tenant_added(self, at: int, fact: TenantAdded) -> None:
        self.queue_us[fact.tenant] = array("q")
        self.jct_us[fact.tenant] = array("q")

    def _job_submitted(self, at: int, fact: JobSubmitted) -> None:
        if self.first_us is None:
            self.first_us = self.last_us = at
        self._submitted_us[fact.job] = at
        self._tenant[fact.job] = fact.tenant

    def _job_rejected(self, at: int, fact: JobRejected) -> None:
        del self._submitted_us[fact.job], self._tenant[fact.job]
        self.rejected += 1
        self._count()

    def _run_placed(self, at: int, fact: RunPlaced) -> None:
        self._placed_us.setdefault(fact.job, at)

    def _usage_metered(self, at: int, fact: UsageMetered) -> None:
        self.gpu_us += fact.gpu_us

    def _job_ended(self, at: int, fact: JobEnded) -> None:
        submitted, tenant = self._submitted_us.pop(fact.job), self._tenant.pop(fact.job)
        placed = self._placed_us.pop(fact.job, None)
        if placed is not None:  # else it was cancelled while it waited
            self.queue_us[tenant].append(placed - submitted)
            self.jct_us[tenant].append(at - submitted)
            self.last_us = at
        self._count()

    def _count(self) -> None:
        self._done += 1
        if self._progress is not None and self._done % PROGRESS_EVERY == 0:
            self._progress(self._done)

    # ── the numbers ───────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def makespan_us(self) -> int:
        """From the first submission to the last end."""
        return 0 if self.first_us is None else self.last_us - self.first_us

    @property
    def jobs(self) -> int:
        """Jobs that ran to their end."""
        return sum(map(len, self.jct_us.values()))

    def queue_s(self) -> Spread:
        """From submission to placement, over all jobs."""
        return spread(chain.from_iterable(self.queue_us.values()))

    def jct_s(self) -> Spread:
        """From submission to end, over all jobs."""
        return spread(chain.from_iterable(self.jct_us.values()))

    def per_tenant(self) -> dict[str, TenantOutcome]:
        """Tenants by name; those of which no job ran are there with 0 jobs."""
        return {
            tenant: TenantOutcome(len(jct_us), spread(self.queue_us[tenant]), spread(jct_us))
            for tenant, jct_us in sorted(self.jct_us.items())
        }


def spread(times_us: Iterable[int]) -> Spread:
    """Mean and percentiles of `times_us` in seconds: the float nearest to the exact value."""
    ordered = sorted(times_us)
    if not ordered:
        return Spread(None, None, None)
    return Spread(
        sum(ordered) / (len(ordered) * SECOND_US),
        _nearest_rank(ordered, 50) / SECOND_US,
        _nearest_rank(ordered, 99) / SECOND_US,
    )


def _nearest_rank(ordered: Sequence[int], percent: int) -> int:
    """The least value that `percent` % of all do not exceed."""
    return ordered[-(-len(ordered) * percent // 100) - 1]
