# SPDX-License-Identifier: Apache-2.0
"""How the supervisor brings the tasks of a run to life: checked, forked, held behind a barrier, then executed.

Standard library only.
"""

from __future__ import annotations

import ctypes
import errno
import os

from leitstand.engines.local import process, record
from leitstand.engines.refused import CannotStart

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any

    from leitstand.engines.local.confine import Who
else:
    import _signal as signal  # the C half, see `supervisor`

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None)


def adopt_orphans() -> None:
    """From now on, descendants that lose their parent become our children."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with_parent() -> None:
    """This process gets KILL when its parent ends; taking another user id would undo it."""
    _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def make_folders(folder: str, tasks: int, who: Who | None) -> None:
    """The working directory of each task and the temporary one of the run, `who`'s own. OSError."""
    for name in (record.TMP, *map(record.work_name, range(tasks))):
        path = f"{folder}/{name}"
        os.makedirs(
            path, mode=0o700 if who else 0o777, exist_ok=True
        )  # an earlier supervisor may have come this far
        if who is not None:
            os.chown(path, who.uid, who.uid)


def prepare(
    folder: str, order: dict[str, Any], rank: int, give_up: Callable[[], bool], who: Who | None = None
) -> str:
    """Fills the working directory of one task, for the first also the Python environment where something of it is
    missing; the path of the command. Raises CannotStart, OSError."""
    task = order["tasks"][rank]
    work = f"{folder}/{record.work_name(rank)}"
    if who is not None:
        from leitstand.engines.local import confine

        if reason := confine.barred(f"{work}/.", who):
            raise CannotStart("not_reachable", f"{work} cannot be reached by {who}: {reason}")
    if order.get("python") and rank == 0:
        from leitstand.engines.local import lay

        lay.lay_as(who, order["python"])
    if order["workdir"]:
        from leitstand.engines.local import workdir

        try:
            workdir.unpack_as(who, order["workdir"], work, give_up)
        except workdir.BadArchive as error:
            raise CannotStart(*error.args) from error
    return find_command(task["argv"][0], task["env"].get("PATH", os.defpath), work, who)


def find_command(name: str, path: str, work: str, who: Who | None = None) -> str:
    """Where the command is; a name with a slash is relative to the working directory. Raises CannotStart."""
    folders = [""] if "/" in name else path.split(":")
    candidates = [os.path.join(work, folder, name) for folder in folders]
    files = [candidate for candidate in candidates if os.path.isfile(candidate)]
    able = [file for file in files if os.access(file, os.X_OK)]
    if able and who is not None:
        return _reachable(able, who)
    if able:
        return able[0]
    if files:
        raise CannotStart("command_not_executable", f"{files[0]!r} is not executable")
    where = "in the working directory" if "/" in name else f"in PATH ({path})"
    raise CannotStart("command_not_found", f"command {name!r} was not found {where}")


def _reachable(files: list[str], who: Who) -> str:
    """The first of these files that `who` can execute from there. Raises CannotStart, which names what denies."""
    from leitstand.engines.local import confine

    reasons = [confine.not_executable(file, who) for file in files]
    for file, reason in zip(files, reasons, strict=True):
        if not reason:
            return file
    raise CannotStart("not_reachable", f"{files[0]} cannot be executed by {who}: {reasons[0]}")


class Barrier:
    """Holds forked tasks back until all of them stand; then says which of them could not execute."""

    def __init__(self, who: Who | None = None) -> None:
        self._who = who
        self._parent = 0 if who and who.space else os.getpid()  # as the child sees it
        self._gate, self._opener = os.pipe2(os.O_CLOEXEC)
        self._faults, self._fault = os.pipe2(os.O_CLOEXEC)

    def fork(self, work: str, command: str, task: dict[str, Any]) -> tuple[int, int]:
        """A child that waits in `work` to execute `command`; its pid and the read end of its output. OSError."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reader, False)
        pid = os.fork()
        if pid == 0:
            try:
                self._stand(work, writer)
                _make_checkpoints(task["env"])
                os.execve(command, task["argv"], task["env"])
            except (OSError, ValueError) as error:
                number = getattr(
                    error, "errno", errno.EINVAL
                )  # ValueError: a variable that no environment can hold
                os.write(self._fault, f"{number} {task['argv'][0]!r}\n".encode(errors="replace")[:512])
            finally:
                os._exit(127)
        os.close(writer)
        return pid, reader

    def _stand(self, work: str, output: int) -> None:
        """Everything that belongs to the child, up to the gate."""
        os.close(self._opener)
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        process.rank_when_short(
            process.OOM_RUN
        )  # while it is ours: said by root, a tenant cannot take it back
        if self._who is not None:
            from leitstand.engines.local import confine

            confine.become(self._who)
        end_with_parent()
        if os.getppid() != self._parent:
            os._exit(127)  # the supervisor died before we were tied to it
        os.chdir(work)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and who executes inherits that
            signal.signal(number, signal.SIG_DFL)
        if not os.read(self._gate, 1):
            os._exit(127)

    def abandon(self) -> None:
        """Nobody passes: the children end."""
        os.close(self._opener)

    def release(self, tasks: int) -> None:
        """Everybody passes. Raises CannotStart if one of them could not execute its command."""
        os.write(self._opener, b"x" * tasks)
        os.close(self._opener)
        os.close(self._fault)
        said = b""
        while part := os.read(self._faults, 4096):  # ends when the last child executes, which closes its end
            said += part
        os.close(self._faults)
        if said:
            number, command = said.decode(errors="replace").splitlines()[0].split(" ", 1)
            raise CannotStart(
                "exec_failed", f"command {command} could not be executed: {os.strerror(int(number))}"
            )


def _make_checkpoints(env: dict[str, str]) -> None:
    """The folder for them, by the user who executes; who cannot have it will hear of it when writing there."""
    try:
        os.makedirs(env.get("LEITSTAND_CHECKPOINT_DIR", "/"), exist_ok=True)
    except OSError:
        return
