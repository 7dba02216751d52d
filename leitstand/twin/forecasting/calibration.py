# SPDX-License-Identifier: Apache-2.0
"""Past forecasts held against what came: how far off they were corrects the next ones. Called by `forecaster`.

Of each past forecast the error is e = log((wait + 1 min) / (said + 1 min)), for each level (p50, p90) its own. What is
said next at a level is made longer by the quantile of these errors at that level, among forecasts of about the same
length: then, if errors stay as they were, half of all waits end by p50 and nine of ten by p90. (Split conformal
prediction: Vovk et al. 2005; a factor, since errors grow with what is foreseen.) A job that still waits has an error of
at least so much; leaving it out would favour short waits, so quantiles are product-limit estimates (Kaplan and Meier
1958). Errors do not stay as they were. So the older a forecast is the less it counts (weighted conformal prediction:
Barber et al. 2023), more slowly where waits are long, since what came of the last ones is not known yet; and the level
that is aimed at is higher by as much as coverage of late was too low.
"""

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from leitstand.core.units import DAY_US, HOUR_US, MINUTE_US

LEVELS: Final = (0.5, 0.9)
OFFSET_US: Final = MINUTE_US
LENGTHS_US: Final = (
    HOUR_US,
    4 * HOUR_US,
    16 * HOUR_US,
)  # forecasts of about the same length: up to these, or longer
LEAST: Final = (
    30  # errors by which a forecast is corrected, else by those of all lengths; with fewer not at all
)
SPAN_US: Final = 14 * DAY_US  # older ones are forgotten
HALVES_US: Final = (
    DAY_US,
    DAY_US,
    2 * DAY_US,
    4 * DAY_US,
)  # of these lengths: after so long it counts half as much
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
        if not rows:
            return Corrections([[0.0] * len(LEVELS)] * (len(LENGTHS_US) + 1))
        known = np.array([one.wait_us >= 0 for one in rows], np.bool_)
        waits = np.array([one.wait_us if one.wait_us >= 0 else now - one.at_us for one in rows], np.float64)
        raw = np.array([one.raw_us for one in rows], np.float64)
        logs = np.log((waits[:, None] + OFFSET_US) / (raw + OFFSET_US))
        errors = _Errors(logs, known, np.array([_weight(one, now) for one in rows], np.float64))
        length = np.searchsorted(LENGTHS_US, raw[:, 0])
        levels = [_aimed(level, self._due(number, now)) for number, level in enumerate(LEVELS)]
        return Corrections(
            [_quantiles(errors, length == number, levels) for number in range(len(LENGTHS_US) + 1)]
        )

    def coverage(self, now: int) -> Coverage:
        """How often what was said came true, of the forecasts whose time has come by `now`: whether it did is then
        known of all of them."""
        due = [[held for _, held in self._due(number, now)] for number in range(len(LEVELS))]
        return Coverage(tuple(map(len, due)), tuple(sum(held) / len(held) if held else None for held in due))

    def _due(self, number: int, now: int) -> list[tuple[float, bool]]:
        """How much the forecasts count whose time at a level has come, and whether they were right."""
        return [
            (_weight(one, now), 0 <= one.wait_us <= one.said_us[number])
            for one in self._recorded
            if one.wait_us != -2 and one.at_us + one.said_us[number] < now
        ]


class Corrections:
    """By how much forecasts are made longer, for each length of LENGTHS_US (and longer) at each level: logarithms."""

    def __init__(self, logs: Sequence[Sequence[float]]) -> None:
        self._logs = logs

    def corrected(self, waits_us: Sequence[float]) -> list[float]:
        """The waits of a job in all forks, in order, each made longer by what holds at its place among them."""
        number = len(waits_us)
        places = [position(level, number) for level in LEVELS]
        logs = self._logs[bisect_right(LENGTHS_US, waits_us[places[0]])]
        factors = np.exp(np.interp(np.arange(number), places, logs))
        longer = (np.asarray(waits_us, np.float64) + OFFSET_US) * factors - OFFSET_US
        return np.sort(np.maximum(longer, 0.0)).tolist()  # type: ignore[no-any-return]


def position(level: float, number: int) -> int:
    """Which of so many values in order is their quantile at `level`."""
    return min(int(level * number), number - 1)


def product_limit(
    values: Sequence[float], known: Sequence[bool], weights: Sequence[float], level: float
) -> float:
    """The quantile at `level` of weighted values of which those not `known` are only lower bounds; the greatest value
    where bounds hide it."""
    columns: Any = (np.logical_not(known), values)
    order = np.lexsort(columns)
    ends, weight = np.asarray(known)[order], np.asarray(weights, np.float64)[order]
    at_risk = np.cumsum(weight[::-1])[::-1]
    survive = np.cumprod(np.where(ends, np.maximum(1 - weight / at_risk, 0.0), 1.0))
    first = int(np.searchsorted(-survive, level - 1 - 1e-12))
    return float(np.asarray(values)[order[min(first, len(order) - 1)]])


class _Errors(NamedTuple):
    """Of past forecasts: a row for each, a column for each level; whether the wait is `known`; how much it counts."""

    logs: Any
    known: Any
    weights: Any


def _weight(one: Recorded, now: int) -> float:
    """How much a forecast counts by its age."""
    half_us: int = HALVES_US[bisect_left(LENGTHS_US, one.raw_us[0])]
    return 0.5 ** ((now - one.at_us) / half_us)  # type: ignore[no-any-return]


def _aimed(level: float, due: Sequence[tuple[float, bool]]) -> float:
    """Errors do not stay as they were: whoever was right less often than was said aims as much higher (in the manner of
    Gibbs and Candès 2021). `due`: how much each forecast counts whose time has come, and whether it was right."""
    if len(due) < LEAST:
        return level
    weights, held = np.array(due, np.float64).T
    return min(max(2 * level - float(np.average(held, weights=weights)), AIM[0]), AIM[1])


def _quantiles(errors: _Errors, same: Any, levels: Sequence[float]) -> list[float]:
    """Of the errors of forecasts of the same length; of all where these are too few."""
    rows = same if int(same.sum()) >= LEAST else np.ones_like(same)
    if int(rows.sum()) < LEAST:
        return [0.0] * len(LEVELS)
    found = [
        product_limit(errors.logs[rows, number], errors.known[rows], errors.weights[rows], level)
        for number, level in enumerate(levels)
    ]
    return np.clip(found, -FACTOR_LOG_MAX, FACTOR_LOG_MAX).tolist()  # type: ignore[no-any-return]
