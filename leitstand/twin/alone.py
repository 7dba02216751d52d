# SPDX-License-Identifier: Apache-2.0
"""Whether a tenant is worse off than alone on its own nodes (promise 2, docs/scheduling.md): one way to judge it, for
journals, studies and benchmarks. Called by `leitstand.twin.partition` and `leitstand.twin.studies.judging`.
"""

from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from leitstand.core.units import SECOND_US

Ints = npt.NDArray[np.int64]

SHORT_US: Final = 600 * SECOND_US  # a slowdown is bounded: shorter jobs count as this long
JOBS_LEAST: Final = 100  # of a tenant that is judged
SLOWDOWN_MOST: Final = 1.02


class Times(msgspec.Struct, frozen=True):
    """Over so many jobs: the mean time from submission to end in seconds, and the mean bounded slowdown (that time over
    the longer of duration and 10 minutes)."""

    jobs: int
    jct_s: float
    slowdown: float


def times_of(jct_us: Ints, duration_us: Ints) -> Times | None:
    """Of jobs by their times to the end and their durations (µs, equal lengths); None of none."""
    if not len(jct_us):
        return None
    slowdown = slowdowns(jct_us, duration_us)
    return Times(len(jct_us), float(jct_us.mean()) / SECOND_US, float(slowdown.mean()))


def slowdowns(jct_us: Ints, duration_us: Ints) -> npt.NDArray[np.float64]:
    """The bounded slowdown of each job."""
    found: npt.NDArray[np.float64] = jct_us / np.maximum(duration_us, SHORT_US)
    return found


def is_judged(shared: Times) -> bool:
    """Whether there are jobs enough for a judgement; with fewer they are only shown."""
    return shared.jobs >= JOBS_LEAST


def pays(shared: Times, alone: Times, recall_us: int) -> bool:
    """Whether the same jobs are not worse off shared: a mean time to the end of at most that alone and R, and a mean
    bounded slowdown of at most 1.02 times that alone."""
    in_time = shared.jct_s <= alone.jct_s + recall_us / SECOND_US
    return in_time and shared.slowdown <= SLOWDOWN_MOST * alone.slowdown
