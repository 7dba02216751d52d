# SPDX-License-Identifier: Apache-2.0
"""A writer process as in production (journal, inbox, live clock, loop) over a simulated fleet of any size.

`python -m bench.support.plant SETTINGS PLANT`, both JSON. `busy` > 0 makes the core compute for that share of every
`window_us`, as a core with much to plan would.
"""

import gc
import selectors
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from leitstand.app.serving import lock
from leitstand.app.settings import Settings
from leitstand.app.writer import Opening
from leitstand.core.cycle import Core
from leitstand.core.facts import Fact, NodeAdded, Observation, RulesSet, SiteAdded, TenantAdded, WriterStarted
from leitstand.core.rules import Rules
from leitstand.engines.simulated import SimulatedEngine
from leitstand.journal import snapshots
from leitstand.journal.place import open_writer
from leitstand.runtime.clock import LiveClock
from leitstand.runtime.inbox import Inbox
from leitstand.runtime.loop import Loop, resume
from leitstand.runtime.spec import OPERATOR


class Plant(msgspec.Struct, frozen=True):
    nodes: int = 1250
    gpus_per_node: int = 8
    busy: float = 0.0
    window_us: int = 25_000


class BusyCore(Core):
    """Decides as the core does, and computes for a share of every window of time besides."""

    def __init__(self, plant: Plant) -> None:
        super().__init__()
        self.plant = plant
        self.due = 0

    def next_wake(self) -> int | None:
        return self.due if self.plant.busy else None

    def cycle(self, now: int, observations: Iterable[Observation]) -> list[Fact]:
        if self.plant.busy and now >= self.due:
            end = time.perf_counter() + self.plant.busy * self.plant.window_us / 1e6
            while time.perf_counter() < end:
                pass
            self.due = now + self.plant.window_us
        return super().cycle(now, observations)


def main() -> None:
    settings = Settings.from_json(sys.argv[1])
    plant = msgspec.json.decode(sys.argv[2], type=Plant)
    with lock(settings.lock):
        serve(settings, plant)


def serve(settings: Settings, plant: Plant) -> None:
    journal = open_writer(settings.journal)
    state, head = snapshots.restore(journal, settings.snapshots)
    clock = LiveClock(head.at)
    engine = SimulatedEngine()
    core = BusyCore(plant) if not head.seq else Core(state)
    seen: list[Observation] = [WriterStarted("bench"), RulesSet(Rules(), "")]
    seen += [TenantAdded(OPERATOR, "public"), SiteAdded("site", "simulated", logical=True)]
    seen += [
        NodeAdded(f"node-{i}", "site", plant.gpus_per_node, 128_000, 2_000_000) for i in range(plant.nodes)
    ]
    inbox = Inbox(settings.inbox, clock, lambda: False)
    loop = Loop(core, journal, clock, engine, [Opening(seen), inbox])
    resume(engine, state)
    loop.step(clock.wait(0))
    gc.collect()
    gc.freeze()

    def heard(_: int) -> None:
        loop.stopping = not sys.stdin.buffer.raw.read(1)  # type: ignore[attr-defined]

    clock.register(0, selectors.EVENT_READ, heard)
    print("ready", flush=True)
    loop.run()
    journal.close()


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_s(pid: int) -> float:
    """User + system seconds of a live process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def rss_bytes(pid: int) -> int:
    """Peak resident memory of a live process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"process {pid} has no VmHWM")


if __name__ == "__main__":
    main()
