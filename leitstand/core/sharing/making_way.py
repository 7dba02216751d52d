# SPDX-License-Identifier: Apache-2.0
"""Way is made for promises: whoever would exceed at its start what can be called back is told to end in time. Called by
the fair plan before anything else.
"""

from typing import TYPE_CHECKING

from leitstand.core import facts as f
from leitstand.core.places.closures import lacking
from leitstand.core.sharing.shares import Held, Node
from leitstand.core.yielding.cover import Cover
from leitstand.core.yielding.offers import Yielding

if TYPE_CHECKING:
    from leitstand.core.sharing.fair import Fair


def make_way(plan: "Fair") -> None:
    """For each promise that starts as soon as a run can be made to end: the cheapest run that is in its way by count is
    told to end, never one that is pinned or inside a guarantee."""
    sharing = plan.state.rules.sharing
    for job, (leaf, charge) in list(plan.standing.due.items()):
        start_us = plan.state.reservations[job].start_us
        if plan.now < start_us - sharing.grace_us - sharing.stop_us:
            continue
        while (over := _over(plan, leaf, charge, start_us)) is not None:
            victim = _cheapest(plan, over, start_us)
            if victim is None:
                break
            plan.emit(f.RunStopOrdered(victim.run, "recall", job))
            plan.usage.forget()


def _over(plan: "Fair", leaf: Node, charge: int, at_us: int) -> Node | None:
    """The node whose limit, or the root if lending, `charge` more in `leaf` would break then, beside what runs now and
    may still run then."""
    tree, running = plan.standing.tree, plan.usage.running()
    for node in leaf.path():
        if node.borrow >= 0 and running.used(node, at_us) + charge > node.guarantee + node.borrow:
            return node
    if not tree.floors:
        return tree.root if running.used(tree.root, at_us) + charge > tree.capacity else None
    capacity = tree.capacity - lacking(plan.pool.lacks(plan.now), at_us)
    used = _used(plan, at_us)
    used[leaf] = used.get(leaf, 0) + charge
    return tree.root if _occupied(tree.root, used) > capacity else None


def _used(plan: "Fair", at_us: int) -> dict[Node, int]:
    """Usage of every leaf as of then: of what runs now and does not have to have ended."""
    used: dict[Node, int] = {}
    for held in plan.standing.tree.held.values():
        if held.until_us > at_us:
            used[held.leaf] = used.get(held.leaf, 0) + held.charge
    return used


def _occupied(node: Node, used: dict[Node, int]) -> int:
    """What `node` would occupy with this usage of the leaves."""
    if not node.children:
        return max(used.get(node, 0), node.floor)
    return max(sum(_occupied(child, used) for child in node.children.values()), node.floor)


def _cheapest(plan: "Fair", node: Node, at_us: int) -> Yielding | None:
    """The run below `node` that loses least, of those that can be taken and are inside no guarantee."""
    tree = plan.standing.tree
    cover = Cover(tree, guaranteed=True)
    owed: dict[str, Held] = {}
    for below in tree.nodes.values():
        if below.depth and below.guarantee:
            owed |= cover.runs(below)
    oldest = plan.now - plan.state.rules.sharing.protected_us
    found = [
        run
        for held in node.held()
        if held.until_us > at_us
        and not held.pinned_us
        and held.id not in owed
        and (run := plan.run_of(held)) is not None
        and not run.stopping
        and run.placed_us <= oldest
    ]
    return min(found, key=lambda run: run.cost, default=None)
