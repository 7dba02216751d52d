# SPDX-License-Identifier: Apache-2.0
"""The inbox: requests of the faces over a Unix socket, queued for the next cycle, answered when durable.

A source of the writer's loop, in the loop's own thread: sockets are read while the clock waits, what came in during
one cycle is decided and committed together in the next (group commit). Limits refuse at the door: a request over one
is answered `busy` at once and never recorded.
"""

import contextlib
import selectors
import socket
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from leitstand.core.cycle import DECIDE
from leitstand.core.decision import Answer
from leitstand.core.facts import (
    CancelJob,
    HoldJob,
    NodeRemoved,
    NodeRepaired,
    NodeReported,
    Observation,
    ReleaseJob,
    RulesSet,
    SubmitJob,
)
from leitstand.runtime.clock import LiveClock
from leitstand.runtime.loop import Settling
from leitstand.runtime.ports import Head
from leitstand.runtime.sockets import listen
from leitstand.runtime.wire import Advanced, Ask, Settled, pack, unpack

ASKED: Final = (
    SubmitJob,
    CancelJob,
    HoldJob,
    ReleaseJob,
    NodeRemoved,
    NodeRepaired,
    NodeReported,
    RulesSet,
    *DECIDE,
)  # reports come from engines alone
RETRY_AFTER_S: Final = 1


class Limits(msgspec.Struct, frozen=True):
    """`queue`: requests that wait for a cycle, in all; `per_token`, `per_tenant`: of them; `batch`: taken by one
    cycle; `connections`: faces and followers; `unsent_bytes`: answers that a connection leaves unread."""

    queue: int = 8192
    per_token: int = 4096
    per_tenant: int = 4096
    batch: int = 1024
    connections: int = 64
    unsent_bytes: int = 8 * 1024 * 1024


class _Connection:
    __slots__ = ("channel", "incoming", "outgoing", "watched")

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.watched = selectors.EVENT_READ


class Inbox(Settling):
    """`disk_low`: whether the disk is below its reserve, asked once a batch of arrivals."""

    def __init__(
        self, path: Path, clock: LiveClock, disk_low: Callable[[], bool], limits: Limits | None = None
    ) -> None:
        self._clock = clock
        self._disk_low = disk_low
        self._limits = limits or Limits()
        self._queue: deque[tuple[_Connection, Ask]] = deque()
        self._by_token: Counter[str] = Counter()
        self._by_tenant: Counter[str] = Counter()
        self._taken: list[tuple[_Connection, Ask]] = []
        self._connections: dict[_Connection, None] = {}
        self._announced = 0
        self._listener = listen(path)
        clock.register(self._listener, selectors.EVENT_READ, self._accept)

    # ── source ────────────────────────────────────────────────────────────────────────────────────────────────────
    def next_time(self) -> int | None:
        return 0 if self._queue else None

    def take(self, now: int) -> Sequence[Observation]:
        queue = self._queue
        for _ in range(min(len(queue), self._limits.batch)):
            asked = queue.popleft()
            ask = asked[1]
            _count_down(self._by_token, ask.token)
            _count_down(self._by_tenant, _tenant(ask))
            self._taken.append(asked)
        return [ask.observation for _, ask in self._taken]

    def settle(self, answers: Sequence[Answer], head: Head) -> None:
        for (connection, ask), answer in zip(self._taken, answers, strict=True):
            retry = RETRY_AFTER_S if answer.refused == "busy" else 0
            connection.outgoing += pack(
                Settled(ask.ticket, head.seq, answer.made, answer.refused, answer.detail, retry)
            )
        self._taken.clear()
        if head.seq != self._announced:
            self._announced = head.seq
            frame = pack(Advanced(head.seq))
            for connection in self._connections:
                connection.outgoing += frame
        for connection in list(self._connections):
            if connection.outgoing:
                self._send(connection)

    def close(self) -> None:
        for connection in list(self._connections):
            self._drop(connection)
        self._clock.unregister(self._listener)
        self._listener.close()

    # ── sockets ───────────────────────────────────────────────────────────────────────────────────────────────────
    def _accept(self, _: int) -> None:
        with contextlib.suppress(BlockingIOError):
            channel, _address = self._listener.accept()
            if len(self._connections) >= self._limits.connections:
                channel.close()
                return
            channel.setblocking(False)
            connection = _Connection(channel)
            self._connections[connection] = None
            self._clock.register(channel, selectors.EVENT_READ, lambda mask: self._ready(connection, mask))

    def _ready(self, connection: _Connection, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._send(connection)
        if mask & selectors.EVENT_READ and connection in self._connections:
            self._receive(connection)

    def _receive(self, connection: _Connection) -> None:
        try:
            received = connection.channel.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._drop(connection)
            return
        connection.incoming += received
        try:
            messages = unpack(connection.incoming)
        except ValueError:
            self._drop(connection)  # not one of ours, or broken: the other side reconnects
            return
        disk_low = self._disk_low()
        for message in messages:
            if isinstance(message, Ask):
                self._admit(connection, message, disk_low)
        if connection.outgoing:
            self._send(connection)

    def _admit(self, connection: _Connection, ask: Ask, disk_low: bool) -> None:
        """Queue, or refuse at the door."""
        limits, tenant = self._limits, _tenant(ask)
        refused = ""
        if not isinstance(ask.observation, ASKED):
            refused = "invalid"
        elif disk_low and isinstance(ask.observation, SubmitJob):
            refused = "disk_full"
        elif (
            len(self._queue) >= limits.queue
            or self._by_token[ask.token] >= limits.per_token
            or self._by_tenant[tenant] >= limits.per_tenant
        ):
            refused = "busy"
        if refused:
            settled = Settled(ask.ticket, self._announced, "", refused, "", RETRY_AFTER_S)
            connection.outgoing += pack(settled)
            return
        self._queue.append((connection, ask))
        self._by_token[ask.token] += 1
        self._by_tenant[tenant] += 1

    def _send(self, connection: _Connection) -> None:
        if connection not in self._connections:
            connection.outgoing.clear()  # it left before its answer came
            return
        try:
            sent = connection.channel.send(connection.outgoing)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(connection)
            return
        del connection.outgoing[:sent]
        if len(connection.outgoing) > self._limits.unsent_bytes:
            self._drop(connection)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.outgoing else 0)
        if events != connection.watched:
            connection.watched = events
            self._clock.register(connection.channel, events, lambda mask: self._ready(connection, mask))

    def _drop(self, connection: _Connection) -> None:
        """Forget the connection; what it asked is still decided, its retry will find the answer."""
        self._connections.pop(connection, None)
        self._clock.unregister(connection.channel)
        connection.channel.close()


def _count_down(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


def _tenant(ask: Ask) -> str:
    observation = ask.observation
    return observation.tenant if isinstance(observation, SubmitJob) else ""
