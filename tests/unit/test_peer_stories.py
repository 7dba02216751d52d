# SPDX-License-Identifier: Apache-2.0
"""What went wrong in other schedulers, told through the core under `fair`: who waits, who yields, and that it ends.

The names are those of the issues and pull requests of Kueue and KAI-Scheduler in which it was reported. The same as
single acts: `test_preemption.py`; on the model of the rules: `tests/properties/test_sharing_model.py`.
"""

import msgspec
import pytest

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.rules import Rules
from leitstand.core.units import MINUTE_US
from tests.unit.fair_story import SHARING, Cloud, cloud, day, owed
from tests.unit.story import ask, refused

LATER = 600  # s: everything that ran from the start can be taken by then
EVENING = 10 * 3600  # s: hundreds of ticks later, before anything of a day ends


# ── kueue#3779: a best-effort run is evicted and started again for ever ───────────────────────────────────────────
def kueue_3779(weight: int) -> Cloud:
    entitled = [owed("a", 150), owed("b", 150), owed("be", weight=weight)]
    story = cloud(300, entitled=entitled, tenants=("a", "b", "be"))
    story.at(1, day(250), day(50, tenant="be")).at(LATER, day(50))
    return story.until(EVENING)


def test_kueue_3779_who_is_beyond_its_share_waits_and_evicts_no_best_effort_run() -> None:
    story = kueue_3779(1)
    assert story.deserved("industry/a", "industry/be") == [250, 50]
    assert story.evicted == []
    assert story.waiting == ["a-2"]


def test_kueue_3779_best_effort_without_weight_goes_once_and_does_not_come_back() -> None:
    story = kueue_3779(0)
    assert story.deserved("industry/a", "industry/be") == [300, 0]
    assert story.evicted == ["be-1"]
    assert story.running == ["a-1", "a-2"]
    assert story.waiting == ["be-1"]
    assert len(story.until(25 * 3600).started("be-1")) == 2, "it runs again once a-1 has ended"


# ── kueue#7101: gangs of two projects on eight GPUs ───────────────────────────────────────────────────────────────
def kueue_7101(*gangs: f.SubmitJob) -> Cloud:
    story = cloud(*[1] * 8, entitled=[owed("a"), owed("b")])
    story.at(1, *[day(2, 2) for _ in range(4)]).at(LATER, *gangs)
    return story.until(EVENING)


def test_kueue_7101_gangs_beyond_half_wait_half_changes_hands_once_and_nothing_flaps() -> None:
    hours = 9  # less than the reservation of the gang of six leaves
    gangs = [day(gpus, gpus, "b", hours) for gpus in (6, 5, 4, 3)]
    story = kueue_7101(*gangs)
    assert story.evicted == ["a-1", "a-2"]
    behind = (
        LATER + 31 * 60
    )  # half an hour without its half, while the others had all: an hour between the two
    assert story.started("b-3") == [behind + 30], "as soon as the two are gone"
    assert story.started("b-4") == [behind + 30 + hours * 3600], "in the place of the third"
    assert story.waiting == ["a-1", "a-2", "b-1", "b-2"]


def test_kueue_7101_a_gang_that_would_delay_a_promise_waits_too() -> None:
    story = kueue_7101(day(6, 6, "b"), day(4, 4, "b", hours=24))
    assert story.reserved("b-1") == ("promise", 24 * 3600 + 1)
    assert story.waiting == ["b-1", "b-2"]
    assert story.until(25 * 3600).started("b-1") == [24 * 3600 + 1]
    assert story.evicted == []


# ── kueue#6774: two queues without weight borrow what the same lender leaves idle ─────────────────────────────────
def kueue_6774(first: list[f.SubmitJob], second: list[f.SubmitJob]) -> Cloud:
    entitled = [owed("lender", 8), owed("a", weight=0), owed("b", weight=0)]
    story = cloud(8, entitled=entitled, tenants=("lender", "a", "b"))
    return story.at(1, *first).at(LATER, *second).until(EVENING)


def test_kueue_6774_single_gpus_change_hands_four_times_and_then_never() -> None:
    story = kueue_6774([day() for _ in range(8)], [day(tenant="b") for _ in range(8)])
    assert story.deserved("industry/a", "industry/b") == [4, 4]
    assert len(story.evicted) == 4
    assert [job[0] for job in story.running] == ["a"] * 4 + ["b"] * 4


def test_kueue_6774_a_gang_does_not_push_out_a_gang_and_is_the_next() -> None:
    story = kueue_6774([day(8)], [day(8, tenant="b")])
    assert story.evicted == []
    story.at(EVENING + 1, day(8))
    assert story.until(25 * 3600).running == ["b-1"]


# ── kueue#14543: who was needed for legality is put back ──────────────────────────────────────────────────────────
def test_kueue_14543_the_own_lower_priority_goes_and_the_covered_neighbour_stays() -> None:
    story = cloud(8, entitled=[owed("a", 4), owed("b", 4)])
    cheap = day(4, tenant="b", checkpoint_every_us=MINUTE_US)  # would lose least of all
    story.at(1, day(2), day(2), cheap).at(LATER, day(4, priority=1)).until(EVENING)
    assert story.evicted == ["a-1", "a-2"]
    assert story.running == ["a-3", "b-1"]


# ── kueue PR#13863: a whole gang is evicted although capacity is just being freed ─────────────────────────────────
def test_kueue_pr_13863_a_gang_that_lost_a_node_takes_the_one_that_is_being_freed() -> None:
    story = cloud(*[8] * 5, entitled=[owed("a", 16)])
    story.at(1, day(16, 2, retries=1), day(8, tenant="b"), day(16, 2, "b"))
    story.at(LATER, f.CancelJob("b-1")).until(LATER + 1)
    assert story.started("b-1") == [1]
    story.fail("n0")
    story.until(EVENING)
    assert story.evicted == [], "the other gang stays whole"
    assert story.started("a-1") == [1, LATER + 30]
    assert story.running == ["a-1", "b-2"]


def test_kueue_pr_13863_what_is_freed_for_one_job_serves_the_next_of_its_owner_if_that_is_cancelled() -> None:
    story = cloud(8, 8, entitled=[owed("a", 16)])
    story.at(1, day(8, tenant="b"), day(8, tenant="b")).at(LATER, day(8))
    story.at(LATER + 5, f.CancelJob("a-1"), day(8)).until(EVENING)
    assert len(story.evicted) == 1
    assert story.started("a-2") == [LATER + 30]


# ── KAI PR#1565: 376 GPUs would be moved for a queue that is over its share ───────────────────────────────────────
def test_kai_1565_nobody_yields_to_who_is_over_its_share() -> None:
    story = cloud(*[8] * 50, entitled=[owed("a", 100), owed("b", 300)])
    story.at(1, *[day(8) for _ in range(25)], *[day(8, tenant="b") for _ in range(22)])
    story.at(LATER, day(48, 6)).until(2 * 3600)
    assert story.deserved("industry/a", "industry/b") == [224, 176]
    assert story.evicted == []
    assert story.waiting == ["a-26"]


# ── KAI#1750: a protected queue hides the sibling that is over its quota ──────────────────────────────────────────
def test_kai_1750_the_second_run_of_the_sibling_goes() -> None:
    entitled = [owed("a", 3), owed("b", 2), owed("c", 2)]
    story = cloud(*[1] * 7, entitled=entitled, tenants=("a", "b", "c"))
    cheap = day(2, 2, "b", checkpoint_every_us=MINUTE_US)
    story.at(1, day(2, 2), cheap, day(2, 2, "c")).at(2, day(tenant="c")).at(LATER, day()).until(EVENING)
    assert story.evicted == ["c-2"]
    assert story.running == ["a-1", "a-2", "b-1", "c-1"]


def test_kai_1750_more_than_there_is_can_not_be_guaranteed() -> None:
    story = cloud(*[1] * 7, tenants=("a", "b", "c"))
    asked = a.EntitlementsChanged("shared", (owed("a", 6), owed("b", 2), owed("c", 2)))
    why, detail = refused(story.core, 1, asked)
    assert why == "conflict"
    assert detail == "the root: 10 would be guaranteed, more than the 7 that the pool has less its spare"


# ── KAI#2153: halves of GPUs at once ──────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("nodes", [(8,), (1,) * 8, (4, 4)])
def test_kai_2153_halves_that_come_together_are_two_on_every_gpu(nodes: tuple[int, ...]) -> None:
    half = f.SubmitJob("a", "default", f.Resources(gpu_milli=500))
    story = cloud(*nodes).at(1, *[half] * 16).until(2)
    held: dict[tuple[str, int], int] = {}
    for fact in story.all(f.RunPlaced):
        assert isinstance(fact, f.RunPlaced)
        for task in fact.tasks:
            for gpu in task.gpus:
                held[task.node, gpu] = held.get((task.node, gpu), 0) + 1
    assert sorted(held.values()) == [2] * 8
    assert story.waiting == []


# ── KAI, ReclaimLargeJobs_N: 3.75 to 16 times as many evictions as needed ─────────────────────────────────────────
@pytest.mark.parametrize("nodes", [10, 40])
def test_kai_reclaim_large_jobs_evicts_as_many_gpus_as_the_gang_has(nodes: int) -> None:
    story = cloud(*[8] * nodes, entitled=[owed("a", weight=0), owed("b", 8 * nodes)])
    story.at(1, *[day() for _ in range(8 * nodes)])
    story.at(LATER, day(8 * nodes // 10, nodes // 10, "b")).until(LATER + 3600)
    assert len(story.evicted) == 8 * nodes // 10
    assert "b-1" in story.running


# ── the examples of docs/scheduling.md ────────────────────────────────────────────────────────────────────────────
def test_e2_a_start_is_promised_only_where_nobody_can_recall_it() -> None:
    entitled = [owed("x", 8), owed("y"), owed("z", 4, weight=0)]
    story = cloud(*[1] * 16, entitled=entitled, tenants=("x", "y", "z"))
    story.at(1, day(8, 8, "x", hours=4), day(4, 4, "y", hours=3), day(4, 4, "y", hours=10))
    story.at(LATER, day(8, 8, "y", hours=5)).until(LATER + 60)
    assert story.reserved("y-3") == ("plan", 4 * 3600 + 1)
    story.at(LATER + 61, f.CancelJob("y-3"), day(4, 4, "y", hours=5)).until(LATER + 120)
    assert story.reserved("y-4") == ("promise", 3 * 3600 + 1)
    story.at(LATER + 300, day(4, 4, "z")).until(LATER + 340)
    assert story.evicted in (["y-1"], ["y-2"])
    assert story.until(EVENING).started("y-4") == [3 * 3600 + 1]


def test_e3_what_is_not_lent_is_not_lent() -> None:
    story = cloud(8, entitled=[owed("a", 8, lend=2), owed("b")])
    story.at(1, day(2, tenant="b")).at(2, day(tenant="b")).until(EVENING)
    assert story.running == ["b-1"]
    assert story.waiting == ["b-2"]


def test_e4_a_budget_admits_what_it_pays_and_what_is_not_used_pays_another() -> None:
    story = cloud(*[8] * 20)
    hour = 3_600_000_000
    story.at(1, a.BudgetGranted("", "a", 100 * hour, 100 * hour))
    half = ask(8, tenant="a", max_duration_us=hour, expected_us=hour // 2)
    story.at(2, *[half] * 1_000).until(3)
    assert len(story.running) == 12
    refusals = story.all(f.JobRejected)
    assert len(refusals) == 988
    assert {fact.reason for fact in refusals if isinstance(fact, f.JobRejected)} == {"budget"}
    story.at(1802, half, half).until(1803)
    assert story.running == [f"a-{number}" for number in (1_001, 1_002)]


# ── what random histories found ───────────────────────────────────────────────────────────────────────────────────
QUICK = Rules(discipline="fair", sharing=msgspec.structs.replace(SHARING, grace_us=0, stop_us=0))
MINUTE = 1 / 60


def keeper() -> Cloud:
    """A keeps 7 of 12 GPUs for himself; all of his runs, and all that others start, last a minute or two."""
    return cloud(4, 4, 4, entitled=[owed("a/default", 7, lend=0)], rules=QUICK, stop_us=0)


def test_found_no_start_is_promised_on_what_the_owner_will_keep_again() -> None:
    story = keeper().at(0, *[day(hours=MINUTE) for _ in range(7)])
    first = day(2, tenant="b", hours=2 * MINUTE, priority=1)
    story.at(0, first, day(4, 2, "b", hours=MINUTE)).to_the_end()
    assert story.all(f.PromiseBroken) == []
    assert story.started("b-1") == [0]
    assert story.started("b-2") == [120], "beside the idle guarantee there are but five for others"


def test_found_what_is_reserved_behind_a_promise_leaves_it_its_count() -> None:
    story = keeper().at(0, day(hours=MINUTE), day(8, 2, hours=2 * MINUTE), day(hours=MINUTE))
    gang = day(4, 2, "b", hours=MINUTE)
    story.at(60, gang, msgspec.structs.replace(gang, priority=1)).to_the_end()
    assert story.all(f.PromiseBroken) == []
    assert (story.started("b-2"), story.started("b-1")) == ([120], [180])
