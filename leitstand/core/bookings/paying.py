# SPDX-License-Identifier: Apache-2.0
"""What bookings cost: all of their window, whoever runs in it (take or pay). Called when one is decided on and ends."""

from typing import TYPE_CHECKING

from leitstand.core import budgets
from leitstand.core.facts import Parts
from leitstand.core.rules import booking_of

if TYPE_CHECKING:
    from leitstand.core.bookings.booked import Booking
    from leitstand.core.state import State

_WHOLE = 1000


def whole(state: "State", booking: "Booking") -> Parts:
    """What budgets pay for it if it stands to the end, but for what failures took."""
    return budgets.paid(state, booking, _milli_us(booking))


def if_cancelled(state: "State", booking: "Booking", now: int) -> Parts:
    """What they pay if it is cancelled now."""
    rules = booking_of(state.rules)
    if booking.has_begun or now >= booking.from_us:
        return whole(state, booking)
    if now <= booking.from_us - rules.cancel_free_us:
        return ()
    return budgets.paid(state, booking, -(-_milli_us(booking) * rules.cancel_milli // _WHOLE))


def _milli_us(booking: "Booking") -> int:
    """Charge × time of it. What failures took is out of its charge already, from when on it was taken."""
    length_us = booking.until_us - booking.from_us
    return max(booking.booked_milli * length_us - booking.lost_milli_us, 0)


# ── apply ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def hold(state: "State", booking: "Booking", parts: Parts, price_micro_eur: int) -> None:
    """From now on this is reserved for it."""
    known = {one.id: one for one in state.tenants[booking.tenant].budgets}
    for name, amount in parts:
        known[name].reserved += amount
        assert known[name].free >= 0, "a budget is overdrawn"
    booking.reserved, booking.price_micro_eur = parts, price_micro_eur


def spend(state: "State", booking: "Booking", posted: Parts) -> None:
    """It is over: this is posted of what was reserved for it, the rest is void."""
    known = {one.id: one for one in state.tenants[booking.tenant].budgets}
    for name, amount in booking.reserved:
        known[name].reserved -= amount
    for name, amount in posted:
        known[name].posted += amount
        assert known[name].free >= 0, "more is posted than was reserved"
    booking.reserved = ()


def payment(state: "State", booking: "Booking") -> budgets.Payment | budgets.Short:
    """Which budgets can pay all of it."""
    charge = booking.charge_milli if budgets.has_gpus(state, booking.pool) else 0
    need = budgets.Need(charge, booking.until_us - booking.from_us, booking.pool)
    return budgets.reserve(state, state.tenants[booking.tenant], need, booking.from_us)
