# SPDX-License-Identifier: Apache-2.0
"""The run folders on disk (`DIR/runs/RUN/`), for reading. Called by the engine, and by the faces, which read logs
here without asking the engine.

    order          what to execute: marshalled, private, gone with the folder
    started.json   `Started`   ended.json   `Ended`   stop   the cause, when somebody wants the run to end
    task-N.log     output of the task with node rank N
    work-N/        its working directory; tmp/ the temporary files of the run; supervisor.log if all else fails
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from leitstand.engines.local import record

RUN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
READ_MAX: Final = 4 * 1024 * 1024
_DOOMED: Final = ".gone-"  # a folder being removed; no run is called that


class Started(msgspec.Struct, frozen=True):
    """The start record: wall clock in µs, the supervisor's pid and start ticks, pid -> start ticks of the tasks'
    session leaders, and the `MASTER_PORT` of the run."""

    run: str
    started_us: int
    pid: int
    ticks: int
    sessions: dict[int, int]
    port: int


class Ended(msgspec.Struct, frozen=True):
    """The end record; fields as in `leitstand.core.facts.RunEnded`."""

    run: str
    outcome: str
    started_us: int
    ended_us: int
    exit_code: int | None = None
    signal: int | None = None
    detail: str = ""


Record = TypeVar("Record", Started, Ended)


class RunFolders:
    """All run folders below one path, which need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.abspath(path))

    def of(self, run: str) -> Path:
        """The folder of a run, there or not. KeyError for what cannot be a run's id."""
        if RUN_NAME.fullmatch(run) is None:
            raise KeyError(run)
        return self.path / run

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

    def live(self) -> Iterator[str]:
        """Runs whose folder has no end record."""
        for name in self._names():
            if not (self.path / name / record.ENDED).exists():
                yield name

    def prune(self, keep: int) -> int:
        """Removes the oldest folders of ended runs until `keep` are left; how many were removed."""
        for name in os.listdir(self.path):
            if name.startswith(_DOOMED):
                shutil.rmtree(self.path / name, ignore_errors=True)
        ends = []
        for name in self._names():
            try:
                ends.append(((self.path / name / record.ENDED).stat().st_mtime_ns, name))
            except FileNotFoundError:
                continue
        doomed = sorted(ends)[: max(0, len(ends) - keep)]
        for _, name in doomed:
            gone = self.path / f"{_DOOMED}{name}"
            try:
                os.rename(self.path / name, gone)  # a folder half removed must not look like a run that lives
            except OSError:
                continue  # on its way out already, or not ours to remove
            shutil.rmtree(gone, ignore_errors=True)
        return len(doomed)

    def _names(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self.path) if RUN_NAME.fullmatch(name))
        except FileNotFoundError:
            return []


def _decode(path: Path, kind: type[Record]) -> Record | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
