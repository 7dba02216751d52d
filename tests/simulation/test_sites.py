# SPDX-License-Identifier: Apache-2.0
"""Seeded simulation of several sites in one tree: links that lose orders and answers, machines and control planes that
restart. Every run is started at exactly one site, no job ever runs at two, and everything ends."""

import functools
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.rules import Rules, Sharing
from leitstand.core.units import MINUTE_US, SECOND_US
from leitstand.journal.memory import MemoryJournal
from leitstand.runtime.clock import VirtualClock
from leitstand.runtime.loop import Loop, resume
from leitstand.runtime.ports import Head, Order, StartRun, StopRun
from leitstand.runtime.sites import RETRY_US, Sites

SEEDS = range(10)
JOBS = 30
SITES = {"aachen": ("B200", 2), "dresden": ("H200", 2), "graz": ("B200", 1)}


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "leitstand.runtime.sites")


class Crash(Exception):
    pass


@dataclass
class World:
    """What really happens. `alive`: job → (run, site) of what runs now; `started`: run → sites that ever started it."""

    alive: dict[str, tuple[str, str]] = field(default_factory=dict)
    started: dict[str, list[str]] = field(default_factory=dict)

    def start(self, order: StartRun, site: str) -> None:
        assert order.job not in self.alive, f"{order.job} runs as {self.alive.get(order.job)} and at {site}"
        self.started.setdefault(order.run, []).append(site)
        self.alive[order.job] = order.run, site


class Machines:
    """The engine of a site, behind a link that fails: an order may be carried out and its answer lost, reports may come
    late or twice. It outlives the control plane; when it restarts itself, its runs are lost."""

    def __init__(self, site: str, world: World, chance: random.Random) -> None:
        self.site, self.world, self.chance = site, world, chance
        self.fails = chance.choice([0.0, 0.2, 0.5])
        self.live: dict[str, tuple[StartRun, int]] = {}  # run → its order, its end
        self.over: dict[str, f.RunEnded] = {}
        self.reports: list[f.Observation] = []
        self.now = 0

    def send(self, orders: Sequence[Order]) -> None:
        self._fail()
        for order in orders:
            if isinstance(order, StartRun):
                self._start(order)
            elif order.run in self.live:
                self._end(order.run, f.RunEnded(order.run, self.now, "stopped"))
        self._fail()

    def resume(self, runs: Sequence[StartRun]) -> None:
        self._fail()
        wanted = {order.run for order in runs}
        for run in [run for run in self.live if run not in wanted]:
            self._end(run, f.RunEnded(run, self.now, "stopped"))
        for order in runs:
            self._start(order)
        self._fail()

    def _start(self, order: StartRun) -> None:
        run = order.run
        if run in self.over:
            self.reports.append(self.over[run])
        elif run in self.live:
            self.reports.append(f.RunStarted(run, order.placed_us))
        elif order.started_us:  # it ran and nobody knows: never once more
            self.over[run] = f.RunEnded(run, self.now, "lost")
            self.reports.append(self.over[run])
        else:
            self.world.start(order, self.site)
            self.live[run] = order, max(self.now, order.placed_us) + order.expected_us
            self.reports.append(f.RunStarted(run, order.placed_us))

    def _end(self, run: str, report: f.RunEnded) -> None:
        order, _ = self.live.pop(run)
        assert self.world.alive.pop(order.job) == (run, self.site)
        self.over[run] = report
        self.reports.append(report)

    def next_time(self) -> int | None:
        if self.reports:
            return self.now
        return min((end for _, end in self.live.values()), default=None)

    def take(self, now: int) -> Sequence[f.Observation]:
        self.now = now
        for run, (_, end) in list(self.live.items()):
            if end <= now:
                self._end(run, f.RunEnded(run, end, "exited", 0))
        if self.chance.random() < 0.01:
            for run in list(self.live):
                self._end(run, f.RunEnded(run, now, "lost"))
        if self.chance.random() < self.fails / 4:
            self.now = now + SECOND_US  # asked again a little later
            raise OSError("no answer")
        said, self.reports = self.reports, []
        if said and self.chance.random() < 0.3:
            self.reports.append(self.chance.choice(said))
            self.now = now + SECOND_US
        return said

    def _fail(self) -> None:
        if self.chance.random() < self.fails:
            raise OSError("no answer")

    def read_log(self, run: str, task: int, offset: int, limit: int) -> bytes:
        raise KeyError(run)

    def close(self) -> None:
        pass


class CrashingJournal(MemoryJournal):
    """Ends the control plane before or after an append."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.chance = chance
        self.rate = 0.0

    def append(self, head: Head, at: int, facts: Sequence[f.Fact]) -> Head:
        if self.chance.random() < self.rate:
            raise Crash
        after = super().append(head, at, facts)
        if self.chance.random() < self.rate:
            raise Crash
        return after


class Requests:
    """Jobs at seeded times; what was sent and not settled is sent again, with its key."""

    def __init__(self, chance: random.Random) -> None:
        self.todo: list[tuple[int, f.Observation]] = []
        for number in range(JOBS):
            minutes = chance.randint(1, 60)
            count, nodes = chance.choice([(1, 1), (4, 1), (8, 1), (16, 2)])
            shapes = [f.Resources(count, nodes, gpu_type=kind) for kind in chance.sample(["B200", "H200"], 2)]
            job = f.SubmitJob(
                chance.choice(["acme", "beta"]),
                "default",
                chance.choice([shapes[0], f.Resources(count, nodes)]),
                max_duration_us=2 * minutes * MINUTE_US,
                expected_us=minutes * MINUTE_US,
                request=f"r{number}",
                retries=3,
                alternatives=tuple(shapes[1:]) if chance.random() < 0.5 else (),
            )
            at = chance.randint(0, 120) * MINUTE_US
            self.todo.append((at, job))
            if chance.random() < 0.1:
                self.todo.append((at + MINUTE_US, f.CancelJob(f"acme-{number // 2 + 1}")))
        self.todo.sort(key=lambda entry: entry[0])
        self.sent = self.settled = 0

    def next_time(self) -> int | None:
        return self.todo[self.sent][0] if self.sent < len(self.todo) else None

    def take(self, now: int) -> Sequence[f.Observation]:
        start = self.settled = self.sent
        while self.sent < len(self.todo) and self.todo[self.sent][0] <= now:
            self.sent += 1
        return [observation for _, observation in self.todo[start : self.sent]]


def opening() -> list[f.Observation]:
    sharing = Sharing(protected_us=MINUTE_US, grace_us=0, stop_us=0)
    seen: list[f.Observation] = [f.RulesSet(Rules(discipline="fair", sharing=sharing), "")]
    seen += [f.TenantAdded("acme"), f.TenantAdded("beta")]
    for site, (kind, nodes) in SITES.items():
        seen.append(f.SiteAdded(site, "simulated"))
        seen += [f.NodeAdded(f"{site}-{n}", site, 8, 0, 0, kind, "") for n in range(nodes)]
    return seen


@functools.cache
def simulate(seed: int) -> tuple[World, Core, MemoryJournal]:
    chance = random.Random(seed)
    world, journal, clock, requests = World(), CrashingJournal(chance), VirtualClock(), Requests(chance)
    machines = {site: Machines(site, world, chance) for site in SITES}
    core = Core()
    journal.append(journal.head, 0, core.cycle(0, opening()))
    journal.rate = chance.choice([0.0, 0.01, 0.03])
    while True:
        nodes = core.state.nodes
        engine = Sites(machines, lambda node, nodes=nodes: nodes[node].site)  # type: ignore[misc]
        resume(engine, core.state)
        try:
            Loop(core, journal, clock, engine, [requests]).run()
        except Crash:
            requests.sent = requests.settled
            core = Core()
            core.fold((entry.at, entry.fact) for entry in journal.read(0))
            continue
        return world, core, journal


@pytest.mark.parametrize("seed", SEEDS)
def test_every_run_is_started_at_exactly_one_site_and_no_job_runs_at_two(seed: int) -> None:
    world, core, journal = simulate(seed)
    facts = [entry.fact for entry in journal.read(0)]
    assert not core.state.jobs
    assert not world.alive
    for run, sites in world.started.items():
        assert len(sites) == 1, f"{run} was started at {sites}"
    at = {
        fact.run: {core.state.nodes[task.node].site for task in fact.tasks}
        for fact in facts
        if isinstance(fact, f.RunPlaced)
    }
    reported = [fact.run for fact in facts if isinstance(fact, f.RunStarted)]
    assert len(reported) == len(set(reported))
    for run, (site,) in ((run, list(sites)) for run, sites in at.items()):
        assert world.started.get(run, [site]) == [site]
    assert set(reported) <= set(world.started)


def test_the_simulation_uses_what_it_is_about() -> None:
    kinds: set[str] = set()
    sites: set[str] = set()
    for seed in SEEDS:
        world, _, journal = simulate(seed)
        kinds |= {type(entry.fact).__name__ for entry in journal.read(0)}
        sites |= {site for started in world.started.values() for site in started}
    assert {"JobSwitched", "JobRequeued", "CapacityReserved"} <= kinds
    assert sites == set(SITES)


# ── one by one ────────────────────────────────────────────────────────────────────────────────────────────────────
class Site:
    """A site that notes what it hears, and answers if it is told to."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.says: list[f.Observation] = []
        self.down = False

    def send(self, orders: Sequence[Order]) -> None:
        self.heard += [order.run for order in orders]
        if self.down:
            raise OSError("no answer")

    def resume(self, runs: Sequence[StartRun]) -> None:
        if self.down:
            raise OSError("no answer")
        self.heard.append([order.run for order in runs])

    def next_time(self) -> int | None:
        return None

    def take(self, now: int) -> Sequence[f.Observation]:
        if self.down:
            raise OSError("no answer")
        said, self.says = self.says, []
        return said

    def read_log(self, run: str, task: int, offset: int, limit: int) -> bytes:
        raise KeyError(run)

    def close(self) -> None:
        self.heard.append("closed")


def two() -> tuple[Site, Site, Sites]:
    a, b = Site(), Site()
    return a, b, Sites({"a": a, "b": b}, lambda node: node[0])


def order(run: str, *nodes: str) -> StartRun:
    tasks = tuple(f.Task(node, "1") for node in nodes)
    return StartRun(run, run.rpartition(".")[0], "acme", "default", tasks, f.Resources(1), "", 0, 0)


def test_orders_go_to_the_site_of_the_run_alone_and_again_until_it_takes_them() -> None:
    a, b, sites = two()
    b.down = True
    sites.send([order("j-1.1", "a1"), order("j-2.1", "b1")])
    assert (a.heard, b.heard) == (["j-1.1"], ["j-2.1"])
    assert sites.next_time() == 0
    sites.take(0)
    assert sites.next_time() == RETRY_US
    b.down = False
    sites.take(1)
    assert b.heard == ["j-2.1"] * 2  # it did not answer
    sites.take(RETRY_US)
    assert b.heard == ["j-2.1"] * 3
    assert sites.next_time() is None
    assert a.heard == ["j-1.1"]


def test_after_a_restart_every_site_hears_what_it_should_have_even_if_that_is_nothing() -> None:
    a, b, sites = two()
    sites.resume([order("j-1.1", "b1")])
    assert (a.heard, b.heard) == ([[]], [["j-1.1"]])


def test_reports_of_runs_of_another_site_count_for_nothing() -> None:
    a, b, sites = two()
    sites.send([order("j-1.1", "a1")])
    b.says = [f.RunStarted("j-1.1", 1), f.RunEnded("j-1.1", 2, "exited", 0)]
    assert sites.take(1) == []
    a.says = [f.RunStarted("j-1.1", 1), f.RunEnded("j-1.1", 2, "exited", 0)]
    assert len(sites.take(1)) == 2
    a.says = [f.RunEnded("j-1.1", 2, "exited", 0)]
    assert sites.take(1) == []  # it is over


def test_a_run_at_two_sites_is_a_defect() -> None:
    _, _, sites = two()
    with pytest.raises(AssertionError, match=r"j-1\.1 is placed at several sites"):
        sites.send([order("j-1.1", "a1", "b1")])


def test_what_is_ordered_at_a_site_without_an_engine_waits_until_it_has_one() -> None:
    a, b, sites = two()
    assert sites.remove("b") is b
    sites.send([order("j-1.1", "b1"), order("j-2.1", "a1")])
    assert (a.heard, b.heard) == (["j-2.1"], [])
    assert sites.next_time() is None  # nobody waits for a site that is not there
    again = Site()
    sites.add("b", again, [order("j-1.1", "b1")], [StopRun("j-1.1", "cancel")])
    assert again.heard == [["j-1.1"], "j-1.1"]
    again.says = [f.RunEnded("j-1.1", 2, "stopped")]
    assert len(sites.take(1)) == 1


def test_a_site_that_is_to_go_brings_no_node_into_service_and_its_runs_are_still_heard() -> None:
    a, _, sites = two()
    sites.send([order("j-1.1", "a1")])
    sites.retire("a")
    a.says = [f.NodeAdded("a1", "a", 1, 1000, 1024), f.RunEnded("j-1.1", 2, "exited", 0)]
    assert sites.take(1) == [f.RunEnded("j-1.1", 2, "exited", 0)]
