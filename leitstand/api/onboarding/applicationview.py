# SPDX-License-Identifier: Apache-2.0
"""Applications as clients see them, what happens next in words, and where their erasable records lie.

Called by `applications`, `reviews` and whoever needs what an application left to its tenant.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec
from litestar import Request

from leitstand.access.policy import Resource
from leitstand.api.amounts import moment
from leitstand.api.auth import Identity
from leitstand.api.checks import a_name
from leitstand.api.context import Faces, faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.identity.names import PersonAnswer
from leitstand.api.permission import absent, permit
from leitstand.api.problems import Fault
from leitstand.core.onboarding import Application
from leitstand.stores.legal import LegalIdentity, doubts, email_fault

RECORDS: Final = "claim."  # how the names of their records begin; no id of a tenant has a dot
_DIGEST_CHARS: Final = 40
_WHY: Final = {
    "identity": "the identity could not be established",
    "sanctions": "a sanctions list stands against it",
    "export_control": "export control stands against it",
    "size_class": "the size class that was declared could not be confirmed",
    "capacity": "there is no capacity for it",
    "purpose": "the purpose does not fit the cloud",
    "incomplete": "what was needed did not come",
    "other": "see the note",
}


class Applicant(Input, frozen=True):
    """The person who applies, and will be the tenant's first administrator."""

    name: str
    email: str

    checks: ClassVar[Mapping[str, Check]] = {"name": a_name, "email": email_fault}


class CheckAnswer(msgspec.Struct, frozen=True):
    """One check. `owner`: the role that does it; `outcome`: open, passed, failed; `note`, `by`: for reviewers alone."""

    name: str
    owner: str
    outcome: str
    note: str
    by: PersonAnswer | None
    at: datetime | None


class ApplicationAnswer(msgspec.Struct, frozen=True, rename={"tenant_class": "class"}):
    """An application. `state`: open, approved, refused, withdrawn; `legal`, `applicant`: null when erased; `doubts`:
    what a reviewer should look at; `reason`, `note`: of a refusal; `next`: what happens next."""

    id: str
    tenant: str
    tenant_class: str
    state: str
    filed_at: datetime
    decided_at: datetime | None
    agreement: str
    legal: LegalIdentity | None
    applicant: Applicant | None
    purpose: str
    checks: list[CheckAnswer]
    doubts: list[Fault]
    reason: str
    note: str
    by: PersonAnswer | None
    next: str


class Filed(ApplicationAnswer, frozen=True, kw_only=True):
    """The application just filed. `claim`: the secret by which the applicant comes back, shown this once."""

    claim: str


def record_of(digest: str) -> str:
    """Under which name lies what an application holds; `digest`: of its claim, so that it is known before the id."""
    return RECORDS + digest[:_DIGEST_CHARS]


def application_permitted(
    request: Request[Any, Any, Any], application_id: str, *, checked_alone: bool = False
) -> tuple[Identity, Application]:
    """Who asks, and the application, if the route's action may be done to it; Problem 404 alike if it is not there."""
    found = faces_of(request).follower.state.onboarding.applications.get(application_id)
    if found is None:
        raise absent("application", application_id)
    resource = Resource("application", owner=application_id, checked_alone=checked_alone)
    return permit(request, resource, application_id), found


def complete(faces: Faces, application: Application) -> None:
    """Give what an approved application holds to the tenant and the user that came of it.

    Done after the approval, and again by readers, for the faces may have died between; harmless if it was done."""
    state = faces.follower.state
    if application.state != "approved" or state.tenants[application.tenant].stage == "closed":
        return
    name = record_of(application.digest)
    faces.people.move_legal(name, application.tenant)
    if application.user in state.people.users:
        faces.people.move_person(name, application.user)


def show(faces: Faces, application: Application, *, inside: bool) -> ApplicationAnswer:
    """One application; `inside`: for who examines it, else as the applicant sees it."""
    return shown_all(faces, [application], inside=inside)[0]


def shown_all(faces: Faces, found: Iterable[Application], *, inside: bool) -> list[ApplicationAnswer]:
    """Many applications, with one look-up of each kind."""
    found = list(found)
    names = [record_of(one.digest) for one in found]
    became = [one for one in found if one.state == "approved"]
    legals = faces.people.legals([*names, *(one.tenant for one in became)])
    people = faces.people.people([*names, *(one.user for one in became)])
    purposes = faces.people.purposes(names)
    notes = faces.people.notes(
        ref for one in found for ref in (one.note, *(check.note for check in one.checks)) if ref
    )
    authors = faces.persons(by for one in found for by in (one.by, *(check.by for check in one.checks)) if by)
    owners = faces.follower.state.rules.onboarding.checks
    answers = []
    for one, name in zip(found, names, strict=True):
        approved = one.state == "approved"
        legal = legals.get(name) or (legals.get(one.tenant) if approved else None)
        person = people.get(name) or (people.get(one.user) if approved else None)
        checks = [
            CheckAnswer(
                check.name,
                owners.get(check.name, ""),
                check.outcome or "open",
                notes.get(check.note, "") if inside else "",
                authors.get(check.by) if inside else None,
                moment(check.at) if check.at else None,
            )
            for check in one.checks
        ]
        answers.append(
            ApplicationAnswer(
                one.id,
                one.tenant,
                one.tenant_class,
                one.state,
                moment(one.filed_us),
                moment(one.decided_us) if one.decided_us else None,
                one.agreement,
                legal,
                Applicant(person.name, person.email) if person else None,
                purposes.get(name, ""),
                checks,
                [Fault(*doubt) for doubt in doubts(legal)] if inside and legal else [],
                one.reason,
                notes.get(one.note, ""),
                authors.get(one.by) if inside else None,
                happens_next(one, owners),
            )
        )
    return answers


def happens_next(application: Application, owners: Mapping[str, str]) -> str:
    """One or two sentences for everybody who waits for it."""
    match application.state:
        case "approved":
            if application.claimed_us:
                return f"Tenant {application.tenant} is there, and its first token was fetched."
            return (
                f"Tenant {application.tenant} is there. Fetch its first token with the claim: "
                f"POST /v1/applications/{application.id}/token."
            )
        case "refused":
            why = _WHY.get(application.reason, application.reason)
            return f"It was refused: {why}. A new application can be filed."
        case "withdrawn":
            return "It was withdrawn. A new application can be filed."
    failed = [check.name for check in application.checks if check.outcome == "failed"]
    waiting = [check for check in application.checks if not check.outcome]
    if failed:
        return f"Not passed: {', '.join(failed)}. A reviewer looks again, or an operator refuses it."
    if waiting:
        tasks = ", ".join(f"{check.name} ({owners.get(check.name, 'operator')})" for check in waiting)
        return f"Still to be checked: {tasks}. There is nothing to do for the applicant."
    return "All checks have passed. An operator decides next."
