# SPDX-License-Identifier: Apache-2.0
"""What handlers work with, made once by `leitstand.app.faces`: follower, views, stores, tokens, limits."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec
from litestar import Request

from leitstand.access.oidc import Provider
from leitstand.access.policy import Authorizer
from leitstand.access.signin import Rate, SignIns
from leitstand.alerts.store import Store
from leitstand.api.auth import Identity, Tokens
from leitstand.api.identity.devices import Devices
from leitstand.api.identity.names import Names, PersonAnswer
from leitstand.api.lives import Lives
from leitstand.api.problems import Problem, disk_full
from leitstand.api.seat import Seat
from leitstand.core.facts import Observation
from leitstand.core.rules import Rules
from leitstand.core.units import MINUTE_US, SECOND_US
from leitstand.engines import burnin
from leitstand.engines.book import SiteBook
from leitstand.engines.sitefile import SiteFile
from leitstand.engines.slurm import checks
from leitstand.runtime.follower import Follower
from leitstand.runtime.link import TooManyAsked, WriterAway
from leitstand.runtime.wire import Settled
from leitstand.stores.blobs import Blobs
from leitstand.stores.commit import GroupCommit
from leitstand.stores.people import People
from leitstand.stores.records import Records
from leitstand.stores.secrets import Secrets
from leitstand.twin.forecasting.kept import Latest
from leitstand.views.availability import Report
from leitstand.views.reading import Reading

ASKS_MAX: Final = 1024  # requests of one token, and of one tenant, that wait for the writer at once
STREAMS_MAX: Final = 256  # open event streams of one user, whatever tokens it has
STREAMS_IN_ALL: Final = 2048  # half of the connections: the rest is for those who ask
RETRY_AFTER_S: Final = 1
AWAY: Final = "writer-away"
# Anybody can apply for a tenant, and each application stays in the journal for ever.
FILINGS_PER_SOURCE: Final = Rate(5, 10 * MINUTE_US)
FILINGS_IN_ALL: Final = Rate(100, 30 * SECOND_US)

ReadLog = Callable[[str, int, int, int], bytes]  # run, task, offset, limit; as `Engine.read_log`


TestSite = Callable[[SiteFile], list[checks.Check]]


class Leftovers(Protocol):
    """What runs left on the machines, as `leitstand.engines.local.leftovers` tells it. OSError: do it again."""

    def jobs(self) -> set[str]: ...
    def erase_jobs(self, jobs: Container[str]) -> int: ...
    def erase_tenant(self, tenant: str) -> int: ...
    def export(self, tenant: str) -> Iterator[tuple[str, Iterator[bytes]]]: ...


class Now(Protocol):
    """Tells a time in µs."""

    def __call__(self) -> int: ...


class Alerts(Protocol):
    """What was alerted, and an alert that is a test; its id."""

    @property
    def store(self) -> Store: ...

    def test(self) -> str: ...


class Shown(msgspec.Struct, frozen=True):
    """A twin at one moment. `scenario`: what it is called; `speed`: times as fast as the world, as asked for,
    `reached`: of late; `now`: its own time."""

    scenario: str
    speed: float
    reached: float
    now: datetime


Twin = Callable[[], Shown]


class Limits:
    """Counts what is under way. Over a limit: Problem 429."""

    def __init__(self) -> None:
        self._under_way: Counter[str] = Counter()

    @contextlib.contextmanager
    def hold(self, *claims: tuple[str, int]) -> Iterator[None]:
        """Hold one of each claim (what, most)."""
        for what, most in claims:
            if self._under_way[what] >= most:
                raise Problem(
                    429,
                    "busy",
                    f"{most} requests of {what} are under way, which is the limit",
                    hint="wait for answers, then go on",
                    retry_after_s=RETRY_AFTER_S,
                )
        for what, _ in claims:
            self._under_way[what] += 1
        try:
            yield
        finally:
            for what, _ in claims:
                self._under_way[what] -= 1
                if not self._under_way[what]:
                    del self._under_way[what]


CPUS_MILLI_DEFAULT: Final = 1000


class Faces(msgspec.Struct):
    """`disk_low`: whether free disk is below the reserve; `loopback`: nobody but this machine can connect;
    `closing`: set when streams have to end; `filings`: applications of late, which are limited like sign-ins; `codes`:
    short codes that people who are signed in tried; `devices`: command lines that wait to be let in; `provider`: of
    identities, None without one; `forecasts`: the last one; `now`: the journal's time, `wall`: the world's, which is
    another one in a twin; `lives`: of what opens doors; `twin`: what a twin says of itself, None in a real one;
    `burn_in`: the script that a repaired node has to pass; OSError, ValueError. `alerts`: None in a twin;
    `availability`: over [from, to) µs; `seat`: among control planes that take turns, None where there is one alone."""

    follower: Follower
    reading: Reading
    records: Records
    commit: GroupCommit
    blobs: Blobs
    tokens: Tokens
    authorizer: Authorizer
    signins: SignIns
    people: People
    secrets: Secrets
    now: Now
    wall: Now
    lives: Lives
    read_log: ReadLog
    leftovers: Leftovers
    disk_low: Callable[[], bool]
    loopback: bool
    limits: Limits
    closing: asyncio.Event
    names: Names = msgspec.field(default_factory=Names)
    filings: SignIns = msgspec.field(
        default_factory=lambda: SignIns(FILINGS_PER_SOURCE, in_all=FILINGS_IN_ALL)
    )
    codes: SignIns = msgspec.field(default_factory=SignIns)
    devices: Devices = msgspec.field(default_factory=Devices)
    provider: Provider | None = None
    forecasts: Latest = msgspec.field(default_factory=Latest)
    sites: SiteBook = msgspec.field(default_factory=lambda: SiteBook(None))
    test_site: TestSite = lambda file: checks.run(file, "")
    twin: Twin | None = None
    burn_in: Callable[[], str] = lambda: burnin.SCRIPT
    alerts: Alerts | None = None
    availability: Callable[[int, int], Report] = lambda from_us, to_us: Report({}, {})
    seat: Seat | None = None

    @property
    def leads(self) -> bool:
        """Whether what all machines of this control plane share is ours to look after."""
        return self.seat is None or self.follower.link.connected

    @property
    def is_led_by_another(self) -> bool:
        """Whether another control plane was seen to lead."""
        return self.seat is not None and not self.follower.link.connected and self.seat.is_led_by_another

    @property
    def stands_by(self) -> bool:
        """Whether another control plane is to be asked for anything that changes something."""
        return self.seat is not None and self.seat.stands_by(self.follower.link.connected)

    def begin_life(self, digest: str, life_us: int) -> int:
        """When what opens a door, and is new, ends: what the journal is told of it."""
        return self.lives.begin(digest, life_us, self.follower.state.rules)

    def life_rules(self) -> Rules:
        """The rules that say how long it may live."""
        return self.lives.most_us(self.follower.state.rules)

    def persons(self, users: Iterable[str]) -> dict[str, PersonAnswer]:
        """Each of `users` with its name, for answers."""
        return self.names.of(self.people, self.follower.state.access_version, users)

    def cpus_milli_default(self) -> int:
        """What a job that names neither GPUs nor CPUs holds per node: a core, or the largest node's if that is less."""
        nodes = self.follower.state.nodes.values()
        return min(CPUS_MILLI_DEFAULT, max((node.cpus_milli for node in nodes if node.in_service), default=0))

    def check_writer(self) -> None:
        """Problem 503 if there is nobody to ask, before anything is written for the request."""
        if not self.follower.link.connected:
            raise self._nobody(WriterAway(unknown=False))

    def _nobody(self, away: WriterAway) -> Problem:
        """The problem where the writer cannot be asked."""
        if self.stands_by and not away.unknown:
            assert self.seat is not None
            return self.seat.refusal()
        return _away(away)

    async def ask(self, who: Identity, tenant: str, observation: Observation) -> Settled:
        """The writer's answer, when its facts are durable and folded here; a Problem for every refusal."""
        claims = [(f"token {who.token!r}", ASKS_MAX)]
        if tenant:
            claims.append((f"tenant {tenant!r}", ASKS_MAX))
        with self.limits.hold(*claims):
            try:
                settled = await self.follower.ask(who.token, observation)
            except WriterAway as away:
                raise self._nobody(away) from None
            except TooManyAsked as error:
                raise Problem(429, "busy", str(error), retry_after_s=RETRY_AFTER_S) from None
        if settled.refused:
            raise refusal(settled)
        return settled


def faces_of(request: Request[Any, Any, Any]) -> Faces:
    """The faces that answer this request."""
    faces: Faces = request.app.state.faces
    return faces


def refusal(settled: Settled) -> Problem:
    """The problem behind a refusal of the writer."""
    detail = settled.detail
    match settled.refused:
        case "busy":
            return Problem(
                429, "busy", f"over a limit of the writer{f': {detail}' if detail else ''}",
                hint="wait for jobs to end, then go on", retry_after_s=max(settled.retry_after_s, 1),
            )  # fmt: skip
        case "disk_full":
            return disk_full()
        case "request_reused":
            return Problem(
                409, "request-reused", f"the Idempotency-Key was used with another body, for {detail}",
                hint="use a fresh key",
            )  # fmt: skip
        case "unknown_job":
            return Problem(404, "unknown-job", f"there is no live job {detail}")
        case "unknown_tenant":
            return Problem(
                422,
                "unknown-tenant",
                f"there is no tenant {detail!r}",
                hint="GET /v1/tenants lists the tenants",
            )
        case (
            "unknown_project"
            | "unknown_user"
            | "unknown_token"
            | "unknown_invitation"
            | "unknown_application"
            | "unknown_commitment"
            | "unknown_maintenance"
            | "unknown_booking"
            | "unknown_node"
        ):
            what = settled.refused.removeprefix("unknown_") + (f" {detail!r}" if detail else "")
            return Problem(404, settled.refused.replace("_", "-"), f"there is no {what}")
        case "conflict":
            return Problem(409, "conflict", detail)
        case "exists":
            return Problem(409, "exists", f"{detail!r} exists already")
        case _:
            return Problem(422, settled.refused.replace("_", "-"), detail or "the request is not valid")


def _away(away: WriterAway) -> Problem:
    detail = (
        "the writer is away, and it is not known whether it took the request"
        if away.unknown
        else "the writer is away"
    )
    hint = "look for the effect before you try again" if away.unknown else "it restarts by itself; try again"
    return Problem(503, AWAY, detail, hint=hint, retry_after_s=RETRY_AFTER_S)
