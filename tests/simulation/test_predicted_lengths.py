# SPDX-License-Identifier: Apache-2.0
"""What predicted lengths are worth inside a project, in seeded workloads on the real core: where users repeat
themselves waiting is much shorter than by age alone, where nothing can be predicted it costs little, and whoever is
predicted wrongly is overtaken for a bounded time only."""

from random import Random

import pytest

from bench.support.cloud import Story, play
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.rules import Rules, Sharing
from leitstand.core.units import DAY_US, HOUR_US, MINUTE_US, SECOND_US

GPUS = 16
JOBS = 300
SEEDS = range(8)
WEEK_US = 7 * DAY_US
LENGTHS = tuple(minutes * MINUTE_US for minutes in (4, 8, 15, 40, 120, 600, 1200))  # what users usually run


def submissions(seed: int, *, repeat: bool) -> list[tuple[int, f.SubmitJob]]:
    """Jobs that ask for a little more than there is, in bursts. `repeat`: each user's jobs are of much the same length;
    else any job may have any, and who submits it says nothing."""
    chance = Random(seed)
    at = SECOND_US
    found: list[tuple[int, f.SubmitJob]] = []
    for number in range(JOBS):
        if number % 30 == 0:
            at += int(chance.expovariate(1 / (21 * HOUR_US)))
        user = chance.randrange(len(LENGTHS))
        usual = LENGTHS[user if repeat else chance.randrange(len(LENGTHS))]
        length = int(usual * chance.lognormvariate(0, 0.4))
        gpus = chance.choice((1, 1, 2, 4))
        asked = f.Resources(gpus, cpus_milli=1000)
        found.append((at, f.SubmitJob("acme", "default", asked, user=f"u{user}", expected_us=length)))
    return found


def played(seed: int, *, repeat: bool, predicted_max_us: int, reservations: int = 2000) -> Story:
    sharing = Sharing(tick_us=HOUR_US, predicted_max_us=predicted_max_us, reservations_max=reservations)
    core = Core()
    opening: list[f.Observation] = [f.RulesSet(Rules(discipline="fair", sharing=sharing), "")]
    opening += [f.TenantAdded("acme"), f.SiteAdded("s", "simulated")]
    opening += [f.NodeAdded(f"n{number}", "s", 8, 100_000, 0) for number in range(GPUS // 8)]
    core.cycle(0, opening)
    story = play(core, submissions(seed, repeat=repeat))
    assert len(story.ended) == JOBS
    return story


def mean_jct_us(*, repeat: bool, predicted_max_us: int) -> int:
    """Over all seeds."""
    stories = [played(seed, repeat=repeat, predicted_max_us=predicted_max_us) for seed in SEEDS]
    jct = [story.ended[job] - at for story in stories for job, at in story.submitted.items()]
    return sum(jct) // len(jct)


def test_where_users_repeat_themselves_jobs_end_sooner_on_average_than_by_age() -> None:
    by_age = mean_jct_us(repeat=True, predicted_max_us=0)
    predicted = mean_jct_us(repeat=True, predicted_max_us=WEEK_US)
    print(f"{by_age / HOUR_US:.1f} h by age, {predicted / HOUR_US:.1f} h with predictions")
    assert predicted * 100 <= by_age * 85


def test_where_nothing_can_be_predicted_little_is_lost() -> None:
    by_age = mean_jct_us(repeat=False, predicted_max_us=0)
    predicted = mean_jct_us(repeat=False, predicted_max_us=WEEK_US)
    print(f"{by_age / HOUR_US:.1f} h by age, {predicted / HOUR_US:.1f} h with predictions")
    assert predicted * 100 <= by_age * 110  # the luck of packing moves it by 6 % either way


@pytest.mark.parametrize("most_us", [0, HOUR_US, 6 * HOUR_US])
def test_nobody_is_overtaken_for_longer_than_the_rules_say(most_us: int) -> None:
    """By jobs that ask for the same: who came earlier by more than the limit starts earlier, or at the same time.
    Without reservations, which are kept once they are made, so that a later one can be for an earlier time."""
    story = played(0, repeat=True, predicted_max_us=most_us, reservations=0)
    jobs = submissions(0, repeat=True)
    shape = {f"acme-{number + 1}": asked.resources.gpus for number, (_, asked) in enumerate(jobs)}
    gained = [
        story.submitted[later] - story.submitted[earlier]
        for later in shape
        for earlier in shape
        if shape[earlier] == shape[later] and story.first_start[later] < story.first_start[earlier]
    ]
    assert max(gained, default=0) <= most_us
    assert (max(gained, default=0) > 0) == (most_us > 0), "nobody overtook anybody"
