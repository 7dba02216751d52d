# SPDX-License-Identifier: Apache-2.0
"""The command `availability`. Loaded by `leitstand.cli.root`."""

from typing import Any

import click

from leitstand.cli.amounts import show_hours
from leitstand.cli.client import connect
from leitstand.cli.table import as_json, print_json, print_table
from leitstand.cli.tenants import parse_moment
from leitstand.cli.text import t


@click.command(help=t("Show how much of each site served, and how much of each guarantee could be had."))
@click.option(
    "--from",
    "from_at",
    metavar="TIME",
    callback=lambda _, __, text: text and parse_moment(text),
    help=t("From when on.  [default: 30 days before the end]"),
)
@click.option(
    "--until",
    "to_at",
    metavar="TIME",
    callback=lambda _, __, text: text and parse_moment(text),
    help=t("Until when.  [default: now]"),
)
@click.option("--tenant", help=t("Of this tenant alone."))
@as_json
def availability(json_wanted: bool, **given: str | None) -> None:
    asked = {name: value for name, value in given.items() if value}
    found = connect().get("/v1/availability", **asked)
    if json_wanted:
        print_json(found)
        return
    headers = [t("SITE"), t("INSTALLED GPU-H"), t("SERVING"), t("ANNOUNCED"), t("DOWN"), t("AVAILABILITY")]
    parts = ("installed_gpu_s", "serving_gpu_s", "announced_gpu_s", "down_gpu_s")
    rows = [
        [one["site"], *(show_hours(one[part]) for part in parts), _percent(one)] for one in found["sites"]
    ]
    print_table(headers, rows, t("No sites."))
    if found["tenants"]:
        click.echo()
        headers = [t("TENANT"), t("GUARANTEED GPU-H"), t("COULD BE HAD"), t("AVAILABILITY")]
        rows = [
            [one["tenant"], show_hours(one["guaranteed_gpu_s"]), show_hours(one["had_gpu_s"]), _percent(one)]
            for one in found["tenants"]
        ]
        print_table(headers, rows, "")


def _percent(one: dict[str, Any]) -> str | None:
    share = one["availability"]
    return None if share is None else f"{100 * share:.3f} %"
