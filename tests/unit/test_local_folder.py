# SPDX-License-Identifier: Apache-2.0
"""Run folders: records on disk, logs for readers, what is kept; the task's log on a disk that is full."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from leitstand.engines.local import record
from leitstand.engines.local.folder import Ended, RunFolders
from leitstand.engines.local.tasklog import TaskLog

END = Ended("a.1", "exited", 1, 2, exit_code=3, signal=None, detail="")


def write_end(folders: RunFolders, run: str, ended_us: int = 2) -> None:
    folders.of(run).mkdir(parents=True)
    end = record.End(run, "exited", 1, ended_us)
    end.exit_code = 3
    record.write_durably(str(folders.of(run)), record.ENDED, end.text())
    os.utime(folders.of(run) / record.ENDED, ns=(ended_us, ended_us))


@pytest.fixture
def folders(tmp_path: Path) -> RunFolders:
    return RunFolders(tmp_path / "runs")


def test_an_end_record_is_read_as_it_was_written(folders: RunFolders) -> None:
    write_end(folders, "a.1")
    assert folders.ended("a.1") == END
    assert folders.ended("b.1") is None
    assert folders.started("a.1") is None
    assert folders.last_sign_of_life_us("a.1") is None


def test_the_end_record_uses_the_space_that_was_set_aside(folders: RunFolders) -> None:
    folders.of("a.1").mkdir(parents=True)
    record.reserve_end(str(folders.of("a.1")))
    (reserve,) = os.listdir(folders.of("a.1"))
    inode = os.stat(folders.of("a.1") / reserve)
    assert inode.st_blocks > 0
    end = record.End("a.1", "exited", 1, 2)
    record.write_durably(str(folders.of("a.1")), record.ENDED, end.text())
    assert os.stat(folders.of("a.1") / record.ENDED).st_ino == inode.st_ino
    assert os.listdir(folders.of("a.1")) == [record.ENDED]


@pytest.mark.parametrize(
    "run", ["", ".", "..", "../a.1", "a/b", ".gone-a.1", "a\0", "a\n", "ü", "-x", "a" * 201]
)
def test_what_cannot_be_the_id_of_a_run_names_no_folder(folders: RunFolders, run: str) -> None:
    with pytest.raises(KeyError):
        folders.of(run)


def test_logs_are_read_in_pieces(folders: RunFolders) -> None:
    folders.of("a.1").mkdir(parents=True)
    (folders.of("a.1") / "task-1.log").write_bytes(b"0123456789")
    assert folders.read_log("a.1", 1, 0, 4) == b"0123"
    assert folders.read_log("a.1", 1, 8, 4) == b"89"
    assert folders.read_log("a.1", 1, 10, 4) == b""
    with pytest.raises(KeyError):
        folders.read_log("a.1", 0, 0, 4)
    with pytest.raises(ValueError, match="offset -1"):
        folders.read_log("a.1", 1, -1, 4)


def test_only_runs_without_an_end_are_live(folders: RunFolders) -> None:
    assert list(folders.live()) == []
    write_end(folders, "a.1")
    folders.of("b.1").mkdir()
    (folders.path / ".wake").touch()
    assert list(folders.live()) == ["b.1"]


def test_pruning_removes_the_oldest_ends_and_nothing_that_lives(folders: RunFolders) -> None:
    for ended_us, run in enumerate(["c.1", "a.1", "b.1"], start=1):
        write_end(folders, run, ended_us)
    folders.of("live.1").mkdir()
    (folders.path / ".gone-z.1" / "left").mkdir(parents=True)  # from a removal that was cut off
    assert folders.prune(2) == 1
    assert sorted(os.listdir(folders.path)) == ["a.1", "b.1", "live.1"]
    assert folders.prune(2) == 0


@pytest.mark.parametrize("ended", [False, True])
def test_a_folder_that_took_the_name_of_one_being_pruned_is_not_removed(
    folders: RunFolders, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    write_end(folders, "a.1", 1)
    write_end(folders, "b.1", 2)
    remove = shutil.rmtree

    def replace_then_remove(path: Path, **more: Any) -> None:
        if path.name == ".gone-a.1":  # while the first is removed, a new run takes the name of the second
            folders.set_aside("b.1")
            if ended:
                write_end(folders, "b.1", 3)
            else:
                folders.of("b.1").mkdir()
        remove(path, **more)

    monkeypatch.setattr("shutil.rmtree", replace_then_remove)
    folders.prune(0)
    assert folders.of("b.1").exists()


def test_pruning_takes_command_and_environment_from_ended_runs_alone(folders: RunFolders) -> None:
    write_end(folders, "ended.1")
    folders.of("live.1").mkdir()
    for run in ("ended.1", "live.1"):
        for name in (*record.PRIVATE, "task-0.log"):
            (folders.of(run) / name).touch()
    folders.prune(9)
    assert sorted(os.listdir(folders.of("ended.1"))) == [record.ENDED, "task-0.log"]
    assert sorted(os.listdir(folders.of("live.1"))) == sorted((*record.PRIVATE, "task-0.log"))


def test_a_folder_set_aside_is_kept_under_the_next_free_number(folders: RunFolders) -> None:
    for number in (1, 2):
        write_end(folders, "a.1", number)
        assert folders.set_aside("a.1") == folders.path / f"a.1.stale-{number}"
    assert folders.set_aside("a.1") is None
    assert sorted(os.listdir(folders.path)) == ["a.1.stale-1", "a.1.stale-2"]


@pytest.mark.parametrize("torn", [b"", b"torn", b"i\x01\0\0\0", b"{0"])
def test_a_torn_order_says_nothing_about_whose_the_folder_is(folders: RunFolders, torn: bytes) -> None:
    folders.of("a.1").mkdir(parents=True)
    (folders.of("a.1") / record.ORDER).write_bytes(torn)
    assert folders.placement("a.1") is None


def test_a_task_log_on_a_full_disk_costs_output_and_no_error() -> None:
    log = TaskLog("/dev/full", 1000)
    log.write(b"lost")
    log.write(b"lost, too" * 1000)
    log.close()


def test_a_gap_in_a_task_log_is_marked_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = TaskLog(str(tmp_path / "log"), 1000)
    log.write(b"before\n")
    with monkeypatch.context() as full:

        def refuse(fd: int, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        full.setattr("os.write", refuse)
        log.write(b"lost")
        log.write(b"lost, too")
    log.write(b"after\n")
    log.close()
    gap = b"[leitstand] 13 bytes of output are lost: the disk was full\n"
    assert (tmp_path / "log").read_bytes() == b"before\n" + gap + b"after\n"
