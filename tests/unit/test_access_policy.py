# SPDX-License-Identifier: Apache-2.0
"""Policies: every cell of role × action × place × token agrees with a table, and no tenant reaches another."""

import itertools
import re
from collections.abc import Iterator
from typing import Any

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leitstand.access import entities
from leitstand.access.actions import ACTIONS, SCOPES
from leitstand.access.policy import Asker, Authorizer, PoliciesWrong, Resource, schema_text
from leitstand.access.roles import PLATFORM_ROLES, PROJECT_ROLES, TENANT_ROLES, Grant, fault
from leitstand.core.people import ROLES

# Who may, written down a second time and without Cedar. O operator, A auditor, R reviewer (platform); T tenant admin,
# U auditor, M member, V viewer (tenant or project); I anybody with a role in the tenant; S signed in; E everybody;
# P the person it is about, W the owner of an application.
TABLE = {
    "job:submit": "O T M", "job:plan": "O T M", "job:list": "O A T U M V", "job:read": "O A T U M V",
    "job:cancel": "O T M", "job:hold": "O T M", "job:release": "O T M",
    "job:logs": "O T M V", "event:watch": "O A T U M V", "blob:write": "O T M",
    "secret:list": "O T M", "secret:set": "O T M", "secret:delete": "O T",
    "availability:read": "O A I",
    "alert:list": "O A", "alert:test": "O", "node:list": "S", "node:report": "O", "node:return": "O",
    "site:list": "S", "site:read": "O A", "site:add": "O", "site:test": "O", "site:remove": "O",
    "maintenance:list": "S", "maintenance:plan": "O", "maintenance:cancel": "O",
    "booking:list": "O A T U M V", "booking:book": "O T", "booking:cancel": "O T",
    "usage:read": "O A T U M V",
    "tenant:list": "S", "tenant:read": "O A I", "tenant:add": "O", "tenant:suspend": "O", "tenant:resume": "O",
    "tenant:exit": "O T", "tenant:extend-exit": "O T", "tenant:export": "O T", "tenant:erase": "O",
    "legal:read": "O A T U", "legal:write": "O T", "project:list": "O A T U M V", "project:add": "O T",
    "project:close": "O T", "member:list": "O A T U M V", "role:grant": "O T", "role:revoke": "O T",
    "user:list": "O A T U", "user:add": "O", "user:read": "O A T U P", "user:erase": "O T",
    "invitation:issue": "O T", "invitation:list": "O A T U", "invitation:withdraw": "O T", "invitation:accept": "E",
    "token:issue": "O P", "token:list": "O A T U P", "token:revoke": "O T P",
    "application:file": "E", "application:list": "O A R", "application:read": "O A R W", "application:check": "O R",
    "application:approve": "O", "application:refuse": "O", "application:withdraw": "O W",
    "application:claim": "O W",
    "budget:list": "O A I", "budget:grant": "O", "audit:read": "O A T U",
    "entitlement:read": "O A I", "entitlement:change": "O",
    "commitment:list": "O A I", "commitment:make": "O", "commitment:end": "O",
    "access:explain": "S", "self:read": "S",
}  # fmt: skip
GROUPS = {
    "jobs": "job:submit job:plan job:cancel job:hold job:release blob:write secret:set secret:delete "
    "booking:book booking:cancel",
    "read": "job:list job:read job:logs event:watch secret:list node:list alert:list availability:read site:list "
    "site:read usage:read tenant:list tenant:read maintenance:list booking:list "
    "legal:read project:list member:list user:list user:read invitation:list token:list application:list "
    "application:read budget:list entitlement:read commitment:list audit:read access:explain self:read",
}
UNBOUND = {"node:list", "site:list", "maintenance:list", "tenant:list", "access:explain", "self:read"}

LETTERS = {"tenant_admin": "T", "auditor": "U", "member": "M", "viewer": "V"}
GRANTS = [
    (),
    *((Grant(role),) for role in PLATFORM_ROLES),
    *((Grant(role, "acme"),) for role in TENANT_ROLES + PROJECT_ROLES),
    *((Grant(role, "acme", "one"),) for role in PROJECT_ROLES),
]


@pytest.fixture(scope="module")
def authorizer() -> Authorizer:
    return Authorizer()


def expected(asker: Asker, action: str, resource: Resource) -> bool:
    return bool(held(asker, resource) & set(TABLE[action].split())) and token_lets(asker, action, resource)


def held(asker: Asker, resource: Resource) -> set[str]:
    letters = {"E"} | ({"S"} if asker.user else set())
    if resource.kind == "user" and asker.user and resource.user == asker.user:
        letters.add("P")
    if resource.kind == "application" and resource.owner and resource.owner in (asker.user, asker.claim):
        letters.add("W")
    for role, tenant, project in ((grant.role, grant.tenant, grant.project) for grant in asker.grants):
        if not tenant:
            letters.add(role[0].upper())
        elif tenant == resource.tenant and resource.kind in ("tenant", "project", "job", "user"):
            letters.add("I")
            whole = not project and (resource.kind != "user" or role in TENANT_ROLES)
            if whole or (resource.kind in ("project", "job") and project == resource.project):
                letters.add(LETTERS[role])
    return letters


def token_lets(asker: Asker, action: str, resource: Resource) -> bool:
    group = next((name for name, actions in GROUPS.items() if action in actions.split()), "admin")
    if asker.scopes and group not in asker.scopes and action not in ("self:read", "access:explain"):
        return False
    if asker.tenant and action not in UNBOUND:
        inside = resource.kind in ("tenant", "project", "job", "user") and resource.tenant == asker.tenant
        if not inside:
            return False
    wider = not resource.scopes or set(resource.scopes) - set(asker.scopes)
    if action == "token:issue" and asker.scopes and wider:
        return False
    return not (action == "application:approve" and resource.checked_alone)


def resources(action: str, asker: Asker) -> Iterator[Resource]:
    """Own and others' places for every kind of thing the action is done to."""
    for kind in ACTIONS[action].kinds:
        match kind:
            case "platform":
                yield Resource(kind)
            case "tenant":
                yield from (Resource(kind, tenant) for tenant in ("acme", "beta"))
            case "project" | "job":
                for tenant, project in (("acme", "one"), ("acme", "two"), ("acme", ""), ("beta", "one")):
                    yield Resource(kind, tenant, project, owner=asker.user if project == "two" else "u9")
            case "application":
                yield Resource(kind, owner="u9")
                yield Resource(kind, owner=asker.user or "a7", checked_alone=True)
            case "user":
                for tenant, user in itertools.product(("", "acme", "beta"), (asker.user, "u9")):
                    yield Resource(kind, tenant, user=user, scopes=("read",) if tenant else ())


def cells() -> Iterator[tuple[Asker, str, Resource]]:
    tokens = itertools.product(((), ("read",), ("jobs",), ("admin",)), ("", "acme", "beta"))
    for grants, (scopes, bound) in itertools.product(GRANTS, list(tokens)):
        asker = Asker("u1", grants, scopes, bound)
        for action in ACTIONS:
            yield from ((asker, action, resource) for resource in resources(action, asker))
    for asker in (Asker(""), Asker("", claim="a7")):
        for action in ACTIONS:
            yield from ((asker, action, resource) for resource in resources(action, asker))


def test_every_cell_agrees_with_the_table_and_no_tenant_reaches_another(authorizer: Authorizer) -> None:
    assert set(TABLE) == set(ACTIONS)
    seen = {True: 0, False: 0}
    crossing = 0
    for asker, action, resource in cells():
        allowed = authorizer.decide(asker, action, resource).allowed
        assert allowed == expected(asker, action, resource), (asker, action, resource)
        seen[allowed] += 1
        crossing += allowed and crosses(asker, resource)
    assert crossing == 0
    assert seen[True] > 2000
    assert seen[False] > 10_000


def crosses(asker: Asker, resource: Resource) -> bool:
    """One tenant's person at another tenant's thing, which is not the person itself."""
    tenants = {grant.tenant for grant in asker.grants}
    return "" not in tenants and resource.tenant not in {"", *tenants} and resource.user != asker.user


names = st.sampled_from(["acme", "beta", "acme/one", 'b"]', "operator", "signed-in"])
projects = st.sampled_from(["", "one", "two", "acme"])
grants = st.builds(Grant, st.sampled_from(sorted(ROLES)), names | st.just(""), projects)
grants = grants.filter(lambda grant: not fault(grant))
askers = st.builds(
    Asker,
    user=st.sampled_from(["u1", "u2"]),
    grants=st.lists(grants, max_size=4).map(tuple),
    scopes=st.sets(st.sampled_from(SCOPES)).map(lambda scopes: tuple(sorted(scopes))),
    tenant=names | st.just(""),
)


@st.composite
def asked(draw: Any) -> tuple[Asker, str, Resource]:
    asker, action = draw(askers), draw(st.sampled_from(sorted(ACTIONS)))
    kind = draw(st.sampled_from(ACTIONS[action].kinds))
    tenant = draw(names) if kind in ("tenant", "project", "job") else draw(names | st.just(""))
    scopes = draw(st.sets(st.sampled_from(SCOPES)).map(lambda found: tuple(sorted(found))))
    person = draw(st.sampled_from(["u1", "u2"]))
    return asker, action, Resource(kind, tenant, draw(projects), person, person, scopes, draw(st.booleans()))


@settings(max_examples=400, deadline=None)
@given(case=asked())
def test_any_set_of_roles_agrees_with_the_table(
    authorizer: Authorizer, case: tuple[Asker, str, Resource]
) -> None:
    asker, action, resource = case
    if resource.kind in ("platform", "application"):
        resource = Resource(resource.kind, owner=resource.owner, checked_alone=resource.checked_alone)
    assert authorizer.decide(asker, action, resource).allowed == expected(asker, action, resource)


@settings(max_examples=100, deadline=None)
@given(
    asker=askers, action=st.sampled_from(["job:list", "tenant:read", "usage:read", "user:list", "job:read"])
)
def test_a_listing_shows_exactly_the_places_where_the_action_is_allowed(
    authorizer: Authorizer, asker: Asker, action: str
) -> None:
    places = authorizer.scopes_of(asker, action)
    kind = ACTIONS[action].kinds[0]
    for tenant, project in itertools.product(["acme", "beta", "b"], ["one", "two", "else"]):
        shown = places is None or (tenant, "") in places or (tenant, project) in places
        resource = Resource(kind, tenant) if kind == "tenant" else Resource(kind, tenant, project)
        assert shown == authorizer.decide(asker, action, resource).allowed


def test_listings_of_the_platform_are_whole_or_empty(authorizer: Authorizer) -> None:
    assert authorizer.scopes_of(Asker("u1"), "node:list") is None
    assert authorizer.scopes_of(Asker(""), "node:list") == ()
    assert authorizer.scopes_of(Asker("u1", (Grant("operator"),), tenant="acme"), "job:list") == (
        ("acme", ""),
    )


@pytest.mark.parametrize(
    ("who", "resource", "sees"),
    [
        (Grant("viewer", "acme", "one"), Resource("job", "acme", "one"), True),
        (Grant("viewer", "acme", "one"), Resource("job", "acme", "two"), False),
        (Grant("viewer", "acme", "one"), Resource("tenant", "acme"), True),
        (Grant("viewer", "acme", "one"), Resource("project", "acme", "two"), False),
        (Grant("tenant_admin", "acme"), Resource("tenant", "beta"), False),
        (Grant("reviewer"), Resource("application", owner="u9"), True),
        (Grant("reviewer"), Resource("tenant", "acme"), False),
        (Grant("member", "acme"), Resource("application", owner="u9"), False),
        (Grant("member", "acme"), Resource("user", "acme", user="u9"), False),
        (Grant("member", "acme"), Resource("platform"), True),
    ],
)  # fmt: skip
def test_what_is_not_seen_is_not_found(
    authorizer: Authorizer, who: Grant, resource: Resource, sees: bool
) -> None:
    assert authorizer.sees(Asker("u1", (who,)), resource) is sees


def test_scopes_hide_nothing_but_a_bound_token_does(authorizer: Authorizer) -> None:
    both = (Grant("member", "acme"), Grant("member", "beta"))
    job = Resource("job", "acme", "one")
    assert authorizer.sees(Asker("u1", both, ("jobs",)), job)
    assert not authorizer.sees(Asker("u1", both, tenant="beta"), job)


def test_a_decision_shows_the_policies_that_made_it(authorizer: Authorizer) -> None:
    member = Grant("member", "acme", "one")
    permitted = authorizer.decide(Asker("u1", (member,)), "job:submit", Resource("project", "acme", "one"))
    assert [(policy.id, policy.effect) for policy in permitted.policies] == [("member", "permit")]
    assert permitted.policies[0].text.startswith('@id("member")')
    assert permitted.policies[0].text.endswith("principal in resource.members };")
    forbidden = authorizer.decide(
        Asker("u1", (member,), ("read",)), "job:submit", Resource("project", "acme", "one")
    )
    assert [(policy.id, policy.effect) for policy in forbidden.policies] == [("scope-jobs", "forbid")]
    assert authorizer.decide(Asker("u1"), "job:submit", Resource("project", "acme", "one")).policies == ()


ACME, ONE = Resource("tenant", "acme"), Resource("project", "acme", "one")
DECIDING = {  # a cell for each policy that comes out otherwise without it
    "operator": (Asker("u1", (Grant("operator"),)), "tenant:add", Resource("platform")),
    "auditor": (Asker("u1", (Grant("auditor"),)), "audit:read", ACME),
    "reviewer": (Asker("u1", (Grant("reviewer"),)), "application:check", Resource("application", owner="u9")),
    "tenant-admin": (Asker("u1", (Grant("tenant_admin", "acme"),)), "role:grant", ACME),
    "tenant-auditor": (Asker("u1", (Grant("auditor", "acme"),)), "audit:read", ACME),
    "member": (Asker("u1", (Grant("member", "acme"),)), "job:submit", ONE),
    "viewer": (Asker("u1", (Grant("viewer", "acme"),)), "job:list", ONE),
    "insider": (Asker("u1", (Grant("viewer", "acme", "two"),)), "tenant:read", ACME),
    "signed-in": (Asker("u1"), "self:read", Resource("platform")),
    "oneself": (Asker("u1"), "token:issue", Resource("user", user="u1")),
    "newcomer": (Asker(""), "application:file", Resource("platform")),
    "applicant": (Asker("", claim="a7"), "application:read", Resource("application", owner="a7")),
    "scope-read": (Asker("u1", (Grant("viewer", "acme"),), ("jobs",)), "job:list", ONE),
    "scope-jobs": (Asker("u1", (Grant("member", "acme"),), ("read",)), "job:submit", ONE),
    "scope-admin": (Asker("u1", (Grant("tenant_admin", "acme"),), ("read",)), "role:grant", ACME),
    "bound-token": (Asker("u1", (Grant("member", "acme"),), (), "beta"), "job:submit", ONE),
    "no-wider-token": (Asker("u1", (), ("admin",)), "token:issue", Resource("user", user="u1", scopes=SCOPES)),
    "four-eyes": (
        Asker("u1", (Grant("operator"),)), "application:approve",
        Resource("application", owner="u9", checked_alone=True),
    ),
}  # fmt: skip


def test_no_policy_is_there_for_nothing(authorizer: Authorizer) -> None:
    policies = authorizer.policies()
    assert [policy.id for policy in policies] == list(DECIDING)
    for left_out in policies:
        without = Authorizer("\n".join(policy.text for policy in policies if policy is not left_out))
        assert without.digest != authorizer.digest
        assert without.decide(*DECIDING[left_out.id]).allowed == (left_out.effect == "forbid")
        assert authorizer.decide(*DECIDING[left_out.id]).allowed == (left_out.effect == "permit")


def test_what_is_given_to_cedar_follows_the_schema() -> None:
    """Every shape of graph, checked by Cedar itself."""
    held = tuple(grant for grants in GRANTS for grant in grants)
    schema = cedarpy.Schema.from_str(schema_text())
    for action, tenant, project, own in itertools.product(
        ACTIONS.values(), ["", "acme"], ["", "one"], [True, False]
    ):
        case = entities.Case(action.name, held, True, action.kinds[0], tenant, project, own)
        assert len(cedarpy.Entities.from_json_str(entities.graph(case, "beta"), schema)) >= 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("permit (principal, action, resource)", "not valid Cedar"),
        ("permit (principal, action, resource);", "policy number 1 has no @id"),
        ('@id("a") permit (principal, action, resource);', "policy 'a' does not say in @serves"),
        ('@id("a") @serves("x") permit (principal, action, resource);' * 2, "policy 'a' is there twice"),
        ('@id("a") @serves("x") permit (principal, action == Action::"job:fly", resource);', "job:fly"),
        ('@id("a") @serves("x") permit (principal, action, resource) when { resource.owner == principal };', "owner"),
        ('@id("a") @serves("x") permit (principal == ?principal, action, resource);', "templates"),
    ],
)  # fmt: skip
def test_wrong_policies_are_refused_at_the_start_with_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(PoliciesWrong, match=re.escape(said)):
        Authorizer(text)


def test_semicolons_in_words_and_comments_do_not_end_a_policy() -> None:
    text = '// a; b\n@id("a")\n@serves("x; y // z")\n// permit (\nforbid (principal, action, resource); // end;\n'
    (policy,) = Authorizer(text).policies()
    assert (policy.id, policy.effect, policy.serves) == ("a", "forbid", "x; y // z")


def test_an_action_that_nobody_listed_is_an_error_not_an_answer(authorizer: Authorizer) -> None:
    operator = Asker("u1", (Grant("operator"),))
    with pytest.raises(ValueError, match="no action 'job:fly'"):
        authorizer.decide(operator, "job:fly", Resource("platform"))
    with pytest.raises(ValueError, match="done to project, not to 'platform'"):
        authorizer.decide(operator, "job:submit", Resource("platform"))
    with pytest.raises(ValueError, match="no action 'job:fly'"):
        authorizer.scopes_of(operator, "job:fly")


def test_equal_rights_share_one_remembered_decision() -> None:
    authorizer = Authorizer()
    grants = (Grant("member", "acme"),)
    for user in range(50):
        authorizer.decide(Asker(f"u{user}", grants), "job:submit", ONE)
    assert authorizer.computed() == 1
    long = Resource("project", "acme", "x" * 1000)
    authorizer.decide(Asker("u1", grants), "job:submit", long)
    assert authorizer.computed() == 1, "names that nothing can have do not fill the memory"


@pytest.mark.parametrize(
    ("grant", "said"),
    [
        (Grant("king"), "no role 'king'"),
        (Grant("member"), "needs a tenant"),
        (Grant("member", "", "one"), "project 'one' needs a tenant"),
        (Grant("operator", "acme"), "is of the platform"),
        (Grant("tenant_admin", "acme", "one"), "of a whole tenant"),
        (Grant("auditor"), ""),
        (Grant("auditor", "acme"), ""),
        (Grant("member", "acme", "one"), ""),
    ],
)
def test_a_role_is_granted_where_it_exists(grant: Grant, said: str) -> None:
    assert (said in fault(grant)) if said else not fault(grant)
