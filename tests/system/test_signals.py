# SPDX-License-Identifier: Apache-2.0
"""A signal always ends a wait. The system may deliver it to any thread, or in the instant before the wait begins: then
nothing interrupts the wait itself, and only what the signal wrote to a descriptor does."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leitstand.app.children import Children, Ends, Event
from leitstand.runtime.clock import LiveClock

TOO_LATE_S = 20.0


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """Numbers of the signals whose handler has run."""
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))
    yield seen
    signal.signal(signal.SIGUSR1, before)


def signal_to_another_thread(after: Callable[[], None] = lambda: time.sleep(0.2)) -> threading.Thread:
    """A thread that takes the signal itself, once the main thread waits."""

    def take() -> None:
        after()
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    thread = threading.Thread(target=take)
    thread.start()
    return thread


def test_the_clock_of_the_writer_wakes(handled: list[int]) -> None:
    clock = LiveClock(0)
    clock.wake_on_signals()
    began = time.monotonic()
    thread = signal_to_another_thread()
    clock.wait(time.time_ns() // 1000 + int(TOO_LATE_S * 1e6))
    thread.join()
    signal.set_wakeup_fd(-1)
    clock.close()
    assert handled == [signal.SIGUSR1]
    assert time.monotonic() - began < TOO_LATE_S / 2


def test_the_parent_of_the_processes_wakes(tmp_path: Path) -> None:
    children = Children(tmp_path, {}, verbose=False, ends=Ends(frozenset(), frozenset()))
    told: list[str] = []

    def note(number: int, _: object) -> None:
        children.events.put(Event("signal", value=number))

    before = signal.signal(signal.SIGUSR1, note)
    began = time.monotonic()
    thread = signal_to_another_thread()
    try:
        children.watch(lambda name, status: told.append(name))
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    assert time.monotonic() - began < TOO_LATE_S / 2
    assert told == []
