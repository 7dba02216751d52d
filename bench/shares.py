# SPDX-License-Identifier: Apache-2.0
"""How far use is from deserved shares over 30 days in which everybody always wants more (promise 3: at most 2 % in
pools of at least 16 times the largest gang). Run by name by bench/run.py, some five minutes of CPU time;
`python -m bench.shares 10` plays ten days.

A seeded workload on 64 nodes of 8 GPUs: 14 projects of eight tenants in four classes, with weights from 1 to 4. Each
project always has jobs waiting: whenever one of it starts, another is submitted. Jobs are of 1 to 32 GPUs and run for
half an hour to twelve; each project has a mix of its own, so that some want only gangs and some only single GPUs.
Ticks are every hour and nobody moves, to save time.
"""

import random
import sys
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Any, Final

from bench.support.backlog import DAYS, WARM_DAYS, Shares
from bench.support.table import table
from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.rules import TENANT_CLASSES, Rules, Sharing
from leitstand.core.units import DAY_US, HOUR_US
from leitstand.twin.studies.record import LIMITS

NODES: Final = 64
GPUS: Final = 8
TARGET_PERCENT: Final = 2.0
SIZES: Final = (1, 2, 4, 8, 16, 32)
MIXES: Final = {  # how often each size is asked for
    "single": (1, 0, 0, 0, 0, 0),
    "any": (6, 4, 3, 3, 0, 0),
    "nodes": (0, 0, 0, 3, 1, 0),
    "gangs": (0, 0, 0, 0, 2, 1),
}
# class → (weight, tenants: (weight, mixes of its projects, the n-th with the weight n))
TREE: Final = {
    "industry": (4, ((2, ("any", "gangs")), (1, ("nodes", "single")))),
    "startup": (2, ((1, ("single", "any")), (3, ("any", "nodes")))),
    "research": (3, ((1, ("any", "single")), (2, ("nodes", "gangs")))),
    "public": (1, ((1, ("any",)), (1, ("nodes",)))),
}
AHEAD: Final = 20  # jobs of a project that wait
HOURS: Final = (0.5, 12.0)  # a run's duration, log-uniform
TICK_US: Final = HOUR_US
SEED: Final = 30

Figures = dict[str, dict[str, Any]]


def measure() -> Figures:
    cloud = Backlog()
    cloud.play(DAYS)
    errors = cloud.shares.errors()
    print(f"{DAYS} days of backlog\n{cloud.told()}", flush=True)
    worst = max(errors, key=lambda node: errors[node])
    figure = {
        "value": round(100 * errors[worst], 3),
        "unit": "%",
        "target": f"<= {TARGET_PERCENT}",
        "ok": 100 * errors[worst] <= TARGET_PERCENT,
        "worst": worst,
        "percent": {node: round(100 * error, 2) for node, error in errors.items()},
        **cloud.counts,
    }
    return {f"shares.error_{DAYS}_days": figure}


class Backlog:
    """The cloud of the module."""

    def __init__(self) -> None:
        self.core = Core()
        self.now = DAY_US
        self.counts = {"starts": 0, "stops": 0, "moves": 0, "promises_broken": 0, "cycles": 0}
        self._random = random.Random(SEED)
        self._mix: dict[tuple[str, str], tuple[int, ...]] = {}
        self._ends: list[tuple[int, str]] = []
        self._told: list[f.Observation] = []
        self._cycle([*self._opening()])
        begin = self.now + WARM_DAYS * DAY_US
        self.shares = Shares(begin, begin + DAYS * DAY_US)
        self._cycle([self._job(*leaf) for leaf in self._mix for _ in range(AHEAD)])

    def play(self, days: float) -> None:
        """So many days after the first, in which queues settle."""
        until = self.shares.until_us = self.shares.from_us + int(days * DAY_US)
        while self.now < until:
            wake = self.core.next_wake()
            due = self._ends[0][0] if self._ends else until
            self.now = max(self.now, self.now if self._told else min(due, until if wake is None else wake))
            told, self._told = self._told, []
            while self._ends and self._ends[0][0] <= self.now:
                run = heappop(self._ends)[1]
                if run in self.core.state.runs:
                    told.append(f.RunEnded(run, self.now, "exited", 0))
            self._cycle(told)
            self.shares.watch(self.core, self.now)

    def told(self) -> str:
        """A table, by node of the tree."""
        errors, shares = self.shares.errors(), self.shares
        rows = [
            (
                "  " * node.count("/") + node.rpartition("/")[2],
                shares.used[node] / DAY_US / 1000,
                shares.deserved[node] / DAY_US / 1000,
                100 * errors[node] if node in errors else "had enough",
            )
            for node in sorted(shares.used)
        ]
        return table(("node", "used GPU-d", "deserved", "error %"), rows)

    def _opening(self) -> Iterator[Any]:
        sharing = Sharing(tick_us=TICK_US, moves_max=0)
        yield f.RulesSet(Rules(name="shares", discipline="fair", sharing=sharing), "")
        yield f.SiteAdded("s", "simulated", levels=("rack",))
        for at in range(NODES):
            yield f.NodeAdded(f"n{at}", "s", GPUS, 0, 0, domains=(f"r{at // GPUS}",))
        entitled = []
        for kind in TENANT_CLASSES:
            weight, tenants = TREE[kind]
            entitled.append(a.Entitlement(kind, 0, weight))
            for number, (own, mixes) in enumerate(tenants):
                tenant = f"{kind[0]}{kind[1]}{number}"
                yield f.TenantAdded(tenant, tenant_class=kind)
                entitled.append(a.Entitlement(f"{kind}/{tenant}", 0, own))
                for at, mix in enumerate(mixes):
                    yield a.ProjectAdded(tenant, f"{mix}{at}")
                    self._mix[tenant, f"{mix}{at}"] = MIXES[mix]
                    entitled.append(a.Entitlement(f"{kind}/{tenant}/{mix}{at}", 0, 1 + at))
        yield a.EntitlementsChanged("shared", tuple(entitled))

    def _job(self, tenant: str, project: str) -> f.SubmitJob:
        """Another job of the project."""
        (gpus,) = self._random.choices(SIZES, self._mix[tenant, project])
        hours = HOURS[0] * (HOURS[1] / HOURS[0]) ** self._random.random()
        span = int(hours * HOUR_US)
        limit = next(limit for limit in LIMITS if limit >= span)
        asked = f.Resources(gpus, max(1, gpus // GPUS))
        return f.SubmitJob(
            tenant, project, asked, max_duration_us=int(limit), expected_us=span, checkpoint_every_us=HOUR_US
        )

    def _cycle(self, told: list[Any]) -> None:
        facts = self.core.cycle(self.now, told)
        refused = [answer for answer in self.core.answers if answer.refused]
        assert not refused, refused[0]
        self.counts["cycles"] += 1
        jobs = self.core.state.jobs
        for fact in facts:
            if isinstance(fact, f.RunPlaced):
                self.counts["starts"] += 1
                job = jobs[fact.job]
                heappush(self._ends, (self.now + job.expected_us - job.kept_us, fact.run))
                self._told.append(f.RunStarted(fact.run, self.now))
                if job.runs == 1:
                    self._told.append(self._job(job.tenant, job.project))
            elif isinstance(fact, f.RunStopOrdered):
                self.counts["moves" if fact.cause == f.MOVE else "stops"] += 1
                self._told.append(f.RunEnded(fact.run, self.now, "stopped"))
            elif isinstance(fact, f.PromiseBroken):
                self.counts["promises_broken"] += 1


if __name__ == "__main__":
    backlog = Backlog()
    backlog.play(float(sys.argv[1]))
    print(backlog.told(), backlog.counts, sep="\n")
