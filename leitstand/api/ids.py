# SPDX-License-Identifier: Apache-2.0
"""Which ids a new tenant can have. Called where tenants and applications begin."""

import re
from typing import Final

from leitstand.api.checks import an_id

# Words that would be taken for something else, in a path, a listing or a sentence.
RESERVED: Final = frozenset(
    {"admin", "administrator", "all", "leitstand", "me", "none", "platform", "root", "system"}
)
BUILT_IN: Final = "operator"
# Ids of users, tokens, invitations, applications and budgets look so; records of both lie under their ids.
_COUNTED: Final = re.compile(r"[a-z][0-9]+", re.ASCII)


def a_new_tenant(value: str) -> str:
    """A check of the id of a tenant to come."""
    if fault := an_id(value):
        return fault
    if value in RESERVED:
        return f"is {value!r}, which is reserved; choose another id"
    if _COUNTED.fullmatch(value):
        return f"is {value!r}; a letter with a number is the id of a user or a token: choose another"
    return ""


def an_applied_for_tenant(value: str) -> str:
    """As `a_new_tenant`; the built-in tenant is not to be had either."""
    return f"is {value!r}, which is reserved; choose another id" if value == BUILT_IN else a_new_tenant(value)
