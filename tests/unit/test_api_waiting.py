# SPDX-License-Identifier: Apache-2.0
"""What the API promises about jobs that wait for a time, for others or for people, and arrays and alternatives."""

import json
from pathlib import Path
from typing import Any

import pytest

from leitstand.api import decode
from leitstand.api.jobs.jobrequest import JobRequest, observation
from leitstand.api.problems import Problem
from leitstand.core.facts import Dependency, Resources
from leitstand.core.units import HOUR_US, SECOND_US
from tests.unit.faces_story import Plant, problem

NOON_US = 1_772_366_400 * SECOND_US  # 2026-03-01T12:00:00Z


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


def decoded(**body: Any) -> JobRequest:
    return decode.body(json.dumps({"run": ["true"], **body}).encode(), JobRequest)


def fault(**body: Any) -> str:
    with pytest.raises(Problem) as caught:
        decoded(**body)
    (only,) = caught.value.more["errors"]
    return f"{only.where} {only.what}"


def test_a_job_waits_held_is_released_and_can_be_held_again(plant: Plant) -> None:
    made = plant.submit(held=True).json()
    assert (made["state"], made["reason"], made["held"]) == ("pending", "held", True)
    assert made["message"] == "is held: it waits until somebody releases it"
    released = plant.ask("POST", f"/v1/jobs/{made['id']}/release")
    assert (released.status_code, released.json()["held"]) == (200, False)
    running = plant.ask("POST", f"/v1/jobs/{made['id']}/hold")
    assert "only one that waits is held" in problem(running, 409, "conflict")["detail"]
    problem(plant.ask("POST", "/v1/jobs/operator-99/hold"), 404, "unknown-job")


def test_a_job_waits_for_a_time_and_for_other_jobs(plant: Plant) -> None:
    first = plant.submit().json()
    later = plant.submit(begin="2h", deadline="300h", after=[f"{first['id']}:any"]).json()
    assert later["reason"] == "begin_time"
    assert later["after"] == [f"{first['id']}:any"]
    assert later["begin_at"] < later["deadline"]
    assert plant.submit(after=[first["id"]]).json()["reason"] == "dependency"
    refused = problem(plant.submit(after=["operator-77:failed"]), 422, "unknown_dependency")
    assert "waits for job number 77 of its tenant, which is not there" in refused["detail"]
    refused = problem(plant.submit(max_duration="2h", deadline="1h"), 422, "deadline")
    assert "asks for 2h; before its deadline are " in refused["detail"]


def test_the_plan_of_a_job_knows_what_it_would_wait_for(plant: Plant) -> None:
    body = {"run": ["true"], "begin": "1h"}
    assert plant.ask("POST", "/v1/plan", json=body).json()["waits_for"] == "begin_time"


def test_an_array_is_one_submission_whose_key_covers_all_of_it(plant: Plant) -> None:
    made = plant.submit(array=3, key="k").json()
    assert made["array"] == {"id": made["id"], "index": 0, "size": 3}
    assert plant.submit(array=3, key="k").json()["id"] == made["id"]
    listed = plant.ask("GET", "/v1/jobs").json()["items"]
    assert [one["array"]["index"] for one in listed] == [2, 1, 0]
    assert {one["name"] for one in listed} == {made["name"]}


def test_what_is_asked_for_arrives_in_the_core() -> None:
    asked = decoded(
        num_nodes=2,
        num_nodes_max=4,
        elastic=True,
        resources={
            "accelerators": ["B200:8", "H200:8", "GPU:4"],
            "topology": {"required": "rack", "preferred": "block", "slice_level": "rack", "slice_nodes": 2},
        },
        begin="2026-03-01T13:00:00+01:00",
        deadline="2h",
        after=["acme-1", "acme-2:failed"],
        held=True,
        array=5,
    )
    seen = observation(asked, lambda: 1000, NOON_US)
    where = (0, "rack", "block", 2, "rack", 4)
    assert seen.resources == Resources(16, 2, 0, 0, "B200", *where)
    assert seen.alternatives == (
        Resources(16, 2, 0, 0, "H200", *where),
        Resources(8, 2, 0, 0, "", *where),
    )
    assert (seen.begin_us, seen.deadline_us) == (NOON_US, NOON_US + 2 * HOUR_US)
    assert seen.after == (Dependency("acme-1"), Dependency("acme-2", "failed"))
    assert (seen.held, seen.array, seen.elastic) == (True, 5, True)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("H100", Resources(1, 1, gpu_type="H100")),
        ("2", Resources(2)),
        ("H100:0.5", Resources(0, 1, gpu_type="H100", gpu_milli=500)),
        ("0.25", Resources(0, 1, gpu_milli=250)),
        ("gpu:1", Resources(1)),
        ("H100:3g.40gb", Resources(0, 1, gpu_type="H100", mig="3g.40gb")),
        ("1G.10GB+ME", Resources(0, 1, mig="1g.10gb+me")),
        ("GPU:2g.20gb:1", Resources(0, 1, mig="2g.20gb")),
    ],
)
def test_accelerators_are_a_type_and_a_count_or_part_of_one(text: str, shape: Resources) -> None:
    assert observation(decoded(resources={"accelerators": [text]}), lambda: 1000, 0).resources == shape


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"begin": "soon"}, "/begin 'soon' is neither a time"),
        (
            {"resources": {"accelerators": ["H100:3g.40gb:2"]}},
            "a task has one MIG instance: H100:3g.40gb, and num_nodes",
        ),
        ({"resources": {"accelerators": ["H100:3g"]}}, "write it like H100:8, H100:0.5, H100:3g.40gb or 8"),
        ({"begin": "2026-03-01T08:00:00"}, "/begin '2026-03-01T08:00:00' is not a time with its zone"),
        ({"deadline": "2026-13-01T08:00:00Z"}, "/deadline '2026-13-01T08:00:00Z' is not a time"),
        ({"after": ["acme"]}, "/after has 'acme'; write it like acme-42"),
        ({"after": ["acme-1:soon"]}, "/after has 'acme-1:soon'"),
        ({"after": ["acme-1"] * 101}, "/after names 101 jobs; the limit is 100"),
        ({"after": ["acme-1"] * 100, "array": 1001}, "/after names 100 jobs for 1001"),
        ({"array": 10_001}, "/array is 10001; the limits are 0 to 10000"),
        ({"num_nodes": 3, "num_nodes_max": 2}, "/num_nodes_max is 2, less than num_nodes"),
        (
            {"elastic": True, "resources": {"gpus": 1}},
            "/elastic needs num_nodes_max above num_nodes, which is 1",
        ),
        ({"elastic": True, "num_nodes_max": 2}, "/elastic needs whole GPUs on each node"),
        ({"resources": {"accelerators": ["H100:1.5"]}}, "/resources/accelerators has 'H100:1.5'"),
        ({"resources": {"accelerators": ["H100:0"]}}, "/resources/accelerators has 'H100:0'"),
        ({"resources": {"accelerators": ["0.0001"]}}, "the smallest part of a GPU is 0.001"),
        ({"resources": {"accelerators": ["a b:1"]}}, "/resources/accelerators has 'a b:1'; write it like"),
        ({"resources": {"accelerators": ["1"] * 10}}, "/resources/accelerators has 10 alternatives"),
        ({"resources": {"accelerators": ["1"], "gpus": 1}}, "is given beside gpus"),
        (
            {"resources": {"topology": {"slice_nodes": 2}}},
            "/resources/topology/slice_nodes needs slice_level",
        ),
        ({"resources": {"topology": {"required": "a b"}}}, "/resources/topology/required is 'a b'"),
    ],
)
def test_what_is_wrong_is_named_with_its_place_and_limit(body: dict[str, Any], said: str) -> None:
    assert said in fault(**body)
