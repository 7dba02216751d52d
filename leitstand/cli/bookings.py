# SPDX-License-Identifier: Apache-2.0
"""The commands about bookings. Loaded by `leitstand.cli.root`.

`book` shows first whether the capacity can be had, and what it costs; it books it only then.
"""

from typing import Any, Final

import click

from leitstand.cli import exits
from leitstand.cli.amounts import parse_amount, parse_duration, parse_gpus, reading, show_time
from leitstand.cli.asking import confirm, yes_option
from leitstand.cli.client import connect
from leitstand.cli.nouns import Nouns
from leitstand.cli.table import as_json, plain, print_json, print_table
from leitstand.cli.tenants import parse_moment
from leitstand.cli.text import t
from leitstand.client import new_key, path

BOOKINGS: Final = "/v1/bookings"
STEPS: Final = {
    "booked": t("booked"),
    "clearing": t("clearing"),
    "begun": t("begun"),
    "closing": t("closing"),
}
SHOWN_MAX: Final = 8  # nodes of a booking in a table
PAGES_MAX: Final = 100


@click.group(cls=Nouns, help=t("List, show, book and cancel bookings: capacity from a time to a time."))
def bookings() -> None:
    pass


@bookings.command("list", help=t("List the bookings that are not over."))
@click.option("--tenant", help=t("Of this tenant alone."))
@as_json
def list_(tenant: str | None, json_wanted: bool) -> None:
    rows = _all(tenant)
    if json_wanted:
        print_json(rows)
        return
    headers = [t("BOOKING"), t("STEP"), t("FROM"), t("UNTIL"), t("PROJECT"), t("GPUS"), t("JOBS"), t("NODES")]
    print_table(headers, [_row(one) for one in rows], t("Nothing is booked."))


@bookings.command(help=t("Show one booking."))
@click.argument("booking")
@as_json
def show(booking: str, json_wanted: bool) -> None:
    found = next((one for one in _all(None) if one["id"] == booking), None)
    if found is None:
        raise click.ClickException(
            t("there is no booking {booking}, or no longer; `leitstand bookings` lists them", booking=booking)
        )
    if json_wanted:
        print_json(found)
    else:
        _print(found)


@bookings.command(help=t("Book capacity for the jobs of a project that name the booking."))
@click.option(
    "--gpus",
    callback=reading(parse_gpus),
    metavar="[TYPE:]N",
    help=t("GPUs per node, also with their type: H100:8."),
)
@click.option("--nodes", "num_nodes", type=click.IntRange(min=1), help=t("Nodes.  [default: 1]"))
@click.option("--level", metavar="LEVEL", help=t("All in one domain of this level, like rack."))
@click.option("--cpus", callback=reading(parse_amount), metavar="N", help=t("CPU cores per node."))
@click.option(
    "--memory", "memory_gb", callback=reading(parse_amount), metavar="GB", help=t("Memory per node in GB.")
)
@click.option(
    "--from",
    "from_at",
    metavar="TIME",
    callback=lambda _, __, text: text and parse_moment(text),
    help=t("From when on.  [default: as soon as who is in its place can have left]"),
)
@click.option(
    "--until",
    "until_at",
    metavar="TIME",
    required=True,
    callback=lambda _, __, text: text and parse_moment(text),
    help=t("Until when."),
)
@click.option("--tenant", help=t("Who it is for.  [default: your only one]"))
@click.option(
    "--project", help=t("Whose jobs may name it, and who pays.  [default: your only one, else default]")
)
@click.option(
    "--also", "projects", multiple=True, metavar="PROJECT", help=t("Another project of the tenant.")
)
@click.option(
    "--release-idle",
    callback=reading(parse_duration),
    metavar="TIME",
    help=t("It ends once nobody used it for so long."),
)
@click.option("--pool", help=t("In this pool alone."))
@click.option("--dry-run", is_flag=True, help=t("Only show whether it can be had."))
@yes_option
@as_json
@click.pass_context
def book(ctx: click.Context, /, dry_run: bool, yes: bool, json_wanted: bool, **given: Any) -> None:
    body = _body(given)
    client = connect()
    planned = client.post(BOOKINGS, {**body, "dry_run": True})
    if dry_run:
        if json_wanted:
            print_json(planned)
        else:
            _print_outcome(planned)
        ctx.exit(exits.OK if planned["possible"] else exits.ERROR)
    if not yes:
        _print_outcome(planned, err=True)
        if planned["possible"]:
            confirm(t("Book it so?"), yes)
    done = client.post(BOOKINGS, body, {"Idempotency-Key": new_key()})
    if json_wanted:
        print_json(done)
        return
    if yes:
        _print_outcome(done)
    click.echo(t("booking {booking} is made", booking=plain(done["booking"]["id"])))


@bookings.command(help=t("Cancel a booking; one that has begun ends now, with the jobs that name it."))
@click.argument("booking")
@yes_option
@as_json
def cancel(booking: str, yes: bool, json_wanted: bool) -> None:
    confirm(t("Cancel booking {booking}? This cannot be taken back.", booking=booking), yes)
    done = connect().post(path("bookings", booking, "cancel"), {})
    if json_wanted:
        print_json(done)
        return
    click.echo(
        t(
            "booking {booking} is cancelled; to be paid: {price}",
            booking=plain(done["id"]),
            price=_price(done),
        )
    )


def _body(given: dict[str, Any]) -> dict[str, Any]:
    """What the API gets of the options."""
    node = {name: given.pop(name) for name in ("gpus", "cpus", "memory_gb") if given.get(name) is not None}
    if isinstance(node.get("gpus"), str):
        node["accelerators"] = [node.pop("gpus")]
    level = given.pop("level")
    if level:
        node["topology"] = {"required": level}
    body = {name: value for name, value in given.items() if value}
    if "projects" in body:
        body["projects"] = list(body["projects"])
    return {**body, "resources": node}


def _all(tenant: str | None) -> list[dict[str, Any]]:
    client = connect()
    rows: list[dict[str, Any]] = []
    cursor = None
    for _ in range(PAGES_MAX):
        page = client.get(BOOKINGS, tenant=tenant, cursor=cursor)
        rows += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    return rows


def _row(one: dict[str, Any]) -> tuple[Any, ...]:
    return (
        one["id"],
        STEPS.get(one["step"], one["step"]),
        show_time(one["from_at"]),
        show_time(one["until_at"]),
        f"{one['tenant']}/{one['project']}",
        f"{one['amount']:g}",
        one["jobs"],
        _some(one["nodes"]),
    )


def _print(one: dict[str, Any], *, err: bool = False) -> None:
    rows = [
        (t("from"), show_time(one["from_at"])),
        (t("until"), show_time(one["until_at"])),
        (t("step"), STEPS.get(one["step"], one["step"])),
        (
            t("for jobs of"),
            ", ".join(f"{one['tenant']}/{name}" for name in (one["project"], *one["projects"])),
        ),
        (t("counts for"), t("{count} GPUs in pool {pool}", count=f"{one['amount']:g}", pool=one["pool"])),
        (t("nodes"), _some(one["nodes"])),
        (t("price"), _price(one)),
        (
            t("jobs that name it"),
            t("{jobs}, of which {running} run", jobs=one["jobs"], running=one["running"]),
        ),
    ]
    print_table([t("BOOKING"), plain(one["id"])], rows, "", err=err)


def _print_outcome(outcome: dict[str, Any], *, err: bool = False) -> None:
    if outcome["possible"]:
        _print(outcome["booking"], err=err)
        if outcome["yields"]:
            click.echo(t("runs that are told to end for it: {count}", count=outcome["yields"]), err=err)
        return
    click.echo(t("cannot be had: {why}", why=plain(outcome["message"])), err=True)
    if outcome["earliest_at"]:
        click.echo(t("can be had from {time} on", time=show_time(outcome["earliest_at"])), err=True)


def _price(one: dict[str, Any]) -> str:
    said = []
    if one["gpu_hours"]:
        said.append(t("{count} GPU-hours", count=f"{one['gpu_hours']:.2f}"))
    if one["eur"]:
        said.append(f"{one['eur']:.2f} EUR")
    return " + ".join(said) or t("nothing")


def _some(names: list[str]) -> str:
    more = len(names) - SHOWN_MAX
    return ",".join(names[:SHOWN_MAX]) + (f" +{more}" if more > 0 else "")
