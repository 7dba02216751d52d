# SPDX-License-Identifier: Apache-2.0
"""Snapshots: a restart from one equals a full fold, and one that does not fit the journal is never used."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.state import State
from leitstand.journal import snapshots
from leitstand.journal.codec import JournalUnusable
from leitstand.journal.memory import MemoryJournal
from leitstand.journal.snapshots import Snapshot, load_latest, restore, write
from leitstand.journal.sqlite import SqliteJournal
from leitstand.journal.verify import verify
from leitstand.runtime.ports import Head
from tests.unit.story import ask, ended, started

SECOND_US = 1_000_000


class Life:
    """A core and its journal, as the loop runs them."""

    def __init__(self) -> None:
        self.core = Core()
        self.journal = MemoryJournal()
        self.now = 0
        self.do(
            f.RulesSet(rules=self.core.state.rules, digest=""), f.TenantAdded("acme"), f.TenantAdded("beta")
        )
        self.do(
            f.SiteAdded("s", "simulated", logical=True),
            *(f.NodeAdded(f"n{i}", "s", 8, 64_000, 512_000) for i in (0, 1)),
        )

    def do(self, *observations: f.Observation) -> Head:
        self.now += SECOND_US
        return self.journal.append(self.journal.head, self.now, self.core.cycle(self.now, observations))

    def some_jobs(self, number: int) -> Head:
        """Some run, some end, some wait; returns the head."""
        for i in range(number):
            self.do(
                ask(
                    gpus=1 + i % 8,
                    tenant=("acme", "beta")[i % 2],
                    request=f"r-{self.now}",
                    request_digest="d",
                )
            )
        for run in list(self.core.state.runs.values())[::2]:
            self.do(started(run.id, self.now // SECOND_US))
            self.do(ended(run.id, self.now // SECOND_US))
        return self.journal.head


@pytest.fixture
def life() -> Life:
    life = Life()
    life.some_jobs(12)
    return life


def full_fold(journal: MemoryJournal) -> State:
    state = State()
    for entry in journal.read(0):
        state.apply(entry.at, entry.fact)
    return state


# ── the main path ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_without_snapshots_the_whole_journal_is_folded(life: Life, tmp_path: Path) -> None:
    state, head = restore(life.journal, tmp_path / "none")
    assert head == life.journal.head
    assert state.digest() == life.core.state.digest()


def test_an_empty_journal_restores_to_nothing(tmp_path: Path) -> None:
    journal = MemoryJournal()
    state, head = restore(journal, tmp_path)
    assert (state.digest(), head) == (State().digest(), journal.head)


def test_snapshot_and_tail_equal_the_full_fold_at_every_entry(life: Life, tmp_path: Path) -> None:
    end = life.journal.head.seq
    state = State()
    for entry in life.journal.read(0):
        state.apply(entry.at, entry.fact)
        head = life.journal.head_at(entry.seq)
        assert head is not None
        folder = tmp_path / str(entry.seq)
        write(folder, state, head)
        assert load_latest(folder, life.journal) is not None
        restored, head = restore(life.journal, folder)
        assert head.seq == end
        assert restored.digest() == life.core.state.digest()


def test_a_restored_core_decides_what_the_living_one_decides(life: Life, tmp_path: Path) -> None:
    write(tmp_path, life.core.state, life.journal.head)
    state, _ = restore(life.journal, tmp_path)
    other = Core(state)
    for _ in range(3):
        observations = [ended(run, life.now // SECOND_US) for run in list(life.core.state.runs)[:2]] + [
            ask(gpus=3)
        ]
        life.now += SECOND_US
        assert other.cycle(life.now, observations) == life.core.cycle(life.now, observations)
    assert state.digest() == life.core.state.digest()


def test_only_the_tail_after_the_snapshot_is_read(life: Life, tmp_path: Path) -> None:
    head = life.journal.head
    write(tmp_path, life.core.state, head)
    life.some_jobs(3)
    asked: list[int] = []

    class Watched(MemoryJournal):
        def read(self, after: int, limit: int | None = None) -> Any:
            asked.append(after)
            return life.journal.read(after, limit)

        head_at = life.journal.head_at

    restored, _ = restore(Watched(), tmp_path)
    assert asked == [head.seq]
    assert restored.digest() == life.core.state.digest()


def test_the_latest_three_are_kept_and_drafts_are_not_mistaken(life: Life, tmp_path: Path) -> None:
    (tmp_path / "0000000000000000099.snapshot.draft").write_bytes(b"half")
    heads = [life.some_jobs(1) for _ in range(5)]
    for head in heads:
        write(tmp_path, full_fold(life.journal), head)
    assert sorted(path.name for path in tmp_path.glob("*.snapshot")) == [
        f"{head.seq:019d}.snapshot" for head in heads[2:]
    ]
    assert list(tmp_path.glob("*.draft")) == []
    assert snapshots.latest(tmp_path) == heads[-1].seq


def test_the_latest_is_told_by_name_also_up_to_an_entry(tmp_path: Path) -> None:
    assert snapshots.latest(tmp_path / "none") == 0
    for name in (f"{7:019d}.snapshot", f"{12:019d}.snapshot", f"{99:019d}.snapshot.draft", "x.snapshot"):
        (tmp_path / name).touch()
    assert (snapshots.latest(tmp_path), snapshots.latest(tmp_path, 11)) == (12, 7)


def test_snapshots_beyond_the_journal_do_not_push_out_those_of_today(life: Life, tmp_path: Path) -> None:
    """After a return to an older copy of the journal, those of before have the higher numbers."""
    beyond = [tmp_path / f"{10**6 + number:019d}.snapshot" for number in range(5)]
    for path in beyond:
        path.write_bytes(b"of a longer journal")
    heads = [life.some_jobs(1) for _ in range(4)]
    for head in heads:
        write(tmp_path, full_fold(life.journal), head)
    found = load_latest(tmp_path, life.journal)
    assert found is not None
    assert found[1] == heads[-1]
    assert sorted(tmp_path.iterdir())[3:] == beyond


# ── what must not be used ─────────────────────────────────────────────────────────────────────────────────────────
def with_fields(**fields: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        snapshot = msgspec.msgpack.decode(path.read_bytes(), type=Snapshot)
        path.write_bytes(msgspec.msgpack.encode(msgspec.structs.replace(snapshot, **fields)))

    return change


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (with_fields(hash=bytes(32)), "another entry"),
        (with_fields(at=3), "another entry"),
        (with_fields(seq=10**6), "another entry"),
        (with_fields(seq=-1), "another entry"),
        (with_fields(code_version="0.0.0"), "of version 0.0.0, not"),
        (with_fields(projection_version=10**6), "projection 1000000"),
        (with_fields(digest="0" * 64), "the state has digest"),
        (with_fields(projection=b"\x93"), ""),
        (cut, ""),
        (lambda path: path.write_bytes(b""), ""),
    ],
)
def test_one_that_does_not_fit_is_passed_over_with_its_reason(
    damage: Callable[[Path], None],
    reason: str,
    life: Life,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write(tmp_path, life.core.state, life.journal.head)
    life.some_jobs(2)
    write(tmp_path, life.core.state, life.journal.head)
    newest = max(tmp_path.glob("*.snapshot"))
    damage(newest)
    found = load_latest(tmp_path, life.journal)
    assert found is not None
    assert found[1].seq < life.journal.head.seq
    (said,) = caplog.messages
    assert said.startswith(f"snapshot not used: file={newest.name} reason=")
    assert reason in said
    state, head = restore(life.journal, tmp_path)
    assert (state.digest(), head) == (life.core.state.digest(), life.journal.head)


def test_a_projection_that_was_changed_is_found_by_its_digest(life: Life, tmp_path: Path) -> None:
    path = write(tmp_path, life.core.state, life.journal.head)
    projection = life.core.state.project()
    projection.submitted += 1
    with_fields(projection=msgspec.msgpack.encode(projection))(path)
    assert load_latest(tmp_path, life.journal) is None


def test_the_snapshot_of_another_journal_is_not_used(life: Life, tmp_path: Path) -> None:
    write(tmp_path, life.core.state, life.journal.head)
    other = MemoryJournal("other")
    for entry in life.journal.read(0):
        other.append(other.head, entry.at, [entry.fact])
    assert load_latest(tmp_path, other) is None


def test_flipping_any_byte_never_changes_what_is_restored(life: Life, tmp_path: Path) -> None:
    path = write(tmp_path, life.core.state, life.journal.head)
    whole = path.read_bytes()
    for position in range(0, len(whole), max(1, len(whole) // 300)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x11]) + whole[position + 1 :])
        state, head = restore(life.journal, tmp_path)
        assert (state.digest(), head) == (life.core.state.digest(), life.journal.head), position


def test_one_over_the_limit_is_not_even_read(
    life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, life.core.state, life.journal.head)
    monkeypatch.setattr(snapshots, "SNAPSHOT_BYTES_MAX", 100)
    assert load_latest(tmp_path, life.journal) is None
    assert "over the limit of 100" in caplog.text


def test_a_write_that_fails_leaves_no_trace(
    life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, life.core.state, life.journal.head)
    before = sorted(tmp_path.iterdir())
    life.some_jobs(1)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path, life.core.state, life.journal.head)
    assert sorted(tmp_path.iterdir()) == before


def test_a_fact_that_does_not_fit_the_state_is_named_with_its_entry(tmp_path: Path) -> None:
    journal = MemoryJournal()
    journal.append(journal.head, 0, [f.TenantAdded("acme"), f.JobAdmitted("acme-9", "shared", 5)])
    with pytest.raises(JournalUnusable, match=r"entry 2 \(JobAdmitted\) does not fit"):
        restore(journal, tmp_path)


def test_verify_folds_all_entries_and_finds_a_snapshot_that_holds_another_state(tmp_path: Path) -> None:
    """Its digest fits its own content, so a restart would take it: only the full fold can tell."""
    life = Life()
    head = life.some_jobs(5)
    journal = SqliteJournal(tmp_path / "journal.db", journal_id=life.journal.journal_id)
    for entry in life.journal.read(0):
        journal.append(journal.head, entry.at, [entry.fact])
    assert journal.head == head
    journal.close()
    folder = tmp_path / "snapshots"
    write(folder, life.core.state, head)
    life.some_jobs(3)
    assert verify(tmp_path / "journal.db", snapshots=folder).ok
    write(folder, life.core.state, head)  # a later state under the earlier entry
    found = verify(tmp_path / "journal.db", snapshots=folder).bad
    assert found is not None
    assert (found.seq, found.what) == (head.seq, "snapshot")


def sqlite_copy(journal: MemoryJournal, path: Path, most: int | None = None) -> None:
    copy = SqliteJournal(path, journal_id=journal.journal_id)
    for entry in journal.read(0, most):
        copy.append(copy.head, entry.at, [entry.fact])
    copy.close()


@pytest.mark.parametrize("version", [None, "0.0.0"])
def test_verify_misses_the_end_that_a_snapshot_knows(life: Life, tmp_path: Path, version: str | None) -> None:
    """Whoever wrote the snapshot had read that far, whichever release it was."""
    folder = tmp_path / "snapshots"
    path = write(folder, life.core.state, life.journal.head)
    if version:
        with_fields(code_version=version)(path)
    seq = life.journal.head.seq
    sqlite_copy(life.journal, tmp_path / "whole.db")
    assert verify(tmp_path / "whole.db", snapshots=folder).ok
    sqlite_copy(life.journal, tmp_path / "cut.db", seq - 3)
    assert verify(tmp_path / "cut.db").ok  # the chain alone cannot know
    found = verify(tmp_path / "cut.db", snapshots=folder).bad
    assert found is not None
    assert (found.seq, found.what) == (seq - 2, "dropped")
    assert f"a snapshot names entry {seq}" in found.detail


def test_verify_does_not_take_a_damaged_snapshot_for_a_witness(life: Life, tmp_path: Path) -> None:
    folder = tmp_path / "snapshots"
    with_fields(seq=10**6)(write(folder, life.core.state, life.journal.head))
    sqlite_copy(life.journal, tmp_path / "journal.db")
    assert verify(tmp_path / "journal.db", snapshots=folder).ok


def test_verify_misses_what_sqlite_leaves_out_of_a_damaged_log(life: Life, tmp_path: Path) -> None:
    """SQLite takes a log up to its first damaged page and says nothing; the rest of it had been committed."""
    folder = tmp_path / "snapshots"
    write(folder, life.core.state, life.journal.head)
    copy = SqliteJournal(tmp_path / "journal.db", journal_id=life.journal.journal_id)
    for entry in life.journal.read(0):
        copy.append(copy.head, entry.at, [entry.fact])
    for name in ("journal.db", "journal.db-wal"):  # as a crash leaves them
        (tmp_path / "crashed").mkdir(exist_ok=True)
        (tmp_path / "crashed" / name).write_bytes((tmp_path / name).read_bytes())
    copy.close()
    log = tmp_path / "crashed" / "journal.db-wal"
    assert verify(tmp_path / "crashed" / "journal.db", snapshots=folder).ok
    whole = bytearray(log.read_bytes())
    whole[len(whole) // 2] ^= 1
    log.write_bytes(whole)
    found = verify(tmp_path / "crashed" / "journal.db", snapshots=folder).bad
    assert found is not None
    assert found.what == "dropped"


def test_verify_names_the_entry_that_does_not_fold(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "journal.db")
    journal.append(journal.head, 1, [f.TenantAdded("acme"), f.JobEnded("acme-1", "succeeded")])
    journal.close()
    found = verify(tmp_path / "journal.db", snapshots=tmp_path / "snapshots").bad
    assert found is not None
    assert (found.seq, found.what) == (2, "does not fold")
