# SPDX-License-Identifier: Apache-2.0
"""What comes in a course: the jobs, each with the life it will have, as a source. Called by `course`.

`arrivals_of` makes the list by the seed, the same for every scenario; `demanded` scales and shifts it as a scenario
wants; `Arriving` tells it to the core.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final
from zlib import crc32

from msgspec.structs import replace

from leitstand.core import facts as f
from leitstand.core.decision import Answer
from leitstand.core.jobs import Job
from leitstand.core.state import State
from leitstand.core.units import HOUR_US
from leitstand.runtime.loop import Settling
from leitstand.runtime.ports import Head
from leitstand.twin.forking.changes import Change, Demand
from leitstand.twin.forking.ground import Ground
from leitstand.twin.forking.inventing import invented
from leitstand.twin.forking.past import Arrival
from leitstand.twin.reading.table import TraceError
from leitstand.twin.synthetic.exact import Chance
from leitstand.twin.truth import Attempt, Truth

LIVING, WEEKS, SCALED, DRAWN = range(4)  # the purposes of chance
ARRIVALS_MAX: Final = 20_000_000
EXITED: Final = f.RunEnded("", 0, "exited", 0)


def arrivals_of(ground: Ground, state: State, seed: int) -> list[Arrival]:
    """Everything that comes after the fork, by time."""
    if ground.kind == "recorded":
        return list(ground.arrivals)
    if ground.kind == "synthetic":
        return invented(ground, state, seed)
    return _repeated(ground, seed) if ground.kind in ("past-weeks", "trace") else []


def _repeated(ground: Ground, seed: int) -> list[Arrival]:
    """The past again and again, its weeks in an order that is drawn anew each time; a trace with seed 1 as it is."""
    count = ground.weeks
    if not count or not ground.arrivals:
        return []
    span_us = ground.period_us // count
    parts: list[list[Arrival]] = [[] for _ in range(count)]
    for one in ground.arrivals:
        parts[min((one.at - ground.since_us) // span_us, count - 1)].append(one)
    chance = Chance(seed, WEEKS)
    order: list[int] = []
    found: list[Arrival] = []
    begin_us, copy = ground.from_us, 0
    while begin_us < ground.until_us and len(found) < ARRIVALS_MAX:
        if not order:
            drawn = chance.uniforms(count)
            order = (
                list(range(count))
                if (ground.kind, seed) == ("trace", 1)
                else drawn.argsort(kind="stable").tolist()
            )
        part, copy = order.pop(0), copy + 1
        shift_us = begin_us - ground.since_us - part * span_us
        for one in parts[part]:
            if one.at + shift_us <= ground.until_us:
                found.append(_again(one, shift_us, copy))
        begin_us += span_us
    return found


def _again(one: Arrival, shift_us: int, copy: int) -> Arrival:
    """A submission of the past at a later time. What one of its users did with it since, they do not do again."""
    asked = one.asked
    assert isinstance(asked, f.SubmitJob)
    later = replace(
        asked,
        request="",
        request_digest="",
        held=False,
        booking="",
        begin_us=asked.begin_us + shift_us if asked.begin_us else 0,
        deadline_us=asked.deadline_us + shift_us if asked.deadline_us else 0,
    )
    return Arrival(one.at + shift_us, later, one.origin, copy)


# ── demand ────────────────────────────────────────────────────────────────────────────────────────────────────────
def demanded(
    arrivals: list[Arrival], changes: Sequence[tuple[int, Change]], ground: Ground, state: State, seed: int
) -> list[Arrival]:
    """The arrivals with as many jobs, at the times, that the scenario wants. Each job has its own chance, so that of
    two scenarios the one with more demand has all jobs of the other."""
    wanted = [(at, change) for at, change in changes if isinstance(change.what, Demand)]
    if not wanted:
        return arrivals
    for _, change in wanted:
        _check(change, state)
    drawn = Chance(seed, SCALED).uniforms(max(len(arrivals), 1)).tolist()
    found: list[Arrival] = []
    for one, u in zip(arrivals, drawn, strict=False):
        scale, shift_us = _of(one, wanted, ground.from_us, state)
        if scale == 1.0 and not shift_us:
            found.append(one)
            continue
        copies = int(scale) + (u < scale % 1)
        at = max(one.at + shift_us, ground.from_us)
        for number in range(copies):
            # of several copies the further ones come within the hour that follows
            found.append(_another(one, at + int(u * HOUR_US) * number // max(copies, 1), number))
    return sorted(found, key=attrgetter("at"))


def _check(change: Change, state: State) -> None:
    of = change.what.of if isinstance(change.what, Demand) else ""
    classes = {tenant.tenant_class for tenant in state.tenants.values()}
    if of and of not in classes and of not in state.tenants:
        known = ", ".join([*sorted(classes), *list(state.tenants)[:8]])
        raise TraceError(f"{change.place}: there is neither a class nor a tenant {of!r}; known: {known}")


def _of(one: Arrival, wanted: Sequence[tuple[int, Change]], from_us: int, state: State) -> tuple[float, int]:
    """How many times the job comes, and how much later."""
    scale, shift_us, asked = 1.0, 0, one.asked
    if not isinstance(asked, f.SubmitJob):
        return scale, shift_us
    tenant = state.tenants.get(asked.tenant)
    names = ("", asked.tenant, tenant.tenant_class if tenant else "")
    for at, change in wanted:
        what = change.what
        assert isinstance(what, Demand)
        until_us = None if what.until is None else what.until.at(from_us)
        if what.of in names and at <= one.at and (until_us is None or one.at < until_us):
            scale *= what.scale
            shift_us += what.shift_us
    return scale, shift_us


def _another(one: Arrival, at: int, number: int) -> Arrival:
    if not number:
        return one._replace(at=at)
    assert isinstance(one.asked, f.SubmitJob)
    return one._replace(at=at, asked=replace(one.asked, request="", request_digest=""))


# ── as a source ───────────────────────────────────────────────────────────────────────────────────────────────────
class Arriving(Settling):
    """Tells the arrivals, and gives each job its life: `truth` learns of it as soon as the core has given it an id, so
    before its run is ordered. `refused`: submissions that the core did not take."""

    def __init__(self, arrivals: Sequence[Arrival], ground: Ground, state: State, seed: int) -> None:
        self.truth = Truth()
        self.refused = 0
        self._arrivals = arrivals
        self._ground = ground
        self._state = state
        self._next = 0
        self._taken: list[Arrival] = []
        self._ids: dict[tuple[str, int], str] = {}  # what jobs of the past are called here
        self._gone = {one.origin for one in ground.arrivals} - {one.origin for one in arrivals}
        self._seed = seed
        self._live(Chance(seed, LIVING))

    def next_time(self) -> int | None:
        return self._arrivals[self._next].at if self._next < len(self._arrivals) else None

    def take(self, now: int) -> Sequence[f.Observation]:
        first = self._next
        while self._next < len(self._arrivals) and self._arrivals[self._next].at <= now:
            self._next += 1
        self._taken = [one for one in self._arrivals[first : self._next] if self._is_of_here(one)]
        return [self._called(one) for one in self._taken]

    def bind(self, answers: Sequence[Answer]) -> None:
        """The core's answers of this cycle, of which those to the last `take` are the last."""
        taken, self._taken = self._taken, []
        for one, answer in zip(taken, answers[len(answers) - len(taken) :], strict=True):
            if not isinstance(one.asked, f.SubmitJob):
                continue
            if answer.refused:
                self.refused += 1
                continue
            for index in range(max(one.asked.array, 1)):
                self._give(one, _nth(answer.made, index), _nth(one.origin, index))

    def settle(self, answers: Sequence[Answer], head: Head) -> None:
        if self._taken:  # nothing was appended: all were refused
            self.bind(answers)

    def _is_of_here(self, one: Arrival) -> bool:
        """Whether there is something to tell: of a job that does not come here nobody cancels anything."""
        if isinstance(one.asked, f.CancelJob | f.HoldJob | f.ReleaseJob):
            return one.asked.job not in self._gone
        return one.asked is not None

    def _give(self, one: Arrival, job: str, origin: str) -> None:
        """The job `job` is what `origin` was."""
        known, truth = self._ground.truth, self.truth
        truth.attempts.pop(job, None)
        truth.worked.pop(job, None)
        if not origin:
            return  # it says itself how long it takes
        self._ids.setdefault((origin, one.copy), job)  # of several copies the first
        life = known.attempts.get(origin, [])
        if self._ground.kind == "recorded":
            if origin in known.worked:
                truth.worked[job] = known.worked[origin]
        elif origin in known.given_up:
            life = [*life, known.given_up[origin]]
        elif not life:
            assert isinstance(one.asked, f.SubmitJob)
            life = self._drawn_life(one.asked, f"{origin} {one.copy}")
        if life:
            truth.attempts[job] = life

    def _drawn_life(self, asked: f.SubmitJob, name: str) -> list[Attempt]:
        """Of a job that never ran to its end; by its name, so that it has the same in every scenario."""
        u = float(Chance(self._seed, DRAWN, crc32(name.encode())).uniforms(1)[0])
        length_us = self._ground.lengths.draw(asked.tenant, asked.resources.gpus, 0, u)
        return [] if length_us is None else [Attempt(length_us, EXITED)]

    def _live(self, chance: Chance) -> None:
        """The jobs that are there at the fork: those of which the future is known have it; others take what such jobs
        took, more than they have worked."""
        state, known = self._state, self._ground.truth
        drawn = chance.uniforms(max(len(state.jobs), 1)).tolist()
        for job, u in zip(state.jobs.values(), drawn, strict=False):
            if self._ground.kind == "recorded":
                if job.id in known.attempts:
                    self.truth.attempts[job.id] = known.attempts[job.id]
                if job.id in known.worked:
                    self.truth.worked[job.id] = known.worked[job.id]
                continue
            worked_us = _worked_us(state, job, self._ground.from_us)
            length_us = self._ground.lengths.draw(job.tenant, job.resources.gpus, worked_us, u)
            if length_us is None:  # nobody ever took longer
                length_us = (
                    job.expected_us if job.expected_us > worked_us else job.max_duration_us or worked_us
                )
            self.truth.attempts[job.id] = [Attempt(length_us, EXITED)] * (job.retried + 1)

    def _called(self, one: Arrival) -> Any:
        """What is told, with the ids that jobs have here."""
        asked = one.asked
        if isinstance(asked, f.CancelJob | f.HoldJob | f.ReleaseJob):
            return replace(asked, job=self._ids.get((asked.job, one.copy), asked.job))
        if isinstance(asked, f.SubmitJob) and asked.after:
            here = [(self._id(on.job, one.copy), on) for on in asked.after]
            return replace(asked, after=tuple(replace(on, job=job) for job, on in here if job))
        return asked

    def _id(self, job: str, copy: int) -> str:
        """'' for one of the past that does not come again."""
        return self._ids.get((job, copy), "" if copy else job)


def _nth(first: str, index: int) -> str:
    """The id of a further job of an array."""
    tenant, _, number = first.rpartition("-")
    return f"{tenant}-{int(number) + index}" if index and first else first


def _worked_us(state: State, job: Job, now: int) -> int:
    run = state.runs.get(job.run)
    return job.kept_us + (now - run.started_us if run is not None and run.has_started else 0)
