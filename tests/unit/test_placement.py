# SPDX-License-Identifier: Apache-2.0
"""Where gangs go, case by case: levels, groups, parts of GPUs, elastic jobs; and what the core makes of it."""

from collections import Counter
from typing import Any

import msgspec
import pytest

from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.facts import Resources
from leitstand.core.places.fit import Availability
from leitstand.core.places.placement import place
from leitstand.core.places.topology import LEVELS_MAX, Topology, domain_faults, level_faults
from leitstand.core.state import Projection, State

LEVELS = ("block", "rack")


def fleet(blocks: int = 2, racks: int = 2, nodes: int = 2, gpus: int = 8) -> list[f.Observation]:
    """One site; racks of different blocks have the same names."""
    return [
        f.TenantAdded("acme"),
        f.SiteAdded("s", "x", levels=LEVELS),
        *(
            f.NodeAdded(f"n{b}{r}{n}", "s", gpus, 64_000, 1024, "h100", domains=(f"b{b}", f"r{r}"))
            for b in range(blocks)
            for r in range(racks)
            for n in range(nodes)
        ),
    ]


def core_of(observations: list[f.Observation]) -> Core:
    core = Core()
    core.cycle(1, observations)
    return core


def submit(core: Core, **amounts: Any) -> list[f.Fact]:
    job = f.SubmitJob("acme", "default", Resources(**amounts), max_duration_us=1000)
    return core.cycle(2, [job])


def nodes_of(facts: list[f.Fact]) -> list[str]:
    return [task.node for fact in facts if isinstance(fact, f.RunPlaced) for task in fact.tasks]


def refused(facts: list[f.Fact]) -> tuple[str, int, int, str]:
    (found,) = [fact for fact in facts if isinstance(fact, f.JobRejected)]
    return found.reason, found.asked, found.limit, found.resource


class TestLevels:
    def test_a_gang_that_needs_one_block_waits_for_one(self) -> None:
        core = core_of(fleet())
        assert nodes_of(submit(core, gpus=8)) == ["n000"]
        assert nodes_of(submit(core, gpus=32, nodes=4, level="block")) == ["n100", "n101", "n110", "n111"]
        assert nodes_of(submit(core, gpus=32, nodes=4, level="block")) == []

    def test_a_gang_that_only_prefers_a_block_never_waits_for_one(self) -> None:
        core = core_of(fleet())
        for node in ("n000", "n100"):
            core.cycle(2, [f.NodeRemoved(node)])
        assert nodes_of(submit(core, gpus=32, nodes=4, prefer="block")) == ["n001", "n010", "n011", "n101"]

    def test_single_jobs_keep_whole_racks_whole(self) -> None:
        core = core_of(fleet(gpus=2))
        placed = [nodes_of(submit(core, gpus=2))[0] for _ in range(4)]
        assert placed == ["n000", "n001", "n010", "n011"]
        assert nodes_of(submit(core, gpus=1)) == ["n100"]
        assert nodes_of(submit(core, gpus=1)) == ["n100"]

    def test_a_gang_takes_the_rack_that_is_broken_already(self) -> None:
        core = core_of(fleet(nodes=3))
        core.cycle(2, [f.NodeRemoved("n000"), f.NodeRemoved("n002")])
        assert nodes_of(submit(core, gpus=4)) == ["n001"]
        assert nodes_of(submit(core, gpus=16, nodes=2)) == ["n010", "n011"]
        assert nodes_of(submit(core, gpus=8, nodes=2, level="block")) == [
            "n100",
            "n101",
        ]  # one rack comes first

    def test_a_whole_rack_of_a_broken_block_goes_before_one_of_a_whole_block(self) -> None:
        core = core_of(fleet())
        core.cycle(2, [f.NodeRemoved(f"n0{rack}{node}") for rack in (0, 1) for node in (0, 1)])
        assert nodes_of(submit(core, gpus=1)) == ["n100"]
        core.cycle(3, fleet(1)[2:])
        assert nodes_of(submit(core, gpus=16, nodes=2)) == ["n110", "n111"]

    def test_what_is_preferred_comes_before_a_lower_level_elsewhere(self) -> None:
        core = core_of([f.TenantAdded("acme"), f.SiteAdded("s", "x", levels=("hall",))])
        core.cycle(1, [f.SiteAdded("t", "x", levels=("row", "hall"))])
        core.cycle(1, [f.NodeAdded(f"n{index}", "s", 4, 0, 0, domains=("h",)) for index in range(2)])
        core.cycle(
            1, [f.NodeAdded(f"m{index}", "t", 4, 0, 0, domains=("w", f"h{index}")) for index in range(2)]
        )
        assert nodes_of(submit(core, gpus=2, nodes=2, prefer="row")) == ["m0", "m1"]
        assert nodes_of(submit(core, gpus=2, nodes=2)) == ["n0", "n1"]

    def test_a_level_that_nobody_has_is_refused(self) -> None:
        core = core_of(fleet())
        for field in ("level", "prefer"):
            assert refused(submit(core, gpus=1, **{field: "hall"})) == ("unknown_level", 0, 0, "level")
        assert refused(submit(core, gpus=2, nodes=2, slice_nodes=1, slice_level="hall"))[0] == "unknown_level"
        assert refused(submit(core, gpus=24, nodes=3, level="rack")) == ("no_such_capacity", 3, 0, "level")
        assert refused(submit(core, gpus=1, gpu_type="b200")) == ("no_such_capacity", 0, 0, "gpu_type")

    def test_a_site_may_name_its_levels_later_and_two_sites_differently(self) -> None:
        core = core_of([f.TenantAdded("acme"), f.SiteAdded("s", "x", levels=("hall",))])
        core.cycle(1, [f.SiteAdded("t", "x", levels=("row", "hall"))])
        core.cycle(1, [f.NodeAdded("n0", "s", 4, 0, 0, domains=("h",))])
        core.cycle(
            1, [f.NodeAdded(f"m{index}", "t", 4, 0, 0, domains=("w", f"h{index}")) for index in range(2)]
        )
        assert nodes_of(submit(core, gpus=8, nodes=2, level="row")) == ["m0", "m1"]
        core.cycle(2, [f.SiteAdded("s", "x", levels=("room",))])
        assert nodes_of(submit(core, gpus=1, level="room")) == ["n0"]

    def test_what_is_no_name_of_a_level_is_refused(self) -> None:
        core = core_of(fleet())
        core.cycle(2, [f.SiteAdded("t", "x", levels=("node",))])
        assert core.answers[0].refused == "invalid"
        core.cycle(2, [f.NodeAdded("m", "s", 1, 0, 0, domains=("b", "r", "u"))])
        assert core.answers[0].refused == "invalid"
        assert level_faults(tuple(map(str, range(LEVELS_MAX + 1))))
        assert not level_faults(LEVELS)
        assert level_faults(("a", "a"))
        assert domain_faults(("",), LEVELS)


class TestGroups:
    def test_each_group_stays_in_one_rack_and_all_in_one_block(self) -> None:
        core = core_of(fleet(nodes=3))
        placed = nodes_of(submit(core, gpus=32, nodes=4, level="block", slice_nodes=2, slice_level="rack"))
        assert placed == ["n000", "n001", "n010", "n011"]

    @pytest.mark.parametrize(
        ("amounts", "verdict"),
        [
            (
                {"gpus": 3, "nodes": 3, "slice_nodes": 2, "slice_level": "rack"},
                ("shape", 3, 2, "slice_nodes"),
            ),
            ({"gpus": 2, "nodes": 2, "slice_nodes": 2}, ("shape", 2, 2, "slice_nodes")),
            ({"gpus": 2, "nodes": 2, "nodes_max": 1}, ("shape", 1, 2, "nodes_max")),
            ({"gpus": 2, "gpu_milli": 500}, ("shape", 2, 0, "gpu_milli")),
            ({"gpu_milli": 1001}, ("limit", 1001, 1000, "gpu_milli")),
            ({"gpu_milli": -1}, ("limit", -1, 1000, "gpu_milli")),
            ({"nodes_max": 10_001}, ("limit", 10_001, 10_000, "nodes_max")),
        ],
    )
    def test_what_does_not_go_together_is_refused(
        self, amounts: dict[str, Any], verdict: tuple[str, int, int, str]
    ) -> None:
        assert refused(submit(core_of(fleet()), **amounts)) == verdict


class TestParts:
    def test_sixteen_halves_at_once_are_two_on_each_of_eight_gpus(self) -> None:
        core = core_of(fleet(1, 1, 2, gpus=4))
        job = f.SubmitJob("acme", "default", Resources(gpu_milli=500), max_duration_us=1000)
        facts = core.cycle(2, [job] * 17)
        tasks = Counter(
            (task.node, task.mask) for fact in facts if isinstance(fact, f.RunPlaced) for task in fact.tasks
        )
        assert len(tasks) == 8
        assert set(tasks.values()) == {2}
        assert sum(job.state == "pending" for job in core.state.jobs.values()) == 1

    def test_a_gpu_is_whole_again_when_nobody_shares_it(self) -> None:
        core = core_of(fleet(1, 1, 1, gpus=1))
        submit(core, gpu_milli=700)
        submit(core, gpu_milli=300)
        assert nodes_of(submit(core, gpus=1)) == []
        stored = msgspec.msgpack.encode(core.state.project())
        restored = State.restore(msgspec.msgpack.decode(stored, type=Projection))
        assert restored.pools["shared"].free.shared == {0: {0: 0}} == core.state.pools["shared"].free.shared
        core.cycle(3, [f.RunStarted("acme-1.1", 3)])
        ended = core.cycle(14, [f.RunEnded("acme-1.1", 14, "exited", 0)])
        (used,) = [fact for fact in ended if isinstance(fact, f.UsageMetered)]
        assert (used.wall_us, used.gpu_us) == (11, 7)  # 7.7 GPU·µs
        assert not nodes_of(ended)
        assert nodes_of(core.cycle(15, [f.RunEnded("acme-2.1", 15, "exited", 0)])) == ["n000"]

    def test_a_gang_of_parts_takes_the_gpus_with_least_left(self) -> None:
        core = core_of(fleet(1, 1, 3, gpus=1))
        for milli in (300, 600, 500):
            submit(core, gpu_milli=milli, gpu_type="h100", nodes=1)
        assert [sum(parts.values()) for parts in core.state.pools["shared"].free.shared.values()] == [
            100,
            500,
        ]
        submit(core, gpu_milli=900)
        core.cycle(3, [f.RunEnded("acme-2.1", 3, "exited", 0)])
        free = core.state.pools["shared"].free.shared
        assert free == {0: {0: 700}, 1: {0: 500}, 2: {0: 100}}
        assert nodes_of(submit(core, gpu_milli=50, nodes=2)) == ["n002", "n001"]

    def test_parts_of_a_node_that_shrank_are_forgotten_with_its_gpus(self) -> None:
        core = core_of(fleet(1, 1, 1, gpus=1))
        submit(core, gpu_milli=700)
        core.cycle(3, [f.NodeAdded("n000", "s", 0, 64_000, 1024, "h100", domains=("b0", "r0"))])
        core.cycle(4, [f.RunEnded("acme-1.1", 4, "exited", 0)])
        free = core.state.pools["shared"].free
        assert (free.shared, free.gpus, free.cpus_milli) == ({}, [0], [64_000])


class TestElastic:
    def test_it_takes_the_most_that_fits_each_task_with_its_part(self) -> None:
        core = core_of(fleet())
        submit(core, gpus=24, nodes=3)
        facts = submit(core, gpus=16, nodes=2, cpus_milli=128_000, nodes_max=8)
        assert len(nodes_of(facts)) == 5
        assert nodes_of(submit(core, gpus=0, cpus_milli=1)) == ["n000"]  # the others have no CPU left


def test_more_gpus_than_a_node_has_stay_in_one_rack_and_the_rest_goes_where_some_are_taken() -> None:
    free, topology = Availability(), Topology()
    topology.name("s", LEVELS)
    for position in range(6):
        node = f.NodeAdded(str(position), "s", 4, 0, 0, domains=("b", f"r{position // 3}"))
        topology.add(position, node)
        free.put(position, 4, 0b1111 if position != 4 else 0b0011, 0, 0)
    free.size = 4
    assert place(free, Resources(gpus=10, nodes=0), topology) == [(3, 4), (5, 4), (4, 2)]
    assert place(free, Resources(gpus=12, nodes=0, level="rack"), topology) == [(0, 4), (1, 4), (2, 4)]
    assert place(free, Resources(gpus=16, nodes=0, level="rack"), topology) is None
