# SPDX-License-Identifier: Apache-2.0
"""Failures stay local: a gang that loses nodes keeps the others and its turn. Called by the cycle (a node is gone), by
the fair plan (before anybody's turn) and by the state (who has first call).

    node fails ▸ the rest of its runs is told to end, and their nodes are held for them ▸ others are added in the place
    of those that are gone, as they come free, in the lowest domain that has them ▸ the gang starts again, or takes back
    what it is owed ▸ or, after R, gives up what it holds and waits at its old place

A job from which a failure took a run, a claim or a promise has *first call*: it is asked before all turns, until it
starts. A hold is a reservation of perhaps fewer places than the job needs; nothing here is remembered but in facts.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import UNSET

from leitstand.core import facts as f
from leitstand.core import resizing
from leitstand.core.places.placement import Place
from leitstand.core.places.replacing import fitting, in_order, is_enough, replaced
from leitstand.core.places.steps import INFINITY
from leitstand.core.sharing.standing import key_of, limit_of
from leitstand.core.sharing.units import run_of

if TYPE_CHECKING:
    from leitstand.core.jobs import Job, Run
    from leitstand.core.sharing.counts import Counts
    from leitstand.core.sharing.fair import Fair
    from leitstand.core.sharing.standing import Standing
    from leitstand.core.state import State

FIRST_MAX: Final = 256  # jobs with first call that one plan looks at; the others have their turns


# ── which jobs run again ──────────────────────────────────────────────────────────────────────────────────────────────
def wants_another(job: "Job") -> bool:
    """Whether the job is run again if a node of its run fails: unless it names what to retry and leaves out `lost`. It
    costs none of its retries."""
    return not job.retry_on or "lost" in job.retry_on


def keeps_turn(job: "Job", run: "Run") -> bool:
    """Whether what is left of the run's nodes is held for the job: it is a gang and will run again, and has no booking
    that holds them anyway."""
    if job.booking is not UNSET:
        return False
    several = any(task.node != run.tasks[0].node for task in run.tasks)
    return several and wants_another(job) and job.failures < f.FAILURES_MAX


def runs_again(job: "Job", ended: f.JobEnded, kept_us: int) -> bool:
    """Whether a run that was told to end because a node failed is followed by another. `kept_us`: what checkpoints keep
    of all the job's work; a job that saves nothing more FAILURES_MAX times in a row is given up."""
    if ended.state == "succeeded" or ended.reason == "max_duration_exceeded":
        return False
    return wants_another(job) and (kept_us > job.kept_us or job.failures < f.FAILURES_MAX)


def never_ran(job: "Job", run: "Run") -> bool:
    """Whether a run that was lost is followed by another whatever its job wants retried: it never began, so nothing
    runs twice, and nobody told the job to end. A job to which that happens FAILURES_MAX times in a row is given up."""
    wanted = run.stopping in ("", *f.AGAIN)
    return not run.has_started and wanted and job.failures < f.FAILURES_MAX


def is_there(state: "State", standing: "Standing", position: int) -> bool:
    """Whether a run, or a unit of one, is on the node without having been told to end for a failure."""
    for entry in standing.timeline.runs_on(position):
        run = state.runs[run_of(entry)]
        told = run.id != entry and entry in standing.stopping and not run.stopping
        if not told and run.stopping != f.NODE_FAILED:
            return True
    return False


# ── called by the cycle ───────────────────────────────────────────────────────────────────────────────────────────────
def fail(plan: "Fair", position: int, now: int) -> None:
    """The node at `position`, out of service already, is gone with what ran on it: these runs end, and what is left of
    a gang's nodes is held for it. Who was being stopped for others waits again, too, but holds nothing."""
    state = plan.state
    for run in _runs_on(plan, position):
        if run.stopping not in ("", *f.MADE_WAY):
            continue
        job, yields = state.jobs[run.job], bool(run.stopping)
        smaller = resizing.without(state, run, (plan.pool.names[position],), f.NODE_FAILED)
        if smaller is not None:  # it goes on with the nodes that it has beyond its least number
            plan.emit(smaller)
            plan.usage.forget()
            continue
        plan.emit(f.RunStopOrdered(run.id, f.NODE_FAILED))
        plan.heads.unserve(job.id, plan.state.leaf(job))
        if yields or not keeps_turn(job, run) or job.resources.is_part:
            continue
        tasks = (
            run.tasks[: job.resources.nodes] if job.nodes_most else run.tasks
        )  # its least size, in whole slices
        rest = tuple(task for task in tasks if state.nodes[task.node].in_service)
        if rest:
            _hold(plan, job, state.places(rest), now)


def lose(plan: "Fair", position: int, now: int) -> None:
    """The node at `position` left service, or is another than it was: what was to start there starts elsewhere. Of a
    claim or hold of several nodes the others stay."""
    state = plan.state
    for id in plan.standing.timeline.on(position):
        made = state.reservations[id]
        if made.kind in ("claim", "hold") and not state.jobs[id].resources.is_part:
            _cut(plan, state.jobs[id], position, now)
            continue
        if made.kind == "promise":
            plan.emit(f.PromiseBroken(id, f.NODE_FAILED, made.start_us))
        plan._drop(id, "failed")


# ── called by the plan ────────────────────────────────────────────────────────────────────────────────────────────────
def mend(plan: "Fair") -> None:
    """Before anybody's turn: who has first call starts, or takes back what it is owed, or gets a reservation, or holds
    on to what it has. Who holds something comes first, then in the order of the failures."""
    state, standing = plan.state, plan.standing
    if not standing.failed:
        return
    jobs = [state.jobs[id] for id in standing.failed]
    jobs.sort(key=lambda job: (not _held(plan, job), job.failed_us, key_of(job)))
    for job in jobs:
        due_us = _until_us(plan, job)
        if due_us is not None and due_us <= plan.now:
            held = _held(plan, job)
            plan._drop(job.id, "expired")
            plan.mended.pop(job.id, None)
            plan.wake(position for position, _ in held)
    looked = 0
    for job in jobs:
        if plan.mended.get(job.id) == standing.stops or not _waits(plan, job):
            continue
        if looked == FIRST_MAX or not plan._may_start():
            return
        looked += 1
        plan.heads.unserve(job.id, plan.state.leaf(job))
        _mend(plan, job)
        plan.mended[job.id] = standing.stops


def next_time(plan: "Fair") -> int | None:
    """When time alone ends a hold (µs)."""
    state = plan.state
    due = (_until_us(plan, state.jobs[id]) for id in plan.standing.failed)
    return min((at for at in due if at is not None), default=None)


def held_until_us(plan: "Fair", job: "Job") -> int:
    """Until when (µs) what a job holds after a failure is held: for the smallest recall time of the pool, so that no
    guarantee waits longer for it than for a borrower."""
    return job.failed_us + plan.standing.tree.recall_us(plan.state.rules.sharing.recall_us)


def count(plan: "Fair", counts: "Counts", job: "Job") -> None:
    """What is held, and no more, counts until a run that starts at the end of the hold would be over."""
    leaf, asked = plan.standing.tree.node(plan.state.leaf(job)), job.resources
    held = _held(plan, job)
    part, whole = (len(held), asked.nodes) if asked.nodes else (sum(gpus for _, gpus in held), asked.gpus)
    until_us = min(held_until_us(plan, job) + limit_of(job), INFINITY)
    counts.put(job.id, leaf, -(-job.charge_milli * min(part, whole) // whole), (plan.now, until_us))


def give_way(plan: "Fair", places: Iterable[Place]) -> None:
    """A promise starts on nodes that were held: holds keep what is left of theirs."""
    timeline = plan.standing.timeline
    if not plan.standing.failed:
        return
    for position in dict.fromkeys(position for position, _ in places):
        for id in timeline.on(position):
            if plan.state.reservations[id].kind == "hold" and position in timeline.oversold(plan.now):
                _cut(plan, plan.state.jobs[id], position, plan.now)


# ── one job ───────────────────────────────────────────────────────────────────────────────────────────────────────────
class _Found(NamedTuple):
    """Places for a job, perhaps not all; `free`: all of them are, now."""

    places: list[Place]
    complete: bool
    free: bool


def _mend(plan: "Fair", job: "Job") -> None:
    leaf = plan.standing.tree.node(plan.state.leaf(job))
    held = _held(plan, job)
    allowed = not plan._forbidden(leaf, job.charge_milli) and plan.usage.keeps_promises(job, leaf)
    found = _find(plan, job, held, allowed)
    if allowed and found.complete and found.free and not job.run:
        view = plan.standing.timeline.view(plan.now, limit_of(job), own=job.id, ignore=("plan",))
        plan._start(job, leaf, found.places, view)
        plan._displace(found.places)
        plan.wake(position for position, _ in held)  # it may have started elsewhere
        return
    if not (allowed and found.complete) and not job.run and plan._serve(job, leaf):
        return
    if sorted(found.places) != sorted(held) and (held or found.complete):
        if found.places:
            _hold(plan, job, found.places, plan.now)
            plan._displace(found.places)
        else:  # others were promised all of it
            plan._drop(job.id, "recalled")
        plan.wake(position for position, _ in held)
    if _held(plan, job):
        plan.usage.holds(job)


def _find(plan: "Fair", job: "Job", held: list[Place], allowed: bool) -> _Found:
    """What is held, with others in the place of what is gone; if that is not enough, other places for all of it, if it
    is `allowed` to start; else what will be free before the hold ends."""
    asked, pool, timeline = job.resources, plan.pool, plan.standing.timeline
    limit_us, ignore = limit_of(job), ("plan",)
    view = timeline.view(plan.now, limit_us, job.id, ignore)
    kept = []
    if held and not (asked.nodes_max > asked.nodes and not job.run):
        kept = fitting(held, asked, timeline.view(plan.now, limit_us, job.id, ignore, _leaving(plan, held)))
    if kept:
        places = in_order(pool, asked, kept + replaced(pool, asked, kept, view))
        if is_enough(asked, places):
            return _Found(places, True, len(fitting(places, asked, view)) == len(places))
    whole = pool.place(asked, view) if allowed else None
    if whole is not None:
        return _Found(whole, True, True)
    if not held:
        return _Found([], False, False)
    ending = timeline.ending(held_until_us(plan, job))
    soon = timeline.view(plan.now, limit_us, job.id, ignore, ending)
    kept = fitting(held, asked, soon)
    if kept:
        kept += replaced(pool, asked, kept, view)
        kept += replaced(pool, asked, kept, soon)
    return _Found(in_order(pool, asked, kept), False, False)


def _leaving(plan: "Fair", held: list[Place]) -> dict[str, None]:
    """Runs on these nodes that were told to end."""
    timeline, stopping = plan.standing.timeline, plan.standing.stopping
    return {run: None for at, _ in held for run in timeline.runs_on(at) if run in stopping}


# ── below ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _runs_on(plan: "Fair", position: int) -> list["Run"]:
    """The runs with a task on the node that nobody told to end alone, in the order of their placement."""
    state, name = plan.state, plan.pool.names[position]
    runs = [state.runs[run] for run in dict.fromkeys(map(run_of, plan.standing.timeline.runs_on(position)))]
    if any(run.sizes is not UNSET for run in runs):  # what joined them came later, but not after a restart
        runs.sort(key=lambda run: (run.placed_us, state.jobs[run.job].number))
    return [run for run in runs if any(task.node == name for task in run.tasks)]


def _waits(plan: "Fair", job: "Job") -> bool:
    """Whether there is something to do for the job: it waits for capacity, or its run is ending."""
    if job.run:
        return plan.state.runs[job.run].stopping == f.NODE_FAILED and not job.resources.is_part
    return job.id in plan.standing.waiting


def _held(plan: "Fair", job: "Job") -> list[Place]:
    made = plan.state.reservations.get(job.id)
    return plan.state.places(made.tasks) if made is not None and made.kind == "hold" else []


def _until_us(plan: "Fair", job: "Job") -> int | None:
    made = plan.state.reservations.get(job.id)
    return held_until_us(plan, job) if made is not None and made.kind == "hold" else None


def _hold(plan: "Fair", job: "Job", places: list[Place], now: int) -> None:
    names = plan.pool.names
    tasks = tuple(f.Task(names[position], format((1 << gpus) - 1, "x")) for position, gpus in places)
    plan.emit(f.CapacityReserved(job.id, "hold", now, tasks))
    plan._touch(places)


def _cut(plan: "Fair", job: "Job", position: int, now: int) -> None:
    """A claim or hold without one node is a hold of the others."""
    places = plan.state.places(plan.state.reservations[job.id].tasks)
    rest = [place for place in places if place[0] != position]
    if not rest:
        plan._drop(job.id, "failed")
        return
    plan.heads.unserve(job.id, plan.state.leaf(job))
    plan.mended.pop(job.id, None)
    _hold(plan, job, rest, now)
