# SPDX-License-Identifier: Apache-2.0
"""Predicted lengths: what teaches them, which history predicts a job, and what order follows in its project."""

from typing import Any

import msgspec
import pytest

from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.explaining.explain import plan
from leitstand.core.rules import Rules, Sharing
from leitstand.core.sharing import lengths
from leitstand.core.state import Projection, State
from leitstand.core.units import DAY_US, HOUR_US, SECOND_US
from tests.unit.story import ask, at, cluster, ended, placed, started

LEAF = "industry/acme/default"
FAIR = Rules(discipline="fair")
# no reservations: who has one keeps it, whoever comes later and whatever is predicted
ORDERED = Rules(discipline="fair", sharing=Sharing(reservations_max=0))


def ran(core: Core, second: int, seconds: int, **more: Any) -> str:
    """A job that starts at once and ends so much later by itself; its id."""
    at(core, second, ask(**more))
    job = core.answers[0].made
    at(core, second, started(f"{job}.1", second))
    at(core, second + seconds, ended(f"{job}.1", second + seconds))
    assert job not in core.state.jobs
    return job


def predicted(core: Core, second: int, **more: Any) -> int:
    """Seconds that a job submitted now is predicted to take."""
    at(core, second, ask(**more))
    return core.state.jobs[core.answers[0].made].predicted_us // SECOND_US


def test_a_project_without_history_predicts_the_time_limit() -> None:
    core = cluster(8, rules=FAIR)
    assert predicted(core, 1, max_duration_us=HOUR_US) == 3600
    assert predicted(core, 1, max_duration_us=30 * DAY_US) == 7 * 24 * 3600


def test_the_closest_history_predicts() -> None:
    core = cluster(8, rules=FAIR)
    ran(core, 10, 100, user="a", spec="train")
    ran(core, 200, 300, user="a", spec="test")
    assert predicted(core, 1000, user="a", spec="train") == 100
    assert predicted(core, 1000, user="a", spec="test") == 300
    of_size = 100 + (300 - 100) // 4
    assert predicted(core, 1000, user="a", spec="new") == of_size
    ran(core, 1000, 900, gpus=4, user="a", spec="big")
    assert predicted(core, 2000, gpus=4, user="a") == 900
    assert predicted(core, 2000, user="a") == of_size
    of_user = of_size + (900 - of_size) // 4
    assert predicted(core, 2000, gpus=2, user="a") == of_user
    assert predicted(core, 2000, gpus=2, user="b") == of_user  # all of the project's jobs are those of a
    assert predicted(core, 2000, user="a", spec="train", tenant="beta") == 24 * 3600


def test_a_prediction_is_never_longer_than_the_time_limit() -> None:
    core = cluster(8, rules=FAIR)
    ran(core, 10, 5000, user="a")
    assert predicted(core, 6000, user="a", max_duration_us=HOUR_US) == 3600


def test_ten_runs_make_up_for_nearly_all_that_was_before() -> None:
    core = cluster(8, rules=FAIR)
    ran(core, 0, 10_000, user="a")
    for second in range(20_000, 20_010):
        ran(core, second, 1, user="a")
    assert 1 <= predicted(core, 30_000, user="a") <= 600


def test_only_ends_that_say_how_long_a_job_takes_teach() -> None:
    core = cluster(8, rules=FAIR)
    for outcome in ("lost", "start_failed"):
        at(core, 1, ask())
        job = core.answers[0].made
        at(core, 2, started(f"{job}.1", 2))
        at(core, 90, f.RunEnded(f"{job}.1", 90 * SECOND_US, outcome))
    at(core, 95, ask())
    job = core.answers[0].made
    at(core, 96, f.CancelJob(job))
    at(core, 99, f.RunEnded(f"{job}.1", 99 * SECOND_US, "stopped"))  # it had not started
    assert core.state.lengths == {}
    at(core, 100, ask())
    job = core.answers[0].made
    at(core, 100, started(f"{job}.1", 100), f.CancelJob(job))
    at(core, 130, f.RunEnded(f"{job}.1", 130 * SECOND_US, "stopped"))
    assert core.state.lengths == {LEAF: {"project": 30 * SECOND_US}}


def test_a_run_that_is_stopped_for_another_job_teaches_nothing_until_its_job_ends() -> None:
    core = cluster(1, rules=Rules(discipline="fair", sharing=Sharing(protected_us=0)))
    at(core, 0, ask(checkpoint_every_us=100 * SECOND_US))
    at(core, 0, started("acme-1.1", 0))
    facts = at(core, 250, ask(priority=1))
    assert [fact.cause for fact in facts if isinstance(fact, f.RunStopOrdered)] == ["priority"]
    at(core, 260, f.RunEnded("acme-1.1", 260 * SECOND_US, "stopped"))
    assert core.state.lengths == {}
    at(core, 261, started("acme-2.1", 261))
    at(core, 271, ended("acme-2.1", 271))
    at(core, 300, started("acme-1.2", 300))
    at(core, 350, ended("acme-1.2", 350))
    seconds = 10 + (200 + 50 - 10) // 4  # two checkpoints kept 200 s of the first run
    assert core.state.lengths == {LEAF: {"project": seconds * SECOND_US}}


def test_what_is_known_of_a_project_is_bounded_and_the_longest_untouched_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lengths, "KNOWN_MAX", 4)
    core = cluster(8, rules=FAIR)
    ran(core, 10, 100, user="a")
    ran(core, 200, 300, user="b")
    known = core.state.lengths[LEAF]
    assert list(known) == ["user a", "size 1000 of b", "user b", "project"]


def test_other_disciplines_learn_nothing() -> None:
    core = cluster(8)
    ran(core, 10, 100, user="a")
    assert core.state.lengths == {}
    assert predicted(core, 1000, user="a") == 0


def queued(core: Core, second: int, *jobs: tuple[str, int]) -> list[str]:
    """Users whose one-GPU jobs, submitted at these seconds behind one that holds everything, start in this order."""
    at(core, second, ask(8, user="block", max_duration_us=30 * DAY_US))
    block, users = core.answers[0].made, {}
    for user, submitted in jobs:
        at(core, submitted, ask(8, user=user, max_duration_us=30 * DAY_US))
        users[core.answers[0].made] = user
    order, now, last = [], jobs[-1][1] + 1, f"{block}.1"
    for _ in jobs:
        (run,) = placed(at(core, now, ended(last, now)))
        order.append(users[run.rpartition(".")[0]])
        now, last = now + 1, run
    return order


@pytest.mark.parametrize(
    ("most_s", "order"),
    [
        (7 * 24 * 3600, ["short", "long"]),
        (1801, ["short", "long"]),
        (1799, ["long", "short"]),
        (0, ["long", "short"]),
    ],
)
def test_a_short_job_overtakes_a_long_one_that_came_less_before_it_than_the_rules_allow(
    most_s: int, order: list[str]
) -> None:
    rules = Rules(
        discipline="fair",
        sharing=msgspec.structs.replace(ORDERED.sharing, predicted_max_us=most_s * SECOND_US),
    )
    core = cluster(8, rules=rules)
    ran(core, 10, 1, gpus=8, user="short")
    ran(core, 20, 7200, gpus=8, user="long")
    assert queued(core, 8000, ("long", 8001), ("short", 9800)) == order


@pytest.mark.parametrize(("later_s", "order"), [(985, ["short", "long"]), (1000, ["long", "short"])])
def test_who_came_earlier_by_more_than_the_other_is_longer_is_not_overtaken(
    later_s: int, order: list[str]
) -> None:
    core = cluster(8, rules=ORDERED)
    ran(core, 10, 10, gpus=8, user="short")
    ran(core, 30, 1000, gpus=8, user="long")
    assert queued(core, 8000, ("long", 8001), ("short", 8001 + later_s)) == order


def test_priority_comes_before_any_prediction() -> None:
    core = cluster(8, rules=ORDERED)
    ran(core, 10, 1, gpus=8, user="short")
    ran(core, 20, 5000, gpus=8, user="long")
    at(core, 8000, ask(8))
    at(core, 8001, ask(8, user="short"), ask(8, user="long", priority=1))
    assert list(placed(at(core, 8100, ended("acme-3.1", 8100)))) == ["acme-5.1"]


def test_what_a_job_says_of_itself_does_not_put_it_first() -> None:
    core = cluster(8, rules=ORDERED)
    at(core, 1, ask(8))
    at(core, 2, ask(8), ask(8, expected_us=1))
    assert list(placed(at(core, 3, ended("acme-1.1", 3)))) == ["acme-2.1"]


def test_a_plan_tells_the_same_place_in_line_that_a_submission_gets() -> None:
    core = cluster(8, rules=FAIR)
    ran(core, 10, 1, gpus=8, user="short")
    ran(core, 20, 5000, gpus=8, user="long")
    at(core, 8000, ask(8, user="long"), ask(8, user="long"))
    assert plan(core.state, ask(8, user="short"), 8001 * SECOND_US).jobs_ahead == 0
    assert plan(core.state, ask(8, user="long"), 8001 * SECOND_US).jobs_ahead == 1


def test_what_was_learned_outlives_a_restart() -> None:
    core = cluster(8, rules=FAIR)
    ran(core, 10, 100, user="a", spec="x")
    at(core, 200, ask(8, user="a"), ask(8, user="a"))
    stored = msgspec.msgpack.encode(core.state.project())
    again = State.restore(msgspec.msgpack.decode(stored, type=Projection))
    assert again.lengths == core.state.lengths
    assert again.digest() == core.state.digest()
    assert again.jobs["acme-3"].predicted_us == core.state.jobs["acme-3"].predicted_us == 100 * SECOND_US
