# SPDX-License-Identifier: Apache-2.0
"""What became of a run, from what its own script wrote and, where that is missing, from what Slurm says. Pure."""

from typing import Final

from leitstand.core.facts import RunEnded
from leitstand.engines.slurm.commands import Finished
from leitstand.engines.slurm.folder import Claim, Ended

SIGNALS: Final = range(129, 193)  # a shell's status of what a signal ended
OVER: Final = {
    "BOOT_FAIL": "lost",
    "CANCELLED": "stopped",
    "COMPLETED": "exited",
    "DEADLINE": "time_limit",
    "FAILED": "exited",
    "NODE_FAIL": "lost",
    "OUT_OF_MEMORY": "exited",
    "PREEMPTED": "lost",
    "REVOKED": "lost",
    "TIMEOUT": "time_limit",
}
CLEARED: Final = (128 + 9, 128 + 15)  # KILL and TERM, as a shell says them
REMEMBERED_US: Final = (
    240_000_000  # for which a controller that lives knows of a job that has ended (MinJobAge)
)
SIGNALLED: Final = "signalled"  # told to end, and not by us
OUT_OF_MEMORY: Final = "out_of_memory"


def of_script(run: str, claim: Claim, ended: Ended, *, refused: str, stopping: bool) -> RunEnded:
    """The script wrote how it ended; `refused`: why a task could not start. `stopping`: we told it to end."""
    if ended.outcome == "refused":
        return RunEnded(run, ended.at_us, "start_failed", detail=refused or "folder_unwritable")
    if ended.outcome == "fenced":
        return RunEnded(run, ended.at_us, "lost", started_us=claim.at_us)
    status = ended.status
    return RunEnded(
        run,
        max(ended.at_us, claim.at_us),
        ended.outcome,
        exit_code=None if status in SIGNALS else status,
        signal=status - 128 if status in SIGNALS else None,
        started_us=claim.at_us,
        detail=SIGNALLED if ended.outcome == "stopped" and not stopping else "",
    )


def of_slurm(run: str, claim: Claim, found: Finished, *, stopping: bool) -> RunEnded:
    """The script was ended before it could write; `found.state` is one of OVER. Its times are whole seconds."""
    outcome = OVER[found.state]
    if stopping and outcome in ("exited", "stopped", "time_limit"):
        outcome = "stopped"
    number, code = found.status & 127, found.status >> 8 & 255
    if outcome == "lost":
        number = code = 0
    return RunEnded(
        run,
        max(found.ended_us, claim.at_us),
        outcome,
        exit_code=code if not number and outcome == "exited" else None,
        signal=number or None,
        started_us=claim.at_us,
        detail=_detail(found, outcome, stopping),
    )


def cancelled(ended: Ended, found: Finished | None) -> Ended:
    """What the script wrote of a job that was cancelled in Slurm: its task may have died of that before it."""
    if found is not None and OVER[found.state] == "stopped" and ended.status in CLEARED:
        return Ended("stopped", ended.status, ended.at_us)
    return ended


def by_mistake(ended: Ended, found: Finished | None, *, stopping: bool, now_us: int) -> bool:
    """Whether Slurm ended a run that nobody wanted to end. After a crash slurmctld gives ids again, takes the end of an
    earlier job for that of this one and clears away what still runs of it; and it kills what it does not know any more.
    Who is cancelled is listed so; what ended long ago it may have forgotten."""
    if stopping:
        return False
    if ended.outcome == "stopped":
        return found is None or OVER[found.state] == "exited"
    return found is None and ended.status in CLEARED and now_us < ended.at_us + REMEMBERED_US


def _detail(found: Finished, outcome: str, stopping: bool) -> str:
    if found.state == "OUT_OF_MEMORY":
        return OUT_OF_MEMORY
    return SIGNALLED if outcome == "stopped" and not stopping else ""
