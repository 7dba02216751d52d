# SPDX-License-Identifier: Apache-2.0
"""How long the records of applications are kept. `leitstand.app.chores` calls it now and then.

Erased are those of refused applications after REFUSED_US, of withdrawn ones, and those to which no application belongs:
the faces died while it was filed, or it left the list long ago.
"""

from typing import Final

from leitstand.api.applicationview import RECORDS, complete, record_of
from leitstand.api.auth import Identity
from leitstand.api.context import Faces
from leitstand.core.acts import RecordsErased
from leitstand.core.onboarding import Application
from leitstand.core.units import DAY_US

REFUSED_US: Final = 180 * DAY_US  # as long as the refusal may be asked about
KEEPER: Final = Identity("retention", "")  # nobody: the facts have no author


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
