# SPDX-License-Identifier: Apache-2.0
"""What this machine offers as a site: real GPUs through NVML where there are any, otherwise logical ones.

Called by the writer, which puts `LocalSite.facts()` before the core, and by the engine, which needs the devices.
A logical GPU is a number that is counted and nothing more; `logical`, `gpu_type` and `LEITSTAND_GPUS_LOGICAL` say so.
MIG instances that the driver reports are offered as they are; nobody here makes any.
"""

import logging
import os
from pathlib import Path
from typing import Any, Final

import msgspec

from leitstand.core.facts import NodeAdded, SiteAdded, Task
from leitstand.core.places.mig import Mig, Partition, model_of, placement
from leitstand.core.places.slots import geometry_of

SITE: Final = "local"
ENGINE: Final = "local"
LOGICAL: Final = "logical"

_log = logging.getLogger(__name__)


class Instance(msgspec.Struct, frozen=True):
    """A MIG instance: profile and first slice (`3g.40gb@4`), and its UUID."""

    placement: str
    uuid: str


class Gpu(msgspec.Struct, frozen=True):
    """A real GPU: NVML's index on this machine, UUID and product name; `instances`: None if it is not in MIG mode."""

    index: int
    uuid: str
    name: str
    instances: tuple[Instance, ...] | None = None


class LocalNode(msgspec.Struct, frozen=True):
    """`devices[i]` is what `CUDA_VISIBLE_DEVICES` calls GPU i of this node; `instances`: by GPU of the node, of those
    in MIG mode."""

    node: str
    devices: tuple[str, ...]
    cpus_milli: int
    memory_mib: int
    instances: dict[int, tuple[Instance, ...]] = {}

    @property
    def mig(self) -> Mig | None:
        """As the core is told."""
        fixed = [
            Partition(gpu, tuple(one.placement for one in found)) for gpu, found in self.instances.items()
        ]
        return Mig(fixed=tuple(fixed)) if fixed else None


class LocalSite(msgspec.Struct, frozen=True):
    """This machine, cut into nodes. `colocate`: they are one machine, so tasks of a gang may share a node."""

    logical: bool
    gpu_type: str
    nodes: tuple[LocalNode, ...]

    def facts(self) -> list[SiteAdded | NodeAdded]:
        """The site and its nodes, as the core is told."""
        site = SiteAdded(site=SITE, engine=ENGINE, logical=self.logical, colocate=self.logical)
        return [site, *(self._fact(node) for node in self.nodes)]

    def devices(self, node: str) -> tuple[str, ...]:
        """Devices of a node; empty for a node that is not of this site."""
        return next((one.devices for one in self.nodes if one.node == node), ())

    def visible(self, task: Task) -> tuple[str, ...]:
        """What `CUDA_VISIBLE_DEVICES` names for a task; KeyError or IndexError for what is not there."""
        if not task.slot:
            devices = self.devices(task.node)
            return tuple(devices[gpu] for gpu in task.gpus)
        model = model_of(self.gpu_type)
        of_node = next((one.instances for one in self.nodes if one.node == task.node), {})
        for one in of_node.get(task.gpus[0], ()) if model is not None else ():
            if (task.slot,) in geometry_of(model, (one.placement,)).placements.values():
                return (one.uuid,)
        raise KeyError(task.mask)

    def _fact(self, node: LocalNode) -> NodeAdded:
        return NodeAdded(
            node=node.node,
            site=SITE,
            gpus=len(node.devices),
            cpus_milli=node.cpus_milli,
            memory_mib=node.memory_mib,
            gpu_type=self.gpu_type,
            mig=node.mig,
        )


def discover(gpus: int | None, nodes: int) -> LocalSite:
    """This machine as a site of `nodes` equal nodes.

    `gpus`: that many logical GPUs; None: the real ones, or without any as many logical ones as the machine has cores
    (rounded down to a multiple of `nodes`). Raises ValueError where they cannot be shared evenly.
    """
    if nodes < 1:
        raise ValueError(f"nodes: {nodes} is less than 1, the machine itself")
    if gpus is not None and gpus < 0:
        raise ValueError(f"gpus: {gpus} is less than 0; 0 means a machine without GPUs")
    cpus_milli, memory_mib = cpus_milli_here(), memory_mib_here()
    if cpus_milli // nodes < 1 or memory_mib // nodes < 1:
        raise ValueError(f"nodes: {nodes} nodes leave no CPU or memory for each of them; take fewer")
    real = real_gpus() if gpus is None else []
    if real:
        real = _known(real)
        devices = [str(gpu.index) for gpu in real]
    else:
        cores = max(1, cpus_milli // 1000)
        devices = [str(index) for index in range(max(nodes, cores - cores % nodes) if gpus is None else gpus)]
    share, rest = divmod(len(devices), nodes)
    if rest:
        raise ValueError(
            f"gpus: {len(devices)} GPUs cannot be shared evenly by {nodes} nodes; "
            f"take a multiple of {nodes}, or a number of nodes that divides {len(devices)}"
        )
    parts = [devices[rank * share : (rank + 1) * share] for rank in range(nodes)]
    if not real:  # each logical node counts its own from 0
        parts = [devices[:share]] * nodes
    found = {str(gpu.index): gpu.instances for gpu in real if gpu.instances is not None}
    return LocalSite(
        logical=not real,
        gpu_type=real[0].name if real else LOGICAL,
        nodes=tuple(
            LocalNode(
                f"node-{rank}",
                tuple(part),
                cpus_milli // nodes,
                memory_mib // nodes,
                {gpu: found[device] for gpu, device in enumerate(part) if device in found},
            )
            for rank, part in enumerate(parts, start=1)
        ),
    )


def _known(real: list[Gpu]) -> list[Gpu]:
    """GPUs in MIG mode with those of their instances that the table knows; without any if it knows nothing of the
    model: such a GPU cannot be used whole either."""
    model = model_of(real[0].name)
    found = []
    for gpu in real:
        if gpu.instances is None:
            found.append(gpu)
            continue
        known = [one for one in gpu.instances if model is not None and placement(one.placement, model)]
        for one in gpu.instances:
            if one not in known:
                _log.warning(
                    "GPU %d: instance %s is not offered: no such profile is known", gpu.index, one.placement
                )
        if model is None:
            _log.warning(
                "GPU %d (%s) is in MIG mode and not offered: its profiles are not known", gpu.index, gpu.name
            )
        else:
            found.append(msgspec.structs.replace(gpu, instances=tuple(known)))
    return found


def real_gpus() -> list[Gpu]:
    """GPUs that NVML sees, by index, restricted to `CUDA_VISIBLE_DEVICES` where our own environment sets it; [] where
    there is no NVML. MIG instances that are there are told."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        _log.debug("no NVML: %s", error)
        return []
    try:
        found = [_gpu(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        _log.warning("NVML answers with an error, its GPUs are left out: %s", error)
        return []
    finally:
        pynvml.nvmlShutdown()
    return _visible(found, os.environ.get("CUDA_VISIBLE_DEVICES"))


def _gpu(nvml: "object", index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)  # type: ignore[attr-defined]
    uuid, name = nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle)  # type: ignore[attr-defined]
    return Gpu(index, _text(uuid), _text(name), _instances(nvml, handle))


def _instances(nvml: Any, handle: Any) -> tuple[Instance, ...] | None:
    """The MIG instances of a GPU, by their first slices; None if it is not in MIG mode, or cannot be."""
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(handle)
    except (AttributeError, nvml.NVMLError):  # an old binding; a GPU without MIG
        return None
    if not current:
        return None
    found: dict[int, Instance] = {}
    for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            device = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
        except nvml.NVMLError:  # no instance with this number
            continue
        instance = nvml.nvmlDeviceGetGpuInstanceById(handle, nvml.nvmlDeviceGetGpuInstanceId(device))
        start = nvml.nvmlGpuInstanceGetInfo(instance).placement.start
        name = _text(nvml.nvmlDeviceGetName(device)).rpartition(" ")[2]
        found[start] = Instance(f"{name}@{start}", _text(nvml.nvmlDeviceGetUUID(device)))
    return tuple(found[start] for start in sorted(found))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _visible(found: list[Gpu], wanted: str | None) -> list[Gpu]:
    if wanted is None:
        return found
    names = {name.strip() for name in wanted.split(",")}
    return [gpu for gpu in found if names & {str(gpu.index), gpu.uuid}]


def cpus_milli_here() -> int:
    """Thousandths of cores that this process may use: its affinity, less where a cgroup limits it."""
    cores = len(os.sched_getaffinity(0)) * 1000
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        return max(1, min(cores, int(quota) * 1000 // int(period)))
    return cores


def memory_mib_here() -> int:
    """MiB of memory of this machine, less where a cgroup limits it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    return (min(total, int(limit)) if limit.isdigit() else total) // 2**20


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
