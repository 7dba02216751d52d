# SPDX-License-Identifier: Apache-2.0
"""The commands about maintenance windows. Loaded by `leitstand.cli.root`.

`plan` shows first whom a window would meet, and plans it only if nothing forbids it.
"""

from typing import Any, Final

import click

from leitstand.cli import exits
from leitstand.cli.amounts import show_time
from leitstand.cli.asking import confirm, yes_option
from leitstand.cli.client import connect
from leitstand.cli.nouns import Nouns
from leitstand.cli.table import as_json, plain, print_json, print_table
from leitstand.cli.tenants import parse_moment
from leitstand.cli.text import t
from leitstand.client import path

WINDOWS: Final = "/v1/maintenance"
REASONS: Final = {
    "hardware": t("hardware"),
    "software": t("software"),
    "network": t("network"),
    "power": t("power"),
    "cooling": t("cooling"),
    "safety": t("safety"),
    "other": t("other reason"),
}
STEPS: Final = {"planned": t("planned"), "draining": t("draining"), "begun": t("begun")}
SHOWN_MAX: Final = 8  # nodes of a window in a table


@click.group(cls=Nouns, help=t("List, plan and cancel maintenance: times in which nodes are out of service."))
def maintenance() -> None:
    pass


@maintenance.command("list", help=t("List the maintenance windows that are not over."))
@as_json
def list_(json_wanted: bool) -> None:
    rows = connect().get(WINDOWS)["items"]
    if json_wanted:
        print_json(rows)
        return
    headers = [t("WINDOW"), t("STEP"), t("FROM"), t("UNTIL"), t("REASON"), t("NODES")]
    print_table(headers, [_row(one) for one in rows], t("No maintenance is planned."))


@maintenance.command(help=t("Plan maintenance of nodes, or of all that stand in one domain."))
@click.argument("nodes", nargs=-1)
@click.option("--domain", default="", metavar="PATH", help=t("A site, block or rack, like muc/b1/r7."))
@click.option(
    "--from",
    "from_at",
    metavar="TIME",
    callback=lambda _, __, text: text and parse_moment(text),
    help=t("From when on.  [default: as soon as everybody can have saved his work]"),
)
@click.option(
    "--until",
    "until_at",
    metavar="TIME",
    callback=lambda _, __, text: text and parse_moment(text),
    help=t("Until when.  [default: until it is cancelled]"),
)
@click.option(
    "--reason", type=click.Choice(list(REASONS)), default="other", show_default=True, help=t("Why.")
)
@click.option("--emergency", is_flag=True, help=t("Now, whatever was promised: promises break by name."))
@click.option("--scale", is_flag=True, help=t("Although guarantees shrink meanwhile."))
@click.option("--dry-run", is_flag=True, help=t("Only show whom it would meet."))
@yes_option
@as_json
@click.pass_context
def plan(ctx: click.Context, /, dry_run: bool, yes: bool, json_wanted: bool, **given: Any) -> None:
    body = {name: value for name, value in given.items() if value}
    if "nodes" in body:
        body["nodes"] = list(body["nodes"])
    client = connect()
    planned = client.post(WINDOWS, {**body, "dry_run": True})
    if dry_run:
        if json_wanted:
            print_json(planned)
        else:
            _print(planned)
        ctx.exit(exits.OK if planned["possible"] else exits.ERROR)
    if not yes:
        _print(planned, err=True)
        if planned["possible"]:
            confirm(t("Plan it so?"), yes)
    done = client.post(WINDOWS, body)
    if json_wanted:
        print_json(done)
        return
    if yes:
        _print(done)
    click.echo(t("maintenance {window} is planned", window=plain(done["window"]["id"])))


@maintenance.command(help=t("Cancel maintenance; what has begun ends, and its nodes are back."))
@click.argument("window")
@yes_option
@as_json
def cancel(window: str, yes: bool, json_wanted: bool) -> None:
    confirm(t("Cancel maintenance {window}?", window=window), yes)
    done = connect().post(path("maintenance", window, "cancel"), {})
    if json_wanted:
        print_json(done)
    else:
        click.echo(t("maintenance {window} is cancelled", window=plain(done["id"])))


def _row(one: dict[str, Any]) -> tuple[Any, ...]:
    return (
        one["id"],
        STEPS.get(one["step"], one["step"]),
        show_time(one["from_at"]),
        show_time(one["until_at"]) if one["until_at"] else t("no end"),
        t("emergency") if one["emergency"] else REASONS.get(one["reason"], one["reason"]),
        one["domain"] or _some(one["nodes"]),
    )


def _print(outcome: dict[str, Any], *, err: bool = False) -> None:
    """Whom the window meets, and what forbids it."""
    rows = [(t("runs that are told to end"), _some(outcome["stops"]))]
    rows += [
        (
            t("promised start that moves"),
            f"{one['job']} {show_time(one['start_at'])}: {_some(one['before'])} → {_some(one['after'])}",
        )
        for one in outcome["moves"]
    ]
    rows.append((t("places that were only planned"), _some(outcome["drops"])))
    rows.append((t("promises that break"), _some(outcome["broken"])))
    print_table([t("MEETS"), t("WHAT")], [row for row in rows if row[1]], t("It meets nobody."), err=err)
    if not outcome["possible"]:
        click.echo(t("not possible: {why}", why=plain(outcome["message"])), err=True)
        if outcome["earliest_at"]:
            click.echo(t("possible from {time} on", time=show_time(outcome["earliest_at"])), err=True)


def _some(names: list[str]) -> str:
    more = len(names) - SHOWN_MAX
    return ",".join(names[:SHOWN_MAX]) + (f" +{more}" if more > 0 else "")
