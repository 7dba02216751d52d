# SPDX-License-Identifier: Apache-2.0
"""What the API promises about maintenance: a dry run says whom a window meets, a refusal says why and until when."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from leitstand.core import facts as f
from leitstand.core.rules import Rules
from leitstand.core.units import HOUR_US
from tests.unit.faces_story import TOKEN, Plant, problem
from tests.unit.onboarding_story import person

WINDOWS = "/v1/maintenance"


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """node-1 and node-2 with 4 GPUs each, under fair; acme."""
    made = Plant(tmp_path)
    made.writer.cycle(f.RulesSet(Rules(discipline="fair"), ""))
    made.ask("POST", "/v1/tenants", json={"id": "acme"})
    return made


def hours(plant: Plant, count: float) -> str:
    return (datetime.fromtimestamp(plant.writer.now / 1e6, UTC) + timedelta(hours=count)).isoformat()


def plan(plant: Plant, token: str = TOKEN, **more: Any) -> Any:
    return plant.ask("POST", WINDOWS, token, json=more)


def window(plant: Plant, *nodes: str, **more: Any) -> dict[str, Any]:
    return {
        "nodes": list(nodes),
        "from_at": hours(plant, 2),
        "until_at": hours(plant, 4),
        "reason": "hardware",
        **more,
    }


def test_a_window_is_planned_listed_and_cancelled(plant: Plant) -> None:
    asked = window(plant, "node-1")
    dry = plan(plant, **asked, dry_run=True).json()
    assert (dry["possible"], dry["stops"], dry["message"]) == (True, [], "")
    assert plant.ask("GET", WINDOWS).json() == {"items": []}
    done = plan(plant, **asked).json()
    assert (done["window"]["id"], done["dry_run"]) == ("m1", False)
    (listed,) = plant.ask("GET", WINDOWS).json()["items"]
    assert listed == done["window"]
    assert (listed["nodes"], listed["step"], listed["domain"]) == (["node-1"], "planned", "")
    assert plant.ask("POST", f"{WINDOWS}/m1/cancel").json()["id"] == "m1"
    assert plant.ask("GET", WINDOWS).json() == {"items": []}
    assert problem(plant.ask("POST", f"{WINDOWS}/m1/cancel"), 404, "unknown-maintenance")


def test_a_dry_run_says_which_runs_go_and_records_nothing(plant: Plant) -> None:
    job = plant.submit(tenant="acme", resources={"gpus": 4}, max_duration="24h").json()["id"]
    node = plant.ask("GET", "/v1/nodes").json()["items"]
    (busy,) = [one["id"] for one in node if one["runs"]]
    said = plan(plant, **window(plant, busy), dry_run=True).json()
    assert said["stops"] == [f"{job}.1"]
    assert plant.writer.core.state.maintenance.made == 0


def test_what_breaks_a_promise_is_refused_with_the_earliest_date(plant: Plant) -> None:
    three_hours = f.SubmitJob("acme", "default", f.Resources(4), max_duration_us=3 * HOUR_US)
    plant.writer.cycle(three_hours, three_hours)  # both at once, so that both nodes are free at the same time
    promised = plant.submit(tenant="acme", resources={"gpus": 4}, max_duration="3h").json()["id"]
    made = plant.writer.core.state.reservations[promised]
    assert made.kind == "promise"
    asked = window(plant, "node-1", "node-2", from_at=hours(plant, 4), until_at=hours(plant, 5))
    said = plan(plant, **asked, dry_run=True).json()
    free = datetime.fromtimestamp(made.start_us // 10**6 + 3 * 3600, UTC)
    assert (said["possible"], said["broken"]) == (False, [promised])
    assert datetime.fromisoformat(said["earliest_at"]).replace(microsecond=0) == free
    detail = problem(plan(plant, **asked), 409, "conflict")["detail"]
    assert promised in detail
    assert free.strftime("%Y-%m-%dT%H:%M:%SZ") in detail
    moved = plan(plant, **{**asked, "nodes": [made.tasks[0].node]}).json()
    assert [(one["job"], one["before"]) for one in moved["moves"]] == [(promised, [made.tasks[0].node])]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"nodes": ["nope"]}, "there is no node 'nope'"),
        ({"nodes": []}, "either nodes or one domain"),
        ({"domain": "here"}, "either nodes or one domain"),
        ({"nodes": [], "domain": "mars/b1"}, "there is no site 'mars'"),
        ({"until_at": "1999-01-01T00:00:00Z"}, "1999-01-01T00:00:00Z"),
        ({"from_at": "1999-01-01T00:00:00Z"}, "runs have 60 s"),
    ],
)
def test_what_is_no_window_is_refused_with_a_reason(plant: Plant, change: dict[str, Any], says: str) -> None:
    assert says in problem(plan(plant, **{**window(plant, "node-1"), **change}), 422, "invalid")["detail"]


@pytest.mark.parametrize(
    "change", [{"reason": "fun"}, {"from_at": "2030-01-01T00:00:00"}, {"nodes": "node-1"}]
)
def test_malformed_input_is_refused_with_its_place(plant: Plant, change: dict[str, Any]) -> None:
    (fault,) = problem(plan(plant, **{**window(plant, "node-1"), **change}), 400, "invalid-request")["errors"]
    assert fault["where"].strip("/").split("/")[0] == next(iter(change))


def test_everybody_sees_windows_and_only_an_operator_plans_them(plant: Plant) -> None:
    plan(plant, **window(plant, "node-1"))
    member = person(plant, ("member", "acme"))
    assert [one["id"] for one in plant.ask("GET", WINDOWS, member).json()["items"]] == ["m1"]
    assert plan(plant, member, **window(plant, "node-2")).status_code == 403
    assert plant.ask("POST", f"{WINDOWS}/m1/cancel", member).status_code == 403


def test_an_explanation_names_the_window_that_a_job_waits_for(plant: Plant) -> None:
    plan(plant, **window(plant, "node-1", "node-2"))
    job = plant.submit(tenant="acme", resources={"gpus": 4}, max_duration="3h").json()["id"]
    said = plant.ask("GET", f"/v1/jobs/{job}/explanation").json()
    assert (said["reason"], said["window"]) == ("maintenance", "m1")
    assert said["message"].startswith(
        "waits for the end of maintenance on the nodes that it would have (m1; it may last 3h"
    )
