# SPDX-License-Identifier: Apache-2.0
"""Who comes from outside: an application as it is filed, and what the operator does with it. Used by system tests."""

from typing import Any, Final

from leitstand.client import Client

AGREEMENT: Final = "2026-11"


def application(tenant: str, **legal: Any) -> dict[str, Any]:
    """One that has no fault; `legal` replaces fields of the legal identity."""
    person = {"name": "Ada Lovelace", "email": "ada@acme.example"}
    return {
        "tenant": tenant,
        "class": "industry",
        "legal": {
            "name": "Acme Werke GmbH",
            "street": "Ring 1",
            "postcode": "20095",
            "city": "Hamburg",
            "country": "DE",
            "size_class": "medium",
            "contacts": [{"role": "contract", **person}],
            **legal,
        },
        "applicant": person,
        "agreement": AGREEMENT,
        "purpose": "Fatigue of welded seams",
    }


def examine(operator: Client, application_id: str) -> None:
    """Every check that is open, passed."""
    for check in operator.application(application_id)["checks"]:
        if check["outcome"] == "open":
            operator.post(f"/v1/applications/{application_id}/checks/{check['name']}", {"outcome": "passed"})


def admitted(operator: Client, tenant: str) -> str:
    """The first token of a tenant that applied, was examined and approved."""
    filed = operator.apply(
        application(tenant)
    )  # strangers may file a few an hour, who examines them as many as needed
    examine(operator, filed["id"])
    operator.post(f"/v1/applications/{filed['id']}/approve")
    with Client(operator.url, filed["claim"]) as applicant:
        return str(applicant.post(f"/v1/applications/{filed['id']}/token", {}, once=True)["secret"])
