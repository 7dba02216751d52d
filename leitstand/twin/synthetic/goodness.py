# SPDX-License-Identifier: Apache-2.0
"""How well the synthetic workload fits: `python -m leitstand.twin.synthetic.goodness --traces DIR`.

Prints the tables of docs/workloads.md. Jobs are generated with the parameters of one recorded cluster, which were
fitted to the first part of its record, for as long as the second part; each figure is compared with that second part,
and with what the first part itself would have foretold.
"""

import argparse
import math
from pathlib import Path
from typing import Final

import numpy as np

from leitstand.twin.synthetic import recorded
from leitstand.twin.synthetic.batches import Plan, draw_jobs
from leitstand.twin.synthetic.exact import Floats, Ints, interpolate
from leitstand.twin.synthetic.fit import tilt_of
from leitstand.twin.synthetic.lengths import Lengths
from leitstand.twin.synthetic.parameters import LEVELS, Class, Kinds, Model, shipped
from leitstand.twin.synthetic.population import BURSTS, Population, by_rank
from leitstand.twin.synthetic.recorded import Jobs
from leitstand.twin.synthetic.sizes import sizes_of
from leitstand.twin.synthetic.times import bursts, weekly

SEEDS: Final = 20
UNBOUNDED_S: Final = 1e12
SIZES: Final = ((1, "1"), (2, "2–3"), (4, "4–7"), (8, "8"), (9, "9 and more"))
PERCENTILES: Final = (10, 25, 50, 75, 90, 95, 99)

Figures = dict[str, float]


def generated(model: Model, name: str, like: Jobs, seed: int) -> Jobs:
    """Jobs with the parameters of one cluster, for the hours of `like`."""
    family = model.fitted.families[name]
    hours = like.first_h % 168 + like.hours  # the generator begins on a Monday
    activity = by_rank(family.tenants, family.activity)
    people = Population(name, 0, _class_of(name), seed, activity, by_rank(10, 1.0), np.zeros(10, np.int64))
    rates = bursts(
        people.chance(BURSTS), hours, family.tenants, sigma=family.burst_sigma, memory_h=family.burst_hours
    )
    rates *= weekly(hours, model.fitted.profiles[name])[:, None] * activity
    lengths = Lengths(family.brackets, UNBOUNDED_S)
    plan = Plan(
        people,
        family,
        lengths,
        sizes_of(people, family, lengths, {}, max(family.sizes)),
        model.assumed.user_likeness,
        rates,
        hours * 3600,
    )
    jobs, _ = draw_jobs(plan, round(family.batches_per_hour * hours), model)
    first_h = like.first_h % 168
    rows = np.flatnonzero(jobs.submit_s >= first_h * 3600)
    rows = rows[np.argsort(jobs.submit_s[rows], kind="stable")]
    return Jobs(
        jobs.tenant[rows],
        jobs.submit_s[rows].astype(np.float64),
        jobs.duration_s[rows].astype(np.float64),
        jobs.gpus[rows],
        first_h,
        like.hours,
    )


def _class_of(name: str) -> Class:
    """A class of batch jobs of one family alone."""
    return Class(1.0, 0.0, 1, 10, 1.0, name, name, name, Kinds(1.0, 0.0, 0.0), {}, 0.0)


def figures(jobs: Jobs) -> Figures:
    """What is compared, by name."""
    counts = jobs.by_hour()
    gpu_s = jobs.gpus * jobs.duration_s
    order, batch = jobs.batches()
    members = np.bincount(batch)
    found: Figures = {
        "jobs per hour, mean": float(counts.mean()),
        "jobs per hour, p99": float(np.quantile(counts, 0.99)),
        "jobs per hour, variance over mean": float(counts.var() / counts.mean()),
        "jobs per hour, correlation with the next hour": _correlation(counts[:-1], counts[1:]),
        "jobs per hour, correlation with the next day": _correlation(counts[:-24], counts[24:]),
        "jobs in a batch, mean": float(members.mean()),
        "jobs in a batch, p99": float(np.quantile(members, 0.99)),
        "largest tenant, part of the jobs": float(np.bincount(jobs.tenant).max() / len(jobs.tenant)),
        "mean GPU-hours of a job": float(gpu_s.mean() / 3600),
    }
    for percent in PERCENTILES:
        found[f"duration p{percent} (s)"] = float(np.quantile(jobs.duration_s, percent / 100))
    for weights, label in ((np.ones(len(gpu_s)), "jobs"), (gpu_s, "GPU time")):
        for at, (least, said) in enumerate(SIZES):
            below = SIZES[at + 1][0] if at + 1 < len(SIZES) else math.inf
            size = (jobs.gpus >= least) & (jobs.gpus < below)
            found[f"{said} GPUs, part of the {label}"] = float(weights[size].sum() / weights.sum())
    first = np.flatnonzero(np.diff(batch, prepend=-1))
    found["tenants, how they differ in size (tilt)"] = tilt_of(
        jobs.tenant[order][first], jobs.gpus[order][first]
    )
    return found | _repeats(jobs, order)


def _repeats(jobs: Jobs, order: Ints) -> Figures:
    """How a job is like the one that its tenant submitted before."""
    tenant, gpus, seconds = jobs.tenant[order], jobs.gpus[order], np.log(jobs.duration_s[order])
    follows = np.flatnonzero(np.diff(tenant) == 0)
    near = np.abs(seconds[follows + 1] - seconds[follows]) < math.log(1.5)
    same = gpus[follows + 1] == gpus[follows]
    return {
        "same size as its tenant's job before": float(same.mean()),
        "same size, and duration within half as much": float((same & near).mean()),
        "log duration, correlation with its tenant's job before": _correlation(
            seconds[follows], seconds[follows + 1]
        ),
    }


def distances(one: Jobs, other: Jobs) -> Figures:
    """Kolmogorov–Smirnov distances of durations, and the correlation of the profiles over the day."""
    found = {
        "KS of durations, by jobs": kolmogorov_smirnov(one.duration_s, other.duration_s),
        "KS of durations, by GPU time": kolmogorov_smirnov(
            one.duration_s, other.duration_s, one.gpus * one.duration_s, other.gpus * other.duration_s
        ),
        "correlation of the day (24 hours of submissions)": _correlation(_day(one), _day(other)),
        "correlation of the day (24 hours of batches)": _correlation(_day(one, True), _day(other, True)),
    }
    for least, _ in SIZES[:4]:
        rows = [jobs.duration_s[jobs.gpus == least] for jobs in (one, other)]
        if min(map(len, rows)) >= 30:
            found[f"KS of durations, {least} GPU{'s' * (least > 1)}"] = kolmogorov_smirnov(*rows)
    return found


def kolmogorov_smirnov(
    one: Floats, other: Floats, one_weights: Floats | None = None, other_weights: Floats | None = None
) -> float:
    """The greatest difference of two distribution functions, of weighted samples."""
    points = np.unique(np.concatenate([one, other]))
    return float(np.abs(_below(one, one_weights, points) - _below(other, other_weights, points)).max())


def _below(values: Floats, weights: Floats | None, points: Floats) -> Floats:
    order = np.argsort(values)
    total = np.concatenate([[0.0], np.cumsum(np.ones(len(values)) if weights is None else weights[order])])
    part: Floats = total[np.searchsorted(values[order], points, side="right")] / total[-1]
    return part


def _day(jobs: Jobs, batches: bool = False) -> Floats:
    at = jobs.submit_s
    if batches:
        order, batch = jobs.batches()
        at = at[order][np.flatnonzero(np.diff(batch, prepend=-1))]
    return np.bincount((at // 3600).astype(np.int64) % 24, minlength=24).astype(np.float64)


def _correlation(one: Floats | Ints, other: Floats | Ints) -> float:
    if len(one) < 2 or not np.std(one) or not np.std(other):
        return math.nan
    return float(np.corrcoef(one, other)[0, 1])


# ── the tables ────────────────────────────────────────────────────────────────────────────────────────────────────
def jobs_table(folder: Path, model: Model, name: str, seeds: int) -> list[str]:
    """One cluster: first part, held-out part, generated."""
    first, held = (recorded.jobs(folder, name, part) for part in (0, 1))
    made = [generated(model, name, held, seed) for seed in range(1, seeds + 1)]
    trace = recorded.TRACES[name]
    amounts = [f"{len(jobs.submit_s):,} jobs" for jobs in (first, held)]
    lines = [
        f"### {trace.title}",
        f"{_parts(trace.licence, trace.said)}: {amounts[0]}, {amounts[1]}; {seeds} seeds.",
        "",
        "| | fitted on | held out | generated: median of seeds (least to most) | held out within |",
        "|---|---|---|---|---|",
    ]
    lines += _rows([figures(jobs) for jobs in made], figures(first), figures(held))
    lines += [
        "",
        "| distance | fitted on to held out | generated to held out | generated to fitted on |",
        "|---|---|---|---|",
    ]
    to_held, to_first = ([distances(jobs, other) for jobs in made] for other in (held, first))
    for label, value in distances(first, held).items():
        columns = [_spread([each[label] for each in found if label in each]) for found in (to_held, to_first)]
        lines.append(f"| {label} | {_said(value)} | {' | '.join(columns)} |")
    return [*lines, ""]


def _parts(licence: str, said: tuple[str, str]) -> str:
    return f"{licence}. Fitted on {said[0]}, tested on {said[1]}"


def _rows(made: list[Figures], first: Figures, held: Figures) -> list[str]:
    lines = []
    for label, value in held.items():
        values = [each[label] for each in made]
        within = "yes" if min(values) <= value <= max(values) else "**no**"
        lines.append(f"| {label} | {_said(first[label])} | {_said(value)} | {_spread(values)} | {within} |")
    return lines


def _spread(values: list[float]) -> str:
    if not values:
        return "too few jobs"
    return f"{_said(float(np.median(values)))} ({_said(min(values))} to {_said(max(values))})"


def _said(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def helios_table(folder: Path, model: Model) -> list[str]:
    """The week of Helios Venus and the concentration of Helios Earth."""
    lines = [
        f"### {recorded.HELIOS[1]}",
        f"{_parts(*recorded.HELIOS[3:])}: hours of the week, Monday first.",
        "",
        "| correlation with the held-out | of the fitted profile | of the plain means of the part fitted on |",
        "|---|---|---|",
    ]
    weeks = [_week(*recorded.helios_by_hour(folder, part)) for part in (0, 1)]
    fitted = np.array(model.fitted.profiles["helios"])
    for label, axis in (("168 hours", None), ("24 hours of the day", 0), ("7 days of the week", 1)):
        of_model, of_first, held = (
            week if axis is None else week.reshape(7, 24).mean(axis) for week in (fitted, *weeks)
        )
        lines.append(f"| {label} | {_correlation(of_model, held):.3f} | {_correlation(of_first, held):.3f} |")
    shares = recorded.earth_shares(folder, 1)
    model_shares = by_rank(len(shares), model.fitted.activities["helios_earth"])
    lines += [
        "",
        f"### {recorded.EARTH[1]}",
        f"{_parts(*recorded.EARTH[3:])}: shares of the running GPUs.",
        "",
        "| tenants | held out | model |",
        "|---|---|---|",
    ]
    for most in (1, 4, 8):
        lines.append(f"| the largest {most} | {shares[:most].sum():.3f} | {model_shares[:most].sum():.3f} |")
    return [*lines, ""]


def _week(counts: Ints, first_h: int) -> Floats:
    hour = (first_h + np.arange(len(counts))) % 168
    return np.bincount(hour, counts) / np.bincount(hour)


def requests_table(folder: Path, model: Model) -> list[str]:
    """The requests of Azure."""
    requests = model.fitted.requests
    lines = [
        f"### {recorded.AZURE[1]}",
        f"{_parts(*recorded.AZURE[3:])}.",
        "",
        "| | model | held out | KS of the model to the held-out | KS of the part fitted on |",
        "|---|---|---|---|---|",
    ]
    first, held = (recorded.azure(folder, part) for part in (0, 1))
    u = (np.arange(20_000) + 0.5) / 20_000
    for at, label, curve, mean in ((1, "tokens of context", requests.context, requests.context_mean),
                                   (2, "tokens generated", requests.generated, requests.generated_mean)):  # fmt: skip
        drawn = interpolate(u, np.array(LEVELS), np.array(curve))
        lines.append(
            f"| {label}, mean | {mean:.0f} | {held[at].mean():.0f} | {kolmogorov_smirnov(drawn, held[at]):.3f} "
            f"| {kolmogorov_smirnov(first[at], held[at]):.3f} |"
        )
    between = np.diff(held[0])
    held_cv = between.std() / between.mean()
    lines.append(
        f"| time between two, deviation over mean | {requests.arrivals_cv:.3f} | {held_cv:.3f} | | |"
    )
    return [*lines, ""]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Tables of how well the synthetic workload fits.")
    parser.add_argument("--traces", type=Path, required=True, help="folder of the traces")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    asked = parser.parse_args()
    model = shipped()
    for name in recorded.TRACES:
        print("\n".join(jobs_table(asked.traces, model, name, asked.seeds)))
    print("\n".join(helios_table(asked.traces, model) + requests_table(asked.traces, model)))


if __name__ == "__main__":
    main()
