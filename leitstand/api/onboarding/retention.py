# SPDX-License-Identifier: Apache-2.0
"""How long the records of applications and invitations are kept. `leitstand.app.chores` calls it now and then.

Erased are those of refused applications after REFUSED_US, of withdrawn ones, and those to which no application belongs:
the faces died while it was filed, or it left the list long ago. Of an invitation the address, once it is over.
"""

import asyncio
import re
from typing import Final

from leitstand.api.auth import Identity
from leitstand.api.context import Faces
from leitstand.api.onboarding.applicationview import RECORDS, complete, record_of
from leitstand.core.acts import RecordsErased
from leitstand.core.onboarding import Application
from leitstand.core.units import DAY_US

REFUSED_US: Final = 180 * DAY_US  # as long as the refusal may be asked about
KEEPER: Final = Identity("retention", "")  # nobody: the facts have no author
_INVITATION: Final = re.compile(r"i[1-9][0-9]*", re.ASCII)  # no id of a tenant looks so


class Applications:
    """Remembers between two calls what nobody owned, for an application just being filed has records first."""

    def __init__(self) -> None:
        self._orphans: set[str] = set()

    async def erase_old(self, faces: Faces) -> int:
        """Erase what is not to be kept any longer; of how many applications. What an approved one still holds goes to
        its tenant."""
        state = faces.follower.state
        owners = {record_of(one.digest): one for one in state.onboarding.applications.values()}
        found = faces.people.subjects(RECORDS)
        orphans = found - owners.keys()
        doomed: list[tuple[str, Application | None]] = [
            (name, None) for name in sorted(orphans & self._orphans)
        ]
        self._orphans = orphans
        now = faces.now()
        for name in sorted(found & owners.keys()):
            application = owners[name]
            complete(faces, application)
            old = application.state == "refused" and now - application.decided_us > REFUSED_US
            if old or application.state == "withdrawn":
                doomed.append((name, application))
        for name, owner in doomed:
            faces.people.erase(name)
            if owner is not None:
                await faces.ask(KEEPER, "", RecordsErased(owner.id))
        return len(doomed)


async def erase_addresses(faces: Faces) -> int:
    """Erase the addresses of invitations that nobody can accept any more; how many. An accepted one keeps it while the
    answer can be asked for again, for the name of its account may come of it."""
    people = faces.people
    kept = [one for one in await asyncio.to_thread(people.subjects, "i") if _INVITATION.fullmatch(one)]
    state, now = faces.follower.state, faces.now()
    over = []
    for name in sorted(kept):
        one = state.people.invitations.get(name)
        if one is not None:
            ends_us = one.accepted_us + state.rules.claim_again_us if one.user else faces.lives.ends_us(one)
        if one is None or ends_us <= (now if one.user else faces.lives.now()):
            over.append(name)
    for name in over:
        await asyncio.to_thread(people.erase, name)
    return len(over)
