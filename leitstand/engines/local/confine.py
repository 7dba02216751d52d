# SPDX-License-Identifier: Apache-2.0
"""A run of a tenant as the operating system sees it: a user id of its own, and a view of the machine of its own.

Called by the supervisor; standard library only. The user id always protects files, environment and signals. Where
namespaces are to be had, a run also has its own processes, its own /tmp and /dev/shm, and of the data folder only what
is its own: nothing else is there to be named. Process 1 of the run does nothing but hold all this; the kernel ends
everything in it when process 1 ends, and process 1 ends with the supervisor.
"""

from __future__ import annotations

import ctypes
import os
import stat

from leitstand.engines.local import record
from leitstand.engines.local.spawn import end_with_parent
from leitstand.engines.refused import CannotStart

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any
else:
    import _signal as signal  # the C half, see `supervisor`

PRIVATE = ("/tmp", "/var/tmp")  # both are the run's own temporary folder
SHARED_MEMORY = "/dev/shm"
LINKS_MAX = 40  # symbolic links in one path, as the kernel counts

_NEWNS, _NEWIPC, _NEWPID = 0x00020000, 0x08000000, 0x20000000
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8
_REMOUNT, _BIND, _REC, _MS_PRIVATE = 32, 4096, 16384, 1 << 18
_PR_SET_NO_NEW_PRIVS = 38
_libc = ctypes.CDLL(None, use_errno=True)


class Who:
    """As whom a run executes, from its order: the tenant, its user and group id, whether in namespaces; `data`: the
    folder it must not see; `shown`: path -> whether it may write there, for what it would not reach without them;
    `space`: its namespaces, once they are made."""

    def __init__(self, identity: dict[str, Any]) -> None:
        self.tenant: str = identity["tenant"]
        self.uid: int = identity["uid"]
        self.namespaces: bool = identity["namespaces"]
        self.data: str = identity["data"]
        self.shown: dict[str, bool] = identity["shown"] if self.namespaces else {}
        self.space: Space | None = None

    def __str__(self) -> str:
        return f"tenant {self.tenant} (uid {self.uid})"

    def may(self, found: os.stat_result, bit: int) -> bool:
        """Whether the mode of a file lets this user read (4), write (2) or execute (1) it."""
        if found.st_uid == self.uid:
            return bool(found.st_mode >> 6 & bit)
        return bool((found.st_mode >> 3 if found.st_gid == self.uid else found.st_mode) & bit)


# ── what is out of reach ──────────────────────────────────────────────────────────────────────────────────────────
def barred(path: str, who: Who) -> str:
    """Why the run cannot reach `path` (absolute): the first folder of the way there that denies; '' if it can."""
    at, todo, links = "/", [part for part in path.split("/") if part], 0
    while todo:
        if reason := _denies(at, os.path.join(at, *todo), who):
            return reason
        part = todo.pop(0)
        following = os.path.normpath(os.path.join(at, part))
        try:
            if stat.S_ISLNK(os.lstat(following).st_mode) and part not in (".", ".."):
                links += 1
                if links > LINKS_MAX:
                    return f"{following} is one link too many"
                target = os.readlink(following)
                todo[:0] = [piece for piece in target.split("/") if piece]
                following = "/" if target.startswith("/") else at
        except OSError as error:
            return f"{following}: {error.strerror}"
        at = following
    return ""


def not_executable(path: str, who: Who) -> str:
    """Why the run cannot execute the file `path`, its interpreter (#!) included; '' if it can."""
    if reason := barred(path, who):
        return reason
    found = os.stat(path)
    if not who.may(found, 1):
        return f"{path} is {_mode(found)}"
    with open(path, "rb") as file:
        first = file.readline(256)
    words = first[2:].split() if first.startswith(b"#!") else []
    if not words:
        return ""
    if not who.may(found, 4):
        return f"{path} is a script and cannot be read: it is {_mode(found)}"
    return barred(os.fsdecode(words[0]), who)


def _denies(folder: str, ahead: str, who: Who) -> str:
    if not any(_within(folder, root) for root in who.shown):
        if any(_within(ahead, root) for root in who.shown):
            return ""  # on the way to what is shown
        if who.namespaces and folder in (who.data, SHARED_MEMORY, *PRIVATE):
            return f"every run sees a {folder} of its own"
    found = os.stat(folder)
    return "" if who.may(found, 1) else f"{folder} is {_mode(found)}"


def _within(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _mode(found: os.stat_result) -> str:
    return f"{stat.S_IMODE(found.st_mode):04o}"


# ── becoming the tenant ───────────────────────────────────────────────────────────────────────────────────────────
def become(who: Who) -> None:
    """This process, a forked child, is the tenant's from now on, sees what it may see, and cannot be anything else any
    more. OSError."""
    if who.space is not None:
        who.space.enter()
    os.umask(0o077)
    os.setgroups([])
    os.setresgid(who.uid, who.uid, who.uid)
    os.setresuid(who.uid, who.uid, who.uid)
    _done(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


class Space:
    """The namespaces of one run, with its process 1. Every process forked by the caller from now on belongs to it.

    `temporary`: the run's own folder for /tmp. Raises CannotStart; OSError where something may be had later."""

    def __init__(self, who: Who, temporary: str) -> None:
        try:
            _done(_libc.unshare(_NEWPID | _NEWIPC), "processes of its own")
        except OSError as error:
            if error.errno in record.PASSING:
                raise
            raise _impossible(f"{error.filename}: {error.strerror}") from error
        reader, ready = os.pipe2(os.O_CLOEXEC)
        last, self._hold = os.pipe2(os.O_CLOEXEC)
        self.first = os.fork()
        if self.first == 0:
            try:
                _be_first(who, temporary, ready, last)
            finally:
                os._exit(1)
        os.close(ready)
        os.close(last)
        said = os.read(reader, 4096).decode(errors="replace")
        os.close(reader)
        if said != "ready":
            number, _, what = said.partition(" ")
            if number.isdigit() and int(number) in record.PASSING:
                raise OSError(int(number), os.strerror(int(number)), what)
            raise _impossible(what or "process 1 died")
        self._mounts = os.open(f"/proc/{self.first}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

    def enter(self) -> None:
        """A forked child sees the files as the run does. OSError."""
        _done(_libc.setns(self._mounts, _NEWNS), "files of its own")

    def leave(self) -> None:
        """No task is left: process 1 ends when those that they left behind have ended."""
        if self._hold >= 0:
            os.close(self._hold)
            self._hold = -1


def probe() -> None:
    """Whether namespaces are to be had here: exit status 0 or 1, in a process of its own."""
    try:
        _done(_libc.unshare(_NEWPID | _NEWIPC), "processes")
        if (pid := os.fork()) == 0:
            try:
                _own_mounts()
                _mount("tmpfs", "/tmp", "tmpfs", _NOSUID | _NODEV, "size=64k")
                _own_processes()
                os._exit(0)
            except OSError:
                os._exit(1)
        raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    except OSError:
        raise SystemExit(1) from None


# ── process 1 ─────────────────────────────────────────────────────────────────────────────────────────────────────
def _be_first(who: Who, temporary: str, ready: int, last: int) -> None:
    """Process 1 of the run: makes its view, then waits. It is root's, so that no tenant can end it."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_IGN)  # SIGCHLD, too: orphans leave no zombies
    end_with_parent()
    try:
        _view(who, temporary)
    except OSError as error:
        os.write(ready, f"{error.errno} {error.filename}: {error.strerror}".encode()[:4096])
        return
    os.write(ready, b"ready")
    os.dup2(last, 0)
    os.closerange(1, os.sysconf("SC_OPEN_MAX"))
    os.read(0, 1)  # ends when the last task has
    try:
        os.wait()  # with SIGCHLD ignored: until no child is left
    except ChildProcessError:
        os._exit(0)


def _view(who: Who, temporary: str) -> None:
    """Hides what is not this tenant's, keeps in sight what is shown, gives it /tmp and /proc of its own."""
    _own_mounts()
    wanted = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in who.shown}
    own = os.open(temporary, os.O_PATH | os.O_CLOEXEC)
    hidden = _outermost([who.data, *filter(None, (_first_barred(path, who) for path in who.shown))])
    for folder in PRIVATE:
        if os.path.isdir(folder):
            _mount(f"/proc/self/fd/{own}", folder, "", _BIND, "")
            _mount("", folder, "", _REMOUNT | _BIND | _NOSUID | _NODEV, "")
    if os.path.isdir(SHARED_MEMORY):
        _mount("tmpfs", SHARED_MEMORY, "tmpfs", _NOSUID | _NODEV, "mode=1777")
    for folder in hidden:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        _mount("tmpfs", folder, "tmpfs", _NOSUID | _NODEV, "mode=0755,size=1m")
    for path, writable in who.shown.items():
        if any(_within(path, folder) for folder in (*hidden, *PRIVATE, SHARED_MEMORY)):
            os.makedirs(path, mode=0o755, exist_ok=True)
            _mount(f"/proc/self/fd/{wanted[path]}", path, "", _BIND, "")
            flags = _REMOUNT | _BIND | _NOSUID | _NODEV | (0 if writable else _RDONLY)
            _mount("", path, "", flags, "")
    _own_processes()


def _impossible(why: str) -> CannotStart:
    return CannotStart("isolation_failed", f"the run cannot be isolated: {why}")


def _first_barred(path: str, who: Who) -> str:
    """The outermost folder above `path` that this user cannot pass; '' if there is none."""
    at = "/"
    for part in path.split("/")[1:]:
        if at != "/" and not who.may(os.stat(at), 1):
            return at
        at = os.path.join(at, part)
    return ""


def _outermost(folders: list[str]) -> list[str]:
    return [one for one in dict.fromkeys(folders) if not any(one != o and _within(one, o) for o in folders)]


def _own_mounts() -> None:
    os.umask(0o022)
    _done(_libc.unshare(_NEWNS), "files of its own")
    _mount("none", "/", "", _REC | _MS_PRIVATE, "")


def _own_processes() -> None:
    _mount("proc", "/proc", "proc", _NOSUID | _NODEV | _NOEXEC, "")


def _mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    result = _libc.mount(
        os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode()
    )
    _done(result, f"mount {target}")


def _done(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
