# SPDX-License-Identifier: Apache-2.0
"""How far use is from what is deserved over 30 days in which everybody always wants more. Called by bench/months.py.

The workload: each tenant's recorded jobs in their order, again and again, submitted so that it is always ahead of what
it can get; tenants stand in four classes, and weights alone say who gets how much.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from leitstand.core.cycle import Core
from leitstand.core.rules import TENANT_CLASSES
from leitstand.core.units import DAY_US
from leitstand.twin.studies.playing import Plan, play
from leitstand.twin.studies.record import Record

DAYS: Final = 30
WARM_DAYS: Final = 1
AHEAD_DAYS: Final = 0.5  # of a tenant's own nodes is waiting from the start
DEMAND: Final = 1.5  # against its own nodes


def backlogged(record: Record, days: float = DAYS + WARM_DAYS, demand: float = DEMAND) -> Record:
    """Each tenant submits its recorded jobs in order, again and again, each when the GPU time before it is what its own
    nodes have until then, times `demand`, less a head start. Jobs larger than its nodes are left out."""
    tenants, submits, rows = [], [], []
    for tenant in range(len(record.tenants)):
        owned = sum(record.partition(tenant))
        mine = np.flatnonzero((record.tenant == tenant) & (record.gpus <= owned))
        if not len(mine):
            continue
        work = (record.gpus * record.duration_us)[mine].astype(np.float64)
        wanted = demand * owned * (days + AHEAD_DAYS) * DAY_US
        again = np.tile(mine, int(wanted / work.sum()) + 1)
        before = np.concatenate([[0.0], np.cumsum(np.tile(work, len(again) // len(mine)))[:-1]])
        again, before = again[before < wanted], before[before < wanted]
        submits.append(np.maximum(before / (demand * owned) - AHEAD_DAYS * DAY_US, 0))
        tenants.append(np.full(len(again), tenant))
        rows.append(again)
    submit_us, row = np.concatenate(submits).astype(np.int64) + DAY_US, np.concatenate(rows)
    order = np.argsort(submit_us, kind="stable")
    return replace(
        record,
        name=f"{record.name}, backlogged",
        tenant=np.concatenate(tenants)[order],
        submit_us=submit_us[order],
        duration_us=record.duration_us[row][order],
        gpus=record.gpus[row][order],
        classes=[TENANT_CLASSES[tenant % len(TENANT_CLASSES)] for tenant in range(len(record.tenants))],
    )


@dataclass
class Shares:
    """Adds up, cycle by cycle, what every node of the tree used and deserved from `from_us` on."""

    from_us: int
    until_us: int
    used: dict[str, int] = field(default_factory=dict)
    deserved: dict[str, int] = field(default_factory=dict)
    served: dict[str, None] = field(default_factory=dict)  # nodes whose demand was met at any time
    _seen: list[tuple[str, int, int, bool]] = field(default_factory=list)  # node, used, deserved, all of it
    _last_us: int = 0

    def watch(self, core: Core, now: int) -> None:
        """What was so since the last cycle counts until now; then look again."""
        span = min(now, self.until_us) - max(self._last_us, self.from_us)
        if span > 0:
            for node, running, deserved, served in self._seen:
                self.used[node] = self.used.get(node, 0) + running * span
                self.deserved[node] = self.deserved.get(node, 0) + deserved * span
                if served:
                    self.served[node] = None
        standing = next(iter(core.state.pools.values())).standing if core.state.pools else None
        if standing is None:
            return
        tree = standing.tree
        tree.settle()
        self._last_us = now
        self._seen = [
            (node.id, node.running, node.deserved, node.demand <= node.deserved)
            for node in tree.nodes.values()
            if node.depth
        ]

    def errors(self) -> dict[str, float]:
        """|∫u - φ∫D| / ∫D of nodes whose demand was always over their share, φ = Σ∫u / Σ∫D of them and their
        siblings."""
        found = {}
        for name in self.deserved:
            parent = name.rpartition("/")[0]
            family = [other for other in self.deserved if other.rpartition("/")[0] == parent]
            phi = sum(self.used[one] for one in family) / sum(self.deserved[one] for one in family)
            if name not in self.served and self.deserved[name]:
                found[name] = abs(self.used[name] - phi * self.deserved[name]) / self.deserved[name]
        return found


def share_errors(record: Record) -> dict[str, Any]:
    """`errors` by node over DAYS of backlog, use and share of every node, and how it went."""
    full = backlogged(record)
    begin = full.span_us[0] + WARM_DAYS * DAY_US
    shares = Shares(begin, begin + DAYS * DAY_US)
    played = play(full, Plan(owed=False, until_us=shares.until_us), shares.watch)
    gpu_us = 1000 * DAY_US
    return {
        "errors": shares.errors(),
        "gpu_days": {
            node: (shares.used[node] / gpu_us, shares.deserved[node] / gpu_us) for node in shares.used
        },
        "jobs": len(full),
        "starts": len(played.runs),
        "evictions": played.evictions,
        "promises_broken": len(played.broken),
        "cpu_s": played.cpu_s,
    }
