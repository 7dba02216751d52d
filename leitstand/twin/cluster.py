# SPDX-License-Identifier: Apache-2.0
"""A recorded cluster (`*.cluster.json`) and the facts that put it in service. Called by the replay and the CLI.

The file is `{"gpus_per_node": G, "vc_nodes": {tenant: nodes, …}}`, perhaps with `"classes": {tenant: class, …}` for
tenants that are not of industry; other keys are comments. Pooled, all nodes form one
fleet; static, each tenant has only its own. A generator's configuration (`.yaml`) is a cluster, too: that of its
quotas.
"""

import json
from dataclasses import dataclass, field
from math import gcd
from pathlib import Path
from typing import Any, Final

from leitstand.core.acts import Entitlement, EntitlementsChanged
from leitstand.core.facts import NodeAdded, Observation, SiteAdded, TenantAdded
from leitstand.core.rules import TENANT_CLASSES
from leitstand.twin.reading.generator import read_generator
from leitstand.twin.reading.table import TraceError

SITE: Final = "twin"
ENGINE: Final = "simulated"
POOL: Final = "shared"  # of all nodes
CLASS: Final = "industry"  # of tenants of which a cluster file does not say it
ENTITLED_AT_ONCE: Final = 200  # tenants in one fact, so that it stays under 64 KiB
FILE_BYTES_MAX: Final = 16 * 1024 * 1024
GPUS_PER_NODE_MAX: Final = 1024
NODES_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class Cluster:
    """Nodes of equal size by the tenant that owns them, in the file's order; `classes` of some of these tenants."""

    gpus_per_node: int
    nodes_of: dict[str, int]
    classes: dict[str, str] = field(default_factory=dict)

    def class_of(self, tenant: str) -> str:
        """The tenant's class."""
        return self.classes.get(tenant, CLASS)

    @property
    def gpus(self) -> int:
        """GPUs of the whole cluster."""
        return self.gpus_per_node * sum(self.nodes_of.values())


def read_cluster(path: Path) -> Cluster:
    """The cluster in `path`; TraceError names what is wrong."""
    if path.suffix.lower() in (".yaml", ".yml"):
        return _of_quotas(path)
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise TraceError(f"{path}: is over {FILE_BYTES_MAX} bytes long; this is no cluster file")
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror or error}") from error
    except TraceError:
        raise
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{path}: is no cluster file: {error}") from error
    return _checked(path, content)


def fleet(cluster: Cluster, *, static: bool) -> list[Observation]:
    """Tenants, site and nodes as observations. Nodes have GPUs only: recorded jobs name neither CPUs nor memory."""
    site = SiteAdded(SITE, ENGINE, logical=True)
    tenants = [TenantAdded(tenant, cluster.class_of(tenant)) for tenant in cluster.nodes_of]
    owners = [tenant for tenant, nodes in cluster.nodes_of.items() for _ in range(nodes)]
    nodes = [
        NodeAdded(f"node-{number:05d}", SITE, cluster.gpus_per_node, 0, 0, pool=owner if static else POOL)
        for number, owner in enumerate(owners, 1)
    ]
    return [*tenants, site, *nodes]


def guarantees(cluster: Cluster) -> list[Observation]:
    """In one fleet each tenant is guaranteed as much as its own nodes are, and weighs as much when the rest is shared:
    what it gave into the pool. So does each class, where there are several."""
    owned: dict[str, int] = {}
    for tenant, nodes in cluster.nodes_of.items():
        owned[cluster.class_of(tenant)] = owned.get(cluster.class_of(tenant), 0) + nodes
    entitled = [
        Entitlement(name, -1, max(nodes, 1) if len(owned) > 1 else 1) for name, nodes in owned.items()
    ]
    entitled += [
        Entitlement(f"{cluster.class_of(tenant)}/{tenant}", nodes * cluster.gpus_per_node * 1000, nodes)
        for tenant, nodes in cluster.nodes_of.items()
        if nodes
    ]
    return [
        EntitlementsChanged(POOL, tuple(entitled[first : first + ENTITLED_AT_ONCE]))
        for first in range(0, len(entitled), ENTITLED_AT_ONCE)
    ]


def _of_quotas(path: Path) -> Cluster:
    """Each cohort with the sum of its queues' quotas, in nodes as large as the greatest number that divides all."""
    quotas = {
        cohort.name: sum(queue.nominal_milli for queue in cohort.queues) for cohort in read_generator(path)
    }
    for cohort, milli in quotas.items():
        if milli % 1000:
            raise TraceError(
                f"{path}: the quotas of cohort {cohort!r} add up to {milli / 1000:g} CPUs, which is no whole number; "
                "write a cluster file (JSON) for this configuration"
            )
    common = gcd(*(milli // 1000 for milli in quotas.values()))
    size = next((size for size in range(min(common, GPUS_PER_NODE_MAX), 0, -1) if common % size == 0), 1)
    return _checked(
        path, {"gpus_per_node": size, "vc_nodes": {c: m // 1000 // size for c, m in quotas.items()}}
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object in which no name stands twice."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{doubled!r} stands twice; keep one")
    return content


def _checked(path: Path, content: Any) -> Cluster:
    form = 'it must be {"gpus_per_node": 8, "vc_nodes": {"tenant": 4, ...}}'
    if not isinstance(content, dict):
        raise TraceError(f"{path}: holds {type(content).__name__}, no object; {form}")
    for key in ("gpus_per_node", "vc_nodes"):
        if key not in content:
            raise TraceError(f"{path}: {key} is missing; {form}")
    gpus, nodes_of = content["gpus_per_node"], content["vc_nodes"]
    if not _is_count(gpus) or not 1 <= gpus <= GPUS_PER_NODE_MAX:
        raise TraceError(f"{path}: gpus_per_node is {gpus!r}, no whole number in 1..{GPUS_PER_NODE_MAX}")
    if not isinstance(nodes_of, dict):
        raise TraceError(f"{path}: vc_nodes is {type(nodes_of).__name__}, no object; {form}")
    for tenant, nodes in nodes_of.items():
        if not tenant:
            raise TraceError(f"{path}: a tenant in vc_nodes has an empty name; name it")
        if not _is_count(nodes) or not 0 <= nodes <= NODES_MAX:
            raise TraceError(
                f"{path}: vc_nodes of tenant {tenant!r} is {nodes!r}, no whole number in 0..{NODES_MAX}"
            )
    total = sum(nodes_of.values())
    if not 0 < total <= NODES_MAX:
        raise TraceError(f"{path}: vc_nodes adds up to {total} nodes, not in 1..{NODES_MAX}")
    return Cluster(gpus, dict(nodes_of), _classes(path, content.get("classes", {}), nodes_of))


def _classes(path: Path, classes: Any, nodes_of: dict[str, int]) -> dict[str, str]:
    known = ", ".join(TENANT_CLASSES)
    if not isinstance(classes, dict):
        raise TraceError(f"{path}: classes is {type(classes).__name__}, no object of tenants and classes")
    for tenant, name in classes.items():
        if name not in TENANT_CLASSES:
            raise TraceError(f"{path}: class {name!r} of tenant {tenant!r} is unknown; known: {known}")
        if tenant not in nodes_of:
            raise TraceError(
                f"{path}: classes names tenant {tenant!r}, of which vc_nodes says nothing; add it there"
            )
    return dict(classes)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
