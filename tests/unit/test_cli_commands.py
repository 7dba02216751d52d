# SPDX-License-Identifier: Apache-2.0
"""The commands: what they send, what they print, how they end. No sockets: answers are played."""

import hashlib
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import click
import httpx2
import pytest
from click.testing import CliRunner, Result

from leitstand import client as sdk
from leitstand.cli import workdir
from leitstand.cli.client import Client
from leitstand.cli.root import cli

JOB: dict[str, Any] = {
    "id": "operator-1",
    "name": "first",
    "tenant": "operator",
    "project": "default",
    "user": {"id": "u1", "name": "Ada Lovelace"},
    "state": "pending",
    "reason": "capacity",
    "message": "waits until enough is free at once",
    "exit_code": None,
    "signal": None,
    "resources": {"gpus": 2, "cpus": 4.0, "memory_gb": 8.0},
    "num_nodes": 2,
    "priority": 0,
    "max_duration_s": 5400.0,
    "submitted_at": "2026-03-01T10:00:00Z",
    "started_at": None,
    "ended_at": None,
    "runs": [],
    "usage": {"wall_s": 0.0, "gpu_s": 0.0, "cpu_s": 0.0, "wall_us": 0, "gpu_us": 0, "cpu_milli_us": 0},
}
RUN: dict[str, Any] = {
    "id": "operator-1.1",
    "state": "ended",
    "tasks": [{"node": "n1", "gpus": [0, 1]}, {"node": "n2", "gpus": [0, 1]}],
    "started_at": "2026-03-01T10:00:01Z",
    "ended_at": "2026-03-01T11:00:01Z",
    "outcome": "exited",
    "exit_code": 3,
    "signal": None,
}


class Plane:
    """Answers by method and path; keeps what was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str, Any]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        what = f"{request.method} {request.url.path}"
        is_json = request.headers.get("Content-Type") == "application/json"
        self.asked.append(
            (what, request.url.query.decode(), json.loads(request.content) if is_json else None)
        )
        answer = self.answers.get(what)
        if answer is None:
            detail = f"nothing at {what}"
            return httpx2.Response(404, json={"title": "Not Found", "detail": detail, "code": "unknown-job"})
        if callable(answer):
            answer = answer(request)
        return answer if isinstance(answer, httpx2.Response) else httpx2.Response(200, json=answer)

    def run(self, *words: str, **environment: str) -> Result:
        client = Client("http://plane.test", "x", transport=httpx2.MockTransport(self), sleep=lambda _: None)
        return CliRunner().invoke(cli, list(words), obj=client, env={"LC_ALL": "C", **environment})

    def submitted(self) -> dict[str, Any]:
        (body,) = [body for what, _, body in self.asked if what == "POST /v1/jobs"]
        assert isinstance(body, dict)
        return body


def plane(job: dict[str, Any] = JOB) -> Plane:
    return Plane(**{"POST /v1/jobs": httpx2.Response(201, json=job), "GET /v1/jobs/operator-1": job})


# ── submitting ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_submit_sends_the_words_after_the_dashes_untouched() -> None:
    target = plane()
    done = target.run("submit", "--gpus", "1", "--", "python", "train.py", "--gpus", "--help", "--", "-d")
    assert done.stdout == "operator-1\n"
    assert target.submitted() == {
        "run": ["python", "train.py", "--gpus", "--help", "--", "-d"],
        "resources": {"gpus": 1},
    }


def test_every_option_has_its_field() -> None:
    target = plane()
    words = (
        "submit --gpus 2 --nodes 3 --cpus 1.5 --memory 16 --name n --tenant acme --project p --max-duration 1h30m "
        "--expected-duration 90s --priority 7 --env A=1 --env B=x=y --env C= --env HERE -- run"
    )
    assert target.run(*words.split(), HERE="there").exit_code == 0
    assert target.submitted() == {
        "run": ["run"],
        "resources": {"gpus": 2, "cpus": 1.5, "memory_gb": 16.0},
        "num_nodes": 3,
        "name": "n",
        "tenant": "acme",
        "project": "p",
        "max_duration": 5400,
        "expected_duration": 90,
        "priority": 7,
        "envs": {"A": "1", "B": "x=y", "C": "", "HERE": "there"},
    }


def test_one_word_with_blanks_is_a_line_of_shell() -> None:
    target = plane()
    target.run("submit", "--", "echo a | wc -l")
    assert target.submitted() == {"run": "echo a | wc -l"}


def test_options_overrule_the_job_file(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("run: x\nname: file\nresources: {accelerators: 1, cpus: 2}\nenvs: {A: 1, B: 2}\n")
    target = plane()
    target.run("submit", str(path), "--gpus", "4", "--env", "A=9", "--name", "line")
    assert target.submitted() == {
        "run": "x",
        "name": "line",
        "resources": {"gpus": 4, "cpus": 2},
        "envs": {"A": "9", "B": "2"},
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["submit"], "neither a command nor a job file"),
        (["submit", "--"], 'no command after "--"'),
        (["submit", "--", ""], 'no command after "--"'),
        (["submit", "python", "train.py"], '"python train.py" is not a job file'),
        (["submit", "job.yaml", "--", "x"], "not both"),
        (["submit", "--gpus", "-1", "--", "x"], "--gpus"),
        (["submit", "--gpus", "many", "--", "x"], "--gpus"),
        (["submit", "--gpus", "H100:3g", "--", "x"], "neither a number of GPUs"),
        (["submit", "--nodes", "0", "--", "x"], "--nodes"),
        (["submit", "--max-duration", "soon", "--", "x"], '"soon" is not a duration'),
        (["submit", "--max-duration", "0", "--", "x"], "above 0"),
        (["submit", "--max-duration", "9999999d", "--", "x"], "3650d"),
        (["submit", "--env", "=x", "--", "x"], "has no name"),
        (["submit", "--env", "NOT_SET_ANYWHERE", "--", "x"], "NOT_SET_ANYWHERE is not set here"),
        (["submit", "--workdir", "/no/such/folder", "--", "x"], "/no/such/folder"),
        (["submit", "--", "x" * 300_000], "the limit is 262144"),
        (["submit", "--", "\udcff"], "is not UTF-8"),
        (["submit", "no-such.yaml"], "no-such.yaml: No such file"),
        *(
            (["plan", option, value, "--", "true"], f'"{value}" is not')
            for option in ("--cpus", "--memory")
            for value in ("nan", "inf", "-inf", "1e400", "-1", "many")
        ),
        *(
            (["submit", "--idempotency-key", key, "--", "true"], "--idempotency-key")
            for key in ("ü", "a\nb", "", " x", "x" * 256, "\udcff")
        ),
        (["job", "operator-1/logs"], "is not the id of a job"),
        (["job", ""], "is not the id of a job"),
        (["cancel", "operator-1", "\udcff"], "is not the id of a job"),
        (["jbos"], 'Did you mean "jobs"?'),
        (["jobs", "--state", "dreaming"], "dreaming"),
        (["jobs", "--limit", "0"], "--limit"),
        (["usage", "--by", "colour"], "colour"),
    ],
)
def test_a_wrong_command_line_is_told_and_nothing_is_sent(words: list[str], said: str) -> None:
    target = plane()
    done = target.run(*words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert target.asked == []


def test_run_detached_returns_at_once_with_the_way_back() -> None:
    done = plane().run("run", "-d", "--", "sleep", "100")
    assert done.exit_code == 0
    assert done.stdout == ""
    assert "job operator-1: pending (capacity)" in done.stderr
    assert "leitstand logs -f operator-1" in done.stderr


def test_run_follows_and_ends_as_the_job_did() -> None:
    end = {"state": "failed", "reason": "exit_code", "exit_code": 42, "signal": None}
    body = (
        'event: log\ndata: {"task": 0, "offset": 0, "text": "hello\\n"}\n\n'
        f"event: end\ndata: {json.dumps(end)}\n\n"
    )
    target = plane({**JOB, "num_nodes": 1})
    headers = {"Content-Type": "text/event-stream"}
    target.answers["GET /v1/jobs/operator-1/logs"] = httpx2.Response(200, headers=headers, content=body)
    done = target.run("run", "--", "false")
    assert done.exit_code == 42
    assert done.stdout == "hello\n"
    assert "exit code 42" in done.stderr


def test_a_job_that_is_refused_ends_with_its_own_code() -> None:
    target = plane()
    refusal = {"title": "Unprocessable", "detail": "job operator-1 was refused: too big", "job": "operator-1"}
    target.answers["POST /v1/jobs"] = httpx2.Response(422, json=refusal)
    done = target.run("run", "--gpus", "999", "--", "x")
    assert done.exit_code == 104
    assert "too big" in done.stderr


def test_a_key_given_is_the_key_sent() -> None:
    keys = []
    target = plane()

    def accept(request: httpx2.Request) -> httpx2.Response:
        keys.append(request.headers["Idempotency-Key"])
        return httpx2.Response(201, json=JOB)

    target.answers["POST /v1/jobs"] = accept
    target.run("submit", "--idempotency-key", "nightly-7", "--", "x")
    assert keys == ["nightly-7"]


def test_plan_says_where_and_submits_nothing() -> None:
    answer = {
        "admitted": True,
        "reason": "",
        "asked": 0,
        "limit": 0,
        "starts_now": True,
        "waits_for": "",
        "tasks": [{"node": "n1", "gpus": [0, 1]}],
        "jobs_ahead": 0,
    }
    target = Plane(**{"POST /v1/plan": answer})
    done = target.run("plan", "--gpus", "2", "--", "x")
    assert done.exit_code == 0
    assert "0  n1    0,1" in done.stdout
    assert [what for what, _, _ in target.asked] == ["POST /v1/plan"]


def test_a_plan_that_would_be_refused_says_why_and_ends_so() -> None:
    answer = {"admitted": False, "reason": "no_such_capacity", "asked": 99, "limit": 8}
    done = Plane(**{"POST /v1/plan": answer}).run("plan", "--gpus", "99", "--", "x")
    assert done.exit_code == 104
    assert "no_such_capacity" in done.stdout
    assert "99" in done.stdout


def test_a_plan_shows_the_servers_sentence_and_no_bare_amounts() -> None:
    answer = {"admitted": False, "reason": "limit", "asked": 99_000_000_000, "limit": 10_000_000,
              "resource": "max_duration_us", "message": "it asks for 27h30m; the limit is 10s"}  # fmt: skip
    said = Plane(**{"POST /v1/plan": answer}).run("plan", "--", "x").stdout
    assert "it asks for 27h30m; the limit is 10s" in said
    assert "99000000000" not in said
    german = Plane(**{"POST /v1/plan": answer}).run("plan", "--", "x", LC_ALL="de_DE.UTF-8").stdout
    assert "1d3h30m" in german
    assert "Grenze überschritten" in german
    assert "99000000000" not in german


def test_a_plan_without_a_sentence_shows_durations_as_such() -> None:
    answer = {"admitted": False, "reason": "limit", "asked": 99_000_000_000, "limit": 3_600_000_000}
    said = Plane(**{"POST /v1/plan": answer}).run("plan", "--", "x").stdout
    assert "1d3h30m" in said
    assert "000000" not in said


def test_plan_takes_the_line_of_a_submission_with_its_key() -> None:
    answer = {"admitted": False, "reason": "shape", "asked": 1, "limit": 2}
    assert (
        Plane(**{"POST /v1/plan": answer}).run("plan", "--idempotency-key", "k", "--", "x").exit_code == 104
    )


@pytest.mark.parametrize("command", ["run", "submit"])
def test_ctrl_c_while_submitting_says_that_the_outcome_is_not_known_and_how_to_go_on(command: str) -> None:
    keys = []

    def interrupted(request: httpx2.Request) -> httpx2.Response:
        keys.append(request.headers["Idempotency-Key"])
        raise KeyboardInterrupt

    done = Plane(**{"POST /v1/jobs": interrupted}).run(command, "--", "x")
    assert done.exit_code == 101
    assert "not known" in done.stderr
    assert f"--idempotency-key {keys[0]}" in done.stderr


def test_ctrl_c_right_after_the_submission_names_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("leitstand.cli.follow.follow_to_the_end", interrupted)
    done = plane().run("run", "--", "x")
    assert done.exit_code == 101
    assert "leitstand logs -f operator-1" in done.stderr


# ── work directories ──────────────────────────────────────────────────────────────────────────────────────────────
def packed(folder: Path) -> tuple[str, bytes]:
    archive = io.BytesIO()
    digest = sdk.pack(folder, archive)
    assert hashlib.sha256(archive.getvalue()).hexdigest() == digest
    return digest, archive.getvalue()


def sent(folder: Path) -> str:
    return workdir.send(Client("http://127.0.0.1:1", "t"), folder)


def test_a_work_directory_is_sent_before_the_job_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print(1)")
    digest, archive = packed(tmp_path)
    received = []
    target = plane()

    def keep(request: httpx2.Request) -> httpx2.Response:
        received.append(request.content)
        return httpx2.Response(201, json={})

    target.answers[f"PUT /v1/blobs/{digest}"] = keep
    assert target.run("submit", "--workdir", str(tmp_path), "--", "x").exit_code == 0
    assert received == [archive]
    assert [what for what, _, _ in target.asked] == [f"PUT /v1/blobs/{digest}", "POST /v1/jobs"]
    assert target.submitted()["workdir"] == digest


def test_equal_folders_make_equal_archives_whatever_their_times_and_order(tmp_path: Path) -> None:
    names = ["b.py", "a.py", "sub/c.py", "ü.txt"]
    for folder, order in ((tmp_path / "one", names), (tmp_path / "two", names[::-1])):
        for name in order:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        (folder / "link").symlink_to("a.py")
        (folder / "a.py").chmod(0o755)
    (tmp_path / "two" / "b.py").touch()
    assert packed(tmp_path / "one") == packed(tmp_path / "two")
    (tmp_path / "two" / "a.py").chmod(0o644)
    assert packed(tmp_path / "one")[0] != packed(tmp_path / "two")[0]


def test_repositories_environments_and_caches_stay_at_home(tmp_path: Path) -> None:
    for name in (".git/HEAD", ".venv/bin/python", "src/__pycache__/x.pyc", "src/x.py", ".env"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    with tarfile.open(fileobj=io.BytesIO(packed(tmp_path)[1])) as tar:
        assert tar.getnames() == [".env", "src", "src/x.py"]


def test_a_link_out_of_the_work_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("/etc/passwd")
    with pytest.raises(click.ClickException, match="leads out of it: out"):
        sent(tmp_path)


@pytest.mark.parametrize(
    "target", ["../secret", "sub/../../secret", "up/../secret", "{absolute}/inside", "chain"]
)
def test_a_link_out_is_noticed_however_the_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    folder = tmp_path / "work"
    (folder / "sub").mkdir(parents=True)
    (folder / "inside").touch()
    (folder / "up").symlink_to(".")
    (folder / "link").symlink_to(target.format(absolute=folder))
    if target == "chain":
        (folder / "chain").symlink_to("../secret")
    monkeypatch.chdir(folder)
    (folder / "job.yaml").write_text("run: x\nworkdir: .\n")
    for words in (["--workdir", ".", "--", "x"], ["--workdir", "../work", "--", "x"], ["job.yaml"]):
        done = plane().run("submit", *words)
        assert done.exit_code == 1
        assert "leads out of it" in done.stderr


def test_links_within_the_folder_go_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "link").symlink_to("../file")
    (tmp_path / "dangling").symlink_to("not/there")
    monkeypatch.chdir(tmp_path)
    with tarfile.open(fileobj=io.BytesIO(packed(Path())[1])) as tar:
        assert tar.getnames() == ["dangling", "sub", "sub/link"]


def test_what_cannot_be_read_is_named_without_numbers(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException) as caught:
        sent(tmp_path / "gone")
    assert "Errno" not in caught.value.message
    assert f"{tmp_path / 'gone'}: No such file or directory" in caught.value.message


def test_help_and_guide_name_what_stays_at_home() -> None:
    said = CliRunner().invoke(cli, ["submit", "--help"], env={"LC_ALL": "C"}, terminal_width=200).stdout
    guide = (Path(__file__).parents[2] / "docs" / "guide.md").read_text()
    for name in sdk.LEFT_OUT:
        assert f"`{name}`" in guide
    assert ".git, .venv and caches" in " ".join(said.split())


def test_a_work_directory_over_the_limit_is_refused_with_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdk, "ARCHIVE_BYTES_MAX", 1 << 20)
    (tmp_path / "data.bin").write_bytes(bytes(2 << 20))
    done = plane().run("submit", "--workdir", str(tmp_path), "--", "x")
    assert done.exit_code == 1
    assert "more than 1 MiB" in done.stderr


def test_too_many_files_are_refused_with_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "FILES_MAX", 3)
    for n in range(4):
        (tmp_path / str(n)).touch()
    with pytest.raises(click.ClickException, match="more than 3 files"):
        sent(tmp_path)


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_jobs_as_json_is_a_list_with_the_promised_keys() -> None:
    done = Plane(**{"GET /v1/jobs": {"items": [JOB], "next_cursor": None}}).run("jobs", "--json")
    (row,) = json.loads(done.stdout)
    assert {"id", "state", "reason", "exit_code"} <= set(row)


def test_jobs_as_a_table_counts_the_gpus_of_the_gang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leitstand.cli.moments.time.time", lambda: 1772359200.0 + 3 * 3600)
    done = Plane(**{"GET /v1/jobs": {"items": [JOB], "next_cursor": None}}).run("jobs")
    assert done.stdout.splitlines() == [
        "ID          NAME   TENANT    USER          STATE    REASON    GPUS  EXIT  AGE",
        "operator-1  first  operator  Ada Lovelace  pending  capacity     4  -     3h",
    ]


FORECAST = {
    "p50": "2026-03-01T14:30:00Z",
    "p90": None,
    "deadline_chance": 0.25,
    "at": "2026-03-01T12:55:00Z",
    "until": "2026-03-08T12:55:00Z",
}


def test_jobs_that_wait_are_listed_with_the_forecast_of_their_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leitstand.cli.moments.time.time", lambda: 1772359200.0 + 3 * 3600)
    other = {**JOB, "id": "operator-2", "state": "running", "reason": "", "forecast": None}
    target = Plane(**{"GET /v1/jobs": {"items": [{**JOB, "forecast": FORECAST}, other], "next_cursor": None}})
    lines = target.run("jobs").stdout.splitlines()
    age = lines[0].index("AGE")
    assert [line[age:] for line in lines] == [
        "AGE  START P50  START P90      BY DEADLINE",
        "3h   in 1h 30m  not within 7d  25%",
        "3h   -          -              -",
    ]
    assert "BEGINN P50  BEGINN P90       BIS FRIST" in target.run("jobs", LC_ALL="de_DE.UTF-8").stdout
    assert json.loads(target.run("jobs", "--json").stdout)[0]["forecast"] == FORECAST


def test_one_job_that_waits_says_when_it_probably_starts() -> None:
    target = plane({**JOB, "forecast": FORECAST})
    said = target.run("job", "operator-1").stdout
    assert re.search(r"forecast: +P50 2026-03-01 14:30:00 UTC .*, P90 not within 7d", said)
    assert re.search(r"by its deadline: +25%", said)
    german = target.run("job", "operator-1", LC_ALL="de_DE.UTF-8").stdout
    assert "P90 nicht binnen 7d" in german
    assert re.search(r"bis zu seiner Frist: +25%", german)
    assert json.loads(target.run("job", "operator-1", "--json").stdout)["forecast"] == FORECAST
    assert "forecast" not in plane({**JOB, "forecast": None}).run("job", "operator-1").stdout


def test_filters_travel_to_the_control_plane() -> None:
    target = Plane(**{"GET /v1/jobs": {"items": [], "next_cursor": None}})
    done = target.run("jobs", "--state", "failed", "--tenant", "acme", "--limit", "5")
    assert target.asked[0][1] == "limit=5&state=failed&tenant=acme"
    assert done.stdout == ""
    assert "No jobs." in done.stderr


def test_a_cut_listing_says_so() -> None:
    target = Plane(**{"GET /v1/jobs": {"items": [JOB], "next_cursor": "1"}})
    assert "newest 1;" in target.run("jobs", "--limit", "1").stderr


def test_escape_sequences_in_names_do_not_reach_the_terminal() -> None:
    evil = {**JOB, "name": "\x1b]0;owned\x07\nsecond line"}
    done = Plane(**{"GET /v1/jobs": {"items": [evil], "next_cursor": None}}).run("jobs")
    assert "\x1b" not in done.stdout
    assert len(done.stdout.splitlines()) == 2


def test_one_job_shows_its_runs_and_hours_with_their_units() -> None:
    usage = {**JOB["usage"], "gpu_s": 14400.0, "cpu_s": 3600.0, "wall_s": 3600.0}
    job = {**JOB, "state": "failed", "reason": "exit_code", "exit_code": 3, "runs": [RUN], "usage": usage}
    said = plane(job).run("job", "operator-1").stdout
    assert "4.0000 GPU-h, 1.0000 CPU-h, 1.0000 h wall time" in said
    assert "operator-1.1  ended  n1,n2     4" in said
    assert "1h 30m" in said


def test_a_job_that_is_not_there_ends_with_102() -> None:
    done = Plane().run("job", "operator-9")
    assert done.exit_code == 102
    assert done.stderr.startswith("Error: ")


def log(request: httpx2.Request) -> httpx2.Response:
    lines = {"0": b"alpha\nbeta", "1": b"gamma\n"}[request.url.params["task"]]
    return httpx2.Response(200, content=lines[int(request.url.params["offset"]) :][:4])


def test_logs_of_a_gang_are_printed_whole_with_their_rank() -> None:
    target = plane({**JOB, "runs": [RUN]})
    target.answers["GET /v1/jobs/operator-1/logs"] = log
    assert target.run("logs", "operator-1").stdout == "[0] alpha\n[0] beta\n[1] gamma\n"


def test_logs_of_one_task_are_its_bytes() -> None:
    target = plane({**JOB, "runs": [RUN]})
    target.answers["GET /v1/jobs/operator-1/logs"] = log
    assert target.run("logs", "operator-1", "--task", "0").stdout == "alpha\nbeta"


def test_a_job_without_a_run_has_no_log_yet() -> None:
    done = plane().run("logs", "operator-1")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "no log yet" in done.stderr


def test_logs_as_json_are_lines_with_their_places() -> None:
    target = plane({**JOB, "runs": [RUN]})
    target.answers["GET /v1/jobs/operator-1/logs"] = log
    said = [json.loads(line) for line in target.run("logs", "operator-1", "--json").stdout.splitlines()]
    assert said == [
        {"task": 0, "offset": 0, "text": "alpha\n"},
        {"task": 0, "offset": 6, "text": "beta"},
        {"task": 1, "offset": 0, "text": "gamma\n"},
    ]


def test_a_job_that_could_not_start_shows_the_last_line_of_its_log() -> None:
    run = {**RUN, "outcome": "start_failed", "exit_code": None}
    job = {**JOB, "state": "failed", "reason": "start_failed", "runs": [run]}
    target = plane(job)
    text = b"one\nthere is no program 'x'\n\n"
    target.answers["GET /v1/jobs/operator-1/logs"] = lambda request: httpx2.Response(
        200, content=text[int(request.url.params["offset"]) :] if request.url.params["task"] == "1" else b""
    )
    assert "there is no program 'x'" in target.run("job", "operator-1").stdout
    assert "log" not in json.loads(target.run("job", "operator-1", "--json").stdout)


def test_cancel_tries_them_all_and_ends_with_the_failure() -> None:
    target = Plane(**{"POST /v1/jobs/operator-2/cancel": {**JOB, "id": "operator-2", "state": "cancelled"}})
    done = target.run("cancel", "operator-1", "operator-2")
    assert done.exit_code == 102
    assert "job operator-2: cancelled" in done.stdout
    assert "operator-1" in done.stderr


NODE = {
    "id": "n1",
    "site": "local",
    "pool": "shared",
    "gpu_type": "",
    "logical": True,
    "in_service": True,
    "gpus": 4,
    "gpus_free": 3,
    "cpus": 2.0,
    "memory_gb": 7.5,
    "runs": ["operator-1.1"],
}


def test_logical_gpus_are_said_to_be_logical() -> None:
    done = Plane(**{"GET /v1/nodes": {"items": [NODE]}}).run("nodes")
    assert "logical" in done.stdout
    assert "counted, not real" in done.stderr


def test_usage_is_in_hours_with_the_unit_in_the_header() -> None:
    row = {"tenant": "acme", "jobs": 2, "gpu_s": 5400.0, "cpu_s": 1.0, "wall_s": 0.0}
    done = Plane(**{"GET /v1/usage": {"items": [row], "next_cursor": None}}).run("usage")
    header, line = done.stdout.splitlines()
    assert header.split() == ["TENANT", "JOBS", "GPU-H", "CPU-H", "WALL", "H"]
    assert line.split() == ["acme", "2", "1.5000", "0.0003", "0.0000"]


def test_tenants_are_listed_and_added() -> None:
    tenant = {"id": "acme", "class": "startup", "name": "Acme AI", "stage": "notice", "suspended": "unpaid"}
    tenant |= {"jobs": 0, "pending": 0}
    target = Plane(**{"GET /v1/tenants": {"items": [tenant]}, "POST /v1/tenants": tenant})
    assert "acme    startup  Acme AI  notice  unpaid" in target.run("tenants").stdout
    assert target.run("tenants").stdout == target.run("tenants", "list").stdout
    assert "Acme AI  gekündigt  unbezahlt" in target.run("tenants", LC_ALL="de_DE.UTF-8").stdout
    assert json.loads(target.run("tenants", "--json").stdout) == [tenant]
    target.run("tenants", "add", "acme", "--class", "startup")
    assert target.asked[-1] == ("POST /v1/tenants", "", {"id": "acme", "class": "startup"})


def test_sites_are_listed() -> None:
    site = {
        "id": "local",
        "engine": "local",
        "jurisdiction": "DE",
        "logical": True,
        "nodes": 1,
        "gpus": 4,
        "gpus_free": 4,
        "mode": "",
        "operator": "",
        "levels": [],
        "status": "ok",
        "health": None,
    }
    assert "local  local   DE" in Plane(**{"GET /v1/sites": {"items": [site]}}).run("sites").stdout


def test_german_is_spoken_where_the_locale_is_german() -> None:
    done = Plane(**{"GET /v1/jobs": {"items": [JOB], "next_cursor": None}}).run("jobs", LC_ALL="de_DE.UTF-8")
    assert done.stdout.startswith("KENNUNG")


GERMAN = {"LC_ALL": "de_DE.UTF-8"}


def test_states_reasons_and_outcomes_are_german_where_the_locale_is() -> None:
    job = {**JOB, "state": "failed", "reason": "exit_code", "exit_code": 3, "runs": [RUN]}
    said = plane(job).run("job", "operator-1", **GERMAN).stdout
    for word in ("gescheitert", "endete mit Exit-Code 3", "beendet"):
        assert word in said
    listed = Plane(**{"GET /v1/jobs": {"items": [JOB], "next_cursor": None}}).run("jobs", **GERMAN).stdout
    assert "wartend" in listed
    assert "Kapazität" in listed
    assert "pending" in Plane(**{"GET /v1/jobs": {"items": [JOB], "next_cursor": None}}).run("jobs").stdout


def test_json_is_the_same_in_every_language() -> None:
    target = Plane(**{"GET /v1/jobs": {"items": [JOB], "next_cursor": None}})
    assert target.run("jobs", "--json", **GERMAN).stdout == target.run("jobs", "--json").stdout


def test_a_state_is_understood_in_the_language_it_is_shown_in() -> None:
    target = Plane(**{"GET /v1/jobs": {"items": [], "next_cursor": None}})
    assert target.run("jobs", "--state", "wartend", **GERMAN).exit_code == 0
    assert target.run("jobs", "--state", "pending", **GERMAN).exit_code == 0
    assert [query for _, query, _ in target.asked] == ["limit=100&state=pending"] * 2


def test_the_librarys_own_errors_are_german_too() -> None:
    said = plane().run("submit", "--nodes", "viele", "--", "x", **GERMAN).stderr
    for english in ("Error", "Usage", "Invalid", "Try", "not a valid"):
        assert english not in said
    assert "Fehler: " in said
    assert "Aufruf:" in said
    assert "Error: " in plane().run("submit", "--nodes", "many", "--", "x").stderr


def test_refusals_with_a_known_code_are_german() -> None:
    assert "Diesen Job gibt es nicht" in Plane().run("job", "operator-9", **GERMAN).stderr


def test_what_is_forbidden_and_what_would_help_is_german() -> None:
    body = {
        "title": "Forbidden",
        "detail": "job:list is not yours here: forbidden by scope-read",
        "code": "forbidden",
        "hint": "issue a token with the scope read",
    }
    target = Plane(**{"GET /v1/jobs": httpx2.Response(403, json=body)})
    said = target.run("jobs", **GERMAN).stderr
    assert "Fehler: job:list ist Ihnen hier nicht erlaubt: scope-read verbietet es." in said
    assert "Stellen Sie einen Token mit dem Bereich read aus." in said
    said = target.run("jobs").stderr
    assert body["detail"] in said
    assert body["hint"] in said


# ── the journal's files ───────────────────────────────────────────────────────────────────────────────────────────
def test_a_number_that_no_entry_has_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["journal", "show", "--data", str(tmp_path), "--after", "9" * 23])
    assert done.exit_code == 2
    assert "--after" in done.stderr


@pytest.mark.parametrize("option", ["--heads", "--pub"])
@pytest.mark.parametrize("content", [None, b"junk\n"])
def test_a_heads_or_key_file_that_cannot_be_used_is_no_verdict_on_the_journal(
    tmp_path: Path, option: str, content: bytes | None
) -> None:
    from leitstand.journal.sqlite import SqliteJournal

    SqliteJournal(tmp_path / "journal.db").close()
    given = tmp_path / "given"
    if content is not None:
        given.write_bytes(content)
    words = ["journal", "verify", "--data", str(tmp_path), option, str(given)]
    done = CliRunner().invoke(cli, words, env={"LC_ALL": "C"})
    assert done.exit_code == 2
    assert option in done.stderr
    assert str(given) in done.stderr
    assert "evidence" not in done.stderr
    assert "verdict" not in done.stdout


def test_a_damaged_key_in_the_data_folder_is_no_verdict_on_the_journal(tmp_path: Path) -> None:
    from leitstand.journal.sqlite import SqliteJournal

    SqliteJournal(tmp_path / "journal.db").close()
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "head.pub").write_text("junk")
    done = CliRunner().invoke(cli, ["journal", "verify", "--data", str(tmp_path)], env={"LC_ALL": "C"})
    assert done.exit_code == 2
    assert "head.pub" in done.stderr
    assert "verdict" not in done.stdout
