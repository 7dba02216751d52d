# SPDX-License-Identifier: Apache-2.0
"""What the API promises at its door: a token for everything but health, problems, a true description."""

import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from leitstand.api import app as api
from leitstand.api import auth, jobs, schema
from leitstand.api.auth import Tokens
from leitstand.api.problems import Problem
from tests.unit.faces_story import TOKEN, Plant, problem

GUARDED = [
    (method, path.replace("{job_id:str}", "operator-1").replace("{sha256:str}", "0" * 64))
    for path, handler in api.routes()
    if path not in api.OPEN_PATHS
    for method in sorted(map(str, handler.http_methods))
]


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN[:-1]])
def test_without_the_right_token_every_route_is_closed(plant: Plant, token: str) -> None:
    for method, path in GUARDED:
        answer = plant.ask(method, path, token)
        problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == 'Bearer realm="leitstand"'
    assert plant.writer.journal.head.seq == 4


@pytest.mark.parametrize(
    "path", ["//v1/jobs", "/v1//jobs", "/v1/jobs/", "/./v1/jobs", "/V1/jobs", "/nope", "/"]
)
def test_no_spelling_of_a_path_goes_round_the_door(plant: Plant, path: str) -> None:
    problem(plant.ask("GET", path, ""), 401, "unauthenticated")


def test_other_schemes_than_bearer_are_refused() -> None:
    tokens = Tokens(TOKEN)
    assert tokens.identify(b"bearer " + TOKEN.encode()).token == "admin"
    for value in (b"", b"Bearer", b"Bearer ", b"Basic " + TOKEN.encode(), TOKEN.encode()):
        with pytest.raises(Problem):
            tokens.identify(value)


def test_health_and_description_are_open(plant: Plant) -> None:
    health = plant.ask("GET", "/healthz", "")
    assert (health.status_code, health.json()["status"], health.json()["seq"]) == (200, "ok", 4)
    plant.writer.connected = False
    away = plant.ask("GET", "/healthz", "")
    assert (away.status_code, away.json()["status"]) == (503, "writer-away")
    assert plant.ask("GET", "/v1/openapi.json", "").status_code == 200


def test_metrics_are_open_on_loopback_alone_and_well_formed(plant: Plant) -> None:
    for gpus in (4, 4, 1):
        plant.submit(resources={"gpus": gpus})
    found: dict[tuple[Any, ...], float] = {}
    for family in text_string_to_metric_families(plant.ask("GET", "/metrics", "").text):
        for sample in family.samples:
            found[(sample.name, *sorted(sample.labels.values()))] = sample.value
    assert found["leitstand_folded_seq",] == plant.faces.follower.folded
    assert found["leitstand_jobs", "starting"] == 2
    assert found["leitstand_jobs", "pending"] == 1
    assert found["leitstand_gpus", "here", "shared"] == 8
    assert found["leitstand_gpus_free", "here", "shared"] == 0
    assert found["leitstand_http_requests_total", "201", "POST"] == 3
    assert found["leitstand_submission_seconds_count",] == 3
    plant.faces.loopback = False
    problem(plant.ask("GET", "/metrics", ""), 401, "unauthenticated")
    assert plant.ask("GET", "/metrics").status_code == 200


def test_what_is_not_there_and_what_is_not_allowed_are_problems(plant: Plant) -> None:
    problem(plant.ask("GET", "/v1/nope"), 404, "not-found")
    answer = plant.ask("DELETE", "/v1/jobs/operator-1")
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, OPTIONS"
    assert plant.ask("PUT", "/v1/jobs").headers["allow"] == "GET, OPTIONS, POST"


def test_a_body_over_a_mebibyte_is_refused(plant: Plant) -> None:
    answer = plant.ask("POST", "/v1/jobs", content=b'{"run": "' + b"x" * 1024 * 1024 + b'"}')
    problem(answer, 413, "too-large")


def test_a_fault_of_ours_is_a_problem_without_a_trace_and_the_log_has_it(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("the secret reason")

    monkeypatch.setattr(jobs, "run_spec", broken)
    body = problem(plant.submit(), 500, "internal")
    assert "secret" not in json.dumps(body)
    log = capsys.readouterr().err
    assert body["request_id"] in log
    assert "ZeroDivisionError: the secret reason" in log


def test_the_description_names_every_route_and_every_reference_resolves() -> None:
    document = json.loads(schema.describe(api.routes()))
    assert document["openapi"] == "3.1.0"
    described = {(path, method) for path, methods in document["paths"].items() for method in methods}
    served = {
        (path.replace(":str}", "}"), str(method).lower())
        for path, handler in api.routes()
        for method in handler.http_methods
    }
    assert described == served
    assert len({o["operationId"] for methods in document["paths"].values() for o in methods.values()}) == len(
        served
    )
    assert document["paths"]["/healthz"]["get"]["security"] == []
    assert "security" not in document["paths"]["/v1/jobs"]["get"]
    assert {p["name"] for p in document["paths"]["/v1/jobs"]["get"]["parameters"]} == {
        "state", "tenant", "project", "limit", "cursor",
    }  # fmt: skip
    schemas = document["components"]["schemas"]
    body = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schemas[_name(body)]["additionalProperties"] is False
    assert schemas[_name(body)]["required"] == ["run"]
    for reference in _references(document):
        assert _name({"$ref": reference}) in schemas


def test_tokens_are_kept_as_hashes_alone() -> None:
    tokens = Tokens(TOKEN)
    assert all(
        TOKEN.encode() not in (value if isinstance(value, bytes) else b"") for value in vars(tokens).values()
    )
    assert auth._hash(TOKEN.encode()) in vars(tokens).values()


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        here = [node["$ref"]] if "$ref" in node else []
        return here + [found for value in node.values() for found in _references(value)]
    return [found for value in node for found in _references(value)] if isinstance(node, list) else []


def _name(reference: dict[str, str]) -> str:
    return reference["$ref"].removeprefix("#/components/schemas/")
