# SPDX-License-Identifier: Apache-2.0
"""Where gangs go: on small fleets, against every placement there is."""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from hypothesis import event, given, settings
from hypothesis import strategies as st

from leitstand.core.facts import Resources
from leitstand.core.places.fit import WHOLE_MILLI, Availability
from leitstand.core.places.placement import Place, place, tasks_of
from leitstand.core.places.topology import Topology

SITES = {"a": ("block", "rack"), "b": ("row", "rack"), "c": ()}
ROOT_HEIGHT = 99


class Spot(NamedTuple):
    """A node of the fleet: what it has and what is free on it."""

    site: str
    domains: tuple[str, ...]
    gpus: int
    gpu_type: str
    free: int  # mask
    shared: dict[int, int]
    cpus_milli: int
    in_service: bool

    @property
    def idle(self) -> bool:
        return self.in_service and self.gpus > 0 and self.free.bit_count() == self.gpus


def spots(sites: list[str], sizes: list[int], plain: bool) -> st.SearchStrategy[Spot]:
    def build(draw: st.DrawFn) -> Spot:
        site = draw(st.sampled_from(sites))
        domains = tuple(draw(st.sampled_from("xy")) for _ in SITES[site])
        gpus = draw(st.sampled_from(sizes))
        every = (1 << gpus) - 1
        free = draw(st.one_of(st.just(every), st.just(every), st.integers(0, every)))
        shared: dict[int, int] = {}
        if not plain:
            for index in range(gpus):
                if not free >> index & 1 and draw(st.booleans()):
                    shared[index] = draw(st.sampled_from([0, 250, 400, 500, 750]))
        cpus = 8 if plain else draw(st.sampled_from([8, 8, 3, 0]))
        in_service = plain or draw(st.integers(0, 9)) > 0
        return Spot(site, domains, gpus, draw(st.sampled_from("hhhi")), free, shared, cpus, in_service)

    return st.composite(build)()


fleets = st.one_of(
    st.lists(spots(["a"], [2], True), min_size=3, max_size=6),
    st.lists(spots(["a"], [2], False), min_size=2, max_size=6),
    st.lists(spots(["a", "b", "c"], [1, 2, 4], False), min_size=1, max_size=5),
)
LEVELS = ["", "", "", "", "rack", "block", "site", "node", "row", "hall"]


@st.composite
def gangs(draw: st.DrawFn) -> Resources:
    nodes = draw(st.integers(1, 4))
    most = draw(st.sampled_from([0, 0, nodes + 1, nodes + 3])) if nodes else 0
    group = draw(st.sampled_from([0, 0, 0, 1, 2]))
    if group and (nodes % group or most % group):
        group = 0
    milli = draw(st.sampled_from([0, 0, 0, 250, 500, 700]))
    gpus = 0 if milli else draw(st.sampled_from([0, 1, 1, 2, 2, 4]))
    return Resources(
        gpus=gpus * nodes,
        nodes=nodes,
        cpus_milli=draw(st.sampled_from([0, 0, 1, 3])) * nodes,
        gpu_type=draw(st.sampled_from(["", "", "", "", "h", "h", "z"])),
        gpu_milli=milli,
        level=draw(st.sampled_from(LEVELS)),
        prefer=draw(st.sampled_from(LEVELS)),
        slice_nodes=group,
        slice_level=draw(st.sampled_from(["rack", "rack", "block", "site", "node", "row"])) if group else "",
        nodes_max=most,
    )


def laid_out(fleet: list[Spot]) -> tuple[Availability, Topology]:
    free, topology = Availability(), Topology()
    for site, levels in SITES.items():
        topology.name(site, levels)
    for position, spot in enumerate(fleet):
        free.put(position, spot.gpus, spot.free, spot.cpus_milli, 0, dict(spot.shared))
        topology.add(position, spot)
        if not spot.in_service:
            free.withdraw(position)
    free.size = max((spot.gpus for spot in fleet if spot.in_service), default=0)
    return free, topology


# ── every placement ───────────────────────────────────────────────────────────────────────────────────────────────────
def domains_of(spot: Spot) -> list[tuple[str, tuple[str, ...]]]:
    """(level, path) of every domain around it, from the top."""
    path: tuple[str, ...] = (spot.site,)
    found = [("site", path)]
    for level, name in zip(SITES[spot.site], spot.domains, strict=True):
        path = (*path, name)
        found.append((level, path))
    return found


def domain_at(fleet: list[Spot], position: int, level: str) -> object:
    """What tells the domain of a level from others, None if there is none."""
    if level == "node":
        return position
    return dict(domains_of(fleet[position])).get(level)


def together(fleet: list[Spot], used: list[int], level: str) -> bool:
    """Whether the nodes stand in one domain of the level."""
    if not level:
        return True
    domains = {domain_at(fleet, position, level) for position in used}
    return len(domains) == 1 and None not in domains


def height(fleet: list[Spot], used: list[int]) -> int:
    """The lowest level whose domain holds all of them."""
    if len(used) == 1:
        return 0
    shared = set.intersection(*({path for _, path in domains_of(fleet[position])} for position in used))
    if not shared:
        return ROOT_HEIGHT
    path = max(shared, key=len)
    return len(SITES[path[0]]) + 2 - len(path)


def broken(fleet: list[Spot], used: list[int]) -> int:
    total = sum(fleet[position].idle for position in used)
    for path in {path for spot in fleet for _, path in domains_of(spot)}:
        inside = [
            position
            for position, spot in enumerate(fleet)
            if spot.in_service and spot.gpus and path in [one for _, one in domains_of(spot)]
        ]
        if inside and all(fleet[p].idle for p in inside) and set(used) & set(inside):
            total += len(inside)
    return total


def room(spot: Spot, asked: Resources, gpus: int) -> int:
    held = 9
    if asked.gpu_milli:
        whole = spot.free.bit_count() * (WHOLE_MILLI // asked.gpu_milli)
        held = whole + sum(left // asked.gpu_milli for left in spot.shared.values())
    elif gpus:
        held = spot.free.bit_count() // gpus
    cpus = asked.part(gpus)[0]
    wanted = (not asked.gpu_type or asked.gpu_type == spot.gpu_type) and spot.in_service
    return min(held, spot.cpus_milli // cpus if cpus else 9) if wanted else 0


def left_free(spot: Spot, asked: Resources) -> int:
    fitting = [left for left in spot.shared.values() if asked.gpu_milli and left >= asked.gpu_milli]
    return min(fitting, default=spot.free.bit_count() * WHOLE_MILLI)


def ways(fleet: list[Spot], asked: Resources, count: int, share: bool) -> Iterator[list[int]]:
    """Every way to put so many tasks, as the number of tasks on each node."""
    gpus = asked.gpus // asked.nodes
    rooms = [min(room(spot, asked, gpus), count if share else 1) for spot in fleet]
    for tasks in product(*(range(most + 1) for most in rooms)):
        if sum(tasks) != count:
            continue
        used = [position for position, held in enumerate(tasks) if held]
        if not together(fleet, used, asked.level) or not together(fleet, used, "site"):
            continue
        if asked.slice_nodes:
            groups: dict[object, int] = {}
            for position in used:
                domain = domain_at(fleet, position, asked.slice_level)
                groups[domain] = groups.get(domain, 0) + tasks[position]
            if None in groups or any(held % asked.slice_nodes for held in groups.values()):
                continue
        yield list(tasks)


def worth(fleet: list[Spot], asked: Resources, tasks: list[int]) -> tuple[int, ...]:
    used = [position for position, held in enumerate(tasks) if held]
    return (
        0 if together(fleet, used, asked.prefer) else 1,
        height(fleet, used),
        broken(fleet, used),
        len(used),
        sum(left_free(fleet[position], asked) for position in used),
    )


def best(fleet: list[Spot], asked: Resources, colocate: bool) -> tuple[int, tuple[int, ...], bool] | None:
    """(tasks, worth, whether they share) of the best placement there is."""
    step = max(1, asked.slice_nodes)
    for count in range(max(asked.nodes, asked.nodes_max), asked.nodes - 1, -1):
        if count % step:
            continue
        for share in (False, True) if colocate else (False,):
            worths = [worth(fleet, asked, tasks) for tasks in ways(fleet, asked, count, share)]
            if worths:
                return count, min(worths), share
    return None


def check_not_oversold(fleet: list[Spot], free: Availability, asked: Resources, places: list[Place]) -> None:
    tasks = tasks_of(places, free, [str(position) for position in range(len(fleet))], asked.gpu_milli)
    for (position, gpus), task in zip(places, tasks, strict=True):
        assert task.bits.bit_count() == gpus
        free.take(position, task.bits, *asked.part(gpus), asked.gpu_milli)  # asserts that all of it is free
    for (position, gpus), task in zip(places, tasks, strict=True):
        free.give(position, task.bits, *asked.part(gpus), asked.gpu_milli)
    for position, spot in enumerate(fleet):
        assert free.gpus[position] == spot.free
        assert free.shared.get(position, {}) == spot.shared
        assert free.cpus_milli[position] == spot.cpus_milli


@settings(max_examples=1000, deadline=None)
@given(fleets, gangs(), st.booleans())
def test_a_gang_is_placed_if_and_only_if_it_fits_and_nowhere_better(
    fleet: list[Spot], asked: Resources, colocate: bool
) -> None:
    free, topology = laid_out(fleet)
    places = place(free, asked, topology, colocate)
    if topology.flat and asked == Resources(asked.gpus, asked.nodes, asked.cpus_milli, asked.memory_mib):
        return  # the tightest nodes, whatever they break
    optimum = best(fleet, asked, colocate)
    event(f"fits: {optimum is not None}")
    assert (places is None) == (optimum is None)
    if places is None or optimum is None:
        return
    count, least, share = optimum
    assert len(places) == count
    tasks = [[position for position, _ in places].count(position) for position in range(len(fleet))]
    assert tasks in list(ways(fleet, asked, count, share))
    mine = worth(fleet, asked, tasks)
    if share and asked.gpu_milli:
        assert mine[:2] == least[:2]
    elif share and asked.cpus_milli:
        assert mine[:3] == least[:3]
    else:
        assert mine == least
    if asked.slice_nodes:
        for first in range(0, count, asked.slice_nodes):
            group = [position for position, _ in places[first : first + asked.slice_nodes]]
            assert together(fleet, group, asked.slice_level), (
                "a group is not next to each other in rank order"
            )
    check_not_oversold(fleet, free, asked, places)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(fleets, gangs()), min_size=2, max_size=2))
def test_what_was_looked_at_before_changes_no_choice(searches: list[tuple[list[Spot], Resources]]) -> None:
    (fleet, asked), (_, other) = searches
    free, topology = laid_out(fleet)
    fresh = place(free, asked, topology)
    place(free, other, topology)
    idle = Availability()
    for position, spot in enumerate(fleet):
        idle.put(position, spot.gpus, (1 << spot.gpus) - 1, 9, 0)
    place(idle, other, topology)
    assert place(free, asked, topology) == fresh
