# SPDX-License-Identifier: Apache-2.0
"""How long jobs took, by tenant and size, and lengths drawn from it. Called by `past` (learns) and `arriving` (draws).

A job that has worked for a while takes as long as one of those that took longer than that: the draw is conditional on
what was seen.
"""

from bisect import bisect_right
from typing import Final

ENOUGH: Final = 5  # lengths of the same tenant and size, else those of the tenant count, else all
KEPT_MAX: Final = 1_000_000  # the first of them


class Lengths:
    """Work in µs of jobs that ended."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, int], list[int]] = {}
        self._sorted = True
        self._count = 0

    def learn(self, tenant: str, gpus: int, work_us: int) -> None:
        """A job of this tenant with so many GPUs took so long."""
        if self._count < KEPT_MAX:
            self._count += 1
            self._sorted = False
            for group in ((tenant, gpus), (tenant, -1), ("", -1)):
                self._of.setdefault(group, []).append(work_us)

    def draw(self, tenant: str, gpus: int, longer_us: int, u: float) -> int | None:
        """A length (µs) above `longer_us`, by `u` in (0, 1); None if no job ever took longer than that."""
        if not self._sorted:
            for lengths in self._of.values():
                lengths.sort()
            self._sorted = True
        found = None
        for group in ((tenant, gpus), (tenant, -1), ("", -1)):
            lengths = self._of.get(group, [])
            first = bisect_right(lengths, longer_us)
            count = len(lengths) - first
            if count:
                found = lengths[first + int(u * count)] if found is None or count >= ENOUGH else found
            if count >= ENOUGH:
                break
        return found

    def __len__(self) -> int:
        return self._count
