# SPDX-License-Identifier: Apache-2.0
"""The jobs in a booking: whether one could ever run in it, and who starts. Called by admission, the cycle and
explanations.

In a booking there are no shares and no reservations: by priority, then age, who fits starts, who does not is passed
over. Nobody from outside comes in, nobody is taken.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from leitstand.core import facts as f
from leitstand.core.bookings.booked import Booking, amounts, left, shared_in
from leitstand.core.places.placement import tasks_of
from leitstand.core.places.steps import Amount
from leitstand.core.places.window import View

if TYPE_CHECKING:
    from leitstand.core.jobs import Job
    from leitstand.core.state import State

JOBS_MAX: Final = 1_000  # that name one booking and have not ended


# ── could it ever run ─────────────────────────────────────────────────────────────────────────────────────────────────
def named(state: "State", asked: f.SubmitJob) -> Booking | None:
    """The booking that the submission names; None if there is none of that name for its project, or no longer."""
    booking = state.bookings.of.get(asked.booking)
    return booking if booking is not None and booking.is_for(asked.tenant, asked.project) else None


def lacking(state: "State", booking: Booking, asked: f.Resources) -> tuple[int, int, str] | None:
    """(asked, limit, resource) of what the whole booking lacks for the shape; None: it could hold it."""
    whole = amounts(state, booking)
    if asked.mig:
        return 0, 0, "mig"  # a booking has whole GPUs
    if state.pools[booking.pool].place(asked, _view(state, booking, whole)) is not None:
        return None
    gpus = sum(amount[0] for amount in whole.values())
    largest = max((amount[0] for amount in whole.values()), default=0)
    cpus_milli = sum(amount[1] for amount in whole.values())
    memory_mib = sum(amount[2] for amount in whole.values())
    for wanted, limit, resource in (
        (asked.gpus, gpus, "gpus"),
        (asked.gpus // max(asked.nodes, 1) if asked.nodes else 0, largest, "gpus_per_node"),
        (asked.cpus_milli, cpus_milli, "cpus_milli"),
        (asked.memory_mib, memory_mib, "memory_mib"),
        (asked.nodes, len(whole), "nodes"),
    ):
        if wanted > limit:
            return wanted, limit, resource
    return asked.nodes, 0, "level" if asked.level or asked.slice_nodes else ""


# ── who starts ────────────────────────────────────────────────────────────────────────────────────────────────────────
def start(state: "State", now: int, emit: Callable[[f.Fact], None]) -> None:
    """Whoever can start in a booking that has begun, does."""
    inside = state.inside
    for id in list(inside.awake):
        booking = state.bookings.of.get(id)
        if booking is not None and booking.step == "begun" and not _start_in(state, booking, now, emit):
            continue  # the pace allows no more now
        inside.awake.pop(id, None)


def next_time(state: "State", now: int) -> int | None:
    """When the pace that the rules set allows another start, if somebody waits for that."""
    if state.paced_us <= now or not any(id in state.inside.waiting for id in state.inside.awake):
        return None
    return state.paced_us


def in_order(state: "State", booking: str) -> list["Job"]:
    """Who waits in it, by priority, then age."""
    jobs = [state.jobs[id] for id in state.inside.waiting.get(booking, ())]
    return sorted(jobs, key=lambda job: (-job.priority, job.submitted_us, job.number))


def free(state: "State", booking: Booking) -> View:
    """What its jobs leave of it, of that what is there now: a node of it may be gone, or not yet free."""
    return _view(state, booking, left(state, booking), shared_in(state, booking))


def _start_in(state: "State", booking: Booking, now: int, emit: Callable[[f.Fact], None]) -> bool:
    """False: the pace forbids more starts now."""
    pool = state.pools[booking.pool]
    failed: dict[f.Resources, None] = {}
    for job in in_order(state, booking.id):
        if job.resources in failed:
            continue
        if state.rules.sharing.start_interval_us and state.paced_us > now:
            return False
        view = free(state, booking)
        places = pool.place(job.resources, view)
        if places is None:
            failed[job.resources] = None
            continue
        tasks = tasks_of(places, view, pool.names, job.resources.gpu_milli)
        emit(f.RunPlaced(f"{job.id}.{job.runs + 1}", job.id, tasks))
    return True


def _view(
    state: "State", booking: Booking, have: Mapping[int, Amount], shared: Mapping[int, int] | None = None
) -> View:
    """These amounts as something to look for places in. `shared`: those GPUs, of which the thousandths are free that
    are free now, and no more than is there now; None: as if nothing ran."""
    pool = state.pools[booking.pool]
    there = pool.whole if shared is None else pool.free
    serving = 0
    for nodes in there.levels:
        serving |= nodes
    count = len(pool.names)
    gpus, cpus_milli, memory_mib = [0] * count, [0] * count, [0] * count
    levels = [0] * (max((amount[0] for amount in have.values()), default=0) + 1)
    for position, amount in have.items():
        if not serving >> position & 1:
            continue
        gpus[position] = _lowest(there.gpus[position], amount[0])
        cpus_milli[position] = min(amount[1], there.cpus_milli[position])
        memory_mib[position] = min(amount[2], there.memory_mib[position])
        levels[gpus[position].bit_count()] |= 1 << position
    view = View(len(levels) - 1, levels, (gpus, cpus_milli, memory_mib))
    if shared:
        view.shared = {
            position: {
                index: milli for index, milli in there.shared.get(position, {}).items() if bits >> index & 1
            }
            for position, bits in shared.items()
            if serving >> position & 1
        }
    return view


def _lowest(mask: int, count: int) -> int:
    """The lowest `count` bits of a mask, or all that it has."""
    found = 0
    for _ in range(min(count, mask.bit_count())):
        low = mask & -mask
        found |= low
        mask ^= low
    return found
