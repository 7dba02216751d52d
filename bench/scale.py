# SPDX-License-Identifier: Apache-2.0
"""How many decisions a second of CPU time holds, and what a cycle costs, in a cloud of 10,000 and of 40,000 GPUs under
contention (`bench/support/steady.py`); and how that grows with what waits, nodes, projects and what runs.

The points of the curve go to build/scheduler-cost.json; `python -m bench.support.plot` draws them.
"""

import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.kai import exponent
from bench.support.steady import Cloud, Cycle, World

CLOUDS = (
    World(1_250, 1_000, 10_000),
    World(5_000, 1_000, 10_000),
    World(1_250, 1_000, 100_000),
    World(5_000, 1_000, 100_000),
)
# The curve: one number varies, the others stay. At the base 20 jobs start in a cycle.
BASE = World(nodes=1_250, projects=200, pending=5_000, running=1_500, starts_per_s=400)
VARIED: dict[str, tuple[int, ...]] = {
    "pending": (1_000, 3_000, 10_000, 30_000),
    "nodes": (400, 1_250, 2_500, 5_000),
    "projects": (40, 200, 1_000, 2_000),
    "running": (500, 1_500, 4_000, 8_000),
}
WARM_S = 8.0  # CPU seconds of cycles before anything counts,
MEASURED_S = 12.0  # and while it does,
POINT_S = 2.0  # a third and two thirds of it for a point of the curve
CYCLES_MAX = 400
POINTS = Path(__file__).parents[1] / "build" / "scheduler-cost.json"

Figures = dict[str, dict[str, Any]]


def measure() -> Figures:
    figures: Figures = {}
    for world in CLOUDS:
        name = f"scale.{world.nodes}_nodes_{world.pending}_pending"
        figures |= _judge(name, run(world, WARM_S, MEASURED_S))
    return figures | _curve()


def run(world: World, warm_s: float, measured_s: float) -> list[Cycle]:
    """Cycles of a steady state, as many as these CPU seconds hold."""
    cloud = Cloud(world)
    cycles: list[Cycle] = []
    for limit_s in (warm_s, measured_s):
        spent_s = 0.0
        cycles.clear()
        while spent_s < limit_s and len(cycles) < CYCLES_MAX:
            cycles.append(cloud.step())
            spent_s += cycles[-1].cpu_s
    return cycles


def _judge(name: str, cycles: list[Cycle]) -> Figures:
    spent = sorted(cycle.cpu_s for cycle in cycles)
    rate = sum(cycle.starts for cycle in cycles) / sum(spent)
    p99_ms = 1000 * spent[len(spent) * 99 // 100]
    ticks = [cycle.cpu_s for cycle in cycles if cycle.ticked]
    more = {
        "cycles": len(cycles),
        "p50_ms": round(1000 * statistics.median(spent), 1),
        "max_ms": round(1000 * spent[-1], 1),
        "ticks_ms": [round(1000 * one, 1) for one in ticks],
        "stops": sum(cycle.stops for cycle in cycles),
        "reservations": sum(cycle.reserved for cycle in cycles),
    }
    return {
        f"{name}.starts": {"value": round(rate), "unit": "1/CPU s", "target": ">= 1000", "ok": rate >= 1000},
        f"{name}.cycle_p99": {
            "value": round(p99_ms, 1),
            "unit": "CPU ms",
            "target": "<= 100",
            "ok": p99_ms <= 100,
            **more,
        },
    }


def _curve() -> Figures:
    """The cost of a cycle against each number, and the exponent of its growth."""
    figures: Figures = {}
    drawn: dict[str, list[tuple[int, float]]] = {}
    for varied, values in VARIED.items():
        points = []
        for value in values:
            world = replace(BASE, **{varied: value})  # type: ignore[arg-type]
            cycles = run(world, POINT_S / 2, POINT_S)
            points.append((value, 1000 * sum(cycle.cpu_s for cycle in cycles) / len(cycles)))
        drawn[varied] = points
        figures[f"scale.cycle_by_{varied}"] = {
            "value": round(exponent(points), 2),
            "unit": "exponent",
            "target": "",
            "ok": True,
            "points_ms": [[value, round(cost, 2)] for value, cost in points],
        }
    POINTS.parent.mkdir(exist_ok=True)
    POINTS.write_text(json.dumps(drawn) + "\n")
    return figures
