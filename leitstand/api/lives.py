# SPDX-License-Identifier: Apache-2.0
"""How long what opens doors lives: tokens, sessions, invitations. Made once by `leitstand.app.faces`.

In a real control plane as the journal says. In a twin the journal's time runs ahead of the world's, and what opens a
door must not live a thousand times shorter, nor longer while the twin is slow or stopped: there it is the world's
time that counts, and it is kept beside the journal (decision 20).
"""

from collections.abc import Callable
from typing import Final, Protocol

from leitstand.core.rules import Rules
from leitstand.core.units import DAY_US

SPARE_US: Final = 300 * DAY_US  # of a twin's time: what it may be ahead of its writer


class Ending(Protocol):
    """A token or an invitation."""

    @property
    def digest(self) -> str: ...
    @property
    def expires_us(self) -> int: ...


class Kept(Protocol):
    """What keeps the world's times of what was issued, as `leitstand.stores.ends` does."""

    def put(self, digest: str, issued_us: int, ends_us: int) -> None: ...
    def get(self, digest: str) -> tuple[int, int]: ...


class Lives:
    """As the journal says; `now`: the time that counts, µs."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.now = now

    def begin(self, digest: str, life_us: int, rules: Rules) -> int:
        """What the journal is told of when it ends, of something new with that digest."""
        return self.now() + life_us

    def issued_us(self, one: Ending) -> int:
        """When a token was issued."""
        found: int = one.issued_us  # type: ignore[attr-defined]
        return found

    def ends_us(self, one: Ending) -> int:
        """When it opens nothing more."""
        return one.expires_us

    def most_us(self, rules: Rules) -> Rules:
        """The rules that say how long it may live."""
        return rules


class WorldLives(Lives):
    """In a twin: by the world's time. `journal_now`: that of the twin. What is not kept is over."""

    def __init__(self, now: Callable[[], int], journal_now: Callable[[], int], kept: Kept) -> None:
        super().__init__(now)
        self._journal_now = journal_now
        self._kept = kept

    def begin(self, digest: str, life_us: int, rules: Rules) -> int:
        """For the journal it lives as long as its rules allow; OSError if it cannot be kept."""
        now = self.now()
        self._kept.put(digest, now, now + life_us)
        return self._journal_now() + min(rules.token_ttl_max_us, rules.invitation_ttl_max_us) - SPARE_US

    def issued_us(self, one: Ending) -> int:
        return self._kept.get(one.digest)[0]

    def ends_us(self, one: Ending) -> int:
        return self._kept.get(one.digest)[1]

    def most_us(self, rules: Rules) -> Rules:
        return Rules()
