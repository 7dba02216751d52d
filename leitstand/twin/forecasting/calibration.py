# SPDX-License-Identifier: Apache-2.0
"""Past forecasts held against what came: how far off they were corrects the next ones. Called by `forecaster`.

Of each past forecast the error is e = log((wait + 1 min) / (said + 1 min)), for each level (p50, p90) its own. What is
said next at a level is made longer by the quantile of these errors at that level: then, if errors stay as they were,
half of all waits end by p50 and nine of ten by p90. (Split conformal prediction: Vovk et al. 2005; a factor, since
errors grow with what is foreseen.) A job that still waits has an error of at least so much; leaving it out would favour
short waits, so quantiles are product-limit estimates (Kaplan and Meier 1958). Errors do not stay as they were: the
level that is aimed at is higher by as much as coverage was too low.

Jobs that wait at one time wait behind the same others, so the errors of a day are hardly more than one, and two weeks
of them are few. They are therefore all taken together, whatever their length and age: a correction that is learned for
each length by itself, or from the last days alone, follows chance (docs/benchmarks.md).
"""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from leitstand.core.units import DAY_US, MINUTE_US

LEVELS: Final = (0.5, 0.9)
OFFSET_US: Final = MINUTE_US
LEAST: Final = 30  # errors; with fewer nothing is corrected
SPAN_US: Final = 14 * DAY_US  # older ones are forgotten
RECORDED_MAX: Final = 10_000
AGAIN_US: Final = 15 * MINUTE_US  # a job's next forecast is recorded no earlier
AIM: Final = (0.1, 0.99)  # levels that are aimed at, at most
FACTOR_LOG_MAX: Final = math.log(20)


class Recorded(msgspec.Struct):
    """A forecast: of which job, when, how long (µs) the forks said at each level and what was said after correction,
    both at most the horizon. `wait_us`: what came, -1: it still waits; -2: it left without a start."""

    job: str
    at_us: int
    raw_us: tuple[int, ...]
    said_us: tuple[int, ...]
    wait_us: int = -1


class Coverage(msgspec.Struct, frozen=True):
    """How often it was no later than was said: `share` for each level, of so many `forecasts` whose time has come."""

    forecasts: tuple[int, ...] = (0,) * len(LEVELS)
    share: tuple[float | None, ...] = (None,) * len(LEVELS)


class Calibration:
    """The record of the last forecasts, and what follows from it."""

    def __init__(self, recorded: Iterable[Recorded] = ()) -> None:
        self._recorded: deque[Recorded] = deque(recorded, RECORDED_MAX)
        self._open: dict[str, list[Recorded]] = {}
        for one in self._recorded:
            if one.wait_us == -1:
                self._open.setdefault(one.job, []).append(one)

    @property
    def recorded(self) -> Sequence[Recorded]:
        """All that it remembers, oldest first."""
        return tuple(self._recorded)

    def record(self, made: Recorded) -> None:
        """Take up a forecast, unless one of the same job was a moment ago."""
        earlier = self._open.setdefault(made.job, [])
        if earlier and made.at_us < earlier[-1].at_us + AGAIN_US:
            return
        earlier.append(made)
        self._recorded.append(made)

    def started(self, job: str, at_us: int) -> None:
        """The job starts: what was said about it until then is decided. A start before was read again."""
        said = self._open.pop(job, [])
        for one in said:
            if one.at_us <= at_us:
                one.wait_us = at_us - one.at_us
        if later := [one for one in said if one.at_us > at_us]:
            self._open[job] = later

    def left(self, job: str) -> None:
        """The job ends; if it never started, nobody will know when it would have."""
        for one in self._open.pop(job, ()):
            one.wait_us = -2

    def forget(self, now: int) -> None:
        """Drop what is too old to count."""
        while self._recorded and self._recorded[0].at_us < now - SPAN_US:
            self._recorded.popleft()
        self._open = {
            job: kept
            for job, made in self._open.items()
            if (kept := [one for one in made if one.at_us >= now - SPAN_US])
        }

    def corrections(self, now: int) -> "Corrections":
        """What the errors known at `now` make of further forecasts."""
        rows = [one for one in self._recorded if one.wait_us != -2]
        if len(rows) < LEAST:
            return Corrections([0.0] * len(LEVELS))
        known = [one.wait_us >= 0 for one in rows]
        waits = np.array([one.wait_us if one.wait_us >= 0 else now - one.at_us for one in rows], np.float64)
        raw = np.array([one.raw_us for one in rows], np.float64)
        errors = np.log((waits[:, None] + OFFSET_US) / (raw + OFFSET_US))
        found = [
            product_limit(errors[:, number].tolist(), known, _aimed(level, self._due(number, now)))
            for number, level in enumerate(LEVELS)
        ]
        return Corrections(np.clip(found, -FACTOR_LOG_MAX, FACTOR_LOG_MAX).tolist())

    def coverage(self, now: int) -> Coverage:
        """How often what was said came true, of the forecasts whose time has come by `now`: whether it did is then
        known of all of them."""
        due = [self._due(number, now) for number in range(len(LEVELS))]
        return Coverage(tuple(map(len, due)), tuple(sum(held) / len(held) if held else None for held in due))

    def _due(self, number: int, now: int) -> list[bool]:
        """Of the forecasts whose time at a level has come, whether they were right."""
        return [
            0 <= one.wait_us <= one.said_us[number]
            for one in self._recorded
            if one.wait_us != -2 and one.at_us + one.said_us[number] < now
        ]


class Corrections:
    """By how much forecasts are made longer at each level: logarithms."""

    def __init__(self, logs: Sequence[float]) -> None:
        self._logs = logs

    def corrected(self, waits_us: Sequence[float]) -> list[float]:
        """The waits of a job in all forks, in order, each made longer by what holds at its place among them."""
        number = len(waits_us)
        places = [position(level, number) for level in LEVELS]
        factors = np.exp(np.interp(np.arange(number), places, self._logs))
        longer = (np.asarray(waits_us, np.float64) + OFFSET_US) * factors - OFFSET_US
        return np.sort(np.maximum(longer, 0.0)).tolist()  # type: ignore[no-any-return]


def position(level: float, number: int) -> int:
    """Which of so many values in order is their quantile at `level`."""
    return min(int(level * number), number - 1)


def product_limit(values: Sequence[float], known: Sequence[bool], level: float) -> float:
    """The quantile at `level` of values of which those not `known` are only lower bounds; the greatest value where
    bounds hide it."""
    columns: Any = (np.logical_not(known), values)
    order = np.lexsort(columns)
    at_risk = len(order) - np.arange(len(order))
    survive = np.cumprod(np.where(np.asarray(known)[order], 1 - 1 / at_risk, 1.0))
    first = int(np.searchsorted(-survive, level - 1 - 1e-12))
    return float(np.asarray(values)[order[min(first, len(order) - 1)]])


def _aimed(level: float, due: Sequence[bool]) -> float:
    """Errors do not stay as they were: whoever was right less often than was said aims as much higher (in the manner of
    Gibbs and Candès 2021). `due`: of the forecasts whose time has come, whether they were right."""
    if len(due) < LEAST:
        return level
    return min(max(2 * level - sum(due) / len(due), AIM[0]), AIM[1])
