# SPDX-License-Identifier: Apache-2.0
"""What facts do to the rows of the views: jobs, runs, usage, acts. Called by `leitstand.views.database` for each entry
of a batch.

A row is loaded at its first touch in a batch, folded in memory and written once at the batch's end. Rows hold ids,
amounts and times; names, commands and environment stay in the records, found by `spec`.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from leitstand.core import facts as f
from leitstand.core.metering import lost_of
from leitstand.runtime.ports import Entry
from leitstand.views.acts import ACTS, ActRow, act_row

LIVE: Final = ("pending", "starting", "running", "stopping")
ENDED: Final = ("succeeded", "failed", "cancelled", "rejected")
STATES: Final = LIVE + ENDED

encode_after = encode_tasks = encode_lacks = msgspec.json.encode
decode_lacks = msgspec.json.Decoder(tuple[f.Lack, ...]).decode
decode_after = msgspec.json.Decoder(tuple[f.Dependency, ...]).decode
decode_tasks = msgspec.json.Decoder(tuple[f.Task, ...]).decode


class JobRow(msgspec.Struct, gc=False):
    """One job. `number`: the seq of its submission, the order of listings; `changed`: the seq of its last change;
    times in µs, None: not yet, `begin_us` and
    `deadline_us` 0: none; `after`: JSON of its dependencies; `index` of `size` in the `array`; `asked` of `resource`
    against `limit` if rejected, `lacks`: JSON of what each pool lacks. Amounts are of the whole gang of `nodes`; it may
    have up to `nodes_max`, and while it runs now more, now fewer, if it is `elastic`."""

    number: int
    job: str
    tenant: str
    project: str
    gpus: int
    nodes: int
    cpus_milli: int
    memory_mib: int
    priority: int
    spec: str
    submitted_us: int
    begin_us: int = 0
    deadline_us: int = 0
    after: bytes = b"[]"
    array: str = ""
    index: int = 0
    size: int = 0
    checkpoint_every_us: int = 0
    state: str = "pending"
    reason: str = ""
    asked: int = 0
    limit: int = 0
    resource: str = ""
    exit_code: int | None = None
    signal: int | None = None
    max_duration_us: int = 0
    started_us: int | None = None
    ended_us: int | None = None
    changed: int = 0
    user: str = ""
    held: int = 0
    pool: str = ""
    lacks: bytes = b"[]"
    nodes_max: int = 0
    elastic: int = 0
    booking: str = ""


class RunRow(msgspec.Struct, gc=False):
    """One run. `state`: starting | running | stopping | ended. `tasks`: JSON of the placement now. `usage`: '' or exact
    integers as text, "wall gpu cpu_milli memory_mib" times µs, which may exceed 64 bits. `cause`: why it was told to
    end at `stopped_us`, '' if nobody told it to; `stopped_for`: the job that should start instead; `lost_us`: its work
    (wall time) since the last checkpoint, once it has ended so. `queued`: what the queue of its site says of its wait;
    `queue_start_us`: when it is expected to start there, 0: not said, None: it was never told to wait."""

    run: str
    job: str
    placed_us: int
    tasks: bytes
    state: str = "starting"
    started_us: int | None = None
    ended_us: int | None = None
    outcome: str = ""
    exit_code: int | None = None
    signal: int | None = None
    usage: str = ""
    cause: str = ""
    stopped_for: str = ""
    stopped_us: int | None = None
    lost_us: int = 0
    queued: str = ""
    queue_start_us: int | None = None


class UsageRow(msgspec.Struct, gc=False):
    """What a project used; `jobs`: how many of its jobs used anything. µs times amount, exact."""

    tenant: str
    project: str
    jobs: int = 0
    wall_us: int = 0
    gpu_us: int = 0
    cpu_milli_us: int = 0
    memory_mib_us: int = 0


class Rows(Protocol):
    """Rows of the batch in progress; `job` and `run` raise KeyError for an id that no fact has made."""

    def add_job(self, row: JobRow) -> None: ...
    def add_run(self, row: RunRow) -> None: ...
    def job(self, job: str) -> JobRow: ...
    def run(self, run: str) -> RunRow: ...
    def usage(self, tenant: str, project: str) -> UsageRow: ...
    def add_act(self, row: ActRow) -> None: ...
    def tenant_of(self, act: str, subject: str) -> str: ...


def fold(rows: Rows, entry: Entry) -> None:
    """Apply one entry; facts that no view shows change nothing."""
    kind = type(entry.fact)
    change = _CHANGES.get(kind)
    if change is not None:
        change(rows, entry, entry.fact).changed = entry.seq
    elif kind in ACTS:
        rows.add_act(act_row(entry, rows.tenant_of))


def _job_submitted(rows: Rows, entry: Entry, fact: f.JobSubmitted) -> JobRow:
    asked = fact.resources
    row = JobRow(
        entry.seq, fact.job, fact.tenant, fact.project, asked.gpus, asked.nodes, asked.cpus_milli, asked.memory_mib,
        fact.priority, fact.spec, entry.at, fact.begin_us, fact.deadline_us, encode_after(fact.after), fact.array,
        fact.index, fact.size, fact.checkpoint_every_us, held=int(fact.held), max_duration_us=fact.max_duration_us,
        user=fact.user, nodes_max=asked.nodes_max, elastic=int(fact.elastic), booking=fact.booking,
    )  # fmt: skip
    rows.add_job(row)
    return row


def _job_admitted(rows: Rows, entry: Entry, fact: f.JobAdmitted) -> JobRow:
    row = rows.job(fact.job)
    row.max_duration_us, row.pool = fact.max_duration_us, fact.pool
    return row


def _job_switched(rows: Rows, entry: Entry, fact: f.JobSwitched) -> JobRow:
    row = rows.job(fact.job)
    row.pool = fact.pool
    return row


def _job_held(rows: Rows, entry: Entry, fact: f.JobHeld) -> JobRow:
    row = rows.job(fact.job)
    row.held = 1
    return row


def _job_released(rows: Rows, entry: Entry, fact: f.JobReleased) -> JobRow:
    row = rows.job(fact.job)
    if fact.cause == "user":
        row.held = 0
    return row


def _job_rejected(rows: Rows, entry: Entry, fact: f.JobRejected) -> JobRow:
    row = rows.job(fact.job)
    row.state, row.reason, row.ended_us = "rejected", fact.reason, entry.at
    row.asked, row.limit, row.resource = fact.asked, fact.limit, fact.resource
    row.lacks = encode_lacks(fact.lacks)
    return row


def _job_ended(rows: Rows, entry: Entry, fact: f.JobEnded) -> JobRow:
    row = rows.job(fact.job)
    row.state, row.reason, row.exit_code = fact.state, fact.reason, fact.exit_code
    if row.ended_us is None:  # it never ran
        row.ended_us = entry.at
    return row


def _job_requeued(rows: Rows, entry: Entry, fact: f.JobRequeued) -> JobRow:
    row = rows.job(fact.job)
    row.state, row.exit_code, row.signal, row.ended_us = "pending", None, None, None
    return row


def _run_placed(rows: Rows, entry: Entry, fact: f.RunPlaced) -> JobRow:
    rows.add_run(RunRow(fact.run, fact.job, entry.at, encode_tasks(fact.tasks)))
    row = rows.job(fact.job)
    row.state, row.ended_us = "starting", None
    return row


def _run_resize_ordered(rows: Rows, entry: Entry, fact: f.RunResizeOrdered) -> JobRow:
    run = rows.run(fact.run)
    run.tasks = encode_tasks(fact.tasks)
    return rows.job(run.job)


def _run_stop_ordered(rows: Rows, entry: Entry, fact: f.RunStopOrdered) -> JobRow:
    run = rows.run(fact.run)
    run.state = "stopping"
    run.cause, run.stopped_for, run.stopped_us = fact.cause, fact.job, entry.at
    row = rows.job(run.job)
    row.state = "stopping"
    return row


def _run_queued(rows: Rows, entry: Entry, fact: f.RunQueued) -> JobRow:
    run = rows.run(fact.run)
    run.queued, run.queue_start_us = fact.reason, fact.start_us
    return rows.job(run.job)


def _run_started(rows: Rows, entry: Entry, fact: f.RunStarted) -> JobRow:
    run = rows.run(fact.run)
    run.started_us = fact.at_us
    row = rows.job(run.job)
    if row.started_us is None:
        row.started_us = fact.at_us
    if run.state == "starting":
        run.state = row.state = "running"
    return row


def _run_ended(rows: Rows, entry: Entry, fact: f.RunEnded) -> JobRow:
    run = rows.run(fact.run)
    run.state, run.ended_us, run.outcome = "ended", fact.at_us, fact.outcome
    run.exit_code, run.signal = fact.exit_code, fact.signal
    row = rows.job(run.job)
    if run.cause and fact.outcome == "stopped" and run.started_us is not None:
        run.lost_us = lost_of(fact.at_us - run.started_us, row.checkpoint_every_us)
    row.ended_us, row.signal = fact.at_us, fact.signal
    return row


def _usage_metered(rows: Rows, entry: Entry, fact: f.UsageMetered) -> JobRow:
    run = rows.run(fact.run)
    used = rows.usage(fact.tenant, fact.project)
    used.jobs += not _metered_before(rows, run)
    run.usage = f"{fact.wall_us} {fact.gpu_us} {fact.cpu_milli_us} {fact.memory_mib_us}"
    used.wall_us += fact.wall_us
    used.gpu_us += fact.gpu_us
    used.cpu_milli_us += fact.cpu_milli_us
    used.memory_mib_us += fact.memory_mib_us
    return rows.job(run.job)


def _metered_before(rows: Rows, run: RunRow) -> bool:
    """Whether an earlier run of its job used anything; those that failed to start did not."""
    number = int(run.run.rpartition(".")[2])
    return any(rows.run(f"{run.job}.{earlier}").usage for earlier in range(number - 1, 0, -1))


_CHANGES: Final[dict[type[f.Fact], Callable[[Rows, Entry, Any], JobRow]]] = {
    f.JobSubmitted: _job_submitted,
    f.JobAdmitted: _job_admitted,
    f.JobSwitched: _job_switched,
    f.JobRejected: _job_rejected,
    f.JobHeld: _job_held,
    f.JobReleased: _job_released,
    f.JobRequeued: _job_requeued,
    f.JobEnded: _job_ended,
    f.RunPlaced: _run_placed,
    f.RunStopOrdered: _run_stop_ordered,
    f.RunResizeOrdered: _run_resize_ordered,
    f.RunQueued: _run_queued,
    f.RunStarted: _run_started,
    f.RunEnded: _run_ended,
    f.UsageMetered: _usage_metered,
}
