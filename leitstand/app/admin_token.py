# SPDX-License-Identifier: Apache-2.0
"""The administrator's token, `DIR/admin.token`: made at the first start, replaced by `leitstand admin reset-token`.

Called by `up` (makes it), by the faces (look whether it is still the same) and by `admin` (replaces it). Since when it
is valid is the time of the file: what the administrator was issued before, tokens and sessions, ends with the token
that was replaced, whether or not a control plane runs at that moment.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import time
from pathlib import Path
from typing import Final

from leitstand.access.tokens import digest
from leitstand.api.auth import AdminToken
from leitstand.runtime.disk import write_whole
from leitstand.stores.agreement import Agreement

TOKEN_MIN: Final = 16  # characters
WATCH_S: Final = 5.0
_log = logging.getLogger("leitstand.admin")


def admin_token(path: Path) -> str:
    """The token in `path`, made (mode 0600) if there is none; OSError, or ValueError for a file without a token."""
    if not path.exists():
        reset(path)
    token = path.read_text().strip()
    if len(token) < TOKEN_MIN:
        raise ValueError(f"{path} holds no token of at least {TOKEN_MIN} characters; delete it for a new one")
    path.chmod(0o600)
    return token


def reset(path: Path) -> None:
    """Put a new token in place of the one in `path`, whole (mode 0600) and of the same owner; OSError."""
    before = path.stat() if path.exists() else None
    write_whole(path, f"{secrets.token_urlsafe(32)}\n".encode())
    if before is not None and before.st_uid != os.geteuid():  # root did it for whom the control plane runs as
        os.chown(path, before.st_uid, before.st_gid)


class AdminTokenFile:
    """The token as the file holds it: looked at each time, read when it is another file than before. While there is no
    file, the last one counts; while there is one that cannot be read, none does. Nor does one that was replaced on
    another machine of the control plane, as soon as `watch` has seen that."""

    def __init__(self, path: Path) -> None:
        """OSError or ValueError as `admin_token`."""
        self._path = path
        admin_token(path)
        self._read: tuple[int, int] | None = None  # inode and time of the file that was read
        self._known = self._nobodys = AdminToken(digest(secrets.token_urlsafe()), 0)
        self.is_replaced = False  # on another machine
        self()

    async def watch(self, agreement: Agreement) -> None:
        """See to it, until cancelled, that a token which was replaced elsewhere opens nothing here."""
        while True:
            with contextlib.suppress(OSError):  # the server is away: as it was
                agrees = await asyncio.to_thread(agreement.holds, self._path)
                if not agrees and not self.is_replaced:
                    _log.critical(
                        "%s was replaced on another machine and opens nothing: copy it from there", self._path
                    )
                self.is_replaced = not agrees
            await asyncio.sleep(WATCH_S)

    def __call__(self) -> AdminToken:
        if self.is_replaced:
            return self._nobodys
        with contextlib.suppress(FileNotFoundError):
            now = self._path.stat()
            if (now.st_ino, now.st_mtime_ns) != self._read:
                self._read = None
                self._known = self._found(min(now.st_mtime_ns, time.time_ns()) // 1000)
                self._read = now.st_ino, now.st_mtime_ns
        return self._known

    def _found(self, made_us: int) -> AdminToken:
        try:
            return AdminToken(digest(admin_token(self._path)), made_us)
        except FileNotFoundError:
            raise
        except (OSError, ValueError):
            return AdminToken(digest(secrets.token_urlsafe()), made_us)
