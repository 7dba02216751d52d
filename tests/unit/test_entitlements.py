# SPDX-License-Identifier: Apache-2.0
"""Entitlements and commitments as tables: what is granted and refused, what is in force when, what scaling leaves."""

from typing import Any

import msgspec
import pytest

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.acts import Entitlement
from leitstand.core.cycle import Core
from leitstand.core.rules import Exit, Rules, Sharing
from leitstand.core.sharing import entitlements
from leitstand.core.sharing.entitlements import capacity, in_force, next_change, refresh
from leitstand.core.sharing.granting import CYCLE_US
from leitstand.core.sharing.shares import Tree
from leitstand.core.state import Projection, State
from leitstand.core.units import MINUTE_US, SECOND_US
from tests.unit.story import act, at, cluster, refused

SHARING = Sharing(
    protected_us=10 * SECOND_US, grace_us=SECOND_US, stop_us=SECOND_US, recall_us=20 * SECOND_US
)
RULES = Rules(sharing=SHARING)
LEAST = 12 * SECOND_US + CYCLE_US  # protected runtime, grace, stop and a cycle


TOO_MUCH = "the root: 64.001 would be guaranteed, more than the 64 that the pool has less its spare"


def s(seconds: int) -> int:
    return seconds * SECOND_US


def pool(*gpus: int, rules: Rules = RULES, **more: Any) -> Core:
    """acme and beta are in industry, lab is in research; acme has a project vision."""
    core = cluster(*(gpus or (8, 8, 8, 8, 8, 8, 8, 8)), rules=rules, **more)
    at(core, 1, a.TenantAdded("lab", "research"), a.ProjectAdded("acme", "vision"))
    assert [one for one in core.answers if one.refused] == []
    return core


def change(*nodes: Entitlement, from_s: int = 0, scaled: bool = False) -> a.EntitlementsChanged:
    return a.EntitlementsChanged("shared", nodes, s(from_s), scaled)


def commitment(node: str, milli: int, from_s: int, to_s: int, **more: int) -> a.CommitmentMade:
    return msgspec.structs.replace(a.CommitmentMade("", "shared", node, milli, s(from_s), s(to_s)), **more)


def guarantees(core: Core, seconds: int = 1_000_000) -> dict[str, int]:
    """What is guaranteed, where that is anything."""
    found = in_force(core.state, "shared", s(seconds))
    return {node: one.guarantee_milli for node, one in found.items() if one.guarantee_milli}


E1 = (  # docs/scheduling.md, example E1
    Entitlement("industry", 32_000, 2),
    Entitlement("industry/acme", 24_000),
    Entitlement("industry/beta", 8_000),
    Entitlement("research", 16_000),
    Entitlement("research/lab", 8_000),
)


# ── changes ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_is_granted_is_in_force_at_once_and_the_root_is_guaranteed_what_its_classes_are() -> None:
    core = pool()
    assert act(core, 2, change(*E1)) == "shared"
    found = in_force(core.state, "shared", s(2))
    assert found["industry"] == E1[0]
    assert found["research/lab"] == E1[4]
    assert found[""].guarantee_milli == 48_000


def test_a_node_that_no_contract_names_is_guaranteed_what_its_children_are() -> None:
    core = pool()
    act(core, 2, change(Entitlement("industry/acme/vision", 3_000), Entitlement("industry/beta", 1_000)))
    assert guarantees(core) == {
        "": 4_000,
        "industry": 4_000,
        "industry/acme": 3_000,
        "industry/acme/vision": 3_000,
        "industry/beta": 1_000,
    }


def test_a_weight_can_be_said_without_a_guarantee_of_its_own() -> None:
    core = pool()
    act(core, 2, change(Entitlement("industry", -1, weight=7)))
    act(core, 3, change(Entitlement("industry/acme", 2_000)))
    found = in_force(core.state, "shared", s(3))["industry"]
    assert (found.guarantee_milli, found.weight) == (2_000, 7)


def test_weights_of_classes_are_those_of_the_rules_until_a_contract_says_others() -> None:
    weights = {"industry": 4, "startup": 3, "research": 2, "public": 0}
    core = pool(rules=Rules(sharing=msgspec.structs.replace(SHARING, weights=weights)))
    act(core, 2, change(Entitlement("public", weight=9), Entitlement("industry/acme", 1_000)))
    found = in_force(core.state, "shared", s(2))
    assert {node: one.weight for node, one in found.items()} == {
        "": 1,
        "industry": 4,
        "industry/acme": 1,
        "public": 9,
        "research": 2,
        "startup": 3,
    }


def test_a_pool_without_contracts_has_the_classes_and_nothing_guaranteed() -> None:
    core = pool()
    assert list(in_force(core.state, "shared", 0)) == ["", "industry", "public", "research", "startup"]
    assert guarantees(core) == {}
    assert next_change(core.state, "shared", 0) is None


def test_the_same_change_again_records_nothing() -> None:
    core = pool()
    act(core, 2, change(*E1))
    assert at(core, 3, change(*E1[:2])) == []
    assert core.answers == [("shared", "", "")]


def test_what_was_scheduled_is_not_the_same_change() -> None:
    core = pool()
    act(core, 2, change(*E1))
    act(core, 2, change(Entitlement("industry/beta", 4_000), from_s=10))
    assert len(at(core, 11, change(E1[2]))) == 1
    assert guarantees(core, 11)["industry/beta"] == 8_000


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (change(), "no node is named"),
        (change(Entitlement("bank", 1)), "bank: there is no class 'bank'; known: industry, startup,"),
        (change(Entitlement("industry/nobody", 1)), "industry/nobody: there is no tenant 'nobody'"),
        (
            change(Entitlement("industry/lab", 1)),
            "industry/lab: tenant lab is of the class research: research/lab",
        ),
        (change(Entitlement("industry/acme/x", 1)), "industry/acme/x: tenant acme has no project 'x'"),
        (change(Entitlement("industry/acme/vision/x")), "is no path of a class, a tenant and a project"),
        (change(Entitlement("industry/")), "is no path of a class, a tenant and a project"),
        (change(Entitlement("/industry")), "is no path of a class, a tenant and a project"),
        (change(Entitlement("industry"), Entitlement("industry", 1)), "industry is named twice"),
        (change(Entitlement("industry", -2)), f"industry: guarantee_milli is -2, not in -1..{2**63 - 1}"),
        (change(Entitlement("industry", 0, -1)), "industry: weight is -1, not in 0..1000000"),
        (change(Entitlement("industry", 0, 1_000_001)), "industry: weight is 1000001, not in 0..1000000"),
        (change(Entitlement("industry", borrow_milli=-2)), "industry: borrow_milli is -2, not in -1.."),
        (change(Entitlement("industry", lend_milli=-2)), "industry: lend_milli is -2, not in -1.."),
        (
            change(Entitlement("industry", 5, lend_milli=6)),
            "industry: 0.006 to lend is more than the guarantee of 0.005",
        ),
        (change(Entitlement("industry", recall_us=-1)), "industry: recall_us is -1, not in 0.."),
        (
            change(Entitlement("industry", 1, recall_us=LEAST - 1000)),
            "industry: back within 12.999 s; protected runtime, grace, stop and a cycle take 13 s",
        ),
        (change(Entitlement("industry"), from_s=1), f"from_us is 1000000, not in 2000000..{2**63 - 1}"),
        (a.EntitlementsChanged("moon", (Entitlement("industry"),)), "there is no pool 'moon'"),
        (
            change(Entitlement("industry", -7), Entitlement("bank")),
            f"industry: guarantee_milli is -7, not in -1..{2**63 - 1}; bank: there is no class",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_name_value_and_limit(
    asked: a.EntitlementsChanged, told: str
) -> None:
    why, detail = refused(pool(), 2, asked)
    assert why == "invalid"
    assert told in detail


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            change(Entitlement("industry", 65_000)),
            "the root: 65 would be guaranteed, more than the 64 that the pool has less its spare",
        ),
        (
            change(Entitlement("industry", 8_000), Entitlement("industry/acme", 9_000)),
            "industry: its children would be guaranteed 9 together, more than its guarantee of 8",
        ),
        (
            change(Entitlement("industry/acme", 0), Entitlement("industry/acme/vision", 1)),
            "industry/acme: its children would be guaranteed 0.001 together, more than its guarantee of 0",
        ),
        (
            change(Entitlement("", 5_000), Entitlement("industry", 3_000), Entitlement("research", 3_000)),
            "the root: its children would be guaranteed 6 together, more than its guarantee of 5",
        ),
        (
            change(Entitlement("research", 64_001), from_s=50),
            f"{TOO_MUCH} from 50000000 µs on",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_amounts_and_the_time(
    asked: a.EntitlementsChanged, told: str
) -> None:
    assert refused(pool(), 2, asked) == ("conflict", told)


def test_what_the_pool_has_is_guaranteed_but_for_the_spare() -> None:
    core = pool(rules=Rules(sharing=msgspec.structs.replace(SHARING, spare_milli=8_000)))
    assert refused(core, 2, change(Entitlement("industry", 56_001)))[0] == "conflict"
    act(core, 2, change(Entitlement("industry", 56_000)))


def test_a_guarantee_that_is_just_back_in_time_is_granted() -> None:
    act(pool(), 2, change(Entitlement("industry", 1, recall_us=LEAST)))


def test_a_default_recall_that_is_too_short_is_refused_for_every_guarantee() -> None:
    core = pool(rules=Rules(sharing=msgspec.structs.replace(SHARING, recall_us=LEAST - 1)))
    assert refused(core, 2, change(Entitlement("industry", 1)))[0] == "invalid"
    act(core, 2, change(Entitlement("industry", weight=3)))  # nothing to call back


def test_a_parent_cannot_shrink_below_its_children_now_or_later() -> None:
    core = pool()
    act(core, 2, change(*E1))
    act(core, 2, change(Entitlement("industry/beta", 0), from_s=10))
    act(core, 2, change(Entitlement("industry/beta", 8_000), from_s=20))
    assert refused(core, 3, change(Entitlement("industry", 24_000)))[1].startswith("industry: its children")
    told = refused(core, 3, change(Entitlement("industry", 24_000), from_s=10))[1]
    assert told.endswith("more than its guarantee of 24 from 20000000 µs on")


def test_nodes_that_fail_take_no_contract_back_and_less_can_still_be_promised() -> None:
    core = pool()
    act(core, 2, change(Entitlement("industry", 64_000), Entitlement("industry/acme", 60_000)))
    at(core, 3, f.NodeRemoved("n0"))
    assert guarantees(core)["industry"] == 64_000
    act(core, 4, change(Entitlement("industry/acme", 64_000)))  # the root promises no more than before
    act(core, 5, change(Entitlement("industry/acme", 59_000)))
    act(core, 5, change(Entitlement("industry", 60_000)))
    told = refused(core, 6, change(Entitlement("industry", 60_001)))[1]
    assert told.startswith("the root: 60.001 would be guaranteed, more than the 56 that")


def test_what_was_promised_for_later_makes_no_room_before() -> None:
    core = pool()
    act(core, 2, change(Entitlement("industry", 60_000), from_s=50))
    at(core, 3, f.NodeRemoved("n0"))
    assert refused(core, 4, change(Entitlement("research", 57_000)))[0] == "conflict"


def test_charges_of_a_pool_count_gpus_in_service_or_cores_where_there_are_none() -> None:
    core = cluster(8, 4, 0, 0, pools=["shared", "shared", "shared", "cores"], cpus_milli=6_500)
    at(core, 1, f.NodeRemoved("n1"))
    assert capacity(core.state, "shared") == 8_000
    assert capacity(core.state, "cores") == 6_500
    at(core, 2, f.NodeRemoved("n0"))
    assert capacity(core.state, "shared") == 0


# ── times ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_scheduled_change_is_in_force_from_its_time_and_later_facts_do_not_move_it() -> None:
    core = pool()
    act(core, 2, change(Entitlement("industry/acme", 9_000), from_s=30))
    act(core, 3, change(Entitlement("industry/acme", 5_000), from_s=20))
    expected = [(2, None), (19, None), (20, 5_000), (29, 5_000), (30, 9_000)]
    assert [(t, guarantees(core, t).get("industry")) for t, _ in expected] == expected
    assert [next_change(core.state, "shared", s(t)) for t in (2, 20, 30)] == [s(20), s(30), None]
    act(core, 25, change(Entitlement("industry/beta", 1_000)))  # what is due becomes the base
    assert core.state.contracts["shared"].entitlements["industry/acme"].guarantee_milli == 5_000
    assert guarantees(core, 25) == {
        "": 6_000,
        "industry": 6_000,
        "industry/acme": 5_000,
        "industry/beta": 1_000,
    }
    assert guarantees(core, 30)[""] == 10_000


def test_a_commitment_raises_its_node_and_all_above_in_its_window() -> None:
    core = pool()
    act(core, 2, change(*E1))
    assert act(core, 3, commitment("industry/acme/vision", 4_000, 10, 20)) == "c1"
    assert guarantees(core, 9) == guarantees(core, 20)
    inside = guarantees(core, 10)
    assert inside["industry/acme/vision"] == 4_000
    assert inside["industry/acme"] == 28_000
    assert inside["industry"] == 36_000
    assert inside[""] == 52_000
    assert [next_change(core.state, "shared", s(t)) for t in (3, 10, 20)] == [s(10), s(20), None]


def test_commitments_count_their_ids_over_all_pools() -> None:
    core = pool(8, 8, pools=["shared", "other"])
    assert act(core, 2, commitment("industry", 1, 0, 9)) == "c1"
    assert act(core, 2, msgspec.structs.replace(commitment("industry", 1, 0, 9), pool="other")) == "c2"
    assert act(core, 2, commitment("industry", 1, 0, 9)) == "c3"


def test_a_commitment_begins_at_once_unless_it_says_when() -> None:
    core = pool()
    (made,) = at(core, 2, commitment("industry", 1_000, 0, 9))
    assert made == a.CommitmentMade("c1", "shared", "industry", 1_000, s(2), s(9))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (commitment("", 1, 5, 9), "a commitment is to a class, a tenant or a project, not to the root"),
        (commitment("bank", 1, 5, 9), "there is no class 'bank'"),
        (commitment("industry", 0, 5, 9), "milli is 0, not in 1.."),
        (commitment("industry", 1, 1, 9), "from_us is 1000000, not in 2000000.."),
        (commitment("industry", 1, 5, 5), "to_us is 5000000, not in 5000001.."),
        (commitment("industry", 1, 5, 9, price_micro_eur=-1), "price_micro_eur is -1, not in 0.."),
        (
            commitment("industry", 1, 5, 9, recall_us=1),
            "industry: back within 1e-06 s; protected runtime, grace, stop",
        ),
        (a.CommitmentMade("", "moon", "industry", 1, s(5), s(9)), "there is no pool 'moon'"),
    ],
)
def test_a_commitment_that_makes_no_sense_is_refused(asked: a.CommitmentMade, told: str) -> None:
    why, detail = refused(pool(), 2, asked)
    assert why == "invalid"
    assert told in detail


def test_a_commitment_beyond_capacity_is_refused_with_the_time_from_which_it_does_not_fit() -> None:
    core = pool()
    act(core, 2, change(*E1))
    act(core, 2, change(Entitlement("startup", 10_000), from_s=30))
    act(core, 2, commitment("public", 6_000, 20, 40))
    assert refused(core, 3, commitment("industry", 1, 25, 35)) == (
        "conflict",
        f"{TOO_MUCH} from 30000000 µs on",
    )
    act(core, 3, commitment("industry", 10_000, 5, 30))
    act(core, 3, commitment("industry", 6_000, 40, 50))


def test_a_commitment_ends_with_its_window_before_it_or_when_it_is_ended() -> None:
    core = pool()
    for _ in range(3):
        act(core, 2, commitment("industry", 1_000, 10, 30))
    act(core, 3, a.CommitmentEnded("c1"))  # before it began: there never was one
    act(core, 15, a.CommitmentEnded("c2"))
    act(core, 15, a.CommitmentEnded("c3", s(20)))
    assert [guarantees(core, t).get("industry", 0) for t in (15, 19, 20)] == [1_000, 1_000, 0]
    assert refused(core, 16, a.CommitmentEnded("c2")) == ("unknown_commitment", "c2")
    assert refused(core, 16, a.CommitmentEnded("c9")) == ("unknown_commitment", "c9")
    assert refused(core, 16, a.CommitmentEnded("c3", s(20)))[0] == "invalid"
    assert refused(core, 16, a.CommitmentEnded("c3", s(15)))[0] == "invalid"
    assert refused(core, 25, a.CommitmentEnded("c3")) == ("unknown_commitment", "c3")


def test_a_commitment_that_ends_before_it_begins_leaves_no_room_behind() -> None:
    core = pool()
    act(core, 2, commitment("industry", 60_000, 30, 50))
    act(core, 3, a.CommitmentEnded("c1", s(10)))
    assert core.state.contracts["shared"].commitments == {}
    assert refused(core, 4, commitment("industry", 65_000, 15, 20))[0] == "conflict"


def test_the_soonest_recall_that_was_agreed_is_the_one_of_the_node() -> None:
    core = pool()
    act(core, 2, change(Entitlement("industry", 1_000, recall_us=s(40))))
    act(core, 2, commitment("industry", 1_000, 10, 50, recall_us=s(15)))
    act(core, 2, commitment("industry", 1_000, 20, 50))
    recalls = [in_force(core.state, "shared", s(t))["industry"].recall_us for t in (5, 10, 20, 50)]
    assert recalls == [s(40), s(15), s(15), s(40)]


# ── scaling ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_scaled_guarantees_shrink_in_proportion_by_largest_remainder() -> None:
    core = pool()
    (fact,) = at(
        core,
        2,
        change(
            Entitlement("industry", 50_000),
            Entitlement("research", 30_000, lend_milli=29_000),
            Entitlement("startup", 16_001),
            scaled=True,
        ),
    )
    # 64000 of 96001: 33333.0, 19999.8, 10667.2
    assert fact == change(
        Entitlement("industry", 33_333),
        Entitlement("research", 20_000, lend_milli=20_000),
        Entitlement("startup", 10_667),
        scaled=True,
    )


def test_scaling_goes_down_the_tree_and_leaves_contracts_of_others_alone() -> None:
    core = pool()
    act(core, 2, change(Entitlement("research", 34_000), Entitlement("industry/beta", 10_000)))
    (fact,) = at(
        core,
        3,
        change(
            Entitlement("industry/acme", 30_000),
            Entitlement("industry/acme/vision", 15_000),
            Entitlement("public", 10_000),
            scaled=True,
        ),
    )
    assert fact == change(
        Entitlement("industry/acme", 15_000),
        Entitlement("industry/acme/vision", 15_000),
        Entitlement("public", 5_000),
        scaled=True,
    )


def test_scaling_to_less_than_a_contract_below_is_refused() -> None:
    core = pool()
    act(core, 2, change(Entitlement("research", 60_000), Entitlement("industry/acme", 4_000)))
    asked = change(Entitlement("industry", 8_000), Entitlement("startup", 8_000), scaled=True)
    assert refused(core, 3, asked) == (
        "conflict",
        "industry: its children would be guaranteed 4 together, more than its guarantee of 2",
    )


def test_scaling_respects_what_is_committed_and_scheduled_later() -> None:
    core = pool()
    act(core, 2, commitment("public", 4_000, 50, 60))
    act(core, 2, change(Entitlement("startup", 20_000), from_s=100))
    (fact,) = at(
        core, 3, change(Entitlement("industry", 70_000), Entitlement("startup", 10_000), scaled=True)
    )
    assert isinstance(fact, a.EntitlementsChanged)
    # alone to 64000: 56000 and 8000; beside the commitment 52500 and 7500; beside the later 20000: 44000
    assert [one.guarantee_milli for one in fact.entitlements] == [44_000, 7_500]


def test_scaling_keeps_to_the_least_room_of_all_times() -> None:
    core = pool()
    act(core, 2, commitment("public", 4_000, 50, 60))
    act(core, 2, change(Entitlement("startup", 1_000), from_s=100))
    act(core, 3, change(Entitlement("industry", 70_000), scaled=True))
    assert guarantees(core, 3)["industry"] == 60_000


def test_scaling_keeps_to_what_is_in_service_whatever_the_root_was_promised() -> None:
    core = pool()
    act(core, 2, change(Entitlement("", 64_000)))
    at(core, 3, f.NodeRemoved("n0"))
    act(core, 4, change(Entitlement("industry", 70_000), scaled=True))
    assert guarantees(core, 4)["industry"] == 56_000


def test_what_fits_is_recorded_as_it_was_asked() -> None:
    assert at(pool(), 2, change(*E1, scaled=True)) == [change(*E1)]


# ── the end of a tenant ───────────────────────────────────────────────────────────────────────────────────────────
def test_what_a_tenant_is_entitled_to_ends_when_it_can_only_fetch_its_data() -> None:
    terms = Exit(notice_us=s(10), transition_us=s(20), transition_max_us=s(50), retrieval_us=s(30))
    core = pool(rules=Rules(sharing=SHARING, exit=terms))
    act(core, 2, change(*E1))
    act(core, 2, change(Entitlement("industry/acme/vision", 1_000), from_s=500))
    act(core, 2, commitment("industry/acme", 4_000, 0, 1_000))
    act(core, 2, commitment("industry/beta", 2_000, 0, 1_000))
    act(core, 100, a.TenantExitStarted("acme", 0, 0, 0))
    at(core, 129)
    assert guarantees(core, 129)["industry/acme"] == 28_000
    at(core, 130)
    assert guarantees(core, 130) == {
        "": 50_000,
        "industry": 34_000,
        "industry/beta": 10_000,
        "research": 16_000,
        "research/lab": 8_000,
    }
    assert core.state.contracts["shared"].scheduled == []
    told = refused(core, 131, change(Entitlement("industry/acme", 1_000)))
    assert told == ("invalid", "industry/acme: acme is in the stage retrieval of its exit")


# ── the tree ──────────────────────────────────────────────────────────────────────────────────────────────────────
def shown(tree: Tree) -> dict[str, int]:
    return {name: node.guarantee for name, node in tree.nodes.items() if node.guarantee}


def test_a_tree_follows_what_is_in_force() -> None:
    core, tree = pool(), Tree()
    refresh(tree, core.state, "shared", s(1))
    assert sorted(tree.nodes) == ["", "industry", "public", "research", "startup"]
    act(core, 2, change(Entitlement("industry/acme", 4_000, 3, 2_000, 1_000, s(30))))
    act(core, 2, change(Entitlement("research", 5_000), from_s=10))
    for seconds in (2, 9, 10):
        refresh(tree, core.state, "shared", s(seconds))
        assert shown(tree) == guarantees(core, seconds)
    acme = tree.nodes["industry/acme"]
    assert (acme.weight, acme.borrow, acme.floor, acme.recall_us) == (3, 2_000, 3_000, s(30))


def test_a_tree_that_is_up_to_date_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    core, tree = pool(), Tree()
    act(core, 2, change(*E1))
    act(core, 2, commitment("public", 1_000, 10, 20))
    refresh(tree, core.state, "shared", s(2))
    looked: list[int] = []

    def counted(state: State, pool: str, at: int) -> dict[str, Entitlement]:
        looked.append(at)
        return in_force(state, pool, at)

    monkeypatch.setattr(entitlements, "in_force", counted)
    for seconds in (2, 3, 9):
        refresh(tree, core.state, "shared", s(seconds))
    assert looked == []
    refresh(tree, core.state, "shared", s(10))
    assert looked == [s(10)]
    assert tree.nodes["public"].guarantee == 1_000


def test_a_tree_touches_only_nodes_that_changed() -> None:
    core, tree = pool(), Tree()
    act(core, 2, change(*E1))
    refresh(tree, core.state, "shared", s(2))
    tree.resize(64_000)
    tree.settle()
    act(core, 3, change(Entitlement("research/lab", 4_000)))
    refresh(tree, core.state, "shared", s(3))
    assert tree.nodes["industry"].changed == {}
    assert tree.nodes["research"].changed is None
    assert shown(tree) == guarantees(core, 3)


def test_a_tree_forgets_what_a_tenant_was_entitled_to() -> None:
    core, tree = pool(), Tree()
    act(core, 2, change(Entitlement("industry/acme", 4_000, 3)))
    refresh(tree, core.state, "shared", s(2))
    entitlements.leave(core.state, s(3), core.state.tenants["acme"])
    refresh(tree, core.state, "shared", s(3))
    assert shown(tree) == {}
    assert tree.nodes["industry/acme"].weight == 1


def test_other_weights_in_the_rules_reach_the_tree() -> None:
    core, tree = pool(), Tree()
    refresh(tree, core.state, "shared", s(2))
    weights = {"industry": 4, "startup": 3, "research": 2, "public": 0}
    at(core, 3, f.RulesSet(Rules(sharing=msgspec.structs.replace(SHARING, weights=weights)), ""))
    refresh(tree, core.state, "shared", s(3))
    assert {name: tree.nodes[name].weight for name in weights} == weights


# ── storing ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_contracts_come_back_from_a_snapshot() -> None:
    core = pool()
    act(core, 2, change(*E1))
    act(core, 2, change(Entitlement("industry/beta", 1_000), from_s=30))
    act(core, 2, commitment("public", 1_000, 10, 20, recall_us=MINUTE_US, price_micro_eur=7))
    stored = msgspec.json.encode(core.state.project())
    back = State.restore(msgspec.json.decode(stored, type=Projection))
    assert back.contracts == core.state.contracts
    assert back.digest() == core.state.digest()
