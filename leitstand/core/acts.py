# SPDX-License-Identifier: Apache-2.0
"""Administrative facts: who is a tenant, a user, what they may do, and who said so. Part of the vocabulary.

Everything here is pseudonymous: `by` is the user id of the author (`admin` for the built-in token, '' for the core
itself or a stranger at the door); names, addresses and legal identity are erasable records. A face sends a fact
without its id (`UserAdded("")`); the core fills in the next one (`u7`).
"""

from typing import Final

import msgspec

from leitstand.core.fact import Fact

# ── tenants ───────────────────────────────────────────────────────────────────────────────────────────────────────
SUSPENSIONS: Final = ("unpaid", "terms", "security", "authority", "requested")
RUNNING: Final = ("finish", "stop")


class TenantAdded(Fact, frozen=True, gc=False):
    """A tenant exists. `tenant` is a pseudonymous id; who it is stands in the records."""

    tenant: str
    tenant_class: str = "industry"  # industry | startup | research | public
    by: str = ""


class TenantSuspended(Fact, frozen=True, gc=False):
    """No job of the tenant starts from here on: what waits is held, what is new is refused. `running`: `finish`, or
    `stop`, which ends runs with the grace of their engine. `reason`: one of SUSPENSIONS."""

    tenant: str
    reason: str
    running: str = "finish"
    by: str = ""


class TenantResumed(Fact, frozen=True, gc=False):
    """The suspension is over; what was held queues again."""

    tenant: str
    by: str = ""


class TenantExitStarted(Fact, frozen=True, gc=False):
    """The tenant leaves. Times of the stages that follow, µs: until `transition_us` notice runs, then the tenant moves
    out and still works as before, from `retrieval_us` it can only fetch its data, at `closed_us` these are due for
    erasure (Regulation (EU) 2023/2854, Art. 25)."""

    tenant: str
    transition_us: int
    retrieval_us: int
    closed_us: int
    by: str = ""


class TenantExitExtended(Fact, frozen=True, gc=False):
    """The transition takes longer: new times of the stages that have not begun. `whose`: customer | provider."""

    tenant: str
    retrieval_us: int
    closed_us: int
    whose: str
    by: str = ""


class TenantExitAdvanced(Fact, frozen=True, gc=False):
    """A stage of the exit begins: transition | retrieval | closed."""

    tenant: str
    stage: str


class LegalIdentityChanged(Fact, frozen=True, gc=False):
    """Who the tenant is before the law was changed; the words stand in the records."""

    tenant: str
    by: str = ""


class TenantExported(Fact, frozen=True, gc=False):
    """Somebody began to fetch everything that is kept of the tenant."""

    tenant: str
    by: str = ""


class ProjectAdded(Fact, frozen=True, gc=False):
    """The tenant has a project; every tenant has `default`. A closed one opens again."""

    tenant: str
    project: str
    by: str = ""


class ProjectClosed(Fact, frozen=True, gc=False):
    """The project takes no new job; what it has goes on."""

    tenant: str
    project: str
    by: str = ""


class BudgetGranted(Fact, frozen=True, gc=False):
    """The tenant may use so many GPU·µs, or so many millionths of a euro, for runs that end by `expires_us`; the other
    amount is 0. `origin`: paid | grant | subsidised."""

    budget: str
    tenant: str
    gpu_us: int
    expires_us: int
    origin: str = "grant"
    by: str = ""
    micro_eur: int = 0


# ── the entitlement tree ──────────────────────────────────────────────────────────────────────────────────────────
class Entitlement(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """What one node of the tree is entitled to in one pool. `node`: '' the root, `industry`, `industry/acme`,
    `industry/acme/vision`. Amounts are charges, in thousandths of a GPU (of a core in a pool without GPUs).
    `guarantee_milli` -1: what its children are guaranteed, together. `borrow_milli`: use at most so much beyond the
    guarantee, -1: no limit. `lend_milli`: others use at most so much of an idle guarantee, -1: all of it. `recall_us`:
    how soon a lent guarantee is back, 0: the default of the rules."""

    node: str
    guarantee_milli: int = 0
    weight: int = 1
    borrow_milli: int = -1
    lend_milli: int = -1
    recall_us: int = 0


class SiteDescribed(Fact, frozen=True, gc=False):
    """What the operator says of a site: whose law holds there (''), and what its electricity emits in gCO2 for a kWh
    (0: not known). The whole of it, in place of what was said before."""

    site: str
    jurisdiction: str = ""
    carbon_g_per_kwh: int = 0
    by: str = ""


class EntitlementsChanged(Fact, frozen=True, gc=False):
    """From `from_us` on (0: at once) these nodes of the tree of `pool` are entitled to this; the others stay as they
    are. `scaled`: guarantees were asked that the pool cannot hold, and were shrunk to what it can."""

    pool: str
    entitlements: tuple[Entitlement, ...]
    from_us: int = 0
    scaled: bool = False
    by: str = ""


class CommitmentMade(Fact, frozen=True, gc=False):
    """A guarantee with a time window and a price (take or pay): in [from_us, to_us) the guarantees of `node` and of
    every node above it are greater by `milli`. `commitment`: its id (c1, …)."""

    commitment: str
    pool: str
    node: str
    milli: int
    from_us: int
    to_us: int
    recall_us: int = 0
    price_micro_eur: int = 0  # for one GPU and hour
    by: str = ""


class CommitmentEnded(Fact, frozen=True, gc=False):
    """The commitment ends at `at_us`, before its time (0: at once)."""

    commitment: str
    at_us: int = 0
    by: str = ""


# ── maintenance ───────────────────────────────────────────────────────────────────────────────────────────────────
MAINTENANCE: Final = ("hardware", "software", "network", "power", "cooling", "safety", "other")
STEPS: Final = ("draining", "begun", "ended")


class MaintenancePlanned(Fact, frozen=True, gc=False):
    """In [from_us, until_us) (0: until it is cancelled) the nodes are out of service: `nodes`, or all that now stand in
    `domain`, a path from the site down (`("muc", "b1", "b1-r7")`). `reason`: one of MAINTENANCE. `emergency`: from now
    on, whatever was promised; `scale`: although guarantees shrink meanwhile. `window`: its id (m1, …)."""

    window: str
    from_us: int
    until_us: int = 0
    nodes: tuple[str, ...] = ()
    domain: tuple[str, ...] = ()
    reason: str = "other"
    emergency: bool = False
    scale: bool = False
    by: str = ""


class MaintenanceCancelled(Fact, frozen=True, gc=False):
    """The window is not to be; if it has begun, its nodes are back."""

    window: str
    by: str = ""


class MaintenanceAdvanced(Fact, frozen=True, gc=False):
    """`step`: draining (runs that would last into the window are told to end), begun (its nodes are out of service) or
    ended (they are back)."""

    window: str
    step: str


# ── people ────────────────────────────────────────────────────────────────────────────────────────────────────────
class UserAdded(Fact, frozen=True, gc=False):
    """A person has an account; who it is stands in the records."""

    user: str
    by: str = ""


class UserRemoved(Fact, frozen=True, gc=False):
    """The account is gone, with its roles and tokens."""

    user: str
    by: str = ""


class RoleGranted(Fact, frozen=True, gc=False):
    """The user has the role in the tenant ('': of the platform) and, if named, in the project alone. `origin`: '' said
    by the author; sso: it follows from a group of the identity provider and goes with it."""

    user: str
    role: str
    tenant: str = ""
    project: str = ""
    origin: str = ""
    by: str = ""


class RoleRevoked(Fact, frozen=True, gc=False):
    """The user has the role no longer."""

    user: str
    role: str
    tenant: str = ""
    project: str = ""
    by: str = ""


class TokenIssued(Fact, frozen=True, gc=False):
    """A token of the user is valid until `expires_us`. `digest`: SHA-256 of its 256 random bits. `kind`: api | session.
    `scopes`: what it may at most, () for all that the user may; `tenant`: it is valid there alone."""

    token: str
    user: str
    digest: str
    expires_us: int
    kind: str = "api"
    scopes: tuple[str, ...] = ()
    tenant: str = ""
    by: str = ""


class TokenRevoked(Fact, frozen=True, gc=False):
    """The token is not valid any more."""

    token: str
    by: str = ""


class InvitationIssued(Fact, frozen=True, gc=False):
    """Who shows the secret behind `digest` (SHA-256) before `expires_us` gets the role."""

    invitation: str
    tenant: str
    role: str
    digest: str
    expires_us: int
    project: str = ""
    by: str = ""


class InvitationAccepted(Fact, frozen=True, gc=False):
    """The user came by the invitation, which is used up. `known`: the account was there before."""

    invitation: str
    user: str
    known: bool = False


class InvitationWithdrawn(Fact, frozen=True, gc=False):
    """The invitation is not valid any more."""

    invitation: str
    by: str = ""


# ── onboarding ────────────────────────────────────────────────────────────────────────────────────────────────────
class ApplicationFiled(Fact, frozen=True, gc=False):
    """Somebody wants to become the tenant `tenant`. `digest`: SHA-256 of the claim by which the applicant returns;
    `agreement`: the version of the data-processing contract that was accepted."""

    application: str
    tenant: str
    tenant_class: str
    digest: str
    agreement: str


class CheckRecorded(Fact, frozen=True, gc=False):
    """A check of the application was done. `outcome`: passed | failed; `note`: names an erasable record."""

    application: str
    check: str
    outcome: str
    note: str = ""
    by: str = ""


class ApplicationApproved(Fact, frozen=True, gc=False):
    """All checks passed: the tenant, its first user and its first budget follow as facts."""

    application: str
    user: str
    by: str = ""


class ApplicationRefused(Fact, frozen=True, gc=False):
    """It stays visible with `reason`, one of `leitstand.core.onboarding.REFUSALS`; `note`: names an erasable record."""

    application: str
    reason: str
    note: str = ""
    by: str = ""


class ApplicationWithdrawn(Fact, frozen=True, gc=False):
    """The applicant took it back."""

    application: str


class ApplicationClaimed(Fact, frozen=True, gc=False):
    """The applicant came back for the first token; the claim is used up."""

    application: str


# ── secrets and records ───────────────────────────────────────────────────────────────────────────────────────────
class SecretSet(Fact, frozen=True, gc=False):
    """The project has the secret `name@version`; its value is in the secret store alone."""

    tenant: str
    project: str
    name: str
    version: int
    by: str = ""


class SecretDeleted(Fact, frozen=True, gc=False):
    """All versions of the secret are gone."""

    tenant: str
    project: str
    name: str
    by: str = ""


class RecordsErased(Fact, frozen=True, gc=False):
    """The key and the erasable records of a user, application or tenant were destroyed."""

    subject: str
    by: str = ""


# ── requests ──────────────────────────────────────────────────────────────────────────────────────────────────────
class Grant(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A role in the tenant ('': of the platform) and, if named, in the project alone. `origin`: as in RoleGranted."""

    role: str
    tenant: str = ""
    project: str = ""
    origin: str = ""


class AcceptInvitation(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="fact", tag=True):
    """A face shows the invitation's `claim` (digest). `user` '': a new user comes, with a first token (`digest`,
    `expires_us`); said again within an hour with the same claim, the token is replaced, for the answer may be lost."""

    claim: str
    digest: str = ""
    expires_us: int = 0
    kind: str = "api"
    user: str = ""


class SignIn(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="fact", tag=True):
    """A face has verified a person with an identity provider: `user` ('': a new one) with exactly these `grants` of
    origin sso, and a token."""

    digest: str
    expires_us: int
    user: str = ""
    grants: tuple[Grant, ...] = ()
    kind: str = "session"


class ClaimApplication(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="fact", tag=True):
    """The applicant shows the `claim` (digest) of an approved application and gets the first token; said again within
    an hour, the token is replaced, for the answer may be lost."""

    claim: str
    digest: str
    expires_us: int
    kind: str = "api"


# What a face may ask for; the other facts follow from these.
Act = (
    TenantAdded
    | TenantSuspended
    | TenantResumed
    | TenantExitStarted
    | TenantExitExtended
    | LegalIdentityChanged
    | TenantExported
    | ProjectAdded
    | ProjectClosed
    | BudgetGranted
    | SiteDescribed
    | EntitlementsChanged
    | CommitmentMade
    | CommitmentEnded
    | MaintenancePlanned
    | MaintenanceCancelled
    | UserAdded
    | UserRemoved
    | RoleGranted
    | RoleRevoked
    | TokenIssued
    | TokenRevoked
    | InvitationIssued
    | InvitationWithdrawn
    | AcceptInvitation
    | SignIn
    | ApplicationFiled
    | CheckRecorded
    | ApplicationApproved
    | ApplicationRefused
    | ApplicationWithdrawn
    | ClaimApplication
    | SecretSet
    | SecretDeleted
    | RecordsErased
)

ACTS: Final[tuple[type[Fact], ...]] = (
    TenantAdded,
    TenantSuspended,
    TenantResumed,
    TenantExitStarted,
    TenantExitExtended,
    TenantExitAdvanced,
    LegalIdentityChanged,
    TenantExported,
    ProjectAdded,
    ProjectClosed,
    BudgetGranted,
    SiteDescribed,
    EntitlementsChanged,
    CommitmentMade,
    CommitmentEnded,
    MaintenancePlanned,
    MaintenanceCancelled,
    MaintenanceAdvanced,
    UserAdded,
    UserRemoved,
    RoleGranted,
    RoleRevoked,
    TokenIssued,
    TokenRevoked,
    InvitationIssued,
    InvitationAccepted,
    InvitationWithdrawn,
    ApplicationFiled,
    CheckRecorded,
    ApplicationApproved,
    ApplicationRefused,
    ApplicationWithdrawn,
    ApplicationClaimed,
    SecretSet,
    SecretDeleted,
    RecordsErased,
)
