# SPDX-License-Identifier: Apache-2.0
"""Group commit: requests that arrive while a transaction is written share the next one. Used by the faces.

One thread writes and another keeps the log short; the event loop never waits for the disk.
"""

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from leitstand.runtime.spec import RunSpec
from leitstand.stores.records import Record, Records

BATCH_MAX: Final = 256  # records of one transaction
WAITING_MAX: Final = 10_000
CHECKPOINT_BATCHES: Final = 200  # between two checkpoints

_Batch = list[tuple[Record, asyncio.Future[str]]]


class TooManyWaiting(Exception):
    """The disk is slower than what arrives; nothing was written for this one."""


class GroupCommit:
    """Durable writes of records from one event loop."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="records")
        self._checkpoints = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._batches = 0
        self._waiting: _Batch = []
        self._writing = False

    async def put(self, tenant: str, subject: str, spec: RunSpec) -> str:
        """Keep one record, durable on return; its ref. TooManyWaiting over WAITING_MAX, else as `Records.put`."""
        record = Record.of(tenant, subject, spec)  # before it joins: its faults are no others'
        if len(self._waiting) >= WAITING_MAX:
            raise TooManyWaiting(f"{WAITING_MAX} records wait for the disk")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[str] = loop.create_future()
        self._waiting.append((record, done))
        if not self._writing:
            self._writing = True
            loop.call_soon(self._write, loop)  # requests of the same tick come along
        return await done

    def close(self) -> None:
        """Wait for the transaction in progress."""
        self._thread.shutdown()
        self._checkpoints.shutdown()

    def _write(self, loop: asyncio.AbstractEventLoop) -> None:
        self._batches += 1
        if self._batches % CHECKPOINT_BATCHES == 0:
            self._checkpoints.submit(self._records.checkpoint)
        batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
        work = self._thread.submit(self._records.put_all, [record for record, _ in batch])
        work.add_done_callback(lambda work: loop.call_soon_threadsafe(self._written, loop, batch, work))

    def _written(self, loop: asyncio.AbstractEventLoop, batch: _Batch, work: Future[list[str]]) -> None:
        error = work.exception()
        for index, (_, done) in enumerate(batch):
            if done.done():  # its request was cancelled
                continue
            if error is None:
                done.set_result(work.result()[index])
            else:
                done.set_exception(error)
        if self._waiting:
            self._write(loop)
        else:
            self._writing = False
