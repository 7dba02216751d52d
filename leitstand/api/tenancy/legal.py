# SPDX-License-Identifier: Apache-2.0
"""Who a tenant is before the law: read it, change it. An erasable record: the journal knows who changed it and when,
before it is done, and not what it says."""

from typing import Any

from litestar import Request, Response, get, put
from litestar.params import FromPath

from leitstand.api.context import Faces, faces_of
from leitstand.api.onboarding import legalinput
from leitstand.api.preconditions import IF_MATCH, check_match, etag
from leitstand.api.problems import Problem, disk_full
from leitstand.api.tenancy.tenants import legal_of, tenant_permitted
from leitstand.core.acts import LegalIdentityChanged
from leitstand.stores.legal import LegalIdentity


@get(
    "/tenants/{tenant_id:str}/legal",
    opt={"action": "legal:read"},
    summary="Read the legal identity of a tenant",
)
async def read_legal(request: Request[Any, Any, Any], tenant_id: FromPath[str]) -> Response[LegalIdentity]:
    """Who the tenant is before the law, with an ETag for changing it."""
    tenant_permitted(request, tenant_id)
    legal = legal_of(faces_of(request), tenant_id)
    if legal is None:
        raise Problem(
            404,
            "unknown-legal",
            f"tenant {tenant_id} has no legal identity",
            hint=f"PUT /v1/tenants/{tenant_id}/legal sets it",
        )
    return Response(legal, headers={"ETag": etag(legal), "Cache-Control": "no-store"})


@put(
    "/tenants/{tenant_id:str}/legal",
    opt={"action": "legal:write", "body": LegalIdentity, "headers": [IF_MATCH]},
    summary="Change the legal identity of a tenant",
)
async def write_legal(request: Request[Any, Any, Any], tenant_id: FromPath[str]) -> Response[LegalIdentity]:
    """200 with the identity as it is kept now; 428 without the ETag of the one it replaces, 412 if that has changed."""
    faces = faces_of(request)
    who, tenant = tenant_permitted(request, tenant_id)
    asked = legalinput.body(await request.body())
    if tenant.stage == "closed":
        raise Problem(409, "conflict", f"tenant {tenant_id} has left; nothing new is kept about it")
    if faces.disk_low():
        raise disk_full()
    if legal_of(faces, tenant_id) != asked:  # else the answer to an earlier try may have been lost
        _check(request, faces, tenant_id)
        await faces.ask(who, tenant_id, LegalIdentityChanged(tenant_id, who.subject))
        _check(request, faces, tenant_id)  # nothing is awaited from here on: nobody writes between
        faces.people.put_legal(tenant_id, asked)
    return Response(asked, headers={"ETag": etag(asked), "Cache-Control": "no-store"})


def _check(request: Request[Any, Any, Any], faces: Faces, tenant_id: str) -> None:
    kept = legal_of(faces, tenant_id)
    check_match(request, etag(kept) if kept else "", f"the legal identity of {tenant_id}", required=True)
