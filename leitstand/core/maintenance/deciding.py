# SPDX-License-Identifier: Apache-2.0
"""Decides on maintenance windows: what is planned, what is refused and why. Called by the cycle, and by the API for
what a window would do."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from leitstand.core import acts as a
from leitstand.core.decision import Answer, Decision, record, refuse
from leitstand.core.fact import Fact
from leitstand.core.facts import CapacityReserved, PromiseBroken, ReservationDropped, RunStopOrdered
from leitstand.core.maintenance.meeting import Meeting, earliest, meet
from leitstand.core.maintenance.windows import WINDOWS_MAX, Window, nodes_in, notice, window_of
from leitstand.core.rules import SPAN_MAX_US
from leitstand.core.sharing.granting import shown
from leitstand.core.units import SECOND_US

if TYPE_CHECKING:
    from leitstand.core.state import State

NODES_MAX: Final = 500  # that one window names; a domain may have more
DEPTH_MAX: Final = 17  # of a domain: a site and its levels
TOLD_MAX: Final = 10  # of each thing that forbids a window


def plan(state: "State", now: int, asked: a.MaintenancePlanned) -> Decision:
    """`from_us` 0: as soon as everybody can have left, in an emergency now. The fact has times and id."""
    wanted = wanted_at(state, now, asked)
    faults = window_faults(state, now, wanted)
    if faults:
        return refuse("invalid", "; ".join(faults[:TOLD_MAX]))
    if len(state.maintenance.windows) >= WINDOWS_MAX:
        return refuse("busy", f"{WINDOWS_MAX} maintenance windows")
    window = planned_window(state, wanted)
    met = meet(state, now, window)
    if not wanted.emergency and not met.free:
        return refuse("conflict", told(state, met, earliest(state, now, window, met)))
    return Decision(tuple(_facts(state, wanted, met)), Answer(window.id))


def cancel(state: "State", now: int, asked: a.MaintenanceCancelled) -> Decision:
    if asked.window not in state.maintenance.windows:
        return refuse("unknown_maintenance", asked.window[:64])
    return record(asked, made=asked.window)


DECIDE: Final[dict[type, Callable[["State", int, Any], Decision]]] = {
    a.MaintenancePlanned: plan,
    a.MaintenanceCancelled: cancel,
}


def wanted_at(state: "State", now: int, asked: a.MaintenancePlanned) -> a.MaintenancePlanned:
    """The fact that would be recorded: with an id, and with a begin if none was named."""
    begin_us = asked.from_us or (now if asked.emergency else now + notice(state))
    return msgspec.structs.replace(asked, window=f"m{state.maintenance.made + 1}", from_us=begin_us)


def planned_window(state: "State", wanted: a.MaintenancePlanned) -> Window:
    """The window that the fact would make."""
    return window_of(wanted, nodes_in(state, wanted.domain) if wanted.domain else wanted.nodes)


def window_faults(state: "State", now: int, asked: a.MaintenancePlanned) -> list[str]:
    """What is wrong with what is asked, by itself."""
    faults = _where_faults(state, asked)
    if asked.reason not in a.MAINTENANCE:
        faults.append(f"reason is {asked.reason[:64]!r}; known: {', '.join(a.MAINTENANCE)}")
    soonest, latest = now + notice(state), now + SPAN_MAX_US
    if asked.emergency:
        if asked.from_us != now:
            faults.append("an emergency begins now: leave its begin out")
    elif not soonest <= asked.from_us < latest:
        took = f"runs have {notice(state) / SECOND_US:g} s to save their work and stop"
        faults.append(f"a begin at {asked.from_us} µs is not in {soonest} µs..{latest - 1} µs: {took}")
    if asked.until_us and not asked.from_us < asked.until_us <= latest:
        faults.append(f"an end at {asked.until_us} µs is not in {asked.from_us + 1} µs..{latest} µs")
    return faults


def _where_faults(state: "State", asked: a.MaintenancePlanned) -> list[str]:
    if bool(asked.nodes) == bool(asked.domain):
        return ["name either nodes or one domain"]
    if len(asked.nodes) > NODES_MAX:
        return [f"{len(asked.nodes)} nodes; the limit is {NODES_MAX}: name a domain"]
    if len(asked.domain) > DEPTH_MAX:
        return [f"a domain of {len(asked.domain)} levels; the limit is {DEPTH_MAX}"]
    if asked.domain and asked.domain[0] not in state.sites:
        return [f"there is no site {asked.domain[0][:64]!r}"]
    if asked.domain and not nodes_in(state, asked.domain):
        return [f"no node stands in {'/'.join(asked.domain)[:256]!r}"]
    faults = [f"there is no node {node[:64]!r}" for node in asked.nodes if node not in state.nodes]
    if len(dict.fromkeys(asked.nodes)) < len(asked.nodes):
        faults.append("a node is named twice")
    return faults


def _facts(state: "State", wanted: a.MaintenancePlanned, met: Meeting) -> list[Fact]:
    """The window, and what becomes of reservations and, in an emergency, of runs."""
    facts: list[Fact] = [wanted]
    for job in met.broken:
        facts.append(PromiseBroken(job, "maintenance", state.reservations[job].start_us))
        facts.append(ReservationDropped(job, "failed"))
    facts += [ReservationDropped(job, "replanned") for job in met.drops]
    facts += [CapacityReserved(move.job, "promise", move.start_us, move.tasks) for move in met.moves]
    if wanted.emergency:
        facts.append(a.MaintenanceAdvanced(wanted.window, "begun"))
        facts += [RunStopOrdered(run, "maintenance") for run in met.stops]
    return facts


def told(state: "State", met: Meeting, earliest_us: int | None) -> str:
    """What forbids the window, in words; times in µs, as `from N µs on`."""
    said = []
    if met.overlaps:
        said.append(f"nodes of it are in {_some(met.overlaps)} then: cancel that first")
    if met.broken:
        said.append(f"promised starts could not be kept: {_some(met.broken)}")
    if met.booked:
        said.append(f"nodes of it are booked: {_some(met.booked)}")
    if met.pinned:
        said.append(f"runs whose start was promised cannot go yet: {_some(met.pinned)}")
    said += [
        f"pool {one.pool}: {shown(one.guaranteed)} are guaranteed and {shown(one.left)} would be left, less the "
        f"spare, from {one.at_us} µs on: scale the guarantees meanwhile, or close less"
        for one in met.excess
    ]
    if earliest_us is None:
        said.append("no later time was found at which nothing of that is so")
    else:
        said.append(f"nothing forbids it from {earliest_us} µs on")
    return "; ".join(said)


def _some(names: Sequence[str]) -> str:
    more = len(names) - TOLD_MAX
    return ", ".join(names[:TOLD_MAX]) + (f" and {more} more" if more > 0 else "")
