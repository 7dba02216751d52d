# SPDX-License-Identifier: Apache-2.0
"""What a run used: the engine's wall time × what the run held. Called by the cycle when a run ends."""

from msgspec import UNSET

from leitstand.core.facts import Parts, UsageMetered
from leitstand.core.jobs import Job, Run
from leitstand.core.places.fit import WHOLE_MILLI


def meter(job: Job, run: Run, ended_us: int, posted: Parts = ()) -> UsageMetered:
    """Usage of a run that started, in exact integers: only parts of GPUs are rounded, once a run, down to a GPU·µs.
    `posted`: what budgets pay for it."""
    wall_us = ended_us - run.started_us
    assert wall_us >= 0, "a run ended before it started"
    held_us, tasks = wall_us, run.tasks
    if run.sizes is not UNSET:  # equal tasks, now more, now fewer
        held_us, tasks = tasks_us(run, ended_us), run.tasks[:1]
    gpu_milli = cpus_milli = memory_mib = 0
    for task in tasks:
        count = task.bits.bit_count()
        part = job.resources.part(count)
        gpu_milli += task.slot_milli if job.resources.mig else job.resources.gpu_milli or count * WHOLE_MILLI
        cpus_milli += part[0]
        memory_mib += part[1]
    return UsageMetered(
        run.id,
        job.tenant,
        job.project,
        wall_us,
        held_us * gpu_milli // WHOLE_MILLI,
        held_us * cpus_milli,
        held_us * memory_mib,
        posted,
    )


def tasks_us(run: Run, until_us: int) -> int:
    """Tasks × µs of a run from its start until then, from when on the engine says that it had how many."""
    if run.sizes is UNSET:
        return len(run.tasks) * (until_us - run.started_us)
    steps = run.sizes.steps
    ends = [*(at_us for at_us, _ in steps[1:]), until_us]
    return sum(
        tasks * max(min(end_us, until_us) - at_us, 0)
        for (at_us, tasks), end_us in zip(steps, ends, strict=True)
    )


def kept(job: Job, run: Run, ended_us: int) -> int:
    """How much of a job's work (µs) its checkpoints keep when a run of it ends; nothing of a run without any."""
    worked = ended_us - run.started_us if run.has_started else 0
    return job.kept_us + worked - lost(job, run, ended_us)


def lost(job: Job, run: Run, ended_us: int) -> int:
    """How much of a run's work (µs) its end would lose: what it did since the last checkpoint."""
    return lost_of(ended_us - run.started_us if run.has_started else 0, job.checkpoint_every_us)


def lost_of(worked_us: int, every_us: int) -> int:
    """How much of so much work (µs) is not in a checkpoint, if one is made every so often (µs; 0: never)."""
    return worked_us % every_us if every_us else worked_us
