# SPDX-License-Identifier: Apache-2.0
"""Unpacks the archive of a job's working directory. Imported by the supervisor only for jobs that have one."""

import os
import select
import signal
import tarfile
from collections.abc import Callable
from typing import BinaryIO

from leitstand.engines.local import process
from leitstand.engines.local.confine import Who, become
from leitstand.engines.local.spawn import end_with_parent

BYTES_MAX = 16 * 1024**3
ENTRIES_MAX = 200_000
LOOK_S = 0.2  # at whether to give up, while somebody else unpacks


class BadArchive(Exception):
    """The archive cannot be unpacked: a word of `record.DETAILS`, then a line for the person who reads the log."""


def unpack_as(who: Who | None, archive: str, target: str, give_up: Callable[[], bool]) -> None:
    """As `unpack`, in a process that is `who`'s already: what is unpacked is theirs, and a link that another process of
    theirs puts in the way leads nowhere that they could not go themselves."""
    if who is None:
        unpack(archive, target, give_up)
        return
    with open(archive, "rb") as file:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            try:
                _unpack_child(who, file, target, writer)
            finally:
                os._exit(1)
        os.close(writer)
        try:
            while not select.select([reader], [], [], LOOK_S)[0]:
                if give_up():
                    os.kill(pid, signal.SIGKILL)
            said = os.read(reader, 4096).decode(errors="replace")
        finally:
            os.close(reader)
            _, status = os.waitpid(pid, 0)
    if status == 0 or give_up():
        return
    detail, _, line = said.partition(" ")
    if detail.isdigit():
        raise OSError(int(detail), os.strerror(int(detail)), target)
    raise BadArchive(detail or "workdir_unreadable", line or "the working directory could not be unpacked")


def _unpack_child(who: Who, file: BinaryIO, target: str, writer: int) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    process.rank_when_short(process.OOM_RUN)
    become(who)
    end_with_parent()
    try:
        unpack(file, target, lambda: False)
    except BadArchive as error:
        os.write(writer, f"{error.args[0]} {error.args[1]}".encode(errors="replace")[:4096])
    except OSError as error:
        os.write(writer, f"{error.errno or 5} ".encode())
    else:
        os._exit(0)


def unpack(archive: str | BinaryIO, target: str, give_up: Callable[[], bool]) -> None:
    """Unpacks the tar archive (also compressed) into `target`; nothing can land outside of it. Ends early, without an
    error, when `give_up` says so. Raises BadArchive; OSError when the disk refuses."""
    if not hasattr(tarfile, "data_filter"):
        raise BadArchive("workdir_unreadable", "safe unpacking needs Python 3.11.4 or newer")
    size = 0
    try:
        with tarfile.open(archive) if isinstance(archive, str) else tarfile.open(fileobj=archive) as tar:
            for count, entry in enumerate(tar, start=1):
                size += entry.size
                if count > ENTRIES_MAX or size > BYTES_MAX:
                    limit = f"{ENTRIES_MAX} entries and {BYTES_MAX} bytes"
                    raise BadArchive("workdir_too_large", f"the working directory exceeds {limit}")
                if give_up():
                    return
                tar.extract(entry, target, filter="data")
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise BadArchive(
            "workdir_unreadable", f"the working directory cannot be unpacked: {error}"
        ) from error
