# SPDX-License-Identifier: Apache-2.0
"""The clock of a watched twin: so many times faster than the world, never past what is due, and honest where the loop
cannot keep up; and the dial, by which other processes know its time."""

import time
from pathlib import Path
from typing import Any

import pytest

from leitstand.core.units import SECOND_US
from leitstand.runtime.accelerated import BEHIND_US, AcceleratedClock
from leitstand.runtime.dial import Dial

S = SECOND_US
START = 1_000_000 * S
SPEED = 1000.0


class World:
    """The machine's time, which passes only while somebody waits, or as the test says. `interrupt_us`: after so much
    of a wait something wakes it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.us = 77 * S
        self.interrupt_us: int | None = None
        monkeypatch.setattr(time, "monotonic_ns", lambda: self.us * 1000)

    def select(self, timeout: float | None = None) -> list[Any]:
        waits_us = None if timeout is None else round(timeout * S)
        if self.interrupt_us is not None and (waits_us is None or self.interrupt_us < waits_us):
            waits_us, self.interrupt_us = self.interrupt_us, None
        assert waits_us is not None, "it would wait for ever"
        self.us += waits_us
        return []


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


@pytest.fixture
def dial(tmp_path: Path, world: World) -> Dial:
    return Dial(tmp_path / "time")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, world: World, dial: Dial) -> AcceleratedClock:
    clock = AcceleratedClock(START, SPEED, dial)
    monkeypatch.setattr(clock._selector, "select", world.select)
    return clock


def test_it_waits_a_thousandth_of_the_time_and_stops_at_what_is_due(
    clock: AcceleratedClock, world: World
) -> None:
    begun = world.us
    assert clock.wait(START + 500 * S) == START + 500 * S
    assert world.us - begun == 500 * S // 1000
    assert clock.wait(START + 500 * S) == START + 500 * S + 1, "a stamp is of one cycle"
    assert clock.wait(0) == START + 500 * S + 2, "what is to be done at once takes no time"


def test_who_wakes_it_gets_the_time_as_it_is(clock: AcceleratedClock, world: World) -> None:
    world.interrupt_us = 200_000
    assert clock.wait(START + 500 * S) == START + 200 * S
    world.interrupt_us = 100_000
    assert clock.wait(None) == START + 300 * S, "also where nothing is due"


def test_nothing_that_is_due_is_late_however_long_the_loop_took(
    clock: AcceleratedClock, world: World
) -> None:
    due = [START + 100 * S, START + 101 * S, START + 900 * S]
    assert clock.wait(due[0]) == due[0]
    world.us += 20 * S  # the loop was busy, or the machine asleep, for as long as 20,000 s would have passed
    assert clock.wait(due[1]) == due[1]
    assert clock.wait(due[2]) == due[2]


def test_a_loop_that_cannot_keep_up_slows_time_and_says_so(clock: AcceleratedClock, world: World) -> None:
    assert clock.reached(START) == SPEED, "before anything is known"
    at = START
    for _ in range(100):  # an event every 100 s of the twin, each of which takes 0.2 s of the world
        at += 100 * S
        assert clock.wait(at) == at
        world.us += 200_000
    assert clock.reached(at) == pytest.approx(500, rel=0.02)
    quiet = at + 10_000 * S
    begun = world.us
    assert clock.wait(quiet) == quiet
    behind_us = 10_000 * S // SPEED - (world.us - begun)
    assert behind_us <= BEHIND_US + 200_000, "no more than that is made up: the rest of the time is lost"


def test_a_hiccup_is_made_up(clock: AcceleratedClock, world: World) -> None:
    clock.wait(START + 1 * S)
    world.us += BEHIND_US // 2
    begun = world.us
    clock.wait(START + 1 * S + int(BEHIND_US // 2 * SPEED))
    assert world.us == begun


def test_setting_the_machines_clock_changes_nothing(
    clock: AcceleratedClock, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert clock.wait(START + 10 * S) == START + 10 * S
    assert clock.lag_us == 0


def test_the_dial_shows_the_time_as_it_goes_on_but_never_past_what_is_due(
    clock: AcceleratedClock, world: World, dial: Dial, tmp_path: Path
) -> None:
    world.interrupt_us = 1000
    clock.wait(START + 50 * S)
    other = Dial(tmp_path / "time")
    world.us += 9000
    assert other.read().now_us == START + 10 * S
    assert other.read()[2:] == (SPEED, SPEED)
    world.us += 100 * S
    assert other.read().now_us == START + 50 * S, "the writer has yet to decide what happens there"
    clock.close()
    world.us += 100 * S
    assert other.read().now_us == START + S, "it stands still where the writer ended"
    world.us = 0
    assert other.read().now_us == START + S, "also after the machine was started anew"


def test_a_damaged_dial_is_refused(tmp_path: Path) -> None:
    (tmp_path / "time").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="damaged"):
        Dial(tmp_path / "time").read()
