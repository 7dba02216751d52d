# SPDX-License-Identifier: Apache-2.0
"""What deciding on one observation gives. Used by the cycle and by the modules that decide on administrative acts."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from leitstand.core.fact import Fact

ID_MAX: Final = 63  # characters of a tenant, project, site, node or pool
DIGEST_MAX: Final = 128
_ID: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_HEX: Final = frozenset("0123456789abcdef")


class Answer(NamedTuple):
    """What one observation led to. `made`: the id of the job, user, token … that it made or had made. `refused`: '' or
    why nothing was recorded: busy, request_reused, exists, invalid, conflict, unknown_job, unknown_tenant,
    unknown_project, unknown_user, unknown_token, unknown_invitation, unknown_application, unknown_commitment,
    unknown_maintenance, unknown_booking, unknown_node.
    `detail`: the number or name that the message needs."""

    made: str = ""
    refused: str = ""
    detail: str = ""


class Decision(NamedTuple):
    """Facts to record, in order, and the answer."""

    facts: Sequence[Fact]
    answer: Answer


NOTED: Final = Answer()


def refuse(why: str, detail: str = "") -> Decision:
    """Record nothing."""
    return Decision((), Answer(refused=why, detail=detail))


def record(*facts: Fact, made: str = "") -> Decision:
    """Record `facts`."""
    return Decision(facts, Answer(made))


def is_id(text: str) -> bool:
    """Whether `text` can name a tenant, project, site, node or pool."""
    return 0 < len(text) <= ID_MAX and text[0] != "." and _ID.issuperset(text)


def is_tenant(text: str) -> bool:
    """Whether `text` can name a tenant: no id of something else (u7, a1), since records lie under either."""
    return is_id(text) and text != "admin" and not (text[0] in "abiku" and text[1:].isdigit())


def is_digest(text: str) -> bool:
    """Whether `text` is a SHA-256 in lower-case hexadecimal."""
    return len(text) == 64 and _HEX.issuperset(text)
