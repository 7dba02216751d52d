# SPDX-License-Identifier: Apache-2.0
"""`leitstand upgrade-check`: whether this version may take over is found out on a copy, and every doubt is a no."""

import json
import sqlite3
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from leitstand.cli.upgrade import upgrade_check
from leitstand.core.state import PROJECTION_VERSION, State
from leitstand.journal import snapshots
from leitstand.journal.codec import DEFAULT
from leitstand.journal.place import open_reader
from leitstand.journal.sqlite import SqliteJournal
from tests.golden.test_journals import GOLDEN, entries


def made(folder: Path, name: str = "0002.jsonl") -> Path:
    """A data folder whose journal is that golden one."""
    folder.mkdir()
    with SqliteJournal(folder / "journal.db") as journal:
        for at, body in entries(name):
            journal.append(journal.head, at, [DEFAULT.decode(body)])
    return folder


def snapshot(data: Path, **other: Any) -> None:
    """A snapshot in the middle, which says `other` than is true."""
    with open_reader(data / "journal.db") as reader:
        head, state = reader.head_at(reader.head.seq // 2), State()
        assert head is not None
        snapshots.fold(state, reader.read(0, head.seq))
    path = snapshots.write(data / "snapshots", state, head)
    told = msgspec.structs.replace(
        msgspec.msgpack.decode(path.read_bytes(), type=snapshots.Snapshot), **other
    )
    path.write_bytes(msgspec.msgpack.encode(told))


def checked(data: Path, *words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(upgrade_check, ["--data", str(data), *words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, " ".join(done.stderr.split())


def spoilt(data: Path, statement: str) -> None:
    with sqlite3.connect(data / "journal.db") as database:
        for (trigger,) in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            database.execute(f"DROP TRIGGER {trigger}")
        assert database.execute(statement).rowcount


@pytest.mark.parametrize("name", GOLDEN)
def test_every_released_journal_may_be_taken_over(name: str, tmp_path: Path) -> None:
    data = made(tmp_path / "data", name)
    before = (data / "journal.db").read_bytes()
    code, said, _ = checked(data, "--json")
    told = json.loads(said)
    assert (code, told["ok"], told["digest"]) == (0, True, GOLDEN[name][1])
    assert (data / "journal.db").read_bytes() == before
    assert told["copy"] is None


def test_the_page_says_how_to_upgrade_and_how_to_go_back_and_the_copy_is_kept(tmp_path: Path) -> None:
    data, copy = made(tmp_path / "data"), tmp_path / "before.db"
    code, said, _ = checked(data, "--copy", str(copy))
    assert code == 0
    for part in ("may take over", "To upgrade:", "To go back:", f"The copy is {copy}"):
        assert part in said
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    again = tmp_path / "again"
    again.mkdir()
    copy.rename(again / "journal.db")
    assert checked(again)[0] == 0, "one goes on from the copy"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "data"], "nothing else is left"


def test_a_snapshot_of_another_version_is_held_against_the_state(tmp_path: Path) -> None:
    data = made(tmp_path / "data")
    snapshot(data, code_version="0.0.9")
    code, said, _ = checked(data, "--json")
    assert code == 0
    (witness,) = json.loads(said)["witnesses"]
    assert (witness["version"], witness["agrees"]) == ("0.0.9", True)


def test_a_version_that_makes_another_state_of_the_same_entries_must_not_take_over(tmp_path: Path) -> None:
    data = made(tmp_path / "data")
    snapshot(data, code_version="0.0.9", digest="0" * 64)
    code, said, err = checked(data, "--copy", str(tmp_path / "copy.db"))
    assert code == 1
    assert "MUST NOT take over" in said
    assert "version 0.0.9 had another state after entry" in err
    assert not (tmp_path / "copy.db").exists()


def test_a_snapshot_of_another_projection_cannot_be_compared_and_is_counted(tmp_path: Path) -> None:
    data = made(tmp_path / "data")
    snapshot(data, projection_version=PROJECTION_VERSION + 1, digest="0" * 64)
    code, said, _ = checked(data)
    assert code == 0
    assert "0 agree, 1 of another projection" in said


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        (
            "UPDATE facts SET body = CAST(replace(CAST(body AS TEXT), 'a', 'b') AS BLOB) WHERE seq = 5",
            "hash mismatch",
        ),
        ("DELETE FROM facts WHERE seq = 5", "dropped"),
        ("DELETE FROM facts WHERE seq = (SELECT max(seq) FROM facts)", "dropped"),
    ],
)
def test_a_damaged_journal_is_taken_over_by_nobody(statement: str, why: str, tmp_path: Path) -> None:
    data = made(tmp_path / "data")
    spoilt(data, statement)
    code, said, err = checked(data)
    assert code == 1
    assert "MUST NOT take over" in said
    assert why in err


def test_a_fact_that_this_version_does_not_know_is_a_no(tmp_path: Path) -> None:
    data = made(tmp_path / "data")
    newer = SimpleNamespace(encode=lambda _facts: [b'{"fact":"OfTheFuture"}'])
    with SqliteJournal(data / "journal.db", codec=newer) as journal:  # type: ignore[arg-type]
        journal.append(journal.head, journal.head.at, [DEFAULT.decode(entries("0002.jsonl")[0][1])])
    code, said, err = checked(data)
    assert code == 1
    assert "MUST NOT take over" in said
    assert "OfTheFuture" in err


# ── the running version ───────────────────────────────────────────────────────────────────────────────────────────
def program(folder: Path, said: str) -> str:
    file = folder / "leitstand"
    file.write_text(f"#!/bin/sh\n{said}\n")
    file.chmod(0o755)
    return str(file)


def answer(data: Path, **other: Any) -> str:
    told = {**json.loads(checked(data, "--json")[1]), "version": "0.0.9", **other}
    return f"cat <<'END'\n{json.dumps(told)}\nEND"


@pytest.mark.parametrize(
    ("other", "code", "said"),
    [
        ({}, 0, "0.0.9 folds the copy to the same state"),
        ({"digest": "0" * 64}, 1, "0.0.9 folds the copy to another state"),
        ({"hash": "0" * 64}, 1, "MUST NOT take over"),
        ({"digest": "0" * 64, "projection_version": 1}, 0, "nothing to compare"),
    ],
)
def test_the_running_version_is_asked_about_the_same_copy(
    other: dict[str, Any], code: int, said: str, tmp_path: Path
) -> None:
    data = made(tmp_path / "data")
    found = checked(data, "--running", program(tmp_path, answer(data, **other)))
    assert found[0] == code
    assert said in found[1]


def test_a_running_version_that_says_nothing_is_an_error_and_no_verdict(tmp_path: Path) -> None:
    data = made(tmp_path / "data")
    code, said, err = checked(data, "--running", program(tmp_path, "echo no such command >&2; exit 2"))
    assert code == 1
    assert said == ""
    assert "gives no answer: no such command" in err
