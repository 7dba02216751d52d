# SPDX-License-Identifier: Apache-2.0
"""The commands about entitlements, commitments and quota: what they send, show and ask, and the file they read."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from leitstand.cli.entitlement_file import BadEntitlementFile, read
from tests.unit.cli_story import WHO, problem
from tests.unit.test_cli_commands import Plane

pytestmark = pytest.mark.usefixtures("alone")

NODE: dict[str, Any] = {
    "node": "industry/acme",
    "kind": "tenant",
    "guarantee": 2.5,
    "weight": 1,
    "borrow": 1.0,
    "lend": None,
    "recall_s": 1200.0,
    "used": 3.0,
    "waiting": 0.0,
    "deserved": 3.0,
    "contended": 3.333,
}
TREE: dict[str, Any] = {
    "pool": "shared",
    "unit": "gpu",
    "capacity": 8.0,
    "spare": 0.5,
    "items": [NODE],
    "scheduled": [],
    "next_cursor": None,
}
OUTCOME: dict[str, Any] = {
    "pool": "shared",
    "unit": "gpu",
    "dry_run": True,
    "scaled": False,
    "from_at": "2026-11-23T00:00:00Z",
    "commitment": "",
    "expected": "e1",
    "changes": [
        {
            "node": "industry",
            "guarantee": [0.0, 4.0],
            "weight": [1, 2],
            "deserved": [0.0, 0.0],
            "contended": [2.667, 6.0],
        },
        {
            "node": "research",
            "guarantee": [0.0, 0.0],
            "weight": [1, 1],
            "deserved": [0.0, 0.0],
            "contended": [2.667, 1.0],
        },
    ],
}
COMMITTED: dict[str, Any] = {
    "id": "c1",
    "pool": "shared",
    "node": "industry/acme",
    "amount": 2.0,
    "from_at": "2026-11-23T00:00:00Z",
    "to_at": "2999-01-01T00:00:00Z",
    "recall_s": 900.0,
    "price_eur": 1.9,
}


def written(folder: Path, text: str) -> Path:
    path = folder / "shares.yaml"
    path.write_text(text)
    return path


def sent(plane: Plane, what: str) -> list[Any]:
    return [body for asked, _, body in plane.asked if asked == what]


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_tree_is_a_table_with_every_amount_in_gpus() -> None:
    done = Plane(**{"GET /v1/entitlements": TREE}).run("entitlements")
    assert done.exit_code == 0, done.output
    header, row = done.stdout.splitlines()
    assert header.split("  ")[0] == "NODE"
    assert row.split() == ["industry/acme", "2.5", "1", "1", "all", "20m", "3", "0", "3", "3.333"]
    assert "8 in service, 0.5 kept as a spare" in done.stderr


def test_the_tree_is_asked_for_page_by_page() -> None:
    def page(request: httpx2.Request) -> dict[str, Any]:
        last = request.url.params.get("cursor") == "1"
        return {
            **TREE,
            "items": [{**NODE, "node": "b" if last else "a"}],
            "next_cursor": None if last else "1",
        }

    plane = Plane(**{"GET /v1/entitlements": page})
    found = json.loads(plane.run("entitlements", "--pool", "h100", "--json").stdout)
    assert [one["node"] for one in found["items"]] == ["a", "b"]
    assert "next_cursor" not in found
    assert all("pool=h100" in query for _, query, _ in plane.asked)


def test_what_is_scheduled_stands_below_the_tree() -> None:
    later = {name: NODE[name] for name in ("node", "weight", "borrow", "lend", "recall_s")}
    scheduled = [{**later, "from_at": "2999-01-01T00:00:00Z", "guarantee": None}]
    said = Plane(**{"GET /v1/entitlements": {**TREE, "scheduled": scheduled}}).run("entitlements").stdout
    assert "2999-01-01 00:00:00 UTC" in said
    assert "as below" in said


def test_commitments_are_listed() -> None:
    page = {"items": [COMMITTED], "next_cursor": None}
    said = Plane(**{"GET /v1/commitments": page}).run("commitments").stdout
    assert "c1" in said
    assert "1.9" in said


# ── changing ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_change_shows_who_wins_and_is_done_to_what_was_shown(tmp_path: Path) -> None:
    seen: list[str] = []

    def answer(request: httpx2.Request) -> dict[str, Any]:
        seen.append(request.headers.get("If-Match", ""))
        return {**OUTCOME, "dry_run": bool(json.loads(request.content).get("dry_run"))}

    plane = Plane(**{"POST /v1/entitlements": answer})
    file = written(tmp_path, "entitlements: {industry: {guarantee: 4, weight: 2}}\n")
    done = plane.run("entitlements", "apply", str(file), "--yes")
    assert done.exit_code == 0, done.output
    body = {"entitlements": [{"node": "industry", "guarantee": 4, "weight": 2}]}
    assert sent(plane, "POST /v1/entitlements") == [{**body, "dry_run": True}, body]
    assert seen == ["", '"e1"']
    assert "0 → 4" in done.stdout
    assert "+3.333" in done.stdout
    assert "-1.667" in done.stdout


def test_a_dry_run_sends_nothing_else(tmp_path: Path) -> None:
    plane = Plane(**{"POST /v1/entitlements": OUTCOME})
    file = written(tmp_path, "entitlements: {industry: {guarantee: 4}}\n")
    assert plane.run("entitlements", "apply", str(file), "--dry-run").exit_code == 0
    assert [body["dry_run"] for body in sent(plane, "POST /v1/entitlements")] == [True]
    shown = plane.run("entitlements", "apply", str(file), "--dry-run", "--json").stdout
    assert json.loads(shown) == OUTCOME


def test_nothing_is_changed_where_nobody_can_be_asked(tmp_path: Path) -> None:
    plane = Plane(**{"POST /v1/entitlements": OUTCOME})
    file = written(tmp_path, "entitlements: {industry: {guarantee: 4}}\n")
    done = plane.run("entitlements", "apply", str(file))
    assert done.exit_code == 2
    assert "--yes" in done.stderr
    assert len(sent(plane, "POST /v1/entitlements")) == 1


def test_a_commitment_is_made_as_it_was_said() -> None:
    plane = Plane(**{"POST /v1/commitments": {**OUTCOME, "commitment": "c1"}})
    words = "commitments make industry/acme 2.5 --to 2027-03-01T00:00:00Z --price 1.9 --recall 20m -y"
    done = plane.run(*words.split())
    assert done.exit_code == 0, done.output
    assert sent(plane, "POST /v1/commitments")[-1] == {
        "node": "industry/acme",
        "amount": 2.5,
        "to_at": "2027-03-01T00:00:00+00:00",
        "pool": "shared",
        "recall": 1200,
        "price_eur": 1.9,
    }
    assert "commitment c1 is made" in done.stdout


@pytest.mark.parametrize(
    ("words", "body"), [((), {}), (("--at", "2027-01-01T00:00:00Z"), {"at": "2027-01-01T00:00:00+00:00"})]
)
def test_a_commitment_is_ended_now_or_at_a_time(words: tuple[str, ...], body: dict[str, str]) -> None:
    plane = Plane(**{"POST /v1/commitments/c1/end": OUTCOME})
    assert plane.run("commitments", "end", "c1", *words).exit_code == 2  # nobody can be asked
    assert plane.asked == []
    assert plane.run("commitments", "end", "c1", *words, "-y").exit_code == 0
    assert sent(plane, "POST /v1/commitments/c1/end") == [body]


# ── quota ─────────────────────────────────────────────────────────────────────────────────────────────────────────
BUDGET: dict[str, Any] = {
    "id": "b1",
    "gpu_hours": 100.0,
    "expires_at": "2999-01-01T00:00:00Z",
    "origin": "grant",
    "unit": "gpu_us",
    "granted": 360_000_000_000,
    "reserved": 0,
    "posted": 0,
    "available": 360_000_000_000,
}
HAS: dict[str, Any] = {
    "GET /v1/self": WHO,
    "GET /v1/tenants/acme/budgets": {"items": [BUDGET], "next_cursor": None},
    "GET /v1/usage": {"items": [{"gpu_s": 7200.0}], "next_cursor": None},
    "GET /v1/entitlements": TREE,
    "GET /v1/commitments": {"items": [COMMITTED], "next_cursor": None},
}


def test_the_quota_is_all_that_a_tenant_has() -> None:
    plane = Plane(**HAS)
    said = plane.run("quota").stdout
    for part in ("industry/acme", "2.5", "c1", "b1", "100 GPU-hours granted, 2.0000 used so far"):
        assert part in said
    assert all("tenant=acme" in query for what, query, _ in plane.asked if "entitlements" in what)
    found = json.loads(plane.run("quota", "--json").stdout)
    assert found["entitlements"] == [NODE]
    assert found["commitments"] == [COMMITTED]
    assert found["used_gpu_s"] == 7200.0


def test_the_quota_of_a_cloud_without_nodes_is_its_budgets() -> None:
    gone = problem(404, "unknown-pool")
    plane = Plane(**{**HAS, "GET /v1/entitlements": gone, "GET /v1/commitments": gone})
    done = plane.run("quota")
    assert done.exit_code == 0, done.output
    assert "b1" in done.stdout


def test_what_is_refused_of_the_quota_is_told() -> None:
    plane = Plane(**{**HAS, "GET /v1/entitlements": problem(403, "forbidden")})
    assert plane.run("quota").exit_code != 0


# ── the file ──────────────────────────────────────────────────────────────────────────────────────────────────────
NESTED = """
pool: h100
from: 2027-03-01T00:00:00Z
scale: yes
entitlements:
  guarantee: 64
  industry:
    guarantee: 32
    weight: 2
    acme:
      guarantee: 24
      borrow: 0
      vision: {guarantee: 8.5, lend: 2, recall: 20m}
    beta: {}
  research/lab:
    default: {weight: 3}
"""


def test_nested_and_flat_names_make_one_list_of_nodes(tmp_path: Path) -> None:
    body = read(written(tmp_path, NESTED))
    nodes = {one.pop("node"): one for one in body.pop("entitlements")}
    assert body == {"pool": "h100", "from_at": "2027-03-01T00:00:00+00:00", "scale": True}
    assert nodes == {
        "": {"guarantee": 64},
        "industry": {"guarantee": 32, "weight": 2},
        "industry/acme": {"guarantee": 24, "borrow": 0},
        "industry/acme/vision": {"guarantee": 8.5, "lend": 2, "recall": 1200},
        "industry/beta": {},
        "research/lab/default": {"weight": 3},
    }


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", ["0 it is a mapping with the key"]),
        ("- a\n", ["0 it is a mapping with the key"]),
        ("entitlements: {}\n", ["0 no node is named under"]),
        ("entitlements: 3\n", ['1 "entitlements" must be a mapping of nodes']),
        ("entitlement: 3\n", ['1 "entitlement" is unknown; did you mean "entitlements"?']),
        (
            "entitlements:\n  industry:\n    guarante: 3\n",
            ['3 "guarante" is unknown; did you mean "guarantee"?'],
        ),
        (
            "entitlements:\n  industry:\n    x: 3\n",
            ['3 "x" is unknown; known: guarantee, weight, borrow, lend'],
        ),
        ("entitlements:\n  industry: {guarantee: many}\n", ['2 "guarantee" must be a number']),
        (
            "entitlements:\n  industry: {weight: 1000001}\n",
            ['2 "weight" is 1000001; it goes from 0 to 1000000'],
        ),
        ("entitlements:\n  industry: {recall: soon}\n", ['2 "recall":']),
        ("entitlements:\n  a/b/c/d: {weight: 1}\n", ['2 "a/b/c/d" lies below a project']),
        (
            "entitlements:\n  industry: {weight: 1}\n  industry: {weight: 2}\n",
            ['3 "industry" is given twice'],
        ),
        (
            "entitlements:\n  industry/acme: {weight: 1}\n  industry:\n    acme: {weight: 2}\n",
            ['4 "industry/acme" is named twice, first in line 2'],
        ),
        ("from: 2027-03-01T00:00:00\nentitlements: {a: {weight: 1}}\n", ['1 "from" has no time zone']),
        ("from: soon\nentitlements: {a: {weight: 1}}\n", ['1 "from" must be a time like']),
        ("scale: 2\nentitlements: {a: {weight: 1}}\n", ['1 "scale" must be yes or no']),
        (
            "pool: [x]\nentitlements:\n  a: {lend: -1}\n",
            ['1 "pool" must be text', '3 "lend" must be a number'],
        ),
    ],
)
def test_every_fault_of_the_file_is_told_with_its_line(tmp_path: Path, text: str, faults: list[str]) -> None:
    with pytest.raises(BadEntitlementFile) as caught:
        read(written(tmp_path, text))
    told = [f"{fault.line} {fault.what}" for fault in caught.value.faults]
    assert len(told) == len(faults)
    assert all(line.startswith(fault) for line, fault in zip(told, faults, strict=True)), told
    assert "the file of entitlements cannot be used" in caught.value.format_message()


def test_a_file_that_is_not_there_is_no_job_file(tmp_path: Path) -> None:
    done = Plane().run("entitlements", "apply", str(tmp_path / "gone.yaml"))
    assert done.exit_code == 2
    assert "the file of entitlements cannot be used" in done.stderr
