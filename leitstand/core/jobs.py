# SPDX-License-Identifier: Apache-2.0
"""What the state knows of a live job: the job, its run, what is reserved for it. `State.apply` alone writes them."""

import msgspec
from msgspec.structs import replace

from leitstand.core import facts as f


class Job(msgspec.Struct, gc=False):
    """A live job. `begin_us`: 0 once it may begin; `doomed`: a job that it waited for ended otherwise; `shapes`: all
    that serve it, in order of preference, () if `resources` is the only one; `predicted_us`: `sharing.lengths` knows.

    `state`: submitted | pending | starting | running | stopping. `number`: arrival order of all jobs."""

    id: str
    number: int
    tenant: str
    project: str
    user: str
    resources: f.Resources
    priority: int
    max_duration_us: int
    expected_us: int
    spec: str
    submitted_us: int
    retries: int = 0
    retry_on: tuple[str, ...] = ()
    checkpoint_every_us: int = 0
    begin_us: int = 0
    after: tuple[f.Dependency, ...] = ()
    deadline_us: int = 0
    held: bool = False
    array: str = ""
    index: int = 0
    size: int = 0
    shapes: tuple[f.Resources, ...] = ()
    doomed: bool = False
    pool: str = ""
    state: str = "submitted"
    runs: int = 0
    run: str = ""
    charge_milli: int = 0
    kept_us: int = 0  # of its work, by checkpoints
    reserved: f.Parts = ()  # of budgets, in the order in which they pay
    price_micro_eur: int = 0
    predicted_us: int = 0
    data_sites: tuple[str, ...] = ()
    switches: int = 0  # how often it went to another pool or shape while it waited
    retried: int = 0  # runs that failed and were run again
    failures: int = 0  # failed nodes that ended a run of it, since its checkpoints last kept more of its work
    failed_us: int = 0  # since when it has first call, because of a failure; 0: it has none
    most: tuple[int, ...] | msgspec.UnsetType = (
        msgspec.UNSET
    )  # of an elastic job: the most nodes, for each shape
    booking: str | msgspec.UnsetType = msgspec.UNSET  # that in which alone it runs,
    ends_us: int | msgspec.UnsetType = msgspec.UNSET  # and when that ends
    burn_in: str | msgspec.UnsetType = msgspec.UNSET  # the node that it has to show to be well

    @property
    def alternative(self) -> int:
        """Which of its shapes it waits or runs with."""
        return self.shapes.index(self.resources) if self.shapes else 0

    @property
    def nodes_most(self) -> int:
        """How many nodes an elastic job may have while it runs; 0: it keeps those that it starts with."""
        return 0 if self.most is msgspec.UNSET else self.most[self.alternative]

    @property
    def unit_nodes(self) -> int:
        """How many nodes an elastic job takes or gives up at once: one, or a slice."""
        return max(1, self.resources.slice_nodes)

    @property
    def unit_milli(self) -> int:
        """What so many nodes beyond the least number count for, in thousandths of a GPU."""
        return -(-self.charge_milli * self.unit_nodes // self.resources.nodes)

    @property
    def most_milli(self) -> int:
        """What it counts for with the most nodes that it may have."""
        if not self.nodes_most:
            return self.charge_milli
        units = (self.nodes_most - self.resources.nodes) // self.unit_nodes
        return self.charge_milli + units * self.unit_milli


class Resizing(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An order that was given at `at_us` and is not carried out yet, as far as is known: `tasks` in all, without
    `leaving`, which hold what they hold until it is."""

    number: int
    at_us: int
    tasks: int
    leaving: tuple[f.Task, ...] = ()


class Sizes(msgspec.Struct, gc=False):
    """How many tasks the run of an elastic job has had. `number`: orders so far, the last at `ordered_us`, `grown` of
    them to grow; `steps`: (from when on, how many), as the engine reported."""

    number: int = 0
    ordered_us: int = 0
    grown: int = 0
    steps: list[tuple[int, int]] = []
    pending: list[Resizing] = []


class Run(msgspec.Struct, gc=False):
    """`started_us`: the engine's time, 0 until it reported. `stopped_us`: when it was told to end. Until `pinned_us`
    nobody may take it: its start was promised. `moved_us`: of one that goes on elsewhere after a move, when the first
    of them was placed; unset: it was not moved. `sizes`: of the run of an elastic job alone. `planned_us`: by when it
    was to start, where a claim or a promise of its job was late; unset: when it was placed."""

    id: str
    job: str
    tasks: tuple[f.Task, ...]
    placed_us: int
    started_us: int = 0
    has_started: bool = False
    stopping: str = ""  # the cause
    stopped_us: int = 0
    pinned_us: int = 0
    moved_us: int | msgspec.UnsetType = msgspec.UNSET
    sizes: Sizes | msgspec.UnsetType = msgspec.UNSET
    planned_us: int | msgspec.UnsetType = msgspec.UNSET

    @property
    def leaving(self) -> tuple[f.Task, ...]:
        """Tasks that were told to end and hold what they hold until the engine reports it."""
        if self.sizes is msgspec.UNSET or not self.sizes.pending:
            return ()
        return tuple(task for one in self.sizes.pending for task in one.leaving)

    @property
    def since_us(self) -> int:
        """From when on it counts as running: a move makes nobody younger."""
        return self.placed_us if self.moved_us is msgspec.UNSET else self.moved_us


class Reservation(msgspec.Struct, gc=False):
    """Places held for a waiting job from `start_us` on, decided at `at_us`. `kind`: one of RESERVATIONS; a `hold` may
    be of fewer places than the job needs, and of one whose run has not gone yet. `moved_us`: it is a claim for a run
    that moves there, which counts as running since then; unset: it is not. `promised`: it is a claim in the place of a
    promise, whose start is pinned like that; unset: it is not."""

    job: str
    kind: str
    start_us: int
    tasks: tuple[f.Task, ...]
    at_us: int
    moved_us: int | msgspec.UnsetType = msgspec.UNSET
    promised: bool | msgspec.UnsetType = msgspec.UNSET

    @property
    def moves(self) -> bool:
        """Whether it is where a run goes on that makes room for another job."""
        return self.moved_us is not msgspec.UNSET

    @property
    def pins(self) -> bool:
        """Whether the start was promised, so that nobody may take the run for a time."""
        return self.kind == "promise" or self.promised is True

    @property
    def since_us(self) -> int:
        """From when on a job with this claim counts as running."""
        return self.at_us if self.moved_us is msgspec.UNSET else self.moved_us

    def latest_us(self, freed_us: int) -> int:
        """By when its job starts, if engines end what they are told to in `freed_us`: what is promised behind it relies
        on that."""
        return self.start_us + (freed_us if self.kind == "claim" else 0)


class Remembered(msgspec.Struct, gc=False):
    """What an Idempotency-Key led to."""

    job: str
    digest: str
    at: int


def least(asked: f.Resources) -> f.Resources:
    """The shape with which an elastic job starts."""
    return replace(asked, nodes_max=0) if asked.nodes_max else asked
