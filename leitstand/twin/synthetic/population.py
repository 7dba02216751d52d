# SPDX-License-Identifier: Apache-2.0
"""Who is in the synthetic cloud: the tenants of one class, their activity, users and projects.

Called by the generator.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from leitstand.twin.synthetic.demand import Demand
from leitstand.twin.synthetic.exact import Chance, Floats, Ints, choose, powers
from leitstand.twin.synthetic.parameters import Class, Model

TENANTS_MAX: Final = 5000  # of one class

# The streams of chance: one number for each purpose, never used for another.
PEOPLE, BURSTS, TIMES, CAMPAIGNS, BATCHES, JOBS, SERVICES, NOTEBOOKS, SIZES = range(9)


@dataclass(frozen=True, slots=True)
class Population:
    """One class of one cloud. `activity`: weights of its tenants, the most active first, adding up to 1;
    `user_weights`: of the users of every tenant; `project`: of user number `tenant × users + user`."""

    name: str
    number: int
    each: Class
    seed: int
    activity: Floats
    user_weights: Floats
    project: Ints

    @property
    def tenants(self) -> int:
        """How many tenants there are."""
        return len(self.activity)

    def chance(self, *purpose: int) -> Chance:
        """The stream of random numbers of this class for one purpose."""
        return Chance(self.seed, self.number, *purpose)

    def users(self, tenant: Ints, u: Floats) -> Ints:
        """Who of each `tenant` it is, by `u` in (0, 1)."""
        return tenant * len(self.user_weights) + choose(u, self.user_weights)


def populations(demand: Demand, model: Model) -> list[Population]:
    """The classes of the cloud, each with at least one tenant."""
    return [
        _population(number, name, each, demand, model)
        for number, (name, each) in enumerate(model.assumed.classes.items())
    ]


def _population(number: int, name: str, each: Class, demand: Demand, model: Model) -> Population:
    tenants = round(each.tenants_per_1000_gpus * demand.gpus / 1000)
    tenants = min(max(tenants, 1), TENANTS_MAX)
    people = tenants * each.users_per_tenant
    u = Chance(demand.seed, number, PEOPLE).uniforms(people)
    return Population(
        name,
        number,
        each,
        demand.seed,
        by_rank(tenants, model.fitted.activities[each.activity]),
        by_rank(each.users_per_tenant, each.user_activity),
        np.floor(u * each.projects).astype(np.int64),
    )


def by_rank(count: int, exponent: float) -> Floats:
    """Weights that fall with the rank k as k^-exponent and add up to 1."""
    weights = powers(np.arange(1, count + 1, dtype=np.float64), -exponent)
    shares: Floats = weights / np.cumsum(weights)[-1]
    return shares
