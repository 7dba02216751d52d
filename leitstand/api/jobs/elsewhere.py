# SPDX-License-Identifier: Apache-2.0
"""Where a waiting job could wait, as an explanation tells it. Called by `leitstand.api.jobs.explanation`."""

import msgspec

from leitstand.api.jobs.messages import refusal
from leitstand.core.explaining.elsewhere import alternatives
from leitstand.core.state import State


class AlternativeAnswer(msgspec.Struct, frozen=True):
    """A pool where it could wait, with one of its shapes: `number` from 0 in its own order. `chosen`: it waits there.
    `seconds`: what that counts for, the sum of `parts` (wait, order, level, data, cost, carbon); the least is chosen.
    `lacks`: why it could never run there, '' if it could."""

    pool: str
    sites: list[str]
    number: int
    gpus: int
    gpu_type: str
    chosen: bool
    seconds: int
    parts: dict[str, int]
    lacks: str


def alternatives_of(state: State, job_id: str, now: int) -> list[AlternativeAnswer]:
    """The best first; none for a job that is not live or has no choice."""
    return [
        AlternativeAnswer(
            one.pool,
            list(one.sites),
            one.number,
            one.shape.gpus,
            one.shape.gpu_type,
            one.chosen,
            one.seconds,
            dict(one.parts),
            f"it {refusal(lack.reason, lack.asked, lack.limit, lack.resource)}" if lack is not None else "",
        )
        for one in (alternatives(state, job_id, now) if job_id in state.jobs else ())
        for lack in [one.lack]
    ]
