# SPDX-License-Identifier: Apache-2.0
"""What is made of a played record: waits, completion times and slowdowns, utilisation, and whether sharing paid for
every tenant (docs/scheduling.md). Called by studies and by the benchmarks of real months; results are plain data.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from leitstand.core.units import HOUR_US, SECOND_US
from leitstand.twin.alone import Times, is_judged, pays, times_of
from leitstand.twin.studies.playing import Played
from leitstand.twin.studies.record import Record
from leitstand.twin.traces import Ints

SIZES: Final = (("1", 1, 1), ("2-4", 2, 4), ("5-8", 5, 8), ("9+", 9, 10**9), ("all", 1, 10**9))

Numbers = dict[str, Any]


def summary(record: Record, played: Played) -> Numbers:
    """Seconds waited until the first start and until the final end, by GPUs of the job; what was used and lost."""
    ended = played.end_us >= 0
    by_size = {}
    for name, least, most in SIZES:
        rows = ended & (record.gpus >= least) & (record.gpus <= most)
        by_size[name] = {
            "jobs": int(rows.sum()),
            "wait_s": spread((played.start_us - record.submit_us)[rows]),
            "jct_s": spread((played.end_us - record.submit_us)[rows]),
        }
    used, useful = utilisation(record, played)
    return {
        "by_gpus": by_size,
        "utilisation": used,
        "useful": useful,
        "evictions": dict(sorted(played.evictions.items())),
        "moves": played.moves,
        "evicted_gpus": played.evicted_gpus,
        "lost_gpu_h": played.lost_gpu_us / HOUR_US,
        "restart_gpu_h": played.restart_gpu_us / HOUR_US,
        "promises_broken": len(played.broken),
        "rejected": len(played.rejected),
        "starts": len(played.runs),
        "cycles": played.cycles,
        "cpu_s": played.cpu_s,
    }


def spread(times_us: Ints) -> Numbers:
    """Mean and nearest-rank percentiles in seconds."""
    if not len(times_us):
        return {"mean": None, "p50": None, "p99": None}
    ordered = np.sort(times_us)
    ranks = {f"p{percent}": int(ordered[-(-len(ordered) * percent // 100) - 1]) for percent in (50, 99)}
    return {"mean": float(ordered.mean()) / SECOND_US} | {name: at / SECOND_US for name, at in ranks.items()}


def utilisation(record: Record, played: Played) -> tuple[float, float]:
    """GPU time that was used against what there was, from the first submission to the last; and without what was lost
    or spent on restarts, whenever that was."""
    first, last = record.span_us
    whole = record.capacity * max(last - first, 1)
    row, spans = _in_span(record, played)
    busy = float((spans * (record.gpus[row] / whole)).sum())
    return busy, busy - (played.lost_gpu_us + played.restart_gpu_us) / whole


def used_gpu_hours(record: Record, played: Played) -> dict[str, float]:
    """By class of the tenants, what was used from the first submission to the last, as it is metered: what a stop lost
    is in it."""
    row, spans = _in_span(record, played)
    used = np.bincount(record.tenant[row], spans * (record.gpus[row] / HOUR_US), len(record.tenants))
    by_class: dict[str, float] = {}
    for tenant, hours in enumerate(used.tolist()):
        by_class[record.class_of(tenant)] = by_class.get(record.class_of(tenant), 0.0) + hours
    return by_class


def tenant_times(record: Record, played: Played, apart: Sequence[int] = ()) -> dict[str, Times]:
    """By tenant that has any, over its jobs but those `apart`."""
    over = played.end_us >= 0
    over[list(apart)] = False
    jct_us = played.end_us - record.submit_us
    found = {}
    for number, tenant in enumerate(record.tenants):
        rows = np.flatnonzero(over & (record.tenant == number))
        times = times_of(jct_us[rows], record.duration_us[rows])
        if times is not None:
            found[tenant] = times
    return found


def sharing_pays(record: Record, shared: Played, alone: Played, recall_us: int) -> dict[str, Numbers]:
    """By tenant: mean completion time and mean bounded slowdown, shared and alone on its own nodes, over the jobs that
    its own nodes hold. `judged`: it has enough jobs; `pays`: it is not worse off. `apart`: jobs that its own nodes
    cannot hold, with their mean completion time in the shared fleet."""
    together = tenant_times(record, shared, alone.rejected)
    found = {}
    for tenant, own in tenant_times(record, alone).items():
        mine = [row for row in alone.rejected if record.tenants[record.tenant[row]] == tenant]
        ended = [row for row in mine if shared.end_us[row] >= 0]
        both = together[tenant]
        found[tenant] = {
            "jobs": both.jobs,
            "jct_s": both.jct_s,
            "alone_jct_s": own.jct_s,
            "slowdown": both.slowdown,
            "alone_slowdown": own.slowdown,
            "judged": is_judged(both),
            "pays": pays(both, own, recall_us),
            "apart": len(ended),
            "apart_jct_s": spread((shared.end_us - record.submit_us)[ended])["mean"],
        }
    return found


def _in_span(record: Record, played: Played) -> tuple[Ints, Ints]:
    """The rows of all runs, and how long each ran (µs) between the first submission and the last."""
    first, last = record.span_us
    runs = np.array(played.runs, np.int64).reshape(-1, 3)
    return runs[:, 0], np.clip(runs[:, 2], first, last) - np.clip(runs[:, 1], first, last)
