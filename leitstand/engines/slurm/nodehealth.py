# SPDX-License-Identifier: Apache-2.0
"""What the nodes of a Slurm site say of their GPUs: one small file for each, in the folder `health` of the site's.

Slurm itself runs the program that writes them (`node_check`, put there when the site is opened), since slurmd is on
every node anyway and nothing of ours is. The engine reads what changed with one look at the folder. What stands in a
file is believed as far as its form goes, of nodes of the site alone: whoever may write there may take a node out of
service, and nothing else. Called by the engine.
"""

import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from leitstand.core.facts import NodeReported
from leitstand.core.health.table import KINDS, XID, XID_MAX
from leitstand.engines.slurm import node_check
from leitstand.engines.slurm.site import Place

FOLDER: Final = "health"
PROGRAM: Final = "check"
FILE_MAX: Final = 64 * 1024
FILES_MAX: Final = 100_000
AWAITED_US: Final = 120_000_000  # twice the longest check that Slurm lets run

_log = logging.getLogger(__name__)


class Trouble(msgspec.Struct, frozen=True):
    """As in `NodeReported`."""

    kind: str
    at_us: int
    code: int = 0
    gpu: int = -1


class Said(msgspec.Struct, frozen=True):
    """What a node says."""

    troubles: tuple[Trouble, ...] = ()


class NodeHealth:
    """The files of one site. `open` first."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._folder = place.slurm.folder / FOLDER
        self._read: dict[str, int] = {}  # file → its time, as it was read last
        self._told: dict[tuple[str, str, int, int], int] = {}  # what was reported last, and of when it is

    def open(self) -> None:
        """The folder is there, with the program as this version has it, unless that is another's by now. OSError."""
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        wanted = Path(node_check.__file__).read_bytes()
        program = self._folder / PROGRAM
        with contextlib.suppress(FileNotFoundError):
            if program.read_bytes() == wanted:
                return
        part = self._folder / f".{PROGRAM}.part"
        try:
            part.write_bytes(wanted)
            part.chmod(0o755)
            part.rename(program)
        except PermissionError as error:  # the operator gave it to who writes there
            _log.warning("site %s: the program for nodes was not written: %s", self._place.name, error)

    def news(self, nodes: frozenset[str]) -> list[NodeReported]:
        """What was not reported yet; `nodes`: the ids of those of the site. OSError."""
        found: list[NodeReported] = []
        with os.scandir(self._folder) as entries:
            for number, entry in enumerate(entries):
                node, suffix = os.path.splitext(entry.name)
                name = self._place.node(node)
                if suffix != ".json" or name not in nodes or number >= FILES_MAX:
                    continue
                with contextlib.suppress(FileNotFoundError):
                    changed = entry.stat(follow_symlinks=False).st_mtime_ns
                    if self._read.get(node) != changed:
                        found += self._of(name, Path(entry.path))
                        self._read[node] = changed
        return found

    def awaited(self, nodes: Sequence[str], since_us: int, now_us: int) -> bool:
        """Whether these nodes (Slurm's names) are looked at, and one of them was not since then (µs). Nobody is awaited
        for longer than AWAITED_US."""
        try:
            looked = [(self._folder / f"{node}.json").stat().st_mtime_ns // 1000 for node in nodes]
        except OSError:
            return False  # nobody looks there
        return since_us - AWAITED_US < min(looked) <= since_us and now_us < since_us + AWAITED_US

    def _of(self, node: str, path: Path) -> list[NodeReported]:
        try:
            said = msgspec.json.decode(_content(path), type=Said)
        except (OSError, msgspec.DecodeError) as error:
            _log.warning("site %s: %s is passed over: %s", self._place.name, path, error)
            return []
        found = []
        for one in said.troubles:
            what = (node, one.kind, one.code, one.gpu)
            is_xid = one.kind == XID and 0 < one.code <= XID_MAX
            possible = one.kind in KINDS and (is_xid or (one.kind != XID and not one.code)) and one.at_us > 0
            if possible and self._told.get(what, 0) < one.at_us:
                self._told[what] = one.at_us
                found.append(NodeReported(node, one.kind, one.code, max(one.gpu, -1), one.at_us))
        return found


def _content(path: Path) -> bytes:
    """Of the file itself, and no more of it than it may have."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        return file.read(FILE_MAX)
