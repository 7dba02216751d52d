# SPDX-License-Identifier: Apache-2.0
"""The command `application`: how far one's own is, and the first token. Loaded by `leitstand.cli.root`.

`apply` has kept the claim, which is the token for it; without one the signed-in user is asked about.
"""

import time
from typing import Any, Final

import click

from leitstand.cli import credentials
from leitstand.cli.amounts import parse_duration, reading, show_ago
from leitstand.cli.client import Client, connect
from leitstand.cli.nouns import Nouns
from leitstand.cli.refusals import CommandFailed, Refused
from leitstand.cli.table import as_json, person, plain, print_fields, print_json, print_table
from leitstand.cli.text import t
from leitstand.cli.words import next_of, word
from leitstand.client import path

LOOK_S: Final = (1.0, 2.0, 5.0, 10.0)  # between looks; the last one repeats
DECIDED: Final = ("approved", "refused", "withdrawn")

_url_option = click.option("--url", help=t("The control plane.  [default: LEITSTAND_URL, else as before]"))
_id_argument = click.argument("application_id", metavar="[APPLICATION]", required=False)


@click.group(
    cls=Nouns, default="show", takes_words=True, help=t("Follow your application, and fetch the first token.")
)
def application() -> None:
    pass


@application.command(help=t("Show how far it is and what happens next; left out: the last one filed here."))
@_id_argument
@click.option(
    "--wait", "waits", is_flag=True, help=t("Wait until it is decided; exit 1 if it is not approved.")
)
@click.option("--timeout", metavar="TIME", callback=reading(parse_duration), help=t("Wait at most so long."))
@_url_option
@as_json
@click.pass_context
def show(
    ctx: click.Context,
    application_id: str | None,
    waits: bool,
    timeout: float | None,
    url: str | None,
    json_wanted: bool,
) -> None:
    client, which = claimed(application_id, url)
    found = client.application(which)
    if waits:
        found = _decided(client, found, timeout)
    if json_wanted:
        print_json(found)
    else:
        print_application(found)
    if waits and found["state"] != "approved":
        ctx.exit(1)


@application.command(help=t("Fetch the first token of the tenant and sign in with it."))
@_id_argument
@_url_option
def claim(application_id: str | None, url: str | None) -> None:
    client, which = claimed(application_id, url)
    try:
        answer = client.post(path("applications", which, "token"), {})
    except Refused as refused:
        if refused.code == "conflict" and client.application(which)["state"] == "open":
            refused.hint = t("Wait with: leitstand application show --wait")
        raise
    credentials.keep_token(client.url, answer["secret"], answer["token"]["id"], ours=True)
    who = client.bearing(answer["secret"]).whoami()
    name = plain(who["user"]["name"] or who["user"]["id"])
    click.echo(t("signed in at {url} as {name}", url=client.url, name=name), err=True)
    click.echo(t("A first job: leitstand run --gpus 1 -- echo hello"), err=True)


@application.command(help=t("Withdraw it; what you said about yourself is erased at once."))
@_id_argument
@_url_option
@as_json
def withdraw(application_id: str | None, url: str | None, json_wanted: bool) -> None:
    client, which = claimed(application_id, url)
    found = client.post(path("applications", which, "withdraw"))
    if json_wanted:
        print_json(found)
    else:
        print_application(found)


def claimed(application_id: str | None, url: str | None) -> tuple[Client, str]:
    """The client that holds the claim of an application (else the signed-in user's), and its id."""
    stranger = connect(url, token="")
    claims = credentials.claims_of(stranger.url)
    which = application_id or next(reversed(claims), "")
    if not which:
        raise CommandFailed(
            t("No application was filed from here at {url}.", url=stranger.url),
            hint=t("File one with `leitstand apply`, or name it."),
        )
    if which in claims:
        return stranger.bearing(claims[which]), which
    return connect(url), which


def print_application(found: dict[str, Any]) -> None:
    """One application with its checks and what happens next."""
    applicant, legal = found["applicant"], found["legal"]
    fields = [
        (t("application"), found["id"]),
        (t("tenant"), f"{found['tenant']} ({word(found['class'])})"),
        (t("legal name"), legal["name"] if legal else None),
        (t("applicant"), f"{applicant['name']} <{applicant['email']}>" if applicant else None),
        (t("state"), word(found["state"])),
        (t("filed"), show_ago(found["filed_at"])),
        (t("decided"), show_ago(found["decided_at"])),
        (t("reason"), word(found["reason"]) or None),
        (t("note"), found["note"] or None),
        (t("purpose"), found["purpose"] or None),
        (t("next"), next_of(found)),
    ]
    print_fields([(name, value) for name, value in fields if value is not None])
    for doubt in found["doubts"]:
        click.echo(t("look at: {where} {what}", where=plain(doubt["where"]), what=plain(doubt["what"])))
    click.echo()
    rows = [
        (
            word(check["name"]),
            word(check["owner"]),
            word(check["outcome"]),
            person(check["by"]),
            show_ago(check["at"]),
            check["note"] or None,
        )
        for check in found["checks"]
    ]
    print_table([t("CHECK"), t("WHOSE"), t("OUTCOME"), t("BY"), t("WHEN"), t("NOTE")], rows, "")


def _decided(client: Client, found: dict[str, Any], timeout: float | None) -> dict[str, Any]:
    """The application once it is decided."""
    began, tries = time.monotonic(), 0
    while found["state"] not in DECIDED:
        if timeout is not None and time.monotonic() - began > timeout:
            raise CommandFailed(t("Application {id} is not decided yet.", id=plain(found["id"])))
        client.sleep(LOOK_S[min(tries, len(LOOK_S) - 1)])
        tries += 1
        found = client.application(found["id"])
    return found
