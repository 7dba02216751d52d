# SPDX-License-Identifier: Apache-2.0
"""Trains a classifier of handwritten digits in epochs, keeps a checkpoint, goes on from it. Run by job.yaml.

Data: the 1,797 images of 8 x 8 pixels that scikit-learn brings along (UCI, Optical Recognition of Handwritten
Digits). Environment: EPOCHS (default 30), CHECKPOINT (a file; default checkpoint.pickle in the working directory),
ACCURACY (the share of unseen digits that must be right, default 0.95). Exit code 0 if it is reached, else 1.
"""

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier


def main() -> int:
    epochs = int(os.environ.get("EPOCHS", "30"))
    checkpoint = Path(os.environ.get("CHECKPOINT", "checkpoint.pickle"))
    wanted = float(os.environ.get("ACCURACY", "0.95"))

    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        images / 16.0, labels, test_size=0.25, random_state=0, stratify=labels
    )
    print(f"{len(train_x)} digits to learn from, {len(test_x)} to be tested on", flush=True)

    done, model = restore(checkpoint)
    for epoch in range(done, epochs):
        model.partial_fit(train_x, train_y, classes=np.arange(10))
        save(checkpoint, epoch + 1, model)
        accuracy = model.score(test_x, test_y)
        print(f"epoch {epoch + 1}/{epochs} loss {model.loss_:.4f} accuracy {accuracy:.4f}", flush=True)

    accuracy = model.score(test_x, test_y)
    print(f"accuracy {accuracy:.4f} after {epochs} epochs (wanted: {wanted})")
    return 0 if accuracy >= wanted else 1


def restore(checkpoint: Path) -> tuple[int, Any]:
    """Epochs done and the model, from the checkpoint if there is one."""
    if not checkpoint.exists():
        return 0, MLPClassifier(
            hidden_layer_sizes=(64,), learning_rate_init=0.003, batch_size=32, random_state=0
        )
    done, model = pickle.loads(
        checkpoint.read_bytes()
    )  # our own file: never unpickle what others may have written
    print(f"going on from {checkpoint} after epoch {done}", flush=True)
    return done, model


def save(checkpoint: Path, done: int, model: Any) -> None:
    """A new file takes the place of the old one at once: a kill at any moment leaves a whole checkpoint."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    fresh = checkpoint.with_name(checkpoint.name + ".new")
    with fresh.open("wb") as file:
        pickle.dump((done, model), file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(checkpoint)


if __name__ == "__main__":
    sys.exit(main())
