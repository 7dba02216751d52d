# SPDX-License-Identifier: Apache-2.0
"""Answers of a control plane for tests of the commands about tenants, people and access, and who types."""

from typing import Any

import httpx2
from click.testing import Result

from tests.unit.test_cli_commands import Plane

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
USERS: list[dict[str, Any]] = [
    {"id": "u7", "name": "Ada Lovelace", "email": "ada@acme.example", "roles": []},
    {"id": "u8", "name": "Bob", "email": "b1@acme.example", "roles": []},
    {"id": "u9", "name": "bob", "email": "b2@acme.example", "roles": []},
]
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
