# SPDX-License-Identifier: Apache-2.0
"""Packs a work directory into a tar, the same for the same files, and sends it. Called by the commands that submit.

The archive is named by its SHA-256, so an unchanged folder is sent once. Left out: `.git`, `.venv` and caches of
Python. Times and owners are not kept; the executable bit is.
"""

import hashlib
import os
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlencode

from leitstand.cli.client import Client
from leitstand.cli.refusals import CommandFailed
from leitstand.cli.text import t

TAR_BYTES_MAX: Final = 100 * 1024 * 1024
FILES_MAX: Final = 50_000
LEFT_OUT: Final = frozenset({".git", ".venv", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"})
CHUNK: Final = 1024 * 1024


def send(client: Client, folder: Path, tenant: str = "") -> str:
    """Pack `folder`, give it to the control plane for jobs of `tenant` (empty: as jobs that name none) unless it has
    it, and return its SHA-256 (hexadecimal)."""
    with tempfile.TemporaryFile() as archive:
        digest = pack(folder, archive)

        def content() -> Iterator[bytes]:
            archive.seek(0)
            while chunk := archive.read(CHUNK):
                yield chunk

        of = f"?{urlencode({'tenant': tenant})}" if tenant else ""
        client.put(f"/v1/blobs/{digest}{of}", content)
    return digest


def pack(folder: Path, archive: IO[bytes]) -> str:
    """Write the tar of `folder` to `archive`; its SHA-256. CommandFailed over a limit or for what a tar cannot take."""
    folder = Path(os.path.realpath(folder))  # or what leads out of "." could not be told
    out = _Hashed(archive, folder)
    try:
        with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
            for count, path in enumerate(_walk(folder)):
                if count >= FILES_MAX:
                    raise _too_big(folder, t("more than {limit} files", limit=FILES_MAX))
                _add(tar, path, path.relative_to(folder).as_posix(), folder)
    except OSError as error:
        raise CommandFailed(
            t(
                "The work directory {folder} cannot be packed: {error}",
                folder=folder,
                error=f"{error.filename}: {error.strerror}" if error.filename else error.strerror or error,
            )
        ) from error
    return out.sha256.hexdigest()


def _walk(folder: Path) -> Iterator[Path]:
    """Every entry below `folder`, folders before their content, by name; links are not followed."""
    with os.scandir(folder) as entries:
        children = sorted((e for e in entries if e.name not in LEFT_OUT), key=lambda e: e.name)
    for child in children:
        yield Path(child.path)
        if child.is_dir(follow_symlinks=False):
            yield from _walk(Path(child.path))


def _add(tar: tarfile.TarFile, path: Path, name: str, folder: Path) -> None:
    status = path.lstat()
    info = tarfile.TarInfo(name)
    if stat.S_ISDIR(status.st_mode):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(info)
    elif stat.S_ISLNK(status.st_mode):
        target = os.readlink(path)
        if os.path.isabs(target) or not Path(os.path.realpath(path)).is_relative_to(folder):
            raise CommandFailed(
                t(
                    "The work directory {folder} has a link that leads out of it: {name}",
                    folder=folder,
                    name=name,
                ),
                hint=t("Replace it by what it points to, or remove it."),
            )
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
        tar.addfile(info)
    elif stat.S_ISREG(status.st_mode):
        info.size, info.mode = status.st_size, 0o755 if status.st_mode & 0o100 else 0o644
        with path.open("rb") as file:
            tar.addfile(info, file)
    else:
        raise CommandFailed(
            t(
                "The work directory {folder} has something that is no file, folder or link: {name}",
                folder=folder,
                name=name,
            )
        )


class _Hashed:
    """Passes what is written on to a file, hashes it, and refuses more than the limit."""

    def __init__(self, file: IO[bytes], folder: Path) -> None:
        self.file = file
        self.folder = folder
        self.sha256 = hashlib.sha256()
        self.written = 0

    def write(self, data: Any) -> int:
        self.written += len(data)
        if self.written > TAR_BYTES_MAX:
            raise _too_big(self.folder, t("more than {limit} MiB", limit=TAR_BYTES_MAX >> 20))
        self.sha256.update(data)
        return self.file.write(data)


def _too_big(folder: Path, what: str) -> CommandFailed:
    return CommandFailed(
        t("The work directory {folder} is too big: {what}.", folder=folder, what=what),
        hint=t("Keep data elsewhere and give the job its path."),
    )
