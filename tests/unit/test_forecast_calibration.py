# SPDX-License-Identifier: Apache-2.0
"""How far off forecasts were corrects the next ones: in worlds whose errors are known, coverage is what is said."""

import numpy as np
import pytest

from leitstand.core.units import DAY_US, HOUR_US, MINUTE_US
from leitstand.twin.forecasting import calibration as c
from leitstand.twin.forecasting.calibration import Calibration, Recorded, product_limit

FORECASTS = 1000
EVERY_US = 10 * MINUTE_US


def lived(bias: float, spread: float, leaving: float = 0.0) -> tuple[Calibration, np.ndarray, int]:
    """A world in which forks say a wait around `true`, narrow, and jobs wait `bias` times that with a log-normal
    spread. For each forecast, whether p50 and p90 held; and when the world ends."""
    chance = np.random.default_rng(3)
    calibration, held, starts = Calibration(), [], list[tuple[int, str]]()
    for number in range(FORECASTS):
        now = number * EVERY_US
        for at_us, job in [start for start in starts if start[0] <= now]:
            calibration.started(job, at_us)
        starts = [start for start in starts if start[0] > now]
        middle_us = HOUR_US * float(np.exp(chance.normal(0.5, 1)))
        forks = sorted(middle_us * np.exp(chance.normal(0, 0.1, 16)))
        wait_us = middle_us * bias * float(np.exp(chance.normal(0, spread)))
        calibration.forget(now)
        longer = calibration.corrections(now).corrected(forks)
        said = longer[8], longer[14]
        calibration.record(
            Recorded(
                f"j-{number}", now, (round(forks[8]), round(forks[14])), (round(said[0]), round(said[1]))
            )
        )
        if chance.random() < leaving:
            calibration.left(f"j-{number}")
        else:
            starts.append((now + round(wait_us), f"j-{number}"))
            held.append([wait_us <= one for one in said])
    return calibration, np.array(held[len(held) // 4 :]), FORECASTS * EVERY_US


@pytest.mark.parametrize(("bias", "spread"), [(1.0, 0.1), (3.0, 0.6), (0.3, 0.4), (1.0, 1.2)])
def test_in_a_world_of_steady_errors_half_start_by_p50_and_nine_of_ten_by_p90(
    bias: float, spread: float
) -> None:
    calibration, held, end_us = lived(bias, spread)
    assert held.mean(axis=0) == pytest.approx(c.LEVELS, abs=0.05)
    said = calibration.coverage(end_us)
    assert said.share == pytest.approx(c.LEVELS, abs=0.06), "what it says of itself is true"
    assert min(said.forecasts) > FORECASTS / 2


def test_jobs_that_left_without_a_start_teach_nothing() -> None:
    _, held, _ = lived(3.0, 0.6, leaving=0.4)
    assert held.mean(axis=0) == pytest.approx(c.LEVELS, abs=0.06)


def test_who_still_waits_counts_as_waiting_longer_than_so_far() -> None:
    assert product_limit([1.0, 2.0, 3.0, 4.0], [True] * 4, 0.5) == 2.0
    assert product_limit([1.0, 2.0, 3.0, 4.0], [False, True, True, True], 0.5) == 3.0
    assert product_limit([1.0, 2.0, 3.0, 4.0], [True, True, False, False], 0.9) == 4.0, "bounds hide it"


def test_with_few_errors_nothing_is_corrected() -> None:
    calibration = Calibration()
    for number in range(c.LEAST - 1):
        calibration.record(Recorded(f"j-{number}", 0, (HOUR_US, HOUR_US), (HOUR_US, HOUR_US)))
        calibration.started(f"j-{number}", 5 * HOUR_US)
    waits = [HOUR_US / 2, HOUR_US, 2 * HOUR_US]
    assert calibration.corrections(DAY_US).corrected(waits) == pytest.approx(waits)
    calibration.record(Recorded("last", 0, (HOUR_US, HOUR_US), (HOUR_US, HOUR_US)))
    calibration.started("last", 5 * HOUR_US)
    longer = calibration.corrections(DAY_US).corrected(waits)
    assert longer[1] == pytest.approx(5 * HOUR_US, rel=0.01)


def test_long_and_short_forecasts_are_corrected_apart() -> None:
    calibration = Calibration()
    for number in range(2 * c.LEAST):
        said_us = HOUR_US // 2 if number % 2 else 10 * HOUR_US
        calibration.record(Recorded(f"j-{number}", 0, (said_us, said_us), (said_us, said_us)))
        calibration.started(f"j-{number}", said_us * (2 if number % 2 else 1))
    corrections = calibration.corrections(DAY_US)
    assert corrections.corrected([HOUR_US / 2])[0] == pytest.approx(HOUR_US, rel=0.01)
    assert corrections.corrected([10 * HOUR_US])[0] == pytest.approx(10 * HOUR_US)


def test_coverage_counts_a_forecast_once_its_time_has_come_whatever_came_of_it() -> None:
    calibration = Calibration()
    for job, wait_us in (("soon", 1), ("late", 3 * HOUR_US), ("waits", -1)):
        calibration.record(Recorded(job, 0, (HOUR_US, 9 * HOUR_US), (HOUR_US, 9 * HOUR_US)))
        if wait_us > 0:
            calibration.started(job, wait_us)
    assert calibration.coverage(HOUR_US).forecasts == (0, 0), (
        "soon is right, but who is late is not known yet"
    )
    said = calibration.coverage(4 * HOUR_US)
    assert (said.forecasts, said.share) == ((3, 0), (pytest.approx(1 / 3), None))


def test_a_job_is_recorded_again_only_after_a_while_and_old_forecasts_are_forgotten() -> None:
    calibration = Calibration()
    for minute in range(31):
        calibration.record(Recorded("j", minute * MINUTE_US, (1, 1), (1, 1)))
    assert [one.at_us // MINUTE_US for one in calibration.recorded] == [0, 15, 30]
    again = Calibration(calibration.recorded)
    again.forget(c.SPAN_US + 15 * MINUTE_US)
    again.started("j", HOUR_US)
    assert [one.wait_us for one in again.recorded] == [45 * MINUTE_US, 30 * MINUTE_US]
