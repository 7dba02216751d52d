# SPDX-License-Identifier: Apache-2.0
"""The commands about people: `users`, `members`, `roles`. Loaded by `leitstand.cli.root`."""

from typing import Any, Final

import click

from leitstand.cli import complete
from leitstand.cli.asking import confirm, yes_option
from leitstand.cli.client import connect
from leitstand.cli.nouns import Nouns, listing, tenant_of, user_of
from leitstand.cli.table import as_json, person, plain, print_fields, print_json, print_table
from leitstand.cli.tenant import tenant_option
from leitstand.cli.text import t
from leitstand.cli.words import word
from leitstand.client import path

ROLES: Final = ("operator", "auditor", "reviewer", "tenant_admin", "member", "viewer")

user_argument = click.argument("user")
role_argument = click.argument("role", type=click.Choice(ROLES))
_in_tenant = click.option(
    "--tenant", shell_complete=complete.tenants, help=t("In this tenant; left out: of the platform.")
)
_in_project = click.option(
    "--project", shell_complete=complete.projects, help=t("In this project; left out: in the whole tenant.")
)


@click.command(help=t("List who has which role in a tenant."))
@tenant_option
@click.option("--project", shell_complete=complete.projects, help=t("Only roles in this project."))
@as_json
def members(tenant: str | None, project: str | None, json_wanted: bool) -> None:
    client = connect()
    rows = listing(client, path("tenants", tenant_of(client, tenant), "members"), project=project)
    if json_wanted:
        print_json(rows)
        return
    cells = [
        (
            person(row["user"]),
            row["user"]["id"],
            word(row["role"]),
            row["project"] or t("(all)"),
            row["origin"] or None,
        )
        for row in rows
    ]
    headers = [t("NAME"), t("ID"), t("ROLE"), t("PROJECT"), t("ORIGIN")]
    print_table(headers, cells, t("No members."))


# ── users ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@click.group(cls=Nouns, help=t("List, show, add and erase users."))
def users() -> None:
    pass


@users.command("list", help=t("List the users that you see."))
@click.option("--tenant", shell_complete=complete.tenants, help=t("Only who has a role in this tenant."))
@as_json
def list_users(tenant: str | None, json_wanted: bool) -> None:
    rows = listing(connect(), "/v1/users", tenant=tenant)
    if json_wanted:
        print_json(rows)
        return
    cells = [(row["name"] or None, row["email"] or None, row["id"], _roles(row)) for row in rows]
    print_table([t("NAME"), t("E-MAIL"), t("ID"), t("ROLES")], cells, t("No users."))


@users.command(help=t("Show a user with the roles that you may see."))
@user_argument
@as_json
def show(user: str, json_wanted: bool) -> None:
    client = connect()
    _print_user(client.get(path("users", user_of(client, user))), json_wanted)


@users.command(help=t("Add a user without roles; others come by invitation."))
@click.option("--name", required=True, help=t("What the person is called."))
@click.option("--email", required=True, help=t("The e-mail address."))
@as_json
def add(name: str, email: str, json_wanted: bool) -> None:
    _print_user(connect().post("/v1/users", {"name": name, "email": email}, once=True), json_wanted)


@users.command(help=t("Erase a user: tokens, live jobs, name, address, and what the jobs were."))
@user_argument
@yes_option
def erase(user: str, yes: bool) -> None:
    client = connect()
    which = user_of(client, user)
    confirm(t("Erase everything about user {user}? This cannot be taken back.", user=plain(which)), yes)
    client.delete(path("users", which))
    click.echo(t("erased user {user}", user=plain(which)), err=True)


# ── roles ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@click.group(cls=Nouns, help=t("List, grant and revoke roles."))
def roles() -> None:
    pass


@roles.command("list", help=t("List your roles, or another's."))
@click.argument("user", required=False, default="me")
@as_json
def list_roles(user: str, json_wanted: bool) -> None:
    client = connect()
    rows = client.get(path("users", user_of(client, user)))["roles"]
    if json_wanted:
        print_json(rows)
    else:
        print_roles(rows)


@roles.command(help=t("Grant a role. Somebody new comes by invitation."))
@user_argument
@role_argument
@_in_tenant
@_in_project
@as_json
def grant(user: str, role: str, json_wanted: bool, **where: str | None) -> None:
    client = connect()
    body = {"role": role} | {name: value for name, value in where.items() if value}
    _print_user(client.post(path("users", user_of(client, user), "roles"), body), json_wanted)


@roles.command(help=t("Revoke a role."))
@user_argument
@role_argument
@_in_tenant
@_in_project
def revoke(user: str, role: str, **where: str | None) -> None:
    client = connect()
    client.delete(path("users", user_of(client, user), "roles"), role=role, **where)
    click.echo(t("revoked"), err=True)


def print_roles(rows: list[dict[str, Any]]) -> None:
    """A table of roles."""
    cells = [
        (word(one["role"]), one["tenant"] or t("(platform)"), one["project"] or None, one["origin"] or None)
        for one in rows
    ]
    print_table([t("ROLE"), t("TENANT"), t("PROJECT"), t("ORIGIN")], cells, t("No roles."))


def _print_user(user: dict[str, Any], json_wanted: bool) -> None:
    if json_wanted:
        print_json(user)
        return
    print_fields(
        [(t("user"), user["id"]), (t("name"), user["name"] or None), (t("e-mail"), user["email"] or None)]
    )
    if user["roles"]:
        click.echo()
        print_roles(user["roles"])


def _roles(user: dict[str, Any]) -> str | None:
    """Roles in a cell: `Mitglied acme/vision, …`."""
    places = [
        (one["role"], "/".join(part for part in (one["tenant"], one["project"]) if part))
        for one in user["roles"]
    ]
    return ", ".join(f"{word(role)} {place}".strip() for role, place in places) or None
