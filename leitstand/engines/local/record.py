# SPDX-License-Identifier: Apache-2.0
"""The files of a run folder and how they are written so that they survive a crash and a full disk.

Shared by the supervisor and the engine, hence standard library only. A record is written once and whole: beside its
place, flushed, renamed, the folder flushed. Order, start and end record each name the placement they are about, by
journal and `placed_us`: run ids repeat when a journal is lost or restored from a backup.
"""

import binascii
import errno
import os
import time

ORDER = "order"  # what to execute, marshalled (see `orders.py`)
SCRIPT = "run.sh"  # the job's bash script, if it is one
SETUP = "setup.sh"
STARTED = "started.json"  # durable before anything executes; its modification time is the last sign of life
ENDED = "ended.json"  # the last word on the run
STOP = "stop"  # somebody wants the run to end; the content is the cause

PRIVATE = (ORDER, f"{ORDER}.part", SCRIPT, SETUP)  # command and environment: they go when the run has ended

# The exit status of a supervisor that executed and recorded nothing: there was no room on the disk for it or no
# process to be had, or it gave way to another one. Whoever still wants the run starts another supervisor.
NOT_YET = 75

# Why a run did not start, or how it ended beyond its outcome: the closed list behind `RunEnded.detail`.
DETAILS = (
    "",
    "record_missing",  # the erasable record with the command is gone
    "record_unreadable",  # it is there, but damaged
    "workdir_missing",  # the blob store has no such archive
    "workdir_unreadable",  # no tar archive, or one that reaches outside of the working directory
    "workdir_too_large",
    "gpus_missing",  # placed on GPUs that this machine no longer offers
    "command_not_found",
    "command_not_executable",
    "exec_failed",
    "folder_unwritable",
    "not_reachable",  # command, interpreter or working directory, for the user id of the tenant
    "isolation_failed",  # the operating system refuses what keeps tenants apart
    "environment_failed",  # the Python environment of the tenant cannot be made
    "uids_exhausted",  # more tenants than user ids in the range
    "secret_missing",
    "secret_unreadable",  # it is there, but damaged
    "supervisor_failed",  # it died before anything executed
    "signalled",  # stopped by somebody other than the control plane
)

# What the operating system refuses today and may grant tomorrow: no verdict on the run, so no detail of its end.
PASSING = (
    *(errno.ENOSPC, errno.EDQUOT),  # disk
    *(
        errno.EAGAIN,
        errno.ENOMEM,
        errno.EMFILE,
        errno.ENFILE,
    ),  # processes, and memory or open files to make one
)

TMP = "tmp"  # the temporary folder of the run, in its folder
TMP_BYTES_MAX = 60  # of its path: the address of a Unix socket has 107 bytes, and names below it need some

_RESERVE = "ended.json.part"
_RESERVE_BYTES = 4096


def now_us() -> int:
    """The wall clock in µs."""
    return time.time_ns() // 1000


def log_name(task: int) -> str:
    return f"task-{task}.log"


def work_name(task: int) -> str:
    return f"work-{task}"


def short_tmp(folder: str) -> str:
    """Where the temporary folder of the run with this folder is short enough for a Unix socket below it: its own path,
    or that of a link to it."""
    own = f"{folder}/{TMP}"
    if len(os.fsencode(own)) <= TMP_BYTES_MAX:
        return own
    return f"/tmp/leitstand-{os.getuid()}-{binascii.crc32(os.fsencode(own)):08x}"


def link_tmp(folder: str) -> str:
    """Sees to it that `short_tmp` is there; its path, or the long one if somebody else has that name."""
    own, short = f"{folder}/{TMP}", short_tmp(folder)
    if short == own:
        return own
    try:
        os.symlink(own, short)
    except FileExistsError:
        return short if _links(short, own) else own
    except OSError:
        return own
    return short


def unlink_tmp(folder: str) -> None:
    """Removes the link, if there is one and it is ours."""
    own, short = f"{folder}/{TMP}", short_tmp(folder)
    try:
        if short != own and _links(short, own):
            os.unlink(short)
    except OSError:
        pass


def _links(link: str, target: str) -> bool:
    try:
        return os.readlink(link) == target and os.lstat(link).st_uid == os.getuid()
    except OSError:
        return False


def reserve_end(folder: str) -> None:
    """Sets disk space aside for the end record; OSError when there is none."""
    fd = os.open(f"{folder}/{_RESERVE}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, _RESERVE_BYTES)
    finally:
        os.close(fd)


class End:
    """How a run ended: times in µs, `started_us` 0 if it never started, else as in `RunEnded`. `journal` and
    `placed_us` name the placement."""

    def __init__(self, run: str, outcome: str, started_us: int, ended_us: int) -> None:
        self.run = run
        self.journal = ""
        self.placed_us = 0
        self.outcome = outcome
        self.started_us = started_us
        self.ended_us = ended_us
        self.exit_code: int | None = None
        self.signal: int | None = None
        self.detail = ""

    def text(self) -> str:
        code = "null" if self.exit_code is None else self.exit_code
        signal = "null" if self.signal is None else self.signal
        return (
            f'{{"run":"{self.run}","journal":"{self.journal}","placed_us":{self.placed_us},'
            f'"outcome":"{self.outcome}","started_us":{self.started_us},"ended_us":{self.ended_us},'
            f'"exit_code":{code},"signal":{signal},"detail":"{self.detail}"}}'
        )


def write_durably(folder: str, name: str, text: str) -> None:
    """`name` holds `text` after this returns, or what it held before if it raises OSError."""
    data = text.encode()
    part = f"{folder}/{name}.part"
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.pwrite(fd, data, 0) != len(data):
            raise OSError(28, "no space for a record", part)
        os.ftruncate(fd, len(data))
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(part, f"{folder}/{name}")
    sync_folder(folder)


def sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def forget(folder: int) -> None:
    """Removes command and environment from a run folder, an open directory: whatever its name is now, no other folder
    is meant. What the disk refuses is left to the next sweep."""
    for name in PRIVATE:
        try:
            os.unlink(name, dir_fd=folder)
        except OSError:
            continue


def say(folder: str, task: int, line: str) -> None:
    """One line of ours at the end of a task's log; a disk that refuses it is not worth an error."""
    try:
        fd = os.open(
            f"{folder}/{log_name(task)}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        try:
            os.write(fd, note(line))
        finally:
            os.close(fd)
    except OSError:
        pass


def note(line: str) -> bytes:
    """A line of ours in a log, told apart from the job's own."""
    return f"[leitstand] {line}\n".encode(errors="replace")


def notify(wake: str, run: str) -> None:
    """Tells the engine, if one listens, to look at this run; it looks by itself every second anyway."""
    try:
        fd = os.open(wake, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(fd, f"{run}\n".encode())
        finally:
            os.close(fd)
    except OSError:
        pass
