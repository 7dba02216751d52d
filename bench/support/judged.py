# SPDX-License-Identifier: Apache-2.0
"""What is made of played months: waits and completion times by size, utilisation, and whether sharing paid for every
tenant (docs/scheduling.md). Called by bench/months.py; results are plain data for JSON.
"""

from typing import Any, Final

import numpy as np

from bench.support.played import Played
from bench.support.record import Ints, Record
from leitstand.core.units import HOUR_US, SECOND_US

SIZES: Final = (("1", 1, 1), ("2-4", 2, 4), ("5-8", 5, 8), ("9+", 9, 10**9), ("all", 1, 10**9))
SHORT_US: Final = 600 * SECOND_US  # a slowdown is bounded: shorter jobs count as this long
JOBS_LEAST: Final = 100  # of a tenant that is judged
SLOWDOWN_MOST: Final = 1.02

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
    runs = np.array(played.runs, np.int64)
    spans = np.clip(runs[:, 1], first, last) - np.clip(runs[:, 0], first, last)
    whole = record.capacity * (last - first)
    busy = float((spans * (runs[:, 2] / whole)).sum())
    return busy, busy - (played.lost_gpu_us + played.restart_gpu_us) / whole


def sharing_pays(record: Record, shared: Played, alone: Played, recall_us: int) -> dict[str, Numbers]:
    """By tenant: mean completion time and mean bounded slowdown, shared and alone on its own nodes, over the jobs that
    its own nodes hold. `judged`: it has enough jobs; `pays`: it is not worse off. `apart`: jobs that its own nodes
    cannot hold, with their mean completion time in the shared fleet."""
    fits = np.ones(len(record), np.bool_)
    fits[alone.rejected] = False
    found = {}
    for number, tenant in enumerate(record.tenants):
        mine = record.tenant == number
        rows = np.flatnonzero(mine & fits)
        apart = np.flatnonzero(mine & ~fits & (shared.end_us >= 0))
        if not len(rows):
            continue
        jct_s, slowdown = _means(record, shared, rows)
        alone_s, alone_slowdown = _means(record, alone, rows)
        most_s = alone_s + recall_us / SECOND_US
        found[tenant] = {
            "jobs": len(rows),
            "jct_s": jct_s,
            "alone_jct_s": alone_s,
            "slowdown": slowdown,
            "alone_slowdown": alone_slowdown,
            "judged": len(rows) >= JOBS_LEAST,
            "pays": bool(jct_s <= most_s and slowdown <= SLOWDOWN_MOST * alone_slowdown),
            "apart": len(apart),
            "apart_jct_s": spread((shared.end_us - record.submit_us)[apart])["mean"],
        }
    return found


def _means(record: Record, played: Played, rows: Ints) -> tuple[float, float]:
    jct_us = (played.end_us - record.submit_us)[rows]
    slowdown = jct_us / np.maximum(record.duration_us[rows], SHORT_US)
    return float(jct_us.mean()) / SECOND_US, float(slowdown.mean())


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """Columns of equal width, the first to the left, numbers with separators."""
    shown = [head, *(tuple(_shown(value) for value in row) for row in rows)]
    widths = [max(len(row[column]) for row in shown) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in shown
    )


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
