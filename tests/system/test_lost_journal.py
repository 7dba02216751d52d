# SPDX-License-Identifier: Apache-2.0
"""A journal that is lost or goes back to a backup while the rest of the data folder stays: job ids are given again, and
each new job runs all the same. Real processes started by `leitstand up`."""

import shutil
from pathlib import Path

import httpx2
import pytest

from tests.system.test_kill import Plane, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


def exit_code(plane: Plane, script: str) -> tuple[str, int]:
    """Id and exit code of a job that has run this."""
    body = {"run": ["sh", "-c", script], "resources": {"gpus": 1}}
    answer = httpx2.post(f"{plane.url}/v1/jobs", json=body, headers=plane.headers, timeout=30)
    job = answer.json()["id"]

    def ended() -> bool:
        return bool(look()["ended_at"])

    def look() -> dict[str, object]:
        found: dict[str, object] = httpx2.get(f"{plane.url}/v1/jobs/{job}", headers=plane.headers).json()
        return found

    until(ended, f"{job} ends")
    code = look()["exit_code"]
    assert isinstance(code, int)
    return job, code


@pytest.mark.parametrize("restored", [False, True], ids=["lost", "restored"])
def test_a_job_whose_id_was_given_before_runs_and_is_not_taken_for_the_old_one(
    tmp_path: Path, restored: bool
) -> None:
    data, backup, mark = tmp_path / "data", tmp_path / "backup", tmp_path / "mark"
    plane = Plane(data)
    plane.stop()
    backup.mkdir()
    for file in data.glob("journal.db*"):
        shutil.copy(file, backup)
    plane = Plane(data)
    assert exit_code(plane, "exit 0") == ("operator-1", 0)
    plane.stop()
    for file in data.glob("journal.db*"):
        file.unlink()
    for path in (*data.glob("views.db*"), data / "snapshots"):  # they know more than the journal now
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    if restored:
        for file in backup.iterdir():
            shutil.copy(file, data)
    plane = Plane(data)
    try:
        assert exit_code(plane, f"touch {mark}; exit 7") == ("operator-1", 7)
        assert mark.exists()
        assert (data / "runs" / "operator-1.1.stale-1" / "ended.json").exists()
    finally:
        plane.stop()
