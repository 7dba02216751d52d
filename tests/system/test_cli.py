# SPDX-License-Identifier: Apache-2.0
"""The command line against a real control plane: logs as they come, exit codes, lost answers, restarts, Ctrl-C."""

import contextlib
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.plane import LEITSTAND, Plane, free_port

WITHIN_S = 60.0


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition; fail by name at the deadline."""
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {WITHIN_S} s: {what}"
        time.sleep(0.02)


@contextlib.contextmanager
def following(plane: Plane, output: Path, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
    """`leitstand WORDS` in the background, its stdout in a file, its stderr beside it."""
    with output.open("wb") as out, output.with_name(output.name + ".err").open("wb") as err:
        process = subprocess.Popen(
            [LEITSTAND, *words], env=plane.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


# ── run ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--", "true"], 0),
        (["--", "sh", "-c", "exit 42"], 42),
        (["--", "sh", "-c", "kill -TERM $$"], 128 + signal.SIGTERM),
        (["--max-duration", "1s", "--", "sleep", "60"], 124),
        (["--", "/no/such/program"], 105),
        (["--gpus", "9", "--", "true"], 104),
        (["--tenant", "nobody", "--", "true"], 1),
    ],
)
def test_run_ends_as_the_job_did(plane: Plane, words: list[str], code: int) -> None:
    done = plane.cli("run", *words)
    assert done.returncode == code, done.stderr


def test_the_log_arrives_while_the_job_runs(plane: Plane, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with following(
        plane,
        tmp_path / "log",
        "run",
        "--",
        f"echo early; until [ -e {gate} ]; do sleep 0.05; done; echo late",
    ) as run:
        until(lambda: (tmp_path / "log").read_text() == "early\n", "the first line")
        assert run.poll() is None
        gate.touch()
        assert run.wait(WITHIN_S) == 0
    assert (tmp_path / "log").read_text() == "early\nlate\n"


def test_a_gang_is_followed_with_ranks_and_ends_with_the_code_of_the_one_that_failed(
    plane: Plane, tmp_path: Path
) -> None:
    script = f"""
        echo I am $RANK of $WORLD_SIZE
        if [ $RANK = 0 ]; then touch {tmp_path}/gate; sleep 600; fi
        until [ -e {tmp_path}/gate ]; do sleep 0.05; done
        exit 9
    """
    done = plane.cli("run", "--nodes", "2", "--gpus", "1", "--", script)
    assert done.returncode == 9
    assert sorted(done.stdout.splitlines()) == ["[0] I am 0 of 2", "[1] I am 1 of 2"]


def test_a_big_log_arrives_whole(plane: Plane) -> None:
    done = plane.cli("run", "--", "seq 200000")
    assert done.stdout == "".join(f"{n}\n" for n in range(1, 200_001))


def test_a_job_file_with_its_work_directory_runs(plane: Plane, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "hello.py").write_text("import os; print('hello', os.environ['WHO'])\n")
    (tmp_path / "job.yaml").write_text(f"run: {sys.executable} hello.py\nworkdir: src\nenvs:\n  WHO: you\n")
    done = plane.cli("run", str(tmp_path / "job.yaml"))
    assert (done.returncode, done.stdout) == (0, "hello you\n"), done.stderr
    done = plane.cli("run", str(tmp_path / "job.yaml"), "--env", "WHO=me")  # its folder is there already
    assert (done.returncode, done.stdout) == (0, "hello me\n"), done.stderr


def test_a_bad_job_file_submits_nothing(plane: Plane, tmp_path: Path) -> None:
    before = len(plane.json("jobs"))
    (tmp_path / "job.yaml").write_text("run: x\nnum_node: 2\nimage: y\n")
    done = plane.cli("run", str(tmp_path / "job.yaml"))
    assert done.returncode == 2
    assert "job.yaml:2: " in done.stderr
    assert "job.yaml:3: " in done.stderr
    assert len(plane.json("jobs")) == before


def test_cancelling_ends_the_one_who_follows(plane: Plane, tmp_path: Path) -> None:
    with following(plane, tmp_path / "log", "run", "--name", "victim", "--", "echo on; sleep 600") as run:
        until(lambda: (tmp_path / "log").read_text() == "on\n", "the job runs")
        (job,) = (row["id"] for row in plane.json("jobs") if row["name"] == "victim")
        assert plane.cli("cancel", job).returncode == 0
        assert run.wait(WITHIN_S) == 103


def test_logs_follow_ends_as_the_job_did_also_afterwards(plane: Plane) -> None:
    job = plane.cli("submit", "--", "echo out; exit 6").stdout.strip()
    for _ in range(2):
        done = plane.cli("logs", "-f", job)
        assert (done.returncode, done.stdout) == (6, "out\n")
    assert plane.cli("logs", job).stdout == "out\n"


# ── what is lost on the way ───────────────────────────────────────────────────────────────────────────────────────
class Forgetful:
    """A proxy that passes requests on, and loses the answers to the first `losses` of them."""

    def __init__(self, target: int, losses: int) -> None:
        self.target = target
        self.losses = losses
        self.passed = 0
        self.server = socket.create_server(("127.0.0.1", free_port()))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            with client, socket.create_connection(("127.0.0.1", self.target)) as plane:
                plane.sendall(whole_message(client))
                answer = whole_message(plane)  # the control plane has done it
                self.passed += 1
                if self.passed > self.losses:
                    client.sendall(answer)


def whole_message(client: socket.socket) -> bytes:
    """Head and body, in however many packets they come."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += client.recv(1 << 20)
    head, _, body = data.partition(b"\r\n\r\n")
    (length,) = (
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        body += client.recv(1 << 20)
    return head + b"\r\n\r\n" + body


def test_a_lost_answer_never_doubles_a_job(plane: Plane) -> None:
    proxy = Forgetful(plane.port, losses=2)
    name = "once-only"
    done = subprocess.run(
        [LEITSTAND, "submit", "--name", name, "--", "true"],
        env={**plane.environment, "LEITSTAND_URL": f"http://127.0.0.1:{proxy.port}"},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=True,
    )
    proxy.server.close()
    assert proxy.passed == 3
    assert [row["id"] for row in plane.json("jobs", "--all") if row["name"] == name] == [done.stdout.strip()]


def test_a_key_given_makes_one_job_of_two_submissions(plane: Plane) -> None:
    first = plane.cli("submit", "--idempotency-key", "nightly", "--", "true").stdout
    assert plane.cli("submit", "--idempotency-key", "nightly", "--", "true").stdout == first
    other = plane.cli("submit", "--idempotency-key", "nightly", "--", "false")
    assert other.returncode == 1
    assert other.stderr.startswith("Error: ")


def test_following_survives_a_restart_of_the_control_plane(tmp_path: Path) -> None:
    with Plane(tmp_path / "data", gpus=1) as own:
        gate = tmp_path / "gate"
        script = f"seq 1000; until [ -e {gate} ]; do sleep 0.05; done; seq 1001 2000; exit 3"
        with following(own, tmp_path / "log", "run", "--", script) as run:
            until(lambda: (tmp_path / "log").read_text().endswith("\n1000\n"), "the first half")
            assert own.process is not None
            own.process.kill()
            own.process.wait()
            own.start()
            gate.touch()
            assert run.wait(WITHIN_S) == 3
        assert (tmp_path / "log").read_text() == "".join(f"{n}\n" for n in range(1, 2001))


# ── Ctrl-C ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_ctrl_c_without_a_terminal_leaves_the_job_alone(plane: Plane, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with following(
        plane,
        tmp_path / "log",
        "run",
        "--name",
        "left",
        "--",
        f"echo on; until [ -e {gate} ]; do sleep 0.05; done",
    ) as run:
        until(lambda: (tmp_path / "log").read_text() == "on\n", "the job runs")
        run.send_signal(signal.SIGINT)
        assert run.wait(WITHIN_S) == 101
    (job,) = (row["id"] for row in plane.json("jobs") if row["name"] == "left")
    assert f"leitstand logs -f {job}" in (tmp_path / "log.err").read_text()
    assert plane.json("job", job)["state"] == "running"
    gate.touch()
    assert plane.cli("logs", "-f", job).returncode == 0


class Terminal:
    """`leitstand WORDS` on a terminal of its own."""

    def __init__(self, plane: Plane, *words: str) -> None:
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            os.execve(LEITSTAND, [LEITSTAND, *words], {**plane.environment, "LC_ALL": "C"})
        self.text = ""

    def expect(self, text: str, within_s: float = WITHIN_S) -> None:
        """Read until `text` has come."""
        deadline = time.monotonic() + within_s
        while text not in self.text:
            ready, _, _ = select.select([self.file], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{text!r} did not come; so far: {self.text!r}"
            with contextlib.suppress(OSError):
                self.text += os.read(self.file, 4096).decode()

    def type(self, text: str) -> None:
        os.write(self.file, text.encode())

    def exit_code(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        os.close(self.file)
        return os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize(("answer", "code", "state"), [("s", 103, "cancelled"), ("d", 101, "running")])
def test_ctrl_c_on_a_terminal_asks_whether_to_stop_or_detach(
    plane: Plane, answer: str, code: int, state: str
) -> None:
    name = f"asked-{answer}"
    terminal = Terminal(plane, "run", "-y", "--name", name, "--", "echo on; sleep 600")
    terminal.expect("on\r\n")
    terminal.type("\x03")
    terminal.expect("or detach? s/d")
    terminal.type(f"{answer}\n")
    if answer == "s":
        terminal.expect("cancelled")
    else:
        terminal.expect("goes on")
    assert terminal.exit_code() == code
    (job,) = (row["id"] for row in plane.json("jobs") if row["name"] == name)
    until(lambda: plane.json("job", job)["state"] == state, state)
    plane.cli("cancel", job)


def test_a_second_ctrl_c_detaches(plane: Plane) -> None:
    terminal = Terminal(plane, "run", "-y", "--name", "twice", "--", "echo on; sleep 600")
    terminal.expect("on\r\n")
    terminal.type("\x03")
    terminal.expect("or detach? s/d")
    for _ in range(30):  # Python can miss a signal in the moment before it reads, as it can of a person
        terminal.type("\x03")
        with contextlib.suppress(AssertionError):
            terminal.expect("goes on", 2)
            break
    assert terminal.exit_code() == 101
    (job,) = (row["id"] for row in plane.json("jobs") if row["name"] == "twice")
    assert plane.json("job", job)["state"] == "running"
    plane.cli("cancel", job)


def test_on_a_terminal_the_plan_is_shown_before_anything_is_submitted(plane: Plane) -> None:
    before = len(plane.json("jobs"))
    terminal = Terminal(plane, "run", "--", "echo on")
    terminal.expect("Submit it?")
    assert "no price plan is in force" in terminal.text
    assert "node-1" in terminal.text
    terminal.type("n\n")
    assert terminal.exit_code() == 1
    assert len(plane.json("jobs")) == before
    terminal = Terminal(plane, "run", "--", "echo on")
    terminal.expect("Submit it?")
    terminal.type("\n")
    terminal.expect("on\r\n")
    assert terminal.exit_code() == 0


def test_jobs_are_watched_as_they_change(plane: Plane, tmp_path: Path) -> None:
    with following(plane, tmp_path / "watched", "jobs", "--watch", "--json", "--limit", "1") as watching:
        until(lambda: (tmp_path / "watched").read_text(), "the first line")
        assert plane.cli("run", "--name", "seen", "--", "true").returncode == 0

        def states() -> list[str]:
            lines = (tmp_path / "watched").read_text().splitlines()
            return [job["state"] for job in map(json.loads, lines) if job["name"] == "seen"]

        until(lambda: "succeeded" in states(), "the end of the job")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(WITHIN_S) == 0
    terminal = Terminal(plane, "jobs", "-w")
    terminal.expect("seen")
    terminal.type("\x03")
    assert terminal.exit_code() == 0


# ── errors ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_without_a_control_plane_the_error_says_what_to_do(plane: Plane) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = subprocess.run(
        [LEITSTAND, "jobs"],
        env={**plane.environment, "LEITSTAND_URL": url, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: There is no control plane at {url}.\n  Start it with `leitstand up`, or set LEITSTAND_URL.\n"
    )


def test_a_wrong_token_is_told_as_such(plane: Plane) -> None:
    done = subprocess.run(
        [LEITSTAND, "jobs"],
        env={**plane.environment, "LEITSTAND_TOKEN": "wrong"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error(plane: Plane) -> None:
    line = f"{LEITSTAND} run -- 'seq 300000' | head -n 1"
    done = subprocess.run(
        ["bash", "-c", line],
        env=plane.environment,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=True,
    )
    assert done.stdout == "1\n"
    assert "Traceback" not in done.stderr


def shell(plane: Plane, line: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """`line` in a shell of a user of this control plane; `leitstand` is on the path."""
    return subprocess.run(
        ["bash", "-c", line],
        env={**plane.environment, "LC_ALL": "C.UTF-8", **environment},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


@pytest.mark.parametrize("words", ["jobs", "run -- echo hi", "run --nodes 2 --gpus 1 -- echo hi", "nodes"])
@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_an_output_that_cannot_be_written_is_told_in_a_line(
    plane: Plane, words: str, redirection: str
) -> None:
    done = shell(plane, f"leitstand {words} {redirection}", PYTHONUNBUFFERED="")
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_name_that_the_output_cannot_show_is_shown_by_its_numbers(plane: Plane) -> None:
    job = plane.cli("submit", "--name", "日本", "--", "true").stdout.strip()
    done = shell(plane, f"leitstand job {job}", PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\u65e5\u672c" in done.stdout


def test_a_url_with_the_path_of_the_api_is_told_as_such(plane: Plane) -> None:
    done = shell(plane, "LEITSTAND_URL=$LEITSTAND_URL/v1 leitstand job operator-1")
    assert done.returncode == 1
    assert "/v1/v1/jobs/operator-1" in done.stderr
    assert "ends without /v1" in done.stderr


def test_what_the_control_plane_does_not_take_is_told_once_by_the_option(plane: Plane) -> None:
    done = plane.cli("submit", "--name", "x" * 1000, "--", "true")
    assert done.returncode == 2
    assert done.stderr.count("has 1000 characters") == 1
    assert done.stderr.startswith("Error: --name ")


def test_a_failed_start_is_explained_where_the_job_is_shown(plane: Plane) -> None:
    job = plane.cli("submit", "--", "/no/such/program").stdout.strip()
    until(lambda: plane.json("job", job)["state"] == "failed", "the failure")
    assert "/no/such/program" in plane.cli("job", job).stdout.partition("log:")[2]


def test_logs_as_json_are_whole(plane: Plane) -> None:
    job = plane.cli("submit", "--nodes", "2", "--gpus", "1", "--", "echo ü $RANK; seq 3").stdout.strip()
    followed = plane.cli("logs", "-f", "--json", job)
    assert followed.returncode == 0
    for said in (followed.stdout, plane.cli("logs", "--json", job).stdout):
        rows = [json.loads(line) for line in said.splitlines()]
        for task in (0, 1):
            mine = [row for row in rows if row["task"] == task]
            assert [row["text"] for row in mine] == [f"ü {task}\n", "1\n", "2\n", "3\n"]
            assert [row["offset"] for row in mine] == [0, 5, 7, 9]


def test_every_reading_command_speaks_json(plane: Plane) -> None:
    job = plane.cli("submit", "--", "true").stdout.strip()
    for words in (["jobs"], ["job", job], ["nodes"], ["sites"], ["tenants"], ["usage"]):
        assert plane.json(*words)
    assert json.loads(plane.cli("plan", "--json", "--", "true").stdout)["admitted"] is True
    assert {"id", "state", "reason", "exit_code"} <= set(plane.json("jobs")[0])
