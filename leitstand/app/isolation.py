# SPDX-License-Identifier: Apache-2.0
"""How runs of tenants are kept apart on this machine. Called by the writer, which does it, and by `up`, which says it.

Root gives every tenant a user id of its own; where the operating system allows namespaces, too, a run has files,
processes and temporary folders of its own. Anybody else runs all of them as the one user there is.
"""

import logging
import os
import sys
from pathlib import Path
from typing import Final

import click
import msgspec

from leitstand.app.serving import CannotServe
from leitstand.app.settings import Settings
from leitstand.cli.text import t
from leitstand.engines.local import confine
from leitstand.engines.local.tenants import Tenants, namespaces_here

UID_MIN: Final = 1_000  # below are the system's own
UID_MAX: Final = 4_294_967_293  # 2³² less the two that mean nobody

_log = logging.getLogger("leitstand.isolation")


class Isolation(msgspec.Struct, frozen=True):
    """`users`: tenants have user ids of their own; `namespaces`: their runs have files and processes of their own."""

    users: bool
    namespaces: bool


def here() -> Isolation:
    """What this process can do: tried out, not guessed."""
    users = os.geteuid() == 0
    return Isolation(users, users and namespaces_here())


def tenants(settings: Settings) -> Tenants | None:
    """Who runs as whom, None: all as ourselves. Says in the log what is not kept apart. CannotServe: the table of user
    ids is damaged."""
    isolation = here()
    if not isolation.users:
        _log.warning("not started as root: runs of tenants are not isolated from each other")
        return None
    if not isolation.namespaces:
        _log.warning("no namespaces here: the arguments of processes are visible to all tenants")
    first, last = settings.uids
    try:
        return Tenants(
            settings.data,
            range(first, last + 1),
            namespaces=isolation.namespaces,
            python=settings.python,
        )
    except ValueError as error:
        raise CannotServe(
            "unusable", f"{settings.data / 'uids.json'} is damaged ({error}); restore it from a backup"
        ) from error


# ── what `up` says and checks ─────────────────────────────────────────────────────────────────────────────────────
def lines(settings: Settings, isolation: Isolation) -> list[str]:
    """How runs are kept apart, for the start-up text; then what keeps tenants from running anything at all."""
    first, last = settings.uids
    if not isolation.users:
        return [t("as your own user; tenants are not isolated from each other (only root can do that)")]
    if isolation.namespaces:
        return [
            t(
                "isolated: each tenant has its own user id ({first}-{last}), files, processes and /tmp",
                first=first,
                last=last,
            )
        ]
    said = [
        t(
            "each tenant has its own user id ({first}-{last}); without namespaces, the arguments of processes "
            "are visible to all tenants",
            first=first,
            last=last,
        )
    ]
    who = _somebody(settings, isolation)
    python = settings.python or Path(sys.executable)
    if reason := confine.not_executable(str(python), who):
        said.append(
            t(
                "tenants cannot execute {python}: {reason}. Name another with --python",
                python=python,
                reason=reason,
            )
        )
    if reason := confine.barred(f"{settings.data.parent}/.", who):
        said.append(
            t(
                "tenants cannot reach {folder}: {reason}. Name another with --data",
                folder=settings.data,
                reason=reason,
            )
        )
    return said


def parse_uids(_: click.Context, __: click.Parameter, value: str) -> tuple[int, int]:
    """The click callback of a range of user ids, `200000-265535`."""
    first, _dash, last = value.partition("-")
    if not (first.isdecimal() and last.isdecimal() and UID_MIN <= int(first) <= int(last) <= UID_MAX):
        raise click.BadParameter(
            t(
                '"{text}" is not a range of user ids; write it like 200000-265535, from {min} to {max}',
                text=value,
                min=UID_MIN,
                max=UID_MAX,
            )
        )
    return int(first), int(last)


def check_python(settings: Settings, isolation: Isolation) -> None:
    """BadParameter if tenants could not execute the interpreter that --python names."""
    if settings.python is None:
        return
    if not os.access(settings.python, os.X_OK):
        raise click.BadParameter(
            t("{python} is not an executable file", python=settings.python), param_hint="--python"
        )
    if isolation.users and (
        reason := confine.not_executable(str(settings.python), _somebody(settings, isolation))
    ):
        raise click.BadParameter(
            t("tenants cannot execute {python}: {reason}", python=settings.python, reason=reason),
            param_hint="--python",
        )


def _somebody(settings: Settings, isolation: Isolation) -> confine.Who:
    """A tenant like any other."""
    return confine.Who(
        {
            "tenant": "",
            "uid": settings.uids[0],
            "namespaces": isolation.namespaces,
            "data": str(settings.data),
            "shown": {},
        }
    )
