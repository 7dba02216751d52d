# SPDX-License-Identifier: Apache-2.0
"""Capacity over time of one pool: what runs hold and until when, what is reserved and from when on. Pure; no facts.

Called by the state (occupy, vacate, reserve, release) and by the fair plan (view, earliest, due). It never changes what
is free now: who frees or takes capacity does both, there and here. The `now` of its questions never goes back.

A run that is past its end holds what it holds and counts as ending just after now. A reservation that is past its start
counts from now on for its whole length, but for its slack. A GPU that runs share is held whole until the last of them
ends.
"""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from leitstand.core.facts import Resources
from leitstand.core.places.closures import Closures
from leitstand.core.places.cutting import Asker, Cutting, Instance, shut
from leitstand.core.places.fit import WHOLE_MILLI, Availability, Free
from leitstand.core.places.placement import Place
from leitstand.core.places.slots import Slots
from leitstand.core.places.steps import ANYWHERE, Amount, Change, Grid, Profile, Where, demands, profile
from leitstand.core.places.steps import INFINITY as INFINITY
from leitstand.core.places.views import Views
from leitstand.core.places.window import Laid, View, whole_left

Part = tuple[int, int]  # cpus_milli, memory_mib at one place
Share = tuple[int, int]  # index of a GPU, thousandths of it
Find = Callable[[Free], list[Place] | None]

KINDS: Final = ("claim", "promise", "plan", "call", "hold", "booking")
FIXED: Final = "booking"  # starts nothing, ends when it was to: no job waits for it
ENDING: Final = "ending"  # of what a question may ignore: runs that were told to end
EXACT_TRIES: Final = (
    256  # searches for places in one question for the earliest start; then every second time, fourth, …
)


class Reservation(NamedTuple):
    """Places held for a job from `from_us` to `until_us`. `number`: order of reserving; `slack_us`: so much later it
    may begin and still end by then."""

    job: str
    kind: str
    places: tuple[Place, ...]
    from_us: int
    until_us: int
    number: int
    slack_us: int = 0


class _Held(NamedTuple):
    """What one run or job holds on one node. `shares`: parts of GPUs; these are not in `gpus`."""

    gpus: int
    cpus_milli: int
    memory_mib: int
    shares: tuple[Share, ...] = ()


class _Layer:
    """Profiles as somebody sees them who ignores reservations of some kinds; worked out again only where it changed."""

    def __init__(self, ignored: tuple[str, ...]) -> None:
        self.ignored = ignored
        self.profiles: dict[int, Profile] = {}
        self.grid = Grid()
        self.dirty: dict[int, None] = {}  # rows of the grid
        self.now = -1
        self.views: Views | None = None  # from `now` on


class Timeline:
    """See the module. `free`: what is free now; `whole`: as if nothing ran, needed if a node may shrink under runs or
    close; `closures`: when nodes are closed."""

    def __init__(
        self, free: Availability, whole: Availability | None = None, closures: Closures | None = None
    ) -> None:
        self._free = free
        self._whole = whole
        self._closures = closures or Closures()
        self._until: dict[str, int] = {}
        self._places: dict[str, tuple[int, ...]] = {}  # of a run: positions, each once
        self._runs: dict[int, dict[str, _Held]] = {}  # position → run
        self._ending: dict[str, None] = {}  # runs that were told to end,
        self._ending_mask = 0  # and their nodes
        self._reservations: dict[str, Reservation] = {}
        self._reserved: dict[int, dict[str, _Held]] = {}  # position → job
        self._reserved_mask = 0
        self._fences: dict[str, dict[int, int]] = {}  # booking → position → GPUs that its jobs share
        self._starts: list[tuple[int, int, str]] = []  # from_us, number, job; ascending
        self._made = 0
        self._cutting = Cutting()
        self._layers: dict[tuple[str, ...], _Layer] = {}
        self._moved: dict[int, None] = {}
        self._loosened: dict[int, None] = {}

    # ── what is ───────────────────────────────────────────────────────────────────────────────────────────────────
    def occupy(
        self,
        run: str,
        places: Sequence[Place],
        parts: Sequence[Part],
        until_us: int,
        shares: Sequence[Share] = (),
        instances: Mapping[int, Sequence[Instance]] | None = None,
    ) -> None:
        """A run holds places until then, INFINITY if it has no limit. `parts`: CPU and memory of each place; `shares`:
        of which GPU each place has which part, if all it has is a part of one. `instances`: in place of GPUs, MIG
        instances by position."""
        assert run not in self._until
        assert until_us <= INFINITY
        held = _by_position(places, parts, shares)
        if instances:
            held = self._cut(run, held, instances, until_us)
        self._until[run] = until_us
        self._places[run] = tuple(held)
        for position, amount in held.items():
            runs = self._runs.get(position)
            if runs is None:
                runs = self._runs[position] = {}
            runs[run] = amount
        self._touch(held)

    def until(self, run: str, until_us: int) -> None:
        """A run ends sooner or later than said."""
        assert until_us <= INFINITY
        if self._until[run] != until_us:
            if until_us < self._until[run]:
                self._loosen(self._places[run])
            self._until[run] = until_us
            self._cutting.until(run, until_us)
            self._touch(self._places[run])

    def until_us(self, run: str) -> int:
        """When a run is over."""
        return self._until[run]

    def is_short(self, position: int, now: int) -> bool:
        """Whether at some time more is reserved on a node than will be there."""
        return self._known(self._layer(()), position, now).short

    def stop(self, run: str, until_us: int) -> None:
        """A run was told to end, and will have by then."""
        self._until[run] = until_us
        self._cutting.until(run, until_us)
        self._ending[run] = None
        for position in self._places[run]:
            self._ending_mask |= 1 << position
        self._loosen(self._places[run])
        self._touch(self._places[run])

    def doubt(self, run: str) -> None:
        """A run that was told to end has not for so long that it counts as any other that is past its end."""
        if self._ending.pop(run, run) is None:
            self._unmark(self._places[run])
            self._touch(self._places[run])

    def _unmark(self, positions: Sequence[int]) -> None:
        """A run there is not among those any more that were told to end."""
        for position in positions:
            if not any(other in self._ending for other in self._runs[position]):
                self._ending_mask &= ~(1 << position)

    def positions(self, run: str) -> tuple[int, ...]:
        """The nodes that a run holds, each once."""
        return self._places[run]

    def vacate(self, run: str) -> None:
        """A run ended."""
        del self._until[run]
        self._cutting.drop(run)
        places = self._places.pop(run)
        for position in places:
            del self._runs[position][run]
        if self._ending.pop(run, run) is None:
            self._unmark(places)
        self._loosen(places)
        self._touch(places)

    def touch(self, position: int) -> None:
        """What a node has changed, other than by runs: it was added again, withdrawn or closed."""
        self._loosen((position,))
        self._touch((position,))
        for layer in self._layers.values():
            layer.views = None

    def copy(self, closures: Closures, free: Availability | None = None) -> "Timeline":
        """Another one with the same runs and reservations and other closures, to ask what would be. `free`: what is
        free then."""
        made = Timeline(free or self._free, self._whole, closures)
        made._until, made._places = dict(self._until), dict(self._places)
        made._runs = {position: dict(runs) for position, runs in self._runs.items()}
        made._ending, made._ending_mask = dict(self._ending), self._ending_mask
        made._reservations, made._starts = dict(self._reservations), list(self._starts)
        made._reserved = {position: dict(jobs) for position, jobs in self._reserved.items()}
        made._reserved_mask, made._made = self._reserved_mask, self._made
        made._cutting = self._cutting.copy()
        made._fences = dict(self._fences)
        return made

    def moved(self) -> dict[int, None]:
        """Positions where anything changed since this was asked last."""
        moved, self._moved = self._moved, {}
        return moved

    def has_loosened(self) -> bool:
        """Whether `loosened` would name any."""
        return bool(self._loosened)

    def loosened(self) -> dict[int, None]:
        """Positions where there may be more room at some time since this was asked last: something ended, will end
        sooner, or is not reserved any more."""
        loosened, self._loosened = self._loosened, {}
        return loosened

    def _loosen(self, positions: Collection[int]) -> None:
        self._loosened.update(dict.fromkeys(positions))

    def _touch(self, positions: Collection[int]) -> None:
        self._moved.update(dict.fromkeys(positions))
        for layer in self._layers.values():
            if layer.views is not None:
                layer.views.touch(positions)
            profiles, dirty = layer.profiles, layer.dirty
            for position in positions:
                profiles.pop(position, None)
                dirty[position] = None

    def _cut(
        self, run: str, held: dict[int, "_Held"], instances: Mapping[int, Sequence[Instance]], until_us: int
    ) -> dict[int, "_Held"]:
        """What a run with MIG instances holds: GPUs that are not partitioned are held whole."""
        slots = self._free.slots
        assert slots is not None, "a pool without MIG"
        for position, taken in instances.items():
            shares = tuple((gpu, 0) for gpu, _ in taken if not slots.is_fixed(position, gpu))
            held[position] = held[position]._replace(gpus=0, shares=shares)
        self._cutting.hold(run, instances, (0, until_us))
        return held

    # ── what is reserved ──────────────────────────────────────────────────────────────────────────────────────────
    def reserve(
        self,
        job: str,
        kind: str,
        places: Sequence[Place],
        parts: Sequence[Part],
        from_us: int,
        until_us: int,
        gpu_milli: int = 0,
        slack_us: int = 0,
        mig: str = "",
        instances: Mapping[int, Sequence[Instance]] | None = None,
    ) -> None:
        """Hold places for a job in [from_us, until_us), in place of what it had. With `gpu_milli` each place takes so
        much of a GPU; as many whole ones are held as places of the job on a node need, and shared with nobody else.
        With `mig` each place takes an instance of this profile: one of `instances`, by position, or else as with
        `gpu_milli`."""
        assert kind in KINDS
        assert from_us < until_us <= INFINITY
        self.release(job)
        self._made += 1
        self._reservations[job] = Reservation(
            job, kind, tuple(places), from_us, until_us, self._made, slack_us
        )
        if kind != FIXED:
            insort(self._starts, (from_us, self._made, job))
        held = _by_position(places, parts, ())
        if gpu_milli:
            per_gpu = WHOLE_MILLI // gpu_milli
            tasks = Counter(position for position, _ in places)
            held = {at: amount._replace(gpus=-(-tasks[at] // per_gpu)) for at, amount in held.items()}
        if mig:
            named = instances or {}
            tasks = Counter(position for position, _ in places)
            for at, amount in held.items():
                gpus = self._whole_for(at, mig, tasks[at] - len(named.get(at, ())))
                held[at] = amount._replace(gpus=gpus)
            self._cutting.hold(job, named, (from_us, until_us), kind, slack_us)
        for position, amount in held.items():
            jobs = self._reserved.get(position)
            if jobs is None:
                jobs = self._reserved[position] = {}
                self._reserved_mask |= 1 << position
            jobs[job] = amount
        self._touch(held)

    def release(self, job: str) -> None:
        """Hold nothing for a job any more."""
        known = self._reservations.pop(job, None)
        if known is None:
            return
        self._cutting.drop(job)
        if known.kind != FIXED:
            del self._starts[bisect_left(self._starts, (known.from_us, known.number, job))]
        positions = dict.fromkeys(position for position, _ in known.places)
        for position in positions:
            jobs = self._reserved[position]
            del jobs[job]
            if not jobs:
                del self._reserved[position]
                self._reserved_mask ^= 1 << position
        self._loosen(positions)
        self._touch(positions)

    def _whole_for(self, position: int, mig: str, tasks: int) -> int:
        """How many whole GPUs of a node so many instances take."""
        slots = self._free.slots
        cuttable = None if slots is None else slots.cuttable.get(position)
        return -(-tasks // max(1, cuttable.room(mig, 0))) if tasks and cuttable is not None else 0

    def fence(self, booking: str, shared: dict[int, int]) -> None:
        """Of the GPUs that runs share these (bit masks by position) are shared in that booking alone."""
        before = self._fences.pop(booking, {})
        if shared:
            self._fences[booking] = shared
        if shared != before:
            for position in {**before, **shared}:
                self.touch(position)

    def reservation(self, job: str) -> Reservation | None:
        """What is reserved for a job."""
        return self._reservations.get(job)

    def runs_on(self, position: int) -> list[str]:
        """Runs on a node, in the order in which they were placed."""
        return list(self._runs.get(position, _NONE))

    def ending(self, by_us: int) -> dict[str, None]:
        """Runs that have to have ended by then."""
        return {run: None for run, until_us in self._until.items() if until_us <= by_us}

    def on(self, position: int) -> list[str]:
        """Jobs with a reservation on a node, in the order in which they were made; no booking."""
        jobs = [job for job in self._reserved.get(position, ()) if self._reservations[job].kind != FIXED]
        return sorted(jobs, key=lambda job: self._reservations[job].number)

    def comes_first(self, position: int, number: int, window: tuple[int, int]) -> bool:
        """Whether something was reserved on a node before the reservation of this number, other than by plans, that
        begins in that window."""
        made = [self._reservations[job] for job in self._reserved.get(position, ())]
        return any(
            one.number < number and window[0] <= one.from_us < window[1] and one.kind not in ("plan", "call")
            for one in made
        )

    def changes(self, position: int) -> bool:
        """Whether more than the ends of runs changes what is free on a node: it is reserved, or will be closed."""
        return bool((self._reserved_mask | self._closures.mask) >> position & 1)

    def due(self, now: int) -> list[str]:
        """Jobs whose reservation has begun, by start, then by the order of reserving."""
        return [job for _, _, job in self._starts[: bisect_right(self._starts, (now, self._made + 1, ""))]]

    def next_start(self, after: int = -1) -> int | None:
        """When the first reservation begins that begins later than `after`."""
        index = bisect_right(self._starts, (after, self._made + 1, ""))
        return self._starts[index][0] if index < len(self._starts) else None

    def oversold(self, now: int) -> list[int]:
        """Positions where at some time more is reserved than will be there, ascending: a run is overdue, or capacity
        was lost."""
        layer, serving = self._layer(()), self._serving()
        return [
            position
            for position in sorted(self._reserved)
            if self._known(layer, position, now).short
            or not serving >> position & 1
            or self._cutting.clashes(position, now)
        ]

    def feasible(self, now: int) -> bool:
        """Whether no node is promised more than it will have at any time."""
        return not self.oversold(now)

    # ── questions ─────────────────────────────────────────────────────────────────────────────────────────────────
    def view(
        self,
        now: int,
        limit_us: int,
        own: str = "",
        ignore: Container[str] = (),
        without: Collection[str] = (),
    ) -> Free:
        """What is free throughout [now, now + limit_us) for the job `own`, whose reservation does not count, nor do
        those of the kinds `ignore`; with `ENDING` among these, runs that were told to end do not, either. `without`:
        other runs that count as ended. Holds until the next change."""
        given = self._ending_mask if ENDING in ignore else 0
        if not without and not self._reserved_mask | self._closures.mask | given and not self._fences:
            return self._free
        if without or own in self._reservations or self._free.shared or self._free.slots is not None:
            return self.laid(now, limit_us, own, ignore, without)
        return self._base(self._layer(ignore), now, min(now + limit_us, INFINITY))

    def laid(
        self, now: int, limit_us: int, own: str, ignore: Container[str], without: Collection[str] = ()
    ) -> Laid:
        """The same, as a view that its caller may change."""
        layer, until_us, gone = self._layer(ignore), min(now + limit_us, INFINITY), _Gone(own, without)
        view = self._base(layer, now, until_us).copy()
        special: dict[int, None] = {}
        if own in self._reservations:
            special = dict.fromkeys(position for position, _ in self._reservations[own].places)
        for run in without:
            special.update(dict.fromkeys(self._places[run]))

        def known(position: int) -> Profile:
            if position in special:
                return self._profile(position, now, layer.ignored, gone)
            return self._known(layer, position, now)

        for position in special:
            view.put(position, known(position).low(until_us))
        left = self._left(layer.ignored, without)
        if self._free.shared:
            view.shared = self._shared(view, known, (now, until_us), _Gone(own, left))
        if self._free.slots is not None:
            asker = Asker(now, now, until_us, own, layer.ignored, left)
            view.cut = lambda: self._slots_now(asker, view, known)
        return view

    def slots(self, asker: Asker) -> Slots | None:
        """The MIG instances that are free throughout a window; None in a pool without."""
        if asker.from_us <= asker.now:
            limit_us = asker.until_us - asker.now
            return self.laid(asker.now, limit_us, asker.own, asker.ignored, _collected(asker.gone)).slots
        if self._free.slots is None:
            return None
        slots = self._free.slots.copy()
        left = self._left(asker.ignored, _collected(asker.gone))
        self._cutting.lay(slots, asker._replace(gone=left))
        for position in self._free.shared:
            shut(slots, position)
        return slots

    def _slots_now(self, asker: Asker, view: View, known: Callable[[int], Profile]) -> Slots:
        """The same from now on: GPUs that are cut stay so where they are not missing elsewhere then."""
        assert self._free.slots is not None, "a pool without MIG"
        slots = self._free.slots.copy()
        on = self._cutting.on
        leaving = {at: None for run in _collected(asker.gone) for at in self._places.get(run, ())}
        changed = [at for at in on if at in leaving or self.changes(at)]
        self._cutting.lay(slots, asker, changed)
        window, gone = (asker.now, asker.until_us), _Gone(asker.own, asker.gone)
        closed = self._closures.within(*window)
        for position in self._free.shared:
            if closed >> position & 1:
                shut(slots, position)
            elif self.changes(position) or position in leaving:
                ends, spare = self._sharing(position, view, known, window, gone)
                left = whole_left(dict.fromkeys(ends, 1), ends, spare)
                shut(slots, position, [gpu for gpu, stays in left.items() if stays])
        return slots

    def _left(self, ignored: Container[str], without: Collection[str]) -> Collection[str]:
        """Runs that count as ended."""
        return {**self._ending, **dict.fromkeys(without)} if ENDING in ignored and self._ending else without

    def _base(self, layer: _Layer, now: int, until_us: int) -> Laid:
        """The view of somebody without a reservation; kept while it is now."""
        if layer.now != now or layer.views is None:
            layer.now = now
            layer.views = Views(
                now,
                self._free,
                self._reserved_mask | self._closures.mask,
                lambda: self._ending_mask if ENDING in layer.ignored else 0,
                lambda position: self._known(layer, position, now),
                lambda until_us: self._closures.within(now, until_us),
            )
        return layer.views.until(until_us)

    def room(
        self,
        position: int,
        window: tuple[int, int],
        own: str,
        ignore: Container[str],
        without: Collection[str],
    ) -> Amount:
        """GPUs, CPU and memory of one node that are free throughout `window` = (now, until); the rest as in `view`."""
        now, until_us = window[0], min(window[1], INFINITY)
        layer = self._layer(ignore)
        known = self._known(layer, position, now)
        reserves = position in self._reserved and own in self._reserved[position]
        if not reserves and not without:
            return known.low(until_us)
        if reserves or known.short or position in self._cutting.on or self._is_cut(position):
            return self._profile(position, now, layer.ignored, _Gone(own, without)).low(until_us)
        ended = self._ending if ENDING in layer.ignored else _NONE
        runs = self._runs.get(position, _NONE)
        given = [
            (max(self._until[run], known.times[0] + 1), runs[run])
            for run in without
            if run in runs and run not in ended
        ]
        return known.low_with(until_us, [(end_us, held[:3]) for end_us, held in given])

    def _is_cut(self, position: int) -> bool:
        """Whether what runs hold on a node does not simply come back when they end: parts of GPUs, or of a node that
        has fewer now."""
        held = self._free.gpus[position].bit_count()
        for amount in self._runs.get(position, _NONE).values():
            if amount.shares:
                return True
            held += amount.gpus
        return self._whole is not None and held > self._whole.gpus[position].bit_count()

    def earliest(
        self,
        asked: Resources,
        now: int,
        limit_us: int,
        find: Find,
        own: str = "",
        ignore: Container[str] = (),
        where: Where = ANYWHERE,
        after_us: int = 0,
    ) -> tuple[int, list[Place]] | None:
        """The earliest start from `now` and `after_us` on at which `find` gives places in what is free for `limit_us`,
        and these; None if there is none. `find` must find places for `asked` wherever it finds some in less. What is
        known of `where` it looks only saves searches."""
        layer = self._layer(ignore)
        serving = self._serving()
        grid = self._synced(layer, now)
        if own in self._reservations:
            gone = _Gone(own, ())
            for position, _ in self._reservations[own].places:
                grid.put(position, self._profile(position, now, layer.ignored, gone))
                layer.dirty[position] = None
        needs = demands(asked, self._free.size, where)
        begin = max(now, after_us)
        starts = grid.starts(needs, (begin, limit_us), serving & where.within, where.domain)
        if asked.mig:
            starts = sorted(dict.fromkeys((*starts, *self._cutting.ends(begin), begin)))
        elif asked.gpu_milli and begin == now and (not starts or starts[0] > now):
            starts.insert(0, now)  # a part of a GPU that is shared already
        for start in _thinned(starts):
            if start == now:
                free: Free = self.view(now, limit_us, own, ignore)
            else:
                free = later = self._later(grid, start, limit_us)
                if asked.mig:
                    window = (start, min(start + limit_us, INFINITY))
                    later.slots = self.slots(Asker(now, *window, own, layer.ignored))
            places = find(free)
            if places is not None:
                return start, places
        return None

    def later(self, now: int, start_us: int, limit_us: int, ignore: Container[str] = ()) -> Free:
        """What is free throughout [start_us, start_us + limit_us) for somebody without a reservation."""
        if start_us <= now:
            return self.view(now, limit_us, ignore=ignore)
        return self._later(self._synced(self._layer(ignore), now), start_us, limit_us)

    def _later(self, grid: Grid, start_us: int, limit_us: int) -> View:
        window = (start_us, min(start_us + limit_us, INFINITY))
        open_nodes = self._serving() & ~self._closures.within(*window)
        seen = grid.seen(window, open_nodes, len(self._free.levels) - 1)
        return View(self._free.size, seen.levels, seen[1:])

    # ── profiles ──────────────────────────────────────────────────────────────────────────────────────────────────
    def _layer(self, ignore: Container[str]) -> _Layer:
        ignored = tuple(kind for kind in (*KINDS, ENDING) if kind in ignore)
        layer = self._layers.get(ignored)
        if layer is None:
            layer = self._layers[ignored] = _Layer(ignored)
        return layer

    def _serving(self) -> int:
        """The nodes in service, closed or not: what is closed now has room later."""
        mask = 0
        for nodes in self._free.levels:
            mask |= nodes
        if self._closures.down and self._whole is not None:
            for nodes in self._whole.levels:
                mask |= nodes & self._closures.down
        return mask

    def _known(self, layer: _Layer, position: int, now: int) -> Profile:
        known = layer.profiles.get(position)  # `now` never goes back
        if known is None or known.stale_us <= now:
            known = layer.profiles[position] = self._profile(position, now, layer.ignored, _NOBODY)
        return known

    def _synced(self, layer: _Layer, now: int) -> Grid:
        """The grid, with every row as it is now."""
        grid = layer.grid
        grid.grow(len(self._free.gpus))
        dirty = layer.dirty
        dirty.update(dict.fromkeys(grid.outdated(now)))
        for position in dirty:
            grid.put(position, self._known(layer, position, now))
        dirty.clear()
        return grid

    def _profile(self, position: int, now: int, ignored: tuple[str, ...], gone: "_Gone") -> Profile:
        """The steps of one node from now on."""
        free = self._free
        gpus, cpus_milli, memory_mib = (
            free.gpus[position].bit_count(),
            free.cpus_milli[position],
            free.memory_mib[position],
        )
        changes: list[Change] = []
        shared: dict[int, int] = {}  # GPU → when the last that shares it ends
        ended = self._ending if ENDING in ignored else _NONE
        for run, held in self._runs.get(position, _NONE).items():
            until_us = now if run in gone.runs or run in ended else max(self._until[run], now + 1)
            for index, _ in held.shares:
                shared[index] = max(shared.get(index, 0), until_us)
            if until_us < INFINITY:
                changes.append((until_us, *held[:3]))
        if position in self._cutting.on:
            left = self._left(ignored, _collected(gone.runs))
            changes += self._joined(position, shared, Asker(now, now, INFINITY, gone.job, ignored, left))
        changes.extend((until_us, 1, 0, 0) for until_us in shared.values() if until_us < INFINITY)
        if self._whole is not None:
            _shrink(changes, gpus, self._whole.gpus[position].bit_count())
        for from_us, until_us in self._closures.spans(position):
            changes += self._closed(position, max(from_us, now), until_us)
        stale_us = INFINITY
        for job, held in self._reserved.get(position, _NONE).items():
            known = self._reservations[job]
            if job == gone.job or known.kind in ignored:
                continue
            from_us, until_us = known.from_us, known.until_us
            if from_us <= now:
                stale_us = now + 1
                if until_us < INFINITY:
                    until_us = min(until_us + max(now - from_us - known.slack_us, 0), INFINITY)
                from_us = now
            changes.append((from_us, -held.gpus, -held.cpus_milli, -held.memory_mib))
            if until_us < INFINITY:
                changes.append((until_us, *held[:3]))
        return profile(now, (gpus, cpus_milli, memory_mib), changes, stale_us)

    def _joined(self, position: int, shared: dict[int, int], asker: Asker) -> list[Change]:
        """What reservations of instances on GPUs that are cut hold: the GPU, longer than its runs (`shared`: until
        when) if they are on it together, else another one."""
        changes: list[Change] = []
        assert self._free.slots is not None, "a pool without MIG"
        for gpu, (from_us, until_us, fits) in self._cutting.joined(position, asker, self._free.slots).items():
            if fits and from_us <= shared.get(gpu, -1):
                shared[gpu] = max(shared[gpu], until_us)
                continue
            changes.append((max(from_us, asker.now), -1, 0, 0))
            if until_us < INFINITY:
                changes.append((until_us, 1, 0, 0))
        return changes

    def _closed(self, position: int, from_us: int, until_us: int) -> list[Change]:
        """What a node that is closed in [from_us, until_us) has less; its runs are over by then."""
        whole = self._whole or self._free
        gpus = whole.gpus[position].bit_count()
        cpus_milli, memory_mib = whole.cpus_milli[position], whole.memory_mib[position]
        changes = [(from_us, -gpus, -cpus_milli, -memory_mib)]
        if until_us < INFINITY:
            changes.append((until_us, gpus, cpus_milli, memory_mib))
        return changes

    def _shared(
        self, view: View, known: Callable[[int], Profile], window: tuple[int, int], gone: "_Gone"
    ) -> dict[int, Mapping[int, int]]:
        """Which parts of shared GPUs a view offers."""
        shared: dict[int, Mapping[int, int]] = dict(self._free.shared)
        now, until_us = window
        closed = self._closures.within(now, until_us)
        for fence in self._fences.values():
            for position, bits in fence.items():
                parts = shared.get(position, {})
                shared[position] = {index: milli for index, milli in parts.items() if not bits >> index & 1}
        for position in self._free.shared:
            runs = self._runs.get(position, _NONE)
            if closed >> position & 1:
                shared[position] = {}
                continue
            if position not in self._reserved and not any(run in gone.runs for run in runs):
                continue
            left = dict(shared[position])
            for run, held in runs.items():
                for index, milli in held.shares if run in gone.runs else ():
                    left[index] = left.get(index, 0) + milli
            ends, spare = self._sharing(position, view, known, window, gone)
            ends = {
                index: end_us for index, end_us in ends.items() if index in left
            }  # of fenced ones nothing
            shared[position] = whole_left(left, ends, spare)
        return shared

    def _sharing(
        self,
        position: int,
        view: View,
        known: Callable[[int], Profile],
        window: tuple[int, int],
        gone: "_Gone",
    ) -> tuple[dict[int, int], dict[int, int]]:
        """Until when each GPU is shared that somebody shares still, and how many GPUs are left over from then on to the
        end of the window."""
        now, until_us = window
        last: dict[int, int] = {}
        for run, held in self._runs.get(position, _NONE).items():
            for index, _ in held.shares if run not in gone.runs else ():
                last[index] = max(last.get(index, 0), self._until[run], now + 1)
        ends = {index: last[index] for index in self._free.shared[position] if index in last}
        least = known(position).least_gpus
        whole = view.gpus[position].bit_count()
        spare = {
            index: least(end_us, until_us) - whole if end_us < until_us else INFINITY
            for index, end_us in ends.items()
        }
        return ends, spare


class _Gone(NamedTuple):
    """What does not count: the reservation of a job, and runs."""

    job: str
    runs: Container[str]


_NOBODY: Final = _Gone("", ())
_NONE: Final[dict[str, Any]] = {}


def _collected(runs: Container[str]) -> Collection[str]:
    return runs if isinstance(runs, Collection) else ()


def _by_position(places: Sequence[Place], parts: Sequence[Part], shares: Sequence[Share]) -> dict[int, _Held]:
    """What is held on each node."""
    held: dict[int, _Held] = {}
    for index, ((position, gpus), (cpus_milli, memory_mib)) in enumerate(zip(places, parts, strict=True)):
        amount = _Held(gpus, cpus_milli, memory_mib)
        if shares:
            amount = _Held(0, cpus_milli, memory_mib, (shares[index],))
        before = held.get(position)
        if before is not None:
            amount = _Held(
                amount.gpus + before.gpus,
                amount.cpus_milli + before.cpus_milli,
                amount.memory_mib + before.memory_mib,
                before.shares + amount.shares,
            )
        held[position] = amount
    return held


def _shrink(changes: list[Change], free: int, most: int) -> None:
    """Where runs hold GPUs that the node has no more, the first ends bring none back."""
    surplus = free + sum(change[1] for change in changes) - most
    if surplus <= 0:
        return
    changes.sort()
    for index, (at_us, gpus, cpus_milli, memory_mib) in enumerate(changes):
        lost = min(gpus, surplus)
        surplus -= lost
        changes[index] = (at_us, gpus - lost, cpus_milli, memory_mib)


def _thinned(starts: list[int]) -> Iterator[int]:
    """All starts up to EXACT_TRIES, then ever fewer, the last one among them."""
    yield from starts[:EXACT_TRIES]
    index, step = EXACT_TRIES, 2
    while index < len(starts):
        yield starts[index]
        if index == len(starts) - 1:
            return
        index, step = min(index + step, len(starts) - 1), 2 * step
