# SPDX-License-Identifier: Apache-2.0
"""Whatever is asked, by whomever: an answer, never a 5xx; a problem with the documented fields where it refuses; and no
answer, header or log tells a secret that was sent. The long rounds are `make fuzz`."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leitstand.api import app as api
from tests.fuzz import requests
from tests.fuzz.asking import SECRET, Request, Sent, Town, judge, routes

HASTY = settings(
    max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
STRANGER = requests.STRANGER


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    town = Town()
    yield town
    town.close()


def all_of(town: Town, asked: st.SearchStrategy[Request], rounds: settings = HASTY) -> Counter[int]:
    """Ask them; how many answers of each status came."""
    statuses: Counter[int] = Counter()

    @rounds
    @given(asked)
    def ask(one: Request) -> None:
        statuses[town.ask(one).status] += 1

    ask()
    return statuses


def test_any_request_to_any_route_has_an_answer(town: Town) -> None:
    statuses = all_of(town, requests.requests(routes(town)))
    assert {200, 400, 401, 403, 404, 405} <= set(statuses), f"the requests are too much alike: {statuses}"


def test_any_credentials_are_taken_or_refused(town: Town) -> None:
    statuses = all_of(town, requests.doors(routes(town)))
    assert {200, 401} <= set(statuses), f"the requests are too much alike: {statuses}"


def test_every_body_with_each_field_wrong_in_turn_is_refused_without_telling_a_secret(town: Town) -> None:
    wrong: list[Any] = [None, True, -1, 2**70, 1.5, "\0", [None], {"A": 1}, *requests.RAWS]
    secret: list[Any] = [SECRET, [SECRET], {"A": SECRET}, {"A": [SECRET]}]
    asked = 0
    for route in routes(town):
        path, query, like = route.like[0] if route.like else (route.path, "", {})
        if route.body is None or isinstance(like, bytes):
            continue
        for name in [*(field.encode_name for field in msgspec.structs.fields(route.body)), "unknown"]:
            is_secret = name == "unknown" or name in getattr(route.body, "hidden", ())
            for put in wrong + secret * is_secret:
                body = requests.written({**(like or {}), name: put})
                town.ask(Request(route.method, path, query.encode(), (), body))
                asked += 1
    assert asked > 1000


@pytest.mark.parametrize("slashes", ["{}/", "{}//", "/{}", "//{}", "{}/./", "{}%2f", "{}%00"])
def test_other_spellings_of_a_path_are_decided_like_it_or_are_not_there(town: Town, slashes: str) -> None:
    for route in routes(town):
        if route.method == "GET" and "{" not in route.path:
            for asker in (0, STRANGER):
                asked = slashes.format(route.path)
                answer = town.ask(Request("GET", asked, asker=asker))
                assert answer.status in (
                    town.ask(Request("GET", route.path, asker=asker)).status,
                    401,
                    404,
                    405,
                ), asked


def test_a_client_that_leaves_before_its_body_is_complete_is_no_fault_of_ours(
    town: Town, capfd: pytest.CaptureFixture[str]
) -> None:
    for route in routes(town):
        if route.body is not None:
            path, query, _ = route.like[0] if route.like else (route.path, "", None)
            town.ask(Request(route.method, path, query.encode(), (), b'{"run": "x"}', pieces=0))
    assert capfd.readouterr().err == ""


def test_every_route_is_asked_and_most_have_a_request_that_is_right(town: Town) -> None:
    known = routes(town)
    assert {(route.method, route.path) for route in known} == {
        (method, path.replace(":str}", "}").replace(":path}", "}"))
        for path, handler in api.routes()
        for method in map(str, handler.http_methods)
    }
    assert sum(bool(route.like) for route in known) > len(known) * 0.8


PROBLEM = (
    b'{"type":"urn:leitstand:problem:invalid-request","title":"T","status":400,"detail":"d",'
    b'"code":"invalid-request","request_id":"r"}'
)
HEADERS = [
    (b"content-type", b"application/problem+json"),
    (b"x-request-id", b"r"),
    (b"cache-control", b"no-store"),
]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (Sent(500, HEADERS, PROBLEM), ""),
        (Sent(401, HEADERS, PROBLEM.replace(b"400", b"401")), ""),
        (Sent(404, HEADERS, PROBLEM), ""),
        (Sent(400, HEADERS, PROBLEM.replace(b"invalid-request", b"never-said")), ""),
        (Sent(400, HEADERS[:2], PROBLEM), ""),
        (Sent(400, HEADERS[1:], PROBLEM), ""),
        (Sent(400, HEADERS, PROBLEM.replace(b'"d"', b'""')), ""),
        (Sent(400, HEADERS, PROBLEM.replace(b"{", b'{"trace":"T",')), ""),
        (Sent(400, HEADERS, PROBLEM.replace(b'"d"', f'"{SECRET}"'.encode())), ""),
        (Sent(400, HEADERS, PROBLEM), f"it was {SECRET}"),
        (Sent(200, [(b"location", b"/\r\nset-cookie: a")], b""), ""),
        (Sent(200, [(b"etag", SECRET.encode())], b""), ""),
        (Sent(200, [(b"content-type", b"application/json")], b"NaN?"), ""),
        (Sent(200, [], b"x" * 10_000_000), ""),
    ],
)
def test_the_judge_sees_each_broken_promise(sent: Sent, said: str) -> None:
    asked = Request("GET", "/v1/jobs")
    judge(asked, Sent(400, HEADERS, PROBLEM), "")
    with pytest.raises(Exception):
        judge(asked, sent, said)
