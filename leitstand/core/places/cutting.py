# SPDX-License-Identifier: Apache-2.0
"""MIG instances over time: who has which instance until when, and from when on. Called by the timeline, and through it
by the plan.

Of partitioned GPUs runs and reservations hold the very instances that facts name. A GPU that is cut as runs need it
counts as held whole until the last of its instances ends, as one that fractions share. A reservation holds so many
whole ones as its tasks need, and at its start takes the instances that are best then; one that begins at once, because
an instance is being freed on a GPU that others stay on, holds that instance.
"""

from bisect import bisect_left, insort
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from leitstand.core.facts import Resources, Task
from leitstand.core.places.placement import Place, counted
from leitstand.core.places.slots import EVERYTHING, NOTHING, Slots, State, reserved

if TYPE_CHECKING:
    from leitstand.core.places.timeline import Timeline

Instance = tuple[int, int]  # GPU, what it takes of it
ENDS_MAX: Final = 256  # times at which instances come free that one question for the earliest start looks at


class Asker(NamedTuple):
    """Who looks from `now` at [from_us, until_us): the reservation of job `own` does not count, nor do reservations of
    the kinds `ignored`, nor runs that are `gone`."""

    now: int
    from_us: int
    until_us: int
    own: str = ""
    ignored: Container[str] = ()
    gone: Container[str] = ()


class _Holder(NamedTuple):
    """A run (`kind` '') or a reservation, on one node."""

    kind: str
    from_us: int
    until_us: int
    slack_us: int
    instances: tuple[Instance, ...]


class Cutting:
    """What is held: `on[position]`, by run or job."""

    def __init__(self) -> None:
        self.on: dict[int, dict[str, _Holder]] = {}
        self._positions: dict[str, tuple[int, ...]] = {}
        self._ends: list[tuple[int, str]] = []  # ascending

    def copy(self) -> "Cutting":
        """Another one that changes on its own."""
        made = Cutting()
        made.on = {position: dict(holders) for position, holders in self.on.items()}
        made._positions, made._ends = dict(self._positions), list(self._ends)
        return made

    # ── change ────────────────────────────────────────────────────────────────────────────────────────────────────
    def hold(
        self,
        who: str,
        instances: Mapping[int, Sequence[Instance]],
        span: tuple[int, int],
        kind: str = "",
        slack_us: int = 0,
    ) -> None:
        """A run, or a reservation of this kind, holds instances (by position) in that span."""
        self.drop(who)
        if not instances:
            return
        self._positions[who] = tuple(instances)
        insort(self._ends, (span[1], who))
        for position, taken in instances.items():
            self.on.setdefault(position, {})[who] = _Holder(kind, *span, slack_us, tuple(taken))

    def until(self, who: str, until_us: int) -> None:
        """It ends sooner or later than said."""
        for position in self._positions.get(who, ()):
            known = self.on[position][who]
            if position == self._positions[who][0]:
                del self._ends[bisect_left(self._ends, (known.until_us, who))]
                insort(self._ends, (until_us, who))
            self.on[position][who] = known._replace(until_us=until_us)

    def drop(self, who: str) -> None:
        """It holds nothing any more."""
        for number, position in enumerate(self._positions.pop(who, ())):
            known = self.on[position].pop(who)
            if not number:
                del self._ends[bisect_left(self._ends, (known.until_us, who))]
            if not self.on[position]:
                del self.on[position]

    # ── questions ─────────────────────────────────────────────────────────────────────────────────────────────────
    def ends(self, from_us: int) -> list[int]:
        """The first ENDS_MAX times after `from_us` at which instances come free, ascending."""
        found: dict[int, None] = {}
        for until_us, _ in self._ends[bisect_left(self._ends, (from_us + 1, "")) :]:
            found[until_us] = None
            if len(found) == ENDS_MAX:
                break
        return list(found)

    def taken(self, position: int, asker: Asker) -> dict[int, int]:
        """By GPU what is taken at a time in the window."""
        found: dict[int, int] = {}
        for who, held in self.on.get(position, _NOBODY).items():
            if self._counts(who, held, asker):
                for gpu, mask in held.instances:
                    found[gpu] = found.get(gpu, 0) | mask
        return found

    def _counts(self, who: str, held: _Holder, asker: Asker) -> bool:
        if not held.kind:  # a run that is past its end counts as ending just after now
            return who not in asker.gone and (asker.from_us <= asker.now or held.until_us > asker.from_us)
        if who == asker.own or held.kind in asker.ignored:
            return False
        until_us = held.until_us
        if held.from_us <= asker.now:  # it is past its start and counts for its whole length
            until_us += max(asker.now - held.from_us - held.slack_us, 0)
        return held.from_us < asker.until_us and until_us > asker.from_us

    def clashes(self, position: int, now: int) -> bool:
        """Whether at some time an instance of the node is held twice: a run is overdue, or others came first."""
        seen: list[tuple[int, int, Instance]] = []
        for held in self.on.get(position, _NOBODY).values():
            from_us, until_us = held.from_us, max(held.until_us, now + 1)
            if held.kind and from_us <= now:
                until_us = held.until_us + max(now - from_us - held.slack_us, 0)
            for gpu, mask in held.instances:
                for since, to, (other, bits) in seen:
                    if gpu == other and mask & bits and since < until_us and from_us < to:
                        return True
                seen.append((from_us, until_us, (gpu, mask)))
        return False

    def lay(self, slots: Slots, asker: Asker, positions: Iterable[int] | None = None) -> None:
        """Set in `slots` what is taken in the window of GPUs that are cut now."""
        for position in self.on if positions is None else positions:
            taken = self.taken(position, asker)
            for gpu, (geometry, used) in slots.gpus.get(position, _NO_GPUS).items():
                if used != EVERYTHING and used != taken.get(gpu, 0):
                    slots.lay(position, gpu, (geometry, taken.get(gpu, 0)))

    def joined(self, position: int, asker: Asker, slots: Slots) -> dict[int, tuple[int, int, bool]]:
        """Of GPUs that are cut as needed and have reserved instances: from when, until when, and whether those and the
        instances of runs there can be on one GPU."""
        runs: dict[int, int] = {}
        found: dict[int, tuple[int, int, bool]] = {}
        for held in self.on.get(position, _NOBODY).values():
            if not held.kind:
                for gpu, mask in held.instances:
                    runs[gpu] = runs.get(gpu, 0) | mask
        for who, held in self.on.get(position, _NOBODY).items():
            if not held.kind or who == asker.own or held.kind in asker.ignored:
                continue
            late_us = max(asker.now - held.from_us - held.slack_us, 0)
            for gpu, mask in held.instances:
                if not slots.is_fixed(position, gpu):
                    from_us, until_us, fits = found.get(gpu, (held.from_us, 0, True))
                    fits = fits and not mask & runs.get(gpu, 0)
                    found[gpu] = min(from_us, held.from_us), max(until_us, held.until_us + late_us), fits
        return found


def shut(slots: Slots, position: int, staying: Container[int] = ()) -> None:
    """GPUs of a node that are cut as runs need it offer nothing, but for those that are `staying` so."""
    for gpu, (geometry, taken) in slots.gpus.get(position, _NO_GPUS).items():
        if not geometry.fixed and gpu not in staying:
            slots.lay(position, gpu, (NOTHING, taken))


def by_position(places: Sequence[Place], tasks: Collection[Task]) -> dict[int, list[Instance]]:
    """The instances that tasks name, in the order of their places."""
    found: dict[int, list[Instance]] = {}
    for (position, _), task in zip(places, tasks, strict=True):
        if task.slot:
            found.setdefault(position, []).append((task.bits.bit_length() - 1, task.slot))
    return found


def tasks_held(
    timeline: "Timeline", asked: Resources, places: list[Place], names: list[str], asker: Asker
) -> tuple[Task, ...]:
    """What a reservation of these places holds, as facts say it."""
    if not asked.mig:
        return counted(places, names)
    slots = timeline.slots(asker)
    assert slots is not None, "there was room for an instance"
    return reserved(slots, places, names, asked.mig)


_NOBODY: Final[dict[str, _Holder]] = {}
_NO_GPUS: Final[dict[int, State]] = {}
