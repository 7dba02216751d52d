# SPDX-License-Identifier: Apache-2.0
"""What Slurm's accounting says of jobs, in whichever form: states, requeued runs, heterogeneous jobs, TRES, durations.

Called by the readers of `sacct` (text and JSON), which make `Record`s of what they find. Seen from Slurm 22.05: a job
that is requeued has one record per run, each with the time of its requeueing as submit time; the parts of a
heterogeneous job are `13+0`, `13+1`; one that never started has the start `None`, one that has not ended the end
`Unknown`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf, isnan, nan
from typing import Final

import numpy as np

from leitstand.twin.reading.table import Fault, Table, TraceError, shown

# States after which Slurm puts a job back into the queue; the run before counts for nothing in a replay.
PUT_BACK: Final = frozenset(
    ("PREEMPTED", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "NODE_FAIL", "BOOT_FAIL", "LAUNCH_FAILED", "SPECIAL_EXIT")
)  # fmt: skip
ENDED: Final = PUT_BACK | frozenset(
    ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "OUT_OF_MEMORY", "DEADLINE", "REVOKED", "RECONFIG_FAIL")
)
LIVE: Final = frozenset(
    ("RUNNING", "SUSPENDED", "COMPLETING", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT", "CONFIGURING")
)
WAITING: Final = frozenset(("PENDING", "RESV_DEL_HOLD"))

NEVER_STARTED: Final = "never started"
STILL_RUNNING: Final = "still running"
NO_GPU: Final = "without GPU"
EARLIER_RUN: Final = "earlier runs of requeued jobs"
HET_PART: Final = "further parts of heterogeneous jobs"

_GPU: Final = "gres/gpu"
_HET: Final = re.compile(r"(\d+)\+\d+")
_ELAPSED: Final = re.compile(r"(?:(?:(\d{1,6})-)?(\d{1,4}):)?(\d{1,4}):(\d{1,4})(?:\.\d+)?", re.ASCII)
UNLIMITED: Final = frozenset(("", "UNLIMITED", "Partition_Limit", "INVALID", "INFINITE", "NOT_SET"))


@dataclass(slots=True)
class Record:
    """One record of the accounting. Times in s since 1970, NaN where there is none (`limit_s`: no limit).

    `allocated`: whether it ever had resources; a job that is cancelled while it waits may have its end as start.
    `faults`: (column, value, what is wrong) of each value that could not be read.
    """

    place: int
    job: str
    tenant: str
    user: str
    state: str
    submit_s: float
    start_s: float
    end_s: float
    elapsed_s: float
    limit_s: float
    gpus: float
    allocated: bool = True
    faults: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def duration_s(self) -> float:
        """How long it ran; what Slurm counts leaves suspension out."""
        return self.end_s - self.start_s if isnan(self.elapsed_s) else self.elapsed_s


def table_of(records: Iterable[Record], noted: Table, called: Mapping[str, str]) -> Table:
    """The jobs in `records` as a Table; `noted`: an empty one with what is no record; `called`: the columns' names."""
    aside = noted.set_aside
    faults: list[Fault] = []
    jobs: list[Record] = []
    for record in _whole(_last_runs(records, aside), aside):
        why = "" if record.faults else _why_no_job(record)
        if why:
            aside[why] = aside.get(why, 0) + 1
            continue
        faults += (Fault(len(jobs), *fault) for fault in record.faults or _impossible(record))
        jobs.append(record)
    if not jobs and aside:
        counted = ", ".join(f"{count} {why}" for why, count in aside.items())
        raise TraceError(
            f"{noted.path}: none of its rows is a job that ran on a GPU and ended ({counted}); export other times"
        )
    return Table(
        noted.path,
        noted.unit,
        np.array([job.place for job in jobs], np.int64),
        {
            "job_id": [job.job or None for job in jobs],
            "tenant": [job.tenant or None for job in jobs],
            "user": [job.user or None for job in jobs],
        },
        {
            "submit_s": np.array([job.submit_s for job in jobs], np.float64),
            "duration_s": np.array([job.duration_s for job in jobs], np.float64),
            "gpus": np.array([job.gpus for job in jobs], np.float64),
            "limit_s": np.array([job.limit_s for job in jobs], np.float64),
        },
        called=dict(called),
        faults=faults,
        broken=noted.broken,
        set_aside=aside,
    )


# ── values ────────────────────────────────────────────────────────────────────────────────────────────────────────
def tres_gpus(text: str) -> float:
    """GPUs in a TRES list like `cpu=2,gres/gpu:h100=8,gres/gpu=8`: the total where it stands, else the types' sum;
    0 if it names none, NaN if it is no such list."""
    total, typed = nan, 0.0
    for item in filter(None, text.split(",")):
        name, equals, count = item.partition("=")
        if not equals:
            return nan
        if name == _GPU or name.startswith(f"{_GPU}:"):
            if not (count.isascii() and count.isdigit() and len(count) < 16):
                return nan
            if name == _GPU:
                total = float(count)
            else:
                typed += float(count)
    return typed if isnan(total) else total


def elapsed_s(text: str) -> float:
    """Seconds of `[[days-]hours:]minutes:seconds`, NaN if it is none."""
    found = _ELAPSED.fullmatch(text)
    if not found:
        return nan
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def state_of(text: str) -> str:
    """The state alone: `CANCELLED by 1000` and the cut `CANCELLED+` are CANCELLED."""
    return text.partition(" ")[0].rstrip("+").upper()


# ── records that are one job ──────────────────────────────────────────────────────────────────────────────────────
def _last_runs(records: Iterable[Record], aside: dict[str, int]) -> list[Record]:
    """Of each requeued job the last run, with the submit time of the first; else the records as they are."""
    runs_of: dict[str, list[Record]] = {}
    for record in records:
        runs_of.setdefault(record.job, []).append(record)
    kept: list[Record] = []
    for job, runs in runs_of.items():
        if job and len(runs) > 1:
            runs.sort(key=lambda run: (inf if isnan(run.submit_s) else run.submit_s, run.place))
            if all(run.state in PUT_BACK and not run.faults for run in runs[:-1]):
                runs[-1].submit_s = runs[0].submit_s
                aside[EARLIER_RUN] = aside.get(EARLIER_RUN, 0) + len(runs) - 1
                runs = runs[-1:]
        kept += runs
    return sorted(kept, key=lambda record: record.place)


def _whole(records: list[Record], aside: dict[str, int]) -> list[Record]:
    """The parts of each heterogeneous job, which start together, as one job with all their GPUs."""
    first_of: dict[str, Record] = {}
    kept = []
    for record in records:
        found = _HET.fullmatch(record.job)
        if not found or record.faults:
            kept.append(record)
            continue
        first = first_of.get(found[1])
        if first is None:
            first_of[found[1]] = record
            record.job = found[1]
            kept.append(record)
            continue
        aside[HET_PART] = aside.get(HET_PART, 0) + 1
        first.gpus += record.gpus
        first.submit_s = min(first.submit_s, record.submit_s)
        if record.duration_s > first.duration_s:
            first.start_s, first.end_s, first.elapsed_s = record.start_s, record.end_s, record.elapsed_s
        if first.state in ENDED:
            first.state = record.state
    return kept


def _why_no_job(record: Record) -> str:
    """Why there is nothing to replay; '' for a job that ran and ended."""
    if record.state in WAITING or (isnan(record.start_s) and record.state not in LIVE):
        return NEVER_STARTED
    if record.state in LIVE or isnan(record.end_s):
        return STILL_RUNNING
    if not record.allocated:
        return NEVER_STARTED
    return NO_GPU if record.gpus == 0 else ""


def _impossible(record: Record) -> Iterable[tuple[str, str, str]]:
    """What cannot be in the times of a job that ended."""
    if record.state and record.state not in ENDED:
        yield "State", shown(record.state), "is no state of Slurm's jobs; correct it"
    if record.end_s < record.start_s:
        yield "End", f"{record.end_s:.0f}", f"is before the job's start, {record.start_s:.0f} (s since 1970)"
    elif record.end_s < record.submit_s:
        yield (
            "End",
            f"{record.end_s:.0f}",
            f"is before the job's submission, {record.submit_s:.0f} (s since 1970)",
        )
    elif record.start_s < record.submit_s:
        yield (
            "Start",
            f"{record.start_s:.0f}",
            f"is before the job's submission, {record.submit_s:.0f} (s since 1970)",
        )
