# SPDX-License-Identifier: Apache-2.0
"""Failures of nodes at a stated rate, as a source: a node goes with what ran on it, and comes back. Called by `course`.

Each node has its own stream of chance, by its name: the same node fails at the same times in every scenario that has
it, so that scenarios differ by what was changed and not by luck.
"""

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Final
from zlib import crc32

import numpy as np
from msgspec import UNSET

from leitstand.core import facts as f
from leitstand.core.state import State
from leitstand.runtime.ports import Source
from leitstand.twin.forking.changes import Failures
from leitstand.twin.synthetic.exact import Chance, log

FAILING: Final = 7  # the purpose of this chance
DRAWN: Final = 64  # spans at once


class Failing(Source):
    """See the module. From `from_us` until `until_us`; `gone`: nodes that were removed for good, and stay so;
    `failed`: how many went."""

    def __init__(
        self, what: Failures, from_us: int, until_us: int, seed: int, gone: set[str], state: State
    ) -> None:
        self._what = what
        self._until_us = until_us
        self._seed = seed
        self._gone = gone
        self._state = state
        self._due: list[tuple[int, str, f.NodeAdded | None]] = []
        self._streams: dict[str, Spans] = {}
        self._down: set[str] = set()
        self.failed = 0
        self._from_us = from_us
        for node in state.nodes:
            self._watch(node, from_us)

    def note(self, at: int, facts: Sequence[f.Fact]) -> None:
        """New nodes fail, too."""
        for fact in facts:
            if isinstance(fact, f.NodeAdded):
                self._watch(fact.node, max(at, self._from_us))

    def next_time(self) -> int | None:
        return self._due[0][0] if self._due else None

    def take(self, now: int) -> Sequence[f.Observation]:
        told: list[f.Observation] = []
        while self._due and self._due[0][0] <= now:
            at, node, back = heappop(self._due)
            if back is not None:
                self._down.discard(node)
                if node not in self._gone:
                    told.append(back)
                    self._again(node, at)
            elif self._state.nodes[node].in_service:
                told += self._fail(node, at)
            else:  # out of service for another reason
                self._again(node, at)
        return told

    def _watch(self, node: str, at: int) -> None:
        known = node in self._streams
        if known or (self._what.site and self._state.nodes[node].site != self._what.site):
            return
        self._streams[node] = Spans(Chance(self._seed, FAILING, crc32(node.encode())))
        self._again(node, at)

    def _again(self, node: str, at: int) -> None:
        due = at + self._streams[node].next(self._what.every_us)
        if due < self._until_us:
            heappush(self._due, (due, node, None))

    def _fail(self, node: str, at: int) -> list[f.Observation]:
        """Under `fair` the core ends what ran there; else the engine says that it is lost."""
        self.failed += 1
        self._down.add(node)
        was = self._state.nodes[node]
        back = f.NodeAdded(
            node,
            was.site,
            was.gpus,
            was.cpus_milli,
            was.memory_mib,
            was.gpu_type,
            was.pool,
            domains=was.domains,
            mig=None if was.mig is UNSET else was.mig,
        )
        heappush(self._due, (at + self._what.repair_us, node, back))
        return failed(self._state, node, at)


def failed(state: State, node: str, at: int) -> list[f.Observation]:
    """What is told of a node that fails at `at` (µs): under `fair` the core ends what ran there, else the engine says
    that it is lost."""
    told: list[f.Observation] = [f.NodeRemoved(node, failed=True)]
    if state.rules.discipline != "fair":
        told += [
            f.RunEnded(run.id, at, "lost")
            for run in state.runs.values()
            if any(task.node == node for task in run.tasks)
        ]
    return told


class Spans:
    """Spans until the next failure: exponential, with mean 1, times the mean."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._left: list[float] = []

    def next(self, mean_us: int) -> int:
        if not self._left:
            self._left = np.negative(log(self._chance.uniforms(DRAWN))).tolist()
        return 1 + int(self._left.pop() * mean_us)
