# SPDX-License-Identifier: Apache-2.0
"""What the API promises about bookings: a dry run says whether one can be had, a refusal says why and until when, a
retry books once, and nobody learns of another tenant's."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.rules import Rules
from leitstand.core.units import HOUR_US
from tests.unit.faces_story import TOKEN, Plant, problem
from tests.unit.onboarding_story import person

BOOKINGS = "/v1/bookings"


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """node-1 and node-2 with 4 GPUs each, under fair; acme and beta."""
    made = Plant(tmp_path)
    made.writer.cycle(f.RulesSet(Rules(discipline="fair"), ""))
    for tenant in ("acme", "beta"):
        made.ask("POST", "/v1/tenants", json={"id": tenant})
    return made


def hours(plant: Plant, count: float) -> str:
    return (datetime.fromtimestamp(plant.writer.now / 1e6, UTC) + timedelta(hours=count)).isoformat()


def asked(plant: Plant, begin: float = 2, end: float = 4, gpus: int = 4, **more: Any) -> dict[str, Any]:
    where = {"tenant": "acme", "from_at": hours(plant, begin), "until_at": hours(plant, end)}
    return {"resources": {"gpus": gpus}, **where, **more}


def book(plant: Plant, body: dict[str, Any], token: str = TOKEN, key: str = "") -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return plant.ask("POST", BOOKINGS, token, json=body, headers=headers)


def test_capacity_is_booked_listed_and_cancelled(plant: Plant) -> None:
    body = asked(plant)
    dry = book(plant, {**body, "dry_run": True}).json()
    assert (dry["possible"], dry["message"], dry["yields"], dry["booking"]["id"]) == (True, "", 0, "")
    assert plant.ask("GET", BOOKINGS).json()["items"] == []
    done = book(plant, body).json()["booking"]
    assert (done["id"], done["step"], done["amount"], done["nodes"]) == (
        "r1",
        "booked",
        4.0,
        dry["booking"]["nodes"],
    )
    assert plant.ask("GET", BOOKINGS).json() == {"items": [done], "next_cursor": None}
    assert plant.ask("GET", f"{BOOKINGS}?tenant=beta").json()["items"] == []
    assert plant.ask("POST", f"{BOOKINGS}/r1/cancel").json()["id"] == "r1"
    assert plant.ask("GET", BOOKINGS).json()["items"] == []
    problem(plant.ask("POST", f"{BOOKINGS}/r1/cancel"), 404, "unknown-booking")


def test_what_cannot_be_had_is_refused_with_the_earliest_date_and_a_dry_run_tells_it(plant: Plant) -> None:
    first = asked(plant, gpus=4, num_nodes=2)
    book(plant, first)
    second = asked(plant, 3, 5, tenant="beta")
    said = book(plant, {**second, "dry_run": True}).json()
    assert (said["possible"], said["booking"]["nodes"]) == (False, [])
    assert datetime.fromisoformat(said["earliest_at"]) == datetime.fromisoformat(first["until_at"])
    detail = problem(book(plant, second), 409, "conflict")["detail"]
    assert "would be guaranteed, promised or booked" in detail
    assert "µs" not in detail


def test_a_retry_with_the_same_key_books_once(plant: Plant) -> None:
    body = asked(plant)
    first, second = (book(plant, body, key="k").json()["booking"]["id"] for _ in range(2))
    assert (first, second) == ("r1", "r1")
    problem(book(plant, {**body, "num_nodes": 2}, key="k"), 409, "request-reused")
    assert len(plant.ask("GET", BOOKINGS).json()["items"]) == 1


def test_runs_that_yield_are_counted_and_not_named(plant: Plant) -> None:
    for _ in range(2):
        plant.submit(tenant="beta", resources={"gpus": 4}, max_duration="24h")
    said = book(plant, {**asked(plant), "dry_run": True})
    assert said.json()["yields"] == 1
    assert "beta-" not in said.text


def test_the_price_is_what_is_reserved_and_cancelling_says_what_is_paid(plant: Plant) -> None:
    plant.writer.cycle(a.BudgetGranted("", "acme", 100 * HOUR_US, plant.writer.now + 10_000 * HOUR_US))
    assert book(plant, asked(plant)).json()["booking"]["gpu_hours"] == 8.0
    assert plant.ask("POST", f"{BOOKINGS}/r1/cancel").json()["gpu_hours"] == pytest.approx(4.0)
    problem(book(plant, asked(plant, 2, 40)), 409, "conflict")


def test_a_job_names_its_booking_and_is_told_why_it_waits(plant: Plant) -> None:
    book(plant, asked(plant))
    job = plant.submit(tenant="acme", resources={"gpus": 4}, booking="r1").json()
    assert (job["booking"], job["reason"], job["state"]) == ("r1", "booking", "pending")
    why = plant.ask("GET", f"/v1/jobs/{job['id']}/explanation").json()
    assert (why["reason"], why["booking"]) == ("booking", "r1")
    assert why["until"] == plant.ask("GET", BOOKINGS).json()["items"][0]["from_at"]
    assert plant.ask("GET", BOOKINGS).json()["items"][0]["jobs"] == 1
    planned = plant.ask("POST", "/v1/plan", json={"run": ["true"], "tenant": "acme", "booking": "r1"}).json()
    assert (planned["admitted"], planned["waits_for"]) == (True, "booking")
    problem(plant.submit(tenant="beta", resources={"gpus": 4}, booking="r1"), 422, "unknown_booking")
    problem(plant.submit(tenant="acme", resources={"gpus": 8}, booking="r1"), 422, "booking")


def test_administrators_book_members_use_and_others_see_nothing(plant: Plant) -> None:
    admin = person(plant, ("tenant_admin", "acme", ""))
    member = person(plant, ("member", "acme", ""))
    other = person(plant, ("tenant_admin", "beta", ""))
    assert book(plant, asked(plant), admin).status_code == 200
    problem(book(plant, asked(plant), member), 403, "forbidden")
    problem(book(plant, asked(plant), other), 404, "unknown-project")
    assert len(plant.ask("GET", BOOKINGS, member).json()["items"]) == 1
    assert plant.ask("GET", BOOKINGS, other).json()["items"] == []
    problem(plant.ask("POST", f"{BOOKINGS}/r1/cancel", member), 403, "forbidden")
    unseen = plant.ask("POST", f"{BOOKINGS}/r1/cancel", other)
    assert problem(unseen, 404, "unknown-booking")["detail"] == "there is no booking 'r1', or no longer"
    assert plant.ask("POST", f"{BOOKINGS}/r1/cancel", admin).status_code == 200


@pytest.mark.parametrize(
    ("more", "status", "code", "says"),
    [
        ({"from_at": "2020-01-01T00:00:00Z"}, 422, "invalid", "a begin at 2020-01-01T00:00:00Z"),
        ({"until_at": "2999-01-01T00:00:00Z"}, 422, "invalid", "an end at 2999-01-01T00:00:00Z"),
        ({"until_at": "soon"}, 400, "invalid-request", "until_at"),
        ({"num_nodes": 0}, 400, "invalid-request", "num_nodes"),
        ({"resources": {}}, 422, "invalid", "no GPU and no CPU"),
        ({"resources": {"accelerators": ["0.5"]}}, 422, "invalid", "whole GPUs"),
        ({"resources": {"accelerators": ["A100", "H100"]}}, 400, "invalid-request", "several types"),
        ({"resources": {"gpus": 64}}, 409, "conflict", "could ever hold it"),
        ({"projects": ["nope"]}, 404, "unknown-project", "nope"),
        ({"pool": "moon"}, 422, "invalid", "no pool 'moon'"),
        ({"release_idle": "often"}, 400, "invalid-request", "release_idle"),
    ],
)
def test_faults_of_a_booking_are_named(plant: Plant, more: Any, status: int, code: str, says: str) -> None:
    said = problem(
        book(plant, asked(plant, **more) if "resources" not in more else {**asked(plant), **more}),
        status,
        code,
    )
    assert says in said["detail"]
    assert plant.writer.core.state.bookings.made == 0


def test_a_key_that_is_too_long_is_refused(plant: Plant) -> None:
    problem(book(plant, asked(plant), key="k" * 256), 400, "invalid-request")
