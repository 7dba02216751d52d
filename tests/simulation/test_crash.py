# SPDX-License-Identifier: Apache-2.0
"""Seeded simulation of crashes: the loop dies before or after an append, reports come twice or late, and still every
job ends once, nothing is oversold, usage is the engine's true time and the journal refolds to the state."""

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.rules import DISCIPLINES, Rules
from leitstand.engines.simulated import SimulatedEngine
from leitstand.journal.memory import MemoryJournal
from leitstand.runtime.clock import VirtualClock
from leitstand.runtime.loop import Loop, resume
from leitstand.runtime.ports import Head
from tests.properties.test_core import check_nothing_oversold

SEEDS = range(60)
JOBS = 60


class Crash(Exception):
    pass


class CrashingJournal(MemoryJournal):
    """Dies before an append (nothing recorded) or after it (recorded, orders not sent), at seeded moments."""

    def __init__(self, chance: random.Random, rate: float) -> None:
        super().__init__()
        self.chance = chance
        self.rate = rate

    def append(self, head: Head, at: int, facts: Sequence[f.Fact]) -> Head:
        if self.chance.random() < self.rate:
            raise Crash("before the append")
        after = super().append(head, at, facts)
        if self.chance.random() < self.rate:
            raise Crash("after the append")
        return after


class RepeatingEngine(SimulatedEngine):
    """Says some reports twice, the second time later."""

    def __init__(self, chance: random.Random, rate: float) -> None:
        super().__init__()
        self.chance = chance
        self.rate = rate
        self.again: list[f.Observation] = []

    def take(self, now: int) -> Sequence[f.Observation]:
        reports = list(super().take(now))
        repeated, self.again = self.again, [report for report in reports if self.chance.random() < self.rate]
        return reports + repeated


class Requests:
    """Submissions and cancels at seeded times. The client of a crashed plane asks again with the same key."""

    def __init__(self, chance: random.Random) -> None:
        self.todo: list[tuple[int, f.Observation]] = []
        now = 0
        for number in range(JOBS):
            now += chance.choice([0, 0, 1, 5, 30])
            shape = f.Resources(chance.choice([1, 1, 2, 4, 8]))
            job = f.SubmitJob(
                "acme", "default", shape, expected_us=chance.randint(0, 60), request=f"r{number}"
            )
            self.todo.append((now, job))
            if chance.random() < 0.2:
                self.todo.append(
                    (now + chance.randint(0, 40), f.CancelJob(f"acme-{chance.randint(1, JOBS)}"))
                )
        self.todo.sort(key=lambda entry: entry[0])
        self.sent = 0
        self.settled = 0

    def next_time(self) -> int | None:
        return self.todo[self.sent][0] if self.sent < len(self.todo) else None

    def take(self, now: int) -> Sequence[f.Observation]:
        start = self.settled = self.sent
        while self.sent < len(self.todo) and self.todo[self.sent][0] <= now:
            self.sent += 1
        return [observation for _, observation in self.todo[start : self.sent]]

    def crashed(self) -> None:
        self.sent = self.settled


def simulate(seed: int) -> tuple[Core, CrashingJournal, int]:
    chance = random.Random(seed)
    crash_rate, repeat_rate = chance.choice([0.0, 0.01, 0.1]), chance.choice([0.0, 0.3])
    journal = CrashingJournal(chance, 0.0)
    opening: list[f.Observation] = [f.RulesSet(Rules(discipline=chance.choice(DISCIPLINES)), "")]
    opening += [f.TenantAdded("acme"), f.SiteAdded("s", "simulated")]
    opening += [f.NodeAdded(f"n{i}", "s", size, 0, 0) for i, size in enumerate((8, 8, 4))]
    core = Core()
    journal.append(journal.head, -1, core.cycle(-1, opening))
    journal.rate = crash_rate
    requests = Requests(chance)
    clock = VirtualClock()
    crashes = 0
    while True:
        engine = RepeatingEngine(chance, repeat_rate)
        resume(engine, core.state)
        try:
            Loop(core, journal, clock, engine, [requests]).run()
        except Crash:
            crashes += 1
            requests.crashed()
            core = Core()
            core.fold((entry.at, entry.fact) for entry in journal.read(0))
            check_nothing_oversold(core.state)
            continue
        return core, journal, crashes


@pytest.mark.parametrize("seed", SEEDS)
def test_crashes_lose_nothing_and_double_nothing(seed: int) -> None:
    core, journal, _ = simulate(seed)
    facts = [entry.fact for entry in journal.read(0)]
    submitted = [fact.job for fact in facts if isinstance(fact, f.JobSubmitted)]
    assert len(submitted) == JOBS
    ends = Counter(fact.job for fact in facts if isinstance(fact, f.JobEnded | f.JobRejected))
    assert ends == Counter(submitted)
    assert not core.state.jobs
    assert not core.state.runs
    asked = {fact.job: fact for fact in facts if isinstance(fact, f.JobSubmitted)}
    states = {fact.job: fact.state for fact in facts if isinstance(fact, f.JobEnded)}
    for usage in (fact for fact in facts if isinstance(fact, f.UsageMetered)):
        job = usage.run.rpartition(".")[0]
        if states[job] == "succeeded":
            assert usage.wall_us == asked[job].expected_us
        else:
            assert usage.wall_us <= asked[job].expected_us
    stopped = {
        entry.fact.run: entry.at for entry in journal.read(0) if isinstance(entry.fact, f.RunStopOrdered)
    }
    for end in (fact for fact in facts if isinstance(fact, f.RunEnded) and fact.run in stopped):
        assert end.at_us <= stopped[end.run], "a stop was lost"
    refolded = Core()
    refolded.fold((entry.at, entry.fact) for entry in journal.read(0))
    assert refolded.state.digest() == core.state.digest()


def test_the_same_seed_gives_the_same_chain() -> None:
    assert simulate(7)[1].head == simulate(7)[1].head


def test_the_seeds_do_crash_the_loop() -> None:
    assert sum(simulate(seed)[2] for seed in SEEDS) > 100
