# SPDX-License-Identifier: Apache-2.0
"""The smallest change with which a waiting job would start now: of one dimension at a time, all else equal, found with
the tests that decide. Called by explanations.

A change does if a cycle held now would serve the job first: it starts, alone or at the cost of others. So the least
value is the one nearest to what is now; of a size, the largest. In a pool with more than `trial.RUNS_MAX` runs only
those of the job's own project are looked at for who could be stopped, unless all are asked for.

In this order: time limit, size, level, GPU type, MIG profile, priority, guarantee, borrow limit. A budget is no reason
to wait, since admission reserves it: what helps against that refusal `affording` tells. Willingness to yield is no
dimension: who saves his work is moved first, but a start looks at who is owed what and at what is reserved, never at
how easily the job itself could be stopped. So no job starts sooner by offering it.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from leitstand.core.acts import Entitlement
from leitstand.core.explaining.searching import first_that
from leitstand.core.explaining.trial import Served, Trial, asking, entitled
from leitstand.core.facts import Resources
from leitstand.core.places.steps import INFINITY
from leitstand.core.sharing import keeping
from leitstand.core.sharing.shares import Node
from leitstand.core.sharing.standing import limit_of
from leitstand.core.units import SECOND_US

if TYPE_CHECKING:
    from leitstand.core.jobs import Job

DIMENSIONS: Final = (
    "max_duration",
    "size",
    "level",
    "gpu_type",
    "mig",
    "priority",
    "guarantee",
    "borrow_limit",
)
CORE_MILLI: Final = 1000
GPU_MILLI: Final = 1000


class Remedy(msgspec.Struct, frozen=True):
    """`value` instead of `now` (µs, GPUs, nodes, thousandths of a core, a priority, a charge; `name` for a level, a
    GPU type, '' any, or a MIG profile), at `node` of the tree for an entitlement; a further budget of `value` beside
    `now`. `resource`: what it counts, as in `admission.RESOURCES`. `takes`: how many runs would be stopped for it;
    `waits`: it starts once they, or what is being freed anyway, have gone, else at once."""

    dimension: str
    value: int = 0
    now: int = 0
    resource: str = ""
    name: str = ""
    node: str = ""
    takes: int = 0
    waits: bool = False


def remedies(trial: Trial, job: "Job") -> tuple[Remedy, ...]:
    """Every dimension of which a change would start the job, in the order of DIMENSIONS; none if it starts as it is."""
    if trial.serves(job) is not None:
        return ()
    return tuple(found for ask in _ASK for found in ask(trial, job))


# ── what the job asks ─────────────────────────────────────────────────────────────────────────────────────────────
def _time_limit(trial: Trial, job: "Job") -> Iterator[Remedy]:
    """The longest time limit that is enough, in whole seconds."""
    longest = limit_of(job)
    if longest >= INFINITY:
        longest = trial.state.rules.max_duration_limit_us

    def serves(seconds: int) -> Served | None:
        return trial.serves(changed_job(trial, job, max_duration_us=seconds * SECOND_US))

    found = first_that(range(-(-longest // SECOND_US) - 1, 0, -1), serves, beside=0)
    if found:
        seconds, served = found
        yield _by(served, Remedy("max_duration", seconds * SECOND_US, job.max_duration_us, "max_duration_us"))


def _size(trial: Trial, job: "Job") -> Iterator[Remedy]:
    """The largest size that fits. It leaves more to others, of whom one may come first."""
    smaller, most, now, resource = sizes(job.resources)

    def serves(value: int) -> Served | None:
        changed = changed_job(trial, job, resources=smaller(value))
        other = asking(trial, changed) if trial.looks else trial
        served = other.serves(changed)
        if served is None or other is trial or other.comes_first(changed, other.standing.tree.root):
            return served
        return None

    found = first_that(range(most, 0, -1), serves)
    if found:
        yield _by(found[1], Remedy("size", found[0] * (now // (most + 1)), now, resource))


def sizes(asked: Resources) -> tuple[Callable[[int], Resources], int, int, str]:
    """(the shape of a number of steps, the most steps that are fewer than now, the amount now, what it counts)."""
    if asked.nodes > 1:
        group = max(1, asked.slice_nodes)

        def fewer(steps: int) -> Resources:
            nodes = steps * group
            amounts = (
                amount * nodes // asked.nodes for amount in (asked.gpus, asked.cpus_milli, asked.memory_mib)
            )
            gpus, cpus_milli, memory_mib = amounts
            return replace(asked, nodes=nodes, gpus=gpus, cpus_milli=cpus_milli, memory_mib=memory_mib)

        return fewer, asked.nodes // group - 1, asked.nodes, "nodes"
    if asked.gpus:
        return lambda gpus: replace(asked, gpus=gpus), asked.gpus - 1, asked.gpus, "gpus"
    if asked.gpu_milli:
        return (
            lambda milli: replace(asked, gpu_milli=milli),
            asked.gpu_milli - 1,
            asked.gpu_milli,
            "gpu_milli",
        )
    cores = -(-asked.cpus_milli // CORE_MILLI)
    return (
        lambda fewer: replace(asked, cpus_milli=fewer * CORE_MILLI),
        cores - 1,
        cores * CORE_MILLI,
        "cpus_milli",
    )


def _level(trial: Trial, job: "Job") -> Iterator[Remedy]:
    """The lowest of the higher levels at which it fits; '' for none."""
    asked = job.resources
    if not asked.level:
        return
    for level in _higher(trial, asked.level):
        served = trial.serves(changed_job(trial, job, resources=replace(asked, level=level)))
        if served is not None:
            yield _by(served, Remedy("level", resource="level", name=level))
            return


def _higher(trial: Trial, level: str) -> list[str]:
    """Levels above one, the next first, as the sites of the pool name them; '' last."""
    found: dict[str, None] = {}
    for site in trial.state.sites.values():
        names = ("site", *site.levels, "node")
        if level in names:
            found.update(dict.fromkeys(reversed(names[: names.index(level)])))
    return [*(name for name in found if trial.pool.topology.knows(name)), ""]


def _gpu_type(trial: Trial, job: "Job") -> Iterator[Remedy]:
    """Another type of GPU, the first by name; any, if only a mixture would do."""
    asked = job.resources
    if not asked.gpu_type:
        return
    types = {node.gpu_type: None for node in trial.state.nodes.values() if node.pool == trial.name}
    for gpu_type in [*sorted(name for name in types if name not in ("", asked.gpu_type)), ""]:
        served = trial.serves(changed_job(trial, job, resources=replace(asked, gpu_type=gpu_type)))
        if served is not None:
            yield _by(served, Remedy("gpu_type", resource="gpu_type", name=gpu_type))
            return


def _profile(trial: Trial, job: "Job") -> Iterator[Remedy]:
    """The MIG profile nearest to its own, by what they count for, of which an instance fits; of two the larger."""
    asked, slots = job.resources, trial.pool.whole.slots
    if not asked.mig or slots is None:
        return
    own = trial.pool.instance_milli(asked)
    others = {name: trial.pool.instance_milli(replace(asked, mig=name)) for name in slots.profiles()}
    for name in sorted(others, key=lambda name: (abs(others[name] - own), -others[name], name)):
        if name == asked.mig or not others[name]:
            continue
        if trial.starts(changed_job(trial, job, resources=replace(asked, mig=name))) is not None:
            yield Remedy("mig", resource="mig", name=name)
            return


def _priority(trial: Trial, job: "Job") -> Iterator[Remedy]:
    """The least priority with which it comes before enough of what runs in its project."""
    values = sorted({held.priority + 1 for _, held in trial.leaf(job).runs if held.priority >= job.priority})
    found = first_that(values, lambda value: trial.serves(changed_job(trial, job, priority=value)))
    if found:
        yield _by(found[1], Remedy("priority", found[0], job.priority))


# ── what its project is entitled to ───────────────────────────────────────────────────────────────────────────────
def _guarantee(trial: Trial, job: "Job") -> Iterator[Remedy]:
    """The least guarantee of its project, raised above it as far as needed, with which it starts or may call for it."""
    if not (trial.looks or (trial.forbids(job) and trial.fits(job))):
        return
    leaf, tree = trial.leaf(job), trial.standing.tree
    room = tree.capacity - trial.state.rules.sharing.spare_milli
    values: Sequence[int] = _enough(trial, job)
    if trial.looks:  # less may do where it moves what is covered, more where it moves what others deserve
        values = range(leaf.guarantee // GPU_MILLI * GPU_MILLI + GPU_MILLI, room + 1, GPU_MILLI)
    most = bisect_right(values, room, key=lambda milli: raised(trial, job, milli)[-1].guarantee_milli)

    def serves(milli: int) -> Served | None:
        changed = raised(trial, job, milli)
        return _serves(entitled(trial, changed), job, changed[-2].node)

    found = first_that(values[:most], serves)
    if found:
        yield _by(found[1], Remedy("guarantee", found[0], leaf.guarantee, "charge_milli", node=leaf.id))


def _enough(trial: Trial, job: "Job") -> list[int]:
    """Guarantees of its project, in whole GPUs, with which a node on its path comes to hold the job within its limit,
    or inside its guarantee."""
    leaf, tree = trial.leaf(job), trial.standing.tree
    values: dict[int, None] = {}
    for node in leaf.path():
        if node.parent is None:
            break
        above = node.guarantee - (node.children_guarantee if node.children else node.guarantee)
        more = tree.occupied_with(node, leaf, job.charge_milli) - node.guarantee + above
        if node.borrow >= 0:
            values[leaf.guarantee + node.running + job.charge_milli - node.guarantee - node.borrow] = None
        values[leaf.guarantee + more] = None
    whole = {-(-milli // GPU_MILLI) * GPU_MILLI for milli in values}
    most = -(-(leaf.running + job.charge_milli) // GPU_MILLI) * GPU_MILLI
    return sorted(milli for milli in whole if leaf.guarantee < milli <= most)


def raised(trial: Trial, job: "Job", milli: int) -> list[Entitlement]:
    """The entitlements with this guarantee of its project, from there to the root."""
    changed: list[Entitlement] = []
    more = milli - trial.leaf(job).guarantee
    for node in trial.leaf(job).path():
        said = node.entitlement()
        guarantee = node.guarantee + more
        if node.children:
            guarantee = max(node.guarantee, node.children_guarantee + more)
        more = guarantee - node.guarantee
        changed.append(replace(said, guarantee_milli=guarantee))
    return changed


def _borrow(trial: Trial, job: "Job") -> Iterator[Remedy]:
    """The least borrow limits of all nodes that stop it; they help together."""
    over = [
        (node, node.running + job.charge_milli - node.guarantee)
        for node in trial.leaf(job).path()
        if 0 <= node.borrow < node.running + job.charge_milli - node.guarantee
    ]
    if not over or not (trial.looks or trial.fits(job)):
        return

    def limits(less: int) -> list[tuple[Node, int]]:
        """So much less than what stops nobody: enough if runs below them go."""
        return [(node, most - less) for node, most in over if most - less > node.borrow]

    def serves(less: int) -> Served | None:
        changed = [replace(node.entitlement(), borrow_milli=most) for node, most in limits(less)]
        return _serves(entitled(trial, changed), job, over[-1][0].id)

    most = max(most - node.borrow for node, most in over) - 1 if trial.looks else 0
    found = first_that(range(most, -1, -1), serves, beside=0)
    if found:
        for node, milli in limits(found[0]):
            yield _by(found[1], Remedy("borrow_limit", milli, node.borrow, "charge_milli", node=node.id))


def _serves(trial: Trial, job: "Job", top: str) -> Served | None:
    """How the job would start with other entitlements below `top`."""
    served, tree = trial.serves(job), trial.standing.tree
    first = tree.root if trial.looks else tree.node(top)
    return served if served is not None and trial.comes_first(job, first) else None


_ASK: Final[tuple[Callable[[Trial, "Job"], Iterable[Remedy]], ...]] = (
    _time_limit,
    _size,
    _level,
    _gpu_type,
    _profile,
    _priority,
    _guarantee,
    _borrow,
)


# ── below ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def changed_job(
    trial: Trial,
    job: "Job",
    resources: Resources | None = None,
    priority: int | None = None,
    max_duration_us: int = 0,
) -> "Job":
    """The job, but for one thing."""
    asked = job.resources if resources is None else resources
    return replace(
        job,
        resources=asked,
        priority=job.priority if priority is None else priority,
        max_duration_us=max_duration_us or job.max_duration_us,
        charge_milli=job.charge_milli
        if resources is None
        else keeping.charge_of(trial.state, trial.name, asked),
    )


def _by(served: Served, remedy: Remedy) -> Remedy:
    return replace(remedy, takes=served.takes, waits=served.waits)
