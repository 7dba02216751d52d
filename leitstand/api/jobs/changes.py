# SPDX-License-Identifier: Apache-2.0
"""What would help a job: one change of one thing, in an answer. Called by the explanation and the plan of a job."""

import msgspec

from leitstand.api.jobs.messages import amount
from leitstand.core.explaining.remedies import Remedy


class Change(msgspec.Struct, frozen=True):
    """One thing that would start it now, all else as it is. `dimension`: max_duration, size, level, gpu_type, mig,
    priority, guarantee, borrow_limit or budget; `value` in place of `now` (of a budget: beside what is left now),
    counted in `resource`, or `name` in place of it for a level or a GPU type ('' any) or a MIG profile; `node`: of the
    entitlement tree. `stops`: how many runs would be stopped for it; `waits`: it starts once capacity is freed, else
    at once."""

    dimension: str
    value: int
    now: int
    resource: str
    name: str
    node: str
    stops: int
    waits: bool
    message: str


def change_of(one: Remedy) -> Change:
    """The answer for one remedy, with its sentence."""
    return Change(
        one.dimension,
        one.value,
        one.now,
        one.resource,
        one.name,
        one.node,
        one.takes,
        one.waits,
        _said(one),
    )


def _said(one: Remedy) -> str:
    """The change in words."""
    if one.dimension == "level":
        said = f"ask for the level {one.name}" if one.name else "ask for no level"
    elif one.dimension == "gpu_type":
        said = f"ask for {one.name}" if one.name else "ask for any type of GPU"
    elif one.dimension == "mig":
        said = f"ask for the MIG profile {one.name}"
    elif one.dimension == "priority":
        said = f"a priority of {one.value}"
    else:
        what = {
            "max_duration": "a time limit of",
            "size": "a size of",
            "guarantee": f"a guarantee of {one.node} of",
            "borrow_limit": f"a borrow limit of {one.node} of",
            "budget": "a further budget of",
        }[one.dimension]
        said = f"{what} {amount(one.value, one.resource)}"
    if one.waits:
        said += (
            f", once {one.takes} runs have been stopped"
            if one.takes
            else ", once what is being freed is free"
        )
    return said
