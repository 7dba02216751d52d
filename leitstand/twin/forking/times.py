# SPDX-License-Identifier: Apache-2.0
"""Times and spans as people write them in scenario files and on the command line. Called by both.

`2027-01-04`, `2027-01-04T06:00`, `2027-01-04T06:00:00Z` or with `+01:00`: without a zone, UTC. `30d`, `+30d`: so long
after the fork.
"""

import re
from datetime import UTC, datetime
from typing import Final

import msgspec

from leitstand.core.units import DAY_US, HOUR_US, MINUTE_US, SECOND_US

SPAN_MAX_US: Final = 3650 * DAY_US
_SPAN: Final = re.compile(
    r"([+-]?)(?:(\d{1,5})w)?(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII
)
_UNITS: Final = (7 * DAY_US, DAY_US, HOUR_US, MINUTE_US, SECOND_US)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class When(msgspec.Struct, frozen=True):
    """A time in µs since 1970, or since the fork."""

    us: int
    since_fork: bool = False

    def at(self, from_us: int) -> int:
        """The time, if the fork is at `from_us`."""
        return from_us + self.us if self.since_fork else self.us


def when(text: str) -> When:
    """The time that is written; ValueError with what is wrong."""
    if _SPAN.fullmatch(text) and text.lstrip("+-"):
        return When(span(text), since_fork=True)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text[:40]!r} is no time; write 2027-01-04, 2027-01-04T06:00 (UTC) or 30d (after the fork)"
        ) from None
    aware = found if found.tzinfo else found.replace(tzinfo=UTC)
    since = aware - _EPOCH
    return When((since.days * 86_400 + since.seconds) * SECOND_US + since.microseconds)


def span(text: str, *, signed: bool = False) -> int:
    """The span that is written, µs; ValueError with what is wrong. `signed`: it may be negative."""
    found = _SPAN.fullmatch(text)
    if not found or not any(found.groups()[1:]):
        raise ValueError(f"{text[:40]!r} is no span of time; write it like 90d, 2w or 1d12h")
    us = sum(int(part) * unit for part, unit in zip(found.groups()[1:], _UNITS, strict=True) if part)
    if not 0 < us <= SPAN_MAX_US:
        raise ValueError(f"{text[:40]!r} is not above 0 and up to {SPAN_MAX_US // DAY_US}d")
    if found[1] == "-" and not signed:
        raise ValueError(f"{text[:40]!r} is negative; write it without the minus")
    return -us if found[1] == "-" else us


def shown(us: int) -> str:
    """A time for people: the date, and the time of day where it is not midnight; UTC."""
    at = datetime.fromtimestamp(us // SECOND_US, UTC)
    return at.strftime("%Y-%m-%d" if us % DAY_US == 0 else "%Y-%m-%d %H:%M UTC")


def shown_span(us: float) -> str:
    """A span for people, in one unit: `42 s`, `3.5 min`, `12.3 h`, `4.1 d`."""
    size = abs(us)
    for unit, name, most in ((SECOND_US, "s", 100), (MINUTE_US, "min", 100), (HOUR_US, "h", 72)):
        if size < most * unit:
            return f"{us / unit:.3g} {name}"
    return f"{us / DAY_US:,.1f} d"
