# SPDX-License-Identifier: Apache-2.0
"""What a job would meet if it were submitted now: the core's own tests on the follower's state. Records nothing."""

from typing import Any

import msgspec
from litestar import Request, post

from leitstand.api import decode
from leitstand.api.answers import TaskAnswer
from leitstand.api.auth import identity
from leitstand.api.context import faces_of
from leitstand.api.jobrequest import JobRequest, observation
from leitstand.api.messages import refusal
from leitstand.api.problems import Problem
from leitstand.core import explain


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


@post("/plan", status_code=200, opt={"body": JobRequest}, summary="Plan a job without submitting it")
async def plan(request: Request[Any, Any, Any]) -> PlanAnswer:
    """Whether it would be admitted, whether and where it would start, and what it would wait for."""
    faces, who = faces_of(request), identity(request)
    asked = decode.body(await request.body(), JobRequest)
    state = faces.follower.state
    if asked.tenant not in state.tenants:
        raise Problem(
            422,
            "unknown-tenant",
            f"there is no tenant {asked.tenant!r}",
            hint="GET /v1/tenants lists the tenants",
        )
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
