# SPDX-License-Identifier: Apache-2.0
"""A disk that fills up, for real: submissions are refused in time, reports of running work use the reserve, and even
with nothing left the plane says so and goes on where it was once there is room. Needs root, to mount a small disk."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from leitstand.core import facts as f
from leitstand.journal.sqlite import SqliteReader
from leitstand.journal.verify import verify
from tests.system.test_kill import Plane, live_jobs, until

MIB = 1024 * 1024


def can_mount() -> bool:
    if os.geteuid() != 0:
        return False
    probe = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
    )
    return probe.returncode == 0


pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not can_mount(), reason="mounting a small disk needs root and mount(8)"),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty disk of 64 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def free_bytes(disk: Path) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize


def fill(disk: Path, leave_bytes: int) -> Path:
    """A file that leaves this much free."""
    filler = disk / "filler"
    block = b"x" * 4096
    with filler.open("ab", buffering=0) as file:
        try:
            while free_bytes(disk) > leave_bytes:
                file.write(block)
        except OSError:
            assert leave_bytes == 0
    return filler


def submit(plane: Plane, script: str) -> httpx2.Response:
    body = {"resources": {"gpus": 1}, "run": ["sh", "-c", script]}
    return httpx2.post(f"{plane.url}/v1/jobs", json=body, headers=plane.headers, timeout=30)


def state_of(plane: Plane, job: str) -> str:
    return str(httpx2.get(f"{plane.url}/v1/jobs/{job}", headers=plane.headers, timeout=30).json()["state"])


def test_below_the_reserve_submissions_get_507_and_running_work_is_still_reported(
    disk: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    plane = Plane(disk / "data", "--disk-reserve", "16M")
    try:
        running = submit(plane, f"until [ -e {gate} ]; do sleep 0.05; done; exit 4").json()["id"]
        until(lambda: state_of(plane, running) == "running", "the job runs")
        filler = fill(disk, leave_bytes=8 * MIB)
        until(lambda: submit(plane, "true").status_code == 507, "submissions are refused")
        refused = submit(plane, "true")
        assert refused.headers["content-type"].startswith("application/problem+json")
        assert refused.json()["status"] == 507
        gate.touch()
        until(lambda: state_of(plane, running) == "failed", "the end is reported")
        filler.unlink()
        until(lambda: submit(plane, "true").status_code == 201, "submissions are taken again")
    finally:
        plane.stop()
    assert verify(disk / "data" / "journal.db").bad is None


def test_with_nothing_left_nothing_is_lost_and_it_goes_on_when_there_is_room(
    disk: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    plane = Plane(disk / "data", "--disk-reserve", "1M")
    try:
        running = submit(plane, f"until [ -e {gate} ]; do sleep 0.05; done; exit 4").json()["id"]
        until(lambda: state_of(plane, running) == "running", "the job runs")
        filler = fill(disk, leave_bytes=0)
        gate.touch()
        until(lambda: plane.child("writer") is None or not plane.healthy(), "the writer gives up", 90)
        filler.unlink()
        until(lambda: plane.process.poll() is not None or plane.healthy(), "the plane decided", 90)
        if (
            plane.process.poll() is not None
        ):  # it had tried often enough and ended with its reason: start it again
            plane = Plane(disk / "data", "--disk-reserve", "1M")
        until(lambda: not live_jobs(plane), "the job has ended", 90)
        assert state_of(plane, running) == "failed"
        assert submit(plane, "true").status_code == 201
    finally:
        plane.stop()
    assert verify(disk / "data" / "journal.db").bad is None
    with SqliteReader(disk / "data" / "journal.db") as journal:
        ends = [entry.fact for entry in journal.read(0) if isinstance(entry.fact, f.JobEnded)]
    assert [end.exit_code for end in ends if end.job == running] == [4]
