# SPDX-License-Identifier: Apache-2.0
"""The commands about maintenance: what they send, show and ask."""

import json
from typing import Any

import pytest

from tests.unit.test_cli_commands import Plane

pytestmark = pytest.mark.usefixtures("alone")

WINDOW: dict[str, Any] = {
    "id": "m1",
    "nodes": [f"n{number}" for number in range(10)],
    "domain": "",
    "from_at": "2999-01-01T00:00:00Z",
    "until_at": None,
    "reason": "power",
    "emergency": False,
    "step": "planned",
}
OUTCOME: dict[str, Any] = {
    "window": WINDOW,
    "dry_run": True,
    "possible": True,
    "stops": ["acme-1.1"],
    "moves": [{"job": "acme-2", "start_at": "2999-01-01T00:00:00Z", "before": ["n1"], "after": ["n2"]}],
    "drops": [],
    "broken": [],
    "message": "",
    "earliest_at": None,
}
REFUSED = {
    **OUTCOME,
    "possible": False,
    "broken": ["acme-3"],
    "message": "promised starts could not be kept: acme-3",
    "earliest_at": "2999-02-01T00:00:00Z",
}


def test_windows_are_listed() -> None:
    said = Plane(**{"GET /v1/maintenance": {"items": [WINDOW]}}).run("maintenance").stdout
    assert said.splitlines()[1].split("  ")[0] == "m1"
    assert "no end" in said
    assert "n7 +2" in said


def test_a_dry_run_shows_whom_it_meets_and_sends_nothing_else() -> None:
    plane = Plane(**{"POST /v1/maintenance": OUTCOME})
    done = plane.run("maintenance", "plan", "n1", "--from", "2999-01-01T00:00:00Z", "--dry-run")
    assert done.exit_code == 0
    assert "acme-1.1" in done.stdout
    assert "n1 → n2" in done.stdout
    (body,) = [json.loads(body) if isinstance(body, bytes | str) else body for _, _, body in plane.asked]
    assert body == {
        "nodes": ["n1"],
        "from_at": "2999-01-01T00:00:00+00:00",
        "reason": "other",
        "dry_run": True,
    }


def test_a_dry_run_of_what_is_not_possible_says_why_from_when_on_and_fails() -> None:
    done = Plane(**{"POST /v1/maintenance": REFUSED}).run("maintenance", "plan", "n1", "--dry-run")
    assert done.exit_code == 1
    assert "not possible: promised starts could not be kept: acme-3" in done.stderr
    assert "2999-02-01 00:00:00 UTC" in done.stderr


def test_a_window_is_planned_after_it_was_shown() -> None:
    plane = Plane(**{"POST /v1/maintenance": OUTCOME})
    done = plane.run("maintenance", "plan", "--domain", "muc/b1", "--emergency", "--yes")
    assert done.exit_code == 0, done.output
    assert "maintenance m1 is planned" in done.stdout
    bodies = [json.loads(body) if isinstance(body, bytes | str) else body for _, _, body in plane.asked]
    assert bodies[0] == {**bodies[1], "dry_run": True}
    assert bodies[1] == {"domain": "muc/b1", "emergency": True, "reason": "other"}


def test_a_window_is_cancelled() -> None:
    plane = Plane(**{"POST /v1/maintenance/m1/cancel": WINDOW})
    assert "maintenance m1 is cancelled" in plane.run("maintenance", "cancel", "m1", "--yes").stdout


def test_a_time_without_its_zone_is_refused_before_anything_is_sent() -> None:
    plane = Plane()
    assert plane.run("maintenance", "plan", "n1", "--from", "2999-01-01T00:00:00").exit_code == 2
    assert plane.asked == []
