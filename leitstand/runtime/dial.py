# SPDX-License-Identifier: Apache-2.0
"""The dial of a twin: which time it is there, in a small file that the writer sets and every process of it reads.

Set by `runtime.accelerated`, read by the faces. A reading takes no system call: the file is mapped. What is set says
how time goes on by itself, and how far it may go until the writer has decided what comes next.
"""

import mmap
import os
import struct
import time
import zlib
from pathlib import Path
from typing import Final, NamedTuple

FAR_US: Final = 2**62  # nothing is due
_FORM: Final = struct.Struct(
    "<4sIqqqdd"
)  # magic, CRC-32 of what follows, at, until, monotonic (µs), speed, reached
_MAGIC: Final = b"LtDl"
_TRIES: Final = 1000  # a reading that meets a setting is made again


class Reading(NamedTuple):
    """`now_us`: the twin's time; `at_us`: when it was set last; `speed`: how much faster than the world's it should go,
    `reached`: how much it did of late."""

    now_us: int
    at_us: int
    speed: float
    reached: float


class Dial:
    """See the module. Monotonic time is that of the machine: all its processes have the same."""

    def __init__(self, path: Path) -> None:
        """Made if there is none, as nobody's time (0); OSError."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            is_new = os.fstat(descriptor).st_size < _FORM.size
            if is_new:
                os.ftruncate(descriptor, _FORM.size)
            self._map = mmap.mmap(descriptor, _FORM.size)
        finally:
            os.close(descriptor)
        if is_new:
            self.set(0, 0, 1.0, 1.0)

    def set(self, at_us: int, until_us: int, speed: float, reached: float) -> None:
        """It is `at_us` now and goes on at `speed`, up to `until_us`."""
        body = _FORM.pack(_MAGIC, 0, at_us, until_us, _monotonic_us(), speed, reached)[8:]
        self._map[:] = _MAGIC + struct.pack("<I", zlib.crc32(body)) + body

    def read(self) -> Reading:
        """What it shows; ValueError if the file is damaged."""
        for _ in range(_TRIES):
            content = self._map[:]
            magic, check, at_us, until_us, set_us, speed, reached = _FORM.unpack(content)
            if magic == _MAGIC and check == zlib.crc32(content[8:]):
                gone_us = max(_monotonic_us() - set_us, 0)  # less than 0: the machine was started anew
                now_us = max(at_us, min(until_us, at_us + int(gone_us * speed)))
                return Reading(now_us, at_us, speed, reached)
        raise ValueError("the dial of the twin is damaged")

    def close(self) -> None:
        self._map.close()


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000
