# SPDX-License-Identifier: Apache-2.0
"""Checks of what clients send, beyond its type: "" or the fault. Named by the inputs of the handlers."""

import re
from collections.abc import Iterable
from typing import Final

from leitstand.api.decode import Check

NAME_MAX: Final = 200  # characters of what a person is called
SHOWN_MAX: Final = 40  # characters of a wrong value
_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


def an_id(value: str) -> str:
    """A check of tenant and project ids."""
    if _ID.fullmatch(value):
        return ""
    return f"is {value[:70]!r}; an id is 1 to 63 of a-z, 0-9 and -, without - at its ends"


def a_name(value: str) -> str:
    """A check of what a person is called."""
    return printable(NAME_MAX)(value) if value.strip() else "is empty"


def optional(check: Check) -> Check:
    """The check for what may be left out, as '' or null."""
    return lambda value: check(value) if value else ""


def between(least: float, most: float, unit: str = "") -> Check:
    """A check that a number is in a range."""
    return lambda value: (
        "" if least <= value <= most else f"is {value}; the limits are {least} to {most}{unit}"
    )


def one_of(known: Iterable[str]) -> Check:
    """A check for words of a list."""
    words = tuple(known)
    return lambda value: "" if value in words else f"is {value[:SHOWN_MAX]!r}; known: {', '.join(words)}"


def at_most(limit: int) -> Check:
    """A check of how long a text is, in characters."""
    return lambda value: "" if len(value) <= limit else f"has {len(value)} characters; the limit is {limit}"


def printable(limit: int) -> Check:
    """A check of one line of text."""
    return lambda value: (
        at_most(limit)(value) or ("" if value.isprintable() else "has characters that cannot be printed")
    )
