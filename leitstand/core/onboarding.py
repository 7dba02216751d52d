# SPDX-License-Identifier: Apache-2.0
"""Onboarding: who wants to become a tenant, which checks are done, what came of it. Called by the cycle (decides) and
the state (applies).

    open ─▶ approved ─▶ (the applicant claims the first token)      open ─▶ refused | withdrawn, which stay visible
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from leitstand.core import acts as a
from leitstand.core.acts import ClaimApplication
from leitstand.core.decision import Decision, is_digest, is_tenant, record, refuse
from leitstand.core.fact import Fact
from leitstand.core.people import USERS_MAX, first_token, next_user, revocations
from leitstand.core.rules import TENANT_CLASSES

if TYPE_CHECKING:
    from leitstand.core.state import State

AGREEMENT: Final = "agreement"  # the check that filing itself does
OUTCOMES: Final = ("passed", "failed")
REFUSALS: Final = (
    "identity",
    "sanctions",
    "export_control",
    "size_class",
    "capacity",
    "purpose",
    "incomplete",
    "other",
)
OPEN_MAX: Final = 1_000  # applications at once: anybody can file one
KEPT_MAX: Final = 10_000  # applications that are over and still listed


class Check(msgspec.Struct, gc=False):
    """`outcome`: '' until it is done."""

    name: str
    outcome: str = ""
    note: str = ""
    by: str = ""
    at: int = 0


class Application(msgspec.Struct):
    """`state`: open | approved | refused | withdrawn. `user`: who came of it; `claimed_us`: when the first token was
    fetched; `decided_us`: when it was closed."""

    id: str
    tenant: str
    tenant_class: str
    digest: str
    agreement: str
    filed_us: int
    checks: list[Check] = msgspec.field(default_factory=list)
    state: str = "open"
    reason: str = ""
    note: str = ""
    by: str = ""
    user: str = ""
    decided_us: int = 0
    claimed_us: int = 0


class Onboarding(msgspec.Struct):
    """Part of the projection."""

    applications: dict[str, Application] = msgspec.field(default_factory=dict)
    ever: int = 0
    open: int = 0


# ── decide ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _file(state: "State", now: int, asked: a.ApplicationFiled) -> Decision:
    onboarding, rules = state.onboarding, state.rules.onboarding
    if not is_tenant(asked.tenant) or asked.tenant_class not in TENANT_CLASSES:
        return refuse("invalid", f"{asked.tenant[:64]} {asked.tenant_class[:64]}")
    if asked.agreement != rules.agreement:
        return refuse(
            "invalid", f"agreement {asked.agreement[:64]!r}; the one in force is {rules.agreement!r}"
        )
    if not is_digest(asked.digest) or asked.digest in state.digests:
        return refuse("invalid", "the digest is no fresh SHA-256 in 64 lower-case hex digits")
    wanted = (one.tenant == asked.tenant for one in onboarding.applications.values() if one.state == "open")
    if asked.tenant in state.tenants or any(wanted):
        return refuse("exists", asked.tenant)
    if onboarding.open >= OPEN_MAX:
        return refuse("busy", str(OPEN_MAX))
    application = f"a{onboarding.ever + 1}"
    facts: list[Fact] = [msgspec.structs.replace(asked, application=application)]
    if AGREEMENT in rules.checks:
        facts.append(a.CheckRecorded(application, AGREEMENT, "passed"))
    return record(*facts, made=application)


def _open(state: "State", application: str) -> Application | Decision:
    found = state.onboarding.applications.get(application)
    if found is None:
        return refuse("unknown_application", application[:64])
    if found.state != "open":
        return refuse("conflict", f"application {found.id} is {found.state}")
    return found


def _check(state: "State", now: int, asked: a.CheckRecorded) -> Decision:
    found = _open(state, asked.application)
    if isinstance(found, Decision):
        return found
    if asked.check not in {check.name for check in found.checks}:
        known = ", ".join(check.name for check in found.checks)
        return refuse("invalid", f"there is no check {asked.check[:64]!r}; its checks are {known}")
    if asked.outcome not in OUTCOMES:
        return refuse("invalid", f"outcome {asked.outcome[:64]!r}; known: {', '.join(OUTCOMES)}")
    return record(asked, made=found.id)


def _approve(state: "State", now: int, asked: a.ApplicationApproved) -> Decision:
    found = _open(state, asked.application)
    if isinstance(found, Decision):
        return found
    missing = [check.name for check in found.checks if check.outcome != "passed"]
    if missing:
        return refuse("conflict", f"checks that have not passed: {', '.join(missing)}")
    if found.tenant in state.tenants:
        return refuse("exists", found.tenant)
    if len(state.people.users) >= USERS_MAX:
        return refuse("busy", str(USERS_MAX))
    rules, user, budget = state.rules.onboarding, next_user(state), f"b{state.budgets + 1}"
    facts: list[Fact] = [
        a.ApplicationApproved(found.id, user, asked.by),
        a.TenantAdded(found.tenant, found.tenant_class, asked.by),
        a.UserAdded(user, asked.by),
        a.RoleGranted(user, "tenant_admin", found.tenant, by=asked.by),
    ]
    gpu_us = rules.first_budget_gpu_us[found.tenant_class]
    if gpu_us:
        facts.append(
            a.BudgetGranted(budget, found.tenant, gpu_us, now + rules.first_budget_us, "grant", asked.by)
        )
    return record(*facts, made=found.tenant)


def _refuse(state: "State", now: int, asked: a.ApplicationRefused) -> Decision:
    found = _open(state, asked.application)
    if isinstance(found, Decision):
        return found
    if asked.reason not in REFUSALS:
        return refuse("invalid", f"reason {asked.reason[:64]!r}; known: {', '.join(REFUSALS)}")
    return record(asked, made=found.id)


def _withdraw(state: "State", now: int, asked: a.ApplicationWithdrawn) -> Decision:
    found = _open(state, asked.application)
    return found if isinstance(found, Decision) else record(asked, made=found.id)


def _claim(state: "State", now: int, asked: ClaimApplication) -> Decision:
    found = state.onboarding.applications.get(state.digests.get(asked.claim, ""))
    if found is None:
        return refuse("unknown_application")
    if found.state != "approved":
        return refuse("conflict", f"application {found.id} is {found.state}")
    if found.user not in state.people.users:
        return refuse("unknown_user", found.user)
    again = bool(found.claimed_us)
    if again and now >= found.claimed_us + state.rules.claim_again_us:
        return refuse(
            "conflict", "the claim is used up: ask an administrator of the tenant for an invitation"
        )
    issued = first_token(state, now, asked, found.user, new_user=False)
    if isinstance(issued, Decision):
        return issued
    if again:
        return record(*revocations(state, found.user), issued, made=found.user)
    return record(a.ApplicationClaimed(found.id), issued, made=found.user)


DECIDE: Final[dict[type, Callable[["State", int, Any], Decision]]] = {
    a.ApplicationFiled: _file,
    a.CheckRecorded: _check,
    a.ApplicationApproved: _approve,
    a.ApplicationRefused: _refuse,
    a.ApplicationWithdrawn: _withdraw,
    ClaimApplication: _claim,
}


# ── apply ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _filed(state: "State", at: int, fact: a.ApplicationFiled) -> None:
    onboarding = state.onboarding
    onboarding.ever += 1
    onboarding.open += 1
    onboarding.applications[fact.application] = Application(
        fact.application,
        fact.tenant,
        fact.tenant_class,
        fact.digest,
        fact.agreement,
        at,
        [Check(name) for name in state.rules.onboarding.checks],
    )
    state.digests[fact.digest] = fact.application


def _checked(state: "State", at: int, fact: a.CheckRecorded) -> None:
    for check in state.onboarding.applications[fact.application].checks:
        if check.name == fact.check:
            check.outcome, check.note, check.by, check.at = fact.outcome, fact.note, fact.by, at


def _approved(state: "State", at: int, fact: a.ApplicationApproved) -> None:
    application = _close(state, at, fact.application, "approved")
    application.user, application.by = fact.user, fact.by


def _refused(state: "State", at: int, fact: a.ApplicationRefused) -> None:
    application = _close(state, at, fact.application, "refused")
    application.reason, application.note, application.by = fact.reason, fact.note, fact.by


def _withdrawn(state: "State", at: int, fact: a.ApplicationWithdrawn) -> None:
    _close(state, at, fact.application, "withdrawn")


def _close(state: "State", at: int, application: str, how: str) -> Application:
    """The one that was decided first leaves when too many are kept."""
    onboarding = state.onboarding
    found = onboarding.applications[application]
    found.state, found.decided_us = how, at
    onboarding.open -= 1
    if len(onboarding.applications) - onboarding.open > KEPT_MAX:
        over = (one for one in onboarding.applications.values() if one.state != "open" and one is not found)
        oldest = min(over, key=lambda one: one.decided_us)
        del state.digests[oldest.digest]
        del onboarding.applications[oldest.id]
    return found


def _claimed(state: "State", at: int, fact: a.ApplicationClaimed) -> None:
    state.onboarding.applications[fact.application].claimed_us = at


APPLY: Final[dict[type[Fact], Callable[["State", int, Any], None]]] = {
    a.ApplicationFiled: _filed,
    a.CheckRecorded: _checked,
    a.ApplicationApproved: _approved,
    a.ApplicationRefused: _refused,
    a.ApplicationWithdrawn: _withdrawn,
    a.ApplicationClaimed: _claimed,
}
