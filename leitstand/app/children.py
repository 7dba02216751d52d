# SPDX-License-Identifier: Apache-2.0
"""Starts the processes of a control plane, starts them again when they die, stops them. Called by `leitstand.app.up`.

Everything that happens (a child is ready, a child died, a signal came) is put into one queue and handled in one place.
A child gets a pipe as standard input whose other end this process holds: however this process ends, the child reads an
end of file and ends too.
"""

import collections
import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple

from leitstand.app.serving import ALERT

RESTART_DELAY_S: Final = 0.05
RESTARTS_MAX: Final = 60  # of one child
RESTART_WINDOW_S: Final = 300.0  # within this time
FAILED_STARTS_MAX: Final = 5  # in a row, each without becoming ready
BACKOFF_MAX_S: Final = 5.0
READY_S: Final = 600.0  # the first start, restoring a large journal included
LOOK_S: Final = 1.0  # at least so often the waiting thread looks up
STOP_S: Final = 15.0  # per child, before it is killed
LOG_BYTES_MAX: Final = 16 * 1024 * 1024  # of one log file; one older file is kept
LINE_BYTES_MAX: Final = 64 * 1024


class Event(NamedTuple):
    """`what`: ready | died | signal; `value`: exit status (negative: signal) or signal number."""

    what: str
    child: "Child | None" = None
    value: int = 0
    life: int = 0  # which life of the child it is about


class Ends(NamedTuple):
    """Exit codes with a meaning. `hopeless`: starting again is no use; `passing`: it waits for something outside."""

    hopeless: frozenset[int] = frozenset()
    passing: frozenset[int] = frozenset()


class ChildFailed(Exception):
    """A child does not stay alive: which one, its exit status, its last line on stderr."""

    def __init__(self, child: "Child", status: int) -> None:
        super().__init__(child.name, status)
        child.last_words()
        self.name = child.name
        self.status = status
        self.last_line = child.last_line
        self.was_ready = child.was_ready


class Child:
    """One process of the control plane and its threads; `log` takes its stderr."""

    def __init__(
        self, name: str, argv: Sequence[str], log: "Log", events: "queue.SimpleQueue[Event]"
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.log = log
        self.events = events
        self.last_line = ""
        self.ready = False
        self.was_ready = False
        self.lives = 0
        self.failed_starts = 0
        self.deaths: collections.deque[float] = collections.deque(maxlen=RESTARTS_MAX)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin a life. It has a process group of its own, so that Ctrl-C reaches only the parent."""
        self.ready = False
        self.lives += 1
        self.process = subprocess.Popen(
            self.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        for work in (self._await_ready, self._await_death, self._keep_log):
            thread = threading.Thread(target=work, args=(self.process, self.lives), daemon=True)
            thread.start()
        self.log_keeper = thread

    def last_words(self) -> None:
        """Wait until what a dead process wrote has been read; not for long, somebody else may hold its stderr."""
        self.log_keeper.join(1.0)

    def send_signal(self, number: int) -> None:
        """Signal the process, if it lives."""
        if self.process is not None:
            self.process.send_signal(number)

    def _await_ready(self, process: "subprocess.Popen[bytes]", life: int) -> None:
        assert process.stdout is not None
        for line in iter(lambda: process.stdout.readline(LINE_BYTES_MAX), b""):  # type: ignore[union-attr]
            if line.strip() == b"ready":
                self.events.put(Event("ready", self, 0, life))

    def _keep_log(self, process: "subprocess.Popen[bytes]", life: int) -> None:
        assert process.stderr is not None
        for line in iter(lambda: process.stderr.readline(LINE_BYTES_MAX), b""):  # type: ignore[union-attr]
            if text := line.decode(errors="replace").strip():
                self.last_line = text
            self.log.write(line)

    def _await_death(self, process: "subprocess.Popen[bytes]", life: int) -> None:
        status = process.wait()
        self.events.put(Event("died", self, status, life))


class Log:
    """A log file of bounded size; alerts go to stderr, too, and all of it if `verbose`. A full disk silences it, never
    the child."""

    def __init__(self, path: Path, verbose: bool) -> None:
        self.path = path
        self.verbose = verbose
        self.file: IO[bytes] | None = None
        self.size = 0
        with contextlib.suppress(OSError):
            self._open()

    def write(self, line: bytes) -> None:
        """Append a line; start a new file when this one is full."""
        if self.verbose or line.startswith(ALERT.encode()):
            with contextlib.suppress(OSError):
                sys.stderr.buffer.write(line)
                sys.stderr.buffer.flush()
        with contextlib.suppress(OSError):
            if self.size + len(line) > LOG_BYTES_MAX:
                os.replace(self.path, self.path.with_suffix(".log.1"))
                self._open()
            if self.file is not None:
                self.file.write(line)
                self.size += len(line)

    def _open(self) -> None:
        if self.file is not None:
            self.file.close()
        self.file = open(os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "wb", buffering=0)  # noqa: SIM115
        self.size = os.fstat(self.file.fileno()).st_size


class Children:
    """The processes of one control plane, in the order in which they are to be stopped."""

    def __init__(
        self, folder: Path, commands: dict[str, Sequence[str]], *, verbose: bool, ends: Ends
    ) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.children = [
            Child(name, argv, Log(folder / f"{name}.log", verbose), self.events)
            for name, argv in commands.items()
        ]
        self.ends = ends
        self.due: dict[Child, float] = {}  # when a dead child starts again

    def start(self) -> bool:
        """Start all at once and wait until all are ready; False if a signal came first. ChildFailed: one died."""
        for child in self.children:
            child.start()
        deadline = time.monotonic() + READY_S
        while not all(child.ready for child in self.children):
            event = self._next(deadline)
            if event is None:
                if time.monotonic() < deadline:
                    continue
                raise ChildFailed(next(c for c in self.children if not c.ready), 0)
            if event.what == "signal":
                return False
            assert event.child is not None
            if event.what == "died":
                raise ChildFailed(event.child, event.value)
            event.child.ready = event.child.was_ready = True
        return True

    def watch(self, tell: Callable[[str, int], None]) -> None:
        """Keep all alive until a signal comes; `tell(name, status)` of each death. ChildFailed: it is no use."""
        while True:
            event = self._next(min(self.due.values(), default=None))
            now = time.monotonic()
            for dead in [c for c, due in self.due.items() if due <= now]:
                del self.due[dead]
                dead.start()
            if event is None:
                continue
            if event.what == "signal":
                return
            child = event.child
            assert child is not None, "only signals are about no child"
            if event.life != child.lives:
                continue
            if event.what == "ready":
                child.ready, child.failed_starts = True, 0
            else:
                tell(child.name, event.value)
                self.due[child] = now + _delay(child, event.value, self.ends, now)

    def stop(self, number: int) -> list[str]:
        """End them one after the other, politely first; the names of those that had to be killed."""
        killed = []
        for child in self.children:
            if child.process is None or child.process.poll() is not None:
                continue
            child.send_signal(number)
            try:
                child.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
                killed.append(child.name)
        return killed

    def _next(self, deadline: float | None) -> Event | None:
        """The next event; None at the deadline (of `time.monotonic`), or after LOOK_S: a signal that another thread
        took does not interrupt the wait, its handler runs after it."""
        wait = LOOK_S if deadline is None else min(LOOK_S, max(0.0, deadline - time.monotonic()))
        try:
            return self.events.get(timeout=wait)
        except queue.Empty:
            return None


def _delay(child: Child, status: int, ends: Ends, now: float) -> float:
    """How long to wait before the next life; ChildFailed if there were too many or another is no use."""
    if status in ends.hopeless:
        raise ChildFailed(child, status)
    if status in ends.passing:
        return BACKOFF_MAX_S
    if not child.ready:
        child.failed_starts += 1
        if child.failed_starts >= FAILED_STARTS_MAX:
            raise ChildFailed(child, status)
    if len(child.deaths) == RESTARTS_MAX and now - child.deaths[0] < RESTART_WINDOW_S:
        raise ChildFailed(child, status)
    child.deaths.append(now)
    return min(BACKOFF_MAX_S, RESTART_DELAY_S * 4.0**child.failed_starts)
