# SPDX-License-Identifier: Apache-2.0
"""The fit finds again what generated jobs were made of; the shipped parameters are what it gives for the traces.

The traces are not part of the project: where they are absent, what needs them is skipped.
"""

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest

from leitstand.twin.synthetic import goodness, recorded
from leitstand.twin.synthetic.fit import activity_of, bursts_of, fit, likeness_of, mixture_of, profile_of
from leitstand.twin.synthetic.parameters import Fitted, Model, shipped
from leitstand.twin.synthetic.population import by_rank

TRACES = Path(__file__).parents[3] / "shared" / "traces"


def made(seed: int, days: int = 200) -> tuple[Model, recorded.Jobs]:
    """Jobs of a cluster with known parameters, for longer than the traces: estimates need some data."""
    fitted = shipped().fitted
    itp = msgspec.structs.replace(fitted.families["itp"], tenants=8, activity=0.6, batches_per_hour=6.0)
    model = Model(msgspec.structs.replace(fitted, families={"itp": itp}), shipped().assumed)
    span = recorded.Jobs(*(np.empty(0),) * 4, first_h=0, hours=days * 24)  # type: ignore[arg-type]
    return model, goodness.generated(model, "itp", span, seed)


def test_the_fit_finds_again_what_jobs_were_made_of() -> None:
    model, jobs = made(1)
    known = model.fitted.families["itp"]
    order, batch = jobs.batches()
    first = np.flatnonzero(np.diff(batch, prepend=-1))
    tenant, gpus = jobs.tenant[order][first], jobs.gpus[order][first]
    per_hour = len(first) / jobs.hours  # batches within a minute of one another are taken for one
    assert 0.9 * known.batches_per_hour < per_hour < known.batches_per_hour
    assert activity_of(np.bincount(tenant) / len(tenant)) == pytest.approx(known.activity, abs=0.1)
    sigma, memory_h = bursts_of(jobs, tenant, jobs.submit_s[order][first], model.fitted.profiles["itp"])
    assert sigma == pytest.approx(known.burst_sigma, rel=0.15)
    assert memory_h == pytest.approx(known.burst_hours, rel=0.35)
    for size, share in known.sizes.items():
        assert (gpus == size).mean() == pytest.approx(share, abs=0.012), size
    found = likeness_of(jobs, order, batch)
    assert found.as_batch == pytest.approx(known.likeness.as_batch, abs=0.04)
    assert found.tenant == pytest.approx(known.likeness.tenant, abs=0.08)
    assert found.goes_on == pytest.approx(known.likeness.goes_on, abs=0.1)


def test_the_fit_finds_again_how_bursts_differ() -> None:
    """Rates that do not vary have no bursts; the estimate is not one of the profile."""
    chance = np.random.default_rng(5)
    hours = 24 * 7 * 20
    profile = np.tile(1 + 0.8 * np.sin(np.arange(24) / 24 * 2 * math.pi), 7)
    counts = chance.poisson(5 * np.tile(profile, 20))
    at_s = np.repeat(np.arange(hours), counts) * 3600.0 + 1
    jobs = recorded.Jobs(
        np.zeros(len(at_s), np.int64), at_s, np.ones(len(at_s)), np.ones(len(at_s), np.int64), 0, hours
    )
    sigma, _ = bursts_of(jobs, jobs.tenant, at_s, tuple(profile.tolist()))
    assert sigma < 0.1
    found = np.array(profile_of(counts, 0)).reshape(7, 24)
    assert np.corrcoef(found.mean(axis=0), profile[:24])[0, 1] > 0.99


def test_a_mixture_is_found_again_and_no_more_parts_than_there_are() -> None:
    chance = np.random.default_rng(3)
    values = np.concatenate([chance.normal(2, 0.5, 6000), chance.normal(8, 1.0, 4000)])
    weights, means, sigmas = mixture_of(values, len(values))
    assert sorted(means.tolist()) == pytest.approx([2, 8], abs=0.1)
    assert sorted(weights.tolist()) == pytest.approx([0.4, 0.6], abs=0.02)
    assert sorted(sigmas.tolist()) == pytest.approx([0.5, 1.0], abs=0.05)


@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.3, 2.2])
def test_the_concentration_of_tenants_is_found_again(exponent: float) -> None:
    assert activity_of(by_rank(20, exponent)) == pytest.approx(exponent, abs=0.002)


def test_the_distance_of_distributions_is_that_of_the_definition() -> None:
    one, other = np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.0, 4.0, 5.0, 6.0])
    assert goodness.kolmogorov_smirnov(one, other) == pytest.approx(0.5)
    assert goodness.kolmogorov_smirnov(one, one) == 0
    weights = np.array([1.0, 1.0, 1.0, 5.0])
    assert goodness.kolmogorov_smirnov(one, other, weights, None) == pytest.approx(0.5)
    assert goodness.kolmogorov_smirnov(one, one, weights, None) == pytest.approx(3 / 4 - 3 / 8)


@pytest.mark.skipif(not TRACES.exists(), reason="the traces are absent")
def test_the_shipped_parameters_are_those_of_the_traces() -> None:
    """As far as another processor's arithmetic lets them: the fit itself uses NumPy's functions."""
    again, known = (msgspec.to_builtins(each) for each in (fit(TRACES), shipped().fitted))
    assert differences(again, known) == []


@pytest.mark.skipif(not TRACES.exists(), reason="the traces are absent")
@pytest.mark.parametrize("name", ["philly", "itp"])
def test_generated_jobs_are_about_as_far_from_the_held_out_part_as_the_part_fitted_on_is(name: str) -> None:
    first, held = (recorded.jobs(TRACES, name, part) for part in (0, 1))
    found = [
        goodness.distances(goodness.generated(shipped(), name, held, seed), held) for seed in range(1, 8)
    ]
    label = "KS of durations, by jobs"
    assert np.median([each[label] for each in found]) < goodness.distances(first, held)[label] + 0.06


def differences(one: object, other: object, where: str = "") -> list[str]:
    """Places at which two trees of parameters differ by more than rounding."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [f"{where}: {sorted(map(str, one))}"] if set(one) != set(other) else []
        return keys + [
            each
            for key in one
            if key in other
            for each in differences(one[key], other[key], f"{where}/{key}")
        ]
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        return [
            each
            for at, pair in enumerate(zip(one, other, strict=True))
            for each in differences(*pair, f"{where}/{at}")
        ]
    if isinstance(one, float) and isinstance(other, (int, float)):
        return (
            [] if math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-6) else [f"{where}: {one} is not {other}"]
        )
    return [] if one == other else [f"{where}: {one!r} is not {other!r}"]


def test_a_difference_of_parameters_is_found() -> None:
    known = msgspec.to_builtins(shipped().fitted)
    other = msgspec.to_builtins(msgspec.convert(known, Fitted))
    assert differences(known, other) == []
    other["families"]["itp"]["burst_sigma"] *= 1.01
    assert len(differences(known, other)) == 1
