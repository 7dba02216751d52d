# SPDX-License-Identifier: Apache-2.0
"""Plots of the courses as SVG, the same bytes for the same courses. Called by the report.

Imported only when a report is written: Matplotlib takes a while to load.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from io import StringIO
from typing import Any, Final

import matplotlib as mpl
import matplotlib.dates as mdates
import numpy as np
from matplotlib.figure import Figure

from leitstand.core.units import SECOND_US
from leitstand.twin.forking.course import Played
from leitstand.twin.forking.figures import Answer

POINTS_MAX: Final = 240  # of a line
# Colours that the colour-blind can tell apart, each at least 3:1 against white.
CAPACITY, USED, WAITING = "#1b1b1b", "#2f6db5", "#c2410c"
BARS: Final = ("#6b7280", "#2f6db5", "#c2410c", "#0f766e", "#7c3aed", "#a16207", "#be185d", "#15803d")


def over_time(scenario: str, played: Sequence[Played], top: float, until_us: int) -> str:
    """Capacity, what is used and what waits, in GPUs over the time; means over the seeds. `top`: of the axis, so that
    scenarios can be compared by eye."""
    at, rows = _series([one for one in played if one.scenario == scenario], until_us)
    figure = _figure(2.5)
    axes = figure.add_subplot()
    axes.fill_between(at, rows[1], step="post", color=USED, alpha=0.35, linewidth=0)
    axes.plot(at, rows[0], drawstyle="steps-post", color=CAPACITY, linewidth=1.6, label="capacity")
    axes.plot(at, rows[1], drawstyle="steps-post", color=USED, linewidth=1.2, label="used")
    axes.plot(
        at, rows[2], drawstyle="steps-post", color=WAITING, linewidth=1.2, linestyle="--", label="waiting"
    )
    axes.set_ylim(0, top * 1.05 or 1)
    axes.set_ylabel("GPUs")
    _dated(axes)
    _plain(axes)
    return _svg(figure)


def top_of(played: Sequence[Played]) -> float:
    """The highest capacity or use of all; what waits beyond twice the capacity runs out of the plot."""
    capacity = max((hour.capacity for one in played for hour in one.hours), default=1.0)
    waiting = max((sum(hour.waiting.values()) for one in played for hour in one.hours), default=0.0)
    return max(capacity, min(waiting, 2 * capacity))


def waits(answer: Answer) -> str:
    """The mean wait of each class in each scenario, in hours."""
    figure = _figure(0.9 + 0.15 * len(answer.classes) * (len(answer.scenarios) + 1))
    axes = figure.add_subplot()
    high = 0.8 / len(answer.scenarios)
    places = np.arange(len(answer.classes), dtype=np.float64)
    for number, one in enumerate(answer.scenarios):
        found = [one.figures.get(name, {}).get("wait_s") for name in answer.classes]
        means = np.array([value.mean / 3600 if value else 0.0 for value in found])
        spread = np.array(
            [[(v.mean - v.low) / 3600, (v.high - v.mean) / 3600] if v else [0.0, 0.0] for v in found]
        ).T
        axes.barh(
            places + number * high,
            means,
            high * 0.9,
            color=BARS[number % len(BARS)],
            label=one.name,
            xerr=spread if len(one.seeds) > 1 else None,
            error_kw={"elinewidth": 1, "capsize": 2},
        )
    axes.set_yticks(places + 0.4 - high / 2, answer.classes)
    axes.invert_yaxis()
    axes.set_xlabel("mean wait in hours")
    _plain(axes)
    axes.grid(axis="x", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    return _svg(figure)


def _series(played: Sequence[Played], until_us: int) -> tuple[Any, Any]:
    """Times, and rows of capacity, used and waiting GPUs, thinned to means over equal spans of hours."""
    first = played[0].hours
    table = np.array(
        [
            [[hour.capacity, sum(hour.used.values()), sum(hour.waiting.values())] for hour in one.hours]
            for one in played
        ]
    ).mean(axis=0)
    step = -(-len(first) // POINTS_MAX)
    starts = range(0, len(first), step)
    rows = np.array([table[start : start + step].mean(axis=0) for start in starts]).T
    at = [datetime.fromtimestamp(first[start].at_us / SECOND_US, UTC) for start in starts]
    at.append(datetime.fromtimestamp(until_us / SECOND_US, UTC))
    return at, np.concatenate([rows, rows[:, -1:]], axis=1)


def _figure(high: float) -> Figure:
    return Figure(figsize=(8.4, high), layout="constrained")


def _dated(axes: Any) -> None:
    dates: Any = mdates  # without types
    locator = dates.AutoDateLocator(minticks=3, maxticks=8, tz=UTC)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=UTC))
    axes.margins(x=0)


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, frameon=False, fontsize=9)


def _svg(figure: Figure) -> str:
    """The drawing as an element of a page: text stays text, ids do not depend on the day."""
    out = StringIO()
    with mpl.rc_context({"svg.hashsalt": "leitstand", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
