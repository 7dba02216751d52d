# SPDX-License-Identifier: Apache-2.0
"""Promise 5 through the core: with no input but ticks, evictions cease. On dense random histories of gangs, priorities,
guarantees and limits, with recalls, rebalancing, moves, promises and elastic jobs that all run without end."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from leitstand.core import facts as f
from leitstand.core.units import HOUR_US, SECOND_US
from tests.properties.test_guarantees import RULES, estate, opened
from tests.properties.test_promises import many

STILL_S, END_S = 2 * 3600, 4 * 3600  # of all evictions, of the history
# whoever is behind at all may rebalance: with a margin it is a question of days who is ahead
AT_ONCE = msgspec.structs.replace(RULES, sharing=msgspec.structs.replace(RULES.sharing, ahead_us=0))
FOR_EVER_US = 700 * HOUR_US


def endless(asked: f.SubmitJob, number: int) -> f.SubmitJob:
    """Every fourth is elastic."""
    if number % 4 == 0:
        least = asked.resources.gpus // asked.resources.nodes
        shape = msgspec.structs.replace(asked.resources, gpus=least, nodes=1, nodes_max=3)
        asked = msgspec.structs.replace(asked, resources=shape, elastic=True)
    return msgspec.structs.replace(asked, expected_us=FOR_EVER_US, max_duration_us=FOR_EVER_US)


def stops(seed: int) -> list[float]:
    """When runs were told to stop for others since all had come, in seconds."""
    told = estate(seed)
    cloud = opened(told, AT_ONCE, resizes=True)
    for number, (at, event) in enumerate(told.events):
        if not isinstance(event, tuple):
            cloud.at(at // 60, endless(event, number))
    cloud.until(END_S)
    return [
        at / SECOND_US
        for at, fact in cloud.facts
        if isinstance(fact, f.RunStopOrdered) and fact.cause in f.TAKES and at > 100 * SECOND_US
    ]


@many(30)
@given(st.integers(0, 2**32))
def test_with_no_input_but_ticks_evictions_cease(seed: int) -> None:
    told = stops(seed)
    assert len(told) <= len(estate(seed).events), "more than every job once"
    assert all(at < STILL_S for at in told), "evictions go on without input"
