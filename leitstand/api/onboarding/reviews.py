# SPDX-License-Identifier: Apache-2.0
"""Applications as who examines them meets them: record the outcome of a check, approve, refuse.

A note is kept, sealed, before the fact that names it. What is asked for again is answered as it was done.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from litestar import Request, post
from litestar.params import FromPath

from leitstand.api import decode
from leitstand.api.auth import Identity, identity
from leitstand.api.checks import at_most, one_of
from leitstand.api.context import Faces, faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.onboarding.applicationview import (
    ApplicationAnswer,
    application_permitted,
    complete,
    record_of,
    show,
)
from leitstand.api.problems import Problem
from leitstand.core.acts import ApplicationApproved, ApplicationRefused, CheckRecorded
from leitstand.core.onboarding import OUTCOMES, REFUSALS, Application
from leitstand.core.people import ADMIN
from leitstand.stores.people import NOTE_CHARS_MAX

APPLICANT = "applicant"  # the owner of what filing itself does
CHECKERS = ("operator", "reviewer")


class CheckRequest(Input, frozen=True):
    """What came of a check: `passed` or `failed`. `note`: for other reviewers and operators."""

    outcome: str
    note: str = ""

    checks: ClassVar[Mapping[str, Check]] = {
        "outcome": one_of(OUTCOMES),
        "note": at_most(NOTE_CHARS_MAX),
    }


class RefusalRequest(Input, frozen=True):
    """Why it is refused; the applicant reads both."""

    reason: str
    note: str = ""

    checks: ClassVar[Mapping[str, Check]] = {
        "reason": one_of(REFUSALS),
        "note": at_most(NOTE_CHARS_MAX),
    }


@post(
    "/applications/{application_id:str}/checks/{check:str}",
    opt={"action": "application:check", "body": CheckRequest},
    status_code=200,
    summary="Record the outcome of a check",
)
async def record_check(
    request: Request[Any, Any, Any], application_id: FromPath[str], check: FromPath[str]
) -> ApplicationAnswer:
    """The application with the check done; a later outcome replaces an earlier one while it is open."""
    faces = faces_of(request)
    who, found = application_permitted(request, application_id)
    asked = decode.body(await request.body(), CheckRequest)
    known = next((one for one in found.checks if one.name == check), None)
    if known is None:
        names = ", ".join(one.name for one in found.checks)
        raise Problem(404, "unknown-check", f"there is no check {check[:80]!r}; its checks are {names}")
    _check_owner(faces, who, check)
    note = _keep(faces, found, asked.note)
    if (known.outcome, known.note, known.by) != (asked.outcome, note, who.subject):
        await faces.ask(who, "", CheckRecorded(application_id, check, asked.outcome, note, who.subject))
    return show(faces, found, inside=True)


@post(
    "/applications/{application_id:str}/approve",
    opt={"action": "application:approve"},
    status_code=200,
    summary="Approve an application",
)
async def approve_application(
    request: Request[Any, Any, Any], application_id: FromPath[str]
) -> ApplicationAnswer:
    """The tenant is there, with its first user and its first budget. Nobody approves what nobody else has checked, if
    somebody else could have."""
    faces = faces_of(request)
    alone = checked_alone(faces, application_id, identity(request).subject)
    who, found = application_permitted(request, application_id, checked_alone=alone)
    if found.state != "approved":  # else the answer to an earlier try may have been lost
        await faces.ask(who, "", ApplicationApproved(application_id, "", who.subject))
    complete(faces, found)
    return show(faces, found, inside=True)


@post(
    "/applications/{application_id:str}/refuse",
    opt={"action": "application:refuse", "body": RefusalRequest},
    status_code=200,
    summary="Refuse an application",
)
async def refuse_application(
    request: Request[Any, Any, Any], application_id: FromPath[str]
) -> ApplicationAnswer:
    """It stays visible with reason and note, to the applicant, too."""
    faces = faces_of(request)
    who, found = application_permitted(request, application_id)
    asked = decode.body(await request.body(), RefusalRequest)
    if found.state != "open" and (found.state, found.reason) != ("refused", asked.reason):
        raise Problem(409, "conflict", f"application {found.id} is {found.state}")
    if found.state == "open":
        note = _keep(faces, found, asked.note)
        await faces.ask(who, "", ApplicationRefused(application_id, asked.reason, note, who.subject))
    return show(faces, found, inside=True)


def checked_alone(faces: Faces, application_id: str, user: str) -> bool:
    """Whether `user` recorded every check of the application although there is somebody else who could have.

    The administrator of the data folder does not count as somebody else: whoever runs the machine has that token."""
    state = faces.follower.state
    found = state.onboarding.applications.get(application_id)
    if found is None or not user:
        return False
    owners = state.rules.onboarding.checks
    done = [check.by for check in found.checks if owners.get(check.name) != APPLICANT and check.outcome]
    if not done or any(by != user for by in done):
        return False
    return any(
        grant.role in CHECKERS and not grant.tenant
        for other in state.people.users.values()
        if other.id not in (user, ADMIN)
        for grant in other.grants
    )


def _check_owner(faces: Faces, who: Identity, check: str) -> None:
    """Problem unless the check is one that the asker's role does; operators do all but the applicant's."""
    owner = faces.follower.state.rules.onboarding.checks.get(check, "operator")
    if owner == APPLICANT:
        raise Problem(409, "conflict", f"the check {check} is the applicant's: filing itself does it")
    roles = {grant.role for grant in faces.tokens.asker(who).grants if not grant.tenant}
    if owner not in roles and "operator" not in roles:
        raise Problem(403, "forbidden", f"the check {check} is for the role {owner}")


def _keep(faces: Faces, application: Application, note: str) -> str:
    """The name of the note, kept durably; '' for none."""
    return faces.people.note(record_of(application.digest), note) if note else ""
