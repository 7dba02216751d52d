# SPDX-License-Identifier: Apache-2.0
"""Stores in a real PostgreSQL: what the suite of both kinds (`tests/unit/test_stores*.py`) cannot ask of files. Servers
are killed, keys destroyed, two machines agree on what no database holds."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from leitstand.access.tokens import digest
from leitstand.app import admin_token
from leitstand.runtime.spec import RunSpec
from leitstand.stores import place
from leitstand.stores.agreement import Agreement, Disagreement
from leitstand.stores.people import People, Person
from leitstand.stores.records import NewerRecords, Records
from leitstand.stores.secrets import Secrets
from leitstand.stores.tables import StoreAway
from tests.conformance.engine_cases import eventually
from tests.postgres import Server

SPEC = RunSpec(name="secret-project-name", argv=("python", "train.py"))


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    server = Server()
    server.add_database("keys")
    yield server
    server.close()


@pytest.fixture
def server(running: Server) -> Server:
    if running.process is None:
        running.start()
    running.empty()
    return running


@pytest.fixture
def folder(server: Server, tmp_path: Path) -> Path:
    """A data folder with its stores in the databases."""
    path = tmp_path / "one"
    path.mkdir()
    place.settle(path, server.url, server.url_of("keys"))
    return path


def other_machine(folder: Path, server: Server) -> Path:
    path = folder.with_name("other")
    path.mkdir()
    place.settle(path, server.url, server.url_of("keys"))
    return path


# ── what outlives a machine ───────────────────────────────────────────────────────────────────────────────────────────
def test_another_machine_reads_what_one_kept_once_it_has_the_master_key(folder: Path, server: Server) -> None:
    ref = Records(folder / "records.db").put("acme", "u1", SPEC)
    People(folder / "people.db").put_person("u1", Person("Ada", "ada@example.org"))
    Secrets(folder / "secrets.db").put("acme", "default", "token", "hunter2")
    other = other_machine(folder, server)
    (other / "keys").mkdir()
    (other / "keys" / "secrets.key").write_bytes((folder / "keys" / "secrets.key").read_bytes())
    assert Records(other / "records.db").get(ref) == SPEC
    assert People(other / "people.db").person("u1") == Person("Ada", "ada@example.org")
    assert Secrets(other / "secrets.db").read("acme", "default", "token") == "hunter2"
    assert {path.name for path in folder.rglob("*")} == {"stores.url", "keys.url", "keys", "secrets.key"}
    assert {(folder / name).stat().st_mode & 0o777 for name in ("stores.url", "keys.url")} == {0o600}


def test_a_destroyed_key_is_in_no_file_of_its_table_any_more(folder: Path, server: Server) -> None:
    records = Records(folder / "records.db")
    gone, kept = records.put("acme", "u1", SPEC), records.put("acme", "u2", SPEC)
    key = records._keys.of("u1").key
    assert key in table_bytes(server, "keys")
    assert records.erase("u1") == 1
    assert key not in table_bytes(server, "keys")
    assert records.get(gone) is None
    assert records.get(kept) == SPEC


def table_bytes(server: Server, name: str) -> bytes:
    """The file of a table of the schema `leitstand_keys`, as it is on disk."""
    with psycopg.connect(server.url_of("keys"), autocommit=True) as db:
        db.execute("CHECKPOINT")
        row = db.execute("SELECT pg_relation_filepath(%s)", (f"leitstand_keys.{name}",)).fetchone()
    assert row is not None
    return (server.folder / row[0]).read_bytes()


def test_machines_that_make_the_tables_at_once_make_one_set(folder: Path) -> None:
    work = "import sys, pathlib; from leitstand.stores.secrets import Secrets; Secrets(pathlib.Path(sys.argv[1]))"
    both = [subprocess.Popen([sys.executable, "-c", work, str(folder / "secrets.db")]) for _ in range(3)]
    assert [one.wait(60) for one in both] == [0, 0, 0]


# ── what fails ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_server_that_is_away_is_told_as_such_and_what_was_kept_is_there_again(
    folder: Path, server: Server
) -> None:
    records = Records(folder / "records.db")
    ref = records.put("acme", "u1", SPEC)
    server.kill()
    for act in (lambda: records.get(ref), lambda: records.put("acme", "u1", RunSpec(name="lost"))):
        with pytest.raises(StoreAway, match=r"does not answer|no PostgreSQL server answers"):
            act()
    server.start()
    eventually(lambda: _is_there(records, ref), "the store is asked again")
    server.kill()
    server.start()  # a connection that was lost meanwhile is made again unseen
    assert records.put("acme", "u1", RunSpec(name="after"))


def _is_there(records: Records, ref: str) -> bool:
    """Whether it can be read: for a second after its server was away the store does not ask again."""
    try:
        return records.get(ref) == SPEC
    except StoreAway:
        return False


def test_tables_of_a_newer_release_are_refused(folder: Path, server: Server) -> None:
    Records(folder / "records.db")
    with psycopg.connect(server.url, autocommit=True) as db:
        db.execute("UPDATE leitstand_stores.forms SET form = 9 WHERE store = 'records'")
    with pytest.raises(NewerRecords, match="form 9; this release reads up to 1: install the newer"):
        Records(folder / "records.db")


def test_stores_stay_where_they_are_and_keys_lie_apart(folder: Path, server: Server, tmp_path: Path) -> None:
    with pytest.raises(place.StoresElsewhere, match=r"must not lie where the journal does"):
        place.settle(tmp_path, server.url, server.url)
    with pytest.raises(
        place.StoresElsewhere, match=r"keys\.url of .* names .*/keys, not .*/other; name another"
    ):
        place.settle(folder, server.url, server.url_of("other"))
    (tmp_path / "records.db").touch()
    with pytest.raises(place.StoresElsewhere, match=r"keeps its stores in files \(records\.db\)"):
        place.settle(tmp_path, server.url, server.url_of("keys"))


# ── what two machines agree on ────────────────────────────────────────────────────────────────────────────────────────
def test_a_machine_without_a_file_or_with_another_one_is_told_and_a_copy_gets_the_time_of_the_first(
    folder: Path, server: Server
) -> None:
    agreement = Agreement(folder)
    token = folder / "admin.token"
    token.write_text("first\n")
    os.utime(token, ns=(10**18, 10**18))
    agreement.check_there({"admin.token": token})
    agreement.check_alike({"admin.token": token})
    other = Agreement(other_machine(folder, server))
    copy = folder.with_name("other") / "admin.token"
    with pytest.raises(Disagreement, match=r"admin\.token is missing: copy it"):
        other.check_there({"admin.token": copy})
    copy.write_text("second\n")
    with pytest.raises(Disagreement, match=r"admin\.token is not that of this control plane"):
        other.check_alike({"admin.token": copy})
    copy.write_text("first\n")
    other.check_alike({"admin.token": copy})
    assert copy.stat().st_mtime_ns == 10**18
    copy.write_text("third\n")
    other.replace("admin.token", copy)
    with pytest.raises(Disagreement):
        agreement.check_alike({"admin.token": token})
    with psycopg.connect(server.url) as db:
        stored = repr(db.execute("SELECT * FROM leitstand_stores.agreement").fetchall())
    assert "third" not in stored


def test_a_token_that_was_replaced_on_another_machine_opens_nothing_here(
    folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(admin_token, "WATCH_S", 0.0)
    here, there = Agreement(folder), Agreement(other_machine(folder, server))
    token, copy = folder / "admin.token", folder.with_name("other") / "admin.token"
    token.write_text("the-old-token-of-the-administrator\n")
    here.check_alike({"admin.token": token})
    file = admin_token.AdminTokenFile(token)
    before = file()

    async def watched(until_replaced: bool) -> None:
        watching = asyncio.create_task(file.watch(here))
        while file.is_replaced is not until_replaced:
            await asyncio.sleep(0.01)
        watching.cancel()

    copy.write_text("the-new-token-of-the-administrator\n")
    there.replace("admin.token", copy)
    asyncio.run(watched(True))
    assert file().digest not in (before.digest, digest("the-new-token-of-the-administrator"))
    assert "was replaced on another machine and opens nothing: copy it" in caplog.text
    token.write_text(copy.read_text())
    os.utime(token, ns=(10**18, 10**18))
    asyncio.run(watched(False))
    assert file().digest == digest("the-new-token-of-the-administrator")
