# SPDX-License-Identifier: Apache-2.0
"""A cloud under contention in a steady state: whenever a job starts, another arrives, so that as many wait as before.
Called by the benchmark of the scheduler's cycles.

Time is compressed about 600 times, so that the whole fleet turns over in seconds and a cycle of 50 ms holds as many
events as the rate asks. All spans of the rules are compressed with it but the tick, which is as rare among cycles as
where they are short.
"""

import random
import time
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, NamedTuple

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.rules import TENANT_CLASSES, Rules, Sharing
from leitstand.core.units import DAY_US, SECOND_US
from leitstand.runtime import collector

GPUS = 8
PROJECTS_OF_TENANT = 10
RACK, BLOCK = 16, 256  # nodes
SHAPES = (1, 1, 1, 2, 4, 8)
GANG_PART = 0.05  # of the jobs: 2 to 16 whole nodes
GANG_NODES = (2, 4, 8, 16)
GPUS_MEAN = 0.95 * sum(SHAPES) / len(SHAPES) + 0.05 * GPUS * sum(GANG_NODES) / len(GANG_NODES)
LIMITS = 30
GUARANTEED = 0.5  # of the capacity, to every second tenant
CYCLE_US = 50_000
TICK_US = 5 * SECOND_US
BATCH = 2_000  # submissions in one cycle, before anything is measured
SEED = 4


@dataclass(frozen=True)
class World:
    """`starts_per_s`: how many jobs start and end in a second; runs are as long as that needs. With `running` the jobs
    are so small or large that about so many run at a time."""

    nodes: int = 1_250
    projects: int = 1_000
    pending: int = 10_000
    starts_per_s: int = 1_000
    running: int = 0
    domains: bool = True


class Cycle(NamedTuple):
    """CPU seconds of one cycle, what it decided, and whether shares moved in it."""

    cpu_s: float
    starts: int
    stops: int
    reserved: int
    ticked: bool


class Cloud:
    """The world with its fleet full and its queues filled."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.core = Core()
        self.now = DAY_US
        self._random = random.Random(SEED)
        self._due: list[tuple[int, int, str]] = []  # heap of (end, order of start, run)
        self._ends: dict[str, int] = {}
        self._started = 0
        self._reports: list[Any] = []
        running = world.running or world.nodes * GPUS / GPUS_MEAN
        self._mean_us = int(running / world.starts_per_s * SECOND_US)
        self._scale = world.nodes * GPUS / running / GPUS_MEAN
        self._open()
        left = world.pending + int(running)
        while left > 0:
            self._cycle([self._job() for _ in range(min(BATCH, left))])
            left -= BATCH
        self._cycle([self._rules()])  # everybody waits, so that the first who start are those who should
        collector.settle()  # as the writer does once it has restored its state

    def _open(self) -> None:
        world = self.world
        tenants = [f"t{number}" for number in range(max(1, world.projects // PROJECTS_OF_TENANT))]
        projects = world.projects // len(tenants)
        entitled = [a.Entitlement(name, -1) for name in TENANT_CLASSES]
        observations: list[Any] = [
            self._rules(DAY_US),
            f.SiteAdded("s", "simulated", levels=("block", "rack") if world.domains else ()),
        ]
        for at in range(world.nodes):
            domains = (f"b{at // BLOCK}", f"r{at // RACK}") if world.domains else ()
            observations.append(f.NodeAdded(f"n{at}", "s", GPUS, 192_000, 2_000_000, domains=domains))
        each = int(world.nodes * GPUS * 1000 * GUARANTEED) // max(1, len(tenants) // 2)
        for number, tenant in enumerate(tenants):
            kind = TENANT_CLASSES[number // 2 % len(TENANT_CLASSES)]
            observations.append(f.TenantAdded(tenant, tenant_class=kind))
            observations += [a.ProjectAdded(tenant, f"p{project}") for project in range(projects)]
            entitled.append(a.Entitlement(f"{kind}/{tenant}", each if number % 2 else 0))
        self._leaves = [(tenant, f"p{project}") for project in range(projects) for tenant in tenants]
        self._limits = [
            int(self._mean_us * 2 ** (-1.5 + 4 * number / LIMITS)) for number in range(LIMITS)
        ]  # about log-uniform; runs use half of them in the mean
        observations.append(a.EntitlementsChanged("shared", tuple(entitled)))
        self._cycle(observations)

    def _rules(self, start_interval_us: int = 0) -> f.RulesSet:
        """The default rules, compressed: a mean run stands for an hour."""
        hour = self._mean_us / 3_600
        sharing = Sharing(
            protected_us=int(600 * hour),
            grace_us=int(30 * hour),
            stop_us=int(30 * hour),
            recall_us=int(900 * hour) + 2 * SECOND_US,
            restart_us=int(120 * hour),
            half_life_us=int(14 * 86_400 * hour),
            tick_us=TICK_US,
            start_interval_us=start_interval_us,
        )
        return f.RulesSet(Rules(name="steady", discipline="fair", sharing=sharing), "")

    def _job(self) -> f.SubmitJob:
        random = self._random
        tenant, project = self._leaves[int(len(self._leaves) * random.random() ** 1.5)]
        limit_us = random.choice(self._limits)
        if random.random() < GANG_PART:
            nodes = max(1, round(random.choice(GANG_NODES) * self._scale))
            asked = f.Resources(nodes * GPUS, nodes, nodes * 64_000, nodes * 512_000)
        else:
            gpus = max(1, round(random.choice(SHAPES) * self._scale))
            asked = f.Resources(gpus, 0 if gpus > GPUS else 1, gpus * 8_000, gpus * 64_000)
        return f.SubmitJob(
            tenant,
            project,
            asked,
            priority=random.choice((0, 0, 0, 1)),
            max_duration_us=limit_us,
            expected_us=int(limit_us * random.uniform(0.2, 1)),
        )

    def step(self) -> Cycle:
        """One cycle: what ended and started since the last is reported, and for every start there is a new job."""
        self.now += CYCLE_US
        arriving = sum(type(report) is f.RunStarted for report in self._reports)
        return self._cycle([self._job() for _ in range(arriving)])

    def _cycle(self, arriving: list[Any]) -> Cycle:
        observations, self._reports = self._reports, []
        while self._due and self._due[0][0] <= self.now:
            run = heappop(self._due)[2]
            if self._ends.pop(run, None) is not None:
                observations.append(f.RunEnded(run, self.now, "exited", 0))
        observations += arriving
        begun = time.process_time()
        facts = self.core.cycle(self.now, observations)
        spent_s = time.process_time() - begun
        refused = [answer for answer in self.core.answers if answer.refused]
        assert not refused, refused[0]
        return self._heard(facts, spent_s)

    def _heard(self, facts: list[f.Fact], spent_s: float) -> Cycle:
        starts = stops = reserved = 0
        ticked = False
        jobs = self.core.state.jobs
        for fact in facts:
            if isinstance(fact, f.RunPlaced):
                starts += 1
                self._started += 1
                ends = self.now + jobs[fact.job].expected_us
                self._ends[fact.run] = ends
                heappush(self._due, (ends, self._started, fact.run))
                self._reports.append(f.RunStarted(fact.run, self.now))
            elif isinstance(fact, f.RunStopOrdered) and self._ends.pop(fact.run, None) is not None:
                stops += 1
                self._reports.append(f.RunEnded(fact.run, self.now, "stopped"))
            elif isinstance(fact, f.CapacityReserved):
                reserved += 1
            elif isinstance(fact, f.SharesTicked):
                ticked = True
        return Cycle(spent_s, starts, stops, reserved, ticked)
