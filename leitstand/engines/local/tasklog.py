# SPDX-License-Identifier: Apache-2.0
"""The log file of one task, written by the supervisor. Standard library only."""

import os

from leitstand.engines.local.record import note


class TaskLog:
    """Up to its limit everything; then one line that says so, and nothing more. A full disk costs output, never the
    job: the gap is marked when there is room again."""

    def __init__(self, path: str, bytes_max: int) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._bytes_max = bytes_max
        self._room = bytes_max
        self._lost = 0
        self._full = False

    def write(self, data: bytes) -> None:
        if self._full:
            return
        if self._lost and self._append(note(f"{self._lost} bytes of output are lost: the disk was full")):
            self._lost = 0
        kept = data[: self._room]
        self._lost += len(kept) - (0 if self._lost else self._append(kept))
        self._room -= len(kept)
        if len(data) > len(kept):
            self._full = True
            self._append(
                note(f"the log is full ({self._bytes_max} bytes): output is discarded, the job goes on")
            )

    def close(self) -> None:
        os.close(self._fd)

    def _append(self, data: bytes) -> int:
        """Bytes written: fewer than given where the disk refuses."""
        done = 0
        while done < len(data):
            try:
                done += os.write(self._fd, data[done:])
            except OSError:
                break
        return done
