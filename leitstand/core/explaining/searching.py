# SPDX-License-Identifier: Apache-2.0
"""The first of some values for which a test holds. Called by explanations, which look for the smallest change.

A test of the plan need not hold for all values behind the first for which it does: what is covered, what fits and who
comes first may turn. So few values are all tried, one after another. Many are bisected.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

TRIED_MAX: Final = 16  # values that are all tried
T = TypeVar("T")


def first_that(
    values: Sequence[int], test: Callable[[int], T | None], beside: int = TRIED_MAX
) -> tuple[int, T] | None:
    """The first of `values` for which the test gives anything, and what; None: for none. Of more than TRIED_MAX values
    the last has to do; the one that is found by bisection is preferred to all before it but the `beside` next."""
    if len(values) <= TRIED_MAX:
        return _first(values, test)
    best = test(values[-1])
    if best is None:
        return None
    least, most = 0, len(values) - 1
    while least < most:
        middle = (least + most) // 2
        found = test(values[middle])
        if found is None:
            least = middle + 1
        else:
            best, most = found, middle
    return _first(values[max(0, most - beside) : most], test) or (values[most], best)


def _first(values: Sequence[int], test: Callable[[int], T | None]) -> tuple[int, T] | None:
    for value in values:
        found = test(value)
        if found is not None:
            return value, found
    return None
