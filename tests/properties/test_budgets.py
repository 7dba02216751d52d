# SPDX-License-Identifier: Apache-2.0
"""What budgets promise on any history: never overdrawn, every debit has its credit, no run outlasts what pays it."""

from collections import Counter
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.jobs import Job
from leitstand.core.rules import BUDGETS, TENANT_CLASSES, Rules
from leitstand.core.state import Projection, State
from leitstand.core.units import HOUR_US

# Times are some µs: at this price one GPU·µs costs a third of a millionth of a euro or three.
THIRD, TRIPLE = HOUR_US // 3, HOUR_US * 3
grants = st.one_of(
    st.builds(
        lambda tenant, gpu_us, ends: a.BudgetGranted("", tenant, gpu_us, ends),
        st.sampled_from(["acme", "acme", "beta", "operator"]),
        st.integers(0, 400),
        st.integers(1, 120),
    ),
    st.builds(
        lambda micro_eur, ends: a.BudgetGranted("", "acme", 0, ends, micro_eur=micro_eur),
        st.integers(1, 400),
        st.integers(1, 120),
    ),
)
submissions = st.builds(
    f.SubmitJob,
    tenant=st.sampled_from(["acme", "acme", "beta", "operator"]),
    project=st.just("default"),
    resources=st.builds(f.Resources, gpus=st.integers(0, 8)),
    max_duration_us=st.integers(1, 40),
    retries=st.integers(0, 3),
)


def priced(price_micro_eur: int, wanted: str = "granted") -> Rules:
    return Rules(budgets=wanted, price_micro_eur_per_gpu_h=dict.fromkeys(TENANT_CLASSES, price_micro_eur))


rules = st.builds(
    lambda wanted, price: f.RulesSet(priced(price, wanted), ""),
    st.sampled_from(["granted", *BUDGETS]),
    st.sampled_from([0, THIRD, THIRD, TRIPLE]),
)
ends = st.tuples(
    st.sampled_from(["start", "start", "end", "end", "end", "cancel"]),
    st.integers(0, 30),
    st.sampled_from([*f.OUTCOMES, "exited", "exited"]),
)
steps = st.one_of(grants, submissions, submissions, ends, ends, rules)
histories = st.lists(st.tuples(st.integers(0, 15), st.lists(steps, max_size=4)), max_size=40)


class Told:
    """A core and what it said; each fact is checked against the state in which it was said."""

    def __init__(self) -> None:
        self.core = Core()
        self.journal: list[tuple[int, f.Fact]] = []
        self.posted: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.outcome = ""  # of the run that ended last
        opening = [f.RulesSet(priced(THIRD), ""), *map(f.TenantAdded, ("acme", "beta", "operator"))]
        opening += [f.SiteAdded("s", "x"), f.NodeAdded("n", "s", 8, 64_000, 512_000)]
        self.cycle(1000, opening)

    def cycle(self, now: int, observations: list[Any]) -> None:
        """One cycle, and a second reading of its facts beside a core that only folds."""
        before = Core(restored(self.core.state))
        facts = self.core.cycle(now, observations)
        for fact in facts:
            self._check(before.state, now, fact)
            before.state.apply(now, fact)
        self.journal += [(now, fact) for fact in facts]
        check_sums(self.core.state, self.posted)

    def _check(self, state: State, now: int, fact: f.Fact) -> None:
        self.seen[type(fact).__name__] += 1
        if isinstance(fact, f.RunPlaced):
            job = state.jobs[fact.job]
            known = {one.id: one for one in state.tenants[job.tenant].budgets}
            assert all(now + job.max_duration_us <= known[name].expires_us for name, _ in job.reserved)
            if job.reserved:
                self.seen["paid"] += 1
                assert worth(state, job, job.reserved) >= job.resources.gpus * job.max_duration_us * 1000
        if isinstance(fact, f.RunEnded):
            self.outcome = fact.outcome
        if isinstance(fact, f.UsageMetered):
            job = state.jobs[fact.run.rpartition(".")[0]]
            used = 1000 * job.resources.gpus * min(fact.wall_us, job.max_duration_us)
            if self.outcome in ("lost", "start_failed"):
                assert fact.posted == ()
                self.seen["lost"] += 1
            elif job.reserved:  # all of it, and by no unit of any budget more
                assert worth(state, job, fact.posted) >= used
                less = tuple((name, amount - 1) for name, amount in fact.posted)
                assert not less or worth(state, job, less) < used
                self.seen["posted"] += bool(fact.posted)
            self.posted.update(dict(fact.posted))
        if isinstance(fact, f.JobRejected | f.JobEnded) and fact.reason == "budget":
            self.seen[f"{type(fact).__name__}: budget"] += 1


def restored(state: State) -> State:
    """Its copy, by way of a snapshot."""
    return State.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(state.project()), type=Projection))


def worth(state: State, job: Job, parts: f.Parts) -> int:
    """The milli·µs that the parts pay."""
    known = {one.id: one for one in state.tenants[job.tenant].budgets}
    return sum(
        amount * HOUR_US * 1000 // job.price_micro_eur if known[name].micro_eur else amount * 1000
        for name, amount in parts
    )


def check_sums(state: State, posted: Counter[str]) -> None:
    """Debits equal credits: what budgets have reserved is what live jobs hold, what they posted is what facts said."""
    reserved: Counter[str] = Counter()
    for job in state.jobs.values():
        for name, amount in job.reserved:
            assert amount > 0
            reserved[name] += amount
    for tenant in state.tenants.values():
        for one in tenant.budgets:
            assert 0 <= one.reserved + one.posted <= one.granted
            assert (one.reserved, one.posted) == (reserved.pop(one.id, 0), posted[one.id])
    assert not reserved


def play(history: list[Any]) -> Told:
    """Times are counted from the start; whenever the core wants to be woken, it is."""
    told, now = Told(), 1000
    for wait, todo in history:
        until = now + wait
        while (wake := told.core.next_wake()) is not None and wake <= until:
            now = max(now, wake)
            told.cycle(now, [])
        now = until
        told.cycle(now, [one for one in (observed(told.core, now, step) for step in todo) if one])
    return told


def observed(core: Core, now: int, step: Any) -> Any:
    if isinstance(step, a.BudgetGranted):
        return msgspec.structs.replace(step, expires_us=now + step.expires_us)
    if not isinstance(step, tuple):
        return step
    verb, index, outcome = step
    known = list(core.state.jobs if verb == "cancel" else core.state.runs)
    if not known:
        return None
    name = known[index % len(known)]
    if verb == "cancel":
        return f.CancelJob(name)
    if verb == "start":
        return f.RunStarted(name, now)
    run = core.state.runs[name]
    began = 0 if outcome == "start_failed" else run.placed_us
    return f.RunEnded(name, now, outcome, index % 2 if outcome == "exited" else None, started_us=began)


@settings(max_examples=200, deadline=None)
@given(histories)
def test_no_budget_is_overdrawn_and_every_debit_has_its_credit(history: list[Any]) -> None:
    told = play(history)
    for job in list(told.core.state.jobs):
        told.cycle(10_000, [f.CancelJob(job)])
    runs = list(told.core.state.runs)
    told.cycle(10_000, [f.RunEnded(run, 10_000, "stopped") for run in runs])
    assert not told.core.state.jobs
    assert not any(one.reserved for tenant in told.core.state.tenants.values() for one in tenant.budgets)


@settings(max_examples=100, deadline=None)
@given(histories)
def test_refolding_gives_the_same_budgets_and_the_same_next_decision(history: list[Any]) -> None:
    told = play(history)
    folded = Core()
    folded.fold(told.journal)
    assert folded.state.digest() == told.core.state.digest()
    assert folded.next_wake() == told.core.next_wake() == Core(restored(told.core.state)).next_wake()
    asked = f.SubmitJob("acme", "default", f.Resources(4), max_duration_us=20)
    assert folded.cycle(10_000, [asked]) == told.core.cycle(10_000, [asked])


def test_the_histories_reach_what_is_promised() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=400, deadline=None, derandomize=True, database=None)
    @given(histories)
    def collect(history: list[Any]) -> None:
        seen.update(play(history).seen)

    collect()
    wanted = {
        "paid",
        "posted",
        "lost",
        "BudgetReserved",
        "JobEnded: budget",
        "JobRejected: budget",
        "JobRequeued",
    }
    assert wanted <= set(seen), wanted - set(seen)
