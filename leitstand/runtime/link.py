# SPDX-License-Identifier: Apache-2.0
"""A follower's link to the inbox: asks over the Unix socket, reconnects, says when the writer is away.

One event loop. Everything asked during one tick of the loop leaves in one write. If the connection breaks, requests
that may be said twice (those with a request id, and cancellations) are said again on the next connection; of the
others nobody knows the outcome, and they fail.
"""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

from leitstand.core.facts import CancelJob, HoldJob, Observation, ReleaseJob, SubmitJob
from leitstand.runtime.sockets import connect
from leitstand.runtime.wire import Advanced, Ask, Settled, pack, unpack

IN_FLIGHT_MAX: Final = 4096
ANSWER_S: Final = 10.0  # how long an answer may take, reconnections included
BACKOFF_S: Final = (0.02, 0.05, 0.1, 0.25)  # between attempts to connect; the last for ever


class WriterAway(Exception):
    """The writer cannot be reached. `unknown`: the request was sent, and whether it took effect is not known."""

    def __init__(self, unknown: bool) -> None:
        super().__init__("sent, but not answered" if unknown else "not connected")
        self.unknown = unknown


class TooManyAsked(Exception):
    """IN_FLIGHT_MAX requests wait for the writer; this one was not sent."""


class Link(asyncio.Protocol):
    """See the module. `advanced` is called with the journal's head whenever the writer tells it."""

    def __init__(self, path: Path, advanced: Callable[[int], None]) -> None:
        self._path = path
        self._advanced = advanced
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._ticket = 0
        self._waiting: dict[int, tuple[bytes, bool, asyncio.Future[Settled]]] = {}
        self._unsent: list[bytes] = []
        self._lost = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether the writer can be asked now."""
        return self._transport is not None

    @property
    def in_flight(self) -> int:
        """Requests that wait for their answer."""
        return len(self._waiting)

    async def ask(self, token: str, observation: Observation) -> Settled:
        """The writer's answer; WriterAway, TooManyAsked, ValueError for what exceeds a frame."""
        if self._transport is None:
            raise WriterAway(unknown=False)
        if len(self._waiting) >= IN_FLIGHT_MAX:
            raise TooManyAsked(f"{IN_FLIGHT_MAX} requests wait for the writer")
        self._ticket += 1
        ticket = self._ticket
        frame = pack(Ask(ticket, token, observation))
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Settled] = loop.create_future()
        self._waiting[ticket] = (frame, _may_be_said_twice(observation), answer)
        if not self._unsent:
            loop.call_soon(self._send)
        self._unsent.append(frame)
        deadline = loop.call_later(ANSWER_S, _give_up, answer)
        try:
            return await answer
        finally:
            deadline.cancel()
            self._waiting.pop(ticket, None)

    async def run(self) -> None:
        """Keep the connection up until cancelled."""
        loop = asyncio.get_running_loop()
        failures = 0
        try:
            while True:
                try:
                    channel = connect(self._path)
                    self._lost.clear()
                    await loop.create_unix_connection(lambda: self, sock=channel)
                except OSError:
                    await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
                    failures += 1
                    continue
                failures = 0
                await self._lost.wait()
                await asyncio.sleep(BACKOFF_S[0])
        finally:
            if self._transport is not None:
                self._transport.close()

    # ── asyncio.Protocol ──────────────────────────────────────────────────────────────────────────────────────────
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._buffer.clear()
        self._unsent = [frame for frame, _, _ in self._waiting.values()]
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            messages = unpack(self._buffer)
        except ValueError:
            assert self._transport is not None
            self._transport.abort()  # not a writer that we understand
            return
        for message in messages:
            if isinstance(message, Settled):
                waiting = self._waiting.get(message.ticket)
                if waiting is not None and not waiting[2].done():
                    waiting[2].set_result(message)
            elif isinstance(message, Advanced):
                self._advanced(message.seq)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._unsent.clear()
        for _, may_be_said_twice, answer in self._waiting.values():
            if not may_be_said_twice and not answer.done():
                answer.set_exception(WriterAway(unknown=True))
        self._waiting = {ticket: asked for ticket, asked in self._waiting.items() if not asked[2].done()}
        self._lost.set()

    def _send(self) -> None:
        if self._transport is not None and self._unsent:
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()


def _may_be_said_twice(observation: Observation) -> bool:
    if isinstance(observation, SubmitJob):
        return observation.request != ""
    return isinstance(observation, CancelJob | HoldJob | ReleaseJob)


def _give_up(answer: asyncio.Future[Settled]) -> None:
    with contextlib.suppress(asyncio.InvalidStateError):
        answer.set_exception(WriterAway(unknown=True))
