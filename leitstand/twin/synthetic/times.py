# SPDX-License-Identifier: Apache-2.0
"""When something is submitted: week, season, growth and bursts as hourly rates, and times drawn from them.

Called by the parts of the generator. Given the rates, times are independent (a Poisson process on their number); the
rates are random themselves, so that arrivals come in bursts.
"""

from typing import Final

import numpy as np

from leitstand.twin.synthetic.demand import HOUR_S, Demand
from leitstand.twin.synthetic.exact import Chance, Floats, Ints, choose, exp, log

HOURS_OF_YEAR: Final = 8760
MONTH_ENDS: Final = (
    31,
    59,
    90,
    120,
    151,
    181,
    212,
    243,
    273,
    304,
    334,
    365,
)  # days of a year without a leap day


def trend(demand: Demand, months: tuple[float, ...]) -> Floats:
    """The factor of season and growth on the demand, by hour; the first is that of Monday, 1 January, 0 h."""
    hour = np.arange(demand.hours)
    month = np.searchsorted(np.array(MONTH_ENDS), hour // 24 % 365, side="right")
    grown = exp(hour * (log(np.array([1.0 + demand.growth])) / HOURS_OF_YEAR))
    factor: Floats = np.array(months)[month] * grown
    return factor


def weekly(hours: int, profile: tuple[float, ...]) -> Floats:
    """`profile` by hour of the week, repeated."""
    shape: Floats = np.array(profile)[np.arange(hours) % len(profile)]
    return shape


def week_of(day: tuple[float, ...], weekend: float) -> tuple[float, ...]:
    """A week of five equal days and two that are `weekend` times as busy."""
    return day * 5 + tuple(weekend * hour for hour in day) * 2


def bursts(chance: Chance, hours: int, rows: int, *, sigma: float, memory_h: float) -> Floats:
    """Factors by hour and row: lognormals of mean 1, the logarithms a chain that forgets itself in `memory_h` hours."""
    kept = float(exp(np.array([-1.0 / memory_h]))[0])
    fresh = float(np.sqrt(1.0 - kept * kept))
    level = chance.normals(hours * rows).reshape(hours, rows)
    for hour in range(1, hours):
        level[hour] = kept * level[hour - 1] + fresh * level[hour]
    return exp(sigma * level - 0.5 * sigma * sigma)


def draw(chance: Chance, rates: Floats, count: int) -> tuple[Ints, Ints]:
    """`count` times in seconds and the row of each, as likely as `rates` (hour × row) say, in the order drawn."""
    cell = choose(chance.uniforms(count), rates.ravel())
    hour, row = np.divmod(cell, rates.shape[1])
    return hour * HOUR_S + np.floor(chance.uniforms(count) * HOUR_S).astype(np.int64), row
