# SPDX-License-Identifier: Apache-2.0
"""A scenario made real: what the core is told at the beginning, and the rounds of its work. Called by the writer."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from msgspec.structs import replace

from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.rules import SPAN_MAX_US, Rules, digest
from leitstand.core.state import State
from leitstand.core.units import DAY_US
from leitstand.twin.cluster import Cluster, fleet, guarantees, read_cluster
from leitstand.twin.forking.inventing import tenants_here, weekday
from leitstand.twin.live.arrivals import Round
from leitstand.twin.live.scenario import Recorded, Scenario, Sized, Synthetic, demand_of
from leitstand.twin.reading.table import TraceError
from leitstand.twin.replay import requests, rows_of
from leitstand.twin.rulefile import overlaid
from leitstand.twin.synthetic.demand import GPUS_MAX, DemandError
from leitstand.twin.synthetic.generate import Workload, generate
from leitstand.twin.synthetic.replayable import cluster_of, trace_of
from leitstand.twin.traces import Form, Ints, Trace, read_trace

WEEK_US: Final = 7 * DAY_US
PENDING_MAX: Final = 1_000_000
REQUEST_TTL_US: Final = 1_000 * DAY_US  # at a thousand times the speed of the world, a day of it
CPUS_MILLI: Final = 16_000  # for each GPU: recorded jobs ask for none, those of people may
MEMORY_MIB: Final = 192 * 1024


@dataclass(frozen=True, slots=True)
class Cloud:
    """`opening`: rules, tenants, site, nodes and guarantees; `nodes`: of these; `rounds`: of work, each `period_us`
    long, the first begins at `anchor_us`; `left_out`: jobs of the first whose tenants the cluster does not name."""

    opening: list[f.Observation]
    nodes: list[f.NodeAdded]
    rounds: Callable[[int], Round]
    period_us: int
    anchor_us: int
    left_out: int


def cloud_of(scenario: Scenario) -> Cloud:
    """The cloud; TraceError for files that cannot be used, or that do not go together."""
    work = scenario.workload
    if isinstance(work, Recorded):
        assert isinstance(scenario.cluster, str)
        cluster = read_cluster(Path(scenario.cluster))
        trace = read_trace(
            Path(work.trace), form=Form(work.format, work.time_zone or "UTC", work.tenant_from)
        )
        opening = _opening(scenario, cluster, _longest_us(trace))
        return _recorded(scenario, trace, cluster, opening)
    if isinstance(scenario.cluster, Sized):
        first = _generated(scenario.cluster, work, 0)
        cluster = cluster_of(first)
    else:
        cluster = read_cluster(Path(scenario.cluster))
        if cluster.gpus > GPUS_MAX:
            raise TraceError(
                f"{scenario.cluster}: {cluster.gpus} GPUs; synthetic work is for up to {GPUS_MAX}"
            )
        first = _generated(Sized(cluster.gpus), work, 0)
    opening = _opening(scenario, cluster, _longest_us(trace_of(first)))
    return _drawn(scenario, first, cluster, opening)


# ── the beginning ─────────────────────────────────────────────────────────────────────────────────────────────────
def _opening(scenario: Scenario, cluster: Cluster, longest_us: int) -> list[f.Observation]:
    """What the core is told first; TraceError if it would not take it."""
    rules = _rules(scenario, longest_us)
    opening: list[f.Observation] = [f.RulesSet(rules, digest(rules))]
    gpu_type = scenario.cluster.gpu_type if isinstance(scenario.cluster, Sized) else ""
    for fact in fleet(cluster, static=False):
        if isinstance(fact, f.NodeAdded):
            cpus, memory = fact.gpus * CPUS_MILLI, fact.gpus * MEMORY_MIB
            fact = replace(fact, cpus_milli=cpus, memory_mib=memory, gpu_type=gpu_type)
        opening.append(fact)
    if rules.discipline == "fair":
        opening += guarantees(cluster)
    core = Core()
    core.cycle(scenario.start_us, opening)
    refused = [answer.detail or answer.refused for answer in core.answers if answer.refused]
    if refused:
        raise TraceError(f"{scenario.name}: the cluster cannot be: {refused[0]}")
    return opening


def _rules(scenario: Scenario, longest_us: int) -> Rules:
    """The bundle: no job of the scenario meets its limits, and lives that are those of people's secrets are as long as
    can be, since they are counted in the world's time elsewhere."""
    rules = overlaid(Rules(), scenario.rules, scenario.name)
    return replace(
        rules,
        name="twin" if rules.name == Rules().name else rules.name,
        max_duration_limit_us=max(longest_us, rules.max_duration_limit_us),
        pending_jobs_max=max(PENDING_MAX, rules.pending_jobs_max),
        request_ttl_us=max(REQUEST_TTL_US, rules.request_ttl_us),
        token_ttl_max_us=SPAN_MAX_US,
        invitation_ttl_max_us=SPAN_MAX_US,
    )


def _longest_us(trace: Trace) -> int:
    limits = [] if trace.limit_us is None else [int(trace.limit_us.max())]
    return max(int(trace.duration_us.max()), *limits, 1)


# ── drawn work ────────────────────────────────────────────────────────────────────────────────────────────────────
def _generated(cluster: Sized, work: Synthetic, number: int) -> Workload:
    try:
        return generate(demand_of(cluster, work, number))
    except DemandError as error:
        raise TraceError(f"synthetic work: {error}") from error


def _drawn(scenario: Scenario, first: Workload, cluster: Cluster, opening: list[f.Observation]) -> Cloud:
    """The week of the model begins on a Monday, as ours: the first round began on the one before the start."""
    work = scenario.workload
    assert isinstance(work, Synthetic)
    sized = Sized(cluster.gpus, cluster.gpus_per_node)
    state = _begun(opening, scenario.start_us)

    def round_of(number: int) -> Round:
        workload = first if number == 0 else _generated(sized, work, number)
        trace = trace_of(workload)
        names = tenants_here(workload, state)
        rows = np.flatnonzero(np.array([bool(name) for name in names])[trace.tenant])
        trace.tenants[:] = names
        return _round(trace, rows, 0)

    day_us = scenario.start_us // DAY_US * DAY_US
    anchor_us = day_us - weekday(scenario.start_us) * DAY_US
    return Cloud(opening, _nodes(opening), round_of, work.days * DAY_US, anchor_us, 0)


def _begun(opening: list[f.Observation], at: int) -> State:
    core = Core()
    core.cycle(at, opening)
    return core.state


# ── recorded work ─────────────────────────────────────────────────────────────────────────────────────────────────
def _recorded(scenario: Scenario, trace: Trace, cluster: Cluster, opening: list[f.Observation]) -> Cloud:
    """The first day of the trace is that of the start; it comes again after whole weeks, so that the days of the week
    stay, or after whole days if it is shorter than a week."""
    rows = rows_of(trace, cluster, (trace.name, scenario.cluster))
    first_us, last_us = int(trace.submit_us[rows[0]]), int(trace.submit_us[rows[-1]])
    begin_us = first_us // DAY_US * DAY_US
    unit_us = WEEK_US if last_us - begin_us >= WEEK_US - DAY_US else DAY_US
    period_us = -(-(last_us + 1 - begin_us) // unit_us) * unit_us
    jobs = _round(trace, rows, begin_us)
    return Cloud(
        opening, _nodes(opening), lambda _: jobs, period_us, scenario.start_us, len(trace) - len(rows)
    )


def _round(trace: Trace, rows: Ints, begin_us: int) -> Round:
    """Where no limit is known, a job of the scenario gets one that it does not meet: the default is for people."""
    longest_us = _longest_us(trace)
    asked = [
        one if one.max_duration_us else replace(one, max_duration_us=longest_us)
        for one in requests(trace, rows)
    ]
    return Round((trace.submit_us[rows] - begin_us).tolist(), asked)


def _nodes(opening: list[f.Observation]) -> list[f.NodeAdded]:
    return [fact for fact in opening if isinstance(fact, f.NodeAdded)]
