# SPDX-License-Identifier: Apache-2.0
"""What the processes of a control plane share: every end has its code and its line, one process at a time holds a
lock, and what is open to other machines is recognised."""

import errno
import fcntl
import logging
import os
import sqlite3
import time
from pathlib import Path

import pytest

from leitstand.app.preflight import CannotStart, await_lock
from leitstand.app.serving import (
    ALERT,
    EXIT_CODES,
    CannotServe,
    is_loopback,
    is_open,
    lock,
    locked,
    saying_why,
)
from leitstand.app.settings import Settings
from leitstand.journal.codec import JournalUnusable
from leitstand.runtime.ports import JournalFull, StaleHead
from leitstand.stores.records import NewerRecords
from tests.unit.faults import sqlite_error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CannotServe("clock", "why"), "clock"),
        (JournalUnusable("why"), "unusable"),
        (NewerRecords("why"), "unusable"),
        (StaleHead("why"), "fenced"),
        (JournalFull("why"), "full"),
        (OSError(errno.EDQUOT, "quota"), "full"),
        (sqlite_error(sqlite3.SQLITE_IOERR_WRITE), "full"),
        (sqlite_error(sqlite3.SQLITE_BUSY), "failed"),
        (OSError(errno.EMFILE, "too many open files"), "failed"),
    ],
)
def test_every_end_has_its_code_and_one_line(
    error: Exception, code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, saying_why(Settings(data=tmp_path)):
        raise error
    assert ended.value.code == EXIT_CODES[code]
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_error_of_our_own_is_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(KeyError), saying_why(Settings(data=tmp_path)):
        raise KeyError("a fault in the code")


def test_what_is_for_the_operator_is_marked_so_in_the_log() -> None:
    assert logging.getLevelName(logging.CRITICAL) == ALERT


# ── locks ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_lock_is_held_by_one_and_names_its_process(tmp_path: Path) -> None:
    path = tmp_path / "some.lock"
    with (
        lock(path),
        pytest.raises(
            CannotServe, match=rf"in use by another control plane \(process {os.getpid()}\)"
        ) as held,
        lock(path),
    ):
        pytest.fail("held twice")
    assert held.value.code == EXIT_CODES["locked"]
    with lock(path):  # it goes with its holder
        pass


def test_who_comes_next_waits_for_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "some.lock"
    waits: list[float] = []
    holding = lock(path)
    holding.__enter__()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            holding.__exit__(None, None, None)

    monkeypatch.setattr(time, "sleep", wait)
    with lock(path, wait_s=60):
        assert len(waits) == 3


def test_a_start_is_refused_while_faces_of_before_hold_the_folder(tmp_path: Path) -> None:
    path = Settings(data=tmp_path).faces_lock
    with lock(path), pytest.raises(CannotStart, match=f"process {os.getpid()}") as refused:
        await_lock(path, time.monotonic())
    assert refused.value.exit_code == EXIT_CODES["locked"]
    await_lock(path, time.monotonic())
    with lock(path):  # to look leaves nothing held
        pass


def test_a_holder_that_did_not_write_its_number_is_asked_of_the_kernel(tmp_path: Path) -> None:
    path = tmp_path / "some.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(CannotStart, match=f"process {os.getpid()}"):
        await_lock(path, time.monotonic())
    os.close(descriptor)
    assert locked(os.open(path, os.O_RDWR), time.monotonic())


# ── address ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("host", "closed"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
    ],
)
def test_only_loopback_is_closed_to_others(host: str, closed: bool, tmp_path: Path) -> None:
    assert is_loopback(host) is closed
    settings = Settings(data=tmp_path, host=host)
    assert is_open(settings) is not closed


@pytest.mark.parametrize(
    ("given", "open_"),
    [
        ({"behind_proxy": True}, False),
        ({"tls_cert": Path("c"), "tls_key": Path("k")}, False),
        ({"tls_cert": Path("c")}, True),
    ],
)
def test_what_encrypts_may_be_reached_by_others(
    given: dict[str, object], open_: bool, tmp_path: Path
) -> None:
    settings: Settings = Settings(data=tmp_path, host="0.0.0.0", **given)  # type: ignore[arg-type]
    assert is_open(settings) is open_
