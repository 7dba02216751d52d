# SPDX-License-Identifier: Apache-2.0
"""What the API promises about secrets of jobs, and about what was planned: kept nowhere else, submitted as seen."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from leitstand.core.facts import NodeAdded, TenantAdded
from leitstand.core.places.mig import Mig, Partition
from leitstand.runtime.spec import RunSpec
from tests.unit.faces_story import Plant, problem


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


# ── secrets ───────────────────────────────────────────────────────────────────────────────────────────────────────
PLANTED = "planted-" + "s3cret" * 3


def spec_of(plant: Plant, job: str = "operator-1") -> RunSpec:
    found = plant.faces.records.get(plant.faces.follower.state.jobs[job].spec)
    assert found is not None
    return found


def test_references_are_settled_to_the_version_of_now(plant: Plant) -> None:
    secrets = plant.faces.secrets
    for value in ("one", "two"):
        secrets.put("operator", "default", "hf", value)
    secrets.put("operator", "default", "TOKEN", "x")
    asked = {"A": "hf", "B": "hf@1", "TOKEN": None}
    assert plant.submit(secrets=asked).status_code == 201
    secrets.put("operator", "default", "hf", "three")
    assert spec_of(plant).secrets == {"A": "hf@2", "B": "hf@1", "TOKEN": "TOKEN@1"}


def test_secrets_that_are_not_there_are_all_named_and_nothing_is_submitted(plant: Plant) -> None:
    plant.writer.cycle(TenantAdded("acme"))
    plant.faces.secrets.put("acme", "default", "theirs", "x")
    plant.faces.secrets.put("operator", "default", "hf", "x")
    head = plant.writer.journal.head
    asked = {"A": "theirs", "B": "hf@7", "C": None, "D": "hf", "E": "a" * 40}
    for path in ("/v1/jobs", "/v1/plan"):
        body = {"run": ["true"], "secrets": asked}
        refused = problem(plant.ask("POST", path, json=body), 400, "unknown-secret")
        assert {error["where"]: error["what"].partition(", which")[0] for error in refused["errors"]} == {
            "/secrets/A": "names secret 'theirs'",
            "/secrets/B": "names secret 'hf', version 7",
            "/secrets/C": "names secret 'C'",
            "/secrets/E": "names secret 'aaaa…'",  # so long a name may be the secret itself
        }
    assert plant.writer.journal.head == head


def test_values_for_one_job_are_kept_sealed_and_shown_nowhere(plant: Plant, tmp_path: Path) -> None:
    answer = plant.submit(secret_values={"PASSWORD": PLANTED}, key="k")
    assert answer.status_code == 201
    reference = spec_of(plant).secrets["PASSWORD"]
    assert plant.faces.secrets.read("operator", "default", reference) == PLANTED
    shown = [answer.text, *(plant.ask("GET", path).text for path in ("/v1/jobs", "/v1/jobs/operator-1"))]
    journal = b"".join(body for _, _, body, _ in plant.writer.journal.rows(0)).decode()
    assert not [text for text in (*shown, journal) if PLANTED in text or reference in text]
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or PLANTED.encode() not in path.read_bytes()


def kept(plant: Plant) -> int:
    """How many values of single jobs the store holds."""
    rows = plant.faces.secrets._tables.read("SELECT count(*) FROM secrets WHERE substr(name, 1, 1) = '~'")
    return int(rows[0][0])


def test_values_for_a_job_that_does_not_come_to_be_are_forgotten(plant: Plant) -> None:
    values = {"PASSWORD": PLANTED}
    problem(plant.submit(secret_values=values, resources={"gpus": 99}), 422, "no_such_capacity")
    problem(plant.submit(secret_values=values, project="nope"), 404, "unknown-project")
    assert kept(plant) == 0
    for _ in range(2):
        assert plant.submit(secret_values=values, key="k").json()["id"] == "operator-2"
    assert kept(plant) == 1
    problem(plant.submit(secret_values={"PASSWORD": "other"}, key="k"), 409, "request-reused")
    assert kept(plant) == 1


def test_a_secret_store_without_its_key_says_so_without_a_trace(plant: Plant, tmp_path: Path) -> None:
    plant.faces.secrets.put("operator", "default", "hf", "x")
    (tmp_path / "keys" / "secrets.key").rename(tmp_path / "away")
    refused = problem(plant.submit(secret_values={"PASSWORD": PLANTED}), 503, "storage-away")
    assert "key" in refused["detail"]
    assert str(tmp_path) not in str(refused)


# ── plan and apply ────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_was_planned_is_what_is_submitted_or_nothing(plant: Plant) -> None:
    def apply(expected: str, **more: Any) -> httpx2.Response:
        return plant.ask("POST", "/v1/jobs", json={**body, **more}, headers={"If-Match": expected})

    body = {"run": ["true"], "resources": {"gpus": 4}, "secret_values": {"PASSWORD": PLANTED}}
    planned = plant.ask("POST", "/v1/plan", json=body).json()
    assert planned["price"] == {"eur": None, "note": "no price plan is in force"}
    expected = f'"{planned["expected"]}"'
    problem(apply(expected, name="another"), 412, "plan-changed")
    problem(apply(expected, secret_values={"PASSWORD": "another"}), 412, "plan-changed")
    assert apply(expected).status_code == 201
    assert apply(f'"old", {expected}').status_code == 201  # another place, the same outcome
    before = plant.writer.journal.head
    problem(apply(expected), 412, "plan-changed")  # it would wait now
    assert (plant.writer.journal.head, kept(plant)) == (before, 2)
    assert apply("*").status_code == 201
    problem(apply(expected, tenant="nobody"), 422, "unknown-tenant")


def test_a_retry_of_what_was_planned_is_the_same_job_although_the_plan_is_another_now(plant: Plant) -> None:
    body = {"run": ["true"], "resources": {"gpus": 4}, "num_nodes": 2}
    expected = plant.ask("POST", "/v1/plan", json=body).json()["expected"]
    headers = {"If-Match": f'"{expected}"', "Idempotency-Key": "k"}
    ids = [plant.ask("POST", "/v1/jobs", json=body, headers=headers).json()["id"] for _ in range(2)]
    assert ids == ["operator-1", "operator-1"]


# ── MIG instances ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_mig_profile_that_no_gpu_has_is_refused_with_those_there_are(plant: Plant) -> None:
    for ask in (plant.submit, lambda **body: plant.ask("POST", "/v1/plan", json={"run": ["true"], **body})):
        said = problem(ask(resources={"accelerators": ["H100:3g.41gb"]}), 400, "invalid-request")
        (fault,) = said["errors"]
        assert fault["where"] == "/resources/accelerators"
        assert fault["what"].startswith("H100 has no MIG profile '3g.41gb'; there are 1g.10gb, ")
    assert not plant.writer.core.state.jobs


def test_where_no_gpu_is_in_mig_mode_that_is_said_and_what_gpus_here_have(plant: Plant) -> None:
    asked = {"resources": {"accelerators": ["3g.40gb"]}}
    said = problem(plant.submit(**asked), 422, "no_such_capacity")
    assert "asks for a MIG profile that no GPU where it may run can be cut into" in said["detail"]
    assert said["hint"] == "MIG profiles that GPUs here have: none"
    plant.writer.cycle(
        NodeAdded("a30", "here", 1, 8000, 0, "NVIDIA A30", mig=Mig(fixed=(Partition(0, ("2g.12gb@2",)),)))
    )
    assert problem(plant.submit(**asked), 422, "no_such_capacity")["hint"].endswith("have: 2g.12gb")


def test_an_instance_is_shown_with_its_gpu_its_slices_and_what_else_fits(plant: Plant) -> None:
    plant.writer.cycle(NodeAdded("h100", "here", 2, 8000, 0, "NVIDIA H100 80GB HBM3", mig=Mig(True)))
    job = plant.submit(resources={"accelerators": ["H100:3g.40gb"]}).json()
    assert job["runs"][0]["tasks"] == [{"node": "h100", "gpus": [0], "slices": "4-7/8"}]
    node = next(one for one in plant.ask("GET", "/v1/nodes").json()["items"] if one["id"] == "h100")
    assert (node["gpus"], node["gpus_free"]) == (2, 1)
    assert (node["mig"]["3g.40gb"], node["mig"]["7g.80gb"], node["mig"]["1g.10gb"]) == (3, 1, 11)
