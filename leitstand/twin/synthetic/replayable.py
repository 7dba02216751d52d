# SPDX-License-Identifier: Apache-2.0
"""A generated workload as the trace and the cluster of a replay, without files. Called by studies and tests."""

import numpy as np

from leitstand.core.units import SECOND_US
from leitstand.twin.cluster import Cluster
from leitstand.twin.synthetic.columns import KINDS
from leitstand.twin.synthetic.generate import Workload
from leitstand.twin.traces import Trace


def trace_of(workload: Workload) -> Trace:
    """The jobs as `read_trace` would give them for the file, but for the order of the names of tenants and users."""
    jobs = workload.jobs
    priorities = np.array([workload.priorities[kind] for kind in KINDS])
    return Trace(
        name=f"synthetic-{workload.model}-{workload.demand.seed}",
        job_ids=[f"j{number}" for number in range(1, len(jobs) + 1)],
        tenants=workload.tenants,
        tenant=jobs.tenant,
        users=workload.users,
        user=jobs.user,
        submit_us=jobs.submit_s * SECOND_US,
        duration_us=jobs.duration_s * SECOND_US,
        gpus=jobs.gpus,
        priority=priorities[jobs.kind],
        limit_us=jobs.limit_s * SECOND_US,
    )


def cluster_of(workload: Workload) -> Cluster:
    """The cloud, by tenant."""
    return Cluster(
        workload.demand.node_gpus,
        dict(zip(workload.tenants, workload.nodes, strict=True)),
        dict(zip(workload.tenants, workload.tenant_class, strict=True)),
    )
