# SPDX-License-Identifier: Apache-2.0
"""What became of a run in Slurm, where what its script says and what Slurm says do not agree."""

import pytest

from leitstand.engines.slurm import ending
from leitstand.engines.slurm.commands import Finished


def listed(state: str) -> Finished:
    return Finished(7, state, "a.1@x-y", 1, 2, 0)


@pytest.mark.parametrize(
    ("found", "nobody"),
    [
        (listed("CANCELLED"), False),  # by somebody who may
        (listed("PREEMPTED"), False),
        (listed("COMPLETED"), True),  # says the end of another job with the same id
        (listed("FAILED"), True),
        (None, True),
    ],
)
def test_a_run_that_was_told_to_end_and_not_by_us_was_cancelled_or_mistaken_for_another(
    found: Finished | None, nobody: bool
) -> None:
    assert ending.nobody_stopped(found, stopping="") == nobody
    assert not ending.nobody_stopped(found, stopping="cancel")
