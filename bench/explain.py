# SPDX-License-Identifier: Apache-2.0
"""Explanations at size: 10,000 GPUs full, 1,000 projects, 100,000 jobs waiting. What one answer costs, what a page of
100 jobs costs, and that every waiting job has exactly one reason."""

import random
import time
from collections import Counter
from typing import Any

from bench.support.steady import Cloud, World
from leitstand.core.explaining.why import REASONS, Reading, why

ASKED = 300
PAGE = 100
LIMIT_MS = 200.0


def measure(pending: int = 100_000) -> dict[str, dict[str, Any]]:
    cloud = Cloud(World(pending=pending))
    for _ in range(20):
        cloud.step()
    state, now = cloud.core.state, cloud.now
    waiting = [job for job in state.jobs.values() if job.state == "pending"]
    reading = Reading(state, now)
    counts = Counter(reading.reason(job) for job in waiting)
    alone = sum(counts[reason] for reason in REASONS)
    chosen = random.Random(1).sample(waiting, ASKED)
    wall: list[float] = []
    cpu: list[float] = []
    changes: Counter[str] = Counter()
    for job in chosen:
        begun, begun_cpu = time.perf_counter(), time.process_time()
        said = why(state, job.id, now)
        wall.append((time.perf_counter() - begun) * 1000)
        cpu.append((time.process_time() - begun_cpu) * 1000)
        changes.update(["none"] if not said.changes else {one.dimension: 1 for one in said.changes})
    begun = time.perf_counter()
    page = Reading(state, now)
    for job in chosen[:PAGE]:
        page.reason(job)
    page_ms = (time.perf_counter() - begun) * 1000
    return {
        "explain.answer_p50": _ms(_at(wall, 0.5), LIMIT_MS, cpu_ms=round(_at(cpu, 0.5), 1)),
        "explain.answer_p99": _ms(
            _at(wall, 0.99), LIMIT_MS, cpu_ms=round(_at(cpu, 0.99), 1), changes=changes
        ),
        "explain.page_of_100": _ms(page_ms, LIMIT_MS),
        "explain.jobs_without_reason": {
            "value": len(waiting) - alone,
            "unit": f"of {len(waiting)} waiting jobs",
            "target": "0",
            "ok": len(waiting) == alone and len(waiting) >= pending,
            "counts": counts,
        },
    }


def _at(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def _ms(value: float, limit: float, **more: Any) -> dict[str, Any]:
    return {"value": round(value, 1), "unit": "ms", "target": f"<= {limit:g}", "ok": value <= limit, **more}
