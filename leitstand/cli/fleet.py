# SPDX-License-Identifier: Apache-2.0
"""The commands about the cloud itself: `nodes` with their health, `usage`. Loaded by `leitstand.cli.root`."""

from typing import Any, Final

import click

from leitstand.alerts import troubles
from leitstand.cli.amounts import parse_duration, reading, show_hours, show_time
from leitstand.cli.asking import confirm, yes_option
from leitstand.cli.client import connect
from leitstand.cli.nouns import Nouns
from leitstand.cli.table import as_json, plain, print_json, print_table
from leitstand.cli.tenants import parse_moment
from leitstand.cli.text import is_german, t
from leitstand.client import path

KINDS: Final = tuple(troubles.KINDS)
STATES: Final = {"well": t("well"), "drained": t("drained"), "burn_in": t("burn-in")}
USAGE_ROWS_MAX: Final = 100_000


@click.group(
    cls=Nouns,
    help=t("List the nodes and what is free on them; report trouble of one, return one to service."),
)
def nodes() -> None:
    pass


@nodes.command("list", help=t("List the nodes and what is free on them."))
@as_json
def list_(json_wanted: bool) -> None:
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
        say_health(node)


@nodes.command(
    help=t("Report trouble of a node: its engine hears of nothing by itself, or somebody knows better.")
)
@click.argument("node")
@click.option(
    "--kind", type=click.Choice(KINDS), default="operator", show_default=True, help=t("What it is.")
)
@click.option("--code", type=click.IntRange(1, 9_999), default=None, help=t("The number of an Xid."))
@click.option("--gpu", type=click.IntRange(0), default=None, help=t("The GPU, by its index on the node."))
@click.option(
    "--at",
    metavar="TIME",
    callback=lambda _, __, text: text and parse_moment(text),
    help=t("When.  [default: now]"),
)
@yes_option
@as_json
def report(node: str, yes: bool, json_wanted: bool, **given: Any) -> None:
    confirm(
        t(
            "Report {kind} of {node}? What runs there may have to go on elsewhere.",
            kind=given["kind"],
            node=node,
        ),
        yes,
    )
    body = {name: value for name, value in given.items() if value is not None}
    found = connect().post(path("nodes", node, "report"), body)
    if json_wanted:
        print_json(found)
        return
    click.echo(t("{node}: {state}", node=plain(node), state=STATES.get(found["health"]["state"], "")))
    say_health(found)


@nodes.command("return", help=t("Say that a node is repaired: it serves again once it passed a burn-in."))
@click.argument("node")
@click.option("--without-burn-in", is_flag=True, help=t("At once; nobody looks whether it is well."))
@click.option(
    "--max-duration",
    metavar="DURATION",
    callback=reading(parse_duration),
    help=t("How long the burn-in may take.  [default: 1h]"),
)
@yes_option
@as_json
def return_(
    node: str, without_burn_in: bool, max_duration: float | None, yes: bool, json_wanted: bool
) -> None:
    if without_burn_in:
        confirm(t("Return {node} without a burn-in?", node=node), yes)
    body: dict[str, Any] = {"burn_in": not without_burn_in}
    if max_duration:
        body["max_duration_s"] = max(1, round(max_duration))
    done = connect().post(path("nodes", node, "return"), body)
    if json_wanted:
        print_json(done)
    elif done["job"]:
        click.echo(
            t(
                "{node}: its burn-in is job {job}; it serves once that succeeded",
                node=plain(node),
                job=done["job"],
            )
        )
    else:
        click.echo(t("{node} is returned", node=plain(node)))


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
        node["gpus_free"] if node["in_service"] else _why_not(node),
        f"{node['cpus']:g}",
        f"{node['memory_gb']:.1f}",
        ",".join(node["runs"]) or None,
    )


def _why_not(node: dict[str, Any]) -> str:
    state = node["health"]["state"]
    return t("out of service") if state == "well" else STATES[state]


def say_health(node: dict[str, Any]) -> None:
    """Why a node takes nothing, and what becomes of it."""
    health = node["health"]
    if health["cause"] is None:
        return
    click.echo(
        t(
            "{node}: drained since {time}: {trouble}",
            node=plain(node["id"]),
            time=show_time(health["since_at"]),
            trouble=troubles.in_words(
                *(health["cause"][name] for name in ("kind", "code", "gpu")), german=is_german()
            ),
        ),
        err=True,
    )
    if health["burn_in"]:
        click.echo(t("{node}: burn-in {job} runs", node=plain(node["id"]), job=health["burn_in"]), err=True)


def say_logical(rows: list[dict[str, Any]]) -> None:
    """Say that GPUs are counted, if some are."""
    if any(row["logical"] for row in rows):
        click.echo(t("Logical GPUs are counted, not real: jobs get their numbers, no device."), err=True)


def _amounts(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["jobs"], show_hours(row["gpu_s"]), show_hours(row["cpu_s"]), show_hours(row["wall_s"]))
