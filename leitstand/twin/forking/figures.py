# SPDX-License-Identifier: Apache-2.0
"""The courses in numbers: of each scenario, by class and by tenant, and against what is planned. Called by the CLI and
the report.

A number over several seeds is the mean, with the least and the greatest; a difference is taken seed by seed, so that
luck that both have drops out.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from leitstand.core.units import HOUR_US, SECOND_US
from leitstand.twin.forking.changes import WhatIf
from leitstand.twin.forking.course import Played
from leitstand.twin.forking.ground import Ground
from leitstand.twin.forking.tally import MILLI_HOUR, Hour, Row
from leitstand.twin.forking.telling import Told
from leitstand.twin.forking.whatif import AS_PLANNED

ALL: Final = ""  # the group of everybody


class Range(msgspec.Struct, frozen=True):
    """A mean over seeds, and its extremes."""

    mean: float
    low: float
    high: float


Numbers = dict[str, float]  # metric → value; one that makes no sense of a group is not there
Ranges = dict[str, Range]


class Compared(msgspec.Struct, frozen=True):
    """One scenario. By group ('' all, a class, `class/tenant`): its numbers, and how much more than planned. `told`:
    what became of its changes (with the first seed)."""

    name: str
    seeds: tuple[int, ...]
    told: tuple[Told, ...]
    failed_nodes: float
    refused: float
    figures: dict[str, Ranges]
    more: dict[str, Ranges]


class Answer(msgspec.Struct, frozen=True):
    """All of it. Times in seconds since 1970."""

    question: str
    source: str
    from_s: float
    until_s: float
    comes: str
    step_s: float  # how often the cloud was looked at, 0: at every event
    scenarios: tuple[Compared, ...]
    classes: tuple[str, ...]
    tenants: tuple[str, ...]
    priced: bool
    unfinished: int  # courses that were asked for, but not played to their end


def answer(played: Sequence[Played], asked: int, ground: Ground, what_if: WhatIf) -> Answer:
    """What the courses say; `asked`: how many there should be."""
    numbers = {(one.scenario, one.seed): _numbers(one, ground.until_us) for one in played}
    groups = sorted({group for one in numbers.values() for group in one})
    scenarios = [_compared(name, played, numbers) for name in dict.fromkeys(one.scenario for one in played)]
    return Answer(
        question=what_if.name,
        source=ground.source,
        from_s=ground.from_us / SECOND_US,
        until_s=ground.until_us / SECOND_US,
        comes=ground.comes(),
        step_s=ground.step_us / SECOND_US,
        scenarios=tuple(scenarios),
        classes=tuple(group for group in groups if group and "/" not in group),
        tenants=tuple(group for group in groups if "/" in group),
        priced=any(one[ALL].get("eur") for one in numbers.values()),
        unfinished=asked - len(played),
    )


def _compared(
    name: str, played: Sequence[Played], numbers: dict[tuple[str, int], dict[str, Numbers]]
) -> Compared:
    mine = [one for one in played if one.scenario == name]
    seeds = [one.seed for one in mine]
    both = [seed for seed in seeds if (AS_PLANNED, seed) in numbers]
    more = [_minus(numbers[name, seed], numbers[AS_PLANNED, seed]) for seed in both]
    return Compared(
        name,
        tuple(seeds),
        tuple(mine[0].told),
        sum(one.failed for one in mine) / len(mine),
        sum(one.refused for one in mine) / len(mine),
        _ranges([numbers[name, seed] for seed in seeds]),
        _ranges(more) if name != AS_PLANNED else {},
    )


def _minus(one: dict[str, Numbers], other: dict[str, Numbers]) -> dict[str, Numbers]:
    return {
        group: {name: value - other[group][name] for name, value in found.items() if name in other[group]}
        for group, found in one.items()
        if group in other
    }


def _ranges(seeds: Sequence[dict[str, Numbers]]) -> dict[str, Ranges]:
    found: dict[str, dict[str, list[float]]] = {}
    for one in seeds:
        for group, values in one.items():
            for name, value in values.items():
                found.setdefault(group, {}).setdefault(name, []).append(value)
    return {
        group: {name: Range(sum(all) / len(all), min(all), max(all)) for name, all in values.items()}
        for group, values in sorted(found.items())
    }


# ── one course ────────────────────────────────────────────────────────────────────────────────────────────────────
def _numbers(played: Played, until_us: int) -> dict[str, Numbers]:
    groups: dict[str, list[Row]] = {ALL: []}
    for row in played.rows:
        for group in (ALL, row.tenant_class, f"{row.tenant_class}/{row.tenant}"):
            groups.setdefault(group, []).append(row)
    found = {group: _of_jobs(rows, until_us) for group, rows in groups.items()}
    _of_hours(played.hours, until_us, found)
    return found


def _of_jobs(rows: Iterable[Row], until_us: int) -> Numbers:
    """Jobs that waited at the fork or came later; GPU time of all. A job that has not started by the end has waited
    until then."""
    all_rows = list(rows)
    came = [row for row in all_rows if row.state != "rejected" and not row.ran]
    waits = sorted((row.placed_us or row.ended_us or until_us) - row.submitted_us for row in came)
    numbers = {
        "jobs": float(len(came)),
        "started": float(sum(row.placed_us > 0 for row in came)),
        "ended": float(sum(row.ended_us > 0 for row in came)),
        "gpu_hours": sum(row.used for row in all_rows) / MILLI_HOUR,
        "useful_gpu_hours": sum(row.used - row.lost for row in all_rows) / MILLI_HOUR,
        "lost_gpu_hours": sum(row.lost for row in all_rows) / MILLI_HOUR,
        "stops": float(sum(row.stops for row in all_rows)),
        "failures": float(sum(row.failures for row in all_rows)),
    }
    if waits:
        numbers["wait_s"] = sum(waits) / len(waits) / SECOND_US
        numbers["wait_p50_s"] = waits[-(-len(waits) * 50 // 100) - 1] / SECOND_US
        numbers["wait_p90_s"] = waits[-(-len(waits) * 90 // 100) - 1] / SECOND_US
    return numbers


def _of_hours(hours: Sequence[Hour], until_us: int, found: dict[str, Numbers]) -> None:
    """What capacity, guarantees and prices add, of everybody and of classes."""
    ends = [*(hour.at_us for hour in hours[1:]), until_us]
    long = [(end - hour.at_us) / HOUR_US for hour, end in zip(hours, ends, strict=True)]
    capacity = sum(hour.capacity * part for hour, part in zip(hours, long, strict=True))
    used = sum(sum(hour.used.values()) * part for hour, part in zip(hours, long, strict=True))
    everybody = found[ALL]
    everybody["capacity_gpu_hours"] = capacity
    everybody["utilisation"] = used / capacity if capacity else 0.0
    for name in [ALL, *(group for group in found if group and "/" not in group)]:
        owed = within = eur = 0.0
        for hour, part in zip(hours, long, strict=True):
            owed += _of(hour.guaranteed, name) * part
            within += _of(hour.within, name) * part
            eur += _of(hour.eur, name)
        if owed:
            found[name]["guaranteed_gpu_hours"] = owed
            found[name]["guarantee_used"] = within / owed
        found[name]["eur"] = eur


def _of(by_class: dict[str, float], name: str) -> float:
    return by_class.get(name, 0.0) if name else sum(by_class.values())
