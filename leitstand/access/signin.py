# SPDX-License-Identifier: Apache-2.0
"""How often sign-in may be tried: per source address, per account, and in all. Called by the faces before each look-up.

Each limit is a token bucket, kept as one number: the time at which it will be full again (the generic cell rate
algorithm, ITU-T I.371). What works gives its token back, so people who know their secret are not slowed down by using
it, only by what is tried in their name.
"""

import ipaddress
from collections import OrderedDict
from typing import Final

import msgspec

from leitstand.core.units import SECOND_US

IPV6_PREFIX: Final = 64  # one customer's network, RFC 6177


class Rate(msgspec.Struct, frozen=True):
    """`burst` attempts at once, then one per `every_us`."""

    burst: int
    every_us: int

    @property
    def full_us(self) -> int:
        """After so long without attempts nothing is left to remember."""
        return self.burst * self.every_us


PER_SOURCE: Final = Rate(20, 6 * SECOND_US)
PER_ACCOUNT: Final = Rate(10, 12 * SECOND_US)
IN_ALL: Final = Rate(200, SECOND_US // 20)
# More are never in use: what all together may try until the slowest bucket is full again (120 s at 20/s, and 200).
BUCKETS_MAX: Final = 4096
ACCOUNT_CHARS_MAX: Final = 128  # by which accounts are told apart


class SignIns:
    """The attempts of late. Times in µs of one clock that does not go back."""

    def __init__(
        self, per_source: Rate = PER_SOURCE, per_account: Rate = PER_ACCOUNT, in_all: Rate = IN_ALL
    ) -> None:
        self._sources = _Buckets(per_source)
        self._accounts = _Buckets(per_account)
        self._all = _Buckets(in_all)

    def attempt(self, now: int, source: str, account: str = "") -> int:
        """Count an attempt from the address `source` on `account` ('' if none is named); 0, or the seconds after which
        it is worth trying again (Retry-After). What is refused counts for nothing."""
        claims = self._claims(source, account)
        wait_us = max(buckets.wait_us(key, now) for buckets, key in claims)
        if wait_us:
            return -(-wait_us // SECOND_US)
        for buckets, key in claims:
            buckets.take(key, now)
        return 0

    def succeeded(self, now: int, source: str, account: str = "") -> None:
        """The attempt counted before was right: it counts no more."""
        for buckets, key in self._claims(source, account):
            buckets.give_back(key, now)

    def remembered(self) -> int:
        """How many buckets are held."""
        return len(self._sources) + len(self._accounts) + len(self._all)

    def _claims(self, source: str, account: str) -> list[tuple["_Buckets", str]]:
        claims = [(self._all, ""), (self._sources, network(source))]
        return [*claims, (self._accounts, account[:ACCOUNT_CHARS_MAX])] if account else claims


class _Buckets:
    """Buckets of one rate by key. At most BUCKETS_MAX, those longest unused go first: they are full by then."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._full_at: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def wait_us(self, key: str, now: int) -> int:
        """How long until the bucket has a token; 0 if it has."""
        full_at = self._full_at.get(key, 0)
        return max(0, full_at - now - self._rate.full_us + self._rate.every_us)

    def take(self, key: str, now: int) -> None:
        self._full_at[key] = max(self._full_at.pop(key, 0), now) + self._rate.every_us
        if len(self._full_at) > BUCKETS_MAX:
            self._full_at.popitem(last=False)

    def give_back(self, key: str, now: int) -> None:
        if key not in self._full_at:
            return
        self._full_at[key] -= self._rate.every_us
        if self._full_at[key] <= now:  # or who knows one secret could push out what is remembered of others
            del self._full_at[key]


def network(source: str) -> str:
    """What counts as one source: an IPv4 address, an IPv6 network of 64 bits, or the text itself if it is neither."""
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return source
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
