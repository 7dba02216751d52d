# SPDX-License-Identifier: Apache-2.0
"""Who deserves what, now: the entitlement tree of one pool, with usage, demand and deserved shares. Called by the fair
plan, which asks whose turn it is, and by preemption, which asks who yields.

    root ▸ class ▸ tenant ▸ project (a *leaf*; only leaves have runs and pending jobs)

All amounts are *charges* in thousandths of a GPU. A node's **demand** is what it could use now; its **deserved share**
follows from the demands, guarantees and weights of its siblings by water-filling, top down, and has no memory. Its
**lag** is what it got too little in the past, forgotten by half in a half-life; lag orders starts and nothing else.
`docs/scheduling.md` has the definitions.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from functools import lru_cache
from operator import itemgetter
from typing import Final

from leitstand.core.acts import Entitlement
from leitstand.core.places.steps import INFINITY
from leitstand.core.rules import Sharing

TOLD_MAX: Final = 1024  # changes that are kept for who reads them, and two of each run
_SHIFT: Final = 32  # of the factor by which lag is forgotten


class Clock:
    """The time of the fact that is being applied, for all trees of a state."""

    __slots__ = ("us",)

    def __init__(self) -> None:
        self.us = 0


class Held:
    """A run, or a claim that counts as one, as shares see it. `order`: (start, number of its job), the later the less
    covered; until `pinned_us` (0: never) nobody may take it; it ends by `until_us`, and should by `planned_us`: what
    was promised behind it relies on that, and its engine may have started it later."""

    __slots__ = ("charge", "id", "leaf", "order", "pinned_us", "planned_us", "priority", "until_us")

    def __init__(self, id: str, leaf: "Node", charge: int, priority: int, order: tuple[int, int]) -> None:
        self.id = id
        self.leaf = leaf
        self.charge = charge
        self.priority = priority
        self.order = order
        self.pinned_us = 0
        self.until_us = 0
        self.planned_us = INFINITY

    @property
    def key(self) -> tuple[bool, int, int, int]:
        """Its place in the cover of its leaf, the first is covered first."""
        return (not self.pinned_us, -self.priority, *self.order)


class Node:
    """A node of the tree. `borrow`, `lend`: -1 for no limit. `pending`: what waits for nothing but capacity (leaves).
    `changed`: children whose demand is not yet reflected in the deserved shares of all. `missed`: of what runs, in
    charge × µs, what was not used since the last tick because it began later; less what ended since did use."""

    __slots__ = (
        "base",
        "borrow",
        "changed",
        "children",
        "children_demand",
        "children_guarantee",
        "children_occupied",
        "children_owed",
        "demand",
        "depth",
        "deserved",
        "floor",
        "guarantee",
        "id",
        "lag",
        "level",
        "missed",
        "occupied",
        "owed",
        "parent",
        "pending",
        "pinned",
        "recall_us",
        "running",
        "runs",
        "turnover",
        "version",
        "waits",
        "weight",
    )

    def __init__(self, id: str, parent: "Node | None") -> None:
        self.id = id
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.children: dict[str, Node] = {}
        self.guarantee = 0
        self.children_guarantee = 0
        self.weight = 1
        self.borrow = -1
        self.recall_us = 0
        self.floor = 0  # G - L: what cannot be lent
        self.running = 0
        self.pending = 0
        self.pinned = 0
        self.occupied = 0
        self.children_occupied = 0
        self.demand = 0
        self.children_demand = 0
        self.owed = (
            0  # of its demand, what comes before all surplus: guaranteed or pinned, its children's at least
        )
        self.children_owed = 0
        self.deserved = 0
        self.lag = 0
        self.missed = 0
        self.runs: list[tuple[tuple[bool, int, int, int], Held]] = []  # of a leaf, in the order of its cover
        self.changed: dict[str, Node] | None = None  # None: all have to be looked at again
        self.base = 0  # of the last division: what it got before the surplus was divided,
        self.waits = False  # and whether it got less than it could use
        self.level: tuple[int, ...] | None = (
            None  # its surplus and weights left; (): none; None: all had enough
        )
        self.version = 0  # rises with every change of runs or deserved share below,
        self.turnover = 0  # and with every change of runs alone

    def is_ahead(self, span_s: int) -> bool:
        """Whether it, or a node above it, had more than it deserved so far, by more than it deserves in so long."""
        return any(node.lag + node.deserved * span_s < 0 for node in self.path() if node.parent is not None)

    def is_behind(self, other: "Node", span_s: int) -> bool:
        """Whether it has lagged more than another by what each deserves in so long, in proportion to their shares."""
        own, others = max(1, self.deserved), max(1, other.deserved)
        return self.lag * others - other.lag * own >= span_s * own * others

    def path(self) -> Iterator["Node"]:
        """From this node up to the root."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent

    def entitlement(self) -> Entitlement:
        """What it is entitled to now."""
        lend = -1 if self.floor == 0 else self.guarantee - self.floor
        return Entitlement(self.id, self.guarantee, self.weight, self.borrow, lend, self.recall_us)

    def held(self) -> Iterator[Held]:
        """What runs below it."""
        if self.children:
            for child in self.children.values():
                yield from child.held()
        for _, held in self.runs:
            yield held


class Tree:
    """The tree of one pool. `capacity`: the charge of the nodes in service, in no known window; `ticked_us`: the last
    tick.

    Usage and demand are kept with every change, in O(depth); deserved shares by `settle`, which looks only at what the
    changes since the last call can have moved."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.root = Node("", None)
        self.nodes: dict[str, Node] = {"": self.root}
        self.capacity = 0
        self.edition = 0  # rises with every node and entitlement
        self.floors = 0  # nodes that do not lend all of their guarantee
        self.held: dict[str, Held] = {}
        self.told: list[str] = []  # of whom `held` changed, in order; with each new `era` from the beginning
        self.era = 0
        self.shows: tuple[object, ...] = ()  # the contracts that are in force here (`entitlements.refresh`),
        self.shows_until_us = 0  # and until when they are
        self.ticked_us = 0
        self._clock = clock or Clock()
        self._dirty = True
        self._recall_us: int | None = None  # the smallest that a node names, 0: none does; None: not known
        self._unlendable: dict[Node, int] = {}  # kept until an entitlement changes; a new node has none

    # ── shape ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def node(self, path: str, weight: int = 1) -> Node:
        """The node `path` (`industry/acme/vision`), made with `weight` if it is new; so are the nodes above it."""
        known = self.nodes.get(path)
        if known is not None:
            return known
        above, _, name = path.rpartition("/")
        parent = self.node(above)
        assert not parent.runs, "a leaf has runs and no children"
        node = parent.children[name] = self.nodes[path] = Node(path, parent)
        node.weight = weight
        self.edition += 1
        parent.changed = None
        self._dirty = True
        return node

    def entitle(self, asked: Entitlement) -> None:
        """Put an entitlement in force."""
        node = self.node(asked.node)
        if node.parent is not None:
            node.parent.children_guarantee += asked.guarantee_milli - node.guarantee
        node.guarantee, node.weight, node.borrow = asked.guarantee_milli, asked.weight, asked.borrow_milli
        lend = asked.guarantee_milli if asked.lend_milli < 0 else min(asked.lend_milli, asked.guarantee_milli)
        floor = asked.guarantee_milli - lend
        self.floors += bool(floor) - bool(node.floor)
        node.floor = floor
        node.recall_us = asked.recall_us
        self._recall_us = None
        self._unlendable.clear()
        self.edition += 1
        if node.parent is not None:
            node.parent.changed = None
        self._occupy(node)
        self._demand(node)
        self._dirty = True

    def recall_us(self, default_us: int) -> int:
        """The smallest recall time of a node; `default_us` for those that name none."""
        if self._recall_us is None:
            named = (node.recall_us for node in self.nodes.values() if node.recall_us)
            self._recall_us = min(named, default=0)
        return min(default_us, self._recall_us or default_us)

    def resize(self, capacity: int) -> None:
        """Capacity in charges, from now on."""
        if capacity != self.capacity:
            self.capacity = capacity
            self._dirty = True

    # ── usage ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def start(self, held: Held, since_us: int | None = None) -> None:
        """`held` runs, or counts as running, from now on, or did since then."""
        self.held[held.id] = held
        self._tell(held.id)
        insort(held.leaf.runs, (held.key, held))
        self._use(held.leaf, held.charge, held.charge if held.pinned_us else 0, since_us)

    def end(self, id: str) -> Held:
        """It runs no more."""
        held = self.held.pop(id)
        self._tell(id)
        self._leave(held)
        self._use(held.leaf, -held.charge, -held.charge if held.pinned_us else 0)
        return held

    def until(self, id: str, until_us: int) -> None:
        """It ends by then."""
        self.held[id].until_us = until_us
        self._tell(id)

    def _tell(self, id: str) -> None:
        if len(self.told) > TOLD_MAX + 2 * len(self.held):  # who reads seldom reads all of `held` instead
            self.told.clear()
            self.era += 1
        self.told.append(id)

    def pin(self, id: str, until_us: int) -> None:
        """Nobody may take the run until then; 0: from now on somebody may."""
        held = self.held[id]
        leaf = held.leaf
        self._leave(held)
        change = held.charge * (bool(until_us) - bool(held.pinned_us))
        held.pinned_us = until_us
        insort(leaf.runs, (held.key, held))
        self._use(leaf, 0, change)

    def _leave(self, held: Held) -> None:
        runs = held.leaf.runs
        index = bisect_left(runs, held.key, key=itemgetter(0))
        assert runs[index][1] is held, "keys are unique"
        del runs[index]

    def book(self, leaf: Node, charge: int) -> None:
        """So much more (less, if negative) of what waits in `leaf` is promised so soon that it counts as pinned."""
        for node in leaf.path():
            node.pinned += charge
        self._demand(leaf)

    def wait(self, leaf: Node, charge: int) -> None:
        """So much more (less, if negative) waits for capacity."""
        leaf.pending += charge
        assert leaf.pending >= 0, "less than nothing waits"
        self._demand(leaf)

    def _use(self, leaf: Node, charge: int, pinned: int, since_us: int | None = None) -> None:
        since_us = self._clock.us if since_us is None else max(since_us, self.ticked_us)
        missed = charge * (since_us - self.ticked_us)
        for node in leaf.path():
            node.running += charge
            node.missed += missed
            node.pinned += pinned
            node.version += 1
            node.turnover += 1
        assert leaf.running >= 0, "less than nothing runs"
        self._occupy(leaf)
        self._demand(leaf)

    def _occupy(self, changed: Node) -> None:
        node: Node | None = changed
        while node is not None:
            used = node.children_occupied if node.children else node.running
            after, before = max(used, node.floor), node.occupied
            node.occupied = after
            node = node.parent
            if node is not None:
                node.children_occupied += after - before

    def _demand(self, changed: Node) -> None:
        """Demand, and what of it is owed, from `changed` upwards; every parent learns which child to look at."""
        node: Node | None = changed
        while node is not None:
            inner = bool(node.children)
            demand = max(node.children_demand if inner else node.running + node.pending, node.floor)
            if node.borrow >= 0:
                demand = min(demand, node.guarantee + node.borrow)
            owed = max(min(node.guarantee, demand), node.children_owed if inner else node.pinned)
            demand = max(demand, owed)
            parent = node.parent
            if parent is not None:
                parent.children_demand += demand - node.demand
                parent.children_owed += owed - node.owed
            node.demand, node.owed = demand, owed
            if parent is not None and parent.changed is not None:
                parent.changed[node.id] = node
            self._dirty = True
            node = parent

    # ── deserved shares ───────────────────────────────────────────────────────────────────────────────────────────
    def settle(self) -> None:
        """Bring all deserved shares up to date."""
        if not self._dirty:
            return
        self._dirty = False
        if self.root.deserved != self.capacity:
            self.root.deserved = self.capacity
            self.root.version += 1
            self.root.changed = None
        stack = [self.root]
        while stack:
            node = stack.pop()
            looked_at = node.children if node.changed is None else node.changed
            if looked_at:
                moved = _divide(node)
                for above in node.path() if moved else ():
                    above.version += 1
                stack += [child for child in {**looked_at, **moved}.values() if child.children]
            node.changed = {}

    # ── questions ─────────────────────────────────────────────────────────────────────────────────────────────────
    def occupied_with(self, node: Node, leaf: Node, charge: int) -> int:
        """occ(node, running + charge more in `leaf`), which lies below it."""
        used, at = leaf.running + charge, leaf
        while True:
            after = max(used, at.floor)
            if at is node:
                return after
            above = at.parent
            assert above is not None, "the leaf lies below the node"
            used, at = above.children_occupied - at.occupied + after, above

    def over_limit(self, leaf: Node, charge: int) -> Node | None:
        """The lowest node whose borrow limit forbids `charge` more in `leaf`, if any."""
        for node in leaf.path():
            if node.borrow >= 0 and node.running + charge > node.guarantee + node.borrow:
                return node
        return None

    def lends(self, leaf: Node, charge: int) -> bool:
        """Whether `charge` more in `leaf` leaves alone what may not be lent; where capacity was lost, whether it takes
        no more of it than before."""
        return self.occupied_with(self.root, leaf, charge) <= max(self.capacity, self.root.occupied)

    def guaranteed(self, leaf: Node, charge: int) -> Node | None:
        """The lowest node below the root inside whose guarantee `charge` more in `leaf` stays, if any."""
        for node in leaf.path():
            if node.depth and node.guarantee and self.occupied_with(node, leaf, charge) <= node.guarantee:
                return node
        return None

    def most(self, leaf: Node, closed: int = 0) -> int:
        """The greatest charge that `leaf` could use if nobody else used anything: within all limits, and beside what
        others do not lend. `closed`: so much of the pool is out of service for a time."""
        whole = self.capacity + closed
        most, kept = whole, 0
        below: Node | None = None
        for node in leaf.path():
            kept += self._children_unlendable(node)
            if below is not None:
                kept -= max(below.floor, self._children_unlendable(below))
            if node.borrow >= 0:
                most = min(most, node.guarantee + node.borrow)
            below = node
        return min(most, whole - kept)

    def _children_unlendable(self, node: Node) -> int:
        """What others can never use of the guarantees of its children."""
        known = self._unlendable.get(node)
        if known is None:
            known = self._unlendable[node] = sum(
                max(child.floor, self._children_unlendable(child)) for child in node.children.values()
            )
        return known

    # ── lag ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def tick(self, ticks: int, sharing: Sharing) -> None:
        """`ticks` intervals have passed since the last tick, with shares as they are, and usage as it is but for what
        began or ended in the first of them."""
        self.settle()
        kept = kept_per_tick(sharing.tick_us, sharing.half_life_us)
        for node in self.nodes.values():
            gain = (node.deserved - node.running) * sharing.tick_s
            missed, node.missed = node.missed * sharing.tick_s // sharing.tick_us, 0
            lag = node.lag
            for _ in range(ticks):
                after = _towards_zero(lag, kept) + gain + missed
                if after == lag and not missed:
                    break
                lag, missed = after, 0
            node.lag = lag
        self.ticked_us = self._clock.us - self._clock.us % sharing.tick_us


@lru_cache(maxsize=16)
def kept_per_tick(tick_us: int, half_life_us: int) -> int:
    """2³² x 2^(-tick/half-life), rounded; decimal arithmetic, the same on every machine."""
    with localcontext(prec=50):
        kept = Decimal(2) ** (_SHIFT - Decimal(tick_us) / Decimal(half_life_us))
        return int(kept.to_integral_value(ROUND_HALF_EVEN))


def _towards_zero(lag: int, kept: int) -> int:
    return lag * kept >> _SHIFT if lag >= 0 else -(-lag * kept >> _SHIFT)


def _divide(node: Node) -> dict[str, Node]:
    """Deserved shares of the children of `node`; returns those whose share moved."""
    children, changed, total = node.children, node.changed, node.deserved
    if node.children_demand <= total:
        some = children if changed is None or node.level is not None else changed
        node.level = None
        return _grant([(child, child.demand) for child in some.values()])
    if (
        node.level
        and changed is not None
        and all(_still_waits(child, *node.level) for child in changed.values())
    ):
        return {}
    every = sorted(children.values(), key=lambda child: child.id)
    for child in every:
        child.base, child.waits = child.owed, False
    surplus = total - sum(child.base for child in every)
    if surplus < 0:
        node.level = ()
        return _grant(_shrunk(every, total))
    return _grant(_filled(node, every, surplus))


def _still_waits(child: Node, surplus: int, weights: int) -> bool:
    """Whether a child whose demand changed got less than it asked and still does, so that nobody's share moves."""
    base = child.owed
    return child.waits and base == child.base and (child.demand - base) * weights > surplus * child.weight


def _grant(shares: list[tuple[Node, int]]) -> dict[str, Node]:
    moved = {}
    for child, share in shares:
        if child.deserved != share:
            child.deserved = share
            child.version += 1
            child.changed = None
            moved[child.id] = child
    return moved


def _shrunk(children: list[Node], total: int) -> list[tuple[Node, int]]:
    """Bases that are more than there is, in proportion; what is pinned shrinks last."""
    pinned = [child.pinned for child in children]
    if sum(pinned) > total:
        return list(zip(children, apportion(pinned, total), strict=True))
    rest = apportion([child.base - child.pinned for child in children], total - sum(pinned))
    return [(child, child.pinned + part) for child, part in zip(children, rest, strict=True)]


def _filled(node: Node, children: list[Node], surplus: int) -> list[tuple[Node, int]]:
    """Bases, and the surplus by weight up to demand; what is left of it to children without weight, equally."""
    shares = {child.id: child.base for child in children}
    waiting = [child for child in children if child.weight and child.demand > child.base]
    surplus, waiting = _pour(shares, waiting, surplus, [child.weight for child in waiting])
    if not waiting:
        idle = [child for child in children if not child.weight and child.demand > child.base]
        surplus, waiting = _pour(shares, idle, surplus, [1] * len(idle))
    for child in waiting:
        child.waits = child.weight > 0
    node.level = (surplus, sum(child.weight for child in waiting))
    parts = apportion([child.weight or 1 for child in waiting], surplus)
    for child, part in zip(waiting, parts, strict=True):
        shares[child.id] += part
    return [(child, shares[child.id]) for child in children]


def _pour(
    shares: dict[str, int], waiting: list[Node], surplus: int, weights: list[int]
) -> tuple[int, list[Node]]:
    """Grant what lies under the water, which rises with every round; returns what is left, and who waits for more."""
    whole = sum(weights)
    pairs = list(zip(waiting, weights, strict=True))
    while True:
        over = [
            (child, weight)
            for child, weight in pairs
            if (child.demand - child.base) * whole > surplus * weight
        ]
        if len(over) == len(pairs):
            return surplus, [child for child, _ in over]
        kept = {child.id for child, _ in over}
        rounds = surplus
        for child, weight in pairs:
            if child.id not in kept:
                shares[child.id] += child.demand - child.base
                rounds -= child.demand - child.base
                whole -= weight
        surplus, pairs = rounds, over


def apportion(weights: list[int], total: int) -> list[int]:
    """`total` in proportion to `weights`, in whole units by largest remainder; the earlier on ties."""
    whole = sum(weights)
    if not whole:
        return [0] * len(weights)
    parts = [total * weight // whole for weight in weights]
    rest = total - sum(parts)
    if rest:
        by_remainder = sorted(range(len(weights)), key=lambda i: (-(total * weights[i] % whole), i))
        for i in by_remainder[:rest]:
            parts[i] += 1
    return parts
