# SPDX-License-Identifier: Apache-2.0
"""The health of nodes over HTTP: what is reported, shown and returned."""

from pathlib import Path
from typing import Any

import pytest

from leitstand.core import facts as f
from leitstand.engines import burnin
from tests.unit.faces_story import Plant, problem

WELL = {"state": "well", "cause": None, "since_at": None, "burn_in": "", "troubles": []}


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """node-1 and node-2 with 4 GPUs each."""
    return Plant(tmp_path)


def node(plant: Plant, name: str = "node-1") -> dict[str, Any]:
    return next(one for one in plant.ask("GET", "/v1/nodes").json()["items"] if one["id"] == name)


def report(plant: Plant, **body: Any) -> Any:
    return plant.ask("POST", "/v1/nodes/node-1/report", json=body)


def back(plant: Plant, **body: Any) -> Any:
    return plant.ask("POST", "/v1/nodes/node-1/return", json=body)


def test_a_node_of_which_nothing_was_reported_is_well(plant: Plant) -> None:
    assert node(plant)["health"] == WELL


def test_a_reported_gpu_error_drains_the_node_and_says_what_it_is(plant: Plant) -> None:
    said = report(plant, kind="xid", code=79, gpu=3, at="2001-01-01T00:00:00Z").json()
    assert said == node(plant)
    assert (said["in_service"], said["gpus_free"]) == (False, 0)
    health = said["health"]
    assert (health["state"], health["burn_in"]) == ("drained", "")
    cause = health["cause"]
    assert (cause["kind"], cause["code"], cause["gpu"], cause["verdict"]) == ("xid", 79, 3, "drain")
    assert cause["says"] == "the GPU fell off the bus"
    assert node(plant, "node-2")["health"] == WELL


def test_what_only_warns_leaves_the_node_in_service(plant: Plant) -> None:
    said = report(plant, kind="xid", code=94).json()
    assert (said["in_service"], said["health"]["state"]) == (True, "well")
    (warned,) = said["health"]["troubles"]
    assert (warned["gpu"], warned["verdict"]) == (None, "alert")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"kind": "fire"}, 400, "invalid-request"),
        ({"kind": "xid"}, 400, "invalid-request"),
        ({"kind": "nvlink", "code": 74}, 400, "invalid-request"),
        ({"kind": "xid", "code": 10_000}, 400, "invalid-request"),
        ({"kind": "operator", "gpu": 4}, 422, "invalid"),
        ({"gpus": 4}, 400, "invalid-request"),
    ],
)
def test_a_report_that_cannot_be_is_refused(
    plant: Plant, body: dict[str, Any], status: int, code: str
) -> None:
    assert problem(report(plant, **body), status, code)
    assert node(plant)["health"] == WELL


def test_nodes_that_are_not_there_are_named(plant: Plant) -> None:
    for path in ("/v1/nodes/nope/report", "/v1/nodes/nope/return"):
        assert problem(plant.ask("POST", path, json={}), 404, "unknown-node")


def test_a_repaired_node_gets_a_burn_in_of_the_operator_and_serves_after_it(plant: Plant) -> None:
    report(plant)
    said = back(plant).json()
    assert said["job"] == "operator-1"
    assert (said["node"]["health"]["state"], said["node"]["health"]["burn_in"]) == ("burn_in", "operator-1")
    assert said["node"]["runs"] == ["operator-1.1"]
    job = plant.ask("GET", "/v1/jobs/operator-1").json()
    assert (job["name"], job["resources"]["gpus"]) == ("burn-in node-1", 4)
    spec = plant.faces.records.get(plant.writer.core.state.jobs["operator-1"].spec)
    assert spec is not None
    assert spec.script == burnin.SCRIPT
    assert problem(back(plant), 409, "conflict")
    plant.writer.cycle(f.RunEnded("operator-1.1", plant.writer.now, "exited", 0, started_us=plant.writer.now))
    assert (node(plant)["in_service"], node(plant)["health"]["state"]) == (True, "well")


def test_a_failed_burn_in_leaves_the_node_drained(plant: Plant) -> None:
    report(plant)
    back(plant, max_duration_s=60)
    plant.writer.cycle(f.RunEnded("operator-1.1", plant.writer.now, "exited", 1, started_us=plant.writer.now))
    assert (node(plant)["in_service"], node(plant)["health"]["state"]) == (False, "drained")


def test_a_node_may_be_returned_without_a_burn_in(plant: Plant) -> None:
    assert problem(back(plant, burn_in=False), 409, "conflict")
    report(plant)
    assert back(plant, burn_in=False).json()["job"] == ""
    assert node(plant)["in_service"]


def test_the_operators_own_burn_in_takes_the_place_of_ours(plant: Plant, tmp_path: Path) -> None:
    own = tmp_path / "burn-in.sh"
    plant.faces.burn_in = own.read_text
    report(plant)
    assert problem(back(plant), 503, "storage-away")
    own.write_text("exit 0\n")
    back(plant)
    spec = plant.faces.records.get(plant.writer.core.state.jobs["operator-1"].spec)
    assert spec is not None
    assert spec.script == "exit 0\n"
