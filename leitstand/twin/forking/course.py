# SPDX-License-Identifier: Apache-2.0
"""One course: a scenario played to its end on the real core, in virtual time. Called by `playing`, in its own process.

ground ─▶ state ─▶ core ◀─ failures, changes, arrivals ◀─ scenario, seed
                    │
                    ▼ facts ─▶ tally
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.journal import snapshots
from leitstand.runtime.loop import Loop, resume
from leitstand.twin.forking.arriving import Arriving, arrivals_of, demanded
from leitstand.twin.forking.changes import Change, Demand, Failures, Scenario, planned
from leitstand.twin.forking.failing import Failing
from leitstand.twin.forking.ground import Ground
from leitstand.twin.forking.tally import Hour, Row, Tally
from leitstand.twin.forking.telling import Telling, Told
from leitstand.twin.retelling import Span, Watch, Watched
from leitstand.twin.truth import RetoldEngine

LOOK_EVERY: Final = 64  # appends between two looks at whether to stop


class Stopped(Exception):
    """Somebody wants no more courses."""


@dataclass(frozen=True, slots=True)
class Course:
    """What is to be played. `base`: what is planned in every scenario."""

    scenario: Scenario
    base: tuple[Change, ...]
    seed: int


class Played(msgspec.Struct):
    """What came of it. `told`: what became of the changes, in order; `failed`: nodes that did; `refused`: submissions
    that the core did not take."""

    scenario: str
    seed: int
    rows: list[Row]
    hours: list[Hour]
    told: list[Told]
    failed: int
    refused: int


Look = Callable[[int], None]  # at which time (µs) the course is; raises Stopped


def play_course(
    course: Course, ground: Ground, look: Look = lambda at: None, watch: Watch | None = None
) -> Played:
    """Play it; the same course on the same ground is the same on every machine. TraceError for changes that do not fit
    what is there at their time. `watch` gets the facts of every cycle."""
    state = snapshots.restored(ground.projection)
    core, seed = Core(state), course.seed
    changes = planned(course.base, course.scenario, ground.from_us)
    arrivals = demanded(arrivals_of(ground, state, seed), changes, ground, state, seed)
    arriving = Arriving(arrivals, ground, state, seed)
    telling = Telling(_told(changes), state, ground.from_us)
    failing = [
        Failing(change.what, at, _until_us(change.what, ground), seed, telling.gone, state)
        for at, change in changes
        if isinstance(change.what, Failures)
    ]
    tally = Tally(state, ground.from_us, ground.until_us)
    appended = 0

    def append(at: int, facts: Sequence[f.Fact]) -> None:
        nonlocal appended
        arriving.bind(core.answers)
        tally.note(at, facts)
        for one in failing:
            one.note(at, facts)
        if watch is not None:
            watch(at, facts)
        appended += 1
        if appended % LOOK_EVERY == 0:
            look(at)

    engine = RetoldEngine(arriving.truth, state)
    span = Span(ground.from_us, ground.until_us, step_us=ground.step_us)
    loop = Loop(core, Watched(append), span, engine, [*failing, telling, arriving])
    if state.runs:
        resume(engine, state)
    loop.run()
    tally.close()
    failed = sum(one.failed for one in failing)
    told = [*telling.told, *_at_once(changes, ground)]
    return Played(
        course.scenario.name, seed, list(tally.rows.values()), tally.hours, told, failed, arriving.refused
    )


def _told(changes: Iterable[tuple[int, Change]]) -> list[tuple[int, Change]]:
    """Those that the core is told; demand and failures are sources."""
    return [(at, change) for at, change in changes if not isinstance(change.what, Demand | Failures)]


def _at_once(changes: Iterable[tuple[int, Change]], ground: Ground) -> list[Told]:
    return [
        Told(change.said(at, ground.from_us), at, granted_us=at)
        for at, change in changes
        if isinstance(change.what, Demand | Failures)
    ]


def _until_us(what: Failures, ground: Ground) -> int:
    return ground.until_us if what.until is None else min(what.until.at(ground.from_us), ground.until_us)
