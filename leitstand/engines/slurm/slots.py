# SPDX-License-Identifier: Apache-2.0
"""What of a delegated Slurm site is ours, as observations: slots of a quota, each like a node of its partition. Called
by the engine with every list that the cluster gives, in place of `Nodes`.

Where a run truly goes its queue decides. The slots only keep what is there at once within the quota, and gangs within
the size of a node; they serve while any node of the partition does.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from leitstand.core.facts import NodeAdded, NodeRemoved, Observation, SiteAdded
from leitstand.engines.slurm.commands import SlurmNode
from leitstand.engines.slurm.nodes import ENGINE, SERVES
from leitstand.engines.slurm.site import Place, Quota

_log = logging.getLogger(__name__)

Shape = tuple[int, str, int, int]  # of a node: GPUs, their type, CPUs, memory in MiB


class Slots:
    """The slots of one site as they were reported last."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._said: dict[str, NodeAdded] = {}  # in service
        self._unsaid = set(place.known)  # of which nothing was reported yet
        self._introduced = False
        self._shape: Shape = (0, "", 0, 0)
        self._cut = False

    @property
    def gpu_type(self) -> str:
        """What the cluster calls its GPUs, '' if it has no name for them."""
        return self._shape[1]

    @property
    def ids(self) -> frozenset[str]:
        """Nodes that say how their GPUs are: none, those of a partner are its own to look after."""
        return frozenset()

    @property
    def totals(self) -> tuple[int, int, int]:
        """(slots, slots in service, GPUs in service)."""
        gpus = sum(node.gpus for node in self._said.values())
        return len({*self._said, *self._unsaid}), len(self._said), gpus

    def is_out(self, node: str) -> bool:
        """No slot is a place that a run could lose: its queue has it."""
        return False

    def news(self, listed: Sequence[SlurmNode], domains: Mapping[str, tuple[str, ...]]) -> list[Observation]:
        """What to report now that these are the nodes of the partition. ValueError: not one slot fits the quota."""
        found: list[Observation] = [] if self._introduced else [self._site()]
        self._introduced = True
        serves = any(node.state in SERVES and node.responds for node in listed)
        self._shape, count = sized(self._place.quota, listed)
        if count > len(listed) and not self._cut:
            self._cut = True
            _log.warning(
                "site %s: the quota is %d nodes, the partition has %d", self._place.name, count, len(listed)
            )
        slots = [self._slot(number) for number in range(1, min(count, len(listed)) + 1)] if serves else []
        found += [slot for slot in slots if self._said.get(slot.node) != slot]
        names = {slot.node for slot in slots}
        gone = sorted({*self._said, *self._unsaid} - names)
        self._said, self._unsaid = {slot.node: slot for slot in slots}, set()
        return [*found, *(NodeRemoved(name) for name in gone)]

    def away(self) -> list[Observation]:
        """The site cannot be reached: nothing new is placed there until `news` lists its nodes again."""
        gone, self._said = sorted(self._said), {}
        return [NodeRemoved(name) for name in gone]

    def _site(self) -> SiteAdded:
        place = self._place
        return SiteAdded(place.name, ENGINE, jurisdiction=place.jurisdiction, delegated=True)

    def _slot(self, number: int) -> NodeAdded:
        gpus, gpu_type, cpus, memory_mib = self._shape
        return NodeAdded(
            node=self._place.node(f"slot-{number:04}"),
            site=self._place.name,
            gpus=gpus,
            cpus_milli=cpus * 1000,
            memory_mib=memory_mib,
            gpu_type=gpu_type,
            pool=self._place.pool,
        )


def sized(quota: Quota, listed: Sequence[SlurmNode]) -> tuple[Shape, int]:
    """Like which nodes slots are, the most frequent kind, and how many of them the quota is. ValueError: none."""
    if not listed:
        raise ValueError("the partition has no nodes")
    shapes = Counter((node.gpus, node.gpu_type, node.cpus, node.memory_mib) for node in listed)
    shape, _ = max(shapes.items(), key=lambda item: (item[1], item[0]))
    if quota.nodes:
        return shape, quota.nodes
    count = quota.gpus // shape[0] if shape[0] else 0
    if not count:
        raise ValueError(
            f"the quota is {quota.gpus} GPUs, and a node of the partition has {shape[0]}: it is to hold one at least"
        )
    return shape, count
