# SPDX-License-Identifier: Apache-2.0
"""What the timeline promises: the earliest start there is, by brute force over every moment; and on any history no
view sells what is reserved, and whoever reserved the earliest start starts then."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from leitstand.core.facts import Resources
from leitstand.core.places.fit import Availability, Free
from leitstand.core.places.placement import Place
from leitstand.core.places.steps import ANYWHERE, Where
from leitstand.core.places.timeline import INFINITY, KINDS, Timeline

NOW = 5
HORIZON = 40  # later nothing changes
Amount = tuple[int, int, int]


# ── a search for places that is plainly monotone ──────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Ask:
    resources: Resources
    limit_us: int
    colocate: bool = False
    domain: tuple[int, ...] | None = None


def finder(ask: Ask) -> Callable[[Free], list[Place] | None]:
    return lambda free: find(free, ask)


def find(free: Free, ask: Ask) -> list[Place] | None:
    if ask.domain is None:
        return find_in(free, ask, -1)
    for number in sorted(set(ask.domain)):
        members = sum(1 << position for position, of in enumerate(ask.domain) if of == number)
        places = find_in(free, ask, members)
        if places is not None:
            return places
    return None


def find_in(free: Free, ask: Ask, members: int) -> list[Place] | None:
    asked = ask.resources
    if asked.nodes == 0 and asked.gpus > free.size > 0:
        whole, rest = divmod(asked.gpus, free.size)
        counts = [free.size] * whole + [rest] * (rest > 0)
        together = False
    else:
        counts = [asked.gpus // max(asked.nodes, 1)] * max(asked.nodes, 1)
        together = ask.colocate
    places: list[Place] = []
    left = {position: room(free, position) for position in in_service(free, members)}
    for count in counts:
        part = asked.part(count) if asked.gpus or asked.nodes else (asked.cpus_milli, asked.memory_mib)
        need = (count or (asked.gpu_milli > 0), *part)
        fitting = (position for position, has in left.items() if min(minus(has, need)) >= 0)
        position = next(fitting, -1)
        if position < 0:
            return None
        places.append((position, need[0]))
        left[position] = minus(left[position], need) if together else (-1, -1, -1)
    return places


def in_service(free: Free, members: int) -> list[int]:
    mask = 0
    for nodes in free.levels:
        mask |= nodes
    return [position for position in range(len(free.gpus)) if mask & members & 1 << position]


def room(free: Free, position: int) -> Amount:
    count = free.gpus[position].bit_count()
    assert free.levels[count] >> position & 1, "the level of a node is not that of its mask"
    return count, free.cpus_milli[position], free.memory_mib[position]


def minus(one: Amount, other: Amount) -> Amount:
    return one[0] - other[0], one[1] - other[1], one[2] - other[2]


# ── a world at one moment, and what is free at every later one ────────────────────────────────────────────────────────
@dataclass
class World:
    """Lists of (job or run, position, amount, from, until)."""

    free: Availability
    timeline: Timeline
    runs: list[tuple[str, int, Amount, int]] = field(default_factory=list)
    reserved: list[tuple[str, str, int, Amount, int, int]] = field(default_factory=list)

    def at(
        self, moment: int, position: int, own: str, ignore: Sequence[str], without: Sequence[str]
    ) -> Amount:
        has = [
            self.free.gpus[position].bit_count(),
            self.free.cpus_milli[position],
            self.free.memory_mib[position],
        ]
        for run, where, amount, until in self.runs:
            if where == position and (run in without or max(until, NOW + 1) <= moment):
                has = [one + other for one, other in zip(has, amount, strict=True)]
        for job, kind, where, amount, start, end in self.reserved:
            late = max(NOW - start, 0)
            if (
                where == position
                and job != own
                and kind not in ignore
                and start + late <= moment < end + late
            ):
                has = [one - other for one, other in zip(has, amount, strict=True)]
        return max(has[0], 0), max(has[1], 0), max(has[2], 0)

    def throughout(
        self, start: int, limit: int, own: str = "", ignore: Sequence[str] = (), without: Sequence[str] = ()
    ) -> Availability:
        seen = Availability()
        serving = in_service(self.free, -1)
        for position in range(len(self.free.gpus)):
            moments = [
                self.at(moment, position, own, ignore, without)
                for moment in range(start, min(start + limit, HORIZON + 1))
            ]
            gpus, cpus, memory = (min(column) for column in zip(*moments, strict=True))
            seen.put(position, 8, (1 << gpus) - 1, cpus, memory)
            if position not in serving:
                seen.withdraw(position)
        seen.size = self.free.size
        return seen

    def earliest(self, ask: Ask, own: str, ignore: Sequence[str]) -> int | None:
        for start in range(NOW, HORIZON + 1):
            if find(self.throughout(start, ask.limit_us, own, ignore), ask) is not None:
                return start
        return None


times = st.integers(0, 20)
limits = st.one_of(st.integers(1, 12), st.just(INFINITY))


@st.composite
def worlds(draw: Any) -> World:
    free = Availability()
    sizes = draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    for position, size in enumerate(sizes):
        free.put(position, size, (1 << size) - 1, draw(st.integers(0, 4)), draw(st.integers(0, 4)))
    free.size = max(sizes)
    world = World(free, Timeline(free))
    early = draw(st.booleans())
    if early:  # the rows are there before anything happens
        world.timeline.earliest(Resources(gpus=1), 0, 1, lambda free: None)
    for number in range(draw(st.integers(0, 6))):
        position = draw(st.integers(0, len(sizes) - 1))
        gpus = draw(st.integers(0, free.gpus[position].bit_count()))
        cpus = draw(st.integers(0, free.cpus_milli[position]))
        memory = draw(st.integers(0, free.memory_mib[position]))
        mask = 0
        for _ in range(gpus):
            left = free.gpus[position] & ~mask
            mask |= left & -left
        until = draw(st.one_of(times, st.just(INFINITY)))
        free.take(position, mask, cpus, memory)
        run = f"r{number}"
        world.timeline.occupy(
            run, [(position, gpus)], [(cpus, memory)], draw(st.sampled_from([until, 30, INFINITY]))
        )
        world.timeline.until(run, until)
        world.runs.append((run, position, (gpus, cpus, memory), until))
    for number in range(draw(st.integers(0, 4))):
        job, kind = f"j{number}", draw(st.sampled_from(KINDS))
        start = draw(times)
        end = draw(st.one_of(st.integers(start + 1, 24), st.just(INFINITY)))
        places, parts = [], []
        for position in draw(st.lists(st.integers(0, len(sizes) - 1), min_size=1, max_size=3)):
            amount = draw(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)))
            places.append((position, amount[0]))
            parts.append(amount[1:])
            world.reserved.append((job, kind, position, amount, start, end))
        if draw(st.booleans()):  # said again, it replaces
            world.timeline.reserve(job, "plan", [(0, 3)], [(4, 4)], 0, INFINITY)
        world.timeline.reserve(job, kind, places, parts, start, end)
    if draw(st.booleans()):
        free.withdraw(draw(st.integers(0, len(sizes) - 1)))
    return world


@st.composite
def asks(draw: Any) -> Ask:
    nodes = draw(st.integers(0, 3))
    gpus = draw(st.integers(0, 3)) * nodes if nodes else draw(st.integers(1, 6))
    cpus, memory = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    resources = Resources(gpus, nodes, cpus * max(nodes, 1), memory * max(nodes, 1))
    if nodes and not gpus and draw(st.booleans()):
        resources = Resources(0, nodes, resources.cpus_milli, resources.memory_mib, gpu_milli=1000)
    domain = draw(st.none() | st.tuples(*[st.integers(0, 1)] * 4))
    return Ask(resources, draw(limits), draw(st.booleans()), domain)


owns = st.sampled_from(["", "j0", "j1"])
ignored = st.sampled_from([(), ("plan",), ("plan", "promise")])


@settings(max_examples=400, deadline=None)
@given(worlds(), asks(), owns, ignored, st.booleans())
def test_the_earliest_start_is_the_earliest_that_brute_force_finds(
    world: World, ask: Ask, own: str, ignore: tuple[str, ...], told: bool
) -> None:
    domain = None if ask.domain is None else ask.domain[: len(world.free.gpus)]
    ask = Ask(ask.resources, ask.limit_us, ask.colocate, domain)
    expected = world.earliest(ask, own, ignore)
    where = Where(ask.colocate, domain=domain) if told else ANYWHERE
    for _ in range(2):  # asked again it says the same: nothing of a question stays
        found = world.timeline.earliest(ask.resources, NOW, ask.limit_us, finder(ask), own, ignore, where)
        assert (None if found is None else found[0]) == expected
        if found is not None:
            seen = world.throughout(found[0], ask.limit_us, own, ignore)
            assert find(seen, ask) == found[1]
        plain = world.timeline.earliest(Resources(1), NOW, 3, finder(Ask(Resources(1), 3)))
        assert (None if plain is None else plain[0]) == world.earliest(Ask(Resources(1), 3), "", ())


@settings(max_examples=200, deadline=None)
@given(worlds(), limits, owns, ignored, st.sets(st.integers(0, 5)))
def test_a_view_shows_what_is_free_at_every_moment_of_the_window(
    world: World, limit: int, own: str, ignore: tuple[str, ...], gone: set[int]
) -> None:
    without = [run for run, *_ in world.runs if int(run[1:]) in gone]
    view = world.timeline.view(NOW, limit, own, ignore, without)
    expected = world.throughout(NOW, limit, own, ignore, without)
    assert in_service(view, -1) == in_service(expected, -1)
    for position in in_service(expected, -1):
        assert room(view, position) == room(expected, position)
        if not without:
            assert view.gpus[position] & ~world.free.gpus[position] == 0


# ── histories ─────────────────────────────────────────────────────────────────────────────────────────────────────────
class Story:
    """A pool whose runs end in time, and where everybody starts, or reserves the earliest start, as the timeline says.
    Fractions take part of a GPU that is shared already, or share a new one."""

    def __init__(self, nodes: list[Amount]) -> None:
        self.free = Availability()
        for position, (gpus, cpus, memory) in enumerate(nodes):
            self.free.put(position, gpus, (1 << gpus) - 1, cpus, memory)
        self.free.size = max(gpus for gpus, _, _ in nodes)
        self.timeline = Timeline(self.free)
        self.now = 0
        self.made = 0
        self.asks: dict[str, Ask] = {}  # of jobs with a reservation
        self.runs: dict[str, tuple[int, Ask, list[Any]]] = {}  # until, ask; position, mask or share, part

    def find(self, free: Free, ask: Ask) -> list[Place] | None:
        asked = ask.resources
        if asked.gpu_milli:
            for position in in_service(free, -1):
                cpus, memory = free.cpus_milli[position], free.memory_mib[position]
                enough = cpus >= asked.cpus_milli and memory >= asked.memory_mib
                if enough and max(free.shared.get(position, {}).values(), default=0) >= asked.gpu_milli:
                    return [(position, 0)]
        return find(free, ask)

    def submit(self, ask: Ask) -> None:
        """Start a job now, or reserve the earliest start for it."""
        self.made += 1
        job = f"j{self.made}"
        view = self.timeline.view(self.now, ask.limit_us)
        places = self.find(view, ask)
        if places is not None:
            self.start(job, ask, places, view)
            return
        found = self.timeline.earliest(
            ask.resources, self.now, ask.limit_us, lambda free: self.find(free, ask)
        )
        if found is None:
            return
        start, places = found
        assert start > self.now
        parts = [ask.resources.part(gpus) for _, gpus in places]
        until = min(start + ask.limit_us, INFINITY)
        milli = ask.resources.gpu_milli
        self.timeline.reserve(job, KINDS[self.made % 3], places, parts, start, until, milli)
        self.asks[job] = ask

    def start(self, job: str, ask: Ask, places: list[Place], view: Free) -> None:
        asked = ask.resources
        taken: list[Any] = []
        shares: list[tuple[int, int]] = []
        for position, count in places:
            part = asked.part(count)
            if asked.gpu_milli:
                shares.append(self.share(position, asked.gpu_milli, count, view))
                self.free.take(position, 0, *part)
                taken.append((position, shares[-1], part))
                continue
            mask = 0
            for _ in range(count):
                left = view.gpus[position] & self.free.gpus[position] & ~mask
                mask |= left & -left
            assert mask.bit_count() == count
            self.free.take(position, mask, *part)
            taken.append((position, mask, part))
        until = min(self.now + ask.limit_us, INFINITY)
        self.timeline.release(job)
        self.timeline.occupy(job, places, [part for _, _, part in taken], until, shares)
        self.runs[job] = until, ask, taken

    def share(self, position: int, milli: int, new: int, view: Free) -> tuple[int, int]:
        if new:
            bit = self.free.gpus[position] & -self.free.gpus[position]
            self.free.take(position, bit, 0, 0)
            index = bit.bit_length() - 1
            self.free.shared.setdefault(position, {})[index] = 1000
        else:
            index = next(index for index, left in view.shared[position].items() if left >= milli)
        self.free.shared[position][index] -= milli
        assert self.free.shared[position][index] >= 0
        return index, milli

    def end(self, run: str) -> None:
        taken = self.runs.pop(run)[2]
        for position, mask, part in taken:
            if isinstance(mask, int):
                self.free.give(position, mask, *part)
                continue
            index, milli = mask
            self.free.give(position, 0, *part)
            shared = self.free.shared[position]
            shared[index] += milli
            if shared[index] == 1000:
                del shared[index]
                self.free.give(position, 1 << index, 0, 0)
                if not shared:
                    del self.free.shared[position]
        self.timeline.vacate(run)

    def advance(self, by: int) -> None:
        """Let time pass: runs end at their limit, and whoever has a reservation starts at its time."""
        for _ in range(by):
            self.now += 1
            for run in [run for run, (until, *_) in self.runs.items() if until <= self.now]:
                self.end(run)
            for job in self.timeline.due(self.now):
                known = self.timeline.reservation(job)
                assert known is not None
                assert known.from_us == self.now
                ask = self.asks.pop(job)
                self.start(job, ask, list(known.places), self.timeline.view(self.now, ask.limit_us, own=job))
            self.check()

    def check(self) -> None:
        assert self.timeline.feasible(self.now)
        start = self.timeline.next_start()
        assert start is None or start > self.now


story_asks = st.one_of(
    st.builds(
        lambda n, g, c, m, limit, colocate: Ask(Resources(n * g, n, n * c, n * m), limit, colocate),
        st.integers(1, 3),
        st.integers(0, 3),
        st.integers(0, 2),
        st.integers(0, 2),
        limits,
        st.booleans(),
    ),
    st.builds(lambda g, limit: Ask(Resources(g, 0, g, 0), limit), st.integers(1, 5), limits),
    st.builds(
        lambda milli, c, limit: Ask(Resources(0, 1, c, 0, gpu_milli=milli), limit),
        st.sampled_from([300, 500, 1000]),
        st.integers(0, 1),
        limits,
    ),
)
story_steps = st.one_of(
    story_asks,
    story_asks,
    st.integers(1, 4),
    st.tuples(st.sampled_from(["end", "cancel"]), st.integers(0, 9)),
)
story_nodes = st.lists(
    st.tuples(st.integers(1, 3), st.integers(2, 5), st.integers(2, 5)), min_size=1, max_size=3
)


@settings(max_examples=300, deadline=None)
@given(story_nodes, st.lists(story_steps, max_size=25))
def test_nobody_is_sold_what_is_reserved_and_every_reservation_starts_in_time(
    nodes: list[Amount], steps: list[Any]
) -> None:
    story = Story(nodes)
    for step in steps:
        if isinstance(step, Ask):
            story.submit(step)
        elif isinstance(step, int):
            story.advance(step)
        elif step[0] == "end" and story.runs:
            story.end(list(story.runs)[step[1] % len(story.runs)])
        elif step[0] == "cancel" and story.asks:
            job = list(story.asks)[step[1] % len(story.asks)]
            del story.asks[job]
            story.timeline.release(job)
        story.check()
    story.advance(30)
