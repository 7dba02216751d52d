# SPDX-License-Identifier: Apache-2.0
"""What a seed is: a plan, all of it data. Drawn by `drawing`, played by `world`, made smaller by `shrink`.

Nothing is random while a plan is played. A fault is due from a true time on and hits the first thing of its kind that
happens then; so dropping one leaves the others where they were.
"""

from typing import Final

import msgspec

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.rules import Rules

START_US: Final = 10**12  # when a plan begins
SLACK_US: Final = 4 * 3600 * 10**6

# kind → what it does; `value_us` of the fault is the time that belongs to it
FAULTS: Final = {
    "report_lost": "a report is lost and said again after that time; a start, perhaps never",
    "report_late": "a report comes so much later",
    "report_doubled": "a report comes again after that time",
    "reports_reordered": "what was reported together comes in the opposite order",
    "reports_refused": "a site cannot be asked for its reports",
    "order_lost": "an order is lost and said again after that time",
    "order_late": "an order comes so much later",
    "order_doubled": "an order comes again after that time",
    "order_refused": "a site takes no order, and carries out nothing",
    "order_unanswered": "a site carries out orders, and its answer is lost",
    "node_fails": "a node is gone with what runs there; it is back after that time",
    "node_fails_partly": "the same, but the rest of its gangs goes on until it is told to end",
    "node_leaves": "a node takes no new run for so long",
    "node_shrinks": "a node comes back with half of its GPUs, and whole after that time",
    "gpu_fails": "a GPU of a node is bad, as its engine says; the operator says after that time that it is repaired",
    "clock_forward": "the machine's clock jumps forward by that",
    "clock_back": "the machine's clock jumps back by that",
    "append_fails": "the journal takes nothing, the writer ends, for so long",
    "append_full": "the journal is full, the writer ends, for so long",
    "append_unknown": "the journal takes all and does not say so, the writer ends, for so long",
    "append_slow": "the journal takes that time",
    "crash": "the writer dies between two cycles, for so long",
    "crash_in_send": "the writer dies when the first of several orders is out, for so long",
    "crash_before_settle": "the writer dies when all is sent, before anybody is answered, for so long",
    "second_writer": "another writer takes over while the first one pauses; it goes on after that time",
    "ask_doubled": "a client asks the same again after that time",
    "engine_forgets": "an engine loses a run and says so after that time",
    "engine_invents": "an engine reports runs that nobody ordered",
    "run_overstays": "an engine takes so much longer to end a run",
}
APART: Final = (
    "gpu_fails",
)  # came later: drawn by themselves, so that the worlds of before stay what they were
CRASHES: Final = (
    "append_fails",
    "append_full",
    "append_unknown",
    "crash",
    "crash_in_send",
    "crash_before_settle",
)


class Ask(msgspec.Struct):
    """What somebody asks for at a true time. `key`: its name; of a submission its Idempotency-Key and spec, of an act
    its author. `of`: the request whose answer names what it is about. `after`: (request, how it must end)."""

    key: str
    at_us: int
    what: f.Observation
    of: str = ""
    after: tuple[tuple[str, str], ...] = ()


class Truth(msgspec.Struct):
    """How long runs of a job really take, and how they end. `length_us`: its work, at its least size; `fails`: the
    outcomes of the first runs that end by themselves, half-way."""

    length_us: int
    start_us: int = 0
    stop_us: int = 0
    fails: tuple[str, ...] = ()


class Fault(msgspec.Struct):
    """See FAULTS. `who`: which one, of nodes or runs."""

    kind: str
    at_us: int
    value_us: int = 0
    who: int = 0


class Plan(msgspec.Struct):
    """See the module. Times are true times in µs. `quiet_us`: from then on nothing fails and nobody asks for more, and
    what was taken from the fleet is back; `bound_us`: by then everything has ended."""

    seed: int
    rules: Rules
    sites: list[f.SiteAdded]
    nodes: list[f.NodeAdded]
    tenants: dict[str, tuple[str, tuple[str, ...]]]  # → class and further projects
    entitled: dict[str, tuple[a.Entitlement, ...]]  # by pool
    asks: list[Ask]
    truths: dict[str, Truth]
    faults: list[Fault]
    quiet_us: int
    through_sites: bool = False  # engines are behind `leitstand.runtime.sites`
    snapshot_every: int = 0  # cycles; 0: none are made
    refold_every: int = 0  # cycles between two refolds; 0: at restarts and the end alone
    retold: bool = False  # the journal is told again at the end

    @property
    def is_calm(self) -> bool:
        """Whether nothing fails and no contract changes: then what is owed is owed to the microsecond."""
        return not self.faults and not self.changes_contracts

    @property
    def is_prompt(self) -> bool:
        """Whether engines do what they should when they should."""
        return not self.faults and not any(truth.start_us for truth in self.truths.values())

    @property
    def changes_contracts(self) -> bool:
        """Whether the tree, the fleet or the rules change on somebody's wish."""
        kinds = a.EntitlementsChanged | a.CommitmentMade | a.MaintenancePlanned | f.RulesSet | f.BookingMade
        return any(isinstance(ask.what, kinds) for ask in self.asks)

    @property
    def bound_us(self) -> int:
        """By then everything has ended: each job could have run alone, several times."""
        spans = [_span_us(ask.what) for ask in self.asks]
        return self.quiet_us + sum(spans) + SLACK_US

    @property
    def patience_us(self) -> int:
        """So long nothing may stand still: the longest run, and the wait for what was asked to come later."""
        spans = [_span_us(ask.what) for ask in self.asks]
        later = [
            getattr(ask.what, name, 0) - self.quiet_us
            for ask in self.asks
            for name in ("begin_us", "until_us", "to_us", "from_us")
        ]
        return max([0, *spans]) + max([0, *later]) + SLACK_US


def _span_us(what: f.Observation) -> int:
    """How long what is asked for can take at most, beside waiting."""
    if isinstance(what, f.SubmitJob):
        return max(what.array, 1) * (what.retries + 3) * what.max_duration_us
    return what.until_us - START_US if isinstance(what, f.BookingMade) else 0
