# SPDX-License-Identifier: Apache-2.0
"""The demonstration behind `make up`: four tenants, the examples at work, a start-up text that can be typed, and a
start after the worst that changes nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.plane import Plane

ROOT = Path(__file__).resolve().parents[2]
DEMO = (sys.executable, "-m", "leitstand.app.demo")
DONE_WITHIN_S = 180.0
TENANTS = {"werk-nord": "industry", "funke-ai": "startup", "uni-sued": "research", "stadt-see": "public"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with Plane(tmp_path_factory.mktemp("demo") / "up", command=DEMO) as running:
        yield running


def said(demo: Plane) -> list[str]:
    """The start-up text. It is written just after the control plane became healthy: waits for it."""
    deadline = time.monotonic() + 60
    while "Type next" not in demo.output.read_text():
        assert time.monotonic() < deadline, demo.output.read_text()
        time.sleep(0.05)
    return demo.output.read_text().splitlines()


def jobs_when_ended(demo: Plane) -> list[dict[str, Any]]:
    deadline = time.monotonic() + DONE_WITHIN_S
    while True:
        jobs: list[dict[str, Any]] = demo.json("jobs")
        if all(job["ended_at"] for job in jobs):
            return jobs
        assert time.monotonic() < deadline, jobs
        time.sleep(0.5)


def test_the_start_up_text_ends_with_three_lines_that_work_as_typed(demo: Plane) -> None:
    lines = said(demo)
    assert any(demo.url in line for line in lines)
    begin = next(number for number, line in enumerate(lines) if line.startswith("Type next"))
    typed = lines[begin + 1 :]
    assert len(typed) == 3
    clean = {key: value for key, value in os.environ.items() if not key.startswith("LEITSTAND_")}
    done = subprocess.run(
        ["bash", "-e"],
        input="\n".join(typed),
        cwd=ROOT,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "accuracy 0.9" in done.stdout
    assert "TENANT" in done.stdout


def test_each_class_of_tenant_runs_its_example(demo: Plane) -> None:
    assert TENANTS.items() <= {tenant["id"]: tenant["class"] for tenant in demo.json("tenants")}.items()
    ended = {job["tenant"]: job for job in jobs_when_ended(demo) if job["tenant"] in TENANTS}
    assert {tenant: (job["name"], job["state"]) for tenant, job in ended.items()} == {
        "werk-nord": ("refused-input", "failed"),
        "funke-ai": ("data-parallel", "succeeded"),
        "uni-sued": ("heat", "succeeded"),
        "stadt-see": ("digits", "succeeded"),
    }
    assert ended["werk-nord"]["exit_code"] == 3


def test_killed_whole_and_started_again_nothing_is_lost_and_nothing_doubled(demo: Plane) -> None:
    before = jobs_when_ended(demo)
    used = demo.json("usage")
    assert demo.process is not None
    os.killpg(demo.process.pid, signal.SIGKILL)
    demo.process.wait()
    demo.start()
    said(demo)
    assert jobs_when_ended(demo) == before
    assert demo.json("usage") == used


def test_a_second_demonstration_on_the_same_folder_is_refused_by_name(demo: Plane) -> None:
    second = subprocess.run(
        [*DEMO, "--data", str(demo.data), "--port", str(demo.port)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 4
    assert str(demo.data) in second.stderr
