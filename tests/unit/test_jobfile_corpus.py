# SPDX-License-Identifier: Apache-2.0
"""Job files and batch scripts as people write them: each becomes the request that is stored beside it, or its refusal
names line, key and remedy as stored there.

The files under tests/data are written for this test. `NAME.json` holds either `body` (with `workdir`, and the notices
as [line, part of what is said]) or `faults` (as [line, parts of what is said]).
"""

import json
from pathlib import Path
from typing import Any

import pytest

from leitstand.api import decode
from leitstand.api.jobs.jobrequest import JobRequest, run_spec
from leitstand.cli import jobfile, sbatch
from leitstand.cli.jobfile_faults import BadJobFile, JobFile

DATA = Path(__file__).resolve().parents[1] / "data"
TASK_FILES = sorted((DATA / "taskfiles").glob("*.yaml"))
SCRIPTS = sorted((DATA / "sbatch").glob("*.sbatch"))


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")


def read(path: Path) -> JobFile:
    return jobfile.read(path) if path.suffix == ".yaml" else sbatch.read(path)


def test_the_corpora_are_whole() -> None:
    assert (len(TASK_FILES), len(SCRIPTS)) == (30, 20)
    accepted = [path for path in (*TASK_FILES, *SCRIPTS) if "body" in expected(path)]
    assert len(accepted) >= 20


def expected(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    return found


@pytest.mark.parametrize("path", [*TASK_FILES, *SCRIPTS], ids=lambda path: path.stem)
def test_each_becomes_its_request_or_its_refusal(path: Path) -> None:
    wanted = expected(path)
    if "faults" in wanted:
        with pytest.raises(BadJobFile) as caught:
            read(path)
        check(wanted["faults"], caught.value.faults)
        return
    job = read(path)
    body = dict(job.body)
    assert (
        body.pop("run") if path.suffix == ".sbatch" else True
    )  # the script itself, with its first line replaced
    assert body == wanted["body"]
    assert (job.workdir is not None) == wanted.get("workdir", False)
    check(wanted.get("notices", []), list(job.notices))


def check(wanted: list[list[Any]], told: list[Any]) -> None:
    """Every line that is told is one that is wanted, and says the parts that are wanted of it."""
    assert [line for line, *_ in wanted] == [line for line, _ in told]
    for (_, *parts), (_, what) in zip(wanted, told, strict=True):
        assert [part for part in parts if part not in what] == [], what


@pytest.mark.parametrize(
    "path", [p for p in (*TASK_FILES, *SCRIPTS) if "body" in expected(p)], ids=lambda path: path.stem
)
def test_what_becomes_a_request_is_one_that_the_control_plane_takes(path: Path) -> None:
    asked = decode.body(json.dumps(read(path).body).encode(), JobRequest)
    assert run_spec(asked).script or run_spec(asked).argv
