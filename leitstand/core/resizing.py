# SPDX-License-Identifier: Apache-2.0
"""Runs of elastic jobs that get other nodes while they run. `APPLY` folds the facts (called by the state); `without` is
the order to go on with fewer (called by repair and maintenance), `released` what budgets hold no more then (called by
the cycle).

    order ▸ who joins takes his capacity at once, who leaves keeps it ▸ the engine reports ▸ what was left is free

A run counts its tasks in *units* of `Job.unit_nodes`. The first task stays as long as the run: others find each other
there.
"""

from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any, Final

import msgspec

from leitstand.core import budgets
from leitstand.core import facts as f
from leitstand.core.fact import Fact
from leitstand.core.jobs import Resizing, Sizes

if TYPE_CHECKING:
    from leitstand.core.jobs import Job, Run
    from leitstand.core.state import State


# ── questions ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def can_resize(state: "State", run: "Run") -> bool:
    """Whether the run may be told to go on with other nodes: its job bears it, its engine does it, and it runs."""
    if run.sizes is msgspec.UNSET or not run.has_started or run.stopping:
        return False
    return state.sites[state.nodes[run.tasks[0].node].site].resizes is True


def without(
    state: "State", run: "Run", nodes: Container[str], cause: str, job: str = ""
) -> f.RunResizeOrdered | None:
    """The order to go on without the units that have a task on these nodes; None: the run cannot, for it would lose its
    first task or have fewer than its least number."""
    own = state.jobs[run.job]
    if not can_resize(state, run) or run.tasks[0].node in nodes:
        return None
    size = own.unit_nodes
    units = [run.tasks[first : first + size] for first in range(0, len(run.tasks), size)]
    rest = tuple(task for unit in units if not any(one.node in nodes for one in unit) for task in unit)
    return None if len(rest) < own.resources.nodes else ordered(run, rest, cause, job)


def ordered(run: "Run", tasks: tuple[f.Task, ...], cause: str, job: str = "") -> f.RunResizeOrdered:
    """The next order to go on with these tasks."""
    assert run.sizes is not msgspec.UNSET, "its job is elastic"
    return f.RunResizeOrdered(run.id, run.sizes.number + 1, tasks, cause, job)


def released(state: "State", now: int, job: "Job", run: "Run") -> f.BudgetReserved | None:
    """What is reserved for the job once it has fewer tasks; None if that is what is reserved."""
    assert run.sizes is not msgspec.UNSET, "its job is elastic"
    tasks = max([run.sizes.steps[-1][1], *(one.tasks for one in run.sizes.pending)])
    found = budgets.resized(state, now, job, run, tasks)
    return found if isinstance(found, f.BudgetReserved) else None


# ── apply ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def begin(job: "Job", run: "Run") -> None:
    """The run of an elastic job was placed."""
    if job.nodes_most:
        run.sizes = Sizes()


def started(run: "Run") -> None:
    """It has started with all its tasks."""
    if run.sizes is not msgspec.UNSET:
        run.sizes.steps.append((run.started_us, len(run.tasks)))


def _resize_ordered(state: "State", at: int, fact: f.RunResizeOrdered) -> None:
    run = state.runs[fact.run]
    job, sizes = state.jobs[run.job], run.sizes
    assert sizes is not msgspec.UNSET, "its job is elastic"
    before, after = dict.fromkeys(run.tasks), dict.fromkeys(fact.tasks)
    leaving = tuple(task for task in run.tasks if task not in after)
    for task in fact.tasks:
        if task not in before:
            state.take(job, task)
    run.tasks = fact.tasks
    sizes.number, sizes.ordered_us = fact.number, at
    sizes.grown += fact.cause == f.GROWTH
    sizes.pending.append(Resizing(fact.number, at, len(fact.tasks), leaving))
    _stand(state, job, run)


def _resized(state: "State", at: int, fact: f.RunResized) -> None:
    run = state.runs[fact.run]
    job, sizes = state.jobs[run.job], run.sizes
    assert sizes is not msgspec.UNSET, "its job is elastic"
    done = [one for one in sizes.pending if one.number <= fact.number]
    sizes.pending = [one for one in sizes.pending if one.number > fact.number]
    sizes.steps.append((fact.at_us, done[-1].tasks))
    for one in done:
        for task in one.leaving:
            state.give(job, task)
    _stand(state, job, run)


def _stand(state: "State", job: "Job", run: "Run") -> None:
    standing = state.pools[job.pool].standing
    if standing is not None:
        standing.resize(job, run, state.places(run.tasks), state.places(run.leaving))


APPLY: Final[dict[type[Fact], Callable[["State", int, Any], None]]] = {
    f.RunResizeOrdered: _resize_ordered,
    f.RunResized: _resized,
}
