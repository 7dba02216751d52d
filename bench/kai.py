# SPDX-License-Identifier: Apache-2.0
"""KAI-Scheduler's scale tests as decisions, on 500 nodes of 8 GPUs: CPU seconds of the cycles from the submission until
all of it runs, or until it is certain that it cannot. Evictions are counted: they have to be exactly as many as needed.

A queue with "deserved" is a project with a guarantee, one without a project with neither guarantee nor weight. KAI has
no protected time, no grace and no time limits: runs may be taken at once; who comes has the longest limit, and what is
there ends at times that are all different. In the test of consolidation all jobs are of one queue, so that nobody can
be evicted: runs that move are counted, and a minute passes until the next tick.
"""

import gc
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.rules import Rules, Sharing
from leitstand.core.units import DAY_US, MINUTE_US, SECOND_US

NODES = 500
GPUS = 8
LEVELS = ("zone", "block", "rack")
SIZES = (4, 8, 8, 2)  # zones, blocks of each, racks of each, nodes of each
BATCH = 500  # submissions in one cycle
LARGE = (10, 30, 100, 300, 1000)
REPEATS = 3
SHARING = Sharing(protected_us=0, grace_us=0, stop_us=0, restart_us=0)

Figures = dict[str, dict[str, Any]]


def measure() -> Figures:
    figures: Figures = {}
    figures["kai.fill_4000"] = _figure(_fill(Cluster(NODES)), 10)
    for name, cluster in (
        ("full", _full()),
        ("fragmented", _fragmented()),
        ("nine_nodes_free", _nine_free()),
    ):
        figures[f"kai.cannot_fit_10x8_{name}"] = _figure(_cannot_fit(cluster), 1)
    for name, cluster in (("empty", Cluster(NODES)), ("one_zone_left", _one_zone_left())):
        figures[f"kai.gang_512x2_in_a_zone_{name}"] = _figure(_gang(cluster), 1)
    for gpus in (2000, 4000):
        gang = f.Resources(gpus, gpus // GPUS)
        figures[f"kai.reclaim_one_job_{gpus}"] = _reclaim(_full(), [gang], gpus, 2)
    figures["kai.reclaim_4000_jobs"] = _reclaim(_full(), [f.Resources(1)] * 4000, 4000, 2)
    figures["kai.consolidation"] = _consolidation()
    return figures | _large()


def _fill(cluster: "Cluster") -> float:
    spent_s = cluster.submit("idle", [f.Resources(1)] * cluster.gpus)
    assert len(cluster.core.state.runs) == cluster.gpus, "everything runs"
    return spent_s


def _cannot_fit(cluster: "Cluster") -> float:
    """The CPU time after which it is certain that ten whole nodes are not there; if there are GPUs enough, but in
    pieces, also when they will be."""
    spent_s = cluster.submit("idle", [f.Resources(80, 10)])
    (job,) = (job for job in cluster.core.state.jobs.values() if not job.run)
    free = cluster.core.state.pools["shared"].free
    assert sum(gpus.bit_count() == GPUS for gpus in free.gpus) < 10, "it cannot fit"
    pieces = sum(gpus.bit_count() for gpus in free.gpus)
    assert pieces < 80 or job.id in cluster.core.state.reservations, "and it is known when it can"
    return spent_s


def _gang(cluster: "Cluster") -> float:
    spent_s = cluster.submit("idle", [f.Resources(1024, 512, level="zone")])
    state = cluster.core.state
    run = list(state.runs.values())[-1]
    assert len(run.tasks) == 512
    assert len({state.nodes[task.node].domains[0] for task in run.tasks}) == 1, "one zone holds it"
    return spent_s


def _reclaim(cluster: "Cluster", asked: list[f.Resources], gpus: int, limit_s: float) -> dict[str, Any]:
    gc.collect()
    gc.freeze()  # as the writer does once it has restored its state
    spent_s = cluster.submit("owner", asked)
    gc.unfreeze()
    state = cluster.core.state
    owned = [run for run in state.runs.values() if state.jobs[run.job].project == "owner"]
    figure = _figure(spent_s, limit_s)
    exact = cluster.evictions == gpus and len(owned) == len(asked)
    counts = {"evictions": cluster.evictions, "needed": gpus, "started": len(owned), "asked": len(asked)}
    return figure | {"ok": figure["ok"] and exact, **counts}


def _consolidation() -> dict[str, Any]:
    """41 gangs of 10 tasks of 6 GPUs, five GPUs free on every node: 410 runs have to move."""
    cluster = _full()
    cluster.end(run for run in cluster.runs() if run.tasks[0].bits & 0b11111)
    gangs = [f.Resources(60, 10)] * 41
    spent_s = cluster.submit("idle", gangs)
    while any(not job.run for job in cluster.core.state.jobs.values()):
        before = cluster.moves
        spent_s += cluster.tick()
        assert cluster.moves > before, "each tick moves somebody"
    figure = _figure(spent_s, 10)
    figure["ok"] = figure["ok"] and cluster.moves <= 410 and not cluster.evictions
    return figure | {"moves": cluster.moves, "needed": 410, "evictions": cluster.evictions}


def _large() -> Figures:
    """ReclaimLargeJobs_N, and how its time grows with N."""
    figures: Figures = {}
    spent: list[tuple[int, float]] = []
    for nodes in LARGE:
        tries = []
        for _ in range(1 if nodes == LARGE[-1] else REPEATS):
            gang = f.Resources(nodes // 10 * GPUS, nodes // 10)
            tries.append(_reclaim(_full(nodes), [gang], nodes * GPUS // 10, 2))
        figure = min(tries, key=lambda one: float(one["value"]))
        figures[f"kai.reclaim_large_jobs_{nodes}"] = figure
        spent.append((nodes, figure["value"]))
    grows = exponent(spent)
    limit = exponent([(nodes, nodes * math.log2(nodes)) for nodes in LARGE])
    figures["kai.reclaim_large_jobs_exponent"] = {
        "value": round(grows, 2),
        "unit": "",
        "target": f"<= {round(limit, 2)} (N log N)",
        "ok": grows <= limit,
    }
    return figures


def exponent(points: Iterable[tuple[float, float]]) -> float:
    """The slope of the least-squares line through the logarithms of (x, y)."""
    logs = [(math.log(x), math.log(max(y, 1e-9))) for x, y in points]
    mean_x = sum(x for x, _ in logs) / len(logs)
    mean_y = sum(y for _, y in logs) / len(logs)
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum((x - mean_x) ** 2 for x, _ in logs)


def _figure(spent_s: float, limit_s: float) -> dict[str, Any]:
    return {"value": round(spent_s, 4), "unit": "CPU s", "target": f"<= {limit_s}", "ok": spent_s <= limit_s}


# ── clusters ──────────────────────────────────────────────────────────────────────────────────────────────────────
def _full(nodes: int = NODES) -> "Cluster":
    """One-GPU jobs on every GPU, all of the project without guarantee."""
    cluster = Cluster(nodes)
    _fill(cluster)
    return cluster


def _fragmented() -> "Cluster":
    """Seven GPUs free on every node."""
    cluster = _full()
    cluster.end(run for run in cluster.runs() if not run.tasks[0].bits & 1)
    return cluster


def _nine_free() -> "Cluster":
    """Nine nodes free, seven GPUs on every other."""
    cluster = _fragmented()
    cluster.end(list(cluster.runs())[:9])
    return cluster


def _one_zone_left() -> "Cluster":
    """One GPU busy in every zone but the second."""
    cluster = Cluster(NODES)
    cluster.submit("idle", [f.Resources(8)] * NODES)
    per_zone = math.prod(SIZES[1:])
    busy = [zone * per_zone for zone in range(SIZES[0]) if zone != 1]
    cluster.end(run for at, run in enumerate(cluster.runs()) if at not in busy)
    return cluster


@dataclass
class Cluster:
    """Nodes, two projects and a core that is told at once what its orders led to."""

    nodes: int
    core: Core = field(default_factory=Core)
    now: int = DAY_US
    evictions: int = 0
    moves: int = 0
    submitted: int = 0

    def __post_init__(self) -> None:
        rules = Rules(name="kai", discipline="fair", sharing=SHARING)
        site = f.SiteAdded("s", "simulated", colocate=True, levels=LEVELS)
        owner = a.Entitlement("industry/kai/owner", self.gpus * 1000)
        idle = a.Entitlement("industry/kai/idle", 0, 0)
        shares = (owner, idle, a.Entitlement("industry/kai", -1), a.Entitlement("industry", -1))
        self.cycle(
            [
                f.RulesSet(rules, ""),
                site,
                *(f.NodeAdded(f"n{at}", "s", GPUS, 0, 0, domains=_domains(at)) for at in range(self.nodes)),
                f.TenantAdded("kai"),
                a.ProjectAdded("kai", "owner"),
                a.ProjectAdded("kai", "idle"),
                a.EntitlementsChanged("shared", shares),
            ]
        )

    @property
    def gpus(self) -> int:
        """How many there are."""
        return self.nodes * GPUS

    def runs(self) -> Iterator[Any]:
        """What runs, in the order of starts."""
        return iter(list(self.core.state.runs.values()))

    def submit(self, project: str, asked: list[f.Resources]) -> float:
        """Submit in batches and go on until nothing changes any more; CPU seconds of the cycles."""
        spent_s = 0.0
        for start in range(0, len(asked), BATCH):
            self.now += SECOND_US  # so that runs are not equally old
            jobs = []
            for resources in asked[start : start + BATCH]:
                self.submitted += 1
                limit_us = 30 * DAY_US if project == "owner" else 10 * DAY_US + self.submitted * SECOND_US
                jobs.append(f.SubmitJob("kai", project, resources, max_duration_us=limit_us))
            spent_s += self.cycle(jobs)
        return spent_s

    def end(self, runs: Iterable[Any]) -> None:
        """Let these runs end by themselves."""
        self.cycle([f.RunEnded(run.id, self.now, "exited", 0) for run in runs])

    def tick(self) -> float:
        """A minute passes."""
        self.now += MINUTE_US
        return self.cycle([])

    def cycle(self, observations: list[Any]) -> float:
        """Cycles until nothing changes any more; their CPU seconds."""
        spent_s, first = 0.0, True
        while observations or first:
            first = False
            begun = time.process_time()
            facts = self.core.cycle(self.now, observations)
            spent_s += time.process_time() - begun
            refused = [answer for answer in self.core.answers if answer.refused]
            assert not refused, refused[0]
            observations = [
                f.RunStarted(fact.run, self.now) for fact in facts if isinstance(fact, f.RunPlaced)
            ]
            stopped = [fact for fact in facts if isinstance(fact, f.RunStopOrdered)]
            self.moves += sum(fact.cause == f.MOVE for fact in stopped)
            self.evictions += sum(fact.cause != f.MOVE for fact in stopped)
            observations += [f.RunEnded(fact.run, self.now, "stopped") for fact in stopped]
        return spent_s


def _domains(at: int) -> tuple[str, ...]:
    """Zone, block and rack of the node with this number."""
    racks = at // SIZES[3]
    blocks = racks // SIZES[2]
    return f"z{blocks // SIZES[1]}", f"b{blocks}", f"r{racks}"
