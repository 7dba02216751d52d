# SPDX-License-Identifier: Apache-2.0
"""A follower: folds the journal's tail into a state and views, and answers a request once its facts are folded.

Runs in the faces' process, in one event loop, beside the API that reads `state` and the views. It folds in bounded
batches and lets the loop breathe between them. The writer tells when there is more; a poll makes up for what is not
told.
"""

import asyncio
import heapq
import logging
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final, Protocol

from leitstand.core.facts import Observation
from leitstand.core.state import State
from leitstand.runtime.link import Link
from leitstand.runtime.ports import Entry, Head, JournalAway, View
from leitstand.runtime.wire import Settled

BATCH: Final = 512  # entries between two breaths of the event loop: a few milliseconds
POLL_S: Final = 1.0

_log = logging.getLogger(__name__)


class Tail(Protocol):
    """What a follower needs of a journal."""

    @property
    def head(self) -> Head: ...

    def read(self, after: int, limit: int | None = None) -> Iterator[Entry]: ...


class ViewBroken(Exception):
    """The view could not take an entry: it must be dropped and rebuilt. The journal is not in doubt."""


class Follower:
    """`state` is read-only for everybody else and holds every entry up to `folded`; so does the view."""

    def __init__(self, tail: Tail, state: State, state_seq: int, view: View, inbox: Path) -> None:
        """`state` holds the entries up to `state_seq`; a view that is behind it catches up."""
        self.state = state
        self.folded = min(state_seq, view.seq)
        self.link = Link(inbox, self._told)
        self._tail = tail
        self._state_seq = state_seq
        self._view = view
        self._known = 0  # the head, as far as we were told
        self._order = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []  # a heap by seq
        self._woken = asyncio.Event()
        self._next_batch: asyncio.Future[None] | None = None
        self._broken: ViewBroken | None = None
        self.away = False  # whether the journal could not be read the last time

    def catch_up(self) -> None:
        """Fold all that there is now, at once; for the start, before anybody asks."""
        while self._fold_batch():
            pass

    async def run(self) -> None:
        """Follow until cancelled; ViewBroken, or what reading the journal raises."""
        loop = asyncio.get_running_loop()
        link = loop.create_task(self.link.run())
        try:
            while not link.done():
                self._woken.clear()
                while self._fold_batch():
                    await asyncio.sleep(0)
                poll = loop.call_later(POLL_S, self._woken.set)
                await self._woken.wait()
                poll.cancel()
            link.result()
        finally:
            link.cancel()

    async def ask(self, token: str, observation: Observation) -> Settled:
        """Ask the writer, and return its answer once what it led to is folded here. Errors as `Link.ask`."""
        settled = await self.link.ask(token, observation)
        await self.reached(settled.seq)
        return settled

    async def reached(self, seq: int) -> None:
        """Wait until entry `seq` is folded."""
        if seq <= self.folded:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (seq, next(self._order), done))
        self._told(seq)
        await done

    async def moved(self, seq: int, timeout_s: float) -> bool:
        """Wait until more than `seq` is folded, at most `timeout_s`; whether it is."""
        if self.folded <= seq:
            if self._next_batch is None:
                self._next_batch = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._next_batch], timeout=timeout_s)
        return self.folded > seq

    def show(self) -> None:
        """Make everything that is folded visible to other readers of the view's file. ViewBroken if that failed: then
        the view has fallen back, and following ends."""
        try:
            self._view.commit()
        except Exception as error:
            self._broken = ViewBroken(f"what was applied up to entry {self.folded}: {error!r}")
            self._woken.set()
            raise self._broken from error

    def release(self) -> None:
        """Let everybody who waits in `moved` look again, though nothing has moved."""
        if self._next_batch is not None:
            self._next_batch.set_result(None)
            self._next_batch = None

    def _told(self, seq: int) -> None:
        if seq > self._known:
            self._known = seq
            self._woken.set()

    def _fold_batch(self) -> bool:
        """Fold up to BATCH entries; whether there may be more. While the journal's server is away there are none: what
        is folded goes on to be read."""
        if self._broken is not None:
            raise self._broken
        try:
            entries = list(self._tail.read(self.folded, BATCH))
        except JournalAway as error:
            if not self.away:
                _log.critical("the journal cannot be read, what is shown is older: %s", error)
            self.away = True
            return False
        self.away = False
        if not entries:
            return False
        apply, state_seq = self.state.apply, self._state_seq
        for entry in entries:
            if entry.seq > state_seq:
                apply(entry.at, entry.fact)
        last = entries[-1].seq
        self._state_seq = max(state_seq, last)
        try:
            self._view.apply(entries)
        except Exception as error:
            raise ViewBroken(f"entries {entries[0].seq} to {last}: {error!r}") from error
        self.folded = last
        while self._waiting and self._waiting[0][0] <= last:
            done = heapq.heappop(self._waiting)[2]
            if not done.done():
                done.set_result(None)
        self.release()
        return len(entries) == BATCH
