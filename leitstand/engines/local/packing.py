# SPDX-License-Identifier: Apache-2.0
"""Trees of files that a tenant left, as tar archives made while they are read. Called by `leftovers` for an export.

Whoever reads may be root, and what is read is the tenant's to arrange, also while it is read. So every name is opened
in the folder that was opened before, never through a link; only files and folders that belong to the owner of the tree
are read; nothing that is neither is opened. What is not in an archive as it lay there is listed, see `LeftOut`.
"""

import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

CHUNK: Final = 256 * 1024  # bytes read in one go, and given in one piece
DEPTH_MAX: Final = 100  # folders in each other; each holds two open files
FILE_BYTES_MAX: Final = 1 << 40  # of one file: one that is all hole may be endless
LISTED_MAX: Final = 10_000  # entries of the list of what was left out; more are counted

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_OTHERS: Final = {
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


class LeftOut(msgspec.Struct, frozen=True):
    """`name` in the archive `archive` is not as it lay there. `why`: fifo | socket | device; foreign (belongs to
    somebody else), unreadable, vanished, deep, large: not in it; changed: while it was read; cut off, or filled with
    zeros to the size it had."""

    archive: str
    name: str
    why: str


class Packing:
    """Makes archives, and keeps the list of what is not in them."""

    def __init__(self) -> None:
        self._listed: list[LeftOut] = []
        self._unlisted = 0
        self._archive = ""
        self._owner = 0

    def pack(self, archive: str, folder: str, names: Iterable[str]) -> Iterator[bytes]:
        """The archive with `names` in `folder` and all below them, in pieces of about CHUNK bytes. What does not belong
        to the owner of its name is left out. `folder` is the control plane's own: nobody else changes names there."""
        self._archive = archive
        return _pieces(self._whole(folder, names))

    def left_out(self) -> Iterator[bytes]:
        """What is not in the archives so far, a JSON document on each line; the last may tell how many more."""
        for one in self._listed:
            yield msgspec.json.encode(one) + b"\n"
        if self._unlisted:
            yield msgspec.json.encode({"more": self._unlisted}) + b"\n"

    def _whole(self, folder: str, names: Iterable[str]) -> Iterator[bytes]:
        try:
            fd = os.open(folder, _FOLDER)
        except OSError:
            self._tell("", "vanished")
        else:
            try:
                for name in names:
                    yield from self._top(fd, name)
            finally:
                os.close(fd)
        yield bytes(2 * tarfile.BLOCKSIZE)

    def _top(self, folder: int, name: str) -> Iterator[bytes]:
        try:
            self._owner = os.lstat(name, dir_fd=folder).st_uid
        except OSError:
            self._tell(name, "vanished")
        else:
            yield from self._one(folder, name, name, DEPTH_MAX)

    def _inside(self, folder: int, path: str, depth: int) -> Iterator[bytes]:
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    yield from self._one(folder, entry.name, f"{path}{entry.name}", depth)
        except OSError:
            self._tell(path.rstrip("/"), "unreadable")

    def _one(self, folder: int, name: str, path: str, depth: int) -> Iterator[bytes]:
        """What is called `name` in the open `folder`, as `path`."""
        fd = -1
        try:
            found = os.lstat(name, dir_fd=folder)
            kind = stat.S_IFMT(found.st_mode)
            target = os.readlink(name, dir_fd=folder) if kind == stat.S_IFLNK else ""
            if why := self._refused(found, kind, depth):
                self._tell(path, why)
            elif target:
                yield _header(path, found, tarfile.SYMTYPE, target)
            else:
                fd = os.open(name, _FOLDER if kind == stat.S_IFDIR else _FILE, dir_fd=folder)
        except FileNotFoundError:
            self._tell(path, "vanished")
        except OSError:
            self._tell(path, "unreadable")
        if fd < 0:
            return
        try:
            opened = os.fstat(fd)
            if not os.path.samestat(found, opened):
                self._tell(path, "vanished")  # another thing has taken its name
            elif kind == stat.S_IFDIR:
                yield _header(path, opened, tarfile.DIRTYPE)
                yield from self._inside(fd, f"{path}/", depth - 1)
            else:
                yield _header(path, opened, tarfile.REGTYPE)
                yield from self._content(fd, path, opened)
        finally:
            os.close(fd)

    def _refused(self, found: os.stat_result, kind: int, depth: int) -> str:
        if found.st_uid != self._owner:
            return "foreign"
        if kind == stat.S_IFDIR and depth <= 0:
            return "deep"
        if kind == stat.S_IFREG and found.st_size > FILE_BYTES_MAX:
            return "large"
        return _OTHERS.get(kind, "")

    def _content(self, fd: int, path: str, opened: os.stat_result) -> Iterator[bytes]:
        """As many bytes as the header said, whatever becomes of the file, filled up to whole blocks."""
        left = opened.st_size
        while left:
            try:
                part = os.read(fd, min(left, CHUNK))
            except OSError:
                part = b""
            if not part:
                break
            left -= len(part)
            yield part
        now = os.fstat(fd)
        if left or (now.st_size, now.st_mtime_ns) != (opened.st_size, opened.st_mtime_ns):
            self._tell(path, "changed")
        left += -opened.st_size % tarfile.BLOCKSIZE
        while left:
            yield bytes(min(left, CHUNK))
            left -= min(left, CHUNK)

    def _tell(self, path: str, why: str) -> None:
        if len(self._listed) >= LISTED_MAX:
            self._unlisted += 1
            return
        name = os.fsencode(path).decode(errors="backslashreplace")
        self._listed.append(LeftOut(self._archive, name, why))


def _header(path: str, found: os.stat_result, kind: bytes, target: str = "") -> bytes:
    """Mode and time as they are; the user ids of this machine mean nothing elsewhere."""
    member = tarfile.TarInfo(path)
    member.type, member.linkname = kind, target
    member.mode, member.mtime = stat.S_IMODE(found.st_mode), int(found.st_mtime)
    member.size = found.st_size if kind == tarfile.REGTYPE else 0
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _pieces(parts: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces that are worth the way: small ones joined."""
    held, size = [], 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= CHUNK:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)
