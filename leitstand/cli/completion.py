# SPDX-License-Identifier: Apache-2.0
"""The command `completion`: prints what makes a shell complete our commands. Loaded by `leitstand.cli.root`."""

import contextlib
import io

import click
from click.shell_completion import get_completion_class

from leitstand.cli.text import t

SHELLS = ("bash", "zsh", "fish")


@click.command(
    help=t("Print the completion script of a shell; ids of jobs, tenants and projects are completed, too."),
    epilog=t(
        'bash, zsh: put eval "$(leitstand completion bash)" into ~/.bashrc, or with zsh into ~/.zshrc. '
        "fish: leitstand completion fish > ~/.config/fish/completions/leitstand.fish"
    ),
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    kind = get_completion_class(shell)
    assert kind is not None, shell
    with contextlib.redirect_stderr(
        io.StringIO()
    ):  # it looks for a bash here, which need not be the one that reads it
        script = kind(ctx.find_root().command, {}, "leitstand", "_LEITSTAND_COMPLETE").source()
    click.echo(script)
