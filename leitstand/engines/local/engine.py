# SPDX-License-Identifier: Apache-2.0
"""The local engine: runs as processes of this machine. Called by the writer's loop, which it never makes wait.

One thread does all the work, in order: it carries out orders, spawns a supervisor per run and looks at run folders
when a supervisor calls (a line in a FIFO) or a second has passed. All truth is on disk: whatever this object forgets
when its process dies, `resume` reads again. One function, `_ensure`, serves first starts, repeated orders and
restarts alike; one function, `_look`, tells what became of a run.

A run that cannot start for now (a full disk, no process to be had) stays ordered and is tried again. A folder is
trusted only if its records are about the very placement that is ordered.
"""

import contextlib
import logging
import os
import select
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from leitstand.core.facts import NodeReported, Observation, RunEnded, RunStarted
from leitstand.engines.local import environment, launch, orders, packages, process, record
from leitstand.engines.local.checkpoints import Checkpoints
from leitstand.engines.local.folder import UNKNOWN, Ended, Placement, RunFolders, Started
from leitstand.engines.local.gpus import LocalSite
from leitstand.engines.local.orders import Surroundings
from leitstand.engines.local.tenants import CHECKPOINTS
from leitstand.engines.refused import CannotStart
from leitstand.engines.surroundings import NotYet
from leitstand.runtime.ports import Order, ResizeRun, StartRun, StopRun

ORDERS_MAX: Final = 1_000_000  # orders that wait for the thread
ORDERS_BATCH: Final = 32  # between two looks at what runs
LOOK_S: Final = 1.0  # slowest
RETRY_S: Final = (1.0, 10.0)  # between tries to start a run: first, longest
CLEARING_S: Final = 0.02  # between rounds of KILL at what a dead supervisor left
CLEAR_ROUNDS_MAX: Final = 500
PRUNE_EVERY: Final = 1_000  # ends
WAKE: Final = ".wake"

_log = logging.getLogger(__name__)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """`grace_us`: between TERM and KILL. `kept_runs_max`: folders of ended runs, with their logs."""

    log_bytes_max: int = 64 * 1024 * 1024
    grace_us: int = 10_000_000
    kept_runs_max: int = 10_000


class _Live:
    """A run that has not ended, as far as this process knows."""

    def __init__(self, order: StartRun | None, placement: Placement) -> None:
        self.order = order  # None: nobody ordered it, it is being stopped
        self.placement = placement
        self.heir: StartRun | None = None  # ordered under the same id: has the folder when this one has ended
        self.stopping = False
        self.launched = order is None
        self.due_s = 0.0  # monotonic: when to try again to launch
        self.pause_s = RETRY_S[0]
        self.child: subprocess.Popen[bytes] | None = None
        self.started: Started | None = None
        self.port = 0
        self.watched = False  # its supervisor was seen alive by this process
        self.rounds = 0  # of KILL at what its dead supervisor left


class LocalEngine:
    """Implements `leitstand.runtime.ports.Engine` for one data folder; the writer's lock keeps a second one away.

    `folder`: where the run folders are, made if missing. OSError if that cannot be. `troubles()`: what was seen of the
    GPUs since it was asked last, said before the ends of runs.
    """

    def __init__(
        self,
        folder: Path,
        site: LocalSite,
        around: Surroundings,
        limits: Limits | None = None,
        troubles: Callable[[], Sequence[NodeReported]] = tuple,
    ) -> None:
        self._troubles = troubles
        self._folders = RunFolders(folder)
        self._checkpoints = Checkpoints(self._folders.path.parent / CHECKPOINTS)
        self._site = site
        self._around = around
        self._limits = limits or Limits()
        self._folders.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._orders: deque[Order | tuple[StartRun, ...]] = deque()
        self._reports: deque[Observation] = deque()
        self._live: dict[str, _Live] = {}
        self._clearing: set[str] = set()
        self._leaving: list[subprocess.Popen[bytes]] = []  # supervisors of ended runs, not yet reaped
        self._pruning: threading.Thread | None = None
        self._ends = 0
        self._heard = b""
        self._closing = False
        self._failure: BaseException | None = None
        self._wake_fd = launch.open_fifo(self._folders.path / WAKE)
        self._thread = threading.Thread(target=self._work, name="local-engine", daemon=True)
        self._thread.start()

    # ── the port ──────────────────────────────────────────────────────────────────────────────────────────────────
    def next_time(self) -> int | None:
        return None

    def take(self, now: int) -> Sequence[Observation]:
        """What was reported since the last call. RuntimeError if the engine's thread has failed: restart heals."""
        if self._failure is not None:
            raise RuntimeError("the local engine has failed") from self._failure
        reports = [self._reports.popleft() for _ in range(len(self._reports))]
        return [*self._troubles(), *reports]  # asked later, said first: who died of a GPU is known to have

    def send(self, orders: Sequence[Order]) -> None:
        """RuntimeError beyond ORDERS_MAX orders that wait, which no placement can reach."""
        if len(self._orders) + len(orders) > ORDERS_MAX:
            raise RuntimeError(f"over {ORDERS_MAX} orders wait for the local engine")
        self._orders.extend(orders)
        self._call()

    def resume(self, runs: Sequence[StartRun]) -> None:
        self._orders.append(tuple(runs))
        self._call()

    def read_log(self, run: str, task: int, offset: int, limit: int) -> bytes:
        return self._folders.read_log(run, task, offset, limit)

    def close(self) -> None:
        """Orders not yet carried out are left to `resume`; a second call does nothing."""
        if self._closing:
            return
        self._closing = True
        self._call()
        self._thread.join()
        os.close(self._wake_fd)

    def _call(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it is full: the thread is awake
            os.write(self._wake_fd, b"\n")

    # ── the thread ────────────────────────────────────────────────────────────────────────────────────────────────
    def _work(self) -> None:
        try:
            look_at_all = 0.0
            while not self._closing:
                self._carry_out()
                for run in self._listen(0 if self._orders else self._pause(look_at_all)):
                    self._look(run)
                for run in sorted(self._clearing):
                    self._look(run)
                if time.monotonic() >= look_at_all:
                    for run in list(self._live):
                        self._look(run)
                    self._leaving = [child for child in self._leaving if child.poll() is None]
                    look_at_all = time.monotonic() + LOOK_S
        except BaseException as error:
            self._failure = error
            self._around.wake()
            raise

    def _pause(self, look_at_all: float) -> float:
        return CLEARING_S if self._clearing else max(0.0, look_at_all - time.monotonic())

    def _listen(self, seconds: float) -> list[str]:
        """Runs whose supervisors called within `seconds`, or up to the first call."""
        if not select.select([self._wake_fd], [], [], seconds)[0]:
            return []
        *lines, self._heard = (self._heard + os.read(self._wake_fd, 65_536)).split(b"\n")
        return list(dict.fromkeys(line.decode(errors="replace") for line in lines if line))

    def _carry_out(self) -> None:
        for _ in range(min(ORDERS_BATCH, len(self._orders))):
            match self._orders.popleft():
                case StartRun() as order:
                    self._ensure(order)
                case StopRun() as order:
                    self._stop(order.run, order.cause)
                case ResizeRun() as order:
                    raise AssertionError(f"run {order.run}: this site does not say that it resizes runs")
                case runs:
                    self._resume(runs)

    def _resume(self, runs: tuple[StartRun, ...]) -> None:
        for order in runs:
            self._ensure(order)
        for run in self._folders.live():
            if run not in self._live:
                self._send_off(run, None)
        self._prune()

    # ── orders ────────────────────────────────────────────────────────────────────────────────────────────────────
    def _ensure(self, order: StartRun) -> None:
        """The run exists: started now if it never was, else found out about."""
        run = order.run
        if run in self._live:
            if self._live[run].order is None:
                self._live[run].heir = order
            return
        live = _Live(order, Placement(self._around.journal, order.placed_us))
        found = self._folders.placement(run)
        if found not in (None, live.placement) and self._folders.ended(run) is None:
            self._send_off(run, order)
            return
        self._live[run] = live
        self._begin(run, live)

    def _send_off(self, run: str, heir: StartRun | None) -> None:
        """Ends a run that nobody ordered, if it lives; then `heir` gets its folder's name."""
        live = self._live[run] = _Live(None, self._folders.placement(run) or UNKNOWN)
        live.heir = heir
        self._stop(run, "unknown")
        self._look(run)

    def _begin(self, run: str, live: _Live) -> None:
        """Sees to it that the run's supervisor is started if none ever was; what is in the way for now, a full disk for
        one, is tried again."""
        assert live.order is not None, "only what was ordered begins"
        try:
            found = self._folders.placement(run)
            if found not in (None, live.placement):
                self._set_aside(run)
            if self._folders.ended(run) is None and self._folders.started(run) is None:
                # the journal knows of a start that is not to be found here: the run is lost
                if live.order.started_us:
                    live.started = Started(run, live.order.started_us, 0, 0, {}, 0)
                else:
                    live.child = self._launch(run, live, live.order)
        except NotYet as reason:
            self._postpone(run, live, str(reason))
            return
        except CannotStart as refusal:
            self._refuse(run, live, refusal)
            return
        except OSError as error:
            line = f"{error.strerror}: {error.filename or self._folders.of(run)}"
            if error.errno in record.PASSING:
                self._postpone(run, live, line)
            else:
                self._refuse(run, live, CannotStart("folder_unwritable", line))
            return
        live.launched = True
        self._look(run)

    def _set_aside(self, run: str) -> None:
        """Makes room for the run where the folder is about another placement. NotYet while that one's supervisor lives;
        the lock keeps a late one from executing anything."""
        with launch.locked(self._folders.of(run)) as locked:
            if not locked:
                raise NotYet("an earlier run of the same name is still ending")
            stale = self._folders.set_aside(run)
        _log.warning("run %s: the folder was about another placement, it is now %s", run, stale)

    def _launch(self, run: str, live: _Live, order: StartRun) -> "subprocess.Popen[bytes]":
        """Spawns a supervisor; should another one be about to start this run, one of the two will give way."""
        gathered = orders.gather(order, self._around, self._site)
        folder, identity = self._folders.of(run), gathered.identity
        folder.mkdir(mode=0o700, exist_ok=True)
        if identity:
            os.chown(folder, -1, identity.uid)
            folder.chmod(0o710)  # passed by the tenant, who cannot open it for others
        live.port = launch.free_port({other.port for other in self._live.values()})
        checkpoint = None
        if gathered.spec.checkpoint:
            checkpoint = self._checkpoints.make(order, self._around.journal, identity)
        if identity:
            python = packages.environment(identity.home, identity.python)
        else:
            home = packages.home(self._folders.path.parent, order.tenant)
            python = packages.environment(home, self._around.python)
        execution = orders.Execution(
            order=order,
            journal=self._around.journal,
            gathered=gathered,
            python=python,
            site=self._site,
            folder=folder,
            port=live.port,
            checkpoint=checkpoint,
            wake=self._folders.path / WAKE,
            log_bytes_max=self._limits.log_bytes_max,
            grace_us=self._limits.grace_us,
        )
        orders.write(execution)
        return launch.spawn(folder, orders.secrets(execution))

    def _postpone(self, run: str, live: _Live, line: str) -> None:
        """The run stays ordered: nothing of it has been executed, and it is tried again."""
        live.launched = False
        if live.stopping:
            self._conclude(run, Ended(run, "stopped", 0, record.now_us()))
            return
        if not live.due_s:
            _log.warning("run %s cannot start yet, it is tried again: %s", run, line)
        live.due_s = time.monotonic() + live.pause_s

    def _refuse(self, run: str, live: _Live, refusal: CannotStart) -> None:
        assert live.order is not None, "only what was ordered can be refused"
        with contextlib.suppress(OSError):
            self._folders.of(run).mkdir(mode=0o700, exist_ok=True)
        for rank in range(len(live.order.tasks)):
            record.say(str(self._folders.of(run)), rank, f"the run could not start: {refusal.line}")
        self._conclude(run, Ended(run, "start_failed", 0, record.now_us(), detail=refusal.detail))

    def _stop(self, run: str, cause: str) -> None:
        """Leaves the word in the folder, then calls the supervisor, if it is up; if not, it will look by itself."""
        live = self._live.get(run)
        if live is None:
            ended = self._folders.ended(run)
            if ended is not None and ended.journal == self._around.journal:
                self._report_end(ended)
            return
        if live.heir is not None and live.stopping:  # it is the heir who is meant
            live.heir = None
            self._report_end(Ended(run, "stopped", 0, record.now_us()))
            return
        live.stopping = True
        if not live.launched:
            self._conclude(run, Ended(run, "stopped", 0, record.now_us()))
            return
        with contextlib.suppress(OSError):  # a full disk: the signal says it, too
            (self._folders.of(run) / record.STOP).write_text(cause, encoding="utf-8")
        if (started := self._folders.started(run)) is not None:
            launch.call_to_end(started)

    # ── what became of it ─────────────────────────────────────────────────────────────────────────────────────────
    def _look(self, run: str) -> None:
        """Reports what is new about a run: its start, its end, or that its supervisor died."""
        live = self._live.get(run)
        if live is None:
            return
        if not live.launched:
            if time.monotonic() >= live.due_s:
                self._begin(run, live)
            return
        ended = self._folders.ended(run)
        if ended is None and live.started is None:
            live.started = self._folders.started(run)
            if live.started is not None:
                live.port = live.started.port
                if live.order is not None:
                    self._report(RunStarted(run, live.started.started_us))
                if (
                    live.stopping
                ):  # it was not up yet when it was called, and the disk may have refused the word
                    launch.call_to_end(live.started)
        if ended is not None:
            self._conclude(run, ended)
        elif live.child is not None and live.child.poll() is None:
            live.watched = True
        else:
            self._look_without_child(run, live)

    def _look_without_child(self, run: str, live: _Live) -> None:
        """A supervisor of an earlier control plane keeps the run, or none does: then the last word is ours, said
        under the lock that a supervisor would need."""
        with launch.locked(self._folders.of(run)) as locked:
            if not locked:
                live.watched = True
                return
            ended = self._last_word(run, live)
            if ended is not None:
                self._record(run, live.placement, ended)
        if ended is not None:
            self._conclude(run, ended)

    def _last_word(self, run: str, live: _Live) -> Ended | None:
        """How a run without a supervisor ended; None: not yet."""
        if (ended := self._folders.ended(run)) is not None:  # it may have ended just before
            return ended
        started = live.started or self._folders.started(run)
        if started is not None:
            return None if self._clear(run, live, started) else self._lost(run, live, started.started_us)
        if live.child is not None and live.child.returncode == record.NOT_YET:
            self._postpone(run, live, "its supervisor found no room on the disk, or no process to be had")
            live.pause_s = min(live.pause_s * 2, RETRY_S[1])  # it may have unpacked much before it knew
            return None
        return Ended(run, "start_failed", 0, record.now_us(), detail="supervisor_failed")

    def _lost(self, run: str, live: _Live, started_us: int) -> Ended:
        """Nobody saw the end: it was after the last sign of life."""
        at = self._folders.last_sign_of_life_us(run)
        if live.watched or (
            at is None and live.rounds > 1
        ):  # without a record, what `_clear` found is the sign
            at = record.now_us()
        return Ended(run, "lost", started_us, max(at or 0, started_us))

    def _clear(self, run: str, live: _Live, started: Started) -> bool:
        """Kills what a dead supervisor left; True while there may be something. Sessions tell those that hide their
        environment, but pids are used again: only where we saw the supervisor alive a moment ago."""
        marker = environment.marker(self._folders.of(run)).encode()
        left = process.marked(marker, started.sessions if live.watched else {})
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        live.rounds += 1
        if left and live.rounds < CLEAR_ROUNDS_MAX:
            self._clearing.add(run)
            return True
        return False

    def _conclude(self, run: str, ended: Ended) -> None:
        """The run is over: on disk, reported, forgotten."""
        live = self._live.pop(run)
        self._clearing.discard(run)
        if live.child is not None:
            self._leaving.append(live.child)
        self._record(run, live.placement, ended)
        self._folders.forget(run)
        record.unlink_tmp(str(self._folders.of(run)))
        if live.order is not None:
            self._checkpoints.ended(live.order, self._around.journal, ended.ended_us)
            if live.started is None and ended.started_us:
                self._report(RunStarted(run, ended.started_us))
            self._report_end(ended)
        self._ends += 1
        if self._ends % PRUNE_EVERY == 0:
            self._prune()
        if live.heir is not None:
            heir = self._live[run] = _Live(live.heir, Placement(self._around.journal, live.heir.placed_us))
            self._begin(run, heir)

    def _record(self, run: str, placement: Placement, ended: Ended) -> None:
        """The end is on disk, where the supervisor did not write it; never in the folder of another placement. Without
        room the report goes out all the same, and the journal remembers."""
        folder = self._folders.of(run)
        if (folder / record.ENDED).exists() or self._folders.placement(run) not in (None, placement):
            return
        end = record.End(run, ended.outcome, ended.started_us, ended.ended_us)
        end.journal, end.placed_us, end.detail = placement.journal, placement.placed_us, ended.detail
        with contextlib.suppress(OSError):
            record.write_durably(str(folder), record.ENDED, end.text())

    def _prune(self) -> None:
        """Removes old folders beside the engine's thread, since large working directories take their time."""
        if self._pruning is None or not self._pruning.is_alive():
            orders = [live.order for live in self._live.values() if live.order is not None]
            live = {self._checkpoints.of(order, self._around.journal) for order in orders}
            self._pruning = threading.Thread(
                target=self._remove_old, args=(live,), name="local-engine-prune", daemon=True
            )
            self._pruning.start()

    def _remove_old(self, live: set[Path]) -> None:
        try:
            self._folders.prune(self._limits.kept_runs_max)
            self._checkpoints.prune(live)
        except OSError as error:
            _log.warning("old run folders could not all be removed: %s", error)

    def _report_end(self, ended: Ended) -> None:
        self._report(
            RunEnded(
                run=ended.run,
                at_us=ended.ended_us,
                outcome=ended.outcome,
                exit_code=ended.exit_code,
                signal=ended.signal,
                started_us=ended.started_us,
                detail=ended.detail,
            )
        )

    def _report(self, observation: Observation) -> None:
        self._reports.append(observation)
        self._around.wake()
