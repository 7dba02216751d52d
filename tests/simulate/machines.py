# SPDX-License-Identifier: Apache-2.0
"""What really happens: the machines of a site and the engine on them. It outlives control planes and knows the truth.

An engine as the port wants it: idempotent by run id, remembers how runs ended, adopts what runs, never starts once more
what it has reported as started. Its links to the control plane (`ports`) fail, and so do its machines, as planned.
Called by the world. Times are true times; reports carry those of the machine's clock, which may jump.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from leitstand.core import facts as f
from leitstand.runtime.ports import Order, ResizeRun, StartRun, StopRun
from tests.simulate.checking import Broken
from tests.simulate.plan import Truth

if TYPE_CHECKING:
    from tests.simulate.world import World

WHOLE_MILLI: Final = 1000
PROMPT: Final = Truth(0)


@dataclass(slots=True)
class Live:
    """A run that has its places. `begun_us`: -1 before it starts; `left`: work, in tasks × µs of its least size, as of
    `since_us`; `fails`: how it will end by itself, '' well; `version`: of its end on the agenda."""

    order: StartRun
    tasks: tuple[f.Task, ...]
    truth: Truth
    left: int
    begun_us: int = -1
    begun_wall_us: int = 0
    since_us: int = 0
    fails: str = ""
    version: int = 0
    number: int = 0
    leaving: dict[int, tuple[f.Task, ...]] = field(default_factory=dict)
    stops_us: int = -1

    @property
    def width(self) -> int:
        return len(self.tasks) if self.order.nodes_most else 1

    def holds(self) -> list[f.Task]:
        return [*self.tasks, *(task for some in self.leaving.values() for task in some)]


class Machines:
    """Of one site. `over`: how runs ended, for ever; `busy`: of runs that started, from when to when by the machine's
    clock."""

    def __init__(self, site: str, world: "World", nodes: Sequence[f.NodeAdded]) -> None:
        self.site = site
        self.world = world
        self.nodes = {node.node: node for node in nodes}
        self.down: dict[str, None] = {}
        self.live: dict[str, Live] = {}
        self.over: dict[str, f.RunEnded] = {}
        self.resized: dict[str, f.RunResized] = {}
        self.failed: dict[str, int] = {}  # job → runs of it that failed by themselves
        self.saved: dict[str, int] = {}  # job → work that its checkpoints keep

    # ── orders ────────────────────────────────────────────────────────────────────────────────────────────────────
    def receive(self, order: Order) -> None:
        """Carry out."""
        if isinstance(order, StartRun):
            self._start(order)
        elif isinstance(order, ResizeRun):
            self._resize(order)
        else:
            self._stop(order)

    def resume(self, runs: Sequence[StartRun]) -> None:
        """Adopt, start, report, stop what is unknown."""
        wanted = {order.run for order in runs}
        for run in [run for run in self.live if run not in wanted]:
            self._end(run, "stopped")
        for order in runs:
            self._start(order)

    def _start(self, order: StartRun) -> None:
        run, live = order.run, self.live.get(order.run)
        if run in self.over:
            self._say(self.over[run])
        elif live is not None:
            if live.begun_us >= 0:
                self._say(f.RunStarted(run, live.begun_wall_us))
        elif order.started_us:  # it ran and nobody knows: never once more
            self.over[run] = f.RunEnded(run, self.world.wall_us, "lost", started_us=order.started_us)
            self._say(self.over[run])
        else:
            self._begin(order)

    def _begin(self, order: StartRun) -> None:
        """A run gets its places."""
        world, run = self.world, order.run
        if not world.is_ordered(run):
            raise Broken("orders_are_durable", f"{run} is to start at {self.site}, and no journal says so")
        twin = next((one for one in world.alive() if one.order.job == order.job), None)
        if twin is not None:
            raise Broken("runs_are_exactly_once", f"{run} starts while {twin.order.run} still runs")
        if run in world.started:
            raise Broken("runs_are_exactly_once", f"{run} starts once more")
        world.started[run] = self.site
        truth = world.plan.truths.get(order.spec, PROMPT)
        least = order.resources.nodes if order.nodes_most else 1
        work = max(truth.length_us - self.saved.get(order.job, 0), 1)
        live = Live(order, order.tasks, truth, work * least)
        failed = self.failed.get(order.job, 0)
        if failed < len(truth.fails):
            live.fails, live.left = truth.fails[failed], live.left // 2
        if any(task.node in self.down for task in order.tasks):
            live.fails = "start_failed"
        self.live[run] = live
        self._look_at_gpus(live)
        world.after(truth.start_us, lambda: self._begun(live))

    def _begun(self, live: Live) -> None:
        run, world = live.order.run, self.world
        if self.live.get(run) is not live or live.stops_us >= 0:
            return
        if live.fails == "start_failed":
            self.failed[live.order.job] = self.failed.get(live.order.job, 0) + 1
            self._end(run, "start_failed")
            return
        live.begun_us = live.since_us = world.now_us
        live.begun_wall_us = world.wall_us
        self._say(f.RunStarted(run, world.wall_us))
        self._plan_end(live)

    def _plan_end(self, live: Live) -> None:
        """Put its end on the agenda anew: the work is done, or its time is over."""
        live.version += 1
        version, limit_us = live.version, live.begun_us + live.order.max_duration_us
        done_us = live.since_us - (-live.left // live.width)
        end_us = min(done_us, limit_us) + (self.world.overstays() if done_us > limit_us else 0)
        self.world.after(
            max(end_us - self.world.now_us, 0), lambda: self._ends(live, version, done_us <= limit_us)
        )

    def _ends(self, live: Live, version: int, done: bool) -> None:
        run = live.order.run
        if self.live.get(run) is not live or live.version != version or live.stops_us >= 0:
            return
        if not done:
            self._end(run, "time_limit")
        elif not live.fails:
            self._end(run, "exited", 0)
        else:
            self.failed[live.order.job] = self.failed.get(live.order.job, 0) + 1
            if live.fails == "lost":
                self._end(run, "lost")
            else:
                self._end(run, "exited", 1, 9 if live.fails == "signal" else None)

    def _stop(self, order: StopRun) -> None:
        run, live = order.run, self.live.get(order.run)
        if live is None:
            if run in self.over:
                self._say(self.over[run])
            return
        if live.stops_us < 0:
            live.stops_us = self.world.now_us
            self.world.after(live.truth.stop_us + self.world.overstays(), lambda: self._stopped(live))

    def _stopped(self, live: Live) -> None:
        if self.live.get(live.order.run) is live:
            self._end(live.order.run, "stopped")

    def _resize(self, order: ResizeRun) -> None:
        run, live = order.run, self.live.get(order.run)
        if live is None or live.begun_us < 0 or live.stops_us >= 0:
            return
        if order.number <= live.number:
            if order.run in self.resized:
                self._say(self.resized[run])
            return
        live.number = order.number
        leaving = tuple(task for task in live.tasks if task not in order.tasks)
        live.left = max(live.left - live.width * (self.world.now_us - live.since_us), 0)
        live.since_us, live.tasks = self.world.now_us, order.tasks
        live.leaving[order.number] = leaving
        self._look_at_gpus(live)
        self._plan_end(live)
        self.world.after(live.truth.stop_us if leaving else 0, lambda: self._carried_out(live, order.number))

    def _carried_out(self, live: Live, number: int) -> None:
        run = live.order.run
        if self.live.get(run) is not live:
            return
        live.leaving.pop(number, None)
        if live.leaving and min(live.leaving) < number:
            self.world.after(1_000_000, lambda: self._carried_out(live, number))  # in the order of the orders
            return
        self.resized[run] = f.RunResized(run, number, self.world.wall_us)
        self._say(self.resized[run])

    def _end(self, run: str, outcome: str, exit_code: int | None = None, signal: int | None = None) -> None:
        """The run is gone, and that is known for ever."""
        live, wall_us = self.live.pop(run), self.world.wall_us
        begun_us = live.begun_wall_us if live.begun_us >= 0 else 0
        every_us = self.world.checkpoint_us(live.order.job)
        if every_us and live.begun_us >= 0:
            worked = (self.world.now_us - live.begun_us) // every_us * every_us
            self.saved[live.order.job] = self.saved.get(live.order.job, 0) + worked
        self.resized.pop(run, None)
        self.over[run] = f.RunEnded(run, wall_us, outcome, exit_code, signal, begun_us)
        self._say(self.over[run])

    def _say(self, report: f.Observation) -> None:
        self.world.report(self.site, report)

    # ── machines ──────────────────────────────────────────────────────────────────────────────────────────────────
    def _look_at_gpus(self, new: Live) -> None:
        """No GPU serves more than it has, whatever the control plane believes."""
        for task in new.tasks:
            for other in self.live.values():
                if other is new:
                    continue
                for held in other.holds():
                    if held.node == task.node and held.bits & task.bits:
                        milli = new.order.resources.gpu_milli + other.order.resources.gpu_milli
                        shares = new.order.resources.gpu_milli and other.order.resources.gpu_milli
                        if not shares or milli > WHOLE_MILLI:
                            raise Broken(
                                "machines_are_not_shared",
                                f"{new.order.run} and {other.order.run} both have GPUs {held.mask} of {held.node}",
                            )

    def fleet(self) -> list[f.Observation]:
        """What a starting control plane finds here; nodes that are down are not there."""
        return [node for name, node in self.nodes.items() if name not in self.down]

    def lose(self, node: str, partly: bool) -> None:
        """The node is gone; `partly`: gangs with tasks elsewhere go on there until they are told to end."""
        self.down[node] = None
        self.world.report(self.site, f.NodeRemoved(node, failed=True), is_of_node=True)
        for run, live in list(self.live.items()):
            if all(task.node != node for task in live.holds()):
                continue
            if not partly or all(task.node == node for task in live.tasks):
                self._end(run, "lost")

    def leave(self, node: str) -> None:
        """The node takes no new run."""
        self.down[node] = None
        self.world.report(self.site, f.NodeRemoved(node), is_of_node=True)

    def back(self, node: f.NodeAdded) -> None:
        """The node is in service, perhaps with other amounts."""
        self.down.pop(node.node, None)
        self.nodes[node.node] = node
        self.world.report(self.site, node, is_of_node=True)

    def forget(self, who: int, after_us: int) -> None:
        """A run is gone, and nobody saw it end."""
        runs = sorted(self.live)
        if not runs:
            return
        live = self.live.pop(runs[who % len(runs)])
        run, begun_us = live.order.run, live.begun_wall_us if live.begun_us >= 0 else 0
        self.over[run] = f.RunEnded(run, self.world.wall_us, "lost", started_us=begun_us)
        self.world.after(after_us, lambda: self._say(self.over[run]))
