# SPDX-License-Identifier: Apache-2.0
"""Batch jobs of one class: campaigns of batches of jobs, until the demanded GPU time is met. Called by the generator.

A tenant's batches come in bursts. One after another belongs to the same campaign with the chance that was fitted: the
same user, size and kind of work. A batch is one job or many (an array, a sweep) submitted together. Durations are those
of the family for the size; those of one tenant, user, campaign and batch are alike. Campaigns are taken at random
until their GPU time is that of the demand.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from leitstand.twin.synthetic.columns import BATCH, CANCELLED, COLUMNS, COMPLETED, FAILED, Jobs
from leitstand.twin.synthetic.demand import HOUR_S, Demand
from leitstand.twin.synthetic.exact import (
    Chance,
    Floats,
    Ints,
    exp,
    interpolate,
    log,
    normal_quantile,
)
from leitstand.twin.synthetic.lengths import Lengths
from leitstand.twin.synthetic.parameters import LEVELS, Curve, Early, Family, Limits, Model, States
from leitstand.twin.synthetic.population import BATCHES, BURSTS, CAMPAIGNS, JOBS, TIMES, Population
from leitstand.twin.synthetic.sizes import Sizes, mean_gpu_s, sizes_of
from leitstand.twin.synthetic.times import bursts, draw, trend, weekly

SURPLUS: Final = 1.25  # campaigns drawn over those expected to be needed
SHORT: Final = 0.001  # of the demand may be missing; else more campaigns are drawn
TRIES_MAX: Final = 6  # each with twice the surplus
FILLED_MAX: Final = 20_000  # campaigns looked at to fill the rest of the demand
_LEVELS: Final = np.array(LEVELS)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the batches of a class are drawn from. `user`: the share of the variance of the scores of campaigns that one
    user's have in common."""

    people: Population
    family: Family
    lengths: Lengths
    sizes: Sizes
    user: float
    rates: Floats
    horizon_s: int


def batch_jobs(people: Population, demand: Demand, model: Model, gpu_s: float) -> Jobs:
    """Batch jobs of the class with `gpu_s` GPU-seconds, or somewhat less in a small cloud, by campaign."""
    plan = _plan(people, demand, model)
    expected = mean_gpu_s(plan.sizes, plan.lengths)
    surplus = SURPLUS
    best = Jobs(*(np.empty(0, np.int64) for _ in range(COLUMNS)))
    for attempt in range(TRIES_MAX):
        count = math.ceil(surplus * gpu_s / expected) + 8
        jobs, campaign = draw_jobs(plan, count, model, attempt)
        taken = jobs.take(_until_met(plan, jobs, campaign, gpu_s, attempt))
        if taken.gpu_s >= best.gpu_s:
            best = taken
        if best.gpu_s >= (1 - SHORT) * gpu_s:
            break
        surplus *= 2
    return best


def _plan(people: Population, demand: Demand, model: Model) -> Plan:
    each = people.each
    family = model.fitted.families[each.family]
    lengths = Lengths(family.brackets, model.assumed.longest_h * HOUR_S)
    hours = demand.hours
    rates = bursts(
        people.chance(BURSTS), hours, people.tenants, sigma=family.burst_sigma, memory_h=family.burst_hours
    )
    rates *= (weekly(hours, model.fitted.profiles[each.profile]) * trend(demand, model.assumed.months))[
        :, None
    ]
    rates *= people.activity
    largest = max(int(demand.gpus * model.assumed.largest_part), 1)
    return Plan(
        people,
        family,
        lengths,
        sizes_of(people, family, lengths, each.gangs, largest),
        model.assumed.user_likeness,
        rates,
        demand.horizon_s,
    )


# ── drawing ───────────────────────────────────────────────────────────────────────────────────────────────────────
def draw_jobs(plan: Plan, count: int, model: Model, attempt: int = 0) -> tuple[Jobs, Ints]:
    """`count` batches of jobs submitted before the end, and the campaign of each job: 0, 1, … by tenant and time."""
    people, family = plan.people, plan.family
    at_s, tenant = draw(people.chance(TIMES, attempt), plan.rates, count)
    order = np.lexsort((at_s, tenant))
    at_s, tenant = at_s[order], tenant[order]

    chance = people.chance(CAMPAIGNS, attempt)
    fresh = chance.uniforms(count) > family.likeness.goes_on
    fresh[0] = True
    fresh[1:] |= np.diff(tenant) != 0
    campaign = np.cumsum(fresh) - 1
    campaigns = int(campaign[-1]) + 1
    user = people.users(tenant[fresh], chance.uniforms(campaigns))
    size = plan.sizes.draw(tenant[fresh], chance.uniforms(campaigns))
    guess = chance.normals(campaigns)

    members = plan.lengths.members(
        people.chance(BATCHES, attempt).uniforms(count), plan.sizes.gpus[size][campaign]
    )
    of_batch = _batch_scores(plan, user, campaign, attempt)
    batch = np.repeat(np.arange(count), members)
    chance = people.chance(JOBS, attempt)
    submit_s = at_s[batch] + _offsets(chance, family.gap_s, batch, members)
    kept = np.flatnonzero(submit_s < plan.horizon_s)
    submit_s, batch = submit_s[kept], batch[kept]
    scores = _job_scores(plan, tenant[batch], of_batch[batch], chance)
    of_job = campaign[batch]
    gpus = plan.sizes.gpus[size[of_job]]
    state = _states(model.assumed.states, scores, chance)
    early, lasted_s = _early(
        people.each.early_failures, model.assumed.early, people.chance(JOBS, attempt, 3), len(batch)
    )
    duration_s = plan.lengths.durations(scores, gpus)
    duration_s[early] = np.minimum(duration_s[early], lasted_s)
    state[early] = FAILED
    return Jobs(
        tenant[batch],
        user[of_job],
        submit_s,
        duration_s,
        gpus,
        1000 * gpus,
        _limits(model.assumed.limits, of_job, duration_s, guess),
        state,
        np.full(len(batch), BATCH),
        batch,
    ), of_job


def _batch_scores(plan: Plan, user: Ints, campaign: Ints, attempt: int) -> Floats:
    """The normal score of each batch: that of its campaign, which has something of its user's, or its own."""
    people = plan.people
    of_user = people.chance(JOBS, 0, 1).normals(people.tenants * len(people.user_weights))
    chance = people.chance(BATCHES, attempt, 1)
    of_campaign = math.sqrt(plan.user) * of_user[user] + math.sqrt(1 - plan.user) * chance.normals(len(user))
    own = chance.normals(len(campaign))
    as_campaign = chance.uniforms(len(campaign)) < plan.family.likeness.as_campaign
    return np.where(as_campaign, of_campaign[campaign], own)


def _job_scores(plan: Plan, tenant: Ints, of_batch: Floats, chance: Chance) -> Floats:
    """The normal score of each job: nearly that of its batch or its own, and something of its tenant's."""
    likeness = plan.family.likeness
    of_tenant = plan.people.chance(JOBS, 0, 2).normals(plan.people.tenants)
    own = chance.normals(len(tenant))
    as_batch = chance.uniforms(len(tenant)) < likeness.as_batch
    near = math.sqrt(1 - likeness.off) * of_batch + math.sqrt(likeness.off) * own
    score = np.where(as_batch, near, own)
    return math.sqrt(likeness.tenant) * of_tenant[tenant] + math.sqrt(1 - likeness.tenant) * score


def _offsets(chance: Chance, gap_s: Curve, batch: Ints, members: Ints) -> Ints:
    """Seconds from the start of its batch to each job."""
    gaps = np.rint(interpolate(chance.uniforms(len(batch)), _LEVELS, np.array(gap_s))).astype(np.int64)
    first = np.cumsum(members) - members
    passed = np.cumsum(gaps)
    offsets: Ints = passed - passed[first][batch]
    return offsets


def _limits(limits: Limits, campaign: Ints, duration_s: Ints, guess: Floats) -> Ints:
    """The time limit of each job: one for a campaign, never below its longest job."""
    starts = np.flatnonzero(np.diff(campaign, prepend=-1))
    longest = np.maximum.reduceat(duration_s, starts)
    factor = exp(limits.sigma * guess[campaign[starts]] + log(np.array([limits.median_factor])))
    wanted = longest * np.maximum(factor, 1.0)
    rounds = np.array(limits.round_h) * HOUR_S
    stated = rounds[np.minimum(np.searchsorted(rounds, wanted), len(rounds) - 1)].astype(np.int64)
    return np.repeat(np.maximum(stated, longest), np.diff(np.append(starts, len(campaign))))


def _states(states: States, scores: Floats, chance: Chance) -> Ints:
    """How each job ends, by the tenth that its duration falls in."""
    tenth = np.searchsorted(normal_quantile(np.arange(1, 10) / 10.0), scores)
    failed, cancelled = np.array(states.failed)[tenth], np.array(states.cancelled)[tenth]
    u = chance.uniforms(len(scores))
    return np.where(u < failed, FAILED, np.where(u < failed + cancelled, CANCELLED, COMPLETED))


def _early(part: float, early: Early, chance: Chance, count: int) -> tuple[Ints, Ints]:
    """Which jobs fail as soon as they start, and after how many seconds."""
    rows = np.flatnonzero(chance.uniforms(count) < part)
    seconds = exp(log(np.array([early.median_s])) + early.sigma * chance.normals(len(rows)))
    return rows, np.maximum(np.rint(seconds), 1.0).astype(np.int64)


# ── meeting the demand ────────────────────────────────────────────────────────────────────────────────────────────
def _until_met(plan: Plan, jobs: Jobs, campaign: Ints, gpu_s: float, attempt: int) -> Ints:
    """The rows of campaigns taken at random until they make up `gpu_s`.

    The last campaigns are those that still fit, so that one large one does not overshoot.
    """
    starts = np.flatnonzero(np.diff(campaign, prepend=-1))
    ends = np.append(starts[1:], len(campaign))
    passed = np.concatenate([[0], np.cumsum(jobs.gpus * jobs.duration_s)])
    needs = passed[ends] - passed[starts]
    order = np.argsort(plan.people.chance(CAMPAIGNS, attempt, 1).uniforms(len(needs)), kind="stable")
    total = np.cumsum(needs[order])
    whole = int(np.searchsorted(total, gpu_s, side="right"))
    taken = np.zeros(len(needs), np.bool_)
    taken[order[:whole]] = True
    left = gpu_s - (int(total[whole - 1]) if whole else 0)
    for at in order[whole : whole + FILLED_MAX].tolist():
        if needs[at] <= left:
            taken[at] = True
            left -= int(needs[at])
    return np.flatnonzero(np.repeat(taken, ends - starts))
