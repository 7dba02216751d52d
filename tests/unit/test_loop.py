# SPDX-License-Identifier: Apache-2.0
"""What the loop tells an engine after a restart."""

from collections.abc import Sequence

from leitstand.core.units import SECOND_US
from leitstand.engines.simulated import SimulatedEngine
from leitstand.runtime.loop import resume
from leitstand.runtime.ports import StartRun
from tests.unit.story import ask, at, cluster, started


class Resumed(SimulatedEngine):
    """Keeps what it is told."""

    def resume(self, runs: Sequence[StartRun]) -> None:
        self.runs = {order.run: order for order in runs}


def test_an_engine_is_told_which_runs_have_been_reported_started_and_when() -> None:
    core = cluster(4)
    at(core, 10, ask(), ask())
    at(core, 12, started("acme-1.1", 11))
    engine = Resumed()
    resume(engine, core.state)
    told = {run: (order.placed_us, order.started_us) for run, order in engine.runs.items()}
    assert told == {"acme-1.1": (10 * SECOND_US, 11 * SECOND_US), "acme-2.1": (10 * SECOND_US, 0)}
