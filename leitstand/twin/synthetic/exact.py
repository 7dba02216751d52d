# SPDX-License-Identifier: Apache-2.0
"""Chance and elementary functions with the same bits on every machine. Called by all of the generator.

NumPy's own exp, log, interp and distributions may differ in the last bit from one processor or release to the next.
Here everything is made of PCG64's integers and of operations that IEEE 754 rounds in one way only: the four of
arithmetic, square root, comparison, scaling by powers of two; sums are taken one after another, or of integers.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_LN2_HIGH: Final = 0.6931471803691238  # the upper bits of ln 2: exact when multiplied by exponents
_LN2_LOW: Final = 1.9082149292705877e-10
_EXP_TERMS: Final = 13
_LOG_TERMS: Final = 10


class Chance:
    """One stream of random numbers, by the seed and the `purpose` it serves: streams do not disturb one another."""

    def __init__(self, seed: int, *purpose: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=purpose))

    def uniforms(self, count: int) -> Floats:
        """`count` numbers in (0, 1), neither end included: 52 bits and a half."""
        raw = np.asarray(self._bits.random_raw(count), dtype=np.uint64)
        return (np.right_shift(raw, np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52

    def normals(self, count: int) -> Floats:
        """`count` numbers of mean 0 and variance 1."""
        return normal_quantile(self.uniforms(count))


def exp(x: Floats) -> Floats:
    """e^x, to 1e-15 relative; |x| ≤ 700."""
    power = np.rint(x * (1.0 / (_LN2_HIGH + _LN2_LOW)))
    rest = (x - power * _LN2_HIGH) - power * _LN2_LOW
    total = np.ones_like(rest)
    for term in range(_EXP_TERMS, 0, -1):
        total = total * rest / float(term) + 1.0
    scaled: Floats = np.ldexp(total, power.astype(np.int32))
    return scaled


def log(x: Floats) -> Floats:
    """ln x, to 1e-14; x > 0."""
    fraction, power = np.frexp(x)
    low = fraction < 0.7071067811865476
    fraction = np.where(low, fraction * 2.0, fraction)
    exponent = np.where(low, power - 1, power).astype(np.float64)
    s = (fraction - 1.0) / (fraction + 1.0)
    square = s * s
    total = np.zeros_like(s)
    for term in range(_LOG_TERMS, -1, -1):
        total = total * square + 1.0 / (2.0 * term + 1.0)
    return exponent * _LN2_HIGH + (2.0 * s * total + exponent * _LN2_LOW)


_CENTRE_UP: Final = (-3.969683028665376e01, 2.209460984245205e02, -2.759285104469687e02,
                     1.383577518672690e02, -3.066479806614716e01, 2.506628277459239e00)  # fmt: skip
_CENTRE_DOWN: Final = (-5.447609879822406e01, 1.615858368580409e02, -1.556989798598866e02,
                       6.680131188771972e01, -1.328068155288572e01, 1.0)  # fmt: skip
_TAIL_UP: Final = (-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e00,
                   -2.549732539343734e00, 4.374664141464968e00, 2.938163982698783e00)  # fmt: skip
_TAIL_DOWN: Final = (7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e00,
                     3.754408661907416e00, 1.0)  # fmt: skip
_TAIL: Final = 0.02425


def normal_quantile(u: Floats) -> Floats:
    """The z that a standard normal number is below with chance `u`, to 2e-9 relative (Acklam's rational fit)."""
    centred = u - 0.5
    square = centred * centred
    z = centred * _polynomial(_CENTRE_UP, square) / _polynomial(_CENTRE_DOWN, square)
    tail = np.flatnonzero((u < _TAIL) | (u > 1.0 - _TAIL))
    side = u[tail]
    root = np.sqrt(-2.0 * log(np.minimum(side, 1.0 - side)))
    low = _polynomial(_TAIL_UP, root) / _polynomial(_TAIL_DOWN, root)
    z[tail] = np.where(side < 0.5, low, -low)
    return z


_CHANCE: Final = (1.330274429, -1.821255978, 1.781477937, -0.356563782, 0.319381530, 0.0)


def normal_chance(z: Floats) -> Floats:
    """How likely a standard normal number is below `z`, to 1e-7 (Abramowitz and Stegun 26.2.17)."""
    size = np.abs(z)
    upper = exp(-0.5 * np.minimum(size * size, 1400.0)) * 0.3989422804014327
    upper = upper * _polynomial(_CHANCE, 1.0 / (1.0 + 0.2316419 * size))
    return np.where(z < 0.0, upper, 1.0 - upper)


def interpolate(x: Floats, xs: Floats, ys: Floats) -> Floats:
    """The piecewise linear curve through (`xs` rising, `ys`) at `x`; beyond the ends: the end."""
    right = np.clip(np.searchsorted(xs, x, side="right"), 1, len(xs) - 1)
    left = right - 1
    part = np.clip((x - xs[left]) / (xs[right] - xs[left]), 0.0, 1.0)
    return ys[left] + part * (ys[right] - ys[left])


def choose(u: Floats, weights: Floats) -> Ints:
    """The index that each `u` in (0, 1) falls on where every index is as likely as its weight."""
    edges = np.cumsum(weights)
    index: Ints = np.minimum(np.searchsorted(edges, u * edges[-1], side="right"), len(edges) - 1)
    return index


def powers(base: Floats, exponent: float) -> Floats:
    """base^exponent; base > 0."""
    return exp(exponent * log(base))


def _polynomial(coefficients: tuple[float, ...], x: Floats) -> Floats:
    """Horner's scheme, the highest power first."""
    total = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total
