# SPDX-License-Identifier: Apache-2.0
"""Jobs and nodes as columns: what a study plays. Who asked for how many GPUs when, for how long, and the nodes that
each tenant owns; in their own size, cut to some days, drawn again by weeks, or many times over on a larger fleet.
Called by studies and by the benchmarks of real months.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from leitstand.core.units import DAY_US, HOUR_US, MINUTE_US
from leitstand.twin.cluster import CLASS, Cluster
from leitstand.twin.traces import Ints, Trace, TraceError

WEEK_US: Final = 7 * DAY_US
# Time limits as people set them; a job of which none is known gets the least that it keeps.
LIMITS: Final = [
    *(minutes * MINUTE_US for minutes in (5, 10, 15, 30)),
    *(hours * HOUR_US for hours in (1, 2, 3, 4, 6, 8, 12, 18)),
    *(days * DAY_US for days in (1, 1.5, 2, 3, 4, 5, 7, 10, 14, 21, 30, 45, 60)),
]


@dataclass(frozen=True)
class Record:
    """Jobs by submission, times in µs from the first day on; `tenant` indexes `tenants`. `nodes`: (GPUs, owner), in
    the order of the fleet. `classes`: of the tenants, all of industry if empty. `priority`, `user` (indexes `users`,
    -1: nobody is named) and `limit_us` (0: none is known) may be None: of no job. `left_out`: jobs of tenants that
    the cluster does not name. `drawn`: how they came: recorded | weeks | days (drawn again from a record) | made."""

    name: str
    tenants: list[str]
    tenant: Ints
    submit_us: Ints
    duration_us: Ints
    gpus: Ints
    nodes: list[tuple[int, int]]
    left_out: int = 0
    drawn: str = "recorded"
    classes: list[str] = field(default_factory=list)
    priority: Ints | None = None
    user: Ints | None = None
    users: tuple[str, ...] = ()
    limit_us: Ints | None = None

    def __len__(self) -> int:
        return len(self.gpus)

    @property
    def capacity(self) -> int:
        """GPUs of all nodes."""
        return sum(gpus for gpus, _ in self.nodes)

    @property
    def span_us(self) -> tuple[int, int]:
        """From the first submission to the last."""
        return int(self.submit_us[0]), int(self.submit_us[-1])

    @property
    def load(self) -> float:
        """GPU time that is asked for, against all that there is while jobs are submitted."""
        first, last = self.span_us
        return float((self.gpus * (self.duration_us / (self.capacity * max(last - first, 1)))).sum())

    def partition(self, tenant: int) -> list[int]:
        """GPUs of the tenant's own nodes."""
        return [gpus for gpus, owner in self.nodes if owner == tenant]

    def class_of(self, tenant: int) -> str:
        """The tenant's class."""
        return self.classes[tenant] if self.classes else CLASS


def record_of(trace: Trace, cluster: Cluster, name: str) -> Record:
    """A trace on its cluster, in one fleet of the partitions of all tenants that the cluster names; TraceError if it
    names none of them."""
    tenants = list(cluster.nodes_of)
    number_of = {tenant: number for number, tenant in enumerate(tenants)}
    number = np.array([number_of.get(tenant, -1) for tenant in trace.tenants], np.int64)
    rows = np.flatnonzero(number[trace.tenant] >= 0)
    if not len(rows):
        raise TraceError(
            f"{name}: the cluster names none of the tenants of the trace; take that which goes with it"
        )
    submit_us = trace.submit_us[rows]
    return Record(
        name,
        tenants,
        number[trace.tenant][rows],
        submit_us - submit_us[0] + DAY_US,
        trace.duration_us[rows],
        trace.gpus[rows],
        [
            (cluster.gpus_per_node, owner)
            for owner, tenant in enumerate(tenants)
            for _ in range(cluster.nodes_of[tenant])
        ],
        len(trace) - len(rows),
        classes=[cluster.class_of(tenant) for tenant in tenants],
        priority=trace.priority[rows] if trace.priority.any() else None,
        user=trace.user[rows] if trace.users else None,
        users=tuple(trace.users),
        limit_us=None if trace.limit_us is None else trace.limit_us[rows],
    )


def cut(record: Record, days: float, first_day: float = 0.0) -> Record:
    """What is submitted in `days` from `first_day` on; the fleet is empty at first."""
    begin = int(record.submit_us[0] + first_day * DAY_US)
    rows = np.flatnonzero((record.submit_us >= begin) & (record.submit_us < begin + days * DAY_US))
    return replace(of_rows(record, rows), name=f"{record.name}[{days:g} d]")


def whole_blocks(record: Record, block_us: int) -> int:
    """How many days or weeks it fills; the last day need not be full."""
    first, last = record.span_us
    return (last - first + DAY_US) // block_us


def blocks_drawn(record: Record, number: int, block_us: int, draw: np.random.Generator) -> Record:
    """So many of its whole days or weeks (`block_us`), drawn with replacement: a block bootstrap. A block is what was
    submitted in it, at the same times of the day or week."""
    block = (record.submit_us - record.span_us[0]) // block_us
    drawn = draw.integers(whole_blocks(record, block_us), size=number).tolist()
    parts = [np.flatnonzero(block == chosen) for chosen in drawn]
    rows = np.concatenate(parts)
    slot = np.concatenate([np.full(len(part), at, np.int64) for at, part in enumerate(parts)])
    moved = of_rows(record, rows)
    return replace(moved, submit_us=moved.submit_us + (slot - block[rows]) * block_us)


def copies(record: Record, number: int) -> Record:
    """`number` times the tenants and jobs on the same nodes, all owners' nodes shared out by turns.

    Each copy is turned by a whole number of days within the span, so that copies do not ask for the same at the same
    time; sizes, durations and hours of the day stay as recorded, days of the week do not.
    """
    begin = int(record.submit_us[0])
    days = -(-int(record.submit_us[-1] + 1 - begin) // DAY_US)
    return together(
        [
            replace(
                record,
                submit_us=begin
                + (record.submit_us - begin + (days * one // number) * DAY_US) % (days * DAY_US),
            )
            for one in range(number)
        ]
    )


def together(parts: list[Record]) -> Record:
    """Copies of one record, whose jobs may differ, beside each other on the nodes of one; tenants `x` become `xc1`,
    `xc2`, …"""
    first, many, number = parts[0], len(parts[0].tenants), len(parts)

    def column(name: str) -> Ints | None:
        return (
            None if getattr(first, name) is None else np.concatenate([getattr(part, name) for part in parts])
        )

    whole = replace(
        first,
        name=f"{first.name}×{number}",
        tenants=[f"{tenant}c{one + 1}" for one in range(number) for tenant in first.tenants],
        tenant=np.concatenate([part.tenant + many * one for one, part in enumerate(parts)]),
        submit_us=np.concatenate([part.submit_us for part in parts]),
        duration_us=np.concatenate([part.duration_us for part in parts]),
        gpus=np.concatenate([part.gpus for part in parts]),
        left_out=first.left_out * number,
        classes=first.classes * number,
        priority=column("priority"),
        user=column("user"),
        limit_us=column("limit_us"),
    )
    return of_rows(whole, np.argsort(whole.submit_us, kind="stable"))


def on_nodes(record: Record, count_of: Mapping[int, int], owned: Ints) -> Record:
    """The record on `count_of[size]` nodes of each size. A tenant's partition has as large a part of the nodes of every
    size as it has of `owned` (nodes by tenant; largest remainder)."""
    nodes: list[tuple[int, int]] = []
    for size in sorted(count_of, reverse=True):
        exact = count_of[size] * owned / owned.sum()
        given = np.floor(exact).astype(np.int64)
        most = np.argsort(given - exact, kind="stable")[: count_of[size] - given.sum()]
        given[most] += 1
        nodes += [(size, owner) for owner, count in enumerate(given.tolist()) for _ in range(count)]
    return replace(record, nodes=nodes)


def owned_nodes(record: Record) -> Ints:
    """How many nodes each tenant has."""
    return np.bincount([owner for _, owner in record.nodes], minlength=len(record.tenants))


def limits_us(record: Record, more_us: int) -> Ints:
    """For each job its time limit, or where none is known the least of LIMITS, that is no less than its duration and
    `more_us`."""
    least = record.duration_us + more_us
    longest = np.concatenate([LIMITS, [max(int(least.max(initial=0)), int(LIMITS[-1]))]]).astype(np.int64)
    usual = longest[np.searchsorted(LIMITS, least)]
    if record.limit_us is None:
        return usual
    return np.where(record.limit_us > 0, np.maximum(record.limit_us, least), usual)


def of_rows(record: Record, rows: Ints) -> Record:
    """These of its jobs, in this order."""

    def column(name: str) -> Ints | None:
        return None if getattr(record, name) is None else getattr(record, name)[rows]

    return replace(
        record,
        tenant=record.tenant[rows],
        submit_us=record.submit_us[rows],
        duration_us=record.duration_us[rows],
        gpus=record.gpus[rows],
        priority=column("priority"),
        user=column("user"),
        limit_us=column("limit_us"),
    )
