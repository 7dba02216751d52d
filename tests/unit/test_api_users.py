# SPDX-License-Identifier: Apache-2.0
"""What the API promises about people: who sees, adds and erases whom, who grants which role where, what one may."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from leitstand.api.tenancy.leftovers import erase_of_the_gone
from leitstand.core import acts as a
from leitstand.core import people
from leitstand.stores.people import Person
from tests.unit.faces_story import TOKEN, Plant, first, left_by, problem
from tests.unit.onboarding_story import file, person


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """Tenants acme (with project lab) and beta."""
    plant = Plant(tmp_path)
    for tenant in ("acme", "beta"):
        plant.writer.cycle(a.TenantAdded(tenant, "industry", "admin"))
    plant.writer.cycle(a.ProjectAdded("acme", "lab", "admin"))
    return plant


@pytest.fixture
def boss(plant: Plant) -> str:
    """The token of u1, who administers acme."""
    secret = person(plant, ("tenant_admin", "acme"))
    plant.faces.people.put_person("u1", Person("Ada Lovelace", "ada@acme.example"))
    return secret


def add(plant: Plant, *roles: tuple[str, ...]) -> str:
    """A user with these roles; its id."""
    person(plant, *roles)
    return f"u{plant.faces.follower.state.people.users_ever}"


def ids(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["items"]]


def grant(plant: Plant, token: str, user: str, role: str, *place: str) -> httpx2.Response:
    tenant, project = (*place, "", "")[:2]
    body = {"role": role, "tenant": tenant, "project": project}
    return plant.ask("POST", f"/v1/users/{user}/roles", token, json=body)


def acts(plant: Plant) -> list[str]:
    return [type(entry.fact).__name__ for entry in plant.writer.journal.read(0, 10_000)]


# ── self ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_self_says_who_one_is_by_which_token_and_with_which_roles(plant: Plant, boss: str) -> None:
    plant.writer.cycle(a.RoleGranted("u1", "viewer", "beta", by="admin"))
    me = plant.ask("GET", "/v1/self", boss).json()
    assert me["user"] == {"id": "u1", "name": "Ada Lovelace", "email": "ada@acme.example"}
    assert (me["token"]["id"], me["token"]["kind"], me["token"]["tenant"]) == ("k1", "api", "")
    assert [(one["role"], one["tenant"]) for one in me["roles"]] == [
        ("tenant_admin", "acme"),
        ("viewer", "beta"),
    ]
    assert me["home"] is None  # there is a choice
    assert plant.ask("GET", "/v1/users/me", boss).json()["id"] == "u1"


def test_a_token_bound_to_a_tenant_tells_nothing_of_roles_elsewhere(plant: Plant) -> None:
    secret = person(plant, ("viewer", "acme"), ("viewer", "beta"), tenant="acme")
    me = plant.ask("GET", "/v1/self", secret).json()
    assert [one["tenant"] for one in me["roles"]] == ["acme"]
    assert me["home"] == {"tenant": "acme", "project": "default"}


def test_the_administrator_has_a_name_and_no_end(plant: Plant) -> None:
    me = plant.ask("GET", "/v1/self").json()
    assert me["user"] == {"id": "admin", "name": "administrator", "email": ""}
    assert me["token"]["expires_at"] is None


# ── users ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_operator_adds_a_user_whose_name_is_not_in_the_journal(plant: Plant, boss: str) -> None:
    body = {"name": "Grace Hopper", "email": "grace@example.org"}
    problem(plant.ask("POST", "/v1/users", boss, json=body), 403, "forbidden")
    answer = plant.ask("POST", "/v1/users", json=body)
    assert (answer.status_code, answer.json()["id"], answer.json()["name"]) == (201, "u2", "Grace Hopper")
    assert all("Grace" not in repr(entry) for entry in plant.writer.journal.read(0, 10_000))
    fault = problem(plant.ask("POST", "/v1/users", json={"name": " ", "email": "x"}), 400, "invalid-request")
    assert [one["where"] for one in fault["errors"]] == ["/name", "/email"]


def test_listings_show_the_users_of_a_tenant_with_their_roles_there_alone(plant: Plant, boss: str) -> None:
    both = add(plant, ("member", "acme", "lab"), ("viewer", "beta"))
    other = add(plant, ("viewer", "beta"))
    nobody = add(plant)
    assert ids(plant.ask("GET", "/v1/users", boss)) == ["u1", both]
    (shown,) = [one for one in plant.ask("GET", "/v1/users", boss).json()["items"] if one["id"] == both]
    assert [(one["role"], one["tenant"], one["project"]) for one in shown["roles"]] == [
        ("member", "acme", "lab")
    ]
    assert ids(plant.ask("GET", "/v1/users")) == ["u1", both, other, nobody]
    assert ids(plant.ask("GET", "/v1/users?tenant=beta")) == [both, other]
    problem(plant.ask("GET", "/v1/users?tenant=beta", boss), 404, "unknown-tenant")
    assert plant.ask("GET", f"/v1/users/{both}", boss).json()["roles"] == shown["roles"]
    assert (
        problem(plant.ask("GET", f"/v1/users/{other}", boss), 404, "unknown-user")["detail"].replace(
            other, "u999"
        )
        == problem(plant.ask("GET", "/v1/users/u999", boss), 404, "unknown-user")["detail"]
    )


def test_users_come_in_pages_that_a_removal_does_not_shift(plant: Plant) -> None:
    for _ in range(4):
        add(plant)
    first = plant.ask("GET", "/v1/users?limit=2").json()
    assert [one["id"] for one in first["items"]] == ["u1", "u2"]
    plant.writer.cycle(a.UserRemoved("u1", "admin"))
    rest = plant.ask("GET", f"/v1/users?limit=2&cursor={first['next_cursor']}")
    assert ids(rest) == ["u3", "u4"]
    assert rest.json()["next_cursor"] is None


# ── roles ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("path", ["/v1/users?tenant=acme", "/v1/tenants/acme/members"])
def test_others_are_answered_while_a_listing_walks_over_very_many(plant: Plant, boss: str, path: str) -> None:
    users = plant.faces.follower.state.people.users
    users.update((f"u{number}", people.User(f"u{number}")) for number in range(100, 10_000))
    turns = 0

    async def main(client: httpx2.AsyncClient) -> None:
        nonlocal turns
        listing = asyncio.create_task(client.get(path))
        while not listing.done():
            turns += 1
            await asyncio.sleep(0)
        assert listing.result().status_code == 200

    plant.run(main, boss)
    assert turns > 9


def test_an_administrator_grants_and_revokes_in_the_own_tenant_alone(plant: Plant, boss: str) -> None:
    user = add(plant, ("viewer", "acme"))
    assert grant(plant, boss, user, "member", "acme", "lab").status_code == 201
    assert grant(plant, boss, user, "member", "acme", "lab").status_code == 200
    assert grant(plant, boss, user, "auditor", "acme").status_code == 201
    problem(grant(plant, boss, user, "member", "beta"), 404, "unknown-tenant")
    problem(grant(plant, boss, user, "operator"), 403, "forbidden")
    problem(grant(plant, boss, user, "auditor"), 403, "forbidden")  # of the platform
    problem(grant(plant, boss, user, "tenant_admin", "acme", "lab"), 400, "invalid-request")
    gone = plant.ask("DELETE", f"/v1/users/{user}/roles?role=member&tenant=acme&project=lab", boss)
    assert gone.status_code == 204
    roles = plant.ask("GET", f"/v1/users/{user}", boss).json()["roles"]
    assert sorted(one["role"] for one in roles) == ["auditor", "viewer"]
    query = "role=viewer&tenant=beta"
    problem(plant.ask("DELETE", f"/v1/users/{user}/roles?{query}", boss), 404, "unknown-tenant")


def test_nobody_makes_a_stranger_a_member_in_order_to_read_and_erase_that_person(
    plant: Plant, boss: str
) -> None:
    plant.faces.people.put_person(other := add(plant), Person("Secret Name", "s@example.org"))
    before = plant.writer.journal.head.seq
    there = problem(grant(plant, boss, other, "viewer", "acme"), 404, "unknown-user")
    missing = problem(grant(plant, boss, "u999", "viewer", "acme"), 404, "unknown-user")
    assert there["detail"].replace(other, "u999") == missing["detail"]
    problem(plant.ask("DELETE", f"/v1/users/{other}", boss), 404, "unknown-user")
    assert plant.writer.journal.head.seq == before
    assert grant(plant, TOKEN, other, "viewer", "acme").status_code == 201


def test_a_member_and_a_token_without_the_scope_grant_nothing(plant: Plant) -> None:
    member = person(plant, ("member", "acme"))
    problem(grant(plant, member, "me", "tenant_admin", "acme"), 403, "forbidden")
    narrow = person(plant, ("tenant_admin", "acme"), scopes=("read", "jobs"))
    problem(grant(plant, narrow, "me", "member", "acme"), 403, "forbidden")
    bound = person(plant, ("tenant_admin", "acme"), ("tenant_admin", "beta"), tenant="acme")
    problem(grant(plant, bound, "me", "member", "beta"), 404, "unknown-tenant")


# ── erasure ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_erasing_a_user_ends_tokens_jobs_and_what_is_known_at_once(plant: Plant, boss: str) -> None:
    token = person(plant, ("member", "acme"))
    plant.faces.people.put_person("u2", Person("Eve", "eve@example.org", "https://id", "sub-7"))
    job = plant.ask("POST", "/v1/jobs", token, json={"run": ["true"], "name": "eves-job"}).json()["id"]
    assert plant.ask("DELETE", "/v1/users/u2", boss).status_code == 204
    problem(plant.ask("GET", "/v1/self", token), 401, "unauthenticated")
    assert plant.faces.people.person("u2") is None
    assert plant.faces.people.find_login("https://id", "sub-7") is None
    assert plant.ask("GET", f"/v1/jobs/{job}", boss).json()["name"] == ""
    assert plant.faces.follower.state.jobs[job].state == "stopping"
    assert acts(plant)[-2:] == ["UserRemoved", "RecordsErased"]
    by = plant.ask("GET", "/v1/acts?limit=2").json()["items"]
    assert [(one["act"], one["by"]["name"], one["subject"]) for one in by] == [
        ("RecordsErased", "Ada Lovelace", "u2"),
        ("UserRemoved", "Ada Lovelace", "u2"),
    ]
    problem(plant.ask("DELETE", "/v1/users/u2", boss), 404, "unknown-user")


def test_an_erasure_that_was_cut_short_is_done_again(plant: Plant) -> None:
    add(plant)
    plant.writer.cycle(a.UserRemoved("u1", "admin"))  # and then the faces died
    plant.faces.people.put_person("u1", Person("Eve", "eve@example.org"))
    assert plant.ask("DELETE", "/v1/users/u1").status_code == 204
    assert plant.faces.people.person("u1") is None
    assert acts(plant)[-1] == "RecordsErased"
    seq = plant.writer.journal.head.seq
    assert plant.ask("DELETE", "/v1/users/u1").status_code == 204
    assert plant.writer.journal.head.seq == seq
    for never in ("u2", "u01", "x1"):
        problem(plant.ask("DELETE", f"/v1/users/{never}"), 404, "unknown-user")


def test_who_has_roles_elsewhere_too_is_erased_by_operators_alone(plant: Plant, boss: str) -> None:
    for roles in ([("viewer", "acme"), ("viewer", "beta")], [("viewer", "acme"), ("reviewer",)]):
        user = add(plant, *roles)
        problem(plant.ask("DELETE", f"/v1/users/{user}", boss), 404, "unknown-user")
        assert user in plant.faces.follower.state.people.users
    assert plant.ask("DELETE", "/v1/users/u2").status_code == 204
    problem(plant.ask("DELETE", "/v1/users/admin"), 409, "conflict")


def test_what_runs_of_an_erased_user_left_goes_at_once_and_when_the_last_one_has_ended(
    plant: Plant, tmp_path: Path
) -> None:
    token, other = person(plant, ("member", "acme")), person(plant, ("member", "acme"))
    for asker in (token, token, other):
        plant.ask("POST", "/v1/jobs", asker, json={"run": ["true"], "resources": {"gpus": 1}})
    left = [left_by(tmp_path, f"acme-{number}") for number in (1, 2, 3)]
    plant.finish("acme-1.1")
    assert plant.ask("DELETE", "/v1/users/u1").status_code == 204
    assert [[one.exists() for one in folders] for folders in left] == [[False] * 3, [True] * 3, [True] * 3]
    assert first(erase_of_the_gone(plant.faces)) == 0
    plant.finish("acme-2.1")
    assert first(erase_of_the_gone(plant.faces)) == 3
    assert [[one.exists() for one in folders] for folders in left] == [[False] * 3, [False] * 3, [True] * 3]


def test_the_open_stream_of_an_erased_user_ends(plant: Plant) -> None:
    token = person(plant, ("member", "acme"))

    async def main(client: httpx2.AsyncClient) -> None:
        listening = asyncio.create_task(
            client.get("/v1/events", headers={"Authorization": f"Bearer {token}"})
        )
        await asyncio.sleep(0)
        while not plant.faces.limits._under_way:
            await asyncio.sleep(0)
        assert (await client.delete("/v1/users/u1")).status_code == 204
        assert (await listening).status_code == 200

    plant.run(main)


# ── may I? ────────────────────────────────────────────────────────────────────────────────────────────────────────
def can_i(plant: Plant, token: str, **asked: str) -> Any:
    answer = plant.ask("GET", "/v1/can-i", token, params=asked)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    return found["allowed"], sorted(one["id"] for one in found["policies"])


def test_can_i_gives_the_decision_and_the_policies_that_made_it(plant: Plant, boss: str) -> None:
    both = ["member", "tenant-admin"]  # who administers is a member, too
    assert can_i(plant, boss, action="job:submit", tenant="acme", project="lab") == (True, both)
    assert can_i(plant, boss, action="job:submit", tenant="beta") == (False, [])
    assert can_i(plant, boss, action="tenant:suspend", tenant="acme") == (False, [])
    assert can_i(plant, boss, action="user:list", tenant="acme") == (True, ["tenant-admin"])
    assert can_i(plant, boss, action="user:list") == (False, [])
    assert can_i(plant, boss, action="user:read") == (True, ["oneself", "tenant-admin"])
    narrow = person(plant, ("member", "acme"), scopes=("read",))
    assert can_i(plant, narrow, action="job:submit", tenant="acme") == (False, ["scope-jobs"])
    policy = plant.ask("GET", "/v1/can-i?action=node:list", boss).json()["policies"][0]
    assert policy["effect"] == "permit"
    assert policy["serves"]
    assert "permit (" in policy["text"]


def test_can_i_says_the_same_of_what_is_hidden_and_what_is_not_there(plant: Plant, boss: str) -> None:
    plant.writer.cycle(a.RoleGranted(other := add(plant), "member", "beta", by="admin"))
    job = plant.submit(tenant="beta").json()["id"]
    for asked in (
        {"action": "job:read", "job": job},
        {"action": "job:read", "job": "beta-99"},
        {"action": "user:read", "user": other},
        {"action": "user:read", "user": "u99"},
        {"action": "application:read", "application": "a1"},
    ):
        assert can_i(plant, boss, **asked) == (False, [])
    assert can_i(plant, TOKEN, action="job:read", job=job) == (True, ["operator"])
    fault = problem(plant.ask("GET", "/v1/can-i?action=job:fly", boss), 400, "invalid-request")
    assert "job:submit" in fault["errors"][0]["what"]
    wrong = problem(plant.ask("GET", "/v1/can-i?action=job:read&kind=tenant", boss), 400, "invalid-request")
    assert "is done to job" in wrong["detail"]


# ── acts ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_acts_are_read_by_who_audits_and_never_show_a_digest(plant: Plant, boss: str) -> None:
    made = plant.ask("POST", "/v1/invitations", boss, json={"tenant": "acme", "role": "viewer"}).json()
    plant.ask("POST", "/v1/users/me/tokens", boss, json={"tenant": "acme"})
    page = plant.ask("GET", "/v1/acts?limit=2", boss).json()
    assert [(one["act"], one["tenant"], one["by"]["name"]) for one in page["items"]] == [
        ("TokenIssued", "acme", "Ada Lovelace"),
        ("InvitationIssued", "acme", "Ada Lovelace"),
    ]
    assert page["items"][0]["person"] == {"id": "u1", "name": "Ada Lovelace"}
    assert page["items"][1]["subject"] == made["id"]
    more = plant.ask("GET", f"/v1/acts?limit=2&cursor={page['next_cursor']}", boss).json()["items"]
    assert max(one["seq"] for one in more) < min(one["seq"] for one in page["items"])
    everything = plant.ask("GET", "/v1/acts?limit=1000").json()["items"]
    assert {one["act"] for one in everything} >= {"NodeAdded", "TenantAdded", "UserAdded", "TokenIssued"}
    assert all("digest" not in one["body"] for one in everything)
    assert {one["tenant"] for one in plant.ask("GET", "/v1/acts?limit=1000", boss).json()["items"]} == {
        "acme"
    }
    problem(plant.ask("GET", "/v1/acts?tenant=beta", boss), 404, "unknown-tenant")
    viewer = person(plant, ("viewer", "acme"))
    problem(plant.ask("GET", "/v1/acts?tenant=acme", viewer), 403, "forbidden")


def test_an_act_does_not_show_by_which_digest_a_note_is_kept(plant: Plant) -> None:
    filed = file(plant)
    body = {"outcome": "passed", "note": "seen the register"}
    assert plant.ask("POST", f"/v1/applications/{filed['id']}/checks/identity", json=body).status_code == 200
    (act,) = plant.ask("GET", "/v1/acts?limit=1").json()["items"]
    assert act["act"] == "CheckRecorded"
    assert set(act["body"]) == {"application", "check", "outcome"}
