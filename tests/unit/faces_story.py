# SPDX-License-Identifier: Apache-2.0
"""The whole faces in one process without sockets, threads of the writer or a clock: the real core behind a link that
answers at once. Used by the tests of the API."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from leitstand.access.policy import Authorizer
from leitstand.access.signin import SignIns
from leitstand.access.tokens import digest
from leitstand.api import app as api
from leitstand.api.auth import AdminToken, Tokens
from leitstand.api.context import Faces, Limits
from leitstand.api.lives import Lives
from leitstand.core.cycle import Core
from leitstand.core.facts import NodeAdded, Observation, RunEnded, RunStarted, SiteAdded, TenantAdded
from leitstand.core.state import State
from leitstand.engines.local.leftovers import Leftovers
from leitstand.journal.memory import MemoryJournal
from leitstand.runtime.follower import Follower
from leitstand.runtime.link import WriterAway
from leitstand.runtime.wire import Settled
from leitstand.stores.blobs import Blobs
from leitstand.stores.commit import GroupCommit
from leitstand.stores.people import People
from leitstand.stores.records import Records
from leitstand.stores.secrets import Secrets
from leitstand.views.database import Database
from leitstand.views.reading import Reading

TOKEN = "a token of the tests"
S = 1_000_000
T = TypeVar("T")


class Writer:
    """Stands where the link stands: decides at once, a second per request."""

    def __init__(self) -> None:
        self.core = Core()
        self.journal = MemoryJournal()
        self.follower: Follower | None = None
        self.connected = True
        self.in_flight = 0
        self.refuses = ""  # the next requests
        self.now = 0

    async def ask(self, token: str, observation: Observation) -> Settled:
        if not self.connected:
            raise WriterAway(unknown=False)
        if self.refuses:
            return Settled(1, 0, refused=self.refuses, retry_after_s=3)
        self.cycle(observation)
        (answer,) = self.core.answers
        return Settled(1, self.journal.head.seq, answer.made, answer.refused, answer.detail)

    def cycle(self, *observations: Observation) -> None:
        self.now += S
        self.journal.append(self.journal.head, self.now, self.core.cycle(self.now, observations))
        if self.follower is not None:
            self.follower.catch_up()


class Plant:
    """Faces, their writer, and a client with the token. `logs`: (run, task) -> bytes."""

    def __init__(self, folder: Path) -> None:
        self.writer = Writer()
        self.writer.cycle(
            TenantAdded("operator", "public"),
            SiteAdded("here", "local", logical=True),
            NodeAdded("node-1", "here", 4, 8000, 16 * 1024, "logical"),
            NodeAdded("node-2", "here", 4, 8000, 16 * 1024, "logical"),
        )
        views = Database(folder / "views.db", self.writer.journal.journal_id, self.writer.journal.head.seq)
        follower = Follower(self.writer.journal, State(), 0, views, folder / "none.sock")
        link: Any = self.writer
        follower.link = link
        follower.catch_up()
        self.writer.follower = follower
        self.logs: dict[tuple[str, int], bytes] = {}
        self.low = False
        self.admin = AdminToken(digest(TOKEN), 0)
        records = Records(folder / "records.db")
        self.faces = Faces(
            follower=follower,
            reading=Reading(views, follower.show),
            records=records,
            commit=GroupCommit(records),
            blobs=Blobs(folder / "blobs", bytes_max=1000),
            tokens=Tokens(lambda: self.admin, lambda: follower.state, Lives(lambda: self.writer.now)),
            authorizer=Authorizer(),
            signins=SignIns(),
            people=People(folder / "people.db"),
            secrets=Secrets(folder / "secrets.db"),
            now=lambda: self.writer.now,
            wall=lambda: self.writer.now,
            lives=Lives(lambda: self.writer.now),
            read_log=self._read_log,
            leftovers=Leftovers(folder / "runs"),
            disk_low=lambda: self.low,
            loopback=True,
            limits=Limits(),
            closing=asyncio.Event(),
        )
        self.app = api.build(self.faces)

    def _read_log(self, run: str, task: int, offset: int, limit: int) -> bytes:
        return self.logs[run, task][offset : offset + limit]

    def run(self, main: Callable[[httpx2.AsyncClient], Awaitable[T]], token: str = TOKEN) -> T:
        """What `main` returns, given a client."""

        async def with_client() -> T:
            transport = httpx2.ASGITransport(self.app)  # type: ignore[arg-type]
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            async with httpx2.AsyncClient(
                transport=transport, base_url="http://test", headers=headers
            ) as client:
                return await main(client)

        return asyncio.run(asyncio.wait_for(with_client(), 30))

    def ask(self, method: str, path: str, token: str = TOKEN, **more: Any) -> httpx2.Response:
        """One request."""
        return self.run(lambda client: client.request(method, path, **more), token)

    def submit(self, key: str = "", **body: Any) -> httpx2.Response:
        """POST /v1/jobs, by default a job for one GPU."""
        asked = {"run": ["true"], "resources": {"gpus": 1}, **body}
        return self.ask("POST", "/v1/jobs", json=asked, headers={"Idempotency-Key": key} if key else {})

    def finish(self, run: str, exit_code: int = 0) -> None:
        """The engine reports start and end of a run, a second apart."""
        self.writer.cycle(RunStarted(run, self.writer.now))
        self.writer.cycle(RunEnded(run, self.writer.now, "exited", exit_code=exit_code))


def problem(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The problem in an answer, after checking its form (RFC 9457)."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert (body["status"], body["code"], body["type"]) == (status, code, f"urn:leitstand:problem:{code}")
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == response.headers["x-request-id"]
    return body


def first(items: Coroutine[Any, Any, T]) -> T:
    """Run one coroutine to its end."""
    return asyncio.run(asyncio.wait_for(items, 30))


def left_by(data: Path, job: str) -> list[Path]:
    """What the first run of a job and one that was set aside leave in a data folder, and its checkpoints."""
    folders = [
        data / "runs" / f"{job}.1",
        data / "runs" / f"{job}.1.stale-1",
        data / "checkpoints" / f"{job}-0123456789ab",
    ]
    for folder in folders:
        (folder / "work-0").mkdir(parents=True)
        (folder / "task-0.log").write_text("somebody's name")
    return folders
