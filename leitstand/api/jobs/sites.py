# SPDX-License-Identifier: Apache-2.0
"""Sites: which there are and how they are; those that run a scheduler of their own are added, tested and removed."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec
from litestar import Request, delete, get, post, put
from litestar.params import FromPath

from leitstand.api import decode
from leitstand.api.amounts import moment
from leitstand.api.context import Faces, faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.jobs.nodes import nodes_of, removed_sites
from leitstand.api.permission import PLATFORM, permit, still
from leitstand.api.problems import Fault, Problem
from leitstand.core.state import State
from leitstand.engines import sitefile
from leitstand.engines.book import Clash, Pages
from leitstand.engines.health import Health
from leitstand.engines.sitefile import SLURM, SiteFile
from leitstand.engines.slurm import checks
from leitstand.engines.slurm.site import Quota

TESTS_MAX: Final = 4  # at once: each asks a cluster for up to a minute
FAIR: Final = "fair"  # the discipline that knows several sites
NEW: Final = "not asked yet"
HIDDEN: Final = "not well; who runs the cloud sees why"

_log = logging.getLogger("leitstand.sites")


# ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────────
class SiteHealth(msgspec.Struct, frozen=True):
    """How a site is, as its engine sees it. `error` '': well; `since_at`: since when it is so; `asked_at`: when it last
    answered; `version`: of its Slurm; `nodes`: that it lists, `in_service` of them take work, with `gpus`."""

    error: str
    since_at: datetime | None
    asked_at: datetime | None
    version: str
    nodes: int
    in_service: int
    gpus: int


class SiteAnswer(msgspec.Struct, frozen=True):
    """A site. `colocate`: tasks of one job may share a node. `mode` directed: its nodes are ours to place on;
    delegated: its own queue decides, and `nodes` are slots of a quota; '' for this machine. `levels`: of its topology,
    between it and its nodes. `status`: ok, opening (its engine has not asked it yet), unwell (`health.error` says why)
    or leaving (removed; what runs there runs on). `health` null: nobody has to ask, as of this machine."""

    id: str
    engine: str
    jurisdiction: str
    logical: bool
    colocate: bool
    nodes: int
    gpus: int
    gpus_free: int
    mode: str
    operator: str
    levels: list[str]
    status: str
    health: SiteHealth | None


class Sites(msgspec.Struct, frozen=True):
    items: list[SiteAnswer]


class SlurmAnswer(msgspec.Struct, frozen=True):
    """How a Slurm cluster is reached; paths are those of the control plane's machine. `token_file` null: it needs no
    token."""

    conf: str
    rest: str
    folder: str
    partition: str
    parts: list[str]
    token_file: str | None
    account: str
    user: str
    users: dict[str, str]


class Expected(msgspec.Struct, frozen=True):
    """What the site is to have at least; 0: nothing is expected."""

    nodes: int
    gpus: int


class QuotaAnswer(msgspec.Struct, frozen=True):
    """How much of a delegated site is ours at once: GPUs in whole nodes, or nodes; 0, 0 of a directed one."""

    gpus: int
    nodes: int


class SiteDescription(msgspec.Struct, frozen=True):
    """A site as it was added."""

    name: str
    engine: str
    mode: str
    slurm: SlurmAnswer
    jurisdiction: str
    operator: str
    expect: Expected
    quota: QuotaAnswer


class SiteDetail(msgspec.Struct, frozen=True):
    """A site, and how it was added: null for this machine. `runs`: how many live there."""

    site: SiteAnswer
    description: SiteDescription | None
    runs: int


class SiteCheck(msgspec.Struct, frozen=True):
    """One look at a site. `outcome`: ok, warning (it works, not well), failed, or skipped because an earlier one has to
    be well first; `said`: what was found."""

    name: str
    outcome: str
    said: str


class SiteTest(msgspec.Struct, frozen=True):
    """`well`: no look failed."""

    well: bool
    checks: list[SiteCheck]


# ── requests ──────────────────────────────────────────────────────────────────────────────────────────────────────────
class SlurmRequest(Input, frozen=True):
    """How a Slurm cluster is reached. `conf`: its slurm.conf; `rest`: where slurmrestd listens, a URL or `unix:/path`;
    `folder`: on a file system that control plane and nodes share; `partition`: ours; `parts`: smaller partitions of the
    same nodes, or patterns of such: a run goes to the smallest that has its nodes; `token_file`: the JWT for
    slurmrestd; `account`: what runs are charged to; `user`: whose token it is; `users`: as which user of the cluster
    runs of a tenant execute. All paths are those of the control plane's machine."""

    conf: str
    rest: str
    folder: str
    partition: str
    parts: list[str] = []
    token_file: str | None = None
    account: str = ""
    user: str = "root"
    users: dict[str, str] = {}

    checks: ClassVar[Mapping[str, Check]] = sitefile.SLURM_CHECKS

    def across(self) -> Iterable[tuple[str, str]]:
        if wrong := sitefile.token_missing(self.rest, self.token_file):
            yield "token_file", wrong


class ExpectRequest(Input, frozen=True):
    """What the site is to have at least: less is named. 0: nothing is expected."""

    nodes: int = 0
    gpus: int = 0

    checks: ClassVar[Mapping[str, Check]] = sitefile.EXPECT_CHECKS


class QuotaRequest(Input, frozen=True):
    """How much of a delegated site is ours at once: either GPUs, in whole nodes, or nodes."""

    gpus: int = 0
    nodes: int = 0

    checks: ClassVar[Mapping[str, Check]] = sitefile.QUOTA_CHECKS


class SiteRequest(Input, frozen=True):
    """A site. `mode` directed: its nodes are ours to place on; delegated: it has a queue and users of its own, and
    `quota` is what is ours there at once. `jurisdiction`: whose law it is under, a word that jobs may ask for;
    `operator`: who runs it."""

    name: str
    engine: str
    mode: str
    slurm: SlurmRequest
    jurisdiction: str = ""
    operator: str = ""
    expect: ExpectRequest = ExpectRequest()
    quota: QuotaRequest = QuotaRequest()

    checks: ClassVar[Mapping[str, Check]] = sitefile.CHECKS

    def across(self) -> Iterable[tuple[str, str]]:
        if wrong := sitefile.quota_wrong(self.mode, Quota(gpus=self.quota.gpus, nodes=self.quota.nodes)):
            yield "quota", wrong


# ── routes ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@get("/sites", opt={"action": "site:list"}, summary="List sites")
async def list_sites(request: Request[Any, Any, Any]) -> Sites:
    """All sites with their capacity in service. Why one is not well is told to those who may see sites whole."""
    who = permit(request, PLATFORM)
    faces = faces_of(request)
    shown = _Shown(faces, whole=still(faces, who, "site:read", PLATFORM))
    return Sites([shown.answer(name) for name in shown.names()])


@get("/sites/{site_id:str}", opt={"action": "site:read"}, summary="See a site")
async def read_site(request: Request[Any, Any, Any], site_id: FromPath[str]) -> SiteDetail:
    """The site, how it is, and how it was added."""
    permit(request, PLATFORM)
    return _detail(faces_of(request), site_id)


@put("/sites/{site_id:str}", opt={"action": "site:add", "body": SiteRequest}, summary="Add or change a site")
async def put_site(request: Request[Any, Any, Any], site_id: FromPath[str]) -> SiteDetail:
    """From now on the site is served; a site that is there is changed, and its runs go on. Nothing is asked of it here:
    `POST /v1/sites/test` does, and `health` tells how it is later."""
    who = permit(request, PLATFORM)
    faces = faces_of(request)
    file = _file(decode.body(await request.body(), SiteRequest))
    if file.name != site_id:
        fault = Fault("/name", f"is {file.name!r}, and the path says {site_id[:70]!r}")
        raise Problem(400, "invalid-request", f"{fault.where} {fault.what}", errors=(fault,))
    _refuse(faces, file)
    try:
        new = await asyncio.to_thread(faces.sites.put, file)
    except Clash as clash:
        raise Problem(409, "conflict", str(clash)) from None
    _log.info("site %s was %s by %s", file.name, "added" if new else "changed", who.subject)
    return _detail(faces, file.name)


@delete("/sites/{site_id:str}", status_code=204, opt={"action": "site:remove"}, summary="Remove a site")
async def remove_site(request: Request[Any, Any, Any], site_id: FromPath[str]) -> None:
    """It takes nothing new. Refused while runs live there."""
    who = permit(request, PLATFORM)
    faces = faces_of(request)
    pages = faces.sites.read()
    if site_id not in pages.sites and site_id not in pages.wrong:
        if site_id in faces.follower.state.sites:
            raise Problem(409, "conflict", f"site {site_id[:70]} was not added, so it cannot be removed")
        raise _unknown(site_id)
    runs = _runs_at(faces.follower.state, site_id)
    if runs:
        raise Problem(
            409,
            "conflict",
            f"{len(runs)} run{'s live' if len(runs) > 1 else ' lives'} at site {site_id} (first: {runs[0]})",
            hint="wait for their end or cancel their jobs; until then `leitstand maintenance plan` keeps others away",
        )
    await asyncio.to_thread(faces.sites.remove, site_id)
    _log.info("site %s was removed by %s", site_id, who.subject)


@post("/sites/test", status_code=200, opt={"action": "site:test", "body": SiteRequest}, summary="Test a site")
async def test_site(request: Request[Any, Any, Any]) -> SiteTest:
    """Whether such a site can be used, look by look; it is not added. Takes up to a minute where nobody answers."""
    who = permit(request, PLATFORM)
    faces = faces_of(request)
    file = _file(decode.body(await request.body(), SiteRequest))
    _refuse(faces, file)
    with faces.limits.hold(("site tests", TESTS_MAX), (f"site tests of token {who.token!r}", TESTS_MAX)):
        found = await asyncio.to_thread(faces.test_site, file)
    return SiteTest(checks.well(found), [SiteCheck(one.name, one.outcome, one.said) for one in found])


# ── below them ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _file(asked: SiteRequest) -> SiteFile:
    return sitefile.checked(msgspec.to_builtins(asked))


def _refuse(faces: Faces, file: SiteFile) -> None:
    """What no test can make good."""
    if not faces.sites.writable:
        raise Problem(
            409, "conflict", "this is a twin: its sites are those of its scenario, none can be added"
        )
    state = faces.follower.state
    if state.rules.discipline != FAIR:
        raise Problem(
            409,
            "conflict",
            f"the discipline is {state.rules.discipline}, under which all jobs go to one pool of this machine",
            hint=f"start the control plane with `leitstand up --discipline {FAIR}`; it stays so",
        )
    there = state.sites.get(file.name)
    if there is not None and there.engine != file.engine:
        raise Problem(
            409, "exists", f"site {file.name} is there with the engine {there.engine}; choose another name"
        )


def _detail(faces: Faces, name: str) -> SiteDetail:
    shown = _Shown(faces, whole=True)
    if name not in shown.names():
        raise _unknown(name)
    file = shown.pages.sites.get(name)
    described = msgspec.convert(sitefile.described(file), SiteDescription) if file is not None else None
    return SiteDetail(shown.answer(name), described, len(_runs_at(faces.follower.state, name)))


def _unknown(name: str) -> Problem:
    return Problem(404, "unknown-site", f"there is no site {name[:80]!r}", hint="GET /v1/sites lists them")


def _runs_at(state: State, site: str) -> list[str]:
    return [run.id for run in state.runs.values() if state.nodes[run.tasks[0].node].site == site]


class _Shown:
    """The sites of the journal and those of the book, as they are now. `whole`: also what only operators may see."""

    def __init__(self, faces: Faces, *, whole: bool) -> None:
        self._state = faces.follower.state
        self._whole = whole
        self._writable = faces.sites.writable
        self._gone = removed_sites(faces)
        self._health = faces.sites.health()
        self.pages: Pages = faces.sites.read()
        self._nodes = [node for node in nodes_of(self._state) if node.in_service]

    def names(self) -> list[str]:
        """Those of the journal first. One that was removed is there as long as anything of it is in use."""
        added = [*self.pages.sites, *self.pages.wrong]
        found = [name for name in self._state.sites if name not in self._gone]
        return found + sorted(name for name in added if name not in self._state.sites)

    def answer(self, name: str) -> SiteAnswer:
        """One of `names`."""
        site, file = self._state.sites.get(name), self.pages.sites.get(name)
        own = [node for node in self._nodes if node.site == name]
        status, health = self._how(name, file)
        return SiteAnswer(
            name,
            site.engine if site is not None else SLURM,
            site.jurisdiction if site is not None else file.jurisdiction if file is not None else "",
            site is not None and site.logical,
            site is not None and site.colocate,
            len(own),
            sum(node.gpus for node in own),
            sum(node.gpus_free for node in own),
            file.mode if file is not None else "",
            file.operator if file is not None else "",
            list(site.levels) if site is not None else [],
            status,
            health,
        )

    def _how(self, name: str, file: SiteFile | None) -> tuple[str, SiteHealth | None]:
        """Its status and its health."""
        if name in self.pages.wrong:
            return "unwell", self._told(self._health.get(name, Health("", 0, 0)), self.pages.wrong[name])
        if file is None:
            added = self._writable and self._state.sites[name].engine == SLURM
            return ("leaving", None) if added else ("ok", None)
        health = self._health.get(name)
        if health is None or health.error == NEW or health.stamp != self.pages.stamps[name]:
            return "opening", self._told(health or Health(NEW, 0, 0), NEW)
        error = health.error or _short_of(file, health)
        return ("unwell" if error else "ok"), self._told(health, error)

    def _told(self, health: Health, error: str) -> SiteHealth:
        return SiteHealth(
            error if self._whole or error in ("", NEW) else HIDDEN,
            moment(health.since_us) if health.since_us else None,
            moment(health.asked_us) if health.asked_us else None,
            health.version,
            health.nodes,
            health.in_service,
            health.gpus,
        )


def _short_of(file: SiteFile, health: Health) -> str:
    """What a site that is well has less than it was said to have."""
    expect = file.expect
    if health.in_service >= expect.nodes and health.gpus >= expect.gpus:
        return ""
    return (
        f"{health.in_service} nodes with {health.gpus} GPUs are in service, less than the {expect.nodes} nodes with "
        f"{expect.gpus} GPUs that are expected"
    )
