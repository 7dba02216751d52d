# SPDX-License-Identifier: Apache-2.0
"""A lean HTTP load generator: keep-alive clients in one process, closed loop (as fast as answers come) or open loop
(at a given rate; a request's latency counts from when it was due, so a stalled server is not excused).

`python -m bench.support.load JOB` with a JSON `Load`; prints a JSON `Outcome`.
"""

import asyncio
import contextlib
import resource
import sys
import time
from collections import Counter

import msgspec
import uvloop


class Load(msgspec.Struct, frozen=True):
    port: int
    token: str
    clients: int = 16
    seconds: float = 8.0
    rate: float = 0.0  # per second; 0: closed loop
    body: str = ""


class Outcome(msgspec.Struct):
    statuses: dict[str, int]
    seconds: float
    cpu_s: float
    latencies_ms: dict[str, float]


class Client(asyncio.Protocol):
    """One connection; `ask` sends a request and waits for the status of its answer."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.head = head
        self.body = body
        self.buffer = b""
        self.answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self, key: str) -> "asyncio.Future[int]":
        self.answer = asyncio.get_running_loop().create_future()
        request = self.head + b"Idempotency-Key: " + key.encode() + b"\r\n\r\n" + self.body
        self.transport.write(request)  # type: ignore[attr-defined]
        return self.answer

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, rest = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        lowered = head.lower()
        start = lowered.index(b"content-length:") + 15
        length = int(lowered[start:].split(b"\r\n", 1)[0])
        if len(rest) >= length and self.answer is not None:
            self.buffer = rest[length:]
            self.answer.set_result(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(exc or ConnectionResetError("closed"))


async def run(load: Load) -> Outcome:
    body = load.body.encode()
    head = (
        f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {load.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: Client(head, body), "127.0.0.1", load.port))[1]
        for _ in range(load.clients)
    ]
    statuses: Counter[str] = Counter()
    latencies: list[float] = []
    start = time.perf_counter()
    work = (
        closed(clients, load, statuses, latencies)
        if not load.rate
        else opened(clients, load, statuses, latencies)
    )
    await work
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    latencies.sort()
    marks = {
        f"p{mark}": round(latencies[min(len(latencies) - 1, int(len(latencies) * mark / 100))] * 1000, 3)
        for mark in (50, 90, 99)
    }
    return Outcome(dict(statuses), seconds, used.ru_utime + used.ru_stime, marks)


async def closed(clients: list[Client], load: Load, statuses: Counter[str], latencies: list[float]) -> None:
    end = time.perf_counter() + load.seconds

    async def one(number: int, client: Client) -> None:
        count = 0
        while (sent := time.perf_counter()) < end:
            count += 1
            status = await client.ask(f"c{number}-{count}-{sent}")
            latencies.append(time.perf_counter() - sent)
            statuses[str(status)] += 1

    await asyncio.gather(*(one(number, client) for number, client in enumerate(clients)))


async def opened(clients: list[Client], load: Load, statuses: Counter[str], latencies: list[float]) -> None:
    due: asyncio.Queue[float | None] = asyncio.Queue()

    async def one(number: int, client: Client) -> None:
        count = 0
        while (moment := await due.get()) is not None:
            count += 1
            status = await client.ask(f"o{number}-{count}-{moment}")
            latencies.append(time.perf_counter() - moment)
            statuses[str(status)] += 1

    workers = [asyncio.ensure_future(one(number, client)) for number, client in enumerate(clients)]
    start = time.perf_counter()
    for number in range(int(load.rate * load.seconds)):
        moment = start + number / load.rate
        if (wait := moment - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        due.put_nowait(moment)
    for _ in workers:
        due.put_nowait(None)
    await asyncio.gather(*workers)


if __name__ == "__main__":
    with contextlib.closing(uvloop.new_event_loop()) as event_loop:
        outcome = event_loop.run_until_complete(run(msgspec.json.decode(sys.argv[1], type=Load)))
    print(msgspec.json.encode(outcome).decode())
