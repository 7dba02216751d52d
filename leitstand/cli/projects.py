# SPDX-License-Identifier: Apache-2.0
"""The commands about what a tenant divides and may use: `projects`, `budgets`. Loaded by `leitstand.cli.root`."""

from typing import Any, Final

import click

from leitstand.cli import complete
from leitstand.cli.amounts import DURATION, parse_duration, reading, show_ago
from leitstand.cli.client import connect
from leitstand.cli.nouns import Nouns, listing, tenant_of
from leitstand.cli.table import as_json, plain, print_json, print_table
from leitstand.cli.tenant import tenant_option
from leitstand.cli.tenants import expecting
from leitstand.cli.text import t
from leitstand.cli.words import amount, word
from leitstand.client import path

ORIGINS: Final = ("paid", "grant", "subsidised")


@click.group(cls=Nouns, help=t("List, add and close projects of a tenant."))
def projects() -> None:
    pass


@projects.command("list", help=t("List the projects of a tenant."))
@tenant_option
@as_json
def list_projects(tenant: str | None, json_wanted: bool) -> None:
    client = connect()
    rows = listing(client, path("tenants", tenant_of(client, tenant), "projects"))
    if json_wanted:
        print_json(rows)
        return
    print_table([t("PROJECT"), t("OPEN")], [(row["name"], row["open"]) for row in rows], t("No projects."))


@projects.command(help=t("Add a project, or open a closed one again."))
@click.argument("name")
@tenant_option
@as_json
def add(name: str, tenant: str | None, json_wanted: bool) -> None:
    client = connect()
    answer = client.post(path("tenants", tenant_of(client, tenant), "projects"), {"name": name})
    if json_wanted:
        print_json(answer)
    else:
        click.echo(t("project {name} is open", name=plain(answer["name"])))


@projects.command(help=t("Close a project: it takes no new job; what it has goes on."))
@click.argument("name", shell_complete=complete.projects)
@tenant_option
@as_json
def close(name: str, tenant: str | None, json_wanted: bool) -> None:
    client = connect()
    answer = client.post(path("tenants", tenant_of(client, tenant), "projects", name, "close"))
    if json_wanted:
        print_json(answer)
    else:
        click.echo(t("project {name} is closed", name=plain(answer["name"])))


@click.group(cls=Nouns, help=t("List and grant budgets of a tenant."))
def budgets() -> None:
    pass


@budgets.command("list", help=t("List the budgets of a tenant, those that have ended, too."))
@tenant_option
@as_json
def list_budgets(tenant: str | None, json_wanted: bool) -> None:
    client = connect()
    rows = listing(client, path("tenants", tenant_of(client, tenant), "budgets"))
    if json_wanted:
        print_json(rows)
    else:
        print_budgets(rows)


@budgets.command(help=t("Grant a tenant GPU-hours."))
@click.argument("tenant", shell_complete=complete.tenants)
@click.argument("gpu_hours", metavar="GPU-HOURS", type=click.FloatRange(min=0, min_open=True))
@click.option(
    "--expires-in",
    required=True,
    metavar=DURATION,
    callback=reading(parse_duration),
    help=t("How long it is valid."),
)
@click.option(
    "--origin", type=click.Choice(ORIGINS), default="grant", show_default=True, help=t("Where it comes from.")
)
@as_json
def grant(tenant: str, gpu_hours: float, expires_in: float, origin: str, json_wanted: bool) -> None:
    client = connect()
    _, tag = client.seen(path("tenants", tenant))  # so that a lost answer, sent again, grants nothing twice
    body = {"gpu_hours": gpu_hours, "expires_in": expires_in, "origin": origin}
    answer = client.post(path("tenants", tenant, "budgets"), body, expecting(tag))
    if json_wanted:
        print_json(answer)
    else:
        print_budgets([answer])


def print_budgets(rows: list[dict[str, Any]]) -> None:
    """A table of budgets."""
    headers = [
        t("BUDGET"),
        t("GRANTED"),
        t("AVAILABLE"),
        t("RESERVED"),
        t("POSTED"),
        t("ORIGIN"),
        t("EXPIRES"),
    ]
    cells = [
        (
            row["id"],
            *(amount(row[part], row["unit"]) for part in ("granted", "available", "reserved", "posted")),
            word(row["origin"]),
            show_ago(row["expires_at"]),
        )
        for row in rows
    ]
    print_table(headers, cells, t("No budgets."))
