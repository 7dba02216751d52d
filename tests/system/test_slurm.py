# SPDX-License-Identifier: Apache-2.0
"""What the Slurm engine promises beyond the suite for all engines, on a real cluster: how runs end, gangs, GPUs, and
what remains true when daemons are killed."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from leitstand.core.facts import NodeAdded, NodeRemoved, Resources, SiteAdded, Task
from leitstand.engines.slurm.commands import Commands, Listed
from leitstand.engines.slurm.engine import SlurmEngine
from leitstand.engines.slurm.live import Pace
from leitstand.engines.slurm.site import DIRECTED, Place, SlurmSite
from leitstand.engines.surroundings import Surroundings
from leitstand.runtime.ports import StopRun
from leitstand.runtime.spec import Checkpoint, RunSpec
from tests.conformance.engine_cases import SlurmCase, alive, eventually
from tests.slurm import PARTITION, Cluster, running

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running() as made:
        yield made


@pytest.fixture
def case(cluster: Cluster, tmp_path: Path) -> Iterator[SlurmCase]:
    opened = SlurmCase(cluster, tmp_path)
    yield opened
    opened.close()


def stop(run: str) -> StopRun:
    return StopRun(run, "cancel")


# ── how a run ends ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_exit_codes_and_signals_are_the_commands_own(case: SlurmCase) -> None:
    case.script("a.1", "exit 7")
    case.script("b.1", "kill -SEGV $$")
    case.script("c.1", 'echo "$GREETING from $LEITSTAND_JOB_ID"')
    a, b, c = case.end("a.1"), case.end("b.1"), case.end("c.1")
    assert (a.outcome, a.exit_code, a.signal) == ("exited", 7, None)
    assert (b.outcome, b.exit_code, b.signal) == ("exited", None, signal.SIGSEGV)
    assert (c.exit_code, case.log("c.1")) == (0, " from c\n")


def test_a_run_may_save_its_work_when_it_is_told_to_end_and_one_that_is_deaf_is_killed(
    case: SlurmCase,
) -> None:
    case.script("a.1", "trap 'echo saved; exit 3' TERM; echo ready; while :; do sleep 0.05; done")
    case.script("b.1", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
    case.says("a.1", "ready")
    case.says("b.1", "ready")
    case.send(stop("a.1"), stop("b.1"))
    a, b = case.end("a.1"), case.end("b.1")
    assert (a.outcome, a.exit_code, a.detail) == ("stopped", 3, "")
    assert (b.outcome, b.signal) == ("stopped", signal.SIGKILL)
    assert "saved" in case.log("a.1")


def test_a_job_with_a_checkpoint_gets_its_own_signal_and_all_its_runs_share_the_folder(
    case: SlurmCase,
) -> None:
    save = (
        "trap 'date > $LEITSTAND_CHECKPOINT_DIR/step; exit 0' USR1; echo ready; while :; do sleep 0.05; done"
    )
    checkpoint = Checkpoint(path="ckpt", signal="SIGUSR1", grace_s=30)
    script = f'mkdir -p "$LEITSTAND_CHECKPOINT_DIR"; {save}'
    case.send(case.execution("a.1", RunSpec(script=script, checkpoint=checkpoint)))
    case.says("a.1", "ready")
    case.send(stop("a.1"))
    assert (case.end("a.1").outcome, case.end("a.1").exit_code) == ("stopped", 0)
    case.send(
        case.execution("a.2", RunSpec(script='cat "$LEITSTAND_CHECKPOINT_DIR/step"', checkpoint=checkpoint))
    )
    assert case.end("a.2").exit_code == 0


def test_somebody_who_cancels_in_slurm_is_told_apart_from_us(case: SlurmCase) -> None:
    case.script("a.1", "echo ready; exec sleep 3600")
    case.says("a.1", "ready")
    case.cluster.ask("scancel", "-u", "root")
    end = case.end("a.1")
    assert (end.outcome, end.detail) == ("stopped", "signalled")


@pytest.mark.parametrize(
    ("spec", "detail", "line"),
    [
        (RunSpec(argv=("no-such-command",)), "command_not_found", "'no-such-command' was not found in PATH"),
        (RunSpec(argv=("./here",)), "command_not_found", "'./here' was not found in the working directory"),
        (RunSpec(argv=("/etc/passwd",)), "command_not_executable", "/etc/passwd' is not executable"),
        (RunSpec(), "command_not_found", "names no command"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_run_that_cannot_start_says_why(case: SlurmCase, spec: RunSpec, detail: str, line: str) -> None:
    case.send(case.execution("a.1", spec))
    end = case.end("a.1")
    assert (end.outcome, end.detail, end.exit_code, end.started_us) == ("start_failed", detail, None, 0)
    assert line in case.log("a.1")


# ── gangs and GPUs ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_two_nodes_meet_by_the_rendezvous_variables(case: SlurmCase) -> None:
    case.send(case.execution("a.1", RunSpec(argv=("python3", "-c", MEET)), tasks=2))
    assert case.end("a.1").exit_code == 0, [case.log("a.1", rank) for rank in (0, 1)]
    assert case.log("a.1", 0) == "from 1 of 2\n"


MEET = """
import os, socket, time
at = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
if os.environ["RANK"] == "0":
    with socket.create_server(at) as server:
        print(server.accept()[0].makefile().read())
else:
    for _ in range(1000):
        try:
            with socket.create_connection(at) as connection:
                connection.sendall(f"from {os.environ['NODE_RANK']} of {os.environ['WORLD_SIZE']}".encode())
            break
        except ConnectionRefusedError:
            time.sleep(0.01)
"""


def test_the_first_task_that_fails_ends_the_gang_and_gives_its_exit_code(case: SlurmCase) -> None:
    case.script("a.1", '[ "$RANK" = 1 ] && exit 5; echo waiting; exec sleep 3600', tasks=3)
    end = case.end("a.1")
    assert (end.outcome, end.exit_code, end.signal) == ("exited", 5, None)


def test_a_gang_is_stopped_whole_and_may_save(case: SlurmCase) -> None:
    case.script("a.1", "trap 'echo saved; exit 0' TERM; echo ready; while :; do sleep 0.05; done", tasks=2)
    for rank in (0, 1):
        case.says("a.1", "ready", rank)
    case.send(stop("a.1"))
    assert case.end("a.1").outcome == "stopped"
    for rank in (0, 1):
        case.says("a.1", "saved", rank)


def test_runs_get_gpus_of_exactly_the_nodes_that_they_were_placed_on(case: SlurmCase) -> None:
    case.specs["show"] = RunSpec(script='echo "$SLURMD_NODENAME $CUDA_VISIBLE_DEVICES"; sleep 1')
    placed = {
        "a.1": (Task.of("aachen.n0003", range(6)),),
        "b.1": (Task.of("aachen.n0003", (6, 7)),),
        "c.1": (Task.of("aachen.n0001", range(8)), Task.of("aachen.n0004", range(8))),
    }
    for run, tasks in placed.items():
        order = case.execution(run, RunSpec(), tasks=len(tasks))
        asked = Resources(gpus=sum(len(task.gpus) for task in tasks), nodes=len(tasks))
        fields = {name: getattr(order, name) for name in order.__struct_fields__}
        case.send(type(order)(**{**fields, "tasks": tasks, "resources": asked, "spec": "show"}))
    ends = [case.end(run) for run in placed]
    assert [end.exit_code for end in ends] == [0, 0, 0]
    assert case.log("a.1").split()[0] == case.log("b.1").split()[0] == "n0003"
    seen = [set(case.log(run).split()[1].split(",")) for run in ("a.1", "b.1")]
    assert (len(seen[0]), len(seen[1]), seen[0] & seen[1]) == (6, 2, set())
    assert [case.log("c.1", rank).split() for rank in (0, 1)] == [
        ["n0001", "0,1,2,3,4,5,6,7"],
        ["n0004", "0,1,2,3,4,5,6,7"],
    ]
    assert max(end.started_us for end in ends) < min(end.at_us for end in ends), "they ran side by side"


# ── truth after trouble ───────────────────────────────────────────────────────────────────────────────────────────────
COUNT = 'echo began >> "$COUNTED"; echo ready; sleep 3'


def counted(case: SlurmCase, run: str, tmp_path: Path, script: str = COUNT) -> Path:
    """Sends a run that leaves a line in a file whenever it begins; the file."""
    file = tmp_path / f"{run}.began"
    case.send(case.execution(run, RunSpec(script=script, envs={"COUNTED": str(file)})))
    return file


def test_a_job_that_slurm_acknowledged_and_lost_is_submitted_again_and_runs_once(
    case: SlurmCase, cluster: Cluster, tmp_path: Path
) -> None:
    """kill -9 of slurmctld right after it took them, before it saved its state."""
    files = [counted(case, f"a-{n}.1", tmp_path, COUNT.replace("sleep 3", "sleep 0.1")) for n in range(40)]
    eventually(lambda: case.jobs(), "the first was taken")
    cluster.kill("slurmctld")
    cluster.start_controller()
    for n, file in enumerate(
        files
    ):  # what began and was not saved is killed by Slurm, when it does not know it
        assert case.end(f"a-{n}.1").outcome in ("exited", "lost")
        assert file.read_text() == "began\n"


def test_a_job_submitted_twice_begins_once(case: SlurmCase, tmp_path: Path) -> None:
    """As if the answer to a submission was lost: the same script is in Slurm twice."""
    file = counted(case, "a.1", tmp_path)
    case.says("a.1", "ready")
    (name,) = set(case.jobs())
    (folder,) = (case.folder / "a.1").iterdir()
    job = case.cluster.ask("squeue", "-h", "-o", "%i").strip()
    script = case.cluster.ask("scontrol", "write", "batch_script", job, "-")
    copy = tmp_path / "copy.sh"
    copy.write_text(script)
    case.cluster.ask("sbatch", "-J", name, "-o", "/dev/null", str(copy))
    assert case.end("a.1").outcome == "exited"
    eventually(lambda: not case.jobs(), "the copy is over, too")
    assert file.read_text() == "began\n"
    assert folder.exists()


def test_a_node_that_slurm_drained_for_a_job_id_of_its_own_serves_again(case: SlurmCase) -> None:
    case.cluster.ask("scontrol", "update", "NodeName=n0001", "State=DRAIN", "Reason=Duplicate jobid")
    case.cluster.until(
        lambda: "idle" in case.cluster.ask("sinfo", "-h", "-n", "n0001", "-o", "%T"), "n0001 serves again"
    )


def test_found_a_list_that_is_older_than_the_start_of_a_run_does_not_fence_it(
    case: SlurmCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine: it was listed as pending, and had begun when the answer came."""
    jobs, late = Commands.jobs, []

    def answer(self: Commands, partitions: Sequence[str], users: Sequence[str] = ()) -> list[Listed]:
        listed = jobs(self, partitions, users)
        if listed and not late:
            eventually(
                lambda: any(os.path.islink(one / "claim") for one in (case.folder / "a.1").iterdir()),
                "it begins",
            )
            late.extend(Listed(one.job, "PENDING", one.reason, one.name) for one in listed)
            return late
        return listed

    monkeypatch.setattr(Commands, "jobs", answer)
    case.script("a.1", "sleep 2")
    assert case.end("a.1").outcome == "exited"
    assert late


def test_a_run_that_was_stopped_before_slurm_started_it_never_begins(case: SlurmCase, tmp_path: Path) -> None:
    case.cluster.ask("scontrol", "update", f"PartitionName={PARTITION}", "State=DOWN")
    try:
        file = counted(case, "a.1", tmp_path)
        eventually(lambda: case.jobs(), "it waits in Slurm")
        case.send(stop("a.1"))
        assert case.end("a.1").outcome == "stopped"
    finally:
        case.cluster.ask("scontrol", "update", f"PartitionName={PARTITION}", "State=UP")
    eventually(lambda: not case.jobs(), "Slurm has forgotten it")
    assert not file.exists()


def test_what_slurm_runs_for_us_and_the_journal_does_not_know_is_stopped(
    case: SlurmCase, tmp_path: Path
) -> None:
    known = case.script("a.1", "echo ready; exec sleep 3600")
    case.script("b.1", "echo ready; exec sleep 3600")
    for run in ("a.1", "b.1"):
        case.says(run, "ready")
    case.cluster.ask("sbatch", "-J", "somebody-elses", "-o", "/dev/null", "--wrap", "sleep 3600")
    case.restart(known)
    eventually(lambda: len(case.jobs()) == 2, "one of three is stopped")
    assert "somebody-elses" in case.jobs()
    case.start("a.1")


def test_a_killed_slurmd_loses_the_gang_ends_its_processes_and_is_reported_first(
    case: SlurmCase, cluster: Cluster
) -> None:
    case.script("a.1", "echo pid $$; exec sleep 3600", tasks=2)
    pids = [int(case.says("a.1", "pid", rank).split()[1]) for rank in (0, 1)]
    begun = time.monotonic()
    cluster.kill("slurmd-n0001")
    try:
        end = case.end("a.1")
        assert (end.outcome, end.exit_code) == ("lost", None)
        assert time.monotonic() - begun < 60
        eventually(lambda: not any(alive(pid) for pid in pids), "no process of it lives")
    finally:
        cluster.start_node("n0001")
        cluster.until(
            lambda: "idle" in cluster.ask("sinfo", "-h", "-n", "n0001", "-o", "%T"), "n0001 is back"
        )


def test_without_slurmrestd_runs_wait_and_nothing_is_lost(
    case: SlurmCase, cluster: Cluster, tmp_path: Path
) -> None:
    cluster.kill("slurmrestd")
    file = counted(case, "a.1", tmp_path, "echo began >> $COUNTED")
    time.sleep(1)
    cluster.start_rest()
    assert case.end("a.1").outcome == "exited"
    assert file.read_text() == "began\n"


# ── switches and parts ────────────────────────────────────────────────────────────────────────────────────────────────
def test_runs_go_to_the_smallest_partition_that_has_their_nodes_and_switches_become_domains(
    tmp_path: Path,
) -> None:
    with running(leaf=2) as switched:
        case = SlurmCase(switched, tmp_path, parts=("leaf*",))
        try:
            case.script("a.1", "sleep 2")  # n0001
            case.script("b.1", "sleep 2", tasks=2)  # n0002, n0003
            eventually(lambda: len(case.jobs()) == 2, "both are there")
            parts = dict(line.split() for line in switched.ask("squeue", "-h", "-o", "%j %P").splitlines())
            assert {name[:3]: part for name, part in parts.items()} == {"a.1": "leaf0", "b.1": "main"}
            assert case.end("a.1").outcome == case.end("b.1").outcome == "exited"
            assert case.site_added is not None
            assert case.site_added.levels == ("rack",)
        finally:
            case.close()


# ── the site ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def engine_of(case: SlurmCase, **changes: object) -> SlurmEngine:
    """Another engine, beside that of the case."""
    slurm = SlurmSite(
        **{
            "conf": case.cluster.conf,
            "rest": case.cluster.rest,
            "folder": case.folder.parent / "others",
            "partition": PARTITION,
            **changes,
        }  # type: ignore[arg-type]
    )
    around = Surroundings(lambda name: None, lambda *_: None, lambda: None, "another journal")
    return SlurmEngine(Place("berlin", DIRECTED, slurm, around), Pace(jobs=0.1, nodes=0.2))


def test_nodes_are_discovered_and_their_drains_and_failures_seen(case: SlurmCase) -> None:
    seen: list[object] = []
    engine = engine_of(case)

    def look(count: int) -> list[object]:
        def enough() -> bool:
            seen.extend(engine.take(0))
            return len(seen) >= count

        eventually(enough, f"{count} observations")
        return seen

    try:
        site, *nodes = look(5)
        assert site == SiteAdded("berlin", "slurm")
        assert nodes[0] == NodeAdded("berlin.n0001", "berlin", 8, 64_000, 512_000, "h100", "")
        case.cluster.ask("scontrol", "update", "NodeName=n0002", "State=DRAIN", "Reason=test")
        assert look(6)[5] == NodeRemoved("berlin.n0002")
        case.cluster.ask("scontrol", "update", "NodeName=n0002", "State=RESUME")
        assert isinstance(look(7)[6], NodeAdded)
        case.cluster.ask("scontrol", "update", "NodeName=n0003", "State=DOWN", "Reason=test")
        assert look(8)[7] == NodeRemoved("berlin.n0003", failed=True)
    finally:
        case.cluster.ask("scontrol", "update", "NodeName=n[0002-0003]", "State=RESUME")
        engine.close()


def test_a_run_whose_node_left_service_before_it_began_is_given_back_and_never_begins(
    case: SlurmCase, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    case.cluster.ask("scontrol", "update", "NodeName=n0001", "State=DRAIN", "Reason=test")
    try:
        order = case.script("a.1", f"touch {ran}")
        end = case.end("a.1")
        assert (end.outcome, end.started_us, case.starts("a.1")) == ("lost", 0, [])
    finally:
        case.cluster.ask("scontrol", "update", "NodeName=n0001", "State=RESUME")
    case.restart(order)  # before its report reached the journal
    again = case.end("a.1")
    assert (again.outcome, again.started_us) == ("lost", 0)
    case.script("b.1", "true")
    assert case.end("b.1").exit_code == 0
    assert not ran.exists()
    eventually(lambda: not case.jobs(), "Slurm has forgotten it")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"conf": Path("/nonexistent/slurm.conf")}, "slurm.conf"),
        ({"rest": "unix:/nonexistent/rest.sock"}, "slurmrestd does not answer"),
        ({"partition": "nowhere"}, "no partition nowhere; it has main"),
        ({"parts": ("leaf*",)}, "no partition leaf*"),
        ({"folder": Path("/proc/nowhere")}, "/proc/nowhere"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_site_that_cannot_be_used_says_why_and_goes_on_trying(
    case: SlurmCase, changes: dict[str, object], says: str
) -> None:
    engine = engine_of(case, **changes)
    try:
        eventually(lambda: says in engine.health.error, f"{says}: {engine.health.error}")
        assert engine.take(0) == []
    finally:
        engine.close()


def test_a_wrong_or_expired_token_is_named_and_a_new_one_is_taken_without_a_restart(
    case: SlurmCase, cluster: Cluster, tmp_path: Path
) -> None:
    url = cluster.start_rest_with_tokens()
    token = tmp_path / "token"
    token.write_text(cluster.token(lives_s=-60))
    engine = engine_of(case, rest=url, token_file=token)
    try:
        eventually(lambda: "token" in engine.health.error, "the token is refused")
        token.write_text(cluster.token())
        eventually(lambda: engine.health.nodes == 4, "the site is well")
    finally:
        engine.close()
        cluster.kill("slurmrestd-jwt")


def test_two_control_planes_on_one_folder_are_told(case: SlurmCase) -> None:
    engine = engine_of(case, folder=case.folder)
    try:
        eventually(lambda: "belongs to another control plane" in engine.health.error, "it is refused")
    finally:
        engine.close()


def test_secrets_reach_the_tasks_and_stay_nowhere(case: SlurmCase) -> None:
    case.secrets["acme", "p", "key@1"] = "s3cret 'quoted' \n line"
    spec = RunSpec(script='printf %s "$KEY"; ls -a ..; exec sleep 1', secrets={"KEY": "key@1"})
    case.send(case.execution("a.1", spec, tasks=2))
    assert case.end("a.1").exit_code == 0
    for rank in (0, 1):
        assert case.log("a.1", rank).startswith(case.secrets["acme", "p", "key@1"])
        assert "secrets" not in case.log("a.1", rank)
