# SPDX-License-Identifier: Apache-2.0
"""The fleet: sites, nodes, and the pools of nodes that share a queue. Part of the state: `APPLY` folds its facts."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.decision import ID_MAX, Answer, Decision, is_id, record, refuse
from leitstand.core.fact import Fact
from leitstand.core.places.closures import Closures, Lack
from leitstand.core.places.fit import WHOLE_MILLI, Availability, Free, positions_of
from leitstand.core.places.mig import Mig, Model, model_of
from leitstand.core.places.placement import Place, place, tasks_max
from leitstand.core.places.siting import allowed, named
from leitstand.core.places.slots import EVERYTHING, Slots, layout
from leitstand.core.places.steps import Where
from leitstand.core.places.topology import NODE, Topology
from leitstand.core.queue import Queue
from leitstand.core.sharing import keeping
from leitstand.core.sharing.standing import Standing

if TYPE_CHECKING:
    from leitstand.core.state import State

CARBON_MAX: Final = 10_000  # g for a kWh
_SHAPES_MAX: Final = 10_000
# of a node: GPUs (mask), CPU, memory; of GPUs that are shared the thousandths, of those that are cut what is taken
Holding = tuple[int, int, int, dict[int, int], dict[int, int]]


class Site(msgspec.Struct, gc=False):
    id: str
    engine: str
    logical: bool
    colocate: bool
    jurisdiction: str
    levels: tuple[str, ...] = ()
    carbon_g_per_kwh: int = 0  # of its electricity, 0: not known
    resizes: bool | msgspec.UnsetType = msgspec.UNSET  # True: its engine gives a run that runs other nodes
    mig_models: tuple[Model, ...] | msgspec.UnsetType = msgspec.UNSET  # before it described any
    delegated: bool | msgspec.UnsetType = msgspec.UNSET  # True: it has a queue and users of its own


class Report(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was reported of a node, as in `NodeReported`."""

    kind: str
    code: int
    gpu: int
    at_us: int

    def is_of(self, kind: str, code: int, gpu: int) -> bool:
        """Whether it is the same trouble of the same GPU."""
        return (self.kind, self.code, self.gpu) == (kind, code, gpu)


class Health(msgspec.Struct, gc=False):
    """Of a node of which something was reported. `reports`: the last one of each trouble, the latest last. `cause`: for
    what it is drained, since `since_us`; None: it is not. `is_there`: what its engine says of it meanwhile; `burn_in`:
    the job that shows whether it is well."""

    reports: list[Report] = []
    cause: Report | None = None
    since_us: int = 0
    is_there: bool = True
    burn_in: str = ""


class Node(msgspec.Struct, gc=False):
    """`position`: its index in its pool. Out of service, it takes no new run. `health`: unset as long as nothing was
    reported."""

    id: str
    site: str
    pool: str
    gpus: int
    cpus_milli: int
    memory_mib: int
    gpu_type: str
    in_service: bool
    position: int
    domains: tuple[str, ...] = ()
    mig: Mig | msgspec.UnsetType = msgspec.UNSET  # without any GPU in MIG mode
    health: Health | msgspec.UnsetType = msgspec.UNSET

    @property
    def fixed(self) -> int:
        """Its GPUs that are partitioned for good, as a bit mask."""
        return self.mig.mask if self.mig is not msgspec.UNSET else 0


class Pool:
    """The nodes that share a queue. `free`: now; `whole`: as if nothing ran and no window was; `closures`: maintenance
    windows; `standing`: under `fair` alone."""

    __slots__ = (
        "_amounts",
        "_could",
        "closures",
        "colocate",
        "delegated",
        "free",
        "name_bytes",
        "names",
        "queue",
        "sites",
        "standing",
        "tasks_max",
        "topology",
        "whole",
        "widest",
    )

    def __init__(self) -> None:
        self.free = Availability()
        self.whole = Availability()
        self.closures = Closures()
        self.names: list[str] = []
        self.name_bytes = 0  # of the longest node id
        self.tasks_max = 0  # of one gang, so that a fact can hold its placement
        self.widest = 0  # GPUs of the largest node with some in MIG mode
        self.queue = Queue()
        self.topology = Topology()
        self.colocate = False  # only where all its sites allow it,
        self.sites: dict[str, bool] = {}  # by their ids
        self.delegated = False  # its nodes are slots of a quota at one site that has a queue of its own
        self.standing: Standing | None = None
        self._amounts: tuple[int, int, int] | None = None  # derived, as is
        self._could: dict[f.Resources, bool] = {}  # which shapes it could hold, until a node or site changes

    def find(self, asked: f.Resources) -> list[Place] | None:
        """Places for a gang now, or None."""
        return self.place(asked, self.free)

    def place(self, asked: f.Resources, free: Free) -> list[Place] | None:
        """Places for a gang on what is free, or None."""
        return self._recordable(place(free, asked, self.topology, self.colocate))

    def where(self, asked: f.Resources) -> Where:
        """What is known of where a gang may go."""
        within = allowed(asked, self.topology)
        size = self.topology.largest(self.whole, within)
        domain = None
        if asked.level not in ("", NODE):
            domain = [-1] * len(self.names)
            for number, one in enumerate(self.topology.of_level(asked.level)):
                for position in positions_of(one.mask):
                    domain[position] = number
        return Where(self.colocate, within, size, domain)

    def within(self, asked: f.Resources) -> list[int]:
        """Bit masks over positions: the gang has to lie within one of them."""
        nodes = named(asked, self.topology)
        if not asked.level or asked.level == NODE:
            return [domain.mask & nodes for domain in self.topology.tops()]
        return [domain.mask & nodes for domain in self.topology.of_level(asked.level)]

    def could_hold(self, asked: f.Resources) -> bool:
        """Whether the gang would find places if nothing ran."""
        known = self._could.get(asked)
        if known is None:
            if len(self._could) >= _SHAPES_MAX:
                self._could.clear()
            places = self._recordable(place(self.whole, asked, self.topology, self.colocate))
            known = self._could[asked] = places is not None
        return known

    def _recordable(self, places: list[Place] | None) -> list[Place] | None:
        return None if places is None or len(places) > self.tasks_max else places

    def withdraw(self, position: int) -> None:
        """Take the node at `position` out of service."""
        self.free.withdraw(position)
        self.whole.withdraw(position)
        if self.standing is not None:
            self.standing.timeline.touch(position)
        self.resize()

    def amounts(self) -> tuple[int, int, int]:
        """(GPUs, cpus_milli, memory_mib) in service, partitioned GPUs included."""
        if self._amounts is None:
            whole = self.whole
            positions = list(whole.ascending(0))
            self._amounts = (
                sum(whole.count(position) for position in positions),
                sum(whole.cpus_milli[position] for position in positions),
                sum(whole.memory_mib[position] for position in positions),
            )
        return self._amounts

    def let_share(self, site: Site) -> None:
        """Tasks of a gang may share a node of this pool if the site, and all others of it, allow it."""
        self.delegated = site.delegated is True
        self.sites[site.id] = site.colocate
        self.colocate = all(self.sites.values())

    def instance_milli(self, asked: f.Resources) -> int:
        """What a MIG instance of the profile that is asked for counts for, 0 if the pool has none where it may be."""
        slots = self.whole.slots
        return 0 if slots is None else slots.milli(asked.mig, allowed(asked, self.topology))

    def capacity(self) -> int:
        """The charge of the nodes in service that no window closes: GPUs in thousandths, or thousandths of cores."""
        gpus, cpus_milli, _ = self.amounts()
        return (gpus * WHOLE_MILLI or cpus_milli) - self.closures.closed(self.whole)

    def lacks(self, now: int) -> list[Lack]:
        """How much less (or more) than now there will be, and when."""
        return self.closures.lacks(self.whole, now)

    def resize(self) -> None:
        """Note the size of the largest node in service, and what follows from it."""
        self._amounts = None
        self._could.clear()
        self.closures.forget()
        levels = self.whole.levels
        size = max((size for size, mask in enumerate(levels) if mask), default=0)
        self.free.size = self.whole.size = size
        self.tasks_max = tasks_max(max(size, self.widest), self.name_bytes, self.free.slots is not None)


def _site_added(state: "State", at: int, fact: f.SiteAdded) -> None:
    before = state.sites.get(fact.site)
    said, carbon = ("", 0) if before is None else (before.jurisdiction, before.carbon_g_per_kwh)
    jurisdiction = fact.jurisdiction or said
    site = Site(fact.site, fact.engine, fact.logical, fact.colocate, jurisdiction, fact.levels, carbon)
    if fact.resizes:
        site.resizes = True
    if fact.delegated:
        site.delegated = True
    models = site.mig_models = fact.mig_models or msgspec.UNSET
    state.sites[fact.site] = site
    for node in state.nodes.values():
        if node.site == fact.site:
            state.pools[node.pool].let_share(site)
    _name(state, site)
    if before is not None and before.mig_models != models:
        for node in state.nodes.values():
            if node.site == fact.site and node.mig is not msgspec.UNSET:
                serve(state, node, held(state))


def describe(state: "State", now: int, asked: a.SiteDescribed) -> Decision:
    """What an operator says of a site, if it is there and the amounts are possible."""
    site = state.sites.get(asked.site)
    if site is None:
        return refuse("unknown_site", asked.site[:ID_MAX])
    if not 0 <= asked.carbon_g_per_kwh <= CARBON_MAX:
        return refuse("invalid", f"{asked.carbon_g_per_kwh} gCO2/kWh, not in 0..{CARBON_MAX}")
    if asked.jurisdiction and not is_id(asked.jurisdiction):
        return refuse("invalid", f"{asked.jurisdiction[:ID_MAX]!r} is no name of a jurisdiction")
    if (asked.jurisdiction, asked.carbon_g_per_kwh) == (site.jurisdiction, site.carbon_g_per_kwh):
        return Decision((), Answer(site.id))
    return record(asked, made=site.id)


def _site_described(state: "State", at: int, fact: a.SiteDescribed) -> None:
    site = state.sites[fact.site]
    site.jurisdiction, site.carbon_g_per_kwh = fact.jurisdiction, fact.carbon_g_per_kwh
    _name(state, site)


def _name(state: "State", site: Site) -> None:
    """Pools know the site as it is now."""
    for pool in state.pools.values():
        pool.topology.name(site.id, site.levels, site.jurisdiction, site.logical)
        pool.resize()


def _node_added(state: "State", at: int, fact: f.NodeAdded) -> None:
    node = state.nodes.get(fact.node)
    pool = state.pools.get(fact.pool)
    if pool is None:
        pool = state.pools[fact.pool] = Pool()
        pool.standing = keeping.standing_of(state, pool)
    if node is not None and node.site != fact.site:
        others = [one for one in state.nodes.values() if one.pool == fact.pool and one is not node]
        pool.sites = {one.site: state.sites[one.site].colocate for one in others}
    position = len(pool.names) if node is None else node.position
    health = msgspec.UNSET if node is None else node.health
    drained = health is not msgspec.UNSET and health.cause is not None
    if health is not msgspec.UNSET:
        health.is_there = True
    state.nodes[fact.node] = Node(
        fact.node,
        fact.site,
        fact.pool,
        fact.gpus,
        fact.cpus_milli,
        fact.memory_mib,
        fact.gpu_type,
        not drained,
        position,
        fact.domains,
        fact.mig or msgspec.UNSET,
        health,
    )
    serve(state, state.nodes[fact.node], held(state))


def _node_removed(state: "State", at: int, fact: f.NodeRemoved) -> None:
    node = state.nodes[fact.node]
    if node.health is not msgspec.UNSET and node.health.cause is not None:
        node.health.is_there = False
    node.in_service = False
    state.pools[node.pool].withdraw(node.position)


def serve(state: "State", node: Node, held: dict[str, Holding]) -> None:
    """Bring a node into its pool with what its runs leave free."""
    pool = state.pools[node.pool]
    if node.position == len(pool.names):
        pool.names.append(node.id)
        pool.name_bytes = max(pool.name_bytes, len(node.id))
    site = state.sites.get(node.site)
    if site is not None:
        pool.let_share(site)
        pool.topology.name(site.id, site.levels, site.jurisdiction, site.logical)
    whole = (1 << node.gpus) - 1 & ~node.fixed  # can be used whole
    gpus, cpus_milli, memory_mib, parts, cuts = held.get(node.id, (0, 0, 0, {}, {}))
    shared = {index: WHOLE_MILLI - milli for index, milli in parts.items() if whole >> index & 1}
    shared.update((index, 0) for index in cuts if whole >> index & 1)
    pool.topology.add(node.position, node if not node.fixed else replace(node, gpus=whole.bit_count()))
    amounts = node.cpus_milli - cpus_milli, node.memory_mib - memory_mib
    pool.whole.put(node.position, node.gpus, whole, node.cpus_milli, node.memory_mib)
    pool.free.put(node.position, node.gpus, whole & ~gpus, *amounts, shared)
    if cuts or node.mig is not msgspec.UNSET or pool.free.slots is not None:
        _cut(state, node, gpus, cuts)
    pool.resize()
    if pool.standing is not None:
        pool.standing.timeline.touch(node.position)
    if not node.in_service:
        pool.withdraw(node.position)
    elif pool.closures.down >> node.position & 1:
        pool.free.withdraw(node.position)


def _cut(state: "State", node: Node, gpus: int, cuts: dict[int, int]) -> None:
    """What of the node is in MIG mode, and what is taken of it: by instances `cuts`; of a GPU that was partitioned
    while somebody uses it (`gpus`) otherwise, everything until that ends."""
    pool, site = state.pools[node.pool], state.sites.get(node.site)
    described = () if site is None or site.mig_models is msgspec.UNSET else site.mig_models
    mig = None if node.mig is msgspec.UNSET else node.mig
    model = None if mig is None else model_of(node.gpu_type, described)
    taken = {index: mask for index, mask in cuts.items() if index < node.gpus}
    for index in positions_of(node.fixed & gpus):
        taken.setdefault(index, EVERYTHING)
    for amounts, used in ((pool.free, taken), (pool.whole, {})):
        if amounts.slots is None:
            amounts.slots = Slots()
        amounts.slots.put(node.position, *layout(mig, model, used))
    pool.widest = max(pool.widest, node.gpus)


def vacate(state: "State", task: f.Task, asked: f.Resources) -> None:
    """Free what a task held."""
    node, bits = state.nodes[task.node], task.bits
    free, part = state.pools[node.pool].free, asked.part(bits.bit_count())
    if asked.mig:
        free.join(node.position, bits.bit_length() - 1, task.slot, *part)
        return
    left = bits & ((1 << node.gpus) - 1)  # the node may have shrunk meanwhile,
    fixed = left & node.fixed  # or was partitioned
    free.give(node.position, left & ~fixed, *part, asked.gpu_milli)
    for gpu in positions_of(fixed):
        others = (other for run in state.runs.values() for other in (*run.tasks, *run.leaving))
        if not any(one is not task and one.node == node.id and one.bits >> gpu & 1 for one in others):
            assert free.slots is not None, "a partitioned GPU has slots"
            free.slots.lay(node.position, gpu, (free.slots.gpus[node.position][gpu][0], 0))


def held(state: "State") -> dict[str, Holding]:
    """By node: the GPUs (mask), CPU and memory that runs hold, and of GPUs that they share the thousandths, of those
    that are cut what their MIG instances take."""
    found: dict[str, Holding] = {}
    for run in state.runs.values():
        resources = state.jobs[run.job].resources
        for task in (*run.tasks, *run.leaving):
            gpus, cpus_milli, memory_mib, parts, cuts = found.get(task.node, (0, 0, 0, {}, {}))
            bits = task.bits
            part = resources.part(bits.bit_count())
            if resources.gpu_milli:
                index = bits.bit_length() - 1
                parts[index] = parts.get(index, 0) + resources.gpu_milli
            elif resources.mig:
                index = bits.bit_length() - 1
                cuts[index] = cuts.get(index, 0) | task.slot
            found[task.node] = gpus | bits, cpus_milli + part[0], memory_mib + part[1], parts, cuts
    return found


APPLY: Final[dict[type[Fact], Callable[["State", int, Any], None]]] = {
    f.SiteAdded: _site_added,
    f.NodeAdded: _node_added,
    f.NodeRemoved: _node_removed,
    a.SiteDescribed: _site_described,
}
DECIDE: Final[dict[type, Callable[["State", int, Any], Decision]]] = {a.SiteDescribed: describe}
