# SPDX-License-Identifier: Apache-2.0
"""The roles people can have, and where. Called by policies, identity providers and the faces."""

from typing import Final

import msgspec

PLATFORM_ROLES: Final = ("operator", "auditor", "reviewer")  # granted with tenant ''
TENANT_ROLES: Final = ("tenant_admin", "auditor")  # of a whole tenant
PROJECT_ROLES: Final = ("member", "viewer")  # of a tenant with all its projects, or of one project
ROLES: Final = tuple(dict.fromkeys(PLATFORM_ROLES + TENANT_ROLES + PROJECT_ROLES))


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
        return "" if grant.role in PLATFORM_ROLES else f"role {grant.role!r} needs a tenant"
    if grant.role not in TENANT_ROLES + PROJECT_ROLES:
        return f"role {grant.role!r} is of the platform, not of tenant {grant.tenant!r}; leave the tenant out"
    if grant.project and grant.role not in PROJECT_ROLES:
        return f"role {grant.role!r} is of a whole tenant; leave project {grant.project!r} out"
    return ""
