# SPDX-License-Identifier: Apache-2.0
"""Cooling of a steel plate: the two-dimensional heat equation, checked against its exact solution. Run by job.yaml.

A plate of 1 m x 1 m, its edges held at 20 °C, starts with a bump of +100 K of the form sin(pi x) sin(pi y). That
shape keeps its form and decays as exp(-2 pi^2 a t), so the error of the simulation is known exactly. Three grids, each
twice as fine as the one before, must show second order: a quarter of the error. And no heat may be lost: what
leaves through the edges equals what the plate loses. Environment: CELLS (of the coarsest grid, default 32). Exit
code 0 if both hold, else 1.
"""

import itertools
import math
import os
import sys
import time

import numpy as np

SIDE_M = 1.0
DIFFUSIVITY_M2_S = 1.2e-5  # steel, about 1 % carbon
EDGE_C = 20.0
BUMP_K = 100.0
ORDER = (1.9, 2.1)
BALANCE = 1e-9


def main() -> int:
    coarsest = int(os.environ.get("CELLS", "32"))
    end_s = 1 / (2 * math.pi**2 * DIFFUSIVITY_M2_S)  # when the bump has fallen to 1/e
    print(f"plate of {SIDE_M} m, {end_s / 60:.1f} minutes of cooling", flush=True)

    errors = []
    balances = []
    for cells in (coarsest, 2 * coarsest, 4 * coarsest):
        began = time.perf_counter()
        error_k, balance, steps = cool(cells, end_s)
        spent = time.perf_counter() - began
        print(
            f"{cells:4d} x {cells:<4d} cells, {steps:6d} steps: error {error_k:.3e} K, "
            f"heat balance off by {balance:.1e}, {spent:.2f} s",
            flush=True,
        )
        errors.append(error_k)
        balances.append(balance)

    orders = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    good = all(ORDER[0] <= order <= ORDER[1] for order in orders) and max(balances) <= BALANCE
    print("order of accuracy " + ", ".join(f"{order:.3f}" for order in orders) + " (exact theory: 2)")
    print("verified" if good else "NOT verified")
    return 0 if good else 1


def cool(cells: int, end_s: float) -> tuple[float, float, int]:
    """Explicit steps in time, five points in space.

    Returns the largest error against the exact solution in K, the relative error of the heat balance, the steps taken.
    """
    width = SIDE_M / cells
    steps = math.ceil(end_s * DIFFUSIVITY_M2_S / (0.2 * width**2))  # stable below 0.25
    ratio = DIFFUSIVITY_M2_S * (end_s / steps) / width**2
    axis = np.sin(math.pi * np.linspace(0, SIDE_M, cells + 1) / SIDE_M)
    shape = np.outer(axis, axis)
    plate = EDGE_C + BUMP_K * shape
    plate[[0, -1], :] = plate[:, [0, -1]] = EDGE_C

    inside = plate[1:-1, 1:-1]
    around = np.empty_like(inside)
    before = inside.sum()
    through_edges = 0.0
    for _ in range(steps):
        near = inside[0].sum() + inside[-1].sum() + inside[:, 0].sum() + inside[:, -1].sum()
        through_edges += ratio * (near - 4 * (cells - 1) * EDGE_C)
        np.add(plate[:-2, 1:-1], plate[2:, 1:-1], out=around)  # in place: no memory is asked for in a step
        around += plate[1:-1, :-2]
        around += plate[1:-1, 2:]
        around *= ratio
        inside *= 1 - 4 * ratio
        inside += around

    exact = EDGE_C + BUMP_K * math.exp(-2 * math.pi**2 * DIFFUSIVITY_M2_S * end_s / SIDE_M**2) * shape
    balance = abs((before - inside.sum()) - through_edges) / through_edges
    return float(np.abs(plate - exact).max()), float(balance), steps


if __name__ == "__main__":
    sys.exit(main())
