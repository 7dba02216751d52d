# SPDX-License-Identifier: Apache-2.0
"""What a forecast draws from the past: lengths that are possible for a job, and submissions as they were."""

import numpy as np
import pytest

from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.jobs import Job
from leitstand.core.state import State
from leitstand.core.units import DAY_US, HOUR_US, MINUTE_US
from leitstand.twin.forecasting import lengths
from leitstand.twin.forecasting.lengths import Lengths
from leitstand.twin.forecasting.past import Past
from leitstand.twin.history import observation


@pytest.fixture
def state() -> State:
    core = Core()
    core.cycle(0, [f.TenantAdded("acme"), f.TenantAdded("other")])
    return core.state


def job(user: str = "ann", limit_us: int = 10 * HOUR_US, gpus: int = 1, tenant: str = "acme") -> Job:
    return Job(f"{tenant}-1", 1, tenant, "default", user, f.Resources(gpus), 0, limit_us, 0, "", 0)


def drawn(known: Lengths, state: State, one: Job, worked_us: int = 0) -> list[int]:
    chance = np.random.default_rng(1)
    return [known.draw(state, one, worked_us, chance) for _ in range(2000)]


def test_a_draw_is_longer_than_the_job_has_worked_and_within_its_limit(state: State) -> None:
    known = Lengths()
    for hours in range(1, 30):
        known.learn(state, job(limit_us=40 * HOUR_US), hours * HOUR_US)
    found = drawn(known, state, job(), 4 * HOUR_US)
    assert min(found) > 4 * HOUR_US
    assert max(found) <= 10 * HOUR_US


def test_with_nothing_known_all_that_is_possible_is_as_likely(state: State) -> None:
    found = drawn(Lengths(), state, job(), 2 * HOUR_US)
    assert np.quantile(found, (0.1, 0.5, 0.9)) == pytest.approx(
        [2.8 * HOUR_US, 6 * HOUR_US, 9.2 * HOUR_US], rel=0.06
    )
    assert drawn(Lengths(), state, job(limit_us=0), 5)[0] == 6, "beyond its limit it ends at once"


def test_what_is_known_of_such_jobs_counts_the_more_the_more_of_it_there_is(state: State) -> None:
    known = Lengths()
    for _ in range(lengths.NEWEST):
        known.learn(state, job("bob", tenant="other"), 9 * HOUR_US)
    shares = []
    for number in range(20):
        if number in (1, 4, 19):
            shares.append(np.mean(np.array(drawn(known, state, job())) == HOUR_US))
        known.learn(state, job(), HOUR_US)
    assert shares[0] < 0.8 < shares[1] < 0.99 < shares[2]


def test_old_lengths_are_forgotten(state: State) -> None:
    known = Lengths()
    for hours in (1, 2):
        for _ in range(lengths.NEWEST):
            known.learn(state, job(), hours * HOUR_US)
    assert set(drawn(known, state, job())) == {2 * HOUR_US}


def submitted(at: int, past: Past, **said: object) -> None:
    past.note(at, f.JobSubmitted("acme-1", "acme", "default", f.Resources(1), **said), State())


def arrivals(past: Past, now: int, days: float, seed: int = 0) -> list[tuple[int, f.SubmitJob]]:
    told = past.arrivals(now, now + round(days * DAY_US), np.random.default_rng(seed))
    found = [(moment.at, observation(fact)) for moment in told for fact in moment.facts]
    assert all(isinstance(asked, f.SubmitJob) for _, asked in found)
    return found  # type: ignore[return-value]


def test_submissions_come_again_at_the_same_times_of_day_and_as_many() -> None:
    past = Past()
    for day in range(20):
        for number in range(3):
            submitted(day * DAY_US + 9 * HOUR_US + number * MINUTE_US, past, user=f"day{day}")
    now = 20 * DAY_US + 5 * HOUR_US
    found = arrivals(past, now, 40)
    assert len(found) == 120
    assert {at % DAY_US // HOUR_US for at, _ in found} == {9}
    assert [at for at, _ in found] == sorted(at for at, _ in found)
    assert len({asked.user for _, asked in found}) > 5, "of several days"
    assert {asked.user for _, asked in found} <= {f"day{day}" for day in range(6, 20)}, (
        "of the last two weeks"
    )
    assert found == arrivals(past, now, 40)
    assert found != arrivals(past, now, 40, seed=1)


def test_before_a_day_is_known_what_is_known_comes_once_a_day() -> None:
    """A minute in which ten jobs came says nothing of the next one."""
    past = Past()
    for minute in range(0, 60, 10):
        submitted(minute * MINUTE_US, past)
    assert arrivals(Past(), HOUR_US, 1) == []
    assert arrivals(past, HOUR_US, 22 / 24) == []
    found = [at for at, _ in arrivals(past, HOUR_US, 3)]
    assert found == [day * DAY_US + minute * MINUTE_US for day in (1, 2, 3) for minute in range(0, 60, 10)]


def test_a_request_comes_again_on_its_own() -> None:
    past = Past()
    after = (f.Dependency("acme-0"),)
    for at, begin_us, index, booking in (
        (0, 0, 0, ""),
        (HOUR_US, 2 * HOUR_US, 0, ""),
        (HOUR_US, 2 * HOUR_US, 1, ""),
        (HOUR_US, 0, 0, "b-1"),
    ):
        submitted(
            at,
            past,
            request="key",
            request_digest="d",
            after=after,
            begin_us=begin_us,
            array="acme-1",
            size=2,
            index=index,
            booking=booking,
            held=True,
            deadline_us=9 * HOUR_US,
        )
    found = arrivals(past, DAY_US, 1)
    assert len(found) == 2, "an array once, and what has a booking never"
    for at, asked in found:
        assert (asked.request, asked.request_digest, asked.after, asked.held) == ("", "", (), False)
        assert asked.array == 2
        assert (asked.deadline_us - at) % DAY_US == (8 if asked.begin_us else 9) * HOUR_US
        assert asked.begin_us in (0, at + HOUR_US)
