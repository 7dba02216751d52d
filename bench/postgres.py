# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL beside SQLite in one run: durable submissions per second and their latency over HTTP, and what an append
costs that also names its epoch. `python bench/run.py postgres`.

As in `bench.rest`: writer over a simulated fleet, faces, load generator and here the server, too, share this machine.
The kinds are measured in turns, forwards and backwards, so that a machine that grows slower favours none.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from bench.rest import OPEN_CLIENTS, control_plane
from bench.support.plant import Plant
from leitstand.core.facts import Fact, WriterStarted
from leitstand.journal import place
from leitstand.journal.lease import Lease
from leitstand.journal.postgres import PostgresJournal
from leitstand.stores import place as stores
from tests.postgres import Server

SECONDS = 6.0
RATE = 300.0
APPENDS = 1500
FACTS: list[Fact] = [WriterStarted("bench")] * 3


def measure() -> dict[str, dict[str, Any]]:
    try:
        server = Server()
    except pytest.skip.Exception as reason:
        return {"skipped": {"why": str(reason)}}
    try:
        server.add_database("keys")
        figures = over_http(server)
        return figures | appends(server)
    finally:
        server.close()


def over_http(server: Server) -> dict[str, dict[str, Any]]:
    def journal(folder: Path) -> None:
        server.empty()
        place.settle(folder / "journal.db", server.url)

    def journal_and_stores(folder: Path) -> None:
        journal(folder)
        stores.settle(folder, server.url, server.url_of("keys"))

    kinds: dict[str, Callable[[Path], None]] = {
        "sqlite": lambda folder: None,
        "journal": journal,
        "journal_and_stores": journal_and_stores,
    }
    found: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in kinds}
    lost = acknowledged = 0
    for kind in (*kinds, *reversed(kinds)):
        with control_plane(Plant(), kinds[kind]) as plane:
            closed = plane.load(seconds=SECONDS)
            opened = plane.load(seconds=SECONDS, rate=RATE, clients=OPEN_CLIENTS)
            rate = closed.statuses.get("201", 0) / closed.seconds
            found[kind].append((rate, opened.latencies_ms["p50"], opened.latencies_ms["p99"]))
            missing = plane.lost()
            lost, acknowledged = lost + missing["value"], acknowledged + missing["acknowledged"]
    figures: dict[str, dict[str, Any]] = {}
    for kind, rounds in found.items():
        rate, p50, p99 = (median(figure) for figure in zip(*rounds, strict=True))
        figures[f"postgres.submissions_per_s_{kind}"] = {
            "value": round(rate, 1), "unit": "1/s", "target": "told", "ok": True,
            "of_sqlite": round(rate / median(one[0] for one in found["sqlite"]), 3),
        }  # fmt: skip
        figures[f"postgres.p99_at_{RATE:g}_per_s_{kind}"] = {
            "value": round(p99, 1), "unit": "ms", "target": "told", "ok": True, "p50_ms": round(p50, 1),
        }  # fmt: skip
    figures["postgres.acknowledged_and_lost"] = {
        "value": lost, "unit": "jobs", "target": "== 0", "ok": lost == 0, "acknowledged": acknowledged,
    }  # fmt: skip
    return figures


def appends(server: Server) -> dict[str, dict[str, Any]]:
    """Wall time of an append of three facts, with and without its epoch, in turns; without waiting for the disk, beside
    whose time neither would be seen."""
    took: dict[bool, list[float]] = {True: [], False: []}
    for led in (False, True, True, False, False, True):
        server.empty()
        epoch = None
        if led:
            PostgresJournal(server.url).close()
            lease = Lease(server.url, "bench", "")
            lease.make()
            epoch = lease.take()
        with PostgresJournal(server.url, synced=False, epoch=epoch) as journal:
            for number in range(APPENDS):
                began = time.perf_counter()
                journal.append(journal.head, number, FACTS)
                took[led].append(time.perf_counter() - began)
    plain, led_s = median(took[False]), median(took[True])
    return {
        "postgres.append_unsynced": _us(plain),
        "postgres.append_unsynced_with_epoch": _us(led_s) | {"ratio": round(led_s / plain, 3)},
    }


def _us(seconds: float) -> dict[str, Any]:
    return {"value": round(seconds * 1e6), "unit": "µs", "target": "told", "ok": True}
