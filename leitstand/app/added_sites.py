# SPDX-License-Identifier: Apache-2.0
"""The sites that were added to this control plane, as engines of the writer. Made by `leitstand.app.writer`.

A thread looks at the book, so that the loop wakes only when something changed; the loop itself opens, and asks who is
gone. Engines are closed beside the loop: one may wait for a cluster that does not answer. A site that was removed keeps
its engine until the last run there is over.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from leitstand.core.facts import NodeRemoved, Observation
from leitstand.core.state import State
from leitstand.engines import health
from leitstand.engines.book import Mark, Pages, SiteBook
from leitstand.engines.health import Health
from leitstand.engines.local.gpus import SITE
from leitstand.engines.sitefile import SiteFile
from leitstand.runtime.loop import standing_orders, start_order
from leitstand.runtime.ports import Engine, Source
from leitstand.runtime.sites import Sites

LOOK_S: Final = 2.0
HEARD_S: Final = 10.0  # how old the time of the last answer may be in the file

_log = logging.getLogger("leitstand.sites")


class Cluster(Engine, Protocol):
    """An engine that says how its site is."""

    health: Health


class Around(msgspec.Struct, frozen=True):
    """`open(site, known)`: the engine of a site of which the journal knows these nodes; OSError, ValueError. `wake`:
    says to the loop that `take` has something. `health`: the file for it."""

    open: Callable[[SiteFile, frozenset[str]], Cluster]
    wake: Callable[[], None]
    health: Path


class AddedSites(Source):
    """See the module. `sites`: all engines of the loop, of which those of the book are seen to here."""

    def __init__(self, book: SiteBook, sites: Sites, state: State, around: Around) -> None:
        self._book = book
        self._sites = sites
        self._state = state
        self._around = around
        self._open: dict[str, tuple[SiteFile, Cluster]] = {}
        self._stamps: dict[str, int] = {}
        self._leaving: set[str] = set()
        self._wrong: dict[str, Health] = {}  # sites of the book that have no engine
        self._gone: list[str] = []  # whose nodes take nothing new from now on
        self._changes: deque[Pages] = deque()
        self._closed: deque[str] = deque()
        self._under_way: set[str] = set()  # engines that are being closed
        self._mark: Mark | None = None
        self._said: dict[str, Health] | None = None
        self._failed_to_say = False
        self._ending = threading.Event()
        self._look()
        self._follow(self._changes.popleft())
        self._gone = self._without_engine()
        self._thread = threading.Thread(target=self._watch, name="sites", daemon=True)
        self._thread.start()

    # ── the loop's side ───────────────────────────────────────────────────────────────────────────────────────────
    def next_time(self) -> int | None:
        return 0 if self._gone else None

    def take(self, now: int) -> Sequence[Observation]:
        """Opens and closes what the book says; nodes of sites that went take nothing new."""
        while self._changes:
            self._follow(self._changes.popleft())
        while self._closed:
            self._under_way.discard(self._closed.popleft())
            self._follow(self._book.read())
        for site in [one for one in sorted(self._leaving) if not self._lives(one)]:
            self._close(site)
        gone, self._gone = self._gone, []
        return [
            NodeRemoved(node.id)
            for site in gone
            for node in self._state.nodes.values()
            if node.site == site and node.in_service
        ]

    def close(self) -> None:
        """The engines themselves are closed with `sites`."""
        self._ending.set()
        self._thread.join()

    def _follow(self, pages: Pages) -> None:
        """Be as the book is."""
        self._wrong = {name: self._unwell(name, why) for name, why in pages.wrong.items()}
        there = {*pages.sites, *pages.wrong, *self._leaving}  # a page that was spoiled closes nothing
        for name in [one for one in self._open if one not in there]:
            self._leave(name)
        for name, file in pages.sites.items():
            if name in self._under_way:
                continue  # it is opened when that is done
            if name not in self._open:
                self._add(file)
            elif self._open[name][0] != file or name in self._leaving:
                self._close(name)
        self._stamps = pages.stamps  # last: no health of an engine that went counts for a new file

    def _add(self, file: SiteFile) -> None:
        state = self._state
        known = frozenset(node.id for node in state.nodes.values() if node.site == file.name)
        try:
            engine = self._around.open(file, known)
        except (OSError, ValueError) as error:
            _log.error("site %s cannot be opened: %s", file.name, error)
            self._wrong[file.name] = self._unwell(file.name, f"cannot be opened: {error}")
            self._gone.append(file.name)
            return
        _log.info("site %s is open", file.name)
        self._open[file.name] = file, engine
        runs = [run for run in state.runs.values() if state.nodes[run.tasks[0].node].site == file.name]
        self._sites.add(file.name, engine, [start_order(state, run) for run in runs], standing_orders(runs))

    def _leave(self, name: str) -> None:
        _log.info("site %s was removed: it takes nothing new", name)
        self._leaving.add(name)
        self._sites.retire(name)
        self._gone.append(name)

    def _close(self, name: str) -> None:
        """Let go of the engine beside the loop; once that is done, the book is read again."""
        self._leaving.discard(name)
        self._under_way.add(name)
        _, engine = self._open.pop(name)
        self._sites.remove(name)
        threading.Thread(
            target=self._let_go, args=(name, engine), name=f"closing-{name}", daemon=True
        ).start()

    def _let_go(self, name: str, engine: Cluster) -> None:
        engine.close()
        _log.info("site %s is closed", name)
        self._closed.append(name)
        self._around.wake()

    def _lives(self, site: str) -> bool:
        """Whether a run lives there."""
        return any(self._state.nodes[run.tasks[0].node].site == site for run in self._state.runs.values())

    def _without_engine(self) -> list[str]:
        """At a start: sites of the journal that nobody serves, so that nothing new goes there."""
        found = [one for one in self._state.sites if one != SITE and one not in self._open]
        for site in found:
            if self._lives(site):
                _log.error("site %s has no engine, and runs live there: add it again", site)
        return found

    def _unwell(self, name: str, why: str) -> Health:
        before = self._wrong.get(name)
        if before is not None and before.error == why:
            return before
        return Health(why, _now_us(), 0)

    # ── the thread ────────────────────────────────────────────────────────────────────────────────────────────────
    def _watch(self) -> None:
        while not self._ending.wait(LOOK_S):
            try:
                self._look()
            except OSError as error:
                _log.warning("the book of sites cannot be read now: %s", error)
            self._say()

    def _look(self) -> None:
        mark = self._book.mark()
        if mark != self._mark:
            pages = self._book.read()
            self._mark = mark
            self._changes.append(pages)
            self._around.wake()

    def _say(self) -> None:
        """Keep how the sites are, if it is not as it was."""
        stamps, sites = self._stamps, {name: one.health for name, (_, one) in list(self._open.items())}
        now = {
            name: msgspec.structs.replace(one, stamp=stamps.get(name, 0))
            for name, one in {**self._wrong, **sites}.items()
        }
        if self._said is not None and _alike(now, self._said):
            return
        try:
            health.keep(self._around.health, now)
            self._said, self._failed_to_say = now, False
        except OSError as error:
            if not self._failed_to_say:
                _log.warning("the health of the sites cannot be kept: %s", error)
            self._failed_to_say = True


def _alike(one: dict[str, Health], other: dict[str, Health]) -> bool:
    """Whether nothing changed, but for answers that are a little younger."""
    return one.keys() == other.keys() and all(
        msgspec.structs.replace(health, asked_us=0) == msgspec.structs.replace(other[name], asked_us=0)
        and health.asked_us - other[name].asked_us < HEARD_S * 1_000_000
        for name, health in one.items()
    )


def _now_us() -> int:
    return time.time_ns() // 1000
