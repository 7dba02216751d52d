# SPDX-License-Identifier: Apache-2.0
"""What every room needs to know of the disk: whether an error says that it is full or a database is damaged, and how a
file appears whole."""

import errno
import os
import sqlite3
from pathlib import Path
from typing import Final

# SQLite's errors of writing, before anything was committed: a full disk, a quota or a limit of file size
_NO_ROOM: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_full(error: BaseException | None) -> bool:
    """Whether it says that the disk, a quota or a limit of file size leaves no room."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) in _NO_ROOM
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_damaged(error: sqlite3.Error) -> bool:
    """Whether it says that the file itself is no sound database; any other error may pass, and the file is whole."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def make_private(path: Path) -> None:
    """An empty file that nobody else may read, for SQLite. One that exists is not touched: a process that closes it,
    however it was opened, loses all its locks on it, and with them those of SQLite. OSError: there can be none."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return


def write_whole(path: Path, content: bytes, mode: int = 0o600, *, replace: bool = True) -> None:
    """All of `content` under that name, durable on return, or nothing, also after a crash.

    OSError: nothing changed; FileExistsError if there is one already and it is not to be replaced."""
    draft = path.with_name(path.name + ".draft")
    draft.unlink(missing_ok=True)
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(draft, path)
        else:
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
