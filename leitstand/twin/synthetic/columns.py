# SPDX-License-Identifier: Apache-2.0
"""Jobs as columns of whole numbers: what the parts of the generator make and the writer writes."""

from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from leitstand.twin.synthetic.exact import Ints

KINDS: Final = ("batch", "service", "notebook")
BATCH, SERVICE, NOTEBOOK = range(3)
STATES: Final = ("completed", "failed", "cancelled")
COMPLETED, FAILED, CANCELLED = range(3)


@dataclass(frozen=True, slots=True)
class Jobs:
    """Columns of equal length. `tenant` and `user` count within their class, `group` within its kind; `milli`:
    thousandths of a GPU that a job with one GPU needs, else 1,000 for each."""

    tenant: Ints
    user: Ints
    submit_s: Ints
    duration_s: Ints
    gpus: Ints
    milli: Ints
    limit_s: Ints
    state: Ints
    kind: Ints
    group: Ints

    def __len__(self) -> int:
        return len(self.submit_s)

    @property
    def gpu_s(self) -> int:
        """GPU-seconds of all, each part of a GPU as a whole one."""
        return int(np.sum(self.gpus * self.duration_s))

    def take(self, rows: Ints) -> "Jobs":
        """The jobs of `rows`, in that order."""
        return Jobs(*(getattr(self, column.name)[rows] for column in fields(self)))


COLUMNS: Final = len(fields(Jobs))


def joined(parts: list[Jobs]) -> Jobs:
    """All jobs of `parts`, one part after another."""
    return Jobs(*(np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(Jobs)))
