# SPDX-License-Identifier: Apache-2.0
"""The options of every command of `leitstand twin` that reads a trace."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import click

from leitstand.cli.text import t
from leitstand.twin.reading.formats import NAMES
from leitstand.twin.traces import Form

Command = TypeVar("Command", bound=Callable[..., Any])


def how_to_read(command: Command) -> Command:
    """The options of every command that reads a trace; it gets `form` and `lenient`."""

    @wraps(command)
    def reading(name: str | None, time_zone: str, tenant_from: str, **others: Any) -> Any:
        return command(form=Form(name or "", time_zone, tenant_from), **others)

    for option in (
        click.option(
            "--lenient", is_flag=True, help=t("Leave out rows that cannot be used; count and list them.")
        ),
        click.option(
            "--tenant-from",
            default="",
            metavar="NAME",
            help=t(
                "The column (Slurm) or label (Kubernetes) that names the tenant (else: account, namespace)."
            ),
        ),
        click.option(
            "--time-zone",
            default="UTC",
            metavar="ZONE",
            help=t("Of Slurm's local times, like Europe/Berlin (else: UTC)."),
        ),
        click.option(
            "--format",
            "name",
            type=click.Choice(NAMES),
            help=t("The format of TRACE (else told by suffix and content)."),
        ),
    ):
        reading = option(reading)
    return cast(Command, reading)
