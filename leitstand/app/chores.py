# SPDX-License-Identifier: Apache-2.0
"""What the faces' process does beside answering: signs chain heads, has snapshots written, deletes old blobs.

Called by `leitstand.app.faces`. None of it is needed for correctness; a chore that fails says so and is tried later.
"""

import asyncio
import os
import subprocess
import sys
import time
from typing import Final

from leitstand.api.context import Faces
from leitstand.app.settings import Settings
from leitstand.journal import heads
from leitstand.journal.sqlite import SqliteReader
from leitstand.stores.blobs import Retention

SIGN_EVERY_S: Final = 60.0
SNAPSHOT_LOOK_S: Final = 5.0
SNAPSHOT_FACTS: Final = 200_000  # since the last one
SNAPSHOT_AGAIN_S: Final = 600.0  # after one that came to nothing
PRUNE_EVERY_S: Final = 3600.0


def start(settings: Settings, tail: SqliteReader, faces: Faces) -> list[asyncio.Task[None]]:
    """The chores as tasks that never end."""
    return [
        asyncio.create_task(_sign_heads(settings, tail), name="signing of heads"),
        asyncio.create_task(_snapshots(settings, faces), name="writing of snapshots"),
        asyncio.create_task(_prune_blobs(faces), name="pruning of blobs"),
    ]


def sign_head(settings: Settings, tail: SqliteReader) -> None:
    """Sign the journal's head and keep the line, unless it is the last one already."""
    try:
        head = tail.head
        known = heads.last_recorded(settings.heads)
        if head.seq and (known is None or known.seq != head.seq):
            heads.record(settings.heads, heads.Signer(settings.keys).sign(tail.journal_id, head))
    except (OSError, ValueError) as error:
        _say(f"the journal's head was not signed: {error}")


async def _sign_heads(settings: Settings, tail: SqliteReader) -> None:
    while True:
        await asyncio.sleep(SIGN_EVERY_S)
        with SqliteReader(settings.journal) as own:  # the follower's connection belongs to the loop's thread
            await asyncio.to_thread(sign_head, settings, own)


async def _snapshots(settings: Settings, faces: Faces) -> None:
    retry_at_s = 0.0
    while True:
        await asyncio.sleep(SNAPSHOT_LOOK_S)
        if faces.follower.folded - _last_snapshot(settings) < SNAPSHOT_FACTS or time.monotonic() < retry_at_s:
            continue
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "leitstand.app.snapshot", settings.to_json(), stdin=subprocess.DEVNULL
        )
        try:
            status = await process.wait()
        except asyncio.CancelledError:
            process.terminate()
            raise
        if status:
            retry_at_s = time.monotonic() + SNAPSHOT_AGAIN_S
            _say(f"no snapshot was written (exit code {status}); the next try is in {SNAPSHOT_AGAIN_S:g} s")


def _last_snapshot(settings: Settings) -> int:
    """The entry of the latest snapshot; 0 if there is none."""
    try:
        names = os.listdir(settings.snapshots)
    except FileNotFoundError:
        return 0
    stems = (name.removesuffix(".snapshot") for name in names if name.endswith(".snapshot"))
    return max((int(stem) for stem in stems if stem.isdigit()), default=0)


async def _prune_blobs(faces: Faces) -> None:
    while True:
        await asyncio.sleep(PRUNE_EVERY_S)
        live = [job.spec for job in faces.follower.state.jobs.values()]
        await asyncio.to_thread(_prune, faces, live)


def _prune(faces: Faces, live: list[str]) -> None:
    keep = {spec.workdir for spec in faces.records.get_all(live).values() if spec.workdir}
    try:
        faces.blobs.prune(time.time(), Retention(), keep)
    except OSError as error:
        _say(f"old work directories were not deleted: {error}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
