# SPDX-License-Identifier: Apache-2.0
"""Why was I preempted: when a run was stopped before its end, for whom, what that cost, what would have protected it.
Called by the explanation of a job.

A reading of what the views keep of each order to stop. Who may not see the other job learns neither its id nor its
tenant: only whether it was of the own project, of the own tenant or of another, and the place in the tree where the two
part, which is the asker's own.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec
from litestar import Request

from leitstand.api.amounts import moment, seconds, span
from leitstand.api.auth import identity
from leitstand.api.context import Faces, faces_of
from leitstand.api.jobs.jobs import resource_of
from leitstand.api.permission import still
from leitstand.core.facts import YIELDS
from leitstand.core.units import SECOND_US
from leitstand.views.reading import JobView
from leitstand.views.rows import JobRow, RunRow

STOPS_MAX: Final = 10  # the latest of a job that are told
OWN: Final = ("cancel", "suspended", "exit")  # causes of a stop that its own tenant is about
CAUSES: Final = {
    "recall": "a job that is inside its guarantee took back what it is owed",
    "priority": "a job of the same project has a higher priority",
    "rebalance": "a job inside its share took what others used beyond theirs",
    "move": "it moved to places that were held for it, so that another job finds its shape",
    "node_failed": "a node of it failed",
    "booking": "the booking in which it runs ends",
    "maintenance": "a node of it goes out of service for maintenance",
}


class Protection(msgspec.Struct, frozen=True):
    """What would have protected a run. `kind`: priority (at least `value`), guarantee (of `node`, large enough to hold
    it), checkpoint (it would have lost at most the time between two; `value`: how often it made one, µs, 0: never) or
    length (`value`: runs that are not older than this, µs, are not taken)."""

    kind: str
    value: int
    node: str
    message: str


class Stop(msgspec.Struct, frozen=True):
    """One run that was stopped before its end. `cause`: one of CAUSES. `job`: for which job, '' if for none, or if the
    asker may not see it; `whose`: own_project, own_tenant, other_tenant or nobody; `node`: inside
    whose share or guarantee that job is, as far down the entitlement tree as the asker may see.
    `lost_s`: its work since its last checkpoint, `lost_gpu_s`: times its GPUs, None while it is still ending;
    `together`: how many runs were stopped for that job at once: of all that may be taken, those that lose least."""

    run: str
    at: datetime
    cause: str
    job: str
    whose: str
    node: str
    lost_s: float | None
    lost_gpu_s: float | None
    together: int
    message: str
    protections: list[Protection]


def stops(request: Request[Any, Any, Any], found: JobView) -> list[Stop]:
    """The latest stops of a job, latest first, but for those that its own tenant is about."""
    told = [run for run in found.runs if run.stopped_us is not None and run.cause not in OWN]
    return [_stop(request, found.job, run) for run in reversed(told[-STOPS_MAX:])]


def _stop(request: Request[Any, Any, Any], row: JobRow, run: RunRow) -> Stop:
    faces = faces_of(request)
    taker = faces.reading.job(run.stopped_for) if run.stopped_for else None
    other = None if taker is None else taker.job
    visible = other is not None and _may_see(request, other)
    whose, node = _parting(faces, row, other, visible)
    lost_us = run.lost_us if run.state == "ended" else None
    lost_gpu_us = None if lost_us is None else _of_gpus(run, lost_us)
    assert run.stopped_us is not None, "it was stopped"
    together = faces.reading.stopped_together(run.stopped_for, run.stopped_us) if run.stopped_for else 1
    return Stop(
        run.run,
        moment(run.stopped_us),
        run.cause,
        run.stopped_for if visible else "",
        whose,
        node,
        None if lost_us is None else seconds(lost_us),
        None if lost_gpu_us is None else seconds(lost_gpu_us),
        together,
        _sentence(run, run.stopped_for if visible else "", node, together, lost_gpu_us),
        list(_protections(faces, row, run, other if visible else None)),
    )


def _may_see(request: Request[Any, Any, Any], other: JobRow) -> bool:
    return still(faces_of(request), identity(request), "job:read", resource_of(other))


def _parting(faces: Faces, row: JobRow, other: JobRow | None, visible: bool) -> tuple[str, str]:
    """Whose the other job is, and the node on its side below where the two part; the one above, if not `visible`."""
    if other is None:
        return "nobody", ""
    mine, theirs = _path(faces, row), _path(faces, other)
    same = sum(1 for left, right in zip(mine, theirs, strict=True) if left == right)
    whose = {3: "own_project", 2: "own_tenant"}.get(same, "other_tenant")
    if same == 3:
        return whose, mine[-1]
    # the class of a tenant is no secret of its own, its name and its projects are
    return whose, theirs[same] if visible or same == 0 else mine[same - 1]


def _path(faces: Faces, row: JobRow) -> list[str]:
    """The nodes of the entitlement tree from the class down to the project."""
    tenant_class = faces.follower.state.tenants[row.tenant].tenant_class
    return [tenant_class, f"{tenant_class}/{row.tenant}", f"{tenant_class}/{row.tenant}/{row.project}"]


def _of_gpus(run: RunRow, lost_us: int) -> int:
    """Lost time times GPUs, by what the run was metered for."""
    if not run.usage:
        return 0
    wall_us, gpu_us = (int(part) for part in run.usage.split()[:2])
    return gpu_us * lost_us // wall_us if wall_us else 0


def _sentence(run: RunRow, job: str, node: str, together: int, lost_gpu_us: int | None) -> str:
    said = f"was stopped: {CAUSES.get(run.cause, run.cause)}"
    if run.stopped_for:
        said += f" ({job or 'a job that you may not see'}, {node})"
    if together > 1:
        said += f"; {together} runs were stopped for it, those that lose least"
    elif run.stopped_for:
        said += "; of the runs that may be taken it loses least"
    if lost_gpu_us is not None:
        said += f"; lost are {lost_gpu_us // SECOND_US} GPU-seconds of work"
    return said


def _protections(faces: Faces, row: JobRow, run: RunRow, other: JobRow | None) -> Iterable[Protection]:
    """What would have kept the run, then what would have made it lose less."""
    leaf = _path(faces, row)[-1]
    if run.cause == "priority":
        least = row.priority + 1 if other is None else other.priority
        yield Protection("priority", least, "", f"a priority of at least {least}")
    elif run.cause in ("recall", "rebalance"):
        yield Protection("guarantee", 0, leaf, f"a guarantee of {leaf} that holds it")
    protected_us = faces.follower.state.rules.sharing.protected_us
    if run.cause in YIELDS and protected_us:
        said = f"a shorter job: runs are not taken before they are {span(protected_us)} old"
        yield Protection("length", protected_us, "", said)
    if run.lost_us:
        every_us = row.checkpoint_every_us
        said = (
            f"checkpoints more often than every {span(every_us)}" if every_us else "checkpoints: it says none"
        )
        yield Protection("checkpoint", every_us, "", said)
