# SPDX-License-Identifier: Apache-2.0
"""Users: list, add, read, erase. Their roles: `roles`; their tokens: `tokens`.

Everybody sees of a person what concerns the tenants they share: roles elsewhere stay hidden.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import msgspec
from litestar import Request, delete, get, post
from litestar.params import FromPath

from leitstand.access.policy import Places, Resource
from leitstand.api import decode
from leitstand.api.auth import Identity, grants_of
from leitstand.api.checks import a_name, an_id, between, optional
from leitstand.api.context import Faces, faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.identity.names import ADMINISTRATOR
from leitstand.api.identity.people import account_of, meant, only_tenant, permit_or, permit_reading
from leitstand.api.identity.self import RoleAnswer
from leitstand.api.paging import PAGE_MAX, PLACE_MAX, one_by_one
from leitstand.api.permission import PLATFORM, absent, inside, permit, places
from leitstand.api.problems import Problem
from leitstand.api.tenancy.leftovers import erase_of_the_gone
from leitstand.core.acts import RecordsErased, UserAdded, UserRemoved
from leitstand.core.facts import CancelJob
from leitstand.core.people import ADMIN
from leitstand.core.people import User as Account
from leitstand.stores.legal import email_fault
from leitstand.stores.people import Person
from leitstand.stores.tenants import Stores, erase_person


class UserRequest(Input, frozen=True):
    """A person to add."""

    name: str
    email: str

    checks: ClassVar[Mapping[str, Check]] = {"name": a_name, "email": email_fault}


class UserQuery(Input, frozen=True):
    """Who has a role in `tenant`; left out: in any that you see. `cursor`: of the page before."""

    tenant: str = ""
    limit: int = 100
    cursor: int = 0

    checks: ClassVar[Mapping[str, Check]] = {
        "tenant": optional(an_id),
        "limit": between(1, PAGE_MAX),
        "cursor": between(0, PLACE_MAX),
    }


class UserAnswer(msgspec.Struct, frozen=True):
    """A person. `name`, `email`: empty if they were erased; `roles`: those in tenants that the asker sees."""

    id: str
    name: str
    email: str
    roles: list[RoleAnswer]


class UserPage(msgspec.Struct, frozen=True):
    """A page; `next_cursor`: null on the last one."""

    items: list[UserAnswer]
    next_cursor: str | None


@get("/users", opt={"action": "user:list", "query": UserQuery}, summary="List users")
async def list_users(request: Request[Any, Any, Any]) -> UserPage:
    """Who has a role in a tenant whose users you may list; operators and auditors see everybody. Oldest first."""
    faces = faces_of(request)
    _, where = places(request)
    query = decode.query(request.query_params.items(), UserQuery)
    if query.tenant and not inside(where, query.tenant, ""):
        permit(request, Resource("tenant", query.tenant), query.tenant)
    found: list[Account] = []
    async for account in one_by_one(faces.follower.state.people.users.values()):
        if number_of(account.id) > query.cursor and _listed(account, where, query.tenant):
            found.append(account)
            if len(found) > query.limit:
                break
    page = found[: query.limit]
    more = str(number_of(page[-1].id)) if len(found) > len(page) else None
    return UserPage(shown(faces, page, where), more)


@post("/users", opt={"action": "user:add", "body": UserRequest}, summary="Add a user")
async def add_user(request: Request[Any, Any, Any]) -> UserAnswer:
    """201 with a user without roles and tokens. Others come by invitation, or through the identity provider."""
    faces, who = faces_of(request), permit(request, PLATFORM)
    asked = decode.body(await request.body(), UserRequest)
    settled = await faces.ask(who, "", UserAdded("", who.subject))
    person = Person(asked.name.strip(), asked.email)
    await asyncio.to_thread(faces.people.put_person, settled.made, person)
    return UserAnswer(settled.made, person.name, person.email, [])


@get("/users/{user_id:str}", opt={"action": "user:read"}, summary="Read a user")
async def read_user(request: Request[Any, Any, Any], user_id: FromPath[str]) -> UserAnswer:
    """A person, with its roles in tenants that you see; `me` is yourself."""
    user = meant(request, user_id)
    who = permit_reading(request, user)
    return answer(faces_of(request), who, account_of(request, user))


@delete("/users/{user_id:str}", opt={"action": "user:erase"}, status_code=204, summary="Erase a user")
async def erase_user(request: Request[Any, Any, Any], user_id: FromPath[str]) -> None:
    """204: tokens are dead at once, live jobs are cancelled, and name, address, login and what the jobs were is erased.
    By operators; by who administers the only tenant the person has roles in. After an error: do it again."""
    faces, user = faces_of(request), meant(request, user_id)
    state = faces.follower.state
    missing = absent("user", user)
    who = permit_or(request, Resource("user", only_tenant(state, user), user=user), missing)
    if user == ADMIN:
        raise Problem(409, "conflict", "the built-in administrator cannot be erased")
    there = user in state.people.users
    if there:
        for job in [one.id for one in state.jobs.values() if one.user == user]:
            await _cancel(faces, who, job)
        await faces.ask(who, "", UserRemoved(user, who.subject))
    elif user != f"u{number_of(user)}" or not 0 < number_of(user) <= state.people.users_ever:
        raise missing
    stores = Stores(faces.people, faces.records, faces.secrets, faces.blobs)
    erased = await asyncio.to_thread(erase_person, stores, user)  # again, if one was cut short
    if there or any(erased):
        await faces.ask(who, "", RecordsErased(user, who.subject))
    await erase_of_the_gone(faces)  # what still runs goes when it has ended


def answer(faces: Faces, who: Identity, account: Account) -> UserAnswer:
    """One user as `who` sees it: all its roles if it is `who` itself, else those in tenants whose users it lists."""
    if account.id == who.subject:
        return shown(faces, [account], None)[0]
    where = faces.authorizer.scopes_of(faces.tokens.asker(who), "user:list")
    return shown(faces, [account], where)[0]


def shown(faces: Faces, accounts: Iterable[Account], where: Places | None) -> list[UserAnswer]:
    """Users with one look-up of their names, and their roles in the places of `where`."""
    accounts = list(accounts)
    known = faces.people.people(one.id for one in accounts)
    answers = []
    for one in accounts:
        person = known.get(one.id) or Person(ADMINISTRATOR if one.id == ADMIN else "", "")
        roles = [
            RoleAnswer(grant.role, grant.tenant, grant.project, grant.origin)
            for grant in one.grants
            if inside(where, grant.tenant, "")
        ]
        if one.id == ADMIN and where is None:
            roles = [RoleAnswer(grant.role, "", "") for grant in grants_of(faces.follower.state, ADMIN)]
        answers.append(UserAnswer(one.id, person.name, person.email, roles))
    return answers


def number_of(user: str) -> int:
    """The place of a user, token or invitation among all that ever were."""
    return int(user[1:]) if user[1:].isdecimal() else 0


def _listed(account: Account, where: Places | None, tenant: str) -> bool:
    if account.id == ADMIN:  # nobody's member, and always there
        return False
    if tenant:
        return any(grant.tenant == tenant for grant in account.grants)
    return where is None or any(inside(where, grant.tenant, "") for grant in account.grants)


async def _cancel(faces: Faces, who: Identity, job: str) -> None:
    try:
        await faces.ask(who, "", CancelJob(job, who.subject))
    except Problem as problem:
        if problem.code != "unknown-job":  # it has ended meanwhile
            raise
