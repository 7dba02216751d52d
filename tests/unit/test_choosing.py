# SPDX-License-Identifier: Apache-2.0
"""Which pool and shape a job gets, and when it goes elsewhere, as stories: given sites, when jobs come, then facts."""

from typing import Any

import msgspec
import pytest

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core import rules as bundle
from leitstand.core.cycle import Core
from leitstand.core.explaining.elsewhere import alternatives
from leitstand.core.rules import Choosing, Rules, Sharing
from leitstand.core.state import Projection, State
from leitstand.core.units import DAY_US, HOUR_US
from tests.unit.story import at, ended, placed, refused

AACHEN, DRESDEN = "aachen-b200", "dresden-h200"


def cloud(
    aachen: int = 1, dresden: int = 1, sharing: Sharing | None = None, size: int = 8, **choosing: Any
) -> Core:
    """Two sites under `fair`: so many nodes of 8 B200 in Aachen (DE) and of 8 H200 in Dresden (DE)."""
    rules = Rules(
        discipline="fair", choosing=Choosing(**choosing), sharing=sharing or Sharing(grace_us=0, stop_us=0)
    )
    core = Core()
    seen: list[f.Observation] = [f.RulesSet(rules, ""), f.TenantAdded("acme"), f.TenantAdded("beta")]
    seen += [f.SiteAdded("aachen", "simulated", jurisdiction="DE", levels=("rack",))]
    seen += [f.SiteAdded("dresden", "simulated", jurisdiction="DE")]
    for n in range(aachen):
        seen.append(f.NodeAdded(f"a{n}", "aachen", size, 0, 0, "B200", "", domains=(f"r{n}",)))
    seen += [f.NodeAdded(f"d{n}", "dresden", size, 0, 0, "H200", "") for n in range(dresden)]
    core.cycle(0, seen)
    assert [answer for answer in core.answers if answer.refused] == []
    return core


def either(count: int = 8, hours: int = 1, tenant: str = "acme", **more: Any) -> f.SubmitJob:
    """A job that takes B200, or else H200."""
    first = f.Resources(count, 1, gpu_type="B200")
    return f.SubmitJob(
        tenant,
        "default",
        first,
        max_duration_us=hours * HOUR_US,
        alternatives=(msgspec.structs.replace(first, gpu_type="H200"),),
        **more,
    )


def anywhere(count: int = 8, hours: int = 1, **more: Any) -> f.SubmitJob:
    shape = {key: more.pop(key) for key in ("sites", "jurisdiction", "prefer", "nodes") if key in more}
    asked = f.Resources(count, shape.pop("nodes", 1), **shape)
    return f.SubmitJob("acme", "default", asked, max_duration_us=hours * HOUR_US, **more)


def admitted(facts: list[f.Fact]) -> list[tuple[str, int]]:
    return [(fact.pool, fact.alternative) for fact in facts if isinstance(fact, f.JobAdmitted)]


def switched(facts: list[f.Fact]) -> list[tuple[str, str, int]]:
    return [(fact.job, fact.pool, fact.alternative) for fact in facts if isinstance(fact, f.JobSwitched)]


# ── pools and types ───────────────────────────────────────────────────────────────────────────────────────────────
def test_a_node_that_names_no_pool_serves_that_of_its_site_and_type() -> None:
    core = cloud()
    assert list(core.state.pools) == [AACHEN, DRESDEN]
    more = f.NodeAdded("c1", "aachen", 0, 64_000, 1000, "", ""), f.NodeAdded("x1", "aachen", 4, 0, 0, "", "")
    at(core, 1, *more, f.NodeAdded("y1", "aachen", 4, 0, 0, "NVIDIA H100 80GB HBM3", ""))
    assert list(core.state.pools)[2:] == ["aachen-cpu", "aachen-gpu", "aachen-nvidia-h100-80gb-hbm3"]
    at(core, 2, f.NodeAdded("c1", "aachen", 0, 32_000, 1000, "", ""))
    assert core.state.nodes["c1"].pool == "aachen-cpu"
    assert refused(core, 3, f.NodeAdded("z", "aachen", 1, 0, 0, "x" * 70, ""))[0] == "invalid"


@pytest.mark.parametrize(
    ("asked", "has", "means"),
    [
        ("H100", "NVIDIA H100 80GB HBM3", True),
        ("h100", "NVIDIA H100 80GB HBM3", True),
        ("A100-80GB", "NVIDIA A100-SXM4-80GB", True),
        ("A100-80GB", "NVIDIA A100-SXM4-40GB", False),
        ("A100", "A100-80GB", True),
        ("H100", "H200", False),
        ("H10", "H100", False),
        ("-", "H100", False),
        ("H100", "", False),
        ("H100", "logical", False),
    ],
)
def test_a_job_means_all_types_with_the_words_that_it_names(asked: str, has: str, means: bool) -> None:
    core = cloud(1, 0)
    at(core, 1, f.NodeRemoved("a0"), f.NodeAdded("n", "aachen", 8, 0, 0, has, "shared"))
    facts = at(core, 2, f.SubmitJob("acme", "default", f.Resources(1, 1, gpu_type=asked)))
    assert bool(placed(facts)) is means
    if not means:
        assert facts[-1] == f.JobRejected("acme-1", "no_such_capacity", 0, 0, "gpu_type", facts[-1].lacks)  # type: ignore[attr-defined]


def test_gpus_that_are_only_counted_stand_for_any_type_unless_they_name_one() -> None:
    core = cloud(0, 0)
    at(core, 1, f.SiteAdded("lab", "local", logical=True), f.NodeAdded("n", "lab", 2, 0, 0, "logical"))
    assert placed(at(core, 2, f.SubmitJob("acme", "default", f.Resources(1, 1, gpu_type="H100"))))
    at(core, 3, f.NodeAdded("n", "lab", 2, 0, 0, "B200"))
    facts = at(core, 4, f.SubmitJob("acme", "default", f.Resources(1, 1, gpu_type="H100")))
    assert isinstance(facts[-1], f.JobRejected)


def test_a_gang_is_at_one_site_even_where_two_share_a_pool() -> None:
    core = cloud(0, 0)
    nodes = [f.NodeAdded(f"n{n}", site, 4, 0, 0) for n, site in enumerate(("aachen", "dresden", "dresden"))]
    at(core, 1, *nodes)
    facts = at(core, 2, anywhere(8, nodes=2))
    assert placed(facts) == {"acme-1.1": [("n1", (0, 1, 2, 3)), ("n2", (0, 1, 2, 3))]}
    assert isinstance(at(core, 3, anywhere(12, nodes=3))[-1], f.JobRejected)
    assert isinstance(at(core, 4, anywhere(12, nodes=0))[-1], f.JobRejected)


# ── who is eligible ───────────────────────────────────────────────────────────────────────────────────────────────
def test_a_job_goes_where_its_requirements_are_met() -> None:
    core = cloud()
    at(
        core,
        1,
        f.SiteAdded("graz", "simulated", jurisdiction="AT"),
        f.NodeAdded("g0", "graz", 8, 0, 0, "H200", ""),
    )
    assert admitted(at(core, 2, anywhere(1, sites=("dresden", "nowhere")))) == [(DRESDEN, 0)]
    assert admitted(at(core, 3, anywhere(1, jurisdiction="AT"))) == [("graz-h200", 0)]
    assert admitted(at(core, 4, f.SubmitJob("acme", "default", f.Resources(1, gpu_type="B200")))) == [
        (AACHEN, 0)
    ]
    assert admitted(at(core, 5, anywhere(1, prefer="rack"))) == [(AACHEN, 0)]


def test_requirements_hold_inside_a_pool_of_several_sites() -> None:
    core = cloud(0, 0)
    at(core, 1, *(f.NodeAdded(f"n{n}", site, 4, 0, 0) for n, site in enumerate(("aachen", "dresden"))))
    assert placed(at(core, 2, anywhere(1, sites=("dresden",)))) == {"acme-1.1": [("n1", (0,))]}
    at(core, 3, f.SiteAdded("aachen", "simulated", jurisdiction="NRW", levels=("rack",)))
    assert placed(at(core, 4, anywhere(1, jurisdiction="NRW"))) == {"acme-2.1": [("n0", (0,))]}


@pytest.mark.parametrize(
    ("asked", "says", "lacks"),
    [
        (
            anywhere(sites=("berlin",)),
            (0, 0, "sites"),
            [(AACHEN, 0, "no_such_capacity", 0, 0, "sites"), (DRESDEN, 0, "no_such_capacity", 0, 0, "sites")],
        ),
        (
            anywhere(jurisdiction="FR", sites=("aachen",)),
            (0, 0, "jurisdiction"),
            [
                (AACHEN, 0, "no_such_capacity", 0, 0, "jurisdiction"),
                (DRESDEN, 0, "no_such_capacity", 0, 0, "sites"),
            ],
        ),
        (
            either(16),
            (16, 8, "gpus"),
            [
                (AACHEN, 0, "no_such_capacity", 16, 8, "gpus"),
                (DRESDEN, 0, "no_such_capacity", 0, 0, "gpu_type"),
                (AACHEN, 1, "no_such_capacity", 0, 0, "gpu_type"),
                (DRESDEN, 1, "no_such_capacity", 16, 8, "gpus"),
            ],
        ),
    ],
)
def test_a_job_that_no_site_could_ever_run_is_told_what_lacks_where(
    asked: f.SubmitJob, says: tuple[Any, ...], lacks: list[Any]
) -> None:
    core = cloud()
    said = at(core, 1, asked)[-1]
    assert said == f.JobRejected("acme-1", "no_such_capacity", *says, tuple(f.Lack(*one) for one in lacks))


def test_a_pool_where_the_project_is_entitled_to_too_little_is_not_eligible() -> None:
    core = cloud()
    none = a.Entitlement("industry/acme", 0, 1, borrow_milli=4000)
    at(core, 1, a.EntitlementsChanged(AACHEN, (none,)))
    assert core.answers[-1].refused == ""
    assert admitted(at(core, 2, anywhere(8))) == [(DRESDEN, 0)]
    at(core, 3, a.EntitlementsChanged(DRESDEN, (none,)))
    said = at(core, 4, anywhere(8))[-1]
    assert isinstance(said, f.JobRejected)
    assert (said.reason, said.asked, said.limit) == ("entitlement", 8000, 4000)


# ── choice ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_where_both_are_free_the_first_alternative_wins_whatever_else_speaks_against_it() -> None:
    core = cloud(price_milli={AACHEN: 9000})
    at(
        core,
        1,
        a.SiteDescribed("aachen", carbon_g_per_kwh=900),
        a.SiteDescribed("dresden", carbon_g_per_kwh=1),
    )
    facts = at(core, 2, either(data_sites=("dresden",)))
    assert admitted(facts) == [(AACHEN, 0)]
    assert isinstance(facts[1], f.JobAdmitted)
    assert dict(facts[1].score) == {"wait": 0, "data": 1200, "cost": 800, "carbon": 599}
    assert placed(facts)["acme-1.1"][0][0] == "a0"


def test_a_shorter_queue_wins_over_the_order_of_alternatives() -> None:
    core = cloud()
    at(core, 1, either(hours=10))
    assert admitted(at(core, 2, either())) == [(DRESDEN, 1)]
    assert admitted(at(core, 3, either(hours=2))) == [(DRESDEN, 1)]  # waits an hour there, ten in Aachen


def test_a_wait_that_is_shorter_by_less_than_the_order_counts_does_not() -> None:
    core = cloud()
    at(core, 1, either(hours=1))
    assert admitted(at(core, 2, either())) == [(AACHEN, 0)]
    assert admitted(at(core, 3, either())) == [(DRESDEN, 1)]


@pytest.mark.parametrize(
    ("more", "rules", "goes"),
    [
        ({}, {}, AACHEN),  # the first of the fleet
        ({"data_sites": ("dresden",)}, {}, DRESDEN),
        ({"data_sites": ("elsewhere",)}, {}, AACHEN),
        ({}, {"price_milli": {AACHEN: 1100}}, DRESDEN),
        ({}, {"price_milli": {AACHEN: 1100}, "cost_s": 0}, AACHEN),
        ({"data_sites": ("aachen",)}, {"price_milli": {AACHEN: 1100}}, AACHEN),
    ],
)
def test_among_equal_waits_data_and_cost_decide(more: Any, rules: Any, goes: str) -> None:
    assert admitted(at(cloud(**rules), 1, anywhere(1, **more))) == [(goes, 0)]


def test_a_cleaner_site_wins_and_one_of_which_nothing_is_said_counts_as_the_dirtiest() -> None:
    core = cloud()
    at(core, 1, a.SiteDescribed("dresden", carbon_g_per_kwh=400))
    assert admitted(at(core, 2, anywhere(1))) == [(AACHEN, 0)]
    at(core, 3, a.SiteDescribed("aachen", carbon_g_per_kwh=500))
    assert admitted(at(core, 4, anywhere(1))) == [(DRESDEN, 0)]
    at(
        core, 5, f.SiteAdded("aachen", "other", jurisdiction="DE", levels=("rack",))
    )  # keeps what the operator said
    assert core.state.sites["aachen"].carbon_g_per_kwh == 500


def test_together_at_the_preferred_level_wins_over_apart() -> None:
    core = cloud(4, 0)
    at(core, 1, f.SiteAdded("ulm", "simulated", levels=("rack",)))
    at(core, 2, *(f.NodeAdded(f"u{n}", "ulm", 8, 0, 0, "B200", "", domains=("r1",)) for n in range(2)))
    facts = at(core, 3, anywhere(16, nodes=2, prefer="rack"))
    assert admitted(facts) == [("ulm-b200", 0)]


def test_many_that_come_at_once_spread_as_they_fit() -> None:
    core = cloud(2, 2)
    facts = at(core, 1, *(anywhere() for _ in range(6)))
    assert [pool for pool, _ in admitted(facts)] == [AACHEN, AACHEN, DRESDEN, DRESDEN, AACHEN, DRESDEN]
    assert len(placed(facts)) == 4


def test_a_guarantee_somewhere_is_worth_its_recall_time() -> None:
    core = cloud()
    at(core, 1, either(hours=5, tenant="beta"), either(hours=5, tenant="beta"))
    owed = [a.Entitlement(node, 8000) for node in ("industry", "industry/acme")]
    at(core, 2, a.EntitlementsChanged(DRESDEN, tuple(owed)))
    facts = at(core, 3, anywhere())
    assert admitted(facts) == [(DRESDEN, 0)]
    assert isinstance(facts[1], f.JobAdmitted)
    assert facts[1].score == (("wait", 900),)


def test_budgets_pay_the_price_of_the_pool_and_who_cannot_be_paid_there_goes_elsewhere() -> None:
    core = cloud(price_milli={AACHEN: 2000})
    prices = {**core.state.rules.price_micro_eur_per_gpu_h, "industry": 1_000_000}
    rules = msgspec.structs.replace(core.state.rules, price_micro_eur_per_gpu_h=prices)
    at(core, 1, f.RulesSet(rules, ""))
    at(core, 1, a.BudgetGranted("", "acme", 0, DAY_US, "paid", micro_eur=24_000_000))
    assert admitted(at(core, 2, either())) == [(AACHEN, 0)]
    assert core.state.jobs["acme-1"].reserved == (("b1", 16_000_000),)
    assert admitted(at(core, 3, either())) == [(DRESDEN, 1)]
    assert core.state.jobs["acme-2"].reserved == (("b1", 8_000_000),)
    said = at(core, 4, either())[-1]
    assert isinstance(said, f.JobRejected)
    assert said.reason == "budget"


def test_without_shares_the_one_pool_and_the_first_alternative_that_could_run_are_taken() -> None:
    core = cloud()
    at(core, 1, f.RulesSet(Rules(), ""), f.NodeAdded("n", "aachen", 8, 0, 0, "H200"))
    at(core, 2, anywhere(8))
    assert admitted(at(core, 3, either())) == [("shared", 1)]


# ── switching ─────────────────────────────────────────────────────────────────────────────────────────────────────
def full(core: Core, *hours: int) -> None:
    """Runs that hold Aachen and Dresden for so many hours."""
    for number, (long, where) in enumerate(zip(hours, (("aachen",), ("dresden",)), strict=False), 1):
        at(core, number, anywhere(hours=long, sites=where))


def test_a_job_that_waits_switches_at_a_tick_once_another_pool_is_free() -> None:
    core = cloud()
    full(core, 5, 5)
    assert admitted(at(core, 5, either())) == [(AACHEN, 0)]
    assert switched(at(core, 70, ended("acme-2.1", 70, started=2))) == [("acme-3", DRESDEN, 1)]
    assert core.state.jobs["acme-3"].state == "starting"
    assert core.state.jobs["acme-3"].resources.gpu_type == "H200"


def test_between_ticks_nobody_switches() -> None:
    core = cloud()
    full(core, 5, 5)
    at(core, 60, either())
    assert switched(at(core, 65, ended("acme-2.1", 65, started=2))) == []
    assert core.next_wake() == 120_000_000
    assert switched(at(core, 120)) == [("acme-3", DRESDEN, 1)]


def test_a_switch_moves_demand_and_reserves_budgets_anew() -> None:
    core = cloud(price_milli={AACHEN: 2000})
    prices = {**core.state.rules.price_micro_eur_per_gpu_h, "industry": 1_000_000}
    at(core, 0, f.RulesSet(msgspec.structs.replace(core.state.rules, price_micro_eur_per_gpu_h=prices), ""))
    at(core, 0, a.BudgetGranted("", "beta", 0, DAY_US, "paid", micro_eur=16_000_000))
    full(core, 5, 5)
    at(core, 5, either(tenant="beta"))
    job, pools = core.state.jobs["beta-1"], core.state.pools
    assert (job.pool, job.reserved) == (AACHEN, (("b1", 16_000_000),))
    facts = at(core, 70, ended("acme-2.1", 70, started=2))
    assert (job.pool, job.reserved, job.switches) == (DRESDEN, (("b1", 8_000_000),), 1)
    (fact,) = (one for one in facts if isinstance(one, f.JobSwitched))
    assert (fact.charge_milli, fact.price_micro_eur, dict(fact.score)["order"]) == (8000, 1_000_000, 3600)
    assert fact.gain_s > 600
    demands = [
        (s.tree.root.running, s.backlog.waiting, s.backlog.work) for p in pools.values() if (s := p.standing)
    ]
    assert demands == [(8000, 0, {}), (8000, 0, {})]


@pytest.mark.parametrize(
    ("gain_s", "switches", "goes"), [(4000, 0, False), (3000, 0, True), (3000, 1, False)]
)
def test_a_small_gain_is_no_reason_to_switch_and_each_further_switch_needs_more(
    gain_s: int, switches: int, goes: bool
) -> None:
    core = cloud(gain_s=gain_s)
    full(core, 1, 1)
    at(core, 5, anywhere())
    core.state.jobs["acme-3"].switches = switches
    facts = at(core, 70, ended("acme-2.1", 70, started=2))
    assert switched(facts) == ([("acme-3", DRESDEN, 0)] if goes else [])


def test_a_job_whose_pool_could_not_hold_it_any_more_goes_at_once() -> None:
    core = cloud()
    full(core, 5, 5)
    at(core, 65, either())
    facts = at(core, 70, f.NodeRemoved("a0"))
    assert switched(facts) == [("acme-3", DRESDEN, 1)]
    assert [fact.gain_s for fact in facts if isinstance(fact, f.JobSwitched)] == [0]


def test_a_new_site_takes_who_waits_for_others() -> None:
    core = cloud(1, 0)
    at(core, 1, anywhere(hours=5), anywhere(hours=5))
    facts = at(core, 70, f.NodeAdded("d0", "dresden", 8, 0, 0, "H200", ""))
    assert switched(facts) == [("acme-2", DRESDEN, 0)]
    assert placed(facts)["acme-2.1"][0][0] == "d0"


def test_what_is_held_or_must_not_begin_yet_stays() -> None:
    core = cloud()
    full(core, 5, 5)
    at(core, 5, either(held=True), either(begin_us=HOUR_US))
    assert switched(at(core, 70, ended("acme-2.1", 70, started=2))) == []


def promised(core: Core, hours: int) -> f.Fact:
    """A job that waits in Aachen with a promise, for what ends there after so many hours."""
    full(core, hours, hours)
    facts = at(core, 5, either())
    (made,) = (fact for fact in facts if isinstance(fact, f.CapacityReserved))
    assert (made.kind, core.state.jobs["acme-3"].pool) == ("promise", AACHEN)
    return made


def test_a_promise_is_given_up_for_an_earlier_promise_alone() -> None:
    core = cloud()
    promised(core, 5)
    facts = at(core, 70, ended("acme-2.1", 70, started=2))
    assert switched(facts) == [("acme-3", DRESDEN, 1)]
    kinds = [(fact.kind, fact.start_us) for fact in facts if isinstance(fact, f.CapacityReserved)]
    assert kinds == [("promise", 70_000_000)]
    assert placed(facts)["acme-3.1"][0][0] == "d0"


def test_a_promise_is_not_given_up_where_nobody_promises() -> None:
    core = cloud()
    promised(core, 5)
    owed = [a.Entitlement(node, 8000) for node in ("industry", "industry/beta")]
    at(core, 6, a.EntitlementsChanged(DRESDEN, tuple(owed)))
    facts = at(core, 70, ended("acme-2.1", 70, started=2))
    assert switched(facts) == []
    assert core.state.reservations["acme-3"].kind == "promise"


def test_a_tick_looks_at_a_bounded_number_the_heads_first() -> None:
    core = cloud(looked_max=2)
    full(core, 5, 5)
    at(core, 5, *(anywhere(1, hours=5, sites=("aachen", "dresden")) for _ in range(6)))
    waiting = [job.id for job in core.state.jobs.values() if job.state == "pending" and job.pool == AACHEN]
    first = switched(at(core, 70, ended("acme-2.1", 70, started=2)))
    assert [job for job, _, _ in first] == waiting[: len(first)]
    assert 0 < len(first) <= 2


def test_a_restart_chooses_and_switches_alike() -> None:
    core = cloud()
    full(core, 5, 5)
    at(core, 5, either(), anywhere(2), anywhere(4))
    stored = msgspec.msgpack.encode(core.state.project())
    other = Core(State.restore(msgspec.msgpack.decode(stored, type=Projection)))
    seen = (ended("acme-2.1", 70, started=2), either(), anywhere(1))
    assert at(core, 70, *seen) == at(other, 70, *seen)
    assert core.state.digest() == other.state.digest()


# ── what is wrong ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_rules_that_put_preferences_above_the_users_order_are_refused() -> None:
    faults = bundle.check(Rules(choosing=Choosing(order_s=3300, price_milli={"p": 0})))
    assert len(faults) == 2
    assert faults[0].startswith(
        "choosing: level_s, data_s, cost_s and carbon_s are 3300 s together, not less than order_s"
    )
    assert faults[1] == "choosing.price_milli of 'p' is 0, not in 1..1000000"
    assert bundle.check(Rules(choosing=Choosing(looked_max=10_001, gain_s=0)))


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (a.SiteDescribed("moon", carbon_g_per_kwh=1), "unknown_site"),
        (a.SiteDescribed("aachen", carbon_g_per_kwh=-1), "invalid"),
        (a.SiteDescribed("aachen", carbon_g_per_kwh=10_001), "invalid"),
        (a.SiteDescribed("aachen", jurisdiction="d e"), "invalid"),
    ],
)
def test_a_site_is_described_within_limits(asked: a.SiteDescribed, why: str) -> None:
    assert refused(cloud(), 1, asked)[0] == why


def test_a_job_names_a_bounded_number_of_sites() -> None:
    core = cloud()
    many = tuple(f"s{n}" for n in range(17))
    assert refused(core, 1, anywhere(sites=many)) == ("invalid", "17 sites; the limit is 16")
    assert refused(core, 1, anywhere(data_sites=many)) == (
        "invalid",
        "17 sites with its data; the limit is 16",
    )
    assert refused(core, 1, anywhere(jurisdiction="x" * 129))[0] == "invalid"


# ── explanations ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_explanation_shows_every_alternative_with_its_score_or_what_it_lacks() -> None:
    core = cloud()
    full(core, 5, 6)
    at(core, 5, either(data_sites=("dresden",)))
    found = alternatives(core.state, "acme-3", core._now)
    assert [(one.pool, one.number, one.chosen, one.sites) for one in found] == [
        (AACHEN, 0, True, ("aachen",)),
        (DRESDEN, 1, False, ("dresden",)),
        (DRESDEN, 0, False, ("dresden",)),
        (AACHEN, 1, False, ("aachen",)),
    ]
    made = core.state.reservations["acme-3"]
    wait = (made.start_us - core._now) // 1_000_000
    assert found[0].parts == (("wait", wait), ("data", 1200))
    assert found[0].seconds == wait + 1200
    assert dict(found[1].parts)["order"] == 3600
    assert [one.lack.resource for one in found if one.lack is not None] == ["gpu_type", "gpu_type"]


def test_where_there_is_no_choice_no_alternative_is_shown() -> None:
    core = cloud(1, 0)
    at(core, 1, anywhere(hours=2), anywhere(hours=2), either(hours=2))
    assert alternatives(core.state, "acme-1", core._now) == ()
    assert alternatives(core.state, "acme-2", core._now) == ()
    assert [one.lack is None for one in alternatives(core.state, "acme-3", core._now)] == [True, False]
