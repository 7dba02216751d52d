# SPDX-License-Identifier: Apache-2.0
"""Where a task might fit if those who may be taken left, as sums over columns. Called by the search for victims.

Far more often than not nobody can be taken, and a sum over all who may go says so of most nodes at once: a run gives
back no more than it holds. Only the nodes that are left need to be looked at one by one.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from leitstand.core.places.steps import INFINITY, Amount
from leitstand.core.sharing.shares import Node
from leitstand.core.sharing.units import PRIORITY as UNIT
from leitstand.core.yielding.offers import Room, Yielding

if TYPE_CHECKING:
    from leitstand.core.yielding.preemption import Scene
    from leitstand.core.yielding.victims import Scope

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]


class Takeable:
    """The runs of all leaves that were open in one scene. Nodes have numbers (*slots*) in the order in which they were
    met."""

    def __init__(self, scene: "Scene") -> None:
        self.scene = scene
        self.positions: list[int] = []  # by slot
        self.grown: list[int] = []  # slots, in the order in which they got rows
        self._slots: dict[int, int] = {}
        self._leaves: dict[Node, int] = {}  # numbered
        # by row, which is a run on a node: the run; the slot, the number of its leaf, its priority and charge; and what
        # it holds there
        self._runs: list[Yielding] = []
        self._names: list[str] = []  # by which the tree knows them
        self._keys: list[tuple[int, int, int, int]] = []
        self._held: list[Amount] = []
        self._on: list[list[int]] = []  # by slot, the rows of the node
        self._of: dict[str, list[int]] = {}  # run → its rows
        self._mask = 0  # of the nodes
        self._slot = self._leaf = self._priorities = self._charges = np.zeros(0, np.int64)
        self._amounts = np.zeros((0, 3), np.int64)

    def forget(self, run: Yielding) -> None:
        """It was taken."""
        for row in self._of.get(run.run, ()):
            self._charges[row] = INFINITY

    def able(self, scope: "Scope", most: Mapping[Node, int]) -> _Bools:
        """By row, who may go: of each leaf nobody with more charge than `most` of it, of some only units."""
        new = [leaf for leaf in most if leaf not in self._leaves]
        if new:
            for leaf in new:
                self._learn(leaf)
            self._lay()
        least = np.full(len(self._leaves), -1, np.int64)
        least[[self._leaves[leaf] for leaf in most]] = list(most.values())
        able: _Bools = self._charges <= least[self._leaf]
        if scope.own in self._leaves:
            able &= (self._leaf != self._leaves[scope.own]) | (self._priorities < scope.priority)
        for leaf in self.scene.giving_units(scope):
            if leaf in self._leaves:
                able &= (self._leaf != self._leaves[leaf]) | (self._priorities == UNIT)
        return able

    def without(self, able: _Bools, covered: Mapping[Node, Mapping[str, object]]) -> _Bools:
        """The same but for those who are covered, said by leaf."""
        runs = {self._leaves[leaf]: runs for leaf, runs in covered.items()}
        names, leaf = self._names, self._leaf.tolist()
        able = able.copy()
        able[[row for row in np.flatnonzero(able).tolist() if names[row] in runs[leaf[row]]]] = False
        return able

    def runs(self, able: _Bools) -> list[Yielding]:
        """Who they are."""
        runs = (self._runs[row] for row in np.flatnonzero(able).tolist())
        return list({run.run: run for run in runs}.values())

    def host(self, room: Room, need: Amount, able: _Bools) -> bool:
        """Whether a task fits on some node if all of these leave."""
        gains, count = self._gains(able)
        may = (np.minimum(room.columns(self.positions, self.grown) + gains, room.bests) >= need).all(
            axis=1
        ) & (count > 0)
        for slot in np.flatnonzero(may).tolist():
            on = self._on[slot]
            there = [self._runs[row] for row in on if able[row]]
            position = self.positions[slot]
            if room.serves(position) and room.fits(position, there, need):
                return True
            room.note_best(slot, position, [self._runs[row] for row in on])
        return False

    def alone(self, room: Room, need: Amount, able: _Bools) -> Iterator[Yielding]:
        """Those of them without whom alone a task may fit on a node of theirs."""
        have = np.minimum(
            room.columns(self.positions, self.grown)[self._slot] + self._amounts, room.bests[self._slot]
        )
        for row in np.flatnonzero(able & (have >= need).all(axis=1)).tolist():
            yield self._runs[row]

    def tasks(self, room: Room, need: Amount, able: _Bools) -> int:
        """How many tasks fit at most if all of these leave. `need`: at least one GPU."""
        have = np.minimum(room.columns(self.positions, self.grown) + self._gains(able)[0], room.bests)
        most = have[:, 0] // need[0]
        for column, each in enumerate(need):
            if each:
                most = np.minimum(most, have[:, column] // each)
        sizes = enumerate(room.free.levels)
        elsewhere = sum((nodes & ~self._mask).bit_count() * (size // need[0]) for size, nodes in sizes)
        return elsewhere + int(most.sum())

    def _gains(self, able: _Bools) -> tuple[_Ints, _Ints]:
        """By slot, what these hold there, and how many they are."""
        slots = self._slot[able]
        gains = np.zeros((len(self.positions), 3), np.int64)
        np.add.at(gains, slots, self._amounts[able])
        return gains, np.bincount(slots, minlength=len(self.positions))

    # ── columns ───────────────────────────────────────────────────────────────────────────────────────────────────
    def _learn(self, leaf: Node) -> None:
        number = self._leaves[leaf] = len(self._leaves)
        runs, slots, on, held, row = self._runs, self._slots, self._on, self.scene.held, len(self._runs)
        for id, run in self.scene.of(leaf).items():
            stands, charge, rows = held[id], run.charge, self._of.setdefault(id, [])
            for position, amount in _held(run):
                slot = slots.get(position)
                if slot is None:
                    slot = slots[position] = len(self.positions)
                    self.positions.append(position)
                    on.append([])
                    self._mask |= 1 << position
                self.grown.append(slot)
                on[slot].append(row)
                rows.append(row)
                runs.append(run)
                self._names.append(stands.id)
                self._keys.append((slot, number, stands.priority, charge))
                self._held.append(amount)
                row += 1

    def _lay(self) -> None:
        """Bring the rows that are new into the columns."""
        known = len(self._charges)
        keys = np.array(self._keys[known:], np.int64).reshape(-1, 4)
        self._amounts = _below(self._amounts, np.array(self._held[known:], np.int64).reshape(-1, 3))
        self._slot = _below(self._slot, keys[:, 0])
        self._leaf = _below(self._leaf, keys[:, 1])
        self._priorities = _below(self._priorities, keys[:, 2])
        self._charges = _below(self._charges, keys[:, 3])


def _below(above: _Ints, new: _Ints) -> _Ints:
    return np.concatenate([above, new]) if len(above) else np.ascontiguousarray(new)


def _held(run: Yielding) -> Iterable[tuple[int, Amount]]:
    """What a run holds, by position."""
    if len(run.places) == 1:
        (position, gpus), (cpus_milli, memory_mib) = run.places[0], run.parts[0]
        return ((position, (gpus, cpus_milli, memory_mib)),)
    held: dict[int, Amount] = {}
    for (position, gpus), (cpus_milli, memory_mib) in zip(run.places, run.parts, strict=True):
        before = held.get(position, (0, 0, 0))
        held[position] = before[0] + gpus, before[1] + cpus_milli, before[2] + memory_mib
    return held.items()
