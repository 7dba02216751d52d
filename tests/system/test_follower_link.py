# SPDX-License-Identifier: Apache-2.0
"""The link to the inbox over a real socket: answers find their requests, a broken connection loses nothing that may be
said twice and hides nothing of the rest.

The other side is a server in the same event loop that speaks the wire's messages and answers when told.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest

from leitstand.core.facts import CancelJob, Observation, Resources, SubmitJob, TenantAdded
from leitstand.runtime import link as module
from leitstand.runtime.link import Link, TooManyAsked, WriterAway
from leitstand.runtime.wire import Advanced, Ask, Message, Settled, pack, unpack

pytestmark = pytest.mark.system

PLAIN = SubmitJob("acme", "default", Resources())
WITH_KEY = SubmitJob("acme", "default", Resources(), request="key")


class Server:
    """Takes frames, keeps what was asked, and says what the test wants."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: asyncio.Queue[Ask] = asyncio.Queue()
        self.reads: list[int] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.server: asyncio.AbstractServer | None = None

    async def start(self) -> None:
        self.path.unlink(missing_ok=True)
        self.server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        for writer in self.writers:
            writer.close()
        self.writers.clear()
        await asyncio.sleep(0)

    def say(self, *messages: Message) -> None:
        self.writers[-1].write(b"".join(map(pack, messages)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        buffer = bytearray()
        while received := await reader.read(1 << 16):
            buffer += received
            messages = unpack(buffer)
            self.reads.append(len(messages))
            for message in messages:
                assert isinstance(message, Ask)
                self.asked.put_nowait(message)


@contextlib.asynccontextmanager
async def linked(path: Path) -> AsyncIterator[tuple[Link, Server, asyncio.Queue[int]]]:
    heads: asyncio.Queue[int] = asyncio.Queue()
    server = Server(path)
    await server.start()
    link = Link(path, heads.put_nowait)
    task = asyncio.create_task(link.run())
    await until(link, True)
    while not server.writers:  # the link may know first
        await asyncio.sleep(0.001)
    try:
        yield link, server, heads
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.stop()


async def until(link: Link, connected: bool) -> None:
    while link.connected is not connected:
        await asyncio.sleep(0.001)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 30))


def test_answers_find_their_requests_in_any_order_and_a_tick_is_one_write(tmp_path: Path) -> None:
    async def main() -> None:
        async with linked(tmp_path / "inbox.sock") as (link, server, heads):
            asking = [asyncio.create_task(link.ask("token", PLAIN)) for _ in range(50)]
            asked = [await server.asked.get() for _ in range(50)]
            assert server.reads == [50]
            assert [one.ticket for one in asked] == list(range(1, 51))
            server.say(
                *(Settled(one.ticket, one.ticket, f"job-{one.ticket}") for one in reversed(asked)),
                Advanced(99),
            )
            assert [answer.made for answer in await asyncio.gather(*asking)] == [
                f"job-{i}" for i in range(1, 51)
            ]
            assert await heads.get() == 99
            assert link.in_flight == 0

    run(main())


def test_a_lost_connection_repeats_what_may_be_said_twice_and_fails_the_rest(tmp_path: Path) -> None:
    async def main() -> None:
        async with linked(tmp_path / "inbox.sock") as (link, server, _):
            kinds: list[Observation] = [PLAIN, WITH_KEY, TenantAdded("x"), CancelJob("acme-1")]
            asking = [asyncio.create_task(link.ask("token", kind)) for kind in kinds]
            for _ in kinds:
                await server.asked.get()
            await server.stop()
            for lost in (asking[0], asking[2]):
                with pytest.raises(WriterAway) as away:
                    await lost
                assert away.value.unknown
            await server.start()
            again = [await server.asked.get() for _ in range(2)]
            assert [one.observation for one in again] == [WITH_KEY, CancelJob("acme-1")]
            server.say(*(Settled(one.ticket, 7, "acme-1") for one in again))
            assert (await asking[1]).made == "acme-1"
            assert (await asking[3]).seq == 7

    run(main())


def test_without_a_connection_nothing_is_sent_and_it_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with linked(tmp_path / "inbox.sock") as (link, server, _):
            await server.stop()
            await until(link, False)
            with pytest.raises(WriterAway) as away:
                await link.ask("token", WITH_KEY)
            assert not away.value.unknown

    run(main())


def test_an_answer_that_never_comes_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(module, "ANSWER_S", 0.02)
        async with linked(tmp_path / "inbox.sock") as (link, _, _heads):
            with pytest.raises(WriterAway) as away:
                await link.ask("token", PLAIN)
            assert away.value.unknown
            assert link.in_flight == 0

    run(main())


def test_more_than_the_limit_is_refused_unsent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(module, "IN_FLIGHT_MAX", 2)
        async with linked(tmp_path / "inbox.sock") as (link, server, _):
            asking = [asyncio.create_task(link.ask("token", PLAIN)) for _ in range(2)]
            first = [await server.asked.get() for _ in range(2)]
            with pytest.raises(TooManyAsked):
                await link.ask("token", PLAIN)
            server.say(*(Settled(one.ticket, 1) for one in first))
            await asyncio.gather(*asking)
            assert server.asked.empty()

    run(main())


def test_a_server_that_talks_nonsense_is_left_and_the_link_connects_anew(tmp_path: Path) -> None:
    async def main() -> None:
        async with linked(tmp_path / "inbox.sock") as (link, server, _):
            server.writers[-1].write(b"\xff" * 64)
            await until(link, False)
            await until(link, True)
            assert len(server.writers) == 2

    run(main())


def test_a_socket_in_a_folder_with_a_very_long_name_is_reached(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 150)
    folder.mkdir()

    async def main() -> None:
        short = tmp_path / "s.sock"
        server = Server(short)
        await server.start()
        (folder / "inbox.sock").symlink_to(short)
        link = Link(folder / "inbox.sock", lambda _: None)
        task = asyncio.create_task(link.run())
        await until(link, True)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.stop()

    run(main())
