# SPDX-License-Identifier: Apache-2.0
"""Decides on bookings: what is made, what is refused and why. Called by the cycle, and by the API for what a booking
would meet."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from leitstand.core import facts as f
from leitstand.core.admission import GPUS_MAX, NODES_MAX
from leitstand.core.bookings import booked, paying
from leitstand.core.bookings.booked import Booking
from leitstand.core.bookings.finding import Lack, earliest, find
from leitstand.core.budgets import Short
from leitstand.core.choosing.options import options
from leitstand.core.decision import DIGEST_MAX, ID_MAX, Answer, Decision, record, refuse
from leitstand.core.fact import Fact
from leitstand.core.places.fit import positions_of
from leitstand.core.places.siting import allowed
from leitstand.core.rules import BOOKINGS_MAX, booking_of
from leitstand.core.sharing import keeping
from leitstand.core.sharing.entitlements import node_of
from leitstand.core.sharing.granting import shown
from leitstand.core.tenancy import WORKING
from leitstand.core.units import SECOND_US

if TYPE_CHECKING:
    from leitstand.core.state import State

PROJECTS_MAX: Final = 64  # beside its own that one booking names
BYTES_MAX: Final = 60 * 1024  # of one booking in the journal: a fact has 64 KiB


class Outcome(NamedTuple):
    """What becomes of what is asked. `booking`: as it would be made; `facts`: to record, none if it cannot be had;
    `why`: then why, times in µs, as `N µs`; `earliest_us`: from when on it can be had, None: not known."""

    booking: Booking
    facts: tuple[Fact, ...] = ()
    why: str = ""
    earliest_us: int | None = None


def book(state: "State", now: int, asked: f.BookingMade) -> Decision:
    """Asked again with the same `request`, it is the one that was made."""
    made = known(state, asked)
    if made is not None:
        if made.request_digest != asked.request_digest:
            return refuse("request_reused", made.id)
        return Decision((), Answer(made.id))
    if fault := tenant_fault(state, asked):
        return refuse(*fault)
    wanted = wanted_at(state, now, asked)
    if faults := booking_faults(state, now, wanted):
        return refuse("invalid", "; ".join(faults))
    if busy := too_many(state, asked.tenant):
        return refuse("busy", busy)
    found = outcome(state, now, wanted)
    if not found.facts:
        return refuse("conflict", found.why)
    return Decision(found.facts, Answer(wanted.booking))


def cancel(state: "State", now: int, asked: f.BookingCancelled) -> Decision:
    """Before it begins it is not to be; later it ends now."""
    booking = state.bookings.of.get(asked.booking)
    if booking is None:
        return refuse("unknown_booking", asked.booking[:ID_MAX])
    posted = paying.if_cancelled(state, booking, now)
    end = f.BookingCancelled(booking.id, asked.by, posted)
    return record(*booked.ending(state, booking, end), made=booking.id)


DECIDE: Final[dict[type, Callable[["State", int, Any], Decision]]] = {
    f.BookingMade: book,
    f.BookingCancelled: cancel,
}


# ── what is asked ─────────────────────────────────────────────────────────────────────────────────────────────────────
def soonest_us(state: "State", now: int) -> int:
    """The earliest begin: whoever has to leave was protected, saves his work and is stopped before."""
    return now + state.rules.sharing.until_freed_us


def wanted_at(state: "State", now: int, asked: f.BookingMade) -> f.BookingMade:
    """The same with an id, and with a begin if none was named; what only the core says is left out."""
    return f.BookingMade(
        f"r{state.bookings.made + 1}",
        asked.tenant,
        asked.project,
        asked.resources,
        asked.from_us or soonest_us(state, now),
        asked.until_us,
        asked.projects,
        asked.release_idle_us,
        asked.by,
        asked.request,
        asked.request_digest,
        asked.pool,
    )


def tenant_fault(state: "State", asked: f.BookingMade) -> tuple[str, str] | None:
    """Why the tenant can book nothing at all: as `refuse` has it."""
    tenant = state.tenants.get(asked.tenant)
    if tenant is None:
        return "unknown_tenant", asked.tenant[:ID_MAX]
    for project in (asked.project, *asked.projects[: PROJECTS_MAX + 1]):
        if project not in tenant.projects:
            return "unknown_project", project[:ID_MAX]
    if tenant.stage not in WORKING:
        return "conflict", f"tenant {tenant.id} is in the stage {tenant.stage} of its exit"
    if tenant.suspended:
        return "conflict", f"tenant {tenant.id} is suspended"
    if not tenant.projects[asked.project]:
        return "conflict", f"project {asked.project} is closed"
    return None


def booking_faults(state: "State", now: int, asked: f.BookingMade) -> list[str]:
    """What is wrong with what is asked, by itself. `asked` has a begin."""
    if state.rules.discipline != "fair":
        return [f"the discipline {state.rules.discipline} knows no bookings: only `fair` does"]
    rules, sharing = booking_of(state.rules), state.rules.sharing
    faults = _shape_faults(asked.resources)
    soonest, latest = soonest_us(state, now), now + rules.lead_max_us
    if not soonest <= asked.from_us <= latest:
        took = f"whoever is in its place has {sharing.until_freed_us / SECOND_US:g} s to leave"
        faults.append(f"a begin at {asked.from_us} µs is not in {soonest} µs..{latest} µs: {took}")
    shortest, longest = asked.from_us + sharing.until_freed_us + 1, asked.from_us + rules.length_max_us
    if not shortest <= asked.until_us <= longest:
        faults.append(f"an end at {asked.until_us} µs is not in {shortest} µs..{longest} µs")
    if not 0 <= asked.release_idle_us <= rules.length_max_us:
        faults.append(f"release_idle_us is {asked.release_idle_us}, not in 0..{rules.length_max_us}")
    if len(asked.projects) > PROJECTS_MAX:
        faults.append(f"{len(asked.projects)} other projects; the limit is {PROJECTS_MAX}")
    if asked.pool and asked.pool not in state.pools:
        faults.append(f"there is no pool {asked.pool[:ID_MAX]!r}")
    return faults


def _shape_faults(asked: f.Resources) -> list[str]:
    faults = []
    for amount, most, name in ((asked.gpus, GPUS_MAX, "gpus"), (asked.nodes, NODES_MAX, "nodes")):
        if not 0 <= amount <= most:
            faults.append(f"{name} is {amount}, not in 0..{most}")
    if min(asked.cpus_milli, asked.memory_mib) < 0:
        faults.append("an amount of CPU or memory is below 0")
    if asked.gpu_milli or asked.mig or asked.nodes_max:
        faults.append("a booking is of whole GPUs, and of one size: its jobs may take parts of them")
    if asked.nodes and any(
        amount % asked.nodes for amount in (asked.gpus, asked.cpus_milli, asked.memory_mib)
    ):
        faults.append(f"an amount does not divide by {asked.nodes} nodes")
    if not (asked.gpus or asked.cpus_milli):
        faults.append("it asks for no GPU and no CPU")
    group = asked.slice_nodes
    if bool(group) != bool(asked.slice_level) or (
        group and (group < 0 or not asked.nodes or asked.nodes % group)
    ):
        faults.append(f"slices of {group} do not divide {asked.nodes} nodes, or name no level")
    named = (asked.gpu_type, asked.level, asked.prefer, asked.slice_level, asked.jurisdiction, *asked.sites)
    if any(len(name) > DIGEST_MAX for name in named) or len(asked.sites) > f.SITES_MAX:
        faults.append(
            f"a name has more than {DIGEST_MAX} characters, or there are more than {f.SITES_MAX} sites"
        )
    return faults


def too_many(state: "State", tenant: str) -> str:
    """Which limit of bookings is reached, '' if none is."""
    most, mine = booking_of(state.rules).bookings_max, state.bookings.of.values()
    if sum(one.tenant == tenant for one in mine) >= most:
        return f"{most} bookings of a tenant that are not over"
    return f"{BOOKINGS_MAX} bookings of all tenants" if len(mine) >= BOOKINGS_MAX else ""


def known(state: "State", asked: f.BookingMade) -> Booking | None:
    """The booking that was made for the same request, as long as it is not over."""
    if not asked.request:
        return None
    return next((one for one in state.bookings.of.values() if one.request == asked.request), None)


# ── what becomes of it ────────────────────────────────────────────────────────────────────────────────────────────────
def outcome(state: "State", now: int, wanted: f.BookingMade) -> Outcome:
    """In the first pool that has room for it; where none has, in that which has room first. `wanted` has no fault."""
    shape = wanted.resources
    leaf = node_of(state.tenants[wanted.tenant], wanted.project)
    best: Outcome | None = None
    for name in state.pools:
        keeping.refresh(state, name, now)
    found = options(state, leaf, [shape])
    for option in found.options:
        if (wanted.pool and option.pool != wanted.pool) or state.pools[option.pool].delegated:
            continue
        made = _in_pool(state, now, msgspec.structs.replace(wanted, pool=option.pool))
        if made.facts:
            return made
        if best is None or _sooner(made, best):
            best = made
    if best is not None:
        return best
    if any(wanted.pool in ("", option.pool) for option in found.options):
        return Outcome(_booking(wanted), why="only a delegated site could hold it, whose queue books nothing")
    mine = [one for one in found.lacks if one.pool == wanted.pool]
    lack = mine[0] if mine else found.furthest()
    if lack.reason == "entitlement":
        most = shown(lack.limit)
        why = f"pool {lack.pool}: it counts for {shown(lack.asked)}, and {leaf} may never use more than {most} at once"
        return Outcome(_booking(wanted), why=why)
    what = f"asked {lack.asked} of {lack.resource or 'its shape'}, there are {lack.limit}"
    why = f"pool {lack.pool}: {lack.reason}, {what}"
    return Outcome(_booking(wanted), why=f"no fleet of this kind could ever hold it ({why})")


def _sooner(one: Outcome, other: Outcome) -> bool:
    return one.earliest_us is not None and (other.earliest_us is None or one.earliest_us < other.earliest_us)


def _in_pool(state: "State", now: int, wanted: f.BookingMade) -> Outcome:
    shape = with_slice(state, wanted.pool, wanted.resources)
    charge = keeping.charge_of(state, wanted.pool, shape)
    wanted = msgspec.structs.replace(wanted, resources=shape, charge_milli=charge)
    booking = _booking(wanted)
    if not state.pools[wanted.pool].could_hold(shape):
        return Outcome(
            booking, why=f"pool {wanted.pool} could never hold it with the CPU and memory of its GPUs"
        )
    payment = paying.payment(state, booking)
    if isinstance(payment, Short):
        return Outcome(booking, why=_unpaid(payment))
    found = find(state, now, booking)
    if isinstance(found, Lack):
        soonest = earliest(state, now, booking)
        return Outcome(booking, why=_told(found, wanted, soonest), earliest_us=soonest)
    made = msgspec.structs.replace(
        wanted,
        tasks=found.tasks,
        yields=found.yields,
        reserved=payment.parts,
        price_micro_eur=payment.price_micro_eur,
    )
    size = len(msgspec.json.encode(made))
    if size > BYTES_MAX:
        why = f"it has {size} bytes with its nodes and with the runs that yield; the limit is {BYTES_MAX}: book less"
        return Outcome(booking, why=why)
    drops = tuple(f.ReservationDropped(job, "replanned") for job in found.drops)
    return Outcome(_booking(made), (*drops, made))


def with_slice(state: "State", pool: str, asked: f.Resources) -> f.Resources:
    """With the CPU and memory that come with its GPUs, if it names neither: the least of any node that it may have."""
    if not asked.gpus or asked.cpus_milli or asked.memory_mib:
        return asked
    whole = state.pools[pool].whole
    within = allowed(asked, state.pools[pool].topology)
    serving = 0
    for nodes in whole.levels[1:]:
        serving |= nodes
    cpus, memory = [], []
    for position in positions_of(serving & within):
        gpus = whole.gpus[position].bit_count()
        if gpus * max(asked.nodes, 1) >= asked.gpus or not asked.nodes:
            cpus.append(max(whole.cpus_milli[position], 0) // gpus)
            memory.append(max(whole.memory_mib[position], 0) // gpus)
    return msgspec.structs.replace(
        asked, cpus_milli=min(cpus, default=0) * asked.gpus, memory_mib=min(memory, default=0) * asked.gpus
    )


def _booking(wanted: f.BookingMade) -> Booking:
    return Booking(
        wanted.booking,
        0,
        wanted.tenant,
        wanted.project,
        wanted.projects,
        wanted.pool,
        wanted.resources,
        wanted.charge_milli,
        wanted.from_us,
        wanted.until_us,
        wanted.tasks,
        wanted.yields,
        wanted.release_idle_us,
        wanted.by,
        reserved=wanted.reserved,
        price_micro_eur=wanted.price_micro_eur,
        booked_milli=wanted.charge_milli,
    )


def _told(lack: Lack, wanted: f.BookingMade, soonest: int | None) -> str:
    """Why it cannot be had, in words."""
    if lack.milli:
        what = f"at {lack.at_us} µs {shown(lack.milli)} more would be guaranteed, promised or booked than"
        most = f"{lack.node} may use with what it may borrow" if lack.node else "are there, less the spare"
        why = f"pool {wanted.pool}: {what} {most}"
    elif lack.yields:
        why = f"{lack.yields} runs would have to end for it: book less, or another time"
    else:
        asked = wanted.resources
        shape = f"{asked.gpus} GPUs" + (f" on {asked.nodes} nodes" if asked.nodes else "")
        why = (
            f"pool {wanted.pool}: there is no place for {shape} beside what is promised, booked, guaranteed or in "
            "maintenance"
        )
    if soonest is None:
        return f"{why}; no later time was found at which it can be had"
    return f"{why}; it can be had from {soonest} µs on"


def _unpaid(short: Short) -> str:
    unit = "GPU·µs" if short.resource == "gpu_us" else "millionths of a euro"
    return f"it costs {short.asked} {unit}, and budgets that last until its end have {short.limit} left"
