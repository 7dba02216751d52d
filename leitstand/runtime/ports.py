# SPDX-License-Identifier: Apache-2.0
"""The seams: what the loop needs of the world, as Protocols. Live operation, replay and fork differ only in these.

sources ──▶ Loop ──▶ Core.cycle ──▶ Journal.append ──▶ Engine.send
             ▲                                             │
             └────────────── reports, as observations ◀────┘
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from leitstand.core.facts import Fact, Observation, Resources, Task


class Head(msgspec.Struct, frozen=True):
    """The end of a chain: the last entry's sequence number (0: empty), stamp in µs and SHA-256."""

    seq: int
    at: int
    hash: bytes


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One journal entry: sequence number from 1 without gaps, stamp in µs, the fact."""

    seq: int
    at: int
    fact: Fact


class StaleHead(Exception):
    """An append named a head that is no longer the journal's: another writer took over. The writer must end."""


class JournalFull(Exception):
    """Nothing was appended: the disk (or the journal's limit) has no room. Outcome known, the process ends safely."""


class JournalAway(ConnectionError):
    """The journal's server does not answer. While reading: later it may. While appending: the outcome is unknown, the
    process ends and folds again."""


class StartRun(msgspec.Struct, frozen=True, tag=True):
    """Start this run; a second order with the same run id changes nothing. `spec` names the record to execute.
    `started_us`: when it started, if that was reported; then it is found again or lost, never started once more."""

    run: str
    job: str
    tenant: str
    project: str
    tasks: tuple[Task, ...]
    resources: Resources
    spec: str
    max_duration_us: int
    placed_us: int
    expected_us: int = 0  # what a simulated engine takes as the true length
    started_us: int = 0
    array: str = ""  # the id of the first job of its array; `index` of `size`
    index: int = 0
    size: int = 0
    nodes_most: int = 0  # how many tasks it may have while it runs, 0: those that it starts with
    steps: tuple[tuple[int, int], ...] = ()  # of such a run: from when on (µs) it had how many tasks


class StopRun(msgspec.Struct, frozen=True, tag=True):
    """End this run, politely first; unknown or ended runs are left alone (their end is reported again)."""

    run: str
    cause: str


class ResizeRun(msgspec.Struct, frozen=True, tag=True):
    """From now on this run has `tasks`, its `number`-th such order: tasks that it has beside them end, politely first,
    others join; the first stays. Only the last order of a run counts; one that was carried out changes nothing. When it
    is, the engine reports `RunResized`. Given only where `SiteAdded` says that the engine resizes."""

    run: str
    number: int
    tasks: tuple[Task, ...]
    ordered_us: int


Order = StartRun | StopRun | ResizeRun


class Source(Protocol):
    """Where observations come from: an inbox, a trace, an engine."""

    def next_time(self) -> int | None:
        """When `take` will next have something, in µs; None: not known or never."""

    def take(self, now: int) -> Sequence[Observation]:
        """Everything observed up to `now`, in order; each is given once."""


class Engine(Source, Protocol):
    """Runs runs. Every call returns at once; what happens comes back through `take`."""

    def send(self, orders: Sequence[Order]) -> None:
        """Carry out; idempotent by run id."""

    def resume(self, runs: Sequence[StartRun]) -> None:
        """After a restart: these runs should exist. Adopt what still runs, start what is missing, report what has
        ended with its true times, stop what is unknown."""

    def read_log(self, run: str, task: int, offset: int, limit: int) -> bytes:
        """Up to `limit` bytes of the log of one task (node rank) from `offset`; b'' at the end. KeyError: no such
        log."""

    def close(self) -> None:
        """Let go; runs go on."""


class Clock(Protocol):
    """Tells time and waits. Live: the wall clock and a selector; twin: jumps to the next due time."""

    def wait(self, due: int | None) -> int | None:
        """Wait until `due` (None: until something happens) or until a source wakes it; the time now, in µs.

        None: nothing is due and nothing can happen any more (virtual time only)."""


class Journal(Protocol):
    """The one journal. One writer, many readers."""

    @property
    def head(self) -> Head: ...

    def append(self, head: Head, at: int, facts: Sequence[Fact]) -> Head:
        """All of `facts` or nothing, stamped `at`, durable on return (a twin's journal may commit later).

        Raises StaleHead if `head` is not the journal's, JournalFull if there is no room, ValueError for a fact over
        64 KiB or a stamp before the head's.
        """

    def read(self, after: int, limit: int | None = None) -> Iterator[Entry]:
        """Entries with seq > `after`, in order."""

    def close(self) -> None: ...


class View(Protocol):
    """A projection for reading: fed in order, idempotent by seq, droppable."""

    @property
    def seq(self) -> int:
        """The last entry applied."""

    def apply(self, entries: Iterable[Entry]) -> None:
        """Fold entries; those with seq ≤ self.seq are skipped."""

    def commit(self) -> None:
        """Make what was applied visible to other readers; if it raises, `seq` may be back at an earlier entry."""
