# SPDX-License-Identifier: Apache-2.0
"""The commands about tenants and people: what they send, show, ask and keep. No sockets: answers are played."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from leitstand import client as sdk
from leitstand.cli import credentials
from leitstand.cli.nouns import read_mapping
from leitstand.cli.refusals import CommandFailed
from tests.unit.cli_story import APPLICATION, TENANT, URL, USERS, WHO, bearers, problem, typed
from tests.unit.test_cli_commands import Plane

pytestmark = pytest.mark.usefixtures("alone")


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
    budget = {
        "id": "b1", "gpu_hours": 100.0, "expires_at": "2999-01-01T00:00:00Z", "origin": "grant",
        "unit": "gpu_us", "granted": 360_000_000_000, "reserved": 0, "posted": 0, "available": 360_000_000_000,
    }  # fmt: skip
    over = {**budget, "id": "b0", "expires_at": "2020-01-01T00:00:00Z"}
    plane = Plane(
        **{
            "GET /v1/self": WHO,
            "GET /v1/tenants/acme/budgets": {"items": [over, budget], "next_cursor": None},
            "GET /v1/usage": {"items": [{"gpu_s": 7200.0}, {"gpu_s": 1800.0}], "next_cursor": None},
            "GET /v1/entitlements": problem(404, "unknown-pool"),
            "GET /v1/commitments": problem(404, "unknown-pool"),
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
