# SPDX-License-Identifier: Apache-2.0
"""Applications and people for the tests of onboarding and tenants."""

from typing import Any

from leitstand.access import tokens
from leitstand.core import acts as a
from tests.unit.faces_story import TOKEN, Plant

DAY = 24 * 3600 * 1_000_000
CHECKS = ("identity", "sanctions", "export_control", "size_class")
LEGAL: dict[str, Any] = {
    "name": "Werk Nord GmbH",
    "street": "Hafenstraße 1",
    "postcode": "20457",
    "city": "Hamburg",
    "country": "DE",
    "size_class": "large",
    "vat_id": "DE136695976",
    "contacts": [{"role": "contract", "name": "Ada Lovelace", "email": "ada@werk-nord.example"}],
}


def application(tenant: str = "werk-nord", **more: Any) -> dict[str, Any]:
    """The body of an application that is as it should be."""
    applicant = {"name": "Grace Hopper", "email": "grace@werk-nord.example"}
    body = {"tenant": tenant, "class": "industry", "legal": LEGAL, "applicant": applicant}
    return {**body, "agreement": "2026-11", "purpose": "weld seam inspection", **more}


def person(plant: Plant, *roles: tuple[str, ...], **token: Any) -> str:
    """A new user with these roles (role, tenant, project); the secret of a token, by which it asks."""
    plant.writer.cycle(a.UserAdded("", "admin"))
    user = plant.writer.core.answers[0].made
    for given in roles:
        role, tenant, project = (*given, "", "")[:3]
        plant.writer.cycle(a.RoleGranted(user, role, tenant, project, by="admin"))
    secret = tokens.make("lst")
    expires = plant.writer.now + 300 * DAY
    plant.writer.cycle(a.TokenIssued("", user, tokens.digest(secret), expires, **token))
    return secret


def file(plant: Plant, tenant: str = "werk-nord", **more: Any) -> dict[str, Any]:
    """An application that was filed by a stranger."""
    answer = plant.ask("POST", "/v1/applications", "", json=application(tenant, **more))
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def check_all(plant: Plant, application_id: str, token: str = TOKEN) -> None:
    """All checks pass."""
    for check in CHECKS:
        path = f"/v1/applications/{application_id}/checks/{check}"
        answer = plant.ask("POST", path, token, json={"outcome": "passed"})
        assert answer.status_code == 200, answer.text


def join(plant: Plant, tenant: str = "werk-nord") -> str:
    """A tenant that came by an application; the secret of its first administrator."""
    filed = file(plant, tenant)
    check_all(plant, filed["id"])
    assert plant.ask("POST", f"/v1/applications/{filed['id']}/approve").status_code == 200
    answer = plant.ask("POST", f"/v1/applications/{filed['id']}/token", filed["claim"], json={})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["secret"])


def later(plant: Plant, us: int) -> None:
    """Time passes; what is due happens."""
    plant.writer.now += us
    plant.writer.cycle()
