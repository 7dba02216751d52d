# SPDX-License-Identifier: Apache-2.0
"""Unix sockets at paths of any length: the inbox listens, a follower's link connects.

Socket addresses are short (107 bytes): the folder is named through an open descriptor of it.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

BACKLOG: Final = 64


def listen(path: Path) -> socket.socket:
    """A listening socket at `path` (mode 0600), which is replaced if it exists; OSError. The caller holds the lock of
    the folder."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address(path) as address:
            before = os.umask(0o177)
            try:
                listener.bind(address)
            finally:
                os.umask(before)
        listener.setblocking(False)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def connect(path: Path) -> socket.socket:
    """A socket connected to `path`, not blocking from now on; OSError."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address(path) as address:
            channel.connect(address)
        channel.setblocking(False)
    except BaseException:
        channel.close()
        raise
    return channel


@contextmanager
def _address(path: Path) -> Iterator[str]:
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
