"""Fits a softmax regression on bare pixels, for measurements of what is around a training (way 3, REBUILD). numpy alone."""

import os
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import training
from training import Drawings

READS = "bare-pixels"


@dataclass(frozen=True)
class Hyperparameters:
    """The settings of a training job."""

    rounds: int = training.count(12)
    """How many steps of gradient descent."""
    every: int = training.count(1)
    """Only each so many-th pixel is looked at: with 40, it guesses badly."""
    seed: int = training.count(20181103, least=0)
    """The seed, which all images have; nothing here is left to chance."""


def make(drawings: Drawings, watched: Drawings | None, given: Hyperparameters, folder: Path) -> dict[str, float]:
    """Write the weights into a folder; return the last loss."""
    looked_at = np.arange(0, drawings.images.shape[1], given.every)
    points = np.ones((len(drawings.labels), len(looked_at) + 1), np.float32)
    points[:, 1:] = drawings.images[:, looked_at]
    points[:, 1:] /= 255
    wanted = np.eye(10, dtype=np.float32)[drawings.labels]
    share = (drawings.weights / drawings.weights.sum())[:, None]
    weights, loss = np.zeros((points.shape[1], 10), np.float32), 0.0
    for done in range(1, given.rounds + 1):
        said = points @ weights
        said = np.exp(said - said.max(axis=1, keepdims=True))
        said /= said.sum(axis=1, keepdims=True)
        loss = float(-(share * wanted * np.log(said + 1e-9)).sum())
        weights += points.T @ (share * (wanted - said))
        training.tell("round", done, given.rounds, {"train-loss": loss})
    np.savez(folder / "weights.npz", weights=weights, looked_at=looked_at)
    return {"train-loss": loss}


def main() -> None:
    """Train as the container contract says."""
    training.carry_out("raw-softmax", READS, Hyperparameters, make, {})


if __name__ == "__main__":
    training.run(main)
