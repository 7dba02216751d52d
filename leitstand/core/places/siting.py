# SPDX-License-Identifier: Apache-2.0
"""The search for places where nodes stand in domains, or where a shape asks for more than amounts. Called by placement.

It offers domains from the lowest level up, and of the first level at which one holds the gang it takes the domain, and
in it the nodes, that `packing` finds cheapest. A single task needs no packing: it goes to the tightest node of those
that are in use, and only if none holds it to an idle one, where it breaks the least.
"""

from typing import NamedTuple

from leitstand.core.facts import Resources
from leitstand.core.places.fit import WHOLE_MILLI, Free, positions_of
from leitstand.core.places.packing import BREAK, COUNTED, Groups, Kind, Packer
from leitstand.core.places.topology import NODE, Domain, Topology

EVERYWHERE = -1  # a mask of all positions

Taken = list[tuple[int, int]]  # position, tasks there


class Part(NamedTuple):
    """What one task of a gang takes."""

    gpus: int
    cpus_milli: int
    memory_mib: int
    gpu_milli: int = 0
    mig: str = ""


def site_one(free: Free, part: Part, asked: Resources, topology: Topology) -> int:
    """The position for a task alone, -1 if no node holds it."""
    within = allowed(asked, topology)
    if asked.prefer not in ("", NODE):
        position = _one(free, part, topology, within & _mask(topology.of_level(asked.prefer)))
        if position >= 0:
            return position
    return _one(free, part, topology, within)


def site_gang(free: Free, asked: Resources, topology: Topology, colocate: bool) -> Taken | None:
    """Places for `nodes` equal tasks, or for as many more, up to `nodes_max`, as fit: preferences come after that."""
    part = Part(asked.gpus // asked.nodes, *asked.part(asked.gpus // asked.nodes), asked.gpu_milli, asked.mig)
    groups = Groups(max(1, asked.slice_nodes))
    if groups.size > 1 and asked.slice_level != NODE:
        groups = Groups(groups.size, _depths(topology.of_level(asked.slice_level)))
    topology.observe(free)
    search = _Search(free, part, topology, allowed(asked, topology))
    most = max(asked.nodes, asked.nodes_max)
    packers = [Packer(search.kinds(1), groups)]
    if colocate:
        packers.append(Packer(search.kinds(most), groups))
    count = max(_room(packer, asked, topology, most) for packer in packers)
    if count < asked.nodes:
        return None
    for packer in packers:
        if _room(packer, asked, topology, most) < count:
            continue
        for inside in _insides(asked, topology):
            taken = _lowest(packer, asked, topology, count, inside)
            if taken is not None:
                return taken
    raise AssertionError("a gang that has room found no places")


def site_fewest(free: Free, asked: Resources, topology: Topology, size: int) -> tuple[Taken, int] | None:
    """Nodes whose `size` GPUs are all taken, and last the position for the rest, -1 if nothing is left over.

    Which node takes the rest is exact where nodes that can be taken whole are alike."""
    whole, rest = divmod(asked.gpus, size)
    topology.observe(free)
    within = allowed(asked, topology)
    full = Packer(_Search(free, Part(size, *asked.part(size)), topology, within).kinds(1), Groups())
    rests = _Search(free, Part(rest, *asked.part(rest)), topology, within).kinds(1) if rest else []
    for inside in _insides(asked, topology):
        for domains in topology.ascending():
            best = _fewest_in([one for one in domains if _is_in(one, inside)], full, rests, whole)
            if best is not None:
                return best
    return None


def allowed(asked: Resources, topology: Topology) -> int:
    """The nodes that the shape leaves to choose from."""
    within = named(asked, topology)
    for level in (asked.level, asked.slice_level):
        if level not in ("", NODE):
            within &= _mask(topology.of_level(level))
    return within


def named(asked: Resources, topology: Topology) -> int:
    """The nodes with the GPUs and at the sites that the shape names."""
    if asked.gpu_type or asked.sites or asked.jurisdiction:
        return topology.named(asked.gpu_type, asked.sites, asked.jurisdiction)
    return EVERYWHERE


# ── one task ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def _one(free: Free, part: Part, topology: Topology, within: int) -> int:
    gpus, cpus_milli, memory_mib, gpu_milli, mig = part
    idle = topology.look(free)
    if gpu_milli or mig:
        position = _least_spoilt(free, part, within) if mig else _fullest(free, part, within)
        if position >= 0:
            return position
        gpus = 1
        if mig:
            within &= free.slots.able(mig) if free.slots is not None else 0
    position = free.tightest(gpus, cpus_milli, memory_mib, ~within | idle)
    if position >= 0 or not idle & within:
        return position
    topology.observe(free)
    for mask in topology.by_breakage(idle & within):
        position = free.tightest(gpus, cpus_milli, memory_mib, ~mask)
        if position >= 0:
            return position
    return -1


def _fullest(free: Free, part: Part, within: int) -> int:
    """The node in service with the GPU that has least left and still holds the fraction; -1 if none does."""
    within &= serving(free)
    best = (WHOLE_MILLI, -1)
    for position, parts in free.shared.items():
        if not within >> position & 1:
            continue
        for left in parts.values():
            if part.gpu_milli <= left and (left, position) < best and _holds(free, position, part):
                best = (left, position)
    return best[1]


def _least_spoilt(free: Free, part: Part, within: int) -> int:
    """The node in service with a GPU that is cut already and holds the MIG instance where the least is lost; -1 if none
    does."""
    if free.slots is None:
        return -1
    within &= serving(free)
    for _, nodes in free.slots.offers(part.mig):
        for position in positions_of(nodes & within):
            if _holds(free, position, part):
                return position
    return -1


def _holds(free: Free, position: int, part: Part) -> bool:
    return free.cpus_milli[position] >= part.cpus_milli and free.memory_mib[position] >= part.memory_mib


# ── gangs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _room(packer: Packer, asked: Resources, topology: Topology, most: int) -> int:
    """How many tasks fit under the level that is required, in whole groups, up to `most`."""
    if asked.level == NODE:
        room = packer.largest_node()
    else:
        tops = topology.of_level(asked.level) if asked.level else topology.tops()
        room = max((packer.capacity(domain) for domain in tops), default=0)
    return min(room, most - most % max(1, asked.slice_nodes))


def _lowest(
    packer: Packer, asked: Resources, topology: Topology, count: int, inside: "_Inside"
) -> Taken | None:
    mask = EVERYWHERE if inside is None else inside[1]
    position = packer.node_for(count, mask, topology)
    if position >= 0:
        return [(position, count)]
    if asked.level == NODE:
        return None
    for domains in topology.ascending():
        if inside is not None:
            domains = [one for one in domains if _is_in(one, inside)]
        fitting = [one for one in domains if packer.capacity(one) >= count]
        if fitting:
            return packer.cheapest(fitting, count)
    return None


def _fewest_in(
    domains: list[Domain], full: Packer, rests: list[Kind], whole: int
) -> tuple[Taken, int] | None:
    """The best of three ways for the rest: a node in use, one more like the whole ones, another idle one."""
    rooms = [(domain, full.capacity(domain)) for domain in domains]
    if not rests:
        fitting = [domain for domain, room in rooms if room >= whole]
        return (full.cheapest(fitting, whole), -1) if fitting else None
    used = [kind for kind in rests if kind.cost < BREAK]
    other = [Kind(kind.nodes & ~full.nodes, kind.room, kind.cost) for kind in rests]
    found: list[tuple[int, Taken, int]] = []
    for kinds in (used, other):
        fitting = [one for one, room in rooms if room >= whole and _cheapest_of(kinds, one.mask)]
        if fitting:
            extra = [(_cheapest_of(kinds, one.mask) or (0, 0))[0] for one in fitting]
            taken = full.cheapest(fitting, whole, extra)
            domain = next(one for one in fitting if one.mask >> taken[0][0] & 1)
            cost, position = _cheapest_of(kinds, domain.mask) or (0, 0)
            found.append((full.cost(domain, taken) + cost, taken, position))
    fitting = [domain for domain, room in rooms if room > whole]
    if fitting:
        taken = full.cheapest(fitting, whole + 1)
        domain = next(one for one in fitting if one.mask >> taken[0][0] & 1)
        found.append((full.cost(domain, taken), taken[:-1], taken[-1][0]))
    if not found:
        return None
    return min(found, key=lambda one: one[0])[1:]


def _cheapest_of(kinds: list[Kind], within: int) -> tuple[int, int] | None:
    """(cost, position) of the cheapest node."""
    options = [(kind.cost, _lowest_bit(kind.nodes & within)) for kind in kinds if kind.nodes & within]
    return min(options, default=None)


def _lowest_bit(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


# Where tasks may be: the least depth of a domain for each site, and all nodes below; None: anywhere.
_Inside = tuple[dict[str, int], int] | None


def _insides(asked: Resources, topology: Topology) -> list[_Inside]:
    """First what is preferred, then what is required."""
    required = _inside(topology.of_level(asked.level)) if asked.level not in ("", NODE) else None
    if asked.prefer in ("", NODE):
        return [required]
    preferred = _inside(topology.of_level(asked.prefer))
    if required is not None:
        depths = {
            site: max(depth, required[0][site]) for site, depth in preferred[0].items() if site in required[0]
        }
        preferred = depths, preferred[1] & required[1]
    return [preferred, required]


def _inside(domains: list[Domain]) -> tuple[dict[str, int], int]:
    return _depths(domains), _mask(domains)


def _depths(domains: list[Domain]) -> dict[str, int]:
    return {domain.path[0]: len(domain.path) for domain in domains}


def _is_in(domain: Domain, inside: _Inside) -> bool:
    if inside is None:
        return True
    return bool(domain.path) and len(domain.path) >= inside[0].get(domain.path[0], len(domain.path) + 1)


def _mask(domains: list[Domain]) -> int:
    mask = 0
    for domain in domains:
        mask |= domain.mask
    return mask


# ── kinds of nodes ────────────────────────────────────────────────────────────────────────────────────────────────────
class _Search(NamedTuple):
    """What tells nodes apart for tasks of this kind."""

    free: Free
    part: Part
    topology: Topology
    within: int

    def kinds(self, most: int) -> list[Kind]:
        """The nodes that hold a task, up to `most` each, after `observe`."""
        found: dict[tuple[int, int], int] = {}
        idle = self.topology.idle
        if self.part.mig:
            self._cutting(most, found)
        elif self.part.gpu_milli:
            self._sharing(most, found)
        else:
            gpus = self.part.gpus
            for count, nodes in enumerate(self.free.levels[gpus:], gpus):
                nodes &= self.within
                if nodes:
                    cost = COUNTED + count * WHOLE_MILLI
                    room = min(most, count // gpus) if gpus else most
                    self._split(nodes & ~idle, room, cost, found)
                    self._split(nodes & idle, room, cost + BREAK, found)
        return [Kind(nodes, room, cost) for (cost, room), nodes in found.items()]

    def _split(self, nodes: int, room: int, cost: int, found: dict[tuple[int, int], int]) -> None:
        """Nodes with as many free GPUs, by what their CPU and memory hold."""
        _, cpus_milli, memory_mib, *_ = self.part
        if not (cpus_milli or memory_mib):
            if nodes:
                found[cost, room] = found.get((cost, room), 0) | nodes
            return
        cpus, memory = self.free.cpus_milli, self.free.memory_mib
        while nodes:
            low = nodes & -nodes
            nodes ^= low
            position = low.bit_length() - 1
            held = room
            if cpus_milli:
                held = min(held, cpus[position] // cpus_milli)
            if memory_mib:
                held = min(held, memory[position] // memory_mib)
            if held > 0:
                found[cost, held] = found.get((cost, held), 0) | low

    def _sharing(self, most: int, found: dict[tuple[int, int], int]) -> None:
        """Nodes for fractions: on a shared GPU that still holds one, else on a whole GPU."""
        milli, shared = self.part.gpu_milli, self.free.shared
        nodes = serving(self.free) & self.within
        while nodes:
            low = nodes & -nodes
            nodes ^= low
            position = low.bit_length() - 1
            parts = shared.get(position, {})
            whole = self.free.gpus[position].bit_count()
            room = sum(left // milli for left in parts.values()) + whole * (WHOLE_MILLI // milli)
            if not room:
                continue
            tight = min((left for left in parts.values() if left >= milli), default=whole * WHOLE_MILLI)
            cost = COUNTED + tight + (BREAK if self.topology.idle & low else 0)
            self._split(low, min(most, room), cost, found)

    def _cutting(self, most: int, found: dict[tuple[int, int], int]) -> None:
        """Nodes for MIG instances, by what the best of them loses there."""
        profile, slots = self.part.mig, self.free.slots
        if slots is None:
            return
        for position in positions_of(serving(self.free) & self.within & slots.known(profile)):
            whole = self.free.gpus[position].bit_count()
            room = slots.room(position, profile, whole)
            if room:
                bit = 1 << position
                cost = COUNTED + slots.loss(position, profile, whole)
                self._split(bit, min(most, room), cost + (BREAK if self.topology.idle & bit else 0), found)


def serving(free: Free) -> int:
    """The nodes in service."""
    mask = 0
    for nodes in free.levels:
        mask |= nodes
    return mask
