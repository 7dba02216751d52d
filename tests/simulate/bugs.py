# SPDX-License-Identifier: Apache-2.0
"""Defects planted in the product, one at a time: each has to be found by the check that it names, within so many seeds.
A check that finds none of them would be no check. Called by `__main__` and the tests.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from msgspec import UNSET
from msgspec.structs import replace

from leitstand.core import budgets, cycle, state, waiting
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.fleet import Pool
from leitstand.core.health import deciding as health
from leitstand.core.places.closures import Closures
from leitstand.core.places.fit import Availability
from leitstand.core.sharing import calling
from leitstand.core.sharing.counts import Counts
from leitstand.core.sharing.fair import Fair
from leitstand.core.sharing.shares import Tree
from leitstand.core.state import State
from leitstand.core.units import MINUTE_US, SECOND_US
from leitstand.journal.memory import MemoryJournal
from leitstand.runtime import loop
from leitstand.runtime.loop import Loop
from leitstand.runtime.ports import StopRun
from leitstand.runtime.sites import Sites

Patch = Callable[["Planting"], None]


@dataclass(frozen=True)
class Bug:
    """`check`: which has to find it, `within` so many seeds from 0 on."""

    name: str
    check: str
    plant: Patch
    within: int


class Planting:
    """Puts other attributes in the place of the product's, and the old ones back."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def swap(self, owner: Any, name: str, new: Any) -> None:
        old = owner.__dict__[name]
        setattr(owner, name, new)
        self._stack.callback(setattr, owner, name, old)

    def wrap(self, owner: Any, name: str, around: Callable[..., Any]) -> None:
        """`around(old, *args)` in the place of a function or method."""
        old = owner.__dict__[name]
        self.swap(owner, name, lambda *args, **more: around(old, *args, **more))

    def apply(self, kind: type, around: Callable[..., Any]) -> None:
        """The same for what applies a fact."""
        old = state._APPLY[kind]
        state._APPLY[kind] = lambda *args: around(old, *args)
        self._stack.callback(state._APPLY.__setitem__, kind, old)

    def observe(self, kind: type, around: Callable[..., Any]) -> None:
        """The same for what decides on an observation."""
        old = cycle._OBSERVE[kind]
        cycle._OBSERVE[kind] = lambda *args: around(old, *args)
        self._stack.callback(cycle._OBSERVE.__setitem__, kind, old)


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """The product with this bug."""
    with ExitStack() as stack:
        bug.plant(Planting(stack))
        yield


BUGS: Final[list[Bug]] = []


def bug(check: str, within: int = 40) -> Callable[[Patch], Patch]:
    def note(plant: Patch) -> Patch:
        BUGS.append(Bug(plant.__name__, check, plant, within))
        return plant

    return note


# ── places ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@bug("nothing_is_oversold")
def gpus_stay_free_when_placed(on: Planting) -> None:
    on.wrap(Availability, "take", lambda old, self, at, bits, cpus, memory, milli=0: None)


@bug("nothing_is_oversold", 80)
def cores_stay_free_when_placed(on: Planting) -> None:
    on.wrap(
        Availability,
        "take",
        lambda old, self, at, bits, cpus, memory, milli=0: old(self, at, bits, 0, memory, milli),
    )


@bug("machines_are_not_shared")
def who_is_told_to_end_counts_as_gone(on: Planting) -> None:
    """The facts themselves say that the run is over: only the machines know better."""

    def stop(old: Any, core: Core, fact: f.Fact) -> None:
        old(core, fact)
        if isinstance(fact, f.RunStopOrdered) and core.state.runs[fact.run].has_started:
            core._run_ended(f.RunEnded(fact.run, core._now, "stopped"))

    on.wrap(Core, "_emit", stop)


@bug("gangs_have_their_shape")
def tasks_of_a_gang_share_nodes(on: Planting) -> None:
    on.swap(Pool, "let_share", lambda self, site: setattr(self, "colocate", True))


@bug("nobody_starts_into_a_window", 200)
def windows_close_nothing_ahead(on: Planting) -> None:
    on.swap(Closures, "put", lambda self, window, positions, span: None)


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
@bug("nobody_starts_too_early", 60)
def holds_are_overlooked(on: Planting) -> None:
    def blocked(old: Any, of: State, job: Any) -> str:
        why: str = old(of, job)
        return "" if why == "held" else why

    on.wrap(state, "blocked", blocked)


@bug("nobody_starts_too_early", 60)
def any_end_meets_a_dependency(on: Planting) -> None:
    on.swap(waiting, "is_met", lambda how, succeeded: True)


@bug("quotas_hold", 60)
def who_waits_is_not_counted(on: Planting) -> None:
    def submit(old: Any, core: Core, asked: f.SubmitJob) -> Any:
        tenant = core.state.tenants[asked.tenant]
        waits, tenant.pending = tenant.pending, -(10**6)
        answer = old(core, asked)
        tenant.pending += waits + 10**6
        return answer

    on.observe(f.SubmitJob, submit)


@bug("requests_are_admitted_once")
def keys_are_forgotten(on: Planting) -> None:
    def submit(old: Any, core: Core, asked: f.SubmitJob) -> Any:
        rules = core.state.rules
        core.state.rules = replace(rules, request_ttl_us=0)
        answer = old(core, asked)
        core.state.rules = rules
        return answer

    on.observe(f.SubmitJob, submit)


@bug("jobs_end_once")
def a_cancelled_job_ends_twice(on: Planting) -> None:
    def cancel(old: Any, core: Core, asked: f.CancelJob) -> Any:
        answer = old(core, asked)
        core._facts += [fact for fact in core._facts[-1:] if isinstance(fact, f.JobEnded)]
        return answer

    on.observe(f.CancelJob, cancel)


@bug("retries_are_counted", 60)
def retries_cost_nothing(on: Planting) -> None:
    def requeued(old: Any, of: State, at: int, fact: f.JobRequeued) -> None:
        old(of, at, fact)
        of.jobs[fact.job].retried = 0

    on.apply(f.JobRequeued, requeued)


@bug("runs_count_up", 60)
def runs_of_a_job_have_the_same_number(on: Planting) -> None:
    def requeued(old: Any, of: State, at: int, fact: f.JobRequeued) -> None:
        old(of, at, fact)
        of.jobs[fact.job].runs = 0

    on.apply(f.JobRequeued, requeued)


# ── engines ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@bug("orders_are_durable")
def orders_go_out_before_the_commit(on: Planting) -> None:
    def step(old: Any, self: Loop, now: int) -> None:
        journal, engine = self.journal, self.engine

        class Hasty:
            head = property(lambda _: journal.head)

            def append(_, head: Any, at: int, facts: Any) -> Any:
                engine.send(loop.orders_of(self.core.state, facts))
                return journal.append(head, at, facts)

        self.journal = Hasty()  # type: ignore[assignment]
        try:
            old(self, now)
        finally:
            self.journal = journal

    on.wrap(Loop, "step", step)


@bug("runs_are_exactly_once", 60)
def a_restart_takes_all_runs_for_lost(on: Planting) -> None:
    def started(old: Any, core: Core, fact: f.WriterStarted) -> Any:
        for run in list(core.state.runs):
            core._run_ended(f.RunEnded(run, core._now, "lost"))
        return old(core, fact)

    on.observe(f.WriterStarted, started)


@bug("nobody_stops_without_an_order")
def a_restart_adopts_nobody(on: Planting) -> None:
    on.swap(loop, "resume", lambda engine, of: engine.resume([]))


@bug("stops_take_effect", 60)
def stops_are_not_sent(on: Planting) -> None:
    on.wrap(
        loop,
        "orders_of",
        lambda old, of, facts: [one for one in old(of, facts) if not isinstance(one, StopRun)],
    )


@bug("ends_are_those_of_the_engines", 60)
def an_old_report_ends_the_new_run(on: Planting) -> None:
    def ended(old: Any, core: Core, report: f.RunEnded) -> Any:
        job = core.state.jobs.get(report.run.rpartition(".")[0])
        if report.run not in core.state.runs and job is not None and job.run:
            report = replace(report, run=job.run)
        return old(core, report)

    on.observe(f.RunEnded, ended)
    on.swap(Sites, "_is_from", lambda self, site, report: True)


@bug("times_are_clipped")
def engine_times_are_believed(on: Planting) -> None:
    def start(self: Core, run: str, placed_us: int, at_us: int) -> None:
        self._emit(f.RunStarted(run, at_us))

    on.swap(Core, "_start", start)


@bug("usage_is_the_true_busy_time")
def usage_is_metered_until_the_stamp(on: Planting) -> None:
    on.wrap(
        cycle, "meter", lambda old, job, run, ended_us, posted=(): old(job, run, ended_us + SECOND_US, posted)
    )


@bug("usage_is_the_true_busy_time", 60)
def an_end_said_twice_is_metered_twice(on: Planting) -> None:
    known: dict[str, f.UsageMetered] = {}

    def emit(old: Any, core: Core, fact: f.Fact) -> None:
        old(core, fact)
        if isinstance(fact, f.UsageMetered):
            known[fact.run] = replace(fact, posted=())

    def ended(old: Any, core: Core, report: f.RunEnded) -> Any:
        if report.run not in core.state.runs and report.run in known:
            core._emit(known[report.run])
        return old(core, report)

    on.wrap(Core, "_emit", emit)
    on.observe(f.RunEnded, ended)
    on.swap(Sites, "_is_from", lambda self, site, report: True)


@bug("runs_that_started_are_metered")
def short_runs_are_not_metered(on: Planting) -> None:
    def emit(old: Any, core: Core, fact: f.Fact) -> None:
        if not (isinstance(fact, f.UsageMetered) and fact.wall_us < MINUTE_US):
            old(core, fact)

    on.wrap(Core, "_emit", emit)


# ── money ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
@bug("budgets_hold", 60)
def what_was_spent_can_be_spent_again(on: Planting) -> None:
    on.swap(budgets.Budget, "free", property(lambda self: self.granted - self.reserved))


@bug("debits_equal_credits", 60)
def what_a_run_used_is_not_spent(on: Planting) -> None:
    on.apply(f.UsageMetered, lambda old, of, at, fact: None)


@bug("what_runs_is_paid", 60)
def half_of_a_run_is_reserved(on: Planting) -> None:
    on.swap(
        budgets.Need,
        "amount",
        property(lambda self: (self.milli_us or self.charge_milli * self.limit_us) // 2),
    )


@bug("what_ran_is_paid", 80)
def lost_runs_are_paid(on: Planting) -> None:
    on.swap(budgets, "UNPAID", ())


# ── sharing ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@bug("limits_hold", 100)
def borrow_limits_are_ignored(on: Planting) -> None:
    on.swap(Tree, "over_limit", lambda self, leaf, charge: None)
    on.swap(Counts, "allows", lambda self, leaf, charge, limit_us, own: True)


@bug("promises_are_kept", 60)
def promises_are_too_early(on: Planting) -> None:
    def emit(old: Any, core: Core, fact: f.Fact) -> None:
        if isinstance(fact, f.CapacityReserved) and fact.kind == "promise" and fact.start_us > core._now:
            told = replace(fact, start_us=core._now + (fact.start_us - core._now) // 2)
            old(core, fact)
            core._facts[-1] = told
            return
        old(core, fact)

    on.wrap(Core, "_emit", emit)


@bug("promises_are_not_moved", 60)
def promises_are_dropped_silently(on: Planting) -> None:
    def plan(old: Any, self: Fair, now: int) -> None:
        old(self, now)
        for job, made in list(self.state.reservations.items()):
            if made.kind == "promise" and self.state.jobs[job].pool == self.name:
                self.emit(f.ReservationDropped(job, "replanned"))

    on.wrap(Fair, "plan", plan)


@bug("guarantees_hold", 200)
def guarantees_are_never_called(on: Planting) -> None:
    on.swap(Fair, "_act", lambda self, job, leaf: None)
    on.swap(calling, "call", lambda plan, job, leaf: None)
    on.swap(calling, "start", lambda plan, job, leaf: False)


@bug("the_young_are_protected", 60)
def nobody_is_protected(on: Planting) -> None:
    from leitstand.core.yielding.preemption import Scene

    def of(old: Any, self: Scene, leaf: Any) -> Any:
        sharing, self.sharing = self.sharing, replace(self.sharing, protected_us=0)
        try:
            return old(self, leaf)
        finally:
            self.sharing = sharing

    on.wrap(Scene, "of", of)


@bug("evictions_end", 60)
def each_tick_takes_a_run(on: Planting) -> None:
    def plan(old: Any, self: Fair, now: int) -> None:
        ticked = self.ticked
        old(self, now)
        runs = [run for run in self.state.runs.values() if run.has_started and not run.stopping]
        if ticked and runs and self.state.jobs[runs[0].job].pool == self.name:
            self.emit(f.RunStopOrdered(runs[0].id, "rebalance", runs[0].job))

    on.wrap(Fair, "plan", plan)


# ── journal ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@bug("stale_writers_are_fenced")
def the_journal_takes_what_anybody_says(on: Planting) -> None:
    on.wrap(
        MemoryJournal,
        "append",
        lambda old, self, head, at, facts: old(self, self.head, max(at, self.head.at), facts),
    )


@bug("answers_are_durable")
def clients_are_answered_before_the_commit(on: Planting) -> None:
    def step(old: Any, self: Loop, now: int) -> None:
        taken = [source.take(now) for source in self.sources]
        facts = self.core.cycle(now, [one for part in taken for one in part])
        self._settle(taken)
        if facts:
            self.journal.append(self.journal.head, now, facts)
            self.engine.send(loop.orders_of(self.core.state, facts))

    on.wrap(Loop, "step", step)


@bug("refold_equals_state")
def a_snapshot_forgets_when_runs_were_placed(on: Planting) -> None:
    old = State.__dict__["restore"]

    def restore(cls: Any, projection: Any) -> State:
        for run in projection.runs:
            run.placed_us = 0
        return old.__func__(State, projection)  # type: ignore[no-any-return]

    on.swap(State, "restore", classmethod(restore))


@bug("state_is_what_the_journal_says")
def a_fact_is_applied_and_not_recorded(on: Planting) -> None:
    def emit(old: Any, core: Core, fact: f.Fact) -> None:
        old(core, fact)
        if isinstance(fact, f.ReservationDropped | f.NodeRemoved):
            core._facts.pop()

    on.wrap(Core, "_emit", emit)


@bug("bad_nodes_are_left", 60)
def a_bad_gpu_stops_nobody(on: Planting) -> None:
    on.swap(Core, "_drain", lambda self, node: self._lose(node))


@bug("state_is_what_the_journal_says", 60)
def an_engine_brings_a_drained_node_back(on: Planting) -> None:
    def added(old: Any, of: State, at: int, fact: f.NodeAdded) -> None:
        known = of.nodes.get(fact.node)
        if known is not None and known.health is not UNSET:
            known.health.cause = None
        old(of, at, fact)

    on.apply(f.NodeAdded, added)
    on.swap(health, "is_there", lambda node: node.in_service)


@bug("retelling_decides_the_same")
def plans_depend_on_what_no_journal_says(on: Planting) -> None:
    plans = 0

    def plan(old: Any, self: Core) -> None:
        nonlocal plans
        plans += 1
        if plans % 3:
            old(self)

    on.wrap(Core, "_plan_fairly", plan)


@bug("the_writer_lives")
def a_late_report_of_an_unknown_run_is_an_error(on: Planting) -> None:
    on.observe(f.RunEnded, lambda old, core, report: (core.state.runs[report.run], old(core, report))[1])
    on.swap(Sites, "_is_from", lambda self, site, report: True)


@bug("the_writer_rests")
def it_is_always_time(on: Planting) -> None:
    on.wrap(Core, "next_wake", lambda old, self: self._now if self.state.jobs else old(self))


@bug("everything_ends", 60)
def freed_capacity_wakes_nobody(on: Planting) -> None:
    on.swap(Core, "_freed", lambda self, pool, positions=None: None)


@bug("everything_ends", 60)
def begin_times_do_not_come(on: Planting) -> None:
    on.swap(waiting.Waiting, "begin", lambda self, job: None)
    on.apply(
        f.JobReleased, lambda old, of, at, fact: None if fact.cause == "begin_time" else old(of, at, fact)
    )
    on.swap(waiting.Waiting, "due", lambda self, of, now: None)
    on.swap(waiting.Waiting, "next_time", lambda self: None)


@bug("everything_ends", 60)
def cores_are_not_given_back(on: Planting) -> None:
    on.wrap(
        Availability,
        "give",
        lambda old, self, at, bits, cpus, memory, milli=0: old(self, at, bits, 0, memory, milli),
    )
