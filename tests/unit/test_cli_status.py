# SPDX-License-Identifier: Apache-2.0
"""`leitstand status`: how it is, and who leads."""

from typing import Any

import pytest

from tests.unit.test_cli_commands import Plane

pytestmark = pytest.mark.usefixtures("alone")

ALONE: dict[str, Any] = {
    "status": "ok",
    "version": "0.1.0",
    "seq": 12,
    "forecast": "ok",
    "twin": None,
    "turn": None,
}
TURN = {
    "role": "standby",
    "leader": "https://one.example",
    "since_at": "2026-11-24T08:00:00Z",
    "epoch": 3,
    "members": [
        {"address": "https://one.example", "role": "leader", "behind": 0, "silent_s": 0.4, "note": ""},
        {
            "address": "https://two.example",
            "role": "standby",
            "behind": 2,
            "silent_s": 0.9,
            "note": "its clock",
        },
    ],
    "as_of": "2026-11-24T09:00:00Z",
}


def test_one_alone_says_how_it_is() -> None:
    done = Plane(**{"GET /healthz": ALONE}).run("status")
    assert done.exit_code == 0
    assert "status:     ok" in done.stdout
    assert "last entry: 12" in done.stdout


def test_one_of_several_says_who_leads_and_how_far_the_others_are() -> None:
    done = Plane(**{"GET /healthz": {**ALONE, "status": "standby", "turn": TURN}}).run("status")
    assert done.exit_code == 0
    assert "leader:          https://one.example 2026-11-24 08:00:00 UTC" in done.stdout
    assert "https://two.example  stands by                 2            0.9  its clock" in done.stdout


def test_a_writer_that_is_away_is_an_error_of_the_command() -> None:
    done = Plane(**{"GET /healthz": {**ALONE, "status": "writer-away"}}).run("status")
    assert done.exit_code == 1
    assert "its writer is away: readings alone" in done.stdout
