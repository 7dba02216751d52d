# SPDX-License-Identifier: Apache-2.0
"""`leitstand twin fork`: what if? Scenarios played on from a journal, or from a cloud that is only described."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from leitstand.cli.amounts import DURATION, parse_duration
from leitstand.cli.bar import bar
from leitstand.cli.reading import how_to_read
from leitstand.cli.table import as_json, print_json, print_table
from leitstand.cli.text import t, why
from leitstand.cli.workload import print_dropped
from leitstand.core.units import SECOND_US
from leitstand.journal.codec import JournalUnusable
from leitstand.twin.reading.table import TraceError

if TYPE_CHECKING:
    from leitstand.twin.forking.changes import WhatIf
    from leitstand.twin.forking.figures import Answer, Compared, Range
    from leitstand.twin.forking.ground import Ground
    from leitstand.twin.forking.times import When

PRIORITY: Final = 10  # how nice the process is to others
SEEDS_MAX: Final = 100
TENANTS_SHOWN: Final = 20  # of a scenario
STEP_MAX_US: Final = 3600 * SECOND_US
WORKERS_MAX: Final = 1024
DEFAULT_DATA: Final = Path("~/.local/share/leitstand")


@click.command(
    help=t(
        "What if? Play scenarios on from JOURNAL (or the data directory of a control plane, also while it runs), or "
        "from a cluster file, on the same scheduler in virtual time; compare what becomes of the jobs with what is "
        "planned; write a report to the folder OUT."
    )
)
@click.argument("journal", required=False, type=click.Path(path_type=Path))
@click.option(
    "--what-if",
    "what_if",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=t("Scenarios (YAML), see docs/twin.md; may be given more than once. None: only what is planned."),
)
@click.option("--until", required=True, metavar="TIME", help=t("To when: 2027-06-30, or 90d after the fork."))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help=t("The folder of the report."),
)
@click.option(
    "--at", metavar="SEQ|TIME", help=t("Where to fork: an entry of the journal or a time (else: its end).")
)
@click.option(
    "--cluster",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=t("Fork a cloud without a journal: its cluster file (JSON)."),
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=t("Its jobs (else synthetic ones), repeated until the end."),
)
@click.option(
    "--seeds",
    default=1,
    show_default=True,
    type=click.IntRange(1, SEEDS_MAX),
    metavar="N",
    help=t("Play everything with so many seeds of chance, and say ranges."),
)
@click.option(
    "--seed", default=1, show_default=True, type=click.IntRange(0), metavar="N", help=t("The first seed.")
)
@click.option(
    "--step",
    metavar=DURATION,
    help=t("Look at the cloud every so often, like 5m, and not at every event: faster, starts are as late."),
)
@click.option(
    "--workers",
    type=click.IntRange(1, WORKERS_MAX),
    metavar="N",
    help=t("Processes at work.  [default: one for each core]"),
)
@how_to_read
@as_json
def fork(json_wanted: bool, journal: Path | None, **options: Any) -> None:
    os.nice(PRIORITY)  # whatever else runs here comes first, above all a control plane
    try:
        from leitstand.twin.forking.whatif import read_what_if

        what_if = read_what_if(options["what_if"])
        ground = _in_steps(_ground(journal, options, what_if), options["step"])
        answer = _played(ground, what_if, options)
    except (TraceError, JournalUnusable) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(
            t("{path}: cannot be written: {why}", path=options["out"], why=why(error))
        ) from error
    if json_wanted:
        print_json(msgspec.to_builtins(answer))
    else:
        _show(answer, options["out"])
    print_dropped(ground.dropped, ground.dropped_why)
    if answer.unfinished:
        raise SystemExit(130)


def _ground(journal: Path | None, options: dict[str, Any], what_if: "WhatIf") -> "Ground":
    from leitstand.cli.twin_journal import journal_at
    from leitstand.twin.forking.ground import Described, ground_of_cluster, ground_of_journal

    until, cluster, trace = _when("--until", options["until"]), options["cluster"], options["trace"]
    if cluster is not None:
        if journal is not None or options["at"] is not None:
            raise click.UsageError(
                t("--cluster is for a cloud without a journal; leave JOURNAL and --at out")
            )
        described = Described(cluster, trace, options["form"], lenient=options["lenient"])
        return ground_of_cluster(described, until, what_if)
    if trace is not None:
        raise click.UsageError(t("--trace needs --cluster FILE: the nodes that it is to run on"))
    if options["lenient"]:
        raise click.UsageError(t("--{option} is for traces: a journal has its own fleet", option="lenient"))
    path = journal or DEFAULT_DATA.expanduser()
    found = journal_at(path)
    if found is None:
        raise click.UsageError(
            t(
                "{path}: no journal, and no data directory of a control plane; or name --cluster FILE",
                path=path,
            )
        )
    at = options["at"]
    point = None if at is None else int(at) if at.isdecimal() else _when("--at", at)
    return ground_of_journal(found, point, until, what_if)


def _in_steps(ground: "Ground", step: str | None) -> "Ground":
    if step is None:
        return ground
    try:
        step_us = round(parse_duration(step) * SECOND_US)
    except ValueError as error:
        raise click.UsageError(f"--step: {error}") from error
    if step_us > STEP_MAX_US:
        raise click.UsageError(t("--step: at most {most}, since shares are counted by the hour", most="1h"))
    return replace(ground, step_us=step_us)


def _when(option: str, text: str) -> "When":
    from leitstand.twin.forking.times import when

    try:
        return when(text)
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}") from error


def _played(ground: "Ground", what_if: "WhatIf", options: dict[str, Any]) -> "Answer":
    """All courses, and the report of them."""
    from leitstand.twin.forking.changes import Scenario
    from leitstand.twin.forking.course import Course
    from leitstand.twin.forking.figures import answer
    from leitstand.twin.forking.playing import play_all
    from leitstand.twin.forking.report import write_report
    from leitstand.twin.forking.whatif import AS_PLANNED

    seeds = range(options["seed"], options["seed"] + options["seeds"])
    scenarios = [Scenario(AS_PLANNED), *what_if.scenarios]
    courses = [Course(scenario, what_if.base, seed) for seed in seeds for scenario in scenarios]
    workers = options["workers"] or os.cpu_count() or 1
    with bar(t("courses")) as progress:
        played = play_all(courses, ground, workers, progress or (lambda done, total: None))
    if not played:
        raise click.ClickException(t("interrupted before anything was played to its end; nothing is written"))
    found = answer(played, len(courses), ground, what_if)
    write_report(options["out"], found, played)
    return found


# ── for people ────────────────────────────────────────────────────────────────────────────────────────────────────
def _show(answer: "Answer", out: Path) -> None:
    from leitstand.twin.forking.words import troubles

    for number, one in enumerate(answer.scenarios):
        if number:
            click.echo()
        click.echo(f"{one.name}:")
        headers = [t("CLASS, TENANT"), t("JOBS"), t("STARTED"), t("MEAN WAIT"), t("THAN PLANNED"), "GPU-h"]
        headers += [t("LOST GPU-h"), t("GUARANTEE USED")]
        rows = [_row(one, group) for group in (*answer.classes, *answer.tenants[:TENANTS_SHOWN])]
        print_table(headers, [*rows, _row(one, "")], "")
        if len(answer.tenants) > TENANTS_SHOWN:
            click.echo(t("and {count} more tenants in the report", count=len(answer.tenants) - TENANTS_SHOWN))
        for sentence in troubles(one):
            click.echo(sentence)
        if one.refused:
            click.echo(
                t("{count} submissions were not taken, as of unknown tenants", count=f"{one.refused:,.0f}")
            )
    click.echo()
    click.echo(t("report: {path}", path=out / "report.html"))
    if answer.unfinished:
        click.echo(t("{count} courses were not played to their end", count=answer.unfinished), err=True)


def _row(one: "Compared", group: str) -> list[object]:
    figures, more = one.figures.get(group, {}), one.more.get(group, {})
    return [
        group or t("(all)"),
        _number(figures.get("jobs")),
        _number(figures.get("started")),
        _span(figures.get("wait_s")),
        _span(more.get("wait_s"), signed=True),
        _number(figures.get("gpu_hours")),
        _number(figures.get("lost_gpu_hours")),
        _part(figures.get("guarantee_used")),
    ]


def _number(value: "Range | None") -> str | None:
    return None if value is None else f"{value.mean:,.0f}"


def _part(value: "Range | None") -> str | None:
    return None if value is None else f"{value.mean:.1%}"


def _span(value: "Range | None", *, signed: bool = False) -> str | None:
    from leitstand.core.units import SECOND_US
    from leitstand.twin.forking.times import shown_span

    if value is None:
        return None
    sign = "+" if signed and value.mean > 0 else ""
    return sign + shown_span(value.mean * SECOND_US)
