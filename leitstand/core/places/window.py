# SPDX-License-Identifier: Apache-2.0
"""What a search for places reads when reservations count: views of a whole window of time. Called by the timeline.

A view that begins now differs from what is free now on few nodes only, so it is laid over it: the GPUs of those nodes
are worked out at once, for the levels need them, their CPU and memory when somebody asks. It holds until the next
change of the timeline or of what is free.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from leitstand.core.places.fit import Availability
from leitstand.core.places.steps import Amount

_Look = Callable[[int], Amount]  # what is free on the node at a position throughout the window


class View:
    """See `Free`."""

    __slots__ = ("cpus_milli", "gpus", "levels", "memory_mib", "shared", "size")

    def __init__(self, size: int, levels: Sequence[int], columns: Sequence[Sequence[int]]) -> None:
        self.size = size
        self.levels = levels
        self.gpus, self.cpus_milli, self.memory_mib = columns
        self.shared: Mapping[int, Mapping[int, int]] = {}

    def tightest(self, gpus: int, cpus_milli: int, memory_mib: int, excluded: int = 0) -> int:
        """As in `Availability`."""
        for position in self.ascending(gpus, excluded):
            if self.cpus_milli[position] >= cpus_milli and self.memory_mib[position] >= memory_mib:
                return position
        return -1

    def ascending(self, gpus: int, excluded: int = 0) -> Iterator[int]:
        """As in `Availability`."""
        for mask in self.levels[gpus:]:
            mask &= ~excluded
            while mask:
                low = mask & -mask
                yield low.bit_length() - 1
                mask ^= low


def laid_over(free: Availability, look: _Look, held: int, given: int) -> View:
    """`free`, but for the nodes of the bit masks `held` (some of what is free is not for this window) and `given` (more
    may be), where `look` says how much there is."""
    known: dict[int, Amount] = {}
    levels = list(free.levels)
    changed = held | given
    for count, nodes in enumerate(free.levels):
        nodes &= changed if count else given
        while nodes:
            bit = nodes & -nodes
            nodes ^= bit
            position = bit.bit_length() - 1
            found = known[position] = look(position)
            if found[0] != count:
                while len(levels) <= found[0]:
                    levels.append(0)
                levels[count] ^= bit
                levels[found[0]] |= bit

    def at(position: int) -> Amount | None:
        found = known.get(position)
        if found is None and changed >> position & 1:
            found = known[position] = look(position)
        return found

    columns = (free.gpus, free.cpus_milli, free.memory_mib)
    kinds = (_Masks, _Column, _Column)
    laid = [
        kind(column, at, which, changed)
        for which, (kind, column) in enumerate(zip(kinds, columns, strict=True))
    ]
    return View(free.size, levels, laid)


def listed(column: Sequence[int]) -> list[int]:
    """A copy of a column of what is free."""
    return column.copied() if isinstance(column, _Column) else list(column)


class _Column(Sequence[int]):
    """A column of what is free now, but for the nodes of the bit mask `changed`."""

    __slots__ = ("at", "changed", "column", "which")

    def __init__(
        self, column: Sequence[int], at: Callable[[int], Amount | None], which: int, changed: int
    ) -> None:
        self.column = column
        self.at = at
        self.which = which
        self.changed = changed

    def copied(self) -> list[int]:
        """All of it."""
        amounts = list(self.column)
        changed = self.changed
        while changed:
            low = changed & -changed
            changed ^= low
            position = low.bit_length() - 1
            amounts[position] = self[position]
        return amounts

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, position: Any) -> Any:
        found = self.at(position)
        return self.column[position] if found is None else found[self.which]


class _Masks(_Column):
    """Which GPUs: the lowest of those that are free now; if there are more, the lowest others."""

    __slots__ = ()

    def __getitem__(self, position: Any) -> Any:
        found = self.at(position)
        mask = self.column[position]
        return mask if found is None else _with_bits(mask, found[0])


def _with_bits(mask: int, count: int) -> int:
    """`mask` without its highest bits, or with the lowest that it lacks, so that it has `count`."""
    have = mask.bit_count()
    while have > count:
        mask ^= 1 << mask.bit_length() - 1
        have -= 1
    while have < count:
        mask |= mask + 1
        have += 1
    return mask


def whole_left(
    shared: Mapping[int, int], ends: Mapping[int, int], spare: Mapping[int, int]
) -> dict[int, int]:
    """Of the GPUs that runs share on a node (index → thousandths free), what may be taken for a window: nothing of one
    that would be missing elsewhere if it stayed shared beyond the end of those that share it now.

    `ends`: when that is, by index; those without count as shared no more. `spare`: the fewest GPUs that are left over
    from then to the end of the window.
    """
    left: dict[int, int] = {}
    taken = 0
    for index in sorted(ends, key=lambda index: (ends[index], index)):
        stays = spare[index] > taken
        taken += stays
        left[index] = shared[index] if stays else 0
    return left
