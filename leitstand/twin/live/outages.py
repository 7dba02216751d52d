# SPDX-License-Identifier: Apache-2.0
"""Failures of nodes in a watched twin, as a source: a node goes with what ran on it, and comes back. Called by the
writer.

When a node fails and when it is back depends on the seed and its name alone, not on what happens meanwhile: after a
restart the same failures go on where they were. A node that is out of service for another reason does not fail.
"""

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Final
from zlib import crc32

from leitstand.core import facts as f
from leitstand.core.state import State
from leitstand.runtime.ports import Source
from leitstand.twin.forking.failing import Spans, failed
from leitstand.twin.live.scenario import Outage
from leitstand.twin.synthetic.exact import Chance

FAILING: Final = 8  # the purpose of this chance


class Outages(Source):
    """See the module. From `start_us` on; what came up to `done_us` is not told again. `state`: of the core."""

    def __init__(
        self, what: Outage, nodes: Sequence[f.NodeAdded], start_us: int, done_us: int, state: State
    ) -> None:
        self._what = what
        self._state = state
        self._nodes = {node.node: node for node in nodes}
        self._due: list[tuple[int, str, bool]] = []  # when, which node, whether it comes back
        self._down: set[str] = set()
        self._spans = {name: Spans(Chance(what.seed, FAILING, crc32(name.encode()))) for name in self._nodes}
        for name in self._nodes:
            self._go_on(name, start_us, done_us)

    def next_time(self) -> int | None:
        return self._due[0][0] if self._due else None

    def take(self, now: int) -> Sequence[f.Observation]:
        told: list[f.Observation] = []
        while self._due and self._due[0][0] <= now:
            at, name, comes_back = heappop(self._due)
            if comes_back:
                if name in self._down:
                    self._down.discard(name)
                    told.append(self._nodes[name])
                heappush(self._due, (at + self._spans[name].next(self._what.every_us), name, False))
                continue
            heappush(self._due, (at + self._what.repair_us, name, True))
            if self._state.nodes[name].in_service:
                self._down.add(name)
                told += failed(self._state, name, at)
        return told

    def _go_on(self, name: str, start_us: int, done_us: int) -> None:
        """The next thing that happens to the node after `done_us`."""
        at = start_us
        while True:
            at += self._spans[name].next(self._what.every_us)
            if at > done_us:
                heappush(self._due, (at, name, False))
                return
            at += self._what.repair_us
            if at > done_us:
                heappush(self._due, (at, name, True))
                node = self._state.nodes.get(name)
                if node is not None and not node.in_service:
                    self._down.add(name)
                return
