# SPDX-License-Identifier: Apache-2.0
"""The command `applications`, for who examines them: list, show, record checks, approve, refuse. Loaded by
`leitstand.cli.root`."""

from typing import Any, Final

import click

from leitstand.cli.amounts import show_ago
from leitstand.cli.application import print_application
from leitstand.cli.client import connect
from leitstand.cli.nouns import Nouns, listing
from leitstand.cli.table import as_json, print_json, print_table
from leitstand.cli.tenant import print_legal
from leitstand.cli.text import t
from leitstand.cli.words import State, word
from leitstand.client import path

STATES: Final = ("open", "approved", "refused", "withdrawn")
REFUSALS: Final = (
    "identity",
    "sanctions",
    "export_control",
    "size_class",
    "capacity",
    "purpose",
    "incomplete",
    "other",
)

_id_argument = click.argument("application_id", metavar="APPLICATION")
_note = click.option("--note", default="", help=t("For other reviewers and operators."))


@click.group(cls=Nouns, help=t("Examine, approve and refuse applications."))
def applications() -> None:
    pass


@applications.command("list", help=t("List applications, newest first."))
@click.option("--state", type=State(STATES), help=t("Only those in this state."))
@as_json
def list_(state: str | None, json_wanted: bool) -> None:
    rows = listing(connect(), "/v1/applications", state=state)
    if json_wanted:
        print_json(rows)
        return
    headers = [t("ID"), t("TENANT"), t("CLASS"), t("NAME"), t("STATE"), t("CHECKS"), t("FILED")]
    print_table(headers, [_row(row) for row in rows], t("No applications."))


@applications.command(help=t("Show an application with its checks and what to look at."))
@_id_argument
@as_json
def show(application_id: str, json_wanted: bool) -> None:
    found = connect().application(application_id)
    _print(found, json_wanted)
    if found["legal"] and not json_wanted:
        click.echo()
        print_legal(found["legal"])


@applications.command(
    help=t("Record the outcome of a check; a later one replaces it while the application is open.")
)
@_id_argument
@click.argument("check")
@click.argument("outcome", type=click.Choice(["passed", "failed"]))
@_note
@as_json
def check(application_id: str, check: str, outcome: str, note: str, json_wanted: bool) -> None:
    where = path("applications", application_id, "checks", check)
    _print(connect().post(where, {"outcome": outcome, "note": note}), json_wanted)


@applications.command(help=t("Approve: the tenant is there, with its first user and its first budget."))
@_id_argument
@as_json
def approve(application_id: str, json_wanted: bool) -> None:
    _print(connect().post(path("applications", application_id, "approve")), json_wanted)


@applications.command(help=t("Refuse; the applicant reads reason and note."))
@_id_argument
@click.option("--reason", required=True, type=click.Choice(REFUSALS), help=t("Why."))
@click.option("--note", default="", help=t("For the applicant, in your own words."))
@as_json
def refuse(application_id: str, reason: str, note: str, json_wanted: bool) -> None:
    body = {"reason": reason, "note": note}
    _print(connect().post(path("applications", application_id, "refuse"), body), json_wanted)


def _print(found: dict[str, Any], json_wanted: bool) -> None:
    if json_wanted:
        print_json(found)
    else:
        print_application(found)


def _row(found: dict[str, Any]) -> tuple[Any, ...]:
    done = sum(1 for check in found["checks"] if check["outcome"] == "passed")
    return (
        found["id"],
        found["tenant"],
        word(found["class"]),
        found["legal"]["name"] if found["legal"] else None,
        word(found["state"]),
        f"{done}/{len(found['checks'])}",
        show_ago(found["filed_at"]),
    )
