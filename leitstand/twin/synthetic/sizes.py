# SPDX-License-Identifier: Apache-2.0
"""How many GPUs batches ask for: the mix of a family with large gangs, tilted for each tenant. Called by the batches.

Some tenants ask for larger jobs than others: the shares of a tenant are those of the mix times the GPUs to a power of
its own, the tilt; gangs larger than any recorded job count as the largest recorded one. The mix is adjusted so that all
tenants together, by their activity, have the shares that were fitted.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from leitstand.twin.synthetic.exact import Floats, Ints, exp, log
from leitstand.twin.synthetic.lengths import Lengths
from leitstand.twin.synthetic.parameters import Family
from leitstand.twin.synthetic.population import SIZES, Population

TILT_MAX: Final = 3.0  # the most that the fit looks for
ROUNDS: Final = 200  # of adjusting the mix


@dataclass(frozen=True, slots=True)
class Sizes:
    """GPUs of a batch; `mix`: how likely each is, over all tenants; `edges`: by tenant, how likely none above it is."""

    gpus: Ints
    mix: Floats
    edges: Floats

    def draw(self, tenant: Ints, u: Floats) -> Ints:
        """The index of the size of a batch of each `tenant`, by `u` in (0, 1)."""
        flat = (self.edges + np.arange(len(self.edges))[:, None]).ravel()
        at = np.searchsorted(flat, tenant + u, side="right") - tenant * len(self.gpus)
        index: Ints = np.clip(at, 0, len(self.gpus) - 1)
        return index


def sizes_of(
    people: Population, family: Family, lengths: Lengths, gangs: dict[int, float], largest: int
) -> Sizes:
    """The sizes of the family and the gangs, none above `largest` GPUs. `gangs`: shares of the GPU time."""
    gpus = [*family.sizes]
    weights = list(family.sizes.values())
    usual = math.fsum(
        weight * gpu_s_of_size(lengths, size) for size, weight in zip(gpus, weights, strict=True)
    )
    rest = 1.0 - math.fsum(gangs.values())
    for size, part in gangs.items():
        weight = part / rest * usual / gpu_s_of_size(lengths, size)
        if size in gpus:
            weights[gpus.index(size)] += weight
        else:
            gpus.append(size)
            weights.append(weight)
    fits = [index for index, size in enumerate(gpus) if size <= largest] or [int(np.argmin(gpus))]
    kept, mix = np.array(gpus)[fits], np.array(weights)[fits]
    mix = mix / np.cumsum(mix)[-1]
    tilts = np.clip(family.tilt * people.chance(SIZES).normals(people.tenants), -TILT_MAX, TILT_MAX)
    known = np.minimum(kept, max(family.sizes)).astype(np.float64)
    return Sizes(kept, mix, _edges(mix, exp(tilts[:, None] * log(known)), people.activity))


def gpu_s_of_size(lengths: Lengths, gpus: int) -> float:
    """The mean GPU-seconds of a batch of jobs of this size."""
    return gpus * lengths.mean_s(gpus) * lengths.mean_members(gpus)


def mean_gpu_s(sizes: Sizes, lengths: Lengths) -> float:
    """The mean GPU-seconds of a batch."""
    return math.fsum(
        part * gpu_s_of_size(lengths, size)
        for size, part in zip(sizes.gpus.tolist(), sizes.mix.tolist(), strict=True)
    )


def _edges(mix: Floats, factors: Floats, activity: Floats) -> Floats:
    """Cumulative shares by tenant: `mix` × `factors`, the mix adjusted until all together have it again."""
    base = mix
    for _ in range(ROUNDS):
        base = base * (mix / _together(base, factors, activity))
    return np.cumsum(_shares(base, factors), axis=1)


def _shares(base: Floats, factors: Floats) -> Floats:
    weights = base * factors
    shares: Floats = weights / np.cumsum(weights, axis=1)[:, -1:]
    return shares


def _together(base: Floats, factors: Floats, activity: Floats) -> Floats:
    together: Floats = np.cumsum(activity[:, None] * _shares(base, factors), axis=0)[-1]
    return together
