# SPDX-License-Identifier: Apache-2.0
"""A cloud under `fair` in virtual time, for tests that tell a story through the core: every cycle, every fact, and an
engine whose stops take as long as they may. Called by the scenarios of tests/unit and by tests/properties."""

from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from itertools import count

from msgspec.structs import replace

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.rules import Rules, Sharing
from leitstand.core.units import HOUR_US, MINUTE_US, SECOND_US
from leitstand.runtime.loop import orders_of
from leitstand.runtime.ports import ResizeRun, StartRun
from tests.unit.story import ask, cluster

SHARING = Sharing(
    protected_us=5 * MINUTE_US,
    grace_us=20 * SECOND_US,
    stop_us=10 * SECOND_US,
    recall_us=10 * MINUTE_US,
    restart_us=MINUTE_US,
)
RULES = Rules(discipline="fair", sharing=SHARING)
# for histories of minutes: who is behind at all may rebalance
AT_ONCE = Rules(discipline="fair", sharing=replace(SHARING, ahead_us=0))
CYCLES_MAX = 1_000  # in one second: more is a loop
Watch = Callable[[int, list[f.Fact]], None]


def day(gpus: int = 1, nodes: int = 1, tenant: str = "a", hours: float = 24, **more: object) -> f.SubmitJob:
    """A job that runs for as long as it may."""
    span = int(hours * HOUR_US)
    return ask(gpus, nodes, tenant, max_duration_us=span, expected_us=span, **more)


class Cloud:
    """See the module. `stop_us`: how long the engine takes to stop a run, `start_us`: to start one; `late_us`: how long
    runs outlast their limit; `watch` sees the facts of every cycle."""

    def __init__(self, core: Core, stop_us: int = 30 * SECOND_US, watch: Watch | None = None) -> None:
        self.core = core
        self.stop_us = stop_us
        self.watch = watch
        self.start_us = 0
        self.late_us = 0
        self.now = 0
        self.facts: list[tuple[int, f.Fact]] = []
        self.answers: list[str] = []  # what was refused, and why
        self._number = count()
        self._told: list[tuple[int, int, f.Observation]] = []
        self._ends: dict[str, f.RunEnded] = {}
        self._due: list[tuple[int, int, str]] = []

    # ── telling ───────────────────────────────────────────────────────────────────────────────────────────────────
    def at(self, seconds: float, *observations: f.Observation) -> "Cloud":
        """Tell the core this then."""
        for one in observations:
            heappush(self._told, (int(seconds * SECOND_US), next(self._number), one))
        return self

    def fail(self, node: str) -> None:
        """The node fails now, and with it all that runs there."""
        lost = [
            f.RunEnded(run.id, self.now, "lost")
            for run in self.core.state.runs.values()
            if any(task.node == node for task in run.tasks)
        ]
        for report in lost:
            del self._ends[report.run]
        self._cycle(self.now, [f.NodeRemoved(node), *lost])

    def until(self, seconds: float) -> "Cloud":
        """Let time pass up to then; everything that is due at that moment has happened."""
        end = int(seconds * SECOND_US)
        same, since = 0, self.now
        while (due := self._next()) is not None and due <= end:
            same, since = (same + 1, since) if due < since + SECOND_US else (0, due)
            assert same < CYCLES_MAX, f"{same} cycles at {due}"
            self._cycle(max(due, self.now), self._taken(max(due, self.now)))
        self.now = max(self.now, end)
        return self

    def to_the_end(self, hours: int = 10_000) -> "Cloud":
        """Until nothing is due any more."""
        while (due := self._next()) is not None:
            assert due < hours * HOUR_US, f"it does not end: {sorted(self.core.state.jobs)}"
            self.until(-(-max(due, self.now) // SECOND_US))
        return self

    # ── looking ───────────────────────────────────────────────────────────────────────────────────────────────────
    def all(self, kind: type[f.Fact]) -> list[f.Fact]:
        """The facts of this kind, in order."""
        return [fact for _, fact in self.facts if isinstance(fact, kind)]

    @property
    def evicted(self) -> list[str]:
        """The jobs whose runs were stopped for others, in order."""
        return [
            fact.run.rpartition(".")[0]
            for _, fact in self.facts
            if isinstance(fact, f.RunStopOrdered) and fact.cause in f.TAKES
        ]

    @property
    def moved(self) -> list[str]:
        """The jobs whose runs were told to move, in order."""
        return [
            fact.run.rpartition(".")[0]
            for _, fact in self.facts
            if isinstance(fact, f.RunStopOrdered) and fact.cause == f.MOVE
        ]

    @property
    def resized(self) -> list[tuple[str, int, str]]:
        """Runs that were told to go on with other nodes, in order: job, how many, cause."""
        return [
            (fact.run.rpartition(".")[0], len(fact.tasks), fact.cause)
            for _, fact in self.facts
            if isinstance(fact, f.RunResizeOrdered)
        ]

    def nodes(self, job: str) -> list[str]:
        """Where the job runs now."""
        return [task.node for task in self.core.state.runs[self.core.state.jobs[job].run].tasks]

    @property
    def running(self) -> list[str]:
        """The jobs that run and are not told to end, sorted."""
        return sorted(run.job for run in self.core.state.runs.values() if not run.stopping)

    @property
    def waiting(self) -> list[str]:
        """The jobs that wait, in the order of arrival."""
        return [job.id for job in self.core.state.jobs.values() if job.state == "pending"]

    def started(self, job: str) -> list[float]:
        """When runs of the job were placed, in seconds."""
        return [
            at / SECOND_US for at, fact in self.facts if isinstance(fact, f.RunPlaced) and fact.job == job
        ]

    def reserved(self, job: str) -> tuple[str, float] | None:
        """(kind, start in seconds) of what is reserved for the job."""
        made = self.core.state.reservations.get(job)
        return None if made is None else (made.kind, made.start_us / SECOND_US)

    def deserved(self, *nodes: str) -> list[int]:
        """Deserved shares now, in whole GPUs."""
        standing = self.core.state.pools["shared"].standing
        assert standing is not None
        standing.tree.settle()
        return [standing.tree.nodes[node].deserved // 1000 for node in nodes]

    # ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _next(self) -> int | None:
        while self._due and self._due[0][2] not in self._ends:
            heappop(self._due)
        times = [heap[0][0] for heap in (self._told, self._due) if heap]
        wake = self.core.next_wake()
        return min([*times, *([] if wake is None else [wake])], default=None)

    def _taken(self, now: int) -> list[f.Observation]:
        taken: list[f.Observation] = []
        while self._due and self._due[0][0] <= now:
            report = self._ends.pop(heappop(self._due)[2], None)
            if report is not None:
                taken.append(report)
        while self._told and self._told[0][0] <= now:
            taken.append(heappop(self._told)[2])
        return taken

    def _cycle(self, now: int, observations: Sequence[f.Observation]) -> None:
        self.now = now
        facts = self.core.cycle(now, observations)
        self.answers += [f"{one.refused}: {one.detail}" for one in self.core.answers if one.refused]
        self.facts += [(now, fact) for fact in facts]
        for order in orders_of(self.core.state, facts):
            if isinstance(order, StartRun):
                span = min(order.expected_us, order.max_duration_us)
                outcome = "exited" if order.expected_us <= order.max_duration_us else "time_limit"
                late_us = self.late_us if span == order.max_duration_us else 0
                begun_us = now + self.start_us
                self._end(f.RunEnded(order.run, begun_us + span + late_us, outcome, 0))
                heappush(self._told, (begun_us, next(self._number), f.RunStarted(order.run, begun_us)))
            elif isinstance(order, ResizeRun):
                run = self.core.state.runs[order.run]
                done_us = now + (self.stop_us if run.leaving else 0)
                heappush(
                    self._told, (done_us, next(self._number), f.RunResized(order.run, order.number, done_us))
                )
            elif order.run in self._ends and self._ends[order.run].at_us > now + self.stop_us:
                self._end(f.RunEnded(order.run, now + self.stop_us, "stopped"))
        if self.watch is not None:
            self.watch(now, facts)

    def _end(self, report: f.RunEnded) -> None:
        self._ends[report.run] = report
        heappush(self._due, (report.at_us, next(self._number), report.run))


def cloud(
    *gpus: int,
    entitled: Iterable[a.Entitlement] = (),
    tenants: Sequence[str] = ("a", "b"),
    rules: Rules = RULES,
    stop_us: int = 30 * SECOND_US,
    colocate: bool = False,
    resizes: bool = False,
) -> Cloud:
    """Nodes n0, n1, … of so many GPUs, tenants of the class industry, and what they are entitled to."""
    core = cluster(*gpus, rules=rules, tenants=tenants, colocate=colocate, resizes=resizes)
    entitled = tuple(entitled)
    if entitled:
        core.cycle(0, [a.EntitlementsChanged("shared", entitled)])
        assert [one for one in core.answers if one.refused] == [], core.answers
    return Cloud(core, stop_us)


def owed(tenant: str, gpus: int = 0, **more: int) -> a.Entitlement:
    """The entitlement of a tenant in whole GPUs; `lend`, `borrow` too."""
    limits = {f"{name}_milli": more.pop(name) * 1000 for name in ("lend", "borrow") if name in more}
    return a.Entitlement(f"industry/{tenant}", gpus * 1000, **limits, **more)
