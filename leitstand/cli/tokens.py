# SPDX-License-Identifier: Apache-2.0
"""The command `tokens`: list, issue, revoke. Loaded by `leitstand.cli.root`."""

import time

import click

from leitstand.cli import complete
from leitstand.cli.amounts import DURATION, parse_duration, reading, show_ago
from leitstand.cli.client import connect
from leitstand.cli.nouns import Nouns, user_of
from leitstand.cli.table import as_json, plain, print_json, print_table
from leitstand.cli.text import t
from leitstand.cli.words import word

SCOPES = ("read", "jobs", "admin")

user_option = click.option(
    "--user", default="me", help=t("Whose: id, name or e-mail address.  [default: yours]")
)


@click.group(cls=Nouns, help=t("List, issue and revoke tokens."))
def tokens() -> None:
    pass


@tokens.command("list", help=t("List your tokens, or another's; secrets are never shown again."))
@user_option
@as_json
def list_(user: str, json_wanted: bool) -> None:
    client = connect()
    rows = client.tokens(user_of(client, user))
    if json_wanted:
        print_json(rows)
        return
    headers = [t("TOKEN"), t("KIND"), t("SCOPES"), t("TENANT"), t("ISSUED"), t("EXPIRES")]
    cells = [
        (
            row["id"],
            word(row["kind"]),
            ",".join(row["scopes"]) or t("all"),
            row["tenant"] or None,
            show_ago(row["issued_at"], time.time()),
            show_ago(row["expires_at"], time.time()),
        )
        for row in rows
    ]
    print_table(headers, cells, t("No tokens."))


@tokens.command(help=t("Issue a token and print its secret, this once."))
@user_option
@click.option(
    "--expires-in",
    metavar=DURATION,
    callback=reading(parse_duration),
    help=t("How long it is valid.  [default: 30d]"),
)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help=t("What it may at most; again for more."),
)
@click.option("--tenant", shell_complete=complete.tenants, help=t("Where alone it is valid."))
@as_json
def issue(
    user: str, expires_in: float | None, scopes: tuple[str, ...], tenant: str | None, json_wanted: bool
) -> None:
    client = connect()
    asked = {"expires_in": expires_in, "scopes": list(scopes) or None, "tenant": tenant}
    answer = client.issue_token(user_of(client, user), **{k: v for k, v in asked.items() if v is not None})
    if json_wanted:
        print_json(answer)
        return
    token = answer["token"]
    said = t(
        "token {id}, expires {when}; its secret is shown this once:",
        id=token["id"],
        when=show_ago(token["expires_at"], time.time()),
    )
    click.echo(said, err=True)
    click.echo(answer["secret"])


@tokens.command(help=t("Revoke tokens: from now on they open nothing."))
@click.argument("token_ids", metavar="TOKEN...", nargs=-1, required=True)
def revoke(token_ids: tuple[str, ...]) -> None:
    client = connect()
    for token in token_ids:
        client.revoke_token(token)
        click.echo(t("token {id} is revoked", id=plain(token)), err=True)
