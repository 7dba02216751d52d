# SPDX-License-Identifier: Apache-2.0
"""Draws docs/img/scheduler-cost.svg from the points that `bench/scale.py` measured: `python -m bench.support.plot`."""

import json
import math
from pathlib import Path

from bench.kai import exponent
from bench.scale import BASE, POINTS

PICTURE = Path(__file__).parents[2] / "docs" / "img" / "scheduler-cost.svg"
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720, 420, 60, 20, 60
COLOURS = ("#1f5fa8", "#b3471d", "#2c7a3f", "#7a3f9a")
Points = list[tuple[float, float]]


def main() -> None:
    drawn: dict[str, Points] = json.loads(POINTS.read_text())
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(svg(drawn))
    print(PICTURE)


def svg(drawn: dict[str, Points]) -> str:
    """Log-log lines; x is each number in proportion to the base, y the CPU time of a cycle in ms."""
    lines = {name: [(x / getattr(BASE, name), y) for x, y in points] for name, points in drawn.items()}
    every = [point for points in lines.values() for point in points]
    low_x, high_x = _decades([x for x, _ in every])
    low_y, high_y = _decades([y for _, y in every])

    def at(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - low_x) / (high_x - low_x)
        up = (math.log10(y) - low_y) / (high_y - low_y)
        return LEFT + across * (WIDTH - LEFT - 200), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<style>text { font: 12px sans-serif }</style>",
        "<title>CPU time of a cycle against the size of the cloud</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for power in range(low_x, high_x + 1):
        (x, bottom), (_, top) = at(10**power, 10**low_y), at(10**power, 10**high_y)
        parts.append(f'<path d="M{x:.1f} {bottom:.1f}V{top:.1f}" stroke="#ccc"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">{10.0**power:g}</text>')
    for power in range(low_y, high_y + 1):
        (left, y), (right, _) = at(10**low_x, 10**power), at(10**high_x, 10**power)
        parts.append(f'<path d="M{left:.1f} {y:.1f}H{right:.1f}" stroke="#ccc"/>')
        parts.append(f'<text x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    for number, (name, points) in enumerate(lines.items()):
        colour = COLOURS[number]
        placed = [at(x, y) for x, y in points]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in placed)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in placed]
        said = f"{name} (1 = {getattr(BASE, name):,}): x^{exponent(points):.2f}"
        parts.append(f'<text x="{WIDTH - 190}" y="{TOP + 20 + 20 * number}" fill="{colour}">{said}</text>')
    parts.append(
        f'<text x="{LEFT}" y="{HEIGHT - 12}">in proportion to the base; CPU ms of a cycle, 20 starts each</text>'
    )
    return "\n".join([*parts, "</svg>", ""])


def _decades(values: list[float]) -> tuple[int, int]:
    return math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))


if __name__ == "__main__":
    main()
