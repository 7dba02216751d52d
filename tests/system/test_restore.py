# SPDX-License-Identifier: Apache-2.0
"""Back to a point in time, by the server's own means, as the guide says: the journal is whole up to there, records come
back with it, and who was erased since does not. A real PostgreSQL with base backup and archived log."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from leitstand.core.facts import WriterStarted
from leitstand.journal import heads, place
from leitstand.journal.place import open_writer
from leitstand.journal.postgres import PostgresJournal
from leitstand.journal.verify import verify
from leitstand.runtime.spec import RunSpec
from leitstand.stores import place as stores
from leitstand.stores.records import Records
from leitstand.stores.server import archived_together
from tests.postgres import Server

BEGUN = WriterStarted("test")


@pytest.fixture(scope="module")
def archiving() -> Iterator[Server]:
    server = Server(archives=True)
    yield server
    server.close()


@pytest.fixture(scope="module")
def keeping() -> Iterator[Server]:
    """Of the keys: it archives nothing."""
    server = Server(durable=False)
    yield server
    server.close()


def folder_of(path: Path, journal: Server, keys: Server) -> Path:
    path.mkdir()
    place.settle(path / "journal.db", journal.url)
    stores.settle(path, journal.url, keys.url)
    return path


def test_what_is_restored_is_whole_up_to_its_point_and_brings_back_nobody_who_was_erased(
    archiving: Server, keeping: Server, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "before", archiving, keeping)
    with open_writer(folder / "journal.db") as journal:
        journal.append(journal.head, 1, [BEGUN] * 5)
    base = archiving.base_backup()
    records = Records(folder / "records.db")
    kept, gone = (
        records.put("acme", "u1", RunSpec(name="kept")),
        records.put("acme", "u2", RunSpec(name="gone")),
    )
    with open_writer(folder / "journal.db") as journal:
        journal.append(journal.head, 2, [BEGUN] * 5)
        archiving.name_point("noon")
        head = journal.append(journal.head, 3, [BEGUN] * 5)
        signer = heads.Signer(folder / "keys")
        heads.record(folder / "heads.jsonl", signer.sign(journal.journal_id, head))
    records.erase("u2")
    restored = archiving.restored_to("noon", base)
    try:
        after = folder_of(tmp_path / "after", restored, keeping)
        report = verify(after / "journal.db")
        assert (report.ok, report.seq) == (True, 10)
        bad = verify(after / "journal.db", folder / "heads.jsonl", folder / "keys" / "head.pub").bad
        assert bad is not None
        assert "names entry 15, the last entry is 10: the end was cut off" in bad.detail
        back = Records(after / "records.db")
        assert back._tables.read("SELECT count(*) FROM records") == [(2,)]
        assert back.names([kept, gone]) == {kept: "kept"}
        with PostgresJournal(restored.url) as journal:
            assert journal.append(journal.head, 4, [BEGUN]).seq == 11
    finally:
        restored.close()


def test_keys_beside_a_journal_that_is_archived_are_noticed(archiving: Server, keeping: Server) -> None:
    archiving.add_database("keys")
    assert archived_together(archiving.url, archiving.url_of("keys"))
    assert not archived_together(archiving.url, keeping.url)
    keeping.add_database("keys")
    assert not archived_together(keeping.url, keeping.url_of("keys"))
