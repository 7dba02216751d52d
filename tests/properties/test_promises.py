# SPDX-License-Identifier: Apache-2.0
"""The promises of the scheduler as invariants, through the core under `fair`: on any history of jobs, cancellations,
holds, budgets, contract changes and failures, with an engine that takes as long to stop a run as it may.

docs/proofs.md says which test shows what. LEITSTAND_HUNT=1000 looks for new counter-examples."""

import os
from dataclasses import dataclass
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.places.fit import WHOLE_MILLI
from leitstand.core.sharing.standing import Standing
from leitstand.core.units import HOUR_US, MINUTE_US, SECOND_US
from tests.unit.fair_story import AT_ONCE as RULES
from tests.unit.fair_story import SHARING, Cloud
from tests.unit.story import cluster

HUNT = int(os.environ.get("LEITSTAND_HUNT", "0"))  # so many new examples of each, instead of the same few
LEAVES = (("a", "default"), ("a", "second"), ("b", "default"), ("c", "default"))
FREED_US = SHARING.grace_us + SHARING.stop_us
Event = tuple[int, Any]  # second, observation or ("fail", number of a node) or ("job", act, number of a job)


def many(examples: int) -> settings:
    return settings(max_examples=HUNT or examples, derandomize=not HUNT, database=None, deadline=None)


# ── histories ─────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass
class History:
    """Nodes, guarantees and limits of the leaves in GPUs (-1: no limit), and what happens."""

    nodes: list[int]
    entitled: list[tuple[int, int, int, int]]  # of each leaf: guarantee, weight, borrow, lend
    events: list[Event]


def entitlement(leaf: tuple[str, str], said: tuple[int, int, int, int]) -> a.Entitlement:
    guarantee, weight, borrow, lend = said
    limits = (borrow * 1000 if borrow >= 0 else -1, min(lend, guarantee) * 1000 if lend >= 0 else -1)
    return a.Entitlement(f"industry/{'/'.join(leaf)}", guarantee * 1000, weight, *limits)


seconds = st.integers(0, 3 * 3600)
limits = st.sampled_from([-1, -1, -1, 0, 2, 4])


@st.composite
def jobs(draw: st.DrawFn) -> Event:
    tenant, project = draw(st.sampled_from(LEAVES))
    gpus, nodes = draw(st.sampled_from([(1, 1), (1, 1), (1, 1), (2, 1), (4, 1), (4, 2), (8, 2)]))
    minutes = draw(st.integers(1, 120))
    asked = f.SubmitJob(
        tenant,
        project,
        f.Resources(gpus, nodes, cpus_milli=nodes * draw(st.sampled_from([0, 0, 0, 2000]))),
        priority=draw(st.integers(0, 2)),
        expected_us=minutes * MINUTE_US,
        max_duration_us=minutes * MINUTE_US * draw(st.sampled_from([1, 1, 3])),
        checkpoint_every_us=draw(st.sampled_from([0, 10 * MINUTE_US])),
        retries=1,
    )
    return draw(seconds), asked


@st.composite
def leaves(draw: st.DrawFn, room: int) -> list[tuple[int, int, int, int]]:
    said = []
    for _ in LEAVES:
        guarantee = draw(st.integers(0, room))
        room -= guarantee
        said.append((guarantee, draw(st.integers(0, 2)), draw(limits), draw(limits)))
    return said


acts = st.tuples(st.just("job"), st.sampled_from([f.CancelJob, f.HoldJob, f.ReleaseJob]), st.integers(0, 30))
grants = st.builds(
    lambda tenant, hours, ends: a.BudgetGranted("", tenant, hours * HOUR_US, ends * HOUR_US),
    st.sampled_from("ab"),
    st.integers(1, 40),
    st.integers(1, 12),
)
failures = st.tuples(st.just("fail"), st.integers(0, 3))


@st.composite
def histories(draw: st.DrawFn, failing: bool = False, changing: bool = False) -> History:
    nodes = draw(st.lists(st.sampled_from([4, 4, 8]), min_size=1, max_size=4))
    entitled = draw(leaves(sum(nodes)))
    events = draw(st.lists(jobs(), min_size=1, max_size=20))
    events += draw(st.lists(st.tuples(seconds, acts), max_size=4))
    events += draw(st.lists(st.tuples(st.integers(0, 600), grants), max_size=3))
    if changing:
        events += draw(st.lists(contracts(sum(nodes)), min_size=1, max_size=4))
    if failing:
        events += draw(st.lists(st.tuples(seconds, failures), min_size=1, max_size=2))
    return History(nodes, entitled, events)


@st.composite
def contracts(draw: st.DrawFn, room: int) -> Event:
    """Other entitlements, or a commitment, at once or for later; some of them are refused."""
    at = draw(seconds)
    start = draw(st.sampled_from([0, at + draw(st.integers(1, 3600))])) * SECOND_US
    if draw(st.booleans()):
        return at, msgspec.structs.replace(contract(draw(leaves(room))), from_us=start)
    node = f"industry/{'/'.join(draw(st.sampled_from(LEAVES)))}"
    until = max(at * SECOND_US, start) + draw(st.integers(1, 120)) * MINUTE_US
    return at, a.CommitmentMade("", "shared", node, draw(st.integers(1, room)) * 1000, start, until)


def contract(said: list[tuple[int, int, int, int]]) -> a.EntitlementsChanged:
    entitled = [entitlement(leaf, one) for leaf, one in zip(LEAVES, said, strict=True)]
    return a.EntitlementsChanged("shared", tuple(entitled))


# ── what is looked at ─────────────────────────────────────────────────────────────────────────────────────────────
class Watched:
    """A cloud that is looked at after every cycle. `excused`: what was promised may break from now on, since
    capacity was lost."""

    def __init__(self, history: History, hours: int = 0) -> None:
        core = cluster(*history.nodes, rules=RULES, tenants=("a", "b", "c"), cpus_milli=8_000)
        core.cycle(0, [a.ProjectAdded("a", "second"), contract(history.entitled)])
        assert [one for one in core.answers if one.refused] == []
        self.cloud = Cloud(core, FREED_US, self._look)
        self.excused = False
        self.changed = False
        self.contracted = False  # so that some jobs may wait for ever
        self.promised: dict[str, int] = {}
        self.owed_since: dict[str, int] = {}
        self.usage: dict[str, int] = {}
        self.occupied = 0
        for at, event in sorted(history.events, key=lambda event: event[0]):
            self.cloud.until(at)
            self._tell(at, event, len(history.nodes))
        if hours or self.contracted:
            self.cloud.until((hours or 5) * 3600)
            return
        for number, gpus in enumerate(history.nodes):  # so that everything can end
            self.cloud.at(8 * 3600, f.NodeAdded(f"n{number}", "s", gpus, 8_000, 512_000))
        self.cloud.at(9 * 3600, *[f.ReleaseJob(job) for job in core.state.jobs])
        self.cloud.to_the_end(hours=500)

    def _tell(self, at: int, event: Any, nodes: int) -> None:
        if isinstance(event, tuple) and event[0] == "fail":
            self.excused = self.changed = True
            self.cloud.fail(f"n{event[1] % nodes}")
        elif isinstance(event, tuple):
            live = list(self.cloud.core.state.jobs)
            if live:
                self.cloud.at(at, event[1](live[event[2] % len(live)]))
        else:
            if isinstance(event, a.EntitlementsChanged | a.CommitmentMade):
                self.changed = self.contracted = True
            self.cloud.at(at, event)

    @property
    def standing(self) -> Standing:
        standing = self.cloud.core.state.pools["shared"].standing
        assert standing is not None
        return standing

    def _look(self, now: int, facts: list[f.Fact]) -> None:
        for fact in facts:
            self._look_at(now, fact)
        late = [job for job, start in self.promised.items() if start < now]
        assert not late, f"{late} were promised a start before {now}"
        self._look_at_nodes()
        self._look_at_budgets()
        self._look_at_limits()
        self._look_at_claims(now)
        self._look_at_guarantees(now)

    def _look_at(self, now: int, fact: f.Fact) -> None:
        if isinstance(fact, f.CapacityReserved) and fact.kind == "promise":
            before = self.promised.get(fact.job)
            assert before is None or fact.start_us <= before, "a promise moved back"
            self.promised[fact.job] = fact.start_us
        elif isinstance(fact, f.PromiseBroken):
            assert self.excused, f"{fact.job}: promise broken by {fact.cause}"
            self.promised.pop(fact.job, None)
        elif isinstance(fact, f.RunPlaced):
            assert now <= self.promised.pop(fact.job, now), "a promise was not kept"
            job = self.cloud.core.state.jobs.get(fact.job)
            if job is not None:
                ends = {one.id: one.expires_us for one in self.cloud.core.state.tenants[job.tenant].budgets}
                assert all(now + job.max_duration_us <= ends[name] for name, _ in job.reserved)
        elif isinstance(fact, f.JobEnded | f.JobHeld):
            self.promised.pop(fact.job, None)

    def _look_at_nodes(self) -> None:
        """No GPU and no core is sold twice."""
        state = self.cloud.core.state
        gpus: dict[tuple[str, int], int] = {}
        cpus: dict[str, int] = {}
        for run in state.runs.values():
            asked = state.jobs[run.job].resources
            for task in run.tasks:
                for gpu in task.gpus:
                    gpus[task.node, gpu] = gpus.get((task.node, gpu), 0) + (asked.gpu_milli or WHOLE_MILLI)
                cpus[task.node] = cpus.get(task.node, 0) + asked.part(len(task.gpus))[0]
        assert all(milli <= WHOLE_MILLI for milli in gpus.values()), "a GPU is sold twice"
        assert all(gpu < state.nodes[node].gpus for node, gpu in gpus)
        assert all(milli <= state.nodes[node].cpus_milli for node, milli in cpus.items()), (
            "cores are sold twice"
        )

    def _look_at_budgets(self) -> None:
        """Nothing is overdrawn, and what is reserved is what live jobs have reserved."""
        state = self.cloud.core.state
        held: dict[str, int] = {}
        for job in state.jobs.values():
            for budget, amount in job.reserved:
                held[budget] = held.get(budget, 0) + amount
        for tenant in state.tenants.values():
            for one in tenant.budgets:
                assert one.posted + one.reserved <= one.granted, "a budget is overdrawn"
                assert one.reserved == held.get(one.id, 0), "what is reserved is nobody's"

    def _look_at_limits(self) -> None:
        """Starts respect limits and lending; a contract or a failure may lower them below what runs."""
        tree = self.standing.tree
        for name, node in tree.nodes.items():
            if node.borrow >= 0:
                before = self.usage.get(name, 0) if self.changed else 0
                assert node.running <= max(node.guarantee + node.borrow, before), f"{name} is over its limit"
        if not self.changed:
            assert tree.root.occupied <= tree.capacity, "more is used than is lent"
        self.usage = {name: node.running for name, node in tree.nodes.items()}

    def _look_at_claims(self, now: int) -> None:
        """What others freed for a job is there as soon as the engine has stopped them."""
        for one in self.cloud.core.state.reservations.values():
            if one.kind == "claim" and not self.excused:
                assert now < one.at_us + FREED_US, f"{one.job} claims what is not freed"

    def _look_at_guarantees(self, now: int) -> None:
        """A job of one GPU that stays inside the guarantee of its project runs within the recall time."""
        state, tree = self.cloud.core.state, self.standing.tree
        if self.changed:
            return
        owed: dict[str, int] = {}
        promised = {made.job: made for made in state.reservations.values() if made.kind == "promise"}
        for job, (where, _) in self.standing.waiting.items():
            leaf, asked = tree.node(where), state.jobs[job].resources
            beside = sum(
                state.jobs[one].charge_milli
                for one in promised
                if state.leaf(state.jobs[one]) == where and one != job
            )
            inside = leaf.running + state.jobs[job].charge_milli + beside <= leaf.guarantee
            if asked == f.Resources(1, 1) and inside and tree.over_limit(leaf, 1000) is None:
                owed[job] = self.owed_since.get(job, now)
        self.owed_since = owed
        for job, since in owed.items():
            assert now < since + SHARING.recall_us, f"{job} is inside its guarantee since {since}"


# ── the promises ──────────────────────────────────────────────────────────────────────────────────────────────────
@many(60)
@given(histories())
def test_promises_guarantees_limits_and_budgets_hold(history: History) -> None:
    watched = Watched(history)
    assert not watched.cloud.core.state.jobs
    assert not watched.standing.tree.held


@many(40)
@given(histories(failing=True))
def test_failures_oversell_nothing_overdraw_nothing_and_everything_ends(history: History) -> None:
    watched = Watched(history)
    assert not watched.cloud.core.state.jobs
    assert not watched.standing.tree.held


@many(60)
@given(histories(changing=True))
def test_contracts_that_change_keep_what_was_promised_before(history: History) -> None:
    Watched(history)
