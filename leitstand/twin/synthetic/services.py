# SPDX-License-Identifier: Apache-2.0
"""Serving of language models: replicas that follow the rate of requests, as leases. Called by the generator.

Each service has replicas of one size. The load of an hour is the rate of requests by day, week, season, growth and a
slow random factor. So many replicas run that they are as busy as wanted on average, with a headroom for deviations of
the load within a minute, which follow from the shape of the requests. A replica is a lease from the hour in which it is
needed to the one in which it is not, at most `longest_lease_h`.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from leitstand.twin.synthetic.columns import COMPLETED, SERVICE, Jobs
from leitstand.twin.synthetic.demand import HOUR_S, Demand
from leitstand.twin.synthetic.exact import Floats, Ints, choose, exp, log
from leitstand.twin.synthetic.parameters import Model, Requests, Services, mean_of, mean_of_square
from leitstand.twin.synthetic.population import SERVICES, Population
from leitstand.twin.synthetic.times import bursts, trend, week_of, weekly

CONTROL_S: Final = 60  # in which deviations of the load are not followed
HALVINGS: Final = 20  # of the interval in which the scale of the load is looked for
MEMBERS_MAX: Final = 20_000  # services of one class


@dataclass(frozen=True, slots=True)
class Served:
    """Leases of a class, and the requests that they serve in all."""

    jobs: Jobs
    requests: float


def serve(people: Population, demand: Demand, model: Model, gpu_s: float) -> Served:
    """Services of the class with about `gpu_s` GPU-seconds; none where that is less than one GPU."""
    wanted = model.assumed.services
    mean_gpus = gpu_s / demand.horizon_s
    count = min(round(mean_gpus / _usual_gpus(wanted)), MEMBERS_MAX)
    if count == 0 and mean_gpus >= 1:
        count = 1  # a small cloud
    largest = max(int(mean_gpus), 1)
    chance = people.chance(SERVICES)
    sizes = np.array(list(wanted.replica_gpus))
    tenant = choose(chance.uniforms(count), people.activity)
    user = people.users(tenant, chance.uniforms(count))
    gpus = np.minimum(
        sizes[choose(chance.uniforms(count), np.array(list(wanted.replica_gpus.values())))], largest
    )
    base = exp(wanted.sigma_replicas * chance.normals(count)) * wanted.median_replicas
    starts_s = np.floor(chance.uniforms(count) * HOUR_S).astype(np.int64)
    shape = bursts(chance, demand.hours, count, sigma=wanted.noise_sigma, memory_h=wanted.noise_hours)
    shape *= (weekly(demand.hours, _week(wanted)) * trend(demand, model.assumed.months))[:, None] * base
    requests = model.fitted.requests
    spread = (
        wanted.headroom
        * cost_cv(requests, wanted)
        * np.sqrt(cost_gpu_s(requests, wanted) / (gpus * CONTROL_S))
    )
    needs, scale = _scaled(shape, gpus, gpu_s / HOUR_S, _Staffing(wanted.busy, spread))
    busy_gpu_s = scale * float(np.cumsum(np.cumsum(shape, axis=0)[-1] * gpus)[-1]) * HOUR_S if count else 0.0
    leases = [
        _Lease(at, int(tenant[at]), int(user[at]), int(gpus[at]), int(starts_s[at]), needs[:, at])
        for at in range(count)
    ]
    found = [_of_service(lease, wanted.longest_lease_h, demand.horizon_s) for lease in leases]
    return Served(_leases(found, demand), busy_gpu_s / cost_gpu_s(requests, wanted))


def cost_gpu_s(requests: Requests, services: Services) -> float:
    """GPU-seconds of the mean request."""
    context, generated = requests.context_mean, requests.generated_mean
    return context / services.prefill_tokens_per_gpu_s + generated / services.decode_tokens_per_gpu_s


def cost_cv(requests: Requests, services: Services) -> float:
    """Deviation over mean of the work that arrives in a short time: of the requests' cost and of their arrivals."""
    parts = (
        (requests.context, services.prefill_tokens_per_gpu_s),
        (requests.generated, services.decode_tokens_per_gpu_s),
    )
    variance = math.fsum(
        (mean_of_square(curve) - mean_of(curve) * mean_of(curve)) / (speed * speed) for curve, speed in parts
    )
    mean = math.fsum(mean_of(curve) / speed for curve, speed in parts)
    return math.sqrt(variance / (mean * mean) + requests.arrivals_cv * requests.arrivals_cv)


def _usual_gpus(services: Services) -> float:
    """The mean GPUs of a service, were it not for the scale of the load."""
    replica = math.fsum(size * part for size, part in services.replica_gpus.items())
    sigma = services.sigma_replicas
    middle = log(np.array([services.median_replicas], dtype=np.float64)) + sigma * sigma / 2
    return replica * float(exp(middle)[0])


def _week(services: Services) -> tuple[float, ...]:
    week = week_of(services.day, services.weekend)
    mean = math.fsum(week) / len(week)
    return tuple(hour / mean for hour in week)


@dataclass(frozen=True, slots=True)
class _Staffing:
    """How busy replicas are to be; `spread`: for each service, replicas to add per square root of the load."""

    busy: float
    spread: Floats

    def replicas(self, load: Floats) -> Ints:
        """At least one of each service."""
        wanted = np.ceil(load / self.busy + self.spread * np.sqrt(load))
        return np.maximum(wanted, 1.0).astype(np.int64)


def _scaled(shape: Floats, gpus: Ints, gpu_h: float, staffing: _Staffing) -> tuple[Ints, float]:
    """Replicas by hour and service, and the scale of the load at which they have `gpu_h`, or just less."""
    low, high = 0.0, 16.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if int(np.sum(staffing.replicas(shape * middle) * gpus)) > gpu_h:
            high = middle
        else:
            low = middle
    return staffing.replicas(shape * low), low


@dataclass(frozen=True, slots=True)
class _Lease:
    service: int
    tenant: int
    user: int
    gpus: int
    starts_s: int
    needs: Ints


def _of_service(lease: _Lease, longest_h: int, horizon_s: int) -> Ints:
    """One row per lease of a service: service, tenant, user, GPUs, submit, duration."""
    needs = lease.needs
    most = int(needs.max())
    wanted = needs[None, :] >= np.arange(1, most + 1)[:, None]
    edges = np.diff(wanted.astype(np.int8), axis=1, prepend=0, append=0)
    _, start = np.nonzero(edges > 0)
    _, end = np.nonzero(edges < 0)  # of the same replicas in the same order
    pieces = -(-(end - start) // longest_h)
    which = np.repeat(np.arange(len(start)), pieces)
    number = np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    start_h = start[which] + number * longest_h
    end_h = np.minimum(start_h + longest_h, end[which])
    submit_s = start_h * HOUR_S + lease.starts_s
    duration_s = np.minimum(end_h * HOUR_S + lease.starts_s, horizon_s) - submit_s
    rows = np.empty((len(which), 6), np.int64)
    rows[:, :4] = lease.service, lease.tenant, lease.user, lease.gpus
    rows[:, 4], rows[:, 5] = submit_s, duration_s
    leases: Ints = rows[duration_s > 0]
    return leases


def _leases(found: list[Ints], demand: Demand) -> Jobs:
    rows = np.concatenate(found) if found else np.empty((0, 6), np.int64)
    service, tenant, user, gpus, submit_s, duration_s = rows.T
    count = len(rows)
    return Jobs(
        tenant, user, submit_s, duration_s, gpus, 1000 * gpus,
        duration_s, np.full(count, COMPLETED), np.full(count, SERVICE), service,
    )  # fmt: skip
