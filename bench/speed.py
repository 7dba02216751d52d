# SPDX-License-Identifier: Apache-2.0
"""How much faster than real time the twin plays a cloud of 10,412 GPUs. Run by name by bench/run.py.

The workload is the synthetic one. `fair`: a week from an empty cloud, at two loads. A year: first come first served
with filling; nothing is kept but what became of the jobs. CPU seconds are of one core, the wall time beside them is of
this machine with whatever else ran on it. Cores: the same days one after the other, and as many at once as there are
cores.
"""

import os
import resource
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, NamedTuple

from leitstand.core.facts import Fact
from leitstand.journal.memory import MemoryJournal
from leitstand.runtime.ports import Head
from leitstand.twin.outcome import Tally
from leitstand.twin.replay import Setting, TraceSource, run
from leitstand.twin.synthetic.demand import Demand
from leitstand.twin.synthetic.generate import generate
from leitstand.twin.synthetic.parameters import shipped
from leitstand.twin.synthetic.replayable import cluster_of, trace_of

GPUS: Final = 10_412
LOADS: Final = (0.75, 0.95)
REAL_TIME_TARGET: Final = 1_000
YEAR_MINUTES_TARGET: Final = 10
DAY_S: Final = 86_400
DAYS: Final = int(os.environ.get("LEITSTAND_SPEED_DAYS", "7"))


class Played(NamedTuple):
    """What came of it. `days`: in which jobs were submitted; what runs on after them counts for nothing."""

    jobs: int
    facts: int
    days: int
    mean_wait_s: float
    cpu_s: float
    wall_s: float
    memory_gb: float


class HeadOnly(MemoryJournal):
    """A journal of which nothing but the length of the chain is kept."""

    def __init__(self) -> None:
        super().__init__()
        self._last = super().head

    @property
    def head(self) -> Head:
        return self._last

    def append(self, head: Head, at: int, facts: Sequence[Fact]) -> Head:
        self._last = Head(head.seq + len(facts), at, b"")
        return self._last


def measure() -> dict[str, dict[str, Any]]:
    figures: dict[str, dict[str, Any]] = {}
    for load in LOADS:
        week = apart(Demand(gpus=GPUS, days=DAYS, load=load, seed=1), "fair")
        ratio = week.days * DAY_S / week.cpu_s
        name = f"speed.fair_load_{load:g}"
        figures |= {
            f"{name}.real_time": _figure(ratio, "×", f">= {REAL_TIME_TARGET}", ratio >= REAL_TIME_TARGET),
            f"{name}.jobs_per_cpu_s": _figure(week.jobs / week.cpu_s, "jobs per CPU s"),
            f"{name}.facts_per_cpu_s": _figure(week.facts / week.cpu_s, "facts per CPU s"),
            f"{name}.mean_wait": _figure(week.mean_wait_s, "s"),
            f"{name}.memory": _figure(week.memory_gb, "GB"),
        }
    year = apart(Demand(gpus=GPUS, days=365, load=0.95, seed=1), "fifo-greedy")
    minutes = year.cpu_s / 60
    figures |= {
        "speed.year.cpu": _figure(
            minutes, "CPU min", f"<= {YEAR_MINUTES_TARGET}", minutes <= YEAR_MINUTES_TARGET
        ),
        "speed.year.wall": _figure(year.wall_s / 60, "min"),
        "speed.year.jobs": _figure(year.jobs, "jobs"),
        "speed.year.facts_per_cpu_s": _figure(year.facts / year.cpu_s, "facts per CPU s"),
        "speed.year.real_time": _figure(year.days * DAY_S / year.cpu_s, "×"),
        "speed.year.memory": _figure(year.memory_gb, "GB"),
    }
    figures["speed.cores"] = _figure(cores(), f"× with {os.cpu_count()} cores")
    return figures


def apart(demand: Demand, discipline: str) -> Played:
    """Played in a process of its own, so that its memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(played, demand, discipline).result()


def played(demand: Demand, discipline: str) -> Played:
    """The workload through the core and the loop, from the first submission until all have ended."""
    shipped()
    begun_s, begun_wall_s = time.process_time(), time.perf_counter()
    workload = generate(demand)
    trace, cluster = trace_of(workload), cluster_of(workload)
    source = TraceSource(trace, cluster, Setting(Path("synthetic"), Path("synthetic"), discipline))
    journal, tally = HeadOnly(), Tally(None)
    run(source, journal, tally)
    wait = tally.queue_s()
    return Played(
        jobs=tally.jobs,
        facts=journal.head.seq,
        days=demand.days,
        mean_wait_s=wait.mean,
        cpu_s=time.process_time() - begun_s,
        wall_s=time.perf_counter() - begun_wall_s,
        memory_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    )


def cores() -> float:
    """How much sooner as many days are played as there are cores, all at once, than one after the other."""
    count = os.cpu_count() or 1
    demands = [Demand(gpus=GPUS, days=2, load=0.75, seed=seed) for seed in range(1, count + 1)]
    took = []
    for workers in (1, count):
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            begun_s = time.perf_counter()
            list(pool.map(played, demands, ["fifo-greedy"] * count))
            took.append(time.perf_counter() - begun_s)
    return took[0] / took[1]


def _figure(value: float, unit: str, target: str = "", ok: bool = True) -> dict[str, Any]:
    return {"value": round(value, 4), "unit": unit, "target": target, "ok": ok}
