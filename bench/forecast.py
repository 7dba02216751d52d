# SPDX-License-Identifier: Apache-2.0
"""Forecasts held against what came: a month each of two recorded traces under two disciplines. Run by name by
bench/run.py; `python -m bench.forecast itp fair 4` judges one way at every fourth moment.

The traces are played by the core on part of their clusters, so that there is something to wait for. Recorded jobs have
no time limits; each gets one as people overestimate (the f-model: duration × U(1, 5), Mu'alem and Feitelson 2001),
rounded up to what people write. At moments drawn over the month, of those at which somebody waits, a forecast is made
with what was known then, and of (at most 100) jobs that wait it is noted what came. The naive estimate is what can be
said from time limits alone: the same core, every run as long as it may be, nobody comes later.
"""

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.support import record as recording
from bench.support.record import FILES, TRACES
from bench.support.table import table
from leitstand.core import facts as f
from leitstand.core.units import DAY_US, HOUR_US
from leitstand.journal.memory import MemoryJournal
from leitstand.runtime.ports import Entry
from leitstand.twin import replay
from leitstand.twin.cluster import Cluster, read_cluster
from leitstand.twin.forecasting.calibration import LEVELS
from leitstand.twin.forecasting.forecaster import HORIZON_US, RECORDED_AT_ONCE, Forecaster
from leitstand.twin.forecasting.forks import AtLimits, Copy, fork
from leitstand.twin.outcome import Tally
from leitstand.twin.studies.record import LIMITS
from leitstand.twin.traces import read_trace

PART: Final = {"philly": 0.8, "itp": 0.85}  # of each tenant's nodes
FROM_DAY: Final = {
    "philly": 22,
    "itp": 28,
}  # the month that is judged: in the days before it nobody has to wait
DAYS: Final = 30
WARM_DAYS: Final = 3  # of it, whose forecasts teach but are not judged
MOMENTS: Final = 220
OVERESTIMATE: Final = 5.0
NAIVE_US: Final = 60 * DAY_US  # how far the naive estimate looks
POINTS: Final = 5.0  # how far coverage may be from what is said
SEED: Final = 4

Numbers = dict[str, Any]


def measure() -> Numbers:
    """Coverage and error for both traces and disciplines."""
    if missing := recording.absent():
        return {"skipped": missing}
    ways = [(name, discipline) for name in FILES for discipline in ("fifo-greedy", "sjf")]
    with ProcessPoolExecutor() as pool:
        judged = list(pool.map(_judged, ways))
    print(_told(judged), flush=True)
    return {name: figure for one in judged for name, figure in _figures(one).items()}


def judge(name: str, discipline: str, every: int = 1) -> Numbers:
    """Forecasts of one trace under one discipline against what came, at `every` so-manyth of the moments drawn. Errors
    in hours, waits beyond the horizon count as long as that."""
    entries = _played(name, discipline)
    begin_us = entries[0].at + FROM_DAY[name] * DAY_US
    times = _times(entries, begin_us, MOMENTS)[::every]
    starts = _starts(entries)
    forecaster, rows, cpu_s = Forecaster(), list[tuple[float, ...]](), list[float]()
    for entry in entries:
        while times and times[0] < entry.at:
            held, took_s = _held(forecaster, times.pop(0), starts)
            rows += held
            cpu_s.append(took_s)
        if not times:
            break
        forecaster.apply(entry.at, entry.fact)
    at, came, p50, p90, naive = np.array([row for row in rows if row[0] >= begin_us + WARM_DAYS * DAY_US]).T
    hours = [column / HOUR_US for column in (came, p50, p90, naive)]
    return {
        "trace": name,
        "discipline": discipline,
        "moments": len(np.unique(at)),
        "forecasts": len(at),
        "wait_h": float(np.median(hours[0])),
        "coverage": [float(np.mean((came <= said) | (said >= HORIZON_US))) for said in (p50, p90)],
        "beyond": [float(np.mean(said >= HORIZON_US)) for said in (p50, p90)],
        "came_beyond": float(np.mean(came >= HORIZON_US)),
        "error_h": float(np.abs(hours[0] - hours[1]).mean()),
        "naive_error_h": float(np.abs(hours[0] - hours[3]).mean()),
        "pinball_h": [
            _pinball(hours[0], said, level) for said, level in zip(hours[1:3], LEVELS, strict=True)
        ],
        "naive_pinball_h": [_pinball(hours[0], hours[3], level) for level in LEVELS],
        "cpu_s": float(np.mean(cpu_s)),
    }


def _judged(way: tuple[str, str]) -> Numbers:
    return judge(*way)


def _played(name: str, discipline: str) -> list[Entry]:
    """The journal of the trace."""
    trace_file, cluster_file = FILES[name]
    trace, whole = read_trace(TRACES / trace_file), read_cluster(TRACES / cluster_file)
    last_us = int(trace.submit_us[0]) + (FROM_DAY[name] + DAYS + 7) * DAY_US
    chance = np.random.default_rng(SEED)
    wanted_us = trace.duration_us * chance.uniform(1.0, OVERESTIMATE, len(trace))
    limits_us = np.array(LIMITS, np.int64)[np.minimum(np.searchsorted(LIMITS, wanted_us), len(LIMITS) - 1)]
    nodes = {tenant: max(1, round(PART[name] * count)) for tenant, count in whole.nodes_of.items()}
    cluster = Cluster(whole.gpus_per_node, nodes)
    setting = replay.Setting(Path(trace_file), Path(cluster_file), discipline)
    source = replay.TraceSource(replace(trace, limit_us=limits_us), cluster, setting)
    journal = MemoryJournal(replay.JOURNAL_ID)
    replay.run(source, journal, Tally(None))
    return [entry for entry in journal.read(0) if entry.at <= last_us]


def _times(entries: Sequence[Entry], begin_us: int, number: int) -> list[int]:
    """Moments of the month at which somebody waits, all equally likely."""
    spans, waiting, since_us = [], set[str](), begin_us
    for entry in entries:
        if waiting and entry.at > since_us and begin_us <= since_us < begin_us + DAYS * DAY_US:
            spans.append((since_us, entry.at))
        since_us = entry.at
        if isinstance(entry.fact, f.JobAdmitted):
            waiting.add(entry.fact.job)
        elif isinstance(entry.fact, f.RunPlaced):
            waiting.discard(entry.fact.job)
    first, last = np.array(spans).T
    chance = np.random.default_rng(SEED)
    drawn = chance.choice(len(spans), number, p=(last - first) / (last - first).sum())
    return sorted({int(first[at] + (last[at] - first[at]) * chance.random()) for at in drawn})


def _starts(entries: Sequence[Entry]) -> dict[str, int]:
    """When each job first started; nobody is ever stopped under these disciplines."""
    starts: dict[str, int] = {}
    for entry in entries:
        if isinstance(entry.fact, f.RunPlaced):
            starts.setdefault(entry.fact.job, entry.at)
    return starts


def _held(forecaster: Forecaster, at: int, starts: dict[str, int]) -> tuple[list[tuple[float, ...]], float]:
    """Of jobs that wait at `at`: how long they will have waited, what was said for each level, and the naive
    estimate; all at most the horizon. And the CPU seconds of the forecast."""
    found = forecaster.forecast(at)
    assert found is not None, "nobody stopped it"
    jobs = found.jobs[:: -(-len(found.jobs) // RECORDED_AT_ONCE) or 1]
    limited = fork(Copy(forecaster.state, at), AtLimits(), at + NAIVE_US, [job.job for job in jobs])
    rows = []
    for job in jobs:
        naive = limited.get(job.job)
        times = (starts.get(job.job), job.p50_us, job.p90_us, naive)
        waits = [HORIZON_US if time is None else min(time - at, HORIZON_US) for time in times]
        rows.append((float(at), *map(float, waits)))
    return rows, found.cpu_s


def _pinball(came: Any, said: Any, level: float) -> float:
    """Mean pinball loss: what a quantile of this level is judged by (Koenker and Bassett 1978)."""
    return float(np.maximum(level * (came - said), (level - 1) * (came - said)).mean())


def _figures(one: Numbers) -> Numbers:
    name = f"forecast.{one['trace']}.{one['discipline']}"
    figures = {}
    for number, level in enumerate(LEVELS):
        percent = 100 * one["coverage"][number]
        figures[f"{name}.p{100 * level:.0f}_coverage"] = {
            "value": round(percent, 1),
            "unit": "%",
            "target": f"{100 * level:.0f} +- {POINTS:g}",
            "ok": abs(percent - 100 * level) <= POINTS,
            **one,
        }
    ratio = one["error_h"] / one["naive_error_h"]
    figures[f"{name}.error_of_naive"] = {
        "value": round(ratio, 3),
        "unit": "x",
        "target": "<= 0.5",
        "ok": ratio <= 0.5,
    }
    return figures


def _told(judged: list[Numbers]) -> str:
    head = ("trace, discipline", "moments", "forecasts", "median wait h", "p50 %", "p90 %")
    head += ("error h", "naive", "p90 loss h", "naive loss", "CPU s each")
    rows = [
        (
            f"{one['trace']}, {one['discipline']}",
            one["moments"],
            one["forecasts"],
            one["wait_h"],
            *(100 * share for share in one["coverage"]),
            one["error_h"],
            one["naive_error_h"],
            one["pinball_h"][1],
            one["naive_pinball_h"][1],
            one["cpu_s"],
        )
        for one in judged
    ]
    return table(head, rows)


if __name__ == "__main__":
    print(_told([judge(sys.argv[1], sys.argv[2], int(sys.argv[3]))]))
