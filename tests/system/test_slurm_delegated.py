# SPDX-License-Identifier: Apache-2.0
"""A real Slurm with a queue and users of its own: our jobs wait there among theirs, and what it says is reported."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from leitstand.core.facts import Resources, Task
from leitstand.engines.slurm.commands import Commands
from leitstand.runtime.ports import StopRun
from leitstand.runtime.spec import RunSpec
from tests.conformance.engine_cases import DelegatedCase, eventually
from tests.slurm import Cluster, running

pytestmark = pytest.mark.system
US = 1_000_000


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(nodes=2, extra="SchedulerParameters=bf_interval=1") as made:
        yield made


@pytest.fixture
def case(cluster: Cluster, tmp_path: Path) -> Iterator[DelegatedCase]:
    opened = DelegatedCase(cluster, tmp_path)
    yield opened
    opened.close()


def theirs(cluster: Cluster, seconds: int, minutes: int = 5) -> None:
    """A job of somebody else takes the whole partition."""
    script = f"--wrap=sleep {seconds}"
    cluster.ask(
        "sbatch", "-N2", "--exclusive", f"--time={minutes}", "-J", "theirs", "-o", "/dev/null", script
    )
    cluster.until(lambda: "theirs" in cluster.ask("squeue", "-h", "-t", "R", "-o", "%j"), "their job runs")


def test_a_run_waits_among_the_jobs_of_others_says_why_and_runs_when_its_queue_says_so(
    case: DelegatedCase,
) -> None:
    theirs(case.cluster, 4)
    asked_us = time.time_ns() // 1000
    order = case.execution("a.1", RunSpec(script='echo "$LEITSTAND_SITE $CUDA_VISIBLE_DEVICES"'), tasks=2)
    whole = tuple(Task.of(task.node, range(8)) for task in order.tasks)
    order = replace(order, tasks=whole, resources=Resources(gpus=16, nodes=2))
    case.send(order)
    case.until(lambda: any(said.start_us for said in case.queued), "an expected start")
    assert {said.run for said in case.queued} == {"a.1"}
    assert {said.reason for said in case.queued} <= {"", "Resources", "Priority"}
    assert case.queued[-1].start_us > asked_us
    end = case.end("a.1")
    assert (end.outcome, end.exit_code) == ("exited", 0)
    assert case.starts("a.1")[0].at_us >= asked_us + 2 * US
    assert case.log("a.1", 1) == "aachen 0,1,2,3,4,5,6,7\n"


def test_what_waits_there_is_cancelled_before_it_begins(case: DelegatedCase, tmp_path: Path) -> None:
    theirs(case.cluster, 60)
    case.script("a.1", f"touch {tmp_path}/ran")
    case.until(lambda: bool(case.queued), "its queue says why it waits")
    case.send(StopRun("a.1", "cancel"))
    end = case.end("a.1")
    assert (end.outcome, end.started_us) == ("stopped", 0)
    eventually(lambda: "a.1" not in " ".join(case.jobs()), "Slurm has forgotten it")
    assert not (tmp_path / "ran").exists()


def test_what_waits_there_is_found_again_and_jobs_of_others_are_left_alone(case: DelegatedCase) -> None:
    theirs(case.cluster, 3)
    order = case.script("a.1", "echo once")
    case.until(lambda: bool(case.queued), "its queue says why it waits")
    case.restart(order)
    assert case.end("a.1").exit_code == 0
    assert case.log("a.1") == "once\n"
    theirs(case.cluster, 2)
    case.restart()
    time.sleep(1)
    assert "theirs" in case.jobs()


def test_a_site_is_asked_by_a_token_where_there_is_no_secret_of_the_cluster(case: DelegatedCase) -> None:
    token = case.folder.parent / "token"
    token.write_text(case.cluster.token())
    asked = Commands(case.cluster.conf, token_file=token)
    assert [node.name for node in asked.nodes("main")] == case.cluster.names()
    token.write_text(case.cluster.token(lives_s=-60))
    with pytest.raises(OSError, match="asked with the token in "):
        asked.nodes("main")
