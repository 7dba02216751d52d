# SPDX-License-Identifier: Apache-2.0
"""The supervisor as a process of its own: one per run whatever happens, a gang all or none, a full disk, and a
control plane that is killed beside it."""

import contextlib
import fcntl
import marshal
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leitstand.engines.local import launch, record, supervisor
from leitstand.engines.local.folder import Placement, RunFolders, Started
from leitstand.runtime.spec import RunSpec
from tests.conformance.engine_cases import LocalCase, alive, eventually

PATH = os.environ["PATH"]


@pytest.fixture
def folders(tmp_path: Path) -> RunFolders:
    return RunFolders(tmp_path / "runs")


def write_order(folders: RunFolders, *commands: list[str], **changes: Any) -> Path:
    """The folder of run a.1 with an order to execute one command per task."""
    folder = folders.of("a.1")
    folder.mkdir(parents=True)
    order = {
        "run": "a.1",
        "journal": "journal-1",
        "placed_us": 1,
        "tasks": [
            {"argv": argv, "env": {"PATH": PATH, "LEITSTAND_RUN_DIR": str(folder), "RANK": str(rank)}}
            for rank, argv in enumerate(commands)
        ],
        "workdir": "",
        "max_duration_us": 60_000_000,
        "grace_us": 500_000,
        "log_bytes_max": 1 << 20,
        "port": 1,
        "wake": str(folders.path / ".wake"),
    }
    (folder / record.ORDER).write_bytes(marshal.dumps(order | changes))
    return folder


def started(folders: RunFolders) -> Started:
    return eventually(lambda: folders.started("a.1"), "the start record")


# ── one supervisor per run ────────────────────────────────────────────────────────────────────────────────────────
def test_of_many_supervisors_for_one_run_one_executes_it_and_the_others_give_way(folders: RunFolders) -> None:
    folder = write_order(folders, ["bash", "-c", "echo once; until [ -e ../go ]; do sleep 0.01; done"])
    crowd = [launch.spawn(folder) for _ in range(8)]
    eventually(lambda: sum(one.poll() is None for one in crowd) == 1, "seven supervisors giving way")
    (folder / "go").touch()
    assert sorted(one.wait(30) for one in crowd) == [0, *[record.NOT_YET] * 7]
    again = launch.spawn(folder)
    assert again.wait(30) == 0
    assert folders.read_log("a.1", 0, 0, 100) == b"once\n"
    assert (folder / "supervisor.log").read_bytes() == b""


def test_a_run_that_was_started_is_not_executed_again_when_its_supervisor_died(folders: RunFolders) -> None:
    folder = write_order(folders, ["bash", "-c", "echo once; exec sleep 3600"])
    first = launch.spawn(folder)
    pid = next(iter(started(folders).sessions))
    eventually(lambda: folders.read_log("a.1", 0, 0, 100), "the output")
    first.kill()
    first.wait(30)
    eventually(lambda: not alive(pid), "the death of the task with its supervisor")
    assert launch.spawn(folder).wait(30) == 0
    assert folders.ended("a.1") is None
    assert folders.read_log("a.1", 0, 0, 100) == b"once\n"


def test_the_start_is_on_disk_before_anything_executes(folders: RunFolders) -> None:
    folder = write_order(folders, ["cat", "../started.json"])
    assert launch.spawn(folder).wait(30) == 0
    assert folders.read_log("a.1", 0, 0, 1000) == (folder / record.STARTED).read_bytes()


def test_the_records_name_the_placement(folders: RunFolders) -> None:
    folder = write_order(folders, ["cp", "../started.json", "../copy"], journal="journal-2", placed_us=77)
    placement = Placement("journal-2", 77)
    assert folders.placement("a.1") == placement
    assert launch.spawn(folder).wait(30) == 0
    assert folders.placement("a.1") == placement
    (folder / record.ENDED).unlink()
    assert folders.placement("a.1") == placement
    assert (folder / "copy").read_bytes() == (folder / record.STARTED).read_bytes()


def test_command_and_environment_are_removed_when_the_end_is_recorded(folders: RunFolders) -> None:
    folder = write_order(folders, ["cat", "../run.sh"])
    for name in record.PRIVATE[1:]:
        (folder / name).write_text("private\n")
    assert launch.spawn(folder).wait(30) == 0
    assert folders.read_log("a.1", 0, 0, 100) == b"private\n"
    assert sorted(os.listdir(folder)) == [
        record.ENDED, record.STARTED, "supervisor.log", "task-0.log", "tmp", "work-0",
    ]  # fmt: skip


def test_a_supervisor_whose_folder_is_moved_aside_while_it_comes_executes_nothing(
    folders: RunFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_order(folders, ["touch", "../executed"])
    lock = fcntl.flock

    def move_then_lock(fd: int, how: int) -> None:
        folders.set_aside("a.1")
        write_order(folders, ["touch", "../executed"])
        lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", move_then_lock)
    with pytest.raises(SystemExit) as left:
        supervisor.main(str(folder))
    assert left.value.code == record.NOT_YET
    assert os.listdir(folder) == os.listdir(folders.path / "a.1.stale-1") == [record.ORDER]


def test_a_supervisor_whose_folder_was_replaced_ends_its_run_and_writes_nothing_into_the_new_one(
    folders: RunFolders,
) -> None:
    folder = write_order(folders, ["sleep", "3600"], heartbeat_s=0.05)
    first = launch.spawn(folder)
    sessions = started(folders).sessions
    moved = folder.rename(folder.with_name("elsewhere"))
    folder.mkdir()
    (folder / record.STARTED).touch()
    assert first.wait(30) == 0
    assert os.listdir(folder) == [record.STARTED]
    assert (moved / record.ENDED).exists()
    assert not any(alive(pid) for pid in sessions)


def test_the_short_link_to_a_temporary_folder_goes_with_the_run(tmp_path: Path) -> None:
    folders = RunFolders(tmp_path / ("deep" * 20))
    folder = write_order(folders, ["bash", "-c", 'readlink "$TMPDIR"'])
    order = marshal.loads((folder / record.ORDER).read_bytes())
    order["tasks"][0]["env"]["TMPDIR"] = str(folder / record.TMP)
    (folder / record.ORDER).write_bytes(marshal.dumps(order))
    assert launch.spawn(folder).wait(30) == 0
    assert folders.read_log("a.1", 0, 0, 1000).decode() == f"{folder / record.TMP}\n"
    assert not os.path.islink(record.short_tmp(str(folder)))


# ── gangs ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_no_task_of_a_gang_executes_when_one_of_them_has_no_command(folders: RunFolders) -> None:
    folder = write_order(folders, ["touch", "../executed"], ["touch", "../executed"], ["no-such-command"])
    assert launch.spawn(folder).wait(30) == 0
    ended = folders.ended("a.1")
    assert ended is not None
    assert (ended.outcome, ended.detail, ended.started_us) == ("start_failed", "command_not_found", 0)
    assert not (folder / "executed").exists()
    assert folders.started("a.1") is None


def test_a_task_that_cannot_be_executed_after_all_takes_the_gang_with_it(
    folders: RunFolders, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    folder = write_order(folders, ["sleep", "3600"], [str(script)])
    assert launch.spawn(folder).wait(30) == 0
    ended = folders.ended("a.1")
    assert ended is not None
    assert (ended.outcome, ended.detail) == ("start_failed", "exec_failed")
    assert b"could not be executed: No such file or directory" in folders.read_log("a.1", 0, 0, 1000)
    assert not any(alive(pid) for pid in started(folders).sessions)


# ── asked to end ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_supervisor_that_somebody_terminates_ends_its_run_in_order_and_says_so(folders: RunFolders) -> None:
    process = launch.spawn(write_order(folders, ["bash", "-c", "echo up; exec sleep 3600"]))
    eventually(lambda: folders.started("a.1") and folders.read_log("a.1", 0, 0, 100), "the output")
    process.terminate()
    assert process.wait(30) == 0
    ended = folders.ended("a.1")
    assert ended is not None
    assert (ended.outcome, ended.detail, ended.signal) == ("stopped", "signalled", signal.SIGTERM)


def test_a_stop_that_came_before_the_supervisor_keeps_everything_from_executing(folders: RunFolders) -> None:
    folder = write_order(folders, ["touch", "../executed"])
    (folder / record.STOP).write_text("cancel")
    assert launch.spawn(folder).wait(30) == 0
    ended = folders.ended("a.1")
    assert ended is not None
    assert (ended.outcome, ended.detail, ended.exit_code, ended.signal) == ("stopped", "", None, None)
    assert not (folder / "executed").exists()


def test_a_stop_whose_signal_never_came_is_seen_at_the_next_heartbeat(folders: RunFolders) -> None:
    folder = write_order(folders, ["sleep", "3600"], heartbeat_s=0.05)
    process = launch.spawn(folder)
    started(folders)
    (folder / record.STOP).write_text("cancel")
    assert process.wait(30) == 0
    ended = folders.ended("a.1")
    assert ended is not None
    assert (ended.outcome, ended.detail) == ("stopped", "")


def test_the_supervisor_gives_signs_of_life(folders: RunFolders) -> None:
    process = launch.spawn(write_order(folders, ["sleep", "3600"], heartbeat_s=0.05))
    start_us = started(folders).started_us
    eventually(lambda: (folders.last_sign_of_life_us("a.1") or 0) > start_us + 200_000, "a sign of life")
    process.terminate()
    assert process.wait(30) == 0


def test_a_run_whose_folder_was_removed_ends(folders: RunFolders) -> None:
    folder = write_order(folders, ["sleep", "3600"], heartbeat_s=0.05)
    process = launch.spawn(folder)
    sessions = started(folders).sessions
    folder.rename(folder.with_name("elsewhere"))
    assert process.wait(30) == 0
    assert not any(alive(pid) for pid in sessions)


def test_every_process_of_the_run_gets_term_once(folders: RunFolders) -> None:
    script = 'trap "echo heard" TERM; echo up; for _ in $(seq 300); do sleep 0.01; done'
    folder = write_order(
        folders, ["bash", "-c", f"(setsid bash -c '{script}' &); {script}"], grace_us=20_000_000
    )
    process = launch.spawn(folder)
    eventually(lambda: folders.started("a.1") and b"up\nup\n" in folders.read_log("a.1", 0, 0, 100), "both")
    process.terminate()
    assert process.wait(30) == 0
    assert folders.read_log("a.1", 0, 0, 1000).count(b"heard") == 2


def test_a_run_goes_before_the_control_plane_when_memory_is_short(folders: RunFolders) -> None:
    """The main process, what it starts, and not the supervisor, which has the run's end to tell."""
    look = (
        "cat /proc/self/oom_score_adj; bash -c 'cat /proc/self/oom_score_adj'; cat /proc/$PPID/oom_score_adj"
    )
    folder = write_order(folders, ["bash", "-c", look])
    assert launch.spawn(folder).wait(30) == 0
    ours = Path("/proc/self/oom_score_adj").read_text().strip()
    assert folders.read_log("a.1", 0, 0, 1000).decode().split() == ["500", "500", ours]


def test_what_a_task_inherits_is_clean(folders: RunFolders) -> None:
    """No open files but its own three, no signal ignored or blocked, a session of its own."""
    look = "import os; print(os.listdir('/proc/self/fd'), os.getpid() == os.getsid(0))"
    folder = write_order(
        folders, [sys.executable, "-I", "-c", look], ["grep", "^Sig[BI]", "/proc/self/status"]
    )
    assert launch.spawn(folder).wait(30) == 0
    assert folders.read_log("a.1", 0, 0, 1000).startswith(
        b"['0', '1', '2', '3'] True"
    )  # 3: the listing itself
    _, blocked, _, ignored = folders.read_log("a.1", 1, 0, 1000).split()
    ours = ~(
        3 << 31
    )  # 32 and 33 are the C library's own, which nobody else can set; make's children ignore them
    assert (int(blocked, 16) & ours, int(ignored, 16) & ours) == (0, 0)


# ── a full disk ───────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB; needs the right to mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting a small disk is not allowed here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_run_ends_in_order_and_is_recorded_on_a_disk_that_is_full(small_disk: Path) -> None:
    folders = RunFolders(small_disk / "runs")
    fill = "head -c 2000000 /dev/zero > ../fill; echo nothing fits; exit 3"
    folder = write_order(folders, ["bash", "-c", fill])
    assert launch.spawn(folder).wait(30) == 0
    assert (folder / "fill").stat().st_size < 2_000_000
    ended = folders.ended("a.1")
    assert ended is not None
    assert (ended.outcome, ended.exit_code) == ("exited", 3)


@pytest.mark.parametrize("left_bytes", [0, 4096])
def test_a_run_for_which_there_is_no_disk_is_left_as_it_was_and_starts_when_there_is_room(
    small_disk: Path, left_bytes: int
) -> None:
    folders = RunFolders(small_disk / "runs")
    folder = write_order(folders, ["bash", "-c", "echo once"], ["true"])
    fill = small_disk / "fill"
    with fill.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    os.truncate(fill, fill.stat().st_size - left_bytes)
    assert launch.spawn(folder).wait(30) == record.NOT_YET
    assert (folders.started("a.1"), folders.ended("a.1")) == (None, None)
    assert not list(folder.glob("work*"))
    fill.unlink()
    assert launch.spawn(folder).wait(30) == 0
    ended = folders.ended("a.1")
    assert ended is not None
    assert (ended.outcome, ended.exit_code) == ("exited", 0)
    assert folders.read_log("a.1", 0, 0, 100) == b"once\n"


def test_a_run_for_which_there_is_no_process_is_left_as_it_was(folders: RunFolders) -> None:
    folder = write_order(folders, ["touch", "../executed"])
    no_fork = "import os; os.fork = lambda: (_ for _ in ()).throw(BlockingIOError(11, 'no more')); "
    with pytest.MonkeyPatch.context() as few:
        few.setattr(launch, "BOOT", no_fork + launch.BOOT)
        assert launch.spawn(folder).wait(30) == record.NOT_YET
    assert (folders.started("a.1"), folders.ended("a.1")) == (None, None)
    assert not (folder / "executed").exists()
    assert launch.spawn(folder).wait(30) == 0
    assert (folder / "executed").exists()


# ── a control plane that is killed ────────────────────────────────────────────────────────────────────────────────
CONTROL_PLANE = """
import sys
from pathlib import Path
from leitstand.runtime.spec import RunSpec
from tests.conformance.engine_cases import LocalCase
case = LocalCase(Path(sys.argv[1]))
case.send(*(case.execution(f"a-{n}.1", RunSpec(script=sys.argv[2])) for n in range(int(sys.argv[3]))))
print("sent", flush=True)
case.until(lambda: False, "the end of time")
"""


def test_killing_the_control_plane_at_any_moment_loses_no_run_and_doubles_none(tmp_path: Path) -> None:
    script = "echo once; sleep 0.2; exit 5"
    for pause_ms in (0, 20, 60, 150):
        folder = tmp_path / str(pause_ms)
        plane = subprocess.Popen(
            [sys.executable, "-c", CONTROL_PLANE, str(folder), script, "12"],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert plane.stdout is not None
        assert plane.stdout.readline() == b"sent\n"
        time.sleep(pause_ms / 1000)  # the moment of the crash, nothing waits for it
        os.killpg(plane.pid, signal.SIGKILL)
        plane.wait(30)
        plane.stdout.close()
        case = LocalCase(folder)
        try:
            case.engine.resume([case.execution(f"a-{n}.1", RunSpec(script=script)) for n in range(12)])
            for n in range(12):
                end = case.end(f"a-{n}.1")
                assert (end.outcome, end.exit_code) == ("exited", 5)
                assert end.started_us == case.start(f"a-{n}.1").at_us
                assert end.at_us - end.started_us >= 200_000
                assert case.log(f"a-{n}.1") == "once\n"
        finally:
            case.close()


# ── cost ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_supervisor_costs_little_cpu(folders: RunFolders) -> None:
    """CPU of a whole run of `true`, supervisor and task: 20 to 25 ms on the machine it was measured on."""
    write_order(folders, ["true"])
    rounds = 10
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for n in range(rounds):
        folder = folders.path / f"b-{n}.1"
        folder.mkdir()
        (folder / record.ORDER).write_bytes((folders.of("a.1") / record.ORDER).read_bytes())
        assert launch.spawn(folder).wait(30) == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert cpu_s / rounds < 0.1
