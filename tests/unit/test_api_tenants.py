# SPDX-License-Identifier: Apache-2.0
"""What the API promises about tenants: their life, legal identity, projects, budgets, members and erasure."""

import hashlib
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from leitstand.access import tokens
from leitstand.api.onboarding.applicationview import record_of
from leitstand.core import acts as a
from leitstand.core.facts import RulesSet
from leitstand.core.rules import TENANT_CLASSES, Rules
from leitstand.core.state import State
from leitstand.core.units import HOUR_US
from leitstand.runtime.follower import Follower
from leitstand.runtime.spec import RunSpec
from leitstand.stores.people import Person
from tests.unit.archives import archive
from tests.unit.faces_story import TOKEN, Plant, left_by, problem
from tests.unit.onboarding_story import DAY, LEGAL, join, later, person


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


@pytest.fixture
def acme(plant: Plant) -> str:
    """The token of an administrator of the tenant acme, who is u1."""
    plant.ask("POST", "/v1/tenants", json={"id": "acme"})
    return person(plant, ("tenant_admin", "acme"))


def post(plant: Plant, path: str, body: Any = None, token: str = TOKEN, **headers: str) -> Any:
    return plant.ask("POST", f"/v1/tenants/{path}", token, json=body, headers=headers)


def leave(plant: Plant, tenant: str = "acme") -> None:
    """Notice, transition and retrieval pass."""
    assert post(plant, f"{tenant}/exit", {"notice": "1d"}).status_code == 200
    for days in (2, 31, 31):
        later(plant, days * DAY)


# ── reading and adding ────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("tenant", ["admin", "platform", "me", "u1", "b22", "Acme", "a.b"])
def test_ids_that_could_be_taken_for_something_else_are_refused(plant: Plant, tenant: str) -> None:
    problem(plant.ask("POST", "/v1/tenants", json={"id": tenant}), 400, "invalid-request")


def test_tenants_come_in_pages(plant: Plant) -> None:
    for name in ("one", "two", "three"):
        plant.ask("POST", "/v1/tenants", json={"id": name})
    first = plant.ask("GET", "/v1/tenants?limit=3").json()
    assert [one["id"] for one in first["items"]] == ["operator", "one", "two"]
    rest = plant.ask("GET", f"/v1/tenants?cursor={first['next_cursor']}").json()
    assert ([one["id"] for one in rest["items"]], rest["next_cursor"]) == (["three"], None)


def test_a_project_member_sees_its_tenant_and_its_project_and_no_more(plant: Plant) -> None:
    token = join(plant, "acme")
    post(plant, "acme/projects", {"name": "weld"}, token)
    viewer = person(plant, ("viewer", "acme", "weld"))
    tenant = plant.ask("GET", "/v1/tenants/acme", viewer).json()
    assert [one["name"] for one in tenant["projects"]] == ["weld"]
    assert ([one["id"] for one in tenant["budgets"]], tenant["name"]) == (["b1"], "")
    assert [one["id"] for one in plant.ask("GET", "/v1/tenants", viewer).json()["items"]] == ["acme"]
    listed = plant.ask("GET", "/v1/tenants/acme/projects", viewer).json()["items"]
    assert listed == [{"name": "weld", "open": True}]
    members = plant.ask("GET", "/v1/tenants/acme/members", viewer).json()["items"]
    assert [(one["user"]["id"], one["role"], one["project"]) for one in members] == [("u2", "viewer", "weld")]


def test_one_tenant_neither_sees_nor_touches_another(plant: Plant, acme: str) -> None:
    plant.ask("POST", "/v1/tenants", json={"id": "other"})
    before = plant.writer.journal.head.seq
    calls: list[tuple[str, str, Any]] = [
        ("GET", "", None), ("GET", "/legal", None), ("PUT", "/legal", LEGAL), ("GET", "/projects", None),
        ("POST", "/projects", {"name": "p"}), ("GET", "/budgets", None), ("GET", "/members", None),
        ("POST", "/budgets", {"gpu_hours": 1, "expires_in": "1d"}), ("GET", "/export", None),
        ("POST", "/suspend", {"reason": "terms"}), ("POST", "/resume", None), ("POST", "/exit", {}),
        ("POST", "/extend-exit", {"until": "2030-01-01T00:00:00Z", "whose": "customer"}), ("POST", "/erase", None),
    ]  # fmt: skip
    for method, path, body in calls:
        for tenant in ("other", "nope"):
            answer = plant.ask(method, f"/v1/tenants/{tenant}{path}", acme, json=body)
            assert f"'{tenant}'" in problem(answer, 404, "unknown-tenant")["detail"]
    answer = plant.ask("POST", "/v1/tenants/other/projects/default/close", acme)
    problem(answer, 404, "unknown-project")
    assert plant.writer.journal.head.seq == before


def test_an_administrator_may_not_suspend_erase_or_grant(plant: Plant, acme: str) -> None:
    problem(post(plant, "acme/suspend", {"reason": "terms"}, acme), 403, "forbidden")
    problem(post(plant, "acme/erase", None, acme), 403, "forbidden")
    problem(post(plant, "acme/budgets", {"gpu_hours": 1, "expires_in": "1d"}, acme), 403, "forbidden")


# ── suspension ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_suspension_stops_what_runs_if_it_is_what_was_expected(plant: Plant, acme: str) -> None:
    plant.submit(tenant="acme")
    wrong = post(plant, "acme/suspend", {"reason": "unpaid", "running": "stop", "expect": 3})
    assert "1 jobs running, not 3" in problem(wrong, 412, "changed")["detail"]
    answer = post(plant, "acme/suspend", {"reason": "unpaid", "running": "stop", "expect": 1})
    assert (answer.status_code, answer.json()["suspended"]) == (200, "unpaid")
    assert plant.ask("GET", "/v1/jobs/acme-1").json()["state"] == "stopping"
    again = post(plant, "acme/suspend", {"reason": "unpaid", "running": "stop"})
    assert again.status_code == 200, "the answer to an earlier try may have been lost"
    problem(post(plant, "acme/suspend", {"reason": "terms"}), 409, "conflict")
    problem(plant.submit(tenant="acme"), 422, "tenant_suspended")
    for _ in range(2):
        assert post(plant, "acme/resume").json()["suspended"] == ""
    assert plant.submit(tenant="acme").status_code == 201


def test_acts_do_nothing_if_somebody_else_acted_meanwhile(plant: Plant, acme: str) -> None:
    tag = plant.ask("GET", "/v1/tenants/acme").headers["etag"]
    plant.submit(tenant="acme")
    assert plant.ask("GET", "/v1/tenants/acme").headers["etag"] == tag, "jobs are no acts"
    post(plant, "acme/projects", {"name": "weld"}, acme)
    for path, body in (
        ("suspend", {"reason": "terms"}),
        ("exit", {}),
        ("budgets", {"gpu_hours": 1, "expires_in": "1d"}),
    ):
        problem(post(plant, f"acme/{path}", body, **{"If-Match": tag}), 412, "changed")
    fresh = plant.ask("GET", "/v1/tenants/acme").headers["etag"]
    assert post(plant, "acme/suspend", {"reason": "terms"}, **{"If-Match": fresh}).status_code == 200


def test_the_built_in_tenant_stays(plant: Plant) -> None:
    problem(post(plant, "operator/suspend", {"reason": "terms"}), 409, "conflict")
    problem(post(plant, "operator/exit", {}), 409, "conflict")


# ── exit ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_exit_has_the_timers_of_the_law(plant: Plant, acme: str) -> None:
    for _ in range(2):
        answer = post(plant, "acme/exit", {}, acme).json()
    assert answer["stage"] == "notice"
    times = answer["times"]
    assert times["transition_at"][:10] == "1970-03-02"  # 60 days
    assert times["retrieval_at"][:10] == "1970-04-01"  # 30 more
    assert times["closed_at"][:10] == "1970-05-01"  # 30 more
    problem(post(plant, "acme/exit", {"notice": "1d"}, acme), 409, "conflict")
    extended = {"until": "1970-09-01T00:00:00Z", "whose": "customer"}
    for _ in range(2):
        times = post(plant, "acme/extend-exit", extended, acme).json()["times"]
        assert (times["retrieval_at"], times["extended"]) == ("1970-09-01T00:00:00Z", ["customer"])
    for until in ("1970-08-01T00:00:00Z", "1971-01-01T00:00:00Z", "1970-09-02T00:00:00"):
        later_still = {"until": until, "whose": "provider"}
        problem(post(plant, "acme/extend-exit", later_still, acme), 400, "invalid-request")
    again = {"until": "1970-09-02T00:00:00Z", "whose": "customer"}
    assert (
        "which it may once"
        in problem(post(plant, "acme/extend-exit", again, acme), 409, "conflict")["detail"]
    )


def test_the_customer_extends_beyond_what_the_provider_may(plant: Plant, acme: str) -> None:
    post(plant, "acme/exit", {}, acme)
    for whose, until, latest in (
        ("provider", "1970-10-02T00:00:00Z", "1970-10-01"),  # 213 days after the notice of 60
        ("customer", "1972-03-02T00:00:00Z", "1972-03-01"),  # 730 days
    ):
        asked = {"until": until, "whose": whose}
        found = problem(post(plant, "acme/extend-exit", asked, acme), 400, "invalid-request")
        assert f"by {latest}T" in found["errors"][0]["what"]
        assert f"the {whose} may ask for" in found["errors"][0]["what"]
    longest = {"until": "1972-02-28T00:00:00Z", "whose": "customer"}
    times = post(plant, "acme/extend-exit", longest, acme).json()["times"]
    assert times["retrieval_at"] == "1972-02-28T00:00:00Z"
    again = {"until": "1972-02-29T00:00:00Z", "whose": "customer"}
    found = problem(post(plant, "acme/extend-exit", again, acme), 409, "conflict")
    assert "the customer has extended the transition already" in found["detail"]
    late = {"until": "1975-01-01T00:00:00Z", "whose": "customer"}
    problem(post(plant, "acme/extend-exit", late, acme), 409, "conflict")


def test_a_notice_is_no_longer_than_the_law_allows(plant: Plant, acme: str) -> None:
    found = problem(post(plant, "acme/exit", {"notice": "61d"}, acme), 400, "invalid-request")
    assert found["errors"] == [{"where": "/notice", "what": "is 61d; the longest notice is 60d"}]


# ── legal identity ────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_changed_legal_identity_is_a_fact_with_its_author_and_without_its_words(
    plant: Plant, acme: str
) -> None:
    def facts() -> list[a.LegalIdentityChanged]:
        kept = (entry.fact for entry in plant.writer.journal.read(0))
        return [fact for fact in kept if isinstance(fact, a.LegalIdentityChanged)]

    path = "/v1/tenants/acme/legal"
    for _ in range(2):  # said again, it changes nothing
        assert plant.ask("PUT", path, acme, json=LEGAL).status_code == 200
    assert facts() == [a.LegalIdentityChanged("acme", "u1")]
    shown = plant.ask("GET", "/v1/acts?tenant=acme", acme).json()["items"]
    assert [one["by"]["id"] for one in shown if one["act"] == "LegalIdentityChanged"] == ["u1"]


def test_two_changes_of_a_legal_identity_at_once_are_not_both_made(
    plant: Plant, acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, ask = "/v1/tenants/acme/legal", Follower.ask
    tag = plant.ask("PUT", path, acme, json=LEGAL).headers["etag"]
    kept = plant.faces.people.legal("acme")
    assert kept is not None
    other = msgspec.structs.replace(kept, city="Emden")

    async def ask_while_another_writes(*given: Any) -> Any:
        plant.faces.people.put_legal("acme", other)
        return await ask(*given)

    monkeypatch.setattr(Follower, "ask", ask_while_another_writes)
    mine = plant.ask("PUT", path, acme, json={**LEGAL, "city": "Aurich"}, headers={"If-Match": tag})
    problem(mine, 412, "changed")
    assert plant.faces.people.legal("acme") == other


def test_a_legal_identity_changes_only_from_the_state_that_was_read(plant: Plant, acme: str) -> None:
    path = "/v1/tenants/acme/legal"
    problem(plant.ask("GET", path, acme), 404, "unknown-legal")
    first = plant.ask("PUT", path, acme, json=LEGAL)
    assert (first.status_code, first.json()["name"]) == (200, "Werk Nord GmbH")
    tag = plant.ask("GET", path, acme).headers["etag"]
    assert tag == first.headers["etag"]
    moved = {**LEGAL, "street": "Neuer Wall 1"}
    problem(plant.ask("PUT", path, acme, json=moved), 428, "if-match-missing")
    problem(plant.ask("PUT", path, acme, json=moved, headers={"If-Match": '"old"'}), 412, "changed")
    second = plant.ask("PUT", path, acme, json=moved, headers={"If-Match": tag})
    assert second.status_code == 200
    again = plant.ask("PUT", path, acme, json=moved, headers={"If-Match": tag})
    assert again.status_code == 200, "the answer to an earlier try may have been lost"
    assert plant.ask("GET", path, acme).json()["street"] == "Neuer Wall 1"
    wrong = plant.ask("PUT", path, acme, json={**LEGAL, "vat_id": "DE1", "country": "DE", "name": 5})
    assert [one["where"] for one in problem(wrong, 400, "invalid-request")["errors"]] == ["/name", "/vat_id"]
    for body in (b"", b"[]", b"{", b"\xff"):
        problem(plant.ask("PUT", path, acme, content=body), 400, "invalid-request")


# ── projects, budgets, members ────────────────────────────────────────────────────────────────────────────────────
def test_projects_open_close_and_open_again(plant: Plant, acme: str) -> None:
    statuses = [post(plant, "acme/projects", {"name": "weld"}, acme).status_code for _ in range(2)]
    assert statuses == [201, 200]
    for _ in range(2):
        answer = post(plant, "acme/projects/weld/close", None, acme)
        assert (answer.status_code, answer.json()) == (200, {"name": "weld", "open": False})
    problem(plant.submit(tenant="acme", project="weld"), 422, "project_closed")
    assert post(plant, "acme/projects", {"name": "weld"}, acme).status_code == 201
    problem(post(plant, "acme/projects/nope/close", None, acme), 404, "unknown-project")
    page = plant.ask("GET", "/v1/tenants/acme/projects?limit=1", acme).json()
    assert (page["items"], page["next_cursor"]) == ([{"name": "default", "open": True}], "1")


def test_a_budget_is_exact_and_granted_once_with_if_match(plant: Plant, acme: str) -> None:
    tag = plant.ask("GET", "/v1/tenants/acme").headers["etag"]
    body = {"gpu_hours": 2.5, "expires_at": "1970-06-01T00:00:00Z", "origin": "subsidised"}
    answer = post(plant, "acme/budgets", body, **{"If-Match": tag})
    assert (answer.status_code, answer.json()) == (
        201,
        {"id": "b1", "gpu_hours": 2.5, "gpu_us": 9_000_000_000, "expires_at": "1970-06-01T00:00:00Z",
         "origin": "subsidised", "eur": 0.0, "micro_eur": 0, "unit": "gpu_us", "granted": 9_000_000_000, "reserved": 0,
         "posted": 0, "available": 9_000_000_000},
    )  # fmt: skip
    problem(post(plant, "acme/budgets", body, **{"If-Match": tag}), 412, "changed")
    assert len(plant.ask("GET", "/v1/tenants/acme/budgets", acme).json()["items"]) == 1
    for wrong in (
        {"gpu_hours": 1},
        {"expires_in": "1d"},
        {"gpu_hours": 1, "eur": 1, "expires_in": "1d"},
        {"eur": 0.001, "expires_in": "1d"},
        {"gpu_hours": 1, "expires_in": "1d", "expires_at": "1970-06-01T00:00:00Z"},
        {"gpu_hours": 0, "expires_in": "1d"},
        {"gpu_hours": 1, "expires_at": "1970-01-01T00:00:00Z"},
        {"gpu_hours": 1, "expires_at": "1970-06-01T00:00:00"},
    ):
        problem(post(plant, "acme/budgets", wrong), 400, "invalid-request")


def test_a_budget_in_euros_needs_a_price(plant: Plant, acme: str) -> None:
    problem(post(plant, "acme/budgets", {"eur": 10, "expires_in": "1d"}), 409, "conflict")
    plant.writer.cycle(
        RulesSet(Rules(price_micro_eur_per_gpu_h=dict.fromkeys(TENANT_CLASSES, 2_500_000)), "")
    )
    answer = post(plant, "acme/budgets", {"eur": 10, "expires_in": "1d"}).json()
    assert (answer["eur"], answer["unit"], answer["available"]) == (10.0, "micro_eur", 10_000_000)
    job = {"run": "true", "resources": {"gpus": 4}, "max_duration": "30m", "tenant": "acme"}
    plan = plant.ask("POST", "/v1/plan", json=job).json()
    assert plan["price"] == {"eur": 5.0, "note": "at most, for its whole time limit"}
    assert plan["budgets"] == [{"budget": "b1", "amount": 5_000_000, "unit": "micro_eur"}]


def test_a_job_reserves_and_one_too_many_is_refused_with_the_remedy(plant: Plant, acme: str) -> None:
    post(plant, "acme/budgets", {"gpu_hours": 5, "expires_in": "1d"})
    tag = plant.ask("GET", "/v1/tenants/acme").headers["etag"]
    job = {"run": "true", "resources": {"gpus": 4}, "max_duration": "1h", "tenant": "acme"}
    assert plant.ask("POST", "/v1/jobs", json=job).status_code == 201
    answer = plant.ask("GET", "/v1/tenants/acme")
    (budget,) = answer.json()["budgets"]
    assert [budget[part] / HOUR_US for part in ("granted", "available", "reserved", "posted")] == [5, 1, 4, 0]
    assert answer.headers["etag"] == tag
    refusal = problem(plant.ask("POST", "/v1/jobs", json=job), 422, "budget")
    assert "asks for 4 GPU-h" in refusal["detail"]
    assert "1 GPU-h left: ask for a shorter max_duration" in refusal["detail"]


def test_members_come_in_pages_that_split_nobody(plant: Plant, acme: str) -> None:
    person(plant, ("viewer", "acme"), ("member", "acme", "default"))
    person(plant, ("viewer", "acme"))
    plant.faces.people.put_person("u2", Person("Grace Hopper", "g@acme.example"))
    page = plant.ask("GET", "/v1/tenants/acme/members?limit=2", acme).json()
    assert [(one["user"]["name"], one["role"], one["project"]) for one in page["items"]] == [
        ("", "tenant_admin", ""), ("Grace Hopper", "viewer", ""), ("Grace Hopper", "member", "default"),
    ]  # fmt: skip
    rest = plant.ask("GET", f"/v1/tenants/acme/members?limit=2&cursor={page['next_cursor']}", acme).json()
    assert ([one["user"]["id"] for one in rest["items"]], rest["next_cursor"]) == (["u3"], None)
    only = plant.ask("GET", "/v1/tenants/acme/members?project=default", acme).json()["items"]
    assert [one["user"]["id"] for one in only] == ["u2"]


# ── erasure ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_erasure_waits_for_the_end_of_the_exit(plant: Plant, acme: str) -> None:
    problem(post(plant, "acme/erase"), 409, "conflict")
    leave(plant)
    assert plant.ask("GET", "/v1/tenants/acme").json()["stage"] == "closed"
    problem(plant.ask("GET", "/v1/tenants/acme", acme), 404, "unknown-tenant")
    assert post(plant, "acme/erase").status_code == 200


def test_after_erasure_nothing_of_the_tenant_is_left_and_others_are_whole(
    plant: Plant, tmp_path: Path
) -> None:
    admin, other = join(plant, "acme"), join(plant, "other")
    faces = plant.faces
    both = person(plant, ("member", "acme"), ("member", "other"))
    faces.people.put_person("u3", Person("Works Everywhere", "both@x.example"))
    plant.writer.cycle(
        a.InvitationIssued("", "acme", "viewer", tokens.digest("x"), plant.writer.now + DAY, by="admin")
    )
    faces.people.put_invitation("i1", "invited@acme.example")
    packed = archive("weld data")
    digest = _digest(packed)
    for tenant in ("acme", "other"):
        with faces.blobs.upload(tenant, digest) as upload:
            upload.write(packed)
            upload.commit()
        faces.secrets.put(tenant, "default", "KEY", f"secret of {tenant}", "u1")
        faces.records.put(tenant, "u3", RunSpec(name=f"name in {tenant}", argv=("true",)))
        plant.submit(tenant=tenant, run=["echo", f"command of {tenant}"])
    post(plant, "acme/suspend", {"reason": "security", "running": "stop"})
    plant.finish("acme-1.1")
    leave(plant)
    left = {
        tenant: [*left_by(tmp_path, f"{tenant}-1"), tmp_path / "homes" / tenant]
        for tenant in ("acme", "other")
    }
    for tenant in left:
        (tmp_path / "homes" / tenant / "own").mkdir(parents=True)
    keys, applications = _keys(tmp_path), faces.follower.state.onboarding.applications
    doomed = ("acme", "tenant/acme", "secrets/acme", "u1", "i1", record_of(applications["a1"].digest))
    assert all(_found(tmp_path, keys[subject]) for subject in doomed)
    erased = post(plant, "acme/erase").json()
    for subject in doomed:
        assert not _found(tmp_path, keys[subject]), f"the key of {subject} is still on disk"
    assert all(
        _found(tmp_path, keys[subject]) for subject in ("other", "tenant/other", "secrets/other", "u2", "u3")
    )
    assert erased["people"] == 1
    assert (erased["blobs"], erased["secrets"]) == (1, 1)
    assert erased["records"] == 2
    assert erased["runs"] == 4
    assert not any(one.exists() for one in left["acme"])
    assert all(one.exists() for one in left["other"])
    again = post(plant, "acme/erase").json()
    assert [again[name] for name in ("records", "profiles", "secrets", "blobs", "people", "runs")] == [0] * 6
    assert plant.ask("GET", "/v1/self", admin).status_code in (401, 404)
    assert (faces.people.legal("acme"), faces.people.person("u1")) == (None, None)
    assert faces.people.invitations(["i1"]) == {}
    assert faces.secrets.list("acme", "default") == []
    assert list(faces.blobs.of("acme")) == []
    assert plant.ask("GET", "/v1/jobs/acme-1").json()["name"] == ""
    assert not [subject for subject in faces.people.subjects("") if subject in ("acme", "u1", "i1", "a1")]
    # others
    assert plant.ask("GET", "/v1/tenants/other/legal", other).json()["name"] == "Werk Nord GmbH"
    assert faces.people.person("u3") == Person("Works Everywhere", "both@x.example")
    assert plant.ask("GET", "/v1/tenants/other", both).status_code == 200
    assert faces.secrets.read("other", "default", "KEY") == "secret of other"
    assert len(list(faces.blobs.of("other"))) == 1
    acts = [type(entry.fact).__name__ for entry in plant.writer.journal.read(0)]
    assert acts.count("UserRemoved") == 1
    _journal_still_folds(plant)


def _keys(folder: Path) -> dict[str, bytes]:
    """Subject → the key under which all that is kept of it is sealed."""
    connection = sqlite3.connect(folder / "keys" / "subjects.db")
    try:
        return dict(connection.execute("SELECT subject, key FROM keys"))
    finally:
        connection.close()


def _found(folder: Path, content: bytes) -> bool:
    """Whether the bytes stand in any file of the data folder."""
    return any(content in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def _journal_still_folds(plant: Plant) -> None:
    state = State()
    for entry in plant.writer.journal.read(0):
        state.apply(entry.at, entry.fact)
    assert state.digest() == plant.faces.follower.state.digest()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
