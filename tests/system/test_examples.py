# SPDX-License-Identifier: Apache-2.0
"""Every example through a real control plane: submitted, run, its log followed, its exit code passed on."""

import re
from pathlib import Path

import pytest

from tests.plane import Plane

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(plane: Plane, name: str, *options: str) -> tuple[int, str]:
    done = plane.cli("run", str(EXAMPLES / name / "job.yaml"), *options)
    return done.returncode, done.stdout + done.stderr


def newest(plane: Plane) -> dict[str, object]:
    found: dict[str, object] = plane.json("jobs", "--limit", "1")[0]
    return found


def test_digits_are_learned_and_the_run_is_metered(plane: Plane) -> None:
    code, said = run(plane, "digits")
    assert code == 0, said
    assert float(re.findall(r"^accuracy ([\d.]+) after 30 epochs", said, re.MULTILINE)[0]) >= 0.95
    job = plane.json("job", str(newest(plane)["id"]))
    assert job["state"] == "succeeded"
    assert job["usage"]["gpu_s"] == pytest.approx(job["usage"]["wall_s"])
    assert job["usage"]["gpu_s"] > 0


def test_digits_go_on_from_the_checkpoint_of_an_earlier_job(plane: Plane, tmp_path: Path) -> None:
    kept = f"CHECKPOINT={tmp_path / 'digits.pickle'}"
    first, _ = run(plane, "digits", "--env", kept, "--env", "EPOCHS=4", "--env", "ACCURACY=0.5")
    second, said = run(plane, "digits", "--env", kept, "--env", "EPOCHS=6", "--env", "ACCURACY=0.5")
    assert (first, second) == (0, 0), said
    assert f"going on from {tmp_path / 'digits.pickle'} after epoch 4" in said
    assert re.findall(r"^epoch (\d+)/6", said, re.MULTILINE) == ["5", "6"]


def test_two_nodes_train_as_one_process_would(plane: Plane) -> None:
    code, said = run(plane, "data-parallel")
    assert code == 0, said
    assert "rank 0 of 2" in said
    assert "rank 1 of 2" in said
    assert float(re.findall(r"difference from one process: (\S+)", said)[0]) <= 1e-9
    (last,) = plane.json("job", str(newest(plane)["id"]))["runs"]
    assert [len(task["gpus"]) for task in last["tasks"]] == [1, 1]


def test_the_simulation_is_verified_and_holds_no_gpu(plane: Plane) -> None:
    code, said = run(plane, "heat")
    assert code == 0, said
    assert said.count(" steps: error ") == 3
    assert "verified" in said
    job = plane.json("job", str(newest(plane)["id"]))
    assert job["usage"]["gpu_s"] == 0
    assert job["usage"]["cpu_s"] == pytest.approx(job["usage"]["wall_s"])


def test_the_failing_job_passes_its_exit_code_and_message_on(plane: Plane) -> None:
    code, said = run(plane, "refused-input")
    assert code == 3
    assert "lies below absolute zero" in said
    job = newest(plane)
    assert (job["state"], job["reason"], job["exit_code"]) == ("failed", "exit_code", 3)


def test_all_examples_are_run_here() -> None:
    tested = set(re.findall(r'run\(plane, "([\w-]+)"', Path(__file__).read_text()))
    assert {folder.parent.name for folder in EXAMPLES.glob("*/job.yaml")} == tested
