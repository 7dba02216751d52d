# SPDX-License-Identifier: Apache-2.0
"""A journal played again: exactly, or otherwise. Called by the CLI and by studies.

retell       the same observations: the same facts, or where the first one differs
play         the same requests, from the beginning or from a state in the middle on, to a core that may decide
             otherwise, each job as long as it was in truth
counterfact  what became of the jobs of a journal, and what would have if its core had been told otherwise
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.state import State
from leitstand.runtime.clock import VirtualClock
from leitstand.runtime.loop import Loop, resume
from leitstand.runtime.ports import Entry, Head, Journal
from leitstand.twin.courses import Courses
from leitstand.twin.history import HistorySource, Moment, differs_at, moments, tell_again
from leitstand.twin.truth import RetoldEngine, Told, Truth

Watch = Callable[[int, Sequence[f.Fact]], None]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where what is decided now is not what the journal holds: entry `seq` at `at` (µs); None where one has no more."""

    seq: int
    at: int
    recorded: f.Fact | None
    decided: f.Fact | None


@dataclass(slots=True)
class Retold:
    """What came of telling a journal again. `difference`: the first; None: every fact was decided again."""

    facts: int = 0
    until_us: int = 0
    difference: Difference | None = None
    core: Core = field(default_factory=Core)


def retell(entries: Iterable[Entry]) -> Retold:
    """Tell a core what that of the journal was told, and compare what it decides, up to the first difference."""
    told = Retold()
    for moment in moments(entries):
        decided = tell_again(told.core, moment)
        same = differs_at(moment.facts, decided)
        told.facts += same
        told.until_us = moment.at
        if same < max(len(moment.facts), len(decided)):
            told.difference = Difference(
                moment.first + same,
                moment.at,
                moment.facts[same] if same < len(moment.facts) else None,
                decided[same] if same < len(decided) else None,
            )
            break
    return told


def truth_of(entries: Iterable[Entry], watch: Watch | None = None) -> Truth:
    """How long the journal's jobs took. `watch` gets the facts of each moment."""
    truth, state, at = Truth(), State(), 0
    for moment in moments(entries):
        at = moment.at
        for fact in moment.facts:
            truth.note(fact, state)
            state.apply(at, fact)
        if watch is not None:
            watch(at, moment.facts)
    truth.close(at, state)
    return truth


@dataclass(frozen=True, slots=True)
class Play:
    """A history to be played from a state on. `after`: moments that are still to come; `change`: of what is told;
    `from_us`: the stamp of the state; `until_us`: where to stop, None: when nothing can happen any more; `enough`:
    asked before every cycle whether to stop."""

    truth: Told
    after: Iterable[Moment]
    change: Callable[[f.Observation], f.Observation | None] = lambda told: told
    from_us: int | None = None
    until_us: int | None = None
    enough: Callable[[], bool] = lambda: False


def play(wanted: Play, state: State | None = None, watch: Watch | None = None) -> Core:
    """Play on from `state` (None: from nothing) in virtual time; `watch` gets the facts of every cycle."""
    core = Core(state)
    engine = RetoldEngine(wanted.truth, core.state)
    history = HistorySource(wanted.after, wanted.change)
    loop = Loop(core, Watched(watch), Span(wanted.from_us, wanted.until_us, wanted.enough), engine, [history])
    if core.state.runs:
        resume(engine, core.state)
    loop.run()
    return core


def counterfact(
    read: Callable[[], Iterable[Entry]], change: Callable[[f.Observation], f.Observation | None]
) -> tuple[Courses, Courses]:
    """What became of the jobs of a journal, and what would have with another told history, until its end. `read`: all
    its entries, twice."""
    recorded, decided = Courses(), Courses()
    truth = truth_of(read(), recorded.note)
    wanted = Play(truth, moments(read()), change, until_us=recorded.until_us)
    play(wanted, watch=decided.note)
    decided.until_us = recorded.until_us
    return recorded, decided


class Span(VirtualClock):
    """Virtual time from `from_us` to `until_us`, or until it is `enough`. `step_us`: what happens within a step is seen
    at its end, all at once; 0: everything at its own time."""

    def __init__(
        self,
        from_us: int | None,
        until_us: int | None,
        enough: Callable[[], bool] = lambda: False,
        *,
        step_us: int = 0,
    ) -> None:
        super().__init__()
        self.now = from_us
        self._until_us = until_us
        self._enough = enough
        self._step_us = step_us

    def wait(self, due: int | None) -> int | None:
        if due is None or (self._until_us is not None and due > self._until_us) or self._enough():
            return super().wait(None)
        if self._step_us:
            due = -(-due // self._step_us) * self._step_us
            due = due if self._until_us is None else min(due, self._until_us)
        return super().wait(due)


class Watched(Journal):
    """A journal that keeps nothing but its head, and shows what it gets."""

    def __init__(self, watch: Watch | None) -> None:
        self._head = Head(0, 0, b"")
        self._watch = watch

    @property
    def head(self) -> Head:
        return self._head

    def append(self, head: Head, at: int, facts: Sequence[f.Fact]) -> Head:
        if self._watch is not None:
            self._watch(at, facts)
        self._head = Head(head.seq + len(facts), at, b"")
        return self._head

    def read(self, after: int, limit: int | None = None) -> Iterator[Entry]:
        return iter(())

    def close(self) -> None:
        pass
