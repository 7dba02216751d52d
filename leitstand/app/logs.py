# SPDX-License-Identifier: Apache-2.0
"""Logs of runs, wherever they ran: on this machine, or at a site that was added. Used by the faces."""

from pathlib import Path

from leitstand.engines.book import Mark, SiteBook
from leitstand.engines.local import folder as local
from leitstand.engines.slurm import folder as slurm


class Logs:
    """`runs`: the folder of this machine's. `journal`: the id of the control plane's."""

    def __init__(self, runs: Path, book: SiteBook, journal: str) -> None:
        self._local = local.RunFolders(runs)
        self._book = book
        self._journal = journal
        self._mark: Mark | None = None
        self._sites: list[slurm.RunFolders] = []

    def read_log(self, run: str, task: int, offset: int, limit: int) -> bytes:
        """As `Engine.read_log`. What a shared file system does not give now is as if it were not there."""
        try:
            return self._local.read_log(run, task, offset, limit)
        except KeyError:
            for folders in self._folders():
                try:
                    return folders.read_log(run, task, offset, limit)
                except (KeyError, OSError):
                    continue
            raise

    def _folders(self) -> list[slurm.RunFolders]:
        mark = self._book.mark()
        if mark != self._mark:
            sites = self._book.read().sites.values()
            self._sites = [slurm.RunFolders(site.slurm.folder, self._journal) for site in sites]
            self._mark = mark
        return self._sites
