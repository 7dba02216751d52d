# SPDX-License-Identifier: Apache-2.0
"""What runs left, wherever they ran: on this machine, or at a site that was added. Used by the faces."""

from collections.abc import Container, Iterator
from pathlib import Path

from leitstand.engines.book import SiteBook
from leitstand.engines.local import leftovers as local
from leitstand.engines.slurm import leftovers as slurm


class Left:
    """`runs`: the folder of this machine's runs. A shared folder that cannot be reached is an OSError: nobody may say
    that all is erased."""

    def __init__(self, runs: Path, book: SiteBook) -> None:
        self._local = local.Leftovers(runs)
        self._book = book

    def jobs(self) -> set[str]:
        """The jobs of which anything is left."""
        return self._local.jobs().union(*(site.jobs() for site in self._sites()))

    def erase_jobs(self, jobs: Container[str]) -> int:
        """Removes what is left of `jobs`; how many folders."""
        return self._local.erase_jobs(jobs) + sum(site.erase_jobs(jobs) for site in self._sites())

    def erase_tenant(self, tenant: str) -> int:
        """Removes what is left of all jobs of `tenant`, and its home."""
        return self._local.erase_tenant(tenant) + sum(site.erase_tenant(tenant) for site in self._sites())

    def export(self, tenant: str) -> Iterator[tuple[str, Iterator[bytes]]]:
        """What runs of `tenant` left on this machine."""
        return self._local.export(tenant)

    def _sites(self) -> list[slurm.Leftovers]:
        return [slurm.Leftovers(site.slurm.folder) for site in self._book.read().sites.values()]
