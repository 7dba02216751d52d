# SPDX-License-Identifier: Apache-2.0
"""What a follower promises: state and view hold the same prefix of the journal, and waiters are woken when it has
grown far enough."""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from leitstand.core.cycle import Core
from leitstand.core.facts import NodeAdded, Observation, Resources, SiteAdded, SubmitJob, TenantAdded
from leitstand.core.state import State
from leitstand.journal.memory import MemoryJournal
from leitstand.runtime import follower as module
from leitstand.runtime.follower import BATCH, Follower, ViewBroken
from leitstand.runtime.link import WriterAway
from leitstand.runtime.ports import Entry, Head, JournalAway

FLEET: list[Observation] = [
    TenantAdded("acme"),
    SiteAdded("here", "local"),
    NodeAdded("node-1", "here", 4, 8000, 16_000),
]


class Seen:
    """A view that remembers what it got."""

    def __init__(self, seq: int = 0) -> None:
        self.seq = seq
        self.batches: list[list[int]] = []
        self.broken = False
        self.no_room = False

    def commit(self) -> None:
        if self.no_room:
            raise OSError(28, "No space left on device")

    def apply(self, entries: Iterable[Entry]) -> None:
        seqs = [entry.seq for entry in entries if entry.seq > self.seq]
        if self.broken:
            raise RuntimeError("no")
        self.batches.append(seqs)
        self.seq = seqs[-1] if seqs else self.seq

    @property
    def applied(self) -> list[int]:
        return [seq for batch in self.batches for seq in batch]


class Writer:
    """Core and journal, a second per cycle."""

    def __init__(self) -> None:
        self.core = Core()
        self.journal = MemoryJournal()
        self.now = 0
        self.cycle(FLEET)

    def cycle(self, observations: list[Observation]) -> None:
        self.now += 1_000_000
        self.journal.append(self.journal.head, self.now, self.core.cycle(self.now, observations))

    def submit(self, count: int) -> None:
        for _ in range(count):
            self.cycle([SubmitJob("acme", "default", Resources(gpus=1))])


@pytest.fixture
def writer() -> Writer:
    return Writer()


def following(writer: Writer, view: Seen, state: State | None = None, state_seq: int = 0) -> Follower:
    return Follower(writer.journal, state or State(), state_seq, view, Path("no such socket"))


def test_state_and_view_hold_the_whole_journal_after_catching_up(writer: Writer) -> None:
    writer.submit(2 * BATCH)
    view = Seen()
    follower = following(writer, view)
    follower.catch_up()
    head = writer.journal.head.seq
    assert (follower.folded, view.applied) == (head, list(range(1, head + 1)))
    assert follower.state.digest() == writer.core.state.digest()
    assert max(map(len, view.batches)) == BATCH


def test_a_restored_state_and_a_view_behind_it_both_end_at_the_head(writer: Writer) -> None:
    writer.submit(20)
    first = following(writer, Seen())
    first.catch_up()
    state_seq = first.folded
    writer.submit(20)
    view = Seen(seq=5)
    follower = following(writer, view, first.state, state_seq)
    assert follower.folded == 5
    follower.catch_up()
    assert view.applied == list(range(6, writer.journal.head.seq + 1))
    assert follower.state.digest() == writer.core.state.digest()


def test_a_view_ahead_of_the_state_is_not_fed_twice(writer: Writer) -> None:
    writer.submit(10)
    view = Seen(seq=12)
    follower = following(writer, view)
    follower.catch_up()
    assert view.applied == list(range(13, writer.journal.head.seq + 1))
    assert follower.state.digest() == writer.core.state.digest()


def test_waiters_are_woken_when_their_entry_is_folded_and_not_before(writer: Writer) -> None:
    async def main() -> None:
        follower = following(writer, Seen())
        head = writer.journal.head.seq
        early, late = (
            asyncio.create_task(follower.reached(head)),
            asyncio.create_task(follower.reached(head + 3)),
        )
        moved = asyncio.create_task(follower.moved(follower.folded, 60))
        await asyncio.sleep(0)
        follower.catch_up()
        await early
        assert await moved
        assert not late.done()
        writer.submit(1)  # three entries: submitted, admitted, placed
        follower.catch_up()
        await late
        await follower.reached(head + 3)  # at once

    run(main())


def test_moved_tells_when_nothing_came_in_time(writer: Writer) -> None:
    async def main() -> None:
        follower = following(writer, Seen())
        follower.catch_up()
        assert not await follower.moved(follower.folded, 0.01)
        assert await follower.moved(follower.folded - 1, 0.01)

    run(main())


def test_a_release_ends_the_waiting_though_nothing_moved(writer: Writer) -> None:
    async def main() -> None:
        follower = following(writer, Seen())
        waiting = [asyncio.create_task(follower.moved(0, 60)) for _ in range(2)]
        await asyncio.sleep(0)
        follower.release()
        assert await asyncio.gather(*waiting) == [False, False]

    run(main())


def test_a_cancelled_waiter_does_no_harm(writer: Writer) -> None:
    async def main() -> None:
        follower = following(writer, Seen())
        waiting = asyncio.create_task(follower.reached(2))
        await asyncio.sleep(0)
        waiting.cancel()
        follower.catch_up()
        assert follower.folded == writer.journal.head.seq

    run(main())


def test_following_polls_for_what_nobody_told(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(module, "POLL_S", 0.001)
        follower = following(writer, Seen())
        task = asyncio.create_task(follower.run())
        await follower.reached(writer.journal.head.seq)
        before = follower.folded
        writer.submit(3)
        assert await follower.moved(before, 60)
        await follower.reached(writer.journal.head.seq)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main())


def test_a_view_that_fails_ends_the_follower_with_a_name(writer: Writer) -> None:
    async def main() -> None:
        view = Seen()
        view.broken = True
        with pytest.raises(ViewBroken, match="entries 1 to"):
            await following(writer, view).run()

    run(main())


def test_a_view_that_cannot_show_what_it_has_ends_the_follower_at_once_and_says_why(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody may go on with it: what it lost lies behind what is folded, and would never be read again."""

    async def main() -> None:
        monkeypatch.setattr(module, "POLL_S", 3600)
        view = Seen()
        follower = following(writer, view)
        following_on = asyncio.create_task(follower.run())
        await follower.reached(writer.journal.head.seq)
        follower.show()
        view.no_room = True
        with pytest.raises(ViewBroken, match="No space"):
            follower.show()
        writer.submit(1)
        with pytest.raises(ViewBroken) as ended:
            await following_on
        assert isinstance(ended.value.__cause__, OSError)
        assert follower.folded < writer.journal.head.seq

    run(main())


def test_asking_without_a_writer_fails_at_once_and_known(writer: Writer) -> None:
    async def main() -> None:
        with pytest.raises(WriterAway) as away:
            await following(writer, Seen()).ask("token", SubmitJob("acme", "default", Resources()))
        assert not away.value.unknown

    run(main())


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 30))


class Tail:
    """A journal whose server may be away."""

    def __init__(self, journal: MemoryJournal) -> None:
        self.journal = journal
        self.away = False

    @property
    def head(self) -> Head:
        return self.journal.head

    def read(self, after: int, limit: int | None = None) -> Iterator[Entry]:
        if self.away:
            raise JournalAway("no server answers")
        return self.journal.read(after, limit)


def test_while_the_journals_server_is_away_what_is_folded_stays_and_then_it_goes_on(
    writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    tail, view = Tail(writer.journal), Seen()
    follower = Follower(tail, State(), 0, view, Path("no such socket"))
    follower.catch_up()
    folded = follower.folded
    writer.submit(3)
    tail.away = True
    follower.catch_up()
    follower.catch_up()
    assert (follower.folded, follower.away) == (folded, True)
    assert len(caplog.records) == 1  # said once
    tail.away = False
    follower.catch_up()
    assert (follower.folded, follower.away) == (writer.journal.head.seq, False)
    assert follower.state.digest() == writer.core.state.digest()
