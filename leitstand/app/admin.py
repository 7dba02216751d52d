# SPDX-License-Identifier: Apache-2.0
"""`leitstand admin`: what only who has the data folder at hand can do. Called by `leitstand.__main__` by name."""

from pathlib import Path

import click

from leitstand.app import admin_token
from leitstand.app.settings import Settings
from leitstand.cli.text import t
from leitstand.journal import place
from leitstand.stores import place as stores
from leitstand.stores.agreement import Agreement
from leitstand.stores.tables import StoreAway


@click.group(help=t("Administer the data folder of a control plane."))
def admin() -> None:
    pass


@admin.command(
    "reset-token",
    help=t(
        "Replace the administrator's token. The old one opens nothing more, at once and also while the control plane "
        "runs; neither do the tokens and sessions that the administrator got by it."
    ),
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="LEITSTAND_DATA",
    default=Path("~/.local/share/leitstand"),
    show_default=True,
    help=t("The data folder."),
)
def reset_token(data: Path) -> None:
    settings = Settings(data=data.expanduser().absolute())
    if not (settings.admin_token.exists() or place.exists(settings.journal)):
        message = t("{folder} is no data folder of a control plane", folder=settings.data)
        raise click.BadParameter(message, param_hint="--data")
    admin_token.reset(settings.admin_token)
    if stores.are_in_databases(settings.data):
        try:
            Agreement(settings.data).replace(settings.admin_token.name, settings.admin_token)
        except (StoreAway, PermissionError) as error:
            message = t(
                "{error}; run this again, until then no token of the administrator counts", error=error
            )
            raise click.ClickException(message) from error
        click.echo(t("Copy it to the other machines of this control plane."), err=True)
    click.echo(t("{file} holds a new token.", file=settings.admin_token))
    click.echo(t("Tokens that it issued to others stay: `leitstand audit` shows them."), err=True)
