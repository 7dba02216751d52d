# SPDX-License-Identifier: Apache-2.0
"""Bracket of jobs from normal scores: the fitted mixtures as tables. Called by the batches and the fit."""

from typing import Final

import numpy as np

from leitstand.twin.synthetic.exact import (
    Floats,
    Ints,
    exp,
    interpolate,
    log,
    normal_chance,
    normal_quantile,
)
from leitstand.twin.synthetic.parameters import LEVELS, Bracket, mean_of

SCORE_MAX: Final = 5.0  # beyond: the longest or the shortest
STEPS: Final = 200  # of the table for one unit of the score
FINE: Final = 4000  # points of the logarithm of time
_LEVELS: Final = np.array(LEVELS)


class Lengths:
    """The durations of a family as a function of normal scores, for each bracket of sizes; none above `longest_s`."""

    def __init__(self, brackets: tuple[Bracket, ...], longest_s: float) -> None:
        self._least = np.array([bracket.least_gpus for bracket in brackets])
        self._members = np.array([bracket.members for bracket in brackets])
        self._tables = np.stack([_table(bracket, longest_s) for bracket in brackets])

    def durations(self, scores: Floats, gpus: Ints) -> Ints:
        """Whole seconds, at least 1: the score's place among the durations of jobs of that size."""
        at = np.clip((scores + SCORE_MAX) * STEPS, 0.0, self._tables.shape[1] - 1.001)
        step = at.astype(np.int64)
        part = at - step
        entry = np.searchsorted(self._least, gpus, side="right") - 1
        low = self._tables[entry, step]
        seconds = exp(low + part * (self._tables[entry, step + 1] - low))
        return np.maximum(np.rint(seconds), 1.0).astype(np.int64)

    def members(self, u: Floats, gpus: Ints) -> Ints:
        """How many jobs a batch of that size has, by `u` in (0, 1)."""
        bracket = np.searchsorted(self._least, gpus, side="right") - 1
        right = np.clip(np.searchsorted(_LEVELS, u, side="right"), 1, len(_LEVELS) - 1)
        part = (u - _LEVELS[right - 1]) / (_LEVELS[right] - _LEVELS[right - 1])
        low, high = self._members[bracket, right - 1], self._members[bracket, right]
        members: Ints = np.rint(low + part * (high - low)).astype(np.int64)
        return members

    def mean_members(self, gpus: int) -> float:
        """The mean number of jobs in a batch of that size."""
        return mean_of(tuple(self._members[np.searchsorted(self._least, gpus, side="right") - 1].tolist()))

    def mean_s(self, gpus: int) -> float:
        """The mean duration of jobs of that size."""
        scores = np.linspace(-SCORE_MAX, SCORE_MAX, int(2 * SCORE_MAX * STEPS) + 1)
        chances = np.diff(normal_chance(scores))
        middle = (scores[1:] + scores[:-1]) / 2
        seconds = self.durations(middle, np.full(len(middle), gpus)).astype(np.float64)
        return float(np.cumsum(seconds * chances)[-1] / np.cumsum(chances)[-1])


def _table(bracket: Bracket, longest_s: float) -> Floats:
    """The logarithm of the duration at every step of the score."""
    longest_s = min(bracket.longest_s, longest_s)
    ends = log(np.array([max(bracket.shortest_s, 0.5), longest_s]))
    time = ends[0] + (ends[1] - ends[0]) * (np.arange(FINE) / (FINE - 1.0))
    chance = np.zeros(FINE)
    for weight, median_s, sigma in zip(bracket.weights, bracket.median_s, bracket.sigma, strict=True):
        chance = chance + weight * normal_chance((time - log(np.array([median_s]))) / sigma)
    chance = (chance - chance[0]) / (chance[-1] - chance[0])
    chance = np.maximum.accumulate(np.clip(chance, 1e-9, 1.0 - 1e-9))
    keep = np.flatnonzero(np.diff(chance, prepend=-1.0) > 0)
    scores = -SCORE_MAX + np.arange(int(2 * SCORE_MAX * STEPS) + 1) / STEPS
    return interpolate(scores, normal_quantile(chance[keep]), time[keep])
