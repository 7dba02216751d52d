# SPDX-License-Identifier: Apache-2.0
"""The commands about tenants, people and access: what they send, show, ask and keep. No sockets: answers are played."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import httpx2
import pytest
from click.testing import Result

from leitstand import client as sdk
from leitstand.access.actions import ACTIONS
from leitstand.api.applicationview import happens_next
from leitstand.cli import applications, apply, can_i, credentials, people, projects, tenants, tokens
from leitstand.cli.german_access import ACCESS_CODES, NEXT
from leitstand.cli.german_others import CODES
from leitstand.cli.nouns import read_mapping
from leitstand.cli.refusals import CommandFailed
from leitstand.core import acts, onboarding, rules, tenancy
from leitstand.core import people as core_people
from leitstand.core.onboarding import Application, Check
from tests.unit.test_cli_commands import JOB, Plane

URL = "http://plane.test"
WHO: dict[str, Any] = {
    "user": {"id": "u7", "name": "Ada Lovelace", "email": "ada@acme.example"},
    "token": {"id": "k3", "kind": "api", "scopes": [], "tenant": "", "expires_at": None},
    "roles": [{"role": "member", "tenant": "acme", "project": "", "origin": ""}],
    "home": {"tenant": "acme", "project": "default"},
}
TENANT: dict[str, Any] = {
    "id": "acme",
    "class": "startup",
    "name": "Acme AI",
    "suspended": "",
    "stage": "active",
    "jobs": 9,
    "pending": 1,
    "running": 2,
    "times": None,
    "projects": [{"name": "default", "open": True}],
    "budgets": [],
}
APPLICATION: dict[str, Any] = {
    "id": "a1",
    "tenant": "acme",
    "class": "startup",
    "state": "open",
    "filed_at": "2026-03-01T10:00:00Z",
    "decided_at": None,
    "agreement": "v1",
    "legal": {"name": "Acme AI"},
    "applicant": {"name": "Ada", "email": "ada@acme.example"},
    "purpose": "",
    "checks": [
        {"name": "identity", "owner": "reviewer", "outcome": "open", "note": "", "by": None, "at": None}
    ],
    "doubts": [],
    "reason": "",
    "note": "",
    "by": None,
    "next": "Still to be checked.",
}
PLAN: dict[str, Any] = {
    "admitted": True,
    "reason": "",
    "asked": 0,
    "limit": 0,
    "resource": "",
    "message": "",
    "starts_now": True,
    "waits_for": "",
    "tasks": [{"node": "n1", "gpus": [0]}],
    "jobs_ahead": 0,
    "price": {"eur": None, "note": "no price plan is in force"},
    "expected": "plan-1",
}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """English, and nothing of whoever runs the tests."""
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("LEITSTAND_URL", "LEITSTAND_TOKEN", "LEITSTAND_DATA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody is there to answer."""
    names = ("run", "apply", "invitations", "tenant", "asking")
    for module in [
        import_module(f"leitstand.cli.{name}") for name in names
    ]:  # all, before any of them is changed
        monkeypatch.setattr(module, "is_interactive", lambda: True)


def typed(plane: Plane, answers: str, *words: str) -> Result:
    """The command with `answers` on its standard input."""
    from click.testing import CliRunner

    from leitstand.cli.client import Client
    from leitstand.cli.root import cli

    client = Client(URL, "x", transport=httpx2.MockTransport(plane), sleep=lambda _: None)
    return CliRunner().invoke(cli, list(words), obj=client, input=answers)


def bearers(plane: Plane, what: str, answer: Any) -> list[str]:
    """Answer `what`, and keep by which token it was asked."""
    seen: list[str] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers.get("Authorization", "").removeprefix("Bearer "))
        return answer if isinstance(answer, httpx2.Response) else httpx2.Response(200, json=answer)

    plane.answers[what] = handler
    return seen


def problem(status: int, code: str) -> httpx2.Response:
    return httpx2.Response(status, json={"title": "No", "detail": f"it is {code}", "code": code})


# ── plan, then submit ─────────────────────────────────────────────────────────────────────────────────────────────
def submissions(plane: Plane, *answers: httpx2.Response) -> list[str | None]:
    """Play the answers to submissions; the plans that these expect."""
    expected: list[str | None] = []
    left = list(answers) or [httpx2.Response(201, json=JOB)]

    def handler(request: httpx2.Request) -> httpx2.Response:
        expected.append(request.headers.get("If-Match"))
        return left.pop(0) if len(left) > 1 else left[0]

    plane.answers["POST /v1/jobs"] = handler
    return expected


@pytest.mark.usefixtures("terminal")
def test_on_a_terminal_the_plan_is_shown_and_only_what_was_agreed_to_is_submitted() -> None:
    plane = Plane(**{"POST /v1/plan": PLAN})
    expected = submissions(plane)
    done = typed(plane, "y\n", "submit", "--", "x")
    assert done.exit_code == 0
    assert done.stdout.strip() == "operator-1"
    for said in ("price:", "no price plan is in force", "n1", "Submit it?"):
        assert said in done.stderr
    assert expected == ['"plan-1"']


@pytest.mark.usefixtures("terminal")
def test_who_says_no_submits_nothing() -> None:
    plane = Plane(**{"POST /v1/plan": PLAN})
    expected = submissions(plane)
    assert typed(plane, "n\n", "run", "--", "x").exit_code == 1
    assert expected == []


@pytest.mark.usefixtures("terminal")
def test_a_plan_that_would_be_refused_ends_as_its_submission_would() -> None:
    plane = Plane(**{"POST /v1/plan": {**PLAN, "admitted": False, "reason": "shape", "message": "too wide"}})
    expected = submissions(plane)
    done = typed(plane, "", "run", "--", "x")
    assert done.exit_code == 104
    assert "too wide" in done.stderr
    assert expected == []


@pytest.mark.usefixtures("terminal")
def test_a_plan_that_changed_meanwhile_is_shown_and_asked_again() -> None:
    plans = iter([PLAN, {**PLAN, "starts_now": False, "waits_for": "capacity", "expected": "plan-2"}])
    plane = Plane(**{"POST /v1/plan": lambda _: httpx2.Response(200, json=next(plans))})
    expected = submissions(plane, problem(412, "plan-changed"), httpx2.Response(201, json=JOB))
    done = typed(plane, "y\ny\n", "submit", "--", "x")
    assert done.exit_code == 0
    assert expected == ['"plan-1"', '"plan-2"']
    assert "until enough is free" in done.stderr


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("option", ["-y", "--yes"])
def test_yes_and_scripts_are_asked_nothing(option: str) -> None:
    plane = Plane()
    expected = submissions(plane)
    assert typed(plane, "", "submit", option, "--", "x").exit_code == 0
    assert [what for what, _, _ in plane.asked] == ["POST /v1/jobs"]
    assert expected == [None]


def test_without_a_terminal_nothing_is_asked() -> None:
    plane = Plane()
    submissions(plane)
    assert plane.run("submit", "--", "x").exit_code == 0
    assert [what for what, _, _ in plane.asked] == ["POST /v1/jobs"]


# ── signing in and out ────────────────────────────────────────────────────────────────────────────────────────────
def test_login_shows_the_code_waits_and_keeps_the_token() -> None:
    begun = {"device_code": "d", "user_code": "ABCD-EFGH", "verification_url": "/device", "interval_s": 5}
    answers = [problem(400, "authorization-pending"), problem(400, "slow-down")]
    answers.append(httpx2.Response(200, json={"secret": "lst_new", "token": {"id": "k9"}}))
    plane = Plane(**{"POST /v1/login": {**begun, "expires_in_s": 600}})
    plane.answers["POST /v1/login/token"] = lambda _: answers.pop(0)
    seen = bearers(plane, "GET /v1/self", WHO)
    done = plane.run("login")
    assert done.exit_code == 0, done.stderr
    assert "http://plane.test/device" in done.stderr
    assert "ABCD-EFGH" in done.stderr
    assert "as Ada Lovelace" in done.stderr
    assert seen == ["lst_new"]
    assert sdk.place() == (URL, "lst_new")


@pytest.mark.parametrize("code", ["access-denied", "expired"])
def test_a_login_that_was_denied_keeps_nothing(code: str) -> None:
    begun = {"device_code": "d", "user_code": "A", "verification_url": "/device", "interval_s": 1}
    plane = Plane(**{"POST /v1/login": {**begun, "expires_in_s": 600}})
    plane.answers["POST /v1/login/token"] = problem(400, code)
    done = plane.run("login")
    assert done.exit_code == 1
    assert code in done.stderr
    assert not sdk.saved_path().exists()


def test_a_token_comes_on_standard_input_and_is_tried_before_it_is_kept() -> None:
    plane = Plane()
    seen = bearers(plane, "GET /v1/self", WHO)
    assert typed(plane, "lst_given\n", "login", "--token", "-").exit_code == 0
    assert seen == ["lst_given"]
    assert sdk.place()[1] == "lst_given"


def test_a_token_that_is_refused_is_not_kept() -> None:
    plane = Plane(**{"GET /v1/self": problem(401, "unauthenticated")})
    assert typed(plane, "lst_wrong\n", "login", "--token", "-").exit_code == 1
    assert not sdk.saved_path().exists()


def test_a_token_on_the_command_line_is_refused_and_not_repeated() -> None:
    done = Plane().run("login", "--token", "lst_secret")
    assert done.exit_code == 2
    assert "standard input" in done.stderr
    assert "lst_secret" not in done.output


@pytest.mark.parametrize(("ours", "revoked"), [(True, ["lst_mine"]), (False, [])])
def test_logout_forgets_and_revokes_only_what_was_made_for_it(ours: bool, revoked: list[str]) -> None:
    credentials.keep_token(URL, "lst_mine", "k3", ours=ours)
    plane = Plane()
    seen = bearers(plane, "DELETE /v1/tokens/k3", httpx2.Response(204))
    assert plane.run("logout").exit_code == 0
    assert seen == revoked
    assert sdk.place() == (URL, "")


def test_logout_forgets_even_where_nobody_answers() -> None:
    credentials.keep_token(URL, "lst_mine", "k3", ours=True)
    plane = Plane(**{"DELETE /v1/tokens/k3": problem(507, "disk-full")})
    done = plane.run("logout")
    assert "was not revoked" in done.stderr
    assert "lst_mine" not in sdk.saved_path().read_text()


def test_whoami_names_user_token_and_roles() -> None:
    plane = Plane(**{"GET /v1/self": WHO})
    said = plane.run("whoami").stdout
    for word in ("Ada Lovelace (u7)", "ada@acme.example", "k3 (api)", "never", "acme/default", "member"):
        assert word in said
    assert json.loads(plane.run("whoami", "--json").stdout) == WHO
    assert "Mitglied" in plane.run("whoami", LC_ALL="de_DE.UTF-8").stdout


# ── can-i ─────────────────────────────────────────────────────────────────────────────────────────────────────────
NOWHERE = {"kind": "platform", "tenant": "", "project": "", "owner": "", "user": ""}
YES: dict[str, Any] = {"allowed": True, "action": "x", "resource": NOWHERE, "policies": []}
POLICY = {"id": "member", "effect": "permit", "serves": "who works", "text": '@id("member")\npermit (a);'}


@pytest.mark.parametrize(
    ("words", "query"),
    [
        (["job:submit", "acme/vision"], "action=job%3Asubmit&tenant=acme&project=vision"),
        (["job:submit", "acme"], "action=job%3Asubmit&tenant=acme"),
        (["job:cancel", "acme-42"], "action=job%3Acancel&job=acme-42"),
        (["user:read", "u7"], "action=user%3Aread&user=u7"),
        (["application:approve", "a1"], "action=application%3Aapprove&application=a1"),
        (["secret:set", "tenant=acme", "project=p"], "action=secret%3Aset&tenant=acme&project=p"),
        (["tenant:add"], "action=tenant%3Aadd&tenant=acme&project=default"),
    ],
)
def test_can_i_understands_what_it_is_about(words: list[str], query: str) -> None:
    place = {**NOWHERE, "tenant": "acme", "project": "p"}
    plane = Plane(**{"GET /v1/self": WHO, "GET /v1/can-i": {**YES, "resource": place, "policies": [POLICY]}})
    done = plane.run("can-i", *words)
    assert done.exit_code == 0
    assert plane.asked[-1][1] == query
    assert done.stdout.startswith("yes (acme/p)\n")
    assert "member (permit): who works\n  permit (a);" in done.stdout


def test_can_i_says_no_by_its_exit_code_too() -> None:
    plane = Plane(**{"GET /v1/self": {**WHO, "home": None}, "GET /v1/can-i": {**YES, "allowed": False}})
    done = plane.run("can-i", "tenant:add")
    assert (done.exit_code, done.stdout) == (1, "no\nNo policy permits it here.\n")


def test_an_action_that_is_none_is_told_with_the_nearest() -> None:
    done = Plane().run("can-i", "job:submitt")
    assert done.exit_code == 2
    assert 'Did you mean "job:submit"?' in done.stderr
    assert Plane().run("can-i", "job:submit", "colour=red").exit_code == 2
    assert Plane().run("can-i").exit_code == 2


def test_the_list_asks_for_every_action_where_one_works() -> None:
    plane = Plane(**{"GET /v1/self": WHO, "GET /v1/can-i": YES})
    assert plane.run("can-i", "--list").exit_code == 0
    assert len([query for what, query, _ in plane.asked if what == "GET /v1/can-i"]) == len(ACTIONS)
    assert all("tenant=acme" in query for what, query, _ in plane.asked if what == "GET /v1/can-i")


def test_the_closed_lists_are_those_of_the_control_plane() -> None:
    assert tuple(ACTIONS) == can_i.ACTIONS
    assert tuple(core_people.ROLES) == people.ROLES
    assert tokens.SCOPES == core_people.SCOPES
    assert projects.ORIGINS == tenancy.ORIGINS
    assert tenants.CLASSES == rules.TENANT_CLASSES
    assert tenants.SUSPENSIONS == acts.SUSPENSIONS
    assert applications.REFUSALS == onboarding.REFUSALS
    assert set(apply.SIZE_CLASSES) <= set(ACCESS_CODES)


def test_every_code_of_people_tenants_and_applications_has_its_german() -> None:
    codes = {
        *core_people.ROLES,
        *core_people.KINDS,
        *tenancy.ORIGINS,
        *acts.SUSPENSIONS,
        *onboarding.REFUSALS,
    }
    codes |= {*onboarding.OUTCOMES, *rules.Onboarding().checks, *rules.Onboarding().checks.values()}
    codes |= {
        *applications.STATES,
        "accepted",
        "expired",
        "active",
        "notice",
        "transition",
        "retrieval",
        "closed",
    }
    assert codes - {*ACCESS_CODES, *CODES} == set()


@pytest.mark.parametrize("state", ["open", "approved", "refused", "withdrawn"])
@pytest.mark.parametrize("outcome", ["", "passed", "failed"])
def test_what_happens_next_is_said_in_german_for_every_application(state: str, outcome: str) -> None:
    checks = [Check("identity", outcome)]
    for claimed_us in (0, 1):
        one = Application("a1", "acme", "startup", "", "v1", 1, checks, state=state, claimed_us=claimed_us)
        english = happens_next(one, {"identity": "reviewer"})
        shown = {**APPLICATION, "state": state, "next": english}
        shown["checks"] = [{**APPLICATION["checks"][0], "outcome": outcome or "open"}]
        plane = Plane(**{"GET /v1/applications/a1": shown})
        german = plane.run("application", "a1", LC_ALL="de_DE.UTF-8").stdout
        assert any(sentence.partition("{")[0] in german for sentence in NEXT.values())
        assert "/v1/" not in german + plane.run("application", "a1").stdout


# ── applying ──────────────────────────────────────────────────────────────────────────────────────────────────────
FILED = {**APPLICATION, "claim": "lsa_claim"}
WHOLE = """tenant: acme
class: startup
legal: {name: Acme AI, street: S 1, postcode: 01067, city: Dresden, country: DE, size_class: small, headcount: 12}
applicant: {name: Ada, email: ada@acme.example}
"""


def applied(plane: Plane) -> dict[str, Any]:
    (body,) = [body for what, _, body in plane.asked if what == "POST /v1/applications"]
    assert isinstance(body, dict)
    return body


def test_an_application_comes_from_a_file_and_options_overrule_it(tmp_path: Path) -> None:
    path = tmp_path / "application.yaml"
    path.write_text(WHOLE)
    plane = Plane()
    seen = bearers(plane, "POST /v1/applications", httpx2.Response(201, json=FILED))
    words = ["apply", "--file", str(path), "--city", "Leipzig", "--accept-agreement", "v1"]
    done = plane.run(*words)
    assert done.exit_code == 0, done.output
    body = applied(plane)
    assert body["legal"] == {
        "name": "Acme AI",
        "street": "S 1",
        "postcode": "01067",
        "city": "Leipzig",
        "country": "DE",
        "size_class": "small",
        "headcount": 12,
        "contacts": [{"role": "contract", "name": "Ada", "email": "ada@acme.example"}],
    }
    assert body["agreement"] == "v1"
    assert seen == [""]  # as a stranger, whoever is signed in
    assert credentials.claims_of(URL) == {"a1": "lsa_claim"}
    assert "lsa_claim" not in done.output


def test_all_that_is_missing_is_named_at_once() -> None:
    done = Plane().run("apply", "--tenant", "acme")
    assert done.exit_code == 2
    assert "--class, --legal-name, --street, --postcode" in done.stderr


def test_a_script_must_say_which_agreement_it_accepts(tmp_path: Path) -> None:
    path = tmp_path / "application.yaml"
    path.write_text(WHOLE)
    plane = Plane(**{"GET /v1/agreement": {"version": "v1", "language": "en", "text": "contract"}})
    done = plane.run("apply", "--file", str(path))
    assert done.exit_code == 2
    assert "--accept-agreement v1" in done.stderr


@pytest.mark.usefixtures("terminal")
def test_a_terminal_is_asked_for_everything_and_reads_the_contract() -> None:
    plane = Plane(**{"GET /v1/agreement": {"version": "v7", "language": "en", "text": "the contract\x1b[2J"}})
    plane.answers["POST /v1/applications"] = httpx2.Response(201, json=FILED)
    answers = ["acme", "startup", "Acme AI", "S 1", "01067", "Dresden", "DE", "small", "", "Ada"]
    done = typed(plane, "\n".join([*answers, "ada@acme.example", "", "y", ""]), "apply")
    assert done.exit_code == 0, done.output
    body = applied(plane)
    assert (body["agreement"], body["legal"]["postcode"]) == ("v7", "01067")
    assert "vat_id" not in body["legal"]
    assert "the contract" in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.usefixtures("terminal")
def test_who_does_not_accept_the_contract_files_nothing(tmp_path: Path) -> None:
    path = tmp_path / "application.yaml"
    path.write_text(WHOLE + "purpose: x\n")
    plane = Plane(**{"GET /v1/agreement": {"version": "v7", "language": "en", "text": "the contract"}})
    done = typed(plane, "\n\nn\n", "apply", "--file", str(path))
    assert done.exit_code == 1
    assert "POST /v1/applications" not in [what for what, _, _ in plane.asked]


def test_the_last_application_is_followed_with_its_claim_until_it_is_decided() -> None:
    credentials.keep_claim(URL, "a1", "lsa_claim")
    states = iter(["open", "open", "refused"])
    plane = Plane()
    seen = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers["Authorization"])
        state = next(states)
        return httpx2.Response(
            200, json={**APPLICATION, "state": state, "reason": "capacity", "note": "next year"}
        )

    plane.answers["GET /v1/applications/a1"] = handler
    done = plane.run("application", "--wait")
    assert done.exit_code == 1
    assert "next year" in done.stdout
    assert seen == ["Bearer lsa_claim"] * 3


def test_the_first_token_is_a_login() -> None:
    credentials.keep_claim(URL, "a1", "lsa_claim")
    plane = Plane(**{"GET /v1/self": WHO})
    issued = {"secret": "lst_first", "token": {"id": "k1"}}
    seen = bearers(plane, "POST /v1/applications/a1/token", httpx2.Response(201, json=issued))
    done = plane.run("application", "claim")
    assert done.exit_code == 0, done.output
    assert seen == ["lsa_claim"]
    assert sdk.place() == (URL, "lst_first")
    assert "lst_first" not in done.output


def test_without_an_application_the_way_to_one_is_told() -> None:
    done = Plane().run("application")
    assert done.exit_code == 1
    assert "leitstand apply" in done.stderr


# ── invitations ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_invitation_prints_the_line_that_accepts_it() -> None:
    invited = {"id": "i1", "code": "lsi_code", "expires_at": "2026-03-01T10:00:00Z"}
    plane = Plane(**{"GET /v1/self": WHO, "POST /v1/invitations": httpx2.Response(201, json=invited)})
    done = plane.run("invite", "member", "--project", "vision", "--email", "b@acme.example")
    assert done.stdout == "leitstand join --url http://plane.test lsi_code\n"
    body = {"role": "member", "project": "vision", "email": "b@acme.example", "tenant": "acme"}
    assert plane.asked[-1][2] == body
    plane.run("invite", "operator")
    assert plane.asked[-1][2] == {"role": "operator"}


def test_who_joins_with_a_code_is_signed_in() -> None:
    accepted = {"user": {"id": "u9", "name": "Bob"}, "tenant": "acme", "project": "", "role": "viewer"}
    plane = Plane()
    new = {**accepted, "secret": "lst_bob", "token": {"id": "k5"}}
    seen = bearers(plane, "POST /v1/invitations/accept", new)
    done = plane.run("join", "lsi_code", "--name", "Bob")
    assert done.stdout == "you are viewer of acme now\n"
    assert seen == [""]
    assert sdk.place() == (URL, "lst_bob")


def test_who_is_signed_in_joins_as_that_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEITSTAND_TOKEN", "lst_mine")
    accepted = {"user": {"id": "u7", "name": "Ada"}, "tenant": "acme", "project": "p", "role": "member"}
    plane = Plane()
    seen = bearers(plane, "POST /v1/invitations/accept", accepted)
    done = typed(plane, "lsi_code\n", "join", "-")
    assert done.stdout == "you are member of acme/p now\n"
    assert seen == ["x"]
    assert plane.asked[-1][2] == {"code": "lsi_code"}
    assert not sdk.saved_path().exists()


# ── secrets, tokens ───────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("given", "sent"), [("v\n", "v"), ("v", "v"), ("a\nb\n", "a\nb"), ("v\r\n", "v"), (" v ", " v ")]
)
def test_a_secret_is_what_standard_input_holds_but_its_last_line_end(given: str, sent: str) -> None:
    plane = Plane(**{"PUT /v1/secrets/HF": {"name": "HF", "version": 3}})
    done = typed(plane, given, "secrets", "set", "HF", "--project", "p")
    assert done.stdout == "HF@3\n"
    assert plane.asked[-1][2] == {"value": sent, "project": "p"}


def test_no_command_takes_a_secret_as_an_argument() -> None:
    assert Plane().run("secrets", "set", "HF", "value").exit_code == 2
    assert typed(Plane(), "", "secrets", "set", "HF").exit_code == 2


def test_a_token_is_printed_alone_and_asked_for_once() -> None:
    plane = Plane(**{"POST /v1/users/me/tokens": httpx2.ReadError("lost")})

    def lost(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadError("lost")

    plane.answers["POST /v1/users/me/tokens"] = lost
    assert plane.run("tokens", "issue").exit_code == 1
    assert len(plane.asked) == 1
    issued = {"secret": "lst_new", "token": {"id": "k4", "expires_at": "2026-03-01T10:00:00Z"}}
    plane.answers["POST /v1/users/me/tokens"] = httpx2.Response(201, json=issued)
    done = plane.run("tokens", "issue", "--scope", "read", "--scope", "jobs", "--expires-in", "2d")
    assert done.stdout == "lst_new\n"
    assert plane.asked[-1][2] == {"expires_in": 172_800, "scopes": ["read", "jobs"]}


# ── tenants ───────────────────────────────────────────────────────────────────────────────────────────────────────
def tenant_plane(what: str, answer: Any = TENANT) -> tuple[Plane, list[str | None]]:
    """A tenant with an ETag, and what `what` was expected to change."""
    expected: list[str | None] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        expected.append(request.headers.get("If-Match"))
        return httpx2.Response(200, json=answer)

    tagged = httpx2.Response(200, json=TENANT, headers={"ETag": '"t1"'})
    return Plane(**{"GET /v1/tenants/acme": tagged, what: handler}), expected


ERASED = {"tenant": "acme", "records": 1, "profiles": 2, "secrets": 3, "blobs": 4, "people": 5, "runs": 6}


@pytest.mark.parametrize(
    ("words", "what", "body"),
    [
        (["suspend", "acme", "--reason", "unpaid"], "suspend", {"reason": "unpaid", "running": "finish"}),
        (
            ["suspend", "acme", "--reason", "security", "--stop"],
            "suspend",
            {"reason": "security", "running": "stop", "expect": 2},
        ),
        (["exit", "acme", "--notice", "30d"], "exit", {"notice": 2_592_000}),
        (["erase", "acme"], "erase", None),
    ],
)
def test_what_changes_a_tenant_is_agreed_to_and_expects_what_was_shown(
    words: list[str], what: str, body: dict[str, Any] | None
) -> None:
    answer = ERASED if what == "erase" else TENANT
    plane, expected = tenant_plane(f"POST /v1/tenants/acme/{what}", answer)
    done = plane.run("tenants", *words)
    assert (done.exit_code, expected) == (2, [])
    assert "--yes" in done.stderr
    assert plane.run("tenants", *words, "--yes").exit_code == 0
    assert expected == ['"t1"']
    assert plane.asked[-1][2] == body


@pytest.mark.usefixtures("terminal")
def test_on_a_terminal_the_question_says_what_will_happen() -> None:
    plane, expected = tenant_plane("POST /v1/tenants/acme/suspend")
    done = typed(plane, "n\n", "tenants", "suspend", "acme", "--reason", "unpaid", "--stop")
    assert "stop its 2 running jobs?" in done.stderr
    assert (done.exit_code, expected) == (1, [])


def test_an_export_is_whole_or_not_there(tmp_path: Path) -> None:
    plane = Plane(**{"GET /v1/tenants/acme/export": httpx2.Response(200, content=b"zip")})
    target = tmp_path / "out" / "acme.zip"
    target.parent.mkdir()
    assert plane.run("tenants", "export", "acme", "-o", str(target)).exit_code == 0
    assert target.read_bytes() == b"zip"
    assert plane.run("tenants", "export", "acme", "-o", str(target)).exit_code == 1
    plane.answers["GET /v1/tenants/acme/export"] = problem(403, "forbidden")
    assert plane.run("tenants", "export", "acme", "-o", str(tmp_path / "out" / "b.zip")).exit_code == 1
    assert [path.name for path in target.parent.iterdir()] == ["acme.zip"]


def test_a_tenant_that_leaves_shows_its_times() -> None:
    times = dict.fromkeys(("transition_at", "retrieval_at", "closed_at"), "2026-03-01T10:00:00Z")
    leaving = {**TENANT, "stage": "notice", "times": times}
    said = Plane(**{"GET /v1/tenants/acme": leaving}).run("tenants", "show", "acme").stdout
    assert "2026-03-01 10:00:00 UTC (" in said
    assert "2 running" in said


LEGAL = {"name": "Acme", "street": "S", "postcode": "0", "city": "C", "country": "DE", "size_class": "small"}


@pytest.mark.parametrize(
    ("kept", "words", "expected"),
    [
        (httpx2.Response(200, json=LEGAL, headers={"ETag": '"l1"'}), [], '"l1"'),
        (problem(404, "unknown-legal"), [], None),
        (problem(404, "unknown-legal"), ["--expect", "l0"], '"l0"'),
    ],
)
def test_a_legal_identity_replaces_the_one_that_was_seen(
    tmp_path: Path, kept: httpx2.Response, words: list[str], expected: str | None
) -> None:
    path = tmp_path / "legal.yaml"
    path.write_text(
        "name: Acme\npostcode: 01067\nlinked_enterprises: [{name: B, relation: partner, headcount: 3}]\n"
    )
    seen = []

    def put(request: httpx2.Request) -> httpx2.Response:
        seen.append((request.headers.get("If-Match"), json.loads(request.content)))
        return httpx2.Response(200, json=LEGAL)

    plane = Plane(**{"GET /v1/tenants/acme/legal": kept, "PUT /v1/tenants/acme/legal": put})
    done = plane.run("tenant", "legal", "set", str(path), "--tenant", "acme", *words)
    assert done.exit_code == 0, done.output
    ((tag, body),) = seen
    assert tag == expected
    assert body["postcode"] == "01067"
    assert body["linked_enterprises"] == [{"name": "B", "relation": "partner", "headcount": 3}]


@pytest.mark.parametrize("content", ["- a\n", "a: [\n", "\x00", "[" * 10_000, "x" * 2_000_000])
def test_a_file_that_is_no_mapping_is_refused_in_words(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(content)
    with pytest.raises(CommandFailed, match=r"x\.yaml"):
        read_mapping(path)


def test_the_quota_counts_valid_budgets_and_what_was_used() -> None:
    budget = {"id": "b1", "gpu_hours": 100.0, "expires_at": "2999-01-01T00:00:00Z", "origin": "grant"}
    over = {**budget, "id": "b0", "expires_at": "2020-01-01T00:00:00Z"}
    plane = Plane(
        **{
            "GET /v1/self": WHO,
            "GET /v1/tenants/acme/budgets": {"items": [over, budget], "next_cursor": None},
            "GET /v1/usage": {"items": [{"gpu_s": 7200.0}, {"gpu_s": 1800.0}], "next_cursor": None},
        }
    )
    said = plane.run("quota").stdout
    assert "acme: 100 GPU-hours granted, 2.5000 used so far" in said
    assert "b0" not in said
    assert json.loads(plane.run("quota", "--json").stdout)["used_gpu_s"] == 9000.0


def test_who_works_nowhere_in_particular_is_asked_for_the_tenant() -> None:
    done = Plane(**{"GET /v1/self": {**WHO, "home": None}}).run("projects")
    assert done.exit_code == 2
    assert "--tenant" in done.stderr


# ── people ────────────────────────────────────────────────────────────────────────────────────────────────────────
USERS = [
    {"id": "u7", "name": "Ada Lovelace", "email": "ada@acme.example", "roles": []},
    {"id": "u8", "name": "Bob", "email": "b1@acme.example", "roles": []},
    {"id": "u9", "name": "bob", "email": "b2@acme.example", "roles": []},
]


@pytest.mark.parametrize(
    ("word", "user"),
    [("u3", "u3"), ("me", "me"), ("ada lovelace", "u7"), ("B2@acme.example", "u9"), ("Bob", ""), ("eve", "")],
)
def test_people_are_found_by_id_name_or_address(word: str, user: str) -> None:
    plane = Plane(**{"GET /v1/users": {"items": USERS, "next_cursor": None}})
    plane.answers[f"POST /v1/users/{user}/roles"] = httpx2.Response(201, json=USERS[0])
    done = plane.run("roles", "grant", word, "member", "--tenant", "acme")
    assert (done.exit_code == 0) == bool(user), done.output
    if not user:
        assert word in done.stderr
    else:
        assert plane.asked[-1][2] == {"role": "member", "tenant": "acme"}


def test_a_role_is_revoked_where_it_is_held() -> None:
    plane = Plane(**{"DELETE /v1/users/u7/roles": httpx2.Response(204)})
    assert plane.run("roles", "revoke", "u7", "viewer", "--tenant", "acme").exit_code == 0
    assert plane.asked[-1][1] == "role=viewer&tenant=acme"


def test_the_audit_shows_names_moments_and_units() -> None:
    act = {
        "seq": 16,
        "at": "2026-03-01T10:00:00Z",
        "act": "BudgetGranted",
        "by": {"id": "u1", "name": ""},
        "tenant": "acme",
        "subject": "b1",
        "person": {"id": "u7", "name": "Ada"},
        "body": {
            "tenant": "acme",
            "budget": "b1",
            "gpu_us": 7_200_000_000,
            "expires_us": 1_772_359_200_000_000,
        },
    }
    said = Plane(**{"GET /v1/acts": {"items": [act], "next_cursor": None}}).run("audit").stdout
    assert "u1" in said
    assert "Ada" in said
    assert "gpu_hours=2 expires=2026-03-01T10:00:00Z" in said


# ── watching, completing ──────────────────────────────────────────────────────────────────────────────────────────
def test_watching_prints_each_change_across_lost_connections() -> None:
    listed = {"items": [JOB], "next_cursor": None}
    plane = Plane(**{"GET /v1/jobs": listed})
    connections = []

    def events(request: httpx2.Request) -> httpx2.Response:
        connections.append(request.url.query.decode())
        if len(connections) > 2:
            raise KeyboardInterrupt
        number = len(connections)
        jobs = [
            {**JOB, "state": "running", "name": f"change-{number}"},
            {**JOB, "tenant": "other", "name": "hidden"},
        ]
        lines = [f"id: {number}{i}\nevent: job\ndata: {json.dumps(job)}\n\n" for i, job in enumerate(jobs)]
        headers = {"Content-Type": "text/event-stream"}
        return httpx2.Response(200, headers=headers, content=": hi\n\n" + "".join(lines))

    plane.answers["GET /v1/events"] = events
    done = plane.run("jobs", "--watch", "--tenant", "operator")
    assert done.exit_code == 0, done.output
    names = [line.split()[1] for line in done.stdout.splitlines()]
    assert names == ["first", "change-1", "change-2"]
    assert connections == ["", "after=11", "after=21"]
    connections.clear()
    lines = plane.run("jobs", "-w", "--json").stdout.splitlines()
    assert [json.loads(line)["name"] for line in lines][:2] == ["first", "change-1"]


def completed(words: list[str], begun: str, answer: Callable[[str], Any]) -> list[str]:
    """What a shell would offer, with the answers of the control plane by path."""
    from click.shell_completion import ShellComplete

    from leitstand.cli import complete
    from leitstand.cli.root import cli

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(complete, "_ask", answer)
        offered = ShellComplete(cli, {}, "leitstand", "_LEITSTAND_COMPLETE").get_completions(words, begun)
    return [item.value for item in offered]


def test_commands_options_and_things_are_completed() -> None:
    answers = {
        "/v1/jobs": {"items": [{**JOB, "id": "acme-1", "state": "failed"}, {**JOB, "id": "acme-2"}]},
        "/v1/tenants": {"items": [TENANT]},
        "/v1/tenants/acme/projects": {
            "items": [{"name": "vision", "open": True}, {"name": "x", "open": False}]
        },
        "/v1/self": WHO,
    }
    ask = answers.__getitem__
    assert completed([], "ca", ask) == ["cancel", "can-i"]
    assert completed(["tenants"], "ex", ask) == ["exit", "export", "extend-exit"]
    assert completed(["job"], "", ask) == ["acme-1", "acme-2"]
    assert completed(["cancel"], "", ask) == ["acme-2"]
    assert completed(["tenants", "show"], "a", ask) == ["acme"]
    assert completed(["jobs", "--tenant"], "", ask) == ["acme"]
    assert completed(["jobs", "--project"], "", ask) == ["vision"]
    assert completed(["jobs", "--tenant", "acme", "--project"], "v", ask) == ["vision"]
    assert completed(["can-i"], "job:s", ask) == ["job:submit"]


def shell_asks(words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """What our program answers to a shell that completes."""
    asked = {
        "_LEITSTAND_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split())),
    }
    return subprocess.run(
        [sys.executable, "-m", "leitstand"],
        env={**os.environ, **asked, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )


def test_completion_is_silent_whatever_goes_wrong() -> None:
    for environment in (
        {},
        {"LEITSTAND_URL": "http://127.0.0.1:1", "LEITSTAND_TOKEN": "x"},
        {"LEITSTAND_URL": "?"},
    ):
        done = shell_asks("leitstand job ", **environment)
        assert (done.stdout.strip(), done.stderr) == ("", "")
    assert "plain,cancel" in shell_asks("leitstand ").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_its_script(shell: str) -> None:
    done = Plane().run("completion", shell)
    assert done.exit_code == 0
    assert "_LEITSTAND_COMPLETE" in done.stdout


def test_a_noun_alone_lists_and_its_help_is_its_own() -> None:
    plane = Plane(**{"GET /v1/users": {"items": USERS, "next_cursor": None}})
    assert plane.run("users").stdout == plane.run("users", "list").stdout
    assert json.loads(plane.run("users", "--json").stdout) == USERS
    assert "erase" in plane.run("users", "--help").stdout
    assert plane.run("users", "lst").exit_code == 2


def test_every_reading_command_takes_json() -> None:
    from leitstand.cli.root import cli

    def leaves(group: click.Group, path: str) -> list[tuple[str, click.Command]]:
        found = []
        for name in group.list_commands(click.Context(group)):
            command = group.get_command(click.Context(group), name)
            assert command is not None
            inner = f"{path} {name}".strip()
            found += leaves(command, inner) if isinstance(command, click.Group) else [(inner, command)]
        return found

    silent = {  # they change something and answer with nothing, or print what is for a person or a shell
        "run",
        "login",
        "logout",
        "completion",
        "application claim",
        "invitations withdraw",
        "roles revoke",
        "secrets delete",
        "tenant legal set",
        "tenants export",
        "tokens revoke",
        "users erase",
        "journal export",
    }
    without = {
        path for path, one in leaves(cli, "") if "json_wanted" not in {param.name for param in one.params}
    }
    assert without == silent
