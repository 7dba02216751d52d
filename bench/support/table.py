# SPDX-License-Identifier: Apache-2.0
"""Tables of what was measured, for people. Called by benchmarks."""

from typing import Any


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
