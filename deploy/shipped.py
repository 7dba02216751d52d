# SPDX-License-Identifier: Apache-2.0
"""What an installation consists of, out of requirements.lock: the packages that Leitstand needs at run time, and what
these need. Used by `deploy.wheelhouse` and `deploy.sbom`.

The lock also holds what development needs. Which of it is shipped follows from the metadata of the installed packages,
so it is told for this platform and this Python.
"""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"


class Locked(NamedTuple):
    """An entry of the lock. `text`: as it stands there; `digests`: SHA-256 of the files that may be installed; `here`:
    whether its marker holds on this platform."""

    name: str
    version: str
    text: str
    digests: tuple[str, ...]
    here: bool


def locked(lock: Path = LOCK) -> list[Locked]:
    """Every entry of the lock. A package stands there more than once if its version depends on the platform."""
    found = []
    for text in re.split(r"\n(?=\S)", lock.read_text().strip()):
        required = Requirement(text.split(" \\\n")[0])
        (version,) = [one.version for one in required.specifier]
        digests = tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", text))
        here = required.marker is None or required.marker.evaluate()
        found.append(Locked(canonicalize_name(required.name), version, text, digests, here))
    return found


def shipped(lock: list[Locked]) -> list[Locked]:
    """Those that an installation on this platform consists of. KeyError: the lock is older than pyproject.toml."""
    names, here = _needed(), {one.name: one for one in lock if one.here}
    return [here[name] for name in sorted(names)]


def _needed() -> set[str]:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    seen: set[tuple[str, str]] = set()
    todo = [(Requirement(one), "") for one in declared]
    while todo:
        required, extra = todo.pop()
        if required.marker is not None and not required.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(required.name)
        for wanted in {"", *required.extras} - {known for one, known in seen if one == name}:
            seen.add((name, wanted))
            try:
                todo += [(Requirement(one), wanted) for one in requires(name) or ()]
            except PackageNotFoundError as error:
                raise KeyError(f"{name} is not installed: make setup") from error
    return {name for name, _ in seen}
