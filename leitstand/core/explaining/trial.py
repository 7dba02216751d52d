# SPDX-License-Identifier: Apache-2.0
"""What the next plan would do with one waiting job, as it is or changed: the tests of the plan itself, asked without
deciding anything. Called by explanations.

Nothing is recorded and nobody else moves: as the last plan left the pool, nobody else can start.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from copy import copy
from typing import TYPE_CHECKING, Final, NamedTuple

from leitstand.core import facts as f
from leitstand.core.acts import Entitlement
from leitstand.core.places.fit import Free
from leitstand.core.places.placement import Place
from leitstand.core.sharing import repair
from leitstand.core.sharing.fair import Fair
from leitstand.core.sharing.heads import Head, Heads
from leitstand.core.sharing.reserving import earliest
from leitstand.core.sharing.shares import Held, Node, Tree
from leitstand.core.sharing.standing import Class, Standing, key_of, limit_of
from leitstand.core.sharing.turns import Asked, Turns
from leitstand.core.yielding.cover import LAST, Cover
from leitstand.core.yielding.preemption import Act, Yielding

if TYPE_CHECKING:
    from leitstand.core.jobs import Job
    from leitstand.core.state import State

RUNS_MAX: Final = (
    1_000  # above which only those of the job's own project are looked at for who could be stopped
)
TURNS_MAX: Final = 200  # before that of a job, looked at for somebody who would start in its place


class Served(NamedTuple):
    """How a job starts: `takes` so many runs; `waits` until they, or what is being freed, have gone, else at once."""

    takes: int = 0
    waits: bool = False


class Trial(Fair):
    """The plan of the pool `name` at `now` (µs), for questions. `standing`: another one than the pool's, to ask what
    would be with other entitlements or demand. `thorough`: also look at the runs of all projects for who could be
    stopped where there are more than RUNS_MAX, which may take seconds."""

    def __init__(self, state: "State", name: str, now: int, standing: Standing | None = None) -> None:
        super().__init__(state, name, _decides_nothing)
        self._other = standing
        self.now = now
        self.thorough = False
        self._cover: Cover | None = None
        self._only = ""  # the project whose runs may go, if others may not
        self._found: list[Place] | None = None

    @property
    def standing(self) -> Standing:
        return self._other or super().standing

    def leaf(self, job: "Job") -> Node:
        """Where the job stands in this tree."""
        return self.standing.tree.node(self.state.leaf(job))

    def starts(self, job: "Job") -> list[Place] | None:
        """Where a waiting job, or a changed copy of one, would start now; None: it would not."""
        return self._starts(job) if self.fits(job) else None

    def fits(self, job: "Job") -> bool:
        """Whether there are places for it now, beside what is reserved: most jobs have none, and that is soon known."""
        view = self.standing.timeline.view(self.now, limit_of(job), own=job.id)
        return self.pool.place(job.resources, view) is not None

    def _starts(self, job: "Job") -> list[Place] | None:
        self._found = None
        self._try(job, self.leaf(job), Class(job.resources, limit_of(job)))
        return self._found

    def _start(self, job: "Job", leaf: Node, places: list[Place], view: Free) -> None:
        self._found = places

    def takes(self, job: "Job") -> Act | None:
        """Whom a cycle now would stop for the job, so that it starts once they have gone; None: nobody. For a job that
        is not among the first of its project a cycle asks that only while nobody like it found no place before."""
        act = self._takes(job)
        if (
            act is None
            or self._is_ahead(job)
            or (self.looks and self.comes_first(job, self.standing.tree.root))
        ):
            return act
        return None

    def _takes(self, job: "Job") -> Act | None:
        if job.id in self.standing.due:
            return None
        only = "" if self.looks else self.state.leaf(job)
        if only != self._only:
            self._only, self._scene = only, None
        return self._act(job, self.leaf(job))

    def _is_ahead(self, job: "Job") -> bool:
        """Whether it is one of the first of its project."""
        line = self.standing.lines.get(self.state.leaf(job))
        at = bisect_left(line.order, (key_of(job),)) if line is not None else 0
        return at < self.state.rules.sharing.reservations_leaf_max

    def serves(self, job: "Job") -> Served | None:
        """How a cycle now would start the job, as it is or changed, alone or at the cost of others; None: it would
        not."""
        if self.starts(job) is not None:
            return Served()
        act = self.takes(job)
        if act is None:
            return None
        if act.victims:
            return Served(len(act.victims), waits=True)
        view = self.standing.timeline.view(self.now, limit_of(job), own=job.id, ignore=("plan",))
        return Served(waits=self.pool.place(job.resources, view) is None)

    @property
    def looks(self) -> bool:
        """Whether it looks through the runs of all projects for who could be stopped."""
        return self.thorough or len(self.state.runs) <= RUNS_MAX

    def forbids(self, job: "Job") -> bool:
        """Whether limits or lending forbid its start."""
        return bool(self._forbidden(self.leaf(job), job.charge_milli))

    def covered(self, job: "Job") -> bool:
        """Whether the job is inside the deserved share of a node on its path below the root, beside all that runs."""
        if self._cover is None:
            self._cover = Cover(self.standing.tree)
        return bool(self._cover.covered(Held(job.id, self.leaf(job), job.charge_milli, job.priority, LAST)))

    def leaves_room(self, job: "Job") -> bool:
        """Whether its start now would leave what is reserved within all limits."""
        return self.usage.leaves_room(job, self.leaf(job))

    def earliest(self, job: "Job") -> tuple[int, list[Place]] | None:
        """When and where the job could start, as runs and reservations are now, if nobody else came first."""
        made = self.state.reservations.get(job.id)
        if made is None or made.kind != "hold":
            return earliest(self, job, self.leaf(job))
        counts = self.usage.reserved()
        counts.drop(job.id)
        found = earliest(self, job, self.leaf(job))
        repair.count(self, counts, job)
        return found

    def comes_first(self, job: "Job", top: Node) -> bool:
        """Whether nobody below `top` whose turn comes before the job's would start in its place, or call for the
        guarantee that it would call; False, too, where that is too many to look at."""
        self.heads = Heads()  # who was asked about before barred others like him
        below = top.id + "/" if top.id else ""
        own, tree = self.leaf(job), self.standing.tree

        def line(leaf: str, owed: bool) -> Iterator[Head]:
            heads = self._line(leaf, owed)
            return self._with(job, heads) if leaf == own.id else heads

        leaves = {leaf: None for leaf in self.standing.lines if leaf == top.id or leaf.startswith(below)}
        leaves[own.id] = None
        turns = Turns(tree, Asked(leaves, line, self.heads.counts, self.state.rules.sharing.tick_s))
        for _ in range(TURNS_MAX):
            turn = turns.next()
            if turn is None or turn.head.job == job.id:
                return turn is not None
            other = self.state.jobs[turn.head.job]
            if not self.looks and turn.leaf is own and tree.guaranteed(own, other.charge_milli) is not None:
                return False
            if self._starts(other) is not None or (self.looks and self._takes(other) is not None):
                return False
            turns.done()
        return False

    def _with(self, job: "Job", line: Iterable[Head]) -> Iterator[Head]:
        """The heads of a project with the job, changed, in its place, unless limits forbid it by then."""
        cls, leaf = Class(job.resources, limit_of(job)), self.state.leaf(job)
        own: Head | None = Head(leaf, job.id, cls, job.charge_milli, self._is_ahead(job))
        for head in line:
            if head.job == job.id:
                continue
            if own is not None and key_of(job) < key_of(self.state.jobs[head.job]):
                if own.ahead or not self.heads.keeps(leaf, cls):
                    yield own
                own = None
            yield head
        if own is not None and (own.ahead or not self.heads.keeps(leaf, cls)):
            yield own

    # ── who could go ──────────────────────────────────────────────────────────────────────────────────────────────
    def _causes(self, job: "Job", leaf: Node) -> list[str]:
        """Within its own project a job comes before runs of lower priority, and before no others."""
        causes = super()._causes(job, leaf)
        return [cause for cause in causes if cause == "priority"] if self._only else causes

    def run_of(self, held: Held) -> Yielding | None:
        return super().run_of(held) if not self._only or held.leaf.id == self._only else None


def entitled(trial: Trial, changed: Iterable[Entitlement]) -> Trial:
    """The same pool at the same time, with these nodes entitled to something else."""
    made = _other(trial)
    for entitlement in changed:
        made.standing.tree.entitle(entitlement)
    made.standing.tree.settle()
    return made


def asking(trial: Trial, job: "Job") -> Trial:
    """The same pool at the same time, in which a waiting job asks for what `job`, a changed copy of it, does: the same
    trial, if nobody deserves anything else then."""
    more = job.charge_milli - trial.state.jobs[job.id].charge_milli
    if not more:
        return trial
    made = _other(trial)
    tree = made.standing.tree
    tree.wait(made.leaf(job), more)
    tree.settle()
    before = trial.standing.tree.nodes
    moved = any(node.deserved != before[node.id].deserved for node in tree.nodes.values())
    return made if moved else trial


def _other(trial: Trial) -> Trial:
    """The same with a tree of its own."""
    standing = copy(trial.standing)
    tree = standing.tree = copied(trial.standing.tree)
    standing.due = {job: (tree.node(leaf.id), charge) for job, (leaf, charge) in standing.due.items()}
    made = Trial(trial.state, trial.name, trial.now, standing)
    made.thorough = trial.thorough
    return made


def copied(tree: Tree) -> Tree:
    """A tree of its own with the same entitlements, usage and demand; deserved shares are to be settled anew."""
    made = Tree()
    made.capacity, made.floors, made.edition = tree.capacity, tree.floors, tree.edition
    made.root = _copied(tree.root, None, made)
    return made


def _copied(node: Node, parent: Node | None, tree: Tree) -> Node:
    made = Node.__new__(Node)
    for name in Node.__slots__:
        setattr(made, name, getattr(node, name))
    made.parent = parent
    made.changed = None
    tree.nodes[made.id] = made
    made.children = {name: _copied(child, made, tree) for name, child in node.children.items()}
    made.runs = []
    for key, held in node.runs:
        other = Held(held.id, made, held.charge, held.priority, held.order)
        other.pinned_us, other.until_us = held.pinned_us, held.until_us
        tree.held[other.id] = other
        made.runs.append((key, other))
    return made


def _decides_nothing(fact: f.Fact) -> None:
    raise AssertionError(f"an explanation decides {type(fact).__name__}")
