# SPDX-License-Identifier: Apache-2.0
"""When in a tick each project is looked at anew. Called by the fair plan.

A tick looks at the heads of everybody. In a pool with many projects that is spread over the tick: each project has a
time of its own in it, which follows from its id, and is looked at in the first *phase* that ends then or later.

    tick                                                      next tick
     ├────┬────┬────┬────┬────┬────┬────┬────┬────┬────┬────┬────┤        phases of 16 projects in the mean
            a  b        c               d e          f              each once between two ticks, whatever the number

What was looked at last is a fact (`ProjectsCalled`; a tick calls all until its moment), so that however many phases
there are, and whenever their number changes, nobody is left out, and a restart goes on where it was.
"""

from collections.abc import Iterable
from typing import Final
from zlib import crc32

AT_ONCE_MAX: Final = 32  # projects that a tick looks at in one phase
CALLED: Final = 16  # in a phase, in the mean, where there are more
PHASES_MAX: Final = 64
SEARCHING: Final = 4  # of so many phases one searches for moves: they find somebody seldom, and cost much
EAGER_TICKS: Final = 4  # in which moves are looked for at once for a job that waits
SELDOM_TICKS: Final = 8  # then once in so many


def length_us(projects: int, tick_us: int) -> int:
    """How long a phase is where so many projects have somebody who waits."""
    phases = 1 if projects <= AT_ONCE_MAX else min(-(-projects // CALLED), PHASES_MAX)
    return max(tick_us // phases, 1)


def last_end(now: int, projects: int, tick_us: int) -> int:
    """When the last phase ended, at `now` (µs) or before; every tick ends one."""
    ticked_us = now - now % tick_us
    return ticked_us + (now - ticked_us) // length_us(projects, tick_us) * length_us(projects, tick_us)


def next_end(now: int, projects: int, tick_us: int) -> int:
    """When the next phase ends, after `now` (µs)."""
    tick = now - now % tick_us + tick_us
    return min(last_end(now, projects, tick_us) + length_us(projects, tick_us), tick)


def called(projects: Iterable[str], span: tuple[int, int], tick_us: int) -> dict[str, None]:
    """The projects whose time lies in the span, after its begin and until its end (µs): all in one of a whole tick."""
    after_us, until_us = span
    return {id: None for id in projects if until_us - (until_us - own_us(id, tick_us)) % tick_us > after_us}


def is_eager(number: int, waited_us: int, tick_us: int) -> bool:
    """Whether moves are looked for in this tick for job `number` of its tenant, which was submitted so long ago."""
    ticks = waited_us // tick_us
    return ticks < EAGER_TICKS or (ticks + number) % SELDOM_TICKS == 0


def searches(until_us: int, projects: int, tick_us: int) -> int:
    """How many searches for moves may fail in the phase that ended then (µs): one in every fourth, in every tick in
    others, so that all projects come to it."""
    number = until_us % tick_us // length_us(projects, tick_us)
    return int((number + until_us // tick_us) % SEARCHING == 0)


def own_us(project: str, tick_us: int) -> int:
    """The time of a project in every tick."""
    return crc32(project.encode()) * tick_us >> 32
