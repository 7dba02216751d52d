# SPDX-License-Identifier: Apache-2.0
"""Seeded histories with elastic jobs on racks, where engines take their time: slices, failures, windows, budgets,
cancels, and a restart now and then. After every cycle nothing is sold twice and every gang has its size, level and
slices; a restored state stands as the one that went on. LEITSTAND_SEEDS=400 looks at so many histories."""

import os
import random

import msgspec
import pytest

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.jobs import Job, Run
from leitstand.core.sharing import keeping
from leitstand.core.state import Projection, State
from leitstand.core.units import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from tests.properties.test_elastic import standing_of
from tests.unit.fair_story import AT_ONCE as RULES
from tests.unit.fair_story import Cloud, owed
from tests.unit.story import cluster

SEEDS = int(os.environ.get("LEITSTAND_SEEDS", "12"))
LAST_S = 16_000  # nothing comes after that
TENANTS = ("a", "b", "c")


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_history_with_elastic_jobs_keeps_everybody_whole_and_ends(seed: int) -> None:
    told = random.Random(seed)
    made = _opened(told)
    _tell(made, told)
    seconds = 0
    while seconds < LAST_S:
        seconds += told.randint(20, 900)
        made.until(seconds)
        again = _restored(made)
        if told.random() < 0.1:
            made.core = Core(again)
    made.to_the_end()
    _all_is_over(made.core.state)


# ── what happens ──────────────────────────────────────────────────────────────────────────────────────────────────────
def _opened(told: random.Random) -> Cloud:
    core = cluster(rules=RULES, tenants=TENANTS)
    sizes = [told.choice([4, 4, 8]) for _ in range(told.randint(4, 9))]
    seen: list[f.Observation] = [f.SiteAdded("s", "simulated", logical=True, levels=("rack",), resizes=True)]
    per_rack = told.choice([2, 3])
    seen += [_node(number, size, per_rack) for number, size in enumerate(sizes)]
    room, entitled = sum(sizes), []
    for tenant in TENANTS:
        guarantee = told.randint(0, room // 2)
        room -= guarantee
        limits = {"borrow": told.choice([0, 4, 8])} if told.random() < 0.3 else {}
        limits |= {"lend": min(told.choice([0, 4]), guarantee)} if told.random() < 0.3 else {}
        entitled.append(owed(tenant, guarantee, **limits))
    seen.append(a.EntitlementsChanged("shared", tuple(entitled)))
    for tenant in TENANTS[:2]:
        if told.random() < 0.4:
            hours = told.choice([20, 60, 200])
            seen.append(a.BudgetGranted("", tenant, hours * HOUR_US, 400 * DAY_US, "grant"))
    core.cycle(0, seen)
    assert [answer for answer in core.answers if answer.refused] == []
    made = Cloud(core, stop_us=told.choice([0, 5, 30]) * SECOND_US)
    made.watch = lambda now, facts: _nothing_is_sold_twice(made.core.state)
    return made


def _node(number: int, gpus: int, per_rack: int) -> f.NodeAdded:
    return f.NodeAdded(f"n{number}", "s", gpus, 0, 0, domains=(f"r{number // per_rack}",), pool="shared")


def _tell(made: Cloud, told: random.Random) -> None:
    nodes = list(made.core.state.nodes.values())
    for _ in range(told.randint(3, 18)):
        made.at(told.randint(0, 9000), _job(told))
    for _ in range(told.randint(0, 3)):
        made.at(told.randint(60, 12_000), f.CancelJob(f"{told.choice(TENANTS)}-{told.randint(1, 5)}"))
    for _ in range(told.choice([0, 0, 1, 2])):
        lost = told.choice(nodes)
        made.at(told.randint(100, 9000), f.NodeRemoved(lost.id, failed=told.random() < 0.8))
        made.at(14_000, f.NodeAdded(lost.id, "s", lost.gpus, 0, 0, domains=lost.domains, pool="shared"))
    if told.random() < 0.3:
        from_us = told.randint(1000, 9000) * SECOND_US
        window = ("", from_us, from_us + 20 * MINUTE_US, (told.choice(nodes).id,))
        made.at(told.randint(100, 900), a.MaintenancePlanned(*window, emergency=told.random() < 0.3))


def _job(told: random.Random) -> f.SubmitJob:
    span = int(told.choice([0.2, 0.5, 1, 3]) * HOUR_US)
    common = {
        "max_duration_us": span * told.choice([1, 1, 2]),
        "expected_us": span,
        "priority": told.randint(0, 2),
        "checkpoint_every_us": told.choice([0, 10 * MINUTE_US]),
    }
    if told.random() < 0.45:
        gpus, nodes = told.choice([(1, 1), (2, 1), (4, 1), (4, 1), (8, 1), (8, 2), (12, 3)])
        level = "rack" if nodes > 1 and told.random() < 0.4 else ""
        return f.SubmitJob(told.choice(TENANTS), "default", f.Resources(gpus, nodes, level=level), **common)
    size = told.choice([1, 1, 1, 2])
    least = size * told.choice([1, 1, 2])
    shape = f.Resources(told.choice([1, 2, 4, 4]) * least, least, nodes_max=least + size * told.randint(1, 4))
    if size == 2:
        shape = msgspec.structs.replace(shape, slice_nodes=2, slice_level="rack")
    elif told.random() < 0.3:
        shape = msgspec.structs.replace(shape, level="rack")
    return f.SubmitJob(told.choice(TENANTS), "default", shape, elastic=True, **common)


# ── what holds ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _nothing_is_sold_twice(state: State) -> None:
    held: dict[str, int] = {}
    for run in state.runs.values():
        _has_its_shape(state, state.jobs[run.job], run)
        for task in (*run.tasks, *run.leaving):
            assert not held.get(task.node, 0) & task.bits, "a GPU serves two tasks"
            held[task.node] = held.get(task.node, 0) | task.bits
    pool = state.pools["shared"]
    for node in state.nodes.values():
        if node.in_service and not pool.closures.down >> node.position & 1:
            whole = (1 << node.gpus) - 1
            assert pool.free.gpus[node.position] == whole & ~held.get(node.id, 0)
    for tenant in state.tenants.values():
        assert all(budget.free >= 0 for budget in tenant.budgets)


def _has_its_shape(state: State, job: Job, run: Run) -> None:
    if not job.nodes_most:
        return
    assert job.resources.nodes <= len(run.tasks) <= job.nodes_most
    racks = [state.nodes[task.node].domains for task in run.tasks]
    together = len(racks) if job.resources.level else job.unit_nodes
    assert len(racks) % job.unit_nodes == 0
    for first in range(0, len(racks), together):
        assert len(set(racks[first : first + together])) == 1, "a level or a slice is broken"


def _restored(made: Cloud) -> State:
    """The state from its projection, which stands as that which went on."""
    state = made.core.state
    stored = msgspec.msgpack.encode(state.project())
    again = State.restore(msgspec.msgpack.decode(stored, type=Projection))
    assert again.digest() == state.digest()
    for one in (again, state):
        keeping.refresh(one, "shared", made.now)
    assert standing_of(again) == standing_of(state)
    return again


def _all_is_over(state: State) -> None:
    standing = state.pools["shared"].standing
    assert standing is not None
    assert not state.jobs
    assert not standing.tree.held
    assert not any(node.pending for node in standing.tree.nodes.values())
    assert not any(budget.reserved for tenant in state.tenants.values() for budget in tenant.budgets)
