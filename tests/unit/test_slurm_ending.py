# SPDX-License-Identifier: Apache-2.0
"""What became of a run in Slurm, where what its script says and what Slurm says do not agree."""

import pytest

from leitstand.engines.slurm import ending
from leitstand.engines.slurm.commands import Finished
from leitstand.engines.slurm.folder import Ended

ENDED_US = 1_000_000
SOON, LATE = ENDED_US + 1, ENDED_US + ending.REMEMBERED_US
TOLD, KILLED, FAILED = (
    Ended("stopped", 143, ENDED_US),
    Ended("exited", 137, ENDED_US),
    Ended("exited", 1, ENDED_US),
)


def listed(state: str) -> Finished:
    return Finished(7, state, "a.1@x-y", 1, 2, 0)


@pytest.mark.parametrize(
    ("ended", "found", "outcome"),
    [
        (KILLED, listed("CANCELLED"), "stopped"),
        (FAILED, listed("CANCELLED"), "exited"),
        (KILLED, listed("FAILED"), "exited"),
        (KILLED, None, "exited"),
    ],
)
def test_a_task_that_died_of_a_cancellation_before_its_script_was_stopped(
    ended: Ended, found: Finished | None, outcome: str
) -> None:
    assert ending.cancelled(ended, found).outcome == outcome


@pytest.mark.parametrize(
    ("ended", "found", "now_us", "mistake"),
    [
        (TOLD, listed("CANCELLED"), SOON, False),  # by somebody who may
        (TOLD, listed("PREEMPTED"), SOON, False),
        (TOLD, listed("COMPLETED"), SOON, True),  # says the end of another job with the same id
        (TOLD, listed("FAILED"), SOON, True),
        (TOLD, None, SOON, True),
        (KILLED, None, SOON, True),  # a controller that had lost it
        (KILLED, None, LATE, False),  # one that had forgotten it
        (KILLED, listed("FAILED"), SOON, False),  # by whoever kills there: its own doing
        (FAILED, None, SOON, False),
    ],
)
def test_a_run_that_ended_and_not_by_us_ended_by_itself_was_cancelled_or_mistaken_for_another(
    ended: Ended, found: Finished | None, now_us: int, mistake: bool
) -> None:
    assert ending.by_mistake(ended, found, stopping=False, now_us=now_us) == mistake
    assert not ending.by_mistake(ended, found, stopping=True, now_us=now_us)
