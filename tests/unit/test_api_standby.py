# SPDX-License-Identifier: Apache-2.0
"""What a control plane says that takes turns with another: readings always, changes only while it leads."""

from pathlib import Path

import pytest

from leitstand.api.seat import Seat
from leitstand.journal.lease import LEASE_S, Held, Member
from leitstand.stores.tables import StoreAway
from tests.unit.faces_story import Plant

S = 1_000_000
MEMBERS = [Member("me", "http://me", 7, "", S), Member("other", "http://other", 9, "", 2 * S)]


def held(by: str, left_us: int = S) -> Held:
    return Held(by, f"http://{by}" if by else "", 3, 10 * S, left_us, 20 * S, 9)


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """It stands by, while another leads."""
    plant = Plant(tmp_path)
    plant.faces.seat = Seat("me", "http://me")
    plant.faces.seat.see(held("other"), MEMBERS)
    plant.writer.connected = False
    return plant


def test_readings_are_answered_and_changes_are_sent_to_the_leader(plant: Plant) -> None:
    assert plant.ask("GET", "/v1/jobs").status_code == 200
    assert plant.ask("POST", "/v1/plan", json={"run": ["true"]}).status_code == 200
    for method, path in (("POST", "/v1/jobs"), ("PUT", "/v1/secrets/A"), ("DELETE", "/v1/sites/a")):
        refused = plant.ask(method, path, json={"run": ["true"]})
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        problem = refused.json()
        assert problem["code"] == "standby"
        assert problem["detail"] == "this control plane is on standby, and http://other leads"
        assert problem["hint"] == "send it to http://other"


def test_who_asks_without_a_right_to_is_told_no_more_than_that(plant: Plant) -> None:
    assert plant.ask("POST", "/v1/jobs", token="").status_code == 401


def test_while_nobody_leads_there_is_nobody_to_be_named(plant: Plant) -> None:
    assert plant.faces.seat is not None
    plant.faces.seat.see(held("other", 0), MEMBERS)
    problem = plant.ask("POST", "/v1/jobs", json={"run": ["true"]}).json()
    assert problem["detail"] == "this control plane is on standby, and nobody leads at the moment"
    assert plant.ask("GET", "/healthz").json()["turn"]["leader"] == ""


def test_health_is_503_on_standby_and_says_who_leads_and_how_far_behind_the_others_are(plant: Plant) -> None:
    health = plant.ask("GET", "/healthz", "")
    assert (health.status_code, health.json()["status"]) == (503, "standby")
    turn = health.json()["turn"]
    assert (turn["role"], turn["leader"], turn["epoch"]) == ("standby", "http://other", 3)
    assert turn["since_at"] == "1970-01-01T00:00:10Z"
    assert turn["members"] == [
        {"address": "http://me", "role": "standby", "behind": 2, "silent_s": 1.0, "note": ""},
        {"address": "http://other", "role": "leader", "behind": 0, "silent_s": 2.0, "note": ""},
    ]
    assert not plant.faces.leads


def test_who_else_takes_turns_is_told_to_those_who_watch(plant: Plant) -> None:
    plant.faces.loopback = False
    for token in ("", "wrong"):
        turn = plant.ask("GET", "/healthz", token).json()["turn"]
        assert (turn["leader"], turn["members"]) == ("http://other", [])
    assert len(plant.ask("GET", "/healthz").json()["turn"]["members"]) == 2


def test_a_look_that_is_two_leases_old_says_no_more_that_another_leads() -> None:
    """In an outage of the database nobody can be seen to lead; who then believes the last look alerts nobody."""
    now_s = 100.0
    seat = Seat("me", "http://me", lambda: now_s)
    seat.see(held("other"), MEMBERS)
    now_s += 2 * LEASE_S
    assert seat.is_led_by_another
    now_s += 0.1
    assert not seat.is_led_by_another
    seat.see(held("other"), MEMBERS)
    assert seat.is_led_by_another


def test_who_has_a_writer_to_ask_leads_whatever_was_seen_last(plant: Plant) -> None:
    plant.writer.connected = True
    health = plant.ask("GET", "/healthz", "")
    assert health.status_code == 200
    assert (health.json()["turn"]["role"], health.json()["turn"]["leader"]) == ("leader", "http://me")
    assert plant.faces.leads


def test_a_leader_whose_writer_is_away_is_no_standby(plant: Plant) -> None:
    assert plant.faces.seat is not None
    plant.faces.seat.see(held("me"), MEMBERS)
    assert plant.ask("GET", "/healthz").json()["status"] == "writer-away"
    assert plant.ask("POST", "/v1/jobs", json={"run": ["true"]}).json()["code"] == "writer-away"


def test_one_alone_has_no_turn(tmp_path: Path) -> None:
    assert Plant(tmp_path).ask("GET", "/healthz").json()["turn"] is None


def test_stores_whose_server_is_away_are_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = Plant(tmp_path)

    def away(*_: object) -> None:
        raise StoreAway("no PostgreSQL server answers")

    monkeypatch.setattr(plant.faces.records, "put_all", away)
    refused = plant.ask("POST", "/v1/jobs", json={"run": ["true"]})
    assert (refused.status_code, refused.json()["code"]) == (503, "storage-away")
    assert refused.json()["detail"] == "what its database holds cannot be read or written now"
