# SPDX-License-Identifier: Apache-2.0
"""What a job would meet if it were submitted now: the core's own tests on the follower's state. Records nothing."""

from typing import Any

import msgspec
from litestar import Request, post

from leitstand.access.policy import Resource
from leitstand.api import decode
from leitstand.api.answers import TaskAnswer
from leitstand.api.context import faces_of
from leitstand.api.context import refusal as refusal_of
from leitstand.api.jobrequest import JobRequest, observation
from leitstand.api.jobs import at_home
from leitstand.api.messages import refusal
from leitstand.api.permission import permit
from leitstand.core import explain
from leitstand.core.state import State
from leitstand.runtime.wire import Settled


class PlanAnswer(msgspec.Struct, frozen=True):
    """`reason`: why it would be refused: `asked` of `resource` against `limit`, in words in `message`; `waits_for`:
    capacity or order; `jobs_ahead`: pending jobs that come first."""

    admitted: bool
    reason: str
    asked: int
    limit: int
    resource: str
    message: str
    starts_now: bool
    waits_for: str
    tasks: list[TaskAnswer]
    jobs_ahead: int


@post(
    "/plan",
    status_code=200,
    opt={"action": "job:plan", "body": JobRequest},
    summary="Plan a job without submitting it",
)
async def plan(request: Request[Any, Any, Any]) -> PlanAnswer:
    """Whether it would be admitted, whether and where it would start, and what it would wait for."""
    faces = faces_of(request)
    asked = at_home(request, decode.body(await request.body(), JobRequest))
    who = permit(request, Resource("project", asked.tenant, asked.project), asked.project)
    state = faces.follower.state
    for refused, missing in (
        ("unknown_tenant", asked.tenant if asked.tenant not in state.tenants else ""),
        ("unknown_project", asked.project if asked.project not in projects_of(state, asked.tenant) else ""),
    ):
        if missing:
            raise refusal_of(Settled(0, 0, refused=refused, detail=missing))
    made = explain.plan(state, observation(asked, faces.cpus_milli_default, user=who.subject))
    return PlanAnswer(
        made.admitted,
        made.reason,
        made.asked,
        made.limit,
        made.resource,
        f"it {refusal(made.reason, made.asked, made.limit, made.resource)}" if made.reason else "",
        made.starts_now,
        made.waits_for,
        [TaskAnswer(task.node, task.gpus) for task in made.tasks],
        made.jobs_ahead,
    )


def projects_of(state: State, tenant: str) -> dict[str, bool]:
    """The projects of a tenant, none if there is no such tenant; name → open."""
    return state.tenants[tenant].projects if tenant in state.tenants else {}
