# SPDX-License-Identifier: Apache-2.0
"""The folder of a run on the file system that control plane and nodes share: what it executes, and what became of it.

`claim`, a symbolic link, is made once, by the script of the run when it begins or by the engine so that it never does:
whoever made it decides. So a run executes at most once, however often Slurm was asked, however late it starts. `ended`
is the script's last word. Called by the engine; `script` says what is in the rest.
"""

import contextlib
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from leitstand.runtime.ports import StartRun

RUN: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}\.[0-9]{1,9}")
NAME: Final = re.compile(rf"({RUN.pattern})@([0-9a-f]{{8}})-([0-9a-f]{{8}})")
CLAIM: Final = "claim"
ENDED: Final = "ended"
FENCE: Final = "fence"
REFUSED: Final = "refused"
WORK: Final = "work"
OWNER: Final = "owner"
NEVER: Final = "never"  # the claim of the engine
READ_MAX: Final = 1 << 20


class Claim(msgspec.Struct, frozen=True):
    """Who made the run's claim: the id of a Slurm job and when, in µs by the node's clock; job 0: the engine, and
    `never` is how a run ended that never began."""

    job: int
    at_us: int
    never: str = ""


class Ended(msgspec.Struct, frozen=True):
    """`outcome`: exited, stopped, time_limit, fenced or refused; `status`: the shell's, 128 + n for signal n."""

    outcome: str
    status: int
    at_us: int


class RunFolder:
    """The folder of one placement of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def claim(self) -> Claim | None:
        """None: the run has not begun. OSError where that cannot be said."""
        try:
            said = os.readlink(self.path / CLAIM)
        except FileNotFoundError:
            return None
        job, _, rest = said.partition(" ")
        at, _, never = rest.partition(" ")
        if job.isdigit():
            return Claim(int(job), int(at) if at.isdigit() else 0)
        return Claim(0, int(at) if at.isdigit() else 0, never)

    def prevent(self, outcome: str) -> bool:
        """Whether the run never begins: True from then on for ever. `outcome`: what becomes of it, for whoever finds it
        if it could not be reported. OSError where that cannot be said."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            os.symlink(f"{NEVER} {time.time_ns() // 1000} {outcome}", self.path / CLAIM)
        except FileExistsError:
            claim = self.claim()
            return claim is not None and not claim.job
        return True

    def ended(self) -> Ended | None:
        """None: the script has not said so, or not whole."""
        try:
            said = (self.path / ENDED).read_text()
            outcome, status, at = said.split()
            return Ended(outcome, int(status), int(at)) if said.endswith("\n") else None
        except (FileNotFoundError, ValueError):
            return None

    def refused(self) -> str:
        """Why a task could not start, a word of the closed list; '' if none said so."""
        with contextlib.suppress(FileNotFoundError):
            words = (self.path / REFUSED).read_text().split()
            return words[0] if words else ""
        return ""

    def fence(self) -> None:
        """Whatever still runs of it is killed by its own script, as soon as that looks."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / FENCE).touch()

    def is_fenced(self) -> bool:
        """Whether `fence` was called."""
        return (self.path / FENCE).exists()

    def say(self, tasks: int, line: str) -> None:
        """A line for the person who reads the logs."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for rank in range(tasks):
            with (self.path / log_name(rank)).open("a", encoding="utf-8", errors="replace") as log:
                log.write(f"{line}\n")


class RunFolders:
    """All runs of one site that one control plane places there. `journal`: the id of its journal."""

    def __init__(self, path: Path, journal: str) -> None:
        self.path = path
        self._journal = _short(journal)

    def open(self) -> None:
        """Make the folder ours. OSError; ValueError if it is another control plane's."""
        self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
        try:
            with (self.path / OWNER).open("x") as file:
                file.write(self._journal)
        except FileExistsError:
            self.check_owner()

    def check_owner(self) -> None:
        """OSError; ValueError if the folder is another control plane's. Who owns none yet may have it."""
        with contextlib.suppress(FileNotFoundError):
            found = (self.path / OWNER).read_text()
            if found != self._journal:
                raise ValueError(
                    f"{self.path} belongs to another control plane (journal {found[:8]}, not {self._journal}): "
                    "two cannot place runs on the same nodes; give each its own partition and folder"
                )

    def name(self, order: StartRun) -> str:
        """What only this placement of this run is called in Slurm."""
        return f"{order.run}@{self._journal}-{_short(f'{self._journal} {order.placed_us}')}"

    def is_ours(self, name: str) -> bool:
        """Whether a job with this name was submitted by this control plane."""
        found = NAME.fullmatch(name)
        return found is not None and found[2] == self._journal

    def of(self, order: StartRun) -> RunFolder:
        """The folder of this placement."""
        return RunFolder(self.path / order.run / self.name(order).rpartition("-")[2])

    def read_log(self, run: str, task: int, offset: int, limit: int) -> bytes:
        """As `Engine.read_log`, of the latest placement."""
        if not RUN.fullmatch(run):
            raise KeyError(run)
        found = [path for path in self._placements(run) if (path / log_name(task)).exists()]
        if not found:
            raise KeyError(run)
        path = max(found, key=lambda one: one.stat().st_mtime_ns) / log_name(task)
        with path.open("rb") as log:
            return os.pread(log.fileno(), min(limit, READ_MAX), offset)

    def prune(self, keep: int) -> int:
        """Remove the oldest runs that have ended until `keep` of them are left; how many were removed."""
        ends = []
        with contextlib.suppress(FileNotFoundError):
            for run in os.listdir(self.path):
                for path in self._placements(run):
                    with contextlib.suppress(OSError):
                        ends.append(((path / ENDED).stat().st_mtime_ns, path))
        doomed = sorted(ends)[: max(0, len(ends) - keep)]
        for _, path in doomed:
            shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):  # another placement of it is kept
                path.parent.rmdir()
        return len(doomed)

    def _placements(self, run: str) -> Iterator[Path]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for name in sorted(os.listdir(self.path / run)):
                yield self.path / run / name


def log_name(rank: int) -> str:
    return f"task-{rank}.log"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
