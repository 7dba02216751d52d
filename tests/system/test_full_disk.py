# SPDX-License-Identifier: Apache-2.0
"""A disk that fills up, for real: submissions are refused in time, reports of running work use the reserve, and even
with nothing left the plane says so and goes on where it was once there is room. Needs root, to mount a small disk."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from leitstand.core import facts as f
from leitstand.journal.sqlite import SqliteReader
from leitstand.journal.verify import verify
from tests.system.test_kill import GPUS, Plane, live_jobs, until

MIB = 1024 * 1024
WAITING = 60  # short jobs, many more than GPUs


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
        until(plane.healthy, "the plane goes on", 90)
        assert plane.process.poll() is None
        until(lambda: not live_jobs(plane), "the job has ended", 90)
        assert state_of(plane, running) == "failed"
        assert submit(plane, "true").status_code == 201
    finally:
        plane.stop()
    assert verify(disk / "data" / "journal.db").bad is None
    with SqliteReader(disk / "data" / "journal.db") as journal:
        ends = [entry.fact for entry in journal.read(0) if isinstance(entry.fact, f.JobEnded)]
    assert [end.exit_code for end in ends if end.job == running] == [4]


@pytest.mark.parametrize("left_bytes", [0, 12 * 1024, 64 * 1024])
def test_jobs_that_wait_while_the_disk_is_full_all_run_when_there_is_room(
    disk: Path, tmp_path: Path, left_bytes: int
) -> None:
    """With nothing left the writer itself gives up; with a little, it decides and the starts of runs fail."""
    gate, marks = tmp_path / "gate", tmp_path / "marks"
    plane = Plane(disk / "data", "--disk-reserve", "1M")
    try:
        script = f"until [ -e {gate} ]; do sleep 0.05; done; echo $LEITSTAND_RUN_ID >> {marks}"
        jobs = [submit(plane, script).json()["id"] for _ in range(WAITING)]
        until(lambda: state_of(plane, jobs[GPUS - 1]) == "running", "the first jobs run")
        filler = fill(disk, left_bytes)
        gate.touch()
        until(
            lambda: len(marks.read_text().split()) >= GPUS if marks.exists() else False, "the first jobs end"
        )
        stays_so_s(5.0, lambda: plane.process.poll() is None, "the plane lives on a full disk")
        filler.unlink()
        until(plane.healthy, "the plane goes on", 90)
        until(lambda: not live_jobs(plane), "all jobs have ended", 120)
        assert {job: state_of(plane, job) for job in jobs} == dict.fromkeys(jobs, "succeeded")
        assert sorted(marks.read_text().split()) == sorted(f"{job}.1" for job in jobs)
    finally:
        plane.stop()
    assert verify(disk / "data" / "journal.db").bad is None


def stays_so_s(seconds: float, condition: Callable[[], bool], what: str) -> None:
    """Time passes, and the condition holds all along."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert condition(), f"no longer so: {what}"
        time.sleep(0.05)
