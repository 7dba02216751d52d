# SPDX-License-Identifier: Apache-2.0
"""Replay: jobs per CPU-second through the full core, and the published means of a real trace. Run by bench/run.py.

The speed is measured on `philly_2017_sep_oct` with `philly_tight60`; where the recorded traces are absent, on a made-up
trace of the same size under another name. A CPU-second counts everything from opening the trace to the result.
"""

import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from leitstand.twin.replay import Setting, replay

TRACES = Path(__file__).resolve().parents[2] / "shared" / "traces"
ROUNDS = 3
RULES = "fifo-greedy"
MEMORY_TARGET = 10_000  # jobs per CPU-second
SQLITE_TARGET = 5_000
SLICE = "philly_peer_slice_1206"
PUBLISHED = {
    "fifo-strict": (105_156.53, 69_723.69),
    "sjf": (68_651.81, 33_218.97),
}  # mean JCT, mean queue in s

Figures = dict[str, dict[str, Any]]


def measure() -> dict[str, Any]:
    """Speed with the memory journal and with SQLite; means of the slice where it is there."""
    with tempfile.TemporaryDirectory() as folder:
        trace, cluster = TRACES / "philly_2017_sep_oct.parquet", TRACES / "philly_tight60.cluster.json"
        name, skipped = "replay", ""
        if not (trace.exists() and cluster.exists()):
            trace, cluster = made_up(Path(folder))
            name, skipped = (
                "replay_made_up",
                "the recorded traces are absent: speed on a made-up one, no published means",
            )
        figures = speed(name, trace, cluster, Path(folder)) | published_means()
    return {**figures, "skipped": skipped} if skipped else figures


def speed(name: str, trace: Path, cluster: Path, folder: Path) -> Figures:
    rates: dict[str, list[float]] = {"memory": [], "sqlite": []}
    for number in range(ROUNDS):
        for journal, path in (("memory", None), ("sqlite", folder / f"journal-{number}.db")):
            outcome = replay(Setting(trace, cluster, RULES, journal=path))
            rates[journal].append(outcome.jobs / outcome.cpu_s)
    return {
        f"{name}_{journal}_jobs_per_cpu_s": {
            "value": round(median(rates[journal])),
            "unit": "jobs/CPU-s",
            "target": target,
            "ok": median(rates[journal]) >= target,
        }
        for journal, target in (("memory", MEMORY_TARGET), ("sqlite", SQLITE_TARGET))
    }


def published_means() -> Figures:
    trace, cluster = TRACES / f"{SLICE}.parquet", TRACES / f"{SLICE}.cluster.json"
    if not (trace.exists() and cluster.exists()):
        return {}
    figures: Figures = {}
    for rules, (jct_s, queue_s) in PUBLISHED.items():
        outcome = replay(Setting(trace, cluster, rules, static=True))
        for what, found, target in (
            ("jct", outcome.jct_s.mean, jct_s),
            ("queue", outcome.queue_s.mean, queue_s),
        ):
            value = round(found or 0.0, 4)
            figures[f"replay_slice_{rules}_mean_{what}_s"] = {
                "value": value,
                "unit": "s",
                "target": target,
                "ok": abs(value - target) <= 0.01,
            }
    return figures


def made_up(folder: Path) -> tuple[Path, Path]:
    """A trace of as many jobs as the recorded one has, about as long, large and contended."""
    draw = np.random.default_rng(2017)
    jobs, tenants = 52_849, np.array([f"tenant-{number}" for number in range(11)])
    columns = {
        "job_id": [f"job-{number}" for number in range(jobs)],
        "tenant": draw.choice(tenants, jobs),
        "submit_s": np.floor(np.cumsum(draw.exponential(110, jobs))),
        "duration_s": np.ceil(np.minimum(draw.lognormal(7.3, 2.0, jobs), 5e6)),
        "gpus": draw.choice([1.0, 2, 4, 8, 16, 32], jobs, p=[0.87, 0.03, 0.03, 0.06, 0.007, 0.003]),
    }
    trace, cluster = folder / "made_up.parquet", folder / "made_up.cluster.json"
    pq.write_table(pa.table(columns), trace)
    nodes_of = ", ".join(f'"{tenant}": 4' for tenant in tenants)
    cluster.write_text(f'{{"gpus_per_node": 8, "vc_nodes": {{{nodes_of}}}}}')
    return trace, cluster
