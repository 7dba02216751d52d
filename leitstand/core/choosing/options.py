# SPDX-License-Identifier: Apache-2.0
"""Which pools could ever run a job, with which of its shapes, and what the others lack. Called by admission, by those
that choose, and by explanations.

A pool is eligible if it has nodes at a site, under a law and of a type that the shape names, could hold the gang if
nothing else ran, and the entitlements there ever let so much run.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from leitstand.core.facts import LACKS_MAX, Lack, Resources
from leitstand.core.places.placement import tasks_held
from leitstand.core.places.siting import allowed
from leitstand.core.sharing import entitlements, keeping

if TYPE_CHECKING:
    from leitstand.core.fleet import Pool
    from leitstand.core.state import State

# What a refusal of one pool says, the least fitting first: what came furthest is told to the user.
_FURTHER: Final = ("sites", "jurisdiction", "gpu_type", "mig")


class Option(NamedTuple):
    """The job could wait in `pool` with its shape number `alternative`, and would count for `charge_milli` there."""

    pool: str
    alternative: int
    charge_milli: int


class Found(NamedTuple):
    """`options` in the order of the job's shapes, then of the fleet; `lacks`: the rest in the same order."""

    options: list[Option]
    lacks: list[Lack]

    def furthest(self) -> Lack:
        """Of what nobody has, the lack of the pool that comes nearest: of the first shape, if any has it."""
        of_first = [lack for lack in self.lacks if not lack.alternative]
        return max(of_first or self.lacks, key=_nearness)

    def recorded(self) -> tuple[Lack, ...]:
        """What a refusal records beside that; nothing where there was one pool and one shape."""
        return tuple(self.lacks[:LACKS_MAX]) if len(self.lacks) > 1 else ()


def options(state: "State", leaf: str, shapes: Sequence[Resources]) -> Found:
    """Every pool with every shape; `leaf`: the project's node in the entitlement tree."""
    found = Found([], [])
    referred: list[Option] = []
    pools = pools_of(state, leaf.split("/")[1])
    for alternative, asked in enumerate(shapes):
        for pool in pools:
            lack = lack_of(state, leaf, pool, asked)
            if lack is None:
                option = Option(pool, alternative, keeping.charge_of(state, pool, asked))
                (referred if _is_referral(state, pool, asked) else found.options).append(option)
            else:
                found.lacks.append(Lack(pool, alternative, *lack))
    if not found.options:
        found.options.extend(referred)
    return found


def pools_of(state: "State", tenant: str) -> list[str]:
    """The pools that a tenant's jobs may queue in, in the order of the fleet: under `fair` all of them."""
    rules = state.rules
    if rules.static:
        return [tenant]
    return list(state.pools) if rules.discipline == "fair" and state.pools else [SHARED]


def _is_referral(state: "State", pool: str, asked: Resources) -> bool:
    """Whether the job would go there only because nobody else can run it: the site is delegated, and not named."""
    found = state.pools.get(pool)
    return found is not None and found.delegated and not asked.sites


def lack_of(state: "State", leaf: str, name: str, asked: Resources) -> tuple[str, int, int, str] | None:
    """(reason, asked, limit, resource) why the pool could never run the shape for this project; None: it could."""
    pool = state.pools.get(name)
    if pool is None:
        return "no_such_capacity", asked.gpus, 0, "gpus"
    missing = _missing(pool, asked)
    if missing:
        return "no_such_capacity", 0, 0, missing
    for level in (asked.level, asked.prefer, asked.slice_level):
        if level and not pool.topology.knows(level):
            return "unknown_level", 0, 0, "level"
    tasks = max(asked.nodes, asked.nodes_max) or -(-asked.gpus // max(pool.whole.size, 1))
    if tasks > pool.tasks_max:
        return "gang_too_wide", tasks, pool.tasks_max, "nodes"
    if not pool.could_hold(asked):
        return "no_such_capacity", *lacking(pool, asked)
    if pool.standing is not None:
        charge = keeping.charge_of(state, name, asked)
        tree = pool.standing.tree
        entitled = tree.most(tree.node(leaf), pool.closures.closed(pool.whole))
        if charge > entitled and not entitlements.changes(state, name):
            return "entitlement", charge, entitled, "charge_milli"
    if pool.delegated and not (asked.sites or asked.partners):
        return "no_such_capacity", 0, 0, "partners"
    return None


def lacking(pool: "Pool", asked: Resources) -> tuple[int, int, str]:
    """(asked, limit, resource) of what the whole fleet of `pool` lacks for this gang, the first that does."""
    missing = _missing(pool, asked)
    if missing:
        return 0, 0, missing
    whole = pool.whole
    within = allowed(asked, pool.topology)
    in_service = [position for position in whole.ascending(0) if within >> position & 1]
    largest = max((whole.gpus[position].bit_count() for position in in_service), default=0)
    gpus = asked.gpus // asked.nodes if asked.nodes else min(asked.gpus, largest)
    cpus_milli, memory_mib = asked.part(gpus)
    for amount, limit, resource in (
        (asked.gpus, sum(whole.gpus[position].bit_count() for position in in_service), "gpus"),
        (gpus, largest, "gpus_per_node"),
        (
            cpus_milli,
            max((whole.cpus_milli[position] for position in in_service), default=0),
            "cpus_milli_per_node",
        ),
        (
            memory_mib,
            max((whole.memory_mib[position] for position in in_service), default=0),
            "memory_mib_per_node",
        ),
    ):
        if amount > limit:
            return amount, limit, resource
    if asked.nodes > 1:
        held = (tasks_held(whole, position, asked) for position in in_service)
        most = sum(held if pool.colocate else (min(1, room) for room in held))
        if most < asked.nodes or not (asked.level or asked.slice_nodes):
            return asked.nodes, most, "nodes"
    return (asked.nodes, 0, "level") if asked.level or asked.slice_nodes else (0, 0, "")


def _missing(pool: "Pool", asked: Resources) -> str:
    """The first of `sites`, `jurisdiction`, `gpu_type`, `mig` that no node there has, with those before it; '' if
    none."""
    named = pool.topology.named
    if asked.sites and not named(sites=asked.sites):
        return "sites"
    if asked.jurisdiction and not named(sites=asked.sites, jurisdiction=asked.jurisdiction):
        return "jurisdiction"
    if asked.gpu_type and not named(asked.gpu_type, asked.sites, asked.jurisdiction):
        return "gpu_type"
    if asked.mig and not pool.instance_milli(asked):
        return "mig"
    return ""


def _nearness(lack: Lack) -> int:
    if lack.resource == "partners":  # it would do, if the job let it
        return len(_FURTHER) + 2
    if lack.reason == "entitlement":
        return len(_FURTHER) + 1
    return _FURTHER.index(lack.resource) if lack.resource in _FURTHER else len(_FURTHER)


SHARED: Final = "shared"  # the one pool that is used under the disciplines without shares
