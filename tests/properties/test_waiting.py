# SPDX-License-Identifier: Apache-2.0
"""Jobs that depend on each other, on time and on people, in any order of events: each runs after what it waits for,
none is lost, and the journal says it all."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.fleet import Pool
from leitstand.core.rules import DISCIPLINES, Rules
from leitstand.core.state import Projection, State
from leitstand.core.waiting import BLOCKS, blocked, is_met

LIMIT_US = 60
edges = st.lists(st.tuples(st.integers(0, 7), st.sampled_from(f.ENDS)), max_size=3)  # so many submissions ago
submissions = st.tuples(
    st.just("submit"),
    edges,
    st.fixed_dictionaries(
        {
            "begin_us": st.sampled_from([0, 0, 1020, 1090]),
            "deadline_us": st.sampled_from([0, 0, 1090, 1130]),
            "held": st.sampled_from([False, False, True]),
            "array": st.sampled_from([0, 0, 1, 3]),
            "max_duration_us": st.sampled_from([0, 30]),
            "retries": st.sampled_from([0, 1]),
            "tenant": st.sampled_from(["acme", "acme", "beta"]),
        }
    ),
)
verbs = st.tuples(
    st.sampled_from(["end", "end", "end", "cancel", "hold", "release", "suspend", "resume"]),
    st.integers(0, 30),
    st.booleans(),
)
histories = st.lists(
    st.tuples(st.integers(0, 25), st.lists(st.one_of(submissions, submissions, verbs), max_size=4)),
    max_size=30,
)


def observation(core: Core, now: int, step: tuple[Any, ...]) -> Any:
    verb, index, more = step
    if verb == "submit":
        tenant = more["tenant"]
        next_one = core.state.tenants[tenant].jobs + 1
        after = tuple(f.Dependency(f"{tenant}-{next_one - ago}", on) for ago, on in index)
        return f.SubmitJob(project="default", resources=f.Resources(1), after=after, **more)
    if verb in ("suspend", "resume"):
        return a.TenantSuspended("acme", "unpaid") if verb == "suspend" else a.TenantResumed("acme")
    if verb == "end":
        runs = list(core.state.runs)
        return f.RunEnded(runs[index % len(runs)], now, "exited", int(more)) if runs else None
    jobs = list(core.state.jobs)
    kinds = {"cancel": f.CancelJob, "hold": f.HoldJob, "release": f.ReleaseJob}
    return kinds[verb](jobs[index % len(jobs)]) if jobs else None


def step(core: Core, now: int, steps: list[Any]) -> list[tuple[int, f.Fact]]:
    seen = [found for found in (observation(core, now, one) for one in steps) if found is not None]
    facts = core.cycle(now, seen)
    assert len(core.answers) == len(seen)
    return [(now, fact) for fact in facts]


def play(discipline: str, history: list[Any]) -> tuple[Core, list[tuple[int, f.Fact]]]:
    rules = Rules(
        discipline=discipline,
        max_duration_default_us=dict.fromkeys(Rules().max_duration_default_us, LIMIT_US),
        max_duration_limit_us=LIMIT_US,
    )
    core, now = Core(), 1000
    opening: list[f.Observation] = [
        f.RulesSet(rules, ""),
        f.TenantAdded("acme"),
        f.TenantAdded("beta"),
        f.SiteAdded("s", "x"),
    ]
    journal = [(now, fact) for fact in core.cycle(now, [*opening, f.NodeAdded("n0", "s", 3, 8000, 64)])]
    for wait, steps in history:
        for due in wakes(core, now, now + wait):
            journal += step(core, due, [])
        now += wait
        journal += step(core, now, steps)
        check_queue(core.state, now)
    return core, journal


def wakes(core: Core, now: int, until: int) -> Any:
    """The times at which the loop would wake before `until`."""
    while (due := core.next_wake()) is not None and max(due, now) < until:
        yield max(due, now)


def waiting_in(pool: Pool) -> set[str]:
    return set(pool.queue.waiting if pool.standing is None else pool.standing.waiting)


def check_queue(state: State, now: int) -> None:
    """In the queue is exactly what waits for nothing but capacity; what is due was said."""
    due = {job.id for job in state.jobs.values() if job.state == "pending" and not blocked(state, job)}
    claimed = {job for job, made in state.reservations.items() if made.kind == "claim"}
    assert set().union(*map(waiting_in, state.pools.values())) == due - claimed
    for job in state.jobs.values():
        if job.state != "pending":
            continue
        assert blocked(state, job) in ("", *BLOCKS)
        assert not job.doomed
        assert job.begin_us == 0 or job.begin_us > now
        assert not job.deadline_us or now + job.max_duration_us <= job.deadline_us


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(DISCIPLINES), histories)
def test_each_runs_after_what_it_waits_for_and_none_is_lost(discipline: str, history: list[Any]) -> None:
    core, journal = play(discipline, history)
    asked: dict[str, f.JobSubmitted] = {}
    ends: dict[str, bool] = {}
    members: dict[str, list[str]] = {}
    held: set[str] = set()
    for at, fact in journal:
        if isinstance(fact, f.JobSubmitted):
            asked[fact.job] = fact
            members.setdefault(fact.array or fact.job, []).append(fact.job)
            held.update([fact.job] if fact.held else [])
        elif isinstance(fact, f.JobRejected):
            ends[fact.job] = False
        elif isinstance(fact, f.JobEnded):
            assert fact.job not in ends
            ends[fact.job] = fact.state == "succeeded"
        elif isinstance(fact, f.JobHeld):
            held.add(fact.job)
        elif isinstance(fact, f.JobReleased) and fact.cause == "user":
            held.discard(fact.job)
        elif isinstance(fact, f.RunPlaced):
            job = asked[fact.job]
            assert at >= job.begin_us
            assert not job.deadline_us or at + (job.max_duration_us or LIMIT_US) <= job.deadline_us
            assert fact.job not in held
            for one in job.after:
                of_it = members.get(one.job, [one.job])
                assert all(other in ends for other in of_it), f"{fact.job} ran before {one.job} ended"
                assert is_met(one.on, all(ends[other] for other in of_it))
    assert set(asked) == set(ends) | set(core.state.jobs)
    for live in core.state.jobs.values():
        waits = any(other not in ends for one in live.after for other in members.get(one.job, [one.job]))
        assert waits == (live.id in core.state.waiting.unmet)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(DISCIPLINES), histories, st.integers(0, 30))
def test_a_restart_anywhere_decides_the_same(discipline: str, history: list[Any], cut: int) -> None:
    whole, journal = play(discipline, history)
    core, first = play(discipline, history[:cut])
    stored = msgspec.msgpack.encode(core.state.project())
    core = Core(State.restore(msgspec.msgpack.decode(stored, type=Projection)))
    now = 1000 + sum(wait for wait, _ in history[:cut])
    for wait, steps in history[cut:]:
        for due in wakes(core, now, now + wait):
            first += step(core, due, [])
        now += wait
        first += step(core, now, steps)
    assert first == journal
    assert core.state.digest() == whole.state.digest()
    folded = Core()
    folded.fold(journal)
    assert folded.state.digest() == whole.state.digest()
    for other in (core.state, folded.state):
        for name in ("arrays", "outcomes", "unmet", "waiters"):
            assert getattr(other.waiting, name) == getattr(whole.state.waiting, name), name
        for due in ("begins", "deadlines"):
            assert getattr(other.waiting, due).times == getattr(whole.state.waiting, due).times
        assert waiting_in(other.pools["shared"]) == waiting_in(whole.state.pools["shared"])


def test_the_histories_reach_everything() -> None:
    """Else the promises above would be promises about nothing."""
    seen: set[str] = set()

    @settings(max_examples=300, deadline=None, derandomize=True, database=None)
    @given(st.sampled_from(DISCIPLINES), histories)
    def collect(discipline: str, history: list[Any]) -> None:
        core, journal = play(discipline, history)
        for _, fact in journal:
            seen.add(type(fact).__name__)
            if isinstance(fact, f.JobEnded | f.JobRejected):
                seen.add(fact.reason)
            if isinstance(fact, f.JobReleased):
                seen.add(fact.cause)
        seen.update(blocked(core.state, job) for job in core.state.jobs.values() if job.state == "pending")

    collect()
    wanted = {"JobHeld", "JobRequeued", "user", "begin_time", "dependency_failed", "unknown_dependency"}
    assert (wanted | {"deadline", "deadline_missed", *BLOCKS}) - seen == set()
