# SPDX-License-Identifier: Apache-2.0
"""When the jobs that wait will start: K futures from what is, corrected by how forecasts did so far. Called by the CLI,
by the background process and by studies, which feed it the facts of a journal in order.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from leitstand.core import facts as f
from leitstand.core.jobs import Job
from leitstand.core.state import State
from leitstand.core.units import DAY_US
from leitstand.twin.forecasting.calibration import LEVELS, Calibration, Coverage, Recorded, position
from leitstand.twin.forecasting.forks import Copy, Drawn, fork
from leitstand.twin.forecasting.past import Past

FORKS: Final = 16
FORKS_LEAST: Final = 4  # with fewer nothing is said
HORIZON_US: Final = 7 * DAY_US
RECORDED_AT_ONCE: Final = 100  # jobs of one forecast that are held against what comes
SEED: Final = 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """How much to do: so many futures, each up to `horizon_us` from now. `stop` is asked before every cycle of them and
    after each; a future that it cut short does not count."""

    forks: int = FORKS
    horizon_us: int = HORIZON_US
    stop: Callable[[], bool] = lambda: False


class Expected(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is expected of a job that waits. `p50_us`, `p90_us`: when it will have started with that probability; None:
    not within the horizon. `chance`: that it starts early enough for its deadline, with its whole
    time limit; None: it has none. `promised_us`: its promised
    start."""

    job: str
    tenant: str
    p50_us: int | None = None
    p90_us: int | None = None
    chance: float | None = None
    promised_us: int | None = None


class Forecast(msgspec.Struct, frozen=True):
    """Of all jobs that waited at `at_us`, in the order of arrival, from so many `forks` up to `horizon_us` (a time).
    `coverage`: how often what was said so far came true, at LEVELS."""

    at_us: int
    horizon_us: int
    forks: int
    jobs: list[Expected]
    coverage: Coverage
    cpu_s: float = 0.0


class Forecaster:
    """What is (`state`), what was (`past`), and how forecasts did (`calibration`)."""

    def __init__(self, state: State | None = None, recorded: Iterable[Recorded] = ()) -> None:
        self.state = state or State()
        self.past = Past()
        self.calibration = Calibration(recorded)

    def apply(self, at: int, fact: f.Fact) -> None:
        """Take up the journal's next fact."""
        self.past.note(at, fact, self.state)
        if isinstance(fact, f.RunPlaced):
            self.calibration.started(fact.job, at)
        elif isinstance(fact, f.JobEnded):
            self.calibration.left(fact.job)
        self.state.apply(at, fact)

    def forecast(self, now: int, wanted: Wanted = Wanted()) -> Forecast | None:
        """What is expected at `now` (µs, no earlier than the last fact); None if it was stopped too early. Equal
        histories and times give equal forecasts."""
        begun_s = time.process_time()
        copy, until_us = Copy(self.state, now), now + wanted.horizon_us
        futures: list[dict[str, int]] = []
        for number in range(wanted.forks if copy.waiting else 0):
            chance = np.random.default_rng([SEED, number, now % 2**63])
            future = fork(copy, Drawn(self.past, chance), until_us, copy.waiting, wanted.stop)
            if wanted.stop():
                break
            futures.append(future)
        if copy.waiting and len(futures) < min(FORKS_LEAST, wanted.forks):
            return None
        self.calibration.forget(now)
        corrections, coverage = self.calibration.corrections(now), self.calibration.coverage(now)
        step = -(-len(copy.waiting) // RECORDED_AT_ONCE)
        expected = []
        for number, job in enumerate(copy.waiting):
            waits = sorted(float(future.get(job, until_us) - now) for future in futures)
            raw = tuple(round(waits[position(level, len(waits))]) for level in LEVELS)
            longer = corrections.corrected(waits)
            expected.append(self._expect(self.state.jobs[job], longer, now, until_us))
            if number % step == 0:
                self.calibration.record(Recorded(job, now, raw, _said(expected[-1], now, until_us)))
        return Forecast(now, until_us, len(futures), expected, coverage, time.process_time() - begun_s)

    def _expect(self, job: Job, waits: list[float], now: int, until_us: int) -> Expected:
        """What follows from these waits (µs, in order)."""
        made = self.state.reservations.get(job.id)
        promised_us = made.start_us if made is not None and made.kind == "promise" else None
        starts = [now + round(waits[position(level, len(waits))]) for level in LEVELS]
        if promised_us is not None:
            starts = [min(start, max(promised_us, now)) for start in starts]
        p50_us, p90_us = (start if start < until_us else None for start in starts)
        chance = None
        if job.deadline_us:  # who starts later than this is ended instead
            latest_us = job.deadline_us - job.max_duration_us
            chance = sum(now + wait <= latest_us for wait in waits) / len(waits)
        return Expected(job.id, job.tenant, p50_us, p90_us, chance, promised_us)


def _said(expected: Expected, now: int, until_us: int) -> tuple[int, ...]:
    return tuple((until_us if start is None else start) - now for start in (expected.p50_us, expected.p90_us))
