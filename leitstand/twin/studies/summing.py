# SPDX-License-Identifier: Apache-2.0
"""What a study found: for each rule the mean of every figure over the seeds, with its interval, and how far it is from
the first rule on the same jobs. Called by the command after the cells are played.
"""

from collections.abc import Iterable, Sequence
from math import sqrt
from typing import Final

from msgspec import Struct

from leitstand.twin.alone import is_judged, pays
from leitstand.twin.reading.table import TraceError
from leitstand.twin.studies.cells import Cell, Judged
from leitstand.twin.studies.running import Results
from leitstand.twin.studies.study import Energy, Prices, Study, Workload

WATT_HOURS: Final = 1000  # in a kWh
# 97.5 % quantiles of Student's t, by degrees of freedom from 1 on; beyond, the first term of its expansion
T_975: Final = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
Z_975: Final = 1.959964

Figures = dict[str, float | None]


class Estimate(Struct, frozen=True):
    """The mean over the seeds and its 95 % interval; None where there is no figure, or one seed alone."""

    mean: float | None
    low: float | None = None
    high: float | None = None


class Worse(Struct, frozen=True):
    """A tenant that was worse off than alone in `seeds` of the seeds in which it had jobs enough; means over these:
    time to the end and bounded slowdown, shared and alone."""

    tenant: str
    seeds: int
    jct_s: float
    alone_jct_s: float
    slowdown: float
    alone_slowdown: float


class Row(Struct, frozen=True, kw_only=True):
    """One rule. `figures`: by name; `against`: their differences from the first rule, seed by seed; {} for that itself.
    `judged`: tenants with jobs enough to be compared with themselves alone, on average."""

    rule: str
    figures: dict[str, Estimate]
    against: dict[str, Estimate]
    judged: float
    worse: tuple[Worse, ...]
    cpu_s: float


class Block(Struct, frozen=True, kw_only=True):
    """One workload in one size under all rules. `jobs`, `load`: means over the seeds; `drawn`: how seeds make jobs:
    made | weeks | days | recorded."""

    workload: str
    size: str
    gpus: int
    jobs: float
    load: float
    span_h: float
    drawn: str
    rows: tuple[Row, ...]


class Found(Struct, frozen=True, kw_only=True):
    """The result of a study. `figures`: of every cell, with what prices and watts make of it."""

    blocks: tuple[Block, ...]
    cells: list[tuple[Cell, Judged, Figures]]
    cpu_s: float


def summed(study: Study, results: Results) -> Found:
    """All blocks in the order of the file; TraceError where a class has no price."""
    cells = [(cell, judged, completed(study, results, cell, judged)) for cell, judged in results.cells]
    blocks = [
        _block(
            study, results, [each for each in cells if each[0].workload == workload and each[0].size == size]
        )
        for workload in study.workloads
        for size in study.sizes
    ]
    spent = [judged.cpu_s for _, judged in results.cells] + [judged.cpu_s for judged in results.own.values()]
    return Found(blocks=tuple(blocks), cells=cells, cpu_s=sum(spent))


def completed(study: Study, results: Results, cell: Cell, judged: Judged) -> Figures:
    """The figures of a cell, with tenants worse off, kWh and EUR where the study says what is needed for them."""
    figures = dict(judged.figures)
    own = results.own.get((cell.workload.name, cell.size.name, cell.seed))
    if own is not None:
        figures["worse_off"] = float(len(list(_worse_off(judged, own))))
    if study.energy is not None:
        kwh = energy_kwh(study.energy, judged)
        useful = (judged.figures["useful"] or 0.0) * judged.gpus * judged.span_h
        figures["energy_kwh"] = kwh
        figures["kwh_per_useful_gpu_h"] = kwh / useful if useful else None
    if study.prices is not None:
        figures["revenue_eur"] = revenue_eur(study.prices, judged, cell.workload)
    return figures


def energy_kwh(energy: Energy, judged: Judged) -> float:
    """What the site takes between the first submission and the last: each GPU `idle_w`, `busy_w` while a run holds
    it."""
    busy = judged.gpus * (judged.figures["used"] or 0.0)
    watts = energy.busy_w * busy + energy.idle_w * (judged.gpus - busy)
    return energy.pue * watts * judged.span_h / WATT_HOURS


def revenue_eur(prices: Prices, judged: Judged, workload: Workload) -> float:
    """Used GPU-hours between the first submission and the last, at the price of their class."""
    absent = sorted(set(judged.used_gpu_h) - set(prices.eur_per_gpu_h))
    if absent:
        raise TraceError(
            f"prices says nothing of class {absent[0]}, of which workload {workload.name!r} has tenants; add its EUR "
            "per GPU-hour"
        )
    return sum(hours * prices.eur_per_gpu_h[kind] for kind, hours in judged.used_gpu_h.items())


# ── blocks ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _block(study: Study, results: Results, cells: Sequence[tuple[Cell, Judged, Figures]]) -> Block:
    workload, size = cells[0][0].workload, cells[0][0].size
    first = [figures for cell, _, figures in cells if cell.rule == study.rules[0]]
    judged = [judged for cell, judged, _ in cells if cell.rule == study.rules[0]]
    return Block(
        workload=workload.name,
        size=size.name,
        gpus=judged[0].gpus,
        jobs=_mean([one.jobs for one in judged]),
        load=_mean([one.load for one in judged]),
        span_h=_mean([one.span_h for one in judged]),
        drawn=judged[0].drawn,
        rows=tuple(
            _row(rule.name, [each for each in cells if each[0].rule == rule], first, results)
            for rule in study.rules
        ),
    )


def _row(
    name: str, cells: Sequence[tuple[Cell, Judged, Figures]], first: Sequence[Figures], results: Results
) -> Row:
    drawn_again = cells[0][1].drawn != "made"
    own = [results.own.get((cell.workload.name, cell.size.name, cell.seed)) for cell, _, _ in cells]
    pairs = [(judged, alone) for (_, judged, _), alone in zip(cells, own, strict=True) if alone is not None]
    against = {}
    for figure in cells[0][2]:
        changes = [
            _less(figures[figure], base[figure]) for (_, _, figures), base in zip(cells, first, strict=True)
        ]
        against[figure] = estimate(changes, drawn_again=drawn_again)
    return Row(
        rule=name,
        figures={
            figure: estimate([figures[figure] for _, _, figures in cells], drawn_again=drawn_again)
            for figure in cells[0][2]
        },
        against={}
        if all(figures is base for (_, _, figures), base in zip(cells, first, strict=True))
        else against,
        judged=_mean([sum(is_judged(one) for one in judged.tenants.values()) for judged, _ in pairs]),
        worse=tuple(_worse(pairs)),
        cpu_s=sum(judged.cpu_s for _, judged, _ in cells),
    )


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def estimate(values: Iterable[float | None], *, drawn_again: bool) -> Estimate:
    """The mean of one figure over seeds with its 95 % interval after Student.

    Seeds of a generator are independent: the interval is that of their mean, ± t s/√n. Seeds that draw blocks of one
    record again are a bootstrap: their spread is itself the error of what one record shows, ± t s; more seeds do not
    make the record longer.
    """
    known = [value for value in values if value is not None]
    if not known:
        return Estimate(None)
    mean, many = _mean(known), len(known)
    if many == 1:
        return Estimate(mean)
    deviation = sqrt(sum((value - mean) ** 2 for value in known) / (many - 1))
    half = t_975(many - 1) * deviation / (1 if drawn_again else sqrt(many))
    return Estimate(mean, mean - half, mean + half)


def t_975(freedom: int) -> float:
    """The 97.5 % quantile of Student's t."""
    if freedom <= len(T_975):
        return T_975[freedom - 1]
    return Z_975 + (Z_975**3 + Z_975) / (4 * freedom)


# ── tenants alone ─────────────────────────────────────────────────────────────────────────────────────────────────
def _worse_off(judged: Judged, own: Judged) -> Iterable[str]:
    """Tenants with jobs enough that were worse off than alone."""
    for tenant, alone in own.tenants.items():
        shared = judged.tenants.get(tenant)
        if shared is not None and is_judged(shared) and not pays(shared, alone, judged.recall_us):
            yield tenant


def _worse(pairs: Sequence[tuple[Judged, Judged]]) -> Iterable[Worse]:
    """Who was worse off in how many seeds, most first."""
    seeds: dict[str, int] = {}
    for judged, own in pairs:
        for tenant in _worse_off(judged, own):
            seeds[tenant] = seeds.get(tenant, 0) + 1
    for tenant in sorted(seeds, key=lambda one: (-seeds[one], one)):
        both = [
            (judged.tenants[tenant], own.tenants[tenant])
            for judged, own in pairs
            if tenant in judged.tenants and tenant in own.tenants and is_judged(judged.tenants[tenant])
        ]
        yield Worse(
            tenant,
            seeds[tenant],
            _mean([shared.jct_s for shared, _ in both]),
            _mean([alone.jct_s for _, alone in both]),
            _mean([shared.slowdown for shared, _ in both]),
            _mean([alone.slowdown for _, alone in both]),
        )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
