# SPDX-License-Identifier: Apache-2.0
"""Durations and sizes as people write and read them. Called by the commands, the job file and `leitstand up`."""

import re
from collections.abc import Callable
from typing import Final

import click

from leitstand.cli.text import t

DURATION_MAX_S: Final = 10 * 366 * 86_400
_DURATION: Final = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII)
_BYTES: Final = re.compile(r"(\d{1,15})\s*(?:([KMGT])i?B?|B)?", re.ASCII | re.IGNORECASE)
_POWER: Final = {"K": 10, "M": 20, "G": 30, "T": 40}


def parse_duration(text: str) -> int:
    """Whole seconds of `1h30m`, `2d`, `90s` or a plain number of seconds; ValueError says what is wrong."""
    if text.isascii() and text.isdigit():
        seconds = int(text) if len(text) < 12 else DURATION_MAX_S + 1
    else:
        found = _DURATION.fullmatch(text)
        if not found or not any(found.groups()):
            raise ValueError(t('"{text}" is not a duration; write it like 1h30m, 2d or 90s', text=text))
        days, hours, minutes, rest = (int(part or 0) for part in found.groups())
        seconds = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    if not 0 < seconds <= DURATION_MAX_S:
        raise ValueError(
            t('"{text}" is outside of 1s to {limit}d', text=text, limit=DURATION_MAX_S // 86_400)
        )
    return seconds


def parse_bytes(text: str) -> int:
    """Bytes of `64M`, `1G` or a plain number; K, M, G, T are powers of 1024. ValueError says what is wrong."""
    found = _BYTES.fullmatch(text.strip())
    if not found:
        raise ValueError(t('"{text}" is not a size; write it like 64M or 1G', text=text))
    return int(found[1]) << _POWER.get((found[2] or "").upper(), 0)


def reading(
    parse: Callable[[str], int],
) -> Callable[[click.Context, click.Parameter, str | None], int | None]:
    """The click callback of an option whose text `parse` reads; what `parse` complains about, the user is told."""

    def callback(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
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


def show_hours(seconds: float) -> str:
    """Hours with four decimals: a job of one second on one GPU still shows (0.0003)."""
    return f"{seconds / 3600:.4f}"
