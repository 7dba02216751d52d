# SPDX-License-Identifier: Apache-2.0
"""The functions that the generator is made of: right, and with the same bits on every processor."""

import ast
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from leitstand.twin.synthetic import exact
from leitstand.twin.synthetic.exact import (
    Chance,
    choose,
    exp,
    interpolate,
    log,
    normal_chance,
    normal_quantile,
)


def test_exp_and_log_are_those_of_the_library() -> None:
    x = np.linspace(-650, 650, 20_001)
    assert np.abs(exp(x) / np.array([math.exp(each) for each in x]) - 1).max() < 1e-15
    y = np.concatenate([np.linspace(0.5, 2, 10_001), exp(x)])
    assert np.abs(log(y) - np.array([math.log(each) for each in y])).max() < 1e-13


def test_the_normal_distribution_is_that_of_the_library() -> None:
    z = np.linspace(-5, 5, 2001)
    chance = np.array([0.5 * math.erfc(-each / math.sqrt(2)) for each in z])
    assert np.abs(normal_chance(z) - chance).max() < 1e-7
    assert np.abs(normal_quantile(chance) - z).max() < 1e-6


def test_uniform_numbers_stay_between_their_ends_and_streams_differ() -> None:
    u = Chance(3, 1).uniforms(200_000)
    assert 0 < u.min() < 1e-4
    assert 1 - 1e-4 < u.max() < 1
    assert abs(u.mean() - 0.5) < 0.003
    assert not np.array_equal(u[:10], Chance(3, 2).uniforms(10))
    assert not np.array_equal(u[:10], Chance(4, 1).uniforms(10))
    assert np.array_equal(u[:10], Chance(3, 1).uniforms(10))


def test_normal_numbers_have_mean_0_and_variance_1() -> None:
    z = Chance(1).normals(200_000)
    assert abs(z.mean()) < 0.01
    assert abs(z.var() - 1) < 0.02


def test_a_curve_goes_through_its_points_and_stops_at_its_ends() -> None:
    xs, ys = np.array([0.0, 1.0, 3.0]), np.array([10.0, 20.0, 0.0])
    assert interpolate(np.array([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 9.0]), xs, ys).tolist() == [
        10.0,
        10.0,
        15.0,
        20.0,
        10.0,
        0.0,
        0.0,
    ]


def test_an_index_is_chosen_as_often_as_its_weight_says_and_never_without_one() -> None:
    chosen = choose(Chance(1).uniforms(100_000), np.array([2.0, 0.0, 1.0, 5.0]))
    assert np.bincount(chosen, minlength=4) / 100_000 == pytest.approx([0.25, 0, 0.125, 0.625], abs=0.005)
    assert not (chosen == 1).any()


GENERATOR = ("batches", "columns", "demand", "exact", "generate", "lengths", "notebooks", "parameters", "population",
             "services", "times")  # fmt: skip
INEXACT = {
    *(
        "exp",
        "expm1",
        "exp2",
        "log",
        "log1p",
        "log2",
        "log10",
        "pow",
        "power",
        "float_power",
        "interp",
        "sin",
        "cos",
    ),
    *(
        "tanh",
        "hypot",
        "cbrt",
        "dot",
        "matmul",
        "einsum",
        "mean",
        "std",
        "var",
        "average",
        "convolve",
        "default_rng",
    ),
}


def used(source: str) -> set[str]:
    """Functions of NumPy and math that a module uses, and `**` of what is no constant as `pow`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in ("np", "math")
        ):
            found.add(node.attr)
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Pow, ast.MatMult)):
            simple = all(isinstance(each, (ast.Constant, ast.UnaryOp)) for each in (node.left, node.right))
            found |= set() if simple else {"pow"}
    return found


@pytest.mark.parametrize("name", GENERATOR)
def test_nothing_that_may_differ_in_the_last_bit_is_used(name: str) -> None:
    source = Path(exact.__file__).with_name(f"{name}.py").read_text()
    assert used(source) & INEXACT == set()


def test_what_may_differ_is_found() -> None:
    assert used("y = np.exp(x) + x**2 + np.rint(x) + 2.0**-52 + math.log(x)") == {"exp", "pow", "rint", "log"}


PROGRAM = """
from leitstand.twin.synthetic.demand import Demand
from leitstand.twin.synthetic.generate import generate
print(generate(Demand(gpus=128, days=7, load=0.9, seed=7, growth=0.5)).digest)
"""


def digest(**environment: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.strip()


def test_a_processor_without_vector_instructions_gives_the_same_jobs() -> None:
    """NumPy's fast loops are switched off: what differs between machines there must not differ here."""
    from numpy._core._multiarray_umath import __cpu_dispatch__ as fast

    assert digest() == digest(NPY_DISABLE_CPU_FEATURES=" ".join(fast))
