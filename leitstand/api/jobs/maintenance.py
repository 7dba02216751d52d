# SPDX-License-Identifier: Apache-2.0
"""Maintenance windows: list them, plan one with a look at what it would meet, cancel one."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath

from leitstand.api import decode
from leitstand.api.amounts import moment, stamp_us
from leitstand.api.checks import at_most, one_of
from leitstand.api.context import faces_of, refusal
from leitstand.api.decode import Check, Input
from leitstand.api.permission import PLATFORM, permit
from leitstand.api.problems import Problem
from leitstand.api.tenancy.entitlements import moment_fault
from leitstand.core.acts import MAINTENANCE, MaintenanceCancelled, MaintenancePlanned
from leitstand.core.maintenance import deciding
from leitstand.core.maintenance.meeting import Meeting, earliest, meet
from leitstand.core.maintenance.windows import Window
from leitstand.core.state import State
from leitstand.runtime.wire import Settled

DOMAIN_MAX: Final = 1_200  # characters of a path
_STAMP: Final = re.compile(r"(\d{10,19}) µs")


class WindowAnswer(msgspec.Struct, frozen=True):
    """A window on `nodes`, which are those of `domain` if it names one (`muc/b1/r7`). `until_at` null: until it is
    cancelled. `step`: planned, draining (runs that would last into it are told to end) or begun."""

    id: str
    nodes: list[str]
    domain: str
    from_at: datetime
    until_at: datetime | None
    reason: str
    emergency: bool
    step: str


class Windows(msgspec.Struct, frozen=True):
    """Those that are not over, in the order in which they were planned."""

    items: list[WindowAnswer]


class MovedPromise(msgspec.Struct, frozen=True):
    """A promised start that stays, on other nodes."""

    job: str
    start_at: datetime
    before: list[str]
    after: list[str]


class WindowOutcome(msgspec.Struct, frozen=True):
    """What a window does, or with `dry_run` would do. `stops`: runs that are told to end for it and wait again;
    `moves`: promises that move to other nodes; `drops`: jobs that lose a place that was not promised. `possible`:
    whether nothing forbids it; `broken`: jobs whose promised start cannot be kept, in an emergency by name; `message`:
    what forbids it; `earliest_at`: from when on nothing does, null: not known."""

    window: WindowAnswer
    dry_run: bool
    possible: bool
    stops: list[str]
    moves: list[MovedPromise]
    drops: list[str]
    broken: list[str]
    message: str
    earliest_at: datetime | None


class WindowRequest(Input, frozen=True):
    """A window on `nodes`, or on all that stand in `domain`, a path from the site down (`muc/b1/r7`). `from_at` left
    out: as soon as everybody can have saved his work, in an emergency now; `until_at` left out: until it is cancelled.
    `emergency`: now, whatever was promised; `scale`: although guarantees shrink meanwhile; `dry_run`: only say what it
    would do."""

    nodes: list[str] = []
    domain: str = ""
    from_at: datetime | None = None
    until_at: datetime | None = None
    reason: str = "other"
    emergency: bool = False
    scale: bool = False
    dry_run: bool = False

    checks: ClassVar[Mapping[str, Check]] = {
        "domain": at_most(DOMAIN_MAX),
        "from_at": moment_fault,
        "until_at": moment_fault,
        "reason": one_of(MAINTENANCE),
    }


@get("/maintenance", opt={"action": "maintenance:list"}, summary="List maintenance windows")
async def list_maintenance(request: Request[Any, Any, Any]) -> Windows:
    """Those that are not over: whoever sees nodes sees when they will be away."""
    permit(request, PLATFORM)
    state = faces_of(request).follower.state
    return Windows([_answer(window) for window in state.maintenance.windows.values()])


@post(
    "/maintenance",
    status_code=200,
    opt={"action": "maintenance:plan", "body": WindowRequest},
    summary="Plan maintenance",
)
async def plan_maintenance(request: Request[Any, Any, Any]) -> WindowOutcome:
    """Nobody starts who would last into the window; who would is told to end in time. Promised starts move to other
    nodes. Refused if one of them cannot, or if guarantees would not fit: 409 says which, and the earliest free date."""
    faces = faces_of(request)
    who = permit(request, PLATFORM)
    asked = decode.body(await request.body(), WindowRequest)
    fact = MaintenancePlanned(
        "",
        stamp_us(asked.from_at) if asked.from_at else 0,
        stamp_us(asked.until_at) if asked.until_at else 0,
        tuple(asked.nodes),
        tuple(asked.domain.strip("/").split("/")) if asked.domain else (),
        asked.reason,
        asked.emergency,
        asked.scale,
        who.subject,
    )
    state, now = faces.follower.state, faces.now()
    wanted = deciding.wanted_at(state, now, fact)
    faults = deciding.window_faults(state, now, wanted)
    if faults:
        raise refusal(Settled(0, 0, refused="invalid", detail=_timed("; ".join(faults[: deciding.TOLD_MAX]))))
    window = deciding.planned_window(state, wanted)
    outcome = _outcome(state, now, window, asked.dry_run)
    if asked.dry_run:
        return outcome
    if not outcome.possible:
        raise Problem(409, "conflict", outcome.message)
    settled = await faces.ask(who, "", fact)
    made = msgspec.structs.replace(outcome.window, id=settled.made)
    return msgspec.structs.replace(outcome, window=made)


@post(
    "/maintenance/{window_id:str}/cancel",
    status_code=200,
    opt={"action": "maintenance:cancel"},
    summary="Cancel maintenance",
)
async def cancel_maintenance(request: Request[Any, Any, Any], window_id: FromPath[str]) -> WindowAnswer:
    """It is not to be; if it has begun, it ends now, and its nodes are back. Runs that were told to end go."""
    faces = faces_of(request)
    who = permit(request, PLATFORM)
    window = faces.follower.state.maintenance.windows.get(window_id)
    if window is None:
        raise Problem(
            404,
            "unknown-maintenance",
            f"there is no maintenance window {window_id[:80]!r}, or no longer",
            hint="GET /v1/maintenance lists them",
        )
    answer = _answer(window)
    await faces.ask(who, "", MaintenanceCancelled(window_id, who.subject))
    return answer


def _outcome(state: State, now: int, window: Window, dry_run: bool) -> WindowOutcome:
    met = meet(state, now, window)
    possible = window.emergency or met.free
    soonest = None if possible else earliest(state, now, window, met)
    return WindowOutcome(
        _answer(window),
        dry_run,
        possible,
        list(met.stops),
        _moves(state, met),
        list(met.drops),
        list(met.broken),
        "" if possible else _timed(deciding.told(state, met, soonest)),
        moment(soonest) if soonest is not None else None,
    )


def _moves(state: State, met: Meeting) -> list[MovedPromise]:
    return [
        MovedPromise(
            move.job,
            moment(move.start_us),
            list(dict.fromkeys(task.node for task in state.reservations[move.job].tasks)),
            list(dict.fromkeys(task.node for task in move.tasks)),
        )
        for move in met.moves
    ]


def _answer(window: Window) -> WindowAnswer:
    return WindowAnswer(
        window.id,
        list(window.nodes),
        "/".join(window.domain),
        moment(window.from_us),
        moment(window.until_us) if window.until_us else None,
        window.reason,
        window.emergency,
        window.step,
    )


def _timed(text: str) -> str:
    """Stamps as times."""
    return _STAMP.sub(lambda found: moment(int(found[1])).strftime("%Y-%m-%dT%H:%M:%SZ"), text)
