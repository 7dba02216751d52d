# SPDX-License-Identifier: Apache-2.0
"""What the API promises about coming in: cookies no script reads, no way to elsewhere, no sign-in by somebody else."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from leitstand.access.oidc import Begun, Claims
from leitstand.access.oidc_http import SignInFailed
from leitstand.access.oidc_settings import ProviderSettings
from leitstand.access.roles import Grant
from leitstand.access.tokens import digest
from leitstand.api.identity import oidc, sessions
from leitstand.api.identity.devices import LETTERS, PENDING_MAX, PER_SOURCE_MAX, Devices
from leitstand.core import acts as a
from tests.unit.faces_story import TOKEN, Plant, S, problem
from tests.unit.onboarding_story import DAY, file, later, person

OURS = {"sec-fetch-site": "same-origin"}


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    plant = Plant(tmp_path)
    plant.writer.cycle(a.TenantAdded("acme", "industry", "admin"))
    return plant


def cookie(answer: httpx2.Response, name: str = "leitstand_session") -> tuple[str, set[str]]:
    """Value and attributes of a cookie that was set."""
    for line in answer.headers.get_list("set-cookie"):
        value, *attributes = line.split("; ")
        if value.startswith(f"{name}="):
            return value.partition("=")[2], set(attributes)
    raise AssertionError(f"no cookie {name} in {answer.headers}")


def browse(plant: Plant, method: str, path: str, session: str, **more: Any) -> httpx2.Response:
    """As a page of our own does with the cookie of a session."""
    headers = {"cookie": f"leitstand_session={session}", **OURS, **more.pop("headers", {})}
    return plant.ask(method, path, "", headers=headers, **more)


def sign_in(plant: Plant, token: str, **headers: str) -> httpx2.Response:
    return plant.ask("POST", "/v1/signin", "", json={"token": token}, headers=headers)


# ── with a token ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_token_gives_a_session_in_a_cookie_that_no_script_reads(plant: Plant) -> None:
    token = person(plant, ("member", "acme"), scopes=("read",), tenant="acme")
    answer = sign_in(plant, token, **OURS)
    assert (answer.status_code, answer.content) == (204, b"")
    session, attributes = cookie(answer)
    assert attributes == {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=28800"}
    assert answer.headers["cache-control"] == "no-store"
    me = browse(plant, "GET", "/v1/self", session).json()
    assert me["user"]["id"] == "u1"
    assert (me["token"]["kind"], me["token"]["scopes"], me["token"]["tenant"]) == (
        "session",
        ["read"],
        "acme",
    )
    assert token not in answer.text
    later(plant, DAY // 3 + S)
    problem(browse(plant, "GET", "/v1/self", session), 401, "unauthenticated")


def test_beyond_loopback_the_cookie_is_for_https_alone(plant: Plant) -> None:
    plant.faces.loopback = False
    assert "Secure" in cookie(sign_in(plant, person(plant)))[1]


def test_a_session_ends_with_its_token_at_the_latest(plant: Plant) -> None:
    plant.writer.cycle(a.UserAdded("", "admin"))
    secret = "lst_" + "t" * 43
    plant.writer.cycle(a.TokenIssued("", "u1", digest(secret), plant.writer.now + 3600 * S))
    answer = sign_in(plant, secret)
    assert "Max-Age=359" in answer.headers["set-cookie"]
    sessions_ = [one for one in plant.faces.follower.state.people.tokens.values() if one.kind == "session"]
    assert sessions_[0].expires_us == plant.faces.follower.state.people.tokens["k1"].expires_us


def test_the_administrator_signs_in_too(plant: Plant) -> None:
    session, _ = cookie(sign_in(plant, TOKEN))
    assert TOKEN not in session
    assert browse(plant, "GET", "/v1/self", session).json()["roles"][0]["role"] == "operator"
    assert browse(plant, "POST", "/v1/tenants", session, json={"id": "beta"}).status_code == 201
    assert browse(plant, "POST", "/v1/signout", session).status_code == 204
    problem(browse(plant, "GET", "/v1/self", session), 401, "unauthenticated")
    problem(plant.ask("POST", "/v1/signout"), 409, "conflict")


def test_every_token_that_opens_nothing_gets_the_same_answer_and_then_waits(plant: Plant) -> None:
    expired = person(plant)
    later(plant, 301 * DAY)
    claim = file(plant)["claim"]
    answers = []
    for wrong in (expired, claim, "lst_" + "x" * 43, "", "x", "ü", "a b"):
        answer = sign_in(plant, wrong)
        answers.append({**problem(answer, 401, "unauthenticated"), "request_id": ""})
        assert len(wrong) < 3 or wrong not in answer.text
    assert all(one == answers[0] for one in answers)
    for _ in range(30):
        last = sign_in(plant, "lst_" + "y" * 43)
    problem(last, 429, "too-many-attempts")
    assert int(last.headers["retry-after"]) > 0
    assert sign_in(plant, person(plant)).status_code == 204  # what is right never waits


def test_faults_do_not_show_the_token(plant: Plant) -> None:
    for raw in (b'{"token": ["lst_secret"]}', b'"lst_secret"', b'{"token": 1, "x": "lst_secret"}'):
        answer = plant.ask("POST", "/v1/signin", "", content=raw)
        problem(answer, 400, "invalid-request")
        assert "lst_secret" not in answer.text


def test_another_site_signs_nobody_in_and_nobody_out(plant: Plant) -> None:
    token = person(plant)
    for headers in (
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ):
        problem(sign_in(plant, token, **headers), 403, "cross-site")
    session, _ = cookie(sign_in(plant, token, origin="http://test"))
    evil = {"sec-fetch-site": "cross-site"}
    problem(browse(plant, "POST", "/v1/signout", session, headers=evil), 403, "cross-site")
    assert browse(plant, "GET", "/v1/self", session).status_code == 200


def test_sign_out_ends_the_token_that_asks_and_clears_the_cookie(plant: Plant) -> None:
    token = person(plant, scopes=("read",))
    session, _ = cookie(sign_in(plant, token))
    answer = browse(plant, "POST", "/v1/signout", session)
    assert answer.status_code == 204
    assert cookie(answer) == ("", {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=0"})
    problem(browse(plant, "GET", "/v1/self", session), 401, "unauthenticated")
    assert browse(plant, "POST", "/v1/signout", session).status_code == 204  # a dead one is cleared, too
    assert plant.ask("POST", "/v1/signout", token).status_code == 204
    problem(plant.ask("GET", "/v1/self", token), 401, "unauthenticated")


# ── with an identity provider ─────────────────────────────────────────────────────────────────────────────────────
class Fake:
    """An identity provider in the place of the real one, which has its own tests."""

    settings = ProviderSettings(issuer="https://id.example.org", client_id="us", title="Example University")

    def __init__(self) -> None:
        self.claims = Claims("https://id.example.org", "sub-1", "Ada", "ada@example.org", ())
        self.grants: set[Grant] = set()
        self.failure: SignInFailed | None = None
        self.seen: tuple[str, ...] = ()

    async def begin(self, redirect_uri: str) -> Begun:
        return Begun(f"https://id.example.org/authorize?to={redirect_uri}", "gAAA-sealed_note==")

    async def finish(self, code: str, state: str, pending: str, issuer: str = "") -> Claims:
        self.seen = (code, state, pending, issuer)
        if self.failure:
            raise self.failure
        return self.claims

    def grants_for(self, claims: Claims) -> set[Grant]:
        return self.grants


@pytest.fixture
def provider(plant: Plant) -> Fake:
    fake: Any = Fake()
    plant.faces.provider = fake
    return fake  # type: ignore[no-any-return]


def come_back(plant: Plant, back: str = "/", **headers: str) -> httpx2.Response:
    begun = plant.ask("GET", f"/v1/signin/oidc?return={back}", "")
    note, _ = cookie(begun, oidc.COOKIE)
    headers = {"cookie": f"other=1; {oidc.COOKIE}={note}", **headers}
    return plant.ask(
        "GET", "/v1/signin/oidc/callback?code=c&state=s&iss=i&session_state=x", "", headers=headers
    )


def test_how_to_sign_in_is_told(plant: Plant) -> None:
    assert plant.ask("GET", "/v1/signin", "").json() == {"methods": ["token"], "provider": ""}
    problem(plant.ask("GET", "/v1/signin/oidc", ""), 404, "not-found")
    fake: Any = Fake()
    plant.faces.provider = fake
    found = plant.ask("GET", "/v1/signin", "").json()
    assert found == {"methods": ["token", "oidc"], "provider": "Example University"}


def test_what_is_pending_lies_in_a_cookie_of_the_browser_that_began(plant: Plant, provider: Fake) -> None:
    begun = plant.ask("GET", "/v1/signin/oidc?return=/jobs", "")
    assert begun.status_code == 302
    assert begun.headers["location"].endswith("?to=http://test/v1/signin/oidc/callback")
    note, attributes = cookie(begun, oidc.COOKIE)
    assert note == "gAAA-sealed_note==.%2Fjobs"
    assert attributes == {"HttpOnly", "SameSite=Lax", "Path=/v1/signin/oidc", "Max-Age=600"}
    come_back(plant)
    assert provider.seen == ("c", "s", "gAAA-sealed_note==", "i")
    plant.ask("GET", "/v1/signin/oidc/callback?code=c&state=s", "")
    assert provider.seen == ("c", "s", "", "")  # another browser has none: the provider's check refuses


def test_a_person_comes_in_with_the_roles_of_its_groups_each_time(plant: Plant, provider: Fake) -> None:
    provider.grants = {Grant("member", "acme"), Grant("viewer", "gone")}
    answer = come_back(plant, "/jobs%3Fstate=running")
    assert answer.status_code == 200
    assert 'url=/jobs?state=running"' in answer.text
    session, attributes = cookie(answer)
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= attributes
    me = browse(plant, "GET", "/v1/self", session).json()
    assert me["user"] == {"id": "u1", "name": "Ada", "email": "ada@example.org"}
    assert me["roles"] == [{"role": "member", "tenant": "acme", "project": "", "origin": "sso"}]
    provider.grants = set()
    provider.claims = Claims("https://id.example.org", "sub-1", "Ada L.", "ada@new.example", ())
    session, _ = cookie(come_back(plant))
    me = browse(plant, "GET", "/v1/self", session).json()
    assert (me["user"]["id"], me["user"]["name"], me["roles"]) == ("u1", "Ada L.", [])
    kept = "".join(repr(entry.fact) for entry in plant.writer.journal.read(0, 1000))
    assert all(word not in kept for word in ("sub-1", "Ada", "id.example.org"))


def test_who_was_erased_comes_back_as_somebody_new(plant: Plant, provider: Fake) -> None:
    come_back(plant)
    assert plant.ask("DELETE", "/v1/users/u1").status_code == 204
    session, _ = cookie(come_back(plant))
    assert browse(plant, "GET", "/v1/self", session).json()["user"]["id"] == "u2"
    plant.writer.cycle(a.UserRemoved("u2", "admin"))  # an erasure that was cut short
    session, _ = cookie(come_back(plant))
    assert browse(plant, "GET", "/v1/self", session).json()["user"]["id"] == "u3"


def test_one_person_that_comes_twice_at_once_is_one_user(plant: Plant, provider: Fake) -> None:
    come_back(plant)
    find, late = plant.faces.people.find_login, [None]  # the other one is a moment quicker

    def late_once(issuer: str, subject: str) -> str | None:
        return late.pop() if late else find(issuer, subject)

    plant.faces.people.find_login = late_once  # type: ignore[method-assign]
    session, _ = cookie(come_back(plant))
    assert browse(plant, "GET", "/v1/self", session).json()["user"]["id"] == "u1"
    assert list(plant.faces.follower.state.people.users) == ["u1"]
    assert plant.faces.follower.state.people.users_ever == 2


ELSEWHERE = [
    "//evil.example", "https://evil.example", "/\\evil.example", "\\/evil.example", "javascript:alert(1)",
    "/%09/evil.example", "evil.example", "", "/a\\b", "/" + "x" * 3000, "/%0d%0aSet-Cookie:x=1",
]  # fmt: skip


@pytest.mark.parametrize("back", ELSEWHERE)
def test_no_link_leads_through_a_sign_in_to_elsewhere(plant: Plant, provider: Fake, back: str) -> None:
    problem(plant.ask("GET", f"/v1/signin/oidc?return={back}", ""), 400, "invalid-request")
    headers = {"cookie": f"{oidc.COOKIE}=gAAA.{back}"}  # planted by a neighbour
    answer = plant.ask("GET", "/v1/signin/oidc/callback?code=c&state=s", "", headers=headers)
    assert 'url=/"' in answer.text
    assert "evil" not in answer.text


def test_a_path_cannot_break_out_of_the_page(plant: Plant, provider: Fake) -> None:
    answer = come_back(plant, "/%22%3E%3Cscript%3E")
    assert "<script" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    for good in ("/", "/jobs/acme-1?tab=log#end", "/a//b"):
        assert sessions.local_path(good) == ""


def test_a_failure_leads_back_with_its_reason_and_guesses_are_counted(plant: Plant, provider: Fake) -> None:
    provider.failure = SignInFailed("provider_away", "it does not answer")
    answer = come_back(plant)
    assert (answer.status_code, answer.headers["location"]) == (302, "/?signin=provider_away")
    assert cookie(answer, oidc.COOKIE)[0] == ""
    denied = plant.ask("GET", "/v1/signin/oidc/callback?error=access_denied", "")
    assert denied.headers["location"] == "/?signin=code_refused"
    provider.failure = SignInFailed("state_unknown", "not begun here")
    for _ in range(30):
        last = plant.ask("GET", "/v1/signin/oidc/callback?code=c&state=s", "")
    problem(last, 429, "too-many-attempts")
    assert plant.faces.follower.state.people.users == {}


def test_the_address_to_come_back_to_is_ours(plant: Plant, provider: Fake) -> None:
    plant.faces.loopback = False
    begun = plant.ask("GET", "/v1/signin/oidc", "")
    assert begun.headers["location"].endswith("?to=https://test/v1/signin/oidc/callback")
    assert "Secure" in cookie(begun, oidc.COOKIE)[1]
    evil = plant.ask("GET", "/v1/signin/oidc", "", headers={"host": "a/b?c"})
    problem(evil, 400, "invalid-request")


# ── login of a command line ───────────────────────────────────────────────────────────────────────────────────────
def begin(plant: Plant) -> Any:
    answer = plant.ask("POST", "/v1/login", "", json={"client": "leitstand on laptop-7"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def fetch(plant: Plant, device_code: str) -> httpx2.Response:
    return plant.ask("POST", "/v1/login/token", "", json={"device_code": device_code})


def confirm(plant: Plant, session: str, user_code: str, allow: bool = True) -> httpx2.Response:
    return browse(plant, "POST", "/v1/login/confirm", session, json={"user_code": user_code, "allow": allow})


def test_a_command_line_is_let_in_by_its_user_once(plant: Plant) -> None:
    session, _ = cookie(sign_in(plant, person(plant, ("member", "acme"))))
    begun = begin(plant)
    assert (begun["verification_url"], begun["interval_s"], begun["expires_in_s"]) == ("/device", 5, 600)
    half, _, other = begun["user_code"].partition("-")
    assert len(half) == len(other) == 4
    assert set(half + other) <= set(LETTERS)
    problem(fetch(plant, begun["device_code"]), 400, "authorization-pending")
    slow = fetch(plant, begun["device_code"])
    problem(slow, 400, "slow-down")
    shown = browse(plant, "GET", f"/v1/login/{begun['user_code']}", session).json()
    assert (shown["client"], shown["source"]) == ("leitstand on laptop-7", "127.0.0.1")
    assert (shown["scopes"], shown["tenant"], shown["expires_in_s"]) == ([], "", 30 * 86_400)
    typed = begun["user_code"].lower().replace("-", " ")
    assert confirm(plant, session, typed).json() == {"allowed": True}
    problem(confirm(plant, session, begun["user_code"]), 400, "unknown-code")  # once
    later(plant, 5 * S)
    came = fetch(plant, begun["device_code"])
    assert came.status_code == 200
    me = plant.ask("GET", "/v1/self", came.json()["secret"]).json()
    assert (me["user"]["id"], me["token"]["kind"]) == ("u1", "api")
    later(plant, 5 * S)
    problem(fetch(plant, begun["device_code"]), 400, "expired")
    assert len(plant.faces.devices) == 0


def test_a_no_a_late_yes_and_a_restart_are_told(plant: Plant) -> None:
    session, _ = cookie(sign_in(plant, person(plant)))
    begun = begin(plant)
    assert confirm(plant, session, begun["user_code"], allow=False).json() == {"allowed": False}
    problem(fetch(plant, begun["device_code"]), 400, "access-denied")
    late = begin(plant)
    later(plant, 601 * S)
    problem(confirm(plant, session, late["user_code"]), 400, "unknown-code")
    problem(fetch(plant, late["device_code"]), 400, "expired")
    lost = begin(plant)
    plant.faces.devices = Devices()
    problem(fetch(plant, lost["device_code"]), 400, "expired")


def test_a_command_line_gets_no_more_than_who_let_it_in(plant: Plant) -> None:
    token = person(plant, ("tenant_admin", "acme"), scopes=("jobs", "admin"), tenant="acme")
    session, _ = cookie(sign_in(plant, token))
    begun = begin(plant)
    assert browse(plant, "GET", f"/v1/login/{begun['user_code']}", session).json()["scopes"] == [
        "jobs",
        "admin",
    ]
    assert confirm(plant, session, begun["user_code"]).status_code == 200
    came = fetch(plant, begun["device_code"]).json()["token"]
    assert (came["scopes"], came["tenant"]) == (["jobs", "admin"], "acme")
    reader, _ = cookie(sign_in(plant, person(plant, scopes=("read",))))
    problem(confirm(plant, reader, begin(plant)["user_code"]), 403, "forbidden")
    problem(
        plant.ask("POST", "/v1/login/confirm", "", json={"user_code": "x", "allow": True}),
        401,
        "unauthenticated",
    )


def test_who_let_a_command_line_in_and_was_erased_lets_nobody_in(plant: Plant) -> None:
    session, _ = cookie(sign_in(plant, person(plant)))
    begun = begin(plant)
    confirm(plant, session, begun["user_code"])
    plant.writer.cycle(a.UserRemoved("u1", "admin"))
    problem(fetch(plant, begun["device_code"]), 400, "expired")


def test_a_token_that_could_not_be_issued_can_be_fetched_again(plant: Plant) -> None:
    session, _ = cookie(sign_in(plant, person(plant)))
    begun = begin(plant)
    confirm(plant, session, begun["user_code"])
    plant.writer.connected = False
    problem(fetch(plant, begun["device_code"]), 503, "writer-away")
    plant.writer.connected = True
    later(plant, 5 * S)
    assert fetch(plant, begun["device_code"]).status_code == 200


def test_a_token_that_is_being_issued_is_not_issued_twice(plant: Plant) -> None:
    session, _ = cookie(sign_in(plant, person(plant)))
    begun = begin(plant)
    confirm(plant, session, begun["user_code"])
    device = plant.faces.devices.by_device(plant.writer.now, begun["device_code"])
    assert device is not None
    device.taken = True  # by a question that still waits for the writer
    problem(fetch(plant, begun["device_code"]), 400, "expired")


def test_short_codes_are_not_guessed(plant: Plant) -> None:
    session, _ = cookie(sign_in(plant, person(plant)))
    right = begin(plant)["user_code"]
    for _ in range(12):
        last = confirm(plant, session, "BBBB-BBBB")
    problem(last, 429, "too-many-attempts")
    problem(confirm(plant, session, right), 429, "too-many-attempts")  # before it is looked up
    assert right not in last.text


def test_logins_that_wait_are_bounded_per_source_and_in_all() -> None:
    devices = Devices()
    for _ in range(PER_SOURCE_MAX):
        assert devices.begin(0, "192.0.2.1", "") is not None
    assert devices.begin(0, "192.0.2.1", "") is None
    assert devices.begin(600 * S, "192.0.2.1", "") is not None
    for at in range(PENDING_MAX):
        devices.begin(600 * S, f"10.0.{at // 250}.{at % 250}", "")
    assert len(devices) == PENDING_MAX
