# SPDX-License-Identifier: Apache-2.0
"""`leitstand up` as a process: what it makes, what it refuses and how, what it survives, how it ends."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leitstand.app import children as supervision
from leitstand.app.children import ChildFailed, Children, Ends
from leitstand.app.serving import EXIT_CODES
from leitstand.app.up import ENDS
from tests.plane import LEITSTAND, Plane, free_port

WITHIN_S = 60.0


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition; fail by name at the deadline."""
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {WITHIN_S} s: {what}"
        time.sleep(0.02)


def children(plane: Plane) -> dict[str, int]:
    """The processes of a control plane by name, from the kernel."""
    assert plane.process is not None
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                status = (entry / "status").read_text()
            except OSError:
                continue
            if f"PPid:\t{plane.process.pid}\n" in status and b"-m" in words and "State:\tZ" not in status:
                found[words[words.index(b"-m") + 1].decode().rpartition(".")[2]] = int(entry.name)
    return found


def gone(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def refused(*words: str, **environment: str) -> tuple[int, str]:
    """The exit code and the words of a control plane that does not start."""
    done = subprocess.run(
        [LEITSTAND, "up", *words],
        env={**os.environ, "LC_ALL": "C", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, " ".join(done.stderr.split())


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Plane]:
    """A control plane of the test's own, so that it may be harmed."""
    plane = Plane(tmp_path / "data", gpus=4)
    yield plane
    if plane.process is not None:
        plane.stop()


# ── what it makes and says ────────────────────────────────────────────────────────────────────────────────────────
def test_the_folder_and_the_token_are_private_and_the_token_stays(own: Plane) -> None:
    own.start()
    assert stat.S_IMODE(own.data.stat().st_mode) == 0o700
    assert stat.S_IMODE((own.data / "admin.token").stat().st_mode) == 0o600
    token = own.token
    assert len(token) >= 32
    assert own.stop() == 0
    own.start()
    assert own.token == token


def test_the_start_up_text_ends_with_three_lines_that_work_as_they_stand(own: Plane) -> None:
    own.start()
    until(lambda: own.output.read_text().rstrip().endswith(" jobs"), "the whole start-up text")
    text = own.output.read_text()
    assert f"is ready at {own.url}" in text
    assert "4 logical GPU(s): counted, not real" in text
    lines = [line.strip() for line in text.rstrip().splitlines()[-3:]]
    env = {name: value for name, value in own.environment.items() if not name.startswith("LEITSTAND_")}
    done = subprocess.run(
        ["bash", "-ec", "\n".join(lines)], env=env, capture_output=True, text=True, timeout=WITHIN_S
    )
    assert done.returncode == 0, done.stderr
    assert "Hello from GPU 0" in done.stdout
    assert "succeeded" in done.stdout


# ── what it refuses ───────────────────────────────────────────────────────────────────────────────────────────────
def test_a_busy_port_is_refused_by_its_number(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = refused("--data", str(tmp_path / "data"), "--port", str(port))
    assert code == 3
    assert f"port {port}" in said
    assert "--port" in said


def test_a_second_control_plane_on_the_folder_is_refused_with_the_process_that_has_it(own: Plane) -> None:
    own.start()
    writer = children(own)["writer"]
    code, said = refused("--data", str(own.data), "--port", str(free_port()))
    assert code == 4
    assert str(own.data) in said
    assert f"process {writer}" in said
    assert own.healthy()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "0"], "--port"),
        (["--port", "65536"], "--port"),
        (["--port", "http"], "--port"),
        (["--gpus", "-1"], "--gpus"),
        (["--gpus", "1000000"], "4096"),
        (["--gpus", "5", "--nodes", "2"], "5 GPUs cannot be shared evenly by 2 nodes"),
        (["--nodes", "0"], "--nodes"),
        (["--host", "0.0.0.0"], "--tls-cert and --tls-key, or --behind-proxy"),
        (["--host", "::"], "--behind-proxy"),
        (["--host", "no.such.host.invalid"], '"no.such.host.invalid" is not an address of this machine'),
        (["--tls-cert", "cert.pem"], "belong together"),
        (["--tls-cert", "/no/cert.pem", "--tls-key", "/no/key.pem"], "/no/cert.pem"),
        (["--discipline", "lottery"], "lottery"),
        (["--disk-reserve", "much"], '"much" is not a size'),
        (["--log-limit", "9999999T"], "over the limit"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_made(
    tmp_path: Path, words: list[str], said: str
) -> None:
    code, told = refused("--data", str(tmp_path / "data"), *words)
    assert code == 2
    assert said in told
    assert not (tmp_path / "data").exists()


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, said = refused("--data", str(tmp_path / "file"))
    assert code == 2
    assert f"{tmp_path / 'file'} is not a folder" in said


def test_a_folder_with_other_things_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    tmp_path.chmod(0o755)
    code, said = refused("--data", str(tmp_path))
    assert code == 2
    assert "holds other things" in said
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


@pytest.mark.skipif(not Path("/proc/self/mountinfo").exists(), reason="needs /proc")
def test_a_folder_where_nothing_can_be_written_is_refused() -> None:
    code, said = refused("--data", "/proc/leitstand")
    assert code == 2
    assert "/proc/leitstand cannot be used" in said


def test_the_folder_may_come_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    _, said = refused(LEITSTAND_DATA=str(tmp_path / "file"))
    assert str(tmp_path / "file") in said


# ── what it survives ──────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("name", ["writer", "faces"])
def test_a_killed_process_comes_back_and_a_running_job_does_not_notice(
    own: Plane, name: str, tmp_path: Path
) -> None:
    own.start()
    gate = tmp_path / "gate"
    job = own.cli(
        "submit", "--", "sh", "-c", f"until [ -e {gate} ]; do sleep 0.05; done; exit 5"
    ).stdout.strip()
    until(lambda: own.json("job", job)["state"] == "running", "the job runs")
    before = children(own)
    os.kill(before[name], signal.SIGKILL)
    until(lambda: children(own).get(name, before[name]) != before[name], f"another {name}")
    until(own.healthy, "healthy again")
    gate.touch()
    until(lambda: own.json("job", job)["exit_code"] == 5, "the end is reported")
    assert f"the {name} ended (signal 9)" in own.output.read_text()
    other = {"writer": "faces", "faces": "writer"}[name]
    assert children(own)[other] == before[other]


def test_when_the_parent_is_killed_its_processes_end_and_the_next_start_finds_all(own: Plane) -> None:
    own.start()
    job = own.cli("submit", "--", "true").stdout.strip()
    assert own.process is not None
    processes = children(own)
    assert set(processes) == {"writer", "faces"}
    own.process.kill()
    own.process.wait()
    own.start()  # at once: the dying predecessor is waited for, until it lets go of its locks
    until(lambda: all(gone(pid) for pid in processes.values()), "the processes of before have ended")
    until(lambda: own.json("job", job)["state"] == "succeeded", "the job of before")


def test_the_next_start_waits_for_faces_that_still_answer(own: Plane) -> None:
    """Killed in the middle of an upload, they have a few seconds to finish it; they feed the views until they end."""
    own.start()
    for _ in range(20):
        assert own.http("POST", "/v1/jobs", {"run": ["true"]})[0] == 201
    faces = children(own)["faces"]
    with socket.create_connection(("127.0.0.1", own.port)) as upload:
        head = f"PUT /v1/blobs/{'0' * 64} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {own.token}\r\n"
        upload.sendall(f"{head}Content-Length: 1000\r\n\r\n".encode() + b"x" * 10)
        until(lambda: list((own.data / "blobs").glob("upload-*")), "the upload is under way")
        assert own.process is not None
        own.process.kill()
        own.process.wait()
        own.start()
        assert gone(faces), "two of them would write the views"
        assert own.http("POST", "/v1/jobs", {"run": ["true"]})[0] == 201
    assert "the views were damaged" not in (own.data / "log" / "faces.log").read_text()
    assert len(own.http("GET", "/v1/jobs")[1]["items"]) == 21


@pytest.fixture
def hang_ups_heard() -> Iterator[None]:
    """A signal that is ignored here (under nohup) would be ignored by what is started, too."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hang_ups_heard")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_order_and_running_jobs_go_on(own: Plane, number: int, tmp_path: Path) -> None:
    own.start()
    gate, done = tmp_path / "gate", tmp_path / "done"
    script = f"until [ -e {gate} ]; do sleep 0.05; done; touch {done}; exit 7"
    job = own.cli("submit", "--", "sh", "-c", script).stdout.strip()
    until(lambda: own.json("job", job)["state"] == "running", "the job runs")
    processes = children(own)
    assert own.process is not None
    own.process.send_signal(number)
    assert own.process.wait(WITHIN_S) == 0
    assert all(gone(pid) for pid in processes.values())
    assert "running jobs go on and are adopted at the next start" in own.output.read_text()
    gate.touch()
    until(done.exists, "the job goes on without a control plane")
    own.start()
    until(lambda: own.json("job", job)["exit_code"] == 7, "the end of before is reported")


def test_a_journal_that_cannot_be_used_ends_the_start_with_its_reason(own: Plane) -> None:
    own.start()
    own.stop()
    (own.data / "journal.db").write_bytes(b"this is no journal" * 1000)
    for name in ("journal.db-wal", "journal.db-shm"):
        (own.data / name).unlink(missing_ok=True)
    code, said = refused("--data", str(own.data), "--port", str(own.port))
    assert code == 1
    assert "Its last line:" in said
    assert "writer.log" in said or "faces.log" in said


SCRIPT = """
import os, sys, time
mark, code, every_life_is_ready = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True"
if os.path.exists(mark) and not every_life_is_ready:
    sys.exit("it is broken now")
print("ready", flush=True)
while not os.path.exists(mark):
    time.sleep(0.01)
sys.exit(code)
"""


def watched(
    tmp_path: Path, code: int, every_life_is_ready: bool, ends: Ends | None = None
) -> tuple[list[int], ChildFailed]:
    """The deaths of a child until it is given up. It first dies when it has been ready and the mark appears."""
    words = [str(tmp_path / "mark"), str(code), str(every_life_is_ready)]
    commands = {"child": [sys.executable, "-c", SCRIPT, *words]}
    family = Children(tmp_path, commands, verbose=False, ends=ends or Ends())
    assert family.start()
    (tmp_path / "mark").touch()
    deaths: list[int] = []
    with pytest.raises(ChildFailed) as caught:
        family.watch(lambda _, status: deaths.append(status))
    return deaths, caught.value


def test_a_process_that_never_becomes_ready_again_is_given_up_with_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "BACKOFF_MAX_S", 0.1)
    deaths, failure = watched(tmp_path, 0, every_life_is_ready=False)
    assert deaths == [0, *[1] * supervision.FAILED_STARTS_MAX]
    assert failure.last_line == "it is broken now"
    assert failure.was_ready


def test_a_process_that_dies_too_often_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "RESTARTS_MAX", 3)
    deaths, failure = watched(tmp_path, 9, every_life_is_ready=True)
    assert deaths == [9] * 4
    assert failure.status == 9


def test_a_process_that_says_that_it_is_no_use_is_not_started_again(tmp_path: Path) -> None:
    deaths, _ = watched(tmp_path, 5, every_life_is_ready=True, ends=Ends(hopeless=frozenset({5})))
    assert deaths == [5]


def test_every_exit_code_is_another_try_but_those_that_need_the_operator_and_what_passes() -> None:
    tried_again = set(EXIT_CODES.values()) - ENDS.hopeless - ENDS.passing
    assert {name for name, code in EXIT_CODES.items() if code in tried_again} == {
        "failed",
        "insecure",
        "busy",
        "lost",  # a lease: as a standby
    }
    assert {EXIT_CODES["full"], EXIT_CODES["away"]} == ENDS.passing


def test_the_log_of_a_process_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "LOG_BYTES_MAX", 1000)
    log = supervision.Log(tmp_path / "child.log", verbose=False)
    for n in range(100):
        log.write(b"line %04d of the log of a child\n" % n)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["child.log", "child.log.1"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    assert (tmp_path / "child.log").read_bytes().endswith(b"line 0099 of the log of a child\n")


def test_only_alerts_reach_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = supervision.Log(tmp_path / "child.log", verbose=False)
    log.write(b"CRITICAL the journal lost its end\n")
    log.write(b"WARNING a chore failed\n")
    assert capfd.readouterr().err == "CRITICAL the journal lost its end\n"
    assert len((tmp_path / "child.log").read_text().splitlines()) == 2


def test_a_journal_that_lost_its_end_is_said_loudly_at_the_next_start(own: Plane) -> None:
    own.start()
    own.stop()
    whole = {path.name: path.read_bytes() for path in own.data.glob("journal.db*")}
    own.start()
    assert own.cli("run", "--", "true").returncode == 0
    own.stop()
    for path in own.data.glob("journal.db*"):
        path.unlink()
    for name, content in whole.items():
        (own.data / name).write_bytes(content)
    own.start()
    until(lambda: "it lost its end" in own.output.read_text(), "the operator is told")


def test_logs_of_the_processes_are_kept(own: Plane) -> None:
    own.start()
    assert {path.name for path in (own.data / "log").iterdir()} == {"writer.log", "faces.log"}


def test_the_help_names_every_option_of_the_contract() -> None:
    done = subprocess.run([sys.executable, "-m", "leitstand", "up", "--help"], capture_output=True, text=True)
    assert {"--data", "--port", "--gpus", "--host", "--behind-proxy"} <= set(
        re.findall(r"--[a-z-]+", done.stdout)
    )
