# SPDX-License-Identifier: Apache-2.0
"""Job files and secrets on the command line: what is sent, what is told on standard error, what is never told."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.unit.test_cli_commands import Plane, plane

SECRET = "hf_PlantedPlantedPlantedPlantedPlantedPl"
SCRIPT = "#!/bin/bash\n#SBATCH -N 2 --ntasks-per-node=2\n#SBATCH -p gpu\n#SBATCH --export=A=1,B=2\necho $1\n"


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_batch_script_is_sent_as_the_job_it_describes_and_tells_what_it_passes_over(tmp_path: Path) -> None:
    target, path = plane(), written(tmp_path, "job.sbatch", SCRIPT)
    done = target.run("submit", path, "--env", "B=3", "--cpus", "4", "--", "one", "two words")
    assert done.stdout == "operator-1\n"
    body = target.submitted()
    assert body.pop("run") == "set -- one 'two words'\n" + SCRIPT.partition("\n")[2]
    assert body == {
        "name": "job.sbatch",
        "num_nodes": 2,
        "resources": {"cpus": 4},
        "envs": {
            "LEITSTAND_COMPAT": "slurm",
            "SLURM_NTASKS": "4",
            "SLURM_NTASKS_PER_NODE": "2",
            "SLURM_CPUS_PER_TASK": "1",
            "A": "1",
            "B": "3",
        },
    }
    assert f'{path}:3: "--partition" is passed over' in done.stderr
    assert f"{path}: the script runs on each of the 2 nodes" in done.stderr
    assert "add --workdir ." in done.stderr


def test_with_a_folder_to_send_nothing_is_said_of_folders(tmp_path: Path) -> None:
    path = written(tmp_path, "job.sh", "echo hi\n")
    target = Plane(**{"POST /v1/plan": httpx2.Response(404)})
    assert "--workdir" in target.run("plan", path).stderr
    assert "--workdir" not in target.run("plan", path, "--workdir", str(tmp_path)).stderr


def test_a_secret_is_our_own_value_or_one_of_the_project(tmp_path: Path) -> None:
    target = plane()
    path = written(
        tmp_path, "job.yaml", "run: x\nsecrets: {MINE: null, KEY: k, LEFT: null}\nenvs: {PLAIN: null, E: 1}\n"
    )
    words = ["submit", path, "--secret", "MINE", "--secret", "KEY=@s3-key@4", "--secret", "PLAIN"]
    done = target.run(*words, MINE=SECRET, PLAIN="p")
    assert done.exit_code == 0, done.stderr
    assert target.submitted() == {
        "run": "x",
        "envs": {"E": "1"},
        "secrets": {"LEFT": None, "KEY": "s3-key@4"},
        "secret_values": {"MINE": SECRET, "PLAIN": "p"},
    }
    assert SECRET not in done.output


def test_a_plain_variable_of_the_command_line_takes_the_place_of_a_secret_of_the_file(tmp_path: Path) -> None:
    target, path = plane(), written(tmp_path, "job.yaml", "run: x\nsecrets: {A: null}\n")
    target.run("submit", path, "--env", "A=1")
    assert target.submitted() == {"run": "x", "envs": {"A": "1"}}


@pytest.mark.parametrize("pair", [f"K={SECRET}", f"={SECRET}", "K="])
def test_a_secret_on_the_command_line_itself_is_refused_and_not_repeated(pair: str) -> None:
    target = plane()
    done = target.run("submit", "--secret", pair, "--", "x")
    assert done.exit_code == 2
    assert "can be seen by others" in done.stderr
    assert SECRET not in done.output
    assert target.asked == []


def test_a_secret_that_is_not_set_is_refused_with_both_ways_to_give_it() -> None:
    done = plane().run("submit", "--secret", "NOT_THERE_AT_ALL", "--", "x")
    assert done.exit_code == 2
    assert "--secret NOT_THERE_AT_ALL=@SECRET" in done.stderr


def test_a_plan_needs_no_secret_values() -> None:
    answer: dict[str, Any] = {"admitted": True, "starts_now": True, "tasks": []}
    target = Plane(**{"POST /v1/plan": answer})
    assert target.run("plan", "--secret", "MINE", "--", "x", MINE=SECRET).exit_code == 0
    assert [body for _, _, body in target.asked] == [{"run": ["x"]}]


@pytest.mark.parametrize("name", ["MINE", f"={SECRET}"])
def test_variables_that_are_no_text_are_named_without_their_value(name: str) -> None:
    done = plane().run("submit", "--env", name, "--", "x", MINE=f"{SECRET}\udcff")
    assert done.exit_code == 2
    assert SECRET not in done.output


def test_a_broken_script_ends_like_any_wrong_command_line(tmp_path: Path) -> None:
    target, path = (
        plane(),
        written(tmp_path, "job.slurm", "#!/bin/bash\n#SBATCH --array=1,3\n#SBATCH -t soon\n"),
    )
    done = target.run("run", path)
    assert done.exit_code == 2
    assert f"{path}:2: " in done.stderr
    assert f"{path}:3: " in done.stderr
    assert target.asked == []


@pytest.mark.parametrize("field", ["secrets", "secret_values"])
def test_what_the_control_plane_says_of_secrets_is_told_by_the_name_of_the_option(field: str) -> None:
    errors = [{"where": f"/{field}", "what": "has a fault"}]
    problem = {"title": "Bad Request", "code": "invalid-request", "errors": errors}
    target = Plane(**{"POST /v1/jobs": httpx2.Response(400, json=problem)})
    done = target.run("submit", "--secret", "MINE", "--", "x", MINE="v")
    assert done.exit_code == 2
    assert "--secret has a fault" in done.stderr
