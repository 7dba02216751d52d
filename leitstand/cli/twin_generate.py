# SPDX-License-Identifier: Apache-2.0
"""`leitstand twin generate`: a synthetic workload of an industrial AI cloud, as files that `twin replay` takes."""

from pathlib import Path
from typing import Any

import click
import msgspec

from leitstand.cli.table import as_json, print_fields, print_json, print_table
from leitstand.cli.text import t, why
from leitstand.twin.synthetic.columns import KINDS
from leitstand.twin.synthetic.demand import Demand, DemandError
from leitstand.twin.synthetic.generate import Workload
from leitstand.twin.synthetic.generate import generate as generate_workload
from leitstand.twin.synthetic.parameters import shipped
from leitstand.twin.synthetic.writing import cluster_path, write


@click.command(
    help=t(
        "Write a synthetic workload of an industrial AI cloud to OUT (.parquet), and its cluster beside it "
        "(.cluster.json). The same numbers, the same jobs, on every machine."
    )
)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--gpus", required=True, type=int, metavar="N", help=t("GPUs of the cloud."))
@click.option("--days", required=True, type=int, metavar="N", help=t("For how long jobs are submitted."))
@click.option(
    "--load",
    default=0.95,
    show_default=True,
    type=float,
    metavar="X",
    help=t("GPU time of all jobs over that of the cloud."),
)
@click.option(
    "--seed", default=1, show_default=True, type=int, metavar="N", help=t("Another number, another workload.")
)
@click.option(
    "--growth",
    default=0.0,
    show_default=True,
    type=float,
    metavar="X",
    help=t("Of the demand in a year: 0.3 is 30 % more."),
)
@click.option(
    "--gpus-per-node",
    type=int,
    metavar="N",
    help=t("GPUs of each node.  [default: the largest of 8, 4, 2, 1 that divides --gpus]"),
)
@as_json
def generate(json_wanted: bool, out: Path, **numbers: Any) -> None:
    _check_names(out)
    try:
        workload = generate_workload(Demand(**numbers))
    except DemandError as error:
        raise click.ClickException(str(error)) from error
    try:
        write(workload, shipped(), out)
    except OSError as error:
        raise click.ClickException(t("{path}: cannot be written: {why}", path=out, why=why(error))) from error
    if json_wanted:
        print_json(_result(workload, out))
    else:
        _show(workload, out)


def _check_names(out: Path) -> None:
    """Refuse what the replay would not read, and what would be overwritten."""
    if out.suffix.lower() != ".parquet":
        raise click.ClickException(
            t("{path}: the workload is written as Parquet; name the file .parquet", path=out)
        )
    for path in (out, cluster_path(out)):
        if path.exists():
            raise click.ClickException(
                t("{path}: exists already; name another file, or remove this one", path=path)
            )


def _result(workload: Workload, out: Path) -> dict[str, Any]:
    return {
        "trace": str(out),
        "cluster": str(cluster_path(out)),
        "model": workload.model,
        "demand": msgspec.to_builtins(workload.demand),
        "jobs": len(workload.jobs),
        "load": workload.load,
        "tenants": len(workload.tenants),
        "nodes": workload.demand.nodes,
        "gpus_per_node": workload.demand.node_gpus,
        "requests": workload.requests,
        "classes": msgspec.to_builtins(workload.classes),
        "digest": workload.digest,
    }


def _show(workload: Workload, out: Path) -> None:
    demand = workload.demand
    print_fields(
        [
            (t("trace"), out),
            (t("cluster"), cluster_path(out)),
            (t("model"), workload.model),
            (t("jobs"), len(workload.jobs)),
            (t("tenants"), len(workload.tenants)),
            (t("nodes"), f"{demand.nodes} × {demand.node_gpus} GPUs"),
            (t("load"), f"{workload.load:.2%}"),
            (t("requests a day"), f"{workload.requests / demand.days:.4g}"),
            (t("digest"), workload.digest),
        ]
    )
    click.echo()
    headers = [t("CLASS"), t("TENANTS"), t("BATCH"), t("SERVICES"), t("NOTEBOOKS"), t("LOAD")]
    rows = [
        [name, each.tenants, *(each.jobs[kind] for kind in KINDS), f"{each.load:.2%}"]
        for name, each in workload.classes.items()
    ]
    print_table(headers, rows, "")
