# SPDX-License-Identifier: Apache-2.0
"""Users, roles, tokens, invitations and sign-in as stories: who is let in, with what, and who is not any more."""

from typing import Any

import msgspec
import pytest

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core import people
from leitstand.core.acts import AcceptInvitation, Grant, SignIn
from leitstand.core.cycle import Core
from leitstand.core.people import ROLES
from leitstand.core.rules import Rules
from leitstand.core.state import State
from leitstand.core.units import HOUR_US, SECOND_US
from tests.unit.story import act, at, cluster, names, refused, sha

SHORT = Rules(
    token_ttl_max_us=1000 * SECOND_US, invitation_ttl_max_us=100 * SECOND_US, claim_again_us=60 * SECOND_US
)
NO_DIGEST = "the digest is no fresh SHA-256 in 64 lower-case hex digits"


def s(seconds: int) -> int:
    return seconds * SECOND_US


def folk(users: int = 1) -> Core:
    """Tenants acme (with project lab) and beta, and users u1 … at second 0."""
    core = cluster(4, rules=SHORT)
    act(core, 0, a.ProjectAdded("acme", "lab"))
    for _ in range(users):
        act(core, 0, a.UserAdded("", "admin"))
    return core


def token(name: str, until: int, user: str = "u1", **more: Any) -> a.TokenIssued:
    return a.TokenIssued("", user, sha(name), s(until), **more)


def invitation(name: str, until: int = 50, role: str = "member", **more: Any) -> a.InvitationIssued:
    return a.InvitationIssued("", "acme", role, sha(name), s(until), by="u1", **more)


def accept(name: str, new_token: str = "", user: str = "", until: int = 500) -> AcceptInvitation:
    return AcceptInvitation(sha(name), sha(new_token), s(until), user=user)


def who(core: Core, name: str) -> str:
    """The user whom the token lets in; '' if nobody."""
    found = core.state.people.tokens.get(core.state.digests.get(sha(name), ""))
    return found.user if found else ""


def grants(core: Core, user: str = "u1") -> list[tuple[str, ...]]:
    return [
        tuple(filter(None, (g.role, g.tenant, g.project, g.origin)))
        for g in core.state.people.users[user].grants
    ]


# ── users and roles ───────────────────────────────────────────────────────────────────────────────────────────────
def test_users_get_ids_from_a_counter_that_never_goes_back() -> None:
    core = folk(2)
    assert at(core, 1, a.UserRemoved("u2", "u1")) == [a.UserRemoved("u2", "u1")]
    assert at(core, 2, a.UserAdded("u1", "u1")) == [a.UserAdded("u3", "u1")]
    assert core.answers[0].made == "u3"


def test_users_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    core = folk(2)
    act(core, 0, invitation("i"))
    monkeypatch.setattr(people, "USERS_MAX", 2)
    assert refused(core, 1, a.UserAdded("")) == ("busy", "2")
    assert refused(core, 1, SignIn(sha("x"), s(9))) == ("busy", "2")
    assert refused(core, 1, accept("i", "x")) == ("busy", "2")


@pytest.mark.parametrize(
    ("grant", "fault"),
    [
        (("king", "", ""), f"there is no role 'king'; known: {', '.join(ROLES)}"),
        (
            ("operator", "acme", ""),
            "role 'operator' is of the platform, not of tenant 'acme'; leave the tenant out",
        ),
        (
            ("operator", "acme", "lab"),
            "role 'operator' is of the platform, not of tenant 'acme'; leave the tenant out",
        ),
        (
            ("reviewer", "acme", ""),
            "role 'reviewer' is of the platform, not of tenant 'acme'; leave the tenant out",
        ),
        (("auditor", "acme", "lab"), "role 'auditor' is of a whole tenant; leave project 'lab' out"),
        (("tenant_admin", "", ""), "role 'tenant_admin' needs a tenant"),
        (
            ("tenant_admin", "acme", "lab"),
            "role 'tenant_admin' is of a whole tenant; leave project 'lab' out",
        ),
        (("member", "", ""), "role 'member' needs a tenant"),
        (("viewer", "", ""), "role 'viewer' needs a tenant"),
        (("member", "nobody", ""), "there is no tenant 'nobody'"),
        (("member", "beta", "lab"), "there is no project 'lab' in beta"),
        (("member", "", "lab"), "project 'lab' needs a tenant"),
    ],
)
def test_roles_are_held_only_where_they_mean_something(grant: tuple[str, str, str], fault: str) -> None:
    core = folk()
    role, tenant, project = grant
    assert refused(core, 1, a.RoleGranted("u1", *grant)) == ("invalid", fault)
    asked = a.InvitationIssued("", tenant, role, sha("i"), s(9), project)
    assert refused(core, 1, asked) == ("invalid", fault)
    at(core, 1, SignIn(sha("x"), s(9), "u1", (Grant(*grant),)))
    assert grants(core) == []


@pytest.mark.parametrize(
    "grant",
    [
        ("operator",),
        ("auditor",),
        ("reviewer",),
        ("tenant_admin", "acme"),
        ("auditor", "acme"),
        ("member", "acme"),
        ("viewer", "acme"),
        ("member", "acme", "lab"),
        ("viewer", "acme", "lab"),
    ],
)
def test_a_role_is_granted_and_revoked_once(grant: tuple[str, ...]) -> None:
    core = folk()
    version = core.state.access_version
    asked = msgspec.structs.replace(a.RoleGranted("u1", *grant), by="admin")
    assert at(core, 1, asked) == [asked]
    assert grants(core) == [grant]
    assert core.state.access_version > version
    assert refused(core, 2, asked) == ("exists", grant[0])
    act(core, 3, a.RoleRevoked("u1", *grant))
    assert grants(core) == []
    assert refused(core, 4, a.RoleRevoked("u1", *grant)) == (
        "conflict",
        f"u1 does not have the role {grant[0]!r} there",
    )


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        (a.UserRemoved("u9"), ("unknown_user", "u9")),
        (a.UserRemoved("admin"), ("unknown_user", "admin")),
        (a.RoleGranted("u9", "operator"), ("unknown_user", "u9")),
        (a.RoleRevoked("u9", "operator"), ("unknown_user", "u9")),
        (a.RoleRevoked("u1", "operator"), ("conflict", "u1 does not have the role 'operator' there")),
        (
            a.RoleGranted("u1", "operator", origin="sso"),
            ("invalid", "only a sign-in grants roles of an identity provider"),
        ),
        (token("x", 9, "u9"), ("unknown_user", "u9")),
        (token("x", 1), ("invalid", "a life of 0 µs; the limit is 1000000000 µs")),
        (token("x", 1002), ("invalid", "a life of 1001000000 µs; the limit is 1000000000 µs")),
        (token("x", 9, kind="cookie"), ("invalid", "kind 'cookie', scopes ''")),
        (token("x", 9, scopes=("read", "root")), ("invalid", "kind 'api', scopes 'read root'")),
        (token("x", 9, scopes=("read",) * 4), ("invalid", "kind 'api', scopes 'read read read read'")),
        (token("x", 9, tenant="nobody"), ("unknown_tenant", "nobody")),
        (a.TokenIssued("", "u1", "A" * 64, s(9)), ("invalid", NO_DIGEST)),
        (a.TokenIssued("", "u1", "a" * 63, s(9)), ("invalid", NO_DIGEST)),
        (a.TokenIssued("", "u1", "", s(9)), ("invalid", NO_DIGEST)),
        (a.TokenRevoked("k9"), ("unknown_token", "k9")),
        (a.InvitationWithdrawn("i9"), ("unknown_invitation", "i9")),
        (a.InvitationIssued("", "acme", "member", "x", s(9)), ("invalid", NO_DIGEST)),
        (invitation("x", 1), ("invalid", "a life of 0 µs; the limit is 100000000 µs")),
        (invitation("x", 102), ("invalid", "a life of 101000000 µs; the limit is 100000000 µs")),
        (accept("x", "y"), ("unknown_invitation", "")),
        (SignIn(sha("x"), s(9), "u9"), ("unknown_user", "u9")),
        (SignIn("x", s(9), "u1"), ("invalid", NO_DIGEST)),
        (SignIn(sha("x"), s(1), "u1"), ("invalid", "a life of 0 µs; the limit is 1000000000 µs")),
    ],
)
def test_what_cannot_be_is_refused_without_a_record_and_says_why(
    asked: f.Observation, refusal: tuple[str, str]
) -> None:
    assert refused(folk(), 1, asked) == refusal


def test_roles_of_one_user_have_a_limit_on_every_way(monkeypatch: pytest.MonkeyPatch) -> None:
    core = folk()
    act(core, 0, invitation("i"))
    monkeypatch.setattr(people, "GRANTS_MAX", 1)
    act(core, 1, a.RoleGranted("u1", "operator"))
    assert refused(core, 2, a.RoleGranted("u1", "auditor")) == ("busy", "1")
    assert refused(core, 2, accept("i", user="u1")) == ("busy", "1")
    act(core, 3, SignIn(sha("x"), s(9), "u1", (Grant("reviewer"), Grant("auditor"))))
    assert grants(core) == [("operator",)]


def test_who_is_removed_takes_roles_and_tokens_along() -> None:
    core = folk()
    act(core, 1, a.RoleGranted("u1", "operator"))
    act(core, 1, token("one", 9))
    act(core, 2, a.UserRemoved("u1"))
    assert who(core, "one") == ""
    assert core.state.digests == {}
    assert core.state.people.tokens == {}


# ── tokens ────────────────────────────────────────────────────────────────────────────────────────────────────────
class TestTokens:
    def test_a_token_lets_in_until_it_is_revoked(self) -> None:
        core = folk()
        facts = at(core, 1, token("one", 9, kind="session", scopes=("read", "jobs"), tenant="acme", by="u1"))
        issued = a.TokenIssued("k1", "u1", sha("one"), s(9), "session", ("read", "jobs"), "acme", "u1")
        assert facts == [issued]
        assert core.answers[0].made == "k1"
        assert who(core, "one") == "u1"
        assert core.state.people.tokens["k1"].issued_us == s(1)
        act(core, 2, a.TokenRevoked("k1"))
        assert who(core, "one") == ""
        assert refused(core, 3, a.TokenRevoked("k1")) == ("unknown_token", "k1")

    def test_a_digest_that_is_in_use_is_refused_whatever_it_is_of(self) -> None:
        core = folk()
        act(core, 1, token("one", 9))
        act(core, 1, invitation("two"))
        for name in ("one", "two"):
            assert refused(core, 2, token(name, 9)) == ("invalid", NO_DIGEST)
            assert refused(core, 2, invitation(name)) == ("invalid", NO_DIGEST)
            assert refused(core, 2, SignIn(sha(name), s(9))) == ("invalid", NO_DIGEST)
        assert refused(core, 2, accept("two", "two")) == ("invalid", NO_DIGEST)

    def test_ids_go_on_after_a_revocation(self) -> None:
        core = folk()
        assert act(core, 1, token("one", 9)) == "k1"
        act(core, 2, a.TokenRevoked("k1"))
        assert act(core, 3, token("two", 9)) == "k2"

    def test_tokens_have_a_limit_that_counts_the_valid_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(people, "TOKENS_MAX", 2)
        core = folk(2)
        act(core, 1, token("one", 5))
        act(core, 1, token("two", 9))
        assert refused(core, 4, token("three", 9)) == ("busy", "2 tokens; revoke one")
        act(core, 4, token("four", 9, "u2"))
        act(core, 5, token("three", 9))

    def test_expired_ones_are_forgotten_when_the_next_is_issued(self) -> None:
        core = folk()
        act(core, 1, token("one", 5))
        act(core, 4, token("two", 9))
        assert who(core, "one") == "u1"
        act(core, 5, token("three", 9))
        assert sha("one") not in core.state.digests
        assert core.state.people.users["u1"].tokens == ["k2", "k3"]


# ── invitations ───────────────────────────────────────────────────────────────────────────────────────────────────
class TestInvitations:
    def test_a_new_user_comes_with_the_role_and_a_first_token(self) -> None:
        core = folk()
        assert act(core, 1, invitation("i", project="lab")) == "i1"
        facts = at(core, 2, accept("i", "t"))
        assert names(facts) == ["UserAdded", "InvitationAccepted", "RoleGranted", "TokenIssued"]
        assert core.answers[0].made == "u2"
        assert who(core, "t") == "u2"
        assert grants(core, "u2") == [("member", "acme", "lab")]

    def test_the_author_of_the_role_is_who_invited(self) -> None:
        core = folk(2)
        act(core, 1, a.InvitationIssued("", "acme", "member", sha("i"), s(50), by="u1"))
        act(core, 1, a.InvitationIssued("", "acme", "viewer", sha("j"), s(50), by="u2"))
        core = Core(State.restore(core.state.project()))
        facts = [*at(core, 2, accept("i", "t")), *at(core, 3, accept("j", user="u1"))]
        assert [fact.by for fact in facts if isinstance(fact, a.RoleGranted)] == ["u1", "u2"]

    def test_a_user_who_is_there_gets_the_role_alone(self) -> None:
        core = folk(2)
        act(core, 1, invitation("i"))
        facts = at(core, 2, accept("i", user="u2"))
        assert names(facts) == ["InvitationAccepted", "RoleGranted"]
        assert grants(core, "u2") == [("member", "acme")]
        act(core, 3, invitation("j"))
        assert names(at(core, 4, accept("j", user="u2"))) == ["InvitationAccepted"]

    def test_a_user_who_is_not_there_is_refused(self) -> None:
        core = folk()
        act(core, 1, invitation("i"))
        assert refused(core, 2, accept("i", user="u9")) == ("unknown_user", "u9")

    def test_shown_again_within_the_hour_the_token_is_replaced_and_later_it_is_used_up(self) -> None:
        core = folk()
        act(core, 1, invitation("i", 99))
        act(core, 2, accept("i", "lost"))
        facts = at(core, 61, accept("i", "kept"))
        assert names(facts) == ["TokenRevoked", "TokenIssued"]
        assert core.answers[0].made == "u2"
        assert (who(core, "lost"), who(core, "kept")) == ("", "u2")
        used_up = ("conflict", "the invitation is used up")
        assert refused(core, 62, accept("i", "late")) == used_up
        assert Rules().claim_again_us == HOUR_US

    def test_nobody_gets_the_token_of_a_user_who_was_there_before(self) -> None:
        """Who sent the invitation knows its code too: it must not open the account that it was accepted with."""
        core = folk(2)
        act(core, 1, token("mine", 99, "u2"))
        act(core, 1, invitation("i"))
        act(core, 2, accept("i", user="u2"))
        used_up = ("conflict", "the invitation is used up")
        assert refused(core, 3, accept("i", "stolen")) == used_up
        assert refused(core, 3, accept("i", user="u1")) == used_up
        assert who(core, "mine") == "u2"
        core = Core(State.restore(core.state.project()))
        assert refused(core, 3, accept("i", "stolen")) == used_up

    def test_an_account_cannot_take_over_an_invitation_that_is_used_up(self) -> None:
        core = folk()
        act(core, 1, invitation("i"))
        act(core, 2, accept("i", "t"))
        assert refused(core, 3, accept("i", user="u1")) == ("conflict", "the invitation is used up")

    def test_it_is_not_shown_again_for_a_user_who_is_gone(self) -> None:
        core = folk()
        act(core, 1, invitation("i"))
        act(core, 2, accept("i", "t"))
        act(core, 3, a.UserRemoved("u2"))
        assert refused(core, 4, accept("i", "u")) == ("conflict", "the invitation is used up")

    def test_expired_and_withdrawn_ones_are_unknown(self) -> None:
        core = folk()
        act(core, 1, invitation("i", 10))
        act(core, 1, invitation("j"))
        act(core, 2, a.InvitationWithdrawn("i2", "u1"))
        assert refused(core, 2, accept("j", "t")) == ("unknown_invitation", "")
        assert refused(core, 10, accept("i", "t")) == ("unknown_invitation", "")

    def test_an_accepted_one_is_not_withdrawn(self) -> None:
        core = folk()
        act(core, 1, invitation("i"))
        act(core, 2, accept("i", "t"))
        assert refused(core, 3, a.InvitationWithdrawn("i1")) == (
            "conflict",
            "u2 came by it already; revoke the role",
        )

    def test_a_code_of_something_else_is_no_invitation(self) -> None:
        core = folk()
        act(core, 1, token("t", 9))
        assert refused(core, 2, accept("t", "x")) == ("unknown_invitation", "")

    def test_open_ones_have_a_limit_and_lapsed_ones_make_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(people, "INVITATIONS_MAX", 2)
        core = folk()
        act(core, 0, invitation("i", 10))
        act(core, 0, invitation("j", 50))
        assert refused(core, 109, invitation("k", 150)) == ("busy", "2")
        act(core, 110, invitation("k", 150))
        assert list(core.state.people.invitations) == ["i2", "i3"]
        assert sha("i") not in core.state.digests

    def test_those_of_one_tenant_leave_room_for_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(people, "INVITATIONS_MAX", 1)
        core = folk()
        act(core, 0, invitation("i", 10))
        assert refused(core, 0, invitation("j", 10)) == ("busy", "1")
        act(core, 0, a.InvitationIssued("", "beta", "member", sha("k"), s(10)))


# ── sign-in ───────────────────────────────────────────────────────────────────────────────────────────────────────
class TestSignIn:
    def test_a_new_person_comes_with_the_roles_of_the_groups(self) -> None:
        core = folk()
        wanted = (Grant("member", "acme"), Grant("king"), Grant("member", "acme"), Grant("viewer", "beta"))
        facts = at(core, 1, SignIn(sha("t"), s(9), "", wanted))
        assert names(facts) == ["UserAdded", "RoleGranted", "RoleGranted", "TokenIssued"]
        assert grants(core, "u2") == [("member", "acme", "sso"), ("viewer", "beta", "sso")]
        (issued,) = core.state.people.tokens.values()
        assert (issued.user, issued.kind, core.answers[0].made) == ("u2", "session", "u2")

    def test_roles_follow_the_groups_and_those_that_somebody_granted_stay(self) -> None:
        core = folk()
        act(core, 1, a.RoleGranted("u1", "auditor", "acme"))
        act(core, 1, a.RoleGranted("u1", "viewer", "acme"))
        act(core, 2, SignIn(sha("1"), s(9), "u1", (Grant("member", "acme"), Grant("viewer", "acme"))))
        assert grants(core) == [("auditor", "acme"), ("viewer", "acme"), ("member", "acme", "sso")]
        facts = at(core, 3, SignIn(sha("2"), s(9), "u1", (Grant("viewer", "acme"), Grant("viewer", "beta"))))
        assert names(facts) == ["RoleRevoked", "RoleGranted", "TokenIssued"]
        assert grants(core) == [("auditor", "acme"), ("viewer", "acme"), ("viewer", "beta", "sso")]
        act(core, 4, SignIn(sha("3"), s(9), "u1"))
        assert grants(core) == [("auditor", "acme"), ("viewer", "acme")]

    def test_the_oldest_session_ends_for_one_more_and_tokens_stay(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(people, "SESSIONS_MAX", 2)
        monkeypatch.setattr(people, "TOKENS_MAX", 1)
        core = folk()
        act(core, 1, a.TokenIssued("", "u1", sha("api"), s(99)))
        for number in (1, 2):
            assert names(at(core, 2, SignIn(sha(str(number)), s(99), "u1"))) == ["TokenIssued"]
        assert names(at(core, 3, SignIn(sha("3"), s(99), "u1"))) == ["TokenRevoked", "TokenIssued"]
        held = [core.state.people.tokens[token].digest for token in core.state.people.users["u1"].tokens]
        assert held == [sha("api"), sha("2"), sha("3")]
        facts = at(core, 4, a.TokenIssued("", "u1", sha("4"), s(99), "session"))
        assert names(facts) == ["TokenRevoked", "TokenIssued"]
        assert sha("2") not in core.state.digests

    def test_the_same_groups_change_nothing_but_the_token(self) -> None:
        core = folk()
        groups = (Grant("member", "acme"),)
        act(core, 1, SignIn(sha("1"), s(9), "u1", groups))
        assert names(at(core, 2, SignIn(sha("2"), s(9), "u1", groups))) == ["TokenIssued"]

    def test_one_role_comes_once_however_it_was_said(self) -> None:
        core = folk()
        act(core, 1, SignIn(sha("1"), s(9), "u1", (Grant("operator"), Grant("operator", origin="sso"))))
        assert grants(core) == [("operator", "sso")]


# ── the built-in administrator ────────────────────────────────────────────────────────────────────────────────────
def test_the_administrator_has_tokens_and_nothing_else_and_stays() -> None:
    core = folk()
    issued = a.TokenIssued("", "admin", sha("x"), s(9), "session", by="admin")
    assert at(core, 1, issued) == [msgspec.structs.replace(issued, token="k1")]
    act(core, 2, a.TokenIssued("", "admin", sha("y"), s(9)))
    assert core.state.people.users["admin"].tokens == ["k1", "k2"]
    restored = State.restore(core.state.project())
    assert restored.people.users["admin"] == core.state.people.users["admin"]
    assert refused(core, 3, a.UserRemoved("admin", "u1")) == ("unknown_user", "admin")
    assert refused(core, 3, a.RoleGranted("admin", "operator")) == ("unknown_user", "admin")
    assert refused(core, 3, SignIn(sha("z"), s(9), "admin")) == ("unknown_user", "admin")
    act(core, 4, invitation("i"))
    assert refused(core, 5, accept("i", "z", "admin")) == ("unknown_user", "admin")
    act(core, 6, a.TokenRevoked("k1", "admin"))
    assert core.state.people.users["admin"].tokens == ["k2"]
