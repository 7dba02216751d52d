# SPDX-License-Identifier: Apache-2.0
"""Several courses at once, each in a process of its own that is started anew (never forked). Called by the CLI.

One course alone, or one process, is played right here. Whoever interrupts gets what is done.
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Final

from leitstand.twin.forking.course import Course, Played, Stopped, play_course
from leitstand.twin.forking.ground import Ground
from leitstand.twin.reading.table import TraceError

LOOK_S: Final = 0.2

Progress = Callable[[float, int], None]  # how many courses' worth is done, of how many


@dataclass(slots=True)
class Shared:
    """What a process of courses has in common with the others: the ground, how far each course is (0 to 1), and
    whether to stop."""

    ground: Ground
    far: Any
    stop: Any


_shared: Shared | None = None  # of this process, set once by `_begin`


def play_all(
    courses: Sequence[Course], ground: Ground, processes: int, progress: Progress = lambda done, total: None
) -> list[Played]:
    """All of them, in their order; after Ctrl-C those that are done. TraceError of the first that cannot be played."""
    if processes <= 1 or len(courses) == 1:
        return _here(courses, ground, progress)
    context = get_context("spawn")
    far, stop = context.Array("d", len(courses), lock=False), context.Event()
    pool = ProcessPoolExecutor(
        min(processes, len(courses)),
        mp_context=context,
        initializer=_begin,
        initargs=(Shared(ground, far, stop),),
    )
    waiting: list[Future[Played | None]] = []
    with pool:
        try:
            with _deaf():
                waiting += [pool.submit(_play, number, course) for number, course in enumerate(courses)]
            _watch(waiting, far, progress)
        except KeyboardInterrupt:
            _end(waiting, stop)
        except BrokenProcessPool as error:
            raise TraceError(
                "a process that played a course was killed, as a rule for want of memory; take fewer --workers"
            ) from error
        except BaseException:
            _end(waiting, stop)
            raise
    done = [future.result() for future in waiting if _is_done(future)]
    return [played for played in done if played is not None]


def _here(courses: Sequence[Course], ground: Ground, progress: Progress) -> list[Played]:
    done: list[Played] = []
    span = ground.until_us - ground.from_us

    def look(at: int) -> None:
        progress(len(done) + (at - ground.from_us) / span, len(courses))

    try:
        for course in courses:
            done.append(play_course(course, ground, look))
            progress(len(done), len(courses))
    except KeyboardInterrupt:
        pass
    return done


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that are started in here never hear Ctrl-C, for they inherit the mask; this one hears it afterwards."""
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)
    if heard:
        raise KeyboardInterrupt


def _watch(waiting: Sequence["Future[Played | None]"], far: Sequence[float], progress: Progress) -> None:
    """Until all are done, or one has failed: then its error."""
    left = set(waiting)
    while left:
        done, left = wait(left, LOOK_S, FIRST_COMPLETED)
        for future in done:
            future.result()
        progress(sum(far), len(waiting))


def _end(waiting: Sequence["Future[Played | None]"], stop: Any) -> None:
    stop.set()
    for future in waiting:
        future.cancel()


def _is_done(future: "Future[Played | None]") -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


# ── in the processes ──────────────────────────────────────────────────────────────────────────────────────────────
def _begin(shared: Shared) -> None:
    """A process for courses; it is as nice, and as deaf to Ctrl-C, as its parent when it was started."""
    global _shared
    _shared = shared


def _play(number: int, course: Course) -> Played | None:
    """The course; None if it was stopped."""
    shared = _shared
    assert shared is not None
    ground = shared.ground
    span = ground.until_us - ground.from_us

    def look(at: int) -> None:
        shared.far[number] = (at - ground.from_us) / span
        if shared.stop.is_set():
            raise Stopped

    try:
        look(ground.from_us)
        played = play_course(course, ground, look)
    except Stopped:
        return None
    shared.far[number] = 1.0
    return played
