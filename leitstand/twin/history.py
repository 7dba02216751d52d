# SPDX-License-Identifier: Apache-2.0
"""What a journal holds, cycle by cycle, and what its core was told in each. Called by replays and forks.

A journal holds facts, not the observations that led to them; but of each fact that an observation became it is known
what that was. So a core can be told the same again, and decide by itself what followed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.acts import ACTS
from leitstand.core.cycle import Core
from leitstand.runtime.ports import Entry, Source

REPORTS: Final = (f.RunQueued, f.RunStarted, f.RunResized, f.RunEnded)


class Moment(NamedTuple):
    """All facts with one stamp, `at` (µs), as a rule those of one cycle; `first` is the number of the first entry."""

    at: int
    first: int
    facts: tuple[f.Fact, ...]


def moments(entries: Iterable[Entry]) -> Iterator[Moment]:
    """The journal's entries by their stamps, in order."""
    for at, group in groupby(entries, key=lambda entry: entry.at):
        together = list(group)
        yield Moment(at, together[0].seq, tuple(entry.fact for entry in together))


def observation(fact: f.Fact) -> f.Observation | None:
    """What a core was told that led to the fact; None if time or another fact did."""
    told = _TOLD.get(type(fact))
    return None if told is None else told(fact)


def is_taken_over(fact: f.Fact) -> bool:
    """Whether it says who is who, or what was kept of whom: nothing that is scheduled depends on it, so a replay does
    not decide it again."""
    return type(fact) in _TAKEN_OVER


class HistorySource(Source):
    """What the core of a journal was told, at the same times, but for what engines reported: whoever plays the history
    has an engine of his own. Where neither led to what it decided, it is woken: it was told something that it refused,
    or it was time. `moments`: those to play; `change`: what is told instead, None: nothing."""

    def __init__(
        self,
        moments: Iterable[Moment],
        change: Callable[[f.Observation], f.Observation | None] = lambda told: told,
    ) -> None:
        self._moments = iter(moments)
        self._change = change
        self._next: tuple[int, list[f.Observation]] | None = None
        self._advance()

    def next_time(self) -> int | None:
        return None if self._next is None else self._next[0]

    def take(self, now: int) -> Sequence[f.Observation]:
        taken: list[f.Observation] = []
        while self._next is not None and self._next[0] <= now:
            taken += self._next[1]
            self._advance()
        return taken

    def _advance(self) -> None:
        self._next = None
        for moment in self._moments:
            told = told_in(moment)
            if told is not None:
                changed = (self._change(asked) for _, asked in told)
                self._next = moment.at, [asked for asked in changed if asked is not None]
                return


def told_in(moment: Moment) -> list[tuple[f.Fact, f.Observation]] | None:
    """What was told at the moment, but for what engines reported, with the facts that it became; None if that was
    reports alone."""
    told = [(fact, asked) for fact in moment.facts if (asked := observation(fact)) is not None]
    wanted = [one for one in told if not isinstance(one[1], REPORTS)]
    return wanted if wanted or not told else None


def tell_again(core: Core, moment: Moment) -> list[f.Fact]:
    """The cycles of the moment once more: what the core decides now, told what led to the facts that are recorded."""
    decided: list[f.Fact] = []
    while True:
        rest = moment.facts[len(decided) :]
        decided += core.cycle(moment.at, _observed(core, rest))
        if (
            len(decided) >= len(moment.facts)
            or not core.decided
            or differs_at(moment.facts, decided) < len(decided)
        ):
            return decided


def differs_at(recorded: Sequence[f.Fact], decided: Sequence[f.Fact]) -> int:
    """How many of the first facts are the same."""
    for index, (one, other) in enumerate(zip(recorded, decided, strict=False)):
        if one != other and not _is_same(one, other):
            return index
    return min(len(recorded), len(decided))


def _is_same(one: f.Fact, other: f.Fact) -> bool:
    """Rules are known by what they say: newer code digests more fields. Guarantees that were shrunk when they were
    asked are what they became."""
    if isinstance(one, f.RulesSet) and isinstance(other, f.RulesSet):
        return (one.rules, one.by) == (other.rules, other.by)
    if isinstance(one, a.EntitlementsChanged) and isinstance(other, a.EntitlementsChanged):
        return replace(one, scaled=False) == replace(other, scaled=False)
    return False


def _observed(core: Core, recorded: Sequence[f.Fact]) -> Iterator[f.Observation]:
    """The observations of a cycle, one after the other: each is known from the first fact that those before it, with
    all that followed from them, do not explain."""
    while len(core.decided) < len(recorded):
        done = len(core.decided)
        fact = recorded[done]
        if is_taken_over(fact):
            core.take_over(fact)
            continue
        asked = observation(fact) or _booked_behind(recorded[done:])
        if asked is None:
            return
        yield asked
        if len(core.decided) == done:
            return  # it decides nothing now


def _booked_behind(rest: Sequence[f.Fact]) -> f.Observation | None:
    """The booking for which what is dropped here makes room: that is said before it."""
    fact = next((one for one in rest if not isinstance(one, f.ReservationDropped)), None)
    return observation(fact) if isinstance(fact, f.BookingMade) else None


def _submission(fact: f.JobSubmitted) -> f.SubmitJob | None:
    if fact.index:
        return None  # of an array: said with its first job
    if fact.burn_in:
        return None  # it follows from the repair
    return f.SubmitJob(
        fact.tenant,
        fact.project,
        fact.resources,
        fact.user,
        fact.priority,
        fact.max_duration_us,
        fact.expected_us,
        fact.spec,
        fact.request,
        fact.request_digest,
        fact.retries,
        fact.retry_on,
        fact.checkpoint_every_us,
        fact.begin_us,
        fact.after,
        fact.deadline_us,
        fact.held,
        fact.size,
        fact.alternatives,
        fact.data_sites,
        fact.elastic,
        fact.booking,
    )


def _booking(fact: f.BookingMade) -> f.BookingMade:
    return replace(fact, charge_milli=0, tasks=(), yields=(), reserved=(), price_micro_eur=0)


def _reported(fact: Any) -> Any:
    """With the engine's own time."""
    return replace(fact, at_us=fact.at_us + fact.skew_us, skew_us=0)


def _as_it_is(fact: Any) -> Any:
    return fact


_TOLD: Final[dict[type, Callable[[Any], f.Observation | None]]] = {
    f.JobSubmitted: _submission,
    f.CancelRequested: lambda fact: f.CancelJob(fact.job, fact.user),
    f.JobHeld: lambda fact: f.HoldJob(fact.job, fact.user),
    f.JobReleased: lambda fact: f.ReleaseJob(fact.job, fact.user) if fact.cause == "user" else None,
    f.BookingMade: _booking,
    f.BookingCancelled: lambda fact: replace(fact, posted=()),
    f.RunQueued: _as_it_is,
    f.RunStarted: _reported,
    f.RunResized: _reported,
    f.RunEnded: _reported,
    f.NodeReported: _reported,
    **dict.fromkeys(
        (
            f.WriterStarted,
            f.RulesSet,
            f.SiteAdded,
            f.NodeAdded,
            f.NodeRemoved,
            f.NodeRepaired,
            a.SiteDescribed,
            a.TenantAdded,
            a.TenantSuspended,
            a.TenantResumed,
            a.TenantExitStarted,
            a.TenantExitExtended,
            a.ProjectAdded,
            a.ProjectClosed,
            a.BudgetGranted,
            a.EntitlementsChanged,
            a.CommitmentMade,
            a.CommitmentEnded,
            a.MaintenancePlanned,
            a.MaintenanceCancelled,
        ),
        _as_it_is,
    ),
}
_BY_TIME: Final = (a.TenantExitAdvanced, a.MaintenanceAdvanced)
_TAKEN_OVER: Final = frozenset(ACTS) - frozenset(_TOLD) - frozenset(_BY_TIME)
