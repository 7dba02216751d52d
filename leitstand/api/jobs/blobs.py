# SPDX-License-Identifier: Apache-2.0
"""Uploads of work directories, named by their SHA-256."""

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec
from litestar import Request, Response, put
from litestar.params import FromPath

from leitstand.access.policy import Resource
from leitstand.api import decode
from leitstand.api.auth import header
from leitstand.api.checks import an_id, optional
from leitstand.api.context import faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.permission import absent, check_held, home, permit
from leitstand.api.problems import Problem, disk_full
from leitstand.stores.blobs import BLOB_BYTES_MAX, NotAnArchive, TenantFull, TooLarge, Upload, WrongDigest

UPLOADS_MAX: Final = 16  # of one user at once, whatever tokens it has
UPLOADS_OF_TENANT_MAX: Final = 64  # what is under way does not count as kept yet


class BlobQuery(Input, frozen=True):
    """Whose it is; left out: as in a submission."""

    tenant: str = ""
    project: str = ""

    checks: ClassVar[Mapping[str, Check]] = {
        "tenant": optional(an_id),
        "project": optional(an_id),
    }


class BlobAnswer(msgspec.Struct, frozen=True):
    """The blob that is kept now."""

    sha256: str


@put(
    "/blobs/{sha256:str}",
    status_code=201,
    request_max_body_size=None,
    opt={"action": "blob:write", "query": BlobQuery, "again": True},
    summary="Upload a work directory",
)
async def upload(request: Request[Any, Any, Any], sha256: FromPath[str]) -> Response[BlobAnswer]:
    """A tar archive, also compressed, of at most 100 MiB. 201: kept; 200: it was here already."""
    faces = faces_of(request)
    query = decode.query(request.query_params.items(), BlobQuery)
    tenant, project = home(request, query.tenant, query.project)
    place = Resource("project", tenant, project)
    who = permit(request, place, project)
    if tenant not in faces.follower.state.tenants:
        raise absent("tenant", tenant)
    try:
        arriving = faces.blobs.upload(tenant, sha256)
    except ValueError as error:
        raise Problem(400, "invalid-request", str(error)) from None
    except OSError as error:
        raise _disk(error) from None
    with arriving:
        if faces.blobs.open(tenant, sha256) is not None:
            return Response(BlobAnswer(sha256), status_code=200)
        if faces.disk_low():
            raise disk_full()
        length = header(request.scope, b"content-length")
        if length.isdigit() and int(length) > BLOB_BYTES_MAX:
            raise _too_large()
        of_user = (f"uploads of user {who.subject!r}", UPLOADS_MAX)
        of_tenant = (f"uploads of tenant {tenant!r}", UPLOADS_OF_TENANT_MAX)
        with faces.limits.hold(of_user, of_tenant):
            await _receive(request, arriving, place)
    return Response(BlobAnswer(sha256), status_code=201)


async def _receive(request: Request[Any, Any, Any], arriving: Upload, place: Resource) -> None:
    """Keep what comes, if who sends it may to the end: it can take long."""
    try:
        async for chunk in request.stream():
            arriving.write(chunk)
        check_held(request)
        permit(request, place, place.project)
        await asyncio.to_thread(arriving.commit)
    except TooLarge:
        raise _too_large() from None
    except WrongDigest as error:
        raise Problem(400, "wrong-digest", str(error), hint="send it again, or name what you send") from None
    except NotAnArchive as error:
        raise Problem(400, "not-an-archive", str(error), hint="pack the directory with tar") from None
    except TenantFull as error:
        hint = "archives that no job uses are deleted after 30 days"
        raise Problem(413, "tenant-full", str(error), hint=hint) from None
    except OSError as error:
        raise _disk(error) from None


def _too_large() -> Problem:
    return Problem(413, "too-large", f"the archive exceeds the limit of {BLOB_BYTES_MAX} bytes",
                   hint="leave data and environments out of the work directory")  # fmt: skip


def _disk(error: OSError) -> Problem:
    return Problem(507, "disk-full", f"the archive cannot be kept: {error.strerror}", hint="free disk space")
