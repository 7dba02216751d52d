# SPDX-License-Identifier: Apache-2.0
"""A cloud with three tenants that do not trust each other, everybody who could ask, and a way to ask quickly.

Used by `test_matrix`. What belongs to a tenant carries its mark: a word that occurs nowhere else, so that a leak shows
in any answer. Nothing can change: the writer refuses everything, as `busy`, once the world stands.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from leitstand.access.signin import Rate, SignIns
from leitstand.access.tokens import digest
from leitstand.api.auth import COOKIE
from leitstand.core.acts import (
    ApplicationFiled,
    BudgetGranted,
    CommitmentMade,
    InvitationIssued,
    MaintenancePlanned,
    ProjectAdded,
    RoleGranted,
    TenantSuspended,
    TokenIssued,
    UserAdded,
)
from leitstand.core.facts import (
    BookingMade,
    Resources,
    RulesSet,
    RunEnded,
    RunStarted,
    SubmitJob,
    TenantAdded,
)
from leitstand.core.rules import Rules
from leitstand.runtime.spec import RunSpec
from leitstand.stores.legal import LegalIdentity
from leitstand.stores.people import Person
from tests.unit.archives import archive
from tests.unit.faces_story import TOKEN, Plant, S

TENANTS = ("acme", "bolt", "uni")
SUSPENDED = "uni"
NO_TENANT = "nope"  # what is not there, in the form of what is
YEAR_US = 365 * 86_400 * S
BREATHS = 40  # of the event loop, after which a stream that has no more to say is left

Grants = tuple[tuple[str, str, str], ...]  # role, tenant, project


class Asker(NamedTuple):
    """Somebody who asks. `grants`: of the user; `scopes`, `bound`: of the token; `how`: it is shown."""

    name: str
    grants: Grants = ()
    scopes: tuple[str, ...] = ()
    bound: str = ""
    how: str = "token"  # | cookie | claim | none | wrong
    user: str = ""
    secret: str = ""


class Things(NamedTuple):
    """What a tenant has; of NO_TENANT names in the same form of things that are not there."""

    tenant: str
    lab: str  # a project beside `default`
    jobs: dict[str, str]  # project → id
    users: dict[str, str]  # role → id
    tokens: dict[str, str]
    invitation: str
    application: str
    booking: str = ""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def code_of(tenant: str) -> str:
    """The code of the tenant's invitation."""
    return f"lsi_{tenant:_<43}"


def mark(tenant: str, project: str = "") -> str:
    """The word that stands in what belongs to the tenant, or to one of its projects alone."""
    return f"zq{tenant}{project.replace('-', '')}mark"


class World:
    """See the module."""

    def __init__(self, folder: Path) -> None:
        self.plant = Plant(folder)
        self.plant.writer.cycle(RulesSet(Rules(discipline="fair"), ""))  # which alone knows bookings
        self.faces = self.plant.faces
        self.faces.signins = self.faces.filings = SignIns(*[Rate(10**6, 1)] * 3)
        self._users = 0
        self._tokens = 0
        self.secrets: dict[str, str] = {}  # user → the secret of a token
        self.tenants = {tenant: self._tenant(tenant) for tenant in TENANTS}
        self._commit("public")
        self._maintain()
        for tenant in TENANTS:
            self._commit(f"industry/{tenant}/lab-{tenant}")
        self.application, self.claim = self._apply()
        self.tenants = {
            name: things._replace(application=self.application) for name, things in self.tenants.items()
        }
        self.missing = Things(
            NO_TENANT,
            "lab-nope",
            {"default": "nope-1", "lab-nope": "nope-2"},
            dict.fromkeys(("tenant_admin", "member"), "u999"),
            dict.fromkeys(("tenant_admin", "member"), "k999"),
            "i999",
            "a999",
            "r999",
        )
        self.askers = self._everybody()
        self.plant.writer.cycle(TenantSuspended(SUSPENDED, "terms"))
        self.plant.writer.refuses = "busy"
        self.asked = 0
        real = self.plant.writer.ask

        async def counted(token: str, observation: Any) -> Any:
            self.asked += 1
            return await real(token, observation)

        self.plant.writer.ask = counted  # type: ignore[method-assign]

    # ── what there is ─────────────────────────────────────────────────────────────────────────────────────────────
    def _tenant(self, tenant: str) -> Things:
        cycle, lab = self.plant.writer.cycle, f"lab-{tenant}"
        cycle(TenantAdded(tenant, "industry"), ProjectAdded(tenant, lab))
        cycle(BudgetGranted("", tenant, 3_600 * S, self.plant.writer.now + YEAR_US))
        word = mark(tenant)
        legal = LegalIdentity(f"{word} GmbH", "Weg 1", "10115", "Berlin", "DE", "large")
        self.faces.people.put_legal(tenant, legal)
        users = {role: self.user(word, (role, tenant, "")) for role in ("tenant_admin", "member")}
        jobs = {}
        for project in ("default", lab):
            spec = RunSpec(mark(tenant, project), (mark(tenant, project),))
            kept = self.faces.records.put(tenant, users["member"], spec)
            cycle(SubmitJob(tenant, project, Resources(gpus=1), users["member"], spec=kept))
            jobs[project] = job = self.plant.writer.core.answers[0].made
            self.plant.logs[f"{job}.1", 0] = mark(tenant, project).encode()
            self.faces.secrets.put(tenant, project, mark(tenant, project), "value", users["member"])
        cycle(RunStarted(f"{jobs['default']}.1", self.plant.writer.now))
        cycle(RunEnded(f"{jobs['default']}.1", self.plant.writer.now, "exited", exit_code=0))
        code = digest(code_of(tenant))
        cycle(InvitationIssued("", tenant, "member", code, self.plant.writer.now + S * 3_600))
        invitation = self.plant.writer.core.answers[0].made
        self.faces.people.put_invitation(invitation, f"{word}@example.org")
        upload = self.faces.blobs.upload(tenant, BLOB)
        with upload:
            upload.write(archive())
            upload.commit()
        tokens = {
            role: self.faces.follower.state.people.users[user].tokens[0] for role, user in users.items()
        }
        return Things(tenant, lab, jobs, users, tokens, invitation, "", self._book(tenant))

    def _book(self, tenant: str) -> str:
        """In 90 days, so that nothing of what the cells ask meets it."""
        begin = self.plant.writer.now + 90 * 86_400 * S
        asked = BookingMade("", tenant, "default", Resources(1), begin, begin + 1_200 * S)
        self.plant.writer.cycle(asked)
        assert self.plant.writer.core.answers[0].made, self.plant.writer.core.answers
        return self.plant.writer.core.answers[0].made

    def _commit(self, node: str) -> None:
        until = self.plant.writer.now + YEAR_US
        self.plant.writer.cycle(CommitmentMade("", "shared", node, 1_000, self.plant.writer.now + S, until))
        assert self.plant.writer.core.answers[0].made

    def _maintain(self) -> None:
        """In a year, so that nothing of what the cells ask meets it; until it is cancelled."""
        begin = self.plant.writer.now + YEAR_US
        self.plant.writer.cycle(MaintenancePlanned("", begin, 0, ("node-1",)))
        assert self.plant.writer.core.answers[0].made

    def _apply(self) -> tuple[str, str]:
        claim = "lsa_" + "c" * 43
        agreement = self.faces.follower.state.rules.onboarding.agreement
        self.plant.writer.cycle(ApplicationFiled("", "newcomer", "startup", digest(claim), agreement))
        return self.plant.writer.core.answers[0].made, claim

    def user(self, word: str, *grants: tuple[str, str, str], **token: Any) -> str:
        """A user with roles and a token; its id."""
        self._users += 1
        secret = f"lst_{self._users:043d}"
        user = f"u{self._users}"
        self.plant.writer.cycle(
            UserAdded(""),
            *(RoleGranted(user, *grant) for grant in grants),
            TokenIssued("", user, digest(secret), self.plant.writer.now + YEAR_US // 4, **token),
        )
        assert user in self.faces.follower.state.people.users
        self.faces.people.put_person(user, Person(f"Person {word}", f"{word}@example.org"))
        self.secrets[user] = secret
        return user

    def _everybody(self) -> list[Asker]:
        found = [Asker("the admin token", (("operator", "", ""),), secret=TOKEN, user="admin")]
        found += [self._asker(f"{role} of the platform", ((role, "", ""),)) for role in PLATFORM_ROLES]
        for tenant in TENANTS:
            places = [(role, "") for role in ("tenant_admin", "auditor", "member", "viewer")]
            places += [(role, f"lab-{tenant}") for role in ("member", "viewer")]
            for role, project in places:
                where = f"{tenant}/{project}" if project else tenant
                found.append(self._asker(f"{role} of {where}", ((role, tenant, project),)))
        boss: Grants = (("tenant_admin", "acme", ""),)
        for scope in ("read", "jobs", "admin"):
            found.append(self._asker(f"tenant_admin of acme with scope {scope}", boss, scopes=(scope,)))
        both: Grants = (("tenant_admin", "acme", ""), ("tenant_admin", "bolt", ""))
        found.append(self._asker("tenant_admin of acme and bolt", both))
        found.append(self._asker("tenant_admin of acme and bolt, bound to acme", both, bound="acme"))
        found.append(self._asker("operator bound to acme", (("operator", "", ""),), bound="acme"))
        found.append(self._asker("member of acme in a browser", (("member", "acme", ""),), how="cookie"))
        found.append(self._asker("nobody's member", ()))
        found.append(Asker("an applicant with the claim", how="claim", secret=self.claim))
        found.append(Asker("a stranger", how="none"))
        found.append(Asker("a wrong token", how="wrong", secret="lst_" + "w" * 43))
        return found

    def _asker(self, name: str, grants: Grants, **more: Any) -> Asker:
        kind = "session" if more.get("how") == "cookie" else "api"
        token = {"scopes": more.get("scopes", ()), "tenant": more.get("bound", ""), "kind": kind}
        user = self.user(f"of {name.replace(' ', '-')}", *grants, **token)
        return Asker(name, grants, user=user, secret=self.secrets[user], **more)

    # ── asking ────────────────────────────────────────────────────────────────────────────────────────────────────
    async def ask(self, asker: Asker, method: str, path: str, query: str = "", body: Any = None) -> Answer:
        """One request, without a client between. A stream is left when it has no more to say."""
        sent: list[dict[str, Any]] = []
        raw = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        waiting = [{"type": "http.request", "body": raw, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if waiting:
                return waiting.pop()
            for _ in range(BREATHS):
                await asyncio.sleep(0)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "http_version": "1.1", "method": method, "path": path, "raw_path": path.encode(),
            "root_path": "", "scheme": "http", "query_string": query.encode(), "headers": _headers(asker),
            "client": ("127.0.0.1", 1), "server": ("test", 80), "asgi": {"version": "3.0"},
        }  # fmt: skip
        await self.plant.app(scope, receive, send)  # type: ignore[arg-type]
        start, *parts = sent
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], headers, b"".join(part["body"] for part in parts))


PLATFORM_ROLES = ("operator", "auditor", "reviewer")
BLOB = hashlib.sha256(archive()).hexdigest()


def _headers(asker: Asker) -> Sequence[tuple[bytes, bytes]]:
    if asker.how == "none":
        return [(b"host", b"test")]
    if asker.how == "cookie":
        cookie = f"{COOKIE}={asker.secret}".encode()
        return [(b"host", b"test"), (b"cookie", cookie), (b"sec-fetch-site", b"same-origin")]
    return [(b"host", b"test"), (b"authorization", f"Bearer {asker.secret}".encode())]
