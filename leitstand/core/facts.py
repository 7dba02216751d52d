# SPDX-License-Identifier: Apache-2.0
"""The vocabulary: every observation and every decision that the journal can hold. Frozen.

A *fact* is a frozen struct named in the past tense. Its stored form is JSON with the name in `fact`; a changed
meaning is a new version (`JobSubmitted.2`) beside an upcast of the old one (`leitstand.journal.codec`), never an
edit of a released struct: adding an optional field with a default is the only change allowed in place.

Facts carry no time of their own: the journal stamps each with `at`, integer microseconds since the Unix epoch
(trace time in the twin). `at_us` inside a report is the engine's own measured time.

*Requests* (`SubmitJob`, `CancelJob`) are what faces ask for; the core turns each into a fact or drops it.
Engine reports (`RunStarted`, `RunEnded`) and operator facts (`NodeAdded`, …) arrive as the facts they become.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from leitstand.core.acts import ACTS, Act
from leitstand.core.acts import TenantAdded as TenantAdded
from leitstand.core.fact import Fact as Fact
from leitstand.core.health.told import BurnInFailed as BurnInFailed
from leitstand.core.health.told import NodeDrained as NodeDrained
from leitstand.core.health.told import NodeRepaired as NodeRepaired
from leitstand.core.health.told import NodeReported as NodeReported
from leitstand.core.health.told import NodeReturned as NodeReturned
from leitstand.core.places.mig import Mig, Model
from leitstand.core.rules import Rules

Parts = tuple[tuple[str, int], ...]  # (budget, amount of it in its unit) of what budgets pay


class Resources(
    msgspec.Struct, frozen=True, omit_defaults=True, gc=False, cache_hash=True, forbid_unknown_fields=True
):
    """What a job asks for: its shape.

    `nodes` = n > 0: n equal tasks, each with gpus/n, cpus_milli/n, memory_mib/n, each on a node of its own (unless
    the site lets tasks of a gang share a node). `nodes` = 0: the fewest nodes that hold the GPUs, filled node by node.
    All amounts are totals of the whole gang, but for `gpu_milli`.

    `gpu_type`: only nodes with this one, '' any. `gpu_milli`: with `gpus` = 0, each task has that many thousandths of
    one GPU, which it may share. `level`: all tasks within one domain of this level of the topology (`rack`); `prefer`:
    so if that is possible now. `slice_nodes`, `slice_level`: groups of so many tasks, each group within one domain of
    that level. `nodes_max`: an elastic job takes from `nodes` to so many equal tasks; amounts are those of the least.
    `sites`: only at one of these, () any; `jurisdiction`: only at a site under this law, '' any. A gang never spans
    sites. `mig`: with `gpus` = 0, each task has one MIG instance of this profile (`3g.40gb`), '' none. `partners`: it
    may be referred to a delegated site, if no other could ever run it; who names the site in `sites` may go there
    anyway.
    """

    gpus: int = 0
    nodes: int = 1
    cpus_milli: int = 0
    memory_mib: int = 0
    gpu_type: str = ""
    gpu_milli: int = 0
    level: str = ""
    prefer: str = ""
    slice_nodes: int = 0
    slice_level: str = ""
    nodes_max: int = 0
    sites: tuple[str, ...] = ()
    jurisdiction: str = ""
    mig: str = ""
    partners: bool = False

    @property
    def is_part(self) -> bool:
        """Whether each task has no more than a part of one GPU: a fraction or a MIG instance."""
        return bool(self.gpu_milli or self.mig)

    def part(self, gpus: int) -> tuple[int, int]:
        """(cpus_milli, memory_mib) that a task with `gpus` GPUs holds: an equal part, or one in proportion to its GPUs,
        rounded up. Folds of every version rely on it."""
        if self.nodes == 1:
            return self.cpus_milli, self.memory_mib
        if self.nodes:
            return self.cpus_milli // self.nodes, self.memory_mib // self.nodes
        return -(-self.cpus_milli * gpus // self.gpus), -(-self.memory_mib * gpus // self.gpus)


class Task(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """One member of a placed gang; its index in the placement is its node rank. Stored as [node, mask], for a gang may
    have thousands. `mask`: bit i is GPU i of the node, hexadecimal; of a MIG instance with what it takes of the GPU, as
    bits, and the GPU's number of slices (`4:f0/8`: of GPU 2 the upper half). CPU and memory follow from
    `Resources.part`."""

    node: str
    mask: str = "0"

    @classmethod
    def of(cls, node: str, gpus: Iterable[int]) -> "Task":
        """The task that holds the GPUs with these indices."""
        return cls(node, format(sum(1 << index for index in gpus), "x"))

    @property
    def bits(self) -> int:
        """The GPUs as a bit mask."""
        try:
            return int(self.mask, 16)
        except ValueError:  # a MIG instance
            return int(self.mask.partition(":")[0], 16)

    @property
    def slot(self) -> int:
        """What a MIG instance takes of its GPU, as a bit mask; 0 if the task has none."""
        _, is_instance, rest = self.mask.partition(":")
        return int(rest.partition("/")[0], 16) if is_instance else 0

    @property
    def slices(self) -> str:
        """The slices of a MIG instance for people, `4-7/8`; '' if the task has none."""
        if not self.slot:
            return ""
        every = int(self.mask.partition("/")[2])
        own = self.slot & ((1 << every) - 1)
        return f"{(own & -own).bit_length() - 1}-{own.bit_length() - 1}/{every}"

    @property
    def slot_milli(self) -> int:
        """What a MIG instance is of its GPU, in thousandths, rounded up: its share of the slices."""
        slices = int(self.mask.partition("/")[2] or 0)
        return -(-1000 * (self.slot & ((1 << slices) - 1)).bit_count() // slices) if slices else 0

    @property
    def gpus(self) -> tuple[int, ...]:
        """The GPUs as indices, ascending."""
        bits = self.bits
        return tuple(index for index in range(bits.bit_length()) if bits >> index & 1)


class Dependency(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """A job that waits for the end of another one of its tenant, or of a whole array by the id of its first job. `on`:
    how that must end, one of ENDS. Stored as [job, on]."""

    job: str
    on: str = "ok"


# ── requests ──────────────────────────────────────────────────────────────────────────────────────────────────────
class SubmitJob(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="fact", tag=True, gc=False):
    """A face asks for a job. `request`: keyed digest of the client's Idempotency-Key ('' = none); `request_digest`: of
    the body, so that a key reused with another body is refused; `spec`: keyed digest naming the erasable record.

    `begin_us`: it does not start before, 0: at once. `after`: jobs whose ends it waits for, all of them. `deadline_us`:
    it must have ended by then, 0: none. `held`: it waits until somebody releases it. `array`: so many equal jobs, 0:
    one, and no array. `alternatives`: other shapes that serve it, after `resources` in the order of preference.
    `data_sites`: where the data lies that it reads; it may run elsewhere, too. `elastic`: its tasks bear that others
    come and go while they run, so it starts with the least number of nodes and has up to `nodes_max`."""

    tenant: str
    project: str
    resources: Resources
    user: str = ""
    priority: int = 0
    max_duration_us: int = 0  # 0: the default of the tenant's class
    expected_us: int = 0  # expected length, 0: unknown; orders `sjf`
    spec: str = ""
    request: str = ""
    request_digest: str = ""
    retries: int = 0  # further runs, at most, after one that failed
    retry_on: tuple[str, ...] = ()  # reasons of RETRYABLE, () for all
    checkpoint_every_us: int = 0  # how often it says that it saves, 0: unknown
    begin_us: int = 0
    after: tuple[Dependency, ...] = ()
    deadline_us: int = 0
    held: bool = False
    array: int = 0
    alternatives: tuple[Resources, ...] = ()
    data_sites: tuple[str, ...] = ()
    elastic: bool = False
    booking: str = ""  # it runs in that alone


class CancelJob(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="fact", tag=True, gc=False):
    """A face asks to cancel a job; a job that has ended is left as it is."""

    job: str
    user: str = ""


class HoldJob(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="fact", tag=True, gc=False):
    """A face asks that a job which waits does not start until it is released."""

    job: str
    user: str = ""


class ReleaseJob(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="fact", tag=True, gc=False):
    """A face asks to release a job that is held."""

    job: str
    user: str = ""


# ── operator ──────────────────────────────────────────────────────────────────────────────────────────────────────
# `by`: the user who wanted it, '' for the control plane itself, which says at its start what it finds
class WriterStarted(Fact, frozen=True, gc=False):
    """A control plane took over the journal with this code."""

    version: str


class RulesSet(Fact, frozen=True, gc=False):
    """The bundle in force from here on, whole (`rules.digest` names it)."""

    rules: Rules
    digest: str
    by: str = ""


class SiteAdded(Fact, frozen=True, gc=False):
    """A site exists. `logical`: its GPUs are counted, not real. `colocate`: tasks of one gang may share a node.
    `levels`: the names of its levels between itself and its nodes, from the top (`block`, `rack`). `jurisdiction` '':
    what was said of it before (`SiteDescribed`) stays. `resizes`: its engine gives a run that runs other nodes.
    `mig_models`: MIG profiles of its GPUs, where they are not those of the table (`leitstand.core.places.mig`).
    `delegated`: it has a queue and users of its own; its nodes are slots of a quota, and what is placed there starts
    when its queue says so."""

    site: str
    engine: str
    logical: bool = False
    colocate: bool = False
    jurisdiction: str = ""
    by: str = ""
    levels: tuple[str, ...] = ()
    resizes: bool = False
    mig_models: tuple[Model, ...] = ()
    delegated: bool = False


class NodeAdded(Fact, frozen=True, gc=False):
    """A node is in service. Said again with other amounts, it replaces what was said before."""

    node: str
    site: str
    gpus: int
    cpus_milli: int
    memory_mib: int
    gpu_type: str = ""
    pool: str = "shared"  # the queue it serves, asked '': that of its site and GPU type (`places.types.pool_of`); under
    # rules with `static` the tenant that owns it
    by: str = ""
    domains: tuple[str, ...] = ()  # where it stands, a domain for each level of its site (`b1`, `b1-r7`)
    mig: Mig | None = None  # which of its GPUs are in MIG mode; None: none


class NodeRemoved(Fact, frozen=True, gc=False):
    """A node takes no new run; what runs on it goes on to its end. `failed`: it is gone with what ran on it; under
    `fair` the rest of these runs is told to end. Engines say so before they report the ends of these runs."""

    node: str
    by: str = ""
    failed: bool = False


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────────
class JobSubmitted(Fact, frozen=True, gc=False):
    """A job was asked for and has its id (`acme-42`). `array`: the id of the first job of its array, '' if it is of
    none; `index` of `size`: which of the array's jobs it is, from 0. `burn_in`: the node that it has to show to be
    well, and where alone it runs, once."""

    job: str
    tenant: str
    project: str
    resources: Resources
    user: str = ""
    priority: int = 0
    max_duration_us: int = 0
    expected_us: int = 0
    spec: str = ""
    request: str = ""
    request_digest: str = ""
    retries: int = 0
    retry_on: tuple[str, ...] = ()
    checkpoint_every_us: int = 0
    begin_us: int = 0
    after: tuple[Dependency, ...] = ()
    deadline_us: int = 0
    held: bool = False
    array: str = ""
    index: int = 0
    size: int = 0
    alternatives: tuple[Resources, ...] = ()
    data_sites: tuple[str, ...] = ()
    elastic: bool = False
    booking: str = ""
    burn_in: str = ""


class JobAdmitted(Fact, frozen=True, gc=False):
    """The job may run; it queues in `pool` and its runs are ended after `max_duration_us`. `charge_milli`: what it
    counts for while it runs, the largest of its GPU, CPU and memory share of its nodes, in thousandths of a GPU (of a
    core in a pool without GPUs); 0: under rules that do not charge, and in a booking, which counts instead. `reserved`:
    of which budgets how much for a run of it, `price_micro_eur`: at so much for one GPU and hour. `alternative`: which
    of its shapes it waits with, 0: `resources`, n: the n-th of `alternatives`. `score`: where it could choose, what its
    choice counts for, in seconds of waiting by the names of `leitstand.core.choosing.score.Score`."""

    job: str
    pool: str
    max_duration_us: int
    charge_milli: int = 0
    reserved: Parts = ()
    price_micro_eur: int = 0
    alternative: int = 0
    score: Parts = ()


class JobSwitched(Fact, frozen=True, gc=False):
    """A job that waits is demand in another pool from now on, or with another of its shapes; a reservation that it had
    is dropped. Fields as in `JobAdmitted`; `gain_s`: how much less the new choice counts than the old one, 0: the old
    pool could not hold it any more."""

    job: str
    pool: str
    alternative: int = 0
    charge_milli: int = 0
    reserved: Parts = ()
    price_micro_eur: int = 0
    score: Parts = ()
    gain_s: int = 0


class BudgetReserved(Fact, frozen=True, gc=False):
    """This is reserved for a run of the job from now on, instead of what was: it waits for another run, or what paid it
    expires too early."""

    job: str
    reserved: Parts = ()
    price_micro_eur: int = 0


class Lack(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """Why a pool could never run a job with one of its shapes: as in `JobRejected`."""

    pool: str
    alternative: int
    reason: str
    asked: int = 0
    limit: int = 0
    resource: str = ""


class JobRejected(Fact, frozen=True, gc=False):
    """The job will never run. `reason`: one of `leitstand.core.admission.REASONS`; it asked for `asked` of `resource`
    (one of `leitstand.core.admission.RESOURCES`) against `limit`. `lacks`: where there were several pools or shapes to
    choose from, what each lacks, at most LACKS_MAX."""

    job: str
    reason: str
    asked: int = 0
    limit: int = 0
    resource: str = ""
    lacks: tuple[Lack, ...] = ()


class JobHeld(Fact, frozen=True, gc=False):
    """A job that waits does not start until it is released."""

    job: str
    user: str = ""


class JobReleased(Fact, frozen=True, gc=False):
    """What kept a job from waiting for capacity is over. `cause`: `user` (its hold) or `begin_time`."""

    job: str
    cause: str
    user: str = ""


class CancelRequested(Fact, frozen=True, gc=False):
    """Somebody asked to cancel a live job."""

    job: str
    user: str = ""


class JobEnded(Fact, frozen=True, gc=False):
    """The job leaves the state. `state`: succeeded | failed | cancelled; `reason`: see `ENDED_REASONS`."""

    job: str
    state: str
    reason: str = ""
    exit_code: int | None = None


class JobRequeued(Fact, frozen=True, gc=False):
    """The job's run ended for one of RETRYABLE, or it was stopped for one of AGAIN, and the job waits for another run
    at its old place in the queue, or moves to where a claim of it holds places. `kept_us`: how much of its work its
    checkpoints keep, over all its runs."""

    job: str
    reason: str
    exit_code: int | None = None
    kept_us: int = 0


# ── runs ──────────────────────────────────────────────────────────────────────────────────────────────────────────
class CapacityReserved(Fact, frozen=True, gc=False):
    """From `start_us` on `tasks` are held for a job that waits, or whose run is about to move there; said again, it
    takes the place of what was said before. `kind`: `claim` (freed for it: counts as running, starts as soon as it is
    free), `promise` (nobody can recall it), `plan` (later arrivals do not delay it, a guarantee that is called may),
    `call` (where a guarantee takes back its own as soon as who is there is old enough) or `hold` (what a failure left
    of its nodes, with those that take the place of others: perhaps fewer than it needs). Of a task's mask only the
    number of GPUs
    counts; which ones they are shows at the start. `promised`: a claim in the place of a promise, whose run nobody may
    take for as long as one that starts at its promised time."""

    job: str
    kind: str
    start_us: int
    tasks: tuple[Task, ...]
    promised: bool = False


class ReservationDropped(Fact, frozen=True, gc=False):
    """The job has no reservation any more. `cause`: one of DROPPED."""

    job: str
    cause: str


class PromiseBroken(Fact, frozen=True, gc=False):
    """A job cannot start when it was promised, `old_us`. `cause`: node_failed, capacity_lost, maintenance (at once, of
    its nodes) or overdue (what held the place did not end in time); `new_us`: the new promise or plan, 0: none yet."""

    job: str
    cause: str
    old_us: int
    new_us: int = 0


# ── bookings ──────────────────────────────────────────────────────────────────────────────────────────────────────────
class BookingMade(Fact, frozen=True, gc=False):
    """In [from_us, until_us) `resources` are held for the jobs of the project, and of other `projects` of its tenant,
    that name the booking. Its promise: no later arrival takes it or delays it. `release_idle_us`: it ends once nobody
    used it for so long, 0: never. `request`, `request_digest`: as in `SubmitJob`.

    A face leaves out the rest, and perhaps `from_us` and `pool` (0, '': the earliest, the first that has room): `tasks`
    are the places, of which the numbers of GPUs count; `yields`: runs there that are told to end in time; `reserved`:
    of which budgets how much for the whole of it, `price_micro_eur`: at so much for one GPU and hour."""

    booking: str
    tenant: str
    project: str
    resources: Resources
    from_us: int
    until_us: int
    projects: tuple[str, ...] = ()
    release_idle_us: int = 0
    by: str = ""
    request: str = ""
    request_digest: str = ""
    pool: str = ""
    charge_milli: int = 0
    tasks: tuple[Task, ...] = ()
    yields: tuple[str, ...] = ()
    reserved: Parts = ()
    price_micro_eur: int = 0


class BookingCancelled(Fact, frozen=True, gc=False):
    """The booking is not to be, or ends now. `posted`: what budgets pay for it all the same."""

    booking: str
    by: str = ""
    posted: Parts = ()


class BookingAdvanced(Fact, frozen=True, gc=False):
    """`step`: clearing (runs in its place are told to end), begun (its jobs may start) or closing (they are told)."""

    booking: str
    step: str


class BookingMoved(Fact, frozen=True, gc=False):
    """The booking has these places from now on, since some of those that it had are gone. `cause`: as in
    `BookingBroken`; `yields`: of all of them, the runs that are told to end."""

    booking: str
    cause: str
    tasks: tuple[Task, ...]
    yields: tuple[str, ...] = ()


class BookingBroken(Fact, frozen=True, gc=False):
    """The booking has lost places for which there are no others, and is `tasks` from now on, which count for
    `charge_milli`; budgets do not pay for the rest. `cause`: node_failed, capacity_lost or maintenance (at once)."""

    booking: str
    cause: str
    tasks: tuple[Task, ...] = ()
    charge_milli: int = 0


class BookingEnded(Fact, frozen=True, gc=False):
    """The booking is over. `cause`: one of BOOKING_ENDS; `posted`: what budgets pay for it."""

    booking: str
    cause: str
    posted: Parts = ()


class SharesTicked(Fact, frozen=True, gc=False):
    """`ticks` intervals of the rules have passed in `pool`; the lag of every node took up what it got and deserved."""

    pool: str
    ticks: int = 1


class ProjectsCalled(Fact, frozen=True, gc=False):
    """Those projects of `pool` are looked at anew whose time in the tick comes after the last call, and not after
    `until_us`; a tick calls all until its moment."""

    pool: str
    until_us: int


class RunPlaced(Fact, frozen=True, gc=False):
    """One placement of a job (`acme-42.1`); the id is also the fencing token that engines know it by."""

    run: str
    job: str
    tasks: tuple[Task, ...]


class RunStopOrdered(Fact, frozen=True, gc=False):
    """The run was told to end. `cause`: cancel, suspended or exit (of its tenant); recall, priority or rebalance, so
    that `job` can start, and the run's own job waits again; move, so that `job` finds its shape, and the run's own job
    goes on where a claim holds places for it; node_failed: the rest of a run whose node is gone; maintenance: a node
    of it is about to be out of service; booking: that in which it runs ends. With recall, `job` may be a booking."""

    run: str
    cause: str
    job: str = ""


class RunResizeOrdered(Fact, frozen=True, gc=False):
    """The run was told to go on with `tasks`, its `number`-th such order: tasks that it has beside them end, after the
    grace of a stop, others join; the first task stays. `cause`: one of RESIZES; one of TAKES: so that `job` can
    start."""

    run: str
    number: int
    tasks: tuple[Task, ...]
    cause: str
    job: str = ""


class RunResized(Fact, frozen=True, gc=False):
    """The engine reports that the run has the tasks of this order, and none of those that were to end. `at_us` and
    `skew_us` as in `RunStarted`."""

    run: str
    number: int
    at_us: int
    skew_us: int = 0


class RunStarted(Fact, frozen=True, gc=False):
    """The engine reports a start. `at_us` is clipped to [placed, stamped]; `skew_us` is what was clipped."""

    run: str
    at_us: int
    skew_us: int = 0


class RunQueued(Fact, frozen=True, gc=False):
    """A run waits in the queue of its site, which is delegated. `reason`: the one word for it there, as its queue says;
    `start_us`: when it is expected to start there, 0: that is not said."""

    run: str
    reason: str
    start_us: int = 0


class RunEnded(Fact, frozen=True, gc=False):
    """The engine reports the end. `outcome`: see `OUTCOMES`; `at_us` and `skew_us` as in `RunStarted`.

    `started_us`: the engine's start, for a run whose start report was lost; 0 if it never started.
    """

    run: str
    at_us: int
    outcome: str
    exit_code: int | None = None
    signal: int | None = None
    started_us: int = 0
    skew_us: int = 0
    detail: str = ""  # a word from the closed list of the engine, never user text


class UsageMetered(Fact, frozen=True, gc=False):
    """What a run used, from the engine's times: wall × what it held. Units: µs, GPU·µs, milli-core·µs, MiB·µs.
    `posted`: what budgets pay for it, out of what they have reserved for its job."""

    run: str
    tenant: str
    project: str
    wall_us: int
    gpu_us: int
    cpu_milli_us: int = 0
    memory_mib_us: int = 0
    posted: Parts = ()


Observation = (
    SubmitJob
    | CancelJob
    | HoldJob
    | ReleaseJob
    | Act
    | BookingMade
    | BookingCancelled
    | RunQueued
    | RunStarted
    | RunResized
    | RunEnded
    | WriterStarted
    | RulesSet
    | SiteAdded
    | NodeAdded
    | NodeRemoved
    | NodeReported
    | NodeRepaired
)

FACTS: Final[tuple[type[Fact], ...]] = (
    WriterStarted,
    RulesSet,
    *ACTS,
    SiteAdded,
    NodeAdded,
    NodeRemoved,
    NodeReported,
    NodeDrained,
    NodeRepaired,
    BurnInFailed,
    NodeReturned,
    JobSubmitted,
    JobAdmitted,
    JobSwitched,
    BudgetReserved,
    JobRejected,
    JobHeld,
    JobReleased,
    CancelRequested,
    JobRequeued,
    JobEnded,
    CapacityReserved,
    ReservationDropped,
    PromiseBroken,
    BookingMade,
    BookingCancelled,
    BookingAdvanced,
    BookingMoved,
    BookingBroken,
    BookingEnded,
    SharesTicked,
    ProjectsCalled,
    RunPlaced,
    RunStopOrdered,
    RunResizeOrdered,
    RunQueued,
    RunStarted,
    RunResized,
    RunEnded,
    UsageMetered,
)

RESERVATIONS: Final = ("claim", "promise", "plan", "call", "hold")
PLANNED: Final = ("plan", "call")  # what nobody was promised
BOOKING_STEPS: Final = ("clearing", "begun", "closing")
BOOKING_ENDS: Final = (
    "over",
    "idle",
    "lost",
    "exit",
    "rules",
)  # time, nobody used it, nothing of it is left, …
DROPPED: Final = ("ended", "recalled", "failed", "replanned", "expired")
TAKES: Final = ("recall", "priority", "rebalance")  # causes of a stop for another job
MOVE: Final = "move"  # for another job, too; but it goes on elsewhere
YIELDS: Final = (*TAKES, MOVE)
NODE_FAILED: Final = "node_failed"
MAINTENANCE: Final = "maintenance"
BOOKING: Final = "booking"
UNPAID: Final = (
    NODE_FAILED,
    MAINTENANCE,
    MOVE,
)  # causes of a stop that the operator pays: what is lost by it
MADE_WAY: Final = (*YIELDS, MAINTENANCE)
GROWTH: Final = "growth"
RESIZES: Final = (*TAKES, GROWTH, NODE_FAILED, MAINTENANCE)
AGAIN: Final = (*YIELDS, NODE_FAILED, MAINTENANCE)  # causes of a stop after which the job waits again

# How a run ended, as engines report it.
OUTCOMES: Final = (
    "exited",  # the main process ended by itself: exit_code, or signal if something killed it
    "time_limit",  # ended by the engine after max_duration
    "stopped",  # ended by our order
    "start_failed",  # never ran
    "lost",  # it was running and its end was not witnessed
)

# Why a job ended. '' for success.
ENDED_REASONS: Final = (
    "",
    "exit_code",
    "signal",
    "max_duration_exceeded",
    "cancelled",
    "start_failed",
    "lost",
    "tenant_suspended",
    "tenant_exit",
    "budget",
    "dependency_failed",  # a job that it waited for ended otherwise
    "deadline_missed",  # it waits still, and could not end by its deadline any more
    "booking_ended",  # the booking that it names ended before it did
)
ENDS: Final = ("ok", "any", "failed")  # how a job must end for who waits for it
AFTER_MAX: Final = 100  # jobs that one waits for
ARRAY_MAX: Final = 10_000
ARRAY_AFTER_MAX: Final = 100_000  # of all jobs of an array together
ALTERNATIVES_MAX: Final = 8
LACKS_MAX: Final = 32
SITES_MAX: Final = 16  # that a job names
RETRYABLE: Final = ("exit_code", "signal", "lost", "start_failed")
RETRIES_MAX: Final = 100
FAILURES_MAX: Final = (
    8  # runs in a row that failed nodes end before the job's checkpoints keep more of its work
)
