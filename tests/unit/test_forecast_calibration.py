# SPDX-License-Identifier: Apache-2.0
"""How far off forecasts were corrects the next ones: in worlds whose errors are known, coverage is what is said."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leitstand.core.units import DAY_US, HOUR_US, MINUTE_US
from leitstand.twin.forecasting import calibration as c
from leitstand.twin.forecasting.calibration import Calibration, Recorded, product_limit

FORECASTS = 1000
EVERY_US = 10 * MINUTE_US
FORKS = 16


def lived(
    bias: float, spread: float, leaving: float = 0.0, daily: float = 1.0
) -> tuple[Calibration, np.ndarray, int]:
    """A world in which forks say a wait around `true`, narrow, and jobs wait `bias` times that with a log-normal
    spread; each day `daily` times as long as the day before. For each forecast, whether p50 and p90 held; and when the
    world ends."""
    chance = np.random.default_rng(3)
    calibration, held, starts = Calibration(), [], list[tuple[int, str]]()
    for number in range(FORECASTS):
        now = number * EVERY_US
        for at_us, job in [start for start in starts if start[0] <= now]:
            calibration.started(job, at_us)
        starts = [start for start in starts if start[0] > now]
        middle_us = HOUR_US * float(np.exp(chance.normal(0.5, 1)))
        forks = sorted(middle_us * np.exp(chance.normal(0, 0.1, 16)))
        wait_us = middle_us * bias * float(np.exp(chance.normal(0, spread))) * daily ** (now / DAY_US)
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
    values = [1.0, 2.0, 3.0, 4.0]
    assert product_limit(values, [True] * 4, 0.5) == 2.0
    assert product_limit(values, [False, True, True, True], 0.5) == 3.0
    assert product_limit(values, [True, True, False, False], 0.9) == 4.0, "bounds hide it"


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


def test_long_and_short_late_and_early_errors_are_taken_together() -> None:
    """Jobs that wait at one time wait behind the same others: the errors of one length, or of one day, are hardly more
    than one."""
    calibration, number_of = Calibration(), 6 * c.LEAST
    for number in range(number_of):  # ten days; in the last three waits are short, and as they were said
        late = number > 0.7 * number_of
        said_us = HOUR_US // 2 if late else 10 * HOUR_US
        at_us = number * 10 * DAY_US // number_of
        calibration.record(Recorded(f"j-{number}", at_us, (said_us, said_us), (said_us, said_us)))
        calibration.started(f"j-{number}", at_us + said_us * (1 if late else 3))
    corrections = calibration.corrections(12 * DAY_US)
    for said_us in (HOUR_US // 2, 2 * HOUR_US, 10 * HOUR_US, 30 * HOUR_US):
        assert corrections.corrected([said_us])[0] == pytest.approx(3 * said_us, rel=0.1)


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


# ── how often forecasts were right shifts what is aimed at ────────────────────────────────────────────────────────
def judged(held: Sequence[int], number: int = 100) -> list[float]:
    """The waits that are said where forks say 1 h and jobs waited 1 h 1 min, 1 h 2 min, …; of `number` forecasts of
    each level (p50, p90) so many `held`."""
    calibration = Calibration()
    for one in range(number):
        wait_us = HOUR_US + (one + 1) * MINUTE_US
        said_us = tuple(wait_us if one < count else wait_us - 1 for count in held)
        calibration.record(Recorded(f"j-{one}", 0, (HOUR_US, HOUR_US), said_us))
        calibration.started(f"j-{one}", wait_us)
    waits = calibration.corrections(DAY_US).corrected([HOUR_US] * FORKS)
    return [waits[c.position(level, FORKS)] for level in c.LEVELS]


def minutes(level: float, number: int = 100) -> float:
    """The wait that so many of those of `judged` do not exceed."""
    return HOUR_US + MINUTE_US * float(np.ceil(round(level * number, 6)))


@pytest.mark.parametrize(
    ("held", "aimed"),
    [
        ((50, 90), (0.5, 0.9)),  # as often as was said
        ((40, 85), (0.6, 0.95)),  # too seldom: later is said
        ((65, 97), (0.35, 0.83)),  # too often: earlier is said
        ((65, 85), (0.35, 0.95)),  # each level by its own record
        ((0, 0), (0.99, 0.99)),
        ((100, 100), (0.1, 0.8)),  # never beyond what a few errors can tell
    ],
)
def test_who_was_right_too_seldom_says_later_by_as_much_and_who_was_too_often_earlier(
    held: tuple[int, int], aimed: tuple[float, float]
) -> None:
    assert judged(held) == pytest.approx([minutes(level) for level in aimed], abs=MINUTE_US / 2)


@given(st.lists(st.integers(0, 100), min_size=2, max_size=2, unique=True), st.sampled_from([0, 1]))
def test_the_more_often_it_was_right_the_earlier_it_says(counts: list[int], level: int) -> None:
    fewer, more = sorted(counts)
    said = [judged((count, count))[level] for count in (fewer, round(100 * c.LEVELS[level]), more)]
    assert said[0] >= said[2]
    assert (said[0] > said[1]) == (fewer < 100 * c.LEVELS[level]) or fewer == more
    assert (said[2] < said[1]) == (more > 100 * c.LEVELS[level])


def test_of_few_forecasts_nobody_concludes_how_often_they_are_right() -> None:
    few = c.LEAST - 1
    calibration = Calibration()
    for one in range(100):  # the time of those that are said for later has not come
        wait_us = HOUR_US + (one + 1) * MINUTE_US
        said_us = wait_us - 1 if one < few else 9 * DAY_US
        calibration.record(Recorded(f"j-{one}", 0, (HOUR_US, HOUR_US), (said_us, said_us)))
        calibration.started(f"j-{one}", wait_us)
    assert calibration.coverage(DAY_US).share == (0.0, 0.0)
    waits = calibration.corrections(DAY_US).corrected([HOUR_US] * FORKS)
    assert waits[c.position(0.5, FORKS)] == pytest.approx(minutes(0.5), abs=MINUTE_US / 2)


@pytest.mark.parametrize("daily", [1.35, 1 / 1.35])
def test_where_waits_grow_or_shrink_from_day_to_day_the_record_brings_coverage_nearer_to_what_is_said(
    daily: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors that are known are then always those of a time that was better, or worse."""
    aimed = c._aimed

    def off(shift: int) -> float:
        """How far coverage is from what is said, if what is aimed at is shifted so many times as it is."""
        monkeypatch.setattr(c, "_aimed", lambda level, due: level + shift * (aimed(level, due) - level))
        _, held, _ = lived(1.0, 0.3, daily=daily)
        return float(np.abs(held.mean(axis=0) - c.LEVELS).sum())

    assert off(1) < off(0) - 0.05
