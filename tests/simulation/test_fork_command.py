# SPDX-License-Identifier: Apache-2.0
"""`leitstand twin fork` as people use it: in processes of its own, interrupted, and beside a control plane at work."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from leitstand.cli.root import cli
from tests.plane import LEITSTAND, Plane

FILES = ("hours.parquet", "jobs.parquet", "report.html", "report.json")
QUESTION = """
name: More for research, and late
start: 2027-01-04
base:
  - name: site B
    at: 1d
    add: {site: b, nodes: 2}
  - rules: {discipline: fifo-greedy}
scenarios:
  - name: late
    changes:
      - {delay: site B, by: 1d}
      - {failures: {every: 4d, repair: 2h}}
"""
CLUSTER = '{"gpus_per_node": 8, "vc_nodes": {"x": 3, "y": 1}, "classes": {"y": "research"}}'


def asked(folder: Path) -> list[str]:
    """The files of a question, and the command that asks it."""
    (folder / "q.yaml").write_text(QUESTION)
    (folder / "c.json").write_text(CLUSTER)
    rows = [f"{n},{'xy'[n % 2]},{n * 1800},{3600 * (1 + n % 7)},{4 * (1 + n % 3)}" for n in range(60)]
    (folder / "t.csv").write_text("\n".join(["job_id,tenant,submit_s,duration_s,gpus", *rows]))
    return ["twin", "fork", "--cluster", str(folder / "c.json"), "--trace", str(folder / "t.csv"),
            "--what-if", str(folder / "q.yaml"), "--until", "4d"]  # fmt: skip


def test_processes_and_hash_seeds_make_no_difference(tmp_path: Path) -> None:
    for name, workers, hashes in (("one", "1", "1"), ("two", "2", "2")):
        done = subprocess.run(
            [
                LEITSTAND,
                *asked(tmp_path),
                "--seeds",
                "2",
                "--workers",
                workers,
                "--out",
                str(tmp_path / name),
            ],
            env={**os.environ, "PYTHONHASHSEED": hashes},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "late:\n" in done.stdout
        assert done.stderr == "", "no bar where nobody looks"
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    answer = json.loads((tmp_path / "one" / "report.json").read_text())
    assert [one["name"] for one in answer["scenarios"]] == ["as planned", "late"]
    assert answer["scenarios"][1]["seeds"] == [1, 2]
    assert answer["scenarios"][1]["failed_nodes"] > 0
    assert answer["unfinished"] == 0


def test_what_is_played_when_somebody_interrupts_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leitstand.twin.forking import playing

    play, count = playing.play_course, 0

    def once(*told: Any) -> Any:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt
        return play(*told)

    monkeypatch.setattr(playing, "play_course", once)
    done = CliRunner().invoke(cli, [*asked(tmp_path), "--workers", "1", "--out", str(tmp_path / "out")])
    assert done.exit_code == 130
    assert "1 courses were not played to their end" in done.stderr
    assert "Cut short" in (tmp_path / "out" / "report.html").read_text()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == list(FILES)


def test_a_trace_is_read_as_the_other_commands_read_it(tmp_path: Path) -> None:
    """The remedy that a refusal names is there: unusable rows are left out, counted and listed."""
    command = [*asked(tmp_path), "--workers", "1", "--out", str(tmp_path / "out")]
    with (tmp_path / "t.csv").open("a") as rows:
        rows.write("\n60,x,-,3600,4\n61,x,110000,-5,4\n")
    (tmp_path / "t.csv").rename(tmp_path / "t.txt")
    command[command.index(str(tmp_path / "t.csv"))] = str(tmp_path / "t.txt")
    assert CliRunner().invoke(cli, command).exit_code == 1, "no suffix tells what it is"
    refused = CliRunner().invoke(cli, [*command, "--format", "csv"])
    assert refused.exit_code == 1
    assert "--lenient" in refused.stderr
    done = CliRunner().invoke(cli, [*command, "--format", "csv", "--lenient"])
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("dropped: ") == 2
    assert "-5" in done.stderr
    at_a_journal = ["twin", "fork", "x.db", "--until", "1d", "--out", "o", "--lenient"]
    assert "--lenient is for traces" in CliRunner().invoke(cli, at_a_journal).stderr


def courses_of(pid: int) -> list[int]:
    """The processes of courses that this one has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_ctrl_c_ends_all_processes_and_writes_nothing_that_is_not_done(tmp_path: Path) -> None:
    text = QUESTION.replace("fifo-greedy", "fair").replace(
        "start: 2027-01-04", "start: 2027-01-04\narrivals: trace"
    )
    command = [*asked(tmp_path)[:-1], "2000d"]
    (tmp_path / "q.yaml").write_text(text)
    process = subprocess.Popen(
        [LEITSTAND, *command, "--workers", "2", "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while process.poll() is None and len(started := courses_of(process.pid)) < 2:
        pass
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert "nothing is written" in said
    assert "Traceback" not in said, said
    assert not (tmp_path / "out").exists()
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--at", "5"], "leave JOURNAL and --at out"),
        (["--until", "soon"], "--until: 'soon' is no time"),
        (["--until", "2020-01-01"], "not after the fork"),
        (["--seeds", "0"], "--seeds"),
    ],
)
def test_options_that_cannot_be_are_refused(more: list[str], told: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, [*asked(tmp_path), "--out", str(tmp_path / "out"), *more])
    assert done.exit_code != 0
    assert told in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_scenario_of_which_nothing_would_be_seen_is_refused(tmp_path: Path) -> None:
    command = asked(tmp_path)
    text = QUESTION.replace("      - {failures: {every: 4d, repair: 2h}}\n", "")
    (tmp_path / "q.yaml").write_text(text)
    done = CliRunner().invoke(cli, [*command, "--until", "1h", "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "scenario 'late' is what is planned until 2027-01-05" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_control_plane_is_forked_while_it_takes_jobs(tmp_path: Path) -> None:
    with Plane(tmp_path / "data", gpus=4) as plane:
        first = [plane.cli("submit", "--gpus", "2", "--", "sleep", "600").stdout.strip() for _ in range(3)]
        (tmp_path / "q.yaml").write_text(
            "arrivals: none\nscenarios:\n"
            "  - {name: more nodes, changes: [{at: 1h, add: {nodes: 1, site: annexe}}]}\n"
        )
        command = ["twin", "fork", str(plane.data), "--what-if", str(tmp_path / "q.yaml"), "--until", "3d"]
        fork = subprocess.Popen(
            [LEITSTAND, *command, "--out", str(tmp_path / "out"), "--workers", "1", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        taken = 0
        while fork.poll() is None and taken < 200:
            assert plane.http("POST", "/v1/jobs", {"run": ["true"], "resources": {"gpus": 4}})[0] == 201
            taken += 1
        said, error = fork.communicate()
        assert fork.returncode == 0, error
        assert taken > 0
        verified = plane.cli("journal", "verify", "--data", str(plane.data))
        assert verified.returncode == 0, verified.stdout
        assert plane.json("job", first[0])["state"] == "running", "it goes on as before"
    planned, more = json.loads(said)["scenarios"]
    waits = [one["figures"][""]["jobs"]["mean"] for one in (planned, more)]
    assert waits[0] == waits[1] >= 1, "one that waits at the fork"
    less = (
        waits[0] * more["more"][""]["wait_s"]["mean"]
    )  # how many were taken before it was forked is not known
    assert less < -3600, "it need not wait for the others any more"
    assert more["told"][0]["what"].startswith("1 node comes at site annexe")
