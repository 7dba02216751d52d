# SPDX-License-Identifier: Apache-2.0
"""What the local engine hears about a record that it cannot have, now or ever."""

import sqlite3
from pathlib import Path

import pytest

from leitstand.app.writer import read_spec
from leitstand.engines.local import record
from leitstand.runtime.spec import RunSpec
from leitstand.stores.records import Records

SPEC = RunSpec(argv=("true",))


class Faulty(Records):
    """Raises instead of reading."""

    def __init__(self, fault: sqlite3.Error) -> None:
        self.fault = fault

    def get(self, ref: str) -> RunSpec | None:
        raise self.fault


def test_a_whole_record_is_read_and_one_that_is_not_there_is_none(tmp_path: Path) -> None:
    records = Records(tmp_path / "records.db")
    assert read_spec(records, records.put("acme", "me", SPEC)) == SPEC
    assert read_spec(records, "never") is None
    records.close()


def test_a_record_whose_bytes_are_damaged_is_a_value_error(tmp_path: Path) -> None:
    records = Records(tmp_path / "records.db")
    ref = records.put("acme", "me", SPEC)
    with sqlite3.connect(tmp_path / "records.db") as other:
        other.execute("UPDATE records SET spec = ?", (b"\xff" * 80,))
    with pytest.raises(ValueError, match="damaged"):
        read_spec(records, ref)
    records.close()


def test_a_page_that_is_damaged_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="malformed"):
        read_spec(Faulty(sqlite3.DatabaseError("database disk image is malformed")), "ref")


def test_a_database_that_does_not_answer_now_is_an_error_that_passes() -> None:
    with pytest.raises(OSError, match="locked") as refused:
        read_spec(Faulty(sqlite3.OperationalError("database is locked")), "ref")
    assert refused.value.errno in record.PASSING
