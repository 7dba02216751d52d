# SPDX-License-Identifier: Apache-2.0
"""A control plane whose world is simulated: what marks its data folder, and what its writer runs in.

`leitstand up --twin` looks at the mark and makes it (`leitstand.app.preflight`); the writer asks for the world. A data
folder belongs to this machine or to one scenario, for good: neither takes the other's journal for its own.
"""

import json
import logging
from pathlib import Path

import msgspec

from leitstand import __version__
from leitstand.app.serving import CannotServe
from leitstand.app.settings import Settings
from leitstand.app.world import World
from leitstand.core.facts import Observation, TenantAdded, WriterStarted
from leitstand.core.state import State
from leitstand.runtime.accelerated import AcceleratedClock
from leitstand.runtime.dial import Dial
from leitstand.runtime.disk import write_whole
from leitstand.runtime.ports import Head, Source
from leitstand.runtime.spec import OPERATOR
from leitstand.twin.live.arrivals import Arrivals
from leitstand.twin.live.cloud import Cloud, cloud_of
from leitstand.twin.live.lives import Lives
from leitstand.twin.live.outages import Outages
from leitstand.twin.live.scenario import Scenario, read_scenario
from leitstand.twin.reading.table import TraceError
from leitstand.twin.truth import RetoldEngine

_log = logging.getLogger("leitstand.twin")


# ── the folder ────────────────────────────────────────────────────────────────────────────────────────────────────
class Mark(msgspec.Struct, frozen=True):
    """What a twin's data folder says of itself: whose it is. `digest`: of the scenario."""

    name: str
    digest: str


def mark_of(settings: Settings) -> Mark | None:
    """The mark of the folder, None if it is no twin's; ValueError or OSError for one that cannot be read."""
    try:
        return msgspec.json.decode(settings.twin_mark.read_bytes(), type=Mark)
    except FileNotFoundError:
        return None


def mark(settings: Settings, scenario: Scenario) -> None:
    """Mark the folder, which is there; OSError."""
    said = json.dumps({"name": scenario.name, "digest": scenario.digest}, indent=1, ensure_ascii=False)
    write_whole(settings.twin_mark, f"{said}\n".encode())


# ── the world ─────────────────────────────────────────────────────────────────────────────────────────────────────
def simulated(settings: Settings, head: Head, state: State) -> World:
    """The world of the scenario, where the journal that ends at `head` left it; CannotServe."""
    assert settings.twin is not None
    scenario, cloud = _read(settings.twin)
    found = mark_of(settings)
    if found is None or found.digest != scenario.digest:
        raise CannotServe("unusable", f"{settings.data} is not of the scenario {settings.twin}")
    dial = Dial(settings.dial)
    done_us = head.at if head.seq else scenario.start_us - 1
    clock = AcceleratedClock(max(done_us, _shown(dial, done_us)), settings.speed, dial)
    sources: list[Source] = []
    if scenario.failures is not None:
        sources.append(Outages(scenario.failures, cloud.nodes, scenario.start_us, done_us, state))
    sources.append(Arrivals(cloud.rounds, cloud.period_us, cloud.anchor_us, done_us))
    engine = RetoldEngine(Lives(), state)
    return World(clock, clock.wait(0), engine, _opening(cloud, state), sources)


def _read(path: Path) -> tuple[Scenario, Cloud]:
    try:
        scenario = read_scenario(path)
        cloud = cloud_of(scenario)
    except TraceError as error:
        raise CannotServe("unusable", str(error)) from error
    if cloud.left_out:
        _log.warning("%d jobs are left out: the cluster does not name their tenants", cloud.left_out)
    return scenario, cloud


def _shown(dial: Dial, done_us: int) -> int:
    """Where time stood when the writer before this one last looked; never before what it decided."""
    try:
        return max(dial.read().at_us, done_us)
    except ValueError:
        return done_us


def _opening(cloud: Cloud, state: State) -> list[Observation]:
    """This code and, in a new journal, the cloud as the scenario has it. Later it is what people made of it."""
    said: list[Observation] = [WriterStarted(__version__)]
    if OPERATOR not in state.tenants:
        said += [TenantAdded(OPERATOR, "public"), *cloud.opening]
    return said
