# SPDX-License-Identifier: Apache-2.0
"""The command `explain`: why a job waits, when it starts, what would start it now, why it was stopped for others.
Loaded by `leitstand.cli.root`."""

from typing import Any, Final

import click

from leitstand.cli import complete, starts
from leitstand.cli.amounts import show_ago, show_span, show_time
from leitstand.cli.client import connect, job_path
from leitstand.cli.table import as_json, print_fields, print_json, print_table
from leitstand.cli.text import is_german, t
from leitstand.cli.words import amount, message, right_so_far, word

MILLI: Final = 1000
MICRO: Final = 1_000_000
HOUR_S: Final = 3600


@click.command(
    help=t(
        "Say why a job waits, when it starts, and the smallest changes that would start it now; or why it was "
        "stopped for other jobs."
    )
)
@click.argument("job_id", metavar="[JOB]", required=False, default="", shell_complete=complete.jobs)
@click.option(
    "--share", is_flag=True, help=t("Instead, say why the share of a TENANT or TENANT/PROJECT is what it is.")
)
@click.option(
    "--thorough",
    is_flag=True,
    help=t("Look through all runs for those that a greater guarantee could call back; may take seconds."),
)
@as_json
def explain(job_id: str, share: bool, thorough: bool, json_wanted: bool) -> None:
    if share:
        _share(job_id, as_json=json_wanted)
        return
    if not job_id:
        raise click.UsageError(t("Name a job, or ask for a --share."))
    found = connect().get(job_path(job_id, "/explanation"), thorough="true" if thorough else None)
    if json_wanted:
        print_json(found)
        return
    print_fields([(name, value) for name, value in _fields(found) if value])
    if found["changes"]:
        click.echo()
        click.echo(t("Any one of these would start it now; the first is the one to try:"))
        headers = [t("CHANGE"), t("NOW"), t("NEEDED"), t("OF"), t("STOPS"), t("STARTS")]
        print_table(headers, [change(one) for one in found["changes"]], "")
    if found.get("alternatives"):
        click.echo()
        click.echo(t("Where it could wait; the one that counts least is chosen (*):"))
        headers = ["", t("POOL"), t("SITES"), t("GPUS"), t("WAIT"), t("COUNTS"), t("OF THAT")]
        print_table(headers, [_alternative(one) for one in found["alternatives"]], "")
    if found["stops"]:
        click.echo()
        click.echo(
            t("It was stopped before its end; of all runs that may be taken, those go that lose least:")
        )
        headers = [t("RUN"), t("WHEN"), t("WHY"), t("FOR"), t("SHARE OF"), t("RUNS"), t("LOST")]
        print_table(headers, [_stop(one) for one in found["stops"]], "")
        if what := _protections(found["stops"][0]):
            click.echo()
            click.echo(t("What would have protected the last one: {what}", what=what))


def _alternative(one: dict[str, Any]) -> tuple[Any, ...]:
    mark, sites = "*" if one["chosen"] else "", ", ".join(one["sites"])
    asked = f"{one['gpu_type']}:{one['gpus']}" if one["gpu_type"] else one["gpus"]
    if one["lacks"]:
        return mark, one["pool"], sites, asked, None, None, t("never: {lacks}", lacks=one["lacks"])
    names = {
        "order": t("order"),
        "level": t("level"),
        "data": t("data"),
        "cost": t("cost"),
        "carbon": t("carbon"),
    }
    parts = ", ".join(
        f"{said} {show_span(one['parts'][name])}" for name, said in names.items() if name in one["parts"]
    )
    wait = one["parts"].get("wait", 0)
    return mark, one["pool"], sites, asked, show_span(wait), show_span(one["seconds"]), parts or None


def _stop(one: dict[str, Any]) -> tuple[Any, ...]:
    whose = {
        "own_project": t("a job of this project"),
        "own_tenant": t("a job of another project"),
        "other_tenant": t("a job of another tenant"),
        "nobody": None,
    }
    lost = one["lost_gpu_s"]
    return (
        one["run"],
        show_time(one["at"]),
        word(one["cause"]),
        one["job"] or whose[one["whose"]],
        one["node"] or None,
        one["together"],
        None if lost is None else t("{hours:.2f} GPU-h", hours=lost / HOUR_S),
    )


def _protections(stop: dict[str, Any]) -> str:
    said = {
        "priority": t("a priority of at least {value}"),
        "guarantee": t("a guarantee of {node} that holds it"),
        "length": t("a time of less than {span}"),
        "checkpoint": t("checkpoints more often than every {span}"),
    }
    return "; ".join(
        t("checkpoints")
        if one["kind"] == "checkpoint" and not one["value"]
        else said[one["kind"]].format(
            value=one["value"], node=one["node"], span=show_span(one["value"] / MICRO)
        )
        for one in stop["protections"]
    )


def _share(whose: str, *, as_json: bool) -> None:
    client = connect()
    tenant, _, project = whose.partition("/")
    if not tenant:
        home = client.whoami()["home"]
        if not home:
            raise click.UsageError(t("You work in several tenants: name one."))
        tenant, project = home["tenant"], home["project"]
    found = client.get("/v1/shares", tenant=tenant, project=project or None)
    if as_json:
        print_json(found)
        return
    because = {
        "demand": t("it gets all it asks for"),
        "weight": t("it gets its guarantee and, by weight, its part of what is left"),
        "guarantee": t("it gets its guarantee: nothing is left beyond guarantees"),
        "shrunk": t("guarantees are more than there is; all shrink in proportion"),
        "nothing": t("it asks for nothing"),
        "none": t("it has no share: it never had a job here, or the discipline has none"),
    }
    own = found["own"]
    fields = [
        (t("node of the tree"), own["node"]),
        (t("share"), f"{own['deserved']:g} ({because[found['because']]})"),
        (t("what its guarantee costs others"), f"{found['taken']:g}"),
    ]
    print_fields(fields)
    click.echo()
    headers = [t("NODE"), t("GUARANTEE"), t("WEIGHT"), t("DEMAND"), t("USED"), t("DESERVED"), t("LAG (H)")]
    print_table(headers, [_part(one) for one in found["siblings"]], "")
    if found["costs"]:
        click.echo()
        headers = [t("NODE"), t("DESERVED"), t("WITHOUT THE GUARANTEE")]
        print_table(headers, [(c["node"], c["deserved"], c["without"]) for c in found["costs"]], "")


def _part(one: dict[str, Any]) -> tuple[Any, ...]:
    names = ("node", "guarantee", "weight", "demand", "used", "deserved")
    return (*(one[name] for name in names), round(one["lag_h"], 1))


def _fields(found: dict[str, Any]) -> list[tuple[str, Any]]:
    start, until = found["start"], found["until"]
    said = found["message"]
    if is_german():
        said = message({**found, "exit_code": None, "signal": None, "max_duration_s": 0})
    kinds = {
        "claim": t("as soon as what is being freed is free"),
        "promise": t("promised"),
        "plan": t("planned"),
        "call": t("planned, its guarantee is called"),
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
        *(_forecast(found["forecast"]) if found.get("forecast") else ()),
    ]


def _forecast(said: dict[str, Any]) -> list[tuple[str, str]]:
    """By when it starts with which probability, how old that is and how often such was right."""
    covered = {name: said[f"{name}_covered"] for name in starts.LEVELS}
    made = f"{show_ago(said['at'])}; {t('right so far')}: {right_so_far(covered)}"
    return [*starts.fields(said), (t("forecast made"), made)]


def change(one: dict[str, Any]) -> tuple[Any, ...]:
    """A change as a row: what, now, needed, where, how many runs it stops, when it starts."""
    names = {
        "max_duration": t("time limit"),
        "size": t("size"),
        "level": t("level"),
        "gpu_type": t("GPU type"),
        "mig": t("MIG profile"),
        "priority": t("priority"),
        "guarantee": t("guarantee"),
        "borrow_limit": t("borrow limit"),
        "budget": t("further budget"),
    }
    named = one["resource"] in ("level", "gpu_type", "mig")
    return (
        names[one["dimension"]],
        None if named else _amount(one["now"], one["resource"]),
        (one["name"] or t("any")) if named else _amount(one["value"], one["resource"]),
        one["node"] or None,
        one["stops"] or None,
        t("once capacity is freed") if one["waits"] else t("at once"),
    )


def _amount(value: int, resource: str) -> str:
    if resource in ("gpu_us", "micro_eur"):
        return amount(value, resource)
    if resource.endswith("_us"):
        return show_span(value / MICRO)
    if resource.startswith("cpus_milli"):
        return t("{count:g} CPUs", count=value / MILLI)
    if resource in ("charge_milli", "gpu_milli", "mig"):
        return t("{count:g} GPUs", count=value / MILLI)
    if resource.startswith("memory_mib"):
        return f"{value / 1024:g} GB"
    if resource == "gpus":
        return t("{count:g} GPUs", count=value)
    if resource.startswith("nodes"):
        return t("{count:g} nodes", count=value)
    return str(value)
