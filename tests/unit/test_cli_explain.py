# SPDX-License-Identifier: Apache-2.0
"""The command `explain`: why a job was stopped for another, in both languages."""

from typing import Any

import pytest

from tests.unit.test_cli_commands import Plane

pytestmark = pytest.mark.usefixtures("alone")

STOP: dict[str, Any] = {
    "run": "acme-1.1",
    "at": "2026-03-01T12:00:00Z",
    "cause": "recall",
    "job": "",
    "whose": "other_tenant",
    "node": "research",
    "lost_s": 900.0,
    "lost_gpu_s": 3600.0,
    "together": 2,
    "message": "",
    "protections": [
        {"kind": "guarantee", "value": 0, "node": "industry/acme/default", "message": ""},
        {"kind": "length", "value": 600_000_000, "node": "", "message": ""},
        {"kind": "checkpoint", "value": 3_600_000_000, "node": "", "message": ""},
    ],
}
FOUND: dict[str, Any] = {
    "job": "acme-1",
    "state": "running",
    "reason": "",
    "message": "",
    "asked": 0,
    "limit": 0,
    "resource": "",
    "node": "",
    "jobs_ahead": 0,
    "first": "",
    "until": None,
    "start": None,
    "changes": [],
    "stops": [STOP],
}


def explained(stops: list[dict[str, Any]], **environment: str) -> str:
    plane = Plane(**{"GET /v1/jobs/acme-1/explanation": {**FOUND, "stops": stops}})
    done = plane.run("explain", "acme-1", **environment)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_stop_tells_when_why_for_whom_and_what_was_lost() -> None:
    said = explained([STOP])
    (row,) = [line for line in said.splitlines() if line.startswith("acme-1.1")]
    for word in (
        "2026-03-01 12:00:00 UTC",
        "recall",
        "a job of another tenant",
        "research",
        "2",
        "1.00 GPU-h",
    ):
        assert word in row
    (last,) = [line for line in said.splitlines() if line.startswith("What would have protected")]
    assert last == (
        "What would have protected the last one: a guarantee of industry/acme/default that holds it; "
        "a time of less than 10m; checkpoints more often than every 1h"
    )


def test_the_same_in_german() -> None:
    said = explained([STOP], LC_ALL="de_DE.UTF-8")
    assert "Rückruf" in said
    assert "einen Job eines anderen Mandanten" in said
    assert "eine Garantie von industry/acme/default, in die er passt; eine Dauer unter 10m" in said


def test_a_job_that_may_be_seen_is_named_and_a_run_that_is_still_ending_has_lost_nothing_yet() -> None:
    priority = {"kind": "priority", "value": 3, "node": "", "message": ""}
    none = {"kind": "checkpoint", "value": 0, "node": "", "message": ""}
    stop = {**STOP, "job": "acme-9", "cause": "priority", "lost_gpu_s": None, "protections": [priority, none]}
    said = explained([stop])
    assert "acme-9" in said
    assert "GPU-h" not in said
    assert "a priority of at least 3; checkpoints" in said


def test_a_job_that_was_never_stopped_says_nothing_of_it() -> None:
    assert "stopped" not in explained([])


def test_a_forecast_is_told_with_its_age_and_how_often_such_were_right() -> None:
    forecast = {
        "p50": "2026-03-01T12:00:00Z",
        "p90": None,
        "deadline_chance": 0.75,
        "at": "2026-03-01T10:00:00Z",
        "until": "2026-03-08T10:00:00Z",
        "p50_covered": {"forecasts": 40, "share": 0.525},
        "p90_covered": {"forecasts": 30, "share": None},
    }
    plane = Plane(**{"GET /v1/jobs/acme-1/explanation": {**FOUND, "stops": [], "forecast": forecast}})
    said = plane.run("explain", "acme-1").stdout
    assert "P50 2026-03-01 12:00:00 UTC" in said
    assert "P90 not within 7d" in said
    assert "by its deadline: 75%" in said
    assert "right so far: p50 52%, of 40 forecasts" in said
    german = plane.run("explain", "acme-1", LC_ALL="de_DE.UTF-8").stdout
    assert "Vorhersage:" in german
    assert "P90 nicht binnen 7d" in german
