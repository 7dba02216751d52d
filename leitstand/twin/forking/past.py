# SPDX-License-Identifier: Apache-2.0
"""What a journal holds up to the fork, and beyond it: the state, what was submitted, how long it took. Called by
`ground`.

The journal may be one that a control plane writes just now: its entries are read in short transactions, up to the head
of the moment when the reading begins, and nothing of it is locked.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from leitstand.core import facts as f
from leitstand.core.state import State
from leitstand.core.units import DAY_US, INT64_MAX
from leitstand.journal import snapshots
from leitstand.journal.codec import JournalUnusable
from leitstand.journal.place import Reader, open_reader
from leitstand.runtime.ports import Entry, Head
from leitstand.twin.forking.lengths import Lengths
from leitstand.twin.forking.times import When, shown
from leitstand.twin.history import Moment, moments, told_in
from leitstand.twin.reading.table import TraceError
from leitstand.twin.truth import Truth, length_us

LEARNED_US: Final = 28 * DAY_US  # of the past, at least, from which lengths of jobs are known


class Arrival(NamedTuple):
    """Something that is told at `at` (µs); `asked` None: nothing, but the core looks. `origin`: the job of the past
    whose life a submitted one has, '' what it says of itself; `copy`: which repetition of the past it belongs to, 0:
    the past itself."""

    at: int
    asked: f.Observation | None
    origin: str = ""
    copy: int = 0


@dataclass(slots=True)
class Past:
    """`projection`: the state at `from_us`, stored. `arrivals`: submissions of the past from `since_us` on; `after`:
    everything that was told after the fork, to the end of the journal at `until_us`."""

    from_us: int
    since_us: int
    until_us: int = 0
    projection: bytes = b""
    truth: Truth = field(default_factory=Truth)
    lengths: Lengths = field(default_factory=Lengths)
    arrivals: list[Arrival] = field(default_factory=list)
    after: list[Arrival] = field(default_factory=list)


def read_past(path: Path, at: int | When | None, *, weeks: int, recorded: bool) -> Past:
    """The past of the journal in `path` up to `at`: an entry's number, a time, or its end. `recorded`: with what came
    after it, too. JournalUnusable, or TraceError for a point that the journal does not have."""
    with open_reader(path) as reader:
        last = reader.head
        if last.seq == 0:
            raise TraceError(f"{path}: the journal is empty; nothing can be forked from it")
        fork_us = _fork_us(reader, path, at, last)
        state, after = start_of(
            reader, path.parent / "snapshots", fork_us - max(weeks * 7 * DAY_US, LEARNED_US)
        )
        told = _Reading(state, Past(fork_us, fork_us - weeks * 7 * DAY_US))
        for moment in moments(_entries(reader, after, last.seq)):
            if moment.at > fork_us and not told.past.projection:
                told.fork()
                if not recorded:
                    break
            told.moment(moment)
        if not told.past.projection:
            told.fork()
        if recorded:
            told.past.truth.close(last.at, state)
        told.past.until_us = last.at
        return told.past


def _fork_us(reader: Reader, path: Path, at: int | When | None, last: Head) -> int:
    """When the fork is: the stamp of the last entry that belongs to the past, or the time that was said."""
    if at is None:
        return last.at
    if isinstance(at, int):
        entry = reader.head_at(at) if 0 < at <= last.seq else None
        if entry is None:
            raise TraceError(f"{path}: has no entry {at}; its entries go from 1 to {last.seq}")
        return entry.at
    first = next(reader.read(0, 1)).at
    if at.since_fork or not first <= at.us <= last.at:
        raise TraceError(
            f"{path}: --at lies outside of the journal, which goes from {shown(first)} to {shown(last.at)}"
        )
    return at.us


def start_of(reader: Reader, folder: Path, latest_us: int) -> tuple[State, int]:
    """The state of the latest snapshot after which enough follows to learn how long jobs take; else nothing."""
    most = INT64_MAX
    while seq := snapshots.latest(folder, most):
        head = reader.head_at(seq)
        if head is not None and head.at <= latest_us:
            found = snapshots.load_latest(folder, reader, seq)
            return (found[0], found[1].seq) if found else (State(), 0)
        most = seq - 1
    return State(), 0


def _entries(reader: Reader, after: int, last: int) -> Iterator[Entry]:
    return reader.read(after, last - after)


class _Reading:
    """The past as it is read, moment by moment."""

    def __init__(self, state: State, past: Past) -> None:
        self.past = past
        self._state = state
        self._forked = False

    def moment(self, moment: Moment) -> None:
        past = self.past
        told = told_in(moment)
        arrivals = [Arrival(moment.at, asked, _origin(fact)) for fact, asked in told or ()]
        if self._forked and told is not None:
            past.after += arrivals or [Arrival(moment.at, None)]
        elif moment.at >= past.since_us:
            past.arrivals += [one for one in arrivals if isinstance(one.asked, f.SubmitJob)]
        for fact in moment.facts:
            past.truth.note(fact, self._state)
            if not self._forked and isinstance(fact, f.RunEnded):
                self._learn(fact)
            try:
                self._state.apply(moment.at, fact)
            except snapshots.UNFIT as error:
                raise JournalUnusable(
                    f"an entry from {moment.first} on ({type(fact).__name__}) does not fit those before it: {error}"
                ) from error

    def _learn(self, fact: f.RunEnded) -> None:
        took_us = length_us(fact, self._state)
        if took_us is not None:
            job = self._state.jobs[self._state.runs[fact.run].job]
            self.past.lengths.learn(job.tenant, job.resources.gpus, took_us)

    def fork(self) -> None:
        """The past ends here."""
        self._forked = True
        self.past.projection = snapshots.stored(self._state)


def _origin(fact: f.Fact) -> str:
    return fact.job if isinstance(fact, f.JobSubmitted) else ""
