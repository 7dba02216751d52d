# SPDX-License-Identifier: Apache-2.0
"""Several sites behind one Engine: each run is handed to the engine of its own site, and to no other. Used by the loop
in place of a single engine.

The site of a run is that of the nodes in its `RunPlaced`, so it is fixed by the journal: a retry, a lost answer or a
restart can only say the same order to the same site again, where it is idempotent by run id. A report counts only if it
comes from the site of its run. What a site does not take now (OSError) is said to it again, in order, until it does.
Sites come and go while the loop runs: what is ordered at one that has no engine waits until it has one again.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from leitstand.core.facts import NodeAdded, Observation, RunEnded, RunResized, RunStarted
from leitstand.core.units import SECOND_US
from leitstand.runtime.ports import Engine, Order, StartRun

RETRY_US: Final = 5 * SECOND_US  # after which a site that could not be reached is tried again

_log = logging.getLogger(__name__)


class Sites(Engine):
    """See the module. `engines` by site, in their order; `site_of`: the site of a node. Orders that wait for a site are
    at most a start, a stop and its resizings for each run that lives there."""

    def __init__(self, engines: Mapping[str, Engine], site_of: Callable[[str], str]) -> None:
        self.engines = dict(engines)
        self._site_of = site_of
        self._runs: dict[str, str] = {}  # run → its site, while it lives
        self._known: dict[str, list[StartRun]] = {}  # site → runs that it has yet to be told to resume
        self._leaving: set[str] = set()
        self._orders: dict[str, list[Order]] = {site: [] for site in self.engines}
        self._retry_us = 0

    # ── orders ────────────────────────────────────────────────────────────────────────────────────────────────────
    def send(self, orders: Sequence[Order]) -> None:
        """Each order to the site of its run."""
        for order in orders:
            site = self._belongs(order) if isinstance(order, StartRun) else self._runs.get(order.run)
            if site is not None:  # else the run is over
                self._orders.setdefault(site, []).append(order)
        self._flush()

    def resume(self, runs: Sequence[StartRun]) -> None:
        """Every site hears which runs it should have, also if that is none: what else it has it stops."""
        self._runs.clear()
        self._orders = {site: [] for site in self.engines}
        self._known = {site: [] for site in self.engines}
        for run in runs:
            self._known.setdefault(self._belongs(run), []).append(run)
        self._flush()

    def add(self, site: str, engine: Engine, runs: Sequence[StartRun], orders: Sequence[Order]) -> None:
        """A site has come, or is there again: these runs should exist there, and this is ordered of them."""
        assert site not in self.engines, f"site {site} has an engine"
        self.engines[site] = engine
        self._leaving.discard(site)
        self._runs.update((run.run, site) for run in runs)
        self._known[site], self._orders[site] = list(runs), list(orders)
        self._flush()

    def retire(self, site: str) -> None:
        """Nothing new goes to the site: of nodes that come into service there nobody hears. What runs there runs on."""
        self._leaving.add(site)

    def remove(self, site: str) -> Engine:
        """The engine of the site, which has none from now on."""
        self._leaving.discard(site)
        return self.engines.pop(site)

    def _belongs(self, order: StartRun) -> str:
        sites = {self._site_of(task.node) for task in order.tasks}
        assert len(sites) == 1, f"run {order.run} is placed at several sites"
        site = self._runs[order.run] = sites.pop()
        return site

    def _flush(self) -> None:
        """Say to each site that has an engine what it was not told yet."""
        for site, engine in self.engines.items():
            try:
                if site in self._known:
                    engine.resume(self._known[site])
                    del self._known[site]
                if self._orders.get(site):
                    engine.send(self._orders[site])
                    self._orders[site] = []
            except OSError as error:
                _log.warning("site %s takes no orders now: %s", site, error)

    @property
    def _waits(self) -> bool:
        return any(site in self._known or self._orders.get(site) for site in self.engines)

    # ── reports ───────────────────────────────────────────────────────────────────────────────────────────────────
    def next_time(self) -> int | None:
        times = [time for engine in self.engines.values() if (time := engine.next_time()) is not None]
        if self._waits:
            times.append(self._retry_us)
        return min(times, default=None)

    def take(self, now: int) -> Sequence[Observation]:
        """What the sites report of their own runs, site by site. One that cannot be asked now is asked later."""
        if self._waits and now >= self._retry_us:
            self._flush()
            self._retry_us = now + RETRY_US
        taken: list[Observation] = []
        for site, engine in self.engines.items():
            try:
                reports = engine.take(now)
            except OSError as error:
                _log.warning("site %s reports nothing now: %s", site, error)
                continue
            taken += [report for report in reports if self._is_from(site, report)]
        return taken

    def _is_from(self, site: str, report: Observation) -> bool:
        if isinstance(report, NodeAdded):
            return site not in self._leaving
        if not isinstance(report, RunStarted | RunResized | RunEnded):
            return True
        own = self._runs.get(report.run)
        if own != site:
            if own is not None:
                _log.warning("site %s reports run %s of site %s: passed over", site, report.run, own)
            return False  # or it is over, and said again
        if isinstance(report, RunEnded):
            del self._runs[report.run]
        return True

    def read_log(self, run: str, task: int, offset: int, limit: int) -> bytes:
        """From the site of the run; of one that is over, from the first that knows it."""
        site = self._runs.get(run)
        named = [self.engines[site]] if site in self.engines else []
        for engine in self.engines.values() if site is None else named:
            try:
                return engine.read_log(run, task, offset, limit)
            except KeyError:
                continue
        raise KeyError(f"run {run}: no site has a log of it")

    def close(self) -> None:
        for engine in self.engines.values():
            engine.close()
