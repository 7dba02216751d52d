# SPDX-License-Identifier: Apache-2.0
"""What the commands about things have in common: groups named after them, people, tenants, structured files.

`leitstand tenants` lists, `leitstand tenants add` adds: a noun without a verb is its `default`.
"""

from pathlib import Path
from typing import Any, Final

import click

from leitstand.cli.client import Client
from leitstand.cli.refusals import CommandFailed
from leitstand.cli.text import t, why

FILE_BYTES_MAX: Final = 1024 * 1024
LISTED_MAX: Final = 100_000
_NUMBERS: Final = ("headcount", "turnover_eur", "balance_eur", "share_percent")


class Nouns(click.Group):
    """A group whose name alone means its command `default`; with `takes_words` also in front of any other word."""

    def __init__(self, *args: Any, default: str = "list", takes_words: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.default = default
        self.takes_words = takes_words

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = args[0] if args else ""
        is_option = not args or (first.startswith("-") and first not in ctx.help_option_names)
        is_word = self.takes_words and first not in self.commands and first not in ctx.help_option_names
        if (is_option or is_word) and not ctx.resilient_parsing:  # while completing, words are as they are
            args = [self.default, *args]
        return super().parse_args(ctx, args)


def listing(client: Client, path: str, **params: Any) -> list[dict[str, Any]]:
    """All items of a listing; parameters that are None are left out."""
    return list(client.pages(path, LISTED_MAX, **params))


def tenant_of(client: Client, given: str | None) -> str:
    """The tenant that is meant: the one given, else the one where the asker works."""
    if given:
        return given
    home = client.whoami()["home"]
    if home is None:
        raise click.UsageError(t("You work in several tenants, or in none: name one with --tenant."))
    return str(home["tenant"])


def user_of(client: Client, word: str) -> str:
    """The id of the user that is meant by an id, `me`, a name or an e-mail address."""
    if word in ("me", "admin") or (word[:1] == "u" and word[1:].isdecimal()):
        return word
    found = [
        user
        for user in listing(client, "/v1/users")
        if word.casefold() in (user["name"].casefold(), user["email"].casefold())
    ]
    if len(found) == 1:
        return str(found[0]["id"])
    if found:
        ids = ", ".join(user["id"] for user in found)
        raise CommandFailed(t('"{word}" is the name of several users: {ids}', word=word, ids=ids))
    raise CommandFailed(
        t('There is no user "{word}".', word=word), hint=t("`leitstand users` lists the users.")
    )


def read_mapping(path: Path) -> dict[str, Any]:
    """What a YAML or JSON file says. Scalars stay as they are written (a postcode 01067 is no number), but for the
    figures of enterprises."""
    import yaml

    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        if len(content) > FILE_BYTES_MAX:
            raise CommandFailed(t("{path} is larger than {limit} bytes.", path=path, limit=FILE_BYTES_MAX))
        found = yaml.load(content, yaml.BaseLoader)  # makes text, lists and mappings alone
    except OSError as error:
        raise CommandFailed(f"{path}: {why(error)}") from error
    except (yaml.YAMLError, RecursionError, UnicodeError) as error:
        raise CommandFailed(t("{path} is no YAML: {why}", path=path, why=error)) from error
    if not isinstance(found, dict):
        raise CommandFailed(t("{path} has to be a mapping of names to values.", path=path))
    return {str(name): _figures(value, str(name)) for name, value in found.items()}


def _figures(value: Any, name: str) -> Any:
    """Numbers where numbers belong; what is none is left for the control plane to refuse by name."""
    if isinstance(value, dict):
        return {str(key): _figures(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [_figures(inner, name) for inner in value]
    return int(value) if name in _NUMBERS and str(value).isdecimal() and len(value) < 19 else value
