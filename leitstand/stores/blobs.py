# SPDX-License-Identifier: Apache-2.0
"""Content-addressed blobs (`DIR/blobs/ab/cdef…`): work directories as tar archives, named by their SHA-256.

The faces receive them, an engine unpacks them into a run's folder. A blob appears whole or not at all.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Container
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

BLOB_BYTES_MAX: Final = 100 * 1024 * 1024
STALE_UPLOAD_S: Final = 24 * 3600
PRUNE_MAX: Final = 10_000  # blobs looked at in one go
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class TooLarge(Exception):
    """The upload exceeds the limit; nothing was kept."""


class WrongDigest(Exception):
    """The bytes are not those that the name promises; nothing was kept."""


class Retention(msgspec.Struct, frozen=True):
    """What may stay: blobs used within `age_s`, and of these the last used ones up to `bytes_max` in total."""

    age_s: int = 30 * 24 * 3600
    bytes_max: int = 20 * 1024**3


class Upload:
    """One blob on its way in; leaves nothing behind unless `commit` returned. A context manager."""

    def __init__(self, root: Path, digest: str, bytes_max: int) -> None:
        self._target = root / digest[:2] / digest[2:]
        self._digest = digest
        self._bytes_max = bytes_max
        self._size = 0
        self._hash = hashlib.sha256()
        fd, name = tempfile.mkstemp(prefix="upload-", dir=root)
        self._file = os.fdopen(fd, "wb")
        self._path: Path | None = Path(name)

    def write(self, chunk: bytes) -> None:
        """Take the next bytes; TooLarge over the limit, OSError if the disk refuses."""
        self._size += len(chunk)
        if self._size > self._bytes_max:
            raise TooLarge(f"blob exceeds the limit of {self._bytes_max} bytes")
        self._hash.update(chunk)
        self._file.write(chunk)

    def commit(self) -> None:
        """Keep the blob under its name, durable on return; WrongDigest if the bytes are others. Blocks on the disk."""
        found = self._hash.hexdigest()
        if found != self._digest:
            raise WrongDigest(f"the {self._size} bytes received have SHA-256 {found}, not {self._digest}")
        assert self._path is not None, "committed twice"
        self._file.flush()
        os.fsync(self._file.fileno())
        self._target.parent.mkdir(mode=0o700, exist_ok=True)
        os.replace(self._path, self._target)
        self._path = None
        folder = os.open(self._target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def __enter__(self) -> "Upload":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)


class Blobs:
    """The blobs of one data folder."""

    def __init__(self, root: Path, bytes_max: int = BLOB_BYTES_MAX) -> None:
        self._root = root
        self._bytes_max = bytes_max
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def open(self, digest: str) -> Path | None:
        """Where the blob lies; None if there is none (also for what is no SHA-256). Marks it as used now."""
        if not _DIGEST.fullmatch(digest):
            return None
        path = self._root / digest[:2] / digest[2:]
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        return path

    def upload(self, digest: str) -> Upload:
        """Begin to receive a blob; ValueError if `digest` is no SHA-256 in lower-case hex."""
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"{digest[:80]!r} is not a SHA-256 in 64 lower-case hex digits")
        return Upload(self._root, digest, self._bytes_max)

    def prune(self, now_s: float, retention: Retention, keep: Container[str] = ()) -> int:
        """Delete what `retention` does not cover, never a digest in `keep`, and uploads that died; how many blobs."""
        for upload in self._root.glob("upload-*"):
            if upload.stat().st_mtime < now_s - STALE_UPLOAD_S:
                upload.unlink(missing_ok=True)
        found = sorted(
            ((path.stat().st_mtime, path.stat().st_size, path) for path in self._root.glob("??/*")),
            reverse=True,
        )
        kept_bytes = 0
        deleted = 0
        for used_s, size, path in found:
            kept_bytes += size
            covered = used_s >= now_s - retention.age_s and kept_bytes <= retention.bytes_max
            if covered or path.parent.name + path.name in keep or deleted >= PRUNE_MAX:
                continue
            path.unlink(missing_ok=True)
            kept_bytes -= size
            deleted += 1
        return deleted
