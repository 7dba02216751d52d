# SPDX-License-Identifier: Apache-2.0
"""Simulation testing itself: seeds run clean, every planted bug is killed by the check that it names, every check has
killed one, a seed is the same on every machine, and a failure becomes a short story. `make simulate` plays more."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.simulate import __main__ as command
from tests.simulate.bugs import BUGS, Bug, planted
from tests.simulate.checking import NAMES
from tests.simulate.drawing import draw
from tests.simulate.plan import FAULTS
from tests.simulate.shrink import shrunk
from tests.simulate.story import story
from tests.simulate.world import play


@pytest.fixture(autouse=True)
def heard_again() -> Iterator[None]:
    """The command silences what fails on purpose; the tests after it hear again."""
    yield
    logging.disable(logging.NOTSET)


SEEDS = 120


@pytest.fixture(scope="module")
def told() -> command.Told:
    return command._shard(range(SEEDS), "")


def test_seeds_run_clean(told: command.Told) -> None:
    assert told.failed == []


def test_the_seeds_inject_every_fault_and_look_with_every_check(told: command.Told) -> None:
    assert set(FAULTS) <= set(told.faults), set(FAULTS) - set(told.faults)
    raised_where_it_happens = set(NAMES[:7])
    assert set(NAMES) - raised_where_it_happens <= set(told.looks)
    assert len(told.states) > 8 * SEEDS


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(3420, id="the writer is away while the pace holds promises back"),
        pytest.param(7523, id="the clock jumps while the pace holds promises back"),
        pytest.param(
            2979,
            id="an older promise has the GPU of the run that a guarantee could take, in a pool of one node",
        ),
        pytest.param(3345, id="the same, for a job that was stopped and waits again"),
    ],
)
def test_no_check_asks_for_more_than_is_promised(seed: int) -> None:
    assert play(draw(seed)).broken is None


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_every_planted_bug_is_killed_by_the_check_that_it_names(bug: Bug) -> None:
    assert command.killed_by(bug) is not None, f"{bug.name} survives {bug.within} seeds"


def test_every_check_has_killed_a_bug() -> None:
    assert len(BUGS) >= 20
    assert {bug.check for bug in BUGS} == set(NAMES) - {"everything_has_ended", "the_journal_is_the_state"}


def test_a_seed_is_the_same_whatever_the_hash_seed() -> None:
    code = (
        "from tests.simulate.drawing import draw\nfrom tests.simulate.world import play\n"
        "print([play(draw(seed)).digest for seed in (0, 5, 17, 30)])"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert said[0] == said[1]
    assert len(set(eval(said[0]))) == 4


def test_a_failure_is_shrunk_to_a_short_story() -> None:
    with planted(next(bug for bug in BUGS if bug.name == "usage_is_metered_until_the_stamp")):
        plan = draw(0)
        small = shrunk(plan, "usage_is_the_true_busy_time")
        out = play(small, keep=True)
    assert out.broken is not None
    assert len(small.asks) == 1
    assert len(small.nodes) == 1
    assert small.faults == []
    told = story(out)
    assert "RunPlaced" in told
    assert told.endswith(f"Then usage_is_the_true_busy_time failed: {out.broken.why}")
    assert len(told.splitlines()) < 40
