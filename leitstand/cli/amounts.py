# SPDX-License-Identifier: Apache-2.0
"""Amounts, durations and sizes as people write and read them. Called by the commands, the job file and `up`."""

import math
import re
from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeVar

import click

from leitstand.cli import moments
from leitstand.cli.text import t

DURATION: Final = "TIME"  # what help calls a duration
SHOWN_MAX: Final = 16  # characters of what was written; something longer may be a secret in the wrong place
DURATION_MAX_S: Final = 3650 * 86_400
_DURATION: Final = re.compile(
    r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9}(?:\.\d{1,6})?)s)?", re.ASCII
)
_BYTES: Final = re.compile(r"(\d{1,15})\s*(?:([KMGT])i?B?|B)?", re.ASCII | re.IGNORECASE)
_ACCELERATOR: Final = re.compile(
    r"[A-Za-z][A-Za-z0-9_.-]{0,62}:\d{1,6}|(?:[A-Za-z][A-Za-z0-9_.-]{0,62}:)?\d{1,2}g\.\d{1,4}gb(?:\+me)?",
    re.ASCII | re.IGNORECASE,
)
GPUS_DIGITS_MAX: Final = 9
SPEED_LEAST, SPEED_MOST = 0.01, 100_000.0
_POWER: Final = {"K": 10, "M": 20, "G": 30, "T": 40}


def parse_amount(text: str) -> float:
    """A finite number from 0 on; ValueError says what is wrong."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(t('"{text}" is not an amount; write it like 4 or 0.5', text=_shown(text)))
    return value


def parse_duration(text: str) -> float:
    """Seconds of `1h30m`, `2d`, `90s`, `0.5s` or a plain number; ValueError says what is wrong."""
    found = _DURATION.fullmatch(text + "s" if text[-1:].isdigit() else text)
    if not found or not any(found.groups()):
        raise ValueError(t('"{text}" is not a duration; write it like 1h30m, 2d or 90s', text=_shown(text)))
    days, hours, minutes = (int(part or 0) for part in found.groups()[:3])
    rest = float(found[4] or 0)
    seconds = ((days * 24 + hours) * 60 + minutes) * 60 + (int(rest) if rest.is_integer() else rest)
    if not 0 < seconds <= DURATION_MAX_S:
        raise ValueError(
            t('"{text}" is not above 0 and up to {limit}d', text=_shown(text), limit=DURATION_MAX_S // 86_400)
        )
    return seconds


def parse_bytes(text: str) -> int:
    """Bytes of `64M`, `1G` or a plain number; K, M, G, T are powers of 1024. ValueError says what is wrong."""
    found = _BYTES.fullmatch(text.strip())
    if not found:
        raise ValueError(t('"{text}" is not a size; write it like 64M or 1G', text=_shown(text)))
    return int(found[1]) << _POWER.get((found[2] or "").upper(), 0)


def parse_percent(text: str) -> float:
    """A part from 0 to 100, with or without the sign; ValueError says what is wrong."""
    try:
        value = parse_amount(text.strip().removesuffix("%"))
    except ValueError:
        value = math.inf
    if value > 100:
        raise ValueError(t('"{text}" is not from 0% to 100%', text=_shown(text)))
    return value


def parse_speed(text: str) -> float:
    """How many times as fast as the world, with or without the x; ValueError says what is wrong."""
    try:
        value = parse_amount(text.strip().lower().removesuffix("x"))
    except ValueError:
        value = 0.0
    if not SPEED_LEAST <= value <= SPEED_MOST:
        raise ValueError(
            t(
                '"{text}" is no speed from {least:g}x to {most:g}x',
                text=_shown(text),
                least=SPEED_LEAST,
                most=SPEED_MOST,
            )
        )
    return value


def parse_gpus(text: str) -> int | str:
    """A number of GPUs; or with their type, or as a MIG instance, as a job file says it. ValueError says what is
    wrong."""
    if text.isascii() and text.isdigit() and len(text) <= GPUS_DIGITS_MAX:
        return int(text)
    if not _ACCELERATOR.fullmatch(text):
        raise ValueError(
            t('"{text}" is neither a number of GPUs nor like H100:2 or H100:3g.40gb', text=_shown(text))
        )
    return text


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_MAX else "…"


N = TypeVar("N", bound=float | str)


def reading(parse: Callable[[str], N]) -> Callable[[click.Context, click.Parameter, str | None], N | None]:
    """The click callback of an option whose text `parse` reads; what `parse` complains about, the user is told."""

    def callback(_: click.Context, __: click.Parameter, value: str | None) -> N | None:
        try:
            return None if value is None else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return callback


def show_span(seconds: float) -> str:
    """A span in at most two units: `42s`, `3m`, `1h 30m`, `2d 4h`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m" + (f" {whole % 60}s" if whole < 600 and whole % 60 else "")
    if whole < 86_400:
        return f"{whole // 3600}h" + (f" {whole % 3600 // 60}m" if whole % 3600 >= 60 else "")
    return f"{whole // 86_400}d" + (f" {whole % 86_400 // 3600}h" if whole % 86_400 >= 3600 else "")


def show_duration(seconds: float) -> str:
    """A duration in full: `30d`, `1d3h30m`, `2.5s`."""
    whole, parts = int(seconds), []
    for letter, unit in (("d", 86_400), ("h", 3600), ("m", 60)):
        count, whole = divmod(whole, unit)
        if count:
            parts.append(f"{count}{letter}")
    rest = whole + seconds % 1
    if rest or not parts:
        parts.append(f"{rest:.6f}".rstrip("0").rstrip(".") + "s")
    return "".join(parts)


def show_ago(text: str | None, now: float | None = None) -> str | None:
    """A moment of the API by its distance from `now` (Unix seconds; None: as it is there): `3m ago`, `in 2d`; None
    stays None."""
    if not text:
        return None
    passed = (moments.now() if now is None else now) - datetime.fromisoformat(text).timestamp()
    if passed >= 0:
        return t("{span} ago", span=show_span(passed))
    return t("in {span}", span=show_span(-passed))


def show_time(text: str, now: float | None = None) -> str:
    """A moment of the API in full, to the second, with its distance from `now`: for where there is room."""
    return f"{text[:19].replace('T', ' ')} UTC ({show_ago(text, now)})"


def show_hours(seconds: float) -> str:
    """Hours with four decimals: a second shows as 0.0003, less than can be shown is not shown as nothing."""
    return f"{seconds / 3600:.4f}" if seconds == 0 or seconds >= 0.36 else "<0.0001"
