# SPDX-License-Identifier: Apache-2.0
"""The commands of who is not here yet: `apply`, `agreement`. Loaded by `leitstand.cli.root`.

An application comes from options, from a file, or from answers on a terminal; options overrule the file.
"""

from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from leitstand import client as sdk
from leitstand.cli import credentials
from leitstand.cli.asking import is_interactive
from leitstand.cli.client import Client, connect
from leitstand.cli.nouns import read_mapping
from leitstand.cli.table import as_json, plain, print_json
from leitstand.cli.tenants import CLASSES
from leitstand.cli.text import is_german, t
from leitstand.cli.words import word

SIZE_CLASSES: Final = ("micro", "small", "medium", "large", "public")


class Field(NamedTuple):
    """One thing that an application says: its option, its place in the request, what a terminal asks."""

    option: str
    place: tuple[str, ...]
    question: str
    choices: tuple[str, ...] = ()
    needed: bool = True


def _fields() -> tuple[Field, ...]:
    return (
        Field("tenant", ("tenant",), t("Id of the new tenant (a-z, 0-9, -)")),
        Field("class", ("class",), t("Class"), CLASSES),
        Field("legal-name", ("legal", "name"), t("Legal name")),
        Field("street", ("legal", "street"), t("Street and number")),
        Field("postcode", ("legal", "postcode"), t("Postcode")),
        Field("city", ("legal", "city"), t("City")),
        Field("country", ("legal", "country"), t("Country (two letters, like DE)")),
        Field("size-class", ("legal", "size_class"), t("Size class (2003/361/EC)"), SIZE_CLASSES),
        Field("vat-id", ("legal", "vat_id"), t("VAT id (empty if there is none)"), needed=False),
        Field("leitweg-id", ("legal", "leitweg_id"), t("Leitweg-ID (German public bodies)"), needed=False),
        Field("applicant", ("applicant", "name"), t("Your name")),
        Field("email", ("applicant", "email"), t("Your e-mail address")),
        Field("purpose", ("purpose",), t("What you want to compute"), needed=False),
    )


def _options(function: Any) -> Any:
    for field in reversed(_fields()):
        kind = click.Choice(field.choices) if field.choices else None
        function = click.option(
            f"--{field.option}", field.option.replace("-", "_"), type=kind, help=field.question
        )(function)
    return function


@click.command(help=t("Apply for a tenant of your own: asks on a terminal, or takes a file or options."))
@click.option(
    "--file",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help=t("An application in YAML or JSON."),
)
@_options
@click.option(
    "--accept-agreement",
    metavar="VERSION",
    help=t("You have read and accept this version (see `agreement`)."),
)
@click.option("--url", help=t("The control plane.  [default: LEITSTAND_URL, else as before]"))
@as_json
def apply(
    file: Path | None, accept_agreement: str | None, url: str | None, json_wanted: bool, **given: str | None
) -> None:
    body = read_mapping(file) if file else {}
    _fill(body, given)
    client = connect(url, token="")
    body["agreement"] = accept_agreement or body.get("agreement") or _accepted(client)
    filed = client.apply(body)
    credentials.keep_claim(client.url, filed["id"], filed["claim"])
    if json_wanted:
        print_json(filed)
        return
    click.echo(
        t(
            "application {id} for tenant {tenant} is filed",
            id=plain(filed["id"]),
            tenant=plain(filed["tenant"]),
        )
    )
    for check in filed["checks"]:
        click.echo(f"  {word(check['name'])}: {word(check['outcome'])} ({word(check['owner'])})")
    where = "" if sdk.place()[0].rstrip("/") == client.url else f" --url {client.url}"
    click.echo(
        t("See what becomes of it: {command}", command=f"leitstand application show --wait{where}"), err=True
    )
    click.echo(t("Then fetch your token: {command}", command=f"leitstand application claim{where}"), err=True)


@click.command(help=t("Print the data-processing contract that a tenant accepts."))
@click.option("--version", help=t("Another version.  [default: the one in force]"))
@click.option("--language", type=click.Choice(["en", "de"]), help=t("Its language.  [default: yours]"))
@click.option("--url", help=t("The control plane.  [default: LEITSTAND_URL, else as before]"))
@as_json
def agreement(version: str | None, language: str | None, url: str | None, json_wanted: bool) -> None:
    language = language or _language()
    found = connect(url, token="").get("/v1/agreement", version=version, language=language)
    if json_wanted:
        print_json(found)
        return
    click.echo(_text(found))
    click.echo(t("This is version {version}.", version=plain(found["version"])), err=True)


def _fill(body: dict[str, Any], given: dict[str, str | None]) -> None:
    """Put options into the request, then ask for what is missing, or name all of it."""
    missing = []
    for field in _fields():
        value = given[field.option.replace("-", "_")]
        into = body
        for part in field.place[:-1]:
            into = into.setdefault(part, {})
            if not isinstance(into, dict):
                raise click.UsageError(t('"{key}" has to be a mapping.', key=part))
        name = field.place[-1]
        if value is not None:
            into[name] = value
        elif name not in into and is_interactive():
            if answer := _ask(field, body):
                into[name] = answer
        elif name not in into and field.needed:
            missing.append(f"--{field.option}")
    if missing:
        raise click.UsageError(t("These are missing: {options}", options=", ".join(missing)))
    legal, applicant = body["legal"], body["applicant"]
    contact = {"role": "contract", "name": applicant["name"], "email": applicant["email"]}
    legal.setdefault("contacts", [contact])


def _ask(field: Field, body: dict[str, Any]) -> str:
    if field.option == "leitweg-id" and body["class"] != "public":
        return ""
    kind = click.Choice(field.choices) if field.choices else None
    default = None if field.needed else ""
    return str(click.prompt(field.question, type=kind, default=default, show_default=False, err=True)).strip()


def _accepted(client: Client) -> str:
    """Show the agreement and ask; its version."""
    found = client.get("/v1/agreement", language=_language())
    version = str(found["version"])
    if not is_interactive():
        raise click.UsageError(
            t("Read `leitstand agreement`, then add --accept-agreement {version}.", version=version)
        )
    click.echo(_text(found), err=True)
    click.confirm(
        t("Do you accept this contract (version {version})?", version=version), abort=True, err=True
    )
    return version


def _language() -> str:
    return "de" if is_german() else "en"


def _text(found: dict[str, Any]) -> str:
    return "\n".join(plain(line) for line in found["text"].splitlines())
