# SPDX-License-Identifier: Apache-2.0
"""Which time it is where the answers come from: the world's, or in a twin that of the twin, as its answers tell.

Heard by the client of the command line, asked wherever ages are shown.
"""

import sys
import time
from datetime import datetime
from typing import Final

import click
import httpx2

from leitstand.cli.text import t

HEADER: Final = "Leitstand-Twin"
_ahead_s = 0.0
_is_twin = False


def now() -> float:
    """Unix seconds there."""
    return time.time() + _ahead_s


def hear(response: httpx2.Response) -> None:
    """Take the time of a twin from one of its answers; on a terminal, say once that it is one."""
    global _ahead_s, _is_twin
    said = response.headers.get(HEADER)
    if not said:
        return
    told = dict(part.strip().partition("=")[::2] for part in said.split(","))
    try:
        at = datetime.fromisoformat(told["now"]).timestamp()
        speed = float(told["speed"])
    except (KeyError, ValueError):
        return
    _ahead_s = at - time.time()
    if not _is_twin and sys.stderr.isatty():
        click.echo(
            t("Twin · {speed:g}x · {time}", speed=speed, time=f"{told['now'][:16].replace('T', ' ')} UTC"),
            err=True,
        )
    _is_twin = True


def forget() -> None:
    """The next answers may be of another control plane; for tests."""
    global _ahead_s, _is_twin
    _ahead_s, _is_twin = 0.0, False
