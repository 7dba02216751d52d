# SPDX-License-Identifier: Apache-2.0
"""What the API promises about tokens and invitations: shown once, never wider, dead when revoked; codes open once."""

import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest

from leitstand.access import tokens as forms
from leitstand.access.tokens import digest
from leitstand.api import permission
from leitstand.api.onboarding.retention import erase_addresses
from leitstand.cli.german_others import DENIALS, HINTS
from leitstand.core import acts as a
from leitstand.core import people
from leitstand.stores.legal import LegalIdentity
from tests.unit.faces_story import TOKEN, Plant, S, first, problem
from tests.unit.onboarding_story import DAY, later, person


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    plant = Plant(tmp_path)
    for tenant in ("acme", "beta"):
        plant.writer.cycle(a.TenantAdded(tenant, "industry", "admin"))
    return plant


@pytest.fixture
def boss(plant: Plant) -> str:
    return person(plant, ("tenant_admin", "acme"))


def issue(plant: Plant, token: str, user: str = "me", **body: Any) -> httpx2.Response:
    return plant.ask("POST", f"/v1/users/{user}/tokens", token, json=body)


def invite(plant: Plant, token: str, **body: Any) -> Any:
    answer = plant.ask("POST", "/v1/invitations", token, json={"tenant": "acme", "role": "member", **body})
    assert answer.status_code == 201, answer.text
    return answer.json()


def accept(plant: Plant, code: str, token: str = "", **body: Any) -> httpx2.Response:
    return plant.ask("POST", "/v1/invitations/accept", token, json={"code": code, **body})


def journal(plant: Plant) -> str:
    return "".join(repr(entry.fact) for entry in plant.writer.journal.read(0, 10_000))


# ── tokens ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_token_is_shown_once_and_opens_the_door_until_it_is_revoked(plant: Plant, boss: str) -> None:
    made = issue(plant, boss, expires_in="2d", scopes=["read"], tenant="acme")
    assert made.status_code == 201
    secret, token = made.json()["secret"], made.json()["token"]
    assert forms.has_form(secret, "lst")
    assert (token["scopes"], token["tenant"], token["kind"]) == (["read"], "acme", "api")
    assert plant.ask("GET", "/v1/self", secret).json()["token"]["id"] == token["id"]
    listed = plant.ask("GET", "/v1/users/me/tokens", boss)
    assert [one["id"] for one in listed.json()["items"]] == ["k1", token["id"]]
    assert secret not in listed.text
    assert secret not in journal(plant)
    assert plant.ask("DELETE", f"/v1/tokens/{token['id']}", boss).status_code == 204
    problem(plant.ask("GET", "/v1/self", secret), 401, "unauthenticated")
    problem(plant.ask("DELETE", f"/v1/tokens/{token['id']}", boss), 404, "unknown-token")


def test_a_token_ends_by_itself(plant: Plant, boss: str) -> None:
    secret = issue(plant, boss, expires_in="1d").json()["secret"]
    later(plant, DAY + S)
    problem(plant.ask("GET", "/v1/self", secret), 401, "unauthenticated")


def test_no_token_issues_a_wider_one(plant: Plant) -> None:
    roles = (("tenant_admin", "acme"), ("tenant_admin", "beta"))
    narrow = person(plant, *roles, scopes=("read", "admin"), tenant="acme")
    widers: list[dict[str, Any]] = [
        {"scopes": []},
        {"scopes": ["read", "jobs"]},
        {"scopes": ["jobs"]},
        {"tenant": ""},
        {"tenant": "beta"},
        {"scopes": [], "tenant": ""},
    ]
    for wider in widers:
        assert issue(plant, narrow, **wider).status_code == 403, wider
    alike = issue(plant, narrow).json()["token"]
    assert (alike["scopes"], alike["tenant"]) == (["read", "admin"], "acme")
    assert issue(plant, narrow, scopes=["read"]).json()["token"]["scopes"] == ["read"]
    reader = person(plant, *roles, scopes=("read",))
    assert issue(plant, reader, scopes=["read"]).status_code == 403
    assert plant.ask("POST", "/v1/signin", "", json={"token": narrow}).status_code == 204
    session = plant.faces.follower.state.people.tokens[f"k{plant.faces.follower.state.people.tokens_ever}"]
    assert (session.kind, session.scopes, session.tenant) == ("session", ("read", "admin"), "acme")


def test_a_refusal_advises_what_would_help(plant: Plant, boss: str) -> None:
    admin = (("tenant_admin", "acme"),)
    cases: list[tuple[str, str, str, str, Any]] = [
        ("read", "jobs", "GET", "/v1/tenants/acme", None),
        ("jobs", "read", "POST", "/v1/jobs", {"run": "true", "tenant": "acme"}),
        ("admin", "read", "POST", "/v1/tenants/acme/projects", {"name": "weld"}),
    ]
    for scope, narrow, method, path, body in cases:
        answer = plant.ask(method, path, person(plant, *admin, scopes=(narrow,)), json=body)
        assert problem(answer, 403, "forbidden")["hint"] == f"issue a token with the scope {scope}"
    reader = person(plant, ("viewer", "acme"))
    asked = plant.ask("POST", "/v1/tenants/acme/projects", reader, json={"name": "weld"})
    assert problem(asked, 403, "forbidden")["hint"] == permission.ASK_TENANT
    for path, body in (("acme/suspend", {"reason": "terms"}), ("", {"id": "new", "class": "industry"})):
        asked = plant.ask("POST", f"/v1/tenants/{path}".rstrip("/"), boss, json=body)
        assert problem(asked, 403, "forbidden")["hint"] == permission.ASK_PLATFORM, path
    bound = person(plant, ("operator", ""), tenant="beta")
    asked = plant.ask("POST", "/v1/tenants", bound, json={"id": "new", "class": "industry"})
    assert "bound to none" in problem(asked, 403, "forbidden")["hint"]
    admins = person(plant, *admin, scopes=("admin",))
    assert "a wider one" in problem(issue(plant, admins, scopes=["jobs"]), 403, "forbidden")["hint"]


def test_every_remedy_of_a_refusal_has_its_german(plant: Plant, boss: str) -> None:
    assert {*permission.REMEDIES.values(), permission.ASK_TENANT, permission.ASK_PLATFORM} == set(HINTS)
    forbids = {policy.id for policy in plant.faces.authorizer.policies() if policy.effect == "forbid"}
    assert set(permission.REMEDIES) == forbids
    reader = person(plant, ("tenant_admin", "acme"), scopes=("read",))
    refusals = [
        plant.ask("POST", "/v1/tenants/acme/projects", reader, json={"name": "weld"}),
        plant.ask("POST", "/v1/tenants/acme/suspend", boss, json={"reason": "terms"}),
        plant.ask("GET", "/v1/users", person(plant, ("tenant_admin", "acme"), scopes=("jobs",))),
    ]
    details = [problem(answer, 403, "forbidden")["detail"] for answer in refusals]
    for pattern in DENIALS:
        assert [detail for detail in details if re.fullmatch(pattern, detail)], (pattern, details)


def test_nobody_issues_for_another_but_operators(plant: Plant, boss: str) -> None:
    member = person(plant, ("member", "acme"))
    problem(issue(plant, boss, "u2"), 403, "forbidden")
    problem(issue(plant, member, "u1"), 404, "unknown-user")
    problem(issue(plant, TOKEN, "u99"), 404, "unknown-user")
    assert issue(plant, TOKEN, "u2").json()["token"]["user"] == "u2"
    assert issue(plant, TOKEN).json()["token"]["user"] == "admin"


def test_a_token_is_bound_to_no_tenant_that_one_cannot_see(plant: Plant, boss: str) -> None:
    there = problem(issue(plant, boss, tenant="beta"), 404, "unknown-tenant")
    missing = problem(issue(plant, boss, tenant="nope"), 404, "unknown-tenant")
    assert there["detail"].replace("beta", "nope") == missing["detail"]


def test_faults_of_a_token_come_all_at_once_and_limits_are_named(
    plant: Plant, boss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = issue(plant, boss, expires_in="soon", scopes=["fly"], tenant="A!")
    fault = problem(answer, 400, "invalid-request")
    assert [one["where"] for one in fault["errors"]] == ["/expires_in", "/scopes", "/tenant"]
    long = problem(issue(plant, boss, expires_in="367d"), 400, "invalid-request")
    assert long["errors"][0]["what"] == "is 367d; the longest life of a token is 366d"
    assert issue(plant, boss, expires_in="366d").status_code == 201
    monkeypatch.setattr(people, "TOKENS_MAX", 2)
    assert "2 tokens" in problem(issue(plant, boss), 429, "busy")["detail"]


def test_tokens_of_others_are_listed_and_revoked_where_they_are_valid_alone(plant: Plant, boss: str) -> None:
    person(plant, ("member", "acme"))  # u2, k2
    person(plant, ("member", "acme"), ("member", "beta"), tenant="acme")  # u3, k3
    person(plant, ("member", "beta"))  # u4, k4
    plant.writer.cycle(a.TokenIssued("", "u3", "9" * 64, plant.writer.now + DAY))  # k5, everywhere
    listed = plant.ask("GET", "/v1/users/u3/tokens", boss).json()["items"]
    assert [one["id"] for one in listed] == ["k3"]
    problem(plant.ask("GET", "/v1/users/u4/tokens", boss), 404, "unknown-user")
    member = person(plant, ("member", "acme"))
    problem(plant.ask("GET", "/v1/users/u2/tokens", member), 404, "unknown-user")
    for hidden in ("k4", "k99"):
        detail = problem(plant.ask("DELETE", f"/v1/tokens/{hidden}", boss), 404, "unknown-token")["detail"]
        assert detail == f"there is no token '{hidden}'"
    assert plant.ask("DELETE", "/v1/tokens/k5", boss).status_code in (403, 404)
    for own in ("k2", "k3"):
        assert plant.ask("DELETE", f"/v1/tokens/{own}", boss).status_code == 204
    assert set(plant.faces.follower.state.people.tokens) == {"k1", "k4", "k5", "k6"}


# ── invitations ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_invitation_makes_an_account_whose_person_is_not_in_the_journal(plant: Plant, boss: str) -> None:
    made = invite(plant, boss, email="eve@acme.example")
    assert (made["state"], made["email"]) == ("open", "eve@acme.example")
    came = accept(plant, made["code"], name="Eve Adams").json()
    assert (came["user"]["name"], came["tenant"], came["role"]) == ("Eve Adams", "acme", "member")
    me = plant.ask("GET", "/v1/self", came["secret"]).json()
    assert me["user"] == {"id": "u2", "name": "Eve Adams", "email": "eve@acme.example"}
    listed = plant.ask("GET", "/v1/invitations", boss)
    (shown,) = listed.json()["items"]
    assert (shown["state"], shown["email"], shown["accepted_by"]["name"]) == ("accepted", "", "Eve Adams")
    assert made["code"] not in listed.text
    kept = journal(plant)
    assert all(word not in kept for word in ("Eve", "eve@", made["code"], came["secret"]))


def test_a_lost_answer_is_given_again_within_an_hour(plant: Plant, boss: str) -> None:
    code = invite(plant, boss, email="eve@acme.example")["code"]
    lost = accept(plant, code, name="Eve Adams").json()
    again = accept(plant, code).json()
    assert again["user"] == lost["user"]
    problem(plant.ask("GET", "/v1/self", lost["secret"]), 401, "unauthenticated")
    assert plant.ask("GET", "/v1/self", again["secret"]).json()["user"]["email"] == "eve@acme.example"
    later(plant, DAY // 12)
    problem(accept(plant, code), 409, "conflict")


def test_who_is_signed_in_gets_the_role_and_no_token(plant: Plant, boss: str) -> None:
    known = person(plant, ("viewer", "beta"))
    came = accept(plant, invite(plant, boss)["code"], known, name="Somebody Else")
    assert came.status_code == 200
    assert set(came.json()) == {"user", "tenant", "role", "project"}
    assert came.json()["user"] == {"id": "u2", "name": ""}  # a name is not changed by accepting
    tenants = [one["tenant"] for one in plant.ask("GET", "/v1/self", known).json()["roles"]]
    assert tenants == ["acme", "beta"]
    problem(accept(plant, invite(plant, boss)["code"], TOKEN), 409, "conflict")


def test_every_code_that_opens_nothing_gets_the_same_answer_and_then_waits(plant: Plant, boss: str) -> None:
    expired = invite(plant, boss, expires_in="1m")["code"]
    withdrawn = invite(plant, boss)
    later(plant, 61 * S)
    assert plant.ask("DELETE", f"/v1/invitations/{withdrawn['id']}", boss).status_code == 204
    wrong = [expired, withdrawn["code"], "lsi_" + "x" * 43, "x", "", boss, "\ud800"]
    answers = []
    for code in wrong:
        raw = json.dumps({"code": code}).encode()
        answer = plant.ask("POST", "/v1/invitations/accept", "", content=raw)
        if answer.status_code == 400:  # no valid Unicode: no code at all
            continue
        answers.append({**problem(answer, 404, "unknown-invitation"), "request_id": ""})
        assert not code or len(code) < 5 or code not in answer.text
    assert len(answers) >= 6
    assert all(one == answers[0] for one in answers)
    for _ in range(40):
        last = accept(plant, "lsi_" + "y" * 43)
    problem(last, 429, "too-many-attempts")
    assert int(last.headers["retry-after"]) > 0
    assert (
        accept(plant, invite(plant, boss)["code"], name="Eve").status_code == 200
    )  # what is right never waits


def test_who_may_invite_whom_where(plant: Plant, boss: str) -> None:
    member = person(plant, ("member", "acme"))
    for token, body, status in (
        (member, {"tenant": "acme", "role": "viewer"}, 403),
        (boss, {"tenant": "beta", "role": "viewer"}, 404),
        (boss, {"role": "operator"}, 403),
        (boss, {"tenant": "acme", "role": "operator"}, 400),
        (boss, {"tenant": "acme", "role": "viewer", "email": "nobody"}, 400),
        (boss, {"tenant": "acme", "role": "viewer", "expires_in": "31d"}, 400),
        (TOKEN, {"role": "operator"}, 201),
    ):
        assert plant.ask("POST", "/v1/invitations", token, json=body).status_code == status, body
    assert plant.ask("GET", "/v1/invitations", boss).json()["items"] == []
    detail = problem(plant.ask("DELETE", "/v1/invitations/i1", boss), 404, "unknown-invitation")["detail"]
    assert (
        detail.replace("i1", "i9")
        == problem(plant.ask("DELETE", "/v1/invitations/i9", boss), 404, "unknown-invitation")["detail"]
    )


def test_withdrawing_erases_the_address(plant: Plant, boss: str) -> None:
    made = invite(plant, boss, email="eve@acme.example")
    assert plant.faces.people.invitations([made["id"]]) == {made["id"]: "eve@acme.example"}
    plant.ask("DELETE", f"/v1/invitations/{made['id']}", boss)
    assert plant.faces.people.invitations([made["id"]]) == {}


def test_addresses_of_invitations_that_are_over_are_erased(plant: Plant, boss: str) -> None:
    plant.writer.cycle(a.TenantAdded("industrie-nord", "industry", "admin"))
    legal = LegalIdentity("Nord GmbH", "Weg 1", "1", "Ort", "DE", "large")
    plant.faces.people.put_legal("industrie-nord", legal)
    taken = invite(plant, boss, email="ada@acme.example")
    plant.writer.cycle(a.AcceptInvitation(digest(taken["code"]), "d" * 64, plant.writer.now + 30 * DAY))
    invite(plant, boss, email="bob@acme.example", expires_in="1d")
    invite(plant, boss, email="eve@acme.example", expires_in="7d")
    plant.faces.people.put_invitation("i99", "nobody@acme.example")

    def left() -> list[str]:
        first(erase_addresses(plant.faces))
        return sorted(plant.faces.people.subjects("i"))

    assert left() == ["i1", "i2", "i3", "industrie-nord"], "the answer to the first may have been lost"
    later(plant, 2 * 3600 * S)
    assert left() == ["i2", "i3", "industrie-nord"]
    later(plant, DAY)
    assert left() == ["i3", "industrie-nord"]
    later(plant, 6 * DAY)
    assert left() == ["industrie-nord"]
