# SPDX-License-Identifier: Apache-2.0
"""Bookings that lose nodes: others take their place, or they break by name. Called by the cycle.

Others are looked for in the lowest domain around what is left, at most up to the level that is required: first what is
free throughout, then what runs that may yield would leave. One that has not begun, or of which nothing is left, may
also have other places for all of it. Where there are none the booking is what is left, and pays for that.
"""

from collections.abc import Container, Iterable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from leitstand.core import facts as f
from leitstand.core.bookings.booked import Booking, clearing, notice
from leitstand.core.bookings.finding import Found, Search
from leitstand.core.places.placement import Place
from leitstand.core.places.replacing import in_order, is_enough, replaced

if TYPE_CHECKING:
    from leitstand.core.state import State


def losing(state: "State", nodes: Iterable[str]) -> list[str]:
    """The bookings with places on these nodes."""
    named = dict.fromkeys(nodes)
    return [one.id for one in state.bookings.of.values() if any(task.node in named for task in one.tasks)]


def lose(state: "State", now: int, id: str, nodes: Iterable[str], cause: str) -> list[f.Fact]:
    """What becomes of a booking whose places on these nodes are gone."""
    booking, gone = state.bookings.of[id], dict.fromkeys(nodes)
    if booking.until_us <= now or state.pools[booking.pool].standing is None:
        return []
    kept = tuple(task for task in booking.tasks if task.node not in gone)
    found = _others(state, now, booking, kept)
    if found is None:
        return [f.BookingBroken(id, cause, kept, _part(booking.charge_milli, booking.tasks, kept))]
    yields = [run for run in booking.yields if _stays(state, run, found.tasks)]
    yields += [run for run in found.yields if run not in yields]
    facts: list[f.Fact] = [f.ReservationDropped(job, "replanned") for job in found.drops]
    facts.append(f.BookingMoved(id, cause, found.tasks, tuple(yields)))
    if booking.step != "booked":
        facts += clearing(state, replace(booking, tasks=found.tasks, yields=tuple(yields)))
    return facts


def _others(state: "State", now: int, booking: Booking, kept: tuple[f.Task, ...]) -> Found | None:
    """Places for all of it, among them what is kept if there is room beside that."""
    pool, asked = state.pools[booking.pool], current(booking)
    begin_us = max(booking.from_us, now)
    search = Search(state, now, replace(booking, resources=asked, from_us=begin_us))
    leave_us = max(begin_us, now + notice(state))
    for timeline, from_us in ((search.before, begin_us), (search.cleared, leave_us)):
        if from_us >= booking.until_us:
            continue
        if timeline is search.cleared:
            search.clear(from_us)
        view = timeline.later(now, from_us, booking.until_us - from_us, f.PLANNED)
        mine = state.places(kept)
        places: list[Place] | None = [*mine, *replaced(pool, asked, mine, view)] if mine else None
        if places is None or not is_enough(asked, places):
            places = None if mine and booking.has_begun else pool.place(asked, view)
        if places is None:
            continue
        found = search.with_places(in_order(pool, asked, places), from_us)
        if isinstance(found, Found):
            return found
    return None


def current(booking: Booking) -> f.Resources:
    """What it is of now: earlier failures may have left less than was asked."""
    asked, count = booking.resources, len(booking.tasks)
    gpus = sum(task.bits.bit_count() for task in booking.tasks)
    if (asked.nodes and count == asked.nodes) or (not asked.nodes and gpus == asked.gpus):
        return asked
    if not asked.nodes:
        cpus_milli, memory_mib = asked.part(gpus)
        return replace(asked, gpus=gpus, cpus_milli=cpus_milli, memory_mib=memory_mib)
    cpus_milli, memory_mib = asked.part(gpus // count)
    return replace(
        asked,
        gpus=gpus,
        nodes=count,
        cpus_milli=cpus_milli * count,
        memory_mib=memory_mib * count,
        slice_nodes=0,
        slice_level="",
    )


def _part(charge: int, tasks: Iterable[f.Task], kept: Iterable[f.Task]) -> int:
    """What the kept tasks count for of `charge`, rounded up."""
    whole, rest = _size(tasks), _size(kept)
    return -(-charge * rest // whole)


def _size(tasks: Iterable[f.Task]) -> int:
    tasks = list(tasks)
    return sum(task.bits.bit_count() for task in tasks) or len(tasks)


def _stays(state: "State", run: str, tasks: Iterable[f.Task]) -> bool:
    """Whether a run that was to yield is still in its place."""
    held: Container[str] = {task.node: None for task in tasks}
    return run in state.runs and any(task.node in held for task in state.runs[run].tasks)
