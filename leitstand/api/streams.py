# SPDX-License-Identifier: Apache-2.0
"""Server-sent events (WHATWG HTML, section 9.2): their form, and the answer that carries them.

Used by `logs` and `events`.
"""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from litestar.response import Stream

from leitstand.api.auth import Identity
from leitstand.api.context import STREAMS_IN_ALL, STREAMS_MAX, Faces

KEEP_ALIVE_S: Final = 15.0
KEEP_ALIVE: Final = b": keep-alive\n\n"


def event(name: str, data: Any, event_id: int | None = None) -> bytes:
    """One event; `data` as JSON, which has no line breaks."""
    head = b"" if event_id is None else b"id: %d\n" % event_id
    return head + b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


def stream(faces: Faces, who: Identity, events: AsyncIterator[bytes]) -> Stream:
    """The answer that sends `events` as they come; over STREAMS_MAX of one user, or STREAMS_IN_ALL: Problem 429."""
    claims = ((f"event streams of user {who.subject!r}", STREAMS_MAX), ("event streams", STREAMS_IN_ALL))
    with faces.limits.hold(*claims):
        pass  # refuse before the answer begins

    async def held() -> AsyncIterator[bytes]:
        with faces.limits.hold(*claims):
            yield b": welcome\n\n"  # headers and a first byte leave at once
            async for part in events:
                yield part

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Stream(held(), media_type="text/event-stream", headers=headers)
