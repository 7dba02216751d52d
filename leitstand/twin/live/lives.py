# SPDX-License-Identifier: Apache-2.0
"""How long runs last in a watched twin. Called by the writer.

Jobs of the scenario last as long as the scenario says. Nothing is executed of what people submit: it lasts as long as
the job says it expects (`expected_duration`), else a drawn part of its longest duration, the same at every restart.
"""

from typing import Final
from zlib import crc32

from leitstand.core.facts import RunEnded
from leitstand.core.jobs import Job
from leitstand.twin.synthetic.exact import Chance
from leitstand.twin.truth import Attempt

LASTING: Final = 9  # the purpose of this chance
LEAST, MOST = 0.05, 0.95  # parts of the longest duration
EXITED: Final = RunEnded("", 0, "exited", 0)


class Lives:
    """What a `RetoldEngine` is told of jobs."""

    def attempt(self, job: Job) -> Attempt | None:
        """None: it takes what it says it expects."""
        if not job.spec or job.expected_us:
            return None
        u = float(Chance(0, LASTING, crc32(job.id.encode())).uniforms(1)[0])
        return Attempt(int(job.max_duration_us * (LEAST + (MOST - LEAST) * u)), EXITED)

    def at_least_us(self, job: Job) -> int:
        return 0
