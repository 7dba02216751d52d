# SPDX-License-Identifier: Apache-2.0
"""What the records promise: they are durable, named by keyed digests, sealed, and erasable by person and by tenant."""

import asyncio
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from leitstand.runtime.disk import is_full
from leitstand.runtime.spec import RunSpec
from leitstand.stores import commit, tables
from leitstand.stores import records as module
from leitstand.stores.commit import GroupCommit
from leitstand.stores.keys import Damaged, keyed_digest
from leitstand.stores.records import DAY_S, FORM, NewerRecords, Record, Records, SpecTooLarge
from tests.unit.faults import ON_FILES, files_that_cannot_grow

SPEC = RunSpec(name="secret-project-name", argv=("python", "train.py"), envs={"B": "2", "A": "1"})


@pytest.fixture
def records(folder: Path) -> Records:
    return Records(folder / "records.db")


def test_a_record_reads_back_in_another_process_view(records: Records, folder: Path) -> None:
    ref = records.put("acme", "u1", SPEC)
    other = Records(folder / "records.db")
    assert other.get(ref) == SPEC
    assert other.names([ref, "0" * 64]) == {ref: "secret-project-name"}
    assert other.get("0" * 64) is None


def test_equal_records_share_a_ref_and_others_do_not(records: Records) -> None:
    same = RunSpec(name=SPEC.name, argv=SPEC.argv, envs={"A": "1", "B": "2"})
    refs = records.put_all(
        [
            Record.of("acme", "u1", SPEC),
            Record.of("acme", "u1", same),
            Record.of("umbrella", "u1", SPEC),
            Record.of("acme", "u2", SPEC),
        ]
    )
    assert refs[0] == refs[1]
    assert len(set(refs)) == 3
    assert all(len(ref) == 64 for ref in refs)


def test_a_ref_cannot_be_guessed_without_the_key(tmp_path: Path) -> None:
    one, two = Records(tmp_path / "a" / "records.db"), Records(tmp_path / "b" / "records.db")
    assert one.put("acme", "u1", SPEC) != two.put("acme", "u1", SPEC)


def test_digests_are_stable_and_parts_do_not_run_together(records: Records, folder: Path) -> None:
    first = records.digest("u1", b"request", b"ab", b"c")
    assert Records(folder / "records.db").digest("u1", b"request", b"ab", b"c") == first
    assert records.digest("u1", b"request", b"a", b"bc") != first
    assert records.digest("u2", b"request", b"ab", b"c") != first


def test_records_are_sealed_and_a_damaged_one_is_told_but_breaks_no_listing(
    records: Records, tmp_path: Path
) -> None:
    ref, other = records.put("acme", "u1", SPEC), records.put("acme", "u1", RunSpec(name="other"))
    stored = _all_bytes(tmp_path) + repr(records._tables.read("SELECT * FROM records")).encode()
    assert b"secret-project-name" not in stored
    assert b"train.py" not in stored
    with records._tables.writing() as connection:  # moved from one row to another
        connection.execute(
            "UPDATE records SET (name, spec) = (SELECT name, spec FROM records WHERE ref = ?) WHERE ref = ?",
            (ref, other),
        )
    with pytest.raises(Damaged):
        records.get(other)
    assert records.names([ref, other]) == {ref: "secret-project-name"}


@ON_FILES
def test_erasing_a_subject_destroys_its_key_and_rows_and_touches_nothing_else(
    records: Records, tmp_path: Path
) -> None:
    gone, kept = records.put("acme", "u1", SPEC), records.put("acme", "u2", RunSpec(name="other"))
    key, key_digest = records._keys.of("u1").key, records.digest("u1", b"x")
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in tmp_path.glob("records.db*"):
        shutil.copy(path, copy)
    assert key in _all_bytes(tmp_path / "keys")
    assert gone.encode() in _all_bytes(tmp_path)
    assert records.erase("u1") == 1
    assert records.get(gone) is None
    assert records.get(kept) == RunSpec(name="other")
    assert records.digest("u1", b"x") != key_digest
    assert key not in _all_bytes(tmp_path)
    assert gone.encode() not in b"".join(path.read_bytes() for path in tmp_path.glob("records.db*"))
    assert records.erase("u1") == 0
    shutil.copytree(tmp_path / "keys", copy / "keys")  # an older copy of the records tells nothing either
    assert Records(copy / "records.db").get(gone) is None


def test_erasing_a_tenant_erases_what_its_people_ran_there_and_not_elsewhere(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 3)
    monkeypatch.setattr(module, "DELETE_MAX", 2)
    gone = [records.put("acme", f"u{n % 3}", RunSpec(name=f"job {n}")) for n in range(11)]
    kept = [records.put("umbrella", f"u{n % 3}", RunSpec(name=f"job {n}")) for n in range(11)]
    assert sorted(records.refs_of("acme")) == sorted(gone)
    assert records.erase_tenant("acme") == 11
    assert records.get_all(gone) == {}
    assert len(records.get_all(kept)) == 11
    assert list(records.refs_of("acme")) == []
    again = records.put("acme", "u0", RunSpec(name="job 0"))  # as after a second admission of that tenant
    assert again == gone[0]
    assert records.get(again) == RunSpec(name="job 0")


def test_a_record_written_while_its_tenant_is_erased_can_be_written_again(records: Records) -> None:
    ref = records.put("acme", "u1", SPEC)
    records._keys.destroy("tenant/acme")  # the row itself came after the walk
    assert records.get(ref) is None
    assert records.put("acme", "u1", SPEC) == ref
    assert records.get(ref) == SPEC


def test_old_records_are_pruned_unless_a_job_needs_them_or_they_were_submitted_again(folder: Path) -> None:
    now = [0.0]
    records = Records(folder / "records.db", lambda: now[0])
    old, again, live = (records.put("acme", "u1", RunSpec(name=name)) for name in ("old", "again", "live"))
    now[0] = 300 * DAY_S
    records.put("acme", "u1", RunSpec(name="again"))
    now[0] = 400 * DAY_S
    assert records.prune(400, {live}) == 0
    now[0] = 401 * DAY_S
    assert records.prune(400, {live}) == 1
    assert sorted(records.names([old, again, live]).values()) == ["again", "live"]
    assert old.encode() not in _all_bytes(folder)


def test_records_of_the_first_form_are_sealed_at_the_next_start_and_keep_their_refs(tmp_path: Path) -> None:
    key = os.urandom(32)
    record = Record.of("acme", "u1", SPEC)
    ref = keyed_digest(key, b"spec", b"acme", record.spec).hex()
    with sqlite3.connect(tmp_path / "records.db") as connection:
        connection.executescript(module._FORM_1.replace(";;", ";"))
        connection.execute("INSERT INTO subjects VALUES(7, 'u1', ?)", (key,))
        connection.execute("INSERT INTO records VALUES(?, 7, 'acme', ?, ?)", (ref, record.name, record.spec))
        connection.execute("PRAGMA user_version=1")
    connection.close()
    assert b"secret-project-name" in _all_bytes(tmp_path)
    records = Records(tmp_path / "records.db")
    assert records.get(ref) == SPEC
    assert records.put("acme", "u1", SPEC) == ref
    records.close()
    assert b"secret-project-name" not in _all_bytes(tmp_path)
    assert key not in (tmp_path / "records.db").read_bytes()


@ON_FILES
def test_only_the_owner_may_read_the_file(records: Records, tmp_path: Path) -> None:
    records.put("acme", "u1", SPEC)
    files = list(tmp_path.rglob("*"))
    assert len(files) >= 4
    for path in files:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_spec_over_the_limit_is_refused_before_it_can_harm_others(records: Records) -> None:
    """Requests share a transaction: what is wrong with one of them must be found before it joins."""
    too_large = RunSpec(script="x" * 1_100_000)

    async def main() -> list[str | BaseException]:
        group = GroupCommit(records)
        specs = (RunSpec(name="one"), too_large, RunSpec(name="two"))
        puts = (group.put("acme", "u1", spec) for spec in specs)
        refs = await asyncio.gather(*puts, return_exceptions=True)
        group.close()
        return refs

    one, refused, two = asyncio.run(main())
    assert isinstance(refused, SpecTooLarge)
    assert [records.get(str(ref)) for ref in (one, two)] == [RunSpec(name="one"), RunSpec(name="two")]
    with pytest.raises(SpecTooLarge, match="exceeds the limit"):
        records.put("acme", "u1", too_large)
    assert records._tables.read("SELECT count(*) FROM records") == [(2,)]


@ON_FILES
def test_a_disk_without_room_is_told_as_such_and_records_go_on_when_there_is_some(records: Records) -> None:
    records.put("acme", "u1", RunSpec(name="before"))
    with files_that_cannot_grow(), pytest.raises(sqlite3.OperationalError) as refused:
        records.put("acme", "u1", RunSpec(name="lost"))
    assert is_full(refused.value)
    ref = records.put("acme", "u1", RunSpec(name="after"))
    assert records.get(ref) == RunSpec(name="after")
    assert records._tables.read("SELECT count(*) FROM records") == [(2,)]


@ON_FILES
def test_a_file_of_a_newer_release_is_refused(records: Records, tmp_path: Path) -> None:
    records.close()
    with sqlite3.connect(tmp_path / "records.db") as connection:
        connection.execute(f"PRAGMA user_version={FORM + 1}")
    with pytest.raises(NewerRecords, match="newer release"):
        Records(tmp_path / "records.db")


def test_requests_of_one_tick_share_one_transaction(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    put_all = records.put_all

    def counted(batch: list[Record]) -> list[str]:
        batches.append(len(batch))
        return put_all(batch)

    monkeypatch.setattr(records, "put_all", counted)

    async def main() -> list[str]:
        group = GroupCommit(records)
        refs = await asyncio.gather(*(group.put("acme", "u1", RunSpec(name=f"n{i}")) for i in range(300)))
        group.close()
        return refs

    refs = asyncio.run(main())
    assert batches == [256, 44]
    assert [records.get(ref).name for ref in refs] == [f"n{i}" for i in range(300)]  # type: ignore[union-attr]


@ON_FILES
def test_the_log_is_brought_into_the_file_by_a_thread_of_its_own(
    records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "CHECKPOINT_BATCHES", 3)

    async def main() -> None:
        group = GroupCommit(records)
        for number in range(7):
            await group.put("acme", "u1", RunSpec(name=f"name-{number}"))
        group.close()

    asyncio.run(main())
    stored = (tmp_path / "records.db").read_bytes()
    key = records._keys.of("u1").key
    ref = keyed_digest(key, b"spec", b"acme", Record.of("acme", "u1", RunSpec(name="name-1")).spec).hex()
    assert ref.encode() in stored  # the file itself, without its log


@ON_FILES
def test_what_is_there_already_writes_nothing(records: Records, tmp_path: Path) -> None:
    records.put("acme", "u1", SPEC)
    size = (tmp_path / "records.db-wal").stat().st_size
    assert size > 0
    for _ in range(5):
        records.put("acme", "u1", SPEC)
    assert (tmp_path / "records.db-wal").stat().st_size == size


def test_a_failed_transaction_fails_every_request_in_it_and_the_next_one_works(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        group = GroupCommit(records)
        with monkeypatch.context() as broken:
            broken.setattr(records, "put_all", _disk_full)
            results = await asyncio.gather(
                *(group.put("a", "u", SPEC) for _ in range(3)), return_exceptions=True
            )
        assert [type(result) for result in results] == [sqlite3.OperationalError] * 3
        assert records.get(await group.put("a", "u", SPEC)) == SPEC
        group.close()

    asyncio.run(main())


def _all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def _disk_full(batch: object) -> None:
    raise sqlite3.OperationalError("database or disk is full")


def test_a_file_that_exists_is_opened_by_sqlite_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To close it otherwise would drop the locks that SQLite holds on it in this process."""
    path = tmp_path / "some.db"
    tables.FileTables(path, ["CREATE TABLE one (a)"]).close()
    closed: list[int] = []
    monkeypatch.setattr(os, "close", closed.append)
    tables.FileTables(path, ["CREATE TABLE one (a)"]).close()
    assert closed == []
