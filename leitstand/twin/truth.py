# SPDX-License-Identifier: Apache-2.0
"""How long the jobs of a journal really took, and how they ended, so that another history of them can be played.

`Truth` reads it out of the facts; `RetoldEngine` lets the same jobs take as long elsewhere, at another time, after
other interruptions. Called by replays under other rules and by forks.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple, Protocol

from msgspec import UNSET
from msgspec.structs import replace

from leitstand.core import facts as f
from leitstand.core.jobs import Job, Run
from leitstand.core.state import State
from leitstand.engines.simulated import SimulatedEngine
from leitstand.runtime.ports import Engine, Order, StartRun

BY_ITSELF: Final = ("exited", "time_limit", "start_failed", "lost")  # ends that nobody ordered


class Attempt(NamedTuple):
    """What a job does until a run of it ends by itself: so much work (µs with its least size; restarts not counted),
    then this end."""

    work_us: int
    end: f.RunEnded


class Truth:
    """See the module. `attempts`: of each job, in order; `given_up`: what jobs did that their users cancelled while
    they ran; `worked`: jobs that are under way when the journal ends, with which attempt at them and how much work of
    it was seen."""

    def __init__(self) -> None:
        self.attempts: dict[str, list[Attempt]] = {}
        self.given_up: dict[str, Attempt] = {}
        self.worked: dict[str, tuple[int, int]] = {}

    def note(self, fact: f.Fact, state: State) -> None:
        """Take up a fact that `state` is about to apply."""
        if not isinstance(fact, f.RunEnded):
            return
        run = state.runs[fact.run]
        if fact.outcome in BY_ITSELF:
            worked_us = work_us(state, state.jobs[run.job], run, fact.at_us)
            self.attempts.setdefault(run.job, []).append(Attempt(worked_us, fact))
        elif run.stopping == "cancel":
            self.given_up[run.job] = Attempt(work_us(state, state.jobs[run.job], run, fact.at_us), fact)

    def close(self, at: int, state: State) -> None:
        """The journal ends at `at`: what still runs has worked for so long at least."""
        for run in state.runs.values():
            job = state.jobs[run.job]
            self.worked[job.id] = job.retried, work_us(state, job, run, at)

    def attempt(self, job: Job) -> Attempt | None:
        """The attempt that the job is at; None if the journal does not say how it ends."""
        known = self.attempts.get(job.id, ())
        return known[job.retried] if job.retried < len(known) else None

    def at_least_us(self, job: Job) -> int:
        """How much work of that attempt the journal has seen, where it has not seen its end."""
        attempt, work_us = self.worked.get(job.id, (0, 0))
        return work_us if attempt == job.retried else 0


class Told(Protocol):
    """What an engine has to be told of jobs: the truth, or what may become true."""

    def attempt(self, job: Job) -> Attempt | None:
        """What the job does now; None: nobody knows how it ends."""

    def at_least_us(self, job: Job) -> int:
        """Then so much work of it is sure."""


class RetoldEngine(Engine):
    """A simulated engine whose runs take what they took in truth, and end as they did. A job of which the journal does
    not say how it ended takes what it is expected to, and no less than was seen of it. `state`: of the core that gives
    the orders."""

    def __init__(self, truth: Told, state: State) -> None:
        self._truth = truth
        self._state = state
        self._engine = SimulatedEngine()
        self._ends: dict[str, f.RunEnded] = {}  # of runs that are under way

    def next_time(self) -> int | None:
        return self._engine.next_time()

    def take(self, now: int) -> Sequence[f.Observation]:
        return [self._as_it_was(report) for report in self._engine.take(now)]

    def send(self, orders: Sequence[Order]) -> None:
        self._engine.send([self._true(order) if isinstance(order, StartRun) else order for order in orders])

    def resume(self, runs: Sequence[StartRun]) -> None:
        self._engine.resume([self._true(order) for order in runs])

    def read_log(self, run: str, task: int, offset: int, limit: int) -> bytes:
        return self._engine.read_log(run, task, offset, limit)

    def close(self) -> None:
        self._engine.close()

    def _true(self, order: StartRun) -> StartRun:
        """The order with the length that the run will have."""
        job = self._state.jobs[order.job]
        attempt, restart_us = self._truth.attempt(job), _restart_us(self._state, job)
        if attempt is None:
            seen_us = self._truth.at_least_us(job) - job.kept_us + restart_us
            return replace(order, expected_us=max(order.expected_us, seen_us))
        self._ends[order.run] = attempt.end
        if attempt.end.outcome == "time_limit":
            return replace(order, expected_us=order.max_duration_us * max(job.nodes_most, 1) + 1)
        return replace(order, expected_us=max(attempt.work_us - job.kept_us + restart_us, 0))

    def _as_it_was(self, report: f.Observation) -> f.Observation:
        if not isinstance(report, f.RunEnded):
            return report
        end = self._ends.pop(report.run, None)
        if end is None or report.outcome != "exited":
            return report
        known = {
            "outcome": end.outcome,
            "exit_code": end.exit_code,
            "signal": end.signal,
            "detail": end.detail,
        }
        return replace(report, **known)


def work_us(state: State, job: Job, run: Run, until_us: int) -> int:
    """The work of the job's attempt with that of this run so far, its restart not counted: the least with which an
    engine would have ended it at `until_us` and not a microsecond before."""
    steps = [] if run.sizes is UNSET else run.sizes.steps
    steps = steps or [(run.started_us if run.has_started else until_us, 1)]
    since_us, tasks = steps[-1]
    before = sum((end_us - from_us) * each for (from_us, each), (end_us, _) in pairwise(steps))
    done = before + (until_us - since_us - 1) * tasks
    return job.kept_us + done // steps[0][1] + 1 - _restart_us(state, job)


def length_us(fact: f.RunEnded, state: State) -> int | None:
    """How long the job whose run ends took (µs of work), if it ended by itself or because its user wanted so; None:
    others ended it, or it never started. `state` is about to apply the fact."""
    run = state.runs[fact.run]
    given_up = fact.outcome == "stopped" and run.stopping == "cancel"
    if not run.has_started or not (given_up or fact.outcome in ("exited", "time_limit")):
        return None
    return max(work_us(state, state.jobs[run.job], run, fact.at_us), 1)


def _restart_us(state: State, job: Job) -> int:
    """What the job's run spends on its restart, as the core expects it of an engine."""
    again = job.runs > 1 and state.rules.discipline == "fair"
    return state.rules.sharing.restart_us if again else 0
