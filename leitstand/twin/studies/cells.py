# SPDX-License-Identifier: Apache-2.0
"""The cells of a study: one workload in one size under one rule with one seed, played and judged. Called by
`leitstand.twin.studies.running`, each in a process of its own.

A cell that was played is kept as a file that is named after all that it depends on: what was asked, the contents of
the files, the code that decides. So a study that was cut short goes on, and nothing old is taken for new.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct

import leitstand
from leitstand.core.units import DAY_US, HOUR_US
from leitstand.twin.alone import Times, slowdowns
from leitstand.twin.cluster import Cluster, read_cluster
from leitstand.twin.reading.table import TraceError
from leitstand.twin.studies.fairness import jain, share_error
from leitstand.twin.studies.judging import spread, tenant_times, used_gpu_hours, utilisation
from leitstand.twin.studies.playing import Plan, Played, Progress, play, rules_of
from leitstand.twin.studies.record import (
    WEEK_US,
    Record,
    blocks_drawn,
    copies,
    cut,
    on_nodes,
    owned_nodes,
    record_of,
    together,
    whole_blocks,
)
from leitstand.twin.studies.study import Rule, Size, Study, Workload
from leitstand.twin.synthetic.generate import generate
from leitstand.twin.synthetic.replayable import cluster_of, trace_of
from leitstand.twin.traces import read_trace

WEEK_DAYS: Final = 7
BLOCKS_LEAST: Final = 4  # of a record that others are drawn from
# What decides what comes of a cell; how it is told may change.
CODE: Final = (
    "core", "engines", "runtime", "twin/reading", "twin/synthetic", "twin/alone.py", "twin/cluster.py",
    "twin/traces.py", "twin/studies/cells.py", "twin/studies/fairness.py", "twin/studies/judging.py",
    "twin/studies/playing.py", "twin/studies/record.py",
)  # fmt: skip


class Cell(Struct, frozen=True, kw_only=True):
    """One of the grid. `own`: each tenant alone on its own nodes, to compare with; `apart`: the rows of jobs that these
    could never hold, which no comparison counts; None: nothing is compared."""

    workload: Workload
    size: Size
    rule: Rule
    seed: int
    own: bool = False
    apart: tuple[int, ...] | None = None

    @property
    def says(self) -> str:
        """For people."""
        seed = f", seed {self.seed}" if self.seed else ""
        return (
            f"{self.workload.name}, {self.size.name}, {self.rule.name}{seed}{', alone' if self.own else ''}"
        )


class Judged(Struct, frozen=True, kw_only=True):
    """What came of a cell. `drawn`: how its jobs came, see `Record`. `figures`: by name, see docs/twin.md.
    `used_gpu_h`: by tenant class, between the first submission and the last, `span_h` apart, of `gpus` × `span_h` that
    there were. `tenants`: over the jobs that their own nodes hold, where something is compared. `rejected`: rows.
    `recall_us`: R."""

    drawn: str
    jobs: int
    gpus: int
    load: float
    span_h: float
    figures: dict[str, float | None]
    used_gpu_h: dict[str, float]
    tenants: dict[str, Times]
    rejected: tuple[int, ...]
    recall_us: int
    cpu_s: float


def grid(study: Study) -> Iterator[Cell]:
    """All cells but those of the tenants alone, in the order of the file."""
    for workload in study.workloads:
        for size in study.sizes:
            for seed in study.seeds:
                for rule in study.rules:
                    yield Cell(workload=workload, size=size, rule=rule, seed=seed)


def alone_of(study: Study, cell: Cell) -> Cell:
    """The cell that it is compared with: each tenant alone, under the first rule."""
    return msgspec.structs.replace(cell, rule=study.rules[0], own=True, apart=None)


# ── kept ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def place_of(cell: Cell, folder: Path) -> Path:
    """The file in which the cell is kept."""
    asked = msgspec.structs.replace(
        cell.workload, trace="", cluster=""
    )  # what they hold counts, not where they are
    cell_asked = msgspec.structs.replace(cell, workload=asked)
    depends = hashlib.sha256(msgspec.json.encode([cell_asked, code_digest()], order="sorted"))
    for path in filter(None, (cell.workload.trace, cell.workload.cluster)):
        depends.update(file_digest(path).encode())
    return folder / f"{depends.hexdigest()[:32]}.json"


def kept(path: Path) -> Judged | None:
    """What came of it before; None if it was not played, or the file is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Judged)
    except (OSError, msgspec.DecodeError):
        return None


def keep(path: Path, judged: Judged) -> None:
    """Whole or not at all."""
    part = path.with_suffix(".new")
    part.write_bytes(msgspec.json.encode(judged))
    part.replace(path)


@cache
def code_digest() -> str:
    """Of the code that decides what comes of a cell."""
    digest, root = hashlib.sha256(), Path(leitstand.__file__).parent
    for name in CODE:
        for path in sorted((root / name).rglob("*")) or [root / name]:
            if path.suffix in (".py", ".json", ".yaml"):
                digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@cache
def file_digest(path: str) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ── played ────────────────────────────────────────────────────────────────────────────────────────────────────────
def played(cell: Cell, progress: Progress | None = None) -> Judged:
    """Play the cell and judge it; TraceError for files and rules that cannot be used."""
    record = record_for(cell.workload, cell.size, cell.seed)
    plan = Plan(static=cell.own, checkpoint_us=cell.rule.checkpoint_us, changes=cell.rule.changes)
    came = play(record, plan, progress=progress)
    first, last = record.span_us
    compared = cell.own or cell.apart is not None
    return Judged(
        drawn=record.drawn,
        jobs=len(record),
        gpus=record.capacity,
        load=record.load,
        span_h=(last - first) / HOUR_US,
        figures=figures(record, came),
        used_gpu_h=used_gpu_hours(record, came),
        tenants=tenant_times(record, came, cell.apart or ()) if compared else {},
        rejected=tuple(came.rejected),
        recall_us=rules_of(record, plan).sharing.recall_us,
        cpu_s=came.cpu_s,
    )


def figures(record: Record, came: Played) -> dict[str, float | None]:
    """All that is said of a cell without prices and watts."""
    ended = came.end_us >= 0
    wait = spread((came.start_us - record.submit_us)[ended])
    jct_us = (came.end_us - record.submit_us)[ended]
    jct = spread(jct_us)
    slow = np.sort(slowdowns(jct_us, record.duration_us[ended]))
    by_tenant = np.array([one.slowdown for one in tenant_times(record, came).values()])
    used, useful = utilisation(record, came)
    return {
        **{f"wait_{part}_s": value for part, value in wait.items()},
        **{f"jct_{part}_s": value for part, value in jct.items()},
        "slowdown_mean": float(slow.mean()) if len(slow) else None,
        "slowdown_p50": _rank(slow, 50),
        "slowdown_p99": _rank(slow, 99),
        "used": used,
        "useful": useful,
        "share_error": share_error(record, came),
        "jain_slowdown": jain(by_tenant),
        "stops": float(sum(came.evictions.values())),
        "moves": float(came.moves),
        "lost_gpu_h": came.lost_gpu_us / HOUR_US,
        "restart_gpu_h": came.restart_gpu_us / HOUR_US,
        "promises_broken": float(len(came.broken)),
        "rejected": float(len(came.rejected)),
    }


def _rank(ordered: "np.ndarray[tuple[int], np.dtype[np.float64]]", percent: int) -> float | None:
    """Nearest rank."""
    return float(ordered[-(-len(ordered) * percent // 100) - 1]) if len(ordered) else None


# ── jobs and nodes ────────────────────────────────────────────────────────────────────────────────────────────────
def record_for(workload: Workload, size: Size, seed: int) -> Record:
    """The jobs and nodes of a cell: the same for all rules."""
    if workload.synthetic is not None:
        return _synthetic(workload, size, seed)
    cluster = read_cluster(Path(workload.cluster))
    own = record_of(read_trace(Path(workload.trace)), cluster, workload.name)
    number, nodes = _fleet(size, cluster, workload.name)
    if seed:
        block_us = _block_us(workload, own)
        blocks = math.ceil(workload.days * DAY_US / block_us) or whole_blocks(own, block_us)
        parts = [
            blocks_drawn(own, blocks, block_us, np.random.default_rng([seed, one])) for one in range(number)
        ]
        record = replace(
            together(parts) if number > 1 else parts[0], drawn="weeks" if block_us == WEEK_US else "days"
        )
    else:
        record = copies(own, number) if number > 1 else own
    record = on_nodes(record, nodes, np.tile(owned_nodes(own), number)) if nodes else record
    if workload.days:
        record = cut(record, workload.days, workload.first_day)
        if not len(record):
            raise TraceError(
                f"{workload.name}: nothing is submitted in {workload.days:g} days from day {workload.first_day:g} on; "
                "the record is shorter"
            )
    return record


def _block_us(workload: Workload, record: Record) -> int:
    """What seeds draw: weeks, or days where the record or what is played of it is short; TraceError if it is too short
    for that."""
    if whole_blocks(record, WEEK_US) >= BLOCKS_LEAST and (not workload.days or workload.days >= WEEK_DAYS):
        return WEEK_US
    if whole_blocks(record, DAY_US) < BLOCKS_LEAST:
        raise TraceError(
            f"{workload.name}: spans fewer than {BLOCKS_LEAST} days, too few to draw others from; play it as it is "
            "(seeds: 0)"
        )
    return DAY_US


def _fleet(size: Size, cluster: Cluster, name: str) -> tuple[int, dict[int, int]]:
    """How many copies of the tenants, and the nodes: GPUs of a node → how many; {}: those of the cluster."""
    if size.times:
        nodes = sum(cluster.nodes_of.values()) * size.times
        return size.times, {cluster.gpus_per_node: nodes} if size.times > 1 else {}
    nodes_of = dict(size.nodes)
    if size.gpus:
        if size.gpus % cluster.gpus_per_node:
            below = size.gpus // cluster.gpus_per_node * cluster.gpus_per_node
            raise TraceError(
                f"{name}: {size.gpus} GPUs are no whole nodes of {cluster.gpus_per_node}; take "
                f"{below or cluster.gpus_per_node} GPUs, or say nodes: {{…}}"
            )
        nodes_of = {cluster.gpus_per_node: size.gpus // cluster.gpus_per_node}
    gpus = sum(each * count for each, count in nodes_of.items())
    if size.copies:
        return size.copies, nodes_of
    if gpus < cluster.gpus:
        raise TraceError(
            f"{name}: {gpus} GPUs are fewer than the {cluster.gpus} of its cluster; take more, or 1x"
        )
    return gpus // cluster.gpus, nodes_of


def _synthetic(workload: Workload, size: Size, seed: int) -> Record:
    demand = workload.synthetic
    assert demand is not None
    if size.nodes:
        raise TraceError(
            f"{workload.name}: a synthetic workload has nodes of one size; give the size as GPUs or as 4x"
        )
    gpus = size.gpus or size.times * demand.gpus
    made = generate(msgspec.structs.replace(demand, gpus=gpus, seed=seed or demand.seed))
    return replace(record_of(trace_of(made), cluster_of(made), workload.name), drawn="made")
