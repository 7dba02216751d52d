# SPDX-License-Identifier: Apache-2.0
"""What the API promises about secrets: values go in and never come out, in no answer, error, listing or journal."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from leitstand.core import acts as a
from leitstand.stores.people import Person
from leitstand.stores.secrets import VALUE_BYTES_MAX
from tests.unit.faces_story import TOKEN, Plant, problem
from tests.unit.onboarding_story import person

PLANTED = "hunter2-planted"


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    plant = Plant(tmp_path)
    plant.writer.cycle(
        a.TenantAdded("acme", "industry"), a.ProjectAdded("acme", "lab"), a.TenantAdded("beta")
    )
    return plant


@pytest.fixture
def member(plant: Plant) -> str:
    """The token of u1, who works in the project lab of acme."""
    secret = person(plant, ("member", "acme", "lab"))
    plant.faces.people.put_person("u1", Person("Ada", "ada@acme.example"))
    return secret


def put(plant: Plant, token: str, name: str = "KEY", **body: Any) -> httpx2.Response:
    return plant.ask("PUT", f"/v1/secrets/{name}", token, json={"value": PLANTED, **body})


def test_a_secret_has_versions_and_its_value_is_nowhere_but_in_the_store(plant: Plant, member: str) -> None:
    assert put(plant, member).json() == {"name": "KEY", "version": 1}
    assert put(plant, member, value="other").json() == {"name": "KEY", "version": 2}
    listed = plant.ask("GET", "/v1/secrets", member)
    assert (listed.json()["tenant"], listed.json()["project"]) == ("acme", "lab")  # its only one
    (shown,) = listed.json()["items"]
    assert (shown["name"], shown["version"], shown["by"]) == ("KEY", 2, {"id": "u1", "name": "Ada"})
    assert PLANTED not in listed.text
    assert plant.faces.secrets.read("acme", "lab", "KEY@1") == PLANTED
    facts = [entry.fact for entry in plant.writer.journal.read(0, 100)]
    assert a.SecretSet("acme", "lab", "KEY", 2, "u1") in facts
    assert PLANTED not in repr(facts)


BODIES: list[Any] = [
    PLANTED, [PLANTED], {"value": [PLANTED]}, {"value": {PLANTED: 1}}, {"value": {"x": PLANTED}},
    {"value": PLANTED + "\0"}, {"value": PLANTED * 10_000}, {"value": PLANTED, "tenant": PLANTED.upper()},
    {"value": PLANTED, "project": PLANTED.upper()}, {"value": PLANTED, "tenant": [PLANTED]},
    {"value": PLANTED, "project": {"x": PLANTED}}, {"value": PLANTED, "unknown": PLANTED}, {"valeu": PLANTED},
    {"value": PLANTED + "\ud800"}, {"value": 4711_4711}, {"value": None, "tenant": 4711_4711},
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_no_error_ever_holds_a_value(plant: Plant, member: str, body: Any) -> None:
    before = plant.writer.journal.head.seq
    answer = plant.ask("PUT", "/v1/secrets/KEY", member, content=json.dumps(body).encode())
    problem(answer, 400, "invalid-request")
    assert PLANTED not in answer.text.lower()
    assert "47114711" not in answer.text
    assert plant.writer.journal.head.seq == before
    assert plant.ask("GET", "/v1/secrets", member).json()["items"] == []


@pytest.mark.parametrize(
    "raw", [PLANTED, f'"{PLANTED}', f'{{"value": "{PLANTED}"', f'{{"value": {PLANTED}}}', ""]
)
def test_what_is_no_json_is_not_shown_either(plant: Plant, member: str, raw: str) -> None:
    answer = plant.ask("PUT", "/v1/secrets/KEY", member, content=raw.encode())
    problem(answer, 400, "invalid-request")
    assert PLANTED not in answer.text


def test_limits_are_named_and_names_are_those_that_jobs_can_use(plant: Plant, member: str) -> None:
    long = problem(put(plant, member, value="x" * (VALUE_BYTES_MAX + 1)), 400, "invalid-request")
    assert long["errors"][0]["what"] == f"has {VALUE_BYTES_MAX + 1} bytes; the limit is {VALUE_BYTES_MAX}"
    assert put(plant, member, value="x" * VALUE_BYTES_MAX).status_code == 200
    assert "is empty" in problem(put(plant, member, value=""), 400, "invalid-request")["detail"]
    for name in ("9KEY", "a~b", "k" * 64, "-x", "a@1"):
        problem(put(plant, member, name), 400, "invalid-request")


def test_who_may_not_gets_nothing(plant: Plant, member: str) -> None:
    put(plant, member)
    viewer, auditor = person(plant, ("viewer", "acme")), person(plant, ("auditor", "acme"))
    for token in (viewer, auditor):
        problem(plant.ask("GET", "/v1/secrets?project=lab", token), 403, "forbidden")
        problem(put(plant, token, project="lab"), 403, "forbidden")
    problem(plant.ask("DELETE", "/v1/secrets/KEY", member), 403, "forbidden")  # administrators delete
    problem(put(plant, member, project="default"), 404, "unknown-project")
    problem(put(plant, member, tenant="beta"), 404, "unknown-project")
    problem(put(plant, TOKEN, tenant="acme", project="nope"), 404, "unknown-project")
    problem(put(plant, TOKEN, tenant="nope"), 404, "unknown-tenant")
    narrow = person(plant, ("member", "acme"), scopes=("read",))
    problem(put(plant, narrow), 403, "forbidden")


def test_secrets_come_in_pages(plant: Plant, member: str) -> None:
    for name in ("B", "A", "C"):
        put(plant, member, name)
    first = plant.ask("GET", "/v1/secrets?limit=2", member).json()
    rest = plant.ask("GET", f"/v1/secrets?limit=2&cursor={first['next_cursor']}", member).json()
    assert [[one["name"] for one in page["items"]] for page in (first, rest)] == [["A", "B"], ["C"]]
    assert rest["next_cursor"] is None


def test_deleting_ends_all_versions_and_is_told_from_nothing(plant: Plant, member: str) -> None:
    put(plant, member)
    boss = person(plant, ("tenant_admin", "acme"))
    assert plant.ask("DELETE", "/v1/secrets/KEY?project=lab", boss).status_code == 204
    assert plant.faces.secrets.read("acme", "lab", "KEY") is None
    problem(plant.ask("DELETE", "/v1/secrets/KEY?project=lab", boss), 404, "unknown-secret")
    assert put(plant, member).json()["version"] == 2  # a version never comes twice


def test_a_value_is_stored_before_its_fact_and_deleted_after_it(plant: Plant, member: str) -> None:
    plant.writer.connected = False
    problem(put(plant, member), 503, "writer-away")
    assert plant.faces.secrets.list("acme", "lab") == []  # nobody to ask: nothing is written
    plant.writer.connected, plant.writer.refuses = True, "busy"
    problem(put(plant, member), 429, "busy")
    assert plant.faces.secrets.read("acme", "lab", "KEY@1") == PLANTED  # a version that no fact names
    boss = person(plant, ("tenant_admin", "acme"))
    problem(plant.ask("DELETE", "/v1/secrets/KEY?project=lab", boss), 429, "busy")
    assert plant.faces.secrets.read("acme", "lab", "KEY@1") == PLANTED  # still there, to be deleted again
    plant.writer.refuses = ""
    assert plant.ask("DELETE", "/v1/secrets/KEY?project=lab", boss).status_code == 204
