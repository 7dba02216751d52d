# SPDX-License-Identifier: Apache-2.0
"""What the engine of a Slurm site keeps in mind: its pace, the runs that live, and one look at all jobs."""

from typing import Final

import msgspec

from leitstand.core.facts import RunQueued
from leitstand.engines.slurm.folder import RunFolder
from leitstand.runtime.ports import StartRun

RETRY_S: Final = (1.0, 60.0)  # between tries to submit a run: first, longest


class Pace(msgspec.Struct, frozen=True):
    """How often the cluster is asked, in seconds. `jobs`: while runs live, at least ten times as long as it takes to
    answer; `idle`: while none does; `nodes`; `health`: what nodes say of their GPUs; `check`: whether it would take a
    job, since tokens expire; `away`: after which a site that does not answer takes nothing new; `launch`: how long
    Slurm may take from the start of a job to that of its script, prologs and the boot of nodes included. `suspicious`:
    a run that fails after so long may have failed because a GPU did."""

    jobs: float = 1.0
    idle: float = 10.0
    nodes: float = 10.0
    health: float = 5.0
    suspicious: float = 60.0
    check: float = 60.0
    away: float = 60.0
    launch: float = 600.0


class Live:
    """A run that has not ended, as far as this process knows."""

    def __init__(self, order: StartRun, name: str, folder: RunFolder) -> None:
        self.order = order
        self.name = name
        self.folder = folder
        self.job = 0  # the id in Slurm, 0: none is known
        self.submitting = False
        self.known_s = 0.0  # monotonic: only a list that was asked for later can say that it is not there
        self.due_s = 0.0  # monotonic: when to try again to submit it
        self.pause_s = RETRY_S[0]
        self.launches = 0  # that Slurm took and that came to nothing
        self.launched_s = 0.0  # monotonic: since when Slurm says that it runs
        self.begun_s = 0.0  # monotonic: when its start was seen, and reported
        self.stopping = ""
        self.told_s = 0.0  # monotonic: when its script was told to end
        self.grace_s = 0.0
        self.fenced_s = 0.0  # monotonic
        self.queued: RunQueued | None = None  # what was said last of its wait there
        self.queued_s = 0.0  # monotonic


class Look:
    """One look at all jobs: when it was asked for, and what is to be done then."""

    def __init__(self, asked_s: float) -> None:
        self.asked_s = asked_s
        self.kill: list[int] = []  # jobs in Slurm
        self.tell: list[int] = []
        self.doubtful: list[Live] = []
