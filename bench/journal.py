# SPDX-License-Identifier: Apache-2.0
"""The journal: CPU time per fact of appending and reading, and facts per second of folding. Run by bench/run.py.

The facts are those of jobs that the real core admitted, placed and ended on 100 nodes; times are user + system of this
process, so the durable figure leaves out what the disk itself takes.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from leitstand.core.cycle import Core
from leitstand.core.facts import (
    Fact,
    NodeAdded,
    Observation,
    Resources,
    RulesSet,
    RunEnded,
    RunStarted,
    SiteAdded,
    SubmitJob,
    TenantAdded,
)
from leitstand.core.rules import Rules
from leitstand.core.state import State
from leitstand.core.units import SECOND_US
from leitstand.journal.memory import MemoryJournal
from leitstand.journal.sqlite import SqliteJournal, SqliteReader
from leitstand.journal.verify import verify
from leitstand.runtime.ports import Journal

NODES = 100
JOBS = 30_000
LIVE = 200  # runs at a time
DURABLE_COMMITS = 500
COMMIT_FACTS = 20_000
ROUNDS = 3

Cycles = list[tuple[int, list[Fact]]]


def measure() -> dict[str, dict[str, Any]]:
    """Medians of ROUNDS."""
    cycles = made_by_the_core()
    with tempfile.TemporaryDirectory() as folder:
        rounds = [one_round(Path(folder) / str(turn), cycles) for turn in range(ROUNDS)]
    figures = {name: [each[name] for each in rounds] for name in rounds[0]}
    return {
        "journal.append_memory": at_most(figures["append_memory"], 2.5),
        "journal.append_sqlite_large_commits": at_most(figures["append_sqlite_large_commits"], 7.0),
        "journal.append_sqlite_3_facts_a_commit": at_most(figures["append_sqlite_3_facts_a_commit"], 150.0),
        "journal.read_entries": at_most(figures["read"], 3.0),
        "journal.read_stored_rows": at_most(figures["read_rows"], 1.67),
        "journal.verify": at_most(figures["verify"], 6.0),
        "journal.fold_facts_per_cpu_s": per_second(figures["fold"], 150_000),
    }


def one_round(folder: Path, cycles: Cycles) -> dict[str, float]:
    """µs of CPU time per fact, each by its name."""
    folder.mkdir()
    path = folder / "journal.db"
    facts = sum(len(part) for _, part in cycles)
    few = [(at, part[:3]) for at, part in cycles if len(part) >= 3][:DURABLE_COMMITS]
    seconds = {
        "append_memory": append(MemoryJournal(), cycles),
        "append_sqlite_large_commits": append(SqliteJournal(path, commit_every=COMMIT_FACTS), cycles),
        "verify": cpu(lambda: verify(path)),
    }
    with SqliteReader(path) as reader:
        seconds["read_rows"] = cpu(lambda: sum(1 for _ in reader.rows(0)))
        seconds["read"] = cpu(lambda: sum(1 for _ in reader.read(0)))
        seconds["fold"] = cpu(lambda: fold(reader))
    durable = append(SqliteJournal(folder / "durable.db"), few) / (3 * len(few)) * 1e6
    return {name: took / facts * 1e6 for name, took in seconds.items()} | {
        "append_sqlite_3_facts_a_commit": durable
    }


def made_by_the_core() -> Cycles:
    """Stamps and facts of JOBS jobs, one submitted a second, each running for LIVE seconds."""
    core = Core()
    fleet: list[Observation] = [NodeAdded(f"n-{i}", "s", 8, 64_000, 512_000) for i in range(NODES)]
    tenants = [TenantAdded(f"tenant-{i}") for i in range(4)]
    cycles = [
        (0, core.cycle(0, [RulesSet(Rules(), ""), *tenants, SiteAdded("s", "simulated", True), *fleet]))
    ]
    for second in range(1, JOBS + 1):
        now = second * SECOND_US
        observations: list[Observation] = [
            SubmitJob(
                f"tenant-{second % 4}",
                "default",
                Resources(gpus=1 + second % 4, cpus_milli=8_000),
                spec=f"{second:064x}",
                request=f"{second:032x}",
                request_digest=f"{second:064x}",
            )
        ]
        runs = core.state.runs
        if len(runs) >= LIVE:
            oldest = next(iter(runs))
            observations += [
                RunStarted(oldest, runs[oldest].placed_us + 1000),
                RunEnded(oldest, now - 5, "exited", 0, started_us=runs[oldest].placed_us + 1000),
            ]
        cycles.append((now, core.cycle(now, observations)))
    return cycles


def append(journal: Journal, cycles: Cycles) -> float:
    """CPU seconds of appending and closing."""

    def work() -> None:
        head, put = journal.head, journal.append
        for at, facts in cycles:
            head = put(head, at, facts)
        journal.close()

    return cpu(work)


def fold(reader: SqliteReader) -> None:
    apply = State().apply
    for entry in reader.read(0):
        apply(entry.at, entry.fact)


def cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def at_most(us: list[float], target: float) -> dict[str, Any]:
    value = median(us)
    return {
        "value": round(value, 2),
        "unit": "µs CPU/fact",
        "target": f"<= {target:g}",
        "ok": value <= target,
    }


def per_second(us: list[float], target: int) -> dict[str, Any]:
    value = 1e6 / median(us)
    return {"value": round(value), "unit": "facts/CPU-s", "target": f">= {target}", "ok": value >= target}
