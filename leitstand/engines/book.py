# SPDX-License-Identifier: Apache-2.0
"""The book of sites: one file for each site that was added, in a folder. Written by the faces, watched by the writer.

A file that somebody damaged by hand takes no other site with it: it is named, the rest is read.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

import msgspec

from leitstand.engines import health
from leitstand.engines.health import Health
from leitstand.engines.sitefile import SiteFile, clash, decode, encode
from leitstand.runtime.disk import write_whole

SITES_MAX: Final = 100
SUFFIX: Final = ".json"
FILE_BYTES_MAX: Final = 1 << 20

Mark = tuple[tuple[str, int, int, int], ...]


class Clash(ValueError):
    """The site cannot be added beside those that are there: a line that says why."""


class Pages(msgspec.Struct, frozen=True):
    """What the book holds, by name: sites, and what is wrong with files that hold none. `stamps`: when each file was
    written, ns."""

    sites: dict[str, SiteFile]
    wrong: dict[str, str]
    stamps: dict[str, int]


class SiteBook:
    """The book in `folder`; None: that of a control plane to which no site can be added. `<folder>.health` is beside
    it."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @property
    def writable(self) -> bool:
        """Whether sites can be added at all."""
        return self._folder is not None

    def read(self) -> Pages:
        """All sites in the order of their names. A second one that clashes with one before it counts as wrong."""
        sites: dict[str, SiteFile] = {}
        wrong: dict[str, str] = {}
        files = self.mark()[:SITES_MAX]
        for name, *_ in files:
            try:
                file = self._file(name)
                if why := next(filter(None, (clash(file, one) for one in sites.values())), ""):
                    raise ValueError(why)
                sites[name] = file
            except FileNotFoundError:
                continue  # it went meanwhile
            except (OSError, ValueError) as error:
                wrong[name] = f"{self._path(name)}: {' '.join(str(error).split())}"
        return Pages(sites, wrong, {name: stamp for name, stamp, *_ in files})

    def get(self, name: str) -> SiteFile | None:
        """The site of this name; None also for one whose file is damaged."""
        return self.read().sites.get(name)

    def put(self, file: SiteFile) -> bool:
        """Add or change a site; whether it is new. Clash; OSError: nothing changed."""
        assert self._folder is not None
        pages = self.read()
        for other in pages.sites.values():
            if other.name != file.name and (why := clash(file, other)):
                raise Clash(why)
        new = file.name not in pages.sites and file.name not in pages.wrong
        if new and len(pages.sites) + len(pages.wrong) >= SITES_MAX:
            raise Clash(f"there are {SITES_MAX} sites, which is the limit; remove one")
        if pages.sites.get(file.name) != file:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            write_whole(self._path(file.name), encode(file))
        return new

    def remove(self, name: str) -> bool:
        """Whether it was there. OSError: it still is."""
        try:
            self._path(name).unlink()
        except FileNotFoundError:
            return False
        return True

    def mark(self) -> Mark:
        """Another one after every change: name, time, size and number of each file, by name."""
        found = []
        if self._folder is not None:
            with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
                for entry in entries:
                    if entry.name.endswith(SUFFIX) and not entry.name.startswith("."):
                        with contextlib.suppress(FileNotFoundError):
                            stat = entry.stat()
                            name = entry.name.removesuffix(SUFFIX)
                            found.append((name, stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(sorted(found))

    def health(self) -> dict[str, Health]:
        """How the sites are, as the writer saw them last."""
        return {} if self._folder is None else health.read(health_path(self._folder))

    def _file(self, name: str) -> SiteFile:
        with self._path(name).open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        if len(content) > FILE_BYTES_MAX:
            raise ValueError(f"is over {FILE_BYTES_MAX} bytes long")
        found = decode(content)
        if found.name != name:
            raise ValueError(f"describes the site {found.name}; its name is that of the file")
        return found

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{name}{SUFFIX}"


def health_path(folder: Path) -> Path:
    """Where the health of the sites in `folder` is kept: beside it, so that the book does not change with it."""
    return folder.with_name(f"{folder.name}.health")
