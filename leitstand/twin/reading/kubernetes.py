# SPDX-License-Identifier: Apache-2.0
"""Jobs as `kubectl get jobs --all-namespaces --output json` (or yaml) lists them: kind Job of batch/v1.

Called by `leitstand.twin.reading.formats`. A Job names neither who waited nor for how long: it is submitted when it was
created, and runs from `status.startTime`, which Kubernetes (and a queue that resumes suspended Jobs) sets when it may
make pods, to `status.completionTime` or, if it failed, to when its condition says so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any, Final

import numpy as np

from leitstand.twin.reading.dates import NO_MOMENT, zoned_s
from leitstand.twin.reading.slurm import NEVER_STARTED, NO_GPU, STILL_RUNNING
from leitstand.twin.reading.table import Broken, Fault, Form, Table, TraceError, check_rows, empty, shown

COMMAND: Final = "kubectl get jobs --all-namespaces --output json"
GPU_RESOURCES: Final = (
    "nvidia.com/gpu",
    "amd.com/gpu",
    "gpu.intel.com/i915",
    "gpu.intel.com/xe",
    "habana.ai/gaudi",
)
OTHER_KIND: Final = "of another kind than Job"
COUNT_MAX: Final = 10**9
_OVER: Final = ("Complete", "Failed")
_CALLED: Final = {
    "job_id": "metadata.name",
    "tenant": "metadata.namespace",
    "submit_s": "metadata.creationTimestamp",
    "duration_s": "status.completionTime",
    "gpus": "nvidia.com/gpu",
    "limit_s": "spec.activeDeadlineSeconds",
}


@dataclass(slots=True)
class _Job:
    """One Job; times in s since 1970, NaN where there is none."""

    place: int
    name: str
    tenant: str
    submit_s: float = nan
    start_s: float = nan
    end_s: float = nan
    limit_s: float = nan
    gpus: int = 0
    faults: list[tuple[str, str, str]] = field(default_factory=list)


def read_kubernetes(path: Path, content: Any, form: Form) -> Table:
    """The Jobs in `content`, the decoded file: a list, or one Job. Places are positions in `items`, from 1.

    Tenant: the namespace, or the label that `form` names. GPUs: those of a pod's containers, times the pods that run
    at once (`parallelism`, at most `completions`). `activeDeadlineSeconds` is the time limit.
    """
    items = _items(path, content)
    check_rows(path, len(items))
    table = empty(path, "item")
    jobs: list[_Job] = []
    faults: list[Fault] = []
    for job in _jobs(items, form.tenant_from, table):
        why = "" if job.faults else _why_no_job(job)
        if why:
            table.set_aside[why] = table.set_aside.get(why, 0) + 1
            continue
        faults += (Fault(len(jobs), *fault) for fault in job.faults or _impossible(job))
        jobs.append(job)
    if not jobs and table.set_aside:
        counted = ", ".join(f"{count} {why}" for why, count in table.set_aside.items())
        raise TraceError(f"{path}: none of its items is a Job that ran on a GPU and ended ({counted})")
    columns = {
        "submit_s": [job.submit_s for job in jobs],
        "duration_s": [job.end_s - job.start_s for job in jobs],
        "gpus": [job.gpus for job in jobs],
        "limit_s": [job.limit_s for job in jobs],
    }
    return Table(
        path,
        "item",
        np.array([job.place for job in jobs], np.int64),
        {"job_id": [job.name or None for job in jobs], "tenant": [job.tenant or None for job in jobs]},
        {name: np.array(values, np.float64) for name, values in columns.items()},
        called=_CALLED
        | ({"tenant": f"metadata.labels.{shown(form.tenant_from)}"} if form.tenant_from else {}),
        faults=faults,
        broken=table.broken,
        set_aside=table.set_aside,
    )


def is_kubernetes(content: Any) -> bool:
    """Whether a decoded file is of Kubernetes: a list of objects, or a Job."""
    return isinstance(content, Mapping) and isinstance(content.get("kind"), str) and "apiVersion" in content


def _items(path: Path, content: Any) -> list[Any]:
    if is_kubernetes(content) and content["kind"] == "Job":
        return [content]
    items = content.get("items") if isinstance(content, Mapping) else None
    if not isinstance(items, list):
        raise TraceError(f'{path}: has no list "items"; export it with: {COMMAND}')
    return items


def _jobs(items: list[Any], label: str, table: Table) -> Iterator[_Job]:
    for number, item in enumerate(items, 1):
        if not isinstance(item, Mapping):
            table.broken.append(Broken(number, f"is {shown(repr(item))}, no object"))
        elif item.get("kind", "Job") != "Job":
            table.set_aside[OTHER_KIND] = table.set_aside.get(OTHER_KIND, 0) + 1
        else:
            yield _job(number, item, label)


def _job(number: int, item: Mapping[str, Any], label: str) -> _Job:
    metadata, spec, status = (_within(item, name) for name in ("metadata", "spec", "status"))
    namespace, name = _text(metadata.get("namespace")), _text(metadata.get("name"))
    tenant = _text(_within(metadata, "labels").get(label)) if label else namespace
    job = _Job(number, f"{namespace}/{name}" if name else "", tenant)
    job.submit_s = _moment(job, "metadata.creationTimestamp", metadata.get("creationTimestamp"))
    job.start_s = _moment(job, "status.startTime", status.get("startTime"))
    job.end_s = _end(job, status)
    limit = spec.get("activeDeadlineSeconds")
    job.limit_s = nan if limit is None else _count(job, "spec.activeDeadlineSeconds", limit) or nan
    pods = _count(job, "spec.parallelism", spec.get("parallelism", 1))
    completions = spec.get("completions")
    if completions is not None:
        pods = min(pods, _count(job, "spec.completions", completions))
    job.gpus = pods * _pod_gpus(job, _within(_within(spec, "template"), "spec"))
    if pods == 0:
        job.start_s = nan  # it makes no pods
    return job


def _end(job: _Job, status: Mapping[str, Any]) -> float:
    """When it was complete or failed; NaN while it is neither."""
    if status.get("completionTime") is not None:
        return _moment(job, "status.completionTime", status["completionTime"])
    conditions = status.get("conditions")
    for condition in conditions if isinstance(conditions, list) else []:
        if (
            isinstance(condition, Mapping)
            and condition.get("type") in _OVER
            and condition.get("status") == "True"
        ):
            return _moment(job, "status.conditions.lastTransitionTime", condition.get("lastTransitionTime"))
    return nan


def _why_no_job(job: _Job) -> str:
    if job.start_s != job.start_s:
        return NEVER_STARTED
    if job.end_s != job.end_s:
        return STILL_RUNNING
    return NO_GPU if job.gpus == 0 else ""


def _impossible(job: _Job) -> Iterator[tuple[str, str, str]]:
    """What cannot be in the times of a Job that ended."""
    if job.end_s < job.start_s:
        yield (
            "status.completionTime",
            f"{job.end_s:.0f}",
            f"is before its start, {job.start_s:.0f} (s since 1970)",
        )
    elif job.start_s < job.submit_s:
        yield (
            "status.startTime",
            f"{job.start_s:.0f}",
            f"is before its creation, {job.submit_s:.0f} (s since 1970)",
        )


# ── values ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _pod_gpus(job: _Job, pod: Mapping[str, Any]) -> int:
    """GPUs of one pod: those of its containers together, or of an init container, if that has more."""
    containers = sum(_container_gpus(job, container) for container in _list(pod, "containers"))
    first = 0
    for container in _list(pod, "initContainers"):
        gpus = _container_gpus(job, container)
        if isinstance(container, Mapping) and container.get("restartPolicy") == "Always":
            containers += gpus  # it runs beside the others
        else:
            first = max(first, gpus)
    return max(containers, first)


def _container_gpus(job: _Job, container: Any) -> int:
    resources = _within(container, "resources") if isinstance(container, Mapping) else {}
    gpus = 0
    for resource in GPU_RESOURCES:
        for kind in ("limits", "requests"):
            asked = _within(resources, kind).get(resource)
            if asked is not None:
                gpus += _count(job, resource, asked)
                break
    return gpus


def _moment(job: _Job, column: str, value: Any) -> float:
    if value is None:
        return nan
    at = zoned_s(value) if isinstance(value, str) else nan
    if at != at:
        job.faults.append((column, shown(repr(value)), NO_MOMENT.replace("00)", "00Z)")))
    return at


def _count(job: _Job, column: str, value: Any) -> int:
    """A whole number, also written as text; what is none is a fault and counts as 0."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= COUNT_MAX:
        job.faults.append((column, shown(repr(value)), f"is not a whole number in 0..{COUNT_MAX}"))
        return 0
    return value


def _within(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = content.get(name)
    return found if isinstance(found, Mapping) else {}


def _list(content: Mapping[str, Any], name: str) -> list[Any]:
    found = content.get(name)
    return found if isinstance(found, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
