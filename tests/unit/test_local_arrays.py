# SPDX-License-Identifier: Apache-2.0
"""What a job of an array finds in its environment, and that a part of a GPU is the same device for all who share it."""

from pathlib import Path

import pytest

from leitstand.core.facts import Resources, Task
from leitstand.engines.local import environment
from leitstand.engines.local.environment import Described
from leitstand.engines.local.gpus import discover
from leitstand.engines.local.packages import Environment
from leitstand.runtime.ports import StartRun
from leitstand.runtime.spec import RunSpec


def found(folder: Path, index: int = 0, run: str = "acme-7.1", **envs: str) -> dict[str, str]:
    site = discover(2, 1)
    node = site.nodes[0].node
    order = StartRun(
        run, run.rpartition(".")[0], "acme", "default", (Task.of(node, [1]),), Resources(0, gpu_milli=500),
        "", 60, 0, array="acme-5", index=index, size=4,
    )  # fmt: skip
    python = Environment(Path("/usr/bin/python3"), folder, {}, {})
    return environment.of(
        Described(order, RunSpec(script="x", envs=envs), None, python, site, folder, 29500, None, 0)
    )


def test_a_job_of_an_array_knows_its_number(tmp_path: Path) -> None:
    env = found(tmp_path, 2)
    assert (env["LEITSTAND_ARRAY_JOB"], env["LEITSTAND_ARRAY_INDEX"], env["LEITSTAND_ARRAY_COUNT"]) == (
        "acme-5", "2", "4",
    )  # fmt: skip
    assert not any(name.startswith("SLURM_") for name in env)


@pytest.mark.parametrize(
    ("envs", "numbers"),
    [
        ({}, ("2", "0", "3", "1")),
        ({"SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_STEP": "5"}, ("20", "10", "25", "5")),
        ({"SLURM_ARRAY_TASK_MIN": "-1", "SLURM_ARRAY_TASK_STEP": "x"}, ("2", "-1", "3", "x")),
    ],
)
def test_slurm_counts_as_the_script_said(
    tmp_path: Path, envs: dict[str, str], numbers: tuple[str, ...]
) -> None:
    env = found(tmp_path, 2, LEITSTAND_COMPAT="slurm", **envs)
    names = ("ID", "MIN", "MAX", "STEP")
    assert tuple(env[f"SLURM_ARRAY_TASK_{name}"] for name in names) == numbers
    assert (env["SLURM_ARRAY_JOB_ID"], env["SLURM_ARRAY_TASK_COUNT"]) == ("5", "4")


def test_runs_that_share_a_gpu_see_the_same_device(tmp_path: Path) -> None:
    assert {found(tmp_path, run=f"acme-{n}.1")["CUDA_VISIBLE_DEVICES"] for n in (7, 8)} == {"1"}
