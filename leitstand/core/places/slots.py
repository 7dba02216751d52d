# SPDX-License-Identifier: Apache-2.0
"""What is free of the GPUs of a pool that are cut into MIG instances, and where the next instance goes best. Called by
the fleet and `fit` (change), by placement and the timeline (search).

What an instance takes of its GPU is a bit mask: its slices, and above them what only one instance can have. A
`Geometry` says which masks each profile may take: those of the model, or of the instances that an operator made. GPUs
that are cut alike (same geometry, same bits taken) are one *state*, with the nodes that have such a GPU as a bit mask,
as in `fit`: a search looks at states, not at nodes.

Best is where least is lost: of the places for the largest profiles that are still possible, then of the next smaller.
So the first `1g` of an H100 goes to slice 6, where it spoils no `2g` and leaves `4g` its place.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from leitstand.core.facts import Task
from leitstand.core.places.mig import Mig, Model, placement

EVERYTHING: Final = (1 << 64) - 1  # of a GPU: somebody uses it whole
_DIGIT: Final = 4  # bits of a loss for one size of profile: at most 15 places of it on a GPU
_GEOMETRIES_MAX: Final = 1024


class Geometry:
    """Which masks each profile may take on one GPU of `slices`. `fixed`: the instances are there for good, and the GPU
    is never used whole."""

    __slots__ = ("_best", "_rooms", "fixed", "placements", "slices")

    def __init__(self, slices: int, placements: dict[str, tuple[int, ...]], fixed: bool) -> None:
        self.slices = slices
        self.placements = placements
        self.fixed = fixed
        self._rooms: dict[tuple[str, int], int] = {}
        self._best: dict[tuple[str, int], tuple[int, int] | None] = {}

    def milli(self, mask: int) -> int:
        """What an instance counts for, in thousandths of the GPU: its slices, rounded up. The instances that fit on a
        GPU together never count for more than it."""
        return -(-1000 * (mask & ((1 << self.slices) - 1)).bit_count() // max(self.slices, 1))

    def room(self, profile: str, taken: int) -> int:
        """How many more instances of the profile fit at once; exact."""
        known = self._rooms.get((profile, taken))
        if known is None:
            known = 0
            for mask in self.placements.get(profile, ()):
                if not mask & taken:
                    known = max(known, 1 + self.room(profile, taken | mask | (mask - 1)))
            self._rooms[profile, taken] = known
        return known

    def best(self, profile: str, taken: int) -> tuple[int, int] | None:
        """(what is lost, mask) for one more instance, where the least is lost; None if none fits. The lowest start on
        ties."""
        if (profile, taken) not in self._best:
            found = [
                (self._lost(taken, mask), mask)
                for mask in self.placements.get(profile, ())
                if not mask & taken
            ]
            self._best[profile, taken] = min(found, default=None)
        return self._best[profile, taken]

    def _lost(self, taken: int, mask: int) -> int:
        """One number: how many places fewer there are for profiles of each size, the largest size first."""
        digits = [0] * (self.slices + 1)
        every = (1 << self.slices) - 1
        for profile, masks in self.placements.items():
            size = (masks[0] & every).bit_count()
            digits[size] += self.room(profile, taken) - self.room(profile, taken | mask)
        return sum(min(digit, 15) << _DIGIT * (size - 1) for size, digit in enumerate(digits) if size)


NOTHING: Final = Geometry(0, {}, False)  # of a GPU that is cut though its node is in MIG mode no more
State = tuple[Geometry, int]  # and what is taken


@lru_cache(maxsize=_GEOMETRIES_MAX)
def geometry_of(model: Model, instances: tuple[str, ...] | None = None) -> Geometry:
    """What a GPU of the model can be cut into; with `instances` (profile@start), what it is cut into."""
    extras = list(dict.fromkeys(one.only for one in model.profiles if one.only))
    above = {name: 1 << model.slices + index for index, name in enumerate(extras)}
    masks: dict[str, list[int]] = {}
    if instances is None:
        for one in model.profiles:
            row = (1 << one.size) - 1
            masks[one.name] = [row << start | above.get(one.only, 0) for start in sorted(one.starts)]
    else:
        for text in instances:
            placed = placement(text, model)
            if placed is not None:
                one, start = placed
                mask = (1 << one.size) - 1 << start | above.get(one.only, 0)
                masks.setdefault(one.name, []).append(mask)
    placements = {name: tuple(sorted(found)) for name, found in masks.items()}
    return Geometry(model.slices, placements, instances is not None)


class Choice(NamedTuple):
    """An instance on a node: GPU, what it takes, of which geometry; `whole`: the GPU was not cut before."""

    gpu: int
    mask: int
    geometry: Geometry
    whole: bool

    def task(self, node: str) -> Task:
        """As facts say it."""
        return Task(node, f"{1 << self.gpu:x}:{self.mask:x}/{self.geometry.slices}")


class Slots:
    """See the module. `gpus`: by position and GPU the state of those that are partitioned, and of others while they are
    cut; `states`: the same by state; `cuttable`: by position what other GPUs of the node can be cut into."""

    __slots__ = ("_nodes", "cuttable", "gpus", "states")

    def __init__(self) -> None:
        self.gpus: dict[int, dict[int, State]] = {}
        self.states: dict[State, int] = {}
        self.cuttable: dict[int, Geometry] = {}
        self._nodes: dict[Geometry, int] = {}  # the same the other way round

    def copy(self) -> "Slots":
        """Another one that changes on its own."""
        made = Slots()
        made.gpus = dict(self.gpus)  # what is below is replaced, never changed
        made.states, made.cuttable, made._nodes = dict(self.states), self.cuttable, self._nodes
        return made

    # ── change ────────────────────────────────────────────────────────────────────────────────────────────────────
    def put(self, position: int, cuttable: Geometry | None, gpus: dict[int, State]) -> None:
        """Set what the node is cut into."""
        before = self.cuttable.pop(position, None)
        if before is not None:
            self._nodes[before] ^= 1 << position
        if cuttable is not None:
            self.cuttable[position] = cuttable
            self._nodes[cuttable] = self._nodes.get(cuttable, 0) | 1 << position
        for index in list(self.gpus.get(position, ())):
            self.lay(position, index, None)
        for index, state in gpus.items():
            self.lay(position, index, state)

    def take(self, position: int, gpu: int, mask: int) -> None:
        """An instance is used; AssertionError if another one, or who has the GPU whole, uses a slice of it."""
        geometry, taken = self.gpus.get(position, {}).get(gpu) or (self.cuttable.get(position, NOTHING), 0)
        assert not taken & mask, "a slot of a GPU would be sold twice"
        self.lay(position, gpu, (geometry, taken | mask))

    def give(self, position: int, gpu: int, mask: int) -> bool:
        """An instance is used no more; whether the GPU is whole again."""
        geometry, taken = self.gpus[position][gpu]
        assert taken & mask == mask, "a free slot would be freed"
        left = taken & ~mask
        whole = not left and not geometry.fixed
        self.lay(position, gpu, None if whole else (geometry, left))
        return whole

    def lay(self, position: int, gpu: int, state: State | None) -> None:
        """Set the state of one GPU; None: it is not cut."""
        gpus = dict(self.gpus.get(position, ()))
        before = gpus.pop(gpu, None)
        bit = 1 << position
        if before is not None and before not in gpus.values():
            self.states[before] ^= bit
            if not self.states[before]:
                del self.states[before]
        if state is not None:
            gpus[gpu] = state
            self.states[state] = self.states.get(state, 0) | bit
        if gpus:
            self.gpus[position] = gpus
        else:
            self.gpus.pop(position, None)

    # ── questions ─────────────────────────────────────────────────────────────────────────────────────────────────
    def is_fixed(self, position: int, gpu: int) -> bool:
        """Whether the GPU is partitioned for good."""
        state = self.gpus.get(position, {}).get(gpu)
        return state is not None and state[0].fixed

    def fixed(self, position: int) -> int:
        """How many GPUs of the node are partitioned for good."""
        return sum(geometry.fixed for geometry, _ in self.gpus.get(position, _NO_GPUS).values())

    def offers(self, profile: str) -> Iterator[tuple[int, int]]:
        """(what is lost, nodes) of GPUs that are cut and hold one more instance, the least loss first."""
        found: dict[int, int] = {}
        for (geometry, taken), nodes in self.states.items():
            best = geometry.best(profile, taken)
            if best is not None:
                found[best[0]] = found.get(best[0], 0) | nodes
        return iter(sorted(found.items()))

    def able(self, profile: str) -> int:
        """The nodes whose whole GPUs can be cut into it."""
        found = 0
        for geometry, nodes in self._nodes.items():
            if profile in geometry.placements:
                found |= nodes
        return found

    def known(self, profile: str) -> int:
        """The nodes that have it at all, whoever uses it now."""
        found = self.able(profile)
        for (geometry, _), nodes in self.states.items():
            if profile in geometry.placements:
                found |= nodes
        return found

    def room(self, position: int, profile: str, whole: int) -> int:
        """How many instances the node holds, with so many whole GPUs free."""
        held = sum(geometry.room(profile, taken) for geometry, taken in self.gpus.get(position, {}).values())
        geometry = self.cuttable.get(position)
        return held if geometry is None else held + whole * geometry.room(profile, 0)

    def loss(self, position: int, profile: str, whole: int) -> int:
        """What the best place on the node loses; it has one."""
        states = [*self.gpus.get(position, {}).values()]
        if whole and position in self.cuttable:
            states.append((self.cuttable[position], 0))
        found = [best for geometry, taken in states if (best := geometry.best(profile, taken)) is not None]
        return min(found)[0]

    def choose(self, position: int, profile: str, whole: int) -> Choice | None:
        """The best instance on the node: of GPUs that are cut, else of the lowest of those in the mask `whole`."""
        found = [
            (*best, gpu)
            for gpu, (geometry, taken) in self.gpus.get(position, {}).items()
            if (best := geometry.best(profile, taken)) is not None
        ]
        if found:
            _, mask, gpu = min(found, key=lambda one: (one[0], one[2]))
            return Choice(gpu, mask, self.gpus[position][gpu][0], False)
        cuttable = self.cuttable.get(position)
        best = cuttable.best(profile, 0) if cuttable is not None and whole else None
        if cuttable is None or best is None:
            return None
        return Choice((whole & -whole).bit_length() - 1, best[1], cuttable, True)

    def profiles(self, nodes: int = -1) -> list[str]:
        """The profiles that some GPU of these nodes has, by name."""
        found: dict[str, None] = {}
        for (geometry, _), at in self.states.items():
            found.update(dict.fromkeys(geometry.placements if at & nodes else ()))
        for geometry, at in self._nodes.items():
            found.update(dict.fromkeys(geometry.placements if at & nodes else ()))
        return sorted(found)

    def left(self, position: int) -> int:
        """How much of the GPUs of a node that are cut no instance takes, in thousandths of GPUs; of partitioned ones
        that is the instances that nobody uses."""
        found = 0
        for geometry, taken in self.gpus.get(position, _NO_GPUS).values():
            every = 0
            for masks in geometry.placements.values():
                for mask in masks:
                    every |= mask
            found += geometry.milli(every & ~taken)
        return found

    def milli(self, profile: str, nodes: int) -> int:
        """What an instance on these nodes counts for at most, in thousandths of a GPU; 0 if none has it."""
        geometries = [geometry for (geometry, _), at in self.states.items() if at & nodes]
        geometries += [geometry for geometry, at in self._nodes.items() if at & nodes]
        return max(
            (
                geometry.milli(masks[0])
                for geometry in geometries
                if (masks := geometry.placements.get(profile))
            ),
            default=0,
        )


_NO_GPUS: Final[dict[int, State]] = {}


def cut(
    slots: Slots, places: Sequence[tuple[int, int]], whole: Sequence[int] | None, profile: str
) -> list[tuple[int, Choice]]:
    """Which instances a gang takes that has places: for each the position and the choice. `whole`: which GPUs of each
    node are free, as masks, None: as many as it takes. AssertionError if there is not enough."""
    if len(places) > 1:
        slots = slots.copy()
    left: dict[int, int] = {}
    found = []
    for position, _ in places:
        bits = left.get(position, _others(slots, position) if whole is None else whole[position])
        choice = slots.choose(position, profile, bits)
        assert choice is not None, "there was room for an instance"
        if len(places) > 1:
            slots.take(position, choice.gpu, choice.mask)
            left[position] = bits & ~(1 << choice.gpu) if choice.whole else bits
        found.append((position, choice))
    return found


def layout(
    mig: Mig | None, model: Model | None, held: dict[int, int]
) -> tuple[Geometry | None, dict[int, State]]:
    """What GPUs of a node can be cut into, and the state of those that are cut. `held`: of GPUs the bits that runs
    use; what is used of a GPU that can be cut no more counts until it is free."""
    gpus: dict[int, State] = {}
    if mig is not None and model is not None:
        for one in mig.fixed:
            gpus[one.gpu] = geometry_of(model, one.instances), held.get(one.gpu, 0)
    dynamic = geometry_of(model) if mig is not None and model is not None and mig.dynamic else None
    for gpu, taken in held.items():
        if gpu not in gpus and taken != EVERYTHING:
            gpus[gpu] = dynamic or NOTHING, taken
    return dynamic, gpus


def _others(slots: Slots, position: int) -> int:
    """GPUs, real or not, that are not cut."""
    found = EVERYTHING
    for gpu in slots.gpus.get(position, _NO_GPUS):
        found &= ~(1 << gpu)
    return found


def reserved(
    slots: Slots, places: Sequence[tuple[int, int]], names: Sequence[str], profile: str
) -> tuple[Task, ...]:
    """What a reservation of these places holds: instances of GPUs that are cut, which are named, and whole GPUs, of
    which only the number counts."""
    return tuple(
        choice.task(names[at]) if choice.gpu in slots.gpus.get(at, ()) else Task(names[at], "1")
        for at, choice in cut(slots, places, None, profile)
    )
