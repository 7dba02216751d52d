# SPDX-License-Identifier: Apache-2.0
"""What a control plane that takes turns with others knows of them: who leads, and how far the others are behind.

Filled by `leitstand.app.seats`, which looks at the lease; shown by `/healthz`; asked before anything is changed.
"""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec

from leitstand.api.amounts import moment
from leitstand.api.problems import Problem
from leitstand.core.units import SECOND_US
from leitstand.journal.lease import LEASE_S, Held, Member

STANDBY: Final = "standby"
LEADER: Final = "leader"
RETRY_AFTER_S: Final = 1
LOOK_COUNTS_S: Final = 2 * LEASE_S  # who led may have lost the lease, and nobody can see who leads now
READS: Final = frozenset(
    {"/v1/plan", "/v1/sites/test"}
)  # of the paths that are posted to: they change nothing


class Taking(msgspec.Struct, frozen=True):
    """A control plane that takes turns. `behind`: entries of the journal that its writer does not know yet; `silent_s`:
    since its last sign of life; `note`: what keeps it from leading, '' if nothing does."""

    address: str
    role: str
    behind: int
    silent_s: float
    note: str


class Turn(msgspec.Struct, frozen=True):
    """`role`: leader or standby, of who answers; `leader`: the address of the one that leads, '' while nobody does;
    `since_at`: since when; `epoch`: how often the lead was taken; `members`: all that take turns, as of `as_of`,
    for those who may see metrics."""

    role: str
    leader: str
    since_at: datetime | None
    epoch: int
    members: list[Taking]
    as_of: datetime | None


class Seat:
    """The last look at the lease. `member`: who looks, at the address `address`; `clock`: seconds, never back."""

    def __init__(self, member: str, address: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self.member = member
        self._clock = clock
        self._seen_s = 0.0
        self._address = address
        self._held: Held | None = None
        self._members: list[Member] = []

    def see(self, held: Held, members: list[Member]) -> None:
        """This is how it is now."""
        self._held, self._members, self._seen_s = held, members, self._clock()

    @property
    def is_led_by_another(self) -> bool:
        """Whether another was seen to lead, LOOK_COUNTS_S ago at most."""
        if self._held is None or self._clock() - self._seen_s > LOOK_COUNTS_S:
            return False
        return not self._held.is_free and self._held.holder != self.member

    def stands_by(self, connected: bool) -> bool:
        """Whether another is to be asked; `connected`: our own writer can be."""
        return not connected and (self._held is None or self._held.holder != self.member)

    def turn(self, connected: bool) -> Turn:
        """For people and proxies."""
        held = self._held
        role = STANDBY if self.stands_by(connected) else LEADER
        if held is None:
            return Turn(role, "", None, 0, [], None)
        if connected and held.holder != self.member:  # we lead by now
            held = msgspec.structs.replace(
                held, holder=self.member, address=self._address, since_us=held.now_us, left_us=1
            )
        leads = "" if held.is_free else held.holder
        members = [
            Taking(
                one.address,
                LEADER if one.member == leads else STANDBY,
                0 if one.member == leads else max(0, held.seq - one.folded),
                round(one.silent_us / SECOND_US, 1),
                one.note,
            )
            for one in self._members
        ]
        leader = held.address if leads else ""
        return Turn(
            role, leader, moment(held.since_us) if leads else None, held.epoch, members, moment(held.now_us)
        )

    def refusal(self) -> Problem:
        """503: who is to be asked instead."""
        held = self._held
        leader = "" if held is None or held.is_free else held.address
        detail = "this control plane is on standby, and "
        detail += f"{leader} leads" if leader else "nobody leads at the moment"
        hint = f"send it to {leader}" if leader else "one takes over within seconds; try again"
        return Problem(503, STANDBY, detail, hint=hint, retry_after_s=RETRY_AFTER_S)
