# SPDX-License-Identifier: Apache-2.0
"""What each eligible pool and shape counts for, in seconds of waiting: the least is chosen. Called by admission, at
ticks for jobs that wait, and by explanations.

    wait + order + level + data + cost + carbon            (weights: `Rules.choosing`)

The wait is 0 where the job would start now. Else it is an estimate from sums: the work that waits before it, divided
by what works it off, and the time until as much as it counts for ends, if runs end evenly spaced, on average when they
have to by their limits. Inside a guarantee it is at most the recall time. `docs/scheduling.md` explains it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from leitstand.core.choosing.options import Option
from leitstand.core.facts import Resources
from leitstand.core.places.placement import Place
from leitstand.core.places.siting import named
from leitstand.core.places.topology import NODE
from leitstand.core.sharing.backlog import LONGEST_US
from leitstand.core.units import SECOND_US

if TYPE_CHECKING:
    from leitstand.core.fleet import Pool
    from leitstand.core.sharing.shares import Node
    from leitstand.core.sharing.standing import Standing
    from leitstand.core.state import State


class Asked(NamedTuple):
    """What choosing needs of a job. `leaf`: its project's node; `job`, `pool`: itself and where it waits already."""

    leaf: str
    shapes: Sequence[Resources]
    limit_us: int
    data_sites: tuple[str, ...] = ()
    job: str = ""
    pool: str = ""
    charge_milli: int = 0
    start_us: int = 0  # of its reservation there, 0: none


class Score(NamedTuple):
    """Seconds of waiting that each part counts for."""

    wait: int
    order: int = 0
    level: int = 0
    data: int = 0
    cost: int = 0
    carbon: int = 0

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """(name, seconds) of all parts that count, the wait first."""
        named = zip(self._fields, self, strict=True)
        return tuple((name, seconds) for name, seconds in named if seconds or name == "wait")


class Choice(NamedTuple):
    """An option and what it counts for."""

    option: Option
    score: Score

    @property
    def seconds(self) -> int:
        return sum(self.score)


def ranked(state: "State", asked: Asked, options: Sequence[Option], now: int) -> list[Choice]:
    """The options at `now` (µs), the best first; on ties the earlier shape, then the earlier pool. For `fair` alone."""
    if not options:
        return []
    choosing = state.rules.choosing
    prices = [_price(state, asked, option) for option in options]
    carbons = _carbons(state, asked, options)
    found = []
    for index, option in enumerate(options):
        wait_us, preferred = wait(state, asked, option, now)
        score = Score(
            wait_us // SECOND_US,
            option.alternative * choosing.order_s,
            0 if preferred else choosing.level_s,
            0 if _has_data(state, asked, option) else choosing.data_s,
            _part(choosing.cost_s, prices, index),
            _part(choosing.carbon_s, carbons, index),
        )
        found.append(Choice(option, score))
    return sorted(found, key=lambda choice: (choice.seconds, choice.option.alternative))


# ── wait ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def wait(state: "State", asked: Asked, option: Option, now: int) -> tuple[int, bool]:
    """(µs until it is expected to start, whether it would be together as it prefers)."""
    pool = state.pools[option.pool]
    standing = pool.standing
    assert standing is not None, "the discipline is fair"
    shape, own = asked.shapes[option.alternative], option.pool == asked.pool
    if own and asked.start_us:
        return max(asked.start_us - now, 0), not shape.prefer
    leaf = standing.tree.node(asked.leaf)
    ahead = standing.backlog.waiting - (asked.charge_milli if own else 0)
    places = _places(pool, standing, leaf, _Wanted(shape, option.charge_milli, asked, now, ahead))
    if places:
        return 0, not shape.prefer or _together(pool, places, shape.prefer)
    expected = _expected(standing, leaf, asked, option, now)
    pending = leaf.pending - (asked.charge_milli if own else 0)
    owed = standing.tree.guaranteed(leaf, option.charge_milli + pending)
    if owed is not None:
        expected = min(expected, owed.recall_us or state.rules.sharing.recall_us)
    return expected, not shape.prefer


class _Wanted(NamedTuple):
    shape: Resources
    charge: int
    asked: Asked
    now: int
    ahead: int


def _places(pool: "Pool", standing: "Standing", leaf: "Node", wanted: _Wanted) -> list[Place] | None:
    """Where it would start now, if nobody who waits there took the room first."""
    tree = standing.tree
    if tree.root.running + wanted.ahead + wanted.charge > tree.capacity:
        return None
    if tree.over_limit(leaf, wanted.charge) is not None or not tree.lends(leaf, wanted.charge):
        return None
    view = standing.timeline.view(wanted.now, wanted.asked.limit_us, own=wanted.asked.job)
    return pool.place(wanted.shape, view)


def _together(pool: "Pool", places: list[Place], level: str) -> bool:
    positions = {position for position, _ in places}
    if level == NODE:
        return len(positions) == 1
    used = sum(1 << position for position in positions)
    return any(not used & ~domain.mask for domain in pool.topology.of_level(level))


def _expected(standing: "Standing", leaf: "Node", asked: Asked, option: Option, now: int) -> int:
    """The estimate. A project below its share waits for its own line alone, others for all that waits."""
    tree, backlog = standing.tree, standing.backlog
    tree.settle()
    own = 0
    if option.pool == asked.pool:
        own = asked.charge_milli * min(asked.limit_us, LONGEST_US)
    queue = (backlog.all_work - own) // max(tree.capacity, 1)
    if leaf.running <= leaf.deserved:
        line = backlog.work.get(asked.leaf, 0) - own
        queue = min(queue, line // max(leaf.deserved, option.charge_milli))
    running, runs = backlog.running, backlog.runs
    part = min(option.charge_milli, running)
    freeing = 2 * backlog.left(now) * part * runs // (running * running * (runs + 1)) if running else 0
    return queue + freeing


# ── preferences ───────────────────────────────────────────────────────────────────────────────────────────────────
def _price(state: "State", asked: Asked, option: Option) -> int:
    """What an hour costs, in thousandths of the price of the class."""
    return option.charge_milli * state.rules.choosing.price_milli.get(option.pool, 1000)


def sites_of(state: "State", shape: Resources, pool: str) -> list[str]:
    """The sites of the pool where a job of this shape may run."""
    topology = state.pools[pool].topology
    return topology.sites(named(shape, topology))


def _carbons(state: "State", asked: Asked, options: Sequence[Option]) -> list[int]:
    """gCO2 that an hour emits, but for a constant, each at its cleanest site; a site of which nothing is said counts as
    the dirtiest of those of which something is."""
    said = [site.carbon_g_per_kwh for site in state.sites.values()]
    dirtiest = max(said, default=0)
    if not dirtiest:
        return [0] * len(options)
    found = []
    for option in options:
        sites = sites_of(state, asked.shapes[option.alternative], option.pool)
        cleanest = min((state.sites[site].carbon_g_per_kwh or dirtiest for site in sites), default=dirtiest)
        found.append(option.charge_milli * cleanest)
    return found


def _has_data(state: "State", asked: Asked, option: Option) -> bool:
    if not asked.data_sites:
        return True
    return any(
        site in asked.data_sites for site in sites_of(state, asked.shapes[option.alternative], option.pool)
    )


def _part(weight: int, amounts: list[int], index: int) -> int:
    """Of a weight, as much as the amount exceeds the least, in proportion to the greatest."""
    least, most = min(amounts), max(amounts)
    return weight * (amounts[index] - least) // most if most else 0
