# SPDX-License-Identifier: Apache-2.0
"""The health of nodes: somebody reports trouble, somebody says that a node is repaired."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec
from litestar import Request, post
from litestar.params import FromPath

from leitstand.api import decode
from leitstand.api.amounts import stamp_us
from leitstand.api.checks import between, one_of
from leitstand.api.context import Faces, faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.jobs.nodes import NodeAnswer, nodes_of
from leitstand.api.permission import PLATFORM, permit
from leitstand.api.problems import Problem
from leitstand.api.tenancy.entitlements import moment_fault
from leitstand.core.facts import NodeRepaired, NodeReported
from leitstand.core.health.deciding import BURN_IN_MAX_US
from leitstand.core.health.table import KINDS, OPERATOR, XID, XID_MAX
from leitstand.core.units import SECOND_US
from leitstand.runtime.spec import OPERATOR as OPERATOR_TENANT
from leitstand.runtime.spec import RunSpec

NAME: Final = "burn-in"
BURN_IN_S: Final = 3_600  # that a burn-in may take, unless more is asked for


class ReportRequest(Input, frozen=True):
    """Something is wrong with a node. `kind` operator: somebody says so. `code`: the number of an Xid; `gpu`: its index
    on the node, left out: none in particular; `at`: when, left out: now."""

    kind: str = OPERATOR
    code: int = 0
    gpu: int | None = None
    at: datetime | None = None

    checks: ClassVar[Mapping[str, Check]] = {
        "kind": one_of(KINDS),
        "code": between(0, XID_MAX),
        "at": moment_fault,
    }

    def across(self) -> Iterable[tuple[str, str]]:
        if (self.kind == XID) != bool(self.code):
            yield "code", f"is {self.code}; an xid has a number from 1 on, nothing else has one"


class ReturnRequest(Input, frozen=True):
    """The node is repaired. `burn_in` false: it serves at once; else a job of the operator runs on all of it first, for
    at most `max_duration_s`, and it serves once that ended with exit code 0."""

    burn_in: bool = True
    max_duration_s: int = BURN_IN_S

    checks: ClassVar[Mapping[str, Check]] = {
        "max_duration_s": between(1, BURN_IN_MAX_US // SECOND_US, " s"),
    }


class ReturnAnswer(msgspec.Struct, frozen=True):
    """`job`: its burn-in, '' if there is none."""

    node: NodeAnswer
    job: str


@post(
    "/nodes/{node_id:str}/report",
    status_code=200,
    opt={"action": "node:report", "body": ReportRequest},
    summary="Report trouble of a node",
)
async def report_node(request: Request[Any, Any, Any], node_id: FromPath[str]) -> NodeAnswer:
    """It is recorded; if it is of the kind that drains, the node takes nothing new from now on, and what runs there is
    told to end and goes on elsewhere."""
    faces = faces_of(request)
    who = permit(request, PLATFORM)
    asked = decode.body(await request.body(), ReportRequest)
    found = _found(faces, node_id)
    gpu = -1 if asked.gpu is None else asked.gpu
    if asked.gpu is not None and not 0 <= gpu < found.gpus:
        raise Problem(422, "invalid", f"gpu is {gpu}; {node_id} has {found.gpus}, numbered from 0")
    at_us = stamp_us(asked.at) if asked.at else 0
    await faces.ask(who, "", NodeReported(node_id, asked.kind, asked.code, gpu, at_us, by=who.subject))
    return _found(faces, node_id)


@post(
    "/nodes/{node_id:str}/return",
    status_code=200,
    opt={"action": "node:return", "body": ReturnRequest},
    summary="Say that a node is repaired",
)
async def return_node(request: Request[Any, Any, Any], node_id: FromPath[str]) -> ReturnAnswer:
    """Its burn-in begins at once; 409 while something runs there yet, or where its engine says that it is out of
    service."""
    faces = faces_of(request)
    who = permit(request, PLATFORM)
    asked = decode.body(await request.body(), ReturnRequest)
    _found(faces, node_id)
    fact = NodeRepaired(node_id, by=who.subject)
    if asked.burn_in:
        faces.check_writer()
        spec = RunSpec(name=f"{NAME} {node_id}", script=_script(faces))
        kept = await faces.commit.put(OPERATOR_TENANT, who.subject, spec)
        fact = NodeRepaired(node_id, kept, OPERATOR_TENANT, asked.max_duration_s * SECOND_US, who.subject)
    settled = await faces.ask(who, "", fact)
    return ReturnAnswer(_found(faces, node_id), settled.made if asked.burn_in else "")


def _script(faces: Faces) -> str:
    """What the node has to bear; Problem 503 if it cannot be read."""
    try:
        return faces.burn_in()
    except (OSError, ValueError) as error:
        detail = f"the burn-in of this control plane cannot be read: {error}"
        raise Problem(503, "storage-away", detail, hint="mend the file of --burn-in") from None


def _found(faces: Faces, node_id: str) -> NodeAnswer:
    state = faces.follower.state
    if node_id not in state.nodes:
        raise Problem(
            404, "unknown-node", f"there is no node {node_id[:80]!r}", hint="GET /v1/nodes lists them"
        )
    return next(one for one in nodes_of(state, node_id) if one.id == node_id)
