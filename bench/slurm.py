# SPDX-License-Identifier: Apache-2.0
"""Slurm of 10,000 GPUs: jobs placed by us and run by Slurm, beside plain Slurm that decides the same list itself. Run
by name by bench/run.py.

1,250 real slurmd are processes of this machine, each a node of 8 GPUs and 64 cores, 25 nodes to a leaf switch. The same
list of jobs of mixed sizes (mostly one GPU, some of 16 nodes), each a sleep of some seconds, is given to plain Slurm
and to core, journal (SQLite, synced) and engine, all at once, one after the other on the same cluster. The machine runs
the daemons, the jobs and us: rates are what it has cores for, so judge by CPU seconds. `LEITSTAND_SLURM_JOBS` says how
many of the list we and plain Slurm get (5000,1000).
"""

import os
import random
import resource
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from leitstand.core.cycle import Core
from leitstand.core.facts import (
    JobEnded,
    Observation,
    Resources,
    RunEnded,
    RunStarted,
    SubmitJob,
    TenantAdded,
)
from leitstand.core.state import State
from leitstand.core.units import SECOND_US
from leitstand.engines.slurm.engine import SlurmEngine
from leitstand.engines.slurm.rest import Rest, Submission
from leitstand.engines.slurm.site import DIRECTED, Place, SlurmSite
from leitstand.engines.surroundings import Surroundings
from leitstand.journal.sqlite import SqliteJournal
from leitstand.runtime.clock import LiveClock
from leitstand.runtime.loop import Loop
from leitstand.runtime.spec import RunSpec
from tests.slurm import GPUS, PARTITION, Cluster, running

NODES: Final = 1_250
LEAF: Final = 25
JOBS: Final = tuple(int(part) for part in os.environ.get("LEITSTAND_SLURM_JOBS", "5000,1000").split(","))
MEAN_S: Final = 10.0
SEED: Final = 7
PATIENCE_S: Final = 1500.0
SITE: Final = "plant"
# (nodes, GPUs of each) and how many of a hundred
SIZES: Final = (
    ((1, 1), 60),
    ((1, 2), 15),
    ((1, 4), 10),
    ((1, 8), 12),
    ((2, 8), 1),
    ((4, 8), 1),
    ((16, 8), 1),
)


class Asked(NamedTuple):
    """A job of the list."""

    nodes: int
    gpus: int  # of each node
    length_s: float


class Course(NamedTuple):
    """How a list went. Starts and ends in µs since 1970; CPU seconds of slurmctld and of whoever decided."""

    asked_us: int
    starts: list[int]
    ends: list[int]
    gpu_s: float
    slurmctld_s: float
    ours_s: float


def measure() -> dict[str, dict[str, Any]]:
    try:
        with running(nodes=NODES, leaf=LEAF) as cluster:
            plain = by_slurm(cluster, listed(JOBS[1]))
            ours = by_us(cluster, listed(JOBS[0]))
    except pytest.skip.Exception as reason:
        return {"skipped": str(reason)}  # type: ignore[dict-item]
    return {**_figures("plain", plain), **_figures("ours", ours), **_ratios(plain, ours)}


def listed(count: int) -> list[Asked]:
    """The first of the same list."""
    chance = random.Random(SEED)
    kinds, weights = zip(*SIZES, strict=True)
    return [
        Asked(*chance.choices(kinds, weights)[0], round(min(60.0, chance.expovariate(1 / MEAN_S)), 2))
        for _ in range(count)
    ]


# ── plain Slurm ───────────────────────────────────────────────────────────────────────────────────────────────────────
def by_slurm(cluster: Cluster, jobs: Sequence[Asked]) -> Course:
    """Submitted by slurmrestd over four connections; each job writes down when it began and ended."""
    rest = Rest(cluster.rest, "root", None, 4)
    seen = cluster.base / "seen"
    seen.mkdir()

    def submit(job: Asked) -> int:
        work = f"sleep {job.length_s}" if job.nodes == 1 else f"srun sleep {job.length_s}"
        script = (
            f"#!/bin/bash\ndate +%s%6N >{seen}/$SLURM_JOB_ID\n{work}\ndate +%s%6N >>{seen}/$SLURM_JOB_ID\n"
        )
        given = Submission(
            name="plain",
            script=script,
            folder="/tmp",
            output="/dev/null",
            count=job.nodes,
            gpus=job.gpus,
            gpu_type="",
            cpus=1,
            memory_mib=0,
            minutes=60,
            partition=PARTITION,
            account="",
        )
        return rest.submit(given)

    asked_us, before_s = _now_us(), cluster.cpu_s("slurmctld")
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(submit, jobs))
    cluster.until(lambda: not cluster.ask("squeue", "-h", "-o", "%i").strip(), "all end", PATIENCE_S)
    spent_s = cluster.cpu_s("slurmctld") - before_s
    times = [[int(line) for line in (seen / str(job)).read_text().split()] for job in ids]
    gpu_s = sum(
        (one[1] - one[0]) / SECOND_US * job.nodes * job.gpus for one, job in zip(times, jobs, strict=True)
    )
    return Course(asked_us, [one[0] for one in times], [one[1] for one in times], gpu_s, spent_s, 0.0)


# ── ours ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
class Listing:
    """The source of the list, once the fleet is there; it stops the loop when all have ended."""

    def __init__(self, jobs: Sequence[Asked]) -> None:
        self.jobs = jobs
        self.specs = {f"sleep {job.length_s}": RunSpec(argv=("sleep", str(job.length_s))) for job in jobs}
        self.loop: Loop | None = None
        self.given_us = 0
        self.begun_s = (0.0, 0.0)
        self.cluster: Cluster | None = None

    def next_time(self) -> int | None:
        return 0 if not self.given_us else None

    def take(self, now: int) -> list[Observation]:
        assert self.loop is not None
        assert self.cluster is not None
        state = self.loop.core.state
        if self.given_us or len(state.nodes) < NODES:
            time.sleep(0.01 if not self.given_us else 0)
            return []
        self.given_us, self.begun_s = now, (_cpu_s(), self.cluster.cpu_s("slurmctld"))
        return [TenantAdded("acme", "industry")] + [
            SubmitJob(
                "acme",
                "default",
                Resources(gpus=job.nodes * job.gpus, nodes=job.nodes, cpus_milli=1000 * job.nodes),
                spec=f"sleep {job.length_s}",
                max_duration_us=3600 * SECOND_US,
            )
            for job in self.jobs
        ]


def by_us(cluster: Cluster, jobs: Sequence[Asked]) -> Course:
    """Core, journal, loop and engine in this process."""
    with tempfile.TemporaryDirectory(prefix="leitstand-bench-", dir=cluster.base) as made:
        folder = Path(made)
        listing = Listing(jobs)
        listing.cluster = cluster
        journal = SqliteJournal(folder / "journal.db")
        clock = LiveClock(0)
        around = Surroundings(listing.specs.get, lambda *_: None, clock.wake, journal.journal_id)
        site = SlurmSite(
            conf=cluster.conf,
            rest=cluster.rest,
            folder=folder / "runs",
            partition=PARTITION,
            parts=("leaf*",),
        )
        engine = SlurmEngine(Place(SITE, DIRECTED, site, around, pool="shared"))
        core = Core(State())
        loop = listing.loop = Loop(core, journal, clock, engine, [listing])
        engine.resume([])
        done = threading.Thread(target=_stop_when_over, args=(loop, clock, listing, len(jobs)), daemon=True)
        done.start()
        loop.run()
        spent = _cpu_s() - listing.begun_s[0], cluster.cpu_s("slurmctld") - listing.begun_s[1]
        facts = [entry.fact for entry in journal.read(0)]
        engine.close()
        starts = {fact.run: fact.at_us for fact in facts if isinstance(fact, RunStarted)}
        ends = {fact.run: fact.at_us for fact in facts if isinstance(fact, RunEnded)}
        ended = [fact for fact in facts if isinstance(fact, JobEnded)]
        assert len(ended) == len(starts) == len(jobs), (
            f"{len(ended)} of {len(jobs)} jobs ended, {len(starts)} starts"
        )
        assert all(fact.state == "succeeded" for fact in ended), "all jobs succeed"
        sizes = {f"acme-{n}.1": job.nodes * job.gpus for n, job in enumerate(jobs, 1)}
        gpu_s = sum((ends[run] - starts[run]) / SECOND_US * sizes[run] for run in starts)
        journal.close()
        return Course(listing.given_us, list(starts.values()), list(ends.values()), gpu_s, spent[1], spent[0])


def _stop_when_over(loop: Loop, clock: LiveClock, listing: Listing, count: int) -> None:
    deadline, begun = time.monotonic() + PATIENCE_S, False
    while time.monotonic() < deadline:
        if begun and not loop.core.state.jobs:
            break
        begun = begun or bool(loop.core.state.jobs)
        time.sleep(0.2)
    loop.stopping = True
    clock.wake()


# ── figures ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _figures(name: str, course: Course) -> dict[str, dict[str, Any]]:
    count = len(course.starts)
    wait_s = sum(start - course.asked_us for start in course.starts) / count / SECOND_US
    makespan_s = (max(course.ends) - course.asked_us) / SECOND_US
    shown = {
        "jobs": (count, "jobs"),
        "starts_per_s": (_rate(course), "1/s"),
        "mean_wait": (wait_s, "s"),
        "utilisation": (100 * course.gpu_s / (NODES * GPUS * makespan_s), "%"),
        "slurmctld_ms_per_job": (1000 * course.slurmctld_s / count, "CPU ms"),
        "ours_ms_per_job": (1000 * course.ours_s / count, "CPU ms"),
    }
    return {
        f"slurm.{name}.{key}": {"value": round(value, 2), "unit": unit, "target": None, "ok": True}
        for key, (value, unit) in shown.items()
    }


def _ratios(plain: Course, ours: Course) -> dict[str, dict[str, Any]]:
    starts = _rate(ours) / _rate(plain)
    cpu = (ours.slurmctld_s / len(ours.starts)) / (plain.slurmctld_s / len(plain.starts))
    return {
        "slurm.starts_ratio": {"value": round(starts, 2), "unit": "×", "target": ">= 3", "ok": starts >= 3},
        "slurm.slurmctld_ratio": {"value": round(cpu, 2), "unit": "×", "target": "<= 0.5", "ok": cpu <= 0.5},
    }


def _rate(course: Course) -> float:
    return len(course.starts) * SECOND_US / (max(course.starts) - course.asked_us)


def _cpu_s() -> float:
    """Of this process and of the commands that it ran."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _now_us() -> int:
    return time.time_ns() // 1000


if __name__ == "__main__":
    for figure, told in measure().items():
        print(f"{figure:40} {told}")
