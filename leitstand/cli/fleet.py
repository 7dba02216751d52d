# SPDX-License-Identifier: Apache-2.0
"""The commands about the cloud itself: `nodes`, `usage`. Loaded by `leitstand.cli.root`."""

from typing import Any, Final

import click

from leitstand.cli.amounts import show_hours
from leitstand.cli.client import connect
from leitstand.cli.table import as_json, print_json, print_table
from leitstand.cli.text import t

USAGE_ROWS_MAX: Final = 100_000


@click.command(help=t("List the nodes and what is free on them."))
@as_json
def nodes(json_wanted: bool) -> None:
    rows = connect().get("/v1/nodes")["items"]
    if json_wanted:
        print_json(rows)
        return
    headers = [
        t("NODE"),
        t("SITE"),
        t("POOL"),
        t("GPU TYPE"),
        t("GPUS"),
        t("FREE"),
        t("CPUS"),
        t("MEMORY GB"),
        t("RUNS"),
    ]
    print_table(headers, [_node_row(node) for node in rows], t("No nodes."))
    say_logical(rows)
    for node in rows:
        if node.get("mig"):
            fit = ", ".join(f"{name}: {count}" for name, count in node["mig"].items())
            click.echo(t("{node}: MIG instances that fit, each alone: {fit}", node=node["id"], fit=fit))


@click.command(help=t("Show what was used, in GPU-hours and CPU-hours."))
@click.option(
    "--by",
    type=click.Choice(["tenant", "project", "job"]),
    default="tenant",
    show_default=True,
    help=t("One row for each."),
)
@as_json
def usage(by: str, json_wanted: bool) -> None:
    rows = list(connect().pages("/v1/usage", USAGE_ROWS_MAX, by=by))
    if json_wanted:
        print_json(rows)
        return
    keys = {"tenant": ("tenant",), "project": ("tenant", "project"), "job": ("tenant", "project", "job")}[by]
    names = {"tenant": t("TENANT"), "project": t("PROJECT"), "job": t("JOB")}
    headers = [*(names[key] for key in keys), t("JOBS"), t("GPU-H"), t("CPU-H"), t("WALL H")]
    print_table(
        headers, [[*(row[key] for key in keys), *_amounts(row)] for row in rows], t("Nothing was used yet.")
    )


def _node_row(node: dict[str, Any]) -> tuple[Any, ...]:
    return (
        node["id"],
        node["site"],
        node["pool"],
        t("logical") if node["logical"] else node["gpu_type"] or None,
        node["gpus"],
        node["gpus_free"] if node["in_service"] else t("out of service"),
        f"{node['cpus']:g}",
        f"{node['memory_gb']:.1f}",
        ",".join(node["runs"]) or None,
    )


def say_logical(rows: list[dict[str, Any]]) -> None:
    """Say that GPUs are counted, if some are."""
    if any(row["logical"] for row in rows):
        click.echo(t("Logical GPUs are counted, not real: jobs get their numbers, no device."), err=True)


def _amounts(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["jobs"], show_hours(row["gpu_s"]), show_hours(row["cpu_s"]), show_hours(row["wall_s"]))
