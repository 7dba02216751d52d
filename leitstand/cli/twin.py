# SPDX-License-Identifier: Apache-2.0
"""`leitstand twin`: recorded workloads through the scheduler of the control plane, which need not be running."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from leitstand.cli.bar import bar
from leitstand.cli.reading import how_to_read
from leitstand.cli.table import as_json, print_fields, print_json, print_table
from leitstand.cli.text import t
from leitstand.cli.twin_compare import compare
from leitstand.cli.twin_forecast import forecast
from leitstand.cli.twin_fork import fork
from leitstand.cli.twin_generate import generate
from leitstand.cli.twin_partition import partition
from leitstand.cli.workload import DROPPED_SHOWN, aside, print_dropped, show_workload
from leitstand.core.rules import DISCIPLINES
from leitstand.journal.codec import JournalUnusable
from leitstand.runtime.ports import JournalFull
from leitstand.twin.convert import write_trace
from leitstand.twin.outcome import Outcome, Spread
from leitstand.twin.replay import Setting
from leitstand.twin.replay import replay as replay_trace
from leitstand.twin.traces import Form, Trace, TraceError, read_trace
from leitstand.twin.workload import describe


@click.group(
    help=t("Recorded workloads: look at them, convert them, replay them through the real scheduler.")
)
def twin() -> None:
    pass


twin.add_command(generate)
twin.add_command(compare)
twin.add_command(fork)
twin.add_command(partition)
twin.add_command(forecast)


@twin.command(
    help=t(
        "Replay TRACE (Parquet, CSV, SWF, sacct, Kubernetes Jobs, a generator's configuration) on a recorded cluster: "
        "the real core and loop, in virtual time. "
        "Prints waiting times, completion times, utilisation and the digest of all decisions.\n\n"
        "TRACE may be a journal, too, or the data directory of a control plane: then all of it is decided again, and "
        "the first fact named that is not as before; with --rules, what becomes of the same jobs under others."
    )
)
@click.argument("trace", type=click.Path(path_type=Path))
@click.option(
    "--cluster", type=click.Path(path_type=Path), metavar="FILE", help=t("The cluster (JSON) of a trace.")
)
@click.option(
    "--rules",
    metavar="NAME|FILE",
    help=t(
        "Who starts next: {disciplines}. For a journal also a file (YAML) of what is to be other in its rules.",
        disciplines=", ".join(DISCIPLINES),
    ),
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
@how_to_read
@as_json
def replay(json_wanted: bool, trace: Path, rules: str | None, **settings: Any) -> None:
    from leitstand.cli.twin_journal import journal_at, replay_journal

    journal = journal_at(trace)
    try:
        if journal is not None:
            _without_trace(settings)
            replay_journal(journal, rules, json_wanted=json_wanted)
            return
        setting = Setting(trace=trace, cluster=_cluster(settings), discipline=_discipline(rules), **settings)
        with bar(t("jobs")) as progress:
            outcome = replay_trace(setting, progress)
    except (TraceError, JournalUnusable, JournalFull) as error:
        raise click.ClickException(str(error)) from error
    if json_wanted:
        print_json(msgspec.to_builtins(outcome))
    else:
        _show(outcome)


@twin.command(
    help=t(
        "Show what TRACE holds, as it was read: jobs, tenants, span, GPU-hours, sizes, durations, submissions per hour."
    )
)
@click.argument("trace", type=click.Path(path_type=Path))
@how_to_read
@as_json
def show(json_wanted: bool, trace: Path, form: Form, lenient: bool) -> None:
    workload = describe(_read(trace, form, lenient=lenient))
    if json_wanted:
        print_json(msgspec.to_builtins(workload))
    else:
        show_workload(workload)
        print_dropped(workload.dropped, workload.dropped_why)


@twin.command(help=t("Write TRACE as Parquet to the new file OUT, which every command reads back as it was."))
@click.argument("trace", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@how_to_read
def convert(trace: Path, out: Path, form: Form, lenient: bool) -> None:
    found = _read(trace, form, lenient=lenient)
    try:
        write_trace(found, out)
    except TraceError as error:
        raise click.ClickException(str(error)) from error
    click.echo(t("{count} jobs written to {path}", count=len(found), path=out))
    for name, counts in aside(found.set_aside):
        click.echo(f"{name}: {counts}", err=True)
    print_dropped(found.dropped, found.dropped_why)


def _cluster(settings: dict[str, Any]) -> Path:
    cluster: Path | None = settings.pop("cluster")
    if cluster is None:
        raise click.UsageError(t("--cluster FILE is needed for a trace: the nodes that it is to run on"))
    return cluster


def _discipline(rules: str | None) -> str:
    named = ", ".join(DISCIPLINES)
    if rules is None:
        raise click.UsageError(t("--rules is needed for a trace, one of: {named}", named=named))
    if rules not in DISCIPLINES:
        raise click.UsageError(t("--rules {rules} is not one of: {named}", rules=rules, named=named))
    return rules


def _without_trace(settings: Mapping[str, Any]) -> None:
    """A journal says itself what its fleet was, and how it is read."""
    meant = [name for name in ("cluster", "static", "journal", "lenient") if settings[name]]
    if meant:
        raise click.UsageError(t("--{option} is for traces: a journal has its own fleet", option=meant[0]))


def _read(path: Path, form: Form, *, lenient: bool) -> Trace:
    try:
        return read_trace(path, lenient=lenient, form=form)
    except TraceError as error:
        raise click.ClickException(str(error)) from error


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
            *aside(outcome.set_aside),
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
    for why in outcome.too_large[:DROPPED_SHOWN]:
        click.echo(t("rejected: {why}", why=why), err=True)
    for tenant, jobs in list(outcome.left_out_of.items())[:DROPPED_SHOWN]:
        click.echo(
            t("left out: {count} of tenant {tenant}, which has no nodes", count=jobs, tenant=tenant), err=True
        )
    print_dropped(outcome.dropped, outcome.dropped_why)


def _cells(spread: Spread) -> list[object]:
    return [None if value is None else round(value, 1) for value in (spread.mean, spread.p50, spread.p99)]
