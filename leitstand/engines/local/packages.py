# SPDX-License-Identifier: Apache-2.0
"""The Python environment of each tenant: where it is, what belongs into it, whether it is there. Called by the engine.

A virtual environment in the tenant's folder of homes, which its jobs find first: `pip install` puts packages there,
and in front of those of the installation, which stay visible behind and are never written to. It has no pip of its
own, `pip` being that of the installation. `lay` makes it, as the tenant; here nothing of a tenant's is opened.
"""

import functools
import hashlib
import os
import shlex
import stat
import subprocess
from pathlib import Path
from typing import Final

import msgspec

from leitstand.engines.local.tenants import HOMES
from leitstand.engines.refused import CannotStart

ANSWER_S: Final = 30.0  # an interpreter, asked who it is
MARK: Final = ".leitstand"  # a link to nowhere, whose target says what was laid
_ASK: Final = """
import json, os, site, sys
virtual = sys.prefix != sys.base_prefix
print(json.dumps({
    "executable": os.path.realpath(sys._base_executable),
    "version": list(sys.version_info[:3]),
    "virtual": virtual,
    "sites": [folder for folder in site.getsitepackages() if virtual and os.path.isdir(folder)],
}))
"""
# Where all is the tenant's own, --user means the same; in virtual environments pip refuses it.
_PIP: Final = """#!/bin/sh
for word; do
    shift
    test "$word" = --user || set -- "$@" "$word"
done
exec {python} -m pip "$@"
"""


class Interpreter(msgspec.Struct, frozen=True):
    """A Python on this machine. `executable`: the one behind it, if it is a virtual environment's; `sites`: then the
    folders with the packages of that environment. What others have, Python itself lets environments see."""

    executable: str
    version: tuple[int, int, int]
    virtual: bool
    sites: tuple[str, ...]


class Environment(msgspec.Struct, frozen=True):
    """An environment as it should be: `links` (name -> target) and `files` (name -> text, mode) below `path`.
    `made_from`: the interpreter, as it was named."""

    made_from: Path
    path: Path
    links: dict[str, str]
    files: dict[str, tuple[str, int]]

    def is_whole(self, uid: int) -> bool:
        """Whether all of it is there and the user's. Links and modes are looked at, contents are not: a tenant may have
        a `pip` of its own by now."""
        try:
            return (
                os.lstat(self.path).st_uid == uid
                and all(os.readlink(self.path / name) == target for name, target in self.links.items())
                and all(stat.S_ISREG(os.lstat(self.path / name).st_mode) for name in self.files)
            )
        except OSError:
            return False


def home(data: Path, tenant: str) -> Path:
    """The folder for it of a tenant that has no user id of its own, there from now on. OSError."""
    folder = data / HOMES / tenant
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def environment(home: Path, python: Path) -> Environment:
    """The environment in `home` that `python` makes, there or not. Each minor version has one, since packages are made
    for one. CannotStart if the interpreter does not answer."""
    found = interpreter(python)
    minor = ".".join(map(str, found.version[:2]))
    path = home / f".python-{minor}"
    run_pip = _PIP.format(python=shlex.quote(f"{path}/bin/python"))
    config = (
        f"home = {os.path.dirname(found.executable)}\n"
        f"include-system-site-packages = {str(not found.virtual).lower()}\n"
        f"version = {'.'.join(map(str, found.version))}\n"
    )
    behind = "".join(f"import site; site.addsitedir({folder!r})\n" for folder in found.sites)
    files = {
        "pyvenv.cfg": (config, 0o644),
        **{f"bin/pip{suffix}": (run_pip, 0o755) for suffix in ("", "3", minor)},
        # the name is a late one: what packages of the environment add themselves comes before
        f"lib/python{minor}/site-packages/zz-installation.pth": (behind, 0o644),
    }
    links = {"lib64": "lib", **{f"bin/python{suffix}": found.executable for suffix in ("", "3", minor)}}
    links[MARK] = hashlib.sha256(repr((links, files)).encode()).hexdigest()
    return Environment(python, path, links, files)


@functools.cache
def interpreter(python: Path) -> Interpreter:
    """What the interpreter says of itself, asked once. CannotStart if it does not answer."""
    try:
        # -I: no module of the folder where we stand, nor variable of ours, changes the answer
        done = subprocess.run([python, "-I", "-c", _ASK], capture_output=True, timeout=ANSWER_S, check=True)
        return msgspec.json.decode(done.stdout, type=Interpreter)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise CannotStart(
            "environment_failed", f"{python}, from which environments are made, does not answer: {error}"
        ) from error
