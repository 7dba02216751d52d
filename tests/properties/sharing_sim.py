# SPDX-License-Identifier: Apache-2.0
"""The cycle of sharing in its plainest form, a cycle in each unit of time. Called by the property tests, which say what
arrives, ends, fails and changes, and look at what became of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from tests.properties.sharing_acts import Outcome, choose, gone, make_room, recallable
from tests.properties.sharing_model import (
    FOREVER,
    UNIT,
    Job,
    Promise,
    Run,
    World,
    as_run,
    by_leaf,
    capacity,
    ceiling,
    children,
    cover,
    guarantee,
    occupied,
    path,
    potential,
    root_of,
    safe,
    shares,
    standing,
    total,
    valid,
    with_due,
)
from tests.properties.sharing_room import Booking, arrange, arrange_all, booked, wished

RESERVED_MAX = 2  # heads of a leaf that hold a reservation
STARTS_MAX = 60  # acts of one cycle


@dataclass
class Simulation:
    """A world in time. `log`: (time, what, job, …) of all that happened. `lasts`: how long each job would run, which
    nobody knows beforehand. `broken`: claims of the model that did not hold, for the tests to find empty."""

    world: World
    lasts: dict[str, int] = field(default_factory=dict)
    plans: dict[str, Promise] = field(default_factory=dict)
    log: list[tuple[object, ...]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    deadline: dict[str, int] = field(default_factory=dict)  # of claims under promise 1
    excused: bool = False  # capacity was lost: promises may break
    order: int = 0

    # ── inputs ────────────────────────────────────────────────────────────────────────────────────────────────────
    def submit(self, job: Job, lasts: int, units: int = 0) -> None:
        """A job arrives; with units, it is elastic."""
        self.lasts[job.id] = min(lasts, job.limit)
        each = job.charge // job.tasks
        extra = (
            Job(f"{job.id}+{n}", job.leaf, each, job.order, UNIT, job.limit, 1, job.id) for n in range(units)
        )
        self._set(waiting=(*self.world.waiting, job, *extra))

    def cancel(self, id: str) -> None:
        """A job is withdrawn, waiting or running."""
        self._forget(id)
        self._set(runs=tuple(r for r in self.world.runs if r.id != id and r.unit_of != id))

    def change(self, world: World) -> bool:
        """A contract or a window known beforehand: made only if it is valid and all that is promised stays safe. Who
        has to yield for a promise under it is told at once, since a cycle later is too late."""
        if valid(world.tree, world.machines, world.terms) or safe(world):
            return False
        if any(not self._kept(world, p) for p in world.promises):
            return False
        if self._together(self.world) and not self._together(world):
            return False
        self.world = world
        self._due()
        return True

    def fail(self, machine: str, gpus: int) -> None:
        """GPUs fail for ever; what no longer fits is stopped, the least covered first (P1)."""
        steps = self.world.machines[machine]
        left = tuple((t, max(0, v - gpus)) for t, v in steps)
        self._set(machines={**self.world.machines, machine: left})
        self.excused = True
        self._shed()

    # ── a cycle ───────────────────────────────────────────────────────────────────────────────────────────────────
    def step(self, tick: bool = True) -> None:
        """One unit of time passes: ends, what falls due, then starts and acts, then the tick."""
        self._set(now=self.world.now + 1)
        self._ends()
        self._shed()
        self._due()
        self._claims()
        self._candidates(tick)
        self._check()
        if tick:
            share, used = shares(self.world), total(self.world.tree, by_leaf(standing(self.world)))
            self._set(
                lag={n: int(self.world.lag.get(n, 0) * 0.98) + share[n] - used[n] for n in self.world.tree}
            )

    def _ends(self) -> None:
        now = self.world.now
        for r in self.world.runs:
            done = not r.claim and r.start + self.lasts.get(r.id, FOREVER) <= now
            if r.id.endswith("!"):
                done = r.stop <= now
            elif done or r.end <= now:
                self.log.append((now, "end", r.id))
            if done or r.end <= now or (r.unit_of and r.unit_of not in {q.id for q in self.world.runs}):
                self._set(runs=tuple(q for q in self.world.runs if q.id != r.id))
        alive = {r.id for r in self.world.runs}
        known = alive | {j.id for j in self.world.waiting}
        self._set(waiting=tuple(j for j in self.world.waiting if not j.unit_of or j.unit_of in known))
        self._set(
            runs=tuple(
                r for r in self.world.runs if not r.unit_of or r.unit_of in alive or r.id.endswith("!")
            )
        )

    def _shed(self) -> None:
        """What no longer fits on a machine is stopped: not pinned, youngest first; then the rest."""
        now = self.world.now
        for name, steps in sorted(self.world.machines.items()):
            while True:
                on = [r for r in self.world.runs if r.start <= now < r.end and name in dict(r.places)]
                if sum(dict(r.places)[name] for r in on) <= _at(steps, now):
                    break
                covered = cover(self.world.tree, standing(self.world), shares(self.world), now)
                worst = min(on, key=lambda r: (r.pinned > now, r.id in covered[r.leaf], -r.order))
                if worst.pinned > now and not self.excused:
                    self.broken.append(f"{now}: pinned {worst.id} stopped by a window")
                self.log.append((now, "lost", worst.id))
                self._set(runs=tuple(r for r in self.world.runs if r.id != worst.id))
                if not worst.id.endswith("!"):
                    self._back(worst)

    def _due(self) -> None:
        """Promises: m before, others are told to yield; at their time, they start."""
        world = self.world
        for p in sorted(world.promises, key=lambda p: (p.start, p.job.order)):
            world = self.world
            if p.start <= world.now:
                others = [wished(q.job, q.start) for q in world.promises if q.job.id != p.job.id]
                fixed = [booked(r) for r in world.runs]
                window = (world.now, world.now + min(p.job.limit, world.terms.m))
                placed = arrange_all(world.machines, [*fixed, *others], wished(p.job, p.start), window)
                if placed is None:
                    self.log.append((world.now, "promise broken", p.job.id, p.start))
                    if not self.excused:
                        self.broken.append(f"{world.now}: promise of {p.job.id} broken")
                    self._set(promises=tuple(q for q in world.promises if q.job.id != p.job.id))
                    continue
                self._run(p.job, world.now, placed[0], pinned=True)
            elif p.start <= world.now + world.terms.m and not world.old.due:
                victims = make_room(world, p)
                if victims:
                    self._evict(victims, p.job.id, "promise")

    def _claims(self) -> None:
        """Claims start once their places are free, which may be sooner than was known."""
        for claim in sorted((r for r in self.world.runs if r.claim), key=lambda r: r.order):
            now = self.world.now
            others = [booked(r) for r in self.world.runs if r.id != claim.id]
            here = Booking(now, max(claim.start, now + 1), claim.places)
            later = [wished(p.job, p.start) for p in self.world.promises]
            window = (now, max(claim.start, now + 1))
            if _fits(self.world, [*others, here], window) and (
                claim.start <= now
                or arrange(self.world.machines, [*others, here, *later], window) is not None
            ):
                self._replace(replace(claim, claim=False, start=now))
                self.log.append((now, "start", claim.id))
                self.deadline.pop(claim.id, None)
            elif claim.start <= now and not self.excused:
                self.broken.append(f"{now}: claim of {claim.id} has no room")
            if self.deadline.get(claim.id, FOREVER) < now and not self.excused:
                self.broken.append(f"{now}: {claim.id} not within its recall time")

    def _candidates(self, tick: bool) -> None:
        tried: set[str] = set()
        reserved: dict[str, int] = {}
        self._keep_plans()
        for _ in range(STARTS_MAX):
            job = next_head(self.world, tried)
            if job is None:
                return
            tried.add(job.id)
            if not self._start(job, tick) and not job.unit_of and reserved.get(job.leaf, 0) < RESERVED_MAX:
                reserved[job.leaf] = reserved.get(job.leaf, 0) + 1
                self._reserve(job)

    def _start(self, job: Job, tick: bool) -> bool:
        world = self.world
        promised = next((p for p in world.promises if p.job.id == job.id), None)
        if promised is not None:
            # A promise moves earlier only to where it is safe as well.
            early = replace(promised, start=world.now)
            moved = replace(world, promises=tuple(early if p == promised else p for p in world.promises))
            placed = None if safe(moved) else choose(self._with_plans(job), job, "start")
            if placed is not None and placed.start == world.now:
                self._run(job, world.now, placed.places, pinned=True)
                return True
            return False
        outcome = choose(self._with_plans(job), job, "start")
        node = recallable(world, job)
        if outcome is None and node:
            outcome = choose(world, job, "recall")
        if outcome is None and _covered(world, job):
            outcome = choose(world, job, "priority")
            if outcome is None and tick:
                outcome = choose(world, job, "rebalance")
        if outcome is None:
            whole = guarantee(world.tree[root_of(world.tree)], world.now) <= capacity(
                world.machines, world.now
            )
            by_count = whole and len(world.machines) == 1 and not self.excused
            if node and by_count and not _blocked(world, job):
                self.broken.append(f"{world.now}: {job.id} cannot call the guarantee of {node}")
            return False
        self._act(outcome, node)
        return True

    def _act(self, outcome: Outcome, node: str) -> None:
        world, job = self.world, outcome.act.job
        before = potential(world.tree, with_due(world, standing(world)), shares(world), world.now)
        share = shares(world)
        if outcome.act.victims:
            self._evict(outcome.act.victims, job.id, outcome.act.kind)
        self._run(job, outcome.start, outcome.places, pinned=False)
        after = potential(world.tree, with_due(world, standing(self.world)), share, world.now)
        if not before < after:
            self.broken.append(f"{world.now}: {outcome.act} does not raise the potential: {before} {after}")
        if shares(self.world) != share:
            self.broken.append(f"{world.now}: {outcome.act} changed what is deserved")
        if node and outcome.act.kind == "recall" and outcome.start > world.now:
            self.deadline[job.id] = world.now + world.tree[node].recall

    def _reserve(self, job: Job) -> None:
        """The earliest start on what is known; a promise if it is safe."""
        if any(p.job.id == job.id for p in self.world.promises):
            return
        world = self._with_plans(job)
        times = {r.end for r in world.runs} | {p.start + p.job.limit for p in world.promises}
        times |= {t for s in world.machines.values() for t, _ in s}
        for s in sorted(t for t in times if world.now < t < FOREVER):
            promise = Promise(job, s)
            if not self._room(world, promise):
                continue
            offered = replace(self.world, promises=(*self.world.promises, promise))
            if not safe(offered) and self._room(self.world, promise):
                self.world = offered
                self.plans.pop(job.id, None)
                self.log.append((world.now, "promise", job.id, s))
            else:
                self.plans[job.id] = promise
                self.log.append((world.now, "plan", job.id, s))
            return

    def _room(self, world: World, p: Promise) -> bool:
        """Whether there is room for a reservation for all its time limit, by count, limit and lending too."""
        fixed = [booked(r) for r in world.runs]
        loose = [wished(q.job, q.start) for q in world.promises if q.job.id != p.job.id]
        window = (p.start, p.start + p.job.limit)
        if arrange_all(world.machines, [*fixed, *loose], wished(p.job, p.start), window) is None:
            return False
        for t in sorted({p.start} | {q.start for q in world.promises if p.start < q.start < window[1]}):
            there = [r for r in standing(world) if r.start <= t < r.end]
            there += [
                as_run(q.job, 0, q.start) for q in world.promises if q.start <= t < q.start + q.job.limit
            ]
            if p.job.id not in {r.id for r in there}:
                there.append(as_run(p.job, 0, p.start))
            used = total(world.tree, by_leaf(there))
            if any(used[n] > ceiling(world.tree[n], t) for n in path(world.tree, p.job.leaf)):
                return False
            if occupied(world.tree, by_leaf(there), t)[root_of(world.tree)] > capacity(world.machines, t):
                return False
        return True

    def _keep_plans(self) -> None:
        """Plans that a recall has cost their room are dropped; promises are not among them."""
        alive = {j.id for j in self.world.waiting}
        for id, plan in sorted(self.plans.items(), key=lambda p: p[1].job.order):
            if (
                id not in alive
                or plan.start < self.world.now
                or not self._room(self._with_plans(plan.job), plan)
            ):
                del self.plans[id]

    def _with_plans(self, job: Job) -> World:
        """The world as an ordinary start sees it: plans of others stand like promises."""
        plans = tuple(p for id, p in sorted(self.plans.items()) if id != job.id)
        return replace(self.world, promises=(*self.world.promises, *plans)) if plans else self.world

    def _together(self, world: World) -> bool:
        """Whether all promises have places together for all their time limits, next to all that runs."""
        loose = [wished(p.job, p.start) for p in world.promises]
        until = max((b.end for b in loose), default=world.now + 1)
        return (
            arrange(world.machines, [*(booked(r) for r in world.runs), *loose], (world.now, until))
            is not None
        )

    def _kept(self, world: World, p: Promise) -> bool:
        """Whether a promise that must be started within m still has its room in a changed world."""
        if p.start > world.now + world.terms.m:
            return True
        return make_room(world, p) is not None

    # ── what happens ──────────────────────────────────────────────────────────────────────────────────────────────
    def _run(self, job: Job, start: int, places: tuple[tuple[str, int], ...], pinned: bool) -> None:
        world = self.world
        self.order += 1
        until = world.now + min(job.limit, world.terms.protected) if pinned else -1
        claim = start > world.now
        run = replace(as_run(job, 1000 + self.order, start, until), places=places, claim=claim)
        self._forget(job.id)
        self._set(runs=(*self.world.runs, replace(run, cost=len(job.id) % 3 + job.charge)))
        self.log.append((world.now, "claim" if claim else "start", job.id, start))

    def _evict(self, ids: frozenset[str], cause: str, kind: str) -> None:
        for r in self.world.runs:
            if r.id not in ids:
                continue
            when = gone(self.world, r)
            if r.pinned > when:
                self.broken.append(f"{self.world.now}: pinned {r.id} evicted")
            self.log.append((self.world.now, "evict", r.id, cause, kind))
            rest = () if r.claim and when <= self.world.now else (replace(r, id=f"{r.id}!", stop=when),)
            self._set(runs=(*(q for q in self.world.runs if q.id != r.id), *rest))
            self.deadline.pop(r.id, None)
            self._back(r)

    def _back(self, r: Run) -> None:
        """The job of a run that was stopped waits again."""
        job = Job(r.id, r.leaf, r.charge, r.order, r.priority, r.limit, max(1, len(r.places)), r.unit_of)
        self._set(waiting=(*self.world.waiting, job))

    def _forget(self, id: str) -> None:
        self._set(
            waiting=tuple(j for j in self.world.waiting if j.id != id),
            promises=tuple(p for p in self.world.promises if p.job.id != id),
        )
        self.plans.pop(id, None)

    def _replace(self, run: Run) -> None:
        self._set(runs=tuple(run if r.id == run.id else r for r in self.world.runs))

    def _set(self, **fields: object) -> None:
        self.world = replace(self.world, **fields)  # type: ignore[arg-type]

    def _check(self) -> None:
        """Promise 6 in every state: no machine oversold, no limit passed by a start, nothing lent that is not lent."""
        world = self.world
        for name, steps in world.machines.items():
            used = sum(
                dict(r.places).get(name, 0)
                for r in world.runs
                if not r.claim and r.start <= world.now < r.end
            )
            if used > _at(steps, world.now):
                self.broken.append(f"{world.now}: {name} oversold, {used}")
        for entry in self.log:
            if entry[0] != world.now or entry[1] != "start" or len(entry) < 4:
                continue  # a claim was within its limits when it was decided
            run = next((r for r in world.runs if r.id == entry[2]), None)
            used_by = total(world.tree, by_leaf(r for r in world.runs if not r.claim))
            for n in path(world.tree, run.leaf) if run else []:
                if used_by[n] > ceiling(world.tree[n], world.now):
                    self.broken.append(f"{world.now}: {entry[2]} started above the limit of {n}")


def next_head(world: World, tried: set[str]) -> Job | None:
    """The next candidate: from the root, the child with the least (class, -lag by share, id)."""
    leaving = {r.id[:-1] for r in world.runs if r.id.endswith("!")}
    share = shares(world)
    runs = with_due(world, standing(world))
    running = {r.id for r in world.runs if not r.claim}  # a job grows only once it runs

    def rank(job: Job, node: str) -> int:
        after = [*runs, as_run(job, 10**6, world.now)]
        if occupied(world.tree, by_leaf(after), world.now)[node] <= guarantee(world.tree[node], world.now):
            return 0
        if not world.old.order:
            return 1
        return 1 if job.id in cover(world.tree, after, share, world.now)[node] else 2

    def head(node: str) -> Job | None:
        below = children(world.tree, node)
        if not below:
            mine = [j for j in world.waiting if j.leaf == node and j.id not in tried and j.id not in leaving]
            mine = [j for j in mine if not j.unit_of or j.unit_of in running]
            return min(mine, key=lambda j: (-j.priority, j.order, j.id), default=None)
        found = [(c, job) for c in below if (job := head(c)) is not None]
        if not found:
            return None
        return min(
            found, key=lambda f: (rank(f[1], f[0]), -world.lag.get(f[0], 0) / max(1, share[f[0]]), f[0])
        )[1]

    return head(root_of(world.tree))


def _covered(world: World, job: Job) -> bool:
    """Whether a job would be covered anywhere below the root."""
    after = with_due(world, [*standing(world), as_run(job, 10**6, world.now)])
    covered = cover(world.tree, after, shares(world), world.now, world.old)
    return any(job.id in covered[n] for n in path(world.tree, job.leaf)[:-1])


def _blocked(world: World, job: Job) -> bool:
    """Whether a limit keeps a job, together with the promises that come due before its guarantee would."""
    ahead = world.now + max(n.recall for n in world.tree.values()) + world.terms.m
    coming = [p.job for p in world.promises if p.start <= ahead and p.job.id != job.id]
    used = total(world.tree, by_leaf([*standing(world), job, *coming]))
    return any(used[n] > ceiling(world.tree[n], world.now) for n in path(world.tree, job.leaf))


def _fits(world: World, bookings: list[Booking], window: tuple[int, int]) -> bool:
    times = {window[0]} | {b.start for b in bookings if window[0] <= b.start < window[1]}
    for name, steps in world.machines.items():
        for t in times:
            if sum(dict(b.places).get(name, 0) for b in bookings if b.start <= t < b.end) > _at(steps, t):
                return False
    return True


def _at(steps: tuple[tuple[int, int], ...], t: int) -> int:
    value = steps[0][1]
    for since, amount in steps:
        if since <= t:
            value = amount
    return value


Input = Callable[[Simulation], None]


def play(
    simulation: Simulation, inputs: Iterator[tuple[int, Input]] | list[tuple[int, Input]], until: int
) -> Simulation:
    """Runs a simulation to a time, each input before the cycle of its time."""
    pending = sorted(inputs, key=lambda i: i[0])
    for t in range(until):
        while pending and pending[0][0] <= t:
            pending.pop(0)[1](simulation)
        simulation.step()
    return simulation
