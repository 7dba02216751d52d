# SPDX-License-Identifier: Apache-2.0
"""One process per run: starts the tasks of the gang, keeps their logs, ends them in time, records start and end.

Spawned detached by `LocalEngine`; it outlives the control plane and talks to it by files in the run folder alone.
Standard library only, and little of it: what it imports is CPU time of every run.

The folder's flock says that a supervisor lives. `started.json` is durable before any task executes anything, so a run
whose folder holds it is never started again; `ended.json` is the last word on it, and once it is durable command and
environment are removed. All processes of the run descend from the supervisor (it is their subreaper: daemonised ones
come back to it), and it ends only when none is left. It ends with `record.NOT_YET` if it executed nothing and somebody
may try again.
"""

from __future__ import annotations  # annotations cost nothing at run time

import fcntl
import marshal
import os
import select
import time

from leitstand.engines.local import process, record, spawn
from leitstand.engines.local.tasklog import TaskLog
from leitstand.engines.refused import CannotStart

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any

    from leitstand.engines.local.confine import Who
else:
    import _signal as signal  # the C half: the enums of the Python half would cost a third of the start-up

HEARTBEAT_S = 10
KILL_PAUSE_S = (0.01, 1.0)  # between rounds of KILL: first, longest
END_RETRIES_MAX = 86_400
END_RETRY_S = 1
READ_BYTES = 65_536
FINAL_READS_MAX = 1_024


def main(folder: str) -> None:
    """Supervise the run of this folder to its end; returns at once if that was done, SystemExit(NOT_YET) if another
    supervisor has the folder, or what it takes to start is not to be had now."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = os.path.samestat(os.fstat(lock), os.stat(folder))
    except (BlockingIOError, FileNotFoundError):
        ours = False
    if not ours:  # another one has it, or it was moved aside while we came
        raise SystemExit(record.NOT_YET)
    here = f"/proc/self/fd/{lock}"
    if any(os.path.exists(f"{here}/{name}") for name in (record.STARTED, record.ENDED)):
        return
    with open(f"{here}/{record.ORDER}", "rb") as file:
        order = marshal.load(file)
    take_secrets(order)
    run = Supervised(folder, lock, order)
    try:
        run.start()
    except CannotStart as refusal:
        run.refuse(refusal)
    run.watch()
    if run.end():
        record.forget(lock)
    record.unlink_tmp(folder)
    record.notify(order["wake"], order["run"])


def take_secrets(order: dict[str, Any]) -> None:
    """Secrets come on standard input and go into the environment of the tasks: they are never on disk."""
    with open(0, "rb") as file:
        text = file.read()
    os.open(os.devnull, os.O_RDONLY)
    secrets = marshal.loads(text) if text else {}
    for task in order["tasks"]:
        task["env"].update(secrets)


class Supervised:
    """The run while it lives. `path`: of its folder; `folder`: the very folder that was locked, so that no record ever
    lands in another one that took its name."""

    def __init__(self, path: str, lock: int, order: dict[str, Any]) -> None:
        self.path = path
        self.lock = lock
        self.folder = f"/proc/self/fd/{lock}"
        self.order = order
        self.tasks: dict[int, int] = {}  # pid -> node rank, of main processes that live
        self.statuses: dict[int, int] = {}  # node rank -> wait status, in the order of their ends
        self.logs: dict[int, TaskLog] = {}  # by the read end of the task's pipe
        self.started_us = 0
        self.outcome = ""
        self.detail = ""
        self.told = False  # to end
        self.deadline: float | None = None  # monotonic seconds, as is `kill_at`
        self.kill_at: float | None = None
        self.kill_pause = KILL_PAUSE_S[0]
        self.who: Who | None = None
        if order.get("identity"):
            from leitstand.engines.local import confine

            self.who = confine.Who(order["identity"])
        self.poller = select.poll()
        self.waker = self.listen()

    def listen(self) -> int:
        """Signals become bytes in a pipe that `watch` polls; descendants that lose their parent become our children."""
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self.hear)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        spawn.adopt_orphans()
        self.poller.register(reader, select.POLLIN)
        return reader

    def hear(self, *_: object) -> None:
        self.told = True

    # ── start ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def start(self) -> None:
        """All tasks or none: each stands behind a barrier before the start is recorded and any of them executes."""
        try:
            barrier = self.stand()
        except OSError as error:
            if error.errno in record.PASSING:
                self.clear_away()
                raise SystemExit(record.NOT_YET) from None  # who stands at the barrier ends with us
            line = f"{error.strerror}: {self.path}"
            raise CannotStart("folder_unwritable", line) from error
        if self.must_stop():
            barrier.abandon()
            self.tasks.clear()  # they have no exit code
            self.conclude("stopped", 0)
        else:
            barrier.release(len(self.order["tasks"]))
        record.notify(self.order["wake"], self.order["run"])

    def stand(self) -> spawn.Barrier:
        """Everything up to the first instruction of a task; OSError for what the operating system refuses."""
        tasks = self.order["tasks"]
        record.reserve_end(self.folder)
        spawn.make_folders(self.path, len(tasks), self.who)
        temporary = self.isolate() or record.link_tmp(self.path)
        for task in tasks:
            if task["env"].get("TMPDIR") == f"{self.path}/{record.TMP}":  # unless the job names its own
                task["env"]["TMPDIR"] = temporary
        commands = [
            spawn.prepare(self.path, self.order, rank, self.must_stop, self.who) for rank in range(len(tasks))
        ]
        barrier = spawn.Barrier(self.who)
        for rank, command in enumerate(commands):
            self.keep(rank, barrier.fork(f"{self.path}/{record.work_name(rank)}", command, tasks[rank]))
        self.record_start()
        return barrier

    def isolate(self) -> str:
        """Gives the run a view of its own, where it is to have one; what it calls its temporary folder there."""
        if self.who is None or not self.who.namespaces:
            return ""
        from leitstand.engines.local import confine

        self.who.space = confine.Space(self.who, f"{self.path}/{record.TMP}")
        return confine.PRIVATE[0]

    def clear_away(self) -> None:
        """Gives back the room that a start took which did not come about."""
        import shutil

        for name in (record.STARTED, f"{record.STARTED}.part"):
            if os.path.exists(f"{self.folder}/{name}"):
                os.unlink(f"{self.folder}/{name}")
        record.unlink_tmp(self.path)
        for name in (record.TMP, *map(record.work_name, range(len(self.order["tasks"])))):
            shutil.rmtree(f"{self.folder}/{name}", ignore_errors=True)

    def keep(self, rank: int, child: tuple[int, int]) -> None:
        pid, reader = child
        self.tasks[pid] = rank
        self.logs[reader] = TaskLog(f"{self.folder}/{record.log_name(rank)}", self.order["log_bytes_max"])
        self.poller.register(reader, select.POLLIN)

    def record_start(self) -> None:
        self.started_us = record.now_us()
        if self.order["max_duration_us"] > 0:
            self.deadline = time.monotonic() + self.order["max_duration_us"] / 1e6
        sessions = ",".join(f'"{pid}":{process.ticks(pid)}' for pid in self.tasks)
        text = (
            f'{{"run":"{self.order["run"]}","journal":"{self.order["journal"]}",'
            f'"placed_us":{self.order["placed_us"]},"started_us":{self.started_us},"pid":{os.getpid()},'
            f'"ticks":{process.ticks(os.getpid())},"sessions":{{{sessions}}},"port":{self.order["port"]}}}'
        )
        record.write_durably(self.folder, record.STARTED, text)
        record.sync_folder(os.path.dirname(self.path))  # the run folder's own entry

    def refuse(self, refusal: CannotStart) -> None:
        for rank in range(len(self.order["tasks"])):
            record.say(self.folder, rank, f"the run could not start: {refusal.line}")
        self.conclude("start_failed", 0)
        self.detail = refusal.detail

    # ── watch ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def watch(self) -> None:
        """Until no process of the run is left: keep the logs, reap, and end what has to end."""
        pause = self.order.get("heartbeat_s", HEARTBEAT_S)
        heartbeat = time.monotonic() + pause
        while self.reap():
            now = time.monotonic()
            if not self.outcome:
                self.judge(now)
            if self.kill_at is not None and now >= self.kill_at:
                self.send(signal.SIGKILL)
                self.kill_at = now + self.kill_pause
                self.kill_pause = min(self.kill_pause * 2, KILL_PAUSE_S[1])
            if now >= heartbeat:
                heartbeat = now + pause
                self.beat()
            due = min(at for at in (heartbeat, self.deadline, self.kill_at) if at is not None)
            for fd, _ in self.poller.poll(max(0.0, due - now) * 1000 + 1):
                if fd == self.waker:
                    os.read(fd, READ_BYTES)
                else:
                    self.drain(fd, 1)
        for fd in list(self.logs):
            self.drain(fd, FINAL_READS_MAX)

    def judge(self, now: float) -> None:
        """Whether the run is over, and how."""
        if not self.tasks:
            self.conclude("exited", 0)  # what the main processes left behind goes at once
        elif self.told:
            self.conclude("stopped", self.order.get("stop_grace_us", self.order["grace_us"]))
        elif self.deadline is not None and now >= self.deadline:
            self.conclude("time_limit", self.order.get("stop_grace_us", self.order["grace_us"]))
        elif any(self.statuses.values()):
            self.conclude("exited", self.order["grace_us"])  # a gang ends with the first task that fails

    def conclude(self, outcome: str, grace_us: int) -> None:
        """The outcome, once; all processes get TERM, or what the job wants to hear when it is to end (nothing if there
        is no grace), and KILL when the grace is over."""
        self.outcome = outcome
        if outcome == "stopped" and not os.path.exists(f"{self.folder}/{record.STOP}"):
            self.detail = "signalled"
        self.deadline = None
        self.kill_at = time.monotonic() + grace_us / 1e6
        if grace_us > 0:
            asked = outcome in ("stopped", "time_limit")
            self.send(self.order.get("signal", signal.SIGTERM) if asked else signal.SIGTERM)

    def send(self, number: int) -> None:
        for pid in process.descendants(os.getpid()):
            try:
                os.kill(pid, number)
            except OSError:
                continue  # it has ended, or changed its user: the next round sees

    def reap(self) -> bool:
        """Collects ended children; False when none is left, so that nothing of the run lives."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid in self.tasks:
                self.statuses[self.tasks.pop(pid)] = status
                if self.who and self.who.space and not self.tasks:
                    self.who.space.leave()

    def drain(self, reader: int, reads_max: int) -> None:
        """Moves what is in a task's pipe to its log; closes both at the end of the stream."""
        for _ in range(reads_max):
            try:
                data = os.read(reader, READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self.poller.unregister(reader)
                os.close(reader)
                self.logs.pop(reader).close()
                return
            self.logs[reader].write(data)

    def beat(self) -> None:
        """A sign of life on disk, and a look at whether a stop was asked for by somebody who then died."""
        self.told = self.must_stop()
        try:
            os.utime(f"{self.folder}/{record.STARTED}")
            if not os.path.samestat(os.fstat(self.lock), os.stat(self.path)):
                raise FileNotFoundError
        except FileNotFoundError:
            self.told = True  # the data folder was removed: nobody will ever ask for this run
        except OSError:
            return  # a disk that refuses costs precision, should we die unwitnessed

    def must_stop(self) -> bool:
        return self.told or os.path.exists(f"{self.folder}/{record.STOP}")

    # ── end ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def end(self) -> bool:
        """Records the end, however long the disk refuses; whether it is recorded now."""
        outcome = self.outcome or "exited"
        started_us = 0 if outcome == "start_failed" else self.started_us
        end = record.End(self.order["run"], outcome, started_us, max(record.now_us(), self.started_us))
        end.journal, end.placed_us = self.order["journal"], self.order["placed_us"]
        end.detail = self.detail
        statuses = list(self.statuses.values())
        if statuses and outcome != "start_failed":
            status = next(filter(None, statuses), 0)  # the first that failed speaks for the gang
            if os.WIFSIGNALED(status):
                end.signal = os.WTERMSIG(status)
            else:
                end.exit_code = os.WEXITSTATUS(status)
        for _ in range(END_RETRIES_MAX):
            try:
                record.write_durably(self.folder, record.ENDED, end.text())
                return True
            except FileNotFoundError:
                break  # somebody removed the run folder: there is nobody left to tell
            except OSError:
                time.sleep(END_RETRY_S)
        return False
