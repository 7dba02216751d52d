# SPDX-License-Identifier: Apache-2.0
"""What the API promises about entitlements and commitments: who sees which, what a change does, what is refused."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from leitstand.core.sharing.entitlements import contracts_of
from leitstand.core.units import DAY_US
from tests.unit.faces_story import TOKEN, Plant, problem
from tests.unit.onboarding_story import later, person

ENTITLEMENTS, COMMITMENTS = "/v1/entitlements", "/v1/commitments"


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """8 GPUs; acme (industry) with the projects default and vision, lab (research)."""
    made = Plant(tmp_path)
    made.ask("POST", "/v1/tenants", json={"id": "acme"})
    made.ask("POST", "/v1/tenants", json={"id": "lab", "class": "research"})
    made.ask("POST", "/v1/tenants/acme/projects", json={"name": "vision"})
    return made


def change(plant: Plant, *nodes: dict[str, Any], token: str = TOKEN, tag: str = "", **more: Any) -> Any:
    headers = {"If-Match": tag} if tag else {}
    return plant.ask("POST", ENTITLEMENTS, token, json={"entitlements": nodes, **more}, headers=headers)


def tree(plant: Plant, token: str = TOKEN, query: str = "") -> dict[str, dict[str, Any]]:
    answer = plant.ask("GET", f"{ENTITLEMENTS}{query}", token)
    assert answer.status_code == 200, answer.text
    return {one["node"]: one for one in answer.json()["items"]}


def day(plant: Plant, days: float) -> str:
    """The time so many days from now."""
    return (datetime.fromtimestamp(plant.writer.now / 1e6, UTC) + timedelta(days=days)).isoformat()


INDUSTRY = {"node": "industry", "guarantee": 4, "weight": 2}
ACME = {"node": "industry/acme", "guarantee": 2.5, "borrow": 1, "lend": 0.5, "recall": "20m"}


def test_the_tree_shows_what_everybody_is_guaranteed_uses_and_deserves(plant: Plant) -> None:
    assert change(plant, INDUSTRY, ACME).status_code == 200
    submitted = plant.submit(tenant="acme", resources={"gpus": 3})
    assert submitted.status_code == 201
    plant.submit(tenant="lab", resources={"gpus": 4}, num_nodes=2)
    found = tree(plant)
    assert found["industry/acme"] == {
        "node": "industry/acme",
        "kind": "tenant",
        "guarantee": 2.5,
        "weight": 1,
        "borrow": 1.0,
        "lend": 0.5,
        "recall_s": 1200.0,
        "used": 3.0,
        "waiting": 0.0,
        "deserved": 3.0,
        "contended": 3.5,
    }
    assert (found["research/lab/default"]["waiting"], found["research/lab"]["deserved"]) == (8.0, 5.0)
    assert (found[""]["kind"], found[""]["guarantee"], found[""]["used"]) == ("root", 4.0, 3.0)
    assert found["industry"]["borrow"] is None
    assert found["industry"]["lend"] is None
    body = plant.ask("GET", ENTITLEMENTS).json()
    assert (body["pool"], body["unit"], body["capacity"], body["spare"]) == ("shared", "gpu", 8.0, 0.0)


def test_a_dry_run_says_who_wins_and_loses_and_changes_nothing(plant: Plant) -> None:
    before = plant.writer.journal.head.seq
    said = change(plant, INDUSTRY, dry_run=True).json()
    assert plant.writer.journal.head.seq == before
    changes = {one["node"]: one for one in said["changes"]}
    assert changes["industry"]["guarantee"] == [0.0, 4.0]
    assert changes["industry"]["weight"] == [1, 2]
    # alone: 8 among three classes with tenants; then 4 and two quarters of the other 4
    assert changes["industry"]["contended"] == [2.667, 6.0]
    assert changes["research"]["contended"] == [2.666, 1.0]
    assert said["dry_run"] is True
    done = change(plant, INDUSTRY, tag=f'"{said["expected"]}"')
    assert done.json()["changes"] == said["changes"]
    assert tree(plant)["industry"]["guarantee"] == 4.0


def test_a_change_happens_only_to_the_contracts_that_were_seen(plant: Plant) -> None:
    tag = plant.ask("GET", ENTITLEMENTS).headers["ETag"]
    assert change(plant, INDUSTRY, tag=tag).status_code == 200
    problem(change(plant, INDUSTRY, tag=tag), 412, "changed")
    fresh = plant.ask("GET", ENTITLEMENTS).headers["ETag"]
    body = {"node": "industry", "amount": 1, "to_at": day(plant, 3)}
    for expected in (200, 412):
        answer = plant.ask("POST", COMMITMENTS, json=body, headers={"If-Match": fresh})
        assert answer.status_code == expected
    assert plant.ask("GET", COMMITMENTS).json()["items"][0]["id"] == "c1"


def test_what_is_left_out_is_the_default_and_takes_the_place_of_what_was_said(plant: Plant) -> None:
    change(plant, {"node": "industry", "guarantee": 3, "weight": 5, "borrow": 1, "lend": 1, "recall": "1h"})
    change(plant, {"node": "industry/acme", "guarantee": 1})
    change(plant, {"node": "industry"}, {"node": "industry/acme/vision"})
    found = tree(plant)
    assert found["industry"]["guarantee"] == 1.0  # what its children have
    assert found["industry/acme/vision"]["guarantee"] == 0.0
    shown = {name: found["industry"][name] for name in ("weight", "borrow", "lend", "recall_s")}
    assert shown == {"weight": 1, "borrow": None, "lend": None, "recall_s": 900.0}


def test_a_scheduled_change_is_listed_until_it_is_in_force(plant: Plant) -> None:
    at = day(plant, 2)
    said = change(plant, INDUSTRY, from_at=at).json()
    assert said["from_at"] == at.replace("+00:00", "Z")
    body = plant.ask("GET", ENTITLEMENTS).json()
    assert [(one["node"], one["guarantee"]) for one in body["scheduled"]] == [("industry", 4.0)]
    assert tree(plant)["industry"]["guarantee"] == 0.0
    later(plant, 3 * DAY_US)
    assert tree(plant)["industry"]["guarantee"] == 4.0


def test_scaling_shrinks_what_does_not_fit(plant: Plant) -> None:
    asked = ({"node": "industry", "guarantee": 12}, {"node": "research", "guarantee": 4})
    problem(change(plant, *asked), 409, "conflict")
    said = change(plant, *asked, scale=True).json()
    assert said["scaled"] is True
    found = tree(plant)
    assert (found["industry"]["guarantee"], found["research"]["guarantee"]) == (6.0, 2.0)


@pytest.mark.parametrize(
    ("body", "where", "what"),
    [
        ({}, "/entitlements", "is missing"),
        ({"entitlements": [{"guarantee": 1}]}, "/entitlements/0", "missing required field `node`"),
        ({"entitlements": [{"node": "industry", "guarante": 1}]}, "/entitlements/0", "unknown field"),
        ({"entitlements": [INDUSTRY], "from": "x"}, "/from", "did you mean 'from_at'?"),
        ({"entitlements": [{"node": "bank"}]}, "/entitlements/0/node", "begins with none of industry"),
        ({"entitlements": [{"node": "industry", "guarantee": -1}]}, "/entitlements/0/guarantee", "is -1.0"),
        (
            {"entitlements": [{"node": "industry", "weight": 1000001}]},
            "/entitlements/0/weight",
            "limits are 0",
        ),
        (
            {"entitlements": [{"node": "industry", "recall": "soon"}]},
            "/entitlements/0/recall",
            "is not a duration",
        ),
        ({"entitlements": [INDUSTRY], "from_at": "2027-01-01T00:00:00"}, "/from_at", "no time zone"),
        ({"entitlements": [INDUSTRY], "from_at": "1969-01-01T00:00:00Z"}, "/from_at", "limits are 1970"),
    ],
)
def test_faults_of_a_change_are_named_with_their_place(
    plant: Plant, body: Any, where: str, what: str
) -> None:
    said = problem(plant.ask("POST", ENTITLEMENTS, json=body), 400, "invalid-request")
    assert [(fault["where"], what in fault["what"]) for fault in said["errors"]] == [(where, True)]


def test_all_faults_come_at_once(plant: Plant) -> None:
    nodes = [{"node": "bank", "lend": -1}, {"node": "industry", "borrow": -2}]
    said = problem(change(plant, *nodes), 400, "invalid-request")
    assert len(said["errors"]) == 3


@pytest.mark.parametrize(
    ("nodes", "status", "code", "told"),
    [
        ([{"node": "industry/nobody"}], 422, "invalid", "industry/nobody: there is no tenant 'nobody'"),
        ([{"node": "industry/lab"}], 422, "invalid", "tenant lab is of the class research: research/lab"),
        ([INDUSTRY, INDUSTRY], 422, "invalid", "industry is named twice"),
        ([{"node": "industry", "guarantee": 1, "recall": "1m"}], 422, "invalid", "a cycle take 661 s"),
        (
            [{"node": "industry", "guarantee": 8.001}],
            409,
            "conflict",
            "8.001 would be guaranteed, more than the 8",
        ),
        (
            [INDUSTRY, {"node": "industry/acme", "guarantee": 5}],
            409,
            "conflict",
            "industry: its children would be",
        ),
    ],
)
@pytest.mark.parametrize("dry_run", [True, False])
def test_what_the_writer_would_refuse_a_dry_run_refuses_alike(
    plant: Plant, nodes: Any, status: int, code: str, told: str, dry_run: bool
) -> None:
    assert told in problem(change(plant, *nodes, dry_run=dry_run), status, code)["detail"]


def test_a_refusal_tells_the_time_as_people_do(plant: Plant) -> None:
    at = day(plant, 20_000)
    said = problem(change(plant, {"node": "industry", "guarantee": 9}, from_at=at), 409, "conflict")
    assert f"from {at.replace('+00:00', 'Z')} on" in said["detail"]


def test_another_pool_is_another_tree_or_not_there(plant: Plant) -> None:
    said = problem(plant.ask("GET", f"{ENTITLEMENTS}?pool=moon"), 404, "unknown-pool")
    assert "known: shared" in said["detail"]
    problem(change(plant, INDUSTRY, pool="moon"), 404, "unknown-pool")


# ── commitments ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_commitment_is_made_listed_and_ended(plant: Plant) -> None:
    change(plant, INDUSTRY)
    body = {"node": "industry/acme", "amount": 2, "to_at": day(plant, 9), "price_eur": 1.9, "recall": "30m"}
    made = plant.ask("POST", COMMITMENTS, json=body).json()
    assert made["commitment"] == "c1"
    changes = {one["node"]: one["guarantee"] for one in made["changes"]}
    assert changes["industry/acme"] == [0.0, 2.0]
    assert changes["industry"] == [4.0, 6.0]
    (listed,) = plant.ask("GET", COMMITMENTS).json()["items"]
    assert {name: listed[name] for name in ("id", "pool", "node", "amount", "price_eur", "recall_s")} == {
        "id": "c1", "pool": "shared", "node": "industry/acme", "amount": 2.0, "price_eur": 1.9, "recall_s": 1800.0,
    }  # fmt: skip
    ended = plant.ask("POST", f"{COMMITMENTS}/c1/end", json={"at": day(plant, 3)})
    assert ended.status_code == 200
    assert plant.ask("GET", COMMITMENTS).json()["items"][0]["to_at"].startswith(day(plant, 3)[:10])
    assert plant.ask("POST", f"{COMMITMENTS}/c1/end").status_code == 200
    assert plant.ask("GET", COMMITMENTS).json()["items"] == []
    problem(plant.ask("POST", f"{COMMITMENTS}/c1/end"), 404, "unknown-commitment")


def test_a_commitment_beyond_capacity_is_refused_also_as_a_dry_run(plant: Plant) -> None:
    body = {"node": "public", "amount": 9, "to_at": day(plant, 9)}
    for dry_run in (True, False):
        problem(plant.ask("POST", COMMITMENTS, json={**body, "dry_run": dry_run}), 409, "conflict")


def test_a_dry_run_makes_no_commitment(plant: Plant) -> None:
    body = {"node": "public", "amount": 2, "to_at": day(plant, 9), "dry_run": True}
    said = plant.ask("POST", COMMITMENTS, json=body).json()
    assert (said["commitment"], said["dry_run"]) == ("", True)
    assert contracts_of(plant.faces.follower.state, "shared").commitments == {}


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"amount": 0}, "/amount"),
        ({"to_at": "2027-01-01T00:00:00"}, "/to_at"),
        ({"from_at": "1971-01-01T00:00:00Z", "to_at": "1970-01-01T00:00:00.5Z"}, "/to_at"),
        ({"price_eur": -1}, "/price_eur"),
        ({"recall": "soon"}, "/recall"),
    ],
)
def test_faults_of_a_commitment_are_named(plant: Plant, more: Any, where: str) -> None:
    body = {"node": "public", "amount": 2, "to_at": day(plant, 9), **more}
    said = problem(plant.ask("POST", COMMITMENTS, json=body), 400, "invalid-request")
    assert [fault["where"] for fault in said["errors"]] == [where]


# ── who sees what ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_everybody_sees_their_own_subtree_and_nothing_of_others(plant: Plant) -> None:
    change(plant, INDUSTRY, ACME, {"node": "research/lab", "guarantee": 1})
    change(plant, {"node": "industry/acme/vision", "guarantee": 1}, from_at=day(plant, 1))
    for node in ("industry", "industry/acme", "industry/acme/vision", "research/lab"):
        plant.ask("POST", COMMITMENTS, json={"node": node, "amount": 0.5, "to_at": day(plant, 9)})
    whole = ["industry/acme", "industry/acme/default", "industry/acme/vision"]
    admin, auditor = person(plant, ("tenant_admin", "acme")), person(plant, ("auditor", "acme"))
    default = person(plant, ("member", "acme", "default"))
    vision = person(plant, ("viewer", "acme", "vision"))
    nobody = person(plant)
    watcher = person(plant, ("auditor",))
    for token, nodes in (
        (admin, whole),
        (auditor, whole),
        (default, whole[:2]),
        (vision, [whole[0], whole[2]]),
        (nobody, []),
    ):
        assert list(tree(plant, token)) == nodes
        answer = plant.ask("GET", ENTITLEMENTS, token)
        assert "ETag" not in answer.headers
        scheduled = [one["node"] for one in answer.json()["scheduled"]]
        assert scheduled == [node for node in nodes if node.endswith("vision")]
        listed = [one["node"] for one in plant.ask("GET", COMMITMENTS, token).json()["items"]]
        assert listed == [node for node in nodes if not node.endswith("default")]
        problem(plant.ask("GET", f"{ENTITLEMENTS}?tenant=lab", token), 404, "unknown-tenant")
        problem(plant.ask("GET", f"{COMMITMENTS}?tenant=lab", token), 404, "unknown-tenant")
        problem(change(plant, INDUSTRY, token=token), 403, "forbidden")
        problem(plant.ask("POST", f"{COMMITMENTS}/c1/end", token, json={}), 403, "forbidden")
    assert len(tree(plant, watcher)) == len(tree(plant)) > len(whole)
    assert list(tree(plant, watcher, "?tenant=lab")) == ["research/lab", "research/lab/default"]
    problem(change(plant, INDUSTRY, token=watcher), 403, "forbidden")


def test_the_tree_comes_in_pages(plant: Plant) -> None:
    first = plant.ask("GET", f"{ENTITLEMENTS}?limit=2").json()
    assert [one["node"] for one in first["items"]] == ["", "industry"]
    rest = plant.ask("GET", f"{ENTITLEMENTS}?cursor={first['next_cursor']}").json()
    assert rest["items"][0]["node"] == "industry/acme"
    assert rest["next_cursor"] is None


def test_who_changed_what_is_in_the_audit_trail_of_the_tenant_it_is_about(plant: Plant) -> None:
    change(plant, INDUSTRY)
    plant.ask("POST", COMMITMENTS, json={"node": "industry/acme", "amount": 1, "to_at": day(plant, 9)})
    plant.ask("POST", f"{COMMITMENTS}/c1/end", json={})
    admin = person(plant, ("tenant_admin", "acme"))
    mine = plant.ask("GET", "/v1/acts?tenant=acme", admin).json()["items"]
    acts = [(one["act"], one["subject"]) for one in mine if one["act"].startswith("Commitment")]
    assert acts == [("CommitmentEnded", "c1"), ("CommitmentMade", "c1")]
    everything = plant.ask("GET", "/v1/acts").json()["items"]
    assert ("EntitlementsChanged", "shared") in [(one["act"], one["subject"]) for one in everything]
