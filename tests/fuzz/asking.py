# SPDX-License-Identifier: Apache-2.0
"""Requests of every kind to the whole faces, by many askers, and what every answer must be.

The strategies are made of the routes themselves: paths, query structs, bodies. Used by tests/unit/test_fuzz_requests.py
(short rounds) and by `python -m tests.fuzz` (atheris).
"""

import asyncio
import contextlib
import functools
import io
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import msgspec

from leitstand.access.oidc import Provider
from leitstand.access.oidc_http import SignInFailed
from leitstand.access.oidc_settings import ProviderSettings
from leitstand.api import app as api
from leitstand.api.auth import COOKIE
from leitstand.api.codes import CODES
from leitstand.api.problems import ProblemDetails
from tests.unit.matrix_cases import CASES
from tests.unit.matrix_world import BREATHS, Asker, World

SECRET: Final = "hf_PlantedPlantedPlantedPlantedPlantedPl"
PART: Final = b"PlantedPlanted"  # no answer tells even so much of it
PROBLEM_BYTES_MAX: Final = 64 * 1024
ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
REQUESTS_MAX: Final = 2000  # of one world; then a fresh one, before everybody has erased everybody
WITHIN_S: Final = 20.0
DOCUMENTED: Final = {(code.status, code.name) for code in CODES}
TO_RETRY: Final = {401: "www-authenticate", 405: "allow", 429: "retry-after"}

Headers = tuple[tuple[bytes, bytes], ...]


class Request(NamedTuple):
    """One request. `path`: percent-encoded; `asker`: its place among the askers of the world."""

    method: str
    path: str
    query: bytes = b""
    headers: Headers = ()
    body: bytes = b""
    asker: int = 0
    pieces: int = 1  # in which the body comes; 0: the client leaves before it has sent it


class Sent(NamedTuple):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Known(NamedTuple):
    """A route, as requests are made for it. `taken`: structs of body and query; `like`: requests that are right."""

    method: str
    path: str
    body: type | None
    query: type | None
    like: tuple[tuple[str, str, Any], ...]  # path, query, body


class Town:
    """A world that changes with what is asked, and is built anew now and then."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._asked = 0
        self._loop = asyncio.new_event_loop()
        self.build()

    def build(self) -> None:
        """A fresh world, in the place of the one before."""
        self.close()
        self._folder = Path(tempfile.mkdtemp(prefix="leitstand-fuzz-"))
        self.world = World(self._folder)
        self.world.plant.writer.refuses = ""
        self.world.faces.provider = away()
        self._asked = 0

    def close(self) -> None:
        if self._folder is not None:
            for store in ("people", "secrets", "records"):
                with contextlib.suppress(Exception):
                    getattr(self.world.faces, store).close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def ask(self, asked: Request) -> Sent:
        """The answer, which keeps what is promised; AssertionError, or whatever the application raised, if not."""
        self._asked += 1
        if self._asked > REQUESTS_MAX:
            self.build()
        asker = self.world.askers[asked.asker % len(self.world.askers)]
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            sent = self._loop.run_until_complete(
                asyncio.wait_for(send(self.world.plant.app, asked, asker), WITHIN_S)
            )
        judge(asked, sent, said.getvalue())
        return sent


class Nowhere:
    """Stands where HTTP to an identity provider stands, which cannot be reached."""

    async def get(self, *_: Any) -> Any:
        raise SignInFailed("provider_away", "nobody answers")

    post = get


def away() -> Provider:
    """An identity provider that is not there; what comes back from it is taken and looked at."""
    provider = Provider(
        ProviderSettings(issuer="https://id.example.org", client_id="x", client_secret=SECRET)
    )
    nowhere: Any = Nowhere()
    provider._http = nowhere
    return provider


async def send(app: Any, asked: Request, asker: Asker) -> Sent:
    """One request without a server between; a stream is left when it has no more to say."""
    messages: list[dict[str, Any]] = []
    coming = _pieces(asked)

    async def receive() -> dict[str, Any]:
        if coming:
            return coming.pop(0)
        for _ in range(BREATHS):
            await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    async def heard(message: dict[str, Any]) -> None:
        messages.append(message)

    scope = {
        "type": "http", "http_version": "1.1", "method": asked.method, "path": unquote(asked.path),
        "raw_path": asked.path.encode(), "root_path": "", "scheme": "http", "query_string": asked.query,
        "headers": [*_shown(asker), *asked.headers], "client": ("127.0.0.1", 1), "server": ("test", 80),
        "asgi": {"version": "3.0"},
    }  # fmt: skip
    await app(scope, receive, heard)
    start, *parts = messages
    assert start["type"] == "http.response.start"
    assert all(part["type"] == "http.response.body" for part in parts), "an answer that begins twice"
    return Sent(start["status"], list(start["headers"]), b"".join(part.get("body", b"") for part in parts))


def _pieces(asked: Request) -> list[dict[str, Any]]:
    if not asked.pieces:
        return [
            {"type": "http.request", "body": asked.body[:10], "more_body": True},
            {"type": "http.disconnect"},
        ]
    size = max(1, -(-len(asked.body) // asked.pieces))
    parts = [asked.body[at : at + size] for at in range(0, len(asked.body), size)] or [b""]
    last = len(parts) - 1
    return [{"type": "http.request", "body": part, "more_body": at < last} for at, part in enumerate(parts)]


def _shown(asker: Asker) -> list[tuple[bytes, bytes]]:
    host = (b"host", b"test")
    if asker.how == "none":
        return [host]
    if asker.how == "cookie":
        return [host, (b"cookie", f"{COOKIE}={asker.secret}".encode()), (b"sec-fetch-site", b"same-origin")]
    return [host, (b"authorization", f"Bearer {asker.secret}".encode())]


# ── what every answer must be ─────────────────────────────────────────────────────────────────────────────────────
def judge(asked: Request, sent: Sent, said: str) -> None:
    """AssertionError unless the answer keeps what is promised; `said`: what came on standard error."""
    where = f"{asked} → {sent.status} {sent.body[:500]!r}"
    assert 200 <= sent.status < 500, f"{where}\n{said}"
    for name, value in sent.headers:
        assert re.fullmatch(rb"[a-zA-Z0-9-]+", name), where
        assert re.fullmatch(rb"[\t\x20-\x7e\x80-\xff]*", value), f"{name!r}: {value!r} in {where}"
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in sent.headers}
    told = b"\n".join([sent.body, *(value for _, value in sent.headers), said.encode(errors="replace")])
    assert PART not in told, f"the planted secret is told: {where}\n{said}"
    assert len(sent.body) <= ANSWER_BYTES_MAX, where
    if asked.method == "HEAD":
        assert not sent.body, where
    elif sent.status >= 400:
        _judge_problem(sent, headers, where)
    elif headers.get("content-type", "").startswith("application/json"):
        json.loads(sent.body)
    if sent.status in TO_RETRY:
        assert headers.get(TO_RETRY[sent.status]), where


def _judge_problem(sent: Sent, headers: dict[str, str], where: str) -> None:
    """Problem details with the documented fields, and no others."""
    assert headers["content-type"] == "application/problem+json", where
    assert len(sent.body) <= PROBLEM_BYTES_MAX, where
    problem = msgspec.json.decode(sent.body, type=ProblemDetails)
    assert set(json.loads(sent.body)) <= set(ProblemDetails.__struct_fields__), where
    assert problem.status == sent.status, where
    assert (problem.status, problem.code) in DOCUMENTED, where
    assert problem.type == f"urn:leitstand:problem:{problem.code}", where
    assert problem.title, where
    assert problem.detail, where
    assert problem.request_id == headers["x-request-id"], where
    assert headers["cache-control"] == "no-store", where


# ── what there is to ask ──────────────────────────────────────────────────────────────────────────────────────────
@functools.cache
def routes(town: "Town") -> tuple[Known, ...]:
    """Every route of the API, with requests that are right in that world."""
    return tuple(_known(town.world))


def _known(world: World) -> Iterator[Known]:
    for path, handler in api.routes():
        for method in sorted(map(str, handler.http_methods)):
            make = CASES.get(f"{method} {re.sub(r'{[^}]*}', '{}', path)}")
            like = [ask for things in world.tenants.values() for ask in (make(things) if make else ())]
            yield Known(
                method,
                re.sub(r"{(\w+):\w+}", r"{\1}", path),
                handler.opt.get("body"),
                handler.opt.get("query"),
                tuple((ask.path, ask.query, ask.body) for ask in like),
            )
