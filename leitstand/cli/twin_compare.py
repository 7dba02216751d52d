# SPDX-License-Identifier: Apache-2.0
"""`leitstand twin compare STUDY.yaml`: the same jobs under several rules, as one page."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from leitstand.cli.bar import bar
from leitstand.cli.table import as_json, print_fields, print_json, print_table
from leitstand.cli.text import t, why

if TYPE_CHECKING:
    from leitstand.twin.studies.summing import Block, Found


@click.command(
    help=t(
        "Play the workloads of STUDY (YAML) in several sizes under several rules, with seeds, and write one page about "
        "it: waits, completion times, slowdowns, use, fairness, lost work, energy, revenue, with 95 % intervals. What "
        "was played is kept in DIR, so that a study that was cut short goes on."
    )
)
@click.argument("study", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help=t("Where to write it.  [default: the name of STUDY without its suffix]"),
)
@click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    metavar="N",
    help=t("Processes at work.  [default: one for each core]"),
)
@as_json
def compare(json_wanted: bool, study: Path, out: Path | None, workers: int | None) -> None:
    from leitstand.twin.reading.table import TraceError
    from leitstand.twin.studies.running import run
    from leitstand.twin.studies.study import read_study
    from leitstand.twin.studies.summing import summed

    try:
        asked = read_study(study)
        folder = study.with_suffix("") if out is None else out
        with bar(t("cells")) as progress:
            found = summed(asked, run(asked, folder / "cells", workers or 0, progress))
        from leitstand.twin.studies.writing import as_json, write

        paths = write(asked, found, folder)
    except TraceError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        place = error.filename or study
        raise click.ClickException(
            t("{path}: cannot be written: {why}", path=place, why=why(error))
        ) from error
    if json_wanted:
        print_json(as_json(asked, found))
    else:
        _show(found, paths[0])


def _show(found: "Found", page: Path) -> None:
    for block in found.blocks:
        _show_block(block)
    print_fields([(t("cells"), len(found.cells)), (t("CPU time"), f"{found.cpu_s:.1f} s"), (t("page"), page)])


def _show_block(block: "Block") -> None:
    from leitstand.twin.studies.figures import BY_NAME, shown

    columns = {
        "wait_mean_s": f"{t('MEAN WAIT')} [s]",
        "jct_mean_s": f"{t('MEAN JCT')} [s]",
        "slowdown_mean": t("SLOWDOWN"),
        "useful": f"{t('USEFUL')} [%]",
        "share_error": f"{t('SHARE ERROR')} [%]",
        "worse_off": t("WORSE OFF"),
        "lost_gpu_h": f"{t('LOST')} [GPU-h]",
    }
    figures = [BY_NAME[name] for name in columns if name in block.rows[0].figures]
    jobs = t("{jobs} jobs on {gpus} GPUs, load {load}", jobs=f"{block.jobs:,.0f}", gpus=f"{block.gpus:,}",
             load=f"{block.load:.2f}")  # fmt: skip
    click.echo(f"{block.workload}, {block.size}: {jobs}")
    rows = [
        [row.rule, *(shown(figure, row.figures[figure.name]) for figure in figures)] for row in block.rows
    ]
    print_table([t("RULE"), *(columns[figure.name] for figure in figures)], rows, "")
    click.echo()
