# SPDX-License-Identifier: Apache-2.0
"""Two tenants' real runs on one machine: neither sees, reads or touches what is the other's or the control plane's.

Most of it needs root, and says so where it is not. Each promise holds with namespaces, and without them for what user
ids alone can give; `off` (no isolation, which nobody promises anything for) shows that the attempts themselves work.
"""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy
import pytest

from leitstand.engines.local import process
from leitstand.engines.local.engine import Limits
from leitstand.engines.local.tenants import Tenants, namespaces_here
from leitstand.runtime.ports import StopRun
from leitstand.runtime.spec import Checkpoint, RunSpec
from tests.conformance.engine_cases import SECOND, LocalCase, alive, eventually
from tests.plane import LEITSTAND, Plane

UIDS = range(
    first := 1_000_000 + os.getpid() * 10, first + 10
)  # nobody else's, should two of these run at once
ARGUMENT = f"private-{os.getpid()}"
PYTHON = Path("/usr/bin/python3")  # one that everybody can execute
_CAPABLE = next(
    line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff")
)
MAY_RANK = bool(int(_CAPABLE.split()[1], 16) >> 24 & 1)  # CAP_SYS_RESOURCE, which a container's root may lack
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give tenants user ids of their own")
pytestmark = needs_root


def open_case(data: Path, level: str, limits: Limits | None = None) -> LocalCase:
    """A data folder as the control plane has it, with what tenants must not read."""
    if level == "namespaces" and not namespaces_here():
        pytest.skip("the operating system refuses namespaces here")
    data.mkdir(mode=0o700, exist_ok=True)
    for name in ("records.db", "admin.token", "journal.db"):
        (data / name).write_text(f"private {name}\n")
    if level == "off":
        return LocalCase(data, limits)
    python = PYTHON if level == "users" else None
    tenants = Tenants(data, UIDS, namespaces=level == "namespaces", python=python)
    return LocalCase(data, limits, tenants)


@pytest.fixture
def spot() -> Iterator[Path]:
    """A folder that every user can reach, which the test's usual one is not, and not in /tmp, which runs do not see."""
    folder = Path(tempfile.mkdtemp(prefix="leitstand-test-", dir="/var/lib"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(params=["namespaces", "users"])
def level(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def case(level: str, spot: Path) -> Iterator[LocalCase]:
    opened = open_case(spot / "data", level)
    yield opened
    close(opened)


@pytest.fixture
def spaces(spot: Path) -> Iterator[LocalCase]:
    opened = open_case(spot / "data", "namespaces", Limits(grace_us=300_000))
    yield opened
    close(opened)


def close(case: LocalCase) -> None:
    """Lets go, leaves no process behind, and waits until no supervisor needs the folder any more."""
    case.close()
    eventually(lambda: not list(case.folders.live()), "the end of all runs")


def uid_of(case: LocalCase, tenant: str) -> int:
    assert case.tenants is not None
    identity = case.tenants.identity(tenant)
    assert identity is not None
    return identity.uid


# ── what a neighbour tries ────────────────────────────────────────────────────────────────────────────────────────
VICTIM = """
echo private > file; echo private > $HOME/at-home; echo private > $TMPDIR/in-tmp; chmod -R a+rwX . 2>/dev/null
echo private output
exec python3 -c 'import time; time.sleep(3600)' ARGUMENT
"""
NEIGHBOUR = """
import glob, json, os, sys
data, run, pid, home, token = sys.argv[1:]
def attempt(work):
    try:
        return work()
    except OSError as error:
        return None
def read(path):
    return attempt(lambda: open(path, "rb").read().decode(errors="replace"))
def signal():
    os.kill(int(pid), 0)
    return "possible"
folder = f"{data}/runs/{run}"
got = {
    "file": read(f"{folder}/work-0/file"),
    "written": attempt(lambda: open(f"{folder}/work-0/planted", "w").close() or "yes"),
    "tmp": read(f"{folder}/tmp/in-tmp"),
    "home": read(f"{home}/at-home"),
    "script": read(f"{folder}/run.sh"),
    "order": read(f"{folder}/order"),
    "log": read(f"{folder}/task-0.log"),
    "started": read(f"{folder}/started.json"),
    "environment": read(f"/proc/{pid}/environ"),
    "cwd": attempt(lambda: os.readlink(f"/proc/{pid}/cwd")),
    "memory": attempt(lambda: open(f"/proc/{pid}/mem", "rb").close() or "yes"),
    "signal": attempt(signal),
    "listing": attempt(lambda: os.listdir(f"{data}/runs/{run}")),
    **{name: read(f"{data}/{name}") for name in ("records.db", "admin.token", "journal.db", "uids.json")},
}
private = os.environ["NEEDLE"]
lines = [read(path) or "" for path in glob.glob("/proc/[0-9]*/cmdline")]
got["arguments"] = "seen" if any(private in line for line in lines) else None
print(json.dumps(got))
"""


def what_a_neighbour_gets(case: LocalCase) -> dict[str, object]:
    """What a run of tenant beta gets of a run of tenant acme that lives beside it."""
    secret = RunSpec(script=VICTIM.replace("ARGUMENT", ARGUMENT), envs={"PASSWORD": "private"})
    case.send(msgspec.structs.replace(case.execution("acme-1.1", secret), tenant="acme"))
    case.says("acme-1.1", "private output")
    pid = eventually(lambda: find(ARGUMENT), "the victim at work")
    attack = ["python3", "-c", NEIGHBOUR, str(case.folders.path.parent), "acme-1.1", str(pid)]
    attack += [str(Path(f"/proc/{pid}/cwd").readlink()) if case.tenants is None else home(case, "acme"), ""]
    spec = RunSpec(argv=tuple(attack), envs={"NEEDLE": ARGUMENT})  # it is not among its own arguments
    case.send(msgspec.structs.replace(case.execution("beta-1.1", spec), tenant="beta"))
    assert case.end("beta-1.1").exit_code == 0, case.log("beta-1.1")
    case.send(StopRun("acme-1.1", "cancel"))
    case.end("acme-1.1")
    found: dict[str, object] = json.loads(case.log("beta-1.1"))
    return {what: got for what, got in found.items() if got is not None}


def home(case: LocalCase, tenant: str) -> str:
    return str(case.folders.path.parent / "homes" / tenant)


def find(argument: str) -> int | None:
    """The pid of the process with this argument."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if argument.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return int(pid)
    return None


def test_a_neighbour_gets_nothing_but_what_the_level_says(case: LocalCase, level: str) -> None:
    assert what_a_neighbour_gets(case) == ({} if level == "namespaces" else {"arguments": "seen"})


def test_even_of_an_open_data_folder_a_run_sees_only_what_is_its_own(spaces: LocalCase, spot: Path) -> None:
    data = spot / "data"
    data.chmod(0o755)
    look = f"ls -A {data} {data}/runs {data}/homes; cat {data}/records.db"
    spaces.runs_for("beta", "beta-1.1", "exec sleep 3600")
    spaces.start("beta-1.1")
    spaces.runs_for("acme", "acme-1.1", look)
    spaces.end("acme-1.1")
    assert spaces.log("acme-1.1").split("cat:")[0].split() == [
        f"{data}:", "homes", "runs", f"{data}/homes:", "acme", f"{data}/runs:", "acme-1.1",
    ]  # fmt: skip
    assert "records.db: No such file" in spaces.log("acme-1.1")
    spaces.send(StopRun("beta-1.1", "cancel"))
    spaces.end("beta-1.1")


def test_without_isolation_the_same_neighbour_gets_it_all(tmp_path: Path) -> None:
    case = open_case(tmp_path / "data", "off")
    try:
        got = what_a_neighbour_gets(case)
    finally:
        case.close()
    assert {"file", "tmp", "log", "started", "environment", "arguments", "signal", "memory"} <= set(got)
    assert {"order", "script", "written", "listing", "records.db", "admin.token", "journal.db"} <= set(got)


def test_a_neighbour_sees_no_file_in_shared_places(spaces: LocalCase) -> None:
    name = f"left-by-acme-{os.getpid()}"
    leave = (
        f"for d in /tmp /var/tmp /dev/shm; do echo private > $d/{name}; done; ipcmk -M 100 && ls /dev/shm\n"
        "exec sleep 3600"
    )
    spaces.runs_for("acme", "acme-1.1", leave)
    spaces.says("acme-1.1", name)
    spaces.runs_for("beta", "beta-1.1", "ls /tmp /var/tmp /dev/shm; wc -l < /proc/sysvipc/shm")
    assert spaces.end("beta-1.1").exit_code == 0
    assert spaces.log("beta-1.1").splitlines()[-1] == "1"  # the heading
    assert "left-by-acme" not in spaces.log("beta-1.1")
    assert not any(Path(place, name).exists() for place in ("/tmp", "/var/tmp", "/dev/shm"))


def test_two_tasks_of_a_gang_share_their_temporary_places_and_shared_memory(spaces: LocalCase) -> None:
    meet = "echo $RANK > /dev/shm/rank-$RANK; until [ -e /dev/shm/rank-$((1 - RANK)) ]; do sleep 0.01; done; id -u"
    order = spaces.execution("acme-1.1", RunSpec(script=meet), tasks=2)
    spaces.send(order)
    assert spaces.end("acme-1.1").exit_code == 0
    assert [spaces.log("acme-1.1", rank) for rank in (0, 1)] == [f"{uid_of(spaces, 'acme')}\n"] * 2


# ── as whom a run executes ────────────────────────────────────────────────────────────────────────────────────────
def test_a_run_has_its_tenants_user_id_and_home_and_no_privilege(case: LocalCase) -> None:
    look = (
        "id -u; id -g; id -G; echo $HOME $USER $LOGNAME; umask; touch $HOME/mine $TMPDIR/mine mine && "
        "stat -c %a mine; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status"
    )
    case.runs_for("acme", "acme-1.1", look)
    assert case.end("acme-1.1").exit_code == 0
    uid = uid_of(case, "acme")
    expected = [str(uid)] * 3 + [f"{home(case, 'acme')} acme acme", "0077", "600"]
    assert case.log("acme-1.1").splitlines() == [*expected, "CapEff:\t0000000000000000", "NoNewPrivs:\t1"]


@pytest.mark.skipif(not MAY_RANK, reason="CAP_SYS_RESOURCE is missing: root may not say who goes last here")
def test_a_tenant_cannot_take_back_that_it_goes_first_when_memory_is_short(case: LocalCase) -> None:
    look = "cat /proc/self/oom_score_adj; echo 0 > /proc/self/oom_score_adj; bash -c 'cat /proc/self/oom_score_adj'"
    case.runs_for("acme", "acme-1.1", look)
    case.end("acme-1.1")
    assert [line for line in case.log("acme-1.1").splitlines() if line.isdigit()] == ["500", "500"]


def test_the_operators_runs_are_the_control_planes_own_users(case: LocalCase) -> None:
    case.runs_for("operator", "operator-1.1", "id -u")
    assert case.end("operator-1.1").exit_code == 0
    assert case.log("operator-1.1") == f"{os.geteuid()}\n"


def test_a_tenant_finds_its_home_again_in_its_next_run(case: LocalCase) -> None:
    case.runs_for("acme", "acme-1.1", "echo kept > ~/notes")
    case.end("acme-1.1")
    case.runs_for("acme", "acme-2.1", "cat ~/notes")
    assert case.end("acme-2.1").exit_code == 0
    assert case.log("acme-2.1") == "kept\n"


def test_user_ids_stay_for_ever_and_are_never_given_twice(tmp_path: Path) -> None:
    def ids(*tenants: str, uids: range = UIDS) -> list[int]:
        known = Tenants(tmp_path, uids, namespaces=True)
        return [found.uid for tenant in tenants if (found := known.identity(tenant))]

    first = ids("acme", "beta")
    assert len(set(first)) == 2
    assert all(uid in UIDS for uid in first)
    assert ids("gamma", "beta", "acme")[1:] == first[::-1]
    assert ids("acme", "beta", uids=range(300_000, 300_001)) == first
    assert len({*ids("acme", "beta", "gamma", "delta")}) == 4


def test_one_tenant_too_many_is_refused_by_name(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    case = LocalCase(data, tenants=Tenants(data, UIDS[:1], namespaces=namespaces_here()))
    try:
        case.runs_for("acme", "acme-1.1", "true")
        case.runs_for("beta", "beta-1.1", "true")
        end = case.end("beta-1.1")
        assert (end.outcome, end.detail) == ("start_failed", "uids_exhausted")
        assert "no user id is left for tenant beta" in case.log("beta-1.1")
        assert "--uids" in case.log("beta-1.1")
    finally:
        case.close()


# ── what is out of reach ──────────────────────────────────────────────────────────────────────────────────────────
def test_an_interpreter_out_of_reach_is_refused_by_name(case: LocalCase, tmp_path: Path) -> None:
    barred = tmp_path / "barred"
    barred.mkdir(mode=0o700)
    shutil.copy("/bin/true", barred / "python")
    (tmp_path / "link").symlink_to(barred / "python")
    for run, command in (("acme-1.1", barred / "python"), ("acme-2.1", tmp_path / "link")):
        case.send(case.execution(run, RunSpec(argv=(str(command),))))
        end = case.end(run)
        assert (end.outcome, end.detail, end.exit_code) == ("start_failed", "not_reachable", None)
        line = case.log(run)
        assert f"{command} cannot be executed by tenant acme (uid {uid_of(case, 'acme')}): " in line


def test_the_folder_that_denies_is_named(tmp_path: Path) -> None:
    barred = Path("/var/lib") / f"leitstand-test-{os.getpid()}"
    barred.mkdir(mode=0o700)
    case = open_case(tmp_path / "data", "namespaces")
    try:
        shutil.copy("/bin/true", barred / "python")
        (barred / "python").chmod(0o755)
        script = tmp_path / "script"
        script.write_text(f"#!{barred}/python\n")
        case.send(case.execution("acme-1.1", RunSpec(argv=(f"{barred}/python",))))
        case.end("acme-1.1")
        assert f"): {barred} is 0700\n" in case.log("acme-1.1")
        barred.chmod(0o755)
        (barred / "python").chmod(0o700)
        case.send(case.execution("acme-2.1", RunSpec(argv=(f"{barred}/python",))))
        assert case.end("acme-2.1").detail == "not_reachable"
        assert f"): {barred}/python is 0700\n" in case.log("acme-2.1")
    finally:
        case.close()
        shutil.rmtree(barred)


def test_a_data_folder_out_of_reach_is_refused_by_name(spot: Path) -> None:
    (spot / "barred").mkdir(mode=0o700)
    data = spot / "barred" / "data"
    data.mkdir()
    case = LocalCase(data, tenants=Tenants(data, UIDS, namespaces=False, python=PYTHON))
    try:
        case.runs_for("acme", "acme-1.1", "true")
        assert case.end("acme-1.1").detail == "not_reachable"
        assert f"/work-0 cannot be reached by tenant acme (uid {UIDS[0]}): {data.parent} is 0700" in case.log(
            "acme-1.1"
        )
    finally:
        case.close()


def test_the_python_of_the_installation_runs_for_tenants_wherever_it_lies(spaces: LocalCase) -> None:
    """Also below a home that only root may enter, as is common where root installs; nothing else of it is there."""
    program = "import os, sys, numpy; print(numpy.__file__, os.getuid(), os.access(numpy.__file__, os.W_OK))"
    spaces.send(spaces.execution("acme-1.1", RunSpec(argv=("python", "-c", program))))
    assert spaces.end("acme-1.1").exit_code == 0, spaces.log("acme-1.1")
    assert spaces.log("acme-1.1") == f"{numpy.__file__} {uid_of(spaces, 'acme')} False\n"


# ── work directories ──────────────────────────────────────────────────────────────────────────────────────────────
def test_a_work_directory_is_unpacked_as_the_tenants_own(case: LocalCase, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("sent along\n")
    archive = tmp_path / "archive.tar"
    subprocess.run(["tar", "-C", tmp_path, "-cf", archive, "data.txt"], check=True)
    archive.chmod(0o600)
    case.blobs["digest"] = archive
    script = "cat data.txt && echo more >> data.txt && stat -c %u data.txt"
    case.send(case.execution("acme-1.1", RunSpec(script=script, workdir="digest")))
    assert case.end("acme-1.1").exit_code == 0
    assert case.log("acme-1.1") == f"sent along\n{uid_of(case, 'acme')}\n"


def test_an_archive_that_cannot_be_unpacked_is_refused_by_name(case: LocalCase, tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar"
    archive.write_bytes(b"no archive" * 1000)
    case.blobs["digest"] = archive
    case.send(case.execution("acme-1.1", RunSpec(script="true", workdir="digest")))
    end = case.end("acme-1.1")
    assert (end.outcome, end.detail) == ("start_failed", "workdir_unreadable")
    assert "cannot be unpacked" in case.log("acme-1.1")


# ── how runs end ──────────────────────────────────────────────────────────────────────────────────────────────────
ESCAPE = (
    "(setsid env -i bash -c 'trap \"\" TERM HUP INT; exec -a escaped-from-acme sleep 3600' &)\n"
    "(setsid python3 -c 'import os, time; os.fork() or os.fork(); time.sleep(3600)' escaped-from-acme &)\n"
    "sleep 0.2; echo up\n"
)


@pytest.mark.parametrize("end", ["exit 3", "exec sleep 3600"])
def test_a_run_leaves_no_process_behind(case: LocalCase, end: str) -> None:
    case.limits = Limits(grace_us=200_000)
    case.restart()
    case.runs_for("acme", "acme-1.1", ESCAPE + end)
    case.says("acme-1.1", "up")
    uid = uid_of(case, "acme")
    assert len(processes_of(uid)) >= 2 or "exit" in end
    if "exit" not in end:
        case.send(StopRun("acme-1.1", "cancel"))
    assert case.end("acme-1.1").outcome == ("exited" if "exit" in end else "stopped")
    assert processes_of(uid) == []


def processes_of(uid: int) -> list[int]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{pid}").st_uid == uid and alive(int(pid)):
                found.append(int(pid))
    return found


def test_a_run_that_ends_at_its_signal_does_not_wait_for_the_grace(tmp_path: Path) -> None:
    case = open_case(tmp_path / "data", "namespaces", Limits(grace_us=600 * SECOND))
    try:
        case.runs_for("acme", "acme-1.1", "(setsid sleep 3600 &); echo up; exec sleep 3600")
        case.says("acme-1.1", "up")
        case.send(StopRun("acme-1.1", "cancel"))
        assert case.end("acme-1.1").outcome == "stopped"
    finally:
        case.close()


def test_whoever_kills_the_supervisor_ends_the_run(spaces: LocalCase) -> None:
    case = spaces
    case.runs_for("acme", "acme-1.1", ESCAPE + "exec sleep 3600")
    case.says("acme-1.1", "up")
    case.start("acme-1.1")
    supervisor = case.folders.started("acme-1.1")
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    assert case.end("acme-1.1").outcome == "lost"
    uid = uid_of(case, "acme")
    eventually(lambda: not processes_of(uid) or None, "the end of every process")


def test_a_tenant_cannot_end_its_supervisor_or_process_one(case: LocalCase) -> None:
    case.runs_for("acme", "acme-1.1", "kill -9 $PPID 1 2>/dev/null; kill -9 -1; echo never")
    assert case.end("acme-1.1").outcome == "exited"
    assert case.end("acme-1.1").signal in (signal.SIGKILL, None)


def test_another_control_plane_adopts_isolated_runs(case: LocalCase) -> None:
    order = case.runs_for("acme", "acme-1.1", "echo up; until [ -e go ]; do sleep 0.01; done; id -u; exit 7")
    case.says("acme-1.1", "up")
    start = case.start("acme-1.1")
    case.restart(order)
    assert case.start("acme-1.1") == start
    (case.folders.of("acme-1.1") / "work-0" / "go").touch()
    assert case.end("acme-1.1").exit_code == 7
    assert case.log("acme-1.1") == f"up\n{uid_of(case, 'acme')}\n"


def test_a_socket_fits_into_the_temporary_folder_of_a_long_data_path(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 15)
    deep.mkdir()
    bind = "import os, socket, tempfile; s = socket.socket(socket.AF_UNIX); "
    bind += "s.bind(tempfile.mkdtemp(prefix='pymp-') + '/listener-12345678'); print('bound')"
    for level in ("namespaces", "off"):
        data = deep / level
        case = open_case(data, level)
        try:
            case.send(case.execution("acme-1.1", RunSpec(argv=("python3", "-c", bind))))
            assert case.end("acme-1.1").exit_code == 0, case.log("acme-1.1")
            assert case.log("acme-1.1") == "bound\n"
        finally:
            case.close()


def test_a_supervisor_carries_no_command_in_its_arguments(case: LocalCase) -> None:
    spec = RunSpec(argv=("sleep", "3600.25"), envs={"PASSWORD": "private"})
    case.send(case.execution("acme-1.1", spec))
    case.start("acme-1.1")
    supervisor = case.folders.started("acme-1.1")
    assert supervisor is not None
    assert b"3600.25" not in Path(f"/proc/{supervisor.pid}/cmdline").read_bytes()
    case.send(StopRun("acme-1.1", "cancel"))
    case.end("acme-1.1")


def test_run_folders_show_a_tenant_no_more_than_its_own_part(case: LocalCase) -> None:
    look = "cat ../task-0.log ../started.json ../order ../supervisor.log; ls ..; touch ../planted; mv ../tmp ../x; true"
    case.runs_for("acme", "acme-1.1", look)
    assert case.end("acme-1.1").exit_code == 0
    log = case.log("acme-1.1").splitlines()
    assert len(log) == 7
    assert all("denied" in line or "cannot" in line for line in log), log


# ── checkpoints ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_all_runs_of_a_job_share_its_checkpoints_and_nobody_else_does(case: LocalCase) -> None:
    script = "cd $LEITSTAND_CHECKPOINT_DIR; cat model 2>/dev/null; echo $LEITSTAND_RUN_ATTEMPT > model"
    spec = RunSpec(script=script, checkpoint=Checkpoint("deep/er"))
    first = case.execution("acme-1.1", spec)
    case.send(first)
    assert case.end("acme-1.1").exit_code == 0
    case.specs["spec of acme-1.2"] = spec
    second = msgspec.structs.replace(first, run="acme-1.2")
    case.send(second)
    assert case.end("acme-1.2").exit_code == 0
    assert (case.log("acme-1.1"), case.log("acme-1.2")) == ("", "1\n")
    (folder,) = (case.folders.path.parent / "checkpoints").iterdir()
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (uid_of(case, "acme"), 0o700)
    case.runs_for("beta", "beta-1.1", f"cat {folder}/deep/er/model")
    assert case.end("beta-1.1").exit_code == 1


# ── the whole control plane ───────────────────────────────────────────────────────────────────────────────────────
def test_a_control_plane_of_root_isolates_adopts_what_it_isolated_and_says_so(spot: Path) -> None:
    with Plane(spot / "data", command=(LEITSTAND, "up", "--uids", f"{UIDS.start}-{UIDS.stop - 1}")) as plane:
        eventually(lambda: "Type next" in plane.output.read_text(), "the start-up text")
        level = "namespaces" if namespaces_here() else "users"
        expected = {"namespaces": "isolated: each tenant has", "users": "each tenant has its own user id"}[
            level
        ]
        assert f"runs   {expected}" in plane.output.read_text()
        assert plane.http("POST", "/v1/tenants", {"id": "acme", "class": "startup"})[0] in (200, 201)
        script = (
            "cat /proc/self/oom_score_adj; id -u; until [ -e ~/go ]; do sleep 0.05; done; echo $HOME; exit 7"
        )
        assert plane.process is not None
        parts = process.descendants(plane.process.pid)
        assert len(parts) == 2
        ours = Path("/proc/self/oom_score_adj").read_text()
        assert {Path(f"/proc/{pid}/oom_score_adj").read_text() for pid in parts} == {
            "-500\n" if MAY_RANK else ours
        }
        job = plane.cli("submit", "--tenant", "acme", "--", script).stdout.strip()
        eventually(lambda: plane.cli("logs", job).stdout.split() == ["500", str(UIDS.start)], "the log")
        os.killpg(plane.process.pid, signal.SIGKILL)
        plane.process.wait()
        (spot / "data" / "homes" / "acme" / "go").touch()
        plane.start()
        assert plane.cli("logs", "-f", job).returncode == 7
        assert plane.cli("logs", job).stdout.splitlines()[1:] == [str(UIDS.start), f"{spot}/data/homes/acme"]


def test_an_export_gives_a_tenant_what_its_isolated_runs_left_and_nothing_of_root(spot: Path) -> None:
    """The faces are root here: what a link or a second name in the home leads to must not come along."""
    with Plane(spot / "data", command=(LEITSTAND, "up", "--uids", f"{UIDS.start}-{UIDS.stop - 1}")) as plane:
        assert plane.http("POST", "/v1/tenants", {"id": "acme", "class": "startup"})[0] in (200, 201)
        script = (
            "echo result > out.txt; echo kept > ~/notes; echo state > $LEITSTAND_CHECKPOINT_DIR/step-1; "
            f"ln -s {spot}/data/admin.token ~/token; mkfifo ~/pipe"
        )
        asked = {"run": ["bash", "-ec", script], "tenant": "acme", "checkpoint": {"path": "saved"}}
        status, job = plane.http("POST", "/v1/jobs", asked)
        assert status == 201, job
        assert plane.cli("logs", "-f", job["id"]).returncode == 0
        os.link(spot / "data" / "admin.token", spot / "data" / "homes" / "acme" / "other")
        packed = spot / "acme.zip"
        assert plane.cli("tenants", "export", "acme", "-o", str(packed)).returncode == 0
        token = plane.token.encode()
    with zipfile.ZipFile(packed) as export:
        names = [name for name in export.namelist() if name.endswith(".tar")]
        said = [json.loads(line) for line in export.open("left-out.jsonl")]
        # where the installation itself lies below /tmp, root made places in the run's own /tmp to show it
        told = {one["name"]: one["why"] for one in said if not one["name"].startswith("tmp/")}
        found = {name: export.read(name) for name in names}
    files: dict[str, bytes] = {}
    for content in found.values():
        assert token not in content
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            files |= {one.name: (tar.extractfile(one) or io.BytesIO()).read() for one in tar if one.isreg()}
    assert told == {"acme/pipe": "fifo", "acme/other": "foreign"}
    assert (files["work-0/out.txt"], files["acme/notes"]) == (b"result\n", b"kept\n")
    assert [content for name, content in files.items() if name.endswith("/step-1")] == [b"state\n"]
