# SPDX-License-Identifier: Apache-2.0
"""What a study tells people, as sections of text, tables and pictures. Called by `leitstand.twin.studies.writing`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from leitstand.core.units import MINUTE_US
from leitstand.twin.page import Page, Part, Picture, Section, Table
from leitstand.twin.studies.figures import BY_NAME, WAITS, WORTH, Figure, amount, change, heading, shown
from leitstand.twin.studies.pictures import picture
from leitstand.twin.studies.study import Study
from leitstand.twin.studies.summing import Block, Found, Row

WORSE_SHOWN: Final = 10  # tenants of a rule that are named
DRAWN: Final = {
    "made": "each seed makes other jobs with the synthetic model; the interval is that of the mean over them",
    "weeks": "each seed draws whole weeks of the record again, with replacement (a block bootstrap), each copy of the "
    "tenants its own; the interval is the spread over the seeds, which is the error of what one such record shows",
    "days": "each seed draws whole days of the record again, with replacement (a block bootstrap), each copy of the "
    "tenants its own; the interval is the spread over the seeds, which is the error of what one such record shows",
    "recorded": "as recorded, once; there is no interval",
}


def told(study: Study, found: Found) -> Page:
    """The page of a study."""
    rules = ", ".join(rule.name for rule in study.rules)
    lead = (
        f"The same jobs under {len(study.rules)} rules ({rules}), put through the scheduler of the control plane in "
        f"virtual time. Differences are from the first, {study.rules[0].name}, on the same jobs."
    )
    blocks = [_of_block(study, block, number) for number, block in enumerate(found.blocks, 1)]
    return Page(study.title, lead, [_overview(found), *blocks, _assumed(study, found), _meaning(study)])


def _overview(found: Found) -> Section:
    """One line a block: what most ask first."""
    rules = [row.rule for row in found.blocks[0].rows]
    tables: list[Part] = [
        Table(
            heading(BY_NAME[name]),
            ("workload, size", *rules),
            [
                (_name(block), *(shown(BY_NAME[name], row.figures[name]) for row in block.rows))
                for block in found.blocks
            ],
        )
        for name in ("wait_mean_s", "slowdown_mean", "useful")
    ]
    return Section("At a glance", tables)


def _name(block: Block) -> str:
    return f"{block.workload}, {block.size}"


def _of_block(study: Study, block: Block, number: int) -> Section:
    seeds = f"{len(study.seeds)} seeds: " if study.seeds != (0,) else ""
    what = (
        f"{amount(block.jobs)} jobs on {block.gpus:,} GPUs, submitted within {amount(block.span_h / 24)} days; load "
        f"{block.load:.2f} (GPU time asked for, of all there is meanwhile). {seeds}{DRAWN[block.drawn]}."
    )
    parts: list[Part] = [
        what,
        Picture(
            f"study-{number}",
            picture(block),
            f"{_name(block)}: mean wait, completion time and slowdown, useful GPU time, share error and lost work by "
            "rule, with 95 % intervals; the numbers are in the tables below",
        ),
        _table("Waits, completion times (JCT) and slowdowns", block.rows, WAITS),
        _table("Use, fairness, loss and worth", block.rows, _there(block, WORTH)),
    ]
    others = [row for row in block.rows if row.against]
    if others:
        parts.append(
            _changes(f"Difference from {block.rows[0].rule}", others, _there(block, (*WAITS, *WORTH)))
        )
    if study.alone:
        parts += list(_worse(block))
    return Section(_name(block), parts)


def _there(block: Block, figures: Sequence[Figure]) -> list[Figure]:
    """Those that are known and not 0 everywhere."""
    return [
        figure
        for figure in figures
        if any((found := row.figures.get(figure.name)) and found.mean for row in block.rows)
        or (figure.name in ("worse_off", "stops", "lost_gpu_h") and figure.name in block.rows[0].figures)
    ]


def _table(caption: str, rows: Sequence[Row], figures: Sequence[Figure]) -> Table:
    return Table(
        caption,
        ("rule", *map(heading, figures)),
        [(row.rule, *(shown(figure, row.figures.get(figure.name)) for figure in figures)) for row in rows],
    )


def _changes(caption: str, rows: Sequence[Row], figures: Sequence[Figure]) -> Table:
    """Figures down, rules across: differences are long."""
    return Table(
        f"{caption}, on the same jobs; better or worse where the 95 % interval leaves out 0",
        ("figure", *(row.rule for row in rows)),
        [
            (heading(figure), *(change(figure, row.against.get(figure.name)) for row in rows))
            for figure in figures
        ],
    )


def _worse(block: Block) -> Iterator[Part]:
    """Who is worse off than alone."""
    rows = [
        (
            row.rule,
            one.tenant,
            str(one.seeds),
            amount(one.jct_s),
            amount(one.alone_jct_s),
            amount(one.slowdown),
            amount(one.alone_slowdown),
        )
        for row in block.rows
        for one in row.worse[:WORSE_SHOWN]
    ]
    if not rows:
        yield f"No tenant with 100 jobs or more is worse off than alone under any of these rules ({_judged(block)})."
        return
    head = ("rule", "tenant", "in seeds", "JCT [s]", "alone [s]", "slowdown", "slowdown alone")
    yield Table(
        f"Worse off than alone ({_judged(block)}; at most {WORSE_SHOWN} of a rule, most seeds first)",
        head,
        rows,
    )


def _judged(block: Block) -> str:
    return f"{amount(block.rows[0].judged)} tenants of a seed have jobs enough to be judged"


# ── what is assumed, and what is meant ────────────────────────────────────────────────────────────────────────────
def _assumed(study: Study, found: Found) -> Section:
    again = (
        f"`leitstand twin compare {Path(study.path).name}` makes this page again; equal files and code give equal "
        f"numbers. It took {amount(found.cpu_s)} CPU seconds of scheduling."
    )
    parts: list[Part] = [again]
    if study.energy is not None:
        parts.append(
            "**Energy**: {:g} W for a GPU, with its part of the node, while a run holds it, {:g} W while none does, "
            "times a PUE of {:g}. Source: {}.".format(*msgspec.structs.astuple(study.energy))
        )
    if study.prices is not None:
        prices = ", ".join(f"{kind} {price:g}" for kind, price in study.prices.eur_per_gpu_h.items())
        parts.append(f"**Prices** in EUR for a GPU and hour: {prices}. Source: {study.prices.source}.")
    saves = [
        f"{rule.name} (every {rule.checkpoint_us / MINUTE_US:g} min)"
        for rule in study.rules
        if rule.checkpoint_us
    ]
    said = "nobody saves: who is stopped begins again."
    if saves:
        said = f"jobs that are longer than that save under {', '.join(saves)}. Under the others {said}"
    return Section("What is assumed", [*parts, f"**Checkpoints**: {said}"])


MEANING: Final = """\
**wait**: from submission to the first start. **JCT**: from submission to the final end. **slowdown**: JCT over the \
longer of duration and 10 minutes. p50 and p99 are those of a job (nearest rank).

**used**: GPU time held by runs, of all there is between the first submission and the last; **useful**: without what \
stops lost and restarts took. The fleet is empty at first.

**share error**: the part of the GPU time used that went to others than those who deserved it, day by day. In each \
hour a tenant deserves what it asks for, and where not all can have that, parts in proportion to the nodes that it \
owns. **Jain, slowdown**: Jain's index of the tenants' mean slowdowns: 1 is all equal.

**stops**: runs that were ended for other jobs. **lost work**: what they had not saved. **moves**: runs that were \
stopped to go on elsewhere.

Each tenant owns a part of the nodes, is guaranteed as much under `fair`, and weighs as much. Jobs of which no time \
limit is known have the least of 25 usual ones (5 min to 60 d) that they keep."""

ALONE: Final = """\
**alone**: the same jobs under {}, each tenant on its own nodes only. A tenant is worse off if with all in one fleet \
its mean JCT is over that by more than R, or its mean slowdown is over 1.02 times that; with fewer than 100 jobs it is \
not judged. Jobs that its own nodes could never hold are left out."""


def _meaning(study: Study) -> Section:
    said = [*MEANING.split("\n\n"), *([ALONE.format(study.rules[0].name)] if study.alone else [])]
    return Section("What the figures mean", [*said])
