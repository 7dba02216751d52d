# SPDX-License-Identifier: Apache-2.0
"""The command `explain`: why a job waits, when it starts, what would start it now. Loaded by `leitstand.cli.root`."""

from typing import Any, Final

import click

from leitstand.cli import complete
from leitstand.cli.amounts import show_span, show_time
from leitstand.cli.client import connect, job_path
from leitstand.cli.table import as_json, print_fields, print_json, print_table
from leitstand.cli.text import is_german, t
from leitstand.cli.words import message, word

MILLI: Final = 1000
MICRO: Final = 1_000_000


@click.command(
    help=t("Say why a job waits, when it starts, and the smallest changes that would start it now.")
)
@click.argument("job_id", metavar="JOB", shell_complete=complete.jobs)
@click.option(
    "--thorough",
    is_flag=True,
    help=t("Look through all runs for those that a greater guarantee could call back; may take seconds."),
)
@as_json
def explain(job_id: str, thorough: bool, json_wanted: bool) -> None:
    found = connect().get(job_path(job_id, "/explanation"), thorough="true" if thorough else None)
    if json_wanted:
        print_json(found)
        return
    print_fields([(name, value) for name, value in _fields(found) if value])
    if found["changes"]:
        click.echo()
        click.echo(t("Any one of these would start it now; the first is the one to try:"))
        headers = [t("CHANGE"), t("NOW"), t("NEEDED"), t("OF"), t("STOPS"), t("STARTS")]
        print_table(headers, [_change(one) for one in found["changes"]], "")


def _fields(found: dict[str, Any]) -> list[tuple[str, Any]]:
    start, until = found["start"], found["until"]
    said = found["message"]
    if is_german():
        said = message({**found, "exit_code": None, "signal": None, "max_duration_s": 0})
    kinds = {
        "claim": t("as soon as what is being freed is free"),
        "promise": t("promised"),
        "plan": t("planned"),
        "estimate": t("not before, as things are now"),
    }
    return [
        (t("job"), found["job"]),
        (t("state"), word(found["state"])),
        (t("reason"), word(found["reason"])),
        (t("message"), said),
        (t("asked"), _amount(found["asked"], found["resource"]) if found["resource"] else ""),
        (t("limit"), _amount(found["limit"], found["resource"]) if found["resource"] else ""),
        (t("node of the tree"), found["node"]),
        (t("jobs ahead"), found["jobs_ahead"]),
        (t("until"), show_time(until) if until else ""),
        (t("start"), f"{show_time(start['at'])} ({kinds[start['kind']]})" if start else ""),
        (t("on"), ", ".join(start["nodes"]) if start else ""),
    ]


def _change(one: dict[str, Any]) -> tuple[Any, ...]:
    names = {
        "max_duration": t("time limit"),
        "size": t("size"),
        "level": t("level"),
        "gpu_type": t("GPU type"),
        "priority": t("priority"),
        "guarantee": t("guarantee"),
        "borrow_limit": t("borrow limit"),
    }
    named = one["resource"] in ("level", "gpu_type")
    return (
        names[one["dimension"]],
        None if named else _amount(one["now"], one["resource"]),
        (one["name"] or t("any")) if named else _amount(one["value"], one["resource"]),
        one["node"] or None,
        one["stops"] or None,
        t("once capacity is freed") if one["waits"] else t("at once"),
    )


def _amount(value: int, resource: str) -> str:
    if resource.endswith("_us"):
        return show_span(value / MICRO)
    if resource.startswith("cpus_milli"):
        return t("{count:g} CPUs", count=value / MILLI)
    if resource in ("charge_milli", "gpu_milli"):
        return t("{count:g} GPUs", count=value / MILLI)
    if resource.startswith("memory_mib"):
        return f"{value / 1024:g} GB"
    if resource == "gpus":
        return t("{count:g} GPUs", count=value)
    if resource.startswith("nodes"):
        return t("{count:g} nodes", count=value)
    return str(value)
