# SPDX-License-Identifier: Apache-2.0
"""Synthetic arrivals for the tenants of a fork: as much work as is asked for, with day and week. Called by `arriving`,
and by `live.cloud` for who is who.

A tenant of the model that the cloud knows by its name is that tenant; others stand for one of their class, in turn. The
week of the model begins on a Monday, as ours; its year begins with the fork.
"""

from typing import Final

import numpy as np

from leitstand.core.state import State
from leitstand.core.units import DAY_US
from leitstand.twin.forking.ground import Ground
from leitstand.twin.forking.past import Arrival
from leitstand.twin.reading.table import TraceError
from leitstand.twin.replay import requests
from leitstand.twin.synthetic.demand import GPUS_MAX, Demand, DemandError
from leitstand.twin.synthetic.generate import Workload, generate
from leitstand.twin.synthetic.replayable import trace_of

THURSDAY: Final = 3  # 1 January 1970, counted from Monday


def invented(ground: Ground, state: State, seed: int) -> list[Arrival]:
    """Jobs from the fork to the end; TraceError for a cloud that the model cannot fill."""
    gpus = sum(pool.amounts()[0] for pool in state.pools.values())
    if not 0 < gpus <= GPUS_MAX:
        raise TraceError(f"synthetic arrivals are for clouds of 1 to {GPUS_MAX} GPUs, this one has {gpus}")
    monday_us = ground.from_us // DAY_US * DAY_US - weekday(ground.from_us) * DAY_US
    days = -(-(ground.until_us - monday_us) // DAY_US)
    try:
        workload = generate(Demand(gpus=gpus, days=days, load=ground.load, growth=ground.growth, seed=seed))
    except DemandError as error:
        raise TraceError(f"synthetic arrivals: {error}") from error
    trace = trace_of(workload)
    names = tenants_here(workload, state)
    here = np.array([bool(name) for name in names])[trace.tenant]
    at_us = monday_us + trace.submit_us
    rows = np.flatnonzero(here & (at_us >= ground.from_us) & (at_us <= ground.until_us))
    trace.tenants[:] = names
    return [Arrival(at, asked) for at, asked in zip(at_us[rows].tolist(), requests(trace, rows), strict=True)]


def weekday(at: int) -> int:
    """Of a time (µs): 0 on a Monday."""
    return (at // DAY_US + THURSDAY) % 7


def tenants_here(workload: Workload, state: State) -> list[str]:
    """Who each tenant of the model is here; '' nobody."""
    of_class: dict[str, list[str]] = {}
    for tenant in state.tenants.values():
        if tenant.id != "operator":
            of_class.setdefault(tenant.tenant_class, []).append(tenant.id)
    names, turn = [], dict.fromkeys(of_class, 0)
    for name, kind in zip(workload.tenants, workload.tenant_class, strict=True):
        known = of_class.get(kind, [])
        if name in known or not known:
            names.append(name if known else "")
        else:
            names.append(known[turn[kind] % len(known)])
            turn[kind] += 1
    if not any(names):
        raise TraceError("synthetic arrivals: the cloud has no tenant of any class; add tenants first")
    return names
