# SPDX-License-Identifier: Apache-2.0
"""What all courses of a fork start from: the state, its time, and what comes. Called by the CLI, handed to processes.

Out of a journal (also one that is being written), or out of a cluster file with or without a trace.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.rules import TENANT_CLASSES, Rules, digest
from leitstand.core.units import DAY_US, SECOND_US
from leitstand.journal import snapshots
from leitstand.twin.cluster import fleet, guarantees, read_cluster
from leitstand.twin.forking.changes import WhatIf, parting
from leitstand.twin.forking.lengths import Lengths
from leitstand.twin.forking.past import Arrival, Past, read_past
from leitstand.twin.forking.times import SPAN_MAX_US, When, shown, shown_span
from leitstand.twin.reading.table import TraceError
from leitstand.twin.replay import requests
from leitstand.twin.traces import Form, Trace, read_trace
from leitstand.twin.truth import Truth

WEEK_US: Final = 7 * DAY_US
WEEKS: Final = 4  # of the past, where nothing is said
START_US: Final = 1_767_225_600 * SECOND_US  # 2026-01-01, where a cluster file is forked and no start is said
PENDING_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Ground:
    """`projection`: the state at `from_us`; `kind`: of arrivals, one of `whatif.KINDS`; `arrivals`: recorded ones, or
    those of the past from `since_us` on that are repeated, `weeks` parts in `period_us`; `truth`, `lengths`: how long
    jobs took; `source`: where it comes from, for people; `dropped`: how many rows of a trace were left out as unusable,
    `dropped_why`: one sentence for each of the first of them; `step_us`: how often the cloud is looked at, 0: at every
    event."""

    source: str
    projection: bytes
    from_us: int
    until_us: int
    kind: str
    arrivals: tuple[Arrival, ...] = ()
    since_us: int = 0
    weeks: int = 0
    period_us: int = 0
    truth: Truth = field(default_factory=Truth)
    lengths: Lengths = field(default_factory=Lengths)
    load: float = 0.0
    growth: float = 0.0
    dropped: int = 0
    dropped_why: tuple[str, ...] = ()
    step_us: int = 0

    def comes(self) -> str:
        """Which jobs come, in words."""
        if self.kind == "recorded":
            return "the jobs that truly came, each as long as it truly took"
        if self.kind == "past-weeks":
            weeks = "week" if self.weeks == 1 else f"{self.weeks} weeks"
            return f"the jobs of the last {weeks} before {shown(self.from_us)} again and again"
        if self.kind == "trace":
            ends_us = self.from_us + self.period_us
            again = f", again every {shown_span(self.period_us)}" if ends_us < self.until_us else ""
            return f"the {len(self.arrivals):,} jobs of the trace{again}"
        if self.kind == "synthetic":
            grown = f", growing by {self.growth:.0%} a year" if self.growth else ""
            return f"synthetic jobs, {self.load:.0%} of the GPU time of the fleet at the start{grown}"
        return "no further jobs"


def ground_of_journal(path: Path, at: int | When | None, until: When, what_if: WhatIf) -> Ground:
    """The fork of a journal at an entry, a time, or its end."""
    if what_if.start is not None:
        raise TraceError(
            f"{path}: a journal is forked where --at says; leave `start` out of the scenario file"
        )
    asked = what_if.arrivals
    if asked.kind == "trace":
        raise TraceError(
            "`arrivals: trace` needs --cluster and --trace; a journal has recorded or past-weeks"
        )
    wants_recorded = asked.kind in ("", "recorded") and at is not None
    weeks = asked.weeks or (WEEKS if asked.kind == "" else 0)
    past = read_past(path, at, weeks=weeks, recorded=wants_recorded)
    until_us = _until_us(until, past.from_us, what_if)
    if wants_recorded and (asked.kind == "recorded" or until_us <= past.until_us):
        return _recorded(path, past, until_us)
    if asked.kind == "recorded":
        raise TraceError(
            f"{path}: nothing is recorded after its end; fork earlier with --at, or say past-weeks"
        )
    if wants_recorded:  # it was to be found out where the journal ends
        past = read_past(path, at, weeks=weeks, recorded=False)
    kind = asked.kind or "past-weeks"
    arrivals: tuple[Arrival, ...] = ()
    if kind == "past-weeks":
        arrivals, weeks = _past_weeks(path, past, asked.weeks)
    return Ground(
        source=str(path),
        projection=past.projection,
        from_us=past.from_us,
        until_us=until_us,
        kind=kind,
        arrivals=arrivals,
        since_us=past.from_us - weeks * WEEK_US,
        weeks=weeks,
        period_us=weeks * WEEK_US,
        truth=past.truth,
        lengths=past.lengths,
        load=asked.load,
        growth=asked.growth,
    )


def _until_us(until: When, from_us: int, what_if: WhatIf) -> int:
    """The end, which has to let every scenario begin to be another than what is planned."""
    until_us = until.at(from_us)
    if not from_us < until_us <= from_us + SPAN_MAX_US:
        raise TraceError(
            f"--until is {shown(until_us)}, not after the fork at {shown(from_us)}, or more than ten years later"
        )
    for scenario in what_if.scenarios:
        parts_us = parting(what_if.base, scenario, from_us)
        if parts_us is not None and parts_us >= until_us:
            raise TraceError(
                f"scenario {scenario.name!r} is what is planned until {shown(parts_us)}, and --until is "
                f"{shown(until_us)}: nothing would be seen of it; say a later --until"
            )
    return until_us


def _recorded(path: Path, past: Past, until_us: int) -> Ground:
    if until_us > past.until_us:
        raise TraceError(
            f"{path}: what comes is recorded until {shown(past.until_us)}; say --until {shown(past.until_us)} at most, "
            "or `arrivals: past-weeks`"
        )
    return Ground(
        source=str(path),
        projection=past.projection,
        from_us=past.from_us,
        until_us=until_us,
        kind="recorded",
        arrivals=tuple(past.after),
        truth=past.truth,
        lengths=past.lengths,
    )


def _past_weeks(path: Path, past: Past, asked: int) -> tuple[tuple[Arrival, ...], int]:
    """What was submitted in the weeks that are asked for (0: as many as there are, up to WEEKS), and how many that
    are. A day may be missing."""
    other = "`arrivals: {synthetic: {load: 0.9}}` or `arrivals: none`"
    if not past.arrivals:
        raise TraceError(
            f"{path}: nothing was submitted in the {asked or WEEKS} weeks before {shown(past.from_us)}; say {other}"
        )
    first_us = past.arrivals[0].at
    whole = (past.from_us - first_us + DAY_US) // WEEK_US
    weeks = asked or min(whole, WEEKS)
    if not 0 < weeks <= whole:
        age = f"{weeks} weeks" if weeks > 1 else "a week"
        less = f"`arrivals: {{past-weeks: {whole}}}`, " if whole else ""
        raise TraceError(
            f"{path}: the first job came on {shown(first_us)}, less than {age} before the fork; "
            f"say {less}{other}"
        )
    return tuple(one for one in past.arrivals if one.at >= past.from_us - weeks * WEEK_US), weeks


# ── without a journal ─────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class Described:
    """A cloud without a journal: its cluster file, perhaps its jobs, and how their trace is read (`lenient`: rows that
    cannot be used are left out)."""

    cluster: Path
    trace: Path | None = None
    form: Form | None = None
    lenient: bool = False


def ground_of_cluster(described: Described, until: When, what_if: WhatIf) -> Ground:
    """The fork of a cloud that is only described: all nodes in one fleet, each tenant guaranteed as much as its own
    nodes are, under the discipline `fair`; scenario files say what is different."""
    asked, cluster_path, trace_path = what_if.arrivals, described.cluster, described.trace
    kind = asked.kind or ("trace" if trace_path else "synthetic")
    if kind in ("recorded", "past-weeks") or (kind == "trace") != (trace_path is not None):
        told = "trace, synthetic or none" if trace_path else "synthetic or none; `trace` needs --trace FILE"
        raise TraceError(f"`arrivals: {kind}` does not fit what is forked; say {told}")
    from_us = what_if.start.us if what_if.start else START_US
    core = Core()
    cluster = read_cluster(cluster_path)
    longest_us = SPAN_MAX_US
    rules = Rules(
        name="fork",
        discipline="fair",
        max_duration_default_us=dict.fromkeys(TENANT_CLASSES, longest_us),
        max_duration_limit_us=longest_us,
        pending_jobs_max=PENDING_MAX,
    )
    opening: list[f.Observation] = [f.RulesSet(rules, digest(rules)), *fleet(cluster, static=False)]
    core.cycle(from_us, [*opening, *guarantees(cluster)])
    refused = [answer.detail for answer in core.answers if answer.refused]
    if refused:
        raise TraceError(f"{cluster_path}: {refused[0]}")
    trace = read_trace(trace_path, lenient=described.lenient, form=described.form) if trace_path else None
    arrivals, period_us = _again(trace, from_us) if trace else ((), 0)
    here = core.state.tenants
    known = [one for one in arrivals if isinstance(one.asked, f.SubmitJob) and one.asked.tenant in here]
    if arrivals and not known:
        raise TraceError(
            f"{cluster_path}: names none of the tenants of {trace_path}; take the one that goes with it"
        )
    return Ground(
        source=str(cluster_path) if trace_path is None else f"{cluster_path}, {trace_path}",
        projection=snapshots.stored(core.state),
        from_us=from_us,
        until_us=_until_us(until, from_us, what_if),
        kind=kind,
        arrivals=arrivals,
        since_us=from_us,
        weeks=max(period_us // WEEK_US, 1),
        period_us=period_us,
        load=asked.load,
        growth=asked.growth,
        dropped=trace.dropped if trace else 0,
        dropped_why=trace.dropped_why if trace else (),
    )


def _again(trace: Trace, from_us: int) -> tuple[tuple[Arrival, ...], int]:
    """The trace's jobs as if its first day were that of the fork, and after how long it begins anew: whole weeks, so
    that the days of the week stay; whole days if it is shorter than a week."""
    first_us, last_us = int(trace.submit_us[0]), int(trace.submit_us[-1])
    begin_us = first_us // DAY_US * DAY_US
    unit_us = WEEK_US if last_us - begin_us >= WEEK_US - DAY_US else DAY_US
    period_us = -(-(last_us + 1 - begin_us) // unit_us) * unit_us
    shift_us = from_us - begin_us
    told = zip(trace.submit_us.tolist(), requests(trace, np.arange(len(trace))), strict=True)
    return tuple(Arrival(at + shift_us, asked) for at, asked in told), period_us
