# SPDX-License-Identifier: Apache-2.0
"""What the faces' process promises before and after it serves; the rest is in tests/system/test_api.py."""

import asyncio
import hashlib
import os
import sqlite3
from pathlib import Path

import pytest

from leitstand.app import chores
from leitstand.app.faces import views_dropped_if_broken
from leitstand.app.serving import EXIT_CODES, CannotServe
from leitstand.app.settings import Settings
from leitstand.core.facts import Resources, SubmitJob, TenantAdded
from leitstand.journal import heads
from leitstand.journal.sqlite import SqliteJournal
from leitstand.runtime.follower import ViewBroken
from tests.unit.faces_story import Plant


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


def test_a_full_disk_is_not_the_fault_of_the_views(tmp_path: Path) -> None:
    views = tmp_path / "views.db"
    views.write_text("x")
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    with pytest.raises(CannotServe, match="no room") as ended, views_dropped_if_broken(views):
        raise ViewBroken("entries 1 to 2") from full
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


def test_a_head_that_cannot_be_signed_is_said_and_not_fatal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(data=tmp_path)
    journal = SqliteJournal(settings.journal)
    journal.append(journal.head, 1, [TenantAdded("t")])
    settings.keys.mkdir()
    (settings.keys / "head.key").write_text("no key")
    chores.sign_head(settings, journal)
    assert "was not signed" in capsys.readouterr().err


def test_a_snapshot_is_asked_for_when_enough_facts_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = Plant(tmp_path)
    settings = Settings(data=tmp_path)
    asked: list[tuple[str, ...]] = []
    looks = 0

    class Process:
        async def wait(self) -> int:
            return 0

    async def start(*argv: str, **_: object) -> Process:
        asked.append(argv)
        return Process()

    def look(_: Settings) -> int:
        nonlocal looks
        looks += 1
        return 1000 if asked else 0

    monkeypatch.setattr(chores, "SNAPSHOT_LOOK_S", 0.001)
    monkeypatch.setattr(chores, "SNAPSHOT_FACTS", 10)
    monkeypatch.setattr(chores, "_last_snapshot", look)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)

    async def main() -> None:
        task = asyncio.create_task(chores._snapshots(settings, plant.faces))
        while looks < 3:
            await asyncio.sleep(0.001)
        assert asked == []
        for _ in range(3):
            plant.writer.cycle(SubmitJob("operator", "default", Resources(gpus=1)))
        seen = looks
        while looks < seen + 3:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(main(), 30))
    (argv,) = asked
    assert argv[-2:] == ("leitstand.app.snapshot", settings.to_json())


def test_the_latest_snapshot_is_the_latest_whole_file(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    assert chores._last_snapshot(settings) == 0
    settings.snapshots.mkdir()
    for name in (f"{7:019d}.snapshot", f"{12:019d}.snapshot", f"{99:019d}.draft", "x.snapshot"):
        (settings.snapshots / name).touch()
    assert chores._last_snapshot(settings) == 12


def test_work_directories_of_live_jobs_are_kept_and_old_ones_go(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    digests = []
    for content in (b"used", b"old"):
        digest = hashlib.sha256(content).hexdigest()
        plant.ask("PUT", f"/v1/blobs/{digest}", content=content)
        digests.append(digest)
    plant.submit(workdir=digests[0])
    for digest in digests:
        os.utime(tmp_path / "blobs" / digest[:2] / digest[2:], (0, 0))
    chores._prune(plant.faces, [job.spec for job in plant.faces.follower.state.jobs.values()])
    assert [plant.faces.blobs.open(digest) is not None for digest in digests] == [True, False]
