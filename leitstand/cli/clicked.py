# SPDX-License-Identifier: Apache-2.0
"""Gives the library click, which speaks for us in usage errors and help, the language of the locale. Called by
`leitstand.cli.root` before anything is said.

click asks `gettext` for its sentences under the name `_` in each of its modules; there we answer from our catalogue.
"""

import click.core
import click.decorators
import click.exceptions
import click.formatting
import click.parser
import click.termui
import click.types

from leitstand.cli.german import GERMAN
from leitstand.cli.german_others import CLICK
from leitstand.cli.text import is_german


def translate() -> None:
    """From now on click speaks as `leitstand.cli.text` does."""
    for module in (
        click.core,
        click.decorators,
        click.exceptions,
        click.formatting,
        click.parser,
        click.termui,
        click.types,
    ):
        for name, answer in (("_", _one), ("ngettext", _by_number)):
            if hasattr(module, name):
                setattr(module, name, answer)


def _one(text: str) -> str:
    return CLICK.get(text) or GERMAN.get(text, text) if is_german() else text


def _by_number(one: str, many: str, count: int) -> str:
    return _one(one if count == 1 else many)
