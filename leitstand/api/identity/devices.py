# SPDX-License-Identifier: Apache-2.0
"""Command lines that wait to be let in by their user in a browser (after RFC 8628). Called by `login`.

A device holds a code of 256 bits, of which the digest is kept; its user types a short one. Both are good once and for
ten minutes. Kept in memory alone: a restart of the faces ends what is pending, and the command line says so.
"""

import secrets
from collections.abc import Iterator
from typing import Final

import msgspec

from leitstand.access import tokens
from leitstand.access.signin import network
from leitstand.api.auth import Identity
from leitstand.core.units import MINUTE_US, SECOND_US

PENDING_US: Final = 10 * MINUTE_US
INTERVAL_US: Final = 5 * SECOND_US  # between two questions of a device
EARLY_US: Final = SECOND_US  # so much sooner is no offence: clocks and networks are not exact
PENDING_MAX: Final = 1000
PER_SOURCE_MAX: Final = 20
LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels, no words; 20^8 codes (RFC 8628, section 6.1)
HALF: Final = 4


class Device(msgspec.Struct):
    """One that waits. `source`: the address that it asked from, `near`: its network; `client`: what it calls itself;
    `allowed`: by whom; `denied`: by its user; `asked_us`: when it asked last; `taken`: its token is being issued."""

    digest: str
    user_code: str
    source: str
    near: str
    client: str
    begun_us: int
    allowed: Identity | None = None
    denied: bool = False
    asked_us: int = 0
    taken: bool = False

    @property
    def ends_us(self) -> int:
        return self.begun_us + PENDING_US


class Devices:
    """Those that wait, oldest first."""

    def __init__(self) -> None:
        self._by_digest: dict[str, Device] = {}
        self._by_code: dict[str, Device] = {}

    def __len__(self) -> int:
        return len(self._by_digest)

    def begin(self, now: int, source: str, client: str) -> tuple[str, Device] | None:
        """A fresh device code and what is kept of it; None if too many wait, in all or from there."""
        self._forget_old(now)
        near = network(source)
        there = sum(one.near == near for one in self._by_digest.values())
        if len(self) >= PENDING_MAX or there >= PER_SOURCE_MAX:
            return None
        code = secrets.token_urlsafe(tokens.SECRET_BYTES)
        device = Device(tokens.digest(code), next(self._fresh()), source, near, client, now)
        self._by_digest[device.digest] = self._by_code[device.user_code] = device
        return code, device

    def by_device(self, now: int, code: str) -> Device | None:
        """The one that holds the device code."""
        self._forget_old(now)
        return self._by_digest.get(tokens.digest(code))

    def by_user(self, now: int, code: str) -> Device | None:
        """The one that shows its user this code, on which nobody has decided yet. Case, blanks and dashes do not
        count."""
        self._forget_old(now)
        letters = "".join(one for one in code.upper() if one.isalnum())
        found = self._by_code.get(f"{letters[:HALF]}-{letters[HALF:]}")
        return None if found is None or found.allowed or found.denied else found

    def forget(self, device: Device) -> None:
        """It is over."""
        self._by_digest.pop(device.digest, None)
        self._by_code.pop(device.user_code, None)

    def _fresh(self) -> Iterator[str]:
        while True:
            letters = "".join(secrets.choice(LETTERS) for _ in range(2 * HALF))
            code = f"{letters[:HALF]}-{letters[HALF:]}"
            if code not in self._by_code:
                yield code

    def _forget_old(self, now: int) -> None:
        for device in list(self._by_digest.values()):
            if device.ends_us > now:
                break
            self.forget(device)
