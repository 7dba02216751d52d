# SPDX-License-Identifier: Apache-2.0
"""The commands about tenants as who runs the cloud sees them: `tenants`. Loaded by `leitstand.cli.root`.

What changes a tenant shows first what it will do, and happens only if the tenant is still as it was shown (If-Match).
"""

import os
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from leitstand.cli import complete
from leitstand.cli.amounts import DURATION, parse_duration, reading, show_time
from leitstand.cli.asking import confirm, yes_option
from leitstand.cli.client import connect
from leitstand.cli.nouns import Nouns, listing
from leitstand.cli.refusals import CommandFailed
from leitstand.cli.table import as_json, plain, print_fields, print_json, print_table
from leitstand.cli.text import t
from leitstand.cli.words import word
from leitstand.client import path

CLASSES: Final = ("industry", "startup", "research", "public")
SUSPENSIONS: Final = ("unpaid", "terms", "security", "authority", "requested")

tenant_argument = click.argument("tenant", shell_complete=complete.tenants)


@click.group(cls=Nouns, help=t("List and add tenants; suspend, resume, exit, export, erase."))
def tenants() -> None:
    pass


@tenants.command("list", help=t("List the tenants that you see."))
@as_json
def list_(json_wanted: bool) -> None:
    rows = listing(connect(), "/v1/tenants")
    if json_wanted:
        print_json(rows)
        return
    headers = [t("TENANT"), t("CLASS"), t("NAME"), t("STAGE"), t("SUSPENDED"), t("JOBS"), t("PENDING")]
    print_table(headers, [_row(row) for row in rows], t("No tenants."))


@tenants.command(help=t("Add a tenant."))
@click.argument("tenant")
@click.option("--class", "tenant_class", required=True, type=click.Choice(CLASSES), help=t("Its class."))
@as_json
def add(tenant: str, tenant_class: str, json_wanted: bool) -> None:
    answer = connect().post("/v1/tenants", {"id": tenant, "class": tenant_class})
    if json_wanted:
        print_json(answer)
    else:
        click.echo(t("tenant {tenant} is there, class {name}", tenant=plain(tenant), name=tenant_class))


@tenants.command(help=t("Show a tenant: stage, projects, budgets, jobs."))
@tenant_argument
@as_json
def show(tenant: str, json_wanted: bool) -> None:
    show_tenant(connect().tenant(tenant), json_wanted)


@tenants.command(help=t("Suspend a tenant: no job of it starts; what runs finishes, or is stopped."))
@tenant_argument
@click.option("--reason", required=True, type=click.Choice(SUSPENSIONS), help=t("Why."))
@click.option("--stop", is_flag=True, help=t("Stop what runs."))
@yes_option
@as_json
def suspend(tenant: str, reason: str, stop: bool, yes: bool, json_wanted: bool) -> None:
    client = connect()
    found, tag = client.seen(path("tenants", tenant))
    _say_what(found, yes)
    if stop:
        confirm(
            t("Suspend {tenant} and stop its {count} running jobs?", tenant=tenant, count=found["running"]),
            yes,
        )
    else:
        confirm(
            t("Suspend {tenant}? Its {count} running jobs finish.", tenant=tenant, count=found["running"]),
            yes,
        )
    body: dict[str, Any] = {"reason": reason, "running": "stop" if stop else "finish"}
    if stop:
        body["expect"] = found["running"]
    show_tenant(client.post(path("tenants", tenant, "suspend"), body, expecting(tag)), json_wanted)


@tenants.command(help=t("End the suspension of a tenant; what was held queues again."))
@tenant_argument
@as_json
def resume(tenant: str, json_wanted: bool) -> None:
    show_tenant(connect().post(path("tenants", tenant, "resume")), json_wanted)


@tenants.command("exit", help=t("Give notice for a tenant. Its exit cannot be taken back."))
@tenant_argument
@click.option(
    "--notice", metavar=DURATION, callback=reading(parse_duration), help=t("How long until the transition.")
)
@yes_option
@as_json
def exit_(tenant: str, notice: float | None, yes: bool, json_wanted: bool) -> None:
    client = connect()
    found, tag = client.seen(path("tenants", tenant))
    _say_what(found, yes)
    confirm(t("Give notice for {tenant}? This cannot be taken back.", tenant=tenant), yes)
    body = {} if notice is None else {"notice": notice}
    show_tenant(client.post(path("tenants", tenant, "exit"), body, expecting(tag)), json_wanted)


@tenants.command("extend-exit", help=t("Extend the transition of a tenant that leaves."))
@tenant_argument
@click.option(
    "--until",
    required=True,
    metavar="TIME",
    callback=lambda _, __, text: parse_moment(text),
    help=t("The new end, like 2027-03-01T00:00:00Z."),
)
@click.option(
    "--whose",
    required=True,
    type=click.Choice(["customer", "provider"]),
    help=t("Whose wish it is; each once."),
)
@as_json
def extend_exit(tenant: str, until: str, whose: str, json_wanted: bool) -> None:
    client = connect()
    _, tag = client.seen(path("tenants", tenant))
    body = {"until": until, "whose": whose}
    show_tenant(client.post(path("tenants", tenant, "extend-exit"), body, expecting(tag)), json_wanted)


@tenants.command(help=t("Write everything about a tenant to a zip archive in open formats."))
@tenant_argument
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help=t("A new file.")
)
def export(tenant: str, output: Path) -> None:
    if output.exists():
        raise CommandFailed(t("{path} exists; name a new file.", path=output))
    handle, name = tempfile.mkstemp(dir=output.absolute().parent, prefix=f".{output.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            connect().export(tenant, file)
        os.replace(name, output)  # whole, or not at all
    except BaseException:
        os.unlink(name)
        raise
    click.echo(t("wrote {path}, {size} bytes", path=output, size=output.stat().st_size), err=True)


@tenants.command(help=t("Erase all data of a tenant that has left, and who was in it alone."))
@tenant_argument
@yes_option
@as_json
def erase(tenant: str, yes: bool, json_wanted: bool) -> None:
    client = connect()
    found, tag = client.seen(path("tenants", tenant))
    _say_what(found, yes)
    confirm(t("Erase everything about {tenant}? This cannot be taken back.", tenant=tenant), yes)
    erased = client.post(path("tenants", tenant, "erase"), headers=expecting(tag))
    if json_wanted:
        print_json(erased)
        return
    names = {
        "records": t("records of jobs"),
        "profiles": t("profiles"),
        "secrets": t("secrets"),
        "blobs": t("work directories"),
        "people": t("people"),
        "runs": t("folders of runs"),
    }
    print_fields([(t("erased"), tenant), *((said, erased[name]) for name, said in names.items())])


# ── how a tenant looks ────────────────────────────────────────────────────────────────────────────────────────────
def show_tenant(found: dict[str, Any], json_wanted: bool) -> None:
    """Print one tenant."""
    if json_wanted:
        print_json(found)
        return
    times = found["times"]
    fields = [
        (t("tenant"), found["id"]),
        (t("name"), found["name"] or None),
        (t("class"), word(found["class"])),
        (t("stage"), word(found["stage"])),
        (t("suspended"), word(found["suspended"]) or None),
        (t("projects"), ", ".join(one["name"] for one in found["projects"] if one["open"]) or None),
        (t("jobs"), t("{jobs} in all, {pending} waiting, {running} running", **_counts(found))),
    ]
    if times:
        fields += [
            (t("transition"), show_time(times["transition_at"])),
            (t("retrieval"), show_time(times["retrieval_at"])),
            (t("closed"), show_time(times["closed_at"])),
        ]
    print_fields([(name, value) for name, value in fields if value is not None])
    if found["budgets"]:
        from leitstand.cli.projects import print_budgets

        click.echo()
        print_budgets(found["budgets"])


def parse_moment(text: str) -> str:
    """A moment as the API reads it; BadParameter."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise click.BadParameter(
            t('"{text}" is no moment; write it like 2027-03-01T00:00:00Z', text=text[:40])
        )
    return found.isoformat()


def _counts(found: dict[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in ("jobs", "pending", "running")}


def _row(tenant: dict[str, Any]) -> tuple[Any, ...]:
    return (
        tenant["id"],
        word(tenant["class"]),
        tenant["name"] or None,
        word(tenant["stage"]),
        word(tenant["suspended"]) or None,
        tenant["jobs"],
        tenant["pending"],
    )


def _say_what(found: dict[str, Any], yes: bool) -> None:
    """What is about to be changed, for whoever is asked."""
    if yes:
        return
    line = t("{tenant}: {stage}, {jobs} jobs in all, {pending} waiting, {running} running",
             tenant=plain(found["id"]), stage=word(found["stage"]), **_counts(found))  # fmt: skip
    click.echo(line, err=True)


def expecting(tag: str) -> dict[str, str]:
    """The header by which a change happens only to what was seen under `tag`."""
    return {"If-Match": tag} if tag else {}
