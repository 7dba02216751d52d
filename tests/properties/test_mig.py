# SPDX-License-Identifier: Apache-2.0
"""MIG instances: a profile fits exactly where some layout of the GPU has room for it, no slot is sold twice on any
history, and the journal folds to the state. LEITSTAND_HUNT=1000 looks for new counter-examples."""

import os
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import msgspec
from hypothesis import event, given, settings
from hypothesis import strategies as st

from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.places.fit import Availability
from leitstand.core.places.mig import TABLE, Mig, Model, Partition, model_of
from leitstand.core.places.placement import place, tasks_of
from leitstand.core.places.slots import Slots, geometry_of, layout
from leitstand.core.places.topology import Topology
from leitstand.core.rules import Rules
from leitstand.core.state import Projection, State
from leitstand.core.units import MINUTE_US
from tests.unit.fair_story import AT_ONCE as RULES
from tests.unit.fair_story import Cloud

HUNT = int(os.environ.get("LEITSTAND_HUNT", "0"))
H100 = model_of("NVIDIA H100 80GB HBM3") or TABLE[0]
TYPE = "NVIDIA H100 80GB HBM3"
HALVES = ("3g.40gb@0", "3g.40gb@4")
MIXED = ("4g.40gb@0", "2g.20gb@4", "1g.10gb@6")
SEVEN = tuple(f"1g.10gb@{start}" for start in range(7))


def many(examples: int) -> settings:
    return settings(max_examples=HUNT or examples, derandomize=not HUNT, database=None, deadline=None)


# ── one GPU, against every layout there is ────────────────────────────────────────────────────────────────────────────
Piece = tuple[str, frozenset[Any]]  # a profile, and the cells of the GPU that it takes


def pieces(model: Model) -> list[Piece]:
    """All places that instances can have, written down without masks."""
    return [
        (one.name, frozenset([*range(start, start + one.size), *([one.only] if one.only else [])]))
        for one in model.profiles
        for start in one.starts
    ]


def layouts(model: Model) -> Iterator[tuple[Piece, ...]]:
    """Every set of instances that can exist side by side."""
    found: list[tuple[Piece, ...]] = [()]
    for one in pieces(model):
        found += [(*others, one) for others in found if all(not one[1] & taken for _, taken in others)]
    yield from found


def mask_of(model: Model, piece: Piece) -> int:
    """As the core writes it: slices from bit 0, what only one instance has above them."""
    return sum(1 << (cell if isinstance(cell, int) else model.slices) for cell in piece[1])


def test_a_profile_fits_on_a_gpu_exactly_if_some_layout_with_what_runs_there_has_it() -> None:
    """All layouts of every model of the table: room and best place, and none of them counts for more than the GPU."""
    for model in TABLE:
        geometry = geometry_of(model)
        every = pieces(model)
        for used in layouts(model):
            taken = sum(mask_of(model, piece) for piece in used)
            assert sum(geometry.milli(mask_of(model, piece)) for piece in used) <= 1000
            for profile in model.profiles:
                open_places = [
                    cells
                    for name, cells in every
                    if name == profile.name and all(not cells & other for _, other in used)
                ]
                most = max(
                    count
                    for count in range(len(open_places) + 1)
                    if count == 0
                    or any(
                        sum(len(cells) for cells in some) == len(frozenset().union(*some))
                        for some in combinations(open_places, count)
                    )
                )
                assert geometry.room(profile.name, taken) == most
                best = geometry.best(profile.name, taken)
                assert (best is None) == (not open_places)
                assert best is None or best[1] in {mask_of(model, (profile.name, one)) for one in open_places}


def test_the_best_place_leaves_the_largest_profiles_the_most_places() -> None:
    """On every layout of an H100: no other place leaves more of the largest profiles, then of the next smaller."""
    geometry = geometry_of(H100)
    sizes = sorted({one.size for one in H100.profiles}, reverse=True)

    def places(taken: int) -> list[int]:
        return [
            sum(geometry.room(one.name, taken) for one in H100.profiles if one.size == size) for size in sizes
        ]

    for used in layouts(H100):
        taken = sum(mask_of(H100, piece) for piece in used)
        for profile in H100.profiles:
            best = geometry.best(profile.name, taken)
            for mask in geometry.placements[profile.name]:
                if best is not None and not mask & taken:
                    assert places(taken | best[1]) >= places(taken | mask)


# ── small nodes, against every assignment ─────────────────────────────────────────────────────────────────────────────
@st.composite
def nodes(draw: st.DrawFn) -> tuple[int, Mig | None, int, dict[int, int]]:
    """(GPUs, MIG mode, GPUs that are used whole, what instances take of others)."""
    gpus = draw(st.integers(1, 3))
    fixed = []
    for gpu in range(gpus):
        instances = draw(st.sampled_from([(), (), (), HALVES, MIXED, SEVEN]))
        if instances:
            fixed.append(Partition(gpu, instances))
    mig = Mig(draw(st.booleans()), tuple(fixed))
    whole, taken = 0, {}
    for gpu in range(gpus):
        geometry = geometry_of(H100, next((one.instances for one in fixed if one.gpu == gpu), None))
        if not geometry.fixed and (not mig.dynamic or draw(st.integers(0, 3)) == 0):
            whole |= draw(st.integers(0, 1)) << gpu
            continue
        for profile, masks in geometry.placements.items():
            for mask in masks:
                if not mask & taken.get(gpu, 0) and draw(st.integers(0, 5)) == 0:
                    taken[gpu] = taken.get(gpu, 0) | mask
                    event(f"has {profile}")
    return gpus, mig if mig.dynamic or mig.fixed else None, whole, taken


def room_of(node: tuple[int, Mig | None, int, dict[int, int]], profile: str) -> int:
    """How many instances fit, by trying every set of places on each GPU."""
    gpus, mig, whole, taken = node
    total = 0
    for gpu in range(gpus):
        instances = next((one.instances for one in mig.fixed if one.gpu == gpu), None) if mig else None
        if mig is None or whole >> gpu & 1 or (instances is None and not mig.dynamic):
            continue
        masks = [
            mask
            for mask in geometry_of(H100, instances).placements.get(profile, ())
            if not mask & taken.get(gpu, 0)
        ]
        total += max(count for count in range(len(masks) + 1) if all_apart(masks, count))
    return total


def all_apart(masks: Sequence[int], count: int) -> bool:
    return count == 0 or any(
        all(not one & other for one, other in combinations(some, 2)) for some in combinations(masks, count)
    )


@given(st.lists(nodes(), min_size=1, max_size=3), st.data())
@many(300)
def test_a_gang_of_instances_fits_exactly_if_it_can_be_assigned_and_takes_what_is_free(
    fleet: list[tuple[int, Mig | None, int, dict[int, int]]], data: st.DataObject
) -> None:
    free, topology = Availability(), Topology()
    free.slots = Slots()
    for position, (gpus, mig, whole, taken) in enumerate(fleet):
        fixed = mig.mask if mig is not None else 0
        usable = (1 << gpus) - 1 & ~fixed & ~whole
        cut = {gpu: 0 for gpu in taken if not fixed >> gpu & 1}
        for gpu in cut:
            usable &= ~(1 << gpu)
        free.put(position, gpus, usable, 8, 8, cut)
        free.slots.put(position, *layout(mig, H100, taken))
        topology.add(position, f.NodeAdded(f"n{position}", "s", gpus - fixed.bit_count(), 8, 8, TYPE))
    free.size = max(gpus for gpus, *_ in fleet)
    profile = data.draw(st.sampled_from([one.name for one in H100.profiles]))
    count, colocate = data.draw(st.integers(1, 4)), data.draw(st.booleans())
    asked = f.Resources(0, count, mig=profile)
    rooms = [room_of(node, profile) for node in fleet]
    fits = sum(rooms) >= count if colocate and count > 1 else sum(room > 0 for room in rooms) >= count
    places = place(free, asked, topology, colocate)
    assert (places is not None) == fits
    event(f"fits: {fits}")
    if places is None:
        return
    before = free.copy()
    tasks = tasks_of(places, free, [f"n{at}" for at in range(len(fleet))], mig=profile)
    for (position, _), task in zip(places, tasks, strict=True):
        gpu = task.bits.bit_length() - 1
        _, mig, _, _ = fleet[position]
        instances = next((one.instances for one in mig.fixed if one.gpu == gpu), None) if mig else None
        assert task.slot in geometry_of(H100, instances).placements[profile]
        free.cut(position, gpu, task.slot, 1, 1)  # asserts that nobody has it
    for (position, _), task in zip(places, tasks, strict=True):
        free.join(position, task.bits.bit_length() - 1, task.slot, 1, 1)
    assert (free.gpus, free.levels, free.shared) == (before.gpus, before.levels, before.shared)
    assert before.slots is not None
    assert free.slots.gpus == before.slots.gpus
    assert free.slots.states == before.slots.states


# ── histories ─────────────────────────────────────────────────────────────────────────────────────────────────────────
MODES = {
    "whole": None,
    "dynamic": Mig(True),
    "halves": Mig(False, (Partition(0, HALVES),)),
    "mixed, else dynamic": Mig(True, (Partition(1, MIXED),)),
    "all sevenths": Mig(False, (Partition(0, SEVEN), Partition(1, SEVEN))),
}
SHAPES = (
    [f.Resources(0, 1, mig=one.name) for one in H100.profiles]
    + [f.Resources(0, 1, mig="3g.40gb"), f.Resources(0, 1, mig="1g.10gb"), f.Resources(0, 1, mig="2g.20gb")]
    + [f.Resources(0, 2, mig="2g.20gb"), f.Resources(0, 3, mig="1g.10gb")]
    + [f.Resources(1), f.Resources(2), f.Resources(2, 2), f.Resources(0, 1, gpu_milli=500)]
)


@st.composite
def clouds(draw: st.DrawFn) -> tuple[list[str], bool, list[tuple[int, f.SubmitJob]], list[tuple[int, int]]]:
    modes = draw(st.lists(st.sampled_from(list(MODES)), min_size=1, max_size=3))
    jobs = []
    for _ in range(draw(st.integers(1, 14))):
        minutes = draw(st.integers(1, 60))
        more = {
            "priority": draw(st.integers(0, 2)),
            "expected_us": minutes * MINUTE_US,
            "max_duration_us": minutes * MINUTE_US * draw(st.sampled_from([1, 1, 3])),
        }
        asked = f.SubmitJob(draw(st.sampled_from("ab")), "default", draw(st.sampled_from(SHAPES)), **more)
        jobs.append((draw(st.integers(0, 40)), asked))
    changes = [
        (draw(st.integers(1, 80)), draw(st.integers(0, len(modes) - 1)))
        for _ in range(draw(st.sampled_from([0, 0, 1, 2])))
    ]
    return modes, draw(st.booleans()), jobs, changes


def fleet(modes: list[str], colocate: bool, rules: Rules) -> Core:
    core = Core()
    seen: list[f.Observation] = [f.RulesSet(rules, ""), f.TenantAdded("a"), f.TenantAdded("b")]
    seen.append(f.SiteAdded("s", "simulated", colocate=colocate))
    seen += [node(number, mode) for number, mode in enumerate(modes)]
    core.cycle(0, seen)
    assert [one for one in core.answers if one.refused] == []
    return core


def node(number: int, mode: str) -> f.NodeAdded:
    return f.NodeAdded(f"n{number}", "s", 2, 64_000, 512_000, TYPE, mig=MODES[mode])


def check_slots(state: State) -> None:
    """Nobody has what another one has: GPUs, halves of them, slots."""
    whole: dict[tuple[str, int], str] = {}
    milli: dict[tuple[str, int], int] = {}
    slots: dict[tuple[str, int], int] = {}
    for run in state.runs.values():
        asked = state.jobs[run.job].resources
        for task in run.tasks:
            for gpu in task.gpus:
                key = task.node, gpu
                if asked.mig:
                    assert not slots.get(key, 0) & task.slot, f"slot of {key} sold twice"
                    slots[key] = slots.get(key, 0) | task.slot
                    assert task.slot in geometry_of(H100).placements[asked.mig]
                    assert task.slot_milli == geometry_of(H100).milli(task.slot)
                elif asked.gpu_milli:
                    milli[key] = milli.get(key, 0) + asked.gpu_milli
                    assert milli[key] <= 1000
                else:
                    assert key not in whole
                    whole[key] = run.id
    for one, other in ((whole, milli), (whole, slots), (milli, slots)):
        assert not set(one) & set(other), "one GPU is used in two ways"


def play(core: Core, jobs: list[tuple[int, f.SubmitJob]], changes: list[tuple[int, int]]) -> Cloud:
    cloud = Cloud(core, watch=lambda now, facts: check_slots(core.state))
    for minute, job in jobs:
        cloud.at(minute * 60, job)
    names = list(MODES)
    for minute, number in changes:
        if f"n{number}" in core.state.nodes:
            cloud.at(minute * 60, node(number, names[(minute + number) % len(names)]))
    return cloud


def check_fold(core: Core, facts: list[tuple[int, f.Fact]], first: Core) -> None:
    """What is recorded, as it is stored, folds to the same state; and so does a snapshot."""
    again = Core()
    again.state = first.state
    for at, fact in facts:
        stored = msgspec.json.decode(msgspec.json.encode(fact), type=type(fact))
        again.state.apply(at, stored)
    assert again.state.digest() == core.state.digest()
    content = msgspec.msgpack.encode(core.state.project())
    restored = State.restore(msgspec.msgpack.decode(content, type=Projection))
    assert restored.digest() == core.state.digest()
    for name, pool in core.state.pools.items():
        other = restored.pools[name]
        assert other.free.gpus == pool.free.gpus
        assert {at: dict(parts) for at, parts in other.free.shared.items()} == pool.free.shared
        if pool.free.slots is not None and pool.free.slots.gpus:
            assert other.free.slots is not None
            assert _plain(other.free.slots) == _plain(pool.free.slots)


def _plain(slots: Slots) -> dict[int, dict[int, tuple[bool, int]]]:
    return {
        at: {gpu: (geometry.fixed, taken) for gpu, (geometry, taken) in sorted(gpus.items())}
        for at, gpus in sorted(slots.gpus.items())
    }


@given(clouds(), st.sampled_from(["fifo-greedy", "fair"]))
@many(120)
def test_on_any_history_no_slot_is_sold_twice_everything_ends_and_the_journal_folds(
    drawn: tuple[list[str], bool, list[tuple[int, f.SubmitJob]], list[tuple[int, int]]], discipline: str
) -> None:
    modes, colocate, jobs, changes = drawn
    rules = RULES if discipline == "fair" else Rules(discipline=discipline)
    core, first = fleet(modes, colocate, rules), fleet(modes, colocate, rules)
    cloud = play(core, jobs, changes)
    cloud.until(50 * 60)
    check_fold(core, cloud.facts, first)
    if not changes:
        cloud.to_the_end()
        assert not core.state.jobs
        assert not cloud.all(f.PromiseBroken), "nothing failed"
        pool = core.state.pools["shared"]
        assert pool.free.gpus == pool.whole.gpus
        assert not pool.free.shared
    placed = [fact for _, fact in cloud.facts if isinstance(fact, f.RunPlaced)]
    event(f"instances run: {any(':' in task.mask for fact in placed for task in fact.tasks)}")
    event(f"reserved: {any(isinstance(fact, f.CapacityReserved) for _, fact in cloud.facts)}")


@given(clouds())
@many(120)
def test_nothing_waits_that_has_a_legal_place(
    drawn: tuple[list[str], bool, list[tuple[int, f.SubmitJob]], list[tuple[int, int]]],
) -> None:
    """Through the core: after every cycle each job that waits has no place by trying all of them."""
    modes, _, jobs, _ = drawn
    core = fleet(modes, False, Rules(discipline="fifo-greedy"))

    def watch(now: int, facts: list[f.Fact]) -> None:
        state = core.state
        for job in state.jobs.values():
            asked = job.resources
            if job.state != "pending" or not asked.mig:
                continue
            rooms = [
                room_of(_as_drawn(state, number, modes[number]), asked.mig) for number in range(len(modes))
            ]
            assert sum(room > 0 for room in rooms) < asked.nodes, f"{job.id} could start at {now}"

    cloud = Cloud(core, watch=watch)
    for minute, job in jobs:
        cloud.at(minute * 60, job)
    cloud.to_the_end()


def _as_drawn(state: State, number: int, mode: str) -> tuple[int, Mig | None, int, dict[int, int]]:
    whole, taken = 0, {}
    for run in state.runs.values():
        for task in run.tasks:
            if task.node == f"n{number}":
                if task.slot:
                    gpu = task.bits.bit_length() - 1
                    taken[gpu] = taken.get(gpu, 0) | task.slot
                else:
                    whole |= task.bits
    return 2, MODES[mode], whole, taken
