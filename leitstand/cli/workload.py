# SPDX-License-Identifier: Apache-2.0
"""A trace in numbers, and what of it was not used, for people. Called by the commands of `leitstand twin`."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import click

from leitstand.cli.table import print_fields, print_table
from leitstand.cli.text import t
from leitstand.twin.reading import generator, kubernetes, sacct, slurm
from leitstand.twin.workload import Quantiles, Workload

DROPPED_SHOWN: Final = 10
CALENDAR_FROM_S: Final = 10**9  # 2001: what is less counts from a zero of its own


def show_workload(workload: Workload) -> None:
    """Fields, quantiles, tenants, with units; on stdout."""
    busy = (
        "" if workload.mean_gpus is None else t(", {gpus} GPUs on average", gpus=round(workload.mean_gpus, 1))
    )
    print_fields(
        [
            (t("trace"), workload.trace),
            (
                t("jobs"),
                t("{count}, {share} with one GPU", count=workload.jobs, share=f"{workload.one_gpu:.1%}"),
            ),
            (t("tenants"), t("{count}, with {users} users", count=workload.tenants, users=workload.users)),
            (t("first"), _moment(workload.first_s)),
            (t("last"), _moment(workload.last_s)),
            (t("span"), _span(workload.span_h)),
            (t("used"), f"{workload.gpu_h:.1f} GPU-h{busy}"),
            (t("time limits"), t("of {count} jobs", count=workload.limited)),
            (
                t("unsorted"),
                t("{count} (after one that was submitted later; sorted)", count=workload.unsorted),
            ),
            (t("dropped"), t("{count} (unusable rows)", count=workload.dropped)),
            *aside(workload.set_aside),
        ]
    )
    click.echo()
    print_table(
        ["", t("MEAN"), "P50", "P90", "P99", "MAX"],
        [
            [t("GPUs of a job"), *_cells(workload.gpus)],
            [t("duration [s]"), *_cells(workload.duration_s)],
            [t("submissions per hour"), *_cells(workload.per_hour)],
        ],
        "",
    )
    click.echo()
    print_table(
        [t("TENANT"), t("JOBS"), t("USERS"), "GPU-h", t("SHARE"), t("LARGEST")],
        [
            [name, of.jobs, of.users, round(of.gpu_h, 1), f"{of.gpu_h / workload.gpu_h:.1%}", of.largest]
            for name, of in workload.per_tenant.items()
        ],
        "",
    )


def aside(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """The field of what is right but no job to replay, if there is any."""
    words = {
        sacct.STEP: t("steps of jobs"),
        slurm.EARLIER_RUN: t("earlier runs of requeued jobs"),
        slurm.HET_PART: t("further parts of heterogeneous jobs"),
        slurm.NEVER_STARTED: t("never started"),
        slurm.STILL_RUNNING: t("still running"),
        slurm.NO_GPU: t("without GPU"),
        kubernetes.OTHER_KIND: t("of another kind than Job"),
        generator.NOTHING_ASKED: t("ask for no CPU"),
    }
    said = ", ".join(f"{count} {words.get(why, why)}" for why, count in counts.items())
    return [(t("set aside"), said)] if said else []


def print_dropped(dropped: int, reasons: Sequence[str]) -> None:
    """The first rows that could not be used, on stderr."""
    for why in reasons[:DROPPED_SHOWN]:
        click.echo(t("dropped: {why}", why=why), err=True)
    if dropped > DROPPED_SHOWN:
        click.echo(
            t("dropped: {count} more (--json lists up to 1000)", count=dropped - DROPPED_SHOWN), err=True
        )


def _moment(at_s: float) -> str:
    """The moment, in UTC, where the trace counts from 1970; else what it counts."""
    if at_s < CALENDAR_FROM_S:
        return f"{at_s:.0f} s"
    try:
        return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return f"{at_s:.0f} s"


def _span(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 3600:.0f} s"


def _cells(of: Quantiles) -> list[object]:
    return [round(value, 1) for value in (of.mean, of.p50, of.p90, of.p99, of.greatest)]
