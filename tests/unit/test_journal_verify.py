# SPDX-License-Identifier: Apache-2.0
"""Verify names the first bad entry after whatever was done to a journal, and never more than it can know."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leitstand.core.facts import Fact, JobAdmitted, NodeRemoved, TenantAdded
from leitstand.journal import chain, heads
from leitstand.journal.codec import JournalUnusable
from leitstand.journal.database import passes
from leitstand.journal.heads import Signer
from leitstand.journal.sqlite import SqliteJournal, SqliteReader
from leitstand.journal.verify import Report, verify
from leitstand.runtime.ports import Head
from tests.unit.faults import no_more_files

ENTRIES = 30
SIGNED = (10, 20)
LATE = ("rewritten", "signature", "head row", "signed head")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a closed journal of ENTRIES entries and signed heads at SIGNED."""
    folder = tmp_path_factory.mktemp("good")
    journal = SqliteJournal(folder / "journal.db", journal_id="j")
    signer = Signer(folder / "keys")
    for number in range(1, ENTRIES + 1):
        head = journal.append(journal.head, number // 3, [fact_of(number)])
        if number in SIGNED:
            heads.record(folder / "heads.jsonl", signer.sign("j", head))
    journal.close()
    return folder


@pytest.fixture
def data(good: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good, tmp_path / "data")


def fact_of(number: int) -> Fact:
    return [TenantAdded(f"tenant-{number}"), JobAdmitted(f"acme-{number}", "shared", number)][number % 2]


def check(data: Path) -> Report:
    return verify(data / "journal.db", data / "heads.jsonl", data / "keys" / "head.pub")


def change(data: Path, *statements: str) -> None:
    with closing(sqlite3.connect(data / "journal.db", isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


def rechain(data: Path, start: int = 1) -> None:
    """What an owner with write access can do: make all hashes from entry `start` on, and the head row, fit again."""
    with closing(sqlite3.connect(data / "journal.db", isolation_level=None)) as db:
        previous = chain.genesis("j")
        for seq, at, body, hash_ in db.execute(
            "SELECT seq, at, body, hash FROM facts ORDER BY seq"
        ).fetchall():
            if seq >= start:
                (hash_,) = chain.extend(Head(seq - 1, at, previous.hash), at, [body])
                db.execute("UPDATE facts SET hash = ? WHERE seq = ?", (hash_, seq))
            previous = Head(seq, at, hash_)
        db.execute("UPDATE head SET seq = ?, at = ?, hash = ?", (previous.seq, previous.at, previous.hash))


def named(report: Report) -> tuple[int, str]:
    assert not report.ok
    assert report.bad is not None
    # all before it was found good, unless what is wrong shows only later
    assert report.seq < max(report.bad.seq, 1) or report.bad.what in LATE
    return report.bad.seq, report.bad.what


# ── what is well ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_good_journal_is_reported_with_its_end_and_what_is_signed(data: Path) -> None:
    report = check(data)
    assert report.bad is None
    assert report.ok
    assert (report.journal, report.seq, report.at) == ("j", ENTRIES, ENTRIES // 3)
    assert (report.signed_heads, report.signed_seq) == (2, 20)
    assert len(report.key_id) == 16


def test_a_journal_without_signed_heads_is_checked_by_its_chain_alone(data: Path) -> None:
    report = verify(data / "journal.db")
    assert (report.ok, report.signed_heads, report.key_id) == (True, 0, "")


def test_an_empty_journal_is_good(tmp_path: Path) -> None:
    SqliteJournal(tmp_path / "journal.db").close()
    assert verify(tmp_path / "journal.db").ok


def test_verify_changes_nothing_on_disk(data: Path) -> None:
    before = (data / "journal.db").read_bytes()
    check(data)
    assert (data / "journal.db").read_bytes() == before


def test_no_file_is_a_clear_error_and_makes_none(tmp_path: Path) -> None:
    with pytest.raises(JournalUnusable, match=r"there is no journal at .*journal\.db"):
        verify(tmp_path / "journal.db")
    assert list(tmp_path.iterdir()) == []


# ── rows changed, dropped, doubled, moved ─────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("seq", [1, 2, 9, 10, 20, 29, 30])
@pytest.mark.parametrize("column", ["body", "hash"])
def test_any_flipped_byte_of_body_or_hash_is_named(data: Path, seq: int, column: str) -> None:
    with closing(sqlite3.connect(data / "journal.db", isolation_level=None)) as db:
        (whole,) = db.execute(f"SELECT {column} FROM facts WHERE seq = ?", (seq,)).fetchone()
    for position in range(len(whole)):
        broken = whole[:position] + bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :]
        change(data, f"UPDATE facts SET {column} = x'{broken.hex()}' WHERE seq = {seq}")
        assert named(check(data)) == (seq, "hash mismatch")


@pytest.mark.parametrize("seq", [1, 15, 30])
@pytest.mark.parametrize("bit", range(64))
def test_any_flipped_bit_of_a_stamp_is_named(good: Path, tmp_path: Path, seq: int, bit: int) -> None:
    data = shutil.copytree(good, tmp_path / "data")
    flip = (
        f"at = (at | {_int64(1 << bit)}) - (at & {_int64(1 << bit)})"
        if bit < 63
        else "at = at + (-9223372036854775807 - 1)"
    )
    change(data, f"UPDATE facts SET {flip} WHERE seq = {seq}")
    assert named(check(data)) == (seq, "hash mismatch")


def _int64(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


@pytest.mark.parametrize("seq", range(1, ENTRIES + 1))
def test_any_dropped_row_is_named(data: Path, seq: int) -> None:
    change(data, f"DELETE FROM facts WHERE seq = {seq}")
    assert named(check(data)) == (seq, "dropped")
    assert named(verify(data / "journal.db")) == (seq, "dropped")


def test_a_dropped_range_is_named_by_its_first(data: Path) -> None:
    change(data, "DELETE FROM facts WHERE seq BETWEEN 4 AND 8")
    report = check(data)
    assert named(report) == (4, "dropped")
    assert report.bad is not None
    assert "entries 4 to 8 are missing" in report.bad.detail


def test_a_dropped_row_whose_followers_moved_up_is_named(data: Path) -> None:
    change(
        data,
        "DELETE FROM facts WHERE seq = 12",
        "UPDATE facts SET seq = seq - 1 WHERE seq > 12",
        "UPDATE head SET seq = 29",
    )
    assert named(check(data)) == (12, "hash mismatch")


@pytest.mark.parametrize("seq", [1, 15, 29, 30])
def test_a_doubled_row_is_named(data: Path, seq: int) -> None:
    change(
        data,
        f"UPDATE facts SET seq = -seq - 1 WHERE seq > {seq}",
        "UPDATE facts SET seq = -seq WHERE seq < 0",
        f"INSERT INTO facts SELECT seq + 1, at, body, hash FROM facts WHERE seq = {seq}",
    )
    report = check(data)
    assert named(report) == (seq + 1, "doubled")
    assert report.bad is not None
    assert f"is entry {seq} again" in report.bad.detail


@pytest.mark.parametrize(("one", "other"), [(1, 2), (3, 7), (29, 30), (1, 30)])
def test_swapped_rows_are_named_with_where_the_right_one_stands(data: Path, one: int, other: int) -> None:
    change(
        data,
        f"UPDATE facts SET seq = -1 WHERE seq = {one}",
        f"UPDATE facts SET seq = {one} WHERE seq = {other}",
        f"UPDATE facts SET seq = {other} WHERE seq = -1",
    )
    report = check(data)
    assert named(report) == (one, "reordered")
    assert report.bad is not None
    assert f"stands at entry {other}" in report.bad.detail


def test_a_row_put_behind_the_end_is_named(data: Path) -> None:
    change(data, f"INSERT INTO facts SELECT {ENTRIES + 1}, at, body, hash FROM facts WHERE seq = 3")
    assert named(check(data)) == (ENTRIES + 1, "doubled")


def test_a_row_before_the_first_is_seen_by_its_number(data: Path) -> None:
    change(data, "INSERT INTO facts SELECT 0, at, body, hash FROM facts WHERE seq = 3")
    assert named(check(data)) == (0, "numbering")


# ── head row, stamps, bodies, signed heads: what an owner can rewrite ─────────────────────────────────────────────
@pytest.mark.parametrize("field", ["at = at + 1", "hash = zeroblob(32)", "seq = seq - 1"])
def test_a_head_row_that_disagrees_is_named(data: Path, field: str) -> None:
    change(data, f"UPDATE head SET {field}")
    assert named(check(data)) == (ENTRIES, "head row")


def test_a_missing_head_row_is_named(data: Path) -> None:
    change(data, "DELETE FROM head")
    assert named(check(data)) == (ENTRIES + 1, "unreadable")


def test_an_end_cut_off_together_with_its_head_row_is_seen_by_the_signed_head(data: Path) -> None:
    change(data, "DELETE FROM facts WHERE seq > 15")
    rechain(data)
    assert named(check(data)) == (16, "dropped")
    assert verify(data / "journal.db").ok  # the chain alone cannot know


@pytest.mark.parametrize(("changed", "first"), [(3, 10), (10, 10), (11, 20), (20, 20)])
def test_a_chain_rewritten_by_its_owner_is_seen_at_the_next_signed_head(
    data: Path, changed: int, first: int
) -> None:
    body = b'{"fact":"NodeRemoved","node":"never"}'.hex()
    change(data, f"UPDATE facts SET body = x'{body}' WHERE seq = {changed}")
    rechain(data, changed)
    assert named(check(data)) == (first, "rewritten")


def test_a_stamp_that_goes_back_in_a_whole_chain_is_named(data: Path) -> None:
    change(data, "UPDATE facts SET at = 0 WHERE seq = 25")
    rechain(data)
    assert named(check(data)) == (25, "stamp")


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"{}", b'{"fact":"NodeRemoved"}', b'{"fact":"Unheard","x":1}']
)
def test_a_body_that_cannot_be_decoded_in_a_whole_chain_is_named(data: Path, body: bytes) -> None:
    change(data, f"UPDATE facts SET body = x'{body.hex()}' WHERE seq = 25")
    rechain(data)
    assert named(check(data)) == (25, "undecodable")


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("at", "'x'", "malformed"),
        ("at", "NULL", "malformed"),
        ("at", "1.5", "malformed"),
        ("body", "'text'", "malformed"),
        ("body", "NULL", "malformed"),
        ("hash", "NULL", "hash mismatch"),
        ("hash", "'text'", "hash mismatch"),
    ],
)
def test_a_column_of_another_type_is_named(data: Path, column: str, value: str, what: str) -> None:
    change(
        data,
        "ALTER TABLE facts RENAME TO strict_facts",
        "CREATE TABLE facts (seq INTEGER PRIMARY KEY, at, body, hash)",
        "INSERT INTO facts SELECT * FROM strict_facts",
        f"UPDATE facts SET {column} = {value} WHERE seq IN (5, 8)",
    )
    assert named(check(data)) == (5, what)


@pytest.mark.parametrize("value", ["'x'", "NULL"])
def test_a_head_row_of_another_type_is_named(data: Path, value: str) -> None:
    change(
        data,
        "DROP TABLE head",
        "CREATE TABLE head (one, seq, at, hash)",
        f"INSERT INTO head SELECT 1, {value}, at, hash FROM facts WHERE seq = {ENTRIES}",
    )
    assert named(check(data)) == (ENTRIES + 1, "unreadable")


def edit_heads(data: Path, old: str, new: str, line: int) -> None:
    lines = (data / "heads.jsonl").read_text().splitlines(keepends=True)
    assert old in lines[line]
    lines[line] = lines[line].replace(old, new)
    (data / "heads.jsonl").write_text("".join(lines))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"signature":"', '"signature":"00', (20, "signature")),
        ('"signature":"', '"signature":"zz', (20, "signature")),
        ('"key_id":"', '"key_id":"0', (20, "signature")),
        ('"at":6', '"at":7', (20, "signature")),
        ('"seq":20', '"seq":19', (19, "signature")),
        ('"journal":"j"', '"journal":"k"', (20, "signed head")),
        ('"seq":20', '"seq":0', (0, "signed head")),
        ('"seq":20', '"seq":99', (31, "dropped")),
        ('"hash":', '"hush":', (0, "signed heads")),
    ],
)
def test_a_forged_signed_head_is_named(data: Path, old: str, new: str, expected: tuple[int, str]) -> None:
    edit_heads(data, old, new, 1)
    assert named(check(data)) == expected


def test_heads_signed_by_a_stranger_do_not_count(data: Path, tmp_path: Path) -> None:
    Signer(tmp_path / "other")
    report = verify(data / "journal.db", data / "heads.jsonl", tmp_path / "other" / "head.pub")
    assert named(report) == (10, "signature")


def test_signed_heads_without_a_key_or_with_an_unreadable_one_are_refused(data: Path) -> None:
    assert named(verify(data / "journal.db", data / "heads.jsonl")) == (0, "signed heads")
    (data / "keys" / "head.pub").write_text("no key")
    assert named(check(data)) == (0, "signed heads")


def test_a_line_of_signed_heads_cut_short_by_a_crash_is_left_out(data: Path) -> None:
    with (data / "heads.jsonl").open("a") as file:
        file.write('{"journal":"j","seq":3')
    assert check(data).signed_heads == 2


# ── the file itself ───────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("size", [0, 1, 50, 100, 512, 4095, 4096, 5000, 8192, 12000])
def test_a_truncated_file_is_reported(data: Path, size: int) -> None:
    path = data / "journal.db"
    assert path.stat().st_size > size
    with path.open("r+b") as file:
        file.truncate(size)
    assert not check(data).ok


@pytest.mark.parametrize(
    "content",
    [b"hello", b"\0" * 8192, b"SQLite format 3\0" + b"\xff" * 8000],
    ids=["text", "zeros", "header only"],
)
def test_what_is_no_database_is_reported(data: Path, content: bytes) -> None:
    (data / "journal.db").write_bytes(content)
    assert named(check(data)) == (0, "unreadable")


def test_another_database_is_reported_as_such(data: Path) -> None:
    (data / "journal.db").unlink()
    change(data, "CREATE TABLE t (x)")
    report = check(data)
    assert report.bad is not None
    assert "not a journal of Leitstand" in report.bad.detail


@pytest.mark.parametrize(
    ("statement", "part"),
    [
        (
            "CREATE TRIGGER t AFTER INSERT ON facts BEGIN UPDATE head SET hash = zeroblob(32); END",
            "trigger t",
        ),
        ("CREATE TABLE more (x)", "table more"),
        ("CREATE INDEX i ON facts (at)", "index i"),
        ("CREATE VIEW v AS SELECT * FROM facts", "view v"),
        ("ALTER TABLE facts ADD COLUMN x ANY", "table facts"),
    ],
)
def test_a_part_that_is_not_of_a_journal_is_reported(data: Path, statement: str, part: str) -> None:
    change(data, statement)
    report = check(data)
    assert report.bad is not None
    assert (report.seq, report.bad.what) == (ENTRIES, "schema")
    assert report.bad.detail.endswith(part)


def test_what_only_passes_is_no_verdict(data: Path) -> None:
    """A file that cannot be opened just now is no evidence of anything."""
    with no_more_files(), pytest.raises(sqlite3.OperationalError) as passing:
        check(data)
    assert passes(passing.value)
    assert check(data).ok


def test_damage_that_touches_no_entry_but_the_next_writer_is_reported(data: Path) -> None:
    whole = bytearray((data / "journal.db").read_bytes())
    whole[39] = 5  # free pages, says the header; there are none
    (data / "journal.db").write_bytes(whole)
    report = check(data)
    assert report.bad is not None
    assert report.bad.what == "unreadable"
    assert "the entries are whole, but the database file is damaged" in report.bad.detail


def content(path: Path) -> list[tuple[int, int, bytes]]:
    with SqliteReader(path) as reader:
        return [row[:3] for row in reader.rows(0)]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    where=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255), count=st.sampled_from([1, 1, 1, 2, 40])
)
def test_bytes_flipped_anywhere_in_the_file_are_reported_or_change_no_content(
    data: Path, good: Path, where: float, mask: int, count: int
) -> None:
    whole = bytearray((good / "journal.db").read_bytes())
    start = int(where * len(whole))
    for position in range(start, min(start + count, len(whole))):
        whole[position] ^= mask
    for ending in ("-wal", "-shm"):
        (data / f"journal.db{ending}").unlink(missing_ok=True)
    (data / "journal.db").write_bytes(whole)
    report = check(data)
    if report.ok:
        assert content(data / "journal.db") == content(good / "journal.db")
        assert (report.seq, report.signed_heads) == (ENTRIES, 2)
    else:
        assert report.bad is not None
        assert report.bad.detail


# ── beside a live writer ──────────────────────────────────────────────────────────────────────────────────────────
def test_beside_a_writer_with_an_open_log_all_committed_entries_are_checked(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "journal.db")
    for number in range(1, 50):
        journal.append(journal.head, number, [NodeRemoved(f"n-{number}")])
        report = verify(tmp_path / "journal.db")
        assert (report.ok, report.seq) == (True, number)
    journal.close()


def test_entries_appended_during_the_walk_are_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = SqliteJournal(tmp_path / "journal.db")
    journal.append(journal.head, 1, [NodeRemoved("n")] * 10_000)
    real = SqliteReader._select

    def meanwhile(self: SqliteReader, *arguments: object) -> object:
        for row in real(self, *arguments):  # type: ignore[arg-type]
            yield row
            if row[0] % 4096 == 0:
                journal.append(journal.head, 2, [NodeRemoved("m")] * 5)
        journal.append(journal.head, 2, [NodeRemoved("m")] * 5)  # also between the last row and the head row

    monkeypatch.setattr(SqliteReader, "_select", meanwhile)
    report = verify(tmp_path / "journal.db")
    assert report.ok
    assert report.seq >= 10_010
    journal.close()
