# SPDX-License-Identifier: Apache-2.0
"""Which nodes of a domain a gang of equal tasks takes, so that the least is broken. Called by placement.

What counts, in this order: the sizes of the whole domains that are broken, summed over all levels, a node being one;
how many nodes; how much is left free on them; the position. All three are one integer, a *cost*. Nodes that hold as
many tasks at the same cost are one *kind*, and domains that look alike (as many nodes of each kind, the same below) are
worked out once: a table says what each number of tasks costs there, and the tables of children add up to the table of
their parent. That is exact; where it would take more than WORK_MAX steps, domains are filled best fit descending.
"""

from operator import add
from typing import Final, NamedTuple

from leitstand.core.places.topology import Domain, Topology

BREAK: Final = 1 << 64  # cost of one broken node; below it nodes are counted, below that what they had free
COUNTED: Final = 1 << 44
_NEVER: Final = 1 << 120
WORK_MAX: Final = 1 << 15  # sums, 2 ms: enough for 16 nodes of 8 tasks, or 8 groups and gangs of 60
TRIED_MAX: Final = 64  # domains that are filled best fit descending, to take the one where that is cheapest

_Sig = tuple[int, bool, tuple[int, ...], tuple[int, ...]]


class Kind(NamedTuple):
    """Nodes that are alike (mask), the tasks that each holds, and what taking one costs."""

    nodes: int
    room: int
    cost: int


class Groups(NamedTuple):
    """Tasks that stay together: `size` each, in one domain at the depth that `depths` says for its site; on one node if
    it says nothing."""

    size: int = 1
    depths: dict[str, int] = {}

    def at(self, domain: Domain) -> bool:
        """Whether groups have to be inside this domain."""
        return bool(domain.path) and len(domain.path) == self.depths.get(domain.path[0])

    def above(self, domain: Domain) -> bool:
        """Whether the domain gives whole groups to its children, and only to them."""
        if not domain.path:
            return bool(self.depths)
        return len(domain.path) < self.depths.get(domain.path[0], 0)


class _TooMuch(Exception):
    """The exact answer would take more than WORK_MAX steps."""


class _Table:
    """What the domains of one look cost by number of tasks. `parts`: what they consist of, a kind of node (its index)
    or the look of a child, each with its costs; `sums[i]`: the costs with the first i parts."""

    __slots__ = ("costs", "parts", "sums")

    def __init__(self) -> None:
        self.parts: list[tuple[bool, int, list[int]]] = []
        self.sums: list[list[int]] = [[0]]
        self.costs: list[int] = []


class Packer:
    """One search: nodes of these kinds, these groups."""

    def __init__(self, kinds: list[Kind], groups: Groups) -> None:
        self._groups = groups
        self._step = step = 1 if groups.depths else groups.size
        if step > 1:  # a node holds whole groups
            kinds = [
                Kind(kind.nodes, kind.room - kind.room % step, kind.cost)
                for kind in kinds
                if kind.room >= step
            ]
        self._kinds = kinds
        self.nodes = 0  # all that hold a task
        for kind in kinds:
            self.nodes |= kind.nodes
        self._looks: dict[_Sig, int] = {}
        self._signatures: list[_Sig] = []
        self._tables: dict[int, _Table] = {}
        self._seen: dict[tuple[str, ...], int] = {}
        self._most = 0
        self._work = 0

    def capacity(self, domain: Domain) -> int:
        """How many tasks the domain holds."""
        mask = domain.mask & self.nodes
        if not mask:
            return 0
        if self._groups.depths and self._groups.above(domain):
            return sum(self.capacity(child) for child in domain.children)
        room = sum([kind.room * (kind.nodes & mask).bit_count() for kind in self._kinds])
        return room - room % self._groups.size

    def largest_node(self) -> int:
        """How many tasks one node holds."""
        return max((kind.room for kind in self._kinds), default=0)

    def node_for(self, count: int, within: int, topology: Topology) -> int:
        """Position of the cheapest node that holds `count` tasks alone, -1 if none does."""
        able = [kind for kind in self._kinds if kind.room >= count and kind.nodes & within]
        nodes = 0
        for kind in able:
            if kind.cost < BREAK:
                nodes |= kind.nodes & within
        if not nodes:
            for kind in able:
                nodes |= kind.nodes & within
            nodes = topology.by_breakage(nodes)[0] if nodes else 0
        found = [(kind.cost, kind.nodes & nodes) for kind in able if kind.nodes & nodes]
        if not found:
            return -1
        cost = min(found)[0]
        mask = 0
        for other, part in found:
            mask |= part if other == cost else 0
        return (mask & -mask).bit_length() - 1

    def cheapest(
        self, domains: list[Domain], count: int, extra: list[int] | None = None
    ) -> list[tuple[int, int]]:
        """(position, tasks there) for `count` tasks in the one of `domains` (all hold them) where that costs least, the
        `extra` of each included."""
        self._most, self._work = count, 0
        self._looks, self._signatures, self._tables, self._seen = {}, [], {}, {}
        out: list[tuple[int, int]] = []
        try:
            costs = [self._above(domain) + self._table(self._look(domain)).costs[count] for domain in domains]
            if extra is not None:
                costs = list(map(add, costs, extra))
        except _TooMuch:
            return self._descending(domains, count)
        self._assign(domains[costs.index(min(costs))], count, out)
        return out

    def cost(self, domain: Domain, taken: list[tuple[int, int]]) -> int:
        """What these places in the domain cost, all that is broken included."""
        mask = 0
        for position, _ in taken:
            mask |= 1 << position
        cost = self._above(domain) + self._broken(domain, mask)
        return cost + sum(kind.cost * (kind.nodes & mask).bit_count() for kind in self._kinds)

    def _broken(self, domain: Domain, mask: int) -> int:
        if not domain.mask & mask:
            return 0
        return domain.whole * BREAK + sum(self._broken(child, mask) for child in domain.children)

    def _above(self, domain: Domain) -> int:
        broken = 0
        parent = domain.parent
        while parent is not None:
            broken += parent.whole
            parent = parent.parent
        return broken * BREAK

    # ── exact ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _look(self, domain: Domain) -> int:
        """The number of what the domain looks like."""
        known = self._seen.get(domain.path)
        if known is not None:
            return known
        own, grouped = domain.own, False
        if self._groups.depths:
            grouped = self._groups.at(domain)
            own = 0 if self._groups.above(domain) else own
        counts = tuple([(kind.nodes & own).bit_count() for kind in self._kinds]) if own else ()
        below: tuple[int, ...] = ()
        if domain.children:
            below = tuple(sorted([self._look(child) for child in domain.children if child.mask & self.nodes]))
        signature = (domain.whole, grouped, counts, below)
        look = self._looks.setdefault(signature, len(self._looks))
        if look == len(self._signatures):
            self._signatures.append(signature)
        self._seen[domain.path] = look
        return look

    def _table(self, look: int) -> _Table:
        table = self._tables.get(look)
        if table is not None:
            return table
        whole, grouped, own, children = self._signatures[look]
        table = self._tables[look] = _Table()
        most = self._most
        for index, count in enumerate(own):
            if count:
                room, cost = self._kinds[index].room, self._kinds[index].cost
                width = min(most, count * room)
                costs = [-(-tasks // room) * cost for tasks in range(width + 1)]
                for tasks in range(1, width + 1) if self._step > 1 else ():
                    if tasks % self._step:
                        costs[tasks] = _NEVER
                table.parts.append((True, index, costs))
        before, copies = -1, 0
        for child in children:
            copies = copies + 1 if child == before else 1
            before = child
            if copies <= most:  # each that is used takes a task
                table.parts.append((False, child, self._table(child).costs))
        for _, _, costs in table.parts:
            table.sums.append(self._sum(table.sums[-1], costs))
        table.costs = list(table.sums[-1])
        for tasks in range(1, len(table.costs)):
            if grouped and tasks % self._groups.size:
                table.costs[tasks] = _NEVER
            else:
                table.costs[tasks] += whole * BREAK
        return table

    def _sum(self, left: list[int], right: list[int]) -> list[int]:
        """The least cost of k tasks in both together, for each k."""
        if len(left) == 1:
            return right
        width, size = min(len(left) + len(right) - 1, self._most + 1), len(right)
        self._work += width * min(len(left), size)
        if self._work > WORK_MAX:
            raise _TooMuch
        turned = right[::-1]
        sums = []
        for tasks in range(width):
            low, high = max(0, tasks - size + 1), min(tasks, len(left) - 1)
            start = size - 1 - tasks + low
            sums.append(min(map(add, left[low : high + 1], turned[start : start + high - low + 1])))
        return sums

    def _assign(self, domain: Domain, count: int, out: list[tuple[int, int]]) -> None:
        """Walk the tables back: of equal choices the one that gives more to what comes first."""
        table = self._table(self._look(domain))
        shares: dict[int, list[int]] = {}
        for index in range(len(table.parts) - 1, -1, -1):
            is_kind, what, costs = table.parts[index]
            sums, least = table.sums[index], table.sums[index + 1][count]
            tasks = max(0, count - len(sums) + 1)
            while sums[count - tasks] + costs[tasks] != least:
                tasks += 1
            count -= tasks
            if is_kind:
                self._take(self._kinds[what], domain.own, tasks, out)
            elif tasks:
                shares.setdefault(what, []).append(tasks)
        for amounts in shares.values():
            amounts.sort()
        for child in _in_order(domain.children):
            wanted = shares.get(self._look(child)) if child.mask & self.nodes else None
            if wanted:
                self._assign(child, wanted.pop(), out)

    def _take(self, kind: Kind, within: int, count: int, out: list[tuple[int, int]]) -> int:
        """Put up to `count` tasks on nodes of the kind, lowest first; what is left over."""
        mask = kind.nodes & within
        while mask and count:
            low = mask & -mask
            mask ^= low
            tasks = min(count, kind.room)
            out.append((low.bit_length() - 1, tasks))
            count -= tasks
        return count

    # ── best fit descending ───────────────────────────────────────────────────────────────────────────────────────
    def _descending(self, domains: list[Domain], count: int) -> list[tuple[int, int]]:
        best: list[tuple[int, int]] = []
        least = _NEVER
        for domain in sorted(domains, key=self.capacity)[:TRIED_MAX]:
            taken: list[tuple[int, int]] = []
            self._fill(domain, count, taken)
            cost = self.cost(domain, taken)
            if cost < least:
                best, least = taken, cost
        return best

    def _fill(self, domain: Domain, count: int, out: list[tuple[int, int]]) -> None:
        """Nodes in no whole domain first, the largest rooms before the tightest nodes; then whole domains, the largest
        that are used up before the tightest that holds the rest."""
        if self._groups.above(domain):
            self._fill_children(domain.children, count, out)
            return
        wholes = _wholes(domain)
        loose = domain.mask
        for whole in wholes:
            loose &= ~whole.mask
        for kind in sorted(self._kinds, key=lambda kind: (kind.cost >= BREAK, -kind.room, kind.cost)):
            count = self._take(kind, loose, count, out)
        if count:
            self._fill_children(wholes, count, out)

    def _fill_children(self, domains: list[Domain], count: int, out: list[tuple[int, int]]) -> None:
        rooms = [(bool(child.whole), -self.capacity(child), child) for child in _in_order(domains)]
        rooms.sort(key=lambda room: room[:2])
        spare: list[tuple[int, Domain]] = []
        for whole, room, child in rooms:
            if not whole and room:
                tasks = min(count, -room)
            else:
                tasks = -room if -room <= count else 0
                if not tasks and room:
                    spare.append((-room, child))
            if tasks:
                self._descend(child, tasks, out)
                count -= tasks
        if count:
            tightest = next(child for room, child in reversed(spare) if room >= count)
            self._descend(tightest, count, out)

    def _descend(self, domain: Domain, count: int, out: list[tuple[int, int]]) -> None:
        """Into a domain that may be whole itself."""
        if domain.whole and not self._groups.above(domain) and domain.children:
            for kind in sorted(self._kinds, key=lambda kind: (-kind.room, kind.cost)):
                count = self._take(kind, domain.own, count, out)
            self._fill_children(domain.children, count, out)
        elif domain.whole and not self._groups.above(domain):
            for kind in sorted(self._kinds, key=lambda kind: (-kind.room, kind.cost)):
                count = self._take(kind, domain.mask, count, out)
        else:
            self._fill(domain, count, out)


def _wholes(domain: Domain) -> list[Domain]:
    """The largest whole domains inside (the domain itself, if it is whole, is broken anyway)."""
    found = []
    for child in domain.children:
        if child.whole:
            found.append(child)
        else:
            found += _wholes(child)
    return found


def _in_order(domains: list[Domain]) -> list[Domain]:
    return sorted(domains, key=lambda domain: domain.mask & -domain.mask)
