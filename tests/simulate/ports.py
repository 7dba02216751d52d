# SPDX-License-Identifier: Apache-2.0
"""The ports of one control plane, all of which fail as planned: its journal, its clock, its links to the sites, the
clients at its door. Each writer process has its own; what is stored, and the machines, outlive it. Called by the world.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from leitstand.core import facts as f
from leitstand.core.decision import Answer
from leitstand.runtime.loop import Settling
from leitstand.runtime.ports import Engine, Entry, Head, Journal, JournalFull, Order, StartRun
from tests.simulate.plan import Ask

if TYPE_CHECKING:
    from tests.simulate.world import World

ENDS: Final = ("append_fails", "append_full", "append_unknown")


class Died(Exception):
    """The writer process is gone, for `down_us`."""

    def __init__(self, down_us: int) -> None:
        super().__init__(f"the writer is down for {down_us} µs")
        self.down_us = down_us


class Paused(Exception):
    """The writer process sleeps, and another one takes over."""


class Desk(Journal):
    """One writer's handle on the journal that is stored: it knows the head that it wrote itself, and no other."""

    def __init__(self, world: "World", head: Head) -> None:
        self.world = world
        self._head = head

    @property
    def head(self) -> Head:
        return self._head

    def append(self, head: Head, at: int, facts: Sequence[f.Fact]) -> Head:
        world = self.world
        slow = world.due("append_slow")
        if slow is not None:
            world.now_us += slow.value_us
        if (fault := world.due("append_fails")) is not None:
            raise Died(fault.value_us)
        if (fault := world.due("append_full")) is not None:
            world.down_us = fault.value_us
            raise JournalFull("no room")
        self._head = world.store.append(head, at, facts)
        if (fault := world.due("append_unknown")) is not None:
            raise Died(fault.value_us)
        return self._head

    def read(self, after: int, limit: int | None = None) -> Iterator[Entry]:
        return self.world.store.read(after, limit)

    def close(self) -> None:
        """Nothing to let go."""


class FaultyClock:
    """`leitstand.runtime.clock.LiveClock` on a machine whose clock jumps, in true time that jumps to what comes next.
    Stamps are those of that clock: max(wall, last), no two alike."""

    def __init__(self, world: "World", last: int) -> None:
        self.world = world
        self._last = self._stamp = last

    @property
    def lag_us(self) -> int:
        """How far the wall clock is behind the last stamp."""
        return max(0, self._last - self.world.wall_us)

    def wait(self, due: int | None) -> int | None:
        until_us = None
        if due is not None:
            until_us = self.world.now_us + max(0, due - self._now())
        if not self.world.pass_time(until_us):
            return None
        self._last = max(self._now(), self._stamp + 1)
        self._stamp = self._last
        self.world.stamps.append(self._stamp)
        return self._stamp

    def _now(self) -> int:
        self._last = max(self._last, self.world.wall_us)
        return self._last


class Link(Engine):
    """From one control plane to the engine of a site. Orders of a run stay in order, and arrive in the end as long as
    the control plane lives; what is under way when it dies may arrive or not."""

    def __init__(self, world: "World", site: str, refuses: bool) -> None:
        self.world = world
        self.site = site
        self.refuses = refuses  # errors are for `Sites`, which asks again
        self.reports: list[f.Observation] = []
        self._busy_us: dict[str, int] = {}  # run → nothing of it arrives before

    def next_time(self) -> int | None:
        return 0 if self.reports else None

    def take(self, now: int) -> Sequence[f.Observation]:
        if self.reports and self.refuses and self.world.due("reports_refused") is not None:
            raise OSError("no answer")
        said, self.reports = self.reports, []
        if len(said) > 1 and self.world.due("reports_reordered") is not None:
            of_runs = (f.RunStarted, f.RunResized, f.RunEnded)
            said = [one for one in said if not isinstance(one, of_runs)] + [
                one for one in reversed(said) if isinstance(one, of_runs)
            ]
        return said

    def send(self, orders: Sequence[Order]) -> None:
        if self.refuses and self.world.due("order_refused") is not None:
            raise OSError("takes nothing")
        for number, order in enumerate(orders):
            if number and (fault := self.world.due("crash_in_send")) is not None:
                raise Died(fault.value_us)
            self._hand_over(order)
        if self.refuses and self.world.due("order_unanswered") is not None:
            raise OSError("no answer")

    def resume(self, runs: Sequence[StartRun]) -> None:
        if self.refuses and self.world.due("order_refused") is not None:
            raise OSError("takes nothing")
        self.world.machines[self.site].resume(runs)

    def _hand_over(self, order: Order) -> None:
        world, machines = self.world, self.world.machines[self.site]
        late = world.due("order_late") or world.due("order_lost")
        at_us = max(world.now_us + (late.value_us if late else 0), self._busy_us.get(order.run, 0))
        self._busy_us[order.run] = at_us
        if at_us <= world.now_us:
            machines.receive(order)
        else:
            world.after(at_us - world.now_us, lambda: machines.receive(order))
        again = world.due("order_doubled")
        if again is not None:
            world.after(at_us - world.now_us + again.value_us, lambda: machines.receive(order))

    def read_log(self, run: str, task: int, offset: int, limit: int) -> bytes:
        raise KeyError(run)

    def close(self) -> None:
        """Runs go on."""


class Door(Settling):
    """The inbox of one control plane: what clients ask is decided in the next cycle and answered when it is durable."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.queue: list[Ask] = []
        self.taken: list[Ask] = []

    def next_time(self) -> int | None:
        return 0 if self.queue else None

    def take(self, now: int) -> Sequence[f.Observation]:
        self.taken, self.queue = self.queue, []
        return [self.world.worded(ask) for ask in self.taken]

    def settle(self, answers: Sequence[Answer], head: Head) -> None:
        if self.taken and (fault := self.world.due("crash_before_settle")) is not None:
            raise Died(fault.value_us)
        for ask, answer in zip(self.taken, answers, strict=True):
            self.world.settled(ask, answer)
        self.taken = []


class Opening:
    """What a starting control plane has to say, once: its code, the rules, the fleet as it is."""

    def __init__(self, seen: list[f.Observation]) -> None:
        self._seen = seen

    def next_time(self) -> int | None:
        return 0 if self._seen else None

    def take(self, now: int) -> list[f.Observation]:
        seen, self._seen = self._seen, []
        return seen
