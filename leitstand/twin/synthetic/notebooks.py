# SPDX-License-Identifier: Apache-2.0
"""Workspaces of people: sessions in working hours on parts of GPUs. Called by the generator."""

import math

import numpy as np

from leitstand.twin.synthetic.columns import CANCELLED, NOTEBOOK, Jobs
from leitstand.twin.synthetic.demand import HOUR_S, Demand
from leitstand.twin.synthetic.exact import choose, exp, log
from leitstand.twin.synthetic.parameters import Model
from leitstand.twin.synthetic.population import NOTEBOOKS, Population
from leitstand.twin.synthetic.times import draw, trend, week_of, weekly

SURPLUS = 1.2


def workspaces(people: Population, demand: Demand, model: Model, gpu_s: float) -> Jobs:
    """Sessions of the class with `gpu_s` GPU-seconds, a part of a GPU counted as a whole one; people end them."""
    wanted = model.assumed.notebooks
    mean_s = wanted.median_h * HOUR_S * float(exp(np.array([wanted.sigma * wanted.sigma / 2]))[0])
    rates = weekly(demand.hours, week_of(wanted.day, wanted.weekend)) * trend(demand, model.assumed.months)
    count = math.ceil(SURPLUS * gpu_s / mean_s) + 16
    chance = people.chance(NOTEBOOKS)
    submit_s, tenant = draw(chance, rates[:, None] * people.activity, count)
    median = log(np.array([wanted.median_h * HOUR_S]))
    seconds = exp(median + wanted.sigma * chance.normals(count))
    duration_s = np.rint(np.clip(seconds, 60.0, wanted.longest_h * HOUR_S)).astype(np.int64)
    milli = np.array(list(wanted.milli))[
        choose(chance.uniforms(count), np.array(list(wanted.milli.values())))
    ]
    jobs = Jobs(
        tenant,
        people.users(tenant, chance.uniforms(count)),
        submit_s,
        duration_s,
        np.ones(count, np.int64),
        milli,
        np.full(count, int(wanted.longest_h * HOUR_S)),
        np.full(count, CANCELLED),
        np.full(count, NOTEBOOK),
        np.arange(count),
    )
    return jobs.take(np.arange(int(np.searchsorted(np.cumsum(duration_s), gpu_s, side="right"))))
