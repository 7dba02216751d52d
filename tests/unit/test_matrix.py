# SPDX-License-Identifier: Apache-2.0
"""The matrix: everybody × every route × the things of every tenant. No tenant can see or touch what is another's.

Cells come from the routes themselves; a route or an action without its line here fails by name. What is expected is
said in the plain table MAY, without the policies. For each cell: who may gets an answer, who may see and not do gets
403, everybody else 404, byte for byte as for a thing that is not there. No cell asks the writer unless it may.

One thing can be found out by anybody: which ids of tenants are taken, by applying for one; how often one can try is
limited (`context`).
"""

import asyncio
import json
import re
from collections import Counter
from typing import NamedTuple

import pytest

from leitstand.access.actions import ACTIONS
from leitstand.api import app as api
from tests.unit.matrix_cases import CASES, Ask, Target
from tests.unit.matrix_world import Answer, Asker, Things, World, mark

# Who may do what, as letters. Of the platform: O operator, P auditor, R reviewer. Of the tenant: A administrator,
# U auditor, M member, V viewer; M and V also of a single project, for what lies in it, and I for any of these roles.
# S: everybody signed in; X: oneself; C: who holds the claim; N: everybody, strangers too.
MAY = {
    "job:submit": "O A M",
    "job:plan": "O A M",
    "job:list": "O P A U M V",
    "job:read": "O P A U M V",
    "job:cancel": "O A M",
    "job:hold": "O A M",
    "job:release": "O A M",
    "job:logs": "O A M V",
    "event:watch": "O P A U M V",
    "blob:write": "O A M",
    "secret:list": "O A M",
    "secret:set": "O A M",
    "secret:delete": "O A",
    "node:list": "O P S",
    "availability:read": "O P I",
    "alert:list": "O P",
    "alert:test": "O",
    "node:report": "O",
    "node:return": "O",
    "site:list": "O P S",
    "site:read": "O P",
    "site:add": "O",
    "site:test": "O",
    "site:remove": "O",
    "maintenance:list": "O P S",
    "maintenance:plan": "O",
    "maintenance:cancel": "O",
    "booking:list": "O P A U M V",
    "booking:book": "O A",
    "booking:cancel": "O A",
    "usage:read": "O P A U M V",
    "tenant:list": "O P S",
    "tenant:read": "O P I",
    "tenant:add": "O",
    "tenant:suspend": "O",
    "tenant:resume": "O",
    "tenant:exit": "O A",
    "tenant:extend-exit": "O A",
    "tenant:export": "O A",
    "tenant:erase": "O",
    "legal:read": "O P A U",
    "legal:write": "O A",
    "project:list": "O P A U M V",
    "project:add": "O A",
    "project:close": "O A",
    "member:list": "O P A U M V",
    "role:grant": "O A",
    "role:revoke": "O A",
    "user:add": "O",
    "user:list": "O P A U",
    "user:read": "O P A U X",
    "user:erase": "O A",
    "invitation:issue": "O A",
    "invitation:list": "O P A U",
    "invitation:withdraw": "O A",
    "invitation:accept": "N",
    "token:issue": "O X",
    "token:list": "O P A U X",
    "token:revoke": "O A X",
    "application:file": "N",
    "application:list": "O P R C",
    "application:read": "O P R C",
    "application:check": "O R",
    "application:approve": "O",
    "application:refuse": "O",
    "application:withdraw": "O C",
    "application:claim": "C",
    "budget:list": "O P I",
    "budget:grant": "O",
    "entitlement:read": "O P I",
    "entitlement:change": "O",
    "commitment:list": "O P I",
    "commitment:make": "O",
    "commitment:end": "O",
    "audit:read": "O P A U",
    "access:explain": "O P S",
    "self:read": "O P S",
}
SEES = {
    "tenant": "tenant:read",
    "inside": "tenant:read",
    "project": "project:list",
    "job": "job:read",
    "user": "user:read",
    "application": "application:read",
}
# A token with scopes is held to them; these two may always be asked.
ALWAYS = ("self:read", "access:explain")
LETTERS = {
    "operator": "O",
    "reviewer": "R",
    "tenant_admin": "A",
    "auditor": "U",
    "member": "M",
    "viewer": "V",
}
# Everybody gets an answer, the same one about what is another's and what is not there.
ALIKE = ("GET /v1/can-i",)
# Refused as if the user were not there, also to who sees the user.
HIDING = ("token:issue",)


# ── what is expected ──────────────────────────────────────────────────────────────────────────────────────────────
def letters(asker: Asker, target: Target) -> set[str]:
    """What the asker is, to the target."""
    found = set() if asker.bound else {"N"}
    if asker.how in ("none", "wrong"):
        return found
    if asker.how == "claim":
        return found | {"C"}
    if not asker.bound or target.kind == "platform":
        found |= {"S"}
    if asker.user and asker.user == target.person and not asker.bound:
        found.add("X")
    if asker.user and target.kind == "oneself":
        found.add("X")
    for role, tenant, project in asker.grants:
        if asker.bound and target.tenant != asker.bound:
            continue
        if not tenant:
            found.add("P" if role == "auditor" else LETTERS[role])
        elif tenant == target.tenant:
            found.add("I")
            whole = not project
            if (
                whole
                or target.kind == "inside"
                or (target.kind in ("project", "job") and project == target.project)
            ):
                found.add(LETTERS[role])
    return found


def may(asker: Asker, action: str, target: Target, *, scoped: bool = True) -> bool:
    allowed = bool(set(MAY[action].split()) & letters(asker, target))
    return allowed and (not scoped or action in ALWAYS or in_scope(asker, action))


def in_scope(asker: Asker, action: str) -> bool:
    return not asker.scopes or ACTIONS[action].group in asker.scopes


def expected(asker: Asker, action: str, target: Target) -> int:
    """200 for any answer that is not a refusal of access, else the status of the refusal."""
    if asker.how == "wrong":
        return 401
    if action == "open" or may(asker, action, target):
        return 200
    if asker.how == "none" or (target.kind == "oneself" and not asker.user):
        return 401
    if target.kind in ("platform", "oneself") or may(asker, SEES[target.kind], target, scoped=False):
        return 403
    return 404


LISTINGS = ("job:list", "event:watch", "usage:read")  # of places: everybody gets a listing of what is theirs


def listed(asker: Asker, action: str, world: World) -> set[str]:
    """The jobs that a listing shows."""
    return {
        job
        for things in world.tenants.values()
        for project, job in things.jobs.items()
        if may(asker, action, Target("project", things.tenant, project))
    }


# ── the cells ─────────────────────────────────────────────────────────────────────────────────────────────────────
def keyed_routes() -> dict[str, str]:
    """`METHOD path` → action, of every route that has one."""
    return {
        f"{method} {re.sub(r'{[^}]*}', '{}', path)}": handler.opt["action"]
        for path, handler in api.routes()
        for method in sorted(map(str, handler.http_methods))
        if path not in api.OPEN_PATHS
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("matrix"))


def test_every_route_and_every_action_has_its_line_here() -> None:
    routes = keyed_routes()
    assert not set(routes) - set(CASES), "routes without a case: nobody has said who may use them"
    assert set(MAY) == set(ACTIONS), "actions without a line, or lines of no action"


def test_nobody_sees_or_touches_what_is_anothers(world: World) -> None:
    wrong: list[str] = []
    cells: Counter[str] = Counter()

    async def main() -> None:
        for route, action in keyed_routes().items():
            if route not in CASES:
                continue  # the other test names it
            for asker in world.askers:
                for things in world.tenants.values():
                    twins = CASES[route](world.missing)
                    for ask in CASES[route](things):
                        cell = Cell(world, route, action, asker, things, ask, next(twins))
                        cells[await cell.verdict(wrong)] += 1

    asyncio.run(main())
    total = sum(cells.values())
    print(f"\n{total} cells: {dict(cells)}; {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong[:50])
    assert total > 30 * len(world.askers)
    assert min(cells["allowed"], cells["403"], cells["404"], cells["401"]) > 100


class Cell(NamedTuple):
    """One asker, one route, one thing, and its twin that is not there."""

    world: World
    route: str
    action: str
    asker: Asker
    things: Things
    ask: Ask
    twin: Ask

    async def verdict(self, wrong: list[str]) -> str:
        """Ask, and add to `wrong` what should not be; what was expected."""
        asked_before = self.world.asked
        answer = await self._ask(self.ask)
        status = expected(self.asker, self.action, self.ask.target)
        if self.action in LISTINGS and self.asker.how not in ("none", "wrong"):
            status = 200 if in_scope(self.asker, self.action) else 403
            waits = self.route == "GET /v1/forecast"  # of which there is nothing here: test_api_forecast
            if (
                status == 200
                and not waits
                and self._listed(answer) != listed(self.asker, self.action, self.world)
            ):
                wrong.append(f"{self._name()} lists {sorted(self._listed(answer))}")
        if self.action in ("application:list", "booking:list") and self.asker.how not in ("none", "wrong"):
            status = 200 if in_scope(self.asker, self.action) else 403
        got = answer.status if answer.status in (401, 403, 404) or answer.status >= 500 else 200
        if status != 200 and self.world.asked != asked_before:
            wrong.append(f"{self._name()} asked the writer")
        leaked = self._leaks(answer)
        if leaked:
            wrong.append(f"{self._name()} leaks {leaked}: {answer.body[:300]!r}")
        blind = status == 404 or (self.route in ALIKE and self._sees_no_job())
        if self.route in ALIKE and blind and got == 404:
            status = got
        if status == 404 and got == 403 and not in_scope(self.asker, self.action):
            status = got  # whatever it is about
        if status == 403 and got == 404 and self.action in HIDING:
            status = got
        if got != status:
            wrong.append(f"{self._name()}: {answer.status}, expected {status}: {answer.body[:200]!r}")
        if blind and not await self._like_its_twin(answer):
            wrong.append(f"{self._name()} tells apart what is not there and what is another's")
        return "allowed" if status == 200 else str(status)

    def _sees_no_job(self) -> bool:
        job = self.ask.target._replace(kind="job")
        return not may(self.asker, "job:read", job, scoped=False)

    async def _ask(self, ask: Ask) -> Answer:
        return await self.world.ask(self.asker, self.route.split()[0], ask.path, ask.query, ask.body)

    def _name(self) -> str:
        return f"{self.asker.name}: {self.route.split()[0]} {self.ask.path}?{self.ask.query} ({self.action})"

    def _listed(self, answer: Answer) -> set[str]:
        text = answer.body.decode()
        key = "job" if self.action == "usage:read" else "id"
        if self.action != "event:watch":
            return {item[key] for item in json.loads(text)["items"]}
        return {json.loads(line[6:])["id"] for line in text.splitlines() if line.startswith("data: ")}

    def _leaks(self, answer: Answer) -> list[str]:
        """Words in the answer of what the asker does not see and has not named."""
        text = answer.body.decode("latin-1") + json.dumps(answer.headers)
        named = f"{self.ask.path} {self.ask.query} {self.ask.body}"
        return [
            word
            for word in hidden_words(self.world, self.asker)
            if word in text and re.search(rf"(?<![\w-]){word}(?![\w-])", text) and word not in named
        ]

    async def _like_its_twin(self, answer: Answer) -> bool:
        twin = await self._ask(self.twin)
        return normal(answer, self.things, self.world) == normal(twin, self.world.missing, self.world)


def hidden_words(world: World, asker: Asker) -> list[str]:
    """What stands only in things that the asker does not see."""
    known = _HIDDEN.get((id(world), asker.name))
    if known is None:
        known = []
        for things in world.tenants.values():
            if not may(asker, "tenant:read", Target("tenant", things.tenant), scoped=False):
                known += [mark(things.tenant), things.tenant, f"{mark(things.tenant)}@example.org"]
            for project, job in things.jobs.items():
                if not may(asker, "job:read", Target("job", things.tenant, project), scoped=False):
                    known += [mark(things.tenant, project), job, f"{job}.1"]
                    known += [project] if project != "default" else []
        _HIDDEN[id(world), asker.name] = known
    return known


_HIDDEN: dict[tuple[int, str], list[str]] = {}


def normal(answer: Answer, things: Things, world: World) -> tuple[int, dict[str, str], str]:
    """The answer without the names of what was asked for and what is different each time."""
    text = answer.body.decode()
    ids = [things.tenant, things.lab, things.invitation, things.application, things.booking]
    ids += [*things.jobs.values(), *things.users.values(), *things.tokens.values()]
    for word in sorted(filter(None, ids), key=len, reverse=True):
        text = re.sub(rf"(?<![\w-]){re.escape(word)}(?![\w-])", "THING", text)
    text = re.sub(r'"request_id":"\w+"', "", text)
    headers = {name: value for name, value in answer.headers.items()
               if name not in ("x-request-id", "content-length")}  # fmt: skip
    return answer.status, headers, text
