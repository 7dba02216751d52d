# SPDX-License-Identifier: Apache-2.0
"""Exports and backups: what they hold, and that no damage of one passes for whole."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leitstand.core.facts import JobAdmitted, TenantAdded
from leitstand.journal.backup import backup
from leitstand.journal.codec import JournalUnusable
from leitstand.journal.export import export, verify_export
from leitstand.journal.heads import Signer
from leitstand.journal.sqlite import SqliteJournal, SqliteReader

ENTRIES = 13


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a journal, keys and an export of it."""
    folder = tmp_path_factory.mktemp("good")
    Signer(folder / "keys")
    journal = SqliteJournal(folder / "journal.db", journal_id="j")
    for number in range(1, ENTRIES + 1):
        fact = JobAdmitted(f"acme-{number}", "shared", number) if number % 2 else TenantAdded("acme")
        journal.append(journal.head, number - 5, [fact])
    journal.close()
    with SqliteReader(folder / "journal.db") as reader, (folder / "export.jsonl").open("wb") as file:
        export(reader, file, folder / "keys", folder / "heads.jsonl")
    return folder


@pytest.fixture
def made(good: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good, tmp_path / "made")


def test_an_export_of_a_good_journal_verifies_and_names_its_signer(made: Path) -> None:
    report = verify_export(made / "export.jsonl", made / "keys" / "head.pub")
    assert (report.ok, report.seq, report.signed_seq) == (True, ENTRIES, ENTRIES)
    assert report.key_id == Signer(made / "keys").key_id


def test_an_export_of_an_empty_journal_verifies(tmp_path: Path) -> None:
    SqliteJournal(tmp_path / "journal.db").close()
    with SqliteReader(tmp_path / "journal.db") as reader, (tmp_path / "export.jsonl").open("wb") as file:
        export(reader, file, tmp_path / "keys", tmp_path / "heads.jsonl")
    assert verify_export(tmp_path / "export.jsonl").ok
    assert not (tmp_path / "keys").exists()  # reading makes no keys


def test_a_missing_export_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(JournalUnusable, match=r"cannot read the export .*none: No such file"):
        verify_export(tmp_path / "none")


def test_an_export_stops_before_the_first_bad_entry(made: Path) -> None:
    journal = SqliteJournal(made / "journal.db")
    journal._db.execute("UPDATE facts SET at = at + 1 WHERE seq = 5")
    journal.close()
    out = io.BytesIO()
    with SqliteReader(made / "journal.db") as reader, pytest.raises(JournalUnusable, match="entry 5 is bad"):
        export(reader, out, made / "keys", made / "heads.jsonl")
    assert out.getvalue().count(b"\n") == 5  # the opening line and entries 1 to 4


def without(lines: list[bytes], number: int) -> list[bytes]:
    return lines[:number] + lines[number + 1 :]


@pytest.mark.parametrize(
    ("damage", "first"),
    [
        (lambda lines: without(lines, 4), (4, "dropped")),
        (lambda lines: without(lines, ENTRIES), (13, "dropped")),
        (lambda lines: [*lines[:4], lines[3], *lines[4:]], (3, "doubled")),
        (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], (3, "reordered")),
        (lambda lines: [*lines[:3], lines[3].replace(b"acme", b"acne"), *lines[4:]], (3, "hash mismatch")),
        (lambda lines: [*lines[:3], b"junk\n", *lines[4:]], (3, "unreadable")),
        (lambda lines: [*lines[:3], lines[3][:-20] + b"\n", *lines[4:]], (3, "unreadable")),
        (lambda lines: lines[:7], (7, "dropped")),
        (lambda lines: [*lines[:7], lines[7][:20]], (7, "dropped")),
        (lambda lines: lines[1:], (0, "unreadable")),
        (lambda lines: [], (0, "unreadable")),
        (lambda lines: [*lines[:-1], lines[-1].replace(b'"entries":13', b'"entries":12')], (13, "dropped")),
        (lambda lines: [lines[0].replace(b'"j"', b'"k"'), *lines[1:]], (1, "hash mismatch")),
        (lambda lines: [lines[0].replace(b'export":1', b'export":2'), *lines[1:]], (0, "unreadable")),
    ],
)  # fmt: skip
def test_a_damaged_export_is_named_by_its_first_bad_entry(
    damage: Callable[[list[bytes]], list[bytes]], first: tuple[int, str], made: Path
) -> None:
    target = made / "export.jsonl"
    target.write_bytes(b"".join(damage(target.read_bytes().splitlines(keepends=True))))
    report = verify_export(target, made / "keys" / "head.pub")
    assert report.bad is not None
    assert (report.bad.seq, report.bad.what) == first


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_a_byte_flipped_anywhere_in_an_export_is_reported_or_changes_no_entry(
    made: Path, good: Path, where: float, mask: int
) -> None:
    whole = bytearray((good / "export.jsonl").read_bytes())
    whole[int(where * len(whole))] ^= mask
    (made / "export.jsonl").write_bytes(whole)
    report = verify_export(made / "export.jsonl", made / "keys" / "head.pub")
    if report.ok:
        assert (report.seq, report.signed_seq) == (ENTRIES, ENTRIES)
        assert report.hash == verify_export(good / "export.jsonl").hash


def test_a_backup_equals_the_journal_and_leaves_nothing_else(made: Path, tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()
    assert backup(made / "journal.db", tmp_path / "copies" / "copy.db").ok
    assert [path.name for path in (tmp_path / "copies").iterdir()] == ["copy.db"]
    with SqliteReader(made / "journal.db") as one, SqliteReader(tmp_path / "copies" / "copy.db") as other:
        assert list(one.rows(0)) == list(other.rows(0))
        assert one.head == other.head
    assert (tmp_path / "copies" / "copy.db").read_bytes()[
        18:20
    ] == b"\1\1"  # needs no log: also on read-only media


def test_a_backup_beside_a_writer_has_all_that_was_committed(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "journal.db")
    for number in range(1, 20):
        head = journal.append(journal.head, number, [TenantAdded("acme")] * 100)
        target = tmp_path / f"{number}.db"
        report = backup(tmp_path / "journal.db", target)
        assert (report.ok, report.seq, report.hash) == (True, head.seq, head.hash.hex())
    journal.close()


def test_a_backup_never_overwrites_and_needs_a_journal(made: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="exists; name a new file"):
        backup(made / "journal.db", made / "export.jsonl")
    with pytest.raises(JournalUnusable, match="there is no journal"):
        backup(tmp_path / "none.db", tmp_path / "copy.db")
    assert not list(tmp_path.glob("copy*"))


def test_a_copy_that_does_not_verify_is_reported_and_not_kept(made: Path, tmp_path: Path) -> None:
    journal = SqliteJournal(made / "journal.db")
    journal._db.execute("UPDATE facts SET at = at + 1 WHERE seq = 5")
    journal.close()
    report = backup(made / "journal.db", tmp_path / "copy.db")
    assert report.bad is not None
    assert report.bad.seq == 5
    assert not list(tmp_path.glob("copy*"))
