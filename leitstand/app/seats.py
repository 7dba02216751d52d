# SPDX-License-Identifier: Apache-2.0
"""The faces' look at the lease: by a thread of its own, since they must answer while the server does not. Called by
`leitstand.app.faces` where control planes take turns."""

import asyncio
import logging
from typing import Final

from leitstand.api.seat import Seat
from leitstand.app.settings import Settings
from leitstand.journal import place
from leitstand.journal.codec import JournalUnusable
from leitstand.journal.lease import Held, Lease, Member
from leitstand.runtime.ports import JournalAway

LOOK_S: Final = 0.5
_log = logging.getLogger("leitstand.seats")


async def watch(settings: Settings, seat: Seat) -> None:
    """Look again and again, until cancelled. While that is not possible, the last look counts; that another leads, for
    `LOOK_COUNTS_S` alone."""
    url = place.url_of(settings.journal)
    assert url is not None, "who takes turns has its journal in a database"
    lease = Lease(url, settings.member, settings.address)
    said = False
    while True:
        try:
            seat.see(*await asyncio.to_thread(_look, lease))
            said = False
        except (JournalAway, JournalUnusable) as error:  # not made yet, or away
            if not said:
                _log.warning("the lease cannot be looked at: %s", error)
            said = True
        await asyncio.sleep(LOOK_S)


def _look(lease: Lease) -> tuple[Held, list[Member]]:
    return lease.look(), lease.members()
