# SPDX-License-Identifier: Apache-2.0
"""The commands about who one is: `login`, `logout`, `whoami`. Loaded by `leitstand.cli.root`."""

import os
import socket
import time
from datetime import datetime
from typing import Any, Final

import click

from leitstand.cli import credentials
from leitstand.cli.amounts import show_time
from leitstand.cli.asking import is_interactive, secret_from, yes_option
from leitstand.cli.client import Client, check_token, connect
from leitstand.cli.refusals import CommandFailed, Refused
from leitstand.cli.table import as_json, plain, print_fields, print_json
from leitstand.cli.text import t
from leitstand.cli.words import word

CLIENT_MAX: Final = 100  # characters
PAUSE_MAX_S: Final = 60.0
_SLOWER_S: Final = 5.0  # RFC 8628, 3.5


@click.command(help=t("Sign in through the browser, or with a token on standard input."))
@click.option("--url", help=t("The control plane.  [default: LEITSTAND_URL, else as before]"))
@click.option(
    "--token",
    metavar="-",
    help=t("Take a token from standard input (a terminal asks for it); - is the only value."),
)
def login(url: str | None, token: str | None) -> None:
    if token not in (None, "-"):
        raise click.BadParameter(
            t(
                "A token on the command line can be seen by others; write --token - and give it on standard input"
            ),
            param_hint="--token",
        )
    stranger = connect(url, token="")
    if token:
        secret, token_id = check_token(secret_from(t("Token")).strip()), ""
    else:
        answer = _through_browser(stranger)
        secret, token_id = answer["secret"], answer["token"]["id"]
    who = stranger.bearing(secret).whoami()
    credentials.keep_token(stranger.url, secret, token_id or who["token"]["id"], ours=not token)
    name = plain(who["user"]["name"] or who["user"]["id"])
    click.echo(t("signed in at {url} as {name}", url=stranger.url, name=name), err=True)
    _warn_of_environment()


@click.command(help=t("Forget the token of `login`, and revoke it if it was made for this."))
@click.option("--url", help=t("The control plane.  [default: LEITSTAND_URL, else as before]"))
@yes_option
def logout(url: str | None, yes: bool) -> None:
    client = connect(url, token="")
    kept = credentials.plane_of(client.url)
    if not kept.get("token"):
        click.echo(t("not signed in at {url}", url=client.url), err=True)
        return
    ours = client.bearing(kept["token"]) if kept.get("ours") and kept.get("token_id") else None
    if ours and _is_only(ours, kept["token_id"]):
        click.echo(
            t(
                "This is your only valid token. Without it you come back by an invitation or through an operator."
            ),
            err=True,
        )
        if not yes and is_interactive():
            click.confirm(t("Sign out all the same?"), abort=True, err=True)
    credentials.drop_token(client.url)
    if ours:
        try:
            ours.revoke_token(kept["token_id"])
        except CommandFailed as failure:
            if not (isinstance(failure, Refused) and failure.status in (401, 404)):  # it is valid no more
                click.echo(t("the token is forgotten here, but was not revoked:"), err=True)
                failure.show()
    click.echo(t("signed out of {url}", url=client.url), err=True)
    _warn_of_environment()


@click.command(help=t("Show who you are: user, token, roles."))
@as_json
def whoami(json_wanted: bool) -> None:
    client = connect()
    who = client.whoami()
    if json_wanted:
        print_json(who)
        return
    user, token, home = who["user"], who["token"], who["home"]
    expires = token["expires_at"]
    print_fields(
        [
            (t("user"), f"{user['name'] or '-'} ({user['id']})"),
            *([(t("e-mail"), user["email"])] if user["email"] else []),
            (t("control plane"), client.url),
            (t("token"), f"{token['id']} ({word(token['kind'])})"),
            (t("expires"), show_time(expires, time.time()) if expires else t("never")),
            (t("scopes"), ", ".join(token["scopes"]) or t("all")),
            *([(t("bound to"), token["tenant"])] if token["tenant"] else []),
            (t("works in"), f"{home['tenant']}/{home['project']}" if home else None),
        ]
    )
    if who["roles"]:
        from leitstand.cli.people import print_roles

        click.echo()
        print_roles(who["roles"])


def _is_only(client: Client, token_id: str) -> bool:
    """Whether nobody could sign in as this user again: there is no other valid token and no identity provider."""
    try:
        if "oidc" in client.get("/v1/signin")["methods"]:
            return False
        tokens = client.get("/v1/users/me/tokens")["items"]
    except CommandFailed:  # nobody answers, or the token is valid no more: then it is no loss
        return False
    now = time.time()
    valid = {
        one["id"]
        for one in tokens
        if one["user"] != "admin" and datetime.fromisoformat(one["expires_at"]).timestamp() > now
    }
    return valid == {token_id}


def _through_browser(client: Client) -> dict[str, Any]:
    """Wait until somebody who is signed in there lets us in (RFC 8628); the token and its secret."""
    asked = client.post(
        "/v1/login", {"client": f"leitstand on {socket.gethostname()}"[:CLIENT_MAX]}, once=True
    )
    url = client.url + asked["verification_url"]
    click.echo(
        t("Open {url} in a browser, sign in, and enter the code {code}", url=url, code=asked["user_code"]),
        err=True,
    )
    pause, ends = float(asked["interval_s"]), time.monotonic() + float(asked["expires_in_s"])
    while time.monotonic() < ends:
        client.sleep(min(pause, PAUSE_MAX_S))
        try:
            return client.post("/v1/login/token", {"device_code": asked["device_code"]}, once=True)
        except Refused as refused:
            if refused.code == "slow-down":
                pause += _SLOWER_S
            elif refused.code != "authorization-pending":
                raise
    raise CommandFailed(t("Nobody entered the code in time."), hint=t("Try again: leitstand login"))


def _warn_of_environment() -> None:
    if os.environ.get("LEITSTAND_TOKEN", "").strip():
        click.echo(t("LEITSTAND_TOKEN is set, and goes before what is remembered here."), err=True)
