# SPDX-License-Identifier: Apache-2.0
"""A recorded trace through the real core and the real loop, in virtual time. Called by `leitstand twin replay`.

Only the ports differ from live operation: the source is the trace, the engine is simulated (a run lasts as long as the
recorded job did), the clock jumps to the next due time, and the journal is in memory unless it is to be kept.
"""

import time
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Final

import numpy as np

from leitstand.core.cycle import Core
from leitstand.core.facts import Fact, Observation, Resources, RulesSet, SubmitJob
from leitstand.core.rules import TENANT_CLASSES, Rules, digest
from leitstand.core.units import SECOND_US
from leitstand.engines.simulated import SimulatedEngine
from leitstand.journal.memory import MemoryJournal
from leitstand.journal.sqlite import SqliteJournal
from leitstand.runtime.clock import VirtualClock
from leitstand.runtime.loop import Loop
from leitstand.runtime.ports import Entry, Head, Journal, Source
from leitstand.twin.cluster import Cluster, fleet, guarantees, read_cluster
from leitstand.twin.outcome import Outcome, Tally
from leitstand.twin.traces import Form, Ints, Trace, TraceError, read_trace

PROJECT: Final = "default"
JOURNAL_ID: Final = "replay"  # the same for every replay: equal decisions, equal digest
NAMED_MAX: Final = 8  # tenants in a message
LISTED_MAX: Final = 1000  # in the result
ROWS_AT_ONCE: Final = 65_536  # of a trace
COMMIT_EVERY: Final = 10_000  # entries; a replay that is cut short is made again


@dataclass(frozen=True, slots=True)
class Setting:
    """What to replay and how. `discipline`: one of `core.rules.DISCIPLINES`; `static`: each tenant only its own nodes;
    `journal`: a new file to keep the journal in, None: memory; `lenient`: leave unusable rows out; `form`: how to read
    what the trace does not say itself."""

    trace: Path
    cluster: Path
    discipline: str
    static: bool = False
    journal: Path | None = None
    lenient: bool = False
    form: Form = field(default_factory=Form)


def replay(setting: Setting, progress: Callable[[int, int], None] | None = None) -> Outcome:
    """Replay one trace and count what became of its jobs; TraceError for files that cannot be used.

    `progress` is called with jobs done and jobs in all, now and then.
    """
    begun_s = time.process_time()
    cluster = read_cluster(setting.cluster)
    trace = read_trace(setting.trace, lenient=setting.lenient, form=setting.form)
    source = TraceSource(trace, cluster, setting)
    tally = Tally(progress and (lambda done: progress(done, source.jobs)))
    with _journal(setting.journal) as journal:
        run(source, journal, tally)
        head = journal.head
    if progress is not None:
        progress(source.jobs, source.jobs)
    return Outcome(
        trace=trace.name,
        rules=setting.discipline,
        static=setting.static,
        jobs=tally.jobs,
        rejected=tally.rejected,
        left_out=len(trace) - source.jobs,
        left_out_of=source.left_out_of,
        too_large=source.too_large,
        dropped=trace.dropped,
        dropped_why=trace.dropped_why,
        set_aside=trace.set_aside,
        makespan_s=tally.makespan_us / SECOND_US,
        queue_s=tally.queue_s(),
        jct_s=tally.jct_s(),
        utilisation=tally.gpu_us / max(cluster.gpus * tally.makespan_us, 1),
        per_tenant=tally.per_tenant(),
        digest=head.hash.hex(),
        facts=head.seq,
        cpu_s=time.process_time() - begun_s,
    )


def run(source: "TraceSource", journal: Journal, tally: Tally) -> None:
    """The loop of live operation over a trace, until nothing can happen any more; `tally` sees every fact."""
    core = Core()
    watched = _Watched(journal, tally)
    Loop(core, watched, VirtualClock(), SimulatedEngine(), [source]).run()
    assert not core.state.jobs, f"{len(core.state.jobs)} jobs never ended"


@contextmanager
def _journal(path: Path | None) -> Iterator[Journal]:
    """A journal for one replay; a file that would not hold all of it is removed again."""
    if path is None:
        yield MemoryJournal(JOURNAL_ID)
        return
    if path.exists():
        raise TraceError(f"{path}: exists already; name a new file for the journal, or remove this one")
    whole = False
    try:
        journal = SqliteJournal(path, journal_id=JOURNAL_ID, commit_every=COMMIT_EVERY)
        try:
            yield journal
        finally:
            journal.close()
        whole = True
    finally:
        if not whole:
            for suffix in ("", "-wal", "-shm"):
                with suppress(OSError):  # the error under way says more
                    path.with_name(path.name + suffix).unlink()


class TraceSource(Source):
    """The trace as a source: rules, fleet and, under `fair`, guarantees at the first submission, then every job at its
    time.

    Jobs of tenants that the cluster does not name are left out; `jobs` is how many remain. `left_out_of`: how many of
    each such tenant; `too_large`: a sentence for each job that admission will refuse; of both the first 1,000.
    """

    def __init__(self, trace: Trace, cluster: Cluster, setting: Setting) -> None:
        rows = rows_of(trace, cluster, (setting.trace, setting.cluster))
        self.jobs = len(rows)
        count = np.bincount(trace.tenant, minlength=len(trace.tenants)).tolist()
        unnamed = (code for code, tenant in enumerate(trace.tenants) if tenant not in cluster.nodes_of)
        self.left_out_of = {trace.tenants[code]: count[code] for code in islice(unnamed, LISTED_MAX)}
        self.too_large = tuple(_too_large(trace, cluster, rows, static=setting.static))
        self._opening: list[Observation] = [
            _rules_set(trace, setting),
            *fleet(cluster, static=setting.static),
        ]
        if setting.discipline == "fair" and not setting.static:
            self._opening += guarantees(cluster)
        self._submit_us = array("q", trace.submit_us[rows].astype(np.int64).tobytes())
        self._requests = requests(trace, rows)
        self._next = 0

    def next_time(self) -> int | None:
        return self._submit_us[self._next] if self._next < self.jobs else None

    def take(self, now: int) -> Sequence[Observation]:
        first = self._next
        if first == self.jobs or self._submit_us[first] > now:
            return ()
        self._next = bisect_right(self._submit_us, now, first)
        taken = [*self._opening, *islice(self._requests, self._next - first)]
        self._opening = []
        return taken


def _too_large(trace: Trace, cluster: Cluster, rows: Ints, *, static: bool) -> Iterator[str]:
    """Jobs with more GPUs than their fleet has: all nodes, or static their tenant's own."""
    most = [
        cluster.gpus_per_node * cluster.nodes_of.get(tenant, 0) if static else cluster.gpus
        for tenant in trace.tenants
    ]
    fleets = np.array(most, np.int64)[trace.tenant[rows]]
    for at in np.flatnonzero(trace.gpus[rows] > fleets)[:LISTED_MAX].tolist():
        yield f"job {trace.job_ids[rows[at]]} asks for {trace.gpus[rows[at]]} GPUs, its fleet has {fleets[at]}"


def requests(trace: Trace, rows: Ints) -> Iterator[SubmitJob]:
    """What each job of `rows` asks for, made when it is needed: a year of jobs as Python's integers fills memory."""
    shapes = {gpus: Resources(gpus=gpus, nodes=0) for gpus in np.unique(trace.gpus[rows]).tolist()}
    parts = (rows[first : first + ROWS_AT_ONCE] for first in range(0, len(rows), ROWS_AT_ONCE))
    return chain.from_iterable(_requests(trace, part, shapes) for part in parts)


def _requests(trace: Trace, rows: Ints, shapes: dict[int, Resources]) -> Iterator[SubmitJob]:
    users = [*trace.users, ""]  # the last for -1: none
    return map(
        SubmitJob,
        map(trace.tenants.__getitem__, trace.tenant[rows].tolist()),
        repeat(PROJECT),
        map(shapes.__getitem__, trace.gpus[rows].tolist()),
        map(users.__getitem__, trace.user[rows].tolist()),
        trace.priority[rows].tolist(),
        _limits(trace, rows),
        trace.duration_us[rows].tolist(),
    )


def _limits(trace: Trace, rows: Ints) -> Iterable[int]:
    """The time limit of each job: what was asked for, or what it took where that was more (a limit is not kept to the
    second), so that the record decides; 0, the default, which no job of the trace exceeds, where none is known."""
    if trace.limit_us is None:
        return repeat(0)
    limits: list[int] = np.where(
        trace.limit_us[rows] > 0, np.maximum(trace.limit_us[rows], trace.duration_us[rows]), 0
    ).tolist()
    return limits


def _rules_set(trace: Trace, setting: Setting) -> RulesSet:
    """The bundle of the replay: limits that no job of the trace meets, so that the record decides."""
    longest_us = max(int(trace.duration_us.max()), Rules().max_duration_limit_us)
    if trace.limit_us is not None:
        longest_us = max(longest_us, int(trace.limit_us.max()))
    rules = Rules(
        name=f"replay-{setting.discipline}",
        discipline=setting.discipline,
        static=setting.static,
        max_duration_default_us=dict.fromkeys(TENANT_CLASSES, longest_us),
        max_duration_limit_us=longest_us,
        pending_jobs_max=max(len(trace), Rules().pending_jobs_max),
    )
    return RulesSet(rules, digest(rules))


def rows_of(trace: Trace, cluster: Cluster, names: tuple[object, object]) -> Ints:
    """The rows of the trace whose tenants the cluster names; TraceError, with the `names` of both, if there are
    none."""
    named = np.array([tenant in cluster.nodes_of for tenant in trace.tenants], np.bool_)
    rows = np.flatnonzero(named[trace.tenant])
    if not len(rows):
        raise TraceError(
            f"{names[1]}: names none of the tenants of {names[0]} ({_some(trace.tenants)}) but "
            f"{_some(cluster.nodes_of)}; take the cluster file that goes with the trace"
        )
    return rows


def _some(names: Iterable[str]) -> str:
    """The first few names, for a message."""
    first = list(islice(names, NAMED_MAX + 1))
    return ", ".join(first[:NAMED_MAX]) + (", …" if len(first) > NAMED_MAX else "")


class _Watched:
    """A journal that shows every fact it appends to a tally."""

    def __init__(self, journal: Journal, tally: Tally) -> None:
        self._journal = journal
        self._tally = tally

    @property
    def head(self) -> Head:
        return self._journal.head

    def append(self, head: Head, at: int, facts: Sequence[Fact]) -> Head:
        head = self._journal.append(head, at, facts)
        self._tally.note(at, facts)
        return head

    def read(self, after: int, limit: int | None = None) -> Iterator[Entry]:
        return self._journal.read(after, limit)

    def close(self) -> None:
        self._journal.close()
