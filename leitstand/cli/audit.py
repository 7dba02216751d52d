# SPDX-License-Identifier: Apache-2.0
"""The command `audit`: who did which administrative act. Loaded by `leitstand.cli.root`."""

from datetime import UTC, datetime
from typing import Any, Final

import click

from leitstand.cli import complete
from leitstand.cli.amounts import show_ago
from leitstand.cli.client import connect
from leitstand.cli.table import as_json, person, print_json, print_table
from leitstand.cli.text import t

LIMIT_MAX: Final = 100_000
SUBJECT_MAX: Final = 24  # characters in the table; --json has all
DETAIL_MAX: Final = 100
HOUR_US: Final = 3_600_000_000


@click.command(help=t("List who did which administrative act, latest first."))
@click.option("--tenant", shell_complete=complete.tenants, help=t("Only acts in this tenant."))
@click.option(
    "--limit", type=click.IntRange(1, LIMIT_MAX), default=100, show_default=True, help=t("At most so many.")
)
@as_json
def audit(tenant: str | None, limit: int, json_wanted: bool) -> None:
    rows = list(connect().pages("/v1/acts", limit, tenant=tenant))
    if json_wanted:
        print_json(rows)
        return
    headers = [t("SEQ"), t("WHEN"), t("BY"), t("ACT"), t("TENANT"), t("SUBJECT"), t("DETAIL")]
    cells = [
        (
            row["seq"],
            show_ago(row["at"]),
            person(row["by"]),
            row["act"],
            row["tenant"] or None,
            _short(person(row["person"]) or row["subject"], SUBJECT_MAX) or None,
            _short(_detail(row), DETAIL_MAX) or None,
        )
        for row in rows
    ]
    print_table(headers, cells, t("No acts."))


def _short(text: str, limit: int) -> str:
    """As much of a text as a cell takes."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _detail(row: dict[str, Any]) -> str:
    """What else was said, without what other columns show; empty values left out."""
    hidden: tuple[Any, ...] = ("", None, [], 0, row["tenant"], row["subject"])
    said = [
        _shown(name, value) for name, value in row["body"].items() if value not in hidden and name != "user"
    ]
    return " ".join(said)


def _shown(name: str, value: Any) -> str:
    """A part of a fact with its unit: moments and amounts are whole microseconds there."""
    if name == "gpu_us":
        return f"gpu_hours={value / HOUR_US:g}"
    if name.endswith("_us") and isinstance(value, int):
        moment = datetime.fromtimestamp(value / 1_000_000, UTC)
        return f"{name.removesuffix('_us')}={moment:%Y-%m-%dT%H:%M:%SZ}"
    return f"{name}={','.join(map(str, value)) if isinstance(value, list) else value}"
