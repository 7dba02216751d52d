# SPDX-License-Identifier: Apache-2.0
"""Printing rows for people and for programs. Called by every reading command.

Plain text with two spaces between columns: reads the same in a terminal, a file and a pipe. Colour never carries
meaning; a terminal gets a bold header unless NO_COLOR is set.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import click

from leitstand.cli.text import t

as_json = click.option("--json", "json_wanted", is_flag=True, help=t("Print JSON."))


def print_json(value: Any) -> None:
    """One JSON document, indented, on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(
    headers: Sequence[str], rows: Sequence[Sequence[Any]], empty: str, *, err: bool = False
) -> None:
    """Rows under their headers, numbers to the right; `empty` on stderr if there are none. `err`: all on stderr."""
    if not rows:
        click.echo(empty, err=True)
        return
    cells = [[plain(value) for value in row] for row in rows]
    right = [_are_numbers([row[i] for row in cells]) for i in range(len(headers))]
    widths = [max(len(headers[i]), *(len(row[i]) for row in cells)) for i in range(len(headers))]
    click.echo(_bold(_line(headers, widths, right)), err=err)
    for row in cells:
        click.echo(_line(row, widths, right), err=err)


def print_fields(fields: Sequence[tuple[str, Any]], *, err: bool = False) -> None:
    """One `name: value` a line, the values in one column; `err`: on stderr."""
    width = max(len(name) for name, _ in fields) + 1
    for name, value in fields:
        click.echo(f"{name + ':':<{width}} {plain(value)}", err=err)


def print_line(line: str) -> None:
    """A line of an output that goes on, at once."""
    click.echo(line)
    sys.stdout.flush()


def aligned(cells: Sequence[Any], widths: list[int]) -> str:
    """A row of an output that goes on: its columns are as wide as the widest cell so far, which `widths` keeps."""
    shown = [plain(cell) for cell in cells]
    widths[:] = [max(pair) for pair in zip_longest(widths, map(len, shown), fillvalue=0)]
    return _line(shown, widths, [False] * len(shown))


def person(who: Mapping[str, Any] | None) -> str | None:
    """What somebody is called; the id where the name is gone."""
    return (who["name"] or who["id"]) if who else None


def plain(value: Any) -> str:
    """The text of a cell. Control characters are made visible: names come from others, a terminal obeys escapes."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return t("yes") if value else t("no")
    text = str(value)
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    )


def _are_numbers(column: Sequence[str]) -> bool:
    """Whether a column is of numbers (and holes), which stand to the right."""
    filled = [cell.lstrip("<-").replace(".", "", 1) for cell in column if cell != "-"]
    return bool(filled) and all(cell.isdecimal() for cell in filled)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    place: list[Callable[[str, int], str]] = [str.rjust if r else str.ljust for r in right]
    return "  ".join(put(cell, width) for put, cell, width in zip(place, cells, widths, strict=True)).rstrip()


def _bold(line: str) -> str:
    return click.style(line, bold=True) if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else line
