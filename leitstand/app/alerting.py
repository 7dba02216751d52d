# SPDX-License-Identifier: Apache-2.0
"""Derives alerts from the journal and from what the faces see, and has them told. Two chores of the faces.

The journal is read by a connection of its own from where the store says; so nothing that happened while the faces were
away is missed. Each receiver is told in its order and at its own pace: one that does not answer delays nobody else.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec

from leitstand.alerts.deriving import OPENED, Deriving, Event
from leitstand.alerts.sending import NotTold, tell
from leitstand.alerts.settings import AlertSettings, Sink
from leitstand.alerts.store import Store
from leitstand.api.context import Faces
from leitstand.api.jobs.sites import NEW
from leitstand.journal.place import Reader

DERIVE_EVERY_S: Final = 1.0
TELL_EVERY_S: Final = 1.0
PRUNE_EVERY: Final = 3_600  # derivations
ENTRIES_MAX: Final = 20_000  # of one reading
TOLD_MAX: Final = 20  # to one receiver at once
ELSEWHERE_US: Final = 30 * 60_000_000  # twice the longest pause between two tries
PATIENCE_US: Final = 30_000_000  # that something lasts before it is alerted

_log = logging.getLogger("leitstand.alerts")


class Sight(NamedTuple):
    """Something that is seen and is no fact: `is_so` now; `about`: what its words need."""

    kind: str
    subject: str
    about: dict[str, str | int]
    is_so: bool


class Surroundings(msgspec.Struct, frozen=True):
    """`open_journal()`: a reader of the chore's own; `now()`: the world's time, µs; `look()`: what is seen now;
    `leave()`: whether another control plane tells."""

    open_journal: Callable[[], Reader]
    now: Callable[[], int]
    look: Callable[[], Iterator[Sight]]
    leave: Callable[[], bool] = bool  # False


class Alerting:
    """See the module."""

    def __init__(self, store: Store, settings: AlertSettings, journal: str, around: Surroundings) -> None:
        self.store = store
        self._settings = settings
        self._around = around
        self._id = journal
        self._deriving = Deriving(journal, store.open())
        self._journal: Reader | None = None
        self._since: dict[tuple[str, str], int] = {}
        self._seq = store.seq  # read so far; what is stored may be behind where nothing was to be told
        self._derivations = 0

    async def derive(self) -> None:
        """Everything that came since the last time."""
        await asyncio.to_thread(self._derive)

    async def tell(self) -> None:
        """What is due, to each receiver. Of several control planes that take turns, all derive the same, and the leader
        tells it; a standby leaves what is older than ELSEWHERE_US to it, and tells the rest again if it has to lead, or
        if nobody can be seen to."""
        if self._around.leave():
            now_us = self._around.now()
            await asyncio.to_thread(self.store.told_elsewhere, now_us - ELSEWHERE_US, now_us)
            return
        await asyncio.gather(*(asyncio.to_thread(self._tell, sink) for sink in self._settings.sinks))

    def test(self) -> str:
        """An alert that says only that there can be some; its id."""
        (event,) = self._deriving.say("test", "", self._around.now(), {}, is_so=True)
        self._keep([event], 0)
        return event.alert.id

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()
        self.store.close()

    def _derive(self) -> None:
        self._look()
        if self._journal is None:
            self._journal = self._around.open_journal()
        events: list[Event] = []
        for entry in self._journal.read(self._seq, ENTRIES_MAX):
            events += self._deriving.take(entry)
            self._seq = entry.seq
        if events or self._seq - self.store.seq >= ENTRIES_MAX:
            self._keep(events, self._seq)
        self._derivations += 1
        if self._derivations % PRUNE_EVERY == 0:
            self.store.prune([sink.name for sink in self._settings.sinks])

    def _look(self) -> None:
        """What is seen, once it has lasted for a while."""
        now_us = self._around.now()
        events: list[Event] = []
        for sight in self._around.look():
            what = sight.kind, sight.subject
            since_us = self._since.setdefault(what, now_us) if sight.is_so else self._since.pop(what, 0)
            if not sight.is_so or now_us - since_us >= PATIENCE_US:
                events += self._deriving.say(*what, now_us, sight.about, is_so=sight.is_so)
        if events:
            self._keep(events, 0)

    def _keep(self, events: list[Event], seq: int) -> None:
        for event in events:
            say = _log.warning if event.what == OPENED else _log.info
            say("alert %s %s: %s %s", event.alert.id, event.what, event.alert.kind, event.alert.subject)
        try:
            self.store.keep(events, seq, self._around.now(), self._settings.sinks)
        except BaseException:  # derived again from what is stored
            self._deriving, self._seq = Deriving(self._id, self.store.open()), self.store.seq
            raise

    def _tell(self, sink: Sink) -> None:
        german = self._settings.language == "de"
        for delivery, alert in self.store.due(sink.name, self._around.now(), TOLD_MAX):
            try:
                refused = tell(sink, alert, delivery.what, now_us=self._around.now(), german=german)
            except NotTold as error:
                _log.warning("alert %s was not told to %s: %s", alert.id, sink.name, error)
                self.store.failed(delivery, self._around.now(), str(error))
                return  # the others after it would meet the same
            if refused:
                _log.warning("alert %s was told to %s, but %s", alert.id, sink.name, refused)
            self.store.told(delivery, self._around.now(), refused)


def look_of(faces: Faces) -> Callable[[], Iterator[Sight]]:
    """What the faces see of the control plane and its sites."""
    sites: dict[str, None] = {}

    def look() -> Iterator[Sight]:
        yield Sight("writer_away", "", {}, not faces.follower.link.connected and not faces.is_led_by_another)
        yield Sight("journal_away", "", {}, faces.follower.away)
        yield Sight("disk_low", "", {}, faces.disk_low())
        health = faces.sites.health()
        sites.update(dict.fromkeys(health))
        for name in sites:
            error = health[name].error if name in health else ""
            yield Sight("site_unwell", name, {"error": error}, error not in ("", NEW))

    return look
