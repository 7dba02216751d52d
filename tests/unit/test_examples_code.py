# SPDX-License-Identifier: Apache-2.0
"""The code of the examples by itself: what each claims, and that its check can fail."""

import importlib.util
import pickle
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "example_" + Path(path).parent.name.replace("-", "_"), EXAMPLES / path
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def digits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHECKPOINT", str(tmp_path / "kept" / "checkpoint.pickle"))
    return load("digits/train.py")


def test_digits_reaches_its_accuracy(
    digits: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EPOCHS", "15")
    assert digits.main() == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert float(last.split()[1]) >= 0.95


def test_digits_says_no_below_its_accuracy(digits: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPOCHS", "1")
    monkeypatch.setenv("ACCURACY", "0.99")
    assert digits.main() == 1


def test_digits_resumed_is_the_model_of_an_uninterrupted_training(
    digits: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "kept" / "checkpoint.pickle"
    monkeypatch.setenv("ACCURACY", "0")
    monkeypatch.setenv("EPOCHS", "3")
    digits.main()
    monkeypatch.setenv("EPOCHS", "6")
    digits.main()
    printed = capsys.readouterr().out
    assert "after epoch 3" in printed
    assert printed.count("epoch 1/") == 1
    _, resumed = pickle.loads(checkpoint.read_bytes())
    checkpoint.unlink()
    digits.main()
    _, whole = pickle.loads(checkpoint.read_bytes())
    assert all(np.array_equal(a, b) for a, b in zip(resumed.coefs_, whole.coefs_, strict=True))


def test_heat_is_of_second_order_and_loses_no_heat() -> None:
    heat = load("heat/simulate.py")
    end_s = 1000.0
    coarse_k, balance, _ = heat.cool(16, end_s)
    fine_k, _, _ = heat.cool(32, end_s)
    assert 3.7 < coarse_k / fine_k < 4.3
    assert balance < 1e-12


def test_heat_says_no_when_the_physics_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    heat = load("heat/simulate.py")
    monkeypatch.setenv("CELLS", "8")
    assert heat.main() == 0
    monkeypatch.setattr(heat, "DIFFUSIVITY_M2_S", heat.DIFFUSIVITY_M2_S)
    monkeypatch.setattr(heat.math, "ceil", lambda steps: int(steps) // 2)  # steps too long for the scheme
    with np.errstate(all="ignore"):
        assert heat.main() == 1


def test_the_gradients_of_two_shards_add_up_to_that_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    training = load("data-parallel/train.py")
    images, targets = training.digits()
    monkeypatch.setattr(training, "EPOCHS", 1)

    class Pair:
        """Rank 0 of two, whose peer is played in the same process."""

        rank, world = 0, 1

        def __init__(self, others: list[np.ndarray] | None = None) -> None:
            self.seen: list[np.ndarray] = []

        def all_reduce(self, values: np.ndarray) -> np.ndarray:
            self.seen.append(values)
            return values

    whole = Pair()
    training.train(images, targets, whole)
    halves = []
    for rank in (0, 1):
        half = Pair()
        half.rank, half.world = rank, 2
        training.train(images, targets, half)
        halves.append(half.seen[0])
    assert np.allclose(halves[0] + halves[1], whole.seen[0], atol=1e-12)
    assert not np.allclose(halves[0], halves[1])


def test_refused_input_names_the_reading_and_ends_with_3(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    check = load("refused-input/check.py")
    path = EXAMPLES / "refused-input" / "furnace.csv"
    assert check.main(path) == 3
    assert "reading 4 (08:03): -999.0 °C" in capsys.readouterr().err
    mended = tmp_path / "mended.csv"
    mended.write_text(path.read_text().replace("-999.0", "1186.4"))
    assert check.main(mended) == 0


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "torch" not in sys.modules, "the examples need no framework of gigabytes"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
