# SPDX-License-Identifier: Apache-2.0
"""The folders `DIR/checkpoints/JOB-…/` that all runs of a job share. Called by the local engine.

The engine never looks into them: they are the tenant's own. A folder is kept for KEPT_S after the last run of its job
ended, since only the core knows whether another run comes.
"""

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

from leitstand.engines.local.tenants import Identity
from leitstand.runtime.ports import StartRun

KEPT_S: Final = 30 * 86_400
_DOOMED: Final = ".gone-"  # a folder being removed


class Checkpoints:
    """All of them, below one path, which is made when it is first needed. Used by the engine's threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._changing = threading.Lock()  # what is removed is a folder that nobody just asked for

    def of(self, order: StartRun, journal: str) -> Path:
        """Where the job's is, there or not. Ids of jobs repeat when a journal is lost or an older one restored,
        hence the digest of journal and record in the name."""
        about = hashlib.sha256(f"{journal}\n{order.spec}".encode()).hexdigest()[:12]
        return self.path / f"{order.job}-{about}"

    def make(self, order: StartRun, journal: str, identity: Identity | None) -> Path:
        """The job's folder, there from now on, and its tenant's alone. OSError."""
        folder = self.of(order, journal)
        with self._changing:
            self.path.mkdir(mode=0o700, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            if identity is not None:
                os.chown(folder, identity.uid, identity.uid)
            os.utime(folder)
        return folder

    def ended(self, order: StartRun, journal: str, at_us: int) -> None:
        """A run of the job has ended: from then on the time counts."""
        try:
            os.utime(self.of(order, journal), ns=(at_us * 1000, at_us * 1000))
        except OSError:
            return  # it has none, or the disk refuses: then the time counts from its start

    def prune(self, live: Collection[Path]) -> int:
        """Removes folders that are over their time, but for `live`; how many."""
        if not self.path.exists():
            return 0
        doomed = [name for name in os.listdir(self.path) if name.startswith(_DOOMED)]
        removed = 0
        for name in os.listdir(self.path):
            with self._changing:
                folder = self.path / name
                if name in doomed or folder in live or time.time() - folder.lstat().st_mtime < KEPT_S:
                    continue
                gone = f"{_DOOMED}{name}"
                folder.rename(self.path / gone)
            doomed.append(gone)
            removed += 1
        for name in doomed:
            shutil.rmtree(self.path / name, ignore_errors=True)
        return removed
