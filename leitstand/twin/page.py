# SPDX-License-Identifier: Apache-2.0
"""Pages that people open: sections of text, tables and pictures, as one HTML file that needs no network and no script,
or as Markdown with its pictures beside it. Called by studies, forks and the account of own partitions.

In texts `**strong**` and `` `code` `` are marked; all else is text.
"""

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

MARKED: Final = re.compile(r"\*\*(.+?)\*\*|`(.+?)`")


@dataclass(frozen=True)
class Table:
    """`rows`: as long as `head`; the first cell is the head of its row. A cell that ends with `better` or `worse` is
    coloured. `folded`: shown on demand."""

    caption: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    folded: bool = False


@dataclass(frozen=True)
class Listing:
    """Sentences under a heading of their own; none are no more than the heading."""

    title: str
    sentences: Sequence[str]


@dataclass(frozen=True)
class Picture:
    """`name`: of its file, without suffix; `says`: what is seen on it, for who does not see it."""

    name: str
    svg: str
    says: str


Part = str | Table | Listing | Picture


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    parts: list[Part]


@dataclass(frozen=True)
class Page:
    """The whole of it; `lead`: what it is in a sentence or two."""

    title: str
    lead: str
    sections: list[Section]


def html(page: Page) -> str:
    """One file, its pictures inside."""
    environment = Environment(
        loader=PackageLoader("leitstand.twin", "."),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["inline"] = _inline
    environment.filters["data"] = lambda svg: base64.b64encode(svg.encode()).decode()
    return environment.get_template("page.html.j2").render(page=page)


def markdown(page: Page) -> str:
    """The same, its pictures beside it."""
    lines = [f"# {page.title}", "", page.lead]
    for section in page.sections:
        lines += ["", f"## {section.title}"]
        for part in section.parts:
            lines.append("")
            if isinstance(part, Table):
                lines += [f"**{part.caption}**", "", *_rows(part)]
            elif isinstance(part, Listing):
                lines += [f"### {part.title}", "", *(f"- {sentence}" for sentence in part.sentences)]
            else:
                lines.append(f"![{part.says}]({part.name}.svg)" if isinstance(part, Picture) else part)
    return "\n".join(lines) + "\n"


def pictures(page: Page) -> Iterator[Picture]:
    """All of the page."""
    for section in page.sections:
        yield from (part for part in section.parts if isinstance(part, Picture))


def _rows(table: Table) -> Iterator[str]:
    for row in (table.head, ("---", *(["---:"] * (len(table.head) - 1))), *table.rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _inline(text: str) -> Markup:
    parts, at = [], 0
    for found in MARKED.finditer(text):
        parts.append(escape(text[at : found.start()]))
        tag = "strong" if found[1] else "code"
        parts.append(Markup("<{0}>{1}</{0}>").format(Markup(tag), found[1] or found[2]))
        at = found.end()
    return Markup().join([*parts, escape(text[at:])])
