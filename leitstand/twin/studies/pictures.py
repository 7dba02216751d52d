# SPDX-License-Identifier: Apache-2.0
"""Pictures of a study as SVG: each figure of a block by rule, with its interval. Called by
`leitstand.twin.studies.telling`. Equal results give equal bytes.
"""

from io import StringIO
from typing import Any, Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from leitstand.twin.studies.figures import BY_NAME, DRAWN, Figure, heading
from leitstand.twin.studies.summing import Block

COLOURS: Final = ("#1f5fa8", "#b3471d", "#2c7a3f", "#7a3f9a", "#8a6d00", "#00707a")
COLUMNS: Final = 3
INK: Final = "#222222"
STYLE: Final[Any] = {
    "svg.hashsalt": "leitstand",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
}


def picture(block: Block) -> str:
    """Small plots, one for each figure of DRAWN: a point for each rule, its bar the 95 % interval."""
    rows = -(-len(DRAWN) // COLUMNS)
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(9.6, rows * (0.95 + 0.3 * len(block.rows))), layout="constrained")
        plots = canvas.subplots(rows, COLUMNS, sharey=True, squeeze=False)
        for plot, name in zip(plots.flat, DRAWN, strict=True):
            _draw(plot, block, BY_NAME[name])
        text = StringIO()
        canvas.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return "\n".join(line.rstrip() for line in svg[svg.index("<svg") :].splitlines()) + "\n"


def _draw(plot: Axes, block: Block, figure: Figure) -> None:
    farthest = 0.0
    for at, row in enumerate(block.rows):
        found, colour = row.figures[figure.name], COLOURS[at % len(COLOURS)]
        if found.mean is None:
            continue
        mean = found.mean * figure.times
        plot.plot([mean], [at], "o", color=colour, markersize=5)
        farthest = max(farthest, mean if found.high is None else found.high * figure.times)
        if found.low is not None and found.high is not None:
            ends = [max(found.low, 0.0) * figure.times, found.high * figure.times]
            plot.plot(ends, [at, at], color=colour, linewidth=2, solid_capstyle="butt")
    plot.set_yticks(range(len(block.rows)), [row.rule for row in block.rows])
    plot.set_ylim(len(block.rows) - 0.5, -0.5)
    plot.set_title(heading(figure), fontsize=9, color=INK, loc="left")
    plot.set_xlim(0, 1.06 * farthest or 1)
    plot.locator_params(axis="x", nbins=4)
    plot.xaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:,.6g}"))
    plot.grid(axis="x", color="#dddddd", linewidth=0.6)
    plot.set_axisbelow(True)
    plot.tick_params(colors=INK, length=2)
    for side in ("top", "right"):
        plot.spines[side].set_visible(False)
