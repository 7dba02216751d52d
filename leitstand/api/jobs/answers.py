# SPDX-License-Identifier: Apache-2.0
"""How jobs look to clients: rows of the views, names from the records, and for a waiting job the reason why.

Called by every handler that answers with jobs.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from leitstand.api.amounts import moment, seconds
from leitstand.api.context import Faces
from leitstand.api.identity.names import PersonAnswer
from leitstand.api.jobs.forecasts import StartForecast, Starts
from leitstand.api.jobs.messages import queued, sentence
from leitstand.core.explaining.why import Reading
from leitstand.core.facts import Task
from leitstand.views.reading import JobView
from leitstand.views.rows import JobRow, RunRow, decode_after, decode_tasks

MILLI: Final = 1000


class Shape(msgspec.Struct, frozen=True):
    """What each node of a job gives; 1 GB is 1024 MiB."""

    gpus: int
    cpus: float
    memory_gb: float


class TaskAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One task of a placed job; its place in the list is its node rank. `slices`: of its GPU, if it has no more than a
    MIG instance, as `first-last/all`."""

    node: str
    gpus: tuple[int, ...]
    slices: str = ""


def task_answer(task: Task) -> TaskAnswer:
    """The answer for one task."""
    return TaskAnswer(task.node, task.gpus, task.slices)


class QueueAnswer(msgspec.Struct, frozen=True):
    """What the queue of a delegated site says of a run: its word for why it waits, and when it expects to start it,
    null: that is not said."""

    reason: str
    start_at: datetime | None


class RunAnswer(msgspec.Struct, frozen=True):
    """One placement of a job. `state`: starting | running | stopping | ended; `outcome`: '' until it ended. `queue`: of
    one that starts at a delegated site, and waits there; else null."""

    id: str
    state: str
    tasks: tuple[TaskAnswer, ...]
    started_at: datetime | None
    ended_at: datetime | None
    outcome: str
    exit_code: int | None
    signal: int | None
    queue: QueueAnswer | None


class Used(msgspec.Struct, frozen=True):
    """What was used, in seconds and exactly in µs: wall time, times GPUs, times cores (times thousandths of a core)."""

    wall_s: float
    gpu_s: float
    cpu_s: float
    wall_us: int
    gpu_us: int
    cpu_milli_us: int


class ArrayAnswer(msgspec.Struct, frozen=True):
    """Which of the jobs of an array it is: `index`, from 0, of `size`; `id`: of the first of them, and of the array."""

    id: str
    index: int
    size: int


class Job(msgspec.Struct, frozen=True):
    """A job. `state`: pending, starting, running, stopping, succeeded, failed, cancelled, rejected. `reason`: why it
    ended or was rejected; of a pending job the one why it waits, as in its explanation. `after`: jobs that it waits
    for, as JOB:ok, JOB:any or JOB:failed. `user`: who submitted it. `pool`: where it queues or ran, '' if it was
    refused; `site`: of its latest run, '' before the first. `booking`: that in which alone it runs. `forecast`: when a
    job that waits will start; null where it does not wait or nobody forecasts."""

    id: str
    name: str
    tenant: str
    project: str
    user: PersonAnswer
    state: str
    reason: str
    message: str
    exit_code: int | None
    signal: int | None
    resources: Shape
    num_nodes: int
    priority: int
    max_duration_s: float
    submitted_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    runs: list[RunAnswer]
    usage: Used
    begin_at: datetime | None
    deadline: datetime | None
    after: list[str]
    held: bool
    array: ArrayAnswer | None
    pool: str
    site: str
    num_nodes_max: int
    elastic: bool
    booking: str
    forecast: StartForecast | None = None


def job(faces: Faces, found: JobView, name: str | None = None) -> Job:
    """One job; `name` saves the look-up where it is known."""
    names = faces.records.names([found.job.spec]) if name is None else {found.job.spec: name}
    user = faces.persons([found.job.user])[found.job.user]
    reason = _reason(faces, found.job, Reading(faces.follower.state, faces.now()))
    return _job(found, names, user, _Live(reason, _site(faces, found), Starts(faces).of(found.job.job)))


def jobs(faces: Faces, found: Iterable[JobView]) -> list[Job]:
    """Many jobs, with one look-up of their names."""
    found = list(found)
    names = faces.records.names(view.job.spec for view in found)
    reading = Reading(faces.follower.state, faces.now())
    users = faces.persons(view.job.user for view in found)
    starts = Starts(faces)
    return [
        _job(
            view,
            names,
            users[view.job.user],
            _Live(_reason(faces, view.job, reading), _site(faces, view), starts.of(view.job.job)),
        )
        for view in found
    ]


class _Live(NamedTuple):
    """What the views do not hold of a job, since it changes with others."""

    reason: str
    site: str
    forecast: StartForecast | None


def _site(faces: Faces, view: JobView) -> str:
    tasks = decode_tasks(view.runs[-1].tasks) if view.runs else ()
    node = faces.follower.state.nodes.get(tasks[0].node) if tasks else None
    return node.site if node is not None else ""


def _reason(faces: Faces, row: JobRow, reading: Reading) -> str:
    if row.state != "pending":
        return row.reason
    live = faces.follower.state.jobs.get(row.job)
    return "" if live is None or live.state != "pending" else reading.reason(live)


def _job(view: JobView, names: dict[str, str], user: PersonAnswer, live: _Live) -> Job:
    row = view.job
    nodes = row.nodes or 1
    shape = Shape(row.gpus // nodes, row.cpus_milli / nodes / MILLI, row.memory_mib / nodes / 1024)
    return Job(
        row.job,
        names.get(row.spec, ""),
        row.tenant,
        row.project,
        user,
        row.state,
        live.reason,
        _message(view, live),
        row.exit_code,
        row.signal,
        shape,
        row.nodes,
        row.priority,
        seconds(row.max_duration_us),
        moment(row.submitted_us),
        None if row.started_us is None else moment(row.started_us),
        None if row.ended_us is None else moment(row.ended_us),
        [_run(run) for run in view.runs],
        used(*_usage(view.runs)),
        moment(row.begin_us) if row.begin_us else None,
        moment(row.deadline_us) if row.deadline_us else None,
        [f"{one.job}:{one.on}" for one in decode_after(row.after)],
        bool(row.held),
        ArrayAnswer(row.array, row.index, row.size) if row.array else None,
        row.pool,
        live.site,
        row.nodes_max,
        bool(row.elastic),
        row.booking,
        live.forecast,
    )


def _run(run: RunRow) -> RunAnswer:
    return RunAnswer(
        run.run,
        run.state,
        tuple(task_answer(task) for task in decode_tasks(run.tasks)),
        None if run.started_us is None else moment(run.started_us),
        None if run.ended_us is None else moment(run.ended_us),
        run.outcome,
        run.exit_code,
        run.signal,
        _queue(run),
    )


def _queue(run: RunRow) -> QueueAnswer | None:
    if run.state != "starting" or run.queue_start_us is None:
        return None
    return QueueAnswer(run.queued, moment(run.queue_start_us) if run.queue_start_us else None)


def _message(view: JobView, live: _Live) -> str:
    queue = _queue(view.runs[-1]) if view.job.state == "starting" and view.runs else None
    if queue is None:
        return sentence(view.job, live.reason)
    return queued(live.site, queue.reason, queue.start_at.isoformat() if queue.start_at is not None else "")


def _usage(runs: Iterable[RunRow]) -> tuple[int, int, int]:
    """Wall, GPU and milli-core time of all runs, in µs."""
    wall = gpu = cpu = 0
    for run in runs:
        if run.usage:
            parts = run.usage.split()
            wall, gpu, cpu = wall + int(parts[0]), gpu + int(parts[1]), cpu + int(parts[2])
    return wall, gpu, cpu


def used(wall_us: int, gpu_us: int, cpu_milli_us: int) -> Used:
    """Usage in seconds and exact."""
    return Used(
        seconds(wall_us), seconds(gpu_us), seconds(cpu_milli_us) / MILLI, wall_us, gpu_us, cpu_milli_us
    )
