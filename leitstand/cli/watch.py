# SPDX-License-Identifier: Apache-2.0
"""Showing jobs as they change, until Ctrl-C: a table drawn anew on a terminal, a line for each change elsewhere.
Called by `jobs --watch`.
"""

import os
import sys
from collections.abc import Callable
from typing import Any, Final

import click

from leitstand.cli.client import Client
from leitstand.cli.refusals import Refused, Unreachable
from leitstand.client import OUTAGE_MAX_S, PASSING_STATUS, backoff

DRAWN_EVERY_S: Final = 2.0
_CLEAR: Final = "\x1b[H\x1b[2J"

Row = dict[str, Any]
Which = dict[str, str | None]


def on_terminal() -> bool:
    """Whether what is printed can be taken back."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def draw(client: Client, limit: int, which: Which, show: Callable[[list[Row]], None]) -> None:
    """Draw the newest `limit` jobs among `which` again and again."""
    while True:
        rows = list(client.pages("/v1/jobs", limit, **which))
        click.echo(_CLEAR, nl=False)
        show(rows)
        client.sleep(DRAWN_EVERY_S)


def stream(client: Client, limit: int, which: Which, show: Callable[[Row], None]) -> None:
    """Show each of the newest `limit` jobs among `which`, then each change of any, across lost connections; Unreachable
    after OUTAGE_MAX_S without contact."""
    after: int | None = None
    lost, tries = 0.0, 0
    while True:
        try:
            since = {} if after is None else {"after": after}
            with client.events("/v1/events", **since) as events:
                if after is None:  # asked for when the stream stands already, so nothing is missed between
                    for job in reversed(list(client.pages("/v1/jobs", limit, **which))):
                        show(job)
                for event in events:
                    if event.event == "job":
                        lost, tries, after = 0.0, 0, int(event.id)
                        _show_wanted(client.decode(event.data), which, show)
        except Unreachable:
            if lost > OUTAGE_MAX_S:
                raise
        except Refused as refused:
            if refused.status not in PASSING_STATUS or lost > OUTAGE_MAX_S:
                raise
        pause = backoff(tries)
        client.sleep(pause)
        lost, tries = lost + pause, tries + 1


def _show_wanted(job: Row, which: Which, show: Callable[[Row], None]) -> None:
    if all(job[name] == value for name, value in which.items() if value is not None):
        show(job)
