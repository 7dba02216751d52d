# SPDX-License-Identifier: Apache-2.0
"""Sizes of batches: tenants differ, and all together have the mix that was fitted."""

import msgspec
import numpy as np
import pytest

from leitstand.twin.synthetic.demand import Demand
from leitstand.twin.synthetic.exact import Chance
from leitstand.twin.synthetic.fit import tilt_of
from leitstand.twin.synthetic.lengths import Lengths
from leitstand.twin.synthetic.parameters import Model, shipped
from leitstand.twin.synthetic.population import Population, populations
from leitstand.twin.synthetic.sizes import Sizes, gpu_s_of_size, mean_gpu_s, sizes_of


def sizes(
    tilt: float | None = None, largest: int = 512, gpus: int = 10_412
) -> tuple[Population, Sizes, Lengths]:
    """Those of industry."""
    model: Model = shipped()
    people = populations(Demand(gpus=gpus, days=1), model)[0]
    family = model.fitted.families[people.each.family]
    if tilt is not None:
        family = msgspec.structs.replace(family, tilt=tilt)
    lengths = Lengths(family.brackets, 720 * 3600)
    return people, sizes_of(people, family, lengths, people.each.gangs, largest), lengths


def test_all_tenants_together_have_the_mix() -> None:
    people, found, _ = sizes()
    of_tenant = np.diff(found.edges, axis=1, prepend=0)
    assert (people.activity[:, None] * of_tenant).sum(axis=0) == pytest.approx(found.mix, rel=0.02)
    assert found.mix.sum() == pytest.approx(1)


def test_tenants_differ_by_the_tilt_and_without_one_they_do_not() -> None:
    people, found, _ = sizes(tilt=0.0)
    assert np.diff(found.edges, axis=1, prepend=0) == pytest.approx(np.tile(found.mix, (people.tenants, 1)))
    tenant = np.repeat(np.arange(people.tenants), 2000)
    u = Chance(1).uniforms(len(tenant))
    assert tilt_of(tenant, found.gpus[found.draw(tenant, u)]) < 0.1
    spread = [
        tilt_of(tenant, each.gpus[each.draw(tenant, u)]) for each in (sizes(tilt=t)[1] for t in (0.4, 0.8))
    ]
    assert spread == pytest.approx([0.4, 0.8], rel=0.3)


def test_sizes_are_drawn_as_often_as_the_tenants_shares_say() -> None:
    _, found, _ = sizes()
    drawn = found.draw(np.full(200_000, 3), Chance(2).uniforms(200_000))
    shares = np.diff(found.edges[3], prepend=0)
    assert np.bincount(drawn, minlength=len(shares)) / 200_000 == pytest.approx(shares, abs=0.004)


def test_gangs_have_the_share_of_gpu_time_that_was_asked_for() -> None:
    people, found, lengths = sizes()
    total = mean_gpu_s(found, lengths)
    for size, part in people.each.gangs.items():
        mix = float(found.mix[found.gpus.tolist().index(size)])
        assert mix * gpu_s_of_size(lengths, size) / total == pytest.approx(part, rel=0.01)


def test_gangs_beyond_the_record_are_as_much_larger_to_all_tenants() -> None:
    """Else the tenants that ask for the largest jobs would ask for nothing but the largest gangs."""
    _, found, _ = sizes()
    of_tenant = np.diff(found.edges, axis=1, prepend=0)
    small, large = (found.gpus.tolist().index(size) for size in (128, 512))
    some = of_tenant[:, small] > 1e-9
    ratio = of_tenant[some, large] / of_tenant[some, small]
    assert ratio == pytest.approx(np.full(len(ratio), ratio[0]), rel=1e-3)


def test_no_size_is_above_the_largest_and_there_is_always_one() -> None:
    assert sizes(largest=64)[1].gpus.max() == 64
    assert sizes(largest=0)[1].gpus.tolist() == [1]
    assert len(set(sizes()[1].gpus.tolist())) == len(sizes()[1].gpus)


def test_a_size_of_the_record_that_is_a_gang_too_stands_once() -> None:
    model = shipped()
    people = populations(Demand(gpus=512, days=1), model)[0]
    family = model.fitted.families["itp"]
    found = sizes_of(people, family, Lengths(family.brackets, 720 * 3600), {64: 0.5}, 512)
    assert found.gpus.tolist().count(64) == 1
    assert found.mix[found.gpus.tolist().index(64)] > family.sizes[64]
