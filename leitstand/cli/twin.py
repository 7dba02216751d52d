# SPDX-License-Identifier: Apache-2.0
"""`leitstand twin`: recorded workloads through the scheduler of the control plane, which need not be running."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from leitstand.cli.table import as_json, print_fields, print_json, print_table
from leitstand.cli.text import t
from leitstand.cli.twin_generate import generate
from leitstand.core.rules import DISCIPLINES
from leitstand.journal.codec import JournalUnusable
from leitstand.runtime.ports import JournalFull
from leitstand.twin.outcome import Outcome, Spread
from leitstand.twin.readers import TraceError
from leitstand.twin.replay import Setting
from leitstand.twin.replay import replay as replay_trace

DROPPED_SHOWN: Final = 10


@click.group(help=t("Replay a trace through the real scheduler."))
def twin() -> None:
    pass


twin.add_command(generate)


@twin.command(
    help=t(
        "Replay TRACE (.parquet, .csv, .swf) on a recorded cluster: the real core and loop, in virtual time. "
        "Prints waiting times, completion times, utilisation and the digest of all decisions."
    )
)
@click.argument("trace", type=click.Path(path_type=Path))
@click.option(
    "--cluster", required=True, type=click.Path(path_type=Path), metavar="FILE", help=t("The cluster (JSON).")
)
@click.option(
    "--rules", "discipline", required=True, type=click.Choice(DISCIPLINES), help=t("Who starts next.")
)
@click.option(
    "--static", is_flag=True, help=t("Each tenant has only its own nodes (else: one shared fleet).")
)
@click.option(
    "--journal",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=t("Keep the journal in this new file."),
)
@click.option("--lenient", is_flag=True, help=t("Leave out rows that cannot be used; count and list them."))
@as_json
def replay(json_wanted: bool, **settings: Any) -> None:
    try:
        with _progress() as progress:
            outcome = replay_trace(Setting(**settings), progress)
    except (TraceError, JournalUnusable, JournalFull) as error:
        raise click.ClickException(str(error)) from error
    if json_wanted:
        print_json(msgspec.to_builtins(outcome))
    else:
        _show(outcome)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """A bar on a terminal's stderr; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(t("jobs"), total=None)
        yield lambda done, jobs: bar.update(task, completed=done, total=jobs)


# ── for people ────────────────────────────────────────────────────────────────────────────────────────────────────
def _show(outcome: Outcome) -> None:
    print_fields(
        [
            (t("trace"), outcome.trace),
            (t("rules"), f"{outcome.rules}, {t('static') if outcome.static else t('shared')}"),
            (t("jobs"), outcome.jobs),
            (t("rejected"), t("{count} (larger than their fleet)", count=outcome.rejected)),
            (t("left out"), t("{count} (tenants without nodes)", count=outcome.left_out)),
            (t("dropped"), t("{count} (unusable rows)", count=outcome.dropped)),
            (t("makespan"), f"{outcome.makespan_s:.0f} s"),
            (t("utilisation"), f"{outcome.utilisation:.2%}"),
            (t("digest"), outcome.digest),
            (t("CPU time"), f"{outcome.cpu_s:.2f} s"),
        ]
    )
    click.echo()
    headers = [t("TENANT"), t("JOBS")]
    headers += [
        f"{what} {number} [s]" for what in (t("QUEUE"), t("JCT")) for number in (t("MEAN"), "P50", "P99")
    ]
    rows = [
        [name, str(tenant.jobs), *_cells(tenant.queue_s), *_cells(tenant.jct_s)]
        for name, tenant in outcome.per_tenant.items()
    ]
    rows.append([t("(all)"), str(outcome.jobs), *_cells(outcome.queue_s), *_cells(outcome.jct_s)])
    print_table(headers, rows, "")
    for why in outcome.dropped_why[:DROPPED_SHOWN]:
        click.echo(t("dropped: {why}", why=why), err=True)
    if outcome.dropped > DROPPED_SHOWN:
        click.echo(
            t("dropped: {count} more (--json lists up to 1000)", count=outcome.dropped - DROPPED_SHOWN),
            err=True,
        )


def _cells(spread: Spread) -> list[object]:
    return [None if value is None else round(value, 1) for value in (spread.mean, spread.p50, spread.p99)]
