# SPDX-License-Identifier: Apache-2.0
"""How one of several control planes on a journal comes to lead, and stops. Called by the writer with `--standby`.

While another leads, the writer is a standby: it folds the journal's tail and looks at the lease. Once that is free it
takes it, folds to the head, and is the writer like any other; a thread renews the lease. It ends before its lease does:
by itself, or, where it was stopped or its machine slept, by the kernel (`leitstand.runtime.deadline`), so that a stale
leader sends nobody anything. Its parent starts it again, as a standby.
"""

import contextlib
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple, NoReturn

from leitstand.app.serving import EXIT_CODES, CannotServe
from leitstand.app.settings import Settings
from leitstand.core.state import State
from leitstand.core.units import SECOND_US
from leitstand.journal import place, snapshots
from leitstand.journal.codec import JournalUnusable
from leitstand.journal.lease import LEASE_S, Held, Lease
from leitstand.journal.postgres import PostgresJournal, PostgresReader
from leitstand.runtime.deadline import Deadline, now_s
from leitstand.runtime.ports import JournalAway

LAG_MAX_US: Final = 60 * SECOND_US
LOOK_S: Final = 0.2  # between looks at lease and tail
TELL_S: Final = 1.0  # between signs of life
RENEW_S: Final = 1.0
AGAIN_S: Final = 0.2  # after a renewal that did not come through
MARGIN_S: Final = 0.2  # that the leader ends before its lease does
BATCH: Final = 4096  # entries folded between two looks at the lease
_log = logging.getLogger("leitstand.leading")


class Led(NamedTuple):
    """What a leader has: the journal to append to, the state after its last entry, who keeps the lease."""

    journal: PostgresJournal
    state: State
    keeper: "Keeper"


def stand_by(settings: Settings) -> Led:
    """Wait until we lead. Says `ready` once the journal is folded; ends the process when standard input does.
    JournalAway if the server is lost at the very moment of taking over: begin again."""
    candidate = Candidate(settings)
    ready = False
    while not candidate.step():
        if candidate.is_warm and not ready:
            ready = True
            print("ready", flush=True)
        if select.select([0], [], [], LOOK_S)[0] and not os.read(0, 4096):
            sys.exit(0)  # the parent is gone
    return candidate.lead()


class Candidate:
    """One that would lead. Used by one thread."""

    def __init__(self, settings: Settings) -> None:
        url = place.url_of(settings.journal)
        if url is None:
            raise CannotServe("unusable", "--standby is for a journal in a database")
        self._settings, self._url = settings, url
        self._lease = Lease(url, settings.member, settings.address)
        self._deadline = Deadline()
        self._reader: PostgresReader | None = None
        self._state, self._folded, self._last_us = State(), 0, 0
        self._lost_s = -2 * LEASE_S  # monotonic: when the server was last away
        self._told_s = -TELL_S
        self._note = ""
        self._epoch: int | None = None
        self._taken_s = 0.0

    @property
    def is_warm(self) -> bool:
        """Whether the journal is folded as far as it goes."""
        return self._reader is not None

    def step(self) -> bool:
        """Fold what there is, look at the lease; whether it is ours now."""
        try:
            reader = self._reader or self._open()
            while self._fold(reader) == BATCH:
                self._tell()
            self._tell()
            return self._try_to_take(self._lease.look())
        except JournalAway as error:
            if time.monotonic() - self._lost_s > 2 * LEASE_S:
                _log.warning("the journal cannot be read: %s", error)
            self._lost_s = time.monotonic()
            return False

    def lead(self) -> Led:
        """After `step` was True: go on from the journal's end, as its writer."""
        assert self._epoch is not None
        assert self._reader is not None
        keeper = Keeper(self._lease, self._epoch, self._deadline)
        keeper.start(self._taken_s)
        journal = PostgresJournal(self._url, epoch=self._epoch)
        snapshots.fold(self._state, journal.read(self._folded))
        keeper.seq = lambda: journal.head.seq
        self._reader.close()
        _log.warning("leading since epoch %d, from entry %d on", self._epoch, journal.head.seq)
        return Led(journal, self._state, keeper)

    def _open(self) -> PostgresReader:
        """The journal and its lease, made if there are none, and all of it folded."""
        try:
            reader = PostgresReader(self._url)
        except JournalUnusable:
            PostgresJournal(self._url, epoch=0).close()  # what is no empty database is refused here
            reader = PostgresReader(self._url)
        self._lease.make()
        self._state, head = snapshots.restore(reader, self._settings.snapshots)
        self._folded, self._last_us = head.seq, head.at
        self._reader = reader
        return reader

    def _fold(self, reader: PostgresReader) -> int:
        entries = list(reader.read(self._folded, BATCH))
        if entries:
            snapshots.fold(self._state, entries)
            self._folded, self._last_us = entries[-1].seq, entries[-1].at
        return len(entries)

    def _tell(self) -> None:
        if time.monotonic() - self._told_s >= TELL_S:
            self._lease.tell(self._folded, self._note)
            self._told_s = time.monotonic()

    def _try_to_take(self, held: Held) -> bool:
        note = self._clock_fault(held.now_us)
        if note != self._note:
            self._note, self._told_s = note, -TELL_S
            if note:
                _log.critical("this control plane does not take over: %s", note)
        ours = held.holder == self._lease.member
        if note or not (held.is_free or ours):
            return False
        # who could not renew because the server was away gets a chance to do so
        if held.holder and not ours and time.monotonic() - self._lost_s < 2 * LEASE_S:
            return False
        self._taken_s = now_s()
        self._epoch = self._lease.take()
        return self._epoch is not None

    def _clock_fault(self, server_us: int) -> str:
        """Why this machine's clock forbids to lead, '' if it does not."""
        limit, now_us = LAG_MAX_US // SECOND_US, time.time_ns() // 1000
        if self._folded and self._last_us - now_us > LAG_MAX_US:
            behind = (self._last_us - now_us) // SECOND_US
            return f"its clock is {behind} s behind the journal's last entry (limit {limit} s); set the clock"
        if abs(server_us - now_us) > LAG_MAX_US:
            apart = abs(server_us - now_us) // SECOND_US
            return f"its clock and that of the journal's server are {apart} s apart (limit {limit} s); set it"
        return ""


class Keeper:
    """Keeps the lease of a leader: renews it from a thread, ends the process before it expires. `seq`: the journal's
    last entry, for the sign of life."""

    def __init__(self, lease: Lease, epoch: int, deadline: Deadline) -> None:
        self.seq: Callable[[], int] = _nothing_yet
        self._lease = lease
        self._epoch = epoch
        self._deadline = deadline
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def start(self, asked_s: float) -> None:
        """The lease was asked for at `asked_s` (of `deadline.now_s`)."""
        self._deadline.put(asked_s + LEASE_S - MARGIN_S)
        self._thread.start()

    def give_back(self) -> None:
        """Another may lead at once. Called when nothing of this leader acts any more."""
        self._ending.set()
        self._thread.join()
        with contextlib.suppress(JournalAway):
            self._lease.release(self._epoch)
        self._deadline.clear()

    def _keep(self) -> None:
        pause_s = RENEW_S
        while not self._ending.wait(pause_s):
            asked_s = now_s()
            try:
                if not self._lease.renew(self._epoch):
                    _end("another control plane took over the lease; this one is a standby from now on")
                self._deadline.put(asked_s + LEASE_S - MARGIN_S)
                self._lease.tell(self.seq(), "")
                pause_s = RENEW_S
            except JournalAway as error:
                left_s = self._deadline.at_s - now_s()
                if left_s < 2 * AGAIN_S:
                    _end(
                        f"the lease could not be renewed ({error}); this control plane is a standby from now on"
                    )
                pause_s = AGAIN_S
            except BaseException as error:
                _end(f"the lease cannot be kept: {error!r}")


def _nothing_yet() -> int:
    return 0


def _end(line: str) -> NoReturn:
    """At once: what else this process would do is another's from now on."""
    print(line, file=sys.stderr, flush=True)
    os._exit(EXIT_CODES["lost"])
