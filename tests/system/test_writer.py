# SPDX-License-Identifier: Apache-2.0
"""The writer as a real process: it locks its folder, ends with its parent, and says in one line why it cannot serve."""

import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from leitstand.app.serving import EXIT_CODES
from leitstand.app.settings import Settings
from leitstand.core.facts import NodeAdded, NodeRemoved, RulesSet, TenantAdded, WriterStarted
from leitstand.journal.sqlite import SqliteJournal, SqliteReader
from leitstand.runtime.wire import Ask, pack

pytestmark = pytest.mark.system

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def start(**more: Any) -> subprocess.Popen[bytes]:
        settings = Settings(**{"data": tmp_path, "gpus": 4, **more})
        pipe = subprocess.PIPE
        argv = [sys.executable, "-m", "leitstand.app.writer", settings.to_json()]
        process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def ready(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"


def refusal(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    _, stderr = process.communicate(timeout=30)
    lines = stderr.decode().splitlines()
    assert len(lines) == 1, f"one line is promised, got {lines}"
    return process.returncode, lines[0]


def facts(folder: Path, kind: type) -> list[Any]:
    with SqliteReader(folder / "journal.db") as journal:
        return [entry.fact for entry in journal.read(0) if isinstance(entry.fact, kind)]


def test_a_second_writer_on_the_folder_is_refused_and_names_the_first(start: Start, tmp_path: Path) -> None:
    first = start()
    ready(first)
    code, line = refusal(start())
    assert code == EXIT_CODES["locked"]
    assert str(first.pid) in line
    assert str(tmp_path) in line


def test_after_kill_9_the_next_writer_takes_the_folder_at_once(start: Start) -> None:
    first = start()
    ready(first)
    first.kill()
    first.wait()
    ready(start())


@pytest.mark.parametrize("how", ["stdin closed", "SIGTERM"])
def test_it_ends_cleanly_when_told(start: Start, how: str) -> None:
    process = start()
    ready(process)
    assert process.stdin is not None
    if how == "SIGTERM":
        process.send_signal(signal.SIGTERM)
    else:
        process.stdin.close()
    assert process.wait(timeout=30) == 0


def test_a_clock_behind_the_journal_is_refused(start: Start, tmp_path: Path) -> None:
    process = start()
    ready(process)
    process.send_signal(signal.SIGTERM)
    process.wait()
    ahead = time.time_ns() // 1000 + 3600 * 10**6
    journal = SqliteJournal(tmp_path / "journal.db")
    journal.append(journal.head, ahead, [WriterStarted("from the future")])
    journal.close()
    code, line = refusal(start())
    assert code == EXIT_CODES["clock"]
    assert "behind the journal" in line


def test_a_file_that_is_no_journal_is_refused_and_left_alone(start: Start, tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_text("this is not a database" * 100)
    code, line = refusal(start())
    assert code == EXIT_CODES["unusable"]
    assert "journal.db" in line
    assert (tmp_path / "journal.db").read_text().startswith("this is not")


def test_gpus_that_cannot_be_shared_by_the_nodes_are_refused(start: Start) -> None:
    code, line = refusal(start(gpus=5, nodes=2))
    assert code == EXIT_CODES["unusable"]
    assert "5" in line
    assert "2" in line


def test_a_stale_writer_is_fenced_by_the_journal(start: Start, tmp_path: Path) -> None:
    """Somebody else appends behind the writer's back; its next append must end it."""
    process = start()
    ready(process)
    with sqlite3.connect(tmp_path / "journal.db") as db:
        db.execute("UPDATE head SET hash = zeroblob(32)")
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(tmp_path / "inbox.sock"))
    client.sendall(pack(Ask(1, "t", TenantAdded("acme"))))
    process.wait(timeout=30)  # of itself: reading what it said closes its standard input, which ends it too
    code, line = refusal(process)
    assert code == EXIT_CODES["fenced"]
    assert "another writer" in line


def test_restarts_record_only_what_changed(start: Start, tmp_path: Path) -> None:
    def live(**more: Any) -> None:
        process = start(**more)
        ready(process)
        process.send_signal(signal.SIGTERM)
        process.wait()

    live()
    live()
    assert len(facts(tmp_path, NodeAdded)) == 1
    assert len(facts(tmp_path, RulesSet)) == 1
    live(discipline="sjf")
    live()  # no discipline named: the rules in force stay
    assert [fact.rules.discipline for fact in facts(tmp_path, RulesSet)] == ["fifo-greedy", "sjf"]
    live(nodes=2)
    assert [fact.node for fact in facts(tmp_path, NodeAdded)] == ["node-1", "node-1", "node-2"]
    live()
    assert [fact.node for fact in facts(tmp_path, NodeRemoved)] == ["node-2"]


def test_settings_survive_the_way_to_the_process() -> None:
    settings = Settings(data=Path("x"), tls_cert=Path("c"), gpus=3, discipline="sjf")
    assert Settings.from_json(settings.to_json()) == settings
    with pytest.raises(msgspec.DecodeError):
        Settings.from_json('{"data": 5}')
