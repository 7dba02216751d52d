# SPDX-License-Identifier: Apache-2.0
"""How checks are told and called: before a stored fact is taken up (`@before`), after every cycle that decided
something (`@after`), when all is over (`@end`). `checks`, `shares` and `records` have them; the world calls.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from leitstand.core import facts as f

if TYPE_CHECKING:
    from tests.simulate.world import World


class Broken(Exception):
    """A check failed: its name, and what it saw."""

    def __init__(self, check: str, why: str) -> None:
        super().__init__(f"{check}: {why}")
        self.check = check
        self.why = why


Check = Callable[..., None]
NAMES: Final = [  # raised elsewhere
    "machines_are_not_shared",
    "runs_are_exactly_once",
    "orders_are_durable",
    "stale_writers_are_fenced",
    "the_writer_lives",
    "the_writer_rests",
    "everything_ends",
]
_BEFORE: Final[dict[type, list[Check]]] = {}
_AFTER: Final[list[Check]] = []
_END: Final[list[Check]] = []


def before(*kinds: type) -> Callable[[Check], Check]:
    """Look at each stored fact of these kinds, as it finds the tally."""

    def note(check: Check) -> Check:
        NAMES.append(check.__name__)
        for kind in kinds:
            _BEFORE.setdefault(kind, []).append(check)
        return check

    return note


def after(check: Check) -> Check:
    """Look after every cycle that decided something."""
    NAMES.append(check.__name__)
    _AFTER.append(check)
    return check


def end(check: Check) -> Check:
    """Look when all is over."""
    NAMES.append(check.__name__)
    _END.append(check)
    return check


def before_fact(world: "World", at: int, fact: f.Fact) -> None:
    for check in _BEFORE.get(type(fact), ()):
        check(world, at, fact)
        world.out.looks[check.__name__] += 1


def after_cycle(world: "World") -> None:
    for check in _AFTER:
        check(world)
        world.out.looks[check.__name__] += 1


def at_the_end(world: "World") -> None:
    for check in _END:
        check(world)
        world.out.looks[check.__name__] += 1


def broken(check: Check, why: str) -> Broken:
    return Broken(check.__name__, why)
