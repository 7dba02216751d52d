# SPDX-License-Identifier: Apache-2.0
"""What every room relies on of the disk: a file appears whole or not at all, and a full disk is recognised."""

import errno
import fcntl
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from leitstand.runtime.disk import is_full, make_private, write_whole
from tests.unit.faults import sqlite_error


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "no space"), True),
        (OSError(errno.EDQUOT, "quota"), True),
        (OSError(errno.EFBIG, "limit of file size"), True),
        (OSError(errno.EIO, "input/output"), False),
        (sqlite_error(sqlite3.SQLITE_FULL), True),
        (sqlite_error(sqlite3.SQLITE_IOERR_WRITE), True),  # a quota, to SQLite
        (sqlite_error(sqlite3.SQLITE_IOERR_SHMSIZE), True),
        (sqlite_error(sqlite3.SQLITE_IOERR_READ), False),
        (sqlite_error(sqlite3.SQLITE_BUSY), False),
        (sqlite3.OperationalError("of another origin"), False),
        (ValueError("of no disk"), False),
        (None, False),
    ],
)
def test_a_full_disk_is_recognised_by_its_code(error: BaseException | None, full: bool) -> None:
    assert is_full(error) is full


def test_a_file_is_written_whole_for_its_owner_alone_and_leaves_no_draft(tmp_path: Path) -> None:
    write_whole(tmp_path / "key", b"one")
    write_whole(tmp_path / "key", b"two")
    assert (tmp_path / "key").read_bytes() == b"two"
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_file_that_is_not_to_be_replaced_stays(tmp_path: Path) -> None:
    write_whole(tmp_path / "key", b"one", replace=False)
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "key", b"two", replace=False)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"one"]


def test_a_write_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "key", b"one")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "key", b"two")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"one"]


def test_a_draft_that_a_crash_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "key.draft").write_bytes(b"half")
    write_whole(tmp_path / "key", b"whole", replace=False)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"whole"]


def test_a_file_that_is_there_keeps_its_locks(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    make_private(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    take = f"import fcntl; fcntl.lockf(open({str(path)!r}, 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    with open(path, "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        make_private(path)
        assert subprocess.run([sys.executable, "-c", take], capture_output=True, check=False).returncode
    assert not subprocess.run([sys.executable, "-c", take], check=False).returncode
