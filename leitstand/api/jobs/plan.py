# SPDX-License-Identifier: Apache-2.0
"""What a job would meet if it were submitted now: the core's own tests on the follower's state. Records nothing."""

from typing import Any

import msgspec
from litestar import Request, post

from leitstand.access.policy import Resource
from leitstand.api import decode
from leitstand.api.auth import Identity
from leitstand.api.context import Faces, faces_of
from leitstand.api.context import refusal as refusal_of
from leitstand.api.jobs.answers import TaskAnswer, task_answer
from leitstand.api.jobs.changes import Change, change_of
from leitstand.api.jobs.jobrequest import JobRequest, observation
from leitstand.api.jobs.messages import refusal
from leitstand.api.jobs.submission import at_home, check_profiles, check_workdir, secrets_of
from leitstand.api.permission import permit
from leitstand.api.problems import Problem
from leitstand.core.explaining import explain
from leitstand.core.state import State
from leitstand.core.units import MICRO
from leitstand.runtime.wire import Settled


class Price(msgspec.Struct, frozen=True):
    """What it would cost at most; null while no price plan is in force, and `note` says so."""

    eur: float | None = None
    note: str = "no price plan is in force"


class BudgetPart(msgspec.Struct, frozen=True):
    """What a budget would reserve, in `unit`: gpu_us (GPU·µs) or micro_eur (millionths of a euro)."""

    budget: str
    amount: int
    unit: str


class PlanAnswer(msgspec.Struct, frozen=True):
    """`reason`: why it would be refused: `asked` of `resource` against `limit`, in words in `message`; `waits_for`:
    capacity or order; `jobs_ahead`: pending jobs that come first; `budgets`: which would pay, in order, and reserve how
    much; none for a tenant without budgets; `changes`: with which a job that no budget can pay would be admitted, each
    alone: a time limit, a size, or a further budget of `value` where `now` is left. `expected`: names this request
    with its outcome (admitted, reason, starts_now, waits_for, price); sent as `If-Match` of the submission, it makes
    sure of it."""

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
    price: Price
    budgets: list[BudgetPart]
    changes: list[Change]
    expected: str


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
    check_workdir(faces, asked)
    check_profiles(faces, asked)
    secrets_of(faces, asked)
    _check_place(faces.follower.state, asked)
    made = _plan(faces, who, asked)
    return PlanAnswer(
        made.admitted,
        made.reason,
        made.asked,
        made.limit,
        made.resource,
        f"it {refusal(made.reason, made.asked, made.limit, made.resource)}" if made.reason else "",
        made.starts_now,
        made.waits_for,
        [task_answer(task) for task in made.tasks],
        made.jobs_ahead,
        _price(made),
        _parts(faces.follower.state, asked.tenant, made),
        [change_of(one) for one in made.changes],
        _expected(faces, who, asked, made),
    )


def check_expected(faces: Faces, who: Identity, asked: JobRequest, if_match: bytes) -> None:
    """Problem 412 if the plan of a submission would not be one of those that If-Match names. Asked of the state as it
    is known here; what comes in between reaches the writer first."""
    wanted = {part.strip().strip(b'"').decode("latin-1") for part in if_match.split(b",")}
    if not if_match or "*" in wanted:
        return
    _check_place(faces.follower.state, asked)
    if _expected(faces, who, asked, _plan(faces, who, asked)) not in wanted:
        raise Problem(
            412,
            "plan-changed",
            "the plan of this job is not the expected one any more",
            hint="plan again, look, and submit with the new `expected`",
        )


def _plan(faces: Faces, who: Identity, asked: JobRequest) -> explain.Plan:
    asked_for = observation(asked, faces.cpus_milli_default, faces.now(), user=who.subject)
    return explain.plan(faces.follower.state, asked_for, faces.now())


def _expected(faces: Faces, who: Identity, asked: JobRequest, made: explain.Plan) -> str:
    """Keyed, for a request may hold what nobody should be able to guess from its digest."""
    outcome = msgspec.json.encode((made.admitted, made.reason, made.starts_now, made.waits_for, _price(made)))
    return faces.records.digest(who.subject, b"plan", asked.canonical(), outcome)


def _price(made: explain.Plan) -> Price:
    return Price(made.micro_eur / MICRO, "at most, for its whole time limit") if made.micro_eur else Price()


def _parts(state: State, tenant: str, made: explain.Plan) -> list[BudgetPart]:
    units = {one.id: one.unit for one in state.tenants[tenant].budgets}
    return [BudgetPart(name, amount, units[name]) for name, amount in made.payment.parts]


def _check_place(state: State, asked: JobRequest) -> None:
    """The refusal that the writer would give for a tenant or project that is not there."""
    for refused, missing in (
        ("unknown_tenant", asked.tenant if asked.tenant not in state.tenants else ""),
        ("unknown_project", asked.project if asked.project not in projects_of(state, asked.tenant) else ""),
    ):
        if missing:
            raise refusal_of(Settled(0, 0, refused=refused, detail=missing))


def projects_of(state: State, tenant: str) -> dict[str, bool]:
    """The projects of a tenant, none if there is no such tenant; name → open."""
    return state.tenants[tenant].projects if tenant in state.tenants else {}
