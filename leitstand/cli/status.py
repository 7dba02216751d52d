# SPDX-License-Identifier: Apache-2.0
"""`leitstand status`: how the control plane is, and which of several that take turns leads. Loaded by
`leitstand.cli.root`. Needs no token; who may see metrics is told of all that take turns."""

from typing import Any

import click

from leitstand.cli import exits
from leitstand.cli.amounts import show_time
from leitstand.cli.client import Client, connect
from leitstand.cli.refusals import CommandFailed
from leitstand.cli.table import as_json, print_fields, print_json, print_table
from leitstand.cli.text import t

ROLES = {"leader": t("leads"), "standby": t("stands by")}
STATUS = {"ok": t("ok"), "writer-away": t("its writer is away: readings alone"), "standby": t("stands by")}


@click.command(help=t("Say how the control plane is; of several that take turns, which one leads."))
@as_json
@click.pass_context
def status(ctx: click.Context, json_wanted: bool) -> None:
    found = _client().health()
    if json_wanted:
        print_json(found)
    else:
        _show(found)
    ctx.exit(exits.OK if found["status"] in ("ok", "standby") else exits.ERROR)


def _client() -> Client:
    try:
        return connect()
    except CommandFailed:  # nobody is signed in
        return connect(token="")


def _show(found: dict[str, Any]) -> None:
    turn = found["turn"]
    fields: list[tuple[str, Any]] = [
        (t("status"), STATUS.get(found["status"], found["status"])),
        (t("version"), found["version"]),
        (t("last entry"), found["seq"]),
    ]
    if turn is not None:
        leader = turn["leader"] or t("nobody at the moment")
        since = show_time(turn["since_at"]) if turn["since_at"] else ""
        fields += [(t("leader"), f"{leader} {since}".strip()), (t("changes of lead"), turn["epoch"])]
    print_fields(fields)
    if turn is None or not turn["members"]:
        return
    headers = [t("ADDRESS"), t("ROLE"), t("BEHIND [entries]"), t("LAST SEEN [s]"), t("NOTE")]
    rows = [
        [one["address"], ROLES[one["role"]], one["behind"], one["silent_s"], one["note"]]
        for one in turn["members"]
    ]
    print_table(headers, rows, "")
