# SPDX-License-Identifier: Apache-2.0
"""What changes, as server-sent events: each job as it is now, with the journal entry of its last change as event id.

A client that was away gives the last id it saw and gets every job that changed since, once, in its latest form.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar, Final

from litestar import Request, get
from litestar.response import Stream

from leitstand.api import decode, streams
from leitstand.api.auth import Identity, header
from leitstand.api.checks import between
from leitstand.api.context import Faces, faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.jobs import answers
from leitstand.api.permission import places
from leitstand.api.problems import Problem
from leitstand.views.reading import NUMBER_MAX

BATCH: Final = 100  # jobs between two breaths


class EventsQuery(Input, frozen=True):
    """`after`: the last event id that was seen; None: only what comes from now on."""

    after: int | None = None

    checks: ClassVar[dict[str, Check]] = {
        "after": lambda value: "" if value is None else between(0, NUMBER_MAX)(value)
    }


@get(
    "/events",
    opt={"action": "event:watch", "query": EventsQuery, "headers": ["Last-Event-ID"]},
    summary="Follow all jobs",
)
async def events(request: Request[Any, Any, Any]) -> Stream:
    """Server-sent events `job` (Job) with the journal entry as id; resumes after `Last-Event-ID` or `after`."""
    faces = faces_of(request)
    who, _ = places(request)
    query = decode.query(request.query_params.items(), EventsQuery)
    after = _last_event_id(header(request.scope, b"last-event-id"))
    if after is None:
        after = query.after
    return streams.stream(faces, who, _events(faces, who, faces.follower.folded if after is None else after))


async def _events(faces: Faces, who: Identity, after: int) -> AsyncIterator[bytes]:
    """Roles and token count as they are at each look: who loses them hears no more."""
    follower = faces.follower
    after = min(after, follower.folded)  # an id of another journal is no promise of silence
    while not faces.closing.is_set() and faces.tokens.holds(who):
        folded = follower.folded
        where = faces.authorizer.scopes_of(faces.tokens.asker(who), "event:watch")
        changed, after, more = faces.reading.changed(after, BATCH, where)
        for view, job in zip(changed, answers.jobs(faces, changed), strict=True):
            yield streams.event("job", job, view.job.changed)
        if more:
            await asyncio.sleep(0)  # others have their turn, however much is out of scope
        elif not await follower.moved(folded, streams.KEEP_ALIVE_S):
            yield streams.KEEP_ALIVE


def _last_event_id(value: bytes) -> int | None:
    if not value:
        return None
    if not value.isdigit() or len(value) > 18:
        raise Problem(
            400, "invalid-request", f"Last-Event-ID {value[:40].decode('latin-1')!r} is not a number of ours"
        )
    return int(value)
