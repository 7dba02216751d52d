# SPDX-License-Identifier: Apache-2.0
"""Amounts between people and the core: durations, cores, memory, times. Called by requests and answers of the API.

1 GB of memory means 1024 MiB here, as everywhere in the field.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from leitstand.core.units import DAY_US, HOUR_US, MINUTE_US, SECOND_US

DURATION_US_MAX: Final = 3650 * DAY_US
_UNITS: Final = {"d": DAY_US, "h": HOUR_US, "m": MINUTE_US, "s": SECOND_US}
_DURATION: Final = re.compile(
    r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9}(?:\.\d{1,6})?)s)?", re.ASCII
)
_NUMBER: Final = re.compile(r"\d{1,12}(?:\.\d{1,6})?", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def duration_us(value: str | float) -> int:
    """µs of "1h30m", "90s", "2d", or of seconds; ValueError says what is wrong."""
    if isinstance(value, str):
        text = value.strip()
        if _NUMBER.fullmatch(text):
            return duration_us(float(text))
        match = _DURATION.fullmatch(text)
        if not text or match is None:
            raise ValueError(f"{value[:40]!r} is not a duration; write it like 90s, 1h30m, 2d, or as seconds")
        parts = zip(match.groups(), _UNITS.values(), strict=True)
        us = sum(round(float(number) * unit) for number, unit in parts if number)
    else:
        us = round(value * SECOND_US) if abs(value) < DURATION_US_MAX else DURATION_US_MAX + 1
    if not 0 < us <= DURATION_US_MAX:
        raise ValueError(f"{value} is not between 1 µs and {DURATION_US_MAX // DAY_US} days")
    return us


def moment_us(value: str, now: int) -> int:
    """µs since the epoch of a time with its zone in RFC 3339, or of a duration from `now` on; ValueError says what is
    wrong."""
    text = value.strip()
    if text[:4].isdigit() and "-" in text[4:5]:
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            found = None
        if found is None or found.tzinfo is None:
            raise ValueError(
                f"{value[:40]!r} is not a time with its zone; write it like 2026-03-01T08:00:00Z"
            ) from None
        return (found - _EPOCH) // timedelta(microseconds=1)
    try:
        return now + duration_us(text)
    except ValueError:
        what = "is neither a time like 2026-03-01T08:00:00Z nor a duration from now like 2h"
        raise ValueError(f"{value[:40]!r} {what}") from None


def duration_fault(value: str | float | None) -> str:
    """A check of durations that may be left out."""
    try:
        if value is not None:
            duration_us(value)
    except ValueError as error:
        return str(error)
    return ""


def cpus_milli(cpus: float) -> int:
    """Thousandths of a core, at least one for any share of it."""
    return max(round(cpus * 1000), 1) if cpus else 0


def memory_mib(memory_gb: float) -> int:
    """MiB, at least one for any share of it."""
    return max(round(memory_gb * 1024), 1) if memory_gb else 0


def seconds(us: int) -> float:
    """Seconds, to the µs as far as a float holds it."""
    return us / SECOND_US


def stamp_us(at: datetime) -> int:
    """The stamp of a time with its zone, in µs since 1970."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def span(us: int) -> str:
    """A duration as people write it, exact: 30d, 1h30m, 2.5s."""
    parts = []
    rest = us
    for letter, unit in list(_UNITS.items())[:-1]:
        count, rest = divmod(rest, unit)
        if count:
            parts.append(f"{count}{letter}")
    if rest or not parts:
        parts.append(f"{rest / SECOND_US:.6f}".rstrip("0").rstrip(".") + "s")
    return "".join(parts)


def moment(us: int) -> datetime:
    """The UTC time of a stamp, exact to the µs."""
    return _EPOCH + timedelta(microseconds=us)
