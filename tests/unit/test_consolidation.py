# SPDX-License-Identifier: Apache-2.0
"""Moves: who moves for whom and where to, who does not, and what happens when something comes in between."""

import msgspec
import pytest
from msgspec.structs import replace

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.explaining.why import Binding, why
from leitstand.core.state import Projection, State
from leitstand.core.units import HOUR_US, MINUTE_US, SECOND_US
from tests.unit.fair_story import RULES, SHARING, Cloud, cloud, day, owed

SAVES = 10 * MINUTE_US


def pieces(*entitled: a.Entitlement, saves: int = 0, until: float = 399, **rules: int) -> Cloud:
    """Three nodes of four GPUs: two are free on n0 (a-2 runs), two on n1 (a-3), one on n2 (a-4)."""
    sharing = replace(SHARING, **rules)
    made = cloud(4, 4, 4, entitled=entitled, rules=replace(RULES, sharing=sharing))
    made.at(0, *(day(gpus, checkpoint_every_us=saves) for gpus in (2, 2, 2, 3)))
    return made.at(10, f.CancelJob("a-1")).until(until)


def ask(scene: Cloud, *jobs: f.SubmitJob, at: float = 400, until: float | None = None) -> Cloud:
    return scene.at(at, *jobs).until(at if until is None else until)


def decided(scene: Cloud, at: float) -> list[f.Fact]:
    kinds = (f.CapacityReserved, f.RunStopOrdered)
    return [fact for time, fact in scene.facts if time == at * SECOND_US and isinstance(fact, kinds)]


def test_a_run_moves_once_places_are_held_for_it_and_goes_on_there() -> None:
    scene = ask(pieces(), day(4, tenant="b"))
    assert decided(scene, 400) == [
        f.CapacityReserved("a-2", "claim", 400 * SECOND_US, (f.Task("n1", "3"),)),
        f.CapacityReserved("b-1", "claim", 400 * SECOND_US, (f.Task("n0", "f"),)),
        f.RunStopOrdered("a-2.1", "move", "b-1"),
    ]
    assert scene.running == ["a-3", "a-4"]
    scene.until(430)
    assert scene.running == ["a-2", "a-3", "a-4", "b-1"]
    assert (scene.nodes("a-2"), scene.nodes("b-1")) == (["n1"], ["n0"])
    assert scene.evicted == []
    (again,) = scene.all(f.JobRequeued)
    assert (again.job, again.reason) == ("a-2", "move")


def test_the_cheapest_move_is_taken() -> None:
    scene = pieces()
    scene.at(380, day(1)).until(399)  # beside a-4: with two GPUs free on n0 and n1, none on n2
    assert scene.nodes("a-5") == ["n2"]
    scene = ask(scene, day(3, tenant="b"), at=800)
    assert scene.moved == ["a-2"], "a-2, a-3 and a-4 are equally old; a-2 and a-3 are smaller"
    saving = pieces()
    saving.core.state.jobs["a-3"].checkpoint_every_us = SAVES
    assert ask(saving, day(4, tenant="b"), at=630).moved == ["a-3"], "it saved its work 30 s ago"


def test_beyond_its_share_nobody_moves_for_a_job() -> None:
    scene = pieces(a.Entitlement("industry", 0, 3), a.Entitlement("research", 0, 1))
    scene.at(399, f.TenantAdded("uni", "research"))
    ask(
        scene, day(3), day(3), day(4, tenant="uni"), until=4000
    )  # industry wants 13, so that its share is 9 of 12
    assert scene.deserved("industry", "research") == [9, 3]
    assert (scene.moved, scene.waiting) == ([], ["a-5", "a-6", "uni-1"])


def test_who_is_younger_than_the_protected_time_does_not_move() -> None:
    scene = pieces(until=199)
    assert ask(scene, day(4, tenant="b"), at=200, until=299).moved == []
    assert scene.until(360).moved == ["a-2"]


@pytest.mark.parametrize("saves", [0, SAVES])
def test_more_than_a_fifth_above_what_is_asked_moves_only_if_all_of_it_saves_its_work(saves: int) -> None:
    scene = cloud(4, 4, 4)
    scene.at(0, day(6, 3, checkpoint_every_us=saves)).at(1, f.NodeAdded("n3", "s", 3, 64_000, 512_000))
    ask(scene.until(399), day(4, tenant="b"), until=431)
    assert scene.moved == (["a-1"] if saves else [])
    assert scene.nodes("a-1") == (["n1", "n2", "n3"] if saves else ["n0", "n1", "n2"])


def test_moves_that_lose_more_than_the_job_gains_are_not_made() -> None:
    scene = cloud(4, 4, 4)
    scene.at(0, *(day(gpus, hours=20) for gpus in (2, 2, 2, 3))).at(10, f.CancelJob("a-1"))
    ask(scene, day(4, tenant="b"), at=19 * HOUR_US // SECOND_US)
    assert scene.moved == [], "19 hours of two GPUs for one hour of four"
    saving = cloud(4, 4, 4)
    saving.at(0, *(day(gpus, hours=20, checkpoint_every_us=SAVES) for gpus in (2, 2, 2, 3)))
    saving.at(10, f.CancelJob("a-1"))
    ask(saving, day(4, tenant="b"), at=19 * HOUR_US // SECOND_US)
    assert saving.moved == ["a-2"], "ten minutes of two GPUs at most"


def test_who_moves_leaves_reserved_places_alone() -> None:
    assert ask(pieces(), day(4, tenant="b", hours=1)).moved == ["a-2"]
    scene = ask(ask(pieces(), day(12, 3)), day(4, tenant="b", hours=1), at=401, until=1000)
    assert scene.reserved("a-5") == ("promise", 86_400)
    assert scene.moved == [], "a-2 would run 30 s longer on n1 than it did on n0"


@pytest.mark.parametrize("most", [0, 1])
def test_a_tick_moves_no_more_runs_than_the_rules_say(most: int) -> None:
    assert ask(pieces(moves_max=most), day(4, tenant="b")).moved == ["a-2"] * most


def test_nobody_moves_where_a_move_takes_longer_than_the_protected_time() -> None:
    scene = ask(pieces(protected_us=29 * SECOND_US), day(4, tenant="b"), until=1000)
    assert scene.moved == []


# ── what comes in between ─────────────────────────────────────────────────────────────────────────────────────────────
def moving() -> Cloud:
    return ask(pieces(), day(4, tenant="b"), until=410)


def test_who_is_cancelled_while_he_moves_ends_and_his_place_is_free() -> None:
    scene = moving().at(411, f.CancelJob("a-2")).until(412)
    assert "a-2" not in scene.core.state.reservations
    scene.until(430)
    assert "a-2" not in scene.core.state.jobs
    assert scene.running == ["a-3", "a-4", "b-1"]
    assert ask(scene, day(2), at=431).nodes("a-5") == ["n1"]


def test_who_ends_by_himself_while_he_moves_leaves_his_place() -> None:
    scene = moving()
    scene._ends["a-2.1"] = f.RunEnded("a-2.1", 420 * SECOND_US, "exited", 0)
    scene.until(430)
    assert "a-2" not in scene.core.state.jobs
    assert scene.core.state.reservations == {}
    assert scene.running == ["a-3", "a-4", "b-1"]


def test_who_loses_the_place_where_he_moves_to_waits_again_at_his_rank() -> None:
    scene = moving()
    scene.at(411, day(2)).until(411)
    scene.fail("n1")
    assert scene.core.state.reservations["b-1"].kind == "claim"
    scene.until(430)
    assert "b-1" in scene.running
    state = scene.core.state
    assert state.jobs["a-2"].state == "pending"
    scene.at(440, f.NodeAdded("n1", "s", 4, 64_000, 512_000)).until(440)
    assert scene.nodes("a-2") == ["n1"], "before a-5, which came later"


def test_for_whom_others_move_is_cancelled_and_they_move_all_the_same() -> None:
    scene = moving().at(411, f.CancelJob("b-1")).until(430)
    assert scene.nodes("a-2") == ["n1"]
    assert scene.core.state.reservations == {}


def test_who_moves_while_his_tenant_is_suspended_waits_until_that_is_over() -> None:
    scene = moving().at(411, a.TenantSuspended("a", "unpaid")).until(440)
    assert scene.running == ["a-3", "a-4", "b-1"]
    assert (scene.core.state.jobs["a-2"].state, scene.core.state.reservations) == ("pending", {})
    scene.at(450, a.TenantResumed("a")).until(450)
    assert scene.nodes("a-2") == ["n1"]


def test_who_was_moved_is_no_younger_for_it() -> None:
    scene = moving().until(430)
    state = scene.core.state
    assert state.runs["a-2.2"].since_us == state.runs["a-3.1"].since_us == 0
    standing = state.pools["shared"].standing
    assert standing is not None
    assert [held.id for _, held in standing.tree.node("industry/a/default").runs] == ["a-2", "a-3", "a-4"]


def test_who_was_moved_can_be_called_back_at_once() -> None:
    scene = ask(pieces(owed("b", 4)), day(4))
    assert scene.moved == ["a-2"]
    scene.until(430).at(431, day(4, tenant="b")).until(431)
    assert scene.evicted[0] == "a-2", "the cheapest: it has worked for one second"


def test_who_moves_once_is_left_alone_for_the_protected_time() -> None:
    scene = ask(pieces(saves=SAVES), day(4, tenant="b"), until=430)
    scene.at(431, f.CancelJob("b-1")).at(470, day(3, tenant="b"), day(3, tenant="b"))
    assert scene.until(500).nodes("a-2") == ["n1"]
    assert scene.moved == ["a-2"]


def test_the_fold_of_a_move_is_the_state_of_the_move() -> None:
    scene = moving()
    stored = msgspec.msgpack.encode(pieces().core.state.project())
    folded = State.restore(msgspec.msgpack.decode(stored, type=Projection))
    for at, fact in scene.facts:
        if at > 399 * SECOND_US:
            folded.apply(at, fact)
    assert folded.digest() == scene.core.state.digest()
    again = State.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(folded.project()), type=Projection))
    for state in (folded, again):
        standing = state.pools["shared"].standing
        assert standing is not None
        held = {job: (one.order, one.until_us) for job, one in standing.tree.held.items()}
        assert held["a-2"] == ((0, 2), (400 + 30) * SECOND_US + 24 * HOUR_US)
        assert (standing.moving.keys(), standing.yielding) == ({"a-2"}, {})


# ── who pays, and what is said ────────────────────────────────────────────────────────────────────────────────────────
def test_what_a_move_loses_is_not_paid_by_who_moves() -> None:
    scene = cloud(4, 4, 4)
    scene.at(0, a.BudgetGranted("", "a", 10_000 * HOUR_US, 1000 * HOUR_US))
    scene.at(1, *(day(gpus, checkpoint_every_us=5 * MINUTE_US) for gpus in (2, 2, 2, 3)))
    scene.at(10, f.CancelJob("a-1"))
    ask(scene, day(4, tenant="b"), until=431)
    assert scene.moved == ["a-2"]
    posted = [fact.posted for fact in scene.all(f.UsageMetered) if fact.run == "a-2.1"]
    assert posted[0][0][1] == 2 * 5 * MINUTE_US, "five of seven minutes are saved"


def test_who_cannot_pay_a_further_run_is_not_moved() -> None:
    scene = cloud(4, 4, 4)
    budget = a.BudgetGranted("", "a", 9 * 24 * HOUR_US, 1000 * HOUR_US)
    scene.at(0, budget).at(1, *(day(gpus) for gpus in (2, 2, 2, 3))).at(10, f.CancelJob("a-1"))
    ask(scene, day(4, tenant="b"), until=431)
    assert scene.moved == []


def test_explain_says_of_both_what_they_wait_for() -> None:
    scene = moving()
    state, now = scene.core.state, scene.now
    assert why(state, "b-1", now).binding == Binding("freeing", until_us=430 * SECOND_US)
    found = why(state, "a-2", now)
    assert found.binding == Binding("moving", until_us=430 * SECOND_US)
    assert (found.start.kind, found.start.start_us, found.start.nodes) == ("claim", 430 * SECOND_US, ("n1",))
    assert why(state, "a-3", now).binding.reason == ""
