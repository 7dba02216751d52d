# SPDX-License-Identifier: Apache-2.0
"""Administrative acts as rows for audit: who did what to whom, in which tenant. Called by `leitstand.views.rows`.

A row holds the fact without what only proves the possession of a secret: digests of tokens, invitations and claims.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.runtime.ports import Entry

# fact → the field that names what the act was done to; a tenant's acts are found by `tenant`, not by this
_SUBJECTS: Final[dict[type[f.Fact], str]] = {
    a.TenantAdded: "tenant",
    a.TenantSuspended: "tenant",
    a.TenantResumed: "tenant",
    a.TenantExitStarted: "tenant",
    a.TenantExitExtended: "tenant",
    a.TenantExitAdvanced: "tenant",
    a.LegalIdentityChanged: "tenant",
    a.TenantExported: "tenant",
    a.ProjectAdded: "project",
    a.ProjectClosed: "project",
    a.BudgetGranted: "budget",
    a.SiteDescribed: "site",
    a.EntitlementsChanged: "pool",
    a.CommitmentMade: "commitment",
    a.CommitmentEnded: "commitment",
    a.MaintenancePlanned: "window",
    a.MaintenanceCancelled: "window",
    a.MaintenanceAdvanced: "window",
    a.UserAdded: "user",
    a.UserRemoved: "user",
    a.RoleGranted: "user",
    a.RoleRevoked: "user",
    a.TokenIssued: "token",
    a.TokenRevoked: "token",
    a.InvitationIssued: "invitation",
    a.InvitationAccepted: "invitation",
    a.InvitationWithdrawn: "invitation",
    a.ApplicationFiled: "application",
    a.CheckRecorded: "application",
    a.ApplicationApproved: "application",
    a.ApplicationRefused: "application",
    a.ApplicationWithdrawn: "application",
    a.ApplicationClaimed: "application",
    a.SecretSet: "name",
    a.SecretDeleted: "name",
    a.RecordsErased: "subject",
    f.BookingMade: "booking",
    f.BookingCancelled: "booking",
    f.RulesSet: "digest",
    f.NodeAdded: "node",
    f.NodeRemoved: "node",
    f.NodeReported: "node",
    f.NodeRepaired: "node",
}
ACTS: Final = frozenset(_SUBJECTS)
# What somebody wishes to become is no tenant yet: its later namesake has no right to the row.
_OF_NO_TENANT: Final = frozenset({a.ApplicationFiled})
# These name no tenant, but something that an earlier act of this name put into one.
_INHERITING: Final[dict[type[f.Fact], type[f.Fact]]] = {
    a.TokenRevoked: a.TokenIssued,
    a.CommitmentEnded: a.CommitmentMade,
    f.BookingCancelled: f.BookingMade,
    a.InvitationAccepted: a.InvitationIssued,
    a.InvitationWithdrawn: a.InvitationIssued,
}
_SECRET: Final = frozenset({a.TokenIssued, a.InvitationIssued, a.ApplicationFiled})


class ActRow(msgspec.Struct, gc=False):
    """One act. `seq`: its journal entry; `name`: of the fact; `by`: user id of the author, '' for the core itself or a
    stranger; `tenant` '': of the platform; `body`: the fact as JSON without name and digests."""

    seq: int
    at: int
    name: str
    by: str
    tenant: str
    subject: str
    body: str


def act_row(entry: Entry, tenant_of: Callable[[str, str], str]) -> ActRow:
    """The row of an entry whose fact is one of ACTS. `tenant_of`: the tenant of the first act of that name on that
    subject, or ''."""
    fact = entry.fact
    kind = type(fact)
    subject = getattr(fact, _SUBJECTS[kind])
    by = getattr(fact, "by", "")
    tenant = "" if kind in _OF_NO_TENANT else getattr(fact, "tenant", "")
    if kind is a.CommitmentMade:
        tenant = getattr(fact, "node", "").partition("/")[2].partition("/")[0]
    if kind in _INHERITING:
        tenant = tenant_of(_INHERITING[kind].__name__, subject)
    if kind is a.InvitationAccepted:
        by = getattr(fact, "user", "")
    body = msgspec.to_builtins(fact)
    del body["fact"]
    if kind in _SECRET:
        del body["digest"]
    return ActRow(entry.seq, entry.at, kind.__name__, by, tenant, subject, msgspec.json.encode(body).decode())
