# SPDX-License-Identifier: Apache-2.0
"""When what opens doors of a twin was issued and ends, in the world's time, by the digest of its secret: a small file.

Written by the faces of a twin alone: in its journal time is not the world's (decision 20). Without the file nothing
that was issued opens a door any more; the administrator's token of the data folder does.
"""

import threading
import time
from pathlib import Path
from typing import Final

import msgspec

from leitstand.runtime.disk import write_whole

KEPT_MAX: Final = 100_000
NEVER: Final = (0, 0)


class Ends:
    """See the module. ValueError for a file that is damaged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._known = msgspec.json.decode(path.read_bytes(), type=dict[str, tuple[int, int]])
        except FileNotFoundError:
            self._known = {}

    def put(self, digest: str, issued_us: int, ends_us: int) -> None:
        """Keep it, durably, and forget what is over; OSError."""
        now = time.time_ns() // 1000
        with self._lock:
            known = {name: both for name, both in self._known.items() if both[1] > now}
            if len(known) >= KEPT_MAX:
                raise OSError(f"{KEPT_MAX} tokens are valid at once, which is the limit of a twin")
            known[digest] = issued_us, ends_us
            write_whole(self._path, msgspec.json.encode(known))
            self._known = known

    def get(self, digest: str) -> tuple[int, int]:
        """When it was issued and when it ends (µs); both 0 for one that is not known."""
        return self._known.get(digest, NEVER)
