# SPDX-License-Identifier: Apache-2.0
"""One pool with an entitlement tree, nodes and runs, for tests of preemption; times are in µs, charges in milli-GPU.

It carries an act out as the plan does: the job's claim counts as running, the victims are stopping and wait again.
"""

from leitstand.core.acts import Entitlement
from leitstand.core.facts import Resources
from leitstand.core.places.fit import Availability
from leitstand.core.places.placement import Place, place
from leitstand.core.places.timeline import INFINITY, Timeline
from leitstand.core.rules import Sharing
from leitstand.core.sharing.shares import Held, Tree
from leitstand.core.yielding.offers import Yielding
from leitstand.core.yielding.preemption import Act, Scene, Wanted

GPU = 1000
NOW = 1_000_000_000_000


class World:
    """See the module. `sizes`: GPUs of the nodes. `colocate`: tasks of a gang may share a node. Unless `sharing` says
    otherwise, whoever is behind at all may rebalance."""

    def __init__(self, *sizes: int, colocate: bool = False, sharing: Sharing | None = None) -> None:
        self.tree = Tree()
        self.free = Availability()
        self.sharing = sharing or Sharing(ahead_us=0)
        self.colocate = colocate
        self.runs: dict[str, Yielding] = {}
        self.asked: dict[str, Resources] = {}
        self.number = 0
        self.now = NOW
        for position, size in enumerate(sizes):
            self.free.put(position, size, (1 << size) - 1, 100_000, 100_000)
            self.free.size = max(self.free.size, size)
        self.timeline = Timeline(self.free)
        self.tree.resize(sum(sizes) * GPU)

    def entitle(
        self, node: str, guarantee: int = 0, weight: int = 1, borrow: int = -1, lend: int = -1
    ) -> None:
        self.tree.entitle(Entitlement(node, guarantee, weight, borrow, lend))

    def run(
        self,
        job: str,
        leaf: str,
        gpus: int | list[Place],
        cost: int = 1,
        priority: int = 0,
        charge: int = 0,
        start: int = 0,
        position: int = -1,
        age_us: int = 0,
        until_us: int = INFINITY,
    ) -> None:
        """A run of `gpus` on the tightest node (or `position`, or on places); started after those before it."""
        self.number += 1
        if isinstance(gpus, list):
            places = gpus
        else:
            if position < 0:
                position = self.free.tightest(gpus, 0, 0)
            assert position >= 0, "the run has a place"
            places = [(position, gpus)]
        for at, count in places:
            mask = self.free.gpus[at]
            bits = 0
            for _ in range(count):
                low = mask & -mask
                bits, mask = bits | low, mask ^ low
            self.free.take(at, bits, 0, 0)
        whole = sum(count for _, count in places)
        held = Held(
            job, self.tree.node(leaf), charge or whole * GPU, priority, (start or self.number, self.number)
        )
        self.tree.start(held)
        age_us = age_us or self.sharing.protected_us + 1
        parts = [(0, 0)] * len(places)
        self.timeline.occupy(f"{job}.1", places, parts, until_us)
        self.runs[f"{job}.1"] = Yielding(
            f"{job}.1", held.leaf, tuple(places), tuple(parts), held.charge, cost, self.now - age_us, False
        )

    def wants(
        self,
        job: str,
        leaf: str,
        gpus: int,
        priority: int = 0,
        limit_us: int = INFINITY,
        nodes: int = 1,
        charge: int = 0,
    ) -> Wanted:
        """A job that waits, known to the tree."""
        node = self.tree.node(leaf)
        charge = charge or gpus * GPU
        self.tree.wait(node, charge)
        self.tree.settle()
        self.asked[job] = Resources(gpus, nodes)
        return Wanted(job, node, charge, priority, self.asked[job], limit_us)

    def scene(self) -> Scene:
        self.tree.settle()
        return Scene(
            self.tree,
            self.timeline,
            lambda held: self.runs.get(f"{held.id}.1"),
            self.now,
            self.sharing,
            lambda asked, free: place(free, asked, colocate=self.colocate),
        )

    def carry_out(self, wanted: Wanted, act: Act) -> None:
        """What the plan makes of an act, but for telling the scene."""
        self.number += 1
        self.tree.wait(wanted.leaf, -wanted.charge)
        self.tree.start(
            Held(wanted.job, wanted.leaf, wanted.charge, wanted.priority, (self.now, self.number))
        )
        parts = [(0, 0)] * len(act.places)
        until_us = min(self.now + wanted.limit_us, INFINITY)
        self.timeline.reserve(wanted.job, "claim", act.places, parts, self.now, until_us)
        for victim in act.victims:
            run = self.runs[victim]
            held = self.tree.end(run.job)
            self.tree.wait(held.leaf, held.charge)
            self.timeline.stop(victim, self.now + self.sharing.grace_us + self.sharing.stop_us)
            self.runs[victim] = run._replace(stopping=True)
        self.tree.settle()
