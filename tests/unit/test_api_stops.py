# SPDX-License-Identifier: Apache-2.0
"""Why was I preempted: what the API tells of runs that were stopped for other jobs, and to whom."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from leitstand.access.tokens import digest
from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.rules import Rules, Sharing
from leitstand.core.units import HOUR_US, SECOND_US
from tests.unit.faces_story import Plant

RULES = Rules(discipline="fair", sharing=Sharing(protected_us=0, grace_us=SECOND_US, stop_us=SECOND_US))
OWNER = "a token of somebody in acme"


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """One node of 4 GPUs in a pool of its own; acme and beta are industry, uni is research."""
    plant = Plant(tmp_path)
    cycle(
        plant,
        f.RulesSet(RULES, ""),
        f.NodeRemoved("node-1"),
        f.NodeRemoved("node-2"),
        f.TenantAdded("acme"),
        f.TenantAdded("beta"),
        f.TenantAdded("uni", "research"),
        a.ProjectAdded("acme", "vision"),
        f.SiteAdded("s", "simulated"),
        f.NodeAdded("n0", "s", 4, 64_000, 0),
    )
    return plant


def cycle(plant: Plant, *seen: f.Observation) -> None:
    plant.writer.cycle(*seen)
    refused = [answer for answer in plant.writer.core.answers if answer.refused]
    assert refused == []


def submit(plant: Plant, tenant: str, gpus: int = 4, project: str = "default", **more: Any) -> str:
    cycle(plant, f.SubmitJob(tenant, project, f.Resources(gpus), **more))
    return plant.writer.core.answers[0].made


def start(plant: Plant, run: str) -> None:
    cycle(plant, f.RunStarted(run, plant.writer.now))


def entitle(plant: Plant, *entitled: a.Entitlement) -> None:
    cycle(plant, a.EntitlementsChanged("shared", entitled))


def told(plant: Plant, job: str, token: str = "") -> list[dict[str, Any]]:
    answer = plant.ask("GET", f"/v1/jobs/{job}/explanation", **({"token": token} if token else {}))
    assert answer.status_code == 200, answer.text
    return list(answer.json()["stops"])


def stopped(plant: Plant, run: str) -> None:
    cycle(plant, f.RunEnded(run, plant.writer.now, "stopped"))


def kinds(stop: dict[str, Any]) -> list[tuple[str, int, str]]:
    return [(one["kind"], one["value"], one["node"]) for one in stop["protections"]]


def token_of(plant: Plant, tenant: str) -> str:
    """A token of somebody who may read the jobs of one tenant."""
    cycle(plant, a.UserAdded(""))
    user = plant.writer.core.answers[0].made
    cycle(plant, a.RoleGranted(user, "tenant_admin", tenant))
    cycle(plant, a.TokenIssued("", user, digest(OWNER), plant.writer.now + HOUR_US))
    return OWNER


def test_a_job_that_was_never_stopped_for_another_has_no_such_story(plant: Plant) -> None:
    job = submit(plant, "acme")
    start(plant, f"{job}.1")
    assert told(plant, job) == []
    cycle(plant, f.CancelJob(job))
    assert told(plant, job) == []


def test_priority_in_the_own_project(plant: Plant) -> None:
    job = submit(plant, "acme", checkpoint_every_us=4 * SECOND_US)
    start(plant, f"{job}.1")
    plant.writer.now += 5 * SECOND_US
    other = submit(plant, "acme", priority=3)
    (stop,) = told(plant, job)
    assert (stop["run"], stop["cause"], stop["job"]) == (f"{job}.1", "priority", other)
    assert (stop["whose"], stop["node"], stop["together"]) == ("own_project", "industry/acme/default", 1)
    assert (stop["lost_s"], stop["lost_gpu_s"]) == (None, None)
    assert kinds(stop) == [("priority", 3, "")]
    stopped(plant, f"{job}.1")
    (stop,) = told(plant, job)
    assert (stop["lost_s"], stop["lost_gpu_s"]) == (
        3.0,
        12.0,
    )  # 7 s of work on 4 GPUs, a checkpoint after 4 s
    assert kinds(stop) == [("priority", 3, ""), ("checkpoint", 4 * SECOND_US, "")]
    assert stop["message"] == (
        f"was stopped: a job of the same project has a higher priority ({other}, industry/acme/default); of the runs "
        "that may be taken it loses least; lost are 12 GPU-seconds of work"
    )


def test_the_story_stays_when_the_job_runs_again_and_has_ended(plant: Plant) -> None:
    job = submit(plant, "acme")
    start(plant, f"{job}.1")
    other = submit(plant, "acme", priority=1)
    stopped(plant, f"{job}.1")
    start(plant, f"{other}.1")
    cycle(plant, f.RunEnded(f"{other}.1", plant.writer.now, "exited", 0))
    start(plant, f"{job}.2")
    assert [stop["run"] for stop in told(plant, job)] == [f"{job}.1"]
    cycle(plant, f.RunEnded(f"{job}.2", plant.writer.now, "exited", 0))
    assert [stop["run"] for stop in told(plant, job)] == [f"{job}.1"]
    third = submit(plant, "acme")
    start(plant, f"{third}.1")
    assert told(plant, third) == []


def recalled(plant: Plant, entitled: Sequence[a.Entitlement], owner: str) -> tuple[str, str]:
    """A job of acme, and one of `owner` that calls back what it is guaranteed."""
    entitle(plant, *entitled)
    jobs = [submit(plant, "acme", 2) for _ in range(2)]
    for job in jobs:
        start(plant, f"{job}.1")
    return jobs[0], submit(plant, owner)


def test_a_guarantee_of_another_class_is_called_back(plant: Plant) -> None:
    job, other = recalled(
        plant, [a.Entitlement("research", 4000), a.Entitlement("research/uni", 4000),
                a.Entitlement("research/uni/default", 4000)], "uni",
    )  # fmt: skip
    (stop,) = told(plant, job)
    assert (stop["cause"], stop["job"], stop["whose"]) == ("recall", other, "other_tenant")
    assert (stop["node"], stop["together"]) == ("research", 2)
    assert kinds(stop) == [("guarantee", 0, "industry/acme/default")]


def test_who_may_not_see_the_other_job_learns_neither_its_id_nor_its_tenant(plant: Plant) -> None:
    job, other = recalled(
        plant,
        [a.Entitlement("industry", 4000), a.Entitlement("industry/beta", 4000),
         a.Entitlement("industry/beta/default", 4000)],
        "beta",
    )  # fmt: skip
    (stop,) = told(plant, job)
    assert (stop["job"], stop["node"]) == (other, "industry/beta")
    token = token_of(plant, "acme")
    answer = plant.ask("GET", f"/v1/jobs/{job}/explanation", token=token)
    assert "beta" not in answer.text
    (stop,) = answer.json()["stops"]
    assert (stop["job"], stop["whose"], stop["node"]) == ("", "other_tenant", "industry")
    assert "a job that you may not see" in stop["message"]


def test_another_project_of_the_tenant(plant: Plant) -> None:
    entitle(
        plant,
        a.Entitlement("industry", 4000),
        a.Entitlement("industry/acme", 4000),
        a.Entitlement("industry/acme/vision", 4000),
    )
    job = submit(plant, "acme")
    start(plant, f"{job}.1")
    other = submit(plant, "acme", project="vision")
    (stop,) = told(plant, job)
    assert (stop["job"], stop["whose"], stop["node"]) == (other, "own_tenant", "industry/acme/vision")


def test_only_the_latest_are_told(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leitstand.api.jobs.stops.STOPS_MAX", 2)
    job = submit(plant, "acme")
    for run in (1, 2, 3):
        start(plant, f"{job}.{run}")
        other = submit(plant, "acme", priority=1)
        stopped(plant, f"{job}.{run}")
        cycle(plant, f.RunEnded(f"{other}.1", plant.writer.now, "exited", 0))
    assert [stop["run"] for stop in told(plant, job)] == [f"{job}.3", f"{job}.2"]


def test_a_run_that_fails_with_its_node_was_stopped_for_nobody(plant: Plant) -> None:
    cycle(plant, f.NodeAdded("n1", "s", 4, 64_000, 0))
    cycle(plant, f.SubmitJob("acme", "default", f.Resources(8, 2)))
    job = plant.writer.core.answers[0].made
    start(plant, f"{job}.1")
    seq = plant.writer.journal.head.seq
    fact = f.RunStopOrdered(f"{job}.1", "node_failed")
    plant.writer.journal.append(plant.writer.journal.head, plant.writer.now, [fact])
    assert plant.writer.follower is not None
    plant.writer.follower.catch_up()
    assert plant.writer.journal.head.seq == seq + 1
    (stop,) = told(plant, job)
    assert (stop["cause"], stop["job"], stop["whose"], stop["node"]) == ("node_failed", "", "nobody", "")
    assert stop["message"] == "was stopped: a node of it failed"
    assert stop["protections"] == []


def test_a_run_is_not_taken_before_it_is_old_enough(plant: Plant) -> None:
    sharing = Sharing(protected_us=30 * SECOND_US, grace_us=SECOND_US, stop_us=SECOND_US)
    cycle(plant, f.RulesSet(Rules(discipline="fair", sharing=sharing), ""))
    job = submit(plant, "acme")
    start(plant, f"{job}.1")
    plant.writer.now += 60 * SECOND_US
    submit(plant, "acme", priority=1)
    (stop,) = told(plant, job)
    assert ("length", 30 * SECOND_US, "") in kinds(stop)
