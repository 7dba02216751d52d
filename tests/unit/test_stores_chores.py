# SPDX-License-Identifier: Apache-2.0
"""What the retention chores promise: what live jobs need stays, what nobody needs goes when it is old."""

import time
from pathlib import Path

import pytest

from leitstand.app import chores
from leitstand.app.settings import Settings
from leitstand.runtime.spec import RunSpec
from leitstand.stores.records import DAY_S, Records
from leitstand.stores.secrets import Secrets
from tests.unit.faces_story import Plant, first


def test_old_records_go_but_those_of_live_jobs_stay(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    live = plant.submit(name="live").json()["id"]
    fresh = plant.faces.records.put("operator", "u1", RunSpec(name="fresh"))
    long_ago = Records(tmp_path / "records.db", lambda: time.time() - 31 * DAY_S)
    old = long_ago.put("operator", "u1", RunSpec(name="old"))
    ref = plant.faces.follower.state.jobs[live].spec
    with plant.faces.records._tables.writing() as connection:
        connection.execute("UPDATE records SET day = 0 WHERE ref = ?", (ref,))
    first(chores.prune_records(Settings(data=tmp_path, record_days=30), plant.faces))
    assert sorted(plant.faces.records.names([ref, fresh, old]).values()) == ["fresh", "live"]


def test_secrets_of_one_job_go_when_it_has_ended_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, settings = Plant(tmp_path), Settings(data=tmp_path)
    secrets = Secrets(settings.secrets)
    of_live, of_ended = (secrets.put_for_job("operator", "default", {"A": "value"}) for _ in range(2))
    job = plant.submit(name="live").json()["id"]
    spec = RunSpec(argv=("true",), secrets=of_live)
    plant.faces.follower.state.jobs[job].spec = plant.faces.records.put("operator", "admin", spec)
    first(chores.prune_secrets(settings, plant.faces))
    assert secrets.read("operator", "default", of_ended["A"]) == "value"  # young: its job may be on its way
    monkeypatch.setattr(chores, "JOB_SECRET_MIN_US", -1_000_000)
    first(chores.prune_secrets(settings, plant.faces))
    assert secrets.read("operator", "default", of_live["A"]) == "value"
    assert secrets.read("operator", "default", of_ended["A"]) is None
