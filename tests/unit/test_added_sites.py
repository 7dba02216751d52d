# SPDX-License-Identifier: Apache-2.0
"""What the writer does with the sites of the book: opens, changes and closes engines while the loop runs."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from leitstand.app.added_sites import AddedSites, Around
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.engines import health
from leitstand.engines.book import SiteBook
from leitstand.engines.health import Health
from leitstand.engines.sitefile import SiteFile
from leitstand.runtime.loop import orders_of
from leitstand.runtime.ports import Engine, StartRun
from leitstand.runtime.sites import Sites
from tests.unit.test_site_file import made

PATIENCE_S = 30.0


class Cluster(Engine):
    """Notes what it is told; `let_go`: what `close` waits for."""

    def __init__(self, file: SiteFile, known: frozenset[str]) -> None:
        self.file, self.known = file, known
        self.health = Health("", 1, 1)
        self.heard: list[Any] = []
        self.says: list[f.Observation] = []
        self.let_go = threading.Event()
        self.let_go.set()
        self.closed = False

    def next_time(self) -> int | None:
        return None

    def take(self, now: int) -> Sequence[f.Observation]:
        said, self.says = self.says, []
        return said

    def send(self, orders: Sequence[Any]) -> None:
        self.heard += [order.run for order in orders]

    def resume(self, runs: Sequence[StartRun]) -> None:
        self.heard.append([run.run for run in runs])

    def read_log(self, run: str, task: int, offset: int, limit: int) -> bytes:
        raise KeyError(run)

    def close(self) -> None:
        assert self.let_go.wait(PATIENCE_S)
        self.closed = True


class World:
    """A core whose engines are behind `Sites`, one cycle at a time."""

    def __init__(self, folder: Path) -> None:
        self.core = Core()
        self.book = SiteBook(folder / "sites")
        self.health = folder / "sites.health"
        self.local = Cluster(made("here"), frozenset())
        self.opened: list[Cluster] = []
        self.refuses = False
        self.sites = Sites({"local": self.local}, lambda node: self.core.state.nodes[node].site)
        self.woken = threading.Event()
        self.now = 0
        self.cycle(f.TenantAdded("acme"), f.SiteAdded("local", "local"))
        self.added: AddedSites | None = None

    def open(self) -> None:
        around = Around(self._open, self.woken.set, self.health)
        self.added = AddedSites(self.book, self.sites, self.core.state, around)

    def _open(self, file: SiteFile, known: frozenset[str]) -> Cluster:
        if self.refuses:
            raise ValueError("nobody can open it")
        self.opened.append(Cluster(file, known))
        return self.opened[-1]

    def cycle(self, *seen: f.Observation) -> list[f.Fact]:
        self.now += 1_000_000
        facts = list(self.core.cycle(self.now, seen))
        self.sites.send(orders_of(self.core.state, facts))
        return facts

    def step(self) -> list[f.Fact]:
        """A cycle of the loop."""
        assert self.added is not None
        return self.cycle(*self.sites.take(self.now), *self.added.take(self.now))

    def until(self, look: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not look():
            assert time.monotonic() < deadline, what
            self.woken.wait(0.005)
            self.woken.clear()
            self.step()

    def runs(self) -> list[str]:
        return list(self.core.state.runs)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("leitstand.app.added_sites.LOOK_S", 0.002)
    found = World(tmp_path)
    yield found
    for one in found.opened:
        one.let_go.set()
    if found.added is not None:
        found.added.close()


def with_a_run(world: World) -> Cluster:
    """One site, with a node and a run on it."""
    world.book.put(made())
    world.open()
    (cluster,) = world.opened
    cluster.says = [f.SiteAdded("aachen", "slurm"), f.NodeAdded("aachen.n1", "aachen", 1, 8000, 8192)]
    world.step()
    world.cycle(f.SubmitJob("acme", "default", f.Resources(1), max_duration_us=3_600_000_000))
    assert world.runs() == ["acme-1.1"]
    assert cluster.heard == [[], "acme-1.1"]
    return cluster


def test_a_site_that_is_added_while_the_loop_runs_is_opened(world: World) -> None:
    world.open()
    assert world.opened == []
    world.book.put(made())
    world.until(lambda: world.opened, "it is opened")
    assert world.opened[0].heard == [[]]


def test_a_start_opens_what_the_book_says_and_tells_it_which_runs_should_exist(world: World) -> None:
    world.cycle(f.SiteAdded("aachen", "slurm"), f.NodeAdded("aachen.n1", "aachen", 1, 8000, 8192))
    world.cycle(f.SubmitJob("acme", "default", f.Resources(1)))
    world.book.put(made())
    world.open()
    assert (world.opened[0].known, world.opened[0].heard) == ({"aachen.n1"}, [["acme-1.1"]])


def test_a_site_that_changes_is_closed_first_then_opened_with_its_runs(world: World) -> None:
    before = with_a_run(world)
    before.let_go.clear()
    world.book.put(made(account="other"))
    world.until(lambda: "aachen" not in world.sites.engines, "it is being closed")
    world.cycle(f.CancelJob("acme-1"))  # ordered while it has no engine
    assert len(world.opened) == 1
    before.let_go.set()
    world.until(lambda: len(world.opened) == 2, "it is opened again")
    assert before.closed
    assert world.opened[1].heard == [["acme-1.1"], "acme-1.1"]
    assert world.opened[1].known == {"aachen.n1"}


def test_a_site_that_is_removed_takes_nothing_new_and_keeps_its_engine_until_its_last_run_is_over(
    world: World,
) -> None:
    cluster = with_a_run(world)
    world.book.remove("aachen")
    world.until(lambda: not world.core.state.nodes["aachen.n1"].in_service, "its node is out of service")
    cluster.says = [f.NodeAdded("aachen.n2", "aachen", 1, 8000, 8192)]
    world.step()
    assert "aachen.n2" not in world.core.state.nodes
    assert not cluster.closed
    cluster.says = [f.RunStarted("acme-1.1", world.now), f.RunEnded("acme-1.1", world.now, "exited", 0)]
    world.step()
    assert world.runs() == []
    world.step()
    world.until(lambda: cluster.closed, "it is closed")
    assert list(world.sites.engines) == ["local"]


def test_a_site_that_comes_back_before_its_last_run_is_over_is_opened_again(world: World) -> None:
    cluster = with_a_run(world)
    world.book.remove("aachen")
    world.until(lambda: not world.core.state.nodes["aachen.n1"].in_service, "it leaves")
    world.book.put(made())
    world.until(lambda: len(world.opened) == 2, "it is opened again")
    assert cluster.closed
    assert world.opened[1].heard == [["acme-1.1"]]


def test_the_nodes_of_a_site_that_is_in_no_book_take_nothing_new(world: World) -> None:
    world.cycle(f.SiteAdded("gone", "slurm"), f.NodeAdded("gone.n1", "gone", 1, 8000, 8192))
    world.open()
    assert world.added is not None
    assert world.added.next_time() == 0
    world.step()
    assert not world.core.state.nodes["gone.n1"].in_service
    assert world.added.next_time() is None


def test_a_page_that_somebody_spoils_closes_nothing_but_a_start_puts_nothing_there(
    world: World, tmp_path: Path
) -> None:
    cluster = with_a_run(world)
    (tmp_path / "sites" / "aachen.json").write_text("{")
    world.until(lambda: "aachen" in health.read(world.health), "its health is kept")
    assert (cluster.closed, list(world.sites.engines)) == (False, ["local", "aachen"])
    assert world.core.state.nodes["aachen.n1"].in_service
    assert world.added is not None
    world.added.close()
    world.sites = Sites({"local": world.local}, lambda node: world.core.state.nodes[node].site)
    world.open()
    world.step()
    assert not world.core.state.nodes["aachen.n1"].in_service
    assert world.runs() == ["acme-1.1"]


def test_health_is_kept_also_of_what_cannot_be_opened(world: World) -> None:
    world.book.put(made())
    world.refuses = True
    world.open()
    world.until(lambda: "aachen" in health.read(world.health), "it is kept")
    assert "nobody can open it" in health.read(world.health)["aachen"].error
    world.refuses = False
    world.book.put(made(account="x"))
    world.until(lambda: health.read(world.health)["aachen"].error == "", "it is well and kept")
