# SPDX-License-Identifier: Apache-2.0
"""A site with a queue of its own: who goes there, what is never promised there, and what its queue says."""

from pathlib import Path
from typing import Any

import pytest

from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.rules import Rules, Sharing
from leitstand.core.units import HOUR_US
from leitstand.engines.slurm.commands import SlurmNode
from leitstand.engines.slurm.site import DELEGATED, Place, Quota, SlurmSite
from leitstand.engines.slurm.slots import Slots
from leitstand.engines.surroundings import Surroundings
from tests.unit.story import at, ended, placed, refused

OWN, PARTNER = "aachen-h100", "euro-h100"


def cloud(own: int = 1, slots: int = 4) -> Core:
    """So many nodes of 8 GPUs of our own, and slots at a delegated site."""
    core = Core()
    seen: list[f.Observation] = [
        f.RulesSet(Rules(discipline="fair", sharing=Sharing(grace_us=0, stop_us=0)), ""),
        f.TenantAdded("acme"),
        f.SiteAdded("aachen", "simulated", jurisdiction="de"),
        f.SiteAdded("euro", "slurm", jurisdiction="fi", delegated=True),
    ]
    seen += [f.NodeAdded(f"a{n}", "aachen", 8, 0, 0, "H100", "") for n in range(own)]
    seen += [f.NodeAdded(f"euro.slot-{n}", "euro", 8, 0, 0, "H100", "") for n in range(slots)]
    core.cycle(0, seen)
    assert [answer for answer in core.answers if answer.refused] == []
    return core


def ask(nodes: int = 1, **shape: Any) -> f.SubmitJob:
    return f.SubmitJob("acme", "default", f.Resources(8 * nodes, nodes, **shape), max_duration_us=HOUR_US)


def pools(facts: list[f.Fact]) -> list[str]:
    return [fact.pool for fact in facts if isinstance(fact, f.JobAdmitted)]


# ── who goes there ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_job_that_says_nothing_never_goes_there() -> None:
    core = cloud(own=1)
    assert pools(at(core, 1, ask())) == [OWN]
    assert pools(at(core, 2, ask())) == [OWN]  # it waits, though the partner is idle
    facts = at(core, 3, ask(2))
    (rejected,) = [fact for fact in facts if isinstance(fact, f.JobRejected)]
    assert (rejected.reason, rejected.resource) == ("no_such_capacity", "partners")
    assert [(lack.pool, lack.resource) for lack in rejected.lacks] == [(OWN, "gpus"), (PARTNER, "partners")]
    (rejected,) = [fact for fact in at(core, 4, ask(9)) if isinstance(fact, f.JobRejected)]
    assert rejected.resource == "gpus"  # nobody has so much


def test_a_job_that_is_too_large_for_us_is_referred_if_it_may() -> None:
    core = cloud(own=1)
    assert pools(at(core, 1, ask(2, partners=True))) == [PARTNER]
    assert pools(at(core, 2, ask(1, partners=True))) == [OWN]
    assert pools(at(core, 3, ask(1, partners=True))) == [OWN]  # the partner is for who can run nowhere else
    assert core.state.jobs["acme-3"].state == "pending"


def test_a_job_that_names_the_site_or_its_law_goes_there_as_to_any_other() -> None:
    core = cloud(own=1)
    assert pools(at(core, 1, ask(sites=("euro",)))) == [PARTNER]
    assert pools(at(core, 2, ask(jurisdiction="fi", partners=True))) == [PARTNER]
    facts = at(core, 3, ask(jurisdiction="fi"))
    assert [fact.resource for fact in facts if isinstance(fact, f.JobRejected)] == ["partners"]


def test_a_pool_never_has_both_nodes_of_ours_and_slots_of_a_partner() -> None:
    core = cloud()
    said = refused(core, 1, f.NodeAdded("x", "euro", 8, 0, 0, "H100", OWN))
    assert said == ("invalid", f"pool {OWN} is of site aachen; a delegated site has its own")
    assert refused(core, 2, f.NodeAdded("y", "aachen", 8, 0, 0, "H100", PARTNER))[0] == "invalid"


# ── what is never promised ────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("where", "kind"), [("aachen", "promise"), ("euro", "plan")])
def test_a_start_there_is_planned_and_never_promised(where: str, kind: str) -> None:
    core = cloud(own=1, slots=1)
    at(core, 1, ask(sites=(where,)))
    facts = at(core, 2, ask(sites=(where,)))
    assert [fact.kind for fact in facts if isinstance(fact, f.CapacityReserved)] == [kind]


def test_what_a_quota_frees_the_next_job_gets() -> None:
    core = cloud(slots=1)
    at(core, 1, ask(sites=("euro",)))
    at(core, 2, ask(sites=("euro",)))
    assert placed(at(core, 3, ended("acme-1.1", 3))) == {"acme-2.1": [("euro.slot-0", tuple(range(8)))]}


def test_nothing_is_booked_there() -> None:
    core = cloud(own=1)
    booking = f.BookingMade(
        "", "acme", "default", f.Resources(16, 2, partners=True), 10 * HOUR_US, 12 * HOUR_US, by="u1"
    )
    said = refused(core, 1, booking)
    assert "only a delegated site could hold it, whose queue books nothing" in " ".join(said)


# ── what its queue says ───────────────────────────────────────────────────────────────────────────────────────────────
def test_what_its_queue_says_of_a_run_is_a_fact_until_it_starts() -> None:
    core = cloud()
    at(core, 1, ask(sites=("euro",)))
    said = f.RunQueued("acme-1.1", "Priority", 5_000_000)
    assert at(core, 2, said) == [said]
    at(core, 3, f.RunStarted("acme-1.1", 3_000_000))
    assert at(core, 4, said) == []
    assert at(core, 5, f.RunQueued("acme-9.1", "Priority")) == []
    at(core, 6, ask(sites=("euro",)))
    assert refused(core, 7, f.RunQueued("acme-2.1", "x" * 10_000))[0] == "invalid"
    assert refused(core, 8, f.RunQueued("acme-2.1", "", -1))[0] == "invalid"


# ── its slots ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def slots(known: tuple[str, ...] = (), **quota: int) -> Slots:
    around = Surroundings(
        lambda ref: None, lambda tenant, digest: None, lambda: None, "j", lambda *name: None
    )
    slurm = SlurmSite(conf=Path("/c"), rest="unix:/r", folder=Path("/f"), partition="main")
    return Slots(Place("euro", DELEGATED, slurm, around, frozenset(known), quota=Quota(**quota)))


def listed(*states: str, gpus: int = 8) -> list[SlurmNode]:
    return [SlurmNode(f"n{n}", gpus, "h100", 64, 1000, state, True) for n, state in enumerate(states)]


def names(seen: list[f.Observation], kind: type) -> list[str]:
    return [one.node for one in seen if isinstance(one, kind)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("quota", "count"),
    [({"gpus": 16}, 2), ({"gpus": 23}, 2), ({"nodes": 3}, 3), ({"gpus": 800}, 4), ({"nodes": 99}, 4)],
)
def test_slots_are_as_many_as_the_quota_holds_and_the_partition_has(
    quota: dict[str, int], count: int
) -> None:
    of = slots(**quota)
    site, *seen = of.news(listed("idle", "mixed", "down", "drained"), {})
    assert site == f.SiteAdded("euro", "slurm", delegated=True)
    assert names(seen, f.NodeAdded) == [f"euro.slot-{n:04}" for n in range(1, count + 1)]
    assert seen[0] == f.NodeAdded("euro.slot-0001", "euro", 8, 64_000, 1000, "h100", "")
    assert of.totals == (count, count, 8 * count)
    assert of.news(listed("mixed", "idle", "down", "drained"), {}) == []


def test_slots_serve_while_any_node_does_and_come_back() -> None:
    of = slots(("euro.slot-0009",), nodes=2)
    assert names(of.news(listed("idle", "down"), {}), f.NodeRemoved) == ["euro.slot-0009"]
    every = ["euro.slot-0001", "euro.slot-0002"]
    assert names(of.news(listed("down", "down"), {}), f.NodeRemoved) == every
    assert names(of.news(listed("down", "idle"), {}), f.NodeAdded) == every
    assert names(of.away(), f.NodeRemoved) == every
    assert names(of.news(listed("idle", "idle"), {}), f.NodeAdded) == every


def test_a_quota_below_one_node_is_said() -> None:
    with pytest.raises(ValueError, match="the quota is 4 GPUs, and a node of the partition has 8"):
        slots(gpus=4).news(listed("idle"), {})
    with pytest.raises(ValueError, match="has no nodes"):
        slots(gpus=4).news([], {})
