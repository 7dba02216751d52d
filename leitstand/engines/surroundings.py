# SPDX-License-Identifier: Apache-2.0
"""What an engine that executes asks of the writer, and what a run executes. Shared by the engines that do."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from leitstand.engines.refused import CannotStart
from leitstand.runtime.ports import StartRun
from leitstand.runtime.spec import RunSpec


class NotYet(Exception):
    """The run cannot start now, which is no verdict on it: a line that says why."""


class Surroundings(msgspec.Struct, frozen=True):
    """`read_spec(name)` and `open_blob(tenant, sha256)` give None for what is not there; `read_spec` raises ValueError
    for a record that is damaged, OSError if it cannot be read now. `wake()` says that `take` has something.
    `read_secret(tenant, project, "name@version")` is as `read_spec`. All are called from the engine's own threads.
    `journal`: the id of the journal that places."""

    read_spec: Callable[[str], RunSpec | None]
    open_blob: Callable[[str, str], Path | None]
    wake: Callable[[], None]
    journal: str
    read_secret: Callable[[str, str, str], str | None] = lambda tenant, project, name: None


class Work(msgspec.Struct, frozen=True):
    """What a run executes: its command, the archive of its working directory, its secrets by variable."""

    spec: RunSpec
    workdir: Path | None
    secrets: dict[str, str]


def work_of(order: StartRun, around: Surroundings) -> Work:
    """What the run executes. Raises CannotStart, NotYet; OSError."""
    try:
        spec = around.read_spec(order.spec)
    except OSError as error:
        raise NotYet(f"the record with its command cannot be read now ({error})") from error
    except ValueError as error:
        raise CannotStart(
            "record_unreadable", f"the record with its command cannot be read ({error})"
        ) from error
    if spec is None:
        raise CannotStart("record_missing", "the record with its command is no longer there")
    if not (spec.argv or spec.script):
        raise CannotStart("command_not_found", "the job names no command")
    workdir = around.open_blob(order.tenant, spec.workdir) if spec.workdir else None
    if spec.workdir and workdir is None:
        raise CannotStart(
            "workdir_missing", f"the archive {spec.workdir} of its working directory is no longer there"
        )
    secrets = {variable: _secret(variable, name, order, around) for variable, name in spec.secrets.items()}
    return Work(spec, workdir, secrets)


def _secret(variable: str, name: str, order: StartRun, around: Surroundings) -> str:
    what = f"the secret {name} (for {variable})"
    try:
        value = around.read_secret(order.tenant, order.project, name)
    except OSError as error:
        raise NotYet(f"{what} cannot be read now ({error})") from error
    except ValueError:  # not chained: nothing of what was read may reach a log
        raise CannotStart("secret_unreadable", f"{what} is damaged") from None
    if value is None:
        raise CannotStart(
            "secret_missing", f"{what} is no longer there in project {order.project} of {order.tenant}"
        )
    if "\0" in value:
        raise CannotStart("secret_unreadable", f"{what} holds a zero byte, which no environment can hold")
    return value
