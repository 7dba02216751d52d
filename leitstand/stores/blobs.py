# SPDX-License-Identifier: Apache-2.0
"""Content-addressed blobs (`DIR/blobs/TENANT/ab/cdef…`): work directories as tar archives, named by their SHA-256.

The faces receive them, an engine unpacks them into a run's folder. A blob appears whole or not at all, and belongs to
one tenant: another that has the same keeps it again, so that nobody learns what others have.
"""

import bz2
import gzip
import hashlib
import lzma
import os
import re
import shutil
import tarfile
import tempfile
import threading
import zlib
from collections.abc import Container, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

import msgspec

from leitstand.runtime.spec import OPERATOR

BLOB_BYTES_MAX: Final = 100 * 1024 * 1024
TENANT_BYTES_MAX: Final = 10 * 1024**3  # of all blobs of a tenant
TENANT_BLOBS_MAX: Final = 10_000
STALE_UPLOAD_S: Final = 24 * 3600
PRUNE_MAX: Final = 10_000  # blobs deleted in one go
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_TENANT: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}")  # never `.`, `..` or a hidden folder


class TooLarge(Exception):
    """The upload exceeds the limit; nothing was kept."""


class TenantFull(Exception):
    """The tenant's blobs would exceed TENANT_BYTES_MAX or TENANT_BLOBS_MAX; nothing was kept."""


class NotAnArchive(ValueError):
    """The bytes are no tar archive, plain or compressed by gzip, bzip2 or xz; nothing was kept."""


class WrongDigest(Exception):
    """The bytes are not those that the name promises; nothing was kept."""


class Retention(msgspec.Struct, frozen=True):
    """What a tenant may keep: blobs used within `age_s`, and of these the last used ones up to `bytes_max` in total."""

    age_s: int = 30 * 24 * 3600
    bytes_max: int = TENANT_BYTES_MAX


class Blob(NamedTuple):
    """One blob that is kept; `used_s`: seconds since 1970."""

    digest: str
    bytes: int
    used_s: float
    path: Path


class Room(NamedTuple):
    """The limits of `Blobs`, in bytes."""

    blob_bytes: int = BLOB_BYTES_MAX
    tenant_bytes: int = TENANT_BYTES_MAX


class Upload:
    """One blob on its way in; leaves nothing behind unless `commit` returned. A context manager."""

    def __init__(self, blobs: "Blobs", tenant: str, digest: str) -> None:
        self._blobs = blobs
        self._tenant = tenant
        self._digest = digest
        self._size = 0
        self._hash = hashlib.sha256()
        fd, name = tempfile.mkstemp(prefix="upload-", dir=blobs.root)
        self._file = os.fdopen(fd, "wb")
        self._path: Path | None = Path(name)

    def write(self, chunk: bytes) -> None:
        """Take the next bytes; TooLarge over the limit, OSError if the disk refuses."""
        self._size += len(chunk)
        limit = self._blobs.room.blob_bytes
        if self._size > limit:
            raise TooLarge(f"blob exceeds the limit of {limit} bytes")
        self._hash.update(chunk)
        self._file.write(chunk)

    def commit(self) -> None:
        """Keep the blob under its name, durable on return. WrongDigest if the bytes are others, NotAnArchive,
        TenantFull. Blocks on the disk."""
        found = self._hash.hexdigest()
        if found != self._digest:
            raise WrongDigest(f"the {self._size} bytes received have SHA-256 {found}, not {self._digest}")
        assert self._path is not None, "committed twice"
        self._file.flush()
        _check_archive(self._path)
        os.fsync(self._file.fileno())
        self._blobs.keep(self._path, self._tenant, self._digest, self._size)
        self._path = None

    def __enter__(self) -> "Upload":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)


class Blobs:
    """The blobs of one data folder. One process receives, any may read."""

    def __init__(self, root: Path, bytes_max: int = BLOB_BYTES_MAX, room: Room | None = None) -> None:
        """`bytes_max`: of one blob, where `room` does not say."""
        self.root = root
        self.room = room or Room(bytes_max)
        self._keeping = threading.Lock()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _adopt(root)

    def open(self, tenant: str, digest: str) -> Path | None:
        """Where the blob of `tenant` lies; None if it has none (also for what is no SHA-256). Marks it as used now."""
        if not _DIGEST.fullmatch(digest) or not _TENANT.fullmatch(tenant):
            return None
        path = self._path(tenant, digest)
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        return path

    def upload(self, tenant: str, digest: str) -> Upload:
        """Begin to receive a blob of `tenant`; ValueError if `digest` is no SHA-256 in lower-case hex, or `tenant` no
        id."""
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"{digest[:80]!r} is not a SHA-256 in 64 lower-case hex digits")
        if not _TENANT.fullmatch(tenant):
            raise ValueError(f"{tenant[:80]!r} is not the id of a tenant")
        return Upload(self, tenant, digest)

    def keep(self, draft: Path, tenant: str, digest: str, size: int) -> None:
        """Called by `Upload.commit`: the file becomes the blob. TenantFull."""
        path = self._path(tenant, digest)
        with self._keeping:  # two uploads at once must not both fit
            self._check_room(tenant, size)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.replace(draft, path)
        for folder in (path.parent, path.parent.parent, self.root):
            _sync(folder)

    def of(self, tenant: str) -> Iterator[Blob]:
        """All blobs of `tenant`, in no order."""
        if not _TENANT.fullmatch(tenant):
            return
        for path in (self.root / tenant).glob("??/*"):
            try:
                status = path.stat()
            except FileNotFoundError:  # deleted meanwhile
                continue
            yield Blob(path.parent.name + path.name, status.st_size, status.st_mtime, path)

    def erase(self, tenant: str) -> int:
        """Delete all blobs of `tenant`; how many."""
        count = sum(1 for _ in self.of(tenant))
        if _TENANT.fullmatch(tenant) and (self.root / tenant).is_dir():
            shutil.rmtree(self.root / tenant)
            _sync(self.root)
        return count

    def prune(self, now_s: float, retention: Retention, keep: Container[str] = ()) -> int:
        """Delete what `retention` does not cover, never a digest in `keep`, and uploads that died; how many blobs."""
        for upload in self.root.glob("upload-*"):
            if upload.is_file() and upload.stat().st_mtime < now_s - STALE_UPLOAD_S:
                upload.unlink(missing_ok=True)
        deleted = 0
        for folder in sorted(self.root.iterdir()):
            if folder.is_dir():
                deleted += self._prune(
                    folder.name, now_s - retention.age_s, retention.bytes_max, keep, PRUNE_MAX - deleted
                )
        return deleted

    def _prune(self, tenant: str, since_s: float, bytes_max: int, keep: Container[str], most: int) -> int:
        kept_bytes = 0
        deleted = 0
        for blob in sorted(self.of(tenant), key=lambda blob: blob.used_s, reverse=True):
            kept_bytes += blob.bytes
            covered = blob.used_s >= since_s and kept_bytes <= bytes_max
            if covered or blob.digest in keep or deleted >= most:
                continue
            blob.path.unlink(missing_ok=True)
            kept_bytes -= blob.bytes
            deleted += 1
        return deleted

    def _check_room(self, tenant: str, size: int) -> None:
        count, used = 0, 0
        for blob in self.of(tenant):
            count, used = count + 1, used + blob.bytes
        if count >= TENANT_BLOBS_MAX:
            raise TenantFull(f"tenant {tenant!r} keeps {count} archives, and the limit is {TENANT_BLOBS_MAX}")
        if used + size > self.room.tenant_bytes:
            raise TenantFull(
                f"tenant {tenant!r} keeps archives of {used} bytes; {size} more exceed the limit of "
                f"{self.room.tenant_bytes}"
            )

    def _path(self, tenant: str, digest: str) -> Path:
        return self.root / tenant / digest[:2] / digest[2:]


def _check_archive(path: Path) -> None:
    """NotAnArchive unless the file begins as a tar archive does; the rest shows when it is unpacked.

    Nothing behind the first header is read: a few bytes can unpack to more than all memory."""
    for open_as in (open, gzip.open, bz2.open, lzma.open):
        try:
            with open_as(path, "rb") as file:
                header = file.read(tarfile.BLOCKSIZE)
            if header != bytes(tarfile.BLOCKSIZE):  # with which an archive of nothing begins
                tarfile.TarInfo.frombuf(header, tarfile.ENCODING, "surrogateescape")
            return
        except (tarfile.HeaderError, EOFError, ValueError, zlib.error, lzma.LZMAError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
    raise NotAnArchive("the upload is no tar archive, plain or compressed by gzip, bzip2 or xz")


def _adopt(root: Path) -> None:
    """The first layout, `ab/cdef…`, knew no tenants: what lies there is the operator's."""
    for folder in root.glob("[0-9a-f][0-9a-f]"):
        for path in folder.iterdir():
            if path.is_file() and _DIGEST.fullmatch(folder.name + path.name):
                target = root / OPERATOR / folder.name / path.name
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                try:
                    os.replace(path, target)
                except FileNotFoundError:  # another process does the same
                    continue
        try:
            folder.rmdir()
        except OSError:  # a tenant of that name
            continue


def _sync(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
