# SPDX-License-Identifier: Apache-2.0
"""Logs of jobs, from the run folders: as plain text, or followed as server-sent events until the job ends."""

import asyncio
import codecs
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar, Final

import msgspec
from litestar import Request, get
from litestar.params import FromPath
from litestar.response import Stream

from leitstand.api import decode, streams
from leitstand.api.auth import Identity
from leitstand.api.checks import between
from leitstand.api.context import Faces, faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.jobs.jobrequest import NODES_MAX
from leitstand.api.jobs.jobs import found_job, job_permitted, resource_of
from leitstand.api.permission import still
from leitstand.api.problems import Problem
from leitstand.views.reading import JobView
from leitstand.views.rows import ENDED, JobRow

CHUNK: Final = 64 * 1024
CHUNKS_MAX: Final = 16  # of one task before the next one has its turn
TASKS_MAX: Final = 64  # looked at between two breaths of the event loop
OFFSET_MAX: Final = 2**53
LOOK_S: Final = (0.05, 0.1, 0.2, 0.4)  # between looks at a log that does not grow; the last one repeats


class LogQuery(Input, frozen=True):
    """`task`: node rank, for following None means all; `offset`: of the first byte; `follow`: events until the end."""

    task: int | None = None
    offset: int = 0
    follow: bool = False

    checks: ClassVar[dict[str, Check]] = {
        "task": lambda value: "" if value is None else between(0, NODES_MAX - 1)(value),
        "offset": between(0, OFFSET_MAX),
    }


class LogText(msgspec.Struct, frozen=True):
    """A piece of a log. `offset`: of its first byte; `text` has as many bytes in UTF-8 as the log: a byte that is no
    UTF-8 is shown as `?`."""

    task: int
    offset: int
    text: str


class LogEnd(msgspec.Struct, frozen=True):
    """How the job ended."""

    state: str
    reason: str
    exit_code: int | None
    signal: int | None


@get(
    "/jobs/{job_id:str}/logs",
    opt={"action": "job:logs", "query": LogQuery},
    summary="Read or follow the log of a job",
)
async def read_log(request: Request[Any, Any, Any], job_id: FromPath[str]) -> Stream:
    """The bytes of one task's log; with `follow=true` server-sent events `log` (LogText) and at last `end` (LogEnd)."""
    faces = faces_of(request)
    query = decode.query(request.query_params.items(), LogQuery)
    who, found = job_permitted(request, job_id)
    if query.task is not None and query.task >= max(found.job.nodes, 1):
        what = f"job {job_id} has {found.job.nodes} task(s); the first is 0"
        raise Problem(404, "unknown-task", what)
    if query.follow:
        return streams.stream(faces, who, _follow(faces, who, found.job, query))
    return Stream(
        _whole(faces, who, found, query),
        media_type="text/plain",
        headers={"Cache-Control": "no-store"},
    )


async def _whole(faces: Faces, who: Identity, found: JobView, query: LogQuery) -> AsyncIterator[bytes]:
    offset = query.offset
    while _may(faces, who, found.job) and (chunk := _chunk(faces, found, query.task or 0, offset)):
        yield chunk
        offset += len(chunk)


def _may(faces: Faces, who: Identity, job: JobRow) -> bool:
    return still(faces, who, "job:logs", resource_of(job))


async def _follow(faces: Faces, who: Identity, job: JobRow, query: LogQuery) -> AsyncIterator[bytes]:
    """Looks at the logs, often while they grow, else less and less often; with many tasks less often, too. Ends when
    token or role do."""
    offsets: dict[int, int] = {} if query.task is None else {query.task: query.offset}
    run, idle, quiet_s = "", 0, 0.0
    while not faces.closing.is_set() and _may(faces, who, job):
        found = found_job(faces, job.job)
        ended = found.job.state in ENDED  # asked before the log is read, so that nothing is missed
        if found.runs and found.runs[-1].run != run:
            if run:
                offsets = dict.fromkeys(offsets, 0)  # another run begins its own log
            run = found.runs[-1].run
        tasks = range(max(found.job.nodes, 1)) if query.task is None else (query.task,)
        grown = False
        for task in tasks:
            if task % TASKS_MAX == TASKS_MAX - 1:
                await asyncio.sleep(0)
            for text in _new(faces, found, task, offsets.get(task, 0), ended):
                yield streams.event("log", text)
                if not _may(faces, who, job):
                    return
                offsets[task] = text.offset + len(text.text.encode())
                grown = True
        if ended and not grown:
            ended_as = LogEnd(found.job.state, found.job.reason, found.job.exit_code, found.job.signal)
            yield streams.event("end", ended_as)
            return
        if ended:
            continue
        idle = 0 if grown else min(idle + 1, len(LOOK_S) - 1)
        pause_s = LOOK_S[idle] * (1 + len(tasks) // TASKS_MAX)
        quiet_s = 0.0 if grown else quiet_s + pause_s
        if quiet_s >= streams.KEEP_ALIVE_S:
            yield streams.KEEP_ALIVE
            quiet_s = 0.0
        await asyncio.sleep(pause_s)


def _new(faces: Faces, found: JobView, task: int, offset: int, final: bool) -> Iterator[LogText]:
    """What one task has written since `offset`, up to CHUNKS_MAX pieces before others have their turn."""
    for _ in range(CHUNKS_MAX):
        text = _text(faces, found, task, offset, final)
        if text is None:
            return
        yield text
        offset = text.offset + len(text.text.encode())


def _chunk(faces: Faces, found: JobView, task: int, offset: int) -> bytes:
    """Up to CHUNK bytes of the last run's log; b'' if there is none or no more."""
    if not found.runs:
        return b""
    try:
        return faces.read_log(found.runs[-1].run, task, offset, CHUNK)
    except KeyError:
        return b""


def _text(faces: Faces, found: JobView, task: int, offset: int, final: bool) -> LogText | None:
    """The next piece. A character whose bytes have not all come is left for later, unless nothing will come."""
    chunk = _chunk(faces, found, task, offset)
    text = one_to_one(chunk, final and len(chunk) < CHUNK)
    return LogText(task, offset, text) if text else None


def one_to_one(chunk: bytes, final: bool) -> str:
    """The text of UTF-8 bytes, `?` for each byte that is none, so that offsets count the same in text and file.

    Unless `final`, bytes of a character that is not complete are left off.
    """
    return codecs.getincrementaldecoder("utf-8")("leitstand-one-to-one").decode(chunk, final)


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "?" * (error.end - error.start), error.end


codecs.register_error("leitstand-one-to-one", _mark)
