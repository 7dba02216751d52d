# SPDX-License-Identifier: Apache-2.0
"""The commands about alerts. Loaded by `leitstand.cli.root`."""

from typing import Any, Final

import click

from leitstand.cli.amounts import show_time
from leitstand.cli.client import connect
from leitstand.cli.nouns import Nouns
from leitstand.cli.table import as_json, plain, print_json, print_table
from leitstand.cli.text import is_german, t

SEVERITIES: Final = {"critical": t("critical"), "warning": t("warning")}


@click.group(cls=Nouns, help=t("List what people have to know, and who was told; test the way to them."))
def alerts() -> None:
    pass


@alerts.command("list", help=t("List the alerts that are open; with --all the latest that are over, too."))
@click.option("--all", "every", is_flag=True, help=t("Also those that are over."))
@as_json
def list_(every: bool, json_wanted: bool) -> None:
    rows = connect().get("/v1/alerts", open="false" if every else "true")["items"]
    if json_wanted:
        print_json(rows)
        return
    headers = [t("SINCE"), t("SEVERITY"), t("STATE"), t("ALERT"), t("TOLD")]
    print_table(headers, [_row(alert) for alert in rows], t("No alerts."))
    for alert in rows:
        if alert["open"]:
            words = alert["de" if is_german() else "en"]
            click.echo(f"{plain(words['title'])}\n  {plain(words['cause'])}\n  {plain(words['remedy'])}")


@alerts.command(help=t("Tell every receiver an alert that says only that it is a test."))
@as_json
def test(json_wanted: bool) -> None:
    found = connect().post("/v1/alerts/test", {})
    if json_wanted:
        print_json(found)
        return
    click.echo(t("test {id} is on its way; `leitstand alerts list --all` says who has it", id=found["id"]))


def _row(alert: dict[str, Any]) -> tuple[Any, ...]:
    words = alert["de" if is_german() else "en"]
    state = t("open") if alert["open"] else t("over") if alert["closed_at"] else None
    title = words["title"]
    return (
        show_time(alert["opened_at"]),
        SEVERITIES[alert["severity"]],
        state,
        title,
        ", ".join(_told(alert)) or None,
    )


def _told(alert: dict[str, Any]) -> list[str]:
    """Each receiver, of the last event that it was to hear of."""
    found: dict[str, str] = {}
    for one in alert["told"]:
        if one["told_at"]:
            said = one["receiver"]
        elif one["tries"]:
            said = t(
                "{name}: not yet ({tries} tries: {error})",
                name=one["receiver"],
                tries=one["tries"],
                error=one["error"],
            )
        else:
            said = t("{name}: not yet", name=one["receiver"])
        found[one["receiver"]] = said
    return list(found.values())
