# SPDX-License-Identifier: Apache-2.0
"""A cloud in virtual time: the core and the loop of live operation, a simulated engine, submissions at given times.

Called by the benchmarks of the scheduler. CPU seconds are those of the loop, from its first cycle to its last.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop

from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.engines.simulated import SimulatedEngine
from leitstand.runtime.clock import VirtualClock
from leitstand.runtime.loop import Loop
from leitstand.runtime.ports import Entry, Head, Journal, Source

Timed = tuple[int, f.Observation]


@dataclass(slots=True)
class Story:
    """What became of the jobs, times in µs. `cycles`: CPU seconds of each cycle."""

    submitted: dict[str, int] = field(default_factory=dict)
    first_start: dict[str, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    evictions: int = 0
    moves: int = 0
    starts: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    cycles: list[float] = field(default_factory=list)
    cpu_s: float = 0.0

    def wait_us(self, job: str) -> int:
        """From submission to the first start."""
        return self.first_start[job] - self.submitted[job]


def play(core: Core, timed: Iterable[Timed], until_us: int | None = None) -> Story:
    """Give the core everything at its time and let it run to its end, or `until_us`."""
    story = Story()
    source = _Scripted(timed)
    loop = Loop(core, _Heard(story), VirtualClock(), SimulatedEngine(), [source])
    decide = core.cycle

    def timed_cycle(now: int, observations: Iterable[f.Observation]) -> list[f.Fact]:
        if until_us is not None and now >= until_us:
            loop.stopping = True
        begun = time.process_time()
        facts = decide(now, observations)
        story.cycles.append(time.process_time() - begun)
        return facts

    core.cycle = timed_cycle  # type: ignore[method-assign]
    begun = time.process_time()
    loop.run()
    story.cpu_s = time.process_time() - begun
    del core.cycle
    return story


class _Scripted(Source):
    def __init__(self, timed: Iterable[Timed]) -> None:
        self._left = [(at, number, observation) for number, (at, observation) in enumerate(timed)]
        heapify(self._left)

    def next_time(self) -> int | None:
        return self._left[0][0] if self._left else None

    def take(self, now: int) -> Sequence[f.Observation]:
        taken: list[f.Observation] = []
        while self._left and self._left[0][0] <= now:
            taken.append(heappop(self._left)[2])
        return taken


class _Heard(Journal):
    """Keeps no facts; notes what the story needs."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self._head = Head(0, 0, b"")

    @property
    def head(self) -> Head:
        return self._head

    def append(self, head: Head, now: int, facts: Sequence[f.Fact]) -> Head:
        story = self.story
        for fact in facts:
            name = type(fact).__name__
            story.counts[name] = story.counts.get(name, 0) + 1
            if isinstance(fact, f.JobSubmitted):
                story.submitted[fact.job] = now
            elif isinstance(fact, f.RunPlaced):
                story.starts += 1
                story.first_start.setdefault(fact.job, now)
            elif isinstance(fact, f.JobEnded):
                story.ended[fact.job] = now
            elif isinstance(fact, f.RunStopOrdered):
                story.evictions += fact.cause in f.TAKES
                story.moves += fact.cause == f.MOVE
        return self._head

    def read(self, after: int, limit: int | None = None) -> Iterator[Entry]:
        return iter(())

    def close(self) -> None:
        pass
