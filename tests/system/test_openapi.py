# SPDX-License-Identifier: Apache-2.0
"""The whole API against its own description (schemathesis): no 5xx, and no status, header, content type or form that
is not described, whoever asks. A real server on loopback, the real core behind it.

LEITSTAND_EXAMPLES=100 makes a long run: so many requests of each kind, per route and asker.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from hypothesis.errors import Unsatisfiable  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.generation import GenerationMode  # noqa: E402
from schemathesis.specs.openapi import checks as conform  # noqa: E402

from leitstand.api.problems import MEDIA_TYPE  # noqa: E402
from leitstand.app.protocol import Protocol  # noqa: E402
from tests.unit.matrix_world import Asker, World  # noqa: E402

pytestmark = pytest.mark.system

EXAMPLES = int(os.environ.get("LEITSTAND_EXAMPLES", "4"))
ASKERS = (
    "operator of the platform",
    "tenant_admin of acme",
    "member of acme",
    "viewer of acme/lab-acme",
    "tenant_admin of bolt",
    "an applicant with the claim",
    "a stranger",
)
CHECKS = (
    not_a_server_error,
    conform.status_code_conformance,
    conform.content_type_conformance,
    conform.response_schema_conformance,
    conform.response_headers_conformance,
)
START_S = 30
# What is there, for every second request; the others name what is generated.
IDS = {
    "job_id": "acme-1",
    "tenant_id": "acme",
    "project": "lab-acme",
    "user_id": "u2",
    "token_id": "k2",
    "invitation_id": "i1",
    "application_id": "a1",
    "check": "identity",
}


@schemathesis.serializer("application/x-tar")  # type: ignore[untyped-decorator]
def archived(context: Any, value: Any) -> bytes:
    """What is generated for a work directory is sent as it is."""
    return value if isinstance(value, bytes) else str(value).encode()


class Served:
    """The world behind a server in a thread of its own, where its stores were opened, too."""

    def __init__(self, folder: Path) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.askers: dict[str, Asker] = {}
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(folder,), daemon=True)
        self._thread.start()
        assert self._ready.wait(START_S), "the server did not start"

    def _serve(self, folder: Path) -> None:
        world = World(folder)
        world.plant.writer.refuses = ""  # everything can happen here
        world.faces.closing.set()  # streams end at once
        self.askers = {asker.name: asker for asker in world.askers}
        config = uvicorn.Config(
            world.plant.app, http=Protocol, ws="none", lifespan="off", log_config=None, access_log=False
        )
        self.server = uvicorn.Server(config)
        self._ready.set()
        asyncio.run(self.server.serve(sockets=[self.listener]))

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(START_S)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = Served(tmp_path_factory.mktemp("openapi"))
    yield found
    found.stop()


@pytest.mark.parametrize("name", ASKERS)
def test_every_answer_is_as_described_whoever_asks(served: Served, name: str) -> None:
    schema = schemathesis.openapi.from_url(f"{served.url}/v1/openapi.json", wait_for_schema=START_S)
    asker = served.askers[name]
    headers = {"Authorization": f"Bearer {asker.secret}"} if asker.secret else {}
    wrong: dict[str, str] = {}
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            def one(case: Any) -> None:
                nonlocal asked
                asked += 1
                if asked % 2:
                    known = {name: IDS[name] for name in case.path_parameters or () if name in IDS}
                    case.path_parameters = (
                        {**case.path_parameters, **known} if known else case.path_parameters
                    )
                answer = case.call(headers=headers, timeout=START_S)
                try:
                    case.validate_response(answer, checks=CHECKS)
                except BaseExceptionGroup as failure:
                    kind = f"{case.method} {case.path} {answer.status_code}"
                    wrong.setdefault(kind, f"{failure.exceptions}\n{answer.content[:500]!r}")

            try:
                _examples(operation, mode)(one)()
            except Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE, "nothing about it can be wrong"
    print(f"\n{name}: {asked} requests, {len(wrong)} wrong")
    assert not wrong, "\n\n".join(f"{kind}: {what}" for kind, what in wrong.items())
    assert asked > 50


def test_what_is_no_http_gets_a_problem_too(served: Served) -> None:
    host, port = served.listener.getsockname()
    with socket.create_connection((host, port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nnonsense\r\n\r\n")
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert MEDIA_TYPE.encode() in answer


def _examples(operation: Any, mode: GenerationMode) -> Any:
    """Runs a test with generated requests, the same ones each time."""
    limits = settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=EXAMPLES < 10,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    return lambda one: limits(given(case=operation.as_strategy(generation_mode=mode))(one))
