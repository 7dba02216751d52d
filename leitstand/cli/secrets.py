# SPDX-License-Identifier: Apache-2.0
"""The command `secrets`: names and versions of a project's secrets, and their values on the way in. Loaded by
`leitstand.cli.root`. No value is ever an argument: others can see those.
"""

import time

import click

from leitstand.cli import complete
from leitstand.cli.amounts import show_ago
from leitstand.cli.asking import confirm, secret_from, yes_option
from leitstand.cli.client import connect
from leitstand.cli.nouns import Nouns
from leitstand.cli.table import as_json, person, plain, print_json, print_table
from leitstand.cli.tenant import tenant_option
from leitstand.cli.text import t

project_option = click.option(
    "--project", shell_complete=complete.projects, help=t("The project.  [default: the one you work in]")
)


@click.group(cls=Nouns, help=t("List, set and delete secrets of a project."))
def secrets() -> None:
    pass


@secrets.command("list", help=t("List names and versions; values are never shown."))
@tenant_option
@project_option
@as_json
def list_(tenant: str | None, project: str | None, json_wanted: bool) -> None:
    found = connect().get("/v1/secrets", tenant=tenant, project=project)
    if json_wanted:
        print_json(found["items"])
        return
    headers = [t("SECRET"), t("VERSION"), t("SET"), t("BY")]
    cells = [
        (row["name"], row["version"], show_ago(row["created_at"], time.time()), person(row["by"]))
        for row in found["items"]
    ]
    place = plain(f"{found['tenant']}/{found['project']}")
    print_table(headers, cells, t("No secrets in {place}.", place=place))


@secrets.command("set", help=t("Set a secret to what comes on standard input, or is typed unseen."))
@click.argument("name")
@tenant_option
@project_option
@as_json
def set_(name: str, tenant: str | None, project: str | None, json_wanted: bool) -> None:
    client = connect()
    value = secret_from(t("Value of {name}", name=name))
    if not value:
        raise click.UsageError(t("The value is empty; give it on standard input."))
    of = {key: given for key, given in (("tenant", tenant), ("project", project)) if given}
    answer = client.set_secret(name, value, **of)
    if json_wanted:
        print_json(answer)
    else:
        click.echo(f"{plain(answer['name'])}@{answer['version']}")


@secrets.command(help=t("Delete a secret with all its versions."))
@click.argument("name")
@tenant_option
@project_option
@yes_option
def delete(name: str, tenant: str | None, project: str | None, yes: bool) -> None:
    client = connect()
    confirm(t("Delete the secret {name} with all its versions?", name=name), yes)
    client.delete_secret(name, **{k: v for k, v in (("tenant", tenant), ("project", project)) if v})
    click.echo(t("deleted {name}", name=plain(name)), err=True)
