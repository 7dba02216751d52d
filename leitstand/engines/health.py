# SPDX-License-Identifier: Apache-2.0
"""How the sites are, as their engines see them: kept by the writer in a file that may be lost, read by the faces."""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec


class Health(msgspec.Struct, frozen=True):
    """How a site is. `error` '': well; `since_us`: since when it is so; `asked_us`: when it last answered, 0: never.
    `version`: of Slurm; `nodes`: that it lists, `in_service` of them take work, with `gpus`. `stamp`: of the file in
    the book that the engine was opened with."""

    error: str
    since_us: int
    asked_us: int
    version: str = ""
    nodes: int = 0
    in_service: int = 0
    gpus: int = 0
    stamp: int = 0


def keep(path: Path, sites: Mapping[str, Health]) -> None:
    """Write it whole, not durably: the next one comes within seconds. OSError: the old one stands."""
    draft = path.with_name(path.name + ".draft")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(dict(sites)))
    os.replace(draft, path)


def read(path: Path) -> dict[str, Health]:
    """What was kept last; {} if it is lost or damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Health])
    except (OSError, msgspec.DecodeError):
        return {}
