# SPDX-License-Identifier: Apache-2.0
"""The files of a study: `study.html` (one page, which needs no network and no script), `study.md` with its pictures
(to be committed with documentation), `study.json` (all numbers) and `cells.parquet` (a row for each cell). Called by
the command.
"""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from leitstand.twin.studies.study import Study, as_data
from leitstand.twin.studies.summing import Found
from leitstand.twin.studies.telling import Page, Picture, Table, told

_MARKED = re.compile(r"\*\*(.+?)\*\*|`(.+?)`")


def write(study: Study, found: Found, folder: Path) -> list[Path]:
    """All files, in place of older ones; their paths, the page first."""
    page = told(study, found)
    texts = {"study.html": html(page), "study.md": markdown(page), "study.json": json_of(study, found)}
    texts |= {f"{picture.name}.svg": picture.svg for picture in _pictures(page)}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    pq.write_table(cells_table(found), folder / "cells.parquet", compression="zstd")
    return [folder / name for name in (*texts, "cells.parquet")]


def html(page: Page) -> str:
    """The page with its pictures inside."""
    environment = Environment(
        loader=PackageLoader("leitstand.twin.studies", "."),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["inline"] = _inline
    environment.filters["data"] = lambda svg: base64.b64encode(svg.encode()).decode()
    return environment.get_template("study.html.j2").render(page=page)


def markdown(page: Page) -> str:
    """The same, its pictures beside it."""
    lines = [f"# {page.title}", "", page.lead]
    for section in page.sections:
        lines += ["", f"## {section.title}"]
        for part in section.parts:
            lines.append("")
            if isinstance(part, Table):
                lines += [f"**{part.caption}**", "", *_rows(part)]
            else:
                lines.append(f"![{part.says}]({part.name}.svg)" if isinstance(part, Picture) else part)
    return "\n".join(lines) + "\n"


def as_json(study: Study, found: Found) -> dict[str, Any]:
    """What was asked and what was found, as plain data."""
    return {"study": as_data(study), "blocks": msgspec.to_builtins(found.blocks), "cpu_s": found.cpu_s}


def json_of(study: Study, found: Found) -> str:
    """The same as text."""
    return msgspec.json.format(msgspec.json.encode(as_json(study, found)), indent=1).decode() + "\n"


def cells_table(found: Found) -> Any:
    """A row for each cell of the grid, its figures as columns."""
    return pa.Table.from_pylist(
        [
            {
                "workload": cell.workload.name,
                "size": cell.size.name,
                "rule": cell.rule.name,
                "seed": cell.seed,
                "jobs": judged.jobs,
                "gpus": judged.gpus,
                "load": judged.load,
                "span_h": judged.span_h,
                **figures,
                "cpu_s": judged.cpu_s,
            }
            for cell, judged, figures in found.cells
        ]
    )


def _pictures(page: Page) -> Iterator[Picture]:
    for section in page.sections:
        yield from (part for part in section.parts if isinstance(part, Picture))


def _rows(table: Table) -> Iterator[str]:
    for row in (table.head, ("---", *(["---:"] * (len(table.head) - 1))), *table.rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _inline(text: str) -> Markup:
    """**Strong** and `code` as HTML, all else as it stands."""
    parts, at = [], 0
    for found in _MARKED.finditer(text):
        parts.append(escape(text[at : found.start()]))
        tag = "strong" if found[1] else "code"
        parts.append(Markup("<{0}>{1}</{0}>").format(Markup(tag), found[1] or found[2]))
        at = found.end()
    return Markup().join([*parts, escape(text[at:])])
