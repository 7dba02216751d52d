# SPDX-License-Identifier: Apache-2.0
"""A guarantee that is called while those who would have to yield are too young. Called by the fair plan for a job that
could take from nobody.

Were nothing done, others could start wherever one of them ends, be as young again, and the job would never find its
shape, however long it waits. So its places are planned for the moment in which all who are there are old enough: until
then others start there only if they end before it, and in that moment they are told to end, as in any recall. Such a
`call` stands beside runs that are not told yet; of two on the same nodes the older one stays.
"""

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from leitstand.core import facts as f
from leitstand.core.places.cutting import Asker
from leitstand.core.places.timeline import ENDING
from leitstand.core.sharing import reserving
from leitstand.core.sharing.standing import limit_of
from leitstand.core.sharing.units import run_of
from leitstand.core.yielding.preemption import Act, Wanted

if TYPE_CHECKING:
    from leitstand.core.jobs import Job
    from leitstand.core.sharing.fair import Fair
    from leitstand.core.sharing.shares import Node

CALLS_MAX: Final = 4  # jobs of one plan for which this is looked for; for others at the next tick


def call(plan: "Fair", job: "Job", leaf: "Node") -> None:
    """Plan the places of a job inside a guarantee for when all have had their time who would yield for it."""
    made, state = plan.state.reservations.get(job.id), plan.state
    if made is not None and made.kind != "plan":  # a promise is kept
        return
    if made is None and not reserving.may_reserve(plan, job, leaf):
        return
    if plan.called_ahead >= CALLS_MAX or plan.standing.tree.guaranteed(leaf, job.charge_milli) is None:
        return
    plan.called_ahead += 1
    act = _act(plan, job, leaf)
    if act is None or not act.victims:
        return
    since_us = max(state.runs[run_of(run)].since_us for run in act.victims)
    start_us = since_us + state.rules.sharing.protected_us
    if start_us <= plan.now or (made is not None and made.start_us <= start_us):
        return
    _make_room(plan, job, act)
    gone = {**plan.standing.stopping, **dict.fromkeys(act.victims)}
    asker = Asker(plan.now, start_us, start_us, job.id, ("plan",), gone)
    tasks = reserving.tasks(plan, job, act.places, asker)
    known = plan.standing.timeline.reservation(job.id)
    plan.emit(f.CapacityReserved(job.id, "call", start_us, tasks))
    plan.usage.reserves(job, leaf, "call", start_us)
    plan._touch(act.places)
    if known is not None:
        plan._touch(known.places)


def start(plan: "Fair", job: "Job", leaf: "Node") -> bool:
    """Start a job inside a guarantee where nothing but plans of others is in its way; whether that was done."""
    if plan.standing.tree.guaranteed(leaf, job.charge_milli) is None or not plan.usage.keeps_promises(
        job, leaf
    ):
        return False
    view = plan.standing.timeline.view(plan.now, limit_of(job), job.id, ("plan",))
    places = plan.pool.place(job.resources, view)
    if places is None:
        return False
    plan._start(job, leaf, places, view)
    plan._displace(places)
    return True


def _act(plan: "Fair", job: "Job", leaf: "Node") -> Act | None:
    """Whom the job would take if age did not count."""
    young = replace(plan.state.rules.sharing, protected_us=0)
    wanted = Wanted(job.id, leaf, job.charge_milli, job.priority, job.resources, limit_of(job))
    scene = plan._make_scene(young)
    act = scene.act(wanted, ["recall"])
    scene.close()
    return act if act is not None and plan.usage.keeps_promises(job, leaf, act.victims) else None


def _make_room(plan: "Fair", job: "Job", act: Act) -> None:
    """Plans of others give way, the latest first; who calls a guarantee there is in nobody's way already."""
    timeline, state = plan.standing.timeline, plan.state
    needs: dict[int, list[int]] = {}
    for position, gpus in act.places:
        need = needs.setdefault(position, [0, 0, 0])
        for index, more in enumerate((gpus, *job.resources.part(gpus))):
            need[index] += more
    window = plan.now, plan.now + limit_of(job) + state.rules.sharing.freed_us

    def is_short(position: int) -> bool:
        free = timeline.room(position, window, job.id, (ENDING,), act.victims)
        return any(have < want for have, want in zip(free, needs[position], strict=True))

    for position in needs:
        plans = [id for id in timeline.on(position) if id != job.id and state.reservations[id].kind == "plan"]
        while plans and is_short(position):
            plan._drop(plans.pop(), "recalled")
