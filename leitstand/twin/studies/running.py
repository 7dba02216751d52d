# SPDX-License-Identifier: Apache-2.0
"""Plays the cells of a study on all cores, in processes of their own; one that dies is known by the cell that it
played. Called by the command.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Final

import msgspec

from leitstand.twin.reading.table import TraceError
from leitstand.twin.studies.cells import Cell, Judged, alone_of, grid, keep, kept, place_of, played
from leitstand.twin.studies.study import Study

LOOK_S: Final = 0.5  # how often progress is looked at

Told = Callable[[float, int], None]


class Results(msgspec.Struct):
    """`cells`: what came of each of the grid; `own`: each tenant alone, by (workload, size, seed)."""

    cells: list[tuple[Cell, Judged]]
    own: dict[tuple[str, str, int], Judged]
    played: int = 0  # now, not taken from before


def run(study: Study, folder: Path, workers: int = 0, progress: Told | None = None) -> Results:
    """Play what is not kept in `folder` yet; TraceError names the first cell that cannot be. `workers` 0: as many as
    there are cores. `progress` gets the cells done (with parts of those under way) and how many there are. When
    interrupted, the processes are ended; what was done is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    cells = list(grid(study))
    alone: dict[tuple[str, str, int], Cell] = {}
    if study.alone:
        for cell in cells:
            alone.setdefault(_key(cell), alone_of(study, cell))
    with _Crew(folder, workers or os.cpu_count() or 1, len(cells) + len(alone), progress) as crew:
        own = dict(zip(alone, crew.play(list(alone.values())), strict=True))
        if study.alone:
            cells = [msgspec.structs.replace(cell, apart=own[_key(cell)].rejected) for cell in cells]
        return Results(list(zip(cells, crew.play(cells), strict=True)), own, crew.played)


def _key(cell: Cell) -> tuple[str, str, int]:
    return cell.workload.name, cell.size.name, cell.seed


class _Worker:
    """One process and the cell that it plays."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.part = context.Value("d", 0.0, lock=False)
        self.cell: Cell | None = None
        self._process = context.Process(target=_work, args=(theirs, self.part), daemon=True)
        self._process.start()
        theirs.close()

    def begin(self, cell: Cell, path: Path) -> None:
        self.cell, self.part.value = cell, 0.0
        self.pipe.send((msgspec.json.encode(cell), str(path)))

    def end(self) -> None:
        """What it began is done; TraceError if it could not be."""
        assert self.cell is not None
        try:
            said = str(self.pipe.recv())
        except EOFError:
            self._process.join()
            said = f"its process ended with exit code {self._process.exitcode}"
        if said:
            raise TraceError(f"{self.cell.says}: {said}")
        self.cell = None

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()


class _Crew:
    """All processes. `done`: cells that are; `played`: that were now."""

    def __init__(self, folder: Path, workers: int, cells: int, progress: Told | None) -> None:
        self.done = 0
        self.played = 0
        self._folder = folder
        self._cells = cells
        self._progress = progress
        self._most = workers
        self._workers: list[_Worker] = []

    def __enter__(self) -> "_Crew":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.kill()

    def play(self, cells: Sequence[Cell]) -> list[Judged]:
        """What came of each, from before or now."""
        places = [place_of(cell, self._folder) for cell in cells]
        left = [(cell, path) for cell, path in zip(cells, places, strict=True) if kept(path) is None]
        self.done += len(cells) - len(left)
        left.reverse()
        while left or self._busy():
            while left and (worker := self._free()) is not None:
                worker.begin(*left.pop())
            self._tell()
            ready = wait([worker.pipe for worker in self._busy()], LOOK_S)
            for worker in [worker for worker in self._busy() if worker.pipe in ready]:
                worker.end()
                self.done += 1
                self.played += 1
        self._tell()
        came = [one for path in places if (one := kept(path)) is not None]
        assert len(came) == len(cells)
        return came

    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.cell is not None]

    def _free(self) -> _Worker | None:
        """One that has nothing to do, a new one while there may be more."""
        found = next((worker for worker in self._workers if worker.cell is None), None)
        if found is None and len(self._workers) < self._most:
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited: see `_work`
            try:
                found = _Worker()
                self._workers.append(found)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return found

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self.done + sum(worker.part.value for worker in self._busy()), self._cells)


def _work(pipe: Any, part: Any) -> None:
    """In a new process: play cells and keep them, or say why not, until nobody asks any more. Ctrl-C goes to all
    processes of a terminal: here it is blocked from the beginning, and the parent ends us."""

    def progress(done: int, jobs: int) -> None:
        part.value = done / max(jobs, 1)

    while True:
        try:
            asked, path = pipe.recv()
        except EOFError:
            return
        try:
            keep(Path(path), played(msgspec.json.decode(asked, type=Cell), progress))
            pipe.send("")
        except TraceError as error:
            pipe.send(str(error))
