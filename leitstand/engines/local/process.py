# SPDX-License-Identifier: Apache-2.0
"""Processes as /proc shows them. Called by the supervisor (its descendants) and the engine (what a dead one left); and
which of them the kernel ends first when memory is short, said by the control plane and by runs of themselves.

Standard library only. A process that ends while we look is left out.
"""

import os

OOM = "/proc/self/oom_score_adj"
OOM_PLANE = -500  # the control plane goes after everything of a usual machine, and can still go
OOM_RUN = 500  # runs go first


class Process:
    """A line of /proc: `ticks` is the start time, which tells two processes with the same pid apart."""

    def __init__(self, pid: int, fields: list[bytes]) -> None:
        self.pid = pid
        self.state = fields[0]
        self.parent = int(fields[1])
        self.session = int(fields[3])
        self.ticks = int(fields[19])


def look(pid: int) -> Process | None:
    """The process with this pid, zombies included; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            text = file.read(4096)
    except OSError:
        return None
    return Process(pid, text[text.rindex(b")") + 2 :].split())


def ticks(pid: int) -> int:
    """Start ticks of the process with this pid; 0 if there is none."""
    process = look(pid)
    return process.ticks if process else 0


def everyone() -> list[Process]:
    """All processes of this machine but zombies, by pid."""
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    return [process for pid in pids if (process := look(pid)) is not None and process.state != b"Z"]


def descendants(ancestor: int) -> list[int]:
    """Pids of all that descend from `ancestor`, parents first."""
    children: dict[int, list[int]] = {}
    for process in everyone():
        children.setdefault(process.parent, []).append(process.pid)
    found = list(children.get(ancestor, ()))
    for pid in found:  # grows while it is walked
        found.extend(children.get(pid, ()))
    return found


def marked(marker: bytes, sessions: dict[int, int]) -> list[int]:
    """Pids of all with `marker` (NAME=VALUE) in the environment they were started with, or in one of `sessions`:
    pid of a session's leader -> its start ticks. A session whose leader is now somebody else is not ours."""
    processes = everyone()
    strangers = {p.pid for p in processes if p.pid in sessions and p.ticks != sessions[p.pid]}
    return [
        p.pid
        for p in processes
        if (p.session in sessions and p.session not in strangers) or marker in environment(p.pid)
    ]


def rank_when_short(score: int) -> None:
    """Where this process, and all that it starts, stands when memory is short: -1000 goes last, 1000 first, as in
    proc(5). It stays where it is if it may not: to go later than before is for root alone."""
    try:
        with open(OOM, "wb", buffering=0) as file:
            file.write(str(score).encode())
    except PermissionError:
        return


def outlast_runs() -> None:
    """The control plane, told before it starts its parts; who said already that it goes later is right."""
    with open(OOM, "rb") as file:
        if int(file.read()) <= OOM_PLANE:
            return
    rank_when_short(OOM_PLANE)


def environment(pid: int) -> list[bytes]:
    """NAME=VALUE as the process was started with; empty where we may not look."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []
