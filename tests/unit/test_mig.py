# SPDX-License-Identifier: Apache-2.0
"""MIG instances through the core, as stories: who fits where, what is refused, what is planned, and what it counts."""

from typing import Any

import pytest

from leitstand.core import facts as f
from leitstand.core.acts import BudgetGranted, EntitlementsChanged, MaintenancePlanned
from leitstand.core.cycle import Core
from leitstand.core.explaining.why import why
from leitstand.core.places.fit import Availability
from leitstand.core.places.mig import Mig, Model, Partition, Profile, meant, model_of, profile_fault
from leitstand.core.places.placement import place
from leitstand.core.places.slots import Slots, geometry_of, layout
from leitstand.core.places.timeline import Timeline
from leitstand.core.rules import Rules
from leitstand.core.units import HOUR_US
from tests.unit.fair_story import RULES, Cloud, owed
from tests.unit.story import at, ended

H100 = "NVIDIA H100 80GB HBM3"
HALVES = Partition(0, ("3g.40gb@0", "3g.40gb@4"))


def fleet(
    *nodes: tuple[int, Mig | None], rules: Rules | None = None, gpu_type: str = H100, **site: Any
) -> Core:
    """Nodes n0, n1, … of so many GPUs in this MIG mode."""
    core = Core()
    seen: list[f.Observation] = [f.RulesSet(rules or Rules(), ""), f.TenantAdded("a"), f.TenantAdded("b")]
    seen.append(f.SiteAdded("s", "simulated", **site))
    seen += [
        f.NodeAdded(f"n{number}", "s", gpus, 64_000, 512_000, gpu_type, mig=mig)
        for number, (gpus, mig) in enumerate(nodes)
    ]
    core.cycle(0, seen)
    assert [one for one in core.answers if one.refused] == []
    return core


def instance(profile: str, nodes: int = 1, tenant: str = "a", hours: float = 1, **more: Any) -> f.SubmitJob:
    span = int(hours * HOUR_US)
    kind = more.pop("gpu_type", "")
    asked = f.Resources(0, nodes, gpu_type=kind, mig=profile, cpus_milli=more.pop("cpus_milli", 0))
    return f.SubmitJob(tenant, "default", asked, max_duration_us=span, expected_us=span, **more)


def masks(core: Core) -> dict[str, list[str]]:
    return {run.job: [f"{task.node} {task.mask}" for task in run.tasks] for run in core.state.runs.values()}


# ── the table ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("gpu_type", "profiles"),
    [
        ("NVIDIA H100 80GB HBM3", "1g.10gb 1g.10gb+me 1g.20gb 2g.20gb 3g.40gb 4g.40gb 7g.80gb"),
        ("H100", "1g.10gb 1g.10gb+me 1g.20gb 2g.20gb 3g.40gb 4g.40gb 7g.80gb"),
        ("NVIDIA H100 NVL", "1g.12gb 1g.12gb+me 1g.24gb 2g.24gb 3g.47gb 4g.47gb 7g.94gb"),
        ("NVIDIA H200", "1g.18gb 1g.18gb+me 1g.35gb 2g.35gb 3g.71gb 4g.71gb 7g.141gb"),
        ("NVIDIA B200", "1g.23gb 1g.23gb+me 1g.45gb 2g.45gb 3g.90gb 4g.90gb 7g.180gb"),
        ("NVIDIA A100-SXM4-40GB", "1g.5gb 1g.5gb+me 1g.10gb 2g.10gb 3g.20gb 4g.20gb 7g.40gb"),
        ("NVIDIA A100 80GB PCIe", "1g.10gb 1g.10gb+me 1g.20gb 2g.20gb 3g.40gb 4g.40gb 7g.80gb"),
        ("NVIDIA A30", "1g.6gb 1g.6gb+me 2g.12gb 2g.12gb+me 4g.24gb"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "1g.24gb 1g.24gb+me 2g.48gb 2g.48gb+me 4g.96gb"),
    ],
)
def test_the_model_of_a_gpu_is_the_one_with_most_of_its_words(gpu_type: str, profiles: str) -> None:
    model = model_of(gpu_type)
    assert model is not None
    assert [one.name for one in model.profiles] == profiles.split()


def test_a_type_of_which_nothing_is_known_has_no_model() -> None:
    assert model_of("logical") is None
    assert model_of("NVIDIA A100") is None  # of which size?
    assert [model.gpu_type for model in meant("A100")] == ["A100 40GB", "A100 80GB"]


@pytest.mark.parametrize(
    ("profile", "count", "charge"),
    [
        ("1g.10gb", 7, 125),
        ("1g.10gb+me", 1, 125),
        ("1g.20gb", 4, 250),
        ("2g.20gb", 3, 250),
        ("3g.40gb", 2, 500),
        ("4g.40gb", 1, 500),
        ("7g.80gb", 1, 1000),
    ],
)
def test_an_h100_holds_so_many_instances_and_each_counts_for_its_slices(
    profile: str, count: int, charge: int
) -> None:
    model = model_of(H100)
    assert model is not None
    geometry = geometry_of(model)
    assert geometry.room(profile, 0) == count
    assert geometry.milli(geometry.placements[profile][0]) == charge


def test_a_profile_that_is_none_is_refused_with_those_there_are() -> None:
    assert profile_fault("3g.40gb", "H100") == ""
    assert profile_fault("3g.40gb", "") == ""
    assert profile_fault("3g.90gb", "H100").startswith(
        "H100 has no MIG profile '3g.90gb'; there are 1g.10gb, "
    )
    assert profile_fault("3g.90gb", "B200") == ""
    assert profile_fault("3g.41gb", "").startswith("any GPU has no MIG profile '3g.41gb'; there are 1g.6gb, ")
    assert profile_fault("3g.40gb", "T4") == "no MIG profiles are known of GPUs called T4"


# ── nodes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("mig", "gpu_type", "said"),
    [
        (Mig(True), "logical", "MIG profiles of its type of GPU are not known"),
        (Mig(False, (Partition(2, ("7g.80gb@0",)),)), H100, "GPU 2 is partitioned; the node has 2"),
        (Mig(False, (HALVES, HALVES)), H100, "GPU 0 is partitioned twice"),
        (
            Mig(False, (Partition(0, ("3g.40gb@2",)),)),
            H100,
            "'3g.40gb@2' is no profile@start; there are 1g.10gb@",
        ),
        (Mig(False, (Partition(0, ("3g.40gb@x",)),)), H100, "'3g.40gb@x' is no profile@start"),
        (Mig(False, (Partition(0, ("3g.40gb@0", "2g.20gb@2")),)), H100, "2g.20gb@2 meets another instance"),
        (Mig(False, (Partition(0, ("1g.10gb+me@0", "1g.10gb+me@1")),)), H100, "1g.10gb+me@1 meets another"),
    ],
)
def test_a_mig_mode_that_cannot_be_is_refused(mig: Mig, gpu_type: str, said: str) -> None:
    core = fleet()
    core.cycle(1, [f.NodeAdded("x", "s", 2, 0, 0, gpu_type, mig=mig)])
    assert core.answers[0].refused == "invalid"
    assert said in core.answers[0].detail


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Model("", 4, (Profile("1g.1gb", 1, (0,)),)), "has no name"),
        (Model("X1", 11, (Profile("1g.1gb", 1, (0,)),)), "11 slices, not in 1..10"),
        (Model("X1", 4, ()), "0 profiles"),
        (Model("X1", 4, (Profile("big", 1, (0,)),)), "'big' is no name of a profile"),
        (Model("X1", 4, (Profile("1g.1gb", 1, (0,)), Profile("1g.1gb", 2, (0,)))), "same name"),
        (Model("X1", 4, (Profile("3g.1gb", 3, (0, 2)),)), "with 3 slices from 2 is outside of 4"),
        (Model("X1", 4, (Profile("1g.1gb", 1, ()),)), "needs starts"),
    ],
)
def test_a_description_of_a_site_that_cannot_be_is_refused(model: Model, said: str) -> None:
    core = Core()
    core.cycle(0, [f.RulesSet(Rules(), ""), f.SiteAdded("s", "simulated", mig_models=(model,))])
    assert core.answers[1].refused == "invalid"
    assert said in core.answers[1].detail


def test_a_site_describes_gpus_that_the_table_does_not_know() -> None:
    model = Model("X1", 3, (Profile("1g.5gb", 1, (0, 1, 2)), Profile("2g.10gb", 2, (0,))))
    core = fleet((1, Mig(True)), gpu_type="Maker X1", mig_models=(model,))
    at(core, 1, instance("2g.10gb"), instance("1g.5gb"), instance("1g.5gb"))
    assert masks(core) == {"a-1": ["n0 1:3/3"], "a-2": ["n0 1:4/3"]}
    again = Model("X1", 4, (Profile("1g.5gb", 1, (0, 1, 2, 3)), Profile("2g.10gb", 2, (0,))))
    at(core, 2, f.SiteAdded("s", "simulated", mig_models=(again,)))
    assert masks(core)["a-3"] == ["n0 1:8/4"]


# ── where ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_instances_leave_the_largest_profiles_their_places() -> None:
    core = fleet((2, Mig(True)))
    at(core, 1, instance("1g.10gb"), instance("3g.40gb"), instance("4g.40gb"))
    assert masks(core) == {"a-1": ["n0 1:40/8"], "a-2": ["n0 1:f/8"], "a-3": ["n0 2:f/8"]}
    at(core, 2, instance("3g.40gb"), instance("7g.80gb"))
    assert masks(core)["a-4"] == ["n0 2:f0/8"]
    assert "a-5" not in masks(core)


def test_a_gpu_is_whole_again_when_the_last_instance_ends() -> None:
    core = fleet((1, Mig(True)))
    at(core, 1, instance("1g.10gb"), instance("2g.20gb"))
    at(
        core,
        2,
        f.SubmitJob("b", "default", f.Resources(1)),
        f.SubmitJob("b", "default", f.Resources(0, gpu_milli=500)),
    )
    assert "b-1" not in masks(core)
    assert "b-2" not in masks(core), "fractions and instances are not mixed on one GPU"
    at(core, 3, ended("a-1.1", 3))
    assert "b-1" not in masks(core)
    at(core, 4, ended("a-2.1", 4))
    assert masks(core) == {"b-1": ["n0 1"]}


def test_a_partitioned_gpu_has_its_instances_and_is_never_whole() -> None:
    core = fleet((1, Mig(False, (HALVES,))))
    at(core, 1, instance("3g.40gb"), instance("3g.40gb"), instance("3g.40gb"), instance("1g.10gb"))
    assert masks(core) == {"a-1": ["n0 1:f/8"], "a-2": ["n0 1:f0/8"]}
    facts = at(core, 2, f.SubmitJob("b", "default", f.Resources(1)))
    assert [fact.reason for fact in facts if isinstance(fact, f.JobRejected)] == ["no_such_capacity"]


def test_a_partition_is_preferred_to_a_whole_gpu_and_one_that_is_cut_to_another() -> None:
    core = fleet((1, Mig(True)), (1, Mig(False, (HALVES,))))
    at(core, 1, instance("3g.40gb"), instance("3g.40gb"), instance("3g.40gb"), instance("3g.40gb"))
    assert masks(core) == {
        "a-1": ["n1 1:f/8"],
        "a-2": ["n1 1:f0/8"],
        "a-3": ["n0 1:f0/8"],
        "a-4": ["n0 1:f/8"],
    }


def test_a_gang_has_an_instance_for_each_task_on_nodes_of_their_own() -> None:
    core = fleet((1, Mig(True)), (1, Mig(True)))
    at(core, 1, instance("2g.20gb", nodes=2), instance("1g.10gb", nodes=3))
    assert masks(core) == {"a-1": ["n0 1:30/8", "n1 1:30/8"]} or masks(core)["a-1"][0].startswith("n0")
    assert "a-2" not in core.state.jobs, "three tasks need three nodes"


def test_a_node_that_is_partitioned_under_a_run_offers_its_instances_when_that_has_ended() -> None:
    core = fleet((1, None))
    at(core, 1, f.SubmitJob("b", "default", f.Resources(1)))
    at(
        core,
        2,
        f.NodeAdded("n0", "s", 1, 64_000, 512_000, H100, mig=Mig(False, (HALVES,))),
        instance("3g.40gb"),
    )
    assert list(masks(core)) == ["b-1"]
    at(core, 3, ended("b-1.1", 3))
    assert masks(core) == {"a-1": ["n0 1:f/8"]}
    at(core, 4, f.NodeAdded("n0", "s", 1, 64_000, 512_000, H100), f.SubmitJob("b", "default", f.Resources(1)))
    assert list(masks(core)) == ["a-1"]
    at(core, 5, ended("a-1.1", 5))
    assert masks(core) == {"b-2": ["n0 1"]}


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("asked", "reason", "resource"),
    [
        (f.Resources(0, 1, mig="3g.90gb"), "no_such_capacity", "mig"),
        (f.Resources(0, 1, mig="3g.40gb", gpu_type="B200"), "no_such_capacity", "gpu_type"),
        (f.Resources(0, 9, mig="3g.40gb"), "no_such_capacity", "nodes"),
        (f.Resources(1, 1, mig="3g.40gb"), "shape", "mig"),
        (f.Resources(0, 1, gpu_milli=500, mig="3g.40gb"), "shape", "mig"),
        (f.Resources(0, 1, mig="half"), "shape", "mig"),
    ],
)
def test_what_no_gpu_here_has_is_refused(asked: f.Resources, reason: str, resource: str) -> None:
    core = fleet((1, Mig(True)), (1, None))
    facts = at(core, 1, f.SubmitJob("a", "default", asked))
    (refused,) = [fact for fact in facts if isinstance(fact, f.JobRejected)]
    assert (refused.reason, refused.resource) == (reason, resource)


# ── what it counts ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_gpu_full_of_instances_counts_for_no_more_than_a_gpu_and_they_are_metered_by_their_slices() -> None:
    """4g and 3g make up an H100: by compute 4/7, by memory 4/8, and 1072 thousandths by the larger of both."""
    core = fleet((1, Mig(True)), rules=RULES)
    at(core, 1, instance("3g.40gb"), instance("4g.40gb"))
    assert [job.charge_milli for job in core.state.jobs.values()] == [500, 500]
    assert len(core.state.runs) == 2
    at(core, 2, f.RunStarted("a-1.1", 2_000_000))
    facts = at(core, 12, ended("a-1.1", 12))
    (used,) = [fact for fact in facts if isinstance(fact, f.UsageMetered)]
    assert (used.wall_us, used.gpu_us) == (10_000_000, 5_000_000)


def test_the_same_name_on_another_gpu_counts_for_what_it_is_there() -> None:
    core = fleet((1, Mig(True)), gpu_type="NVIDIA A100-SXM4-40GB", rules=RULES)
    at(core, 1, instance("1g.10gb"))
    assert core.state.jobs["a-1"].charge_milli == 250


def test_a_borrow_limit_counts_instances() -> None:
    cloud = Cloud(fleet((2, Mig(True)), rules=RULES))
    cloud.core.cycle(0, [EntitlementsChanged("shared", (owed("a", 1, borrow=0),))])
    cloud.at(1, *[instance("3g.40gb")] * 3, instance("3g.40gb", tenant="b")).until(2)
    assert sorted(masks(cloud.core)) == ["a-1", "a-2", "b-1"]
    found = why(cloud.core.state, "a-3", cloud.now).binding
    assert (found.reason, found.asked, found.limit) == ("limit", 1500, 1000)


def test_a_budget_pays_for_slices() -> None:
    core = fleet((1, Mig(True)), rules=Rules(discipline="fifo-greedy"))
    at(core, 1, BudgetGranted("", "a", HOUR_US, 10 * HOUR_US))
    at(core, 2, instance("3g.40gb"), instance("3g.40gb"), instance("1g.10gb"))
    assert sorted(masks(core)) == ["a-1", "a-2"], "two halves of a GPU for an hour are what it has"


# ── over time ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def full(*hours: float) -> Cloud:
    """One GPU that is partitioned into halves, both used for so long."""
    cloud = Cloud(fleet((1, Mig(False, (HALVES,))), rules=RULES))
    return cloud.at(0, *[instance("3g.40gb", hours=span) for span in hours]).until(1)


def test_a_reservation_holds_the_instance_that_comes_free_first_and_others_stay_out_of_it() -> None:
    cloud = full(4, 2)
    cloud.at(60, instance("3g.40gb", hours=8)).until(61)
    (made,) = [fact for _, fact in cloud.facts if isinstance(fact, f.CapacityReserved)]
    assert [(task.node, task.mask) for task in made.tasks] == [("n0", "1:f/8")]
    assert made.start_us == 2 * HOUR_US
    cloud.at(120, instance("3g.40gb", hours=1)).until(121)
    assert cloud.reserved("a-4") == ("promise", 4 * 3600), "the other half is free then"
    cloud.to_the_end()
    assert (cloud.started("a-3"), cloud.started("a-4")) == ([7200], [4 * 3600])


def test_an_instance_is_reserved_once_although_enough_is_free_by_count() -> None:
    sevenths = Partition(1, tuple(f"1g.10gb@{start}" for start in range(7)))
    cloud = Cloud(fleet((2, Mig(False, (HALVES, sevenths))), rules=RULES))
    cloud.at(0, instance("3g.40gb", hours=4), instance("3g.40gb", hours=2)).until(1)
    cloud.at(60, instance("3g.40gb", hours=8)).until(61)
    cloud.at(120, instance("3g.40gb", hours=1)).until(121)
    assert (cloud.reserved("a-3"), cloud.reserved("a-4")) == (("promise", 7200), ("promise", 4 * 3600))
    cloud.to_the_end()
    assert (cloud.started("a-3"), cloud.started("a-4")) == ([7200], [4 * 3600])


def timeline_of(*nodes: Mig, gpus: int = 1) -> tuple[Timeline, Availability]:
    """The timeline of nodes with so many H100."""
    model, free, whole = model_of(H100), Availability(), Availability()
    for amounts in (free, whole):
        amounts.slots = Slots()
        for position, mig in enumerate(nodes):
            amounts.put(position, gpus, (1 << gpus) - 1 & ~mig.mask, 0, 0)
            amounts.slots.put(position, *layout(mig, model, {}))
        amounts.size = gpus
    return Timeline(free, whole), free


def test_a_claim_beside_a_run_holds_the_gpu_for_longer_and_no_other() -> None:
    timeline, free = timeline_of(Mig(True))
    free.cut(0, 0, 0x0F, 0, 0)
    timeline.occupy("r", [(0, 1)], [(0, 0)], 10, instances={0: [(0, 0x0F)]})
    timeline.reserve("j", "claim", [(0, 1)], [(0, 0)], 0, 30, mig="3g.40gb", instances={0: [(0, 0xF0)]})
    assert timeline.oversold(0) == []
    whole = f.Resources(1)
    assert timeline.earliest(whole, 0, 5, lambda view: place(view, whole)) == (30, [(0, 1)])


def test_a_claim_where_a_run_is_meanwhile_holds_another_gpu() -> None:
    timeline, free = timeline_of(Mig(True), gpus=2)
    free.cut(0, 0, 0x0F, 0, 0)
    timeline.occupy("r", [(0, 1)], [(0, 0)], 10, instances={0: [(0, 0x0F)]})
    timeline.reserve("k", "claim", [(0, 1)], [(0, 0)], 0, 30, mig="4g.40gb", instances={0: [(0, 0x0F)]})
    whole = f.Resources(1)
    assert timeline.earliest(whole, 0, 5, lambda view: place(view, whole)) == (10, [(0, 1)])


def test_an_instance_that_is_held_twice_is_oversold() -> None:
    timeline, free = timeline_of(Mig(False, (HALVES,)))
    free.cut(0, 0, 0x0F, 0, 0)
    timeline.occupy("r", [(0, 1)], [(0, 0)], 10, instances={0: [(0, 0x0F)]})
    timeline.reserve("j", "plan", [(0, 1)], [(0, 0)], 10, 30, mig="3g.40gb", instances={0: [(0, 0x0F)]})
    assert timeline.oversold(0) == []
    timeline.until("r", 20)
    assert timeline.oversold(0) == [0]


def test_what_ends_before_a_reservation_starts_in_its_instance() -> None:
    """A gang waits for both nodes; what is over by then takes the instance that waits for the other."""
    cloud = Cloud(fleet(*[(1, Mig(False, (Partition(0, ("7g.80gb@0",)),)))] * 2, rules=RULES))
    cloud.at(0, instance("7g.80gb", hours=2)).until(1)
    cloud.at(60, instance("7g.80gb", nodes=2, hours=8)).until(61)
    assert cloud.reserved("a-2") == ("promise", 7200)
    cloud.at(120, instance("7g.80gb", hours=3), instance("7g.80gb", hours=1)).until(121)
    assert (cloud.started("a-3"), cloud.started("a-4")) == ([], [120])
    cloud.to_the_end()
    assert cloud.started("a-2") == [7200]


def test_a_reservation_of_a_gpu_that_is_cut_as_needed_holds_it_whole() -> None:
    cloud = Cloud(fleet((1, Mig(True)), rules=RULES))
    cloud.at(0, instance("4g.40gb", hours=2), instance("3g.40gb", hours=1)).until(1)
    cloud.at(60, instance("4g.40gb", hours=8)).until(61)
    assert cloud.reserved("a-3") == ("promise", 7200.0)
    cloud.at(3700, instance("1g.10gb", hours=0.5), instance("1g.10gb", hours=3)).until(3701)
    assert cloud.started("a-4") == [3700], "beside the instance that runs, and over before the start"
    assert cloud.started("a-5") == []
    cloud.to_the_end()
    assert cloud.started("a-3") == [7200]


def test_found_a_gang_that_waits_for_one_gpu_holds_one_gpu_and_no_instance_of_another() -> None:
    """Its second task was to go beside the first, on a GPU that nobody has cut yet: that is no instance to name."""
    cloud = Cloud(fleet((2, Mig(True)), rules=RULES, colocate=True))
    whole = f.SubmitJob("a", "default", f.Resources(1), max_duration_us=HOUR_US, expected_us=HOUR_US)
    cloud.at(0, whole, whole).until(1)
    cloud.at(60, instance("2g.20gb", nodes=2, hours=8), instance("3g.40gb", hours=8)).until(61)
    made = cloud.core.state.reservations
    assert [task.mask for task in made["a-3"].tasks] == ["1", "1"]
    assert (cloud.reserved("a-3"), cloud.reserved("a-4")) == (("promise", 3600), ("promise", 3600))
    cloud.until(3 * 3600)
    assert not cloud.all(f.PromiseBroken)
    assert masks(cloud.core)["a-3"] == ["n0 1:30/8", "n0 1:3/8"]


def test_who_calls_a_guarantee_takes_one_instance_of_a_partitioned_gpu() -> None:
    cloud = Cloud(fleet((1, Mig(False, (HALVES,))), (1, Mig(False, (HALVES,))), rules=RULES))
    cloud.core.cycle(0, [EntitlementsChanged("shared", (owed("a", 1),))])
    cloud.at(0, *[instance("3g.40gb", tenant="b", hours=24)] * 4).until(1)
    cloud.at(3600, instance("3g.40gb", hours=1)).until(3700)
    assert len(cloud.evicted) == 1
    assert cloud.started("a-1") == [3630]


def test_who_calls_a_guarantee_frees_a_gpu_that_is_cut_as_needed() -> None:
    cloud = Cloud(fleet((1, Mig(True)), (1, Mig(True)), rules=RULES))
    cloud.core.cycle(0, [EntitlementsChanged("shared", (owed("a", 1),))])
    cloud.at(0, *[instance("3g.40gb", tenant="b", hours=24)] * 4).until(1)
    cloud.at(3600, instance("3g.40gb", hours=1)).until(3700)
    assert cloud.started("a-1") == [3630]
    cloud.at(3800, f.SubmitJob("a", "default", f.Resources(1), max_duration_us=HOUR_US, expected_us=HOUR_US))
    cloud.until(8 * 3600)
    assert len(cloud.started("a-2")) == 1


def test_a_window_moves_promises_of_instances_to_another_node_each_to_one_of_its_own() -> None:
    cloud = Cloud(fleet((1, Mig(False, (HALVES,))), (1, Mig(False, (HALVES,))), rules=RULES))
    cloud.at(0, *[instance("3g.40gb", tenant="b", hours=2)] * 4).until(1)
    cloud.at(60, instance("3g.40gb", hours=8), instance("3g.40gb", hours=8)).until(61)
    assert [task.mask for job in ("a-1", "a-2") for task in cloud.core.state.reservations[job].tasks] == [
        "1:f/8",
        "1:f0/8",
    ]
    made = cloud.core.state.reservations["a-1"]
    assert (made.kind, made.tasks[0].mask) == ("promise", "1:f/8")
    planned = MaintenancePlanned("", HOUR_US * 3, HOUR_US * 4, (made.tasks[0].node,))
    cloud.at(70, planned).until(71)
    assert cloud.answers == []
    moved = cloud.core.state.reservations["a-1"]
    assert moved.start_us == made.start_us
    assert moved.tasks[0].node != made.tasks[0].node
    assert moved.tasks[0].mask == "1:f/8"
    assert cloud.core.state.reservations["a-2"].tasks == (f.Task(moved.tasks[0].node, "1:f0/8"),)
    cloud.until(3 * 3600)
    assert cloud.nodes("a-1") == [moved.tasks[0].node]


# ── why ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_job_is_told_what_is_free_in_pieces_and_which_profile_fits_now() -> None:
    cloud = Cloud(
        fleet((1, Mig(False, (Partition(0, ("2g.20gb@0", "2g.20gb@2", "3g.40gb@4")),))), rules=RULES)
    )
    cloud.at(0, instance("3g.40gb", tenant="b", hours=4)).until(1)
    cloud.at(60, instance("3g.40gb", hours=1)).until(61)
    said = why(cloud.core.state, "a-1", cloud.now)
    assert (said.binding.reason, said.binding.asked, said.binding.limit, said.binding.resource) == (
        "topology",
        500,
        500,
        "mig",
    )
    assert (said.changes[0].dimension, said.changes[0].name) == ("mig", "2g.20gb")
    assert (said.start.kind, said.start.start_us) == ("promise", 4 * HOUR_US)


def test_less_than_an_instance_in_all_is_told_by_count() -> None:
    cloud = full(4, 2)
    cloud.at(60, instance("3g.40gb", hours=1)).until(61)
    said = why(cloud.core.state, "a-3", cloud.now).binding
    assert (said.reason, said.asked, said.limit, said.resource) == ("capacity", 500, 0, "gpu_milli")
