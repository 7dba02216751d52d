# SPDX-License-Identifier: Apache-2.0
"""The commands about bookings: what they send, show and ask."""

import json
from typing import Any

import pytest

from tests.unit.test_cli_commands import Plane

pytestmark = pytest.mark.usefixtures("alone")

BOOKING: dict[str, Any] = {
    "id": "r1",
    "tenant": "acme",
    "project": "training",
    "projects": ["lab"],
    "pool": "muc-h100",
    "num_nodes": 10,
    "gpus": 8,
    "amount": 80.0,
    "from_at": "2999-01-01T00:00:00Z",
    "until_at": "2999-01-02T00:00:00Z",
    "step": "booked",
    "nodes": [f"n{number}" for number in range(10)],
    "release_idle_s": 0.0,
    "gpu_hours": 1920.0,
    "eur": 0.0,
    "jobs": 3,
    "running": 0,
}
OUTCOME: dict[str, Any] = {
    "booking": BOOKING,
    "dry_run": True,
    "possible": True,
    "message": "",
    "earliest_at": None,
    "yields": 2,
    "drops": 0,
}
REFUSED = {
    **OUTCOME,
    "possible": False,
    "message": "pool muc-h100: there is no place",
    "earliest_at": "2999-02-01T00:00:00Z",
}
PAGE = {"items": [BOOKING], "next_cursor": None}
TIMES = ("--from", "2999-01-01T00:00:00Z", "--until", "2999-01-02T00:00:00Z")


def bodies(plane: Plane) -> list[Any]:
    return [json.loads(body) if isinstance(body, bytes | str) else body for _, _, body in plane.asked]


def test_bookings_are_listed() -> None:
    said = Plane(**{"GET /v1/bookings": PAGE}).run("bookings").stdout
    assert said.splitlines()[1].split("  ")[0] == "r1"
    assert "acme/training" in said
    assert "n7 +2" in said
    assert json.loads(Plane(**{"GET /v1/bookings": PAGE}).run("bookings", "list", "--json").stdout) == [
        BOOKING
    ]


def test_one_is_shown_and_one_that_is_not_there_is_said_so() -> None:
    said = Plane(**{"GET /v1/bookings": PAGE}).run("bookings", "show", "r1").stdout
    assert "1920.00 GPU-hours" in said
    assert "acme/training, acme/lab" in said
    done = Plane(**{"GET /v1/bookings": PAGE}).run("bookings", "show", "r2")
    assert done.exit_code == 1
    assert "there is no booking r2" in done.stderr


def test_a_dry_run_shows_what_it_is_and_sends_nothing_else() -> None:
    plane = Plane(**{"POST /v1/bookings": OUTCOME})
    shape = ("--gpus", "H100:8", "--nodes", "10", "--level", "rack", "--also", "lab", "--release-idle", "2h")
    done = plane.run("bookings", "book", *shape, *TIMES, "--dry-run")
    assert done.exit_code == 0, done.output
    assert "runs that are told to end for it: 2" in done.stdout
    (body,) = bodies(plane)
    assert body == {
        "resources": {"accelerators": ["H100:8"], "topology": {"required": "rack"}},
        "num_nodes": 10,
        "from_at": "2999-01-01T00:00:00+00:00",
        "until_at": "2999-01-02T00:00:00+00:00",
        "projects": ["lab"],
        "release_idle": 7200,
        "dry_run": True,
    }


def test_a_dry_run_of_what_cannot_be_had_says_why_from_when_on_and_fails() -> None:
    done = Plane(**{"POST /v1/bookings": REFUSED}).run("bookings", "book", "--gpus", "8", *TIMES, "--dry-run")
    assert done.exit_code == 1
    assert "cannot be had: pool muc-h100: there is no place" in done.stderr
    assert "2999-02-01 00:00:00 UTC" in done.stderr


def test_capacity_is_booked_after_it_was_shown() -> None:
    plane = Plane(**{"POST /v1/bookings": OUTCOME})
    done = plane.run("bookings", "book", "--gpus", "8", *TIMES, "--yes")
    assert done.exit_code == 0, done.output
    assert "booking r1 is made" in done.stdout
    first, second = bodies(plane)
    assert first == {**second, "dry_run": True}


def test_a_booking_is_cancelled_and_what_is_paid_is_said() -> None:
    plane = Plane(**{"POST /v1/bookings/r1/cancel": {**BOOKING, "gpu_hours": 0.0}})
    assert (
        "booking r1 is cancelled; to be paid: nothing"
        in plane.run("bookings", "cancel", "r1", "--yes").stdout
    )


def test_without_an_end_nothing_is_sent() -> None:
    plane = Plane()
    assert plane.run("bookings", "book", "--gpus", "8").exit_code == 2
    assert plane.asked == []


def test_german_is_spoken() -> None:
    plane = Plane(**{"POST /v1/bookings": REFUSED})
    done = plane.run("bookings", "book", "--gpus", "8", *TIMES, "--dry-run", LC_ALL="de_DE.UTF-8")
    assert "nicht zu haben" in done.stderr
