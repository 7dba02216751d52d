# SPDX-License-Identifier: Apache-2.0
"""What the command line says beside the answer: warnings, ways on, and what it leaves out. No sockets: answers are
played."""

import json
from typing import Any

import httpx2
import pytest

from leitstand import client as sdk
from leitstand.cli import credentials
from leitstand.cli.table import aligned
from tests.unit.cli_story import APPLICATION, TENANT, URL, WHO, problem, typed
from tests.unit.test_cli_commands import JOB, Plane

pytestmark = pytest.mark.usefixtures("alone")
GERMAN = {"LC_ALL": "de_DE.UTF-8"}


# ── signing out ───────────────────────────────────────────────────────────────────────────────────────────────────
def signed_in(*others: dict[str, Any], methods: tuple[str, ...] = ("token",), user: str = "u7") -> Plane:
    """A control plane where we hold token k3, and the user has `others` besides."""
    credentials.keep_token(URL, "lst_mine", "k3", ours=True)
    mine = {"id": "k3", "user": user, "expires_at": "2099-01-01T00:00:00Z"}
    plane = Plane(**{"GET /v1/users/me/tokens": {"items": [mine, *others], "next_cursor": None}})
    plane.answers["GET /v1/signin"] = {"methods": list(methods), "provider": ""}
    plane.answers["DELETE /v1/tokens/k3"] = httpx2.Response(204)
    return plane


def revoked(plane: Plane) -> bool:
    return "DELETE /v1/tokens/k3" in [what for what, _, _ in plane.asked]


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(("answer", "gone"), [("n\n", False), ("y\n", True)])
def test_who_signs_out_of_the_only_token_is_asked(answer: str, gone: bool) -> None:
    plane = signed_in({"id": "k2", "user": "u7", "expires_at": "2020-01-01T00:00:00Z"})  # expired
    done = typed(plane, answer, "logout")
    assert "your only valid token" in done.stderr
    assert revoked(plane) == gone
    assert sdk.place() == (URL, "" if gone else "lst_mine")


@pytest.mark.usefixtures("terminal")
def test_who_is_sure_and_who_is_no_terminal_is_warned_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = signed_in()
    assert "your only valid token" in typed(plane, "", "logout", "--yes").stderr
    assert revoked(plane)
    monkeypatch.setattr("leitstand.cli.login.is_interactive", lambda: False)
    plane = signed_in()
    done = plane.run("logout")
    assert (done.exit_code, revoked(plane)) == (0, True)
    assert "your only valid token" in done.stderr


@pytest.mark.parametrize(
    "plane",
    [
        pytest.param(
            lambda: signed_in({"id": "k4", "user": "u7", "expires_at": "2099-01-01T00:00:00Z"}), id="other"
        ),
        pytest.param(lambda: signed_in(methods=("token", "oidc")), id="provider"),
        pytest.param(lambda: signed_in(user="admin"), id="admin"),
    ],
)
@pytest.mark.usefixtures("terminal")
def test_who_can_come_back_signs_out_without_a_word(plane: Any) -> None:
    asked = plane()
    done = typed(asked, "", "logout")
    assert (done.exit_code, revoked(asked)) == (0, True)
    assert "only valid token" not in done.stderr


# ── ways on ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_who_joins_where_nobody_answers_is_told_of_the_url() -> None:
    def gone(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    plane = Plane(**{"POST /v1/invitations/accept": gone})
    assert "Add --url, as the invitation has it." in plane.run("join", "nonsense", "--name", "B").stderr
    assert "leitstand up" in plane.run("join", "nonsense", "--name", "B", "--url", URL).stderr


def test_who_claims_too_early_is_told_how_to_wait() -> None:
    credentials.keep_claim(URL, "a1", "lsa_claim")
    plane = Plane(
        **{"GET /v1/applications/a1": APPLICATION, "POST /v1/applications/a1/token": problem(409, "conflict")}
    )
    assert "leitstand application show --wait" in plane.run("application", "claim").stderr
    plane.answers["GET /v1/applications/a1"] = {**APPLICATION, "state": "refused"}
    assert "--wait" not in plane.run("application", "claim").stderr


@pytest.mark.parametrize("until", ["tomorrow", "2027-03-01", "2027-03-01T00:00:00"])
def test_a_moment_that_is_none_comes_with_an_example(until: str) -> None:
    plane = Plane()
    done = plane.run("tenants", "extend-exit", "acme", "--until", until, "--whose", "customer")
    assert done.exit_code == 2
    assert "2027-03-01T00:00:00Z" in done.stderr
    assert plane.asked == []


def test_a_moment_is_sent_with_its_zone() -> None:
    plane = Plane(**{"GET /v1/tenants/acme": TENANT, "POST /v1/tenants/acme/extend-exit": TENANT})
    until = "2027-03-01T00:00:00Z"
    assert plane.run("tenants", "extend-exit", "acme", "--until", until, "--whose", "customer").exit_code == 0
    assert plane.asked[-1][2] == {"until": "2027-03-01T00:00:00+00:00", "whose": "customer"}


# ── what is shown ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_reviewer_sees_the_legal_identity_that_the_check_is_about() -> None:
    legal = {
        "name": "Acme AI", "street": "S 1", "postcode": "01067", "city": "Dresden", "country": "DE",
        "size_class": "small", "vat_id": "DE136695976",
        "contacts": [{"role": "contract", "name": "Ada", "email": "ada@acme.example"}],
    }  # fmt: skip
    plane = Plane(**{"GET /v1/applications/a1": {**APPLICATION, "legal": legal}})
    said = plane.run("applications", "show", "a1").stdout
    for part in ("S 1, 01067 Dresden, DE", "small", "DE136695976", "ada@acme.example"):
        assert part in said
    plane.answers["GET /v1/applications/a1"] = {**APPLICATION, "legal": None, "applicant": None}  # erased
    assert plane.run("applications", "show", "a1").exit_code == 0


def test_the_audit_is_a_table_and_its_json_whole() -> None:
    act = {
        "seq": 4, "at": "2026-03-01T10:00:00Z", "by": WHO["user"], "act": "RulesSet", "tenant": "", "person": None,
        "subject": "f" * 64, "body": {"rules": "x" * 1000, "digest": "f" * 64},
    }  # fmt: skip
    plane = Plane(**{"GET /v1/acts": {"items": [act], "next_cursor": None}})
    _, line = plane.run("audit").stdout.splitlines()
    assert len(line) < 220
    assert "f" * 23 + "…" in line
    assert "xxx…" in line
    assert json.loads(plane.run("audit", "--json").stdout) == [act]


def test_a_job_that_has_ended_is_not_said_to_be_cancelled() -> None:
    plane = Plane(**{"POST /v1/jobs/operator-1/cancel": {**JOB, "state": "succeeded"}})
    assert plane.run("cancel", "operator-1").stdout == "job operator-1 had ended already: succeeded\n"
    plane.answers["POST /v1/jobs/operator-1/cancel"] = {**JOB, "state": "stopping"}
    assert plane.run("cancel", "operator-1").stdout == "job operator-1: stopping\n"


@pytest.mark.parametrize(("memory", "shown"), [(0, False), (64, True)])
def test_memory_is_shown_where_it_was_asked_for(memory: float, shown: bool) -> None:
    job = {**JOB, "resources": {**JOB["resources"], "memory_gb": memory}}
    said = Plane(**{"GET /v1/jobs/operator-1": job}).run("job", "operator-1").stdout
    assert (f"{memory} GB" in said) == shown


def test_what_was_before_is_told_only_to_who_is_asked() -> None:
    plane = Plane(
        **{"GET /v1/tenants/acme": TENANT, "POST /v1/tenants/acme/exit": {**TENANT, "stage": "notice"}}
    )
    done = plane.run("tenants", "exit", "acme", "--yes")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "acme: active" in plane.run("tenants", "exit", "acme").stderr


def test_lines_that_go_on_have_their_columns_below_each_other() -> None:
    widths: list[int] = []
    rows = [aligned(cells, widths) for cells in (("acme-1", "a", 7), ("acme-10", None, 8), ("b", "x", 9))]
    assert rows == ["acme-1  a  7", "acme-10  -  8", "b        x  9"]


def test_what_the_system_says_is_german_in_a_german_locale() -> None:
    words = ["submit", "no-such.yaml"]
    assert "no-such.yaml: Datei oder Ordner nicht gefunden" in Plane().run(*words, **GERMAN).stderr
    assert "no-such.yaml: No such file or directory" in Plane().run(*words).stderr


def test_classes_of_tenants_are_german_in_a_german_locale() -> None:
    plane = Plane(**{"GET /v1/tenants/acme": {**TENANT, "class": "industry"}})
    assert "Industrie" in plane.run("tenants", "show", "acme", **GERMAN).stdout
    assert "industry" in plane.run("tenants", "show", "acme").stdout
