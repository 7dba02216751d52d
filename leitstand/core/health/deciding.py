# SPDX-License-Identifier: Apache-2.0
"""Decides what a report of a node's health means, and when a drained node comes back. Called by the cycle; `APPLY`
folds the facts (called by the state).

Engines only report. A drain outlasts whatever an engine says of the node afterwards: who is drained comes back by a
`NodeReturned` alone. What runs there is told to end as after a failure (`leitstand.core.sharing.repair`): its work is
saved by those who do so, its tenant pays nothing and loses no retry, and the rest of a gang keeps its nodes.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from leitstand.core import facts as f
from leitstand.core import fleet
from leitstand.core.decision import DIGEST_MAX, ID_MAX, Decision, record, refuse
from leitstand.core.fact import Fact
from leitstand.core.fleet import Health, Node, Report
from leitstand.core.health.table import DRAIN, KINDS, XID, XID_MAX, verdict
from leitstand.core.sharing import keeping
from leitstand.core.units import MINUTE_US

if TYPE_CHECKING:
    from leitstand.core.state import State

REPORTS_MAX: Final = 32  # of one node that are remembered, the latest
AGAIN_US: Final = MINUTE_US  # the same within so long is said once
BURN_IN_MAX_US: Final = 24 * 60 * MINUTE_US


# ── questions ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def is_drained(node: Node) -> bool:
    return node.health is not msgspec.UNSET and node.health.cause is not None


def is_there(node: Node) -> bool:
    """Whether its engine says that it takes runs."""
    return node.in_service or (is_drained(node) and drained(node).is_there)


def drained(node: Node) -> Health:
    """Of a node that is."""
    assert node.health is not msgspec.UNSET, "it is drained"
    assert node.health.cause is not None, "it is drained"
    return node.health


# ── what is reported ──────────────────────────────────────────────────────────────────────────────────────────────────
def report(state: "State", now: int, told: f.NodeReported) -> Decision:
    """The report as it is recorded, and the drain that it leads to. What an engine said before leads to nothing.
    What a person says is always heard: the node may have been returned since."""
    node = state.nodes.get(told.node)
    if node is None:
        return refuse("unknown_node", told.node[:ID_MAX])
    if told.kind not in KINDS:
        return refuse("invalid", f"kind is {told.kind[:ID_MAX]!r}; known: {', '.join(KINDS)}")
    if not (0 < told.code <= XID_MAX if told.kind == XID else told.code == 0):
        return refuse("invalid", f"code is {told.code}; an xid has one in 1..{XID_MAX}, nothing else has one")
    if not -1 <= told.gpu < node.gpus:
        if told.by:
            return refuse("invalid", f"gpu is {told.gpu}; {node.id} has {node.gpus}, numbered from 0")
        told = msgspec.structs.replace(
            told, gpu=-1
        )  # an engine is heard: the node may be another than it was
    if len(told.by) > DIGEST_MAX:
        return refuse("invalid", f"by has more than {DIGEST_MAX} characters")
    at_us = told.at_us or now
    clipped = max(min(at_us, now), 0)
    if not told.by and _is_known(node, told, clipped):
        return record()
    said = msgspec.structs.replace(told, at_us=clipped, skew_us=at_us - clipped)
    if verdict(told.kind, told.code) != DRAIN or is_drained(node):
        return record(said)
    return record(said, f.NodeDrained(node.id, told.kind, told.code, told.gpu))


def _is_known(node: Node, told: f.NodeReported, at_us: int) -> bool:
    """Whether it was reported already, or something newer of that kind, or the same just before."""
    if node.health is msgspec.UNSET:
        return False
    return any(
        one.is_of(told.kind, told.code, told.gpu) and at_us < one.at_us + AGAIN_US
        for one in node.health.reports
    )


# ── how a node comes back ─────────────────────────────────────────────────────────────────────────────────────────────
def repair(state: "State", now: int, asked: f.NodeRepaired) -> Decision:
    """The node is returned, or gets a burn-in, which begins now."""
    node = state.nodes.get(asked.node)
    if node is None:
        return refuse("unknown_node", asked.node[:ID_MAX])
    if not is_drained(node):
        return refuse("conflict", f"node {node.id} is not drained because of its health")
    if drained(node).burn_in:
        return refuse("conflict", f"its burn-in is {drained(node).burn_in}, which runs")
    if not asked.spec:
        return record(asked, f.NodeReturned(node.id), made=node.id)
    if fault := _burn_in_fault(state, node, asked):
        return fault
    job, facts = _burn_in(state, node, asked)
    return record(asked, *facts, made=job)


def _burn_in_fault(state: "State", node: Node, asked: f.NodeRepaired) -> Decision | None:
    if asked.tenant not in state.tenants:
        return refuse("unknown_tenant", asked.tenant[:ID_MAX])
    if state.tenants[asked.tenant].suspended:
        return refuse("conflict", f"tenant {asked.tenant} is suspended: no run of it starts")
    if not 0 < asked.max_duration_us <= BURN_IN_MAX_US:
        return refuse("invalid", f"max_duration_us is {asked.max_duration_us}, not in 1..{BURN_IN_MAX_US}")
    if not drained(node).is_there:
        return refuse("conflict", f"the engine of site {node.site} says that {node.id} is out of service")
    for run in state.runs.values():
        if any(task.node == node.id for task in (*run.tasks, *run.leaving)):
            return refuse("conflict", f"run {run.id} has not left {node.id} yet")
    return None


def _burn_in(state: "State", node: Node, asked: f.NodeRepaired) -> tuple[str, list[Fact]]:
    """A job of the whole node, placed there: the only one that a node out of service takes."""
    job = f"{asked.tenant}-{state.tenants[asked.tenant].jobs + 1}"
    gpus = [gpu for gpu in range(node.gpus) if not node.fixed >> gpu & 1]
    resources = f.Resources(len(gpus), 1, node.cpus_milli, sites=(node.site,))
    submitted = f.JobSubmitted(
        job,
        asked.tenant,
        "default",
        resources,
        asked.by,
        max_duration_us=asked.max_duration_us,
        spec=asked.spec,
        burn_in=node.id,
    )
    charge_milli = keeping.charge_of(state, node.pool, resources)
    admitted = f.JobAdmitted(job, node.pool, asked.max_duration_us, charge_milli)
    return job, [submitted, admitted, f.RunPlaced(f"{job}.1", job, (f.Task.of(node.id, gpus),))]


def ended(job: str, node: str, end: f.JobEnded) -> Fact:
    """What the end of a burn-in makes of its node."""
    if end.state == "succeeded":
        return f.NodeReturned(node, job)
    return f.BurnInFailed(node, job, end.reason, end.exit_code)


# ── apply ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _health(state: "State", node: str) -> tuple[Node, Health]:
    found = state.nodes[node]
    if found.health is msgspec.UNSET:
        found.health = Health()
    return found, found.health


def _reported(state: "State", at: int, fact: f.NodeReported) -> None:
    _, health = _health(state, fact.node)
    others = [one for one in health.reports if not one.is_of(fact.kind, fact.code, fact.gpu)]
    health.reports = [*others, Report(fact.kind, fact.code, fact.gpu, fact.at_us)][-REPORTS_MAX:]


def _drained(state: "State", at: int, fact: f.NodeDrained) -> None:
    node, health = _health(state, fact.node)
    health.cause, health.since_us = Report(fact.kind, fact.code, fact.gpu, at), at
    health.is_there, node.in_service = node.in_service, False
    state.pools[node.pool].withdraw(node.position)


def _repaired(state: "State", at: int, fact: f.NodeRepaired) -> None:
    """What follows says more."""


def _burn_in_failed(state: "State", at: int, fact: f.BurnInFailed) -> None:
    _, health = _health(state, fact.node)
    health.burn_in = ""


def _returned(state: "State", at: int, fact: f.NodeReturned) -> None:
    node, health = _health(state, fact.node)
    node.in_service = health.is_there
    health.cause, health.since_us, health.is_there, health.burn_in = None, 0, True, ""
    fleet.serve(state, node, fleet.held(state))


APPLY: Final[dict[type[Fact], Callable[["State", int, Any], None]]] = {
    f.NodeReported: _reported,
    f.NodeDrained: _drained,
    f.NodeRepaired: _repaired,
    f.BurnInFailed: _burn_in_failed,
    f.NodeReturned: _returned,
}
