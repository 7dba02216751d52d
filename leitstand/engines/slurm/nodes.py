# SPDX-License-Identifier: Apache-2.0
"""What is new about the nodes of a Slurm site, as observations: added, changed, drained, failed, gone. Called by the
engine with every list that the cluster gives."""

from collections.abc import Mapping, Sequence
from typing import Final

from leitstand.core.facts import NodeAdded, NodeRemoved, Observation, SiteAdded
from leitstand.engines.slurm.commands import SlurmNode
from leitstand.engines.slurm.site import Place

ENGINE: Final = "slurm"
# Of sinfo: takes new work; is gone with what ran there. What is in neither takes nothing new.
SERVES: Final = {"idle", "mixed", "allocated", "completing", "planned", "reserved"}
FAILED: Final = {"down", "fail", "error"}
UNHEARD: Final = {"unknown"}  # since slurmctld was started
LEVELS: Final = {0: (), 1: ("rack",), 2: ("block", "rack")}


class Nodes:
    """The nodes of one site as they were reported last. `domains`: of each node, from the top."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._said: dict[str, NodeAdded] = {}  # in service
        self._out: dict[str, bool] = {}  # out of service, as was reported → whether it failed
        self._left: set[str] = set()  # out of service, reported or not
        self._unsaid = set(place.known)  # of which nothing was reported yet
        self._introduced = False
        self._listed: list[SlurmNode] = []

    def news(self, listed: Sequence[SlurmNode], domains: Mapping[str, tuple[str, ...]]) -> list[Observation]:
        """What to report now that these are the nodes, in the cluster's order."""
        found: list[Observation] = [] if self._introduced else [self._site(domains)]
        self._introduced = True
        self._listed = list(listed)
        present = set()
        for node in listed:
            name = self._place.node(node.name)
            present.add(name)
            if node.state in SERVES and node.responds:
                found += self._serves(self._described(node, domains.get(node.name, ())))
            elif node.state in SERVES or node.state in UNHEARD:  # not lost yet: it may answer again
                continue
            else:
                found += self._leaves(name, node.state in FAILED)
        for name in sorted({*self._said, *self._unsaid} - present):
            found += self._leaves(name, False)
        return found

    def away(self) -> list[Observation]:
        """The site cannot be reached: nothing new is placed there until `news` lists its nodes again."""
        return [one for name in list(self._said) for one in self._leaves(name, False)]

    def is_out(self, node: str) -> bool:
        """Whether the node is out of service, also if that was so before anybody heard of it."""
        return node in self._left

    @property
    def ids(self) -> frozenset[str]:
        """Those that are listed."""
        return frozenset(self._place.node(node.name) for node in self._listed)

    @property
    def totals(self) -> tuple[int, int, int]:
        """(nodes, nodes in service, GPUs in service)."""
        return len(self._listed), len(self._said), sum(node.gpus for node in self._said.values())

    def _site(self, domains: Mapping[str, tuple[str, ...]]) -> SiteAdded:
        depth = max(map(len, domains.values()), default=0)
        levels = LEVELS.get(depth) or tuple(f"level-{n}" for n in range(1, depth + 1))
        return SiteAdded(
            self._place.name, ENGINE, jurisdiction=self._place.jurisdiction, levels=levels if depth else ()
        )

    def _described(self, node: SlurmNode, domains: tuple[str, ...]) -> NodeAdded:
        return NodeAdded(
            node=self._place.node(node.name),
            site=self._place.name,
            gpus=node.gpus,
            cpus_milli=node.cpus * 1000,
            memory_mib=node.memory_mib,
            gpu_type=node.gpu_type,
            pool=self._place.pool,
            domains=domains,
        )

    def _serves(self, node: NodeAdded) -> list[Observation]:
        self._left.discard(node.node)
        if self._said.get(node.node) == node:
            return []
        self._said[node.node] = node
        self._unsaid.discard(node.node)
        self._out.pop(node.node, None)
        return [node]

    def _leaves(self, name: str, failed: bool) -> list[Observation]:
        """It serves no more; one that was drained may fail yet. What was never there is not reported."""
        self._left.add(name)
        drained = name in self._out and failed and not self._out[name]
        if not (name in self._said or name in self._unsaid or drained):
            return []
        self._said.pop(name, None)
        self._unsaid.discard(name)
        self._out[name] = failed
        return [NodeRemoved(name, failed=failed)]
