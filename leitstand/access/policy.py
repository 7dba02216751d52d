# SPDX-License-Identifier: Apache-2.0
"""May this person do that to this thing? Cedar decides, by `policies.cedar`; what no policy permits is denied.

Called by the faces for every request. Policies are parsed once; a decision depends on roles and places, not on
persons, so few of them are ever computed: the rest come from a bounded cache.
"""

import functools
import hashlib
from pathlib import Path
from typing import Final

import cedarpy
import msgspec

from leitstand.access import entities
from leitstand.access.actions import ACTIONS, KINDS, SCOPES, Kind
from leitstand.access.policytext import PolicyShown, shown
from leitstand.access.roles import Grant

DECISIONS_MAX: Final = 32_768  # remembered, the least recently used go first
LISTINGS_MAX: Final = 4096  # answers of `scopes_of` remembered
ASKERS_MAX: Final = 65_536  # whose rights are remembered
NAMES_CHARS_MAX: Final = 256  # of tenant and project together in a decision that is remembered

_HERE: Final = Path(__file__).parent
_SEEING: Final[dict[Kind, str]] = {  # who may do this knows that the thing exists
    "tenant": "tenant:read",
    "project": "project:list",
    "job": "job:read",
    "application": "application:read",
    "user": "user:read",
}
_PLACES: Final[tuple[Kind, ...]] = ("project", "job", "tenant")

Places = tuple[tuple[str, str], ...]


class PoliciesWrong(ValueError):
    """The policies cannot be used; every fault is named."""


class Asker(msgspec.Struct, frozen=True, cache_hash=True):
    """Who asks. `user`: its id, '' if not signed in; `scopes` (() all) and `tenant` ('' any): of the token used;
    `claim`: the application whose claim code was shown."""

    user: str
    grants: tuple[Grant, ...] = ()
    scopes: tuple[str, ...] = ()
    tenant: str = ""
    claim: str = ""


class Resource(msgspec.Struct, frozen=True, cache_hash=True):
    """What it is about. A project '' of a tenant stands for all its projects.

    `owner`: who submitted the job; of an application its filer, or its own id when the asker comes with a claim code.
    `user`: the person, or whose token it is. A user is in `tenant` where a right over that person may come from it: to
    read, a tenant in which the person has a role; to erase, only if it is the only one; for a token, the tenant it is
    bound to (or the only one of its user). `scopes`: of a token to be issued. `checked_alone`: the asker recorded every
    check of the application although others could have.
    """

    kind: Kind
    tenant: str = ""
    project: str = ""
    owner: str = ""
    user: str = ""
    scopes: tuple[str, ...] = ()
    checked_alone: bool = False


class Decision(msgspec.Struct, frozen=True):
    """`policies`: those that decided: the permits, or the forbids; none if nothing permitted it."""

    allowed: bool
    policies: tuple[PolicyShown, ...]


class _Rights(msgspec.Struct, frozen=True, eq=False):
    """What of an asker counts. One object for all with the same: comparing is cheap, however many roles they have."""

    grants: tuple[Grant, ...]
    scopes: tuple[str, ...]
    tenant: str
    signed_in: bool


class Authorizer:
    """Decides by one set of policies. `digest`: SHA-256 (hex) of policies, schema and actions together."""

    def __init__(self, policies: str | None = None) -> None:
        """`policies`: Cedar text in place of the policies that come with this package; PoliciesWrong."""
        text = (_HERE / "policies.cedar").read_text() if policies is None else policies
        schema = schema_text()
        self._shown, self._policies = _parsed(text, schema)
        self.digest = hashlib.sha256(f"{schema}\0{text}".encode()).hexdigest()
        self._same: dict[Decision, Decision] = {}
        self._decided = functools.lru_cache(DECISIONS_MAX)(self._decide)
        self._listed = functools.lru_cache(LISTINGS_MAX)(self._places)
        self._rights = functools.lru_cache(ASKERS_MAX)(_Rights)
        self._rights_of = functools.lru_cache(ASKERS_MAX)(self._find_rights)

    def decide(self, asker: Asker, action: str, resource: Resource) -> Decision:
        """Whether `asker` may do `action` to `resource`; ValueError for an action that is not in the list or is never
        done to such a resource."""
        short = len(resource.tenant) + len(resource.project) <= NAMES_CHARS_MAX
        return (self._decided if short else self._decide)(
            self._rights_of(asker),
            action,
            resource.kind,
            resource.tenant,
            resource.project,
            _own(asker, resource),
            resource.scopes,
            resource.checked_alone,
        )

    def sees(self, asker: Asker, resource: Resource) -> bool:
        """Whether `asker` may know that `resource` exists: a refusal is 403 if so, else 404.

        The scopes of a token do not hide what its user sees; the tenant it is bound to does.
        """
        seeing = _SEEING.get(resource.kind)
        if seeing is None:
            return True
        whole = Asker(asker.user, asker.grants, (), asker.tenant, asker.claim)
        return self.decide(whole, seeing, resource).allowed

    def scopes_of(self, asker: Asker, action: str) -> Places | None:
        """Where `asker` may do `action`: None everywhere; else (tenant, project), project '' for the whole tenant.

        A place in a listing is inside one of them. For actions on the platform: None or nothing.
        """
        return self._listed(asker, action)

    def policies(self) -> tuple[PolicyShown, ...]:
        """Every policy in force, in the order of the text."""
        return tuple(self._shown.values())

    def computed(self) -> int:
        """How many decisions are remembered."""
        return self._decided.cache_info().currsize

    def _decide(
        self,
        rights: "_Rights",
        action: str,
        kind: Kind,
        tenant: str,
        project: str,
        own: bool,
        asked: tuple[str, ...],
        checked_alone: bool,
    ) -> Decision:
        _check(action, kind)
        case = entities.Case(action, rights.grants, rights.signed_in, kind, tenant, project, own)
        context = entities.context(rights.scopes, rights.tenant, asked, checked_alone)
        request = {
            "principal": entities.ASKER,
            "action": entities.action_uid(action),
            "resource": entities.uid_of(case),
            "context": context,
        }
        given = cedarpy.Entities.from_json_str(entities.graph(case, rights.tenant))
        answer = cedarpy.is_authorized(request, self._policies, given)
        # A policy that fails is passed over by Cedar, a forbid too: then no answer is right.
        assert not answer.diagnostics.errors, f"{action} on {kind}: {answer.diagnostics.errors}"
        policies = tuple(self._shown[name] for name in sorted(answer.diagnostics.reasons))
        decision = Decision(answer.allowed, policies)
        return self._same.setdefault(decision, decision)

    def _find_rights(self, asker: Asker) -> "_Rights":
        return self._rights(asker.grants, asker.scopes, asker.tenant, asker.user != "")

    def _places(self, asker: Asker, action: str) -> Places | None:
        kinds = ACTIONS[action].kinds if action in ACTIONS else ()
        kind = next((kind for kind in _PLACES if kind in kinds), None)
        if kind is None:
            _check(action, "platform")
            return None if self.decide(asker, action, Resource("platform")).allowed else ()
        if self.decide(
            asker, action, Resource(kind)
        ).allowed:  # in a tenant where nobody has a role of his own
            return None
        candidates = {(grant.tenant, "" if kind == "tenant" else grant.project) for grant in asker.grants}
        found: list[tuple[str, str]] = []
        for tenant, project in sorted(candidates | {(asker.tenant, "")}):
            inside = tenant == "" or (tenant, "") in found
            if not inside and self.decide(asker, action, Resource(kind, tenant, project)).allowed:
                found.append((tenant, project))
        return tuple(found)


def schema_text() -> str:
    """The Cedar schema: the declared entities, and an action for each in the list."""
    lines = [(_HERE / "policies.cedarschema").read_text()]
    for action in ACTIONS.values():
        kinds = ", ".join(kind.capitalize() for kind in action.kinds)
        lines.append(
            f'action "{action.name}" in ["{action.group}"] '
            f"appliesTo {{ principal: User, resource: [{kinds}], context: Request }};\n"
        )
    return "".join(lines)


def _parsed(text: str, schema: str) -> tuple[dict[str, PolicyShown], cedarpy.PolicySet]:
    """The policies by Cedar's own names for them (`policy0`, …), and the parsed set; PoliciesWrong."""
    try:
        parsed = cedarpy.PolicySet.from_str(text)
    except ValueError as error:
        raise PoliciesWrong(f"the policies are not valid Cedar: {error}") from None
    result = cedarpy.validate_policies(text, schema)
    policies, faults = shown(text)
    faults += [str(error) for error in result.errors]
    if parsed.templates():
        faults.append("there are templates (?principal, ?resource); policies alone are supported")
    if faults or not result.validation_passed or len(policies) != len(parsed):
        raise PoliciesWrong(
            "the policies cannot be used: " + "; ".join(faults or ["they cannot be told apart"])
        )
    return {f"policy{at}": policy for at, policy in enumerate(policies)}, parsed


def _check(action: str, kind: str) -> None:
    if action not in ACTIONS:
        raise ValueError(f"there is no action {action!r}")
    if kind not in ACTIONS[action].kinds:
        raise ValueError(
            f"action {action!r} is done to {' or '.join(ACTIONS[action].kinds)}, not to {kind!r}"
        )


def _own(asker: Asker, resource: Resource) -> bool:
    """Whether the asker is the person the resource is about, or owns it."""
    whose = resource.user if resource.kind == "user" else resource.owner
    if not whose:
        return False
    return whose == asker.user or (resource.kind == "application" and whose == asker.claim)


assert set(_SEEING) == set(KINDS) - {"platform"}
assert {action.group for action in ACTIONS.values()} == set(SCOPES)
