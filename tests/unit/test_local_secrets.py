# SPDX-License-Identifier: Apache-2.0
"""What the local engine hears about a secret: its value, that it is gone, damaged, or not to be had now."""

import sqlite3
from pathlib import Path

import pytest

from leitstand.app.writer import read_secret
from leitstand.engines.local import record
from leitstand.stores.keys import Damaged
from leitstand.stores.secrets import Secrets


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    return Secrets(tmp_path / "secrets.db")


def test_a_secret_is_read_in_its_version_and_one_that_is_not_there_is_none(secrets: Secrets) -> None:
    secrets.put("acme", "p", "token", "first")
    secrets.put("acme", "p", "token", "second")
    assert read_secret(secrets, "acme", "p", "token@1") == "first"
    assert read_secret(secrets, "acme", "p", "token@3") is None
    assert read_secret(secrets, "beta", "p", "token@1") is None
    secrets.close()


def test_without_the_master_key_a_secret_cannot_be_read_now(secrets: Secrets, tmp_path: Path) -> None:
    secrets.put("acme", "p", "token", "value")
    key = tmp_path / "keys" / "secrets.key"
    kept = key.read_bytes()
    key.unlink()
    with pytest.raises(OSError, match="missing") as refused:
        read_secret(secrets, "acme", "p", "token@1")
    assert refused.value.errno in record.PASSING
    key.write_bytes(kept)
    assert read_secret(secrets, "acme", "p", "token@1") == "value"
    secrets.close()


class Faulty(Secrets):
    """Raises instead of reading."""

    def __init__(self, fault: Exception) -> None:
        self.fault = fault

    def read(self, tenant: str, project: str, reference: str) -> str | None:
        raise self.fault


@pytest.mark.parametrize("fault", [Damaged("sealed bytes"), sqlite3.DatabaseError("malformed")])
def test_a_damaged_secret_is_a_value_error(fault: Exception) -> None:
    with pytest.raises(ValueError, match=r"sealed bytes|malformed"):
        read_secret(Faulty(fault), "acme", "p", "token@1")


def test_a_database_that_does_not_answer_now_is_an_error_that_passes() -> None:
    with pytest.raises(OSError, match="locked") as refused:
        read_secret(Faulty(sqlite3.OperationalError("database is locked")), "acme", "p", "token@1")
    assert refused.value.errno in record.PASSING
