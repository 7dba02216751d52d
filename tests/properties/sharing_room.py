# SPDX-License-Identifier: Apache-2.0
"""Room on machines over time in the model of sharing: whether bookings fit, and where, by search. Called by the model's
acts, its simulator and the property tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

from tests.properties.sharing_model import Job, Places, Run, Steps, at


@dataclass(frozen=True)
class Booking:
    """Something that takes room from a time to a time, at places or, with `tasks`, wherever it fits."""

    start: int
    end: int
    places: Places = ()
    tasks: int = 0
    each: int = 0


def booked(run: Run) -> Booking:
    """A run's room."""
    return Booking(run.start, run.end, run.places)


def wished(job: Job, start: int) -> Booking:
    """Room for a job from `start` on."""
    return Booking(start, start + job.limit, (), job.tasks, job.charge // job.tasks)


def arrange(
    machines: Mapping[str, Steps], bookings: Sequence[Booking], window: tuple[int, int]
) -> list[Places] | None:
    """Places for all bookings so that no machine is oversold within the window, or None. Those without places of their
    own are put where they fit, by search."""
    return _arranged(tuple(sorted(machines.items())), tuple(bookings), window)


def arrange_all(
    machines: Mapping[str, Steps], bookings: Sequence[Booking], extra: Booking, window: tuple[int, int]
) -> list[Places] | None:
    """Places for `extra`, first, within its window, and for all bookings over *all* their time, as far as there are
    any even without it. Mended: places that fit as long as one job runs need not fit together afterwards."""
    last = max([window[1], *(b.end for b in bookings if b.tasks)])
    whole = (min([window[0], *(b.start for b in bookings if b.tasks)]), last)
    if arrange(machines, bookings, whole) is not None:
        return arrange(machines, [extra, *bookings], whole)
    return arrange(machines, [extra, *bookings], window)


@lru_cache(maxsize=50_000)
def _arranged(
    machines: tuple[tuple[str, Steps], ...], bookings: tuple[Booking, ...], window: tuple[int, int]
) -> list[Places] | None:
    first, last = window
    inside = [b for b in bookings if b.start < last and b.end > first]
    times = sorted(
        {max(first, b.start) for b in inside}
        | {first}
        | {t for _, s in machines for t, _ in s if first < t < last}
    )
    free = {(name, t): at(steps, t) for name, steps in machines for t in times}

    def take(b: Booking, places: Places, sign: int) -> bool:
        for name, gpus in places:
            for t in times:
                if b.start <= t < b.end:
                    free[name, t] -= sign * gpus
        return all(free[name, t] >= 0 for name, _ in places for t in times if b.start <= t < b.end)

    # Only what somebody is to be put on must not be oversold: what is fixed and oversold elsewhere is not our doing.
    for b in bookings:
        if not b.tasks:
            take(b, b.places, 1)
    loose = [b for b in bookings if b.tasks]
    names = [name for name, _ in machines]

    def search(k: int) -> list[Places] | None:
        if k == len(loose):
            return []
        b = loose[k]
        for chosen in combinations(names, b.tasks):
            places = tuple((name, b.each) for name in chosen)
            if take(b, places, 1) and (rest := search(k + 1)) is not None:
                return [places, *rest]
            take(b, places, -1)
        return None

    placed = search(0)
    if placed is None:
        return None
    found = iter(placed)
    return [next(found) if b.tasks else b.places for b in bookings]
