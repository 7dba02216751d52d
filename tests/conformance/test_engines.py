# SPDX-License-Identifier: Apache-2.0
"""One suite for every engine, and what the local engine promises beyond it: real processes, real crashes."""

import errno
import io
import json
import os
import shutil
import signal
import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from leitstand.core.facts import Resources, RunResized, Task
from leitstand.engines.local import record
from leitstand.engines.local.engine import Limits
from leitstand.runtime.ports import ResizeRun, StartRun, StopRun
from leitstand.runtime.spec import Checkpoint, RunSpec
from tests.conformance.engine_cases import SECOND, LocalCase, SimulatedCase, SlurmCase, alive, eventually
from tests.slurm import Cluster, running

HOUR = 3600 * SECOND


AnyCase = SimulatedCase | LocalCase | SlurmCase


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Four nodes, made when they are needed first."""
    with running() as made:
        yield made


@pytest.fixture(params=["simulated", "local", pytest.param("slurm", marks=pytest.mark.system)])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyCase]:
    opened: AnyCase
    match request.param:
        case "simulated":
            opened = SimulatedCase()
        case "local":
            opened = LocalCase(tmp_path)
        case _:
            opened = SlurmCase(request.getfixturevalue("cluster"), tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalCase]:
    opened = LocalCase(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[LocalCase]:
    """A grace of a fifth of a second and logs of 1,000 bytes."""
    opened = LocalCase(tmp_path, Limits(grace_us=200_000, log_bytes_max=1000))
    yield opened
    opened.close()


def stop(run: str) -> StopRun:
    return StopRun(run, "cancel")


# ── every engine ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_run_is_reported_started_and_then_ended_each_once(case: AnyCase) -> None:
    case.send(case.order("a.1", 50_000))
    end = case.end("a.1")
    (start,) = case.starts("a.1")
    assert (end.outcome, end.exit_code, end.signal) == ("exited", 0, None)
    assert end.at_us - start.at_us >= 50_000
    assert case.seen == [start, end]


def test_the_same_order_again_starts_nothing(case: AnyCase) -> None:
    order = case.order("a.1", 50_000)
    case.send(order, order)
    case.start("a.1")
    case.send(order, case.order("b.1", 100_000))
    case.end("a.1")
    case.end("b.1")
    assert len(case.starts("a.1")) == len(case.ends("a.1")) == 1


def test_a_run_is_ended_at_its_time_limit(case: AnyCase) -> None:
    case.send(case.order("a.1", HOUR, limit_us=200_000))
    end = case.end("a.1")
    assert end.outcome == "time_limit"
    assert 200_000 <= end.at_us - case.start("a.1").at_us < 5 * SECOND


def test_a_stopped_run_is_reported_stopped(case: AnyCase) -> None:
    case.send(case.order("a.1", HOUR))
    case.start("a.1")
    case.send(stop("a.1"))
    assert case.end("a.1").outcome == "stopped"
    assert len(case.ends("a.1")) == 1


def test_a_stop_right_behind_the_start_is_not_lost(case: AnyCase) -> None:
    case.send(case.order("a.1", HOUR), stop("a.1"))
    assert case.end("a.1").outcome == "stopped"


def test_stopping_a_run_that_nobody_knows_is_left_alone(case: AnyCase) -> None:
    case.send(stop("never.1"), case.order("a.1", 10_000))
    case.end("a.1")
    assert case.ends("never.1") == []


def test_after_a_restart_a_run_that_was_never_sent_is_started(case: AnyCase) -> None:
    case.restart(case.order("a.1", 10_000))
    assert case.end("a.1").outcome == "exited"
    assert len(case.starts("a.1")) == 1


def test_after_a_restart_a_run_under_way_goes_on_to_its_own_end(case: AnyCase) -> None:
    order = case.order("a.1", 300_000)
    case.send(order)
    start = case.start("a.1")
    case.restart(order)
    assert case.start("a.1") == start
    assert case.end("a.1").outcome == "exited"


def test_many_runs_at_once_are_each_reported_once(case: AnyCase) -> None:
    case.send(*(case.order(f"a-{n}.1", 1_000) for n in range(200)))
    for n in range(200):
        assert case.end(f"a-{n}.1").outcome == "exited"
    assert len(case.seen) == 400
    assert all(len(case.starts(f"a-{n}.1")) == 1 for n in range(200))


# ── an engine that resizes ────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def resizing() -> SimulatedCase:
    """The engines that say so: to each of them this applies."""
    return SimulatedCase()


def elastic(case: SimulatedCase, run: str, length_us: int, limit_us: int = 3600 * SECOND) -> StartRun:
    return msgspec.structs.replace(case.order(run, length_us, limit_us), nodes_most=4)


def resize(run: str, number: int, tasks: int, at_us: int) -> ResizeRun:
    return ResizeRun(run, number, tuple(Task(f"node-{n}") for n in range(1, tasks + 1)), at_us)


def reports(case: SimulatedCase, run: str) -> list[tuple[int, int]]:
    return [
        (seen.number, seen.at_us) for seen in case.seen if isinstance(seen, RunResized) and seen.run == run
    ]


def test_a_run_goes_on_with_other_tasks_and_says_so(resizing: SimulatedCase) -> None:
    resizing.send(elastic(resizing, "r.1", 100 * SECOND))
    resizing.start("r.1")
    resizing.send(resize("r.1", 1, 4, 21 * SECOND))
    resizing.send(resize("r.1", 2, 2, 31 * SECOND))
    resizing.until(lambda: len(reports(resizing, "r.1")) == 2, "both reports")
    assert reports(resizing, "r.1") == [(1, 21 * SECOND), (2, 31 * SECOND)]
    ended = resizing.end("r.1")  # 20 of 100 alone, 40 with four in ten seconds, 40 with two
    assert (ended.outcome, ended.at_us) == ("exited", 51 * SECOND)
    assert len(resizing.starts("r.1")) == len(resizing.ends("r.1")) == 1


def test_an_order_that_was_carried_out_changes_nothing_and_one_of_a_run_that_is_over_neither(
    resizing: SimulatedCase,
) -> None:
    resizing.send(elastic(resizing, "r.1", 100 * SECOND))
    resizing.start("r.1")
    for _ in range(2):
        resizing.send(resize("r.1", 1, 2, 21 * SECOND))
    assert resizing.end("r.1").at_us == 61 * SECOND
    resizing.send(resize("r.1", 2, 3, 62 * SECOND), resize("nobody.1", 1, 3, 62 * SECOND))
    assert resizing.engine.next_time() is None


def test_a_resized_run_keeps_its_time_limit_and_is_stopped_like_others(resizing: SimulatedCase) -> None:
    resizing.send(
        elastic(resizing, "r.1", 900 * SECOND, 100 * SECOND), elastic(resizing, "s.1", 900 * SECOND)
    )
    resizing.start("s.1")
    resizing.send(resize("r.1", 1, 2, 11 * SECOND), resize("s.1", 1, 2, 11 * SECOND), stop("s.1"))
    assert resizing.end("s.1").outcome == "stopped"
    assert (resizing.end("r.1").outcome, resizing.end("r.1").at_us) == ("time_limit", 101 * SECOND)


def test_after_a_restart_a_resized_run_ends_when_it_would_have(resizing: SimulatedCase) -> None:
    steps = ((SECOND, 1), (21 * SECOND, 4), (31 * SECOND, 2))
    resizing.restart(msgspec.structs.replace(elastic(resizing, "r.1", 100 * SECOND), steps=steps))
    assert resizing.end("r.1").at_us == 51 * SECOND


def test_the_log_of_a_run_that_nobody_knows_is_a_key_error(case: AnyCase) -> None:
    for run in ("never.1", "../../etc", "", ".wake"):
        with pytest.raises(KeyError):
            case.engine.read_log(run, 0, 0, 100)


# ── how a process ends ────────────────────────────────────────────────────────────────────────────────────────────
def test_the_exit_code_is_the_commands_own(local: LocalCase) -> None:
    local.script("a.1", "exit 7")
    end = local.end("a.1")
    assert (end.outcome, end.exit_code, end.signal) == ("exited", 7, None)


def test_a_signal_that_ended_the_command_is_named(local: LocalCase) -> None:
    local.script("a.1", "kill -SEGV $$")
    end = local.end("a.1")
    assert (end.outcome, end.exit_code, end.signal) == ("exited", None, signal.SIGSEGV)


def test_a_process_that_ignores_term_is_killed_after_the_grace(hasty: LocalCase) -> None:
    hasty.script("a.1", "trap '' TERM; echo deaf; while :; do sleep 1; done", limit_us=300_000)
    end = hasty.end("a.1")
    assert (end.outcome, end.signal) == ("time_limit", signal.SIGKILL)
    assert end.at_us - end.started_us >= 500_000
    assert hasty.processes("a.1") == []


def test_a_process_that_hears_term_may_save_its_work_and_choose_its_exit_code(local: LocalCase) -> None:
    local.script("a.1", "trap 'echo saved; exit 3' TERM; echo ready; while :; do sleep 0.01; done")
    local.says("a.1", "ready")
    local.send(stop("a.1"))
    end = local.end("a.1")
    assert (end.outcome, end.exit_code, end.detail) == ("stopped", 3, "")
    assert "saved" in local.log("a.1")


def test_a_daemonised_descendant_does_not_survive_the_normal_end(local: LocalCase) -> None:
    local.script("a.1", DAEMON + "echo main is done")
    pid = int(local.says("a.1", "daemon").split()[1])
    assert local.end("a.1").exit_code == 0
    assert not alive(pid)
    assert local.processes("a.1") == []


def test_a_daemonised_descendant_does_not_survive_a_stop(hasty: LocalCase) -> None:
    hasty.script("a.1", DAEMON + "sleep 3600")
    pid = int(hasty.says("a.1", "daemon").split()[1])
    assert alive(pid)
    hasty.send(stop("a.1"))
    assert hasty.end("a.1").outcome == "stopped"
    assert not alive(pid)


# A grandchild with a session of its own, an empty environment, deaf to TERM, whose parent is gone.
DAEMON = (
    "(setsid env -i bash -c 'trap \"\" TERM HUP; echo daemon $$ ; while :; do sleep 1; done' &)\n"
    "until grep -q daemon ../task-0.log; do sleep 0.01; done\n"
)


# ── gangs ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_gang_ends_well_when_all_of_its_tasks_do(local: LocalCase) -> None:
    local.script("a.1", 'echo "rank $RANK of $WORLD_SIZE"', tasks=3)
    end = local.end("a.1")
    assert (end.outcome, end.exit_code) == ("exited", 0)
    assert [local.log("a.1", rank) for rank in range(3)] == [f"rank {rank} of 3\n" for rank in range(3)]


def test_the_first_task_that_fails_ends_the_gang_and_gives_its_exit_code(local: LocalCase) -> None:
    local.script("a.1", '[ "$RANK" = 1 ] && exit 5; echo waiting; exec sleep 3600', tasks=3)
    end = local.end("a.1")
    assert (end.outcome, end.exit_code, end.signal) == ("exited", 5, None)
    assert end.at_us - end.started_us < 5 * SECOND
    assert local.processes("a.1") == []


def test_a_task_that_ended_well_before_does_not_hide_one_that_fails(local: LocalCase) -> None:
    first = 'if [ "$RANK" = 0 ]; then echo $$ > ../pid; exit 0; fi\n'
    second = 'until [ -s ../pid ] && ! kill -0 "$(cat ../pid)" 2> ../null; do sleep 0.01; done; exit 5'
    local.script("a.1", first + second, tasks=2)
    assert local.end("a.1").exit_code == 5


def test_tasks_of_a_gang_meet_by_the_rendezvous_variables(local: LocalCase) -> None:
    local.send(local.execution("a.1", RunSpec(argv=("python", "-c", MEET)), tasks=2))
    assert local.end("a.1").exit_code == 0
    assert local.log("a.1", 0) == "from 1\n"


MEET = """
import os, socket, time
at = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
if os.environ["RANK"] == "0":
    with socket.create_server(at) as server:
        print(server.accept()[0].makefile().read())
else:
    while True:
        try:
            with socket.create_connection(at) as connection:
                connection.sendall(b"from " + os.environ["NODE_RANK"].encode())
            break
        except ConnectionRefusedError:
            time.sleep(0.01)
"""


# ── what cannot start ─────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("spec", "detail", "line"),
    [
        (RunSpec(argv=("no-such-command",)), "command_not_found", "'no-such-command' was not found in PATH"),
        (RunSpec(argv=("./here",)), "command_not_found", "'./here' was not found in the working directory"),
        (RunSpec(argv=("/etc/passwd",)), "command_not_executable", "/etc/passwd' is not executable"),
        (RunSpec(), "command_not_found", "names no command"),
        (RunSpec(argv=("true",), workdir="gone"), "workdir_missing", "gone"),
        (RunSpec(argv=("true",), workdir="no tar"), "workdir_unreadable", "cannot be unpacked"),
        (RunSpec(argv=("true",), workdir="escaping"), "workdir_unreadable", "outside"),
        (RunSpec(argv=("true", "x" * 200_000)), "exec_failed", "Argument list too long"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_run_that_cannot_start_says_why(local: LocalCase, spec: RunSpec, detail: str, line: str) -> None:
    local.blobs["no tar"] = local.folders.path.parent / "no.tar"
    local.blobs["no tar"].write_bytes(b"this is not an archive" * 100)
    local.blobs["escaping"] = archive(local.folders.path.parent / "escaping.tar", {"../../outside": b"!"})
    local.send(local.execution("a.1", spec, tasks=2))
    end = local.end("a.1")
    assert (end.outcome, end.detail, end.exit_code, end.started_us) == ("start_failed", detail, None, 0)
    for rank in range(2):
        assert line in local.log("a.1", rank)
    assert not (local.folders.path / "outside").exists()


def test_a_run_whose_record_was_erased_is_reported_and_not_forgotten(local: LocalCase) -> None:
    order = local.execution("a.1", RunSpec(argv=("true",)))
    del local.specs[order.spec]
    local.send(order)
    end = local.end("a.1")
    assert (end.outcome, end.detail) == ("start_failed", "record_missing")
    local.restart(order)
    assert local.end("a.1") == end


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


# ── what a task finds ─────────────────────────────────────────────────────────────────────────────────────────────
LOOK_AROUND = """
import json, os
print(json.dumps([dict(os.environ), os.getcwd(), os.path.realpath(os.environ["TMPDIR"])]))
"""


def test_a_task_finds_its_place_in_the_environment_and_nothing_of_ours(
    local: LocalCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEITSTAND_TOKEN", "secret")
    spec = RunSpec(
        argv=("python", "-c", LOOK_AROUND),
        envs={"MINE": "ü=1", "CUDA_VISIBLE_DEVICES": "7", "RANK": "9"},
    )
    local.send(local.execution("acme-1.1", spec, tasks=2))
    assert local.end("acme-1.1").exit_code == 0
    folder = local.folders.of("acme-1.1")
    for rank in range(2):
        found, cwd, tmp = json.loads(local.log("acme-1.1", rank))
        assert cwd == found["HOME"] == found["PWD"] == str(folder / f"work-{rank}")
        assert tmp == str(folder / "tmp")
        assert len(found["TMPDIR"]) <= record.TMP_BYTES_MAX
        assert not os.path.islink(found["TMPDIR"])  # any more
        assert found["MINE"] == "ü=1"
        assert found["CUDA_VISIBLE_DEVICES"] == str(rank)
        assert (found["RANK"], found["NODE_RANK"], found["LEITSTAND_NODE_RANK"]) == (str(rank),) * 3
        assert (found["WORLD_SIZE"], found["LEITSTAND_NUM_NODES"]) == ("2", "2")
        assert (found["LOCAL_RANK"], found["LOCAL_WORLD_SIZE"]) == ("0", "1")
        assert (found["MASTER_ADDR"], found["LEITSTAND_NODE_IPS"]) == ("127.0.0.1", "127.0.0.1\n127.0.0.1")
        assert (found["LEITSTAND_JOB_ID"], found["LEITSTAND_RUN_ID"]) == ("acme-1", "acme-1.1")
        assert (found["LEITSTAND_TENANT"], found["LEITSTAND_PROJECT"]) == ("acme", "p")
        assert (found["LEITSTAND_NODE"], found["LEITSTAND_SITE"]) == ("node-1", "local")
        assert (found["LEITSTAND_GPUS_PER_NODE"], found["LEITSTAND_GPUS_LOGICAL"]) == ("1", "1")
        assert "LEITSTAND_TOKEN" not in found


# ── names of other platforms ──────────────────────────────────────────────────────────────────────────────────────
def names_found(case: LocalCase, compat: str, prefix: str) -> dict[str, str]:
    """Variables with this prefix that the second of two tasks finds."""
    spec = RunSpec(
        name="training", argv=("env", "-0"), envs={"LEITSTAND_COMPAT": compat, "SLURM_LOCALID": "mine"}
    )
    order = case.execution("acme-42.2", spec, tasks=2)
    case.send(msgspec.structs.replace(order, resources=Resources(nodes=2, gpus=2, cpus_milli=5000)))
    assert case.end("acme-42.2").exit_code == 0
    pairs = (line.partition("=") for line in case.log("acme-42.2", 1).split("\0"))
    return {name.removeprefix(prefix): value for name, _, value in pairs if name.startswith(prefix)}


def test_a_job_that_wants_the_names_of_skypilot_finds_them(local: LocalCase) -> None:
    assert names_found(local, "slurm, skypilot", "SKYPILOT_") == {
        "NUM_NODES": "2",
        "NODE_RANK": "1",
        "NODE_IPS": "127.0.0.1\n127.0.0.1",
        "NUM_GPUS_PER_NODE": "1",
        "TASK_ID": "acme-42",
    }


def test_a_job_that_wants_the_names_of_slurm_finds_them_unless_it_sets_them(local: LocalCase) -> None:
    assert names_found(local, "slurm", "SLURM_") == {
        "JOB_ID": "42",
        "JOB_NAME": "training",
        "NNODES": "2",
        "JOB_NUM_NODES": "2",
        "NODEID": "1",
        "PROCID": "1",
        "LOCALID": "mine",
        "NTASKS": "2",
        "CPUS_PER_TASK": "2",
        "CPUS_ON_NODE": "2",
        "GPUS_ON_NODE": "1",
        "SUBMIT_DIR": str(local.folders.of("acme-42.2") / "work-1"),
        "JOB_NODELIST": "127.0.0.1,127.0.0.1",
    }


def test_nobody_else_finds_names_of_other_platforms(local: LocalCase) -> None:
    assert names_found(local, "", "SKYPILOT_") == {}
    assert names_found(local, "", "SLURM_") == {"LOCALID": "mine"}


# ── secrets ───────────────────────────────────────────────────────────────────────────────────────────────────────
VALUE = "correct horse battery staple"


def test_a_secret_is_in_the_environment_of_all_tasks_and_nowhere_on_disk(local: LocalCase) -> None:
    local.secrets["acme", "p", "token@3"] = VALUE
    script = 'echo "${#TOKEN} $RANK"; exec sleep 3600'
    spec = RunSpec(
        script=script, envs={"TOKEN": "overruled"}, secrets={"TOKEN": "token@3", "RANK": "token@3"}
    )
    local.send(local.execution("a.1", spec, tasks=2))
    for rank in (0, 1):
        local.says("a.1", f"{len(VALUE)} {rank}\n", rank)
    for path in local.folders.path.parent.rglob("*"):
        assert not path.is_file() or VALUE.encode() not in path.read_bytes(), path
    supervisor = local.folders.started("a.1")
    assert supervisor is not None
    for what in ("environ", "cmdline"):
        assert VALUE.encode() not in Path(f"/proc/{supervisor.pid}/{what}").read_bytes()
    local.send(stop("a.1"))
    local.end("a.1")


def test_a_secret_that_is_gone_is_a_failed_start_that_names_it(local: LocalCase) -> None:
    local.secrets["acme", "other", "token@3"] = VALUE
    local.send(local.execution("a.1", RunSpec(argv=("true",), secrets={"TOKEN": "token@3"})))
    end = local.end("a.1")
    assert (end.outcome, end.detail) == ("start_failed", "secret_missing")
    assert "the secret token@3 (for TOKEN) is no longer there in project p of acme" in local.log("a.1")


def test_no_value_of_a_secret_is_in_an_error(local: LocalCase) -> None:
    local.secrets["acme", "p", "token@3"] = f"{VALUE}\0"
    local.send(local.execution("a.1", RunSpec(argv=("true",), secrets={"TOKEN": "token@3"})))
    assert local.end("a.1").detail == "secret_unreadable"
    assert "token@3" in local.log("a.1")
    assert "horse" not in local.log("a.1")


def test_a_run_with_secrets_is_adopted_without_them_being_read_again(local: LocalCase) -> None:
    local.secrets["acme", "p", "token@3"] = VALUE
    script = "echo up; until [ -e go ]; do sleep 0.01; done; echo ${#TOKEN}"
    order = local.execution("a.1", RunSpec(script=script, secrets={"TOKEN": "token@3"}))
    local.send(order)
    local.says("a.1", "up")
    local.secrets.clear()
    local.restart(order)
    (local.folders.of("a.1") / "work-0" / "go").touch()
    assert local.end("a.1").exit_code == 0
    assert local.log("a.1") == f"up\n{len(VALUE)}\n"


# ── checkpoints ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_job_is_asked_for_its_last_checkpoint_by_its_own_signal_with_its_own_grace(
    hasty: LocalCase,
) -> None:
    script = "trap 'sleep 0.5; echo saved; exit 3' USR1; trap 'echo wrong' TERM; echo up; while :; do sleep 0.01; done"
    spec = RunSpec(script=script, checkpoint=Checkpoint("c", signal="SIGUSR1", grace_s=60))
    hasty.send(hasty.execution("stopped.1", spec), hasty.execution("over.1", spec, limit_us=300_000))
    hasty.says("stopped.1", "up")
    hasty.send(stop("stopped.1"))
    for run, outcome in (("stopped.1", "stopped"), ("over.1", "time_limit")):
        assert (hasty.end(run).outcome, hasty.end(run).exit_code) == (outcome, 3)
        assert "saved" in hasty.log(run)
        assert "wrong" not in hasty.log(run)


def test_without_a_grace_of_its_own_a_job_has_that_of_the_engine(hasty: LocalCase) -> None:
    spec = RunSpec(
        script="trap '' USR1; echo up; while :; do sleep 0.01; done", checkpoint=Checkpoint("c", 0, "SIGUSR1")
    )
    hasty.send(hasty.execution("a.1", spec))
    hasty.says("a.1", "up")
    hasty.send(stop("a.1"))
    assert hasty.end("a.1").signal == signal.SIGKILL


def test_a_signal_that_there_is_not_is_a_failed_start(local: LocalCase) -> None:
    local.send(local.execution("a.1", RunSpec(argv=("true",), checkpoint=Checkpoint("c", 0, "SIGNONSENSE"))))
    assert local.end("a.1").detail == "record_unreadable"
    assert "SIGNONSENSE" in local.log("a.1")


def test_checkpoints_of_a_job_are_kept_for_their_time_and_while_it_lives(local: LocalCase) -> None:
    spec = RunSpec(script="touch $LEITSTAND_CHECKPOINT_DIR/model; echo up", checkpoint=Checkpoint("c"))
    lasting = RunSpec(
        script="touch $LEITSTAND_CHECKPOINT_DIR/model; exec sleep 3600", checkpoint=Checkpoint("c")
    )
    orders = [
        local.execution("old-1.1", spec),
        local.execution("new-1.1", spec),
        local.execution("live-1.1", lasting),
    ]
    local.send(*orders)
    local.end("old-1.1")
    local.end("new-1.1")
    local.start("live-1.1")
    kept = {
        path.name.partition("-")[0]: path for path in (local.folders.path.parent / "checkpoints").iterdir()
    }
    assert set(kept) == {"old", "new", "live"}
    assert kept["new"].stat().st_mtime_ns // 1000 == local.end("new-1.1").at_us
    for name in ("old", "live"):
        os.utime(kept[name], (0, 0))
    local.restart(orders[2])
    eventually(lambda: not kept["old"].exists(), "the removal of what is over its time")
    assert (kept["new"] / "c" / "model").exists()
    assert kept["live"].exists()
    local.send(stop("live-1.1"))
    local.end("live-1.1")


def test_runs_that_live_at_the_same_time_have_ports_of_their_own(local: LocalCase) -> None:
    for n in range(8):
        local.script(f"a-{n}.1", "echo port $MASTER_PORT; exec sleep 3600")
    ports = [int(local.says(f"a-{n}.1", "\n").split()[1]) for n in range(8)]
    assert len(set(ports)) == 8
    for port in ports:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
    local.send(*(stop(f"a-{n}.1") for n in range(8)))
    for n in range(8):
        local.end(f"a-{n}.1")


def test_setup_comes_first_and_its_failure_is_the_jobs(local: LocalCase) -> None:
    local.send(local.execution("a.1", RunSpec(setup="echo one > made", argv=("cat", "made"))))
    local.send(local.execution("b.1", RunSpec(setup="echo no; exit 4", script="echo never")))
    assert local.end("a.1").exit_code == 0
    assert local.log("a.1") == "one\n"
    assert local.end("b.1").exit_code == 4
    assert local.log("b.1") == "no\n"


def test_every_task_has_its_own_copy_of_the_working_directory(local: LocalCase) -> None:
    local.blobs["data"] = archive(local.folders.path.parent / "data.tar", {"sub/n.txt": b"42\n"})
    spec = RunSpec(script="cat sub/n.txt; echo mine >> sub/n.txt; cat sub/n.txt", workdir="data")
    local.send(local.execution("a.1", spec, tasks=2))
    assert local.end("a.1").exit_code == 0
    assert [local.log("a.1", rank) for rank in range(2)] == ["42\n42\nmine\n"] * 2


# ── logs ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_both_output_streams_land_in_one_log_that_is_read_from_any_offset(local: LocalCase) -> None:
    local.script("a.1", "echo out; echo err >&2; printf '\\xff\\x00'")
    local.end("a.1")
    assert local.engine.read_log("a.1", 0, 0, 100) == b"out\nerr\n\xff\x00"
    assert local.engine.read_log("a.1", 0, 4, 3) == b"err"
    assert local.engine.read_log("a.1", 0, 99, 3) == b""
    with pytest.raises(KeyError):
        local.engine.read_log("a.1", 1, 0, 100)


def test_a_full_log_says_so_once_and_the_job_goes_on(hasty: LocalCase) -> None:
    hasty.script("a.1", "head -c 3000000 /dev/zero | tr '\\0' x; exit 6")
    assert hasty.end("a.1").exit_code == 6
    log = hasty.log("a.1")
    assert log.startswith("x" * 1000 + "[leitstand] the log is full (1000 bytes)")
    assert log.count("\n") == 1
    assert log.endswith("\n")


def test_output_that_just_fits_is_kept_whole_without_remark(hasty: LocalCase) -> None:
    hasty.script("a.1", "printf '%1000s' y")
    hasty.end("a.1")
    assert hasty.log("a.1") == " " * 999 + "y"


# ── crashes ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_report_that_was_lost_is_given_again_after_a_restart(local: LocalCase) -> None:
    order = local.script("a.1", "exit 9")
    seen = [local.start("a.1"), local.end("a.1")]
    local.restart(order)
    local.end("a.1")
    assert local.seen == seen


def test_the_end_of_a_run_that_ended_is_told_again_when_it_is_stopped(local: LocalCase) -> None:
    local.script("a.1", "exit 9")
    end = local.end("a.1")
    local.send(stop("a.1"))
    local.until(lambda: len(local.ends("a.1")) == 2, "the end of a.1 again")
    assert local.ends("a.1")[1] == end


def test_a_run_that_ended_while_nobody_watched_is_reported_with_its_true_times(local: LocalCase) -> None:
    order = local.script("a.1", "until [ -e ../go ]; do sleep 0.01; done; exit 4")
    start = local.start("a.1")
    local.engine.close()
    (local.folders.of("a.1") / "go").touch()
    ended = eventually(lambda: local.folders.ended("a.1"), "the end record")
    away_us = time.time_ns() // 1000
    local.restart(order)
    end = local.end("a.1")
    assert (end.outcome, end.exit_code) == ("exited", 4)
    assert (end.started_us, end.at_us) == (start.at_us, ended.ended_us)
    assert end.at_us <= away_us


def test_live_runs_that_nobody_ordered_are_stopped_and_not_reported(local: LocalCase) -> None:
    kept = local.script("kept.1", "exec sleep 3600")
    local.script("unknown.1", "exec sleep 3600")
    local.start("kept.1")
    local.start("unknown.1")
    local.restart(kept)
    eventually(lambda: local.folders.ended("unknown.1"), "the end of the unknown run")
    assert local.processes("unknown.1") == []
    assert len(local.processes("kept.1")) == 1
    local.send(stop("kept.1"))
    local.end("kept.1")
    assert not local.starts("unknown.1")
    assert not local.ends("unknown.1")


def test_an_adopted_run_is_stopped_as_any_other(local: LocalCase) -> None:
    order = local.script("a.1", "exec sleep 3600")
    local.start("a.1")
    local.restart(order)
    local.start("a.1")
    local.send(stop("a.1"))
    assert local.end("a.1").outcome == "stopped"


def test_the_time_limit_holds_while_no_control_plane_lives(local: LocalCase) -> None:
    order = local.execution("a.1", RunSpec(argv=("sleep", "3600")), limit_us=500_000)
    local.send(order)
    local.start("a.1")
    local.engine.close()
    ended = eventually(lambda: local.folders.ended("a.1"), "the end record")
    assert ended.outcome == "time_limit"
    assert ended.ended_us - ended.started_us >= 500_000
    local.restart(order)
    assert local.end("a.1").outcome == "time_limit"


def test_a_run_whose_supervisor_is_killed_is_lost_and_nothing_of_it_survives(local: LocalCase) -> None:
    local.script("a.1", DAEMON.replace("env -i ", "") + "sleep 3600 & sleep 3600")
    daemon = int(local.says("a.1", "daemon").split()[1])
    local.start("a.1")
    supervisor = local.folders.started("a.1")
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    end = local.end("a.1")
    assert (end.outcome, end.started_us, end.exit_code) == ("lost", supervisor.started_us, None)
    assert not alive(daemon)
    assert local.processes("a.1") == []


def test_a_child_that_hides_its_environment_does_not_survive_a_killed_supervisor(local: LocalCase) -> None:
    local.script("a.1", "env -i bash -c 'echo hidden $$; while :; do sleep 1; done'")
    hidden = int(local.says("a.1", "hidden").split()[1])
    local.start("a.1")
    supervisor = local.folders.started("a.1")
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    assert local.end("a.1").outcome == "lost"
    assert not alive(hidden)


def test_a_run_that_died_with_the_machine_is_lost_at_its_last_sign_of_life(local: LocalCase) -> None:
    order = local.script("a.1", "exec sleep 3600")
    start = local.start("a.1")
    local.engine.close()
    supervisor = local.folders.started("a.1")
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    eventually(lambda: not alive(supervisor.pid), "the death of the supervisor")
    heard_us = start.at_us + 7 * SECOND
    os.utime(local.folders.of("a.1") / "started.json", ns=(heard_us * 1000, heard_us * 1000))
    local.restart(order)
    end = local.end("a.1")
    assert (end.outcome, end.started_us, end.at_us) == ("lost", start.at_us, heard_us)
    local.restart(order)
    assert local.end("a.1") == end


def test_an_order_cut_off_between_folder_and_supervisor_is_carried_out_after_the_restart(
    local: LocalCase,
) -> None:
    local.folders.of("a.1").mkdir()
    (local.folders.of("a.1") / "order").write_bytes(b"torn")
    local.restart(local.execution("a.1", RunSpec(argv=("echo", "once"))))
    assert local.end("a.1").outcome == "exited"
    assert local.log("a.1") == "once\n"


def test_a_supervisor_that_dies_before_anything_executes_is_a_failed_start(
    local: LocalCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leitstand.engines.local.launch.BOOT", "raise SystemExit(1)")
    order = local.execution("a.1", RunSpec(argv=("echo", "never")))
    local.send(order)
    end = local.end("a.1")
    assert (end.outcome, end.detail, end.started_us) == ("start_failed", "supervisor_failed", 0)
    monkeypatch.undo()
    local.restart(order)
    assert local.end("a.1") == end


def test_runs_that_were_sent_when_the_control_plane_died_execute_exactly_once(local: LocalCase) -> None:
    orders: list[StartRun] = [local.execution(f"a-{n}.1", RunSpec(argv=("echo", "once"))) for n in range(40)]
    for crash in range(5):
        local.send(*orders[: 8 * (crash + 1)])
        local.until(lambda crash=crash: len(local.seen) >= crash, "some reports")  # type: ignore[misc]
        local.restart(*orders[: 8 * (crash + 1)])
    for order in orders:
        assert local.end(order.run).exit_code == 0
        assert local.log(order.run) == "once\n"


def test_a_fault_of_the_engine_itself_is_not_swallowed(
    local: LocalCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setattr("leitstand.engines.local.launch.spawn", broken)
    local.script("a.1", "true")
    with pytest.raises(RuntimeError, match="local engine has failed"):
        local.end("a.1")


# ── what keeps a run from starting for now ────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_a_run_that_the_system_has_no_room_for_waits_and_runs_when_it_has(
    local: LocalCase, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    tries = threading.Semaphore(0)

    def refuse(*_: object) -> None:
        tries.release()
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as full:
        full.setattr("leitstand.engines.local.orders.write", refuse)
        local.script("a.1", "echo once; exit 3")
        for _ in range(3):
            assert tries.acquire(timeout=30)
        assert list(local.engine.take(0)) == []
    assert local.end("a.1").exit_code == 3
    assert local.log("a.1") == "once\n"


def test_a_run_whose_supervisor_finds_no_room_waits_and_runs_when_there_is(
    local: LocalCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(
            "leitstand.engines.local.launch.BOOT",
            f"import sys; open(sys.argv[2] + '/came', 'a').write('x'); raise SystemExit({record.NOT_YET})",
        )
        local.script("a.1", "echo once; exit 3")
        came = local.folders.of("a.1") / "came"
        eventually(lambda: came.exists() and len(came.read_text()) >= 2, "two tries")
        assert list(local.engine.take(0)) == []
    assert local.end("a.1").exit_code == 3
    assert local.log("a.1") == "once\n"


def test_runs_that_wait_for_room_can_be_stopped_at_once_and_are_carried_out_after_a_restart(
    local: LocalCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leitstand.engines.local.engine.RETRY_S", (3600.0, 3600.0))
    local.fault = OSError(errno.EAGAIN, "not now")
    stopped = local.script("a.1", "touch ../executed")
    kept = local.script("b.1", "exit 3")
    local.send(stop("a.1"))
    end = local.end("a.1")
    assert (end.outcome, end.started_us, end.exit_code) == ("stopped", 0, None)
    local.engine.close()
    local.fault = None
    local.restart(kept)
    assert local.end("b.1").exit_code == 3
    assert not (local.folders.of(stopped.run) / "executed").exists()


def test_a_record_that_cannot_be_read_now_is_read_later(local: LocalCase) -> None:
    local.fault = OSError(errno.EAGAIN, "database is locked")
    local.script("a.1", "exit 3")
    local.script("never.1", "true")
    local.send(stop("never.1"))  # behind it: the try at a.1 is over
    local.end("never.1")
    assert not local.ends("a.1")
    local.fault = None
    assert local.end("a.1").exit_code == 3


def test_a_record_that_is_damaged_is_a_failed_start_and_the_engine_goes_on(local: LocalCase) -> None:
    local.fault = ValueError("JSON is malformed")
    local.script("a.1", "true")
    end = local.end("a.1")
    assert (end.outcome, end.detail, end.started_us) == ("start_failed", "record_unreadable", 0)
    assert "JSON is malformed" in local.log("a.1")
    local.fault = None
    local.script("b.1", "exit 3")
    assert local.end("b.1").exit_code == 3


# ── another journal, another placement ────────────────────────────────────────────────────────────────────────────
def another(case: LocalCase, what: str) -> None:
    """From now on orders and engine are of another journal, or of another placement by the same one."""
    if what == "journal":
        case.journal = "journal-2"
    else:
        case.placed_us += 1


@pytest.mark.parametrize("what", ["journal", "placement"])
def test_an_ended_run_with_the_same_id_is_not_taken_for_this_one(local: LocalCase, what: str) -> None:
    local.script("a.1", "echo first")
    assert local.end("a.1").exit_code == 0
    another(local, what)
    local.restart()
    order = local.script("a.1", "echo second; exit 7")
    assert local.end("a.1").exit_code == 7
    assert local.log("a.1") == "second\n"
    assert local.log("a.1.stale-1") == "first\n"
    local.restart(order)
    assert local.end("a.1").exit_code == 7
    assert not local.folders.of("a.1.stale-2").exists()


@pytest.mark.parametrize("what", ["journal", "placement"])
@pytest.mark.parametrize("resumed", [False, True])
def test_a_living_run_with_the_same_id_ends_before_this_one_starts(
    local: LocalCase, what: str, resumed: bool
) -> None:
    marks = local.folders.path / ".marks"
    local.script(
        "a.1",
        f"trap 'sleep 0.3; echo first ended >> {marks}; exit' TERM; echo up; while :; do sleep 0.01; done",
    )
    local.says("a.1", "up")
    local.start("a.1")
    first = local.processes("a.1")
    another(local, what)
    order = local.execution("a.1", RunSpec(script=f"echo second started >> {marks}; exit 7"))
    if resumed:
        local.restart(order)
    else:
        local.restart()
        local.send(order)
    assert local.end("a.1").exit_code == 7
    assert marks.read_text() == "first ended\nsecond started\n"
    assert not any(alive(pid) for pid in first)
    stale = local.folders.ended("a.1.stale-1")
    assert stale is not None
    assert stale.outcome == "stopped"
    assert len(local.ends("a.1")) == 1


def test_what_a_dead_supervisor_of_another_journal_left_is_killed_before_this_run_starts(
    local: LocalCase,
) -> None:
    local.script("a.1", DAEMON.replace("env -i ", "") + "exec sleep 3600")
    daemon = int(local.says("a.1", "daemon").split()[1])
    local.start("a.1")
    local.engine.close()
    supervisor = local.folders.started("a.1")
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    another(local, "journal")
    look = f"grep -qs '^State:.[^Z]' /proc/{daemon}/status && exit 1; exit 7"
    local.restart(local.execution("a.1", RunSpec(script=look)))
    assert local.end("a.1").exit_code == 7
    assert not alive(daemon)


def test_a_stop_while_the_other_run_is_still_ending_is_for_this_one(local: LocalCase) -> None:
    local.script("a.1", "trap '' TERM; echo up; while :; do sleep 0.01; done")
    local.says("a.1", "up")
    another(local, "journal")
    local.restart(local.execution("a.1", RunSpec(script="touch ../executed")))
    local.send(stop("a.1"))
    end = local.end("a.1")
    assert (end.outcome, end.started_us) == ("stopped", 0)
    supervisor = local.folders.started("a.1")
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    eventually(lambda: local.folders.ended("a.1"), "the end of the other run")
    assert len(local.ends("a.1")) == 1
    assert not list(local.folders.path.glob("*/executed"))


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\x00", b"{}"], ids=["empty", "torn", "noise", "old"])
@pytest.mark.parametrize("name", ["started.json", "ended.json"])
def test_a_record_that_cannot_be_read_is_not_trusted(local: LocalCase, name: str, damage: bytes) -> None:
    order = local.script("a.1", "echo once; exit 7")
    local.end("a.1")
    folder = local.folders.of("a.1")
    local.engine.close()
    (folder / "ended.json").unlink()
    (folder / name).write_bytes(damage)
    local.restart(msgspec.structs.replace(order, started_us=order.placed_us + 1))
    end = local.end("a.1")
    assert (end.outcome, end.started_us) == ("lost", order.placed_us + 1)
    assert local.log("a.1.stale-1") == "once\n"


# ── a run whose folder is gone ────────────────────────────────────────────────────────────────────────────────────
def test_a_run_that_was_reported_started_and_whose_folder_is_gone_is_lost_and_never_started_again(
    local: LocalCase,
) -> None:
    marks = local.folders.path.parent / "marks"
    order = local.script("a.1", f"echo start >> {marks}; echo up; exec sleep 3600")
    local.says("a.1", "up")
    start = local.start("a.1")
    pids = local.processes("a.1")
    local.engine.close()
    shutil.rmtree(local.folders.of("a.1"))
    local.restart(msgspec.structs.replace(order, started_us=start.at_us))
    end = local.end("a.1")
    assert (end.outcome, end.started_us) == ("lost", start.at_us)
    assert end.at_us > start.at_us
    assert not any(alive(pid) for pid in pids)
    assert local.starts("a.1") == []
    assert marks.read_text() == "start\n"
    local.restart(msgspec.structs.replace(order, started_us=start.at_us))
    again = local.end("a.1")
    assert (again.outcome, again.at_us) == ("lost", start.at_us)  # nothing lived that could tell more
    assert marks.read_text() == "start\n"


# ── what is kept ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_restart_keeps_the_newest_run_folders_and_all_that_live(tmp_path: Path) -> None:
    case = LocalCase(tmp_path, Limits(kept_runs_max=2))
    try:
        live = case.script("live.1", "exec sleep 3600")
        case.start("live.1")
        for n in range(4):
            case.script(f"a-{n}.1", "echo kept")
            case.end(f"a-{n}.1")
        case.restart(live)
        case.start("live.1")
        eventually(lambda: not case.folders.of("a-1.1").exists(), "the removal of old folders")
        assert sorted(path.name for path in case.folders.path.glob("[a-z]*")) == ["a-2.1", "a-3.1", "live.1"]
        assert case.log("a-3.1") == "kept\n"
        case.send(stop("live.1"))
        case.end("live.1")
    finally:
        case.close()


def test_stale_folders_are_kept_and_pruned_as_any_other(tmp_path: Path) -> None:
    case = LocalCase(tmp_path, Limits(kept_runs_max=2))
    try:
        for n in range(4):
            case.script("a.1", f"echo {n}")
            assert case.end("a.1").exit_code == 0
            case.seen.clear()
            case.placed_us += 1
        assert [case.log(f"a.1.stale-{n}") for n in (1, 2, 3)] == ["0\n", "1\n", "2\n"]
        case.restart()
        eventually(lambda: not case.folders.of("a.1.stale-2").exists(), "the removal of the oldest")
        assert sorted(path.name for path in case.folders.path.glob("[a-z]*")) == ["a.1", "a.1.stale-3"]
    finally:
        case.close()


def private_files(case: LocalCase, run: str) -> list[str]:
    return [name for name in record.PRIVATE if (case.folders.of(run) / name).exists()]


def test_command_and_environment_go_when_a_run_has_ended_and_nobody_misses_them(local: LocalCase) -> None:
    orders = [
        local.execution("ran.1", RunSpec(setup="true", script="exit 7")),
        local.execution("failed.1", RunSpec(argv=("no-such-command",))),
        local.execution("stopped.1", RunSpec(setup="true", script="exec sleep 3600")),
    ]
    local.send(*orders)
    local.start("stopped.1")
    assert private_files(local, "stopped.1") == [record.ORDER, record.SCRIPT, record.SETUP]
    local.send(stop("stopped.1"))
    ends = {order.run: local.end(order.run) for order in orders}
    for order in orders:
        eventually(lambda run=order.run: not private_files(local, run), order.run)  # type: ignore[misc]
    local.restart(*orders)
    assert {order.run: local.end(order.run) for order in orders} == ends


def test_command_and_environment_go_when_a_run_is_lost(local: LocalCase) -> None:
    local.script("a.1", "echo up; exec sleep 3600")
    local.says("a.1", "up")
    local.start("a.1")
    supervisor = local.folders.started("a.1")
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    assert local.end("a.1").outcome == "lost"
    assert private_files(local, "a.1") == []


def test_what_a_supervisor_killed_at_the_very_end_left_goes_at_the_next_start(local: LocalCase) -> None:
    local.script("a.1", "true")
    local.end("a.1")
    local.engine.close()
    for name in record.PRIVATE:
        (local.folders.of("a.1") / name).write_text("private")
    local.restart()
    eventually(lambda: not private_files(local, "a.1"), "the sweep")
