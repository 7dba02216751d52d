# SPDX-License-Identifier: Apache-2.0
"""A job request on its way in: whose it is, whether what it names is there, and where its secrets go.

Called by `jobs` and `plan`, so that a plan meets what a submission would.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from litestar import Request

from leitstand.api.context import Faces
from leitstand.api.jobs.jobrequest import JobRequest, profiles
from leitstand.api.permission import home
from leitstand.api.problems import Fault, Problem
from leitstand.core.places.mig import profile_fault
from leitstand.core.state import State
from leitstand.stores.secrets import MasterKeyMissing, SecretRefused

_NAME_SHOWN_MAX: Final = 24  # characters; what is longer may be a secret that was put in the wrong place


def at_home(request: Request[Any, Any, Any], asked: JobRequest) -> JobRequest:
    """The request with its tenant and project named."""
    tenant, project = home(request, asked.tenant, asked.project)
    return msgspec.structs.replace(asked, tenant=tenant, project=project)


def check_workdir(faces: Faces, asked: JobRequest) -> None:
    """Problem 400 if the work directory was not uploaded."""
    if asked.workdir and faces.blobs.open(asked.tenant, asked.workdir) is None:
        what = f"workdir {asked.workdir} was not uploaded"
        raise Problem(400, "unknown-blob", what, hint="PUT it to /v1/blobs/SHA256 first")


def check_profiles(faces: Faces, asked: JobRequest) -> None:
    """Problem 400 if no GPU that is known has a MIG profile that the request names, with those that there are."""
    wanted = profiles(asked)
    if not wanted:
        return
    described = [model for site in faces.follower.state.sites.values() for model in site.mig_models or ()]
    faults = [
        Fault("/resources/accelerators", fault)
        for kind, profile in wanted
        if (fault := profile_fault(profile, kind, described))
    ]
    if faults:
        raise Problem(400, "invalid-request", f"{faults[0].where}: {faults[0].what}", errors=tuple(faults))


def offered(state: State) -> list[str]:
    """The MIG profiles that a GPU of some pool has or can be cut into, by name."""
    found: dict[str, None] = {}
    for pool in state.pools.values():
        if pool.whole.slots is not None:
            found.update(dict.fromkeys(pool.whole.slots.profiles()))
    return sorted(found)


def secrets_of(faces: Faces, asked: JobRequest) -> dict[str, str]:
    """Variable → `name@version` of the project's secrets that the request names; Problem 400 for those that are not
    there, all at once."""
    found: dict[str, str] = {}
    faults = []
    for variable, given in asked.secrets.items():
        reference = given or variable
        resolved = faces.secrets.resolve(asked.tenant, asked.project, reference)
        if resolved:
            found[variable] = resolved
            continue
        name, _, version = reference.partition("@")
        what = f"names secret {_shown(name)!r}" + (f", version {version}" if version else "")
        faults.append(Fault(f"/secrets/{variable}", f"{what}, which project {asked.project!r} does not have"))
    if faults:
        first = f": {faults[0].where} {faults[0].what}" if len(faults) == 1 else f" ({len(faults)} of them)"
        hint = "PUT /v1/secrets/NAME sets it; GET /v1/secrets lists what is there"
        raise Problem(
            400,
            "unknown-secret",
            f"the job names secrets that are not there{first}",
            errors=tuple(faults),
            hint=hint,
        )
    return found


async def keep_values(faces: Faces, user: str, asked: JobRequest) -> dict[str, str]:
    """Variable → reference of the values for this job alone, which are durable on return."""
    if not asked.secret_values:
        return {}
    with storing_secrets():
        return await asyncio.to_thread(
            faces.secrets.put_for_job, asked.tenant, asked.project, asked.secret_values, user
        )


async def forget_values(faces: Faces, references: dict[str, str]) -> None:
    """The values for a job that did not come to be; what cannot be deleted now goes with retention."""
    if references:
        with contextlib.suppress(OSError):
            await asyncio.to_thread(faces.secrets.forget_job_secrets, list(references.values()))


@contextlib.contextmanager
def storing_secrets() -> Iterator[None]:
    """Refusals of the secret store as problems."""
    try:
        yield
    except SecretRefused as error:
        raise Problem(400, "secret-refused", str(error), hint="a smaller value, or fewer of them") from None
    except MasterKeyMissing:
        detail = "the key of the secret store is missing, so that no secret can be kept or read"
        raise Problem(503, "storage-away", detail, hint="tell the operator", retry_after_s=60) from None


def _shown(name: str) -> str:
    return name if len(name) <= _NAME_SHOWN_MAX else f"{name[:4]}…"
