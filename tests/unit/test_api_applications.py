# SPDX-License-Identifier: Apache-2.0
"""What the API promises to who applies for a tenant, and to who examines it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from leitstand.api import context
from leitstand.api.onboarding.applicationview import record_of
from leitstand.api.onboarding.retention import REFUSED_US, Applications
from leitstand.core.acts import ApplicationApproved
from leitstand.core.rules import Onboarding, Rules
from leitstand.stores.people import Person
from tests.unit.faces_story import TOKEN, Plant, problem
from tests.unit.onboarding_story import (
    CHECKS,
    DAY,
    LEGAL,
    application,
    check_all,
    file,
    join,
    later,
    person,
)


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


def test_a_stranger_becomes_a_tenant_and_runs_a_first_job(plant: Plant) -> None:
    filed = file(plant)
    assert (filed["id"], filed["state"], filed["tenant"]) == ("a1", "open", "werk-nord")
    assert "There is nothing to do for the applicant" in filed["next"]
    claim = filed["claim"]
    assert claim.startswith("lsa_")
    check_all(plant, "a1")
    assert "An operator decides next" in plant.ask("GET", "/v1/applications/a1", claim).json()["next"]
    problem(plant.ask("POST", "/v1/applications/a1/token", claim, json={}), 409, "conflict")
    approved = plant.ask("POST", "/v1/applications/a1/approve").json()
    assert (approved["state"], approved["legal"]["name"]) == ("approved", "Werk Nord GmbH")
    assert approved["applicant"]["name"] == "Grace Hopper"
    answer = plant.ask("POST", "/v1/applications/a1/token", claim, json={"expires_in": "30d"})
    issued = answer.json()
    assert (answer.status_code, issued["token"]["kind"], issued["token"]["user"]) == (201, "api", "u1")
    asked = {"run": ["true"], "resources": {"gpus": 1}, "tenant": "werk-nord"}
    assert plant.ask("POST", "/v1/jobs", issued["secret"], json=asked).status_code == 201
    tenant = plant.ask("GET", "/v1/tenants/werk-nord", issued["secret"]).json()
    assert (tenant["name"], tenant["class"]) == ("Werk Nord GmbH", "industry")
    assert [budget["gpu_hours"] for budget in tenant["budgets"]] == [100]


def test_all_faults_come_at_once_with_their_places(plant: Plant) -> None:
    legal = {
        **LEGAL,
        "city": 7,
        "country": "XX",
        "headcount": 2**70,
        "vat": "DE1",
        "contacts": [{"role": "boss", "name": "", "email": "no"}, 5],
        "linked_enterprises": [{"name": "Tochter", "relation": "partner", "share_percent": 90}],
    }
    del legal["street"]
    body = application("-x", legal=legal, agreement="2020-01", applicant={"name": " ", "email": "x"}, nope=1)
    refused = problem(plant.ask("POST", "/v1/applications", "", json=body), 400, "invalid-request")
    found = refused["errors"]
    assert "GET /v1/agreement" in refused["hint"]
    assert found[-1] == {"where": "/agreement", "what": "is '2020-01'; the one in force is '2026-11'"}
    assert sorted(fault["where"] for fault in found) == [
        "/agreement", "/applicant/email", "/applicant/name", "/legal/city", "/legal/contacts/0/email",
        "/legal/contacts/0/name", "/legal/contacts/0/role", "/legal/contacts/1", "/legal/country", "/legal/headcount",
        "/legal/linked_enterprises/0/share_percent", "/legal/street", "/legal/vat", "/legal/vat_id", "/nope",
        "/tenant",
    ]  # fmt: skip
    assert "did you mean 'vat_id'?" in json.dumps(found)
    assert plant.faces.people.subjects("") == set()


@pytest.mark.parametrize(
    "tenant", ["operator", "admin", "platform", "me", "u7", "a1", "Acme", "a_b", "claim.x", ""]
)
def test_ids_that_could_be_taken_for_something_else_are_refused(plant: Plant, tenant: str) -> None:
    answer = plant.ask("POST", "/v1/applications", "", json=application(tenant))
    assert [fault["where"] for fault in problem(answer, 400, "invalid-request")["errors"]] == ["/tenant"]


def test_an_id_that_is_applied_for_is_taken_and_nothing_is_kept_of_who_came_second(plant: Plant) -> None:
    file(plant)
    before = plant.faces.people.subjects("claim.")
    problem(plant.ask("POST", "/v1/applications", "", json=application()), 409, "exists")
    assert plant.faces.people.subjects("claim.") == before


def test_a_retry_with_its_key_gives_the_same_application_and_claim(plant: Plant) -> None:
    def ask(key: str, **more: str) -> dict[str, Any]:
        headers = {"Idempotency-Key": key}
        answer = plant.ask("POST", "/v1/applications", "", json=application(**more), headers=headers)
        found: dict[str, Any] = answer.json()
        return found

    first, again = ask("0123456789abcdef"), ask("0123456789abcdef")
    assert (first["id"], first["claim"]) == (again["id"], again["claim"])
    assert ask("another-key-of-mine")["code"] == "exists"
    assert ask("0123456789abcdef", purpose="another body")["code"] == "exists"
    assert ask("short")["status"] == 400
    later(plant, 2 * DAY)
    assert ask("0123456789abcdef")["code"] == "exists"


def test_what_an_applicant_says_never_enters_the_journal(plant: Plant) -> None:
    filed = file(plant)
    plant.ask("POST", "/v1/applications/a1/checks/identity", json={"outcome": "failed", "note": "seen twice"})
    plant.ask("POST", "/v1/applications/a1/refuse", json={"reason": "identity", "note": "who are you"})
    written = b"".join(plant.writer.journal._kept.bodies)
    for secret in ("Werk Nord", "Grace", "grace@", "weld", "seen twice", "who are you", filed["claim"]):
        assert secret.encode() not in written


def test_only_its_claim_its_reviewers_and_operators_see_an_application(plant: Plant) -> None:
    first, second = file(plant), file(plant, "stadt-see")
    reviewer, member = person(plant, ("reviewer",)), person(plant, ("member", "operator"))
    for token in (first["claim"], reviewer, TOKEN):
        assert plant.ask("GET", "/v1/applications/a1", token).json()["legal"]["name"] == "Werk Nord GmbH"
    for token in (second["claim"], member):
        problem(plant.ask("GET", "/v1/applications/a1", token), 404, "unknown-application")
        problem(plant.ask("POST", "/v1/applications/a1/withdraw", token), 404, "unknown-application")
    problem(plant.ask("GET", "/v1/applications/a9", first["claim"]), 404, "unknown-application")
    problem(plant.ask("GET", "/v1/applications/a1", ""), 401, "unauthenticated")
    listed = {
        token: [one["id"] for one in plant.ask("GET", "/v1/applications", token).json()["items"]]
        for token in (first["claim"], reviewer, member, TOKEN)
    }
    assert list(listed.values()) == [["a1"], ["a2", "a1"], [], ["a2", "a1"]]
    problem(plant.ask("GET", "/v1/applications", ""), 401, "unauthenticated")
    for path in ("approve", "refuse"):
        problem(
            plant.ask("POST", f"/v1/applications/a1/{path}", reviewer, json={"reason": "other"}),
            403,
            "forbidden",
        )


def test_listings_of_applications_have_pages_and_states(plant: Plant) -> None:
    for number in range(5):
        assert plant.ask("POST", "/v1/applications", json=application(f"tenant-{number}")).status_code == 201
    plant.ask("POST", "/v1/applications/a2/withdraw")
    page = plant.ask("GET", "/v1/applications?limit=2&state=open").json()
    assert [one["id"] for one in page["items"]] == ["a5", "a4"]
    rest = plant.ask("GET", f"/v1/applications?limit=2&state=open&cursor={page['next_cursor']}").json()
    assert ([one["id"] for one in rest["items"]], rest["next_cursor"]) == (["a3", "a1"], None)
    withdrawn = plant.ask("GET", "/v1/applications?state=withdrawn").json()["items"]
    assert [one["id"] for one in withdrawn] == ["a2"]


def test_a_refusal_stays_visible_with_reason_and_note_and_the_id_is_free_again(plant: Plant) -> None:
    claim = file(plant)["claim"]
    reviewer = person(plant, ("reviewer",))
    check = {"outcome": "failed", "note": "for colleagues alone"}
    assert plant.ask("POST", "/v1/applications/a1/checks/sanctions", reviewer, json=check).status_code == 200
    asked = {"reason": "sanctions", "note": "see the list of 1 November"}
    for _ in range(2):  # the answer may have been lost
        assert plant.ask("POST", "/v1/applications/a1/refuse", json=asked).status_code == 200
    problem(plant.ask("POST", "/v1/applications/a1/refuse", json={"reason": "other"}), 409, "conflict")
    problem(plant.ask("POST", "/v1/applications/a1/approve"), 409, "conflict")
    mine = plant.ask("GET", "/v1/applications/a1", claim).json()
    assert (mine["state"], mine["reason"], mine["note"]) == (
        "refused",
        "sanctions",
        "see the list of 1 November",
    )
    assert "a sanctions list stands against it" in mine["next"]
    assert "for colleagues alone" not in json.dumps(mine)
    assert all(one["by"] is None for one in mine["checks"])
    theirs = plant.ask("GET", "/v1/applications/a1").json()
    (failed,) = [one for one in theirs["checks"] if one["name"] == "sanctions"]
    assert (failed["note"], failed["by"]["id"], failed["owner"]) == ("for colleagues alone", "u1", "reviewer")
    assert file(plant)["id"] == "a2"


def test_checks_are_recorded_once_by_their_owners(plant: Plant) -> None:
    file(plant)
    path = "/v1/applications/a1/checks"
    for _ in range(2):
        plant.ask("POST", f"{path}/identity", json={"outcome": "passed", "note": "seen"})
    acts = plant.ask("GET", "/v1/applications/a1").json()["checks"]
    assert [one["outcome"] for one in acts] == ["passed", "open", "open", "open", "passed"]
    assert plant.writer.journal.head.seq == 4 + 2 + 1  # the application with its agreement, and one check
    problem(plant.ask("POST", f"{path}/agreement", json={"outcome": "failed"}), 409, "conflict")
    problem(plant.ask("POST", f"{path}/nope", json={"outcome": "failed"}), 404, "unknown-check")
    problem(plant.ask("POST", f"{path}/identity", json={"outcome": "maybe"}), 400, "invalid-request")
    answer = plant.ask("POST", "/v1/applications/a1/approve")
    assert "sanctions, export_control, size_class" in problem(answer, 409, "conflict")["detail"]


def test_a_check_of_the_operator_is_not_the_reviewers(plant: Plant) -> None:
    file(plant)
    onboarding = Onboarding(checks={"identity": "operator"})
    plant.faces.follower.state.rules = Rules(onboarding=onboarding)
    reviewer = person(plant, ("reviewer",))
    path = "/v1/applications/a1/checks/identity"
    problem(plant.ask("POST", path, reviewer, json={"outcome": "passed"}), 403, "forbidden")
    assert plant.ask("POST", path, json={"outcome": "passed"}).status_code == 200


def test_nobody_approves_what_nobody_else_checked_if_somebody_could_have(plant: Plant) -> None:
    file(plant)
    operator = person(plant, ("operator",))
    check_all(plant, "a1", operator)
    alone = plant.ask("POST", "/v1/applications/a1/approve", operator)
    assert alone.status_code == 200, "with one operator there is nobody else"
    file(plant, "stadt-see")
    check_all(plant, "a2", operator)
    reviewer = person(plant, ("reviewer",))
    refused = problem(plant.ask("POST", "/v1/applications/a2/approve", operator), 403, "forbidden")
    assert "four-eyes" in refused["detail"]
    assert refused["hint"] == "somebody else records a check, or approves"
    answer = plant.ask("POST", "/v1/applications/a2/checks/identity", reviewer, json={"outcome": "passed"})
    assert answer.status_code == 200, answer.text
    assert plant.ask("POST", "/v1/applications/a2/approve", operator).status_code == 200


def test_approval_moves_who_they_are_to_tenant_and_user(plant: Plant) -> None:
    filed = file(plant)
    check_all(plant, "a1")
    for _ in range(2):  # the answer may have been lost
        assert plant.ask("POST", "/v1/applications/a1/approve").json()["state"] == "approved"
    people = plant.faces.people
    name = record_of(plant.faces.follower.state.onboarding.applications["a1"].digest)
    assert (people.legal(name), people.person(name)) == (None, None)
    legal = people.legal("werk-nord")
    assert legal is not None
    assert legal.name == "Werk Nord GmbH"
    assert people.person("u1") == Person("Grace Hopper", "grace@werk-nord.example")
    mine = plant.ask("GET", "/v1/applications/a1", filed["claim"]).json()
    assert (mine["legal"]["name"], mine["applicant"]["name"]) == ("Werk Nord GmbH", "Grace Hopper")


def test_a_death_between_approval_and_move_loses_nothing(plant: Plant) -> None:
    file(plant)
    check_all(plant, "a1")
    plant.writer.cycle(ApplicationApproved("a1", "", "admin"))
    assert plant.faces.people.legal("werk-nord") is None
    assert plant.ask("GET", "/v1/tenants/werk-nord").json()["name"] == "Werk Nord GmbH"
    assert plant.faces.people.person("u1") == Person("Grace Hopper", "grace@werk-nord.example")


def test_a_claim_gives_its_token_once_and_again_within_an_hour(plant: Plant) -> None:
    claim = file(plant)["claim"]
    check_all(plant, "a1")
    plant.ask("POST", "/v1/applications/a1/approve")
    path = "/v1/applications/a1/token"
    problem(plant.ask("POST", path, json={}), 403, "forbidden")
    first = plant.ask("POST", path, claim, json={}).json()["secret"]
    second = plant.ask("POST", path, claim, json={}).json()["secret"]
    problem(plant.ask("GET", "/v1/tenants", first), 401, "unauthenticated")
    assert plant.ask("GET", "/v1/tenants", second).status_code == 200
    problem(plant.ask("POST", path, claim, json={"expires_in": "367d"}), 400, "invalid-request")
    later(plant, DAY)
    problem(plant.ask("POST", path, claim, json={}), 409, "conflict")


def test_a_browser_gets_a_cookie_and_no_secret(plant: Plant) -> None:
    claim = file(plant)["claim"]
    check_all(plant, "a1")
    plant.ask("POST", "/v1/applications/a1/approve")
    answer = plant.ask("POST", "/v1/applications/a1/token", claim, json={"kind": "session"})
    assert answer.json()["secret"] == ""
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly; SameSite=Strict; Path=/" in cookie
    assert "Secure" not in cookie
    session = {"Cookie": cookie.partition(";")[0]}
    assert plant.ask("GET", "/v1/tenants/werk-nord", "", headers=session).status_code == 200
    plant.faces.loopback = False
    answer = plant.ask("POST", "/v1/applications/a1/token", claim, json={"kind": "session"})
    assert "; Secure" in answer.headers["set-cookie"]


def test_withdrawing_erases_what_was_said(plant: Plant) -> None:
    claim = file(plant)["claim"]
    for _ in range(2):
        answer = plant.ask("POST", "/v1/applications/a1/withdraw", claim)
        assert (answer.status_code, answer.json()["legal"], answer.json()["applicant"]) == (200, None, None)
    assert plant.faces.people.subjects("claim.") == set()
    problem(plant.ask("POST", "/v1/applications/a1/approve"), 409, "conflict")


def test_strangers_file_few_applications_and_who_examines_them_any_number(plant: Plant) -> None:
    burst = context.FILINGS_PER_SOURCE.burst
    for number in range(burst):
        file(plant, f"tenant-{number}")
    before = plant.faces.people.subjects("claim.")
    answer = plant.ask("POST", "/v1/applications", "", json=application("one-more"))
    problem(answer, 429, "too-many-attempts")
    assert int(answer.headers["retry-after"]) > 60
    assert plant.faces.people.subjects("claim.") == before
    assert plant.ask("POST", "/v1/applications", json=application("one-more")).status_code == 201
    later(plant, DAY)
    file(plant, "next-day")


def test_records_of_a_filing_that_came_to_nothing_go_and_others_stay(plant: Plant) -> None:
    join(plant, "stays-one")
    file(plant)
    plant.ask("POST", "/v1/applications/a2/refuse", json={"reason": "capacity"})
    plant.faces.people.put_person("claim.0123", Person("Nobody", "no@body.example"))
    keeping = Applications()
    assert asyncio.run(keeping.erase_old(plant.faces)) == 0, "it may just be on its way"
    assert asyncio.run(keeping.erase_old(plant.faces)) == 1
    assert plant.faces.people.person("claim.0123") is None
    assert plant.ask("GET", "/v1/applications/a2").json()["legal"] is not None
    later(plant, REFUSED_US)
    assert asyncio.run(keeping.erase_old(plant.faces)) == 1
    kept = plant.ask("GET", "/v1/applications/a2").json()
    assert (kept["legal"], kept["reason"]) == (None, "capacity")
    assert plant.ask("GET", "/v1/applications/a1").json()["legal"] is not None


def test_nothing_is_kept_when_the_writer_is_away(plant: Plant) -> None:
    plant.writer.connected = False
    problem(plant.ask("POST", "/v1/applications", "", json=application()), 503, "writer-away")
    assert plant.faces.people.subjects("claim.") == set()


@pytest.mark.parametrize(
    ("language", "word"), [("en", "Data-processing contract"), ("de", "Auftragsverarbeitung")]
)
def test_the_contract_in_force_can_be_read_before_there_is_an_account(
    plant: Plant, language: str, word: str
) -> None:
    answer = plant.ask("GET", f"/v1/agreement?language={language}", "").json()
    assert (answer["version"], answer["language"], answer["in_force"]) == ("2026-11", language, True)
    assert word in answer["text"]
    assert answer["text"].count("\n## ") == 10
    problem(plant.ask("GET", "/v1/agreement?version=1999", ""), 404, "unknown-agreement")
    problem(plant.ask("GET", "/v1/agreement?language=fr", ""), 400, "invalid-request")


def test_the_checks_of_the_rules_are_those_of_these_tests() -> None:
    assert set(Rules().onboarding.checks) == {*CHECKS, "agreement"}
