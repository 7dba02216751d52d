# SPDX-License-Identifier: Apache-2.0
"""`leitstand twin compare`: cells in processes of their own, which are kept, gone on with, and named when they fail."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from leitstand.cli.root import cli
from leitstand.twin.reading.table import TraceError
from leitstand.twin.studies import running
from leitstand.twin.studies.cells import grid, keep, place_of, played
from leitstand.twin.studies.study import read_study

TRACES = Path(__file__).parents[2] / "examples" / "traces"
WEEK = f"{{name: week, trace: {TRACES}/week.csv, cluster: {TRACES}/week.cluster.json, days: 2}}"


def written(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def test_a_study_that_was_cut_short_goes_on(tmp_path: Path) -> None:
    path = written(tmp_path, f"workloads: [{WEEK}]\nrules: [fifo-greedy, sjf]\nseeds: 2\nalone: false\n")
    study, folder = read_study(path), tmp_path / "study" / "cells"
    folder.mkdir(parents=True)
    first, *_ = grid(study)
    here = played(first)
    keep(place_of(first, folder), here)

    told: list[tuple[float, int]] = []
    results = running.run(study, folder, 2, lambda done, cells: told.append((done, cells)))
    assert results.played == 3, "the first was there"
    assert results.cells[0] == (first, here)
    assert (1, 4) in told, "it counts"
    assert told[-1] == (4, 4)

    answer = CliRunner().invoke(cli, ["twin", "compare", str(path), "--json"])
    assert answer.exit_code == 0, answer.output
    said = json.loads(answer.output)
    assert said["blocks"][0]["drawn"] == "days"
    assert [row["rule"] for row in said["blocks"][0]["rows"]] == ["fifo-greedy", "sjf"]
    assert (tmp_path / "study" / "study.html").exists(), "beside the study, under its name"
    assert len(list(folder.glob("*.json"))) == 4


def test_a_cell_that_cannot_be_played_is_named(tmp_path: Path) -> None:
    text = f"workloads: [{WEEK}]\nrules: [fifo-greedy]\nseeds: 0\nsizes: [{{nodes: {{8: 8}}}}, 60]\nalone: false\n"
    with pytest.raises(
        TraceError, match="week, 60 GPUs, fifo-greedy: week: 60 GPUs are no whole nodes of 8; take 56"
    ):
        running.run(read_study(written(tmp_path, text)), tmp_path, 1)
    assert len(list(tmp_path.glob("*.json"))) == 1, "what was played before is kept"


def test_an_interrupted_study_leaves_no_process_and_no_half_file(tmp_path: Path) -> None:
    text = "workloads: [{name: s, synthetic: {gpus: 512, days: 30, load: 0.95}}]\nrules: [sjf]\nseeds: 1\n"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "leitstand",
            "twin",
            "compare",
            str(written(tmp_path, text)),
            "--workers",
            "1",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of its own, as a shell gives it
    )
    group = process.pid
    while not any(b"spawn_main" in command for command in _members(group).values()):
        assert process.poll() is None
    os.killpg(group, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in error
    while _members(group):
        pass  # what is killed is gone as soon as the kernel has time for it; else this test times out
    assert not list((tmp_path / "study" / "cells").glob("*.json"))


def _members(group: int) -> dict[int, bytes]:
    """Processes of the group that still run, and what they were started as."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            command = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found[int(path.parent.name)] = command
    return found
