# SPDX-License-Identifier: Apache-2.0
"""Questions on a terminal, on standard error so that output stays output. Called by commands that change much."""

import sys

import click

from leitstand.cli.text import t

yes_option = click.option("-y", "--yes", is_flag=True, help=t("Do not ask."))


def is_interactive() -> bool:
    """Whether somebody is there to answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str, yes: bool) -> None:
    """Go on only if the answer is yes; where nobody can be asked, only with --yes."""
    if yes:
        return
    if not is_interactive():
        raise click.UsageError(t("Nobody can be asked here; if you are sure, add --yes."))
    click.confirm(question, abort=True, err=True)


def secret_from(prompt: str) -> str:
    """A secret that no process list shows: typed unseen, or the whole standard input without its last line end."""
    if sys.stdin.isatty():
        return str(click.prompt(prompt, hide_input=True, err=True))
    return sys.stdin.read().removesuffix("\n").removesuffix("\r")
