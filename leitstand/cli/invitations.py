# SPDX-License-Identifier: Apache-2.0
"""The commands by which people come in: `invite`, `invitations`, `join`. Loaded by `leitstand.cli.root`."""

import os
import time

import click

from leitstand import client as sdk
from leitstand.cli import complete, credentials
from leitstand.cli.amounts import DURATION, parse_duration, reading, show_ago
from leitstand.cli.asking import is_interactive, secret_from
from leitstand.cli.client import connect
from leitstand.cli.nouns import Nouns, listing, tenant_of
from leitstand.cli.people import ROLES
from leitstand.cli.refusals import Unreachable
from leitstand.cli.table import as_json, person, plain, print_json, print_table
from leitstand.cli.tenant import tenant_option
from leitstand.cli.text import t
from leitstand.cli.words import word

PLATFORM_ROLES = ("operator", "reviewer")


@click.command(help=t("Invite somebody into a tenant or project; prints the code, this once."))
@click.argument("role", type=click.Choice(ROLES))
@tenant_option
@click.option(
    "--project", shell_complete=complete.projects, help=t("In this project; left out: in the whole tenant.")
)
@click.option("--platform", is_flag=True, help=t("A role of the platform, in no tenant."))
@click.option("--email", help=t("Whose address it is for."))
@click.option(
    "--expires-in",
    metavar=DURATION,
    callback=reading(parse_duration),
    help=t("How long it is open.  [default: 7d]"),
)
@as_json
def invite(
    role: str,
    tenant: str | None,
    platform: bool,
    expires_in: float | None,
    json_wanted: bool,
    **more: str | None,
) -> None:
    client = connect()
    asked = {"expires_in": expires_in, **more}
    if not (platform or (role in PLATFORM_ROLES and not tenant)):
        asked["tenant"] = tenant_of(client, tenant)
    answer = client.invite(role, **{name: value for name, value in asked.items() if value is not None})
    if json_wanted:
        print_json(answer)
        return
    said = t("invitation {id}, expires {when}; whoever has its code types:", id=answer["id"],
             when=show_ago(answer["expires_at"], time.time()))  # fmt: skip
    click.echo(said, err=True)
    click.echo(f"leitstand join --url {client.url} {answer['code']}")


@click.group(cls=Nouns, help=t("List and withdraw invitations."))
def invitations() -> None:
    pass


@invitations.command("list", help=t("List open invitations, and those of late that are over."))
@click.option("--tenant", shell_complete=complete.tenants, help=t("Only those into this tenant."))
@as_json
def list_(tenant: str | None, json_wanted: bool) -> None:
    rows = listing(connect(), "/v1/invitations", tenant=tenant)
    if json_wanted:
        print_json(rows)
        return
    cells = [
        (
            row["id"],
            word(row["role"]),
            "/".join(part for part in (row["tenant"], row["project"]) if part) or t("(platform)"),
            row["email"] or None,
            word(row["state"]),
            show_ago(row["expires_at"], time.time()),
            person(row["accepted_by"]),
        )
        for row in rows
    ]
    headers = [t("ID"), t("ROLE"), t("WHERE"), t("E-MAIL"), t("STATE"), t("EXPIRES"), t("ACCEPTED BY")]
    print_table(headers, cells, t("No invitations."))


@invitations.command(help=t("Withdraw an invitation: its code opens nothing any more."))
@click.argument("invitation")
def withdraw(invitation: str) -> None:
    connect().delete(sdk.path("invitations", invitation))
    click.echo(t("withdrawn: invitation {id}", id=plain(invitation)), err=True)


@click.command(
    help=t(
        "Accept an invitation by its code (- reads it from standard input); who is not signed in gets an account."
    )
)
@click.argument("code")
@click.option("--url", help=t("The control plane.  [default: LEITSTAND_URL, else as before]"))
@click.option("--name", help=t("What you are called, for a new account."))
@click.option("--email", help=t("Your address, for a new account.  [default: the one that was invited]"))
@as_json
def join(code: str, url: str | None, name: str | None, email: str | None, json_wanted: bool) -> None:
    if code == "-":
        code = secret_from(t("Code")).strip()
    _, token = sdk.place(url)
    client = connect(url) if token else connect(url, token="")
    if not token and name is None and is_interactive():
        name = click.prompt(t("Your name"), err=True)
    body = {"code": code} | {key: value for key, value in (("name", name), ("email", email)) if value}
    try:
        answer = client.post("/v1/invitations/accept", body)
    except Unreachable as failure:
        if not url and not os.environ.get("LEITSTAND_URL", "").strip():
            failure.hint = t("Add --url, as the invitation has it.")
        raise
    if answer.get("secret"):
        credentials.keep_token(client.url, answer["secret"], answer["token"]["id"], ours=True)
    if json_wanted:
        print_json(answer)
        return
    place = "/".join(part for part in (answer["tenant"], answer["project"]) if part) or t("(platform)")
    said = t("you are {role} of {place} now", role=word(answer["role"]), place=plain(place))
    click.echo(said)
    if answer.get("secret"):
        click.echo(t("signed in at {url} as {name}", url=client.url, name=person(answer["user"])), err=True)
