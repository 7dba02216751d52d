# SPDX-License-Identifier: Apache-2.0
"""The synthetic workload: the same seed, the same jobs; the load is met; statistics are those of the parameters."""

import dataclasses
import math
from functools import cache

import msgspec
import numpy as np
import pytest

from leitstand.core.rules import TENANT_CLASSES
from leitstand.twin.synthetic.columns import BATCH, KINDS, NOTEBOOK, SERVICE, STATES
from leitstand.twin.synthetic.demand import Demand, DemandError
from leitstand.twin.synthetic.exact import Ints
from leitstand.twin.synthetic.generate import Workload, generate
from leitstand.twin.synthetic.lengths import Lengths
from leitstand.twin.synthetic.parameters import Model, checked, shipped
from leitstand.twin.synthetic.recorded import BATCH_GAP_S

DIGEST = "f97ded23f9876580a7a3b50f4b17b7d9f39eba5b4981f1861c2dad1a639c7d3c"


@cache
def cloud() -> Workload:
    """60 days of 2,048 GPUs: some 200,000 jobs."""
    return generate(Demand(gpus=2048, days=60, load=0.95, seed=3))


def rows(kind: int, workload: Workload | None = None) -> Ints:
    return np.flatnonzero((workload or cloud()).jobs.kind == kind)


# ── the same jobs ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_jobs_of_a_seed_are_these_on_every_machine() -> None:
    assert generate(Demand(gpus=128, days=7, load=0.9, seed=7, growth=0.5)).digest == DIGEST


def test_another_seed_or_demand_gives_other_jobs() -> None:
    demand = Demand(gpus=64, days=7, load=0.9, seed=1)
    others = [demand, *(msgspec.structs.replace(demand, **{name: value}) for name, value in
              {"seed": 2, "gpus": 72, "days": 8, "load": 0.8, "growth": 0.1, "gpus_per_node": 4}.items())]  # fmt: skip
    assert len({generate(each).digest for each in others}) == len(others)


def test_jobs_stand_by_submit_time_within_the_days_asked_for() -> None:
    jobs = cloud().jobs
    assert (np.diff(jobs.submit_s) >= 0).all()
    assert jobs.submit_s[0] >= 0
    assert jobs.submit_s[-1] < 60 * 86400
    assert jobs.duration_s.min() >= 1


# ── the load ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("gpus", "days", "load", "growth", "tolerance"),
    [
        (8, 2, 0.9, 0.0, 0.001),
        (64, 7, 0.3, 0.0, 0.001),
        (64, 30, 0.95, 0.0, 0.001),
        (1000, 7, 0.95, 1.0, 0.001),
        (2048, 30, 1.5, 0.0, 0.0001),
        (10_412, 7, 0.6, -0.5, 0.0001),
    ],
)
def test_the_load_is_met(gpus: int, days: int, load: float, growth: float, tolerance: float) -> None:
    workload = generate(Demand(gpus=gpus, days=days, load=load, seed=5, growth=growth))
    jobs = workload.jobs
    asked = load * gpus * days * 86400
    assert int((jobs.gpus * jobs.duration_s).sum()) == pytest.approx(asked, rel=tolerance)
    assert workload.load == pytest.approx(load, rel=tolerance)


def test_classes_and_kinds_have_their_shares() -> None:
    workload, classes = cloud(), shipped().assumed.classes
    jobs = workload.jobs
    gpu_s = jobs.gpus * jobs.duration_s
    class_of = np.array([list(classes).index(name) for name in workload.tenant_class])[jobs.tenant]
    for number, (name, each) in enumerate(classes.items()):
        of_class = class_of == number
        assert gpu_s[of_class].sum() / gpu_s.sum() == pytest.approx(each.gpu_share, abs=0.001)
        assert workload.classes[name].load == pytest.approx(0.95 * each.gpu_share, abs=0.001)
        for kind, label in ((BATCH, "batch"), (SERVICE, "service"), (NOTEBOOK, "notebook")):
            part = gpu_s[of_class & (jobs.kind == kind)].sum() / gpu_s[of_class].sum()
            assert part == pytest.approx(getattr(each.kinds, label), abs=0.02), (name, label)


def test_twice_the_cloud_has_twice_the_work_and_about_twice_the_jobs() -> None:
    small, large = (generate(Demand(gpus=gpus, days=30, seed=1)) for gpus in (3000, 6000))
    assert large.jobs.gpu_s / small.jobs.gpu_s == pytest.approx(2, rel=1e-4)
    assert len(large.jobs) / len(small.jobs) == pytest.approx(2, rel=0.2)
    assert len(large.tenants) == pytest.approx(2 * len(small.tenants), abs=2)


def test_growth_moves_work_from_the_first_half_to_the_second() -> None:
    def later(growth: float) -> float:
        jobs = generate(Demand(gpus=1024, days=360, load=0.5, seed=2, growth=growth)).jobs
        batches = jobs.submit_s[rows_first_of_group(jobs.group)]
        return float((batches >= 180 * 86400).mean() / (batches < 180 * 86400).mean())

    assert later(1.0) / later(0.0) == pytest.approx(math.sqrt(2), rel=0.05)


def rows_first_of_group(group: Ints) -> Ints:
    return np.unique(group, return_index=True)[1]


# ── statistics ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_limits_are_round_and_no_job_exceeds_its_own() -> None:
    jobs = cloud().jobs
    assert (jobs.limit_s >= jobs.duration_s).all()
    batch = rows(BATCH)
    rounds = np.array(shipped().assumed.limits.round_h) * 3600
    assert np.isin(jobs.limit_s[batch], rounds).mean() > 0.999
    assert np.median(jobs.duration_s[batch] / jobs.limit_s[batch]) < 0.3


def test_states_come_as_often_as_their_chances_say() -> None:
    jobs, states = cloud().jobs, shipped().assumed.states
    workload, classes = cloud(), shipped().assumed.classes
    early = np.array([classes[name].early_failures for name in workload.tenant_class])[jobs.tenant]
    late = rows(BATCH)
    late = late[early[late] == 0]
    of_batch = jobs.state[late]
    for name, chances in (("failed", states.failed), ("cancelled", states.cancelled)):
        assert (of_batch == STATES.index(name)).mean() == pytest.approx(np.mean(chances), abs=0.01)
    short = np.argsort(jobs.duration_s[late])[: len(of_batch) // 10]
    assert (of_batch[short] == STATES.index("failed")).mean() > 1.5 * np.mean(states.failed)


def test_jobs_that_fail_at_once_are_as_many_as_assumed_where_the_record_has_none() -> None:
    """ITP's record, which is that of industry and start-ups, begins at ten minutes."""
    jobs, workload = cloud().jobs, cloud()
    for name in ("industry", "startup"):
        tenants = [at for at, kind in enumerate(workload.tenant_class) if kind == name]
        of_class = rows(BATCH)[np.isin(jobs.tenant[rows(BATCH)], tenants)]
        short = jobs.duration_s[of_class] < 600
        assert short.mean() == pytest.approx(shipped().assumed.classes[name].early_failures, abs=0.01)
        assert (jobs.state[of_class][short] == STATES.index("failed")).all()


def test_gangs_have_about_their_share_and_none_is_above_the_largest_part() -> None:
    workload = generate(Demand(gpus=10_412, days=60, seed=1))
    jobs = workload.jobs
    gpu_s = (jobs.gpus * jobs.duration_s)[jobs.kind == BATCH]
    gpus = jobs.gpus[jobs.kind == BATCH]
    asked = sum(
        each.gpu_share * each.kinds.batch * sum(part for size, part in each.gangs.items() if size >= 128)
        for each in shipped().assumed.classes.values()
    ) / sum(each.gpu_share * each.kinds.batch for each in shipped().assumed.classes.values())
    assert gpu_s[gpus >= 128].sum() / gpu_s.sum() == pytest.approx(asked, abs=0.04)
    assert gpus.max() == 512
    assert generate(Demand(gpus=256, days=30, seed=1)).jobs.gpus.max() <= 64


@pytest.mark.parametrize("name", ["philly", "itp"])
def test_durations_of_scores_are_those_of_the_mixture(name: str) -> None:
    brackets = shipped().fitted.families[name].brackets
    lengths = Lengths(brackets, 1e12)
    chance = np.random.default_rng(1)
    for bracket in brackets:
        which = chance.choice(len(bracket.weights), 100_000, p=bracket.weights)
        drawn = np.exp(
            np.log(bracket.median_s)[which] + np.array(bracket.sigma)[which] * chance.standard_normal(100_000)
        )
        drawn = np.sort(np.rint(drawn)[(drawn >= bracket.shortest_s) & (drawn <= bracket.longest_s)])
        made = lengths.durations(chance.standard_normal(100_000), np.full(100_000, bracket.least_gpus))
        for part in (0.1, 0.3, 0.5, 0.7, 0.9):  # whole seconds: many jobs may have the same
            place = np.quantile(made, part)
            below, up_to = (
                np.searchsorted(drawn, place, side=side) / len(drawn) for side in ("left", "right")
            )
            assert below - 0.01 < part < up_to + 0.01, (bracket.least_gpus, part)


def test_some_tenants_ask_for_larger_jobs_than_others() -> None:
    jobs, workload = cloud().jobs, cloud()
    batch = rows(BATCH)
    first = batch[rows_first_of_group(jobs.group[batch])]
    of_research = np.array([name == "research" for name in workload.tenant_class])[jobs.tenant[first]]
    larger = [
        float((jobs.gpus[first[of_research & (jobs.tenant[first] == tenant)]] > 1).mean())
        for tenant in np.unique(jobs.tenant[first[of_research]])
    ]
    assert min(larger) < 0.12
    assert max(larger) > 0.5


def test_batches_are_submitted_together_and_mostly_equally_long() -> None:
    jobs = cloud().jobs
    batch = rows(BATCH)
    batch = batch[np.lexsort((jobs.submit_s[batch], jobs.group[batch]))]
    together = np.flatnonzero(np.diff(jobs.group[batch]) == 0)
    assert len(together) > 0.5 * len(batch)
    one, other = batch[together], batch[together + 1]
    for column in (jobs.tenant, jobs.user, jobs.gpus, jobs.limit_s):
        assert (column[one] == column[other]).all()
    assert (jobs.submit_s[other] - jobs.submit_s[one]).max() <= BATCH_GAP_S
    near = np.abs(np.log(jobs.duration_s[one] / jobs.duration_s[other])) < math.log(1.5)
    assert 0.6 < near.mean() < 0.95


def test_a_tenant_goes_on_with_what_it_did_as_often_as_was_fitted() -> None:
    """Of batches of one tenant that follow one another: the same user more often than by chance."""
    jobs = cloud().jobs
    batch = rows(BATCH)
    first = batch[rows_first_of_group(jobs.group[batch])]
    first = first[np.lexsort((jobs.submit_s[first], jobs.tenant[first]))]
    follows = np.flatnonzero(np.diff(jobs.tenant[first]) == 0)
    same = (jobs.user[first[follows]] == jobs.user[first[follows + 1]]).mean()
    by_chance = 0.0
    for tenant in np.unique(jobs.tenant[first]):
        _, count = np.unique(jobs.user[first][jobs.tenant[first] == tenant], return_counts=True)
        by_chance += count.sum() / len(first) * ((count / count.sum()) ** 2).sum()
    assert 0.1 < (same - by_chance) / (1 - by_chance) < 0.45


def test_batches_follow_the_week_and_come_in_bursts() -> None:
    jobs = cloud().jobs
    batch = rows(BATCH)
    at_h = jobs.submit_s[batch][rows_first_of_group(jobs.group[batch])] // 3600
    week = np.bincount(at_h % 168, minlength=168)
    assert np.corrcoef(week, shipped().fitted.profiles["helios"])[0, 1] > 0.9
    of_jobs = np.bincount(jobs.submit_s[batch] // 3600)
    assert of_jobs.var() / of_jobs.mean() > 30


def test_services_follow_the_day_and_workspaces_are_parts_of_gpus() -> None:
    jobs = cloud().jobs
    service = rows(SERVICE)
    change = np.zeros(60 * 24 + 2)
    np.add.at(change, -(-jobs.submit_s[service] // 3600), jobs.gpus[service])
    np.add.at(change, -(-(jobs.submit_s[service] + jobs.duration_s[service]) // 3600), -jobs.gpus[service])
    running = np.cumsum(change)[: 60 * 24].reshape(-1, 24)
    assert running[:, 11].mean() > 2 * running[:, 4].mean()
    monday_to_friday = np.arange(60) % 7 < 5
    assert running[monday_to_friday, 11].mean() > 1.3 * running[~monday_to_friday, 11].mean()
    assert jobs.duration_s[service].max() <= shipped().assumed.services.longest_lease_h * 3600
    milli = jobs.milli[rows(NOTEBOOK)]
    for part, share in shipped().assumed.notebooks.milli.items():
        assert (milli == part).mean() == pytest.approx(share, abs=0.02)
    assert (jobs.gpus[rows(NOTEBOOK)] == 1).all()
    assert (jobs.milli[rows(BATCH)] == 1000 * jobs.gpus[rows(BATCH)]).all()


def test_nodes_are_all_given_by_share() -> None:
    workload = cloud()
    assert sum(workload.nodes) == 2048 // 8
    for name, each in shipped().assumed.classes.items():
        of_class = sum(
            nodes for nodes, kind in zip(workload.nodes, workload.tenant_class, strict=True) if kind == name
        )
        assert of_class == pytest.approx(256 * each.gpu_share, abs=4)
    assert set(workload.tenant_class) == set(TENANT_CLASSES)


@pytest.mark.parametrize(("gpus", "of_each"), [(10_408, 8), (10_412, 4), (10, 2), (11, 1)])
def test_nodes_are_the_largest_usual_ones_that_divide_the_gpus(gpus: int, of_each: int) -> None:
    assert (Demand(gpus=gpus, days=30).node_gpus, Demand(gpus=gpus, days=30).nodes) == (
        of_each,
        gpus // of_each,
    )


# ── what makes no sense ───────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"gpus": 0}, "gpus is 0, not in 1..200000"),
        ({"gpus": 300_000}, "gpus is 300000, not in"),
        ({"days": 0}, "days is 0, not in 1..1830"),
        ({"days": 4000}, "ask for fewer days"),
        ({"load": 0.0}, "load is 0, not in 0.01..3; 1 is as much work as the cloud can do"),
        ({"load": 95.0}, "load is 95, not in"),
        ({"load": math.nan}, "load is nan, not in"),
        ({"seed": -1}, "seed is -1, not in"),
        ({"growth": -1.0}, "growth is -1, not in"),
        ({"growth": math.inf}, "growth is inf, not in"),
        ({"gpus_per_node": 0}, "gpus-per-node is 0, not in"),
        ({"gpus_per_node": 7}, "gpus is 64, no multiple of 7 GPUs per node; ask for 63 or 70 GPUs"),
        ({"gpus": 1, "days": 1}, "less than 8: hardly a job; ask for more GPUs, days or load"),
        ({"gpus": 200_000, "days": 1000}, "more jobs than a trace may have; ask for fewer GPUs or days"),
    ],
)
def test_a_demand_that_makes_no_sense_is_refused_with_limit_and_remedy(
    wrong: dict[str, float], said: str
) -> None:
    with pytest.raises(DemandError) as refused:
        generate(msgspec.structs.replace(Demand(gpus=64, days=7), **wrong))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("months", (1.0,) * 11, "months is 11"),
        ("states", msgspec.structs.replace(shipped().assumed.states, failed=(0.1,)), "states is 1"),
        ("classes", {}, "classes is []"),
    ],
)
def test_a_model_that_does_not_hold_together_is_refused_by_name(where: str, value: object, said: str) -> None:
    broken = msgspec.structs.replace(shipped().assumed, **{where: value})
    with pytest.raises(ValueError, match="synthetic model") as refused:
        checked(Model(shipped().fitted, broken))
    assert said in str(refused.value)


def test_an_unknown_family_is_named() -> None:
    model = shipped()
    industry = msgspec.structs.replace(model.assumed.classes["industry"], family="none")
    broken = msgspec.structs.replace(model.assumed, classes={**model.assumed.classes, "industry": industry})
    with pytest.raises(ValueError, match="family of industry is none; it must be one of philly, itp"):
        checked(Model(model.fitted, broken))


def test_every_fitted_part_names_a_source_that_may_be_used() -> None:
    fitted = shipped().fitted
    assert {source.licence for source in fitted.sources.values()} <= {"CC-BY-4.0", "MIT"}
    assert not [
        source for source in fitted.sources.values() if "alibaba" in (source.title + source.url).lower()
    ]
    assert {*fitted.families, *fitted.profiles, *fitted.activities, fitted.requests.source} <= set(
        fitted.sources
    )


def test_columns_are_as_long_as_one_another() -> None:
    jobs = cloud().jobs
    assert {len(getattr(jobs, field.name)) for field in dataclasses.fields(jobs)} == {len(jobs)}
    assert set(np.unique(jobs.kind).tolist()) == set(range(len(KINDS)))
