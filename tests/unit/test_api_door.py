# SPDX-License-Identifier: Apache-2.0
"""What the API promises at its door: a token for everything but health, problems, a true description."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream
from prometheus_client.parser import text_string_to_metric_families

from leitstand.access.signin import PER_SOURCE, Rate, SignIns
from leitstand.access.tokens import digest
from leitstand.api import app as api
from leitstand.api import auth, schema
from leitstand.api.auth import ROOT
from leitstand.api.jobs import jobs
from leitstand.api.permission import anybody
from leitstand.api.problems import Problem
from leitstand.core.acts import (
    ApplicationFiled,
    InvitationIssued,
    RoleGranted,
    RoleRevoked,
    TokenIssued,
    TokenRevoked,
    UserAdded,
)
from tests.unit.archives import archive
from tests.unit.faces_story import TOKEN, Plant, S, problem

GUARDED = [
    (method, re.sub(r"\{\w+:\w+\}", "x", path))
    for path, handler in api.routes()
    if path not in api.OPEN_PATHS and not handler.opt.get("strangers")
    for method in sorted(map(str, handler.http_methods))
]


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN[:-1]])
def test_without_the_right_token_every_route_is_closed(plant: Plant, token: str) -> None:
    plant.faces.signins = SignIns(*[Rate(10_000, 1)] * 3)
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


def test_other_schemes_than_bearer_are_refused(plant: Plant) -> None:
    tokens = plant.faces.tokens
    assert tokens.identify(b"bearer " + TOKEN.encode()) == ROOT
    for value in (b"Bearer", b"Bearer ", b"Basic " + TOKEN.encode(), TOKEN.encode()):
        with pytest.raises(Problem):
            tokens.identify(value)


def test_no_answer_is_taken_for_what_it_does_not_say_it_is(plant: Plant) -> None:
    for path, token in (("/healthz", ""), ("/v1/jobs", TOKEN), ("/v1/jobs", "wrong"), ("/nope", TOKEN)):
        assert plant.ask("GET", path, token).headers.get_list("x-content-type-options") == ["nosniff"]


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
    issue(plant)
    problem(plant.ask("GET", "/metrics", SECRET), 403, "forbidden")
    metrics = plant.ask("GET", "/metrics")
    assert metrics.status_code == 200
    assert metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_what_is_not_there_and_what_is_not_allowed_are_problems(plant: Plant) -> None:
    problem(plant.ask("GET", "/v1/nope"), 404, "not-found")
    answer = plant.ask("DELETE", "/v1/jobs/operator-1")
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, HEAD"
    assert plant.ask("PUT", "/v1/jobs").headers["allow"] == "GET, HEAD, POST"
    for path, allow in (("/v1/jobs", "GET, HEAD, POST"), ("/healthz", "GET, HEAD"), ("/v1/plan", "POST")):
        answer = plant.ask("OPTIONS", path)
        problem(answer, 405, "method-not-allowed")
        assert answer.headers["allow"] == allow
    problem(plant.ask("OPTIONS", "/v1/nope"), 404, "not-found")


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


def test_who_asks_again_for_what_is_done_gets_200_and_the_description_says_so(plant: Plant) -> None:
    packed = archive()
    asked: dict[tuple[str, str, str], dict[str, Any]] = {
        ("POST", "/v1/tenants", "/v1/tenants"): {"json": {"id": "acme"}},
        ("POST", "/v1/tenants/{tenant_id}/projects", "/v1/tenants/acme/projects"): {"json": {"name": "lab"}},
        ("POST", "/v1/users/{user_id}/roles", "/v1/users/u1/roles"): {
            "json": {"role": "member", "tenant": "acme"}
        },
        ("PUT", "/v1/blobs/{sha256}", f"/v1/blobs/{hashlib.sha256(packed).hexdigest()}"): {"content": packed},
    }
    plant.writer.cycle(UserAdded(""))
    for (method, _, path), body in asked.items():
        assert [plant.ask(method, path, **body).status_code for _ in range(2)] == [201, 200], path
    paths = json.loads(schema.describe(api.routes()))["paths"]
    both = {
        (method.upper(), path)
        for path, methods in paths.items()
        for method, one in methods.items()
        if {"200", "201"} <= one["responses"].keys()
    }
    assert both == {(method, path) for method, path, _ in asked}


def test_tokens_are_kept_as_hashes_alone(plant: Plant) -> None:
    tokens = plant.faces.tokens
    assert plant.ask("GET", "/v1/jobs").status_code == 200
    assert TOKEN.encode() not in repr(vars(tokens)).encode()
    assert vars(tokens)["_admin_digest"] == auth._hash(TOKEN.encode())


# ── who asks ──────────────────────────────────────────────────────────────────────────────────────────────────────
SECRET = "lst_" + "s" * 43
HOUR_US = 3_600 * S


def issue(plant: Plant, role: str = "member", secret: str = SECRET, **more: Any) -> None:
    """User u1 with a role in the tenant operator, and the token k1."""
    plant.writer.cycle(
        UserAdded(""),
        RoleGranted("u1", role, "operator"),
        TokenIssued("", "u1", digest(secret), plant.writer.now + HOUR_US, **more),
    )


def test_a_token_opens_until_it_expires_or_is_revoked(plant: Plant) -> None:
    issue(plant)
    assert plant.ask("GET", "/v1/jobs", SECRET).status_code == 200
    plant.writer.now += HOUR_US
    problem(plant.ask("GET", "/v1/jobs", SECRET), 401, "unauthenticated")
    plant.writer.now -= HOUR_US
    assert plant.ask("GET", "/v1/jobs", SECRET).status_code == 200
    plant.writer.cycle(TokenRevoked("k1"))
    problem(plant.ask("GET", "/v1/jobs", SECRET), 401, "unauthenticated")


def test_a_role_that_is_revoked_counts_at_once_no_more(plant: Plant) -> None:
    issue(plant)
    plant.submit()
    assert plant.ask("GET", "/v1/jobs/operator-1", SECRET).status_code == 200
    plant.writer.cycle(RoleRevoked("u1", "member", "operator"))
    problem(plant.ask("GET", "/v1/jobs/operator-1", SECRET), 404, "unknown-job")
    assert plant.ask("GET", "/v1/jobs", SECRET).json()["items"] == []


def test_the_scopes_of_a_token_narrow_what_its_user_may(plant: Plant) -> None:
    issue(plant, scopes=("jobs",))
    plant.submit()
    for path in ("/v1/jobs", "/v1/jobs/operator-1", "/v1/usage", "/v1/events"):
        assert "scope" in problem(plant.ask("GET", path, SECRET), 403, "forbidden")["detail"]
    asked = {"run": ["true"]}
    assert plant.ask("POST", "/v1/jobs", SECRET, json=asked).status_code == 201


def test_the_claim_of_an_application_identifies_nothing_but_the_application(plant: Plant) -> None:
    claim = "lsa_" + "c" * 43
    agreement = plant.faces.follower.state.rules.onboarding.agreement
    plant.writer.cycle(ApplicationFiled("", "acme", "industry", digest(claim), agreement))
    who = plant.faces.tokens.identify(b"Bearer " + claim.encode())
    assert (who.subject, who.claim) == ("", "a1")
    assert plant.ask("GET", "/v1/jobs", claim).json()["items"] == []
    problem(plant.ask("GET", "/v1/jobs/operator-1", claim), 404, "unknown-job")
    problem(plant.ask("POST", "/v1/jobs", claim, json={"run": ["true"]}), 400, "tenant-missing")


def test_the_code_of_an_invitation_is_no_token(plant: Plant) -> None:
    code = "lsi_" + "i" * 43
    plant.writer.cycle(
        InvitationIssued("", "operator", "member", digest(code), plant.writer.now + HOUR_US, "")
    )
    problem(plant.ask("GET", "/v1/jobs", code), 401, "unauthenticated")


def test_a_session_works_by_its_cookie_unless_another_site_sends_it(plant: Plant) -> None:
    issue(plant, kind="session")
    cookie = {"Cookie": f"theme=dark; {auth.COOKIE}={SECRET}"}
    assert plant.ask("GET", "/v1/jobs", "", headers=cookie).status_code == 200
    asked = {"run": ["true"], "resources": {"gpus": 1}}
    for headers in (
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://other.test"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "none"},
    ):
        refused = plant.ask("POST", "/v1/jobs", "", json=asked, headers={**cookie, **headers})
        problem(refused, 403, "cross-site")
    assert not plant.faces.follower.state.jobs
    for headers in ({"Origin": "http://test"}, {"Sec-Fetch-Site": "same-origin"}):
        taken = plant.ask("POST", "/v1/jobs", "", json=asked, headers={**cookie, **headers})
        assert taken.status_code == 201
    with_token = {"Origin": "https://evil.example", **cookie}
    assert plant.ask("POST", "/v1/jobs", SECRET, json=asked, headers=with_token).status_code == 201


@pytest.mark.parametrize(
    "cookie", ["leitstand_session", "leitstand_session=", "x=leitstand_session=1", 'a="b;c"; =', "\xff"]
)
def test_a_cookie_without_a_session_is_no_identity(plant: Plant, cookie: str) -> None:
    problem(
        plant.ask("GET", "/v1/jobs", "", headers={"Cookie": cookie.encode("latin-1")}), 401, "unauthenticated"
    )


def test_guessing_tokens_is_slowed_down_and_who_has_one_is_not(plant: Plant) -> None:
    for _ in range(PER_SOURCE.burst):
        problem(plant.ask("GET", "/v1/jobs", "lst_" + "x" * 43), 401, "unauthenticated")
    answer = plant.ask("GET", "/v1/jobs", "lst_" + "x" * 43)
    problem(answer, 429, "too-many-attempts")
    assert int(answer.headers["retry-after"]) > 0
    problem(plant.ask("GET", "/v1/jobs", ""), 401, "unauthenticated")
    assert plant.ask("GET", "/v1/jobs").status_code == 200


# ── routes that the door watches ──────────────────────────────────────────────────────────────────────────────────
def page(path: str, answer: Any = None, **opt: Any) -> HTTPRouteHandler:
    """A route for the tests. It answers without having asked, except by `answer`."""

    @get(path, opt=opt)
    async def one(request: Request[Any, Any, Any]) -> Response[bytes]:
        if answer:
            answer(request)
        return Response(b"what nobody allowed", media_type="text/plain", headers={"X-Leak": "it"})

    return one


@pytest.mark.parametrize("opt", [{}, {"action": "job:fly"}, {"action": ""}])
def test_a_route_without_an_action_of_the_list_refuses_to_start(plant: Plant, opt: dict[str, str]) -> None:
    with pytest.raises(AssertionError, match=r"route /new .* names no action"):
        api.build(plant.faces, [page("/new", **opt)])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_answer_that_nobody_has_decided_about_is_stopped_and_nothing_of_it_leaves(
    plant: Plant, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    plant.app = api.build(plant.faces, [page("/new", action="job:read"), page("/open", action="open")])
    for path in ("/new", "/open"):
        answer = plant.ask(method, path)
        assert answer.status_code == 500
        assert "nobody allowed" not in answer.text
        assert "x-leak" not in answer.headers
        assert f"{path} answered without a decision" in capsys.readouterr().err
        if method == "GET":
            problem(answer, 500, "internal")


def test_a_stream_that_nobody_has_decided_about_is_stopped_and_ends(plant: Plant) -> None:
    @get("/endless", opt={"action": "job:logs"})
    async def endless() -> Stream:
        async def parts() -> AsyncIterator[bytes]:
            while True:
                yield b"secret"
                await asyncio.sleep(0.001)

        return Stream(parts())

    plant.app = api.build(plant.faces, [endless])
    assert b"secret" not in plant.ask("GET", "/endless").content


def test_a_route_for_strangers_lets_them_in_also_with_a_session_that_is_over(plant: Plant) -> None:
    pages = [
        page("/hello/{name:str}", anybody, action="open", strangers=True),
        page("/inside", anybody, action="open"),
    ]
    plant.app = api.build(plant.faces, pages)
    over = {"Cookie": f"{auth.COOKIE}=lst_{'o' * 43}"}
    assert plant.ask("GET", "/hello/you", "").status_code == 200
    assert plant.ask("GET", "/hello/you", "", headers=over).status_code == 200
    problem(plant.ask("GET", "/hello/you", "wrong"), 401, "unauthenticated")
    problem(plant.ask("GET", "/hello/you/too", ""), 401, "unauthenticated")
    problem(plant.ask("GET", "/inside", ""), 401, "unauthenticated")
    problem(plant.ask("GET", "/inside", "", headers=over), 401, "unauthenticated")


def test_head_answers_as_get_without_a_body_and_ends_streams(plant: Plant) -> None:
    plant.submit()
    for path in (
        "/v1/jobs",
        "/v1/jobs/operator-1",
        "/healthz",
        "/v1/events",
        "/v1/jobs/operator-1/logs?follow=true",
    ):
        head = plant.ask("HEAD", path)
        assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == "text/event-stream; charset=utf-8"
    problems = plant.ask("HEAD", "/v1/jobs/operator-9")
    assert (problems.status_code, problems.content) == (404, b"")
    assert plant.ask("HEAD", "/v1/plan").status_code == 405
    assert plant.ask("HEAD", "/v1/jobs", "").status_code == 401


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        here = [node["$ref"]] if "$ref" in node else []
        return here + [found for value in node.values() for found in _references(value)]
    return [found for value in node for found in _references(value)] if isinstance(node, list) else []


def _name(reference: dict[str, str]) -> str:
    return reference["$ref"].removeprefix("#/components/schemas/")
