# SPDX-License-Identifier: Apache-2.0
"""Roles as policies and faces handle them, and where each can be held. Called by policies, `oidc` and the faces."""

from typing import Final

import msgspec

from leitstand.core.people import ROLES

PLATFORM_ROLES: Final = tuple(role for role, levels in ROLES.items() if "platform" in levels)
PROJECT_ROLES: Final = tuple(role for role, levels in ROLES.items() if "project" in levels)
TENANT_ROLES: Final = tuple(
    role for role, levels in ROLES.items() if "tenant" in levels and role not in PROJECT_ROLES
)


class Grant(msgspec.Struct, frozen=True, order=True, cache_hash=True):
    """`role` in `tenant` ('': the platform) and `project` ('': every project of the tenant)."""

    role: str
    tenant: str = ""
    project: str = ""


def fault(grant: Grant) -> str:
    """What is wrong with a grant, '' if it can be given."""
    if grant.role not in ROLES:
        return f"there is no role {grant.role!r}; known: {', '.join(ROLES)}"
    if not grant.tenant:
        if grant.project:
            return f"project {grant.project!r} needs a tenant"
        return "" if "platform" in ROLES[grant.role] else f"role {grant.role!r} needs a tenant"
    if "tenant" not in ROLES[grant.role]:
        return f"role {grant.role!r} is of the platform, not of tenant {grant.tenant!r}; leave the tenant out"
    if grant.project and "project" not in ROLES[grant.role]:
        return f"role {grant.role!r} is of a whole tenant; leave project {grant.project!r} out"
    return ""
