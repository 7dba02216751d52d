# SPDX-License-Identifier: Apache-2.0
"""What people are called, remembered for a moment. Called by answers that show persons.

Journal and views know ids alone; names are erasable records. What is remembered is forgotten with the next
administrative fact (so also when a person is erased), and after a minute in any case.
"""

import time
from collections.abc import Iterable
from typing import Final

import msgspec

from leitstand.core.people import ADMIN
from leitstand.stores.people import People

FRESH_S: Final = 60.0
NAMES_MAX: Final = 10_000  # remembered
ADMINISTRATOR: Final = "administrator"


class PersonAnswer(msgspec.Struct, frozen=True):
    """Somebody. `name` is empty if it was erased."""

    id: str
    name: str


class Names:
    """Names by user id."""

    def __init__(self) -> None:
        self._version = -1
        self._until = 0.0
        self._known: dict[str, PersonAnswer] = {}

    def of(self, people: People, version: int, users: Iterable[str]) -> dict[str, PersonAnswer]:
        """Each of `users` with its name; one look-up for all. `version`: of who may do what, as the state counts."""
        now = time.monotonic()
        if version != self._version or now > self._until or len(self._known) > NAMES_MAX:
            self._version, self._until = version, now + FRESH_S
            self._known = {ADMIN: PersonAnswer(ADMIN, ADMINISTRATOR)}
        known = self._known
        wanted = set(users)
        unknown = wanted - known.keys()
        if unknown:
            for user, person in people.people(sorted(unknown - {""})).items():
                known[user] = PersonAnswer(user, person.name)
        return {user: known.get(user) or PersonAnswer(user, "") for user in wanted}
