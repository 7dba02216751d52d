# SPDX-License-Identifier: Apache-2.0
"""What runs leave in the folder of a Slurm site when they have ended: logs, working directories, checkpoints. Called by
the faces to erase what is a person's or a tenant's.

Nothing here asks the engine: whoever calls knows that no run of these jobs is left.
"""

import contextlib
import os
import shutil
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Final

from leitstand.engines.slurm.folder import RUN

CHECKPOINTS: Final = "checkpoints"


class Leftovers:
    """What lies in the folder of one site."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def jobs(self) -> set[str]:
        """The jobs of which anything is left."""
        return {job for job, _ in self._found()}

    def erase_jobs(self, jobs: Container[str]) -> int:
        """Removes what is left of `jobs`, checkpoints too; how many folders. OSError: do it again."""
        doomed = [path for job, path in self._found() if job in jobs]
        for path in doomed:
            with contextlib.suppress(FileNotFoundError):  # the engine removes old runs, too
                shutil.rmtree(path)
        return len(doomed)

    def erase_tenant(self, tenant: str) -> int:
        """Removes what is left of all jobs of `tenant`; as `erase_jobs`."""
        return self.erase_jobs({job for job in self.jobs() if job.rpartition("-")[0] == tenant})

    def _found(self) -> Iterator[tuple[str, Path]]:
        for name in _names(self._folder):
            if RUN.fullmatch(name):
                yield name.rpartition(".")[0], self._folder / name
        for name in _names(self._folder / CHECKPOINTS):
            yield name, self._folder / CHECKPOINTS / name


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []
