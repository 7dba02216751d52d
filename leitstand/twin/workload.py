# SPDX-License-Identifier: Apache-2.0
"""What a trace holds, in numbers, so that a person sees whether it was read as it was meant. Called by the CLI.

Everything is counted over the jobs that a replay would submit; quantiles are values of jobs (nearest rank).
"""

from typing import Final

import msgspec
import numpy as np

from leitstand.core.units import HOUR_US, SECOND_US
from leitstand.twin.traces import Ints, Trace

QUANTILES: Final = (50, 90, 99, 100)


class Quantiles(msgspec.Struct, frozen=True):
    """Of a column: mean, and the least values that 50, 90 and 99 % do not exceed; the greatest."""

    mean: float
    p50: float
    p90: float
    p99: float
    greatest: float


class TenantWorkload(msgspec.Struct, frozen=True):
    """The jobs of one tenant. `gpu_h`: GPU-hours that they took."""

    jobs: int
    users: int
    gpu_h: float
    largest: int


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """A trace in numbers.

    `first_s`, `last_s`: the first and the last submission, in the trace's own time; `span_h` between them.
    `mean_gpus`: GPU-hours over the span: how many GPUs it would keep busy. `one_gpu`: the share of jobs with one GPU.
    `limited`: jobs whose time limit is known. `per_hour`: submissions in each hour from the first on.
    `unsorted`, `dropped`, `dropped_why`, `set_aside`: as in `traces.Trace`.
    """

    trace: str
    jobs: int
    tenants: int
    users: int
    first_s: float
    last_s: float
    span_h: float
    gpu_h: float
    mean_gpus: float | None
    one_gpu: float
    limited: int
    gpus: Quantiles
    duration_s: Quantiles
    per_hour: Quantiles
    per_tenant: dict[str, TenantWorkload]
    unsorted: int
    dropped: int
    dropped_why: tuple[str, ...]
    set_aside: dict[str, int]


def describe(trace: Trace) -> Workload:
    """The numbers of `trace`, which holds at least one job."""
    first_us, last_us = int(trace.submit_us[0]), int(trace.submit_us[-1])
    gpu_h = _gpu_h(trace.duration_us, trace.gpus)
    span_h = (last_us - first_us) / HOUR_US
    arrivals = np.unique((trace.submit_us - first_us) // HOUR_US, return_counts=True)[1].tolist()
    hours = (last_us - first_us) // HOUR_US + 1
    return Workload(
        trace=trace.name,
        jobs=len(trace),
        tenants=len(trace.tenants),
        users=len(trace.users),
        first_s=first_us / SECOND_US,
        last_s=last_us / SECOND_US,
        span_h=span_h,
        gpu_h=gpu_h,
        mean_gpus=gpu_h / span_h if span_h else None,
        one_gpu=float(np.count_nonzero(trace.gpus == 1) / len(trace)),
        limited=0 if trace.limit_us is None else int(np.count_nonzero(trace.limit_us)),
        gpus=_quantiles(np.sort(trace.gpus).tolist(), len(trace)),
        duration_s=_quantiles((np.sort(trace.duration_us) / SECOND_US).tolist(), len(trace)),
        per_hour=_quantiles(sorted(arrivals), hours),
        per_tenant=_per_tenant(trace),
        unsorted=trace.unsorted,
        dropped=trace.dropped,
        dropped_why=trace.dropped_why,
        set_aside=trace.set_aside,
    )


def _per_tenant(trace: Trace) -> dict[str, TenantWorkload]:
    """Tenants by name."""
    order = np.argsort(trace.tenant, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(trace.tenant, minlength=len(trace.tenants)))[:-1])
    found = {
        trace.tenants[code]: TenantWorkload(
            len(rows),
            int(np.count_nonzero(np.unique(trace.user[rows]) >= 0)),
            _gpu_h(trace.duration_us[rows], trace.gpus[rows]),
            int(trace.gpus[rows].max()),
        )
        for code, rows in enumerate(parts)
    }
    return dict(sorted(found.items()))


def _gpu_h(duration_us: Ints, gpus: Ints) -> float:
    """GPU-hours; a sum of products can be more than 64 bits hold, hence floats."""
    return float(np.dot(duration_us / HOUR_US, gpus.astype(np.float64)))


def _quantiles(ordered: list[float], count: int) -> Quantiles:
    """Of `count` values, of which `ordered` are the last and all before them 0."""
    zeros = count - len(ordered)

    def rank(percent: int) -> float:
        index = -(-count * percent // 100) - 1 - zeros
        return ordered[index] if index >= 0 else 0.0

    return Quantiles(sum(ordered) / count, *map(rank, QUANTILES))
