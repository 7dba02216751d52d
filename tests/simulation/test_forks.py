# SPDX-License-Identifier: Apache-2.0
"""A fork that is given the true durations and arrivals repeats the real future exactly, from any moment on.

A small cloud under `fair` with contracts, gangs, arrays, elastic jobs, checkpoints, failures and cancellations is
played on the simulated engine; then its future is played again from states in the middle. LEITSTAND_FORKS=100 takes
more of them.
"""

import functools
import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.rules import Rules, Sharing
from leitstand.core.state import State
from leitstand.core.units import HOUR_US, MINUTE_US, SECOND_US
from leitstand.engines.simulated import SimulatedEngine
from leitstand.journal.memory import MemoryJournal
from leitstand.journal.sqlite import SqliteJournal
from leitstand.runtime.clock import VirtualClock
from leitstand.runtime.loop import Loop
from leitstand.runtime.ports import Entry, Source
from leitstand.twin.forking.changes import Scenario, WhatIf
from leitstand.twin.forking.course import Course, play_course
from leitstand.twin.forking.ground import ground_of_journal
from leitstand.twin.forking.times import When
from leitstand.twin.history import Moment, moments
from leitstand.twin.retelling import Play, play, retell, truth_of

TENANTS = ("a", "b", "c")
NODES = 6
HOURS = 8
JOBS = 40
FORKS = int(os.environ.get("LEITSTAND_FORKS", "10"))  # of each history


class Script(Source):
    """What is told, at its times."""

    def __init__(self, told: Sequence[tuple[int, f.Observation]]) -> None:
        self._told = sorted(told, key=lambda one: one[0])

    def next_time(self) -> int | None:
        return self._told[0][0] if self._told else None

    def take(self, now: int) -> Sequence[f.Observation]:
        due = [observation for at, observation in self._told if at <= now]
        self._told = self._told[len(due) :]
        return due


def opening(chance: random.Random) -> list[f.Observation]:
    sharing = Sharing(
        protected_us=5 * MINUTE_US,
        recall_us=10 * MINUTE_US,
        ahead_us=chance.choice((0, HOUR_US)),
        restart_us=MINUTE_US,
    )
    seen: list[f.Observation] = [f.RulesSet(Rules(discipline="fair", sharing=sharing), "")]
    for tenant in TENANTS:
        seen += [a.TenantAdded(tenant), a.ProjectAdded(tenant, "second")]
    seen.append(f.SiteAdded("s", "simulated", levels=("rack",), resizes=True))
    seen += [f.NodeAdded(f"n{n}", "s", 4, 0, 0, pool="shared", domains=(f"r{n // 2}",)) for n in range(NODES)]
    owed = tuple(a.Entitlement(f"industry/{tenant}", 8_000) for tenant in TENANTS[:2])
    return [*seen, a.EntitlementsChanged("shared", (a.Entitlement("industry", 16_000), *owed))]


def job(chance: random.Random) -> f.SubmitJob:
    gpus, nodes = chance.choice(((1, 1), (1, 1), (2, 1), (4, 1), (4, 2), (8, 2), (12, 3)))
    length_us = int(chance.lognormvariate(8, 0.9)) * SECOND_US
    elastic = nodes > 1 and chance.random() < 0.3
    return f.SubmitJob(
        chance.choice(TENANTS),
        chance.choice(("default", "second")),
        f.Resources(gpus, nodes, nodes_max=NODES if elastic else 0),
        priority=chance.choice((0, 0, 1)),
        max_duration_us=int(length_us * chance.choice((0.9, 1.2, 3))) + MINUTE_US,
        expected_us=length_us,
        checkpoint_every_us=chance.choice((0, 10 * MINUTE_US)),
        array=chance.choice((0, 0, 0, 3)),
        elastic=elastic,
        retries=chance.choice((0, 1)),
    )


def script(seed: int) -> list[tuple[int, f.Observation]]:
    chance = random.Random(seed)
    told: list[tuple[int, f.Observation]] = [(0, observation) for observation in opening(chance)]
    for _ in range(JOBS):
        told.append((chance.randrange(HOURS * 3600) * SECOND_US, job(chance)))
    for _ in range(8):
        at = chance.randrange(HOURS * 3600) * SECOND_US
        told.append((at, f.CancelJob(f"{chance.choice(TENANTS)}-{chance.randint(1, 30)}")))
    for _ in range(3):
        at, node = chance.randrange(HOURS * 3600) * SECOND_US, chance.randrange(NODES)
        told.append((at, f.NodeRemoved(f"n{node}", failed=True)))
        back = f.NodeAdded(f"n{node}", "s", 4, 0, 0, pool="shared", domains=(f"r{node // 2}",))
        told.append((at + HOUR_US, back))
    return told


@functools.cache
def lived(seed: int) -> tuple[list[Entry], str]:
    """The journal of a history, and the digest of the state at its end."""
    core, journal = Core(), MemoryJournal()
    Loop(core, journal, VirtualClock(), SimulatedEngine(), [Script(script(seed))]).run()
    assert not core.state.jobs, "everything ends"
    return list(journal.read(0)), core.state.digest()


@pytest.mark.parametrize("seed", range(3))
def test_a_journal_told_again_is_decided_again_fact_for_fact(seed: int) -> None:
    entries, digest = lived(seed)
    told = retell(entries)
    assert told.difference is None
    assert (told.facts, told.core.state.digest()) == (len(entries), digest)


@pytest.mark.parametrize("seed", range(3))
def test_a_fork_with_the_true_durations_and_arrivals_repeats_the_future_from_any_moment(seed: int) -> None:
    entries, digest = lived(seed)
    truth = truth_of(entries)
    told = list(moments(entries))
    for cut in [0, *sorted(random.Random(seed).sample(range(1, len(told)), FORKS))]:
        state = State()
        for moment in told[:cut]:
            for fact in moment.facts:
                state.apply(moment.at, fact)
        again: list[tuple[int, f.Fact]] = []
        core = play(
            Play(truth, told[cut:], from_us=told[cut - 1].at if cut else None),
            state,
            lambda at, facts, again=again: again.extend((at, fact) for fact in facts),
        )
        assert again == [(moment.at, fact) for moment in told[cut:] for fact in moment.facts], f"from {cut}"
        assert core.state.digest() == digest


def test_what_is_decided_otherwise_is_named_with_its_entry() -> None:
    entries, _ = lived(0)
    at = next(n for n, entry in enumerate(entries) if n > 100 and isinstance(entry.fact, f.RunPlaced))
    placed = entries[at].fact
    assert isinstance(placed, f.RunPlaced)
    forged = Entry(
        at + 1, entries[at].at, f.RunPlaced(placed.run, placed.job, placed.tasks[::-1] + placed.tasks)
    )
    found = retell([*entries[:at], forged, *entries[at + 1 :]]).difference
    assert found is not None
    assert (found.seq, found.recorded, found.decided) == (at + 1, forged.fact, placed)


def test_moments_are_the_stamps_of_a_journal() -> None:
    entries, _ = lived(0)
    told: list[Moment] = list(moments(entries))
    assert [moment.first for moment in told[:1]] == [1]
    assert sum(len(moment.facts) for moment in told) == len(entries)
    assert len({moment.at for moment in told}) == len(told)


def said_nothing(entry: Entry) -> Entry:
    """The entry, but that a job does not say how long it takes: only its end tells."""
    if not isinstance(entry.fact, f.JobSubmitted):
        return entry
    return replace(entry, fact=replace(entry.fact, expected_us=1))


@pytest.mark.parametrize("seed", range(3))
def test_a_course_of_a_fork_in_the_past_repeats_the_recorded_future_if_nothing_is_changed(
    seed: int, tmp_path: Path
) -> None:
    entries = [said_nothing(entry) for entry in lived(seed)[0]]
    written = SqliteJournal(tmp_path / "journal.db", commit_every=10_000)
    for moment in moments(entries):
        written.append(written.head, moment.at, moment.facts)
    written.close()
    told = list(moments(entries))
    for cut in random.Random(seed + 100).sample(range(1, len(told) - 1), 1):
        end = When(entries[-1].at)
        ground = ground_of_journal(tmp_path / "journal.db", told[cut - 1].first, end, WhatIf())
        again: list[tuple[int, f.Fact]] = []
        played = play_course(
            Course(Scenario("as planned"), (), 1),
            ground,
            watch=lambda at, facts, again=again: again.extend((at, fact) for fact in facts),
        )
        assert ground.kind == "recorded"
        assert again == [(moment.at, fact) for moment in told[cut:] for fact in moment.facts], f"from {cut}"
        assert played.refused == 0
