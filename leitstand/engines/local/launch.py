# SPDX-License-Identifier: Apache-2.0
"""What the engine asks of the operating system: FIFO, supervisor process, lock, signal, port. Called by it alone."""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import leitstand
from leitstand.engines.local import environment, process
from leitstand.engines.local.folder import Started

PORT_TRIES_MAX: Final = 64
BOOT: Final = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from leitstand.engines.local.supervisor import main; main(sys.argv[2])"
)


def open_fifo(path: Path) -> int:
    """A FIFO open for both ends, so that it never reports an end of file; a FIFO because its path may be long."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def spawn(folder: Path, secrets: bytes = b"") -> subprocess.Popen[bytes]:
    """A supervisor in a session of its own, with nothing of ours but the standard library and this package. `secrets`
    (see `orders`) go through memory, never over a disk."""
    package = str(Path(leitstand.__file__).resolve().parent.parent)
    with (
        open(
            os.open(folder / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab"
        ) as faults,
        open(os.memfd_create("secrets"), "w+b") as memory,
    ):
        memory.write(secrets)
        memory.seek(0)
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", BOOT, package, str(folder)],
            stdin=memory,
            stdout=subprocess.DEVNULL,
            stderr=faults,
            cwd="/",
            env=environment.inherited(),
            start_new_session=True,
        )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Whether we hold the folder's lock, that is, no supervisor lives; also where the folder is gone."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)


def call_to_end(started: Started) -> None:
    """TERM to the supervisor, if the process with its pid is still that one."""
    try:
        fd = os.pidfd_open(started.pid)
    except OSError:
        return
    try:
        if process.ticks(started.pid) == started.ticks:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(fd, signal.SIGTERM)
    finally:
        os.close(fd)


def free_port(used: set[int]) -> int:
    """A TCP port of the loopback that nobody listens on and no other run here was given."""
    for _ in range(PORT_TRIES_MAX):
        with socket.socket() as probe:
            probe.bind((environment.MASTER_ADDR, 0))
            port: int = probe.getsockname()[1]
        if port not in used:
            break
    return port
