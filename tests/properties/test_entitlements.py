# SPDX-License-Identifier: Apache-2.0
"""What holds of entitlements after any history of changes, commitments, exits and failures, against a plain recount."""

from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.acts import Entitlement
from leitstand.core.cycle import Core
from leitstand.core.rules import Rules, Sharing
from leitstand.core.sharing.entitlements import capacity, in_force, next_change, refresh
from leitstand.core.sharing.shares import Tree
from leitstand.core.state import Projection, State
from tests.unit.story import act

RULES = Rules(sharing=Sharing(protected_us=1, grace_us=1, stop_us=1, spare_milli=1_000))
NODES = (
    "",
    "industry",
    "industry/acme",
    "industry/acme/default",
    "industry/acme/vision",
    "industry/beta",
    "industry/beta/default",
    "research",
    "research/lab",
)
TENANTS = ("acme", "beta", "lab")

nodes = st.sampled_from(NODES)
amounts = st.one_of(
    st.sampled_from([-1, 0]), st.integers(0, 9).map(lambda gpus: gpus * 500), st.integers(0, 9_000)
)
asked = st.builds(
    Entitlement, nodes, amounts, st.integers(0, 3), st.just(-1), st.sampled_from([-1, -1, 0]), st.just(0)
)
# What happens after how many µs; times in acts are µs from then.
changes = st.tuples(
    st.just("change"),
    st.lists(asked, min_size=1, max_size=4, unique_by=lambda one: one.node).map(tuple),
    st.integers(-30, 40),
    st.booleans(),
)
commitments = st.tuples(
    st.just("commit"), nodes, st.integers(1, 3_000), st.integers(0, 40), st.integers(1, 40)
)
steps = st.one_of(
    changes,
    changes,
    commitments,
    st.tuples(st.just("end"), st.integers(1, 6), st.integers(-10, 30)),
    st.tuples(st.just("leave"), st.sampled_from(TENANTS)),
    st.tuples(st.just("fail"), st.integers(0, 1)),
    st.tuples(st.just("mend"), st.integers(0, 1)),
)
histories = st.lists(st.tuples(st.integers(0, 9), steps), max_size=14)


def fleet() -> Core:
    """8 GPUs on two nodes, three tenants in two classes."""
    core = Core()
    seen: list[Any] = [f.RulesSet(RULES, ""), f.SiteAdded("s", "simulated", logical=True)]
    seen += [a.TenantAdded("acme"), a.TenantAdded("beta"), a.TenantAdded("lab", "research")]
    seen += [a.ProjectAdded("acme", "vision")]
    seen += [f.NodeAdded(f"n{i}", "s", 4, 1_000, 1_000) for i in (0, 1)]
    core.cycle(0, seen)
    assert [one for one in core.answers if one.refused] == []
    return core


def observe(step: tuple[Any, ...], now: int) -> f.Observation:
    match step:
        case "change", entitlements, later, scaled:
            return a.EntitlementsChanged("shared", entitlements, now + later if later > 0 else 0, scaled)
        case "commit", node, milli, later, length:
            return a.CommitmentMade("", "shared", node, milli, now + later, now + later + length)
        case "end", number, later:
            return a.CommitmentEnded(f"c{number}", now + later if later > 0 else 0)
        case "fail", number:
            return f.NodeRemoved(f"n{number}")
        case "mend", number:
            return f.NodeAdded(f"n{number}", "s", 4, 1_000, 1_000)
        case _:
            raise AssertionError(step)


# ── the recount: facts with their times, nothing else ─────────────────────────────────────────────────────────────
Recorded = Sequence[tuple[int, f.Fact]]


def left_at(recorded: Recorded, now: int) -> dict[str, int]:
    """Tenants that had left by `now`, and when."""
    return {
        fact.tenant: when
        for when, fact in recorded
        if when <= now and isinstance(fact, a.TenantExitAdvanced) and fact.stage == "retrieval"
    }


def gone(node: str, said: int, left: dict[str, int]) -> bool:
    parts = node.split("/")
    return len(parts) > 1 and parts[1] in left and said <= left[parts[1]]


def base_at(recorded: Recorded, at: int, now: int) -> dict[str, int]:
    """Base guarantee of every node at `at`, as far as it is known at `now`."""
    left = left_at(recorded, now)
    said: list[tuple[int, int, Entitlement]] = []
    for order, (when, fact) in enumerate(recorded):
        if isinstance(fact, a.EntitlementsChanged):
            said += [
                (max(fact.from_us, when), order, one)
                for one in fact.entitlements
                if not gone(one.node, when, left)
            ]
    own: dict[str, int] = {}
    for due, _, one in sorted(said, key=lambda each: each[:2]):
        if due <= at:
            own[one.node] = one.guarantee_milli

    def guarantee(node: str) -> int:
        if own.get(node, -1) >= 0:
            return own[node]
        return sum(guarantee(child) for child in NODES if child and child.rpartition("/")[0] == node)

    return {node: guarantee(node) for node in NODES}


def committed_at(recorded: Recorded, at: int, now: int) -> dict[str, int]:
    """What commitments add to every node at `at`, as far as it is known at `now`."""
    left = left_at(recorded, now)
    ends = {fact.commitment: fact.at_us for _, fact in recorded if isinstance(fact, a.CommitmentEnded)}
    more = dict.fromkeys(NODES, 0)
    for when, fact in recorded:
        if not isinstance(fact, a.CommitmentMade) or gone(fact.node, when, left):
            continue
        if fact.from_us <= at < ends.get(fact.commitment, fact.to_us):
            for node in NODES:
                more[node] += fact.milli * (node in ("", fact.node) or fact.node.startswith(f"{node}/"))
    return more


# ── the history ───────────────────────────────────────────────────────────────────────────────────────────────────
@settings(max_examples=200, deadline=None)
@given(histories)
def test_never_more_is_promised_than_there_is_and_what_is_in_force_is_what_was_recorded(
    history: list[tuple[int, tuple[Any, ...]]],
) -> None:
    core, tree, now = fleet(), Tree(), 0
    recorded: list[tuple[int, f.Fact]] = []
    failed = False  # once a node failed, more may be promised than there is
    for wait, step in history:
        now += wait
        if step[0] == "leave":
            fact = a.TenantExitAdvanced(step[1], "retrieval")
            if core.state.tenants[step[1]].stage == "active":
                core.state.apply(now, fact)
                recorded.append((now, fact))
        else:
            facts = core.cycle(now, [observe(step, now)])
            recorded += [(now, one) for one in facts]
        failed = failed or step[0] == "fail"
        refresh(tree, core.state, "shared", now)
        changes_at = next_change(core.state, "shared", now)
        for at in moments(recorded, now):
            base, more = base_at(recorded, at, now), committed_at(recorded, at, now)
            found = in_force(core.state, "shared", at)
            told = {node: found[node].guarantee_milli if node in found else 0 for node in NODES}
            assert told == {node: base[node] + more[node] for node in NODES}
            for node in NODES:
                below = [child for child in NODES if child and child.rpartition("/")[0] == node]
                assert sum(base[child] for child in below) <= base[node] or not below
            assert failed or told[""] <= capacity(core.state, "shared") - RULES.sharing.spare_milli
            if at == now:
                first = told
                assert {node: tree.nodes[node].guarantee for node in NODES if node in tree.nodes} == {
                    node: told[node] for node in NODES if node in tree.nodes
                }
            if told != first:
                assert changes_at is not None
                assert changes_at <= at
    stored = msgspec.json.encode(core.state.project())
    assert State.restore(msgspec.json.decode(stored, type=Projection)).digest() == core.state.digest()


def moments(recorded: Recorded, now: int) -> list[int]:
    """Now, and all times from then on that a fact names, with the last µs before them."""
    found = {now}
    for _, fact in recorded:
        for named in ("from_us", "to_us", "at_us"):
            found |= {getattr(fact, named, 0), getattr(fact, named, 0) - 1}
    return sorted(at for at in found if at >= now)


# ── scaling ───────────────────────────────────────────────────────────────────────────────────────────────────────
@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(1, 30_000), min_size=1, max_size=4),
    st.lists(st.integers(0, 2_000), min_size=4, max_size=4),
)
def test_scaling_gives_out_all_there_is_in_proportion_and_never_more_than_was_asked(
    wanted: list[int], others: list[int]
) -> None:
    core = fleet()
    classes = ("industry", "startup", "research", "public")
    contracts = tuple(map(Entitlement, classes[len(wanted) :], others))
    if contracts:
        act(core, 0, a.EntitlementsChanged("shared", contracts))
    taken = sum(one.guarantee_milli for one in contracts)
    asked = tuple(map(Entitlement, classes, wanted))
    room = capacity(core.state, "shared") - RULES.sharing.spare_milli - taken
    (fact,) = core.cycle(1, [a.EntitlementsChanged("shared", asked, scaled=True)])
    assert isinstance(fact, a.EntitlementsChanged)
    granted = [one.guarantee_milli for one in fact.entitlements]
    assert sum(granted) == min(sum(wanted), room)
    assert fact.scaled == (sum(wanted) > room)
    for got, want in zip(granted, wanted, strict=True):
        assert 0 <= got <= want
        assert abs(got * sum(wanted) - want * sum(granted)) < sum(wanted)  # less than one unit off its part


@settings(max_examples=200, deadline=None)
@given(
    histories,
    st.lists(asked, min_size=1, max_size=6, unique_by=lambda one: one.node).map(tuple),
    st.integers(0, 40),
)
def test_scaling_makes_a_change_that_fits_and_shrinks_nothing_that_fitted(
    history: list[tuple[int, tuple[Any, ...]]], entitlements: tuple[Entitlement, ...], later: int
) -> None:
    core, now = fleet(), 0
    for wait, step in history:
        now += wait
        if step[0] != "leave":
            core.cycle(now, [observe(step, now)])
    asked_for = a.EntitlementsChanged("shared", entitlements, now + later if later else 0)
    stored = msgspec.json.encode(core.state.project())
    plain = Core(State.restore(msgspec.json.decode(stored, type=Projection)))
    as_asked = plain.cycle(now, [asked_for])
    scaled = core.cycle(now, [msgspec.structs.replace(asked_for, scaled=True)])
    if as_asked and all(node.in_service for node in core.state.nodes.values()):
        assert scaled == as_asked
    for fact in scaled:
        assert isinstance(fact, a.EntitlementsChanged)
        for got, want in zip(fact.entitlements, entitlements, strict=True):
            assert got.guarantee_milli <= want.guarantee_milli
            assert (got.node, got.weight, got.borrow_milli) == (want.node, want.weight, want.borrow_milli)
