# SPDX-License-Identifier: Apache-2.0
"""A deadline that the kernel keeps: when it has passed, this process is no more.

A process that was stopped, or whose machine slept, must not go on as if no time had passed. No thread of it can make
sure of that, since all of them were stopped, too. The default action of SIGALRM can: it ends the process before any of
its code runs again. The clock goes on while a machine sleeps (CLOCK_BOOTTIME). Used by a writer that holds a lease.
"""

import ctypes
import os
import signal
import time
from typing import Final

TIMER_ABSTIME: Final = 1


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Timer(ctypes.Structure):
    _fields_ = (("every", _Timespec), ("at", _Timespec))


def now_s() -> float:
    """Seconds since this machine was started, with those that it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Deadline:
    """The one deadline of this process. Made in its main thread; OSError if there can be none."""

    def __init__(self) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        self._library = _library()
        self._timer = ctypes.c_void_p()
        # no event is named: that is SIGALRM
        self._check(self._library.timer_create(time.CLOCK_BOOTTIME, None, ctypes.byref(self._timer)))
        self.at_s = float("inf")

    def put(self, at_s: float) -> None:
        """The process ends at `at_s` (of `now_s`), if nobody puts the deadline off before; from any thread."""
        whole = int(at_s)
        timer = _Timer(_Timespec(0, 0), _Timespec(whole, int((at_s - whole) * 1e9)))
        self._set(timer)
        self.at_s = at_s

    def clear(self) -> None:
        """There is none any more."""
        self._set(_Timer())
        self.at_s = float("inf")

    def _set(self, timer: _Timer) -> None:
        self._check(self._library.timer_settime(self._timer, TIMER_ABSTIME, ctypes.byref(timer), None))

    def _check(self, returned: int) -> None:
        if returned:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), "timer")


def _library() -> ctypes.CDLL:
    """The C library; before glibc 2.34 its timers were in one of their own."""
    here = ctypes.CDLL(None, use_errno=True)
    return here if hasattr(here, "timer_create") else ctypes.CDLL("librt.so.1", use_errno=True)
