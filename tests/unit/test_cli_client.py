# SPDX-License-Identifier: Apache-2.0
"""The HTTP client: what it sends again, what it gives up on, and how it says so. No sockets: answers are played."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from leitstand import client as sdk
from leitstand.cli import client as module
from leitstand.cli import credentials
from leitstand.cli.client import Client, connect
from leitstand.cli.refusals import CommandFailed, Refused, Unreachable, refused

Answer = httpx2.Response | Exception


class Played:
    """A control plane that gives these answers one after the other; the last one repeats."""

    def __init__(self, *answers: Answer | Callable[[httpx2.Request], Answer]) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []
        self.slept: list[float] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        answer = answer(request) if callable(answer) else answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self) -> Client:
        return Client(
            "http://plane.test:8640", "secret", transport=httpx2.MockTransport(self), sleep=self.slept.append
        )


def problem(status: int, **fields: Any) -> httpx2.Response:
    body = {"title": "No", "status": status, "detail": "because", "code": "code", **fields}
    headers = {"Content-Type": "application/problem+json"}
    return httpx2.Response(status, content=json.dumps(body), headers=headers)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """English, and nothing of whoever runs the tests."""
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("LEITSTAND_URL", "LEITSTAND_TOKEN", "LEITSTAND_DATA"):
        monkeypatch.delenv(name, raising=False)


def test_every_request_carries_the_token() -> None:
    played = Played(httpx2.Response(200, json={}))
    played.client().get("/v1/jobs")
    assert played.requests[0].headers["Authorization"] == "Bearer secret"


def test_a_submission_whose_answer_is_lost_is_sent_again_with_the_same_key() -> None:
    played = Played(httpx2.ReadError("reset"), problem(503), httpx2.Response(201, json={"id": "operator-1"}))
    assert played.client().submit({"run": "x"}) == {"id": "operator-1"}
    keys = {request.headers["Idempotency-Key"] for request in played.requests}
    assert len(played.requests) == 3
    assert len(keys) == 1
    assert {request.content for request in played.requests} == {played.requests[0].content}


def test_two_submissions_have_two_keys() -> None:
    played = Played(httpx2.Response(201, json={"id": "operator-1"}))
    plane = played.client()
    plane.submit({"run": "x"})
    plane.submit({"run": "x"})
    assert len({request.headers["Idempotency-Key"] for request in played.requests}) == 2


def test_a_busy_control_plane_is_asked_again_when_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    busy = problem(429, detail="too many jobs wait")
    busy.headers["Retry-After"] = "7"
    played = Played(busy, httpx2.Response(201, json={"id": "operator-1"}))
    played.client().submit({"run": "x"})
    assert played.slept == [7.0]
    assert "too many jobs wait. Trying again in 7 s." in capsys.readouterr().err


def test_trying_again_ends_within_the_budget() -> None:
    played = Played(problem(503, detail="the writer is away"))
    with pytest.raises(Refused, match="the writer is away"):
        played.client().get("/v1/jobs")
    assert 0 < sum(played.slept) <= sdk.RETRY_BUDGET_S


def test_a_long_retry_after_is_not_waited_for() -> None:
    busy = problem(429)
    busy.headers["Retry-After"] = "3600"
    played = Played(busy)
    with pytest.raises(Refused):
        played.client().get("/v1/jobs")
    assert played.slept == []


def test_a_refused_connection_is_told_at_once_with_the_remedy() -> None:
    played = Played(httpx2.ConnectError("refused"))
    with pytest.raises(Unreachable, match=r"no control plane at http://plane\.test:8640") as caught:
        played.client().get("/v1/jobs")
    assert "leitstand up" in caught.value.hint
    assert "LEITSTAND_URL" in caught.value.hint
    assert len(played.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500, 507])
def test_a_refusal_is_not_repeated(status: int) -> None:
    played = Played(problem(status))
    with pytest.raises(Refused) as caught:
        played.client().submit({"run": "x"})
    assert caught.value.status == status
    assert len(played.requests) == 1


def test_a_problem_shows_its_detail_every_fault_and_the_hint(capsys: pytest.CaptureFixture[str]) -> None:
    errors = [{"where": "/resources/gpus", "what": "is -1"}, {"where": "/name", "what": "is too long"}]
    played = Played(
        problem(400, detail="the body is not valid (2 faults)", errors=errors, hint="see the guide")
    )
    with pytest.raises(Refused) as caught:
        played.client().submit({"run": "x"})
    caught.value.show()
    said = capsys.readouterr().err
    assert said == (
        "Error: the control plane does not take this:\n  --gpus is -1\n  --name is too long\n  see the guide\n"
    )


def test_a_single_fault_is_told_once_by_its_option(capsys: pytest.CaptureFixture[str]) -> None:
    detail = "the body is not a valid JobRequest: /num_nodes is 0; the least is 1"
    errors = [{"where": "/num_nodes", "what": "is 0; the least is 1"}]
    with pytest.raises(Refused) as caught:
        Played(problem(400, detail=detail, code="invalid-request", errors=errors)).client().submit(
            {"run": "x"}
        )
    caught.value.show()
    assert capsys.readouterr().err == "Error: --nodes is 0; the least is 1\n"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (problem(404, code="unknown-job"), 102),
        (problem(404), 1),
        (problem(404, code="unknown-task"), 1),
        (problem(404, code="not-found"), 1),
        (problem(400, code="invalid-request"), 2),
        (problem(400, code="wrong-digest"), 1),
        (problem(422, job="operator-7"), 104),
        (problem(422), 1),
        (problem(401), 1),
        (problem(507), 1),
    ],
)
def test_refusals_have_their_exit_codes(answer: httpx2.Response, code: int) -> None:
    with pytest.raises(Refused) as caught:
        Played(answer).client().submit({"run": "x"})
    assert caught.value.exit_code == code


def test_an_answer_of_something_else_is_not_taken_for_a_control_plane() -> None:
    played = Played(httpx2.Response(404, text="<html>nginx</html>"))
    with pytest.raises(Refused, match="not in the way a control plane does") as caught:
        played.client().get("/v1/jobs")
    assert "LEITSTAND_URL" in caught.value.hint


def test_a_wrong_path_below_a_leitstand_names_the_url_and_the_usual_mistake() -> None:
    with pytest.raises(Refused, match=r"nothing at http://plane\.test:8640/v1/jobs") as caught:
        Played(problem(404, code="not-found", hint="the API is at /v1/openapi.json")).client().get("/v1/jobs")
    assert "ends without /v1" in caught.value.hint


@pytest.mark.parametrize(
    "content", ['{"hello": 1}', "[]", "3", "<html>", "", '{"items": 5}', '{"items": [7]}']
)
def test_another_service_that_answers_200_is_said_to_be_no_leitstand(content: str) -> None:
    plane = Played(httpx2.Response(200, content=content)).client()
    with pytest.raises(CommandFailed, match=r"http://plane\.test:8640 is no Leitstand") as caught:
        list(plane.pages("/v1/jobs", 10))
    assert "LEITSTAND_URL" in caught.value.hint
    with pytest.raises(CommandFailed, match="no Leitstand"):
        plane.get("/v1/jobs/operator-1")["runs"]


def test_another_service_that_sends_no_events_is_told_at_once() -> None:
    plane = Played(httpx2.Response(200, content='{"hello": 1}')).client()
    with pytest.raises(CommandFailed, match="no Leitstand"), plane.events("/v1/jobs/x/logs") as events:
        list(events)


def test_hints_of_the_api_become_hints_of_the_command_line() -> None:
    for code, job, said in [("unknown-job", "", "leitstand jobs"), ("shape", "operator-7", "leitstand plan"),
                            ("unknown-tenant", "", "leitstand tenants"), ("else", "", "")]:  # fmt: skip
        answer = problem(422, code=code, job=job, hint="GET /v1/other tells")
        with pytest.raises(Refused) as caught:
            Played(answer).client().submit({"run": "x"})
        assert "/v1" not in caught.value.hint
        assert said in caught.value.hint


def test_what_no_request_can_carry_is_not_tried_again() -> None:
    played = Played(httpx2.LocalProtocolError("Illegal header value"))
    with pytest.raises(CommandFailed, match="Illegal header value"):
        played.client().submit({"run": "x"})
    assert len(played.requests) == 1


def test_time_spent_waiting_for_answers_counts_against_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 60))
    monkeypatch.setattr("leitstand.cli.client.time.monotonic", lambda: float(next(clock)))
    played = Played(httpx2.ReadTimeout("slow"))
    with pytest.raises(Unreachable):
        played.client().get("/v1/jobs")
    assert len(played.requests) == 1


def test_a_long_listing_is_read_page_by_page_up_to_the_limit() -> None:
    def page(request: httpx2.Request) -> httpx2.Response:
        first = int(request.url.params.get("cursor", 0))
        items = [{"n": n} for n in range(first, first + int(request.url.params["limit"]))]
        return httpx2.Response(200, json={"items": items, "next_cursor": str(first + len(items))})

    played = Played(page)
    assert [row["n"] for row in played.client().pages("/v1/jobs", 2500, state=None)] == list(range(2500))
    assert [request.url.params["limit"] for request in played.requests] == ["1000", "1000", "500"]
    assert all("state" not in request.url.params for request in played.requests)


def test_a_listing_ends_with_its_last_page() -> None:
    played = Played(httpx2.Response(200, json={"items": [{"n": 1}], "next_cursor": None}))
    assert len(list(played.client().pages("/v1/jobs", 100))) == 1


def test_an_upload_is_begun_anew_when_it_is_sent_again() -> None:
    played = Played(httpx2.WriteError("reset"), httpx2.Response(201, json={}))
    played.client().put("/v1/blobs/x", lambda: iter([b"ab", b"cd"]))
    assert [request.content for request in played.requests] == [b"abcd", b"abcd"]


@pytest.mark.parametrize(
    "word", ["", "operator-1/logs", "../tenants?x#y", "\udcff\udcfe", "a b", "x" * 300, "ü-1", "."]
)
def test_what_can_be_no_job_id_is_refused_before_anything_is_asked(word: str) -> None:
    with pytest.raises(CommandFailed, match="is not the id of a job") as caught:
        module.job_path(word, "/cancel")
    assert caught.value.exit_code == 2
    caught.value.message.encode()


def test_a_job_id_is_its_place_in_the_path() -> None:
    assert module.job_path("operator-1", "/cancel") == "/v1/jobs/operator-1/cancel"


def test_a_missing_token_names_the_ways_to_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LEITSTAND_DATA", str(tmp_path))
    with pytest.raises(CommandFailed, match=r"not signed in at http://127\.0\.0\.1:8640") as caught:
        connect()
    assert "`leitstand login`" in caught.value.hint
    assert "admin.token" not in caught.value.hint  # there is none here
    (tmp_path / "admin.token").write_text("lst_admin\n")
    with pytest.raises(CommandFailed) as caught:
        connect()
    assert f"$(cat {tmp_path}/admin.token)" in caught.value.hint
    with pytest.raises(CommandFailed) as caught:
        connect("https://cloud.example")
    assert "admin.token" not in caught.value.hint  # it is of another machine's control plane


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://localhost:8640", True),
        ("http://[::1]:1", True),
        ("https://10.0.0.1", False),
        ("http://localhost.example", False),
    ],
)
def test_the_administrators_token_is_named_only_for_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, here: bool
) -> None:
    monkeypatch.setenv("LEITSTAND_DATA", str(tmp_path))
    (tmp_path / "admin.token").write_text("lst_admin\n")
    response = httpx2.Response(
        401, json={"title": "No", "code": "unauthenticated"}, request=httpx2.Request("GET", f"{url}/v1/self")
    )
    assert ("admin.token" in refused(response).hint) == here


def test_a_secret_that_is_not_there_comes_with_its_remedy() -> None:
    fault = {
        "where": "/secrets/HF_TOKEN",
        "what": "names secret 'HF_TOKEN', which project 'default' does not have",
    }
    with pytest.raises(Refused) as caught:
        Played(problem(400, code="unknown-secret", errors=[fault])).client().submit({"run": "x"})
    assert caught.value.message.startswith("--secret HF_TOKEN names secret")
    assert "leitstand secrets set HF_TOKEN" in caught.value.hint
    assert "--secret HF_TOKEN" in caught.value.hint


def test_a_fault_of_the_contact_that_was_made_of_the_applicant_is_told_once() -> None:
    contact = {"where": "/legal/contacts/0/email", "what": "is no address"}
    applicant = {"where": "/applicant/email", "what": "is no address"}
    with pytest.raises(Refused, match=r"^--email is no address$"):
        Played(problem(400, code="invalid-request", errors=[contact, applicant])).client().apply({})
    with pytest.raises(Refused, match=r"^/legal/contacts/0/email is no address$"):  # of a file
        Played(problem(400, code="invalid-request", errors=[contact])).client().apply({})


@pytest.mark.parametrize(("code", "helps"), [("no_such_capacity", True), ("tenant_suspended", False)])
def test_a_rejection_names_what_helps_and_nothing_else(code: str, helps: bool) -> None:
    with pytest.raises(Refused) as caught:
        Played(problem(422, code=code, job="acme-1")).client().submit({"run": "x"})
    assert ("leitstand nodes" in caught.value.hint) == helps


def test_what_login_saved_is_used_where_the_environment_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials.keep_token("https://one.test", "lst_one")
    credentials.keep_token("https://two.test", "lst_two")
    assert sdk.place() == ("https://two.test", "lst_two")
    monkeypatch.setenv("LEITSTAND_URL", "https://one.test/")
    assert sdk.place()[1] == "lst_one"
    monkeypatch.setenv("LEITSTAND_TOKEN", "lst_env")
    assert sdk.place()[1] == "lst_env"


def test_a_token_of_the_environment_never_goes_where_login_went(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials.keep_token("https://elsewhere.test", "lst_saved")
    monkeypatch.setenv("LEITSTAND_TOKEN", "lst_env")
    assert sdk.place() == (sdk.URL_DEFAULT, "lst_env")


def test_credentials_are_for_their_owner_alone_and_written_whole() -> None:
    credentials.keep_token("https://one.test", "lst_one")
    credentials.keep_claim("https://one.test", "a1", "lsa_one")
    path = sdk.saved_path()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    credentials.drop_token("https://one.test")
    assert "lst_one" not in path.read_text()
    assert credentials.claims_of("https://one.test") == {"a1": "lsa_one"}


@pytest.mark.parametrize("content", ["", "junk", "[]", '{"planes": 3}', '{"planes": {"x": 1}, "url": "y"}'])
def test_a_damaged_credentials_file_is_as_none_and_is_replaced(content: str) -> None:
    path = sdk.saved_path()
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(CommandFailed, match="not signed in"):
        connect()
    credentials.keep_token("https://one.test", "lst_one")
    assert sdk.place() == ("https://one.test", "lst_one")


def test_a_folder_that_cannot_be_written_is_told_with_the_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/dev/null")
    with pytest.raises(CommandFailed, match="cannot be written") as caught:
        credentials.keep_token("https://one.test", "lst_one")
    assert "LEITSTAND_TOKEN" in caught.value.hint


@pytest.mark.parametrize("token", ["two words", "umläut", "line\nbreak", "x" * 5000])
def test_a_token_that_no_header_can_carry_is_refused(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("LEITSTAND_TOKEN", token)
    with pytest.raises(CommandFailed, match="given as a token"):
        connect()


@pytest.mark.parametrize("url", ["ftp://x", "localhost:8640", "http://", "http://[::1", "/v1"])
def test_an_address_that_is_none_is_refused_with_its_value(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("LEITSTAND_TOKEN", "x")
    monkeypatch.setenv("LEITSTAND_URL", url)
    with pytest.raises(CommandFailed) as caught:
        connect()
    assert url in caught.value.message
