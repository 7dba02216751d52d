# SPDX-License-Identifier: Apache-2.0
"""The two clocks: one waits for the world, the other jumps. Called by the loop."""

import contextlib
import selectors
import signal
import socket
import time
from collections.abc import Callable
from typing import Final

from leitstand.core.units import SECOND_US

LAG_ALERT_US: Final = SECOND_US  # more than clock discipline ever steps back

Ready = Callable[[int], None]  # gets the selector's event mask


class VirtualClock:
    """Jumps to the next due time; time is over when nothing is due."""

    def __init__(self) -> None:
        self.now: int | None = None

    def wait(self, due: int | None) -> int | None:
        if due is None:
            return None
        if self.now is None or due > self.now:
            self.now = due
        return self.now


class LiveClock:
    """The wall clock, always past `last` (µs), and a selector: waits for a due time, a wake, or a socket. No two waits
    end at the same time, so that a stamp in the journal is that of one cycle.

    A wall clock that lags behind the last stamp all but holds time still until it has caught up; `lag_us` tells by how
    much.
    A lag over LAG_ALERT_US is told once to `alert`, in µs.
    """

    def __init__(self, last: int) -> None:
        self._last = self._stamp = last
        self.alert: Callable[[int], None] = lambda lag_us: None
        self._alerted = False
        self.lag_us = 0
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self.register(self._woken, selectors.EVENT_READ, self._drain)

    def register(self, channel: socket.socket | int, events: int, ready: Ready) -> None:
        """Call `ready` during `wait` whenever `channel` has one of `events`; a second call changes them."""
        if channel in self._selector.get_map():
            self._selector.modify(channel, events, ready)
        else:
            self._selector.register(channel, events, ready)

    def unregister(self, channel: socket.socket | int) -> None:
        self._selector.unregister(channel)

    def wake(self) -> None:
        """End the present or next `wait`; from any thread or signal handler."""
        with contextlib.suppress(BlockingIOError):  # as many wakes are under way as the socket holds
            self._waker.send(b"\0")

    def wake_on_signals(self) -> None:
        """From now on every signal with a handler ends the wait, also one that another thread took or that came in the
        instant before the wait. Main thread only."""
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)

    def _drain(self, _: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass

    def wait(self, due: int | None) -> int:
        timeout = None if due is None else max(0, due - self._now()) / SECOND_US
        for key, mask in self._selector.select(timeout):
            key.data(mask)
        self._last = max(self._now(), self._stamp + 1)
        self._stamp = self._last
        return self._stamp

    def _now(self) -> int:
        wall = time.time_ns() // 1000
        self.lag_us = max(0, self._last - wall)
        self._last = max(self._last, wall)
        if self.lag_us > LAG_ALERT_US and not self._alerted:
            self.alert(self.lag_us)
        self._alerted = self.lag_us > LAG_ALERT_US or (self._alerted and self.lag_us > 0)
        return self._last

    def close(self) -> None:
        self._selector.close()
        self._woken.close()
        self._waker.close()
