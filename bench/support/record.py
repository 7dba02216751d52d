# SPDX-License-Identifier: Apache-2.0
"""Recorded months as columns: who asked for how many GPUs when, for how long, and the nodes that each tenant owns; in
their own size, cut to some days, or as many copies of them as a real inventory holds. Called by bench/months.py.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from leitstand.core.units import DAY_US, HOUR_US, MINUTE_US
from leitstand.twin.cluster import read_cluster
from leitstand.twin.traces import read_trace

Ints = npt.NDArray[np.int64]

TRACES: Final = Path(__file__).resolve().parents[3] / "shared" / "traces"
FILES: Final = {
    "philly": ("philly_2017_sep_oct.parquet", "philly_tight60.cluster.json"),
    "itp": ("itp_2021_c1_3_5_7_9_10.parquet", "itp_2021_c1_3_5_7_9_10.cluster.json"),
}
INVENTORY: Final = "alibaba_spot_2026_nodes.parquet"
# Time limits as people set them; a job gets the least that it keeps.
LIMITS: Final = [
    *(minutes * MINUTE_US for minutes in (5, 10, 15, 30)),
    *(hours * HOUR_US for hours in (1, 2, 3, 4, 6, 8, 12, 18)),
    *(days * DAY_US for days in (1, 1.5, 2, 3, 4, 5, 7, 10, 14, 21, 30, 45, 60)),
]


@dataclass(frozen=True)
class Record:
    """Jobs by submission, times in µs from the first day on; `tenant` indexes `tenants`. `nodes`: (GPUs, owner), in
    the order of the fleet. `left_out`: jobs of tenants that the cluster does not name."""

    name: str
    tenants: list[str]
    tenant: Ints
    submit_us: Ints
    duration_us: Ints
    gpus: Ints
    nodes: list[tuple[int, int]]
    left_out: int = 0

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
        return float((self.gpus * (self.duration_us / (self.capacity * (last - first)))).sum())

    def partition(self, tenant: int) -> list[int]:
        """GPUs of the tenant's own nodes."""
        return [gpus for gpus, owner in self.nodes if owner == tenant]


def absent() -> str:
    """Which of the recorded files are not there; '' for none."""
    names = [*(name for files in FILES.values() for name in files), INVENTORY]
    missing = [name for name in names if not (TRACES / name).exists()]
    return f"the recorded traces are absent: {', '.join(missing)}" if missing else ""


def recorded(name: str) -> Record:
    """The months of `name` (philly, itp) on their own cluster, in one fleet of the partitions of all."""
    trace_file, cluster_file = FILES[name]
    trace, cluster = read_trace(TRACES / trace_file), read_cluster(TRACES / cluster_file)
    tenants = list(cluster.nodes_of)
    number = np.array([tenants.index(one) if one in cluster.nodes_of else -1 for one in trace.tenants])
    rows = np.flatnonzero(number[trace.tenant] >= 0)
    submit_us = trace.submit_us[rows]
    nodes = [
        (cluster.gpus_per_node, owner)
        for owner, one in enumerate(tenants)
        for _ in range(cluster.nodes_of[one])
    ]
    return Record(
        name,
        tenants,
        number[trace.tenant][rows],
        submit_us - submit_us[0] + DAY_US,
        trace.duration_us[rows],
        trace.gpus[rows],
        nodes,
        len(trace) - len(rows),
    )


def cut(record: Record, days: float, first_day: float = 0.0) -> Record:
    """What is submitted in `days` from `first_day` on; the fleet is empty at first."""
    begin = int(record.submit_us[0] + first_day * DAY_US)
    rows = np.flatnonzero((record.submit_us >= begin) & (record.submit_us < begin + days * DAY_US))
    return replace(_rows(record, rows), name=f"{record.name}[{days:g} d]")


def copies(record: Record, number: int) -> Record:
    """`number` times the tenants and jobs on the same nodes, all owners' nodes shared out by turns.

    Each copy is turned by a whole number of days within the span, so that copies do not ask for the same at the same
    time; sizes, durations and hours of the day stay as recorded, days of the week do not.
    """
    begin = int(record.submit_us[0])
    days = -(-int(record.submit_us[-1] + 1 - begin) // DAY_US)
    turned = [
        begin + (record.submit_us - begin + (days * one // number) * DAY_US) % (days * DAY_US)
        for one in range(number)
    ]
    many = len(record.tenants)
    whole = Record(
        f"{record.name}×{number}",
        [f"{tenant}c{one + 1}" for one in range(number) for tenant in record.tenants],
        np.concatenate([record.tenant + many * one for one in range(number)]),
        np.concatenate(turned),
        np.tile(record.duration_us, number),
        np.tile(record.gpus, number),
        record.nodes,
        record.left_out * number,
    )
    return _rows(whole, np.argsort(whole.submit_us, kind="stable"))


def on_inventory(record: Record) -> Record:
    """As many copies of the record as the real inventory holds, on its nodes.

    A tenant's partition has as large a part of the nodes of every size as it has of the recorded cluster (largest
    remainder). GPU models are not looked at: recorded jobs name none.
    """
    sizes = pq.read_table(TRACES / INVENTORY, columns=["gpu_capacity_num"])[0].to_pylist()
    number = sum(sizes) // record.capacity
    owned = np.bincount([owner for _, owner in record.nodes], minlength=len(record.tenants))
    parts = np.tile(owned, number)
    nodes: list[tuple[int, int]] = []
    for size in sorted(set(sizes), reverse=True):
        exact = sizes.count(size) * parts / parts.sum()
        given = np.floor(exact).astype(np.int64)
        most = np.argsort(given - exact, kind="stable")[: sizes.count(size) - given.sum()]
        given[most] += 1
        nodes += [(size, owner) for owner, count in enumerate(given.tolist()) for _ in range(count)]
    return replace(copies(record, number), name=f"{record.name} on {sum(sizes):,} GPUs", nodes=nodes)


def limits_us(record: Record, more_us: int) -> Ints:
    """For each job the least of LIMITS that is no less than its duration and `more_us`."""
    return np.array(LIMITS, np.int64)[np.searchsorted(LIMITS, record.duration_us + more_us)]


def _rows(record: Record, rows: Ints) -> Record:
    return replace(
        record,
        tenant=record.tenant[rows],
        submit_us=record.submit_us[rows],
        duration_us=record.duration_us[rows],
        gpus=record.gpus[rows],
    )
