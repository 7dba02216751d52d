# SPDX-License-Identifier: Apache-2.0
"""Who will be entitled to what: the tree of one pool as its contracts will have it. Called by the fair plan, which
promises starts that lie ahead, and where a change of contracts is held against what was promised before.
"""

from bisect import bisect_right
from typing import Final

from leitstand.core.acts import Entitlement
from leitstand.core.rules import Sharing
from leitstand.core.sharing.entitlements import Contracts, effective, times
from leitstand.core.sharing.shares import Tree

TREES_MAX: Final = 64  # kept at once: of as many spans of time in which contracts stay as they are
EDGES_MAX: Final = (
    32  # changes of contracts that are known to limits over time; later ones when their time is near
)
UNBOUND: Final = 2**60  # more than any limit


class Ahead:
    """The tree under these contracts at any time; without usage, but for who asked for `now`: that is the tree as it
    is. `edges`: when contracts change by time alone, ascending."""

    def __init__(self, contracts: Contracts, sharing: Sharing, now: Tree | None = None) -> None:
        self.edges = sorted(dict.fromkeys(times(contracts)))
        self._contracts, self._sharing = contracts, sharing
        self._now = now
        self._trees: dict[int, Tree] = {}  # by how many edges came before
        self._ceilings: dict[str, list[tuple[int, int]]] | None = None  # worked out when asked for,
        self._passed = 0  # and after so many edges

    def between(self, from_us: int, until_us: int) -> list[int]:
        """The edges after `from_us` and before `until_us`."""
        return self.edges[bisect_right(self.edges, from_us) : bisect_right(self.edges, until_us - 1)]

    def changes(self, now: int, at_us: int) -> bool:
        """Whether anybody is entitled to something else then than at `now`."""
        return bool(self.between(now, at_us + 1))

    def tree(self, now: int, at_us: int) -> Tree:
        """The tree of then."""
        if self._now is not None and not self.changes(now, at_us):
            return self._now
        number = bisect_right(self.edges, at_us)
        known = self._trees.get(number)
        if known is None:
            if len(self._trees) >= TREES_MAX:
                self._trees.clear()
            known = self._trees[number] = entitled(self._contracts, self._sharing, at_us)
        return known

    def ceilings(self, now: int) -> dict[str, list[tuple[int, int]]]:
        """What nodes may use from `now` on, as (from, charge), UNBOUND for no limit: those for which time changes that,
        over the next EDGES_MAX changes."""
        passed = bisect_right(self.edges, now)
        if self._ceilings is None or self._passed != passed:
            self._ceilings, self._passed = {}, passed
            said = [*self._contracts.entitlements.values()]
            said += [change.entitlement for change in self._contracts.scheduled]
            limited = dict.fromkeys(one.node for one in said if one.borrow_milli >= 0)
            for at_us in [now, *self.between(now, UNBOUND)[:EDGES_MAX]] if limited and self.edges else ():
                force = effective(self._contracts, self._sharing, at_us)
                for node in limited:
                    one = force.get(node)
                    most = UNBOUND if one is None else _ceiling(one)
                    self._ceilings.setdefault(node, []).append((at_us, most))
            changing = self._ceilings.items()
            self._ceilings = {node: steps for node, steps in changing if len({most for _, most in steps}) > 1}
        return self._ceilings


def entitled(contracts: Contracts, sharing: Sharing, at_us: int) -> Tree:
    """A tree in which nothing runs, with what is in force then."""
    tree = Tree()
    for entitlement in effective(contracts, sharing, at_us).values():
        tree.entitle(entitlement)
    return tree


def _ceiling(one: Entitlement) -> int:
    return UNBOUND if one.borrow_milli < 0 else one.guarantee_milli + one.borrow_milli
