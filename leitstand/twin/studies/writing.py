# SPDX-License-Identifier: Apache-2.0
"""The files of a study: `study.html` (one page, which needs no network and no script), `study.md` with its pictures
(to be committed with documentation), `study.json` (all numbers) and `cells.parquet` (a row for each cell). Called by
the command.
"""

from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from leitstand.twin.page import html, markdown, pictures
from leitstand.twin.studies.study import Study, as_data
from leitstand.twin.studies.summing import Found
from leitstand.twin.studies.telling import told


def write(study: Study, found: Found, folder: Path) -> list[Path]:
    """All files, in place of older ones; their paths, the page first."""
    page = told(study, found)
    texts = {"study.html": html(page), "study.md": markdown(page), "study.json": json_of(study, found)}
    texts |= {f"{picture.name}.svg": picture.svg for picture in pictures(page)}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    pq.write_table(cells_table(found), folder / "cells.parquet", compression="zstd")
    return [folder / name for name in (*texts, "cells.parquet")]


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
