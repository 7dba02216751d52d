# SPDX-License-Identifier: Apache-2.0
"""The configuration of a workload generator, as Kueue's performance tests have it: cohorts of queues, and for each
queue sets of workloads that are created one after the other, each so long after the last.

Called by `leitstand.twin.reading.formats` (as a trace), `leitstand.twin.cluster` (its quotas as a fleet) and the
benchmarks (as decisions). All three generations of the form are read: a bare list of cohorts, `cohorts` with one CPU
quota per queue, and `resources` by name. Topology, devices and preemption policies are checked as keys and not used.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from yaml import Node, SequenceNode

from leitstand.twin.reading.nodes import compose, entries, mapping, place, quantity_milli, text, whole
from leitstand.twin.reading.table import Form, Table, TraceError, check_rows, empty

COUNT_MAX: Final = 1_000_000
QUEUES_MAX: Final = 100_000
MS_MAX: Final = 10**12
PRIORITY_LIMIT: Final = 2**31 - 1  # int32, as Kubernetes has it
QUOTA_MAX: Final = 10**12  # thousandths
PRIORITIES_MAX: Final = 101  # different ones, as a trace has 0..100
_CPU: Final = "cpu"
NOTHING_ASKED: Final = "ask for no CPU"

_TOP: Final = ("cohorts", "topology", "resourceFlavor", "dra")
_COHORT: Final = ("className", "count", "queuesSets")
_QUEUE: Final = (
    "className", "count", "workloadsSets", "nominalQuota", "borrowingLimit", "resources", "reclaimWithinCohort",
    "withinClusterQueue", "deviceNominalQuota", "deviceBorrowingLimit",
)  # fmt: skip
_RESOURCE: Final = ("name", "nominalQuota", "borrowingLimit", "lendingLimit")
_SET: Final = ("count", "creationIntervalMs", "workloads")
_WORKLOAD: Final = (
    "className", "runtimeMs", "priority", "request", "podCount", "tasConstraint", "tasLevel", "sliceSize", "devices",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of workload. `milli`: thousandths of a CPU that all its pods ask for together."""

    kind: str
    run_ms: int
    priority: int
    milli: int
    pods: int


@dataclass(frozen=True, slots=True)
class Set:
    """`count` rounds of `workloads`, one every `every_ms`, the first after `every_ms`."""

    count: int
    every_ms: int
    workloads: tuple[Workload, ...]
    place: int  # its line


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue with its quota, in thousandths of a CPU; `borrow_milli` -1: no limit."""

    name: str
    nominal_milli: int
    borrow_milli: int
    sets: tuple[Set, ...]

    def created(self) -> Iterator[tuple[int, str, Workload, Set]]:
        """(creation in ms, name, kind, set) of every workload, set by set."""
        for index, wanted in enumerate(self.sets):
            for round_ in range(wanted.count):
                for at, workload in enumerate(wanted.workloads):
                    order = round_ * len(wanted.workloads) + at + 1
                    yield order * wanted.every_ms, f"{workload.kind}-{index}-{round_}-{at}", workload, wanted


_Queues = tuple[int, Queue]  # how many of them


@dataclass(frozen=True, slots=True)
class Cohort:
    """Queues that lend to each other, and to nobody else."""

    name: str
    queues: tuple[Queue, ...]


def read_generator(path: Path) -> list[Cohort]:
    """The cohorts of the configuration in `path`, each made `count` times; TraceError names line, key and value."""
    root = compose(path)
    if isinstance(root, SequenceNode):
        cohorts = entries(path, "cohorts", root)
    else:
        cohorts = entries(
            path, "cohorts", mapping(path, "the configuration", root, _TOP, ("cohorts",))["cohorts"]
        )
    sets = [_cohort_set(path, node) for node in cohorts]
    queues = sum(count * sum(each for each, _ in of) for _, count, of in sets)
    if not queues:
        raise TraceError(
            f"{path}: makes no queue; name at least one cohort with a set of queues, and counts over 0"
        )
    if queues > QUEUES_MAX:
        raise TraceError(f"{path}: makes {queues} queues, at most are {QUEUES_MAX}; lower a count")
    rows = (
        count * each * s.count * len(s.workloads) for _, count, of in sets for each, q in of for s in q.sets
    )
    check_rows(path, sum(rows))
    made = [
        Cohort(f"{name}-{number}", tuple(_named(of, f"{name}-{number}")))
        for name, count, of in sets
        for number in range(count)
    ]
    names = [cohort.name for cohort in made]
    if len(set(names)) < len(names):
        doubled = next(name for name in names if names.count(name) > 1)
        raise TraceError(
            f"{path}: cohort {doubled!r} is made twice; give the sets different names (className)"
        )
    return made


def _named(sets: list[_Queues], cohort: str) -> Iterator[Queue]:
    for index, (count, queue) in enumerate(sets):
        for number in range(count):
            yield replace(queue, name=f"{queue.name}-{index}-{number}-{cohort}")


def is_generator(content: Any) -> bool:
    """Whether a decoded file is such a configuration: cohorts, or a list of them."""
    if isinstance(content, list):
        return bool(content) and isinstance(content[0], dict) and "queuesSets" in content[0]
    return isinstance(content, dict) and "cohorts" in content


def read_generated(path: Path, form: Form) -> Table:
    """The workloads as jobs: the cohort is the tenant, the queue the user, one CPU is taken as one GPU.

    Places are lines of the sets. Priorities outside 0..100 are taken by their rank.
    """
    table = empty(path, "line")
    columns: dict[str, list[float]] = {name: [] for name in ("submit_s", "duration_s", "gpus", "priority")}
    ids: list[str | None] = []
    tenants: list[str | None] = []
    users: list[str | None] = []
    places: list[int] = []
    for cohort in read_generator(path):
        for queue in cohort.queues:
            for at_ms, name, workload, wanted in queue.created():
                if not workload.milli:
                    table.set_aside[NOTHING_ASKED] = table.set_aside.get(NOTHING_ASKED, 0) + 1
                    continue
                ids.append(f"{queue.name}/{name}")
                tenants.append(cohort.name)
                users.append(queue.name)
                places.append(wanted.place)
                values = (
                    at_ms / 1000,
                    workload.run_ms / 1000,
                    workload.milli / 1000,
                    float(workload.priority),
                )
                for column, value in zip(columns.values(), values, strict=True):
                    column.append(value)
    columns["priority"] = _ranked(path, columns["priority"])
    return Table(
        path,
        "line",
        np.array(places, np.int64),
        {"job_id": ids, "tenant": tenants, "user": users},
        {name: np.array(values, np.float64) for name, values in columns.items()},
        called={"gpus": "request", "duration_s": "runtimeMs", "submit_s": "creationIntervalMs"},
        set_aside=table.set_aside,
    )


def _ranked(path: Path, priorities: list[float]) -> list[float]:
    """The priorities as they are, or, if they do not lie in 0..100, the rank of each."""
    different = sorted(set(priorities))
    if not different or (different[0] >= 0 and different[-1] < PRIORITIES_MAX):
        return priorities
    if len(different) > PRIORITIES_MAX:
        raise TraceError(
            f"{path}: has {len(different)} different priorities, a trace has at most {PRIORITIES_MAX}"
        )
    rank = {priority: float(number) for number, priority in enumerate(different)}
    return [rank[priority] for priority in priorities]


# ── the keys ──────────────────────────────────────────────────────────────────────────────────────────────────────
def _cohort_set(path: Path, node: Node) -> tuple[str, int, list[_Queues]]:
    """Name, count, and the sets of queues that each of them has."""
    keys = mapping(path, "a cohort", node, _COHORT, ("className", "queuesSets"))
    sets = entries(path, "queuesSets", keys["queuesSets"])
    return (
        text(path, "className", keys["className"]),
        _count(path, keys),
        [_queue_set(path, each) for each in sets],
    )


def _queue_set(path: Path, node: Node) -> _Queues:
    keys = mapping(path, "a set of queues", node, _QUEUE, ("className", "workloadsSets"))
    nominal, borrow = _quota(path, keys, node)
    sets = tuple(_set(path, each) for each in entries(path, "workloadsSets", keys["workloadsSets"]))
    return _count(path, keys), Queue(text(path, "className", keys["className"]), nominal, borrow, sets)


def _quota(path: Path, keys: dict[str, Node], node: Node) -> tuple[int, int]:
    """(nominal, borrowing limit) of the queue's CPUs; (0, 0) if its resources name none."""
    if "resources" not in keys:
        if "nominalQuota" not in keys:
            raise TraceError(
                f"{path}: {place(node)} has neither nominalQuota nor resources; give the queue a quota"
            )
        return _amount(path, "nominalQuota", keys), _amount(path, "borrowingLimit", keys)
    for each in entries(path, "resources", keys["resources"]):
        resource = mapping(path, "a resource", each, _RESOURCE, ("name",))
        if text(path, "name", resource["name"]) == _CPU:
            nominal = _amount(path, "nominalQuota", resource) if "nominalQuota" in resource else 0
            return nominal, _amount(path, "borrowingLimit", resource)
    return 0, 0


def _amount(path: Path, key: str, keys: dict[str, Node]) -> int:
    """Thousandths; -1 where it is absent or '': no limit."""
    node = keys.get(key)
    return -1 if node is None or node.value == "" else quantity_milli(path, key, node, QUOTA_MAX)


def _set(path: Path, node: Node) -> Set:
    keys = mapping(path, "a set of workloads", node, _SET, ("workloads",))
    every = 0
    if "creationIntervalMs" in keys:
        every = whole(path, "creationIntervalMs", keys["creationIntervalMs"], 0, MS_MAX)
    workloads = tuple(_workload(path, each) for each in entries(path, "workloads", keys["workloads"]))
    return Set(_count(path, keys), every, workloads, int(node.start_mark.line) + 1)


def _workload(path: Path, node: Node) -> Workload:
    keys = mapping(path, "a workload", node, _WORKLOAD, ("className", "runtimeMs"))
    pods = whole(path, "podCount", keys["podCount"], 0, COUNT_MAX) or 1 if "podCount" in keys else 1
    priority = (
        whole(path, "priority", keys["priority"], -PRIORITY_LIMIT, PRIORITY_LIMIT)
        if "priority" in keys
        else 0
    )
    return Workload(
        text(path, "className", keys["className"]),
        whole(path, "runtimeMs", keys["runtimeMs"], 0, MS_MAX),
        priority,
        pods * max(_amount(path, "request", keys), 0),
        pods,
    )


def _count(path: Path, keys: dict[str, Node]) -> int:
    """How often; in the form's own default not at all, here once."""
    return whole(path, "count", keys["count"], 0, COUNT_MAX) if "count" in keys else 1
