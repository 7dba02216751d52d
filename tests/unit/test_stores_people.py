# SPDX-License-Identifier: Apache-2.0
"""What the profiles promise: they come back, no file shows them, and what is erased is gone, also from older copies."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from leitstand.stores import people as module
from leitstand.stores.legal import Contact, LegalIdentity
from leitstand.stores.people import LoginTaken, NoteTooLong, People, Person
from tests.unit.faults import ON_FILES, files_that_cannot_grow

ADA = Person("Ada Lovelace", "ada@example.org", "https://id.example", "subject-4711")
LEGAL = LegalIdentity(
    "Acme Gießerei GmbH", "Hüttenstraße 1", "44137", "Dortmund", "DE", "medium",
    contacts=(Contact("contract", "Grace Hopper", "grace@example.org", "+49 231 1234"),),
)  # fmt: skip
WORDS = (
    b"Lovelace",
    b"ada@example",
    b"4711",
    b"id.example",
    b"Gie",
    b"Dortmund",
    b"Hopper",
    b"1234",
    b"refused",
)


@pytest.fixture
def people(folder: Path) -> People:
    return People(folder / "people.db")


def stored(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_what_is_put_comes_back_in_another_process_view(people: People, folder: Path) -> None:
    people.put_person("u1", ADA)
    people.put_person("u2", Person("Grace", "grace@example.org"))
    people.put_legal("a1", LEGAL)
    people.put_invitation("i1", "new@example.org")
    ref = people.note("a1", "refused: no such company")
    other = People(folder / "people.db")
    assert other.person("u1") == ADA
    assert other.person("u3") is None
    assert other.people(["u2", "u3", "u1"]) == {"u1": ADA, "u2": Person("Grace", "grace@example.org")}
    assert other.legal("a1") == LEGAL
    assert other.legal("u1") is None
    assert other.invitations(["i1", "i2"]) == {"i1": "new@example.org"}
    assert other.notes([ref, "0" * 64]) == {ref: "refused: no such company"}
    assert people.note("a1", "refused: no such company") == ref
    assert people.note("a2", "refused: no such company") != ref


def test_no_file_shows_any_of_it_and_only_the_owner_may_read_them(people: People, tmp_path: Path) -> None:
    people.put_person("u1", ADA)
    people.put_legal("a1", LEGAL)
    people.put_invitation("i1", ADA.email)
    people.note("a1", "refused")
    found = stored(tmp_path) + repr(people._tables.read("SELECT * FROM bodies")).encode()
    assert [word for word in WORDS if word in found] == []
    for path in tmp_path.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_login_finds_its_user_and_belongs_to_one(people: People) -> None:
    people.put_person("u1", ADA)
    assert people.find_login(ADA.issuer, ADA.subject) == "u1"
    assert people.find_login("https://other.example", ADA.subject) is None
    assert people.find_login(ADA.issuer + ADA.subject, "") is None
    with pytest.raises(LoginTaken) as taken:
        people.put_person("u2", Person("Eve", "eve@example.org", ADA.issuer, ADA.subject))
    assert "4711" not in str(taken.value)
    assert people.person("u2") is None
    people.put_person("u1", Person("Ada", "ada@example.org", ADA.issuer, "another"))
    assert people.find_login(ADA.issuer, ADA.subject) is None
    assert people.find_login(ADA.issuer, "another") == "u1"
    people.put_person("u1", Person("Ada", "ada@example.org"))
    assert people.find_login(ADA.issuer, "another") is None


@ON_FILES
def test_erasing_destroys_key_rows_and_login_and_copies_tell_nothing(people: People, tmp_path: Path) -> None:
    people.put_person("u1", ADA)
    people.put_person("u2", Person("Grace", "grace@example.org"))
    ref = people.note("u1", "locked out twice")
    key = people._keys.of("u1").key
    bodies = [body for (body,) in people._tables.read("SELECT body FROM bodies WHERE subject = 'u1'")]
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in tmp_path.glob("people.db*"):
        shutil.copy(path, copy)
    assert people.erase("u1") == 2
    assert people.erase("u1") == 0
    assert people.person("u1") is None
    assert people.notes([ref]) == {}
    assert people.find_login(ADA.issuer, ADA.subject) is None
    assert people.person("u2") == Person("Grace", "grace@example.org")
    live = b"".join(path.read_bytes() for path in tmp_path.glob("people.db*"))
    assert len(bodies) == 2
    assert [body for body in bodies if body in live] == []
    assert key not in stored(tmp_path)
    shutil.copytree(tmp_path / "keys", copy / "keys")
    old = People(copy / "people.db")
    assert old.person("u1") is None
    assert old.person("u2") == Person("Grace", "grace@example.org")
    people.put_person(
        "u3", Person("Ada", "ada@example.org", ADA.issuer, ADA.subject)
    )  # comes again, as another


def test_a_legal_identity_goes_with_the_tenant_that_came_of_its_application(people: People) -> None:
    people.put_legal("a1", LEGAL)
    ref = people.note("a1", "checked by telephone")
    assert people.move_legal("a1", "acme")
    assert not people.move_legal("a1", "acme")
    assert people.legal("acme") == LEGAL
    assert people.legal("a1") is None
    assert people.notes([ref]) == {ref: "checked by telephone"}
    people.erase("a1")
    assert people.legal("acme") == LEGAL
    people.erase("acme")
    assert people.legal("acme") is None


def test_a_body_that_was_moved_or_damaged_reads_as_absent(people: People) -> None:
    people.put_person("u1", ADA)
    people.put_person("u2", Person("Grace", "grace@example.org"))
    with people._tables.writing() as connection:
        connection.execute(
            "UPDATE bodies SET (key, body) = (SELECT key, body FROM bodies WHERE id = 'u1') WHERE id = 'u2'"
        )
    assert people.people(["u1", "u2"]) == {"u1": ADA}


@ON_FILES
def test_a_note_over_the_limit_and_a_full_disk_are_told(people: People) -> None:
    people.note("a1", "x" * module.NOTE_CHARS_MAX)
    with pytest.raises(NoteTooLong, match="4000 characters, this one 4001"):
        people.note("a1", "x" * 4001)
    people.put_person("u1", ADA)
    with files_that_cannot_grow(), pytest.raises(sqlite3.OperationalError):
        people.put_person("u1", Person("Lost", "lost@example.org"))
    assert people.person("u1") == ADA
    assert people.find_login(ADA.issuer, ADA.subject) == "u1"
