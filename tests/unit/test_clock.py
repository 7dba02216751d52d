# SPDX-License-Identifier: Apache-2.0
"""The live clock never goes back, and says when the machine's clock does."""

import time

import pytest

from leitstand.core.units import SECOND_US
from leitstand.runtime.clock import LAG_ALERT_US, LiveClock, VirtualClock


class Wall:
    """Stands in for the machine's clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_us = 1000 * SECOND_US
        monkeypatch.setattr(time, "time_ns", lambda: self.now_us * 1000)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    return Wall(monkeypatch)


def test_time_all_but_stands_still_while_the_machines_clock_lags_and_goes_on_after(wall: Wall) -> None:
    clock = LiveClock(1005 * SECOND_US)
    assert clock.wait(0) == 1005 * SECOND_US + 1
    assert clock.wait(0) == 1005 * SECOND_US + 2, "a stamp is of one cycle"
    assert clock.lag_us == 5 * SECOND_US + 1
    wall.now_us += 7 * SECOND_US
    assert clock.wait(0) == 1007 * SECOND_US
    assert clock.lag_us == 0
    clock.close()


def test_a_lag_over_the_limit_is_told_once_until_it_is_made_up(wall: Wall) -> None:
    told: list[int] = []
    clock = LiveClock(0)
    clock.alert = told.append
    clock.wait(0)
    wall.now_us -= LAG_ALERT_US
    clock.wait(0)
    assert told == []
    wall.now_us -= 2 * SECOND_US
    for _ in range(3):
        clock.wait(0)
    assert told == [LAG_ALERT_US + 2 * SECOND_US + 1]
    wall.now_us += 100 * SECOND_US
    clock.wait(0)
    wall.now_us -= 50 * SECOND_US
    clock.wait(0)
    assert len(told) == 2
    clock.close()


def test_virtual_time_jumps_to_what_is_due_and_ends_when_nothing_is() -> None:
    clock = VirtualClock()
    assert [clock.wait(due) for due in (-5, 7, 3, None)] == [-5, 7, 7, None]
