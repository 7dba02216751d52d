# SPDX-License-Identifier: Apache-2.0
"""What a search for places reads when reservations count: views of a whole window of time. Called by the timeline.

A view that begins now differs from what is free now on few nodes only, so it is laid over it: the GPUs of those nodes
are worked out at once, for the levels need them, their CPU and memory when somebody asks. It holds until the next
change of the timeline or of what is free.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from leitstand.core.places.fit import Availability
from leitstand.core.places.slots import Slots
from leitstand.core.places.steps import Amount

_Look = Callable[[int], Amount]  # what is free on the node at a position throughout the window


class View:
    """See `Free`. `cut`: how to work out `slots` when somebody asks for them."""

    __slots__ = ("_slots", "cpus_milli", "cut", "gpus", "levels", "memory_mib", "shared", "size")

    def __init__(self, size: int, levels: Sequence[int], columns: Sequence[Sequence[int]]) -> None:
        self.size = size
        self.levels = levels
        self.gpus, self.cpus_milli, self.memory_mib = columns
        self.shared: Mapping[int, Mapping[int, int]] = {}
        self.cut: Callable[[], Slots] | None = None
        self._slots: Slots | None = None

    @property
    def slots(self) -> Slots | None:
        """As in `Free`."""
        if self._slots is None and self.cut is not None:
            self._slots = self.cut()
        return self._slots

    @slots.setter
    def slots(self, slots: Slots | None) -> None:
        self._slots = slots

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


class Laid(View):
    """`free`, but for the nodes of the bit masks `held` (some of what is free is not for this window) and `given` (more
    may be), where `look` says how much there is."""

    __slots__ = ("_free", "_over")

    def __init__(self, free: Availability, look: _Look, held: int, given: int = 0) -> None:
        super().__init__(free.size, list(free.levels), ((), (), ()))
        self._free = free
        self._over = _Over(look, held | given, {})
        self._show()
        for count, nodes in enumerate(free.levels):
            nodes &= self._over.changed if count else given
            while nodes:
                bit = nodes & -nodes
                nodes ^= bit
                position = bit.bit_length() - 1
                found = self._over.known[position] = look(position)
                self._move(bit, count, found[0])

    def _show(self) -> None:
        free, over = self._free, self._over
        self.gpus = _Masks(over, free.gpus, 0)
        self.cpus_milli, self.memory_mib = (
            _Column(over, free.cpus_milli, 1),
            _Column(over, free.memory_mib, 2),
        )

    def copy(self, look: _Look | None = None, seen: Collection[int] = ()) -> "Laid":
        """Another one that changes on its own. With `look`, for another window: of what is known only the positions in
        `seen` hold for that, too."""
        made = Laid.__new__(Laid)
        made.size, made.levels, made.shared = self.size, list(self.levels), self.shared
        made.cut, made._slots = None, None
        known = dict(self._over.known)
        if look is not None:
            known = {position: amount for position, amount in known.items() if position in seen}
        made._free, made._over = self._free, _Over(look or self._over.look, self._over.changed, known)
        made._show()
        return made

    def known(self) -> Iterable[int]:
        """The nodes that were looked at."""
        return self._over.known

    def close(self, nodes: int) -> None:
        """Nothing is free on these nodes, not even for who asks for nothing."""
        if nodes:
            self.levels = [level & ~nodes for level in self.levels]

    def is_parted(self, position: int) -> bool:
        """Whether runs share GPUs of a node, or have instances of them."""
        slots = self._free.slots
        return position in self.shared or (slots is not None and position in slots.gpus)

    def amount(self, position: int) -> Amount:
        """What is free on a node."""
        found = self._over.at(position)
        if found is None:
            free = self._free
            return (free.gpus[position].bit_count(), free.cpus_milli[position], free.memory_mib[position])
        return found

    def put(self, position: int, amount: Amount) -> None:
        """Set what is free on a node, in service or not."""
        bit = 1 << position
        self._over.changed |= bit
        self._over.known[position] = amount
        for count, nodes in enumerate(self.levels):
            if nodes & bit:
                self._move(bit, count, amount[0])
                return

    def look_again(self, position: int) -> None:
        """What is free on a node has to be worked out anew."""
        self.put(position, self._over.look(position))

    def empty(self, position: int) -> None:
        """No GPU is free on a node any more."""
        bit = 1 << position
        self._over.changed |= bit
        self._over.known.pop(position, None)  # CPU and memory are worked out when somebody asks
        for count in range(1, len(self.levels)):
            if self.levels[count] & bit:
                self._move(bit, count, 0)
                return

    def _move(self, bit: int, before: int, after: int) -> None:
        if before != after:
            levels = self.levels
            assert isinstance(levels, list), "made so"
            while len(levels) <= after:
                levels.append(0)
            levels[before] ^= bit
            levels[after] |= bit


class _Over:
    """The nodes of which something else holds than what is free now. Apart from the view, so that its columns do not
    refer to it: what nobody needs any more is then freed at once, and not by the collector."""

    __slots__ = ("changed", "known", "look")

    def __init__(self, look: _Look, changed: int, known: dict[int, Amount]) -> None:
        self.look = look
        self.changed = changed  # bit mask
        self.known = known

    def at(self, position: int) -> Amount | None:
        """What is free on a node where that is not what is free now."""
        found = self.known.get(position)
        if found is None and self.changed >> position & 1:
            found = self.known[position] = self.look(position)
        return found


class _Column(Sequence[int]):
    """A column of a view that is laid over what is free now."""

    __slots__ = ("at", "column", "which")

    def __init__(self, over: _Over, column: Sequence[int], which: int) -> None:
        self.at = over.at
        self.column = column
        self.which = which

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
