# SPDX-License-Identifier: Apache-2.0
"""Fits the synthetic workload to recorded ones: `python -m leitstand.twin.synthetic.fit --traces DIR [--out FILE]`.

Every parameter is estimated on the first part of its trace only; `goodness` compares with the second. The method of
each estimate stands at its function. The result is `fitted.json`.
"""

import argparse
import math
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from leitstand.twin.synthetic import recorded
from leitstand.twin.synthetic.exact import Floats, Ints, normal_quantile
from leitstand.twin.synthetic.parameters import (
    HOURS_OF_WEEK,
    LEVELS,
    Bracket,
    Curve,
    Family,
    Fitted,
    Likeness,
    Requests,
    Source,
)
from leitstand.twin.synthetic.sizes import TILT_MAX

VERSION: Final = 2
LEAST_GPUS: Final = (1, 2, 4, 8, 16)  # sizes with a mixture of their own
COMPONENTS_MAX: Final = 5
STEPS_MAX: Final = 500  # of expectation and maximisation
SIGMA_MIN: Final = 0.05
LAGS: Final = 25  # hours over which bursts are followed
BATCHES_MIN: Final = 30  # of a tenant whose sizes say something
PAIRS: Final = 2_000_000
FAR_S: Final = 3 * 24 * 3600  # batches of one tenant this far apart have only it in common
DIGITS: Final = 5  # kept of each parameter


def fit(folder: Path) -> Fitted:
    """All parameters from the first parts of the traces in `folder`."""
    families, profiles, sources = {}, {}, {}
    for name, trace in recorded.TRACES.items():
        jobs = recorded.jobs(folder, name, 0)
        profiles[name] = profile_of(_batch_counts(jobs), jobs.first_h)
        families[name] = family(name, jobs, profiles[name])
        sources[name] = Source(trace.title, trace.url, trace.licence, *trace.said, len(jobs.submit_s))
    counts, first_h = recorded.helios_by_hour(folder, 0)
    profiles["helios"] = profile_of(counts, first_h)
    arrival_s, context, generated = recorded.azure(folder, 0)
    for name, (_, title, url, licence, said), rows in (
        ("helios", recorded.HELIOS, int(counts.sum())),
        ("helios_earth", recorded.EARTH, 15 * 24 * 60 * 16),
        ("azure", recorded.AZURE, len(context)),
    ):
        sources[name] = Source(title, url, licence, *said, rows)
    activities = {name: each.activity for name, each in families.items()}
    activities["helios_earth"] = activity_of(recorded.earth_shares(folder, 0))
    return Fitted(
        VERSION, sources, families, profiles, activities, requests_of(arrival_s, context, generated)
    )


def family(name: str, jobs: recorded.Jobs, profile: tuple[float, ...]) -> Family:
    """The parameters of batch jobs as `jobs` have them."""
    order, batch = jobs.batches()
    first = np.flatnonzero(np.diff(batch, prepend=-1))
    gpus = jobs.gpus[order][first]
    tenant = jobs.tenant[order][first]
    size, count = np.unique(gpus, return_counts=True)
    gaps = np.diff(jobs.submit_s[order])[np.diff(batch) == 0]
    sigma, memory_h = bursts_of(jobs, tenant, jobs.submit_s[order][first], profile)
    return Family(
        source=name,
        tenants=int(jobs.tenant.max()) + 1,
        batches_per_hour=_kept(len(first) / jobs.hours),
        activity=activity_of(np.bincount(tenant) / len(tenant)),
        burst_sigma=sigma,
        burst_hours=memory_h,
        sizes={at: _kept(part) for at, part in zip(size.tolist(), (count / len(gpus)).tolist(), strict=True)},
        tilt=_kept(tilt_of(tenant, gpus)),
        gap_s=curve_of(gaps),
        brackets=tuple(brackets_of(jobs, order, batch)),
        likeness=likeness_of(jobs, order, batch),
    )


def curve_of(values: Floats | Ints) -> Curve:
    """The recorded quantiles at `LEVELS`."""
    return tuple(_kept(value) for value in np.quantile(values, LEVELS).tolist())


def tilt_of(tenant: Ints, gpus: Ints) -> float:
    """The deviation, over tenants with some batches, of the power t that makes a tenant's sizes likeliest, if a size g
    has its share of all batches times g^t."""
    size, count = np.unique(gpus, return_counts=True)
    powers = np.linspace(-TILT_MAX, TILT_MAX, 601)
    weights = (count / count.sum())[None, :] * size[None, :].astype(np.float64) ** powers[:, None]
    likely = np.log(weights / weights.sum(axis=1, keepdims=True))
    found = []
    for each in np.unique(tenant).tolist():
        of_tenant = np.searchsorted(size, gpus[tenant == each])
        if len(of_tenant) >= BATCHES_MIN:
            counts = np.bincount(of_tenant, minlength=len(size))
            found.append(float(powers[np.argmax(likely @ counts)]))
    return float(np.std(found)) if len(found) > 1 else 0.0


# ── when ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def profile_of(counts: Ints, first_h: int) -> tuple[float, ...]:
    """Hour of the day × day of the week, mean 1: of hourly counts, cut off at their 99th percentile so that single
    bursts do not decide; each hour smoothed with its neighbours by 1:2:1."""
    hour = (first_h + np.arange(len(counts))) % HOURS_OF_WEEK
    calm = np.minimum(counts, np.quantile(counts, 0.99))
    of_day = np.bincount(hour % 24, calm) / np.bincount(hour % 24)
    of_day = (np.roll(of_day, 1) + 2 * of_day + np.roll(of_day, -1)) / 4
    of_week = np.bincount(hour // 24, calm) / np.bincount(hour // 24)
    week = (of_week[:, None] * of_day[None, :]).ravel()
    return tuple(_kept(value) for value in (week / week.mean()).tolist())


def _batch_counts(jobs: recorded.Jobs) -> Ints:
    order, batch = jobs.batches()
    return jobs.by_hour(jobs.submit_s[order][np.flatnonzero(np.diff(batch, prepend=-1))])


def bursts_of(
    jobs: recorded.Jobs, tenant: Ints, at_s: Floats, profile: tuple[float, ...]
) -> tuple[float, float]:
    """Deviation and memory (h) of the logarithm of a tenant's rate, by moments of its hourly counts of batches.

    With rates m·p(t)·exp(x(t) - σ²/2), the mean of n(t)·n(t+h), or of n·(n-1) at h = 0, is m²·p(t)·p(t+h) times the
    exponential of σ²·exp(-h/τ): summed over tenants and hours, the logarithm of the ratio falls from σ² exponentially;
    fitted by least squares.
    """
    shape = np.array(profile)[(jobs.first_h + np.arange(jobs.hours)) % HOURS_OF_WEEK]
    seen, plain = np.zeros(LAGS), np.zeros(LAGS)
    for each in np.unique(tenant).tolist():
        counts = jobs.by_hour(at_s[tenant == each]).astype(np.float64)
        rate = counts.sum() / shape.sum() * shape
        for lag in range(LAGS):
            later = counts - 1 if lag == 0 else counts[lag:]
            seen[lag] += float((counts[: len(later)] * later).sum())
            plain[lag] += float((rate[: len(later)] * rate[lag:]).sum())
    excess = np.log(np.maximum(seen / plain, 1.001))
    memories = np.exp(np.linspace(math.log(0.3), math.log(72), 400))
    decays = np.exp(-np.arange(LAGS)[None, :] / memories[:, None])
    variances = (decays @ excess) / (decays**2).sum(axis=1)
    errors = ((variances[:, None] * decays - excess[None, :]) ** 2).sum(axis=1)
    best = int(np.argmin(errors))
    return _kept(math.sqrt(variances[best])), _kept(memories[best])


def activity_of(shares: Floats) -> float:
    """The exponent at which shares that fall as k^-exponent are as concentrated (sum of squares) as `shares`."""
    ranks = np.arange(1, len(shares) + 1)
    exponents = np.linspace(0, 4, 4001)
    weights = ranks[None, :] ** -exponents[:, None]
    weights /= weights.sum(axis=1, keepdims=True)
    return _kept(exponents[np.argmin(np.abs((weights**2).sum(axis=1) - (shares**2).sum()))])


# ── how long ──────────────────────────────────────────────────────────────────────────────────────────────────────
def brackets_of(jobs: recorded.Jobs, order: Ints, batch: Ints) -> list[Bracket]:
    """Batches and durations for each of `LEAST_GPUS`: as many lognormals as Schwarz's criterion takes (at most 5).

    Jobs of one batch are alike, so that there are as many independent values as batches.
    """
    entry = np.searchsorted(LEAST_GPUS, jobs.gpus, side="right") - 1
    of_batch = entry[order][np.flatnonzero(np.diff(batch, prepend=-1))]
    members = np.bincount(batch)
    found = []
    for at, least in enumerate(LEAST_GPUS):
        seconds = jobs.duration_s[entry == at]
        weights, means, sigmas = mixture_of(np.log(seconds), int((of_batch == at).sum()))
        found.append(
            Bracket(
                least,
                curve_of(members[of_batch == at]),
                _to_one(weights),
                tuple(_kept(value) for value in np.exp(means).tolist()),
                tuple(_kept(value) for value in sigmas.tolist()),
                float(seconds.min()),
                float(seconds.max()),
            )
        )
    return found


def mixture_of(values: Floats, independent: int) -> tuple[Floats, Floats, Floats]:
    """Weights, means and deviations of the normals that `values` are mixed of, of which so many are `independent`."""
    best, least = None, math.inf
    for components in range(1, COMPONENTS_MAX + 1):
        found, likelihood = _expectation_maximisation(values, components)
        criterion = (3 * components - 1) * math.log(independent) - 2 * likelihood * independent / len(values)
        if criterion < least:
            best, least = found, criterion
    assert best is not None
    return best


def _expectation_maximisation(values: Floats, components: int) -> tuple[tuple[Floats, Floats, Floats], float]:
    means = np.quantile(values, (np.arange(components) + 0.5) / components)
    sigmas = np.full(components, max(float(values.std()) / components, SIGMA_MIN))
    weights = np.full(components, 1.0 / components)
    likelihood = -math.inf
    for _ in range(STEPS_MAX):
        density = np.log(weights) - np.log(sigmas) - 0.5 * ((values[:, None] - means) / sigmas) ** 2
        top = density.max(axis=1, keepdims=True)
        total = top[:, 0] + np.log(np.exp(density - top).sum(axis=1))
        part = np.exp(density - total[:, None])
        mass = part.sum(axis=0)
        weights = np.maximum(mass / len(values), 1e-6)
        means = (part * values[:, None]).sum(axis=0) / mass
        sigmas = np.maximum(np.sqrt((part * (values[:, None] - means) ** 2).sum(axis=0) / mass), SIGMA_MIN)
        before, likelihood = likelihood, float(total.sum()) - len(values) * 0.5 * math.log(2 * math.pi)
        if likelihood - before < 1e-6 * abs(likelihood):
            break
    return (weights / weights.sum(), means, sigmas), likelihood


def likeness_of(jobs: recorded.Jobs, order: Ints, batch: Ints) -> Likeness:
    """From the normal scores of durations, by rank among jobs of the size.

    `as_batch`: the mean product over pairs of one batch; both are as long as it is with the square of that chance.
    `tenant`: the correlation of the first jobs of two batches of a tenant that are days apart. `goes_on`: how often a
    tenant's successive batches have one size, beyond chance. `as_campaign`: from the correlation of the first jobs of
    such batches. `off`: from the median difference of successive jobs in a batch.
    """
    score = _scores(jobs)[order]
    count = np.bincount(batch)
    total, squares = np.bincount(batch, score), np.bincount(batch, score**2)
    many = count > 1
    in_batch = float(((total**2 - squares)[many] / (count[many] - 1)).sum() / count[many].sum())

    first = np.flatnonzero(np.diff(batch, prepend=-1))
    tenant, gpus, of_first = jobs.tenant[order][first], jobs.gpus[order][first], score[first]
    apart = _far_correlation(tenant, jobs.submit_s[order][first], of_first)
    follows = np.flatnonzero(np.diff(tenant) == 0)
    same = gpus[follows] == gpus[follows + 1]
    by_chance = _same_by_chance(tenant, gpus, follows)
    goes_on = max((float(same.mean()) - by_chance) / (1 - by_chance), 0.0)
    known = goes_on / (goes_on + (1 - goes_on) * by_chance)  # successive and of one size: of one campaign
    pairs = follows[same]
    successive = float(np.corrcoef(of_first[pairs], of_first[pairs + 1])[0, 1])

    both_as_batch = min(max((in_batch - apart) / (1 - apart), 0.0), 1.0)
    both_as_campaign = max(successive - apart, 0.0) / max(known * (1 - apart) * both_as_batch, 1e-9)
    step = np.abs(np.diff(score)[np.diff(batch) == 0])
    off = (float(np.median(step)) / (0.6745 * math.sqrt(2))) ** 2
    return Likeness(
        tenant=_kept(apart),
        as_batch=_kept(math.sqrt(both_as_batch)),
        as_campaign=_kept(math.sqrt(min(both_as_campaign, 1.0))),
        off=_kept(min(off, 1.0)),
        goes_on=_kept(goes_on),
    )


def _far_correlation(tenant: Ints, at_s: Floats, score: Floats) -> float:
    """The correlation of the scores of two batches of one tenant, days apart; at least 0."""
    chance = np.random.default_rng(1)
    one, other = chance.integers(0, len(score), (2, PAIRS))
    far = (tenant[one] == tenant[other]) & (np.abs(at_s[one] - at_s[other]) > FAR_S)
    return max(float(np.corrcoef(score[one[far]], score[other[far]])[0, 1]), 0.0)


def _scores(jobs: recorded.Jobs) -> Floats:
    """The normal score of each duration by its rank among jobs of its size; equal durations have equal scores."""
    entry = np.searchsorted(LEAST_GPUS, jobs.gpus, side="right") - 1
    score = np.zeros(len(entry))
    for at in np.unique(entry).tolist():
        rows = np.flatnonzero(entry == at)
        seconds = np.sort(jobs.duration_s[rows])
        low = np.searchsorted(seconds, jobs.duration_s[rows], side="left")
        high = np.searchsorted(seconds, jobs.duration_s[rows], side="right")
        score[rows] = normal_quantile((low + high) / (2 * len(rows)))
    return score


def _same_by_chance(tenant: Ints, gpus: Ints, follows: Ints) -> float:
    """How often successive batches of a tenant would have one size if its sizes came in random order."""
    chance = 0.0
    for each in np.unique(tenant[follows]).tolist():
        _, count = np.unique(gpus[tenant == each], return_counts=True)
        chance += float((tenant[follows] == each).mean() * ((count / count.sum()) ** 2).sum())
    return chance


# ── requests ──────────────────────────────────────────────────────────────────────────────────────────────────────
def requests_of(arrival_s: Floats, context: Floats, generated: Floats) -> Requests:
    """Tokens by quantiles; arrivals by the deviation over the mean of the time between two."""
    between = np.diff(arrival_s)
    return Requests(
        "azure",
        curve_of(context),
        curve_of(generated),
        _kept(context.mean()),
        _kept(generated.mean()),
        _kept(between.std() / between.mean()),
    )


def _kept(value: float) -> float:
    return float(f"{float(value):.{DIGITS}g}")


def _to_one(weights: Floats) -> tuple[float, ...]:
    """Rounded, and adding up to 1 still."""
    rounded = [round(weight, DIGITS) for weight in weights.tolist()]
    rounded[int(np.argmax(rounded))] += 1.0 - sum(rounded)
    return tuple(round(weight, DIGITS) for weight in rounded)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Fit the synthetic workload to recorded ones.")
    parser.add_argument("--traces", type=Path, required=True, help="folder of the traces")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("fitted.json"))
    asked = parser.parse_args()
    text = msgspec.json.format(msgspec.json.encode(fit(asked.traces)), indent=1)
    asked.out.write_bytes(text + b"\n")
    print(f"written: {asked.out}")


if __name__ == "__main__":
    main()
