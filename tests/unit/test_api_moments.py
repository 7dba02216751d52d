# SPDX-License-Identifier: Apache-2.0
"""What the API promises about who loses a right in the middle: slow bodies, long answers, what was allowed before."""

from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest

from leitstand.api.auth import Identity
from leitstand.api.tenancy import export
from leitstand.core import acts as a
from tests.unit.archives import archive
from tests.unit.faces_story import Plant, S, first, problem
from tests.unit.onboarding_story import later, person


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    plant = Plant(tmp_path)
    plant.writer.cycle(a.TenantAdded("acme", "industry", "admin"))
    return plant


def slowly(plant: Plant, body: bytes, meanwhile: a.TokenRevoked | a.RoleRevoked) -> AsyncIterator[bytes]:
    """A body in two parts, between which something happens."""

    async def parts() -> AsyncIterator[bytes]:
        yield body[:3]
        plant.writer.cycle(meanwhile)
        yield body[3:]

    return parts()


TOKEN_GONE = a.TokenRevoked("k1", "admin")
ROLE_GONE = a.RoleRevoked("u1", "tenant_admin", "acme", "", "admin")
JOB = b'{"run": ["true"], "resources": {"gpus": 1}, "tenant": "acme"}'


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/jobs", JOB),
        ("POST", "/v1/tenants/acme/projects", b'{"name": "late"}'),
        ("POST", "/v1/invitations", b'{"role": "member", "tenant": "acme"}'),
        ("POST", "/v1/users/me/tokens", b'{"expires_in": "30d"}'),
        ("PUT", "/v1/secrets/LATE", b'{"value": "x", "tenant": "acme"}'),
        ("POST", "/v1/tenants/acme/exit", b'{"notice": "1d"}'),
    ],
)
def test_a_token_that_is_revoked_while_the_body_comes_does_nothing(
    plant: Plant, method: str, path: str, body: bytes
) -> None:
    token = person(plant, ("tenant_admin", "acme"))
    before = plant.writer.journal.head.seq
    problem(plant.ask(method, path, token, content=slowly(plant, body, TOKEN_GONE)), 401, "unauthenticated")
    assert plant.writer.journal.head.seq == before + 1  # the revocation


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/tenants/acme/projects", b'{"name": "late"}'),
        ("POST", "/v1/tenants/acme/exit", b'{"notice": "1d"}'),
    ],
)
def test_a_role_that_is_revoked_while_the_body_comes_does_nothing(
    plant: Plant, method: str, path: str, body: bytes
) -> None:
    token = person(plant, ("tenant_admin", "acme"))
    before = plant.writer.journal.head.seq
    answer = plant.ask(method, path, token, content=slowly(plant, body, ROLE_GONE))
    problem(answer, 404, "unknown-tenant")
    assert plant.writer.journal.head.seq == before + 1


@pytest.mark.parametrize("meanwhile", [TOKEN_GONE, ROLE_GONE])
def test_an_upload_by_who_may_no_more_is_not_kept(
    plant: Plant, meanwhile: a.TokenRevoked | a.RoleRevoked
) -> None:
    token = person(plant, ("tenant_admin", "acme"))
    packed = archive()
    digest = sha256(packed).hexdigest()
    answer = plant.ask(
        "PUT", f"/v1/blobs/{digest}?tenant=acme", token, content=slowly(plant, packed, meanwhile)
    )
    assert answer.status_code in (401, 404), answer.text
    assert plant.faces.blobs.open("acme", digest) is None


def test_a_login_that_was_allowed_by_a_session_that_is_over_gets_no_token(plant: Plant) -> None:
    token = person(plant, ("member", "acme"))
    begun = plant.ask("POST", "/v1/login", "", json={}).json()
    yes = {"user_code": begun["user_code"], "allow": True}
    assert plant.ask("POST", "/v1/login/confirm", token, json=yes).status_code == 200
    plant.writer.cycle(TOKEN_GONE)
    later(plant, 10 * S)
    asked = {"device_code": begun["device_code"]}
    problem(plant.ask("POST", "/v1/login/token", "", json=asked), 400, "expired")
    assert list(plant.faces.follower.state.people.tokens) == []


def test_strangers_who_guess_keep_nobody_from_letting_a_command_line_in(plant: Plant) -> None:
    token = person(plant, ("member", "acme"))
    begun = plant.ask("POST", "/v1/login", "", json={}).json()
    for _ in range(400):
        if plant.faces.signins.attempt(plant.writer.now, "127.0.0.1"):
            break
    for number in range(400):
        plant.faces.signins.attempt(plant.writer.now, f"10.0.0.{number}")
    assert plant.faces.signins.attempt(plant.writer.now, "10.1.1.1"), "the limit of all is not reached"
    yes = {"user_code": begun["user_code"], "allow": True}
    assert plant.ask("POST", "/v1/login/confirm", token, json=yes).status_code == 200


def test_an_export_ends_when_its_reader_may_no_more(plant: Plant) -> None:
    person(plant, ("tenant_admin", "acme"))
    who = Identity("k1", "u1")

    async def read() -> None:
        parts = export.archive(plant.faces, who, plant.faces.follower.state.tenants["acme"])
        plant.writer.cycle(ROLE_GONE)
        async for _ in parts:
            pass

    with pytest.raises(ConnectionAbortedError):
        first(read())
