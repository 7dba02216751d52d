# SPDX-License-Identifier: Apache-2.0
"""What runs leave on this machine when they have ended: folders with logs and working directories, checkpoints, homes.
Called by the faces to erase what is a person's or a tenant's, and to give a tenant what is its own.

Nothing here asks the engine: a folder is renamed to what the engine takes for one being removed, then removed. Whoever
calls knows that no run of these jobs is left.
"""

import os
import re
import shutil
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Final

from leitstand.engines.local import record
from leitstand.engines.local.packing import Packing
from leitstand.engines.local.tenants import CHECKPOINTS, HOMES

_DOOMED: Final = ".gone-"  # as in `folder` and `checkpoints`
_JOB: Final = r"(?:\.gone-)?([A-Za-z0-9_][A-Za-z0-9._-]*-[0-9]+)"
_RUN: Final = re.compile(_JOB + r"\.[0-9]+(?:\.stale-[0-9]+)?")
_CHECKPOINT: Final = re.compile(_JOB + r"-[0-9a-f]{12}")
_OF_TASKS: Final = re.compile(
    rf"work-[0-9]+|{record.TMP}"
)  # what a run's own processes wrote, but for its log
_STALE: Final = re.compile(
    r"task-[0-9]+\.log|" + _OF_TASKS.pattern
)  # nobody asks for the log of what was set aside
LEFT_OUT: Final = "left-out.jsonl"
_TENANT: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}")


class Leftovers:
    """What lies in and beside the folder `runs` of a data folder; used by the faces' threads."""

    def __init__(self, runs: Path) -> None:
        self._runs = runs
        self._checkpoints = runs.parent / CHECKPOINTS
        self._homes = runs.parent / HOMES

    def jobs(self) -> set[str]:
        """The jobs of which anything is left."""
        return {job for job, _ in self._found()}

    def erase_jobs(self, jobs: Container[str]) -> int:
        """Removes what is left of `jobs`, checkpoints too; how many folders. Gone on return; OSError: do it again."""
        doomed = [folder for job, folder in self._found() if job in jobs]
        for folder in doomed:
            _remove(folder)
        for parent in dict.fromkeys(folder.parent for folder in doomed):
            record.sync_folder(str(parent))
        return len(doomed)

    def erase_tenant(self, tenant: str) -> int:
        """Removes what is left of all jobs of `tenant`, and its home; as `erase_jobs`."""
        if not _TENANT.fullmatch(tenant):
            return 0
        count = self.erase_jobs({job for job in self.jobs() if job.rpartition("-")[0] == tenant})
        homes = [self._homes / name for name in (tenant, f"{_DOOMED}{tenant}")]
        homes = [home for home in homes if home.is_dir()]
        for home in homes:
            _remove(home)
            record.sync_folder(str(self._homes))
        return count + len(homes)

    def export(self, tenant: str) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Everything that runs of `tenant` left, as tar archives, and last LEFT_OUT, what is not in them: name and
        content, which is read to its end before the next is asked for. Bounded in memory; blocks."""
        packing = Packing()
        if not _TENANT.fullmatch(tenant):
            return
        if (self._homes / tenant).is_dir():
            yield "home.tar", packing.pack("home.tar", str(self._homes), [tenant])
        for job, folder in self._found():
            if job.rpartition("-")[0] != tenant or folder.name.startswith(_DOOMED):
                continue
            top, names = folder.parent, [folder.name]
            if top == self._runs:
                form = _STALE if ".stale-" in folder.name else _OF_TASKS
                top, names = folder, sorted(name for name in _names(folder) if form.fullmatch(name))
            if any(_holds(top / name) for name in names):
                archive = f"{folder.parent.name}/{folder.name}.tar"
                yield archive, packing.pack(archive, str(top), names)
        yield LEFT_OUT, packing.left_out()

    def _found(self) -> Iterator[tuple[str, Path]]:
        for parent, form in ((self._runs, _RUN), (self._checkpoints, _CHECKPOINT)):
            for name in _names(parent):
                if found := form.fullmatch(name):
                    yield found[1], parent / name


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _holds(path: Path) -> bool:
    """Whether this is anything but an empty folder."""
    try:
        with os.scandir(path) as entries:
            return next(entries, None) is not None
    except OSError:
        return True  # a file, or one that must be told of


def _remove(folder: Path) -> None:
    """Also where a job took its own rights to write away, and where the engine removes the same."""
    gone = folder
    if not folder.name.startswith(_DOOMED):
        gone = folder.with_name(f"{_DOOMED}{folder.name}")
        try:
            folder.rename(gone)
        except FileNotFoundError:
            return
    try:
        shutil.rmtree(gone, onerror=_unless_gone)
    except PermissionError:  # who is not root may not change a folder that is write-protected
        if os.geteuid() == 0:  # root makes nothing of a tenant's accessible: a link could take its place
            raise
        for at, names, _ in os.walk(gone):
            for name in names:
                if not os.path.islink(f"{at}/{name}"):
                    os.chmod(f"{at}/{name}", 0o700)
        shutil.rmtree(gone, onerror=_unless_gone)


def _unless_gone(_: object, __: str, error: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(error[1], FileNotFoundError):
        raise error[1]
