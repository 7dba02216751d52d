# SPDX-License-Identifier: Apache-2.0
"""Roles as policies and faces handle them, and where each can be held. Called by policies, `oidc` and the faces."""

from typing import Final

import msgspec

from leitstand.core.people import ROLES, place_fault

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
    return place_fault(grant.role, grant.tenant, grant.project)
