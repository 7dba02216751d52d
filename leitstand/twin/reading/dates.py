# SPDX-License-Identifier: Apache-2.0
"""Moments as others write them, as seconds since 1970. Called by the readers of Slurm's and Kubernetes' jobs.

What lies outside 1990 to 2100 is no moment of a recorded job: clocks that were never set say 1970, a field that
overflowed says 2106.
"""

import re
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from math import inf, nan
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from leitstand.twin.reading.table import TraceError, shown

FIRST_S: Final = 631_152_000.0  # 1990
LAST_S: Final = 4_102_444_800.0  # 2100
NO_MOMENT: Final = "is no moment between 1990 and 2100 (written 2026-01-31T08:00:00)"

_LOCAL: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)", re.ASCII)
_WITH_ZONE: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(\.\d{1,9})?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


def zone(name: str) -> tzinfo:
    """The time zone with this IANA name; TraceError if there is none."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise TraceError(
            f"time zone {shown(name)!r} is not known here; name one like Europe/Berlin, or UTC"
        ) from error


def local_s(text: str, where: tzinfo, earliest_s: float = -inf) -> float:
    """Seconds of a local time, or of a number of seconds; NaN if it is none. Of an hour that comes twice the first, or
    the second if the first lies before `earliest_s`."""
    if text.isascii() and text.isdigit():
        return _within(float(text[:16]))
    found = _LOCAL.fullmatch(text)
    if not found:
        return nan
    parts = tuple(map(int, found.groups()))
    at = _moment(parts, where)
    return _moment(parts, where, fold=1) if at < earliest_s else at


def zoned_s(text: str) -> float:
    """Seconds of an RFC 3339 time; NaN if it is none. A leap second counts as the one before it."""
    found = _WITH_ZONE.fullmatch(text)
    if not found:
        return nan
    at = _moment((*map(int, found.groups()[:5]), min(int(found[6]), 59)), UTC)
    east = (int(found[9] or 0) * 60 + int(found[10] or 0)) * 60 if found[8] else 0
    return at + float(found[7] or 0) - (-east if found[8] == "-" else east)


def _within(at: float) -> float:
    return at if FIRST_S <= at <= LAST_S else nan


@lru_cache(maxsize=4096)
def _moment(parts: tuple[int, ...], where: tzinfo, fold: int = 0) -> float:
    try:
        year, month, day, hour, minute, second = parts
        return _within(datetime(year, month, day, hour, minute, second, tzinfo=where, fold=fold).timestamp())
    except (ValueError, OverflowError):
        return nan
