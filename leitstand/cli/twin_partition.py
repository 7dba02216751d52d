# SPDX-License-Identifier: Apache-2.0
"""`leitstand twin partition JOURNAL|DIR`: what each tenant got in a month, and what it would have got alone on its own
partition."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from leitstand.cli.table import as_json, print_json, print_table
from leitstand.cli.text import t, why

if TYPE_CHECKING:
    from leitstand.twin.partition import Account, Month


@click.command(
    help=t(
        "Account for each month of JOURNAL, a journal or the data directory of a control plane: what each tenant got, "
        "and what it would have got with its guarantee as a static partition, nodes of its own and nothing else. Says "
        "who was worse off."
    )
)
@click.argument("journal", type=click.Path(path_type=Path))
@click.option("--month", default="", metavar="YYYY-MM", help=t("This month alone (UTC).  [default: all]"))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help=t("Write partition.html, partition.md and partition.json there, too."),
)
@as_json
def partition(json_wanted: bool, journal: Path, month: str, out: Path | None) -> None:
    if month and not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month, re.ASCII):
        raise click.UsageError(t("--month {month} is no month; write it like 2026-11", month=month))
    months = _accounts(journal, month)
    if not months:
        raise click.ClickException(
            t("{path}: nothing was submitted in {month}", path=journal, month=month)
            if month
            else t("{path}: nothing was submitted", path=journal)
        )
    told = [msgspec.to_builtins(one) for one in months]
    if out is not None:
        _write(out, months, told)
    if json_wanted:
        print_json(told)
    else:
        for number, one in enumerate(months):
            if number:
                click.echo()
            _show(one)


def _accounts(path: Path, month: str) -> "tuple[Month, ...]":
    from leitstand.cli.twin_journal import journal_at
    from leitstand.journal.codec import JournalUnusable
    from leitstand.journal.place import open_reader
    from leitstand.twin.partition import accounts

    found = journal_at(path)
    if found is None:
        raise click.ClickException(
            t("{path}: is no journal; name one, or the data directory of a control plane", path=path)
        )
    try:
        with open_reader(found) as reader:
            last = reader.head.seq  # a writer may be at work
            return accounts(lambda: reader.read(0, last), month)
    except JournalUnusable as error:
        raise click.ClickException(str(error)) from error


def _write(folder: Path, months: "tuple[Month, ...]", told: list[Any]) -> None:
    from leitstand.twin.page import html, markdown
    from leitstand.twin.partition_page import page

    said = page(months)
    text = msgspec.json.format(msgspec.json.encode(told), indent=1).decode() + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (("html", html(said)), ("md", markdown(said)), ("json", text)):
            (folder / f"partition.{name}").write_text(content, encoding="utf-8")
    except OSError as error:
        place = error.filename or folder
        raise click.ClickException(
            t("{path}: cannot be written: {why}", path=place, why=why(error))
        ) from error


# ── for people ────────────────────────────────────────────────────────────────────────────────────────────────────
def _show(month: "Month") -> None:
    click.echo(f"{month.month} (UTC)")
    wait, jct, slowdown, alone = t("MEAN WAIT"), t("MEAN JCT"), t("SLOWDOWN"), t("ALONE")
    headers = [
        t("TENANT"),
        t("GUARANTEE"),
        t("JOBS"),
        f"{wait} [s]",
        alone,
        f"{jct} [s]",
        alone,
        slowdown,
        alone,
    ]
    headers += ["GPU-h", alone, t("APART"), t("LEFT OUT"), ""]
    print_table(headers, [_row(one) for one in month.tenants], "")
    worse = [one.tenant for one in month.tenants if one.worse_off]
    if worse:
        click.echo(t("worse off than on its own partition: {tenants}", tenants=", ".join(worse)))
    else:
        click.echo(t("no tenant with jobs enough was worse off than on its own partition"))


def _row(one: "Account") -> list[object]:
    pairs = [
        (one.wait_s, one.alone_wait_s, 1),
        (one.jct_s, one.alone_jct_s, 1),
        (one.slowdown, one.alone_slowdown, 2),
        (one.gpu_hours, one.alone_gpu_hours, 1),
    ]
    cells = [None if value is None else round(value, digits) for *both, digits in pairs for value in both]
    verdict = t("shown only") if not one.judged else t("WORSE OFF") if one.worse_off else t("not worse off")
    return [one.tenant, round(one.guarantee_gpus, 2), one.jobs, *cells, one.apart, one.left_out, verdict]
