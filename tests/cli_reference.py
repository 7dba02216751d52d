# SPDX-License-Identifier: Apache-2.0
"""The reference of the command line, from the commands themselves: `python -m tests.cli_reference > docs/cli.md`.

A test (tests/unit/test_cli_reference.py) holds the page to it.
"""

import os
import sys
from collections.abc import Iterator

INTRODUCTION = """# The command line

Every command with its arguments and options, as `leitstand COMMAND --help` tells them. How they play together is in
[the guide](guide.md); exit codes are [there](guide.md#exit-codes), too. This page is made by
`python -m tests.cli_reference > docs/cli.md`, and a test holds it to the code.

- **Where to.** `leitstand login` signs in through the browser and remembers the control plane and a token in
  `~/.config/leitstand/credentials.json` (`XDG_CONFIG_HOME`), readable by you alone. `LEITSTAND_URL` and
  `LEITSTAND_TOKEN` go before that; a token of the environment never goes to a URL that was remembered.
- **For programs.** Every reading command takes `--json`: times are absolute (RFC 3339, UTC), codes are codes, people
  have `id` and `name`. Without it, tables show names and distances in time (`3m ago`), in the language of the locale.
- **Questions** go to standard error and are only asked on a terminal; `-y` answers yes. What cannot be taken back does
  not happen without a terminal or `-y`.
- **Nouns.** `leitstand tenants` is `leitstand tenants list`. Where a tenant is left out, it is the one you work in.
- **Completion.** `eval "$(leitstand completion bash)"`; ids of jobs, tenants and projects are completed, too.
- **Plain.** Colour and redrawing only on a terminal; `NO_COLOR` is obeyed.
"""


def main() -> None:
    """Print the page, in English whatever the locale."""
    os.environ["LC_ALL"] = "C"  # before anything of ours is imported: help texts are made then
    print(INTRODUCTION)
    print("\n".join(page()).rstrip())


def page() -> Iterator[str]:
    """The lines of every command, groups before their members."""
    import click

    from leitstand.app.admin import admin
    from leitstand.app.up import up
    from leitstand.cli.root import cli

    context = click.Context(cli, info_name="leitstand", max_content_width=110)
    yield from _command(up, click.Context(up, info_name="up", parent=context))
    yield from _command(admin, click.Context(admin, info_name="admin", parent=context))
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None, name
        yield from _command(command, click.Context(command, info_name=name, parent=context))


def _command(command, context) -> Iterator[str]:  # type: ignore[no-untyped-def]
    import click

    yield f"## `{context.command_path}`" if context.parent.parent is None else f"### `{context.command_path}`"
    yield ""
    yield command.help or ""
    if command.epilog:
        yield "\n" + command.epilog
    yield ""
    formatter = context.make_formatter()
    command.format_usage(context, formatter)
    yield "```text"
    yield formatter.getvalue().rstrip()
    yield "```"
    yield ""
    records = [record for one in command.get_params(context) if (record := one.get_help_record(context))]
    records = [(name, text) for name, text in records if text and "--help" not in name]
    if records:
        yield "| option | meaning |"
        yield "|---|---|"
        for name, text in records:
            yield f"| `{name.replace('|', chr(92) + '|')}` | {text.replace('|', chr(92) + '|')} |"
        yield ""
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None, name
            yield from _command(inner, click.Context(inner, info_name=name, parent=context))


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    main()
