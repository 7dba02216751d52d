# SPDX-License-Identifier: Apache-2.0
"""The loop, shared by every mode: wait, take, cycle, append, send. Called by the writer process and by the twin."""

from abc import abstractmethod
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from msgspec import UNSET

from leitstand.core.cycle import Core
from leitstand.core.decision import Answer
from leitstand.core.facts import Fact, Observation, RunPlaced, RunResizeOrdered, RunStopOrdered
from leitstand.core.jobs import Job, Run
from leitstand.core.state import State
from leitstand.runtime.ports import (
    Clock,
    Engine,
    Head,
    Journal,
    Order,
    ResizeRun,
    Source,
    StartRun,
    StopRun,
)


class Settling(Source):
    """A source that wants to know what became of its observations, once they are durable."""

    @abstractmethod
    def settle(self, answers: Sequence[Answer], head: Head) -> None:
        """`answers` to what the last `take` gave, in order; called after every append and every empty cycle."""


class Loop:
    """One core, one journal, one clock; engines report before other sources speak, so that what is freed at an
    instant is there for what arrives at it."""

    def __init__(
        self, core: Core, journal: Journal, clock: Clock, engine: Engine, sources: Iterable[Source]
    ) -> None:
        self.core = core
        self.journal = journal
        self.clock = clock
        self.engine = engine
        self.sources: tuple[Source, ...] = (engine, *sources)
        self._settles = any(isinstance(source, Settling) for source in self.sources)
        self.stopping = False

    def run(self) -> None:
        """Until `stopping` is set, or nothing can happen any more (a clock that returns None)."""
        while not self.stopping:
            now = self.clock.wait(self._due())
            if now is None:
                return
            self.step(now)

    def _due(self) -> int | None:
        due = self.core.next_wake()
        for source in self.sources:
            time = source.next_time()
            if time is not None and (due is None or time < due):
                due = time
        return due

    def step(self, now: int) -> None:
        """One cycle at `now`."""
        taken: list[Sequence[Observation]] = []
        observations: list[Observation] = []
        for source in self.sources:
            part = source.take(now)
            taken.append(part)
            observations += part
        facts = self.core.cycle(now, observations)
        journal = self.journal
        if facts:
            journal.append(journal.head, now, facts)
            orders = orders_of(self.core.state, facts)
            if orders:
                self.engine.send(orders)
        if self._settles:
            self._settle(taken)

    def _settle(self, taken: list[Sequence[Observation]]) -> None:
        start = 0
        for source, part in zip(self.sources, taken, strict=True):
            if isinstance(source, Settling):
                source.settle(self.core.answers[start : start + len(part)], self.journal.head)
            start += len(part)


_ORDERING: Final = frozenset((RunPlaced, RunStopOrdered, RunResizeOrdered))


def orders_of(state: State, facts: Sequence[Fact]) -> list[Order]:
    """What engines have to do because of `facts`, which `state` has applied."""
    orders: list[Order] = []
    for fact in facts:
        if type(fact) not in _ORDERING:
            continue
        if type(fact) is RunPlaced:
            orders.append(start_order(state, state.runs[fact.run]))
        elif type(fact) is RunStopOrdered:
            orders.append(StopRun(fact.run, fact.cause))
        elif type(fact) is RunResizeOrdered:
            run = state.runs.get(fact.run)  # None: its end was reported in the same cycle
            orders += [] if run is None else resize_orders(run)
    return orders


def resize_orders(run: Run) -> list[Order]:
    """The order to go on with the tasks that the run has now, if its engine has not reported that it does."""
    if run.sizes is UNSET or not run.sizes.pending:
        return []
    return [ResizeRun(run.id, run.sizes.number, run.tasks, run.sizes.ordered_us)]


def start_order(state: State, run: Run) -> StartRun:
    """The order that starts `run`, also used to resume it."""
    job = state.jobs[run.job]
    return StartRun(
        run.id,
        run.job,
        job.tenant,
        job.project,
        run.tasks,
        job.resources,
        job.spec,
        job.max_duration_us,
        run.placed_us,
        _expected_us(state, job),
        run.started_us,
        job.array,
        job.index,
        job.size,
        job.nodes_most,
        () if run.sizes is UNSET else tuple(run.sizes.steps),
    )


def _expected_us(state: State, job: Job) -> int:
    """How long a run is expected to take: what is left of the job, and the restart of one that was taken."""
    if not job.expected_us or job.runs == 1 or state.rules.discipline != "fair":
        return job.expected_us
    return max(job.expected_us - job.kept_us, 0) + state.rules.sharing.restart_us


def resume(engine: Engine, state: State) -> None:
    """After a restart: tell the engine which runs should exist, and again which of them should end."""
    runs = state.runs.values()
    engine.resume([start_order(state, run) for run in runs])
    engine.send(standing_orders(runs))


def standing_orders(runs: Collection[Run]) -> list[Order]:
    """What is ordered of runs that exist: to go on with other nodes, to end."""
    resizes = [order for run in runs for order in resize_orders(run)]
    return [*resizes, *(StopRun(run.id, run.stopping) for run in runs if run.stopping)]
