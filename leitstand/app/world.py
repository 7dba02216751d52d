# SPDX-License-Identifier: Apache-2.0
"""What the writer's loop runs in: this machine (`leitstand.app.writer`), or a simulated cloud
(`leitstand.app.twinned`)."""

from collections.abc import Sequence
from typing import NamedTuple

from leitstand.core.facts import Observation
from leitstand.runtime.clock import LiveClock
from leitstand.runtime.ports import Engine, Source


class World(NamedTuple):
    """`now`: when the first cycle is, µs; `opening`: what the start itself has to say; `sources`: beside the inbox."""

    clock: LiveClock
    now: int
    engine: Engine
    opening: list[Observation]
    sources: Sequence[Source]
