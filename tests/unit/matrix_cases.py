# SPDX-License-Identifier: Apache-2.0
"""What is asked in the matrix: for each route, the requests about the things of a tenant. Used by `test_matrix`."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tests.unit.matrix_world import BLOB, Things, code_of


class Target(NamedTuple):
    """What a request is about. `kind`: of resource; `inside`: whatever of a tenant's projects one sees; a user or token
    has the `person` it is about."""

    kind: str
    tenant: str = ""
    project: str = ""
    person: str = ""


class Ask(NamedTuple):
    """One request. `path`: with its ids filled in."""

    target: Target
    path: str
    query: str = ""
    body: Any = None


Make = Callable[[Things], Iterator[Ask]]
JOB = {"run": ["true"], "resources": {"gpus": 1}}
LEGAL = {"name": "X GmbH", "street": "Weg 1", "postcode": "10115", "city": "Berlin", "country": "DE",
         "size_class": "large"}  # fmt: skip

SLURM = {
    "conf": "/nowhere/slurm.conf",
    "rest": "unix:/nowhere/rest",
    "folder": "/nowhere/runs",
    "partition": "main",
}
SITE = {"name": "aachen", "engine": "slurm", "mode": "directed", "slurm": SLURM}


def of_jobs(path: str, query: str = "", body: Any = None) -> Make:
    def make(things: Things) -> Iterator[Ask]:
        for project, job in things.jobs.items():
            yield Ask(Target("job", things.tenant, project), path.format(job), query, body)

    return make


def of_tenant(path: str, query: str = "", body: Any = None, kind: str = "tenant") -> Make:
    """A kind other than tenant: `path` has no id; the query or the body names the tenant."""

    def make(things: Things) -> Iterator[Ask]:
        named = {key: value.format(things.tenant) if isinstance(value, str) else value
                 for key, value in (body or {}).items()}  # fmt: skip
        asked = named if body is not None else None
        yield Ask(Target(kind, things.tenant), path.format(things.tenant), query.format(things.tenant), asked)

    return make


def of_projects(path: str, query: str = "", body: Any = None) -> Make:
    """`{0}` in the path and the query is the tenant, `{1}` the project; a body that is a dict names both."""

    def make(things: Things) -> Iterator[Ask]:
        for project in things.jobs:
            place = {"tenant": things.tenant, "project": project}
            named = {**body, **place} if isinstance(body, dict) else body
            target = Target("project", things.tenant, project)
            names = (things.tenant, project)
            yield Ask(target, path.format(*names), query.format(*names), named)

    return make


def of_users(path: str, query: str = "", body: Any = None, ids: str = "users") -> Make:
    def make(things: Things) -> Iterator[Ask]:
        for role, found in getattr(things, ids).items():
            target = Target("user", things.tenant, "", things.users[role])
            yield Ask(target, path.format(found), query.format(things.tenant), body)

    return make


def of_application(path: str, body: Any = None) -> Make:
    def make(things: Things) -> Iterator[Ask]:
        yield Ask(Target("application"), path.format(things.application), "", body)

    return make


def of_platform(path: str, query: str = "", body: Any = None) -> Make:
    def make(things: Things) -> Iterator[Ask]:
        yield Ask(Target("platform"), path, query, body)

    return make


def of_oneself(path: str, body: Any = None) -> Make:
    """What everybody does for itself, by a token that may."""

    def make(things: Things) -> Iterator[Ask]:
        yield Ask(Target("oneself"), path, "", body)

    return make


def about_jobs(path: str, query: str) -> Make:
    """Questions about a job, which everybody may ask."""

    def make(things: Things) -> Iterator[Ask]:
        for project, job in things.jobs.items():
            yield Ask(Target("platform", things.tenant, project), path, query.format(job))

    return make


def roles_of(path: str, *, in_body: bool) -> Make:
    def make(things: Things) -> Iterator[Ask]:
        asked = {"role": "viewer", "tenant": things.tenant}
        query = "" if in_body else f"role=viewer&tenant={things.tenant}"
        for user in things.users.values():
            target = Target("tenant", things.tenant)
            yield Ask(target, path.format(user), query, asked if in_body else None)

    return make


def of_booking(path: str) -> Make:
    def make(things: Things) -> Iterator[Ask]:
        yield Ask(Target("project", things.tenant, "default"), path.format(things.booking))

    return make


def of_invitation(path: str) -> Make:
    def make(things: Things) -> Iterator[Ask]:
        yield Ask(Target("tenant", things.tenant), path.format(things.invitation))

    return make


def accepting(path: str) -> Make:
    def make(things: Things) -> Iterator[Ask]:
        yield Ask(Target("platform"), path, "", {"code": code_of(things.tenant)})

    return make


PLACE = "tenant={0}&project={1}"
TENANT_ACTS: dict[str, Any] = {
    "suspend": {"reason": "terms"},
    "resume": None,
    "exit": {},
    "extend-exit": {"until": "2030-01-01T00:00:00Z", "whose": "customer"},
    "erase": None,
}
CASES: dict[str, Make] = {
    "GET /v1/jobs": of_platform("/v1/jobs"),
    "POST /v1/jobs": of_projects("/v1/jobs", "", JOB),
    "GET /v1/jobs/{}": of_jobs("/v1/jobs/{}"),
    "POST /v1/jobs/{}/cancel": of_jobs("/v1/jobs/{}/cancel"),
    "GET /v1/jobs/{}/explanation": of_jobs("/v1/jobs/{}/explanation"),
    "POST /v1/jobs/{}/hold": of_jobs("/v1/jobs/{}/hold"),
    "POST /v1/jobs/{}/release": of_jobs("/v1/jobs/{}/release"),
    "GET /v1/jobs/{}/logs": of_jobs("/v1/jobs/{}/logs"),
    "GET /v1/events": of_platform("/v1/events", "after=0"),
    "POST /v1/plan": of_projects("/v1/plan", "", JOB),
    "PUT /v1/blobs/{}": of_projects(f"/v1/blobs/{BLOB}", PLACE, b""),
    "GET /v1/nodes": of_platform("/v1/nodes"),
    "GET /v1/sites": of_platform("/v1/sites"),
    "GET /v1/usage": of_platform("/v1/usage", "by=job"),
    "GET /v1/tenants": of_platform("/v1/tenants"),
    "POST /v1/tenants": of_platform("/v1/tenants", "", {"id": "new", "class": "industry"}),
    "GET /v1/tenants/{}": of_tenant("/v1/tenants/{}"),
    **{
        f"POST /v1/tenants/{{}}/{act}": of_tenant(f"/v1/tenants/{{}}/{act}", "", body)
        for act, body in TENANT_ACTS.items()
    },
    "GET /v1/tenants/{}/export": of_tenant("/v1/tenants/{}/export"),
    "GET /v1/tenants/{}/legal": of_tenant("/v1/tenants/{}/legal"),
    "PUT /v1/tenants/{}/legal": of_tenant("/v1/tenants/{}/legal", "", LEGAL),
    "GET /v1/tenants/{}/projects": of_tenant("/v1/tenants/{}/projects", kind="inside"),
    "POST /v1/tenants/{}/projects": of_tenant("/v1/tenants/{}/projects", "", {"name": "new"}),
    "POST /v1/tenants/{}/projects/{}/close": of_projects("/v1/tenants/{0}/projects/{1}/close"),
    "GET /v1/tenants/{}/budgets": of_tenant("/v1/tenants/{}/budgets"),
    "POST /v1/tenants/{}/budgets": of_tenant(
        "/v1/tenants/{}/budgets", "", {"gpu_hours": 1, "expires_in": "30d", "origin": "grant"}
    ),
    "GET /v1/entitlements": of_tenant("/v1/entitlements", "tenant={}"),
    "GET /v1/shares": of_tenant("/v1/shares", "tenant={}"),
    "POST /v1/entitlements": of_platform("/v1/entitlements", "", {"entitlements": [{"node": "public"}]}),
    "GET /v1/sites/{}": of_platform("/v1/sites/here"),
    "PUT /v1/sites/{}": of_platform("/v1/sites/aachen", "", SITE),
    "DELETE /v1/sites/{}": of_platform("/v1/sites/here"),
    "POST /v1/sites/test": of_platform("/v1/sites/test", "", SITE),
    "GET /v1/alerts": of_platform("/v1/alerts"),
    "POST /v1/alerts/test": of_platform("/v1/alerts/test", "", {}),
    "POST /v1/nodes/{}/report": of_platform("/v1/nodes/node-2/report", "", {"kind": "xid", "code": 63}),
    "POST /v1/nodes/{}/return": of_platform("/v1/nodes/node-2/return", "", {"burn_in": False}),
    "GET /v1/maintenance": of_platform("/v1/maintenance"),
    "POST /v1/maintenance": of_platform("/v1/maintenance", "", {"nodes": ["node-2"], "dry_run": True}),
    "POST /v1/maintenance/{}/cancel": of_platform("/v1/maintenance/m1/cancel"),
    "GET /v1/forecast": of_platform("/v1/forecast"),
    "GET /v1/bookings": of_platform("/v1/bookings"),
    "POST /v1/bookings": of_projects(
        "/v1/bookings", "", {"resources": {"gpus": 1}, "until_at": "2030-01-01T00:00:00Z", "dry_run": True}
    ),
    "POST /v1/bookings/{}/cancel": of_booking("/v1/bookings/{}/cancel"),
    "GET /v1/availability": of_tenant("/v1/availability", "tenant={}"),
    "GET /v1/commitments": of_tenant("/v1/commitments", "tenant={}"),
    "POST /v1/commitments": of_platform(
        "/v1/commitments", "", {"node": "public", "amount": 1, "to_at": "2030-01-01T00:00:00Z"}
    ),
    "POST /v1/commitments/{}/end": of_platform("/v1/commitments/c1/end", "", {}),
    "GET /v1/tenants/{}/members": of_tenant("/v1/tenants/{}/members", kind="inside"),
    "GET /v1/agreement": of_platform("/v1/agreement"),
    "GET /v1/applications": of_platform("/v1/applications"),
    "POST /v1/applications": of_tenant(
        "/v1/applications",
        "",
        {"tenant": "{}", "class": "industry", "legal": LEGAL, "agreement": "2026-11",
         "applicant": {"name": "X", "email": "x@example.org"}},
        "platform",
    ),
    "GET /v1/applications/{}": of_application("/v1/applications/{}"),
    "POST /v1/applications/{}/checks/{}": of_application(
        "/v1/applications/{}/checks/identity", {"outcome": "passed"}
    ),
    "POST /v1/applications/{}/approve": of_application("/v1/applications/{}/approve"),
    "POST /v1/applications/{}/refuse": of_application("/v1/applications/{}/refuse", {"reason": "other"}),
    "POST /v1/applications/{}/withdraw": of_application("/v1/applications/{}/withdraw"),
    "POST /v1/applications/{}/token": of_application("/v1/applications/{}/token", {}),
    "GET /v1/self": of_platform("/v1/self"),
    "GET /v1/can-i": about_jobs("/v1/can-i", "action=job:read&kind=job&job={}"),
    "GET /v1/users": of_tenant("/v1/users", "tenant={}"),
    "POST /v1/users": of_platform("/v1/users", "", {"name": "X", "email": "x@example.org"}),
    "GET /v1/users/{}": of_users("/v1/users/{}"),
    "DELETE /v1/users/{}": of_users("/v1/users/{}"),
    "POST /v1/users/{}/roles": roles_of("/v1/users/{}/roles", in_body=True),
    "DELETE /v1/users/{}/roles": roles_of("/v1/users/{}/roles", in_body=False),
    "GET /v1/users/{}/tokens": of_users("/v1/users/{}/tokens"),
    "POST /v1/users/{}/tokens": of_users("/v1/users/{}/tokens", "", {}),
    "DELETE /v1/tokens/{}": of_users("/v1/tokens/{}", ids="tokens"),
    "GET /v1/invitations": of_tenant("/v1/invitations", "tenant={}"),
    "POST /v1/invitations": of_tenant("/v1/invitations", "", {"tenant": "{}", "role": "viewer"}),
    "DELETE /v1/invitations/{}": of_invitation("/v1/invitations/{}"),
    "POST /v1/invitations/accept": accepting("/v1/invitations/accept"),
    "GET /v1/secrets": of_projects("/v1/secrets", PLACE),
    "PUT /v1/secrets/{}": of_projects("/v1/secrets/new", "", {"value": "v"}),
    "DELETE /v1/secrets/{}": of_projects("/v1/secrets/new", PLACE),
    "GET /v1/acts": of_tenant("/v1/acts", "tenant={}"),
    "GET /v1/signin": of_platform("/v1/signin"),
    "POST /v1/signin": of_platform("/v1/signin", "", {}),
    "POST /v1/signout": of_platform("/v1/signout"),
    "GET /v1/signin/oidc": of_platform("/v1/signin/oidc", "return=//elsewhere"),
    "GET /v1/signin/oidc/callback": of_platform("/v1/signin/oidc/callback", "code=1&code=2"),
    "POST /v1/login": of_platform("/v1/login", "", {"unknown": 1}),
    "POST /v1/login/token": of_platform("/v1/login/token", "", {"device_code": "n"}),
    "GET /v1/login/{}": of_oneself("/v1/login/BCDF-GHJK"),
    "POST /v1/login/confirm": of_oneself("/v1/login/confirm", {"user_code": "BCDF-GHJK", "allow": True}),
}  # fmt: skip
