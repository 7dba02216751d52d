# SPDX-License-Identifier: Apache-2.0
"""What the figures of a study are called, in what they are counted, and which way is better. Called by what writes the
page, the pictures and the tables of a study.
"""

from typing import Final, NamedTuple

from leitstand.twin.studies.summing import Estimate

ROUNDING: Final = 1e-9  # what is less is no figure and no interval, but sums in another order


class Figure(NamedTuple):
    """`times`: from how it is kept to how it is shown. `better`: -1 less, 1 more, 0 neither."""

    name: str
    label: str
    unit: str = ""
    times: float = 1.0
    better: int = -1


WAITS: Final = (
    Figure("wait_mean_s", "wait, mean", "s"),
    Figure("wait_p50_s", "wait, p50", "s"),
    Figure("wait_p99_s", "wait, p99", "s"),
    Figure("jct_mean_s", "JCT, mean", "s"),
    Figure("jct_p50_s", "JCT, p50", "s"),
    Figure("jct_p99_s", "JCT, p99", "s"),
    Figure("slowdown_mean", "slowdown, mean"),
    Figure("slowdown_p50", "slowdown, p50"),
    Figure("slowdown_p99", "slowdown, p99"),
)
WORTH: Final = (
    Figure("used", "used", "%", 100, 0),
    Figure("useful", "useful", "%", 100, 1),
    Figure("share_error", "share error", "%", 100),
    Figure("jain_slowdown", "Jain, slowdown", "", 1, 1),
    Figure("worse_off", "worse off than alone", "tenants"),
    Figure("stops", "stops"),
    Figure("moves", "moves", "", 1, 0),
    Figure("lost_gpu_h", "lost work", "GPU-h"),
    Figure("restart_gpu_h", "restarts", "GPU-h"),
    Figure("promises_broken", "promises broken"),
    Figure("rejected", "rejected", "jobs"),
    Figure("energy_kwh", "energy", "kWh", 1, 0),
    Figure("kwh_per_useful_gpu_h", "energy per useful GPU-h", "kWh"),
    Figure("revenue_eur", "revenue", "EUR", 1, 1),
)
DRAWN: Final = (
    "wait_mean_s",
    "jct_mean_s",
    "slowdown_mean",
    "useful",
    "share_error",
    "lost_gpu_h",
)  # in pictures
BY_NAME: Final = {figure.name: figure for figure in (*WAITS, *WORTH)}


def heading(figure: Figure) -> str:
    """With its unit."""
    return f"{figure.label} [{figure.unit}]" if figure.unit else figure.label


def shown(figure: Figure, found: Estimate | None) -> str:
    """The mean and half its interval."""
    if found is None or found.mean is None:
        return "–"
    mean = amount(found.mean * figure.times)
    if found.high is None or found.high - found.mean <= ROUNDING * max(abs(found.mean), 1):
        return mean
    return f"{mean} ± {amount((found.high - found.mean) * figure.times)}"


def change(figure: Figure, found: Estimate | None) -> str:
    """A difference with its interval, and what it says if that leaves out 0: better or worse."""
    if found is None or found.mean is None:
        return "–"
    mean = f"{'+' if found.mean > ROUNDING else ''}{amount(found.mean * figure.times)}"
    if found.low is None or found.high is None or found.high - found.low <= ROUNDING:
        return mean
    said = f"{mean} ± {amount((found.high - found.mean) * figure.times)}"
    if not figure.better or found.low <= 0 <= found.high:
        return said
    return f"{said} {'better' if (found.mean > 0) == (figure.better > 0) else 'worse'}"


def amount(value: float) -> str:
    """Three digits or all whole ones."""
    if abs(value) < ROUNDING:
        return "0"
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    text = f"{value:,.{digits}f}"
    return text if float(text.replace(",", "")) else f"{value:.1g}"
