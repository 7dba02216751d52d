# SPDX-License-Identifier: Apache-2.0
"""A synthetic workload of an industrial AI cloud: the same seed, the same jobs, on every machine.

Called by the CLI (`leitstand twin generate`), by tests and studies. Each class gets its share of the demanded GPU time:
services and workspaces by their part of it, batch jobs the rest, so that the load is met.
"""

import hashlib
from dataclasses import dataclass

import msgspec
import numpy as np

from leitstand.twin.synthetic.batches import batch_jobs
from leitstand.twin.synthetic.columns import KINDS, Jobs, joined
from leitstand.twin.synthetic.demand import Demand, checked
from leitstand.twin.synthetic.exact import Ints
from leitstand.twin.synthetic.notebooks import workspaces
from leitstand.twin.synthetic.parameters import Model, shipped
from leitstand.twin.synthetic.population import Population, populations
from leitstand.twin.synthetic.services import serve


class ClassLoad(msgspec.Struct, frozen=True):
    """What one class submitted: jobs by kind, and their GPU time over that of the cloud."""

    tenants: int
    jobs: dict[str, int]
    load: float


@dataclass(frozen=True, slots=True)
class Workload:
    """Jobs by submit time, of all classes; `jobs.tenant` and `jobs.user` index `tenants` and `users`.

    `nodes`: of each tenant, its part of the cloud by its class's share and its activity. `requests`: to language
    models, in all. `priorities`: by kind.
    """

    demand: Demand
    model: str
    jobs: Jobs
    tenants: list[str]
    tenant_class: list[str]
    users: list[str]
    projects: list[str]
    nodes: list[int]
    classes: dict[str, ClassLoad]
    priorities: dict[str, int]
    requests: float

    @property
    def load(self) -> float:
        """GPU time of all jobs over that of the cloud."""
        return self.jobs.gpu_s / (self.demand.gpus * self.demand.horizon_s)

    @property
    def digest(self) -> str:
        """SHA-256 over the demand, the model's version, the names and every column: equal digests, equal jobs."""
        digest = hashlib.sha256(
            msgspec.json.encode([self.model, self.demand, self.tenants, self.users, self.nodes])
        )
        jobs = self.jobs
        for column in (jobs.tenant, jobs.user, jobs.submit_s, jobs.duration_s, jobs.gpus, jobs.milli,
                       jobs.limit_s, jobs.state, jobs.kind, jobs.group):  # fmt: skip
            digest.update(np.ascontiguousarray(column, dtype="<i8").data)
        return digest.hexdigest()


def generate(demand: Demand, model: Model | None = None) -> Workload:
    """The workload of `demand`; DemandError names a demand that makes no sense."""
    checked(demand)
    model = model or shipped()
    capacity_gpu_s = demand.gpus * demand.horizon_s
    people = populations(demand, model)
    parts: list[Jobs] = []
    classes: dict[str, ClassLoad] = {}
    requests = 0.0
    tenants = users = groups = 0
    for each in people:
        wanted_gpu_s = each.each.gpu_share * demand.load * capacity_gpu_s
        served, jobs = _of_class(each, demand, model, wanted_gpu_s)
        requests += served
        classes[each.name] = ClassLoad(
            each.tenants,
            {kind: int(np.count_nonzero(jobs.kind == number)) for number, kind in enumerate(KINDS)},
            jobs.gpu_s / capacity_gpu_s,
        )
        jobs.tenant[:] += tenants
        jobs.user[:] += users
        jobs.group[:] += groups
        tenants += each.tenants
        users += each.tenants * len(each.user_weights)
        groups = max(groups, int(jobs.group.max(initial=-1)) + 1)
        parts.append(jobs)
    jobs = joined(parts)
    return Workload(
        demand,
        model.version,
        jobs.take(np.argsort(jobs.submit_s, kind="stable")),
        [f"{each.name}-{tenant:03d}" for each in people for tenant in range(1, each.tenants + 1)],
        [each.name for each in people for _ in range(each.tenants)],
        [user for each in people for user in _user_names(each)],
        [project for each in people for project in _project_names(each)],
        _nodes(people, demand.nodes),
        classes,
        model.assumed.priorities,
        requests,
    )


def _of_class(people: Population, demand: Demand, model: Model, gpu_s: float) -> tuple[float, Jobs]:
    """Requests served, and the jobs of one class; `group` counts through the kinds."""
    kinds = people.each.kinds
    served = serve(people, demand, model, gpu_s * kinds.service)
    sessions = workspaces(people, demand, model, gpu_s * kinds.notebook)
    batch = batch_jobs(people, demand, model, max(gpu_s - served.jobs.gpu_s - sessions.gpu_s, 0.0))
    _, batch.group[:] = np.unique(batch.group, return_inverse=True)
    groups = int(batch.group.max(initial=-1)) + 1
    served.jobs.group[:] += groups
    sessions.group[:] += max(groups, int(served.jobs.group.max(initial=-1)) + 1)
    return served.requests, joined([batch, served.jobs, sessions])


def _user_names(people: Population) -> list[str]:
    of_each = len(people.user_weights)
    return [
        f"{people.name}-{tenant:03d}-u{user:02d}"
        for tenant in range(1, people.tenants + 1)
        for user in range(1, of_each + 1)
    ]


def _project_names(people: Population) -> list[str]:
    """The project of each user, in the order of users."""
    of_each = len(people.user_weights)
    return [
        f"{people.name}-{at // of_each + 1:03d}-p{project + 1}"
        for at, project in enumerate(people.project.tolist())
    ]


def _nodes(people: list[Population], nodes: int) -> list[int]:
    """Whole nodes by weight, the largest remainders first; all of `nodes`."""
    weights = np.concatenate([each.each.gpu_share * each.activity for each in people])
    exact = weights / np.cumsum(weights)[-1] * nodes
    whole: Ints = np.floor(exact).astype(np.int64)
    left = nodes - int(np.sum(whole))
    whole[np.argsort(whole - exact, kind="stable")[:left]] += 1
    return [int(count) for count in whole]
