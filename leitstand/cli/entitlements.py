# SPDX-License-Identifier: Apache-2.0
"""The commands about who is entitled to what: `entitlements`, `commitments`, `quota`. Loaded by `leitstand.cli.root`.

What changes the tree shows first who wins and who loses, and happens only if the contracts are still as they were shown
(If-Match).
"""

from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from leitstand.cli import complete, moments
from leitstand.cli.amounts import (
    DURATION,
    parse_amount,
    parse_duration,
    reading,
    show_duration,
    show_hours,
    show_time,
)
from leitstand.cli.asking import confirm, yes_option
from leitstand.cli.client import Client, connect
from leitstand.cli.nouns import Nouns, listing, tenant_of
from leitstand.cli.projects import print_budgets
from leitstand.cli.refusals import Refused
from leitstand.cli.table import as_json, plain, print_json, print_table
from leitstand.cli.tenant import tenant_option
from leitstand.cli.tenants import expecting, parse_moment
from leitstand.cli.text import t
from leitstand.client import path

ENTITLEMENTS: Final = "/v1/entitlements"
COMMITMENTS: Final = "/v1/commitments"

pool_option = click.option("--pool", default="shared", show_default=True, help=t("The pool."))
dry_run_option = click.option(
    "--dry-run", is_flag=True, help=t("Only show who would win and who would lose.")
)
only_tenant_option = click.option("--tenant", shell_complete=complete.tenants, help=t("Only this tenant."))


# ── entitlements ──────────────────────────────────────────────────────────────────────────────────────────────────
@click.group(cls=Nouns, default="show", help=t("Show the entitlement tree of a pool, and change it."))
def entitlements() -> None:
    pass


@entitlements.command(help=t("Show who is guaranteed, uses and deserves what."))
@pool_option
@only_tenant_option
@as_json
def show(pool: str, tenant: str | None, json_wanted: bool) -> None:
    found = _tree(connect(), pool, tenant)
    if json_wanted:
        print_json(found)
        return
    said = t("pool {pool}: {capacity} in service, {spare} kept as a spare; amounts in {unit}", pool=plain(pool),
             capacity=_number(found["capacity"]), spare=_number(found["spare"]), unit=_unit(found))  # fmt: skip
    click.echo(said, err=True)
    _print_nodes(found["items"])
    if found["scheduled"]:
        click.echo()
        headers = [t("FROM"), t("NODE"), t("GUARANTEE"), t("WEIGHT"), t("BORROW"), t("LEND"), t("RECALL")]
        print_table(headers, [(show_time(one["from_at"]), *_terms(one)) for one in found["scheduled"]], "")


@entitlements.command(help=t("Change entitlements to what a YAML file says of the nodes that it names."))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@dry_run_option
@yes_option
@as_json
def apply(file: Path, dry_run: bool, yes: bool, json_wanted: bool) -> None:
    from leitstand.cli.entitlement_file import read

    _change(ENTITLEMENTS, read(file), Asked(dry_run, yes, json_wanted))


# ── commitments ───────────────────────────────────────────────────────────────────────────────────────────────────
@click.group(cls=Nouns, help=t("List, make and end commitments: guarantees with a time window and a price."))
def commitments() -> None:
    pass


@commitments.command("list", help=t("List the commitments that are in force or to come."))
@pool_option
@only_tenant_option
@as_json
def list_(pool: str, tenant: str | None, json_wanted: bool) -> None:
    rows = listing(connect(), COMMITMENTS, pool=pool, tenant=tenant)
    if json_wanted:
        print_json(rows)
    else:
        _print_commitments(rows)


@commitments.command(help=t("Commit AMOUNT GPUs to NODE, like industry/acme, until a time."))
@click.argument("node")
@click.argument("amount", callback=reading(parse_amount))
@click.option(
    "--from",
    "from_at",
    metavar="TIME",
    callback=lambda _, __, text: text and parse_moment(text),
    help=t("From when on.  [default: now]"),
)
@click.option(
    "--to",
    "to_at",
    required=True,
    metavar="TIME",
    callback=lambda _, __, text: parse_moment(text),
    help=t("Until when, like 2027-03-01T00:00:00Z."),
)
@click.option(
    "--price", type=click.FloatRange(min=0), default=0.0, help=t("EUR for one GPU and hour, used or not.")
)
@click.option(
    "--recall", metavar=DURATION, callback=reading(parse_duration), help=t("How soon what was lent is back.")
)
@pool_option
@dry_run_option
@yes_option
@as_json
def make(**given: Any) -> None:
    body = {name: given[name] for name in ("node", "amount", "to_at", "pool")}
    body |= {name: given[name] for name in ("from_at", "recall") if given[name] is not None}
    body["price_eur"] = given["price"]
    _change(COMMITMENTS, body, Asked(given["dry_run"], given["yes"], given["json_wanted"]))


@commitments.command(help=t("End a commitment before its time. What runs is not stopped by it."))
@click.argument("commitment")
@click.option(
    "--at",
    metavar="TIME",
    callback=lambda _, __, text: text and parse_moment(text),
    help=t("When.  [default: now]"),
)
@yes_option
@as_json
def end(commitment: str, at: str | None, yes: bool, json_wanted: bool) -> None:
    confirm(t("End commitment {commitment}? This cannot be taken back.", commitment=commitment), yes)
    done = connect().post(path("commitments", commitment, "end"), {"at": at} if at else {})
    if json_wanted:
        print_json(done)
    else:
        _print_changes(done)


# ── quota ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@click.command(help=t("Show what a tenant has: guarantees, limits, commitments, budgets, and what it used."))
@tenant_option
@pool_option
@as_json
def quota(tenant: str | None, pool: str, json_wanted: bool) -> None:
    client = connect()
    which = tenant_of(client, tenant)
    tree = _known_pool(lambda: _tree(client, pool, which)["items"])
    committed = _known_pool(lambda: listing(client, COMMITMENTS, pool=pool, tenant=which))
    rows = listing(client, path("tenants", which, "budgets"))
    now = moments.now()
    valid = [row for row in rows if datetime.fromisoformat(row["expires_at"]).timestamp() > now]
    used = client.usage("project", tenant=which)
    used_s = sum(row["gpu_s"] for row in used)
    granted = sum(row["gpu_hours"] for row in valid)
    if json_wanted:
        shares = {"entitlements": tree, "commitments": committed}
        hours = {"gpu_hours": granted, "used_gpu_s": used_s, "budgets": valid, "usage": used}
        print_json({"tenant": which, **shares, **hours})
        return
    if tree:
        _print_nodes(tree)
        click.echo()
    if committed:
        _print_commitments(committed)
        click.echo()
    print_budgets(valid)
    said = t("{tenant}: {granted:g} GPU-hours granted, {used} used so far", tenant=plain(which), granted=granted,
             used=show_hours(used_s))  # fmt: skip
    click.echo(said)


# ── below ─────────────────────────────────────────────────────────────────────────────────────────────────────────
class Asked:
    """How a change was asked for."""

    def __init__(self, dry_run: bool, yes: bool, json_wanted: bool) -> None:
        self.dry_run = dry_run
        self.yes = yes
        self.json_wanted = json_wanted


def _change(where: str, body: dict[str, Any], asked: Asked) -> None:
    """Show what a change would do, ask, and do it to what was shown."""
    client = connect()
    planned = client.post(where, {**body, "dry_run": True})
    if asked.dry_run:
        if asked.json_wanted:
            print_json(planned)
        else:
            _print_changes(planned)
        return
    if not asked.yes:
        _print_changes(planned, err=True)
        confirm(t("Change it so?"), asked.yes)
    done = client.post(where, body, expecting(f'"{planned["expected"]}"'))
    if asked.json_wanted:
        print_json(done)
        return
    if asked.yes:
        _print_changes(done)
    if done["commitment"]:
        click.echo(t("commitment {commitment} is made", commitment=plain(done["commitment"])))
    else:
        click.echo(t("the entitlements of pool {pool} are changed", pool=plain(done["pool"])), err=True)


def _tree(client: Client, pool: str, tenant: str | None) -> dict[str, Any]:
    """The whole tree, over as many pages as it takes."""
    found: dict[str, Any] = {}
    cursor = None
    while True:
        page = client.get(ENTITLEMENTS, pool=pool, tenant=tenant, cursor=cursor)
        found = {**page, "items": [*found.get("items", ()), *page["items"]]}
        cursor = page["next_cursor"]
        if cursor is None:
            del found["next_cursor"]
            return found


def _known_pool(ask: Any) -> list[dict[str, Any]]:
    """What is asked of a pool; nothing of one that is not there, as before the first node."""
    try:
        found: list[dict[str, Any]] = ask()
    except Refused as refused:
        if refused.code != "unknown-pool":
            raise
        return []
    return found


def _print_nodes(nodes: list[dict[str, Any]]) -> None:
    headers = [
        t("NODE"),
        t("GUARANTEE"),
        t("WEIGHT"),
        t("BORROW"),
        t("LEND"),
        t("RECALL"),
        t("USED"),
        t("WAITING"),
    ]
    headers += [t("DESERVED"), t("IF ALL ASK")]
    amounts = ("used", "waiting", "deserved", "contended")
    rows = [(*_terms(one), *(_number(one[name]) for name in amounts)) for one in nodes]
    print_table(headers, rows, t("Nothing of the tree is yours to see."))


def _terms(one: dict[str, Any]) -> tuple[Any, ...]:
    return (
        one["node"] or t("(all)"),
        t("as below") if one["guarantee"] is None else _number(one["guarantee"]),
        one["weight"],
        t("any") if one["borrow"] is None else _number(one["borrow"]),
        t("all") if one["lend"] is None else _number(one["lend"]),
        show_duration(one["recall_s"]),
    )


def _print_commitments(rows: list[dict[str, Any]]) -> None:
    headers = [t("COMMITMENT"), t("NODE"), t("AMOUNT"), t("FROM"), t("UNTIL"), t("EUR/H")]
    cells = [
        (
            one["id"],
            one["node"],
            _number(one["amount"]),
            show_time(one["from_at"]),
            show_time(one["to_at"]),
            f"{one['price_eur']:g}",
        )
        for one in rows
    ]
    print_table(headers, cells, t("No commitments."))


def _print_changes(outcome: dict[str, Any], *, err: bool = False) -> None:
    """Who wins and who loses, and by how much."""
    if outcome["scaled"]:
        click.echo(t("Not everything fits: guarantees were shrunk in proportion."), err=True)
    headers = [t("NODE"), t("GUARANTEE"), t("WEIGHT"), t("DESERVED"), t("IF ALL ASK"), t("WINS")]
    rows = [
        (
            one["node"] or t("(all)"),
            _pair(one["guarantee"]),
            _pair(one["weight"]),
            _pair(one["deserved"]),
            _pair(one["contended"]),
            f"{round(one['contended'][1] - one['contended'][0], 3):+g}",
        )
        for one in outcome["changes"]
    ]
    print_table(headers, rows, t("Nothing changes."), err=err)


def _pair(values: list[float]) -> str:
    before, after = map(_number, values)
    return after if before == after else f"{before} → {after}"


def _number(value: float) -> str:
    """GPUs or cores, exact to the thousandth."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _unit(found: dict[str, Any]) -> str:
    return t("GPUs") if found["unit"] == "gpu" else t("cores")
