# SPDX-License-Identifier: Apache-2.0
"""What the secret store promises: values come back to who names them right, and appear nowhere else."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from leitstand.cli import jobfile
from leitstand.stores import secrets as module
from leitstand.stores.keys import Damaged
from leitstand.stores.secrets import MasterKeyMissing, SecretRefused, Secrets
from tests.unit.faults import ON_FILES, files_that_cannot_grow

VALUE = "hunter2-correct-horse"


@pytest.fixture
def secrets(folder: Path) -> Secrets:
    return Secrets(folder / "secrets.db", lambda: 7_000_000)


def test_each_value_is_a_version_and_the_latest_needs_no_number(secrets: Secrets, folder: Path) -> None:
    assert secrets.put("acme", "default", "token", VALUE, "u1") == 1
    assert secrets.put("acme", "default", "token", "second", "u2") == 2
    other = Secrets(folder / "secrets.db")
    assert other.read("acme", "default", "token@1") == VALUE
    assert other.read("acme", "default", "token") == other.read("acme", "default", "token@2") == "second"
    assert [(one.name, one.version, one.created_us, one.by) for one in other.list("acme", "default")] == [
        ("token", 2, 7000, "u2")
    ]


@pytest.mark.parametrize(
    ("tenant", "project", "reference"),
    [
        ("umbrella", "default", "token"), ("acme", "other", "token"), ("acme", "default", "token@2"),
        ("acme", "default", "Token"), ("acme", "default", "token@"), ("acme", "default", "token@0"),
        ("acme", "default", "token@1 "), ("acme", "default", "token@٣"), ("acme", "default", ""),
    ],
)  # fmt: skip
def test_what_is_not_there_is_none(secrets: Secrets, tenant: str, project: str, reference: str) -> None:
    secrets.put("acme", "default", "token", VALUE)
    assert secrets.read(tenant, project, reference) is None


def test_what_the_store_takes_a_job_file_can_name() -> None:
    for text in (
        "A",
        "_a",
        "a-b.c_d",
        "a" * 63,
        "9a",
        "-a",
        ".a",
        "a" * 64,
        "ä",
        "a@1",
        "a@0",
        "a@1234567890",
    ):
        named = bool(module.REFERENCE.fullmatch(text))
        assert named == bool(jobfile.REFERENCE.fullmatch(text)), text
        assert bool(module.NAME.fullmatch(text)) == (named and "@" not in text), text


@pytest.mark.parametrize("name", ["", "a b", "~x", "9a", "-a", "a@1", "ä", "x" * 64, "a/b", "a\n"])
def test_a_name_against_the_pattern_is_refused(secrets: Secrets, name: str) -> None:
    with pytest.raises(SecretRefused, match="1 to 63"):
        secrets.put("acme", "default", name, VALUE)


@ON_FILES
def test_no_file_shows_a_value_and_only_the_owner_may_read_them(secrets: Secrets, tmp_path: Path) -> None:
    secrets.put("acme", "default", "token", VALUE)
    secrets.put_for_job("acme", "default", {"TOKEN": VALUE})
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"secrets.db", "secrets.key", "subjects.db"}
    for path in files:
        assert VALUE.encode() not in path.read_bytes(), path
        assert path.stat().st_mode & 0o077 == 0, path


@ON_FILES
def test_no_error_repr_or_log_shows_a_value(
    secrets: Secrets, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    said = []

    def refused(act: Callable[[], object]) -> None:
        with pytest.raises(Exception) as error:
            act()
        chain: BaseException | None = error.value
        while chain is not None:
            said.append(repr(chain) + str(chain))
            chain = chain.__cause__ or chain.__context__

    secrets.put("acme", "default", "token", VALUE)
    refused(lambda: secrets.put("acme", "default", "a b", VALUE))
    refused(lambda: secrets.put("acme", "default", "long", VALUE * 10_000))
    refused(lambda: secrets.put("acme", "default", "zero", VALUE + "\0"))
    refused(lambda: secrets.put("acme", "default", "half", VALUE + "\ud800"))
    refused(lambda: secrets.put_for_job("acme", "default", {f"V{n}": VALUE for n in range(101)}))
    with files_that_cannot_grow():
        refused(lambda: secrets.put("acme", "default", "token", VALUE))
    monkeypatch.setattr(module, "TENANT_BYTES_MAX", 10)
    refused(lambda: secrets.put("acme", "default", "more", VALUE))
    (tmp_path / "keys" / "secrets.key").unlink()
    refused(lambda: secrets.put("acme", "default", "token", VALUE))
    refused(lambda: secrets.read("acme", "default", "token"))
    said += [
        repr(secrets),
        repr(secrets.list("acme", "default")),
        repr(secrets._keys.of("secrets/acme")),
        caplog.text,
    ]
    assert len(said) >= 13
    assert [line for line in said if VALUE in line] == []


def test_a_row_that_was_moved_or_changed_opens_nothing(secrets: Secrets) -> None:
    secrets.put("acme", "default", "mine", "mine")
    secrets.put("acme", "default", "theirs", VALUE)
    with secrets._tables.writing() as connection:
        connection.execute(
            "UPDATE secrets SET value = (SELECT value FROM secrets WHERE name = 'theirs') WHERE name = 'mine'"
        )
    with pytest.raises(Damaged):
        secrets.read("acme", "default", "mine")


def test_without_the_master_key_nothing_is_read_and_none_is_made_anew(
    secrets: Secrets, tmp_path: Path
) -> None:
    secrets.put("acme", "default", "token", VALUE)
    master = tmp_path / "keys" / "secrets.key"
    kept = master.read_bytes()
    master.unlink()
    for act in (
        lambda: secrets.read("acme", "default", "token"),
        lambda: secrets.put("acme", "default", "token", "x"),
        lambda: secrets.put("umbrella", "default", "token", "x"),
    ):
        with pytest.raises(MasterKeyMissing, match=r"secrets\.key.*restore"):
            act()
    assert not master.exists()
    assert [one.name for one in secrets.list("acme", "default")] == ["token"]
    master.write_bytes(b"x" * 32)
    with pytest.raises(MasterKeyMissing, match="not the key"):
        secrets.read("acme", "default", "token")
    master.write_bytes(b"short")
    with pytest.raises(MasterKeyMissing, match="5 bytes"):
        secrets.read("acme", "default", "token")
    master.write_bytes(kept)
    assert secrets.read("acme", "default", "token") == VALUE


def test_a_deleted_secret_is_gone_and_its_versions_are_never_given_again(
    secrets: Secrets, tmp_path: Path
) -> None:
    secrets.put("acme", "default", "token", VALUE)
    (sealed,) = secrets._tables.read("SELECT value FROM secrets")[0]
    assert secrets.delete("acme", "default", "token")
    assert not secrets.delete("acme", "default", "token")
    assert secrets.read("acme", "default", "token") is None
    assert secrets.list("acme", "default") == []
    for path in tmp_path.glob("secrets.db*"):
        assert sealed not in path.read_bytes()
    assert secrets.put("acme", "default", "token", "another") == 2
    assert secrets.read("acme", "default", "token@1") is None


def test_limits_are_named_and_what_is_refused_leaves_nothing(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NAMES_MAX", 2)
    monkeypatch.setattr(module, "NAMES_EVER_MAX", 3)
    monkeypatch.setattr(module, "VERSIONS_MAX", 2)
    for name in ("a", "b"):
        secrets.put("acme", "default", name, VALUE)
    with pytest.raises(SecretRefused, match="has 2 secrets, which is the limit"):
        secrets.put("acme", "default", "c", VALUE)
    secrets.put("acme", "other", "c", VALUE)
    secrets.delete("acme", "default", "a")
    secrets.put("acme", "default", "c", VALUE)
    secrets.delete("acme", "default", "c")
    with pytest.raises(SecretRefused, match="has had 3 names"):
        secrets.put("acme", "default", "d", VALUE)
    assert secrets.put("acme", "default", "a", VALUE) == 2  # a name it has had
    for _ in range(2):
        secrets.put("acme", "default", "b", "new")
    assert [secrets.read("acme", "default", f"b@{n}") for n in (1, 2, 3)] == [None, "new", "new"]
    used = secrets._tables.read("SELECT bytes FROM tenants WHERE tenant = 'acme'")[0][0]
    assert used == secrets._tables.read("SELECT sum(length(value)) FROM secrets")[0][0]
    monkeypatch.setattr(module, "TENANT_BYTES_MAX", used + 10)
    with pytest.raises(SecretRefused, match=f"the limit is {used + 10}"):
        secrets.put("acme", "default", "b", VALUE)
    assert secrets.read("acme", "default", "b") == "new"
    assert secrets.put("umbrella", "default", "b", "x") == 1


def test_values_of_one_job_are_listed_nowhere_and_go_with_it(secrets: Secrets) -> None:
    secrets.put("acme", "default", "token", VALUE)
    kept = secrets.put_for_job("acme", "default", {"A": "1", "B": "2"})
    gone = secrets.put_for_job("acme", "default", {"A": "3"})
    assert list(kept) == ["A", "B"]
    assert all(reference.startswith("~") and reference.endswith("@1") for reference in kept.values())
    assert len({*kept.values(), *gone.values()}) == 3
    assert [one.name for one in secrets.list("acme", "default")] == ["token"]
    assert secrets.read("acme", "default", kept["B"]) == "2"
    assert secrets.put_for_job("acme", "default", {}) == {}
    assert secrets.forget_job_secrets([*gone.values(), "token@1", "token"]) == 1
    assert secrets.read("acme", "default", gone["A"]) is None
    assert secrets.read("acme", "default", "token") == VALUE
    assert secrets.prune_job_secrets(7000, ()) == 0
    assert secrets.prune_job_secrets(7001, {kept["A"]}) == 1
    assert [secrets.read("acme", "default", kept[name]) for name in ("A", "B")] == ["1", None]
    assert secrets.read("acme", "default", "token") == VALUE


@ON_FILES
def test_erasing_a_tenant_destroys_its_data_key_so_that_copies_tell_nothing(
    secrets: Secrets, tmp_path: Path
) -> None:
    secrets.put("acme", "default", "token", VALUE)
    secrets.put("umbrella", "default", "token", "theirs")
    wrapped = secrets._keys.of("secrets/acme").key
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in tmp_path.glob("secrets.db*"):
        shutil.copy(path, copy)
    assert secrets.erase("acme") == 1
    assert secrets.erase("acme") == 0
    assert secrets.read("acme", "default", "token") is None
    assert secrets.read("umbrella", "default", "token") == "theirs"
    for path in (tmp_path / "keys").iterdir():
        assert wrapped not in path.read_bytes()
    shutil.copytree(tmp_path / "keys", copy / "keys")
    assert Secrets(copy / "secrets.db").read("acme", "default", "token") is None
    assert secrets.put("acme", "default", "token", "new") == 1
    assert secrets.read("acme", "default", "token") == "new"
