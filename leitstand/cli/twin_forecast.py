# SPDX-License-Identifier: Apache-2.0
"""`leitstand twin forecast`: when the jobs that wait will start, from a journal, also of a running control plane."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from leitstand.cli import starts
from leitstand.cli.amounts import parse_duration, reading, show_duration
from leitstand.cli.bar import bar
from leitstand.cli.table import as_json, print_fields, print_json, print_table
from leitstand.cli.text import t
from leitstand.cli.twin_fork import PRIORITY
from leitstand.cli.twin_journal import journal_at
from leitstand.cli.words import right_so_far
from leitstand.core.units import SECOND_US
from leitstand.journal.codec import JournalUnusable
from leitstand.journal.place import Reader, open_reader

if TYPE_CHECKING:
    from leitstand.twin.forecasting.forecaster import Expected, Forecast

FORKS_MAX: Final = 256
PAST_MAX: Final = 1000


@click.command(
    help=t(
        "When each job that waits in JOURNAL will start: with which probability by when, and how probably it ends by "
        "its deadline. JOURNAL is a journal's file or the data directory of a control plane, which may be running.\n\n"
        "From futures in which runs last as long as such jobs did, and others are submitted as before; corrected by "
        "how far off earlier forecasts would have been."
    )
)
@click.argument("journal", type=click.Path(path_type=Path))
@click.option(
    "--at",
    metavar="SEQ|TIME",
    help=t("As of when: an entry of the journal or a time (else: its end)."),
)
@click.option(
    "--forks",
    type=click.IntRange(4, FORKS_MAX),
    default=16,
    show_default=True,
    help=t("How many futures are played."),
)
@click.option(
    "--horizon",
    callback=reading(parse_duration),
    metavar="TIME",
    default="7d",
    show_default=True,
    help=t("How far they go."),
)
@click.option(
    "--past",
    type=click.IntRange(0, PAST_MAX),
    default=24,
    show_default=True,
    help=t("How many earlier forecasts are held against what came."),
)
@as_json
def forecast(json_wanted: bool, journal: Path, at: str | None, forks: int, horizon: float, past: int) -> None:
    os.nice(PRIORITY)  # whatever else runs here comes first, above all a control plane
    from leitstand.twin.forecasting.forecaster import Wanted
    from leitstand.twin.forecasting.hindsight import Asked, forecast_of

    path = journal_at(journal)
    if path is None:
        raise click.ClickException(
            t("{path}: no journal and no data directory; name one of them", path=journal)
        )
    try:
        with open_reader(path) as reader, bar(t("forecasts")) as progress:
            asked = Asked(_at_us(reader, at), past, Wanted(forks, round(horizon * SECOND_US)))
            found = forecast_of(reader.read(0, reader.head.seq), asked, progress)
    except JournalUnusable as error:
        raise click.ClickException(str(error)) from error
    if json_wanted:
        print_json(_plain(found))
    else:
        _show(found)


def _at_us(reader: Reader, at: str | None) -> int:
    """The time that `at` means; its errors name what the journal holds."""
    head = reader.head
    first = reader.head_at(1)
    if first is None:
        raise click.ClickException(t("{path}: the journal is empty: nobody waits", path=reader.path))
    if at is None:
        return head.at
    if at.isascii() and at.isdigit():
        entry = reader.head_at(int(at)) if 1 <= int(at) <= head.seq else None
        if entry is None:
            raise click.BadParameter(
                t("entry {at} is not in 1..{last}", at=at, last=head.seq), param_hint="--at"
            )
        return entry.at
    try:
        time = datetime.fromisoformat(at)
    except ValueError as error:
        raise click.BadParameter(
            t('"{at}" is neither the number of an entry nor a time like 2026-11-23T14:00', at=at[:40]),
            param_hint="--at",
        ) from error
    at_us = round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * SECOND_US)
    if not first.at <= at_us <= head.at:
        raise click.BadParameter(
            t(
                "{at} is not within the journal, {first} to {last}",
                at=_time(at_us),
                first=_time(first.at),
                last=_time(head.at),
            ),
            param_hint="--at",
        )
    return at_us


def _plain(found: "Forecast") -> dict[str, Any]:
    """Times in ISO 8601, as everywhere in JSON."""
    return {
        "at": _iso(found.at_us),
        "until": _iso(found.horizon_us),
        "forks": found.forks,
        "coverage": coverage(found),
        "cpu_s": round(found.cpu_s, 3),
        "jobs": [
            {
                "id": job.job,
                "tenant": job.tenant,
                "p50": _iso(job.p50_us),
                "p90": _iso(job.p90_us),
                "deadline_chance": job.chance,
                "promised": _iso(job.promised_us),
            }
            for job in found.jobs
        ],
    }


def coverage(found: "Forecast") -> dict[str, Any]:
    """Of each level: of how many forecasts the time came, and the share of those that were right."""
    said = found.coverage
    return {
        name: {"forecasts": count, "share": None if share is None else round(share, 4)}
        for name, count, share in zip(("p50", "p90"), said.forecasts, said.share, strict=True)
    }


# ── for people ────────────────────────────────────────────────────────────────────────────────────────────────────
def _show(found: "Forecast") -> None:
    print_fields(
        [
            (t("as of"), _time(found.at_us)),
            (t("futures"), found.forks),
            (t("right so far"), right_so_far(coverage(found))),
        ]
    )
    click.echo()
    horizon = t("not within {span}", span=show_duration((found.horizon_us - found.at_us) / SECOND_US))
    rows = [_row(job, found.at_us, horizon) for job in found.jobs]
    headers = [
        t("JOB"),
        t("TENANT"),
        *starts.headers(),
        t("PROMISED"),
    ]
    print_table(headers, rows, t("No job waits."))


def _row(job: "Expected", at_us: int, horizon: str) -> list[str | None]:
    spans = [
        horizon if start_us is None else starts.ahead((start_us - at_us) / SECOND_US)
        for start_us in (job.p50_us, job.p90_us)
    ]
    chance = starts.chance(job.chance)
    return [job.job, job.tenant, *spans, chance, None if job.promised_us is None else _time(job.promised_us)]


def _time(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / SECOND_US, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _iso(at_us: int | None) -> str | None:
    return None if at_us is None else datetime.fromtimestamp(at_us / SECOND_US, UTC).isoformat()
