# SPDX-License-Identifier: Apache-2.0
"""The commands about who one is and what one may: plan before submission, login, can-i; completion and watching."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import click
import httpx2
import pytest

from leitstand import client as sdk
from leitstand.access.actions import ACTIONS
from leitstand.api.onboarding.applicationview import happens_next
from leitstand.cli import applications, apply, can_i, credentials, people, projects, tenants, tokens
from leitstand.cli.german_access import ACCESS_CODES, NEXT
from leitstand.cli.german_others import CODES
from leitstand.core import acts, budgets, onboarding, rules
from leitstand.core import people as core_people
from leitstand.core.onboarding import Application, Check
from tests.unit.cli_story import APPLICATION, PLAN, TENANT, URL, USERS, WHO, bearers, problem, typed
from tests.unit.test_cli_commands import JOB, Plane

pytestmark = pytest.mark.usefixtures("alone")


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


def test_a_plan_that_no_budget_can_pay_shows_what_would_help() -> None:
    help_ = {"dimension": "budget", "value": 4 * 3_600_000_000, "now": 3_600_000_000, "resource": "gpu_us", "name": "",
             "node": "", "stops": 0, "waits": False, "message": ""}  # fmt: skip
    refused = {**PLAN, "admitted": False, "reason": "budget", "message": "too dear", "changes": [help_]}
    done = Plane(**{"POST /v1/plan": refused}).run("plan", "--gpus", "1", "--", "true")
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("further budget")]
    assert row.split() == ["further", "budget", "1", "GPU-h", "4", "GPU-h"]
    said = Plane(**{"POST /v1/plan": refused}).run("plan", "--gpus", "1", "--", "true", LC_ALL="de_DE.UTF-8")
    assert "Mit jeder einzelnen davon würde er zugelassen:" in said.stdout
    assert "weiteres Budget" in said.stdout


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
    assert projects.ORIGINS == budgets.ORIGINS
    assert tenants.CLASSES == rules.TENANT_CLASSES
    assert tenants.SUSPENSIONS == acts.SUSPENSIONS
    assert applications.REFUSALS == onboarding.REFUSALS
    assert set(apply.SIZE_CLASSES) <= set(ACCESS_CODES)


def test_every_code_of_people_tenants_and_applications_has_its_german() -> None:
    codes = {
        *core_people.ROLES,
        *core_people.KINDS,
        *budgets.ORIGINS,
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
        "sites remove",
        "tenant legal set",
        "tenants export",
        "tokens revoke",
        "users erase",
        "journal export",
        "twin convert",
    }
    without = {
        path for path, one in leaves(cli, "") if "json_wanted" not in {param.name for param in one.params}
    }
    assert without == silent
