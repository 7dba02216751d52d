# SPDX-License-Identifier: Apache-2.0
"""Futures of a state in which nobody knows how long jobs take or what will be submitted: both are drawn. Called by
`forecast`.

A fork is the core itself, played on from a copy of the state (`retelling.play`) with runs that last as long as drawn,
until everybody asked about has started.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol

import numpy as np

from leitstand.core import facts as f
from leitstand.core.jobs import Job
from leitstand.core.state import State
from leitstand.journal import snapshots
from leitstand.twin.forecasting.past import Past
from leitstand.twin.history import Moment
from leitstand.twin.retelling import Play, play
from leitstand.twin.truth import Attempt, Truth

_EXITED: Final = f.RunEnded("", 0, "exited", 0)


class Copy:
    """A state as it was at `at_us`, from which any number of futures can begin. `waiting`: the jobs that had not
    started, in the order of arrival."""

    def __init__(self, state: State, at_us: int) -> None:
        self.at_us = at_us
        self.waiting = [job.id for job in state.jobs.values() if job.state == "pending"]
        self._projection = snapshots.stored(state)

    def state(self) -> State:
        """Another one that is equal."""
        return snapshots.restored(self._projection)


class Future(Protocol):
    """What a fork is told beside the state: how long jobs take, and what is submitted."""

    def work_us(self, job: Job, state: State, worked_us: int) -> int: ...

    def arrivals(self, from_us: int, until_us: int) -> Iterable[Moment]: ...


class Drawn:
    """A future such as the past."""

    def __init__(self, past: Past, chance: np.random.Generator) -> None:
        self._past = past
        self._chance = chance

    def work_us(self, job: Job, state: State, worked_us: int) -> int:
        return self._past.lengths.draw(state, job, worked_us, self._chance)

    def arrivals(self, from_us: int, until_us: int) -> Iterator[Moment]:
        return self._past.arrivals(from_us, until_us, self._chance)


class AtLimits:
    """Every job takes as long as it may and nobody comes later: what is known without any past."""

    def work_us(self, job: Job, state: State, worked_us: int) -> int:
        return max(job.max_duration_us * max(job.nodes_most, 1), worked_us + 1)

    def arrivals(self, from_us: int, until_us: int) -> Iterable[Moment]:
        return ()


def fork(
    copy: Copy, future: Future, until_us: int, jobs: Sequence[str], stop: Callable[[], bool] = lambda: False
) -> dict[str, int]:
    """When (µs) the `jobs` that wait start in this future, those that do so by `until_us`; `stop` ends it earlier."""
    state = copy.state()
    lengths = _Lengths(future, state, copy.at_us)
    missing, started = dict.fromkeys(jobs), dict[str, int]()

    def watch(at: int, facts: Sequence[f.Fact]) -> None:
        for fact in facts:
            if isinstance(fact, f.RunPlaced) and fact.job in missing:
                del missing[fact.job]
                started[fact.job] = at
            elif isinstance(fact, f.JobEnded) and fact.job in missing:
                del missing[fact.job]  # it never starts

    arrivals = future.arrivals(copy.at_us, until_us)
    wanted = Play(
        lengths, arrivals, from_us=copy.at_us, until_us=until_us, enough=lambda: not missing or stop()
    )
    play(wanted, state, watch)
    return started


class _Lengths:
    """The lengths of one fork's jobs, each drawn when it is first asked for."""

    def __init__(self, future: Future, state: State, at_us: int) -> None:
        self._future = future
        self._state = state
        self._drawn: dict[str, int] = {}
        self._truth = Truth()
        self._truth.close(at_us, state)

    def attempt(self, job: Job) -> Attempt:
        return Attempt(self._work_us(job), _EXITED)

    def at_least_us(self, job: Job) -> int:
        return 0

    def _work_us(self, job: Job) -> int:
        known = self._drawn.get(job.id)
        if known is None:
            worked_us = max(self._truth.at_least_us(job), job.kept_us)
            known = self._drawn[job.id] = self._future.work_us(job, self._state, worked_us)
        return known
