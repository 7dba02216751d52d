# SPDX-License-Identifier: Apache-2.0
"""The commands about one's own tenant: `tenant`, `tenant legal`. Loaded by `leitstand.cli.root`."""

from pathlib import Path
from typing import Any

import click

from leitstand.cli import complete
from leitstand.cli.asking import confirm, is_interactive
from leitstand.cli.client import Client, connect
from leitstand.cli.nouns import Nouns, read_mapping, tenant_of
from leitstand.cli.refusals import Refused
from leitstand.cli.table import as_json, print_fields, print_json, print_table
from leitstand.cli.tenants import expecting, show_tenant
from leitstand.cli.text import t
from leitstand.cli.words import word
from leitstand.client import path

tenant_option = click.option(
    "--tenant", shell_complete=complete.tenants, help=t("The tenant.  [default: the one you work in]")
)


@click.group(cls=Nouns, default="show", help=t("Show a tenant; read and change its legal identity."))
def tenant() -> None:
    pass


@tenant.command(help=t("Show a tenant: stage, projects, budgets, jobs."))
@tenant_option
@as_json
def show(tenant: str | None, json_wanted: bool) -> None:
    client = connect()
    show_tenant(client.tenant(tenant_of(client, tenant)), json_wanted)


@tenant.group(cls=Nouns, default="show", help=t("Who the tenant is before the law: show it, change it."))
def legal() -> None:
    pass


@legal.command("show", help=t("Show the legal identity; its version is what `set --expect` takes."))
@tenant_option
@as_json
def show_legal(tenant: str | None, json_wanted: bool) -> None:
    client = connect()
    found, tag = client.seen(_path(client, tenant))
    if json_wanted:
        print_json(found)
        return
    print_legal(found, (t("version"), tag.strip('"')))


@legal.command("set", help=t("Replace the legal identity by that of a YAML or JSON file."))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@tenant_option
@click.option(
    "--expect", metavar="VERSION", help=t("Only if it is still this version.  [default: the one there now]")
)
@click.option("-y", "--yes", is_flag=True, help=t("Do not ask."))
def set_legal(file: Path, tenant: str | None, expect: str | None, yes: bool) -> None:
    body = read_mapping(file)
    client = connect()
    where = _path(client, tenant)
    kept: dict[str, Any] = {}
    tag = f'"{expect}"' if expect else ""
    if not expect:
        try:
            kept, tag = client.seen(where)
        except Refused as refused:  # there is none yet
            if refused.status != 404 or refused.code != "unknown-legal":
                raise
        if kept and is_interactive():
            _say_changes(kept, body)
            confirm(t("Change it so?"), yes)
    client.request("PUT", where, json=body, headers=expecting(tag))
    click.echo(t("the legal identity is as in {path} now", path=file), err=True)


def print_legal(found: dict[str, Any], *more: tuple[str, Any]) -> None:
    """A legal identity with its contacts; `more`: fields below its own."""
    print_fields([*_fields(found), *more])
    if found.get("contacts"):
        click.echo()
        rows = [(word(one["role"]), one["name"], one["email"], one.get("phone")) for one in found["contacts"]]
        print_table([t("FOR"), t("NAME"), t("E-MAIL"), t("PHONE")], rows, "")


def _path(client: Client, tenant: str | None) -> str:
    return path("tenants", tenant_of(client, tenant), "legal")


def _fields(found: dict[str, Any]) -> list[tuple[str, Any]]:
    place = f"{found['street']}, {found['postcode']} {found['city']}, {found['country']}"
    fields = [
        (t("name"), found["name"]),
        (t("address"), place),
        (t("size class"), word(found["size_class"])),
        (t("VAT id"), found.get("vat_id") or None),
        (t("Leitweg-ID"), found.get("leitweg_id") or None),
        (t("headcount"), found.get("headcount")),
        (t("turnover"), _euros(found.get("turnover_eur"))),
        (t("balance sheet"), _euros(found.get("balance_eur"))),
        (t("linked"), ", ".join(one["name"] for one in found.get("linked_enterprises", ())) or None),
    ]
    return [(name, value) for name, value in fields if value is not None]


def _euros(amount: int | None) -> str | None:
    return None if amount is None else f"{amount} EUR"


def _say_changes(kept: dict[str, Any], body: dict[str, Any]) -> None:
    for name in sorted({*kept, *body}):
        if kept.get(name) != body.get(name):
            click.echo(f"- {name}: {kept.get(name)}\n+ {name}: {body.get(name)}", err=True)
