# SPDX-License-Identifier: Apache-2.0
"""People: users, their roles, tokens and invitations; all pseudonymous. Called by the cycle (decides) and the state
(applies). Who may do what follows from the roles, in `leitstand.access`.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from leitstand.core import acts as a
from leitstand.core.acts import AcceptInvitation, Grant, SignIn
from leitstand.core.decision import Decision, is_digest, record, refuse
from leitstand.core.fact import Fact

if TYPE_CHECKING:
    from leitstand.core.state import State

# The built-in user behind the token of the data folder: an operator that nobody can remove and that has no other role.
# It stands among the users once it has a token of its own.
ADMIN: Final = "admin"
# role → where it can be held
ROLES: Final = {
    "operator": ("platform",),
    "auditor": ("platform", "tenant"),
    "reviewer": ("platform",),
    "tenant_admin": ("tenant",),
    "member": ("tenant", "project"),
    "viewer": ("tenant", "project"),
}
SCOPES: Final = ("read", "jobs", "admin")
KINDS: Final = ("api", "session")
ORIGINS: Final = ("", "sso")
GRANTS_MAX: Final = 1_000  # roles of one user
TOKENS_MAX: Final = 100  # valid ones of one user, beside sessions
SESSIONS_MAX: Final = 20  # valid ones of one user; the oldest ends for one more
USERS_MAX: Final = 1_000_000
INVITATIONS_MAX: Final = 10_000  # of one tenant, from issue until they are forgotten


class User(msgspec.Struct):
    """`tokens`: ids of the valid ones, and of some that have expired."""

    id: str
    grants: list[Grant] = msgspec.field(default_factory=list)
    tokens: list[str] = msgspec.field(default_factory=list)


class Token(msgspec.Struct, gc=False):
    """See TokenIssued."""

    id: str
    user: str
    digest: str
    issued_us: int
    expires_us: int
    kind: str = "api"
    scopes: tuple[str, ...] = ()
    tenant: str = ""


class Invitation(msgspec.Struct, gc=False):
    """See InvitationIssued. `user`: who came by it, at `accepted_us`; kept for a while, since an answer can be lost.
    `known`: that user had an account before. `by`: who invited, the author of the role too."""

    id: str
    tenant: str
    role: str
    project: str
    digest: str
    expires_us: int
    user: str = ""
    accepted_us: int = 0
    known: bool = False
    by: str = ""


class People(msgspec.Struct):
    """Part of the projection. `users_ever` and so on: counters, from which ids are made."""

    users: dict[str, User] = msgspec.field(default_factory=dict)
    tokens: dict[str, Token] = msgspec.field(default_factory=dict)
    invitations: dict[str, Invitation] = msgspec.field(default_factory=dict)
    users_ever: int = 0
    tokens_ever: int = 0
    invitations_ever: int = 0


# ── decide ────────────────────────────────────────────────────────────────────────────────────────────────────────
def fault_of(state: "State", grant: Grant) -> str:
    """Why nobody can hold the grant; '' if one can."""
    if misplaced := place_fault(grant.role, grant.tenant, grant.project):
        return misplaced
    if grant.tenant and grant.tenant not in state.tenants:
        return f"there is no tenant {grant.tenant[:64]!r}"
    if grant.project and grant.project not in state.tenants[grant.tenant].projects:
        return f"there is no project {grant.project[:64]!r} in {grant.tenant}"
    return ""


def place_fault(role: str, tenant: str, project: str) -> str:
    """Why the role cannot be held there, whatever exists; '' if it can."""
    levels = ROLES.get(role)
    if levels is None:
        return f"there is no role {role[:64]!r}; known: {', '.join(ROLES)}"
    if not tenant:
        if project:
            return f"project {project[:64]!r} needs a tenant"
        return "" if "platform" in levels else f"role {role!r} needs a tenant"
    if "tenant" not in levels:
        return f"role {role!r} is of the platform, not of tenant {tenant[:64]!r}; leave the tenant out"
    if project and "project" not in levels:
        return f"role {role!r} is of a whole tenant; leave project {project[:64]!r} out"
    return ""


def _add_user(state: "State", now: int, asked: a.UserAdded) -> Decision:
    if len(state.people.users) >= USERS_MAX:
        return refuse("busy", str(USERS_MAX))
    user = next_user(state)
    return record(a.UserAdded(user, asked.by), made=user)


def next_user(state: "State") -> str:
    """The id of the next user."""
    return f"u{state.people.users_ever + 1}"


def _remove_user(state: "State", now: int, asked: a.UserRemoved) -> Decision:
    if asked.user not in state.people.users or asked.user == ADMIN:
        return refuse("unknown_user", asked.user[:64])
    return record(asked, made=asked.user)


def _grant_role(state: "State", now: int, asked: a.RoleGranted) -> Decision:
    user = state.people.users.get(asked.user)
    if user is None or asked.user == ADMIN:
        return refuse("unknown_user", asked.user[:64])
    grant = Grant(asked.role, asked.tenant, asked.project)
    fault = fault_of(state, grant)
    if fault or asked.origin:
        return refuse("invalid", fault or "only a sign-in grants roles of an identity provider")
    if _held(user, grant):
        return refuse("exists", asked.role)
    if len(user.grants) >= GRANTS_MAX:
        return refuse("busy", str(GRANTS_MAX))
    return record(asked, made=asked.user)


def _revoke_role(state: "State", now: int, asked: a.RoleRevoked) -> Decision:
    user = state.people.users.get(asked.user)
    if user is None:
        return refuse("unknown_user", asked.user[:64])
    if not _held(user, Grant(asked.role, asked.tenant, asked.project)):
        return refuse("conflict", f"{asked.user} does not have the role {asked.role[:64]!r} there")
    return record(asked, made=asked.user)


def _held(user: User, wanted: Grant) -> bool:
    return any(_place(grant) == _place(wanted) for grant in user.grants)


def _place(grant: Any) -> tuple[str, str, str]:
    return grant.role, grant.tenant, grant.project


def _issue_token(state: "State", now: int, asked: a.TokenIssued) -> Decision:
    fault = token_fault(state, now, asked)
    if fault is not None:
        return fault
    token = _next_token(state)
    ended = ended_sessions(state, now, asked)
    return record(*ended, msgspec.structs.replace(asked, token=token), made=token)


def _next_token(state: "State") -> str:
    return f"k{state.people.tokens_ever + 1}"


def token_fault(state: "State", now: int, asked: a.TokenIssued, new_user: bool = False) -> Decision | None:
    """Why the token cannot be issued."""
    people = state.people
    user = people.users.get(asked.user)
    if user is None and not new_user and asked.user != ADMIN:
        return refuse("unknown_user", asked.user[:64])
    if not is_digest(asked.digest) or asked.digest in state.digests:
        return refuse("invalid", "the digest is no fresh SHA-256 in 64 lower-case hex digits")
    limit = state.rules.token_ttl_max_us
    if not now < asked.expires_us <= now + limit:
        return refuse("invalid", f"a life of {asked.expires_us - now} µs; the limit is {limit} µs")
    if asked.kind not in KINDS or not set(asked.scopes) <= set(SCOPES) or len(asked.scopes) > len(SCOPES):
        return refuse("invalid", f"kind {asked.kind[:64]!r}, scopes {' '.join(asked.scopes)[:64]!r}")
    if asked.tenant and asked.tenant not in state.tenants:
        return refuse("unknown_tenant", asked.tenant[:64])
    if asked.kind != "session" and len(_valid(state, now, asked)) >= TOKENS_MAX:
        return refuse("busy", f"{TOKENS_MAX} tokens; revoke one")
    return None


def ended_sessions(state: "State", now: int, issued: a.TokenIssued) -> list[Fact]:
    """What makes room for one more session: the oldest ones end, so that nobody is shut out."""
    if issued.kind != "session":
        return []
    sessions = _valid(state, now, issued)
    return [a.TokenRevoked(token, issued.by) for token in sessions[: len(sessions) + 1 - SESSIONS_MAX]]


def _valid(state: "State", now: int, like: a.TokenIssued) -> list[str]:
    """The valid tokens of the same user that are sessions, or that are none, as `like` is; oldest first."""
    user = state.people.users.get(like.user)
    held = [state.people.tokens[token] for token in user.tokens] if user else []
    session = like.kind == "session"
    return [token.id for token in held if token.expires_us > now and (token.kind == "session") == session]


def _revoke_token(state: "State", now: int, asked: a.TokenRevoked) -> Decision:
    if asked.token not in state.people.tokens:
        return refuse("unknown_token", asked.token[:64])
    return record(asked, made=asked.token)


def _invite(state: "State", now: int, asked: a.InvitationIssued) -> Decision:
    fault = fault_of(state, Grant(asked.role, asked.tenant, asked.project))
    if fault:
        return refuse("invalid", fault)
    if not is_digest(asked.digest) or asked.digest in state.digests:
        return refuse("invalid", "the digest is no fresh SHA-256 in 64 lower-case hex digits")
    limit = state.rules.invitation_ttl_max_us
    if not now < asked.expires_us <= now + limit:
        return refuse("invalid", f"a life of {asked.expires_us - now} µs; the limit is {limit} µs")
    kept = (one for one in state.people.invitations.values() if one.tenant == asked.tenant)
    if sum(not _is_lapsed(one, now, limit) for one in kept) >= INVITATIONS_MAX:
        return refuse("busy", str(INVITATIONS_MAX))
    invitation = f"i{state.people.invitations_ever + 1}"
    return record(msgspec.structs.replace(asked, invitation=invitation), made=invitation)


def _withdraw(state: "State", now: int, asked: a.InvitationWithdrawn) -> Decision:
    invitation = state.people.invitations.get(asked.invitation)
    if invitation is None:
        return refuse("unknown_invitation", asked.invitation[:64])
    if invitation.user:
        return refuse("conflict", f"{invitation.user} came by it already; revoke the role")
    return record(asked, made=asked.invitation)


def _accept(state: "State", now: int, asked: AcceptInvitation) -> Decision:
    users = state.people.users
    invitation = state.people.invitations.get(state.digests.get(asked.claim, ""))
    if invitation is None or invitation.expires_us <= now:
        return refuse("unknown_invitation")
    fault = fault_of(state, Grant(invitation.role, invitation.tenant, invitation.project))
    if fault:
        return refuse("conflict", fault)
    if invitation.user:
        return _accept_again(state, now, asked, invitation)
    user = asked.user or next_user(state)
    grant = Grant(invitation.role, invitation.tenant, invitation.project)
    accepted = a.InvitationAccepted(invitation.id, user, bool(asked.user))
    granted = a.RoleGranted(user, grant.role, grant.tenant, grant.project, by=invitation.by)
    if not asked.user:
        if len(users) >= USERS_MAX:
            return refuse("busy", str(USERS_MAX))
        issued = first_token(state, now, asked, user, new_user=True)
        if isinstance(issued, Decision):
            return issued
        return record(a.UserAdded(user), accepted, granted, issued, made=user)
    if user not in users or user == ADMIN:
        return refuse("unknown_user", user[:64])
    if _held(users[user], grant):
        return record(accepted, made=user)
    if len(users[user].grants) >= GRANTS_MAX:
        return refuse("busy", str(GRANTS_MAX))
    return record(accepted, granted, made=user)


def _accept_again(state: "State", now: int, asked: AcceptInvitation, invitation: Invitation) -> Decision:
    """The token again, for an account that the invitation made; not for one that was there: who invited knows the claim
    too."""
    again = now < invitation.accepted_us + state.rules.claim_again_us
    if asked.user or invitation.known or not again or invitation.user not in state.people.users:
        return refuse("conflict", "the invitation is used up")
    issued = first_token(state, now, asked, invitation.user, new_user=False)
    if isinstance(issued, Decision):
        return issued
    return record(*revocations(state, invitation.user), issued, made=invitation.user)


def first_token(
    state: "State", now: int, asked: Any, user: str, *, new_user: bool
) -> a.TokenIssued | Decision:
    """The token that a claim (`digest`, `expires_us`, `kind`) gives to `user`, or the refusal."""
    issued = a.TokenIssued(_next_token(state), user, asked.digest, asked.expires_us, asked.kind, by=user)
    return token_fault(state, now, issued, new_user) or issued


def revocations(state: "State", user: str) -> list[Fact]:
    """What takes all tokens from the user."""
    return [a.TokenRevoked(token, user) for token in state.people.users[user].tokens]


def _sign_in(state: "State", now: int, asked: SignIn) -> Decision:
    people = state.people
    if asked.user and (asked.user not in people.users or asked.user == ADMIN):
        return refuse("unknown_user", asked.user[:64])
    if not asked.user and len(people.users) >= USERS_MAX:
        return refuse("busy", str(USERS_MAX))
    user = asked.user or next_user(state)
    wanted = list({_place(grant): grant for grant in asked.grants if not fault_of(state, grant)}.values())
    issued = first_token(state, now, asked, user, new_user=not asked.user)
    if isinstance(issued, Decision):
        return issued
    facts: list[Fact] = [] if asked.user else [a.UserAdded(user)]
    had = people.users[user].grants if asked.user else []
    facts += _synced(user, had, wanted)
    return record(*facts, *ended_sessions(state, now, issued), issued, made=user)


def _synced(user: str, had: Sequence[Grant], wanted: list[Grant]) -> list[Fact]:
    """What brings the roles of origin sso to what the identity provider says, up to GRANTS_MAX; others stay."""
    places = {_place(grant) for grant in wanted}
    facts: list[Fact] = [
        a.RoleRevoked(user, grant.role, grant.tenant, grant.project)
        for grant in had
        if grant.origin == "sso" and _place(grant) not in places
    ]
    held = {_place(grant) for grant in had}
    room = GRANTS_MAX - len(had) + len(facts)
    new = [grant for grant in wanted if _place(grant) not in held][:room]
    facts += [a.RoleGranted(user, grant.role, grant.tenant, grant.project, "sso") for grant in new]
    return facts


DECIDE: Final[dict[type, Callable[["State", int, Any], Decision]]] = {
    a.UserAdded: _add_user,
    a.UserRemoved: _remove_user,
    a.RoleGranted: _grant_role,
    a.RoleRevoked: _revoke_role,
    a.TokenIssued: _issue_token,
    a.TokenRevoked: _revoke_token,
    a.InvitationIssued: _invite,
    a.InvitationWithdrawn: _withdraw,
    AcceptInvitation: _accept,
    SignIn: _sign_in,
}


# ── apply ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _user_added(state: "State", at: int, fact: a.UserAdded) -> None:
    state.people.users_ever += 1
    state.people.users[fact.user] = User(fact.user)


def _user_removed(state: "State", at: int, fact: a.UserRemoved) -> None:
    for token in state.people.users.pop(fact.user).tokens:
        _forget_token(state, token)


def _role_granted(state: "State", at: int, fact: a.RoleGranted) -> None:
    grant = Grant(fact.role, fact.tenant, fact.project, fact.origin)
    state.people.users[fact.user].grants.append(grant)


def _role_revoked(state: "State", at: int, fact: a.RoleRevoked) -> None:
    user = state.people.users[fact.user]
    user.grants = [grant for grant in user.grants if _place(grant) != _place(fact)]


def _token_issued(state: "State", at: int, fact: a.TokenIssued) -> None:
    people = state.people
    people.tokens_ever += 1
    user = people.users.setdefault(ADMIN, User(ADMIN)) if fact.user == ADMIN else people.users[fact.user]
    for token in [one for one in user.tokens if people.tokens[one].expires_us <= at]:
        user.tokens.remove(token)
        _forget_token(state, token)
    user.tokens.append(fact.token)
    people.tokens[fact.token] = Token(
        fact.token, fact.user, fact.digest, at, fact.expires_us, fact.kind, fact.scopes, fact.tenant
    )
    state.digests[fact.digest] = fact.token


def _token_revoked(state: "State", at: int, fact: a.TokenRevoked) -> None:
    user = state.people.users[state.people.tokens[fact.token].user]
    user.tokens.remove(fact.token)
    _forget_token(state, fact.token)


def _forget_token(state: "State", token: str) -> None:
    del state.digests[state.people.tokens.pop(token).digest]


def _invitation_issued(state: "State", at: int, fact: a.InvitationIssued) -> None:
    people = state.people
    for lapsed in _lapsed(people, at, state.rules.invitation_ttl_max_us):
        del state.digests[people.invitations.pop(lapsed).digest]
    people.invitations_ever += 1
    people.invitations[fact.invitation] = Invitation(
        fact.invitation, fact.tenant, fact.role, fact.project, fact.digest, fact.expires_us, by=fact.by
    )
    state.digests[fact.digest] = fact.invitation


def _lapsed(people: People, at: int, kept_us: int) -> list[str]:
    """Invitations that expired so long ago that no listing needs them."""
    return [one.id for one in people.invitations.values() if _is_lapsed(one, at, kept_us)]


def _is_lapsed(invitation: Invitation, at: int, kept_us: int) -> bool:
    return invitation.expires_us + kept_us <= at


def _invitation_accepted(state: "State", at: int, fact: a.InvitationAccepted) -> None:
    invitation = state.people.invitations[fact.invitation]
    invitation.user, invitation.accepted_us, invitation.known = fact.user, at, fact.known


def _invitation_withdrawn(state: "State", at: int, fact: a.InvitationWithdrawn) -> None:
    del state.digests[state.people.invitations.pop(fact.invitation).digest]


APPLY: Final[dict[type[Fact], Callable[["State", int, Any], None]]] = {
    a.UserAdded: _user_added,
    a.UserRemoved: _user_removed,
    a.RoleGranted: _role_granted,
    a.RoleRevoked: _role_revoked,
    a.TokenIssued: _token_issued,
    a.TokenRevoked: _token_revoked,
    a.InvitationIssued: _invitation_issued,
    a.InvitationAccepted: _invitation_accepted,
    a.InvitationWithdrawn: _invitation_withdrawn,
}
