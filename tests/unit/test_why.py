# SPDX-License-Identifier: Apache-2.0
"""Why a job waits, reason by reason: given what runs and waits, the one that binds, with its numbers and what helps."""

from typing import Any

import pytest

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.explaining.explain import plan, waits_for
from leitstand.core.explaining.searching import first_that
from leitstand.core.explaining.trial import copied
from leitstand.core.explaining.why import REASONS, RESERVED, Binding, Explanation, why
from leitstand.core.explaining.whyshare import Cost, why_share
from leitstand.core.rules import Rules, Sharing
from leitstand.core.sharing.shares import Node
from leitstand.core.units import HOUR_US, MINUTE_US, SECOND_US
from tests.unit.story import ask, at, cluster, ended

FAIR = Rules(
    discipline="fair",
    sharing=Sharing(protected_us=0, grace_us=10 * SECOND_US, stop_us=5 * SECOND_US, recall_us=MINUTE_US),
)
ACME, BETA = "industry/acme/default", "industry/beta/default"


def fair(*gpus: int, entitled: tuple[a.Entitlement, ...] = (), **more: Any) -> Core:
    core = cluster(*gpus, rules=FAIR, **more)
    if entitled:
        at(core, 0, a.EntitlementsChanged("shared", entitled))
        assert core.answers[0].refused == "", core.answers
    return core


def job(gpus: int = 1, hours: float = 1, **more: Any) -> f.SubmitJob:
    return ask(gpus, max_duration_us=int(hours * HOUR_US), **more)


def said(core: Core, name: str, seconds: int = 2) -> Explanation:
    found = why(core.state, name, seconds * SECOND_US)
    assert found.binding.reason == waits_for(core.state, name, seconds * SECOND_US)
    return found


def helps(found: Explanation) -> dict[str, int | str]:
    return {one.dimension: one.name or one.value for one in found.changes}


def test_the_enumeration_is_closed() -> None:
    assert len({*REASONS, *RESERVED}) == len(REASONS) + len(RESERVED)
    assert {"order", "capacity", "share", "topology", "reserved", "lending", "limit", "freeing"} <= set(
        REASONS
    )


@pytest.mark.parametrize(
    ("more", "reason"),
    [({"held": True}, "held"), ({"begin_us": HOUR_US}, "begin_time"), ({"after": "acme-1"}, "dependency")],
)
def test_what_the_job_itself_waits_for_comes_first(more: dict[str, Any], reason: str) -> None:
    core = fair(4)
    if "after" in more:
        more = {"after": (f.Dependency(more["after"], "ok"),)}
    at(core, 1, job(4), job(4, **more))
    assert said(core, "acme-2").binding.reason == reason
    assert said(core, "acme-2").changes == ()


def test_a_suspended_tenant_starts_nothing() -> None:
    core = fair(4)
    at(core, 1, job(4), job(4))
    at(core, 2, a.TenantSuspended("acme", "unpaid"))
    assert said(core, "acme-2").binding.reason == "tenant_suspended"


def test_capacity_lacks_by_count() -> None:
    core = fair(4, 4)
    at(core, 1, job(3), job(4), job(4, 2))
    found = said(core, "acme-3")
    assert found.binding == Binding("capacity", 4, 1, "gpus", ACME)
    assert helps(found)["size"] == 1
    assert (found.start.kind, found.start.start_us) == ("promise", HOUR_US + SECOND_US)
    assert found.start.nodes == ("n0",)


def test_an_earlier_job_of_the_project_that_asks_for_the_same_comes_first() -> None:
    core = fair(4)
    at(core, 1, job(4), job(4), job(4), job(2))
    assert said(core, "acme-2").binding.reason == "capacity"
    assert said(core, "acme-3").binding == Binding("order", node=ACME, jobs_ahead=1, job="acme-2")
    assert said(core, "acme-4").binding.jobs_ahead == 2


def test_a_borrow_limit_names_its_node_and_what_would_be_enough() -> None:
    core = fair(8, entitled=(a.Entitlement("industry/acme", 0, borrow_milli=4000),))
    at(core, 1, job(3), job(2))
    found = said(core, "acme-2")
    assert found.binding == Binding("limit", 5000, 4000, "charge_milli", "industry/acme")
    assert (helps(found)["size"], helps(found)["guarantee"], helps(found)["borrow_limit"]) == (1, 1000, 5000)
    assert found.changes[0].dimension == "size"


def test_what_is_not_lent_is_free_and_still_nobodys() -> None:
    core = fair(
        8,
        entitled=(
            a.Entitlement("industry", 8000),
            a.Entitlement("industry/beta", 8000, lend_milli=2000),
        ),
    )
    at(core, 1, job(2), job(1))
    found = said(core, "acme-2")
    assert found.binding == Binding("lending", 9000, 8000, "charge_milli", ACME)


def test_a_fleet_that_shrank_can_never_hold_it() -> None:
    core = fair(8, 4)
    at(core, 1, job(8), job(8))
    at(core, 2, f.NodeRemoved("n0"))
    assert said(core, "acme-2", 3).binding.reason == "no_such_capacity"


def test_what_others_reserved_can_be_used_until_then() -> None:
    core = fair(4, 4)
    at(core, 1, job(4), job(2, 2))
    at(core, 1, job(8, 1, nodes=2, tenant="beta"))
    assert core.state.reservations["beta-1"].start_us == 2 * HOUR_US + SECOND_US
    at(core, 2, job(2, 5))
    found = said(core, "acme-3")
    assert found.binding.reason == "reserved"
    (first, *_) = found.changes
    assert (first.dimension, first.value) == ("max_duration", 2 * HOUR_US - SECOND_US)


def test_capacity_that_is_being_freed_is_for_whom_runs_were_stopped() -> None:
    core = fair(4, entitled=(a.Entitlement(BETA, 4000),))
    at(core, 1, job(4))
    at(core, 2, job(4, tenant="beta"))
    found = said(core, "beta-1", 3)
    assert found.binding == Binding("freeing", until_us=17 * SECOND_US)
    assert (found.start.kind, found.start.start_us, found.start.nodes) == ("claim", 17 * SECOND_US, ("n0",))


def split(*waiting: f.SubmitJob) -> Core:
    """Two nodes of 4 with one GPU free on each; then these jobs come."""
    core = fair(4, 4)
    at(core, 1, f.TenantAdded("uni", "research"), job(3), job(3))
    at(core, 1, *waiting)
    return core


def test_a_shape_that_nobody_can_make_room_for() -> None:
    core = split(job(2))
    assert said(core, "acme-3").binding == Binding("topology", 8000, 8000, "charge_milli", ACME)
    assert helps(said(core, "acme-3")) == {"size": 1, "priority": 1}


def test_beyond_its_share_nobody_makes_room_for_a_shape() -> None:
    core = split(job(4, tenant="uni"), job(2))
    assert said(core, "acme-3").binding == Binding("share", 8000, 4000, "charge_milli", ACME)


def test_found_a_smaller_size_inside_the_guarantee_takes_back_what_is_owed() -> None:
    core = fair(4, entitled=(a.Entitlement(BETA, 2000),))
    at(core, 1, job(), job(), job(), job())
    at(core, 2, job(4, tenant="beta"))
    size = next(one for one in said(core, "beta-1", 3).changes if one.dimension == "size")
    assert (size.value, size.takes, size.waits) == (2, 2, True)


def test_found_a_copy_of_the_tree_knows_what_is_not_lent() -> None:
    core = fair(8, entitled=(a.Entitlement(BETA, 6000, lend_milli=1000),))
    at(core, 1, job(2), job(1))
    standing = core.state.pools["shared"].standing
    assert standing is not None
    tree, other = standing.tree, copied(standing.tree)
    assert (other.floors, other.capacity, other.edition) == (tree.floors, tree.capacity, tree.edition)
    assert other.floors == 1
    same = [name for name in Node.__slots__ if name not in ("parent", "children", "changed", "runs")]
    for node in tree.nodes.values():
        assert [getattr(other.nodes[node.id], name) for name in same] == [
            getattr(node, name) for name in same
        ]


@pytest.mark.parametrize(
    ("holds", "found"),
    [({2, 4}, 2), ({3}, 3), (set(), None), ({5, *range(20, 40)}, 5), ({30, 39}, 30), ({30}, None)],
)
def test_the_first_value_is_found_where_others_behind_it_do_not_do(
    holds: set[int], found: int | None
) -> None:
    values = range(1, 10) if max(holds, default=0) < 10 else range(1, 40)
    best = first_that(values, lambda value: "yes" if value in holds else None)
    assert best == (None if found is None else (found, "yes"))


def test_a_gang_in_one_domain_may_ask_for_a_higher_one() -> None:
    core = Core()
    seen: list[f.Observation] = [f.RulesSet(FAIR, ""), f.TenantAdded("acme")]
    seen.append(f.SiteAdded("s", "simulated", logical=True, levels=("block", "rack")))
    seen += [
        f.NodeAdded(f"n{i}", "s", 4, 64_000, 512_000, "h200", domains=("b0", f"r{i // 2}")) for i in range(4)
    ]
    core.cycle(0, seen)
    two = f.Resources(4, 1, gpu_type="h200")
    gang = f.Resources(8, 2, level="rack")
    both = [f.SubmitJob("acme", "default", asked, max_duration_us=HOUR_US) for asked in (two, two, gang)]
    at(core, 1, *both[:2])
    busy = [task.node for run in core.state.runs.values() for task in run.tasks]
    assert busy == ["n0", "n1"]
    at(core, 1, both[0])
    at(core, 2, ended("acme-2.1", 2))
    at(core, 3, both[2])
    found = said(core, "acme-4", 4)
    assert found.binding.reason == "topology"
    assert helps(found)["level"] == "block"


def test_a_plan_under_shares_starts_what_fits_and_says_what_else_it_waits_for() -> None:
    core = fair(8, entitled=(a.Entitlement("industry/acme", 0, borrow_milli=4000),))
    before = core.state.digest()
    assert plan(core.state, job(4), SECOND_US).starts_now
    assert plan(core.state, job(4), SECOND_US).tasks == (f.Task("n0", "f"),)
    assert core.state.digest() == before
    at(core, 1, job(3))
    made = plan(core.state, job(2), 2 * SECOND_US)
    assert (made.admitted, made.starts_now, made.waits_for) == (True, False, "limit")


def test_a_share_names_what_it_comes_from_and_what_its_guarantee_costs_others() -> None:
    core = fair(8, entitled=(a.Entitlement(BETA, 6000),))
    at(core, 1, job(8), job(8, tenant="beta"))
    found = why_share(core.state, "shared", "industry/beta", 2 * SECOND_US)
    assert (found.because, found.above, found.own.deserved) == ("weight", 8000, 7000)
    assert [(part.node, part.deserved) for part in found.siblings] == [
        ("industry/acme", 1000),
        ("industry/beta", 7000),
    ]
    assert found.taken == 3000
    cost = why_share(core.state, "shared", BETA, 2 * SECOND_US).costs
    assert cost == (Cost("industry/acme", 1000, 4000), Cost(ACME, 1000, 4000))
    with pytest.raises(KeyError):
        why_share(core.state, "shared", "industry/nobody", 2 * SECOND_US)
    standing = core.state.pools["shared"].standing
    assert standing is not None
    assert standing.tree.nodes[BETA].guarantee == 6000
