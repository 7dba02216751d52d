# SPDX-License-Identifier: Apache-2.0
"""What a plan makes is freed as soon as nobody needs it: in a large cloud the collector would walk for longer than a
cycle takes."""

import gc

from leitstand.runtime import collector
from tests.unit.fair_story import day
from tests.unit.test_phases import full


def test_cycles_that_start_reserve_and_take_back_leave_nothing_to_the_collector() -> None:
    cloud = full(40, guaranteed=7).until(130)
    cloud.at(131, day(2, 2, "b", 1), day(8, tenant="a", hours=1))
    gc.collect()
    gc.disable()
    try:
        cloud.until(3_000)
        assert cloud.evicted, "somebody was looked for and told to end"
        assert cloud.core.state.reservations
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_the_collector_looks_rarely_once_the_state_is_there() -> None:
    before = gc.get_threshold()
    try:
        collector.settle()
        assert gc.get_threshold()[0] == collector.YOUNG
        assert gc.get_freeze_count() > 0
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
