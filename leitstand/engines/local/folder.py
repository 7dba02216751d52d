# SPDX-License-Identifier: Apache-2.0
"""The run folders on disk (`DIR/runs/RUN/`), for reading. Called by the engine, and by the faces, which read logs
here without asking the engine.

    order          what to execute, and run.sh, setup.sh: private, removed when the run has ended
    started.json   `Started`   ended.json   `Ended`   stop   the cause, when somebody wants the run to end
    task-N.log     output of the task with node rank N
    work-N/        its working directory; tmp/ the temporary files of the run; supervisor.log if all else fails

A folder that turns out to be about another placement of the same run id (the journal was lost, or an older one was
restored) becomes `RUN.stale-N`, kept as any other ended run.
"""

import contextlib
import errno
import marshal
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from leitstand.engines.local import record

RUN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
READ_MAX: Final = 4 * 1024 * 1024
STALE_MAX: Final = 10_000  # folders of one run id
_DOOMED: Final = ".gone-"  # a folder being removed; no run is called that


class Placement(msgspec.Struct, frozen=True):
    """What a run folder is about: the journal's id and the time in µs at which it placed the run."""

    journal: str
    placed_us: int


UNKNOWN: Final = Placement("", 0)  # what a record says that cannot be read, which is no placement of anybody


class Started(msgspec.Struct, frozen=True):
    """The start record: wall clock in µs, the supervisor's pid and start ticks, pid -> start ticks of the tasks'
    session leaders, and the `MASTER_PORT` of the run."""

    run: str
    started_us: int
    pid: int
    ticks: int
    sessions: dict[int, int]
    port: int
    journal: str = ""
    placed_us: int = 0


class Ended(msgspec.Struct, frozen=True):
    """The end record; fields as in `leitstand.core.facts.RunEnded`."""

    run: str
    outcome: str
    started_us: int
    ended_us: int
    exit_code: int | None = None
    signal: int | None = None
    detail: str = ""
    journal: str = ""
    placed_us: int = 0


Record = TypeVar("Record", Started, Ended)


class RunFolders:
    """All run folders below one path, which need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.abspath(path))
        self._renaming = threading.Lock()  # what is removed is the folder that was looked at

    def of(self, run: str) -> Path:
        """The folder of a run, there or not. KeyError for what cannot be a run's id."""
        if RUN_NAME.fullmatch(run) is None:
            raise KeyError(run)
        return self.path / run

    def placement(self, run: str) -> Placement | None:
        """What the folder is about, by its end, start or order, the first that is there; None: nothing began here,
        or there is no folder."""
        for name in (record.ENDED, record.STARTED):
            try:
                return msgspec.json.decode((self.of(run) / name).read_bytes(), type=Placement)
            except FileNotFoundError:
                continue
            except ValueError:  # neither text nor what a record holds
                return UNKNOWN
        try:
            order = marshal.loads((self.of(run) / record.ORDER).read_bytes())
            return Placement(order["journal"], order["placed_us"])
        except (FileNotFoundError, ValueError, EOFError, TypeError, KeyError):
            return None  # torn: its supervisor never came

    def started(self, run: str) -> Started | None:
        return _decode(self.of(run) / record.STARTED, Started)

    def ended(self, run: str) -> Ended | None:
        return _decode(self.of(run) / record.ENDED, Ended)

    def last_sign_of_life_us(self, run: str) -> int | None:
        """When the supervisor last said that it lives, to its heartbeat's precision; None if it never started."""
        try:
            return (self.of(run) / record.STARTED).stat().st_mtime_ns // 1000
        except FileNotFoundError:
            return None

    def read_log(self, run: str, task: int, offset: int, limit: int) -> bytes:
        """Up to `limit` bytes (at most READ_MAX) of a task's log from `offset`; b'' at its end for now. KeyError if
        there is no such log."""
        if task < 0 or offset < 0 or limit < 0:
            raise ValueError(f"task {task}, offset {offset} and limit {limit} must not be negative")
        try:
            fd = os.open(self.of(run) / record.log_name(task), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise KeyError(run) from None
        try:
            return os.pread(fd, min(limit, READ_MAX), offset)
        finally:
            os.close(fd)

    def set_aside(self, run: str) -> Path | None:
        """Renames the folder to `RUN.stale-N`, the new path; nobody may be using it. None if it was removed just
        before. OSError if that cannot be."""
        folder = self.of(run)
        for number in range(1, STALE_MAX + 1):
            stale = folder.with_name(f"{run}.stale-{number}")
            if not stale.exists():
                with self._renaming, contextlib.suppress(FileNotFoundError):
                    folder.rename(stale)
                    return stale
                return None
        raise FileExistsError(errno.EEXIST, f"over {STALE_MAX} stale folders", str(folder))

    def live(self) -> Iterator[str]:
        """Runs whose folder has no end record."""
        for name in self._names():
            if not (self.path / name / record.ENDED).exists():
                yield name

    def forget(self, run: str) -> None:
        """Removes command and environment of a run that has ended."""
        _sweep(self.of(run))

    def prune(self, keep: int) -> int:
        """Removes the oldest folders of ended runs until `keep` are left; how many were removed. Those that are kept
        lose what a supervisor that was killed could not remove any more: command and environment."""
        for name in os.listdir(self.path):
            if name.startswith(_DOOMED):
                shutil.rmtree(self.path / name, ignore_errors=True)
        ends = []
        for name in self._names():
            if (ended_ns := _sweep(self.path / name)) is not None:
                ends.append((ended_ns, name))
        doomed = sorted(ends)[: max(0, len(ends) - keep)]
        for ended_ns, name in doomed:
            gone = self.path / f"{_DOOMED}{name}"
            try:
                with self._renaming:
                    if (self.path / name / record.ENDED).stat().st_mtime_ns != ended_ns:
                        continue  # another folder has taken the name
                    os.rename(
                        self.path / name, gone
                    )  # a folder half removed must not look like a run that lives
            except OSError:
                continue  # on its way out already, or not ours to remove
            shutil.rmtree(gone, ignore_errors=True)
        return len(doomed)

    def _names(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self.path) if RUN_NAME.fullmatch(name))
        except FileNotFoundError:
            return []


def _sweep(folder: Path) -> int | None:
    """When the end was recorded (ns); then command and environment go. None if it was not."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        ended_ns = os.stat(record.ENDED, dir_fd=fd).st_mtime_ns
        record.forget(fd)
        return ended_ns
    except FileNotFoundError:
        return None
    finally:
        os.close(fd)


def _decode(path: Path, kind: type[Record]) -> Record | None:
    """None also for a record that cannot be read: a folder with such a one is nobody's, see `placement`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, ValueError):
        return None
