# SPDX-License-Identifier: Apache-2.0
"""Plays a plan: machines, clients, what fails, and one control plane after the other, looked at after every cycle.
Called by `__main__`, `shrink` and the tests.

    true time ─ agenda: requests, ends of runs, deliveries, faults
        └▶ wall clock (jumps) ─▶ stamps ─▶ the real Loop: take ▸ Core.cycle ▸ append ▸ send ▸ settle ─▶ checks
"""

import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.decision import Answer
from leitstand.core.rules import digest
from leitstand.core.state import Projection, State
from leitstand.core.units import HOUR_US, MINUTE_US, SECOND_US
from leitstand.journal.memory import MemoryJournal
from leitstand.runtime import loop as runtime
from leitstand.runtime.ports import Entry, Head, JournalFull, StaleHead
from leitstand.runtime.sites import Sites
from tests.simulate import checking, checks, records, shares
from tests.simulate.checking import Broken
from tests.simulate.machines import Live, Machines
from tests.simulate.plan import START_US, Ask, Fault, Plan
from tests.simulate.ports import Desk, Died, Door, FaultyClock, Link, Opening, Paused
from tests.simulate.tally import Tally

LAG_MAX_US: Final = 60 * SECOND_US  # as the writer has it: with more it does not start
CYCLES_MAX: Final = 20_000
AT_ONCE_MAX: Final = 400  # cycles at one true time
CHECKS: Final = (checks, shares, records)  # they are told to `checking` by being imported
TIMED: Final = ("node", "gpu", "clock", "engine")


@dataclass(slots=True)
class Plane:
    """A writer process."""

    core: Core
    loop: runtime.Loop
    clock: FaultyClock
    links: dict[str, Link]
    door: Door
    opening: Opening
    has_decided: bool = False


@dataclass(slots=True)
class Outcome:
    """What came of a plan. `broken`: the check that failed, None: none did."""

    plan: Plan
    broken: Broken | None = None
    cycles: int = 0
    facts: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    looks: Counter[str] = field(default_factory=Counter)
    states: set[int] = field(default_factory=set)
    digest: str = ""
    entries: list[Entry] = field(default_factory=list)
    told: list[tuple[int, str]] = field(default_factory=list)  # (true time, what happened beside the journal)


def play(plan: Plan, keep: bool = False) -> Outcome:
    """Play the plan to its end, or to the first check that fails. `keep`: the entries, for a story."""
    world = World(plan)
    out = world.out
    try:
        world.run()
    except Broken as broken:
        out.broken = broken
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        line = f"{where.filename.rpartition('leitstand/')[2]}:{where.lineno}"
        out.broken = Broken("the_writer_lives", f"{type(error).__name__} at {line}: {error}")
    out.digest = world.store.head.hash.hex()
    out.facts = world.store.head.seq
    if keep:
        out.entries = list(world.store.read(0))
    return out


class World:
    """See the module. Everything beside the control plane, which comes and goes."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.out = Outcome(plan)
        self.now_us = START_US
        self.skew_us = 0
        self.down_us = 0
        self.store = MemoryJournal(f"seed-{plan.seed}")
        self.tally = Tally()
        self.notes: dict[str, Any] = {}  # what checks remember
        self.machines = {
            site.site: Machines(site.site, self, [node for node in plan.nodes if node.site == site.site])
            for site in plan.sites
        }
        self.started: dict[str, str] = {}  # run → where, of all that ever got places
        self.said: dict[str, f.RunEnded] = {}  # run → what its engine says of its end
        self.plane: Plane | None = None
        self.snapshot: tuple[Head, bytes] | None = None
        self.cycles_at = (0, 0)
        self.looked_seq = 0
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0
        self._woken = False
        self.overtaken = False
        self.restarts = -1
        self.stamps: list[int] = []  # of all cycles but those that were lost
        self.bound_us, self.patience_us = plan.bound_us, plan.patience_us
        self.moved_us = plan.quiet_us  # when something started or ended last
        self._waits: dict[str, Ask] = {}  # asked and not answered
        self.answers: dict[str, Answer] = {}
        self._pending: dict[str, deque[Fault]] = {}
        self._fill()

    def _fill(self) -> None:
        plan = self.plan
        for ask in plan.asks:
            self._at(ask.at_us, lambda ask=ask: self._asked(ask))  # type: ignore[misc]
        for fault in plan.faults:
            if fault.kind.startswith(TIMED) or fault.kind in ("crash", "second_writer"):
                self._at(fault.at_us, lambda fault=fault: self._fails(fault))  # type: ignore[misc]
            else:
                self._pending.setdefault(fault.kind, deque()).append(fault)
        self._at(plan.quiet_us, self._becomes_quiet)
        self._at(plan.quiet_us + 1, self._frees_everybody)

    # ── the main path ─────────────────────────────────────────────────────────────────────────────────────────────
    def run(self) -> None:
        """Until nothing can happen any more."""
        while True:
            try:
                self._start()
                assert self.plane is not None
                self.plane.loop.run()
                break
            except Died as died:
                self._dies(died.down_us)
            except JournalFull:
                self._dies(self.down_us)
            except StaleHead as error:  # right if it slept while another one wrote
                if not self.overtaken:
                    raise
                self.overtaken = False
                self.tell(f"the writer is fenced: {error}")
                self.plane = None
            except Paused:
                self.plane = None
        checking.at_the_end(self)

    def _start(self) -> None:
        """A writer process restores, adopts, opens its door; as `leitstand.app.writer` does."""
        self.restarts += 1
        lag_us = self.store.head.at - self.wall_us
        if lag_us > LAG_MAX_US:
            self._pass_without_plane(self.now_us + lag_us - LAG_MAX_US)
        state, head = self.restored()
        core = Core(state)
        clock = FaultyClock(self, head.at)
        door, opening = Door(self), Opening(self._opening(state))
        links = {site: Link(self, site, self.plan.through_sites) for site in self.machines}
        engine = next(iter(links.values()))
        if self.plan.through_sites:
            engine = Sites(links, lambda node: core.state.nodes[node].site)  # type: ignore[assignment]
        loop = runtime.Loop(core, Desk(self, head), clock, engine, [opening, door])
        self.plane = Plane(core, loop, clock, links, door, opening)
        for ask in list(self._waits.values()):
            self._asks(ask)
        now = clock.wait(0)
        assert now is not None
        runtime.resume(engine, state)
        loop.step(now)
        self.plane.has_decided = True

    def _opening(self, state: State) -> list[f.Observation]:
        plan = self.plan
        seen: list[f.Observation] = [f.WriterStarted("simulated")]
        if not state.rules_digest:
            seen.append(f.RulesSet(plan.rules, digest(plan.rules)))
        for tenant, (kind, further) in plan.tenants.items():
            if tenant not in state.tenants:
                seen.append(a.TenantAdded(tenant, kind))
            seen += [a.ProjectAdded(tenant, project) for project in further]
        seen += plan.sites
        fleet = [one for machines in self.machines.values() for one in machines.fleet()]
        seen += fleet
        present = {one.node for one in fleet if isinstance(one, f.NodeAdded)}
        seen += [f.NodeRemoved(node) for node in state.nodes if node not in present]
        if not self.tally.seq:
            seen += [a.EntitlementsChanged(pool, said) for pool, said in plan.entitled.items()]
        return seen

    def restored(self) -> tuple[State, Head]:
        """The state from the latest snapshot, if there is one, and the rest of the journal; then it is compared with a
        full fold."""
        state, after, head = State(), 0, self.store.head
        if self.snapshot is not None:
            taken, body = self.snapshot
            state, after = State.restore(msgspec.msgpack.decode(body, type=Projection)), taken.seq
        for entry in self.store.read(after):
            state.apply(entry.at, entry.fact)
        if after:
            records.refold_equals_state(self, state)
        return state, head

    def _dies(self, down_us: int) -> None:
        self.tell(f"the writer is gone, for {down_us / SECOND_US:g} s")
        self.stamps[-1:] = []
        self.plane = None
        self._pass_without_plane(self.now_us + down_us)

    # ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def paced(self) -> bool:
        """Whether rules ever set a pace of starts."""
        bundles = [
            self.plan.rules,
            *(ask.what.rules for ask in self.plan.asks if isinstance(ask.what, f.RulesSet)),
        ]
        return any(rules.sharing.start_interval_us for rules in bundles)

    @property
    def wall_us(self) -> int:
        """What the clocks of the machines show."""
        return self.now_us + self.skew_us

    def after(self, us: int, do: Callable[[], None]) -> None:
        """Put it on the agenda."""
        self._at(self.now_us + us, do)

    def _at(self, at_us: int, do: Callable[[], None]) -> None:
        self._number += 1
        heappush(self._agenda, (at_us, self._number, do))

    def pass_time(self, until_us: int | None) -> bool:
        """Let time pass until then (None: until something happens), or until the control plane is woken. False: nothing
        can happen any more."""
        self._looked()
        agenda = self._agenda
        while agenda and (until_us is None or agenda[0][0] <= until_us) and not self._woken:
            at_us, _, do = heappop(agenda)
            self.now_us = max(self.now_us, at_us)
            do()
        if self._woken:
            self._woken = False
            return True
        if until_us is None:
            return False
        self.now_us = max(self.now_us, until_us)
        return True

    def _pass_without_plane(self, until_us: int) -> None:
        while self._agenda and self._agenda[0][0] <= until_us:
            at_us, _, do = heappop(self._agenda)
            self.now_us = max(self.now_us, at_us)
            do()
        self.now_us = max(self.now_us, until_us)

    # ── looking ───────────────────────────────────────────────────────────────────────────────────────────────────
    def _looked(self) -> None:
        """A cycle is over: look at it."""
        self.out.cycles += 1
        at, same = self.cycles_at
        self.cycles_at = (self.now_us, same + 1 if at == self.now_us else 1)
        if self.cycles_at[1] > AT_ONCE_MAX or self.out.cycles > CYCLES_MAX:
            raise Broken("the_writer_rests", f"{self.cycles_at[1]} cycles at once, {self.out.cycles} in all")
        if self.now_us > self.bound_us or self.now_us > self.moved_us + self.patience_us:
            raise Broken("everything_ends", records.who_is_left(self))
        self.follow()
        if self.tally.seq > self.looked_seq and self.plane is not None and self.plane.has_decided:
            self.looked_seq = self.tally.seq
            checking.after_cycle(self)
            if self.plan.snapshot_every and not self.out.cycles % self.plan.snapshot_every:
                projection = msgspec.msgpack.encode(self.plane.core.state.project())
                self.snapshot = self.store.head, projection

    def follow(self) -> None:
        """Take up what is stored since last time, fact by fact."""
        if self.tally.seq == self.store.head.seq:
            return
        for entry in self.store.read(self.tally.seq):
            self.tally.seq = entry.seq
            checking.before_fact(self, entry.at, entry.fact)
            self.tally.apply(entry.at, entry.fact)
            if isinstance(entry.fact, f.RunPlaced | f.RunEnded | f.JobEnded):
                self.moved_us = max(self.now_us, self.plan.quiet_us)

    def is_ordered(self, run: str) -> bool:
        """Whether the journal says that the run is placed."""
        self.follow()
        return run in self.tally.placed

    def alive(self) -> Iterator[Live]:
        """The runs that have places on machines."""
        return (live for machines in self.machines.values() for live in machines.live.values())

    def tell(self, what: str) -> None:
        """For the story."""
        self.out.told.append((self.now_us, what))

    # ── clients ───────────────────────────────────────────────────────────────────────────────────────────────────
    def _asked(self, ask: Ask) -> None:
        self._waits[ask.key] = ask
        self._asks(ask)
        again = self.due("ask_doubled")
        if again is not None:
            self.after(again.value_us, lambda: self._asks(ask))

    def _asks(self, ask: Ask) -> None:
        """To the door, unless it is an act that the client sees to be done."""
        if self.plane is None:
            return
        if not isinstance(ask.what, f.SubmitJob | f.BookingMade) and ask.key in self.tally.acts:
            self.answers[ask.key] = Answer(self.tally.acts[ask.key])
            self._waits.pop(ask.key, None)
            return
        if ask.key in self._waits or isinstance(ask.what, f.SubmitJob | f.BookingMade):
            self.plane.door.queue.append(ask)
            self._woken = True

    def worded(self, ask: Ask) -> f.Observation:
        """The request with the ids that it is about."""
        what: Any = ask.what
        about = self.answers[ask.of].made if ask.of in self.answers else ""
        if isinstance(what, f.SubmitJob):
            after = tuple(
                f.Dependency(self.answers[key].made, how)
                for key, how in ask.after
                if key in self.answers and self.answers[key].made
            )
            return replace(what, after=after, booking=(about or "r999") if ask.of else "")
        if isinstance(what, f.CancelJob | f.HoldJob | f.ReleaseJob):
            return replace(what, job=what.job or about or "nobody-1", user=ask.key)
        if isinstance(what, a.MaintenanceCancelled):
            return replace(what, window=about or "m999")
        if isinstance(what, f.BookingCancelled):
            return replace(what, booking=about or "r999")
        return ask.what

    def settled(self, ask: Ask, answer: Answer) -> None:
        """The client has its answer."""
        self.follow()
        checks.answered(self, ask, answer)
        self.answers[ask.key] = answer
        self._waits.pop(ask.key, None)

    # ── reports ───────────────────────────────────────────────────────────────────────────────────────────────────
    def report(self, site: str, report: f.Observation, is_of_node: bool = False) -> None:
        """An engine says this; the link may fail it. What it says of its nodes comes in order."""
        if isinstance(report, f.RunEnded):
            self.said[report.run] = report
        if is_of_node:
            self._deliver(site, report)
            return
        late = self.due("report_late") or self.due("report_lost")
        if late is None:
            self._deliver(site, report)
        elif late.kind == "report_late" or late.who % 2 or not isinstance(report, f.RunStarted):
            self.after(late.value_us, lambda: self._deliver(site, report))
        again = self.due("report_doubled")
        if again is not None:
            self.after(again.value_us, lambda: self._deliver(site, report))

    def _deliver(self, site: str, report: f.Observation) -> None:
        if self.plane is not None:  # else it is said again when there is one
            self.plane.links[site].reports.append(report)
            self._woken = True

    # ── what fails ────────────────────────────────────────────────────────────────────────────────────────────────
    def due(self, kind: str) -> Fault | None:
        """The next fault of this kind, if it is due; it is used up."""
        waits = self._pending.get(kind)
        if not waits or waits[0].at_us > self.now_us or self.now_us >= self.plan.quiet_us:
            return None
        self._failed(waits[0])
        return waits.popleft()

    def overstays(self) -> int:
        """How much longer than it should an engine takes to end a run now, in µs."""
        fault = self.due("run_overstays")
        return fault.value_us if fault else 0

    def freed_us(self, job: str) -> int:
        """How long its engine takes to stop a run of the job."""
        truth = self.plan.truths.get(self.tally.jobs[job].said.spec)
        return truth.start_us + truth.stop_us if truth else 0

    def checkpoint_us(self, job: str) -> int:
        """How often the job saves its work."""
        said = self.tally.jobs.get(job)
        return said.said.checkpoint_every_us if said else 0

    def _failed(self, fault: Fault) -> None:
        self.out.faults[fault.kind] += 1
        self.tell(f"{fault.kind} ({fault.value_us / SECOND_US:g} s)")

    def _fails(self, fault: Fault) -> None:
        """A fault with a time of its own."""
        kind, value_us = fault.kind, fault.value_us
        if kind in ("crash", "second_writer") and self.plane is None:
            return
        self._failed(fault)
        if kind == "crash":
            raise Died(value_us)
        if kind == "second_writer":
            stale = self.plane
            assert stale is not None
            self.after(value_us, lambda: self._wakes(stale))
            raise Paused  # never again: whatever it finds when it wakes, it ends
        if kind.startswith("clock"):
            self.skew_us += value_us if kind == "clock_forward" else -value_us
        elif kind == "gpu_fails":
            self._loses_gpu(fault)
        elif kind.startswith("engine"):
            site = self.machines[self.plan.sites[fault.who % len(self.plan.sites)].site]
            if kind == "engine_forgets":
                site.forget(fault.who, value_us)
            else:
                self._invent(site.site, fault)
        else:
            self._loses_node(fault)

    def _loses_node(self, fault: Fault) -> None:
        node = self.plan.nodes[fault.who % len(self.plan.nodes)]
        machines = self.machines[node.site]
        if fault.kind == "node_shrinks":
            machines.back(replace(node, gpus=node.gpus // 2, cpus_milli=node.cpus_milli // 2))
        elif node.node in machines.down:
            return
        elif fault.kind == "node_leaves":
            machines.leave(node.node)
        else:
            machines.lose(node.node, fault.kind == "node_fails_partly")
        back_us = min(self.now_us + fault.value_us, self.plan.quiet_us)
        self._at(back_us, lambda: machines.back(node))

    def _loses_gpu(self, fault: Fault) -> None:
        """Its engine says so, until it is recorded; after a time the operator says that it is repaired."""
        node = self.plan.nodes[fault.who % len(self.plan.nodes)]
        gpu = fault.who % node.gpus if node.gpus else -1
        report = f.NodeReported(node.node, "xid", 79, gpu, max(self.wall_us, 1))
        before, burn_in = self.tally.reports.get(node.node, 0), "burn-in" if fault.who % 2 else ""

        def say(times: int) -> None:
            self.follow()
            if self.tally.reports.get(node.node, 0) == before and times:
                self._deliver(node.site, report)
                self.after(MINUTE_US, lambda: say(times - 1))
            elif node.node in self.tally.drained:
                self.after(fault.value_us, lambda: self._repairs(node, burn_in))

        say(20)

    def _repairs(self, node: f.NodeAdded, burn_in: str) -> None:
        """Until the node is back; at last without a burn-in, which may fail for ever."""
        self.follow()
        if node.node not in self.tally.drained:
            return
        spec = burn_in if self.now_us < self.plan.quiet_us else ""
        tenant = next(iter(self.plan.tenants))
        repaired = f.NodeRepaired(node.node, spec, tenant if spec else "", HOUR_US if spec else 0)
        self._deliver(node.site, repaired)
        self.after(MINUTE_US, lambda: self._repairs(node, burn_in))

    def _invent(self, site: str, fault: Fault) -> None:
        """Reports of a run that nobody ordered, and once more of one that is over."""
        tenant = next(iter(self.plan.tenants))
        over = sorted(self.tally.ends)
        names = [f"{tenant}-{900 + fault.who}.1", *over[fault.who % len(over) :][:1]] if over else []
        for run in names:
            self._deliver(site, f.RunStarted(run, self.wall_us))
            self._deliver(site, f.RunEnded(run, self.wall_us + fault.value_us, "exited", 1))

    def _wakes(self, stale: Plane) -> None:
        """A writer that slept while another one took over goes on where it was: it must not get far."""
        before, is_stale = self.store.head, self.store.head != stale.loop.journal.head
        stale.opening._seen.append(f.WriterStarted("stale"))
        try:
            stale.loop.step(max(self.wall_us, stale.clock._stamp + 1, before.at))
        except (StaleHead, Died, JournalFull):
            if self.store.head == before:
                return
        if is_stale:
            raise Broken("stale_writers_are_fenced", f"it appended after entry {before.seq}")
        self.overtaken = True  # the other one has written nothing yet: now that one is stale

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────
    def _becomes_quiet(self) -> None:
        """Nothing fails any more: clocks are right, nodes are back, whole."""
        self.tell("nothing fails any more")
        self.skew_us = 0
        for node in self.plan.nodes:
            machines = self.machines[node.site]
            if node.node in machines.down or machines.nodes[node.node] != node:
                machines.back(node)

    def _frees_everybody(self) -> None:
        """Every hour the operator releases what is held, resumes who is suspended, and lifts limits that came later."""
        self.follow()
        busy = self.tally.jobs or self._waits or self.now_us < self.plan.quiet_us + HOUR_US
        if busy and self.now_us < self.bound_us:
            self.after(HOUR_US, self._frees_everybody)
        wanted: list[tuple[str, f.Observation]] = [
            (f"free {job}", f.ReleaseJob(job)) for job, said in self.tally.jobs.items() if said.held
        ]
        wanted += [
            (f"free {one}", a.TenantResumed(one, by=f"free {one}")) for one in sorted(self.tally.suspended)
        ]
        if self.tally.contracts and self.tally.rules.discipline == "fair":
            for pool, said in self.tally.entitled.items():
                loose = tuple(a.Entitlement(node, 0, weight) for node, weight in said.items())
                key = f"free {pool}"
                wanted.append((key, a.EntitlementsChanged(pool, loose, by=key)))
        for key, what in wanted:
            self._asked(Ask(f"{key} {self.now_us}", self.now_us, _signed(what, f"{key} {self.now_us}")))


def _signed(what: Any, key: str) -> Any:
    return replace(what, by=key) if hasattr(what, "by") else what
