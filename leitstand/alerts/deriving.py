# SPDX-License-Identifier: Apache-2.0
"""Which alerts follow from the journal's facts, and when they are over. Pure; fed in order by `leitstand.app.alerting`.

An alert has an id that follows from the journal and the entry that it came of, so whoever derives it again, after a
crash or on another machine, derives the same: a receiver may drop what it has seen. What is seen of the control plane
itself (a site that does not answer, a writer that is away) is no fact; `Seen` turns it into alerts with ids of its own.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from leitstand.core import facts as f
from leitstand.core.health.table import ALERT, verdict
from leitstand.runtime.ports import Entry

CRITICAL: Final = "critical"
WARNING: Final = "warning"
# kind → (severity, whether it stays open until something ends it)
KINDS: Final = {
    "node_drained": (CRITICAL, True),
    "node_failed": (CRITICAL, True),
    "burn_in_failed": (CRITICAL, True),
    "gpu_warning": (WARNING, False),
    "promise_broken": (WARNING, False),
    "booking_broken": (WARNING, False),
    "site_unwell": (CRITICAL, True),
    "writer_away": (CRITICAL, True),
    "journal_away": (CRITICAL, True),
    "disk_low": (CRITICAL, True),
    "test": (WARNING, False),
}
About = dict[str, str | int]
OPENED: Final = "opened"
CLOSED: Final = "closed"


class Alert(msgspec.Struct, frozen=True):
    """`subject`: the node, site or job that it is about, '' for the control plane itself; `about`: what its words need,
    by name; `opened_us`: when; `closed_us` 0: it is open, or nothing ends it."""

    id: str
    kind: str
    subject: str
    opened_us: int
    about: About
    closed_us: int = 0

    @property
    def severity(self) -> str:
        return KINDS[self.kind][0]

    @property
    def lasts(self) -> bool:
        """Whether something ends it."""
        return KINDS[self.kind][1]

    @property
    def key(self) -> str:
        """What there is one open alert of."""
        return f"{self.kind} {self.subject}"


class Event(msgspec.Struct, frozen=True):
    """What is told: that an alert was OPENED, or is CLOSED."""

    what: str
    alert: Alert


class Deriving:
    """`open`: alerts that nothing has ended yet."""

    def __init__(self, journal: str, open: Iterable[Alert] = ()) -> None:
        self._journal = journal
        self._open = {alert.key: alert for alert in open}

    def take(self, entry: Entry) -> list[Event]:
        """What follows from an entry."""
        id, at, fact = f"{self._journal[:12]}-{entry.seq}", entry.at, entry.fact
        about: About
        match fact:
            case f.NodeDrained():
                about = {"kind": fact.kind, "code": fact.code, "gpu": fact.gpu}
                return self._opens(Alert(id, "node_drained", fact.node, at, about))
            case f.NodeReported() if verdict(fact.kind, fact.code) == ALERT:
                about = {"kind": fact.kind, "code": fact.code, "gpu": fact.gpu}
                return self._opens(Alert(id, "gpu_warning", fact.node, at, about))
            case f.BurnInFailed():
                code = -1 if fact.exit_code is None else fact.exit_code
                about = {"job": fact.job, "reason": fact.reason, "exit_code": code}
                return self._opens(Alert(id, "burn_in_failed", fact.node, at, about))
            case f.NodeReturned():
                return [
                    *self._closes("node_drained", fact.node, at),
                    *self._closes("burn_in_failed", fact.node, at),
                ]
            case f.NodeRemoved(failed=True):
                return self._opens(Alert(id, "node_failed", fact.node, at, {}))
            case f.NodeAdded():
                return self._closes("node_failed", fact.node, at)
            case f.PromiseBroken():
                about = {"cause": fact.cause, "old_us": fact.old_us, "new_us": fact.new_us}
                return self._opens(Alert(id, "promise_broken", fact.job, at, about))
            case f.BookingBroken():
                return self._opens(Alert(id, "booking_broken", fact.booking, at, {"cause": fact.cause}))
            case _:
                return []

    def say(self, kind: str, subject: str, at_us: int, about: About, *, is_so: bool) -> list[Event]:
        """What was seen of something that is no fact: whether it `is_so` now."""
        if not is_so:
            return self._closes(kind, subject, at_us)
        id = f"{self._journal[:12]}-{kind}-{subject or 'here'}-{at_us}"
        return self._opens(Alert(id, kind, subject, at_us, about))

    def _opens(self, alert: Alert) -> list[Event]:
        if alert.lasts:
            if alert.key in self._open:
                return []
            self._open[alert.key] = alert
        return [Event(OPENED, alert)]

    def _closes(self, kind: str, subject: str, at_us: int) -> list[Event]:
        alert = self._open.pop(f"{kind} {subject}", None)
        return [] if alert is None else [Event(CLOSED, msgspec.structs.replace(alert, closed_us=at_us))]
