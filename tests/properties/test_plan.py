# SPDX-License-Identifier: Apache-2.0
"""Small plans against an exhaustive optimum: what one plan of the core starts, stops and reserves is what the
definition gives by trying everything (`plan_model`). LEITSTAND_HUNT=1000 looks for new counter-examples."""

import os
from dataclasses import dataclass
from typing import Any

from hypothesis import currently_in_test_context, event, given, settings
from hypothesis import strategies as st

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.rules import Rules, Sharing
from leitstand.core.units import MINUTE_US, SECOND_US
from tests.properties import plan_model as plans
from tests.properties.plan_model import GPU, Asked, Moment, Taken
from tests.properties.sharing_model import Node
from tests.properties.test_fair import LEAVES

SHARING = Sharing(
    protected_us=5 * MINUTE_US,
    grace_us=10 * SECOND_US,
    stop_us=5 * SECOND_US,
    recall_us=10 * MINUTE_US,
    restart_us=MINUTE_US,
    moves_max=0,
)
SHAPES = ((1, 1), (1, 1), (2, 1), (3, 1), (4, 1), (2, 2), (4, 2), (6, 2), (3, 3), (6, 3))
NOW = 11 * MINUTE_US  # + 1 s: between two ticks


@dataclass
class Small:
    """At most three nodes (GPUs, rack), the entitlements of the four projects, what runs and who comes."""

    nodes: list[tuple[int, str]]
    entitled: list[tuple[int, int, int]]
    runs: list[f.SubmitJob]
    jobs: list[f.SubmitJob]


@st.composite
def smalls(draw: Any) -> Small:
    nodes = [
        (draw(st.sampled_from((2, 4, 4))), draw(st.sampled_from("ab")))
        for _ in range(draw(st.integers(1, 3)))
    ]
    room = sum(gpus for gpus, _ in nodes)
    entitled = []
    for _ in LEAVES:
        guarantee = draw(st.integers(0, room))
        room -= guarantee
        entitled.append((guarantee, draw(st.integers(0, 3)), draw(st.sampled_from((-1, -1, -1, 0, 2)))))

    def job(longest: int) -> f.SubmitJob:
        _, tenant, project = draw(st.sampled_from(LEAVES)).split("/")
        gpus, tasks = draw(st.sampled_from(SHAPES))
        limit_us = draw(st.integers(15, longest)) * MINUTE_US
        every_us = draw(st.sampled_from((0, 3, 4))) * MINUTE_US
        return f.SubmitJob(
            tenant,
            project,
            f.Resources(gpus, tasks),
            priority=draw(st.integers(0, 2)),
            max_duration_us=limit_us,
            checkpoint_every_us=every_us,
        )

    runs = [job(40) for _ in range(draw(st.integers(0, 6)))]
    return Small(nodes, entitled, runs, [job(90) for _ in range(draw(st.integers(1, 6)))])


def opened(small: Small) -> Core:
    core = Core()
    seen: list[f.Observation] = [f.RulesSet(Rules(discipline="fair", sharing=SHARING), "")]
    seen += [f.TenantAdded("acme"), f.TenantAdded("beta"), f.TenantAdded("uni", "research")]
    seen += [a.ProjectAdded("uni", "lab"), f.SiteAdded("s", "simulated", levels=("rack",))]
    seen += [
        f.NodeAdded(f"n{at}", "s", gpus, 64_000, 512_000, domains=(rack,), pool="shared")
        for at, (gpus, rack) in enumerate(small.nodes)
    ]
    core.cycle(0, seen)
    guarantees = {
        leaf: guarantee * GPU for leaf, (guarantee, _, _) in zip(LEAVES, small.entitled, strict=True)
    }
    above = {leaf.rsplit("/", depth)[0]: 0 for leaf in LEAVES for depth in (1, 2)}
    for node in above:
        above[node] = sum(milli for leaf, milli in guarantees.items() if leaf.startswith(node + "/"))
    entitled = [a.Entitlement(node, milli) for node, milli in above.items()]
    for leaf, (guarantee, weight, borrow) in zip(LEAVES, small.entitled, strict=True):
        entitled.append(a.Entitlement(leaf, guarantee * GPU, weight, borrow * GPU if borrow >= 0 else -1))
    core.cycle(SECOND_US, [a.EntitlementsChanged("shared", tuple(entitled))])
    assert not core.answers[0].refused, core.answers
    return core


def running(small: Small) -> Core:
    """The core with what runs for ten minutes, and nobody who waits."""
    core = opened(small)
    facts = core.cycle(2 * SECOND_US, small.runs)
    placed = [fact.run for fact in facts if isinstance(fact, f.RunPlaced)]
    core.cycle(3 * SECOND_US, [f.RunStarted(run, 3 * SECOND_US) for run in placed])
    core.cycle(
        4 * SECOND_US,
        [f.CancelJob(job.id) for job in list(core.state.jobs.values()) if job.state == "pending"],
    )
    for run in [run for run in core.state.runs.values() if run.stopping]:
        core.cycle(20 * SECOND_US, [f.RunEnded(run.id, 20 * SECOND_US, "stopped")])
    core.cycle(
        24 * SECOND_US,
        [f.CancelJob(j.id) for j in list(core.state.jobs.values()) if j.state == "pending"],
    )
    core.cycle(NOW, [])
    return core


def moment_of(core: Core, small: Small, now: int, facts: list[f.Fact], runs: dict[str, Taken]) -> Moment:
    """What the plan begins with: what runs, and who was admitted in this cycle."""
    state = core.state
    tree = {
        name: Node(name, name.rpartition("/")[0] if name else None) for name in ("", "industry", "research")
    }
    for tenant in ("industry/acme", "industry/beta", "research/uni"):
        tree[tenant] = Node(tenant, tenant.rpartition("/")[0])
    for leaf, (guarantee, weight, borrow) in zip(LEAVES, small.entitled, strict=True):
        limit = None if borrow < 0 else borrow * GPU
        tree[leaf] = Node(leaf, leaf.rpartition("/")[0], ((0, guarantee * GPU),), weight, limit)
    for name in [name for name in tree if name not in LEAVES]:
        milli = sum(
            g * GPU for leaf, (g, _, _) in zip(LEAVES, small.entitled, strict=True) if leaf.startswith(name)
        )
        tree[name] = Node(name, tree[name].parent, ((0, milli),))
    standing = state.pools["shared"].standing
    assert standing is not None
    lag = {name: standing.tree.nodes[name].lag for name in tree}
    submitted = {fact.job: fact for fact in facts if isinstance(fact, f.JobSubmitted)}
    admitted = [fact.job for fact in facts if isinstance(fact, f.JobAdmitted)]
    waiting = [asked_of(submitted[id], now, number) for number, id in enumerate(admitted)]
    return Moment(now, small.nodes, tree, lag, waiting, runs, 15 * SECOND_US)


def asked_of(fact: f.JobSubmitted, now: int, number: int) -> Asked:
    leaf = next(leaf for leaf in LEAVES if leaf.endswith(f"/{fact.tenant}/{fact.project}"))
    tasks = fact.resources.nodes
    # nothing is known of how long it takes: it counts as submitted later by its time limit
    age = (now + fact.max_duration_us, number)
    return Asked(
        fact.job, leaf, tasks, fact.resources.gpus // tasks, fact.max_duration_us, fact.priority, age
    )


def runs_of(core: Core, now: int) -> dict[str, Taken]:
    found = {}
    for run in core.state.runs.values():
        job = core.state.jobs[run.job]
        leaf = next(leaf for leaf in LEAVES if leaf.endswith(f"/{job.tenant}/{job.project}"))
        tasks = job.resources.nodes
        asked = Asked(
            job.id, leaf, tasks, job.resources.gpus // tasks, job.max_duration_us, job.priority, (0, 0)
        )
        worked = now - run.started_us
        lost = worked % job.checkpoint_every_us if job.checkpoint_every_us else worked
        places = tuple(int(task.node[1:]) for task in run.tasks)
        until = run.started_us + job.max_duration_us
        found[job.id] = Taken(
            asked, places, run.placed_us, until, lost=(lost + MINUTE_US) * asked.charge, old=job.number
        )
    return found


@settings(max_examples=int(os.environ.get("LEITSTAND_HUNT", "200")), deadline=None)
@given(smalls())
def test_small_plans_are_those_of_the_definition(small: Small) -> None:
    check(small)


def test_found_who_comes_before_a_run_of_its_project_may_still_call_a_guarantee() -> None:
    # and who lost runs to that comes sooner in the same plan
    runs = [job(0, 2, 0, 25, 2), job(3, 6, 0, 33, 2)]
    entitled = [(4, 1, 2), (1, 3, 2), (3, 1, -1), (0, 1, -1)]
    asked = [job(3, 4, 1, 66), job(0, 3, 2, 71), job(3, 6, 1, 65, 2), job(1, 3, 0, 29), job(1, 3, 0, 89)]
    check(Small([(4, "b")] * 2, entitled, runs, asked))


def job(leaf: int, gpus: int, priority: int, minutes: int, tasks: int = 1) -> f.SubmitJob:
    _, tenant, project = LEAVES[leaf].split("/")
    asked = f.Resources(gpus, tasks)
    return f.SubmitJob(tenant, project, asked, priority=priority, max_duration_us=minutes * MINUTE_US)


def check(small: Small) -> None:
    core, now = running(small), NOW + 7 * SECOND_US
    before = runs_of(core, now)
    facts = core.cycle(now, small.jobs)
    moment = moment_of(core, small, now, facts, before)
    left = [
        fact
        for fact in facts
        if isinstance(fact, f.RunPlaced | f.CapacityReserved | f.RunStopOrdered | f.ReservationDropped)
    ]
    compare(moment, left)


def noted(what: str) -> None:
    """For the statistics of a property test."""
    if currently_in_test_context():
        event(what)


def compare(moment: Moment, left: list[Any]) -> None:
    """Turn by turn; what the core chose among equals is taken over."""

    def said(job: Asked, kind: type) -> Any:
        assert left, (job.id, kind.__name__, "nothing was decided")
        fact = left.pop(0)
        assert isinstance(fact, kind), (job.id, kind.__name__, fact)
        assert getattr(fact, "job", "") == job.id, (job.id, fact)
        return fact

    def chosen(fact: Any, best: list[plans.Places]) -> plans.Places:
        places = tuple(sorted(int(task.node[1:]) for task in fact.tasks))
        assert places in best, (fact, best)
        return places

    claims: list[Asked] = []
    for job in plans.turns(moment):
        if best := plans.start(moment, job):
            noted("starts")
            plans.begin(moment, job, chosen(said(job, f.RunPlaced), best))
            continue
        acted = plans.act(moment, job)
        if acted is not None:
            victims, best = acted
            noted(f"stops {len(victims)}")
            fact = said(job, f.CapacityReserved)
            assert fact.kind == "claim", fact
            places = chosen(fact, best)
            gives_way = [one for one in left if isinstance(one, f.ReservationDropped)]
            rest = [one for one in left if not isinstance(one, f.ReservationDropped)]
            stopped = sorted(one.run.rpartition(".")[0] for one in rest[: len(victims)])
            assert stopped == list(victims), (job.id, victims, rest)
            if gives_way:  # they are made anew in the next plan
                noted("plans give way")
                return
            del left[: len(victims)]
            for id in victims:
                plans.stop(moment, id)
            plans.begin(moment, job, places, moment.wait)
            if victims:
                claims.append(job)
            elif plans.now_free(moment, job):  # what it waits for is there already
                place = chosen(said(job, f.RunPlaced), plans.now_free(moment, job))
                plans.starts_at(moment, job, place)
            continue
        later = plans.reservation(moment, job)
        if later is not None:
            noted("reserves")
            fact = said(job, f.CapacityReserved)
            assert (fact.start_us, fact.kind != "claim") == (later[0], True), (fact, later)
            plans.hold(moment, job, fact.kind, fact.start_us, chosen(fact, later[1]))
    for job in claims:  # a limit was all that was in the way
        if best := plans.now_free(moment, job):
            plans.starts_at(moment, job, chosen(said(job, f.RunPlaced), best))
    assert not left, left
