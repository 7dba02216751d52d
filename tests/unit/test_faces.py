# SPDX-License-Identifier: Apache-2.0
"""What the faces' process promises before and after it serves; the rest is in tests/system/test_api.py."""

import asyncio
import errno
import hashlib
import os
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from leitstand.app import chores
from leitstand.app.faces import _say_lost_end, views_dropped_if_broken
from leitstand.app.serving import ALERT, EXIT_CODES, CannotServe
from leitstand.app.settings import Settings
from leitstand.core.facts import Resources, SubmitJob, TenantAdded
from leitstand.journal import heads
from leitstand.journal.codec import JournalUnusable
from leitstand.journal.sqlite import SqliteJournal
from leitstand.runtime.follower import ViewBroken
from leitstand.runtime.ports import Entry, Head
from leitstand.views.database import Database
from tests.unit.archives import archive
from tests.unit.faces_story import Plant, first
from tests.unit.faults import no_more_files, sqlite_error


def test_broken_views_are_deleted_so_that_the_next_start_makes_them_anew(tmp_path: Path) -> None:
    views = tmp_path / "views.db"
    for name in ("views.db", "views.db-wal", "views.db-shm", "journal.db"):
        (tmp_path / name).write_text("x")
    with (
        pytest.raises(CannotServe, match="rebuilt at the next start") as ended,
        views_dropped_if_broken(views),
    ):
        raise ViewBroken("entries 1 to 2")
    assert ended.value.code == EXIT_CODES["failed"]
    assert [path.name for path in tmp_path.iterdir()] == ["journal.db"]


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE])
def test_a_full_disk_or_a_quota_is_not_the_fault_of_the_views(tmp_path: Path, code: int) -> None:
    views = tmp_path / "views.db"
    views.write_text("x")
    with pytest.raises(CannotServe, match="no room") as ended, views_dropped_if_broken(views):
        raise ViewBroken("entries 1 to 2") from sqlite_error(code)
    assert ended.value.code == EXIT_CODES["full"]
    assert views.exists()


def test_a_head_is_signed_once_however_often_one_asks(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    journal = SqliteJournal(settings.journal)
    chores.sign_head(settings, journal)
    assert not settings.heads.exists()  # nothing to vouch for
    for number in (1, 2):
        journal.append(journal.head, number, [TenantAdded(f"t{number}")])
        for _ in range(2):
            chores.sign_head(settings, journal)
    assert [signed.seq for signed in heads.load_heads(settings.heads)] == [1, 2]


def test_a_last_head_that_cannot_be_signed_is_said_and_not_fatal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(data=tmp_path)
    journal = SqliteJournal(settings.journal)
    journal.append(journal.head, 1, [TenantAdded("t")])
    settings.keys.mkdir()
    (settings.keys / "head.key").write_text("no key")
    chores.sign_last(settings, journal)
    assert "was not signed" in caplog.text


# ── chores ────────────────────────────────────────────────────────────────────────────────────────────────────────
async def until_done(chore: Callable[[], Awaitable[None]], times: int) -> None:
    """Repeat a chore until it was done so many times, failed or not."""
    done = 0

    async def count() -> None:
        nonlocal done
        done += 1
        await chore()

    task = asyncio.create_task(chores.repeat(chores.Chore("the chore", count, 0.001, 0.001)))
    while done < times and not task.done():
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled(), "a chore never ends the faces"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "Too many open files"),
        JournalUnusable("damaged"),
        sqlite_error(sqlite3.SQLITE_BUSY),
        KeyError("a fault of ours"),
    ],
)
def test_a_chore_that_fails_is_said_and_tried_again(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise error

    asyncio.run(asyncio.wait_for(until_done(fail, 3), 30))
    assert len(caplog.messages) >= 2
    assert caplog.messages[0] == f"the chore failed; the next try is in 0.001 s: {error}"


@pytest.mark.parametrize("what", ["sign", "snapshot"])
def test_a_process_without_another_open_file_goes_on(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    plant = Plant(tmp_path)
    settings = Settings(data=tmp_path)
    SqliteJournal(settings.journal).close()
    settings.snapshots.mkdir()

    async def chore() -> None:
        with no_more_files():
            await (
                chores.sign_now(settings) if what == "sign" else chores.write_snapshot(settings, plant.faces)
            )

    asyncio.run(asyncio.wait_for(until_done(chore, 2), 30))
    assert "open" in caplog.text


class Process:
    """A process that writes no snapshot."""

    started: list[tuple[str, ...]]
    status = 0

    async def wait(self) -> int:
        return self.status


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    process = Process()
    process.started = []

    async def start(*argv: str, **_: object) -> Process:
        process.started.append(argv)
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    monkeypatch.setattr(chores, "SNAPSHOT_FACTS", 10)
    return process


def test_a_snapshot_is_asked_for_when_enough_facts_came(tmp_path: Path, process: Process) -> None:
    plant = Plant(tmp_path)
    settings = Settings(data=tmp_path)
    settings.snapshots.mkdir()
    (settings.snapshots / f"{10**6:019d}.snapshot").touch()  # of a longer journal: it does not count
    first(chores.write_snapshot(settings, plant.faces))
    assert process.started == []
    for _ in range(3):
        plant.writer.cycle(SubmitJob("operator", "default", Resources(gpus=1)))
    first(chores.write_snapshot(settings, plant.faces))
    (argv,) = process.started
    assert argv[-2:] == ("leitstand.app.snapshot", settings.to_json())
    (settings.snapshots / f"{plant.faces.follower.folded - 9:019d}.snapshot").touch()
    first(chores.write_snapshot(settings, plant.faces))
    assert len(process.started) == 1


def test_a_snapshot_that_came_to_nothing_is_a_failure(tmp_path: Path, process: Process) -> None:
    plant = Plant(tmp_path)
    for _ in range(3):
        plant.writer.cycle(SubmitJob("operator", "default", Resources(gpus=1)))
    process.status = 7
    with pytest.raises(RuntimeError, match="exit code 7"):
        first(chores.write_snapshot(Settings(data=tmp_path), plant.faces))


def test_work_directories_of_live_jobs_are_kept_and_old_ones_go(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    digests = []
    for content in (archive("used"), archive("old")):
        digest = hashlib.sha256(content).hexdigest()
        plant.ask("PUT", f"/v1/blobs/{digest}", content=content)
        digests.append(digest)
    plant.submit(workdir=digests[0])
    for digest in digests:
        os.utime(tmp_path / "blobs" / "operator" / digest[:2] / digest[2:], (0, 0))
    first(chores.prune_blobs(plant.faces))
    assert [plant.faces.blobs.open("operator", digest) is not None for digest in digests] == [True, False]


# ── a journal that lost its end ───────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("witness", ["heads.jsonl", "snapshots", "views.db", None])
def test_a_journal_that_knows_less_than_others_is_told_to_the_operator(
    tmp_path: Path, witness: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(data=tmp_path)
    settings.snapshots.mkdir()
    last = 40 if witness is None else 30
    views = Database(settings.views, "j", 100)
    views.apply(
        Entry(seq, seq, TenantAdded(f"t{seq}")) for seq in range(1, 41 if witness == "views.db" else 11)
    )
    views.close()
    signed = 40 if witness == "heads.jsonl" else 10
    heads.record(settings.heads, heads.Signer(settings.keys).sign("j", Head(signed, 1, bytes(32))))
    (settings.snapshots / f"{40 if witness == 'snapshots' else 20:019d}.snapshot").touch()
    _say_lost_end(settings, last, Database(settings.views, "j", last))
    if witness is None:
        assert caplog.records == []
        return
    (said,) = caplog.records
    assert said.levelname == ALERT
    assert f"ends at entry 30, but {witness} knows entry 40" in said.message
