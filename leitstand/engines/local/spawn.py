# SPDX-License-Identifier: Apache-2.0
"""How the supervisor brings the tasks of a run to life: checked, forked, held behind a barrier, then executed.

Standard library only.
"""

from __future__ import annotations

import ctypes
import errno
import os

from leitstand.engines.local import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any
else:
    import _signal as signal  # the C half, see `supervisor`

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None)


class CannotStart(Exception):
    """The run cannot start: a word of `record.DETAILS`, and a line for the person who reads the log."""

    def __init__(self, detail: str, line: str) -> None:
        super().__init__(line)
        self.detail = detail
        self.line = line


def adopt_orphans() -> None:
    """From now on, descendants that lose their parent become our children."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def prepare(folder: str, order: dict[str, Any], rank: int, give_up: Callable[[], bool]) -> str:
    """Makes the working directory of one task; the path of its command. Raises CannotStart, OSError."""
    task = order["tasks"][rank]
    work = f"{folder}/{record.work_name(rank)}"
    os.makedirs(work, exist_ok=True)  # an earlier supervisor may have come this far
    os.makedirs(f"{folder}/tmp", exist_ok=True)
    if order["workdir"]:
        from leitstand.engines.local import workdir

        try:
            workdir.unpack(order["workdir"], work, give_up)
        except workdir.BadArchive as error:
            raise CannotStart(*error.args) from error
    return find_command(task["argv"][0], task["env"].get("PATH", os.defpath), work)


def find_command(name: str, path: str, work: str) -> str:
    """Where the command is; a name with a slash is relative to the working directory. Raises CannotStart."""
    folders = [""] if "/" in name else path.split(":")
    candidates = [os.path.join(work, folder, name) for folder in folders]
    files = [candidate for candidate in candidates if os.path.isfile(candidate)]
    for file in files:
        if os.access(file, os.X_OK):
            return file
    if files:
        raise CannotStart("command_not_executable", f"{files[0]!r} is not executable")
    where = "in the working directory" if "/" in name else f"in PATH ({path})"
    raise CannotStart("command_not_found", f"command {name!r} was not found {where}")


class Barrier:
    """Holds forked tasks back until all of them stand; then says which of them could not execute."""

    def __init__(self) -> None:
        self._supervisor = os.getpid()
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
        _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != self._supervisor:
            os._exit(127)  # it died before we were tied to it
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
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
