# SPDX-License-Identifier: Apache-2.0
"""What a window would meet: who is told to end for it, which promises move, what forbids it, and from when on nothing
does. A pure reading: called to decide on a window, and by the API to show it beforehand.

A promise on a node of the window moves to other nodes at the same start, all of them together: by start, then the
largest first, then with all other promises of the pool. A window that closes so much that a promise could not be kept
although every guarantee is called (`promises`), or that guarantees do not fit (`scale` accepts that), is forbidden.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from leitstand.core.facts import PLANNED, Resources, Task
from leitstand.core.maintenance.windows import Window, by_pool, notice, outlasting
from leitstand.core.places.cutting import Asker, by_position, tasks_held
from leitstand.core.places.placement import Place
from leitstand.core.places.steps import INFINITY
from leitstand.core.places.timeline import Reservation, Timeline
from leitstand.core.sharing.entitlements import contracts_of, times
from leitstand.core.sharing.granting import promised_at
from leitstand.core.sharing.promises import bounds, stands
from leitstand.core.sharing.standing import parts_of

if TYPE_CHECKING:
    from leitstand.core.fleet import Pool
    from leitstand.core.state import State

MOVES_MAX: Final = 256  # promises on the nodes of a window for which other places are looked for
JOINT_MAX: Final = 64  # promises of a pool up to which all of them are placed anew
DATES_MAX: Final = 16  # begins that are tried to name a free one


class Move(msgspec.Struct, frozen=True):
    """A promise that keeps its start, on other nodes."""

    job: str
    start_us: int
    tasks: tuple[Task, ...]


class Excess(msgspec.Struct, frozen=True):
    """At `at_us` this is guaranteed in the pool, charges; the window leaves so much, less the spare."""

    pool: str
    guaranteed: int
    left: int
    at_us: int


class Meeting(msgspec.Struct, frozen=True):
    """`stops`: runs that are told to end; `moves`; `drops`: jobs whose plan or claim goes. What forbids it: `broken`,
    jobs whose promise could not be kept; `pinned`, runs whose start was promised and that cannot go yet; `excess`, more
    is guaranteed than is left; `overlaps`, windows on the same nodes; `booked`, bookings there (in an emergency they
    move or break). `ends`: when something of that is over."""

    stops: tuple[str, ...] = ()
    moves: tuple[Move, ...] = ()
    drops: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    pinned: tuple[str, ...] = ()
    excess: tuple[Excess, ...] = ()
    overlaps: tuple[str, ...] = ()
    booked: tuple[str, ...] = ()
    ends: tuple[int, ...] = ()

    @property
    def free(self) -> bool:
        """Whether nothing forbids the window."""
        return not (self.broken or self.pinned or self.excess or self.overlaps or self.booked)


def meet(state: "State", now: int, window: Window) -> Meeting:
    """What the window, which is not there yet, would meet if it were planned at `now` (µs)."""
    found = [_of_pool(state, name, (now, window)) for name in by_pool(state, window.nodes)]
    stops, pinned, ends = _of_runs(state, now, window)
    overlaps = () if window.emergency else _overlaps(state, window)
    ends += [until for one in overlaps if (until := state.maintenance.windows[one].until_us)]
    booked = _booked(state, window)
    ends += [state.bookings.of[one].until_us for one in booked]
    return Meeting(
        stops,
        tuple(move for one in found for move in one.moves),
        tuple(job for one in found for job in one.drops),
        tuple(job for one in found for job in one.broken),
        pinned,
        tuple(excess for one in found for excess in one.excess),
        overlaps,
        booked,
        tuple(sorted({*ends, *(end for one in found for end in one.ends)})),
    )


def earliest(state: "State", now: int, window: Window, met: Meeting) -> int | None:
    """From when on the window, which met so much, meets nothing that forbids it, if it is as long; None: no such time
    was found among the DATES_MAX first at which something that forbids it is over."""
    ends = {end for end in met.ends if end > window.from_us}
    for _ in range(DATES_MAX):
        if not ends:
            return None
        start_us = min(ends)
        later = msgspec.structs.replace(
            window,
            from_us=start_us,
            until_us=window.until_us and start_us + window.until_us - window.from_us,
        )
        again = meet(state, now, later)
        if again.free:
            return start_us
        ends = {end for end in ends.union(again.ends) if end > start_us}
    return None


def _of_runs(state: "State", now: int, window: Window) -> tuple[tuple[str, ...], tuple[str, ...], list[int]]:
    """The runs that are told to end, of them those that cannot be yet, and when they can."""
    runs = outlasting(state, window)
    notice_us = notice(state)
    pinned = [
        run for run in runs if not window.emergency and run.pinned_us > max(now, window.from_us - notice_us)
    ]
    ends = [run.pinned_us + notice_us for run in pinned]
    return tuple(run.id for run in runs), tuple(run.id for run in pinned), ends


def _overlaps(state: "State", window: Window) -> tuple[str, ...]:
    from_us, until_us = window.span
    nodes = dict.fromkeys(window.nodes)
    return tuple(
        other.id
        for other in state.maintenance.windows.values()
        if other.span[0] < until_us and other.span[1] > from_us and any(node in nodes for node in other.nodes)
    )


def _booked(state: "State", window: Window) -> tuple[str, ...]:
    """Bookings of its nodes for a time in it."""
    from_us, until_us = window.span
    nodes = dict.fromkeys(window.nodes)
    return tuple(
        one.id
        for one in state.bookings.of.values()
        if one.from_us < until_us and one.until_us > from_us and any(task.node in nodes for task in one.tasks)
    )


# ── one pool ──────────────────────────────────────────────────────────────────────────────────────────────────────
def _of_pool(state: "State", name: str, planned: tuple[int, Window]) -> Meeting:
    if state.pools[name].standing is None:
        return Meeting()
    trial = _Trial(state, name, planned)
    affected = trial.affected()
    promises = [made for made in affected if made.kind == "promise"]
    moved, broken = trial.move(promises)
    left = [made.job for made in affected if made.kind != "promise"]
    endangered, excess = trial.endangered(), trial.excess()
    ends = [made.until_us for made in broken]
    ends += trial.contract_times() if excess else []
    for job in endangered:
        ends += [known.until_us] if (known := trial.timeline.reservation(job)) else []
    return Meeting(
        moves=tuple(Move(job, start_us, tasks) for job, start_us, _, tasks in moved),
        drops=(*left, *trial.crowded_out(moved, left)),
        broken=tuple(dict.fromkeys([*(made.job for made in broken), *endangered])),
        excess=excess,
        ends=tuple(end for end in ends if end < INFINITY),
    )


_Moved = tuple[str, int, list[Place], tuple[Task, ...]]


class _Trial:
    """The pool with the window in it."""

    def __init__(self, state: "State", name: str, planned: tuple[int, Window]) -> None:
        self.state, self.name = state, name
        self.now, self.window = planned
        self.pool: Pool = state.pools[name]
        assert self.pool.standing is not None, "the discipline is fair"
        self.tree = self.pool.standing.tree
        self.mask = 0
        self.closures = self.pool.closures.copy()
        positions = by_pool(state, self.window.nodes)[name]
        for position in positions:
            self.mask |= 1 << position
        self.closures.put(self.window.id, positions, self.window.span)
        self.timeline = self.pool.standing.timeline.copy(self.closures)
        for run in outlasting(state, self.window):
            if state.jobs[run.job].pool == name:
                gone_us = self.now + notice(state) if self.window.emergency else self.window.from_us
                self.timeline.until(run.id, gone_us)

    def affected(self) -> list[Reservation]:
        """What is reserved on its nodes for a time in it, in the order of their starts."""
        from_us, until_us = self.window.span
        found = []
        for job in self.state.reservations:
            made = self.timeline.reservation(job)
            if made is None or not any(self.mask >> position & 1 for position, _ in made.places):
                continue
            late_us = max(self.now - made.from_us, 0)  # a start that is overdue moves on
            if made.from_us + late_us < until_us and made.until_us + late_us > from_us:
                found.append(made)
        return sorted(found, key=lambda made: (made.from_us, made.number))

    def move(self, promises: list[Reservation]) -> tuple[list[_Moved], list[Reservation]]:
        """Places for all of them at their starts, and those for which there are none."""
        if not promises or len(promises) > MOVES_MAX:
            return [], promises
        every = [made for job in self.state.reservations if (made := self._promise(job)) is not None]
        tried = []
        for order in (promises, sorted(promises, key=self._size)):
            moved, failed = self._place(order)
            if not failed:
                return moved, []
            tried.append((moved, failed))
        if len(promises) < len(every) <= JOINT_MAX:
            moved, failed = self._place(sorted(every, key=self._size))
            if not failed:
                known = {made.job: made.places for made in every}
                return [one for one in moved if tuple(one[2]) != known[one[0]]], []
        return min(tried, key=lambda found: len(found[1]))

    def _promise(self, job: str) -> Reservation | None:
        made = self.timeline.reservation(job)
        return made if made is not None and made.kind == "promise" else None

    def _size(self, made: Reservation) -> tuple[int, int, int]:
        return -self.state.jobs[made.job].charge_milli, made.from_us, made.number

    def _place(self, order: list[Reservation]) -> tuple[list[_Moved], list[Reservation]]:
        timeline = self.timeline.copy(self.closures)
        moved: list[_Moved] = []
        failed: list[Reservation] = []
        for made in order:
            timeline.release(made.job)
        for made in order:
            asked, start_us = self.state.jobs[made.job].resources, max(made.from_us, self.now)
            found = timeline.earliest(
                asked,
                self.now,
                made.until_us - made.from_us,
                lambda view, asked=asked: self.pool.place(asked, view),  # type: ignore[misc]
                ignore=PLANNED,
                where=self.pool.where(asked),
                after_us=start_us,
            )
            if found is None or found[0] != start_us:
                failed.append(made)
                continue
            places = found[1]
            parts = parts_of(asked, places)
            span = (made.from_us, made.until_us)
            asker = Asker(self.now, start_us, made.until_us, made.job, PLANNED)
            tasks = tasks_held(timeline, asked, places, self.pool.names, asker)
            _promise(timeline, made.job, asked, (places, parts, tasks), span)
            moved.append((made.job, made.from_us, places, tasks))
        return moved, failed

    def crowded_out(self, moved: Sequence[_Moved], left: Iterable[str]) -> list[str]:
        """Plans for which the places of moved promises leave no room, the latest first."""
        timeline = self.timeline
        for job in left:
            timeline.release(job)
        for job, _, places, tasks in moved:
            asked, made = self.state.jobs[job].resources, timeline.reservation(job)
            assert made is not None, "it was moved"
            held = places, parts_of(asked, places), tasks
            _promise(timeline, job, asked, held, (made.from_us, made.until_us))
        gone: list[str] = []
        for position in dict.fromkeys(position for _, _, places, _ in moved for position, _ in places):
            plans = [job for job in timeline.on(position) if self.state.reservations[job].kind in PLANNED]
            while plans and position in timeline.oversold(self.now):
                gone.append(plans.pop())
                timeline.release(gone[-1])
        return gone

    # ── amounts ───────────────────────────────────────────────────────────────────────────────────────────────────
    def endangered(self) -> list[str]:
        """Promises that stand now, but not beside all guarantees with what the window leaves."""
        from_us, until_us = self.window.span
        if self.window.emergency:
            return []
        near = [
            (job, bound)
            for job, bound in bounds(self.state, self.name, self.now).items()
            if bound.from_us < until_us and bound.until_us > from_us
        ]
        held = [bound for _, bound in near]
        for moment in sorted({max(bound.from_us, from_us) for bound in held}):
            before, after = (
                self._whole() - one.lost(self.pool.whole, moment)
                for one in (self.pool.closures, self.closures)
            )
            if stands(self.tree, held, moment, before) and not stands(self.tree, held, moment, after):
                return [
                    job
                    for job, bound in near
                    if bound.from_us <= moment < bound.until_us
                    and (job in self.state.reservations or job in self.state.bookings.of)
                ]
        return []

    def excess(self) -> tuple[Excess, ...]:
        """Whether more is guaranteed at a time in the window than it leaves."""
        if self.window.scale or self.window.emergency:
            return ()
        from_us, until_us = self.window.span
        edges = [edge for span in self.closures.losses(self.pool.whole) for edge in span]
        inside = {edge for edge in (*edges, *self.contract_times()) if from_us < edge < until_us}
        moments = [from_us, *sorted(inside)]
        guaranteed = promised_at(contracts_of(self.state, self.name), moments)
        for at_us, milli in zip(moments, guaranteed, strict=True):
            left = self._whole() - self.closures.lost(self.pool.whole, at_us)
            if milli > max(left, 0):
                return (Excess(self.name, milli, max(left, 0), at_us),)
        return ()

    def contract_times(self) -> list[int]:
        """When contracts or other windows change what there is."""
        losses = self.pool.closures.losses(self.pool.whole)
        return [*times(contracts_of(self.state, self.name)), *(edge for span in losses for edge in span)]

    def _whole(self) -> int:
        """What guarantees share if no node is closed."""
        gpus, cpus_milli, _ = self.pool.amounts()
        return (gpus * 1000 or cpus_milli) - self.state.rules.sharing.spare_milli


def _promise(
    timeline: Timeline,
    job: str,
    asked: Resources,
    held: tuple[list[Place], list[tuple[int, int]], tuple[Task, ...]],
    span: tuple[int, int],
) -> None:
    """Hold places, with their CPU and memory, for a promise in that span."""
    places, parts, tasks = held
    instances = by_position(places, tasks) if asked.mig else None
    timeline.reserve(
        job, "promise", places, parts, *span, asked.gpu_milli, mig=asked.mig, instances=instances
    )
