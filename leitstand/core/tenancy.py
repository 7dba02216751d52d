# SPDX-License-Identifier: Apache-2.0
"""Tenants: their life from the first fact to their exit, and their projects. Called by the cycle (decides) and
the state (applies).

    active ─▶ notice ─▶ transition ─▶ retrieval ─▶ closed            suspended: beside every stage but the last two

In `notice` and `transition` the tenant works as before (the law asks for continuity); `retrieval` drains it: what waits
is cancelled, what runs is stopped with its engine's grace, and only reading and export are left.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from leitstand.core import acts as a
from leitstand.core.budgets import Budget
from leitstand.core.decision import Decision, is_id, record, refuse
from leitstand.core.fact import Fact
from leitstand.core.facts import AGAIN, JobEnded, RunStopOrdered
from leitstand.core.rules import TENANT_CLASSES
from leitstand.core.sharing.entitlements import leave

if TYPE_CHECKING:
    from leitstand.core.state import State

DEFAULT_PROJECT: Final = "default"
STAGES: Final = ("active", "notice", "transition", "retrieval", "closed")
WORKING: Final = ("active", "notice", "transition")  # jobs are taken and run
EXTENDERS: Final = ("customer", "provider")
PROJECTS_MAX: Final = 10_000  # of a tenant
DRAINED_MAX: Final = 10_000  # facts of exits in one cycle, and what one tenant's pending jobs add
AMOUNT_MAX: Final = 2**63 - 1


class Tenant(msgspec.Struct):
    """`jobs`: how many it has ever submitted; the next id's number. `pending`: how many wait now. `requests`: how many
    Idempotency-Keys of its submissions are remembered. `suspended`: '' or the reason. `projects`: name → open."""

    id: str
    tenant_class: str
    jobs: int = 0
    pending: int = 0
    requests: int = 0
    suspended: str = ""
    stage: str = "active"
    transition_us: int = 0
    retrieval_us: int = 0
    closed_us: int = 0
    extended: list[str] = msgspec.field(default_factory=list)  # by whom, each once
    projects: dict[str, bool] = msgspec.field(default_factory=lambda: {DEFAULT_PROJECT: True})
    budgets: list[Budget] = msgspec.field(default_factory=list)


def next_stage(tenant: Tenant) -> tuple[str, int]:
    """The stage that comes by itself and when (µs); ('', 0) if none does."""
    match tenant.stage:
        case "notice":
            return "transition", tenant.transition_us
        case "transition":
            return "retrieval", tenant.retrieval_us
        case "retrieval":
            return "closed", tenant.closed_us
        case _:
            return "", 0


# ── decide ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _add(state: "State", now: int, asked: a.TenantAdded) -> Decision:
    if asked.tenant in state.tenants:
        return refuse("exists", asked.tenant)
    if not is_id(asked.tenant):
        return refuse("invalid", asked.tenant[:64])
    if asked.tenant_class not in TENANT_CLASSES:
        return refuse("invalid", asked.tenant_class[:64])
    return record(asked, made=asked.tenant)


def _suspend(state: "State", now: int, asked: a.TenantSuspended) -> Decision:
    tenant = state.tenants.get(asked.tenant)
    if tenant is None:
        return refuse("unknown_tenant", asked.tenant[:64])
    if asked.reason not in a.SUSPENSIONS or asked.running not in a.RUNNING:
        return refuse("invalid", f"{asked.reason[:64]} {asked.running[:64]}")
    if tenant.suspended:
        return refuse("conflict", f"{tenant.id} is suspended already: {tenant.suspended}")
    if tenant.stage not in WORKING:
        return refuse("conflict", f"{tenant.id} is in the stage {tenant.stage} of its exit")
    stops = _stop_runs(state, tenant.id, "suspended") if asked.running == "stop" else []
    return record(asked, *stops, made=tenant.id)


def _resume(state: "State", now: int, asked: a.TenantResumed) -> Decision:
    tenant = state.tenants.get(asked.tenant)
    if tenant is None:
        return refuse("unknown_tenant", asked.tenant[:64])
    if not tenant.suspended:
        return refuse("conflict", f"{tenant.id} is not suspended")
    return record(asked, made=tenant.id)


def _start_exit(state: "State", now: int, asked: a.TenantExitStarted) -> Decision:
    """`transition_us` 0: notice as long as the rules allow; the later times follow from the rules."""
    tenant = state.tenants.get(asked.tenant)
    if tenant is None:
        return refuse("unknown_tenant", asked.tenant[:64])
    if tenant.stage != "active":
        return refuse("conflict", f"{tenant.id} is in the stage {tenant.stage} of its exit")
    terms = state.rules.exit
    latest = now + terms.notice_us
    transition = asked.transition_us or latest
    if not now <= transition <= latest:
        return refuse("invalid", f"notice of {transition - now} µs; the limit is {terms.notice_us} µs")
    retrieval = transition + terms.transition_us
    started = a.TenantExitStarted(tenant.id, transition, retrieval, retrieval + terms.retrieval_us, asked.by)
    return record(started, made=tenant.id)


def _extend_exit(state: "State", now: int, asked: a.TenantExitExtended) -> Decision:
    """`retrieval_us`: the new end of the transition."""
    tenant = state.tenants.get(asked.tenant)
    if tenant is None:
        return refuse("unknown_tenant", asked.tenant[:64])
    if tenant.stage not in ("notice", "transition"):
        return refuse(
            "conflict", f"{tenant.id} is in the stage {tenant.stage}: there is no transition to extend"
        )
    if asked.whose not in EXTENDERS:
        return refuse("invalid", asked.whose[:64])
    if asked.whose in tenant.extended:
        return refuse("conflict", f"the {asked.whose} has extended the transition already, which it may once")
    terms = state.rules.exit
    most = terms.customer_max_us if asked.whose == "customer" else terms.transition_max_us
    latest = tenant.transition_us + most
    if not tenant.retrieval_us < asked.retrieval_us <= latest:
        return refuse(
            "invalid", f"an end at {asked.retrieval_us} µs is not in {tenant.retrieval_us + 1}..{latest}"
        )
    closed = asked.retrieval_us + state.rules.exit.retrieval_us
    extended = a.TenantExitExtended(tenant.id, asked.retrieval_us, closed, asked.whose, asked.by)
    return record(extended, made=tenant.id)


def advance(state: "State", now: int) -> list[Fact]:
    """The next stage of tenants where it is due, the earliest first, and what draining makes of jobs and runs; the rest
    follows in the next call. No further tenant once there are DRAINED_MAX facts."""
    facts: list[Fact] = []
    for _, name in sorted((due, one) for one, due in state.exits.items() if due <= now):
        if len(facts) >= DRAINED_MAX:
            break
        tenant = state.tenants[name]
        stage, _ = next_stage(tenant)
        facts.append(a.TenantExitAdvanced(tenant.id, stage))
        if stage == "retrieval":
            facts += [
                JobEnded(job.id, "cancelled", "tenant_exit")
                for job in state.jobs.values()
                if job.tenant == tenant.id and job.state == "pending"
            ]
            facts += _stop_runs(state, tenant.id, "exit")
    return facts


def _stop_runs(state: "State", tenant: str, cause: str) -> list[Fact]:
    return [
        RunStopOrdered(job.run, cause)
        for job in state.jobs.values()
        if job.tenant == tenant and job.run and state.runs[job.run].stopping in ("", *AGAIN)
    ]


def _note(state: "State", now: int, asked: a.LegalIdentityChanged | a.TenantExported) -> Decision:
    """What was done to what the stores keep of a tenant, in whatever stage."""
    if asked.tenant not in state.tenants:
        return refuse("unknown_tenant", asked.tenant[:64])
    return record(asked, made=asked.tenant)


def _add_project(state: "State", now: int, asked: a.ProjectAdded) -> Decision:
    tenant = state.tenants.get(asked.tenant)
    if tenant is None:
        return refuse("unknown_tenant", asked.tenant[:64])
    if not is_id(asked.project):
        return refuse("invalid", asked.project[:64])
    if tenant.projects.get(asked.project):
        return refuse("exists", asked.project)
    if asked.project not in tenant.projects and len(tenant.projects) >= PROJECTS_MAX:
        return refuse("busy", str(PROJECTS_MAX))
    return record(asked, made=asked.project)


def _close_project(state: "State", now: int, asked: a.ProjectClosed) -> Decision:
    tenant = state.tenants.get(asked.tenant)
    if tenant is None:
        return refuse("unknown_tenant", asked.tenant[:64])
    if not tenant.projects.get(asked.project):
        return refuse("unknown_project", asked.project[:64])
    return record(asked, made=asked.project)


DECIDE: Final[dict[type, Callable[["State", int, Any], Decision]]] = {
    a.TenantAdded: _add,
    a.TenantSuspended: _suspend,
    a.TenantResumed: _resume,
    a.TenantExitStarted: _start_exit,
    a.TenantExitExtended: _extend_exit,
    a.LegalIdentityChanged: _note,
    a.TenantExported: _note,
    a.ProjectAdded: _add_project,
    a.ProjectClosed: _close_project,
}


# ── apply ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _added(state: "State", at: int, fact: a.TenantAdded) -> None:
    state.tenants[fact.tenant] = Tenant(fact.tenant, fact.tenant_class)


def _suspended(state: "State", at: int, fact: a.TenantSuspended) -> None:
    state.hold(fact.tenant)
    state.tenants[fact.tenant].suspended = fact.reason


def _resumed(state: "State", at: int, fact: a.TenantResumed) -> None:
    state.tenants[fact.tenant].suspended = ""
    state.release(fact.tenant)


def _exit_started(state: "State", at: int, fact: a.TenantExitStarted) -> None:
    tenant = state.tenants[fact.tenant]
    tenant.stage = "notice"
    tenant.transition_us, tenant.retrieval_us = fact.transition_us, fact.retrieval_us
    tenant.closed_us = fact.closed_us
    state.exits[tenant.id] = fact.transition_us


def _exit_extended(state: "State", at: int, fact: a.TenantExitExtended) -> None:
    tenant = state.tenants[fact.tenant]
    tenant.retrieval_us, tenant.closed_us = fact.retrieval_us, fact.closed_us
    tenant.extended.append(fact.whose)
    state.exits[tenant.id] = next_stage(tenant)[1]


def _exit_advanced(state: "State", at: int, fact: a.TenantExitAdvanced) -> None:
    tenant = state.tenants[fact.tenant]
    tenant.stage = fact.stage
    if fact.stage == "retrieval":
        leave(state, at, tenant)
    stage, due = next_stage(tenant)
    if stage:
        state.exits[tenant.id] = due
    else:
        del state.exits[tenant.id]


def _project_added(state: "State", at: int, fact: a.ProjectAdded) -> None:
    state.tenants[fact.tenant].projects[fact.project] = True


def _project_closed(state: "State", at: int, fact: a.ProjectClosed) -> None:
    state.tenants[fact.tenant].projects[fact.project] = False


APPLY: Final[dict[type[Fact], Callable[["State", int, Any], None]]] = {
    a.TenantAdded: _added,
    a.TenantSuspended: _suspended,
    a.TenantResumed: _resumed,
    a.TenantExitStarted: _exit_started,
    a.TenantExitExtended: _exit_extended,
    a.TenantExitAdvanced: _exit_advanced,
    a.ProjectAdded: _project_added,
    a.ProjectClosed: _project_closed,
}
