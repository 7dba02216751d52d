# SPDX-License-Identifier: Apache-2.0
"""Lays the Python environment of a tenant, which `packages` describes. Imported by the supervisor only where it is
missing or damaged; standard library only.

It is done as the tenant, whose folder it is: a link in the way leads nowhere that the tenant could not go itself. Two
runs may do it at once: a new one is built beside its place and renamed, a damaged one gets each missing piece whole.
"""

from __future__ import annotations

import binascii
import os

from leitstand.engines.local import process, record
from leitstand.engines.local.spawn import end_with_parent
from leitstand.engines.refused import CannotStart

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any

    from leitstand.engines.local.confine import Who
else:
    import _signal as signal  # the C half, see `supervisor`


def lay_as(who: Who | None, wanted: dict[str, Any]) -> None:
    """The environment `wanted` (path, links, files) is there and whole. CannotStart if it cannot be; OSError where
    that may pass."""
    if who is None:
        said = _attempt(wanted)
    else:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            try:
                _become(who)
                os.write(writer, _attempt(wanted).encode(errors="replace")[:4096])
                os._exit(0)
            finally:
                os._exit(1)
        os.close(writer)
        said = os.read(reader, 4096).decode(errors="replace")
        os.close(reader)
        if os.waitpid(pid, 0)[1] and not said:
            said = "0 the process that made it was ended"
    number, _, reason = said.partition(" ")
    if not said:
        return
    if int(number) in record.PASSING:
        raise OSError(int(number), os.strerror(int(number)), wanted["path"])
    raise CannotStart(
        "environment_failed", f"the Python environment {wanted['path']} cannot be made: {reason}"
    )


def _become(who: Who) -> None:
    from leitstand.engines.local import confine

    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    process.rank_when_short(process.OOM_RUN)
    confine.become(who)
    end_with_parent()


def _attempt(wanted: dict[str, Any]) -> str:
    """'' or why not: a number of `errno`, then a text."""
    try:
        _lay(wanted)
    except OSError as error:
        return f"{error.errno or 0} {error.strerror or error}: {error.filename or wanted['path']}"
    return ""


def _lay(wanted: dict[str, Any]) -> None:
    path: str = wanted["path"]
    home = os.path.dirname(path)
    if not os.access(home, os.W_OK | os.X_OK):
        os.chmod(home, 0o700)  # who owns it may, and took it away
    if os.path.lexists(path):
        try:
            _complete(path, wanted)
            return
        except OSError as error:
            if error.errno in record.PASSING:
                raise
        os.rename(path, _beside(path, "damaged"))
    new = _beside(path, "new")
    try:
        os.mkdir(new, 0o700)
        _complete(new, wanted)
        os.rename(new, path)
    except OSError:
        _remove(new)
        if not os.path.isdir(path):  # else another run of the tenant was first
            raise


def _remove(folder: str) -> None:
    """What was built in vain. By hand: the tenant may be unable to read the standard library, and import nothing."""
    for at, folders, files in os.walk(folder, topdown=False):
        for name in files:
            os.unlink(f"{at}/{name}")
        for name in folders:
            path = f"{at}/{name}"
            os.unlink(path) if os.path.islink(path) else os.rmdir(path)
        if at == folder:
            os.rmdir(at)


def _complete(folder: str, wanted: dict[str, Any]) -> None:
    """Puts every piece into its place, whole, in front of whatever is there."""
    if os.lstat(folder).st_uid != os.geteuid():
        raise PermissionError(1, "it is another user's", folder)
    for name, (text, mode) in wanted["files"].items():
        part = _part(folder, name)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(text.encode(errors="surrogateescape"))
            os.fchmod(file.fileno(), mode)
        _put(part, f"{folder}/{name}")
    for name, target in wanted["links"].items():
        part = _part(folder, name)
        os.symlink(target, part)
        _put(part, f"{folder}/{name}")


def _part(folder: str, name: str) -> str:
    place = f"{folder}/{name}"
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    return _beside(place, "part")


def _put(part: str, place: str) -> None:
    try:
        os.replace(part, place)
    except OSError:
        os.unlink(part)
        raise


def _beside(path: str, what: str) -> str:
    return f"{path}.{what}-{binascii.hexlify(os.urandom(6)).decode()}"
