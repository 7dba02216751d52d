# SPDX-License-Identifier: Apache-2.0
"""Maintenance windows and their life. `APPLY` folds their facts (called by the state), `due` says what time makes of
them (called by the cycle).

    planned ─▶ draining ─▶ begun ─▶ ended        cancelled: at any time; what has begun then ends

`draining` begins as long before the window as a run may take to save its work and stop: who would last into it is told
to end. Whoever is still there when it begins is told once more; his node takes nobody else.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from leitstand.core import acts as a
from leitstand.core import resizing
from leitstand.core.fact import Fact
from leitstand.core.facts import MAINTENANCE, RunStopOrdered
from leitstand.core.places.steps import INFINITY
from leitstand.core.sharing.standing import until_us

if TYPE_CHECKING:
    from leitstand.core.fleet import Pool
    from leitstand.core.jobs import Run
    from leitstand.core.state import State

WINDOWS_MAX: Final = 256  # that are not over


class Window(msgspec.Struct, gc=False):
    """`nodes`: those that the fact named, or that stood in its `domain` then. `until_us` 0: open. `step`: planned or
    one of STEPS."""

    id: str
    nodes: tuple[str, ...]
    from_us: int
    until_us: int
    domain: tuple[str, ...] = ()
    reason: str = "other"
    emergency: bool = False
    scale: bool = False
    step: str = "planned"

    @property
    def span(self) -> tuple[int, int]:
        """Its times, INFINITY for an open end."""
        return self.from_us, self.until_us or INFINITY


class Maintenance(msgspec.Struct):
    """`made`: windows ever planned; `windows`: by id, those that are not over."""

    made: int = 0
    windows: dict[str, Window] = msgspec.field(default_factory=dict)


# ── questions ─────────────────────────────────────────────────────────────────────────────────────────────────────
def next_time(state: "State") -> int | None:
    """When time alone will change a window (µs)."""
    if not state.maintenance.windows:
        return None
    notice_us = notice(state)
    times = (_due_us(window, notice_us) for window in state.maintenance.windows.values())
    return min((time for time in times if time is not None), default=None)


def due(state: "State", now: int) -> list[Fact]:
    """The next step of the first window that has one due, with the runs that are told to end; [] if none has."""
    if not state.maintenance.windows:
        return []
    notice_us = notice(state)
    found = [
        (due_us, window.id)
        for window in state.maintenance.windows.values()
        if (due_us := _due_us(window, notice_us)) is not None and due_us <= now
    ]
    if not found:
        return []
    window = state.maintenance.windows[min(found)[1]]
    step = _NEXT[window.step]
    facts: list[Fact] = [a.MaintenanceAdvanced(window.id, step)]
    if step != "ended":
        nodes = dict.fromkeys(window.nodes)
        for run in outlasting(state, window):
            smaller = resizing.without(state, run, nodes, MAINTENANCE)
            facts.append(smaller or RunStopOrdered(run.id, MAINTENANCE))
    return facts


def outlasting(state: "State", window: Window) -> list["Run"]:
    """The runs on its nodes that nobody told to end yet and that may last into the window."""
    nodes = dict.fromkeys(window.nodes)
    found = []
    for run in state.runs.values():
        if run.stopping or not any(task.node in nodes for task in run.tasks):
            continue
        start_us = run.started_us if run.has_started else run.placed_us
        if window.step == "draining" or until_us(state.jobs[run.job], start_us) > window.from_us:
            found.append(run)
    return found


def notice(state: "State") -> int:
    """How long before a window runs are told to end."""
    return state.rules.sharing.freed_us


def nodes_in(state: "State", domain: tuple[str, ...]) -> tuple[str, ...]:
    """The nodes that stand in a domain, a path from its site down."""
    site, *path = domain
    return tuple(
        node.id
        for node in state.nodes.values()
        if node.site == site and node.domains[: len(path)] == tuple(path)
    )


def by_pool(state: "State", nodes: Iterable[str]) -> dict[str, list[int]]:
    """The positions of the nodes in each pool."""
    found: dict[str, list[int]] = {}
    for name in nodes:
        node = state.nodes[name]
        found.setdefault(node.pool, []).append(node.position)
    return found


def window_of(fact: a.MaintenancePlanned, nodes: tuple[str, ...]) -> Window:
    """What the fact plans on these nodes."""
    return Window(
        fact.window,
        nodes,
        fact.from_us,
        fact.until_us,
        fact.domain,
        fact.reason,
        fact.emergency,
        fact.scale,
    )


_NEXT: Final = {"planned": "draining", "draining": "begun", "begun": "ended"}


def _due_us(window: Window, notice_us: int) -> int | None:
    if window.step == "begun":
        return window.until_us or None
    return window.from_us - (notice_us if window.step == "planned" else 0)


# ── apply ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def derive(state: "State") -> None:
    """Close nodes as the windows say; runs and reservations are looked up later."""
    for window in state.maintenance.windows.values():
        for name, positions in by_pool(state, window.nodes).items():
            pool = state.pools[name]
            pool.closures.put(window.id, positions, window.span)
            if window.step == "begun":
                _close(pool, window.id, positions)


def _planned(state: "State", at: int, fact: a.MaintenancePlanned) -> None:
    nodes = nodes_in(state, fact.domain) if fact.domain else fact.nodes
    window = window_of(fact, nodes)
    state.maintenance.made += 1
    state.maintenance.windows[window.id] = window
    for name, positions in by_pool(state, nodes).items():
        state.pools[name].closures.put(window.id, positions, window.span)
        _look_again(state, name, positions)


def _advanced(state: "State", at: int, fact: a.MaintenanceAdvanced) -> None:
    if fact.step == "ended":
        _over(state, fact.window)
        return
    window = state.maintenance.windows[fact.window]
    window.step = fact.step
    if fact.step == "begun":
        for name, positions in by_pool(state, window.nodes).items():
            _close(state.pools[name], window.id, positions)


def _cancelled(state: "State", at: int, fact: a.MaintenanceCancelled) -> None:
    _over(state, fact.window)


def _close(pool: "Pool", window: str, positions: Iterable[int]) -> None:
    pool.closures.begin(window)
    for position in positions:
        pool.free.withdraw(position)
        if pool.standing is not None:
            pool.standing.timeline.touch(position)


def _over(state: "State", id: str) -> None:
    window = state.maintenance.windows.pop(id)
    for name, positions in by_pool(state, window.nodes).items():
        pool = state.pools[name]
        pool.closures.drop(id)
        for position in positions:
            node = state.nodes[pool.names[position]]
            if node.in_service and not pool.closures.down >> position & 1:
                pool.free.restore(position)
        _look_again(state, name, positions)


def _look_again(state: "State", name: str, positions: Iterable[int]) -> None:
    """The nodes close at other times than before: so do their runs end."""
    pool = state.pools[name]
    if pool.standing is None:
        return
    for position in positions:
        pool.standing.timeline.touch(position)
    nodes = {pool.names[position] for position in positions}
    for run in state.runs.values():
        if not run.stopping and any(task.node in nodes for task in run.tasks):
            pool.standing.cut(state.jobs[run.job], run)


APPLY: Final[dict[type[Fact], Callable[["State", int, Any], None]]] = {
    a.MaintenancePlanned: _planned,
    a.MaintenanceAdvanced: _advanced,
    a.MaintenanceCancelled: _cancelled,
}
