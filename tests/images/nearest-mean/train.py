"""Makes the mean of each digit's drawings, a model for the test of one more model (way 3, REBUILD). numpy alone."""

import os
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import features
import numpy as np
import training
from training import BadInput, Drawings


@dataclass(frozen=True)
class Hyperparameters:
    """The settings of a training job."""

    softness: float = training.share(0.05)
    """The squared distance over which a mean's weight falls by e; 1 is the mean squared distance of drawings to their mean."""
    seed: int = training.count(20181103, least=0)
    """The seed, which all images have; nothing here is left to chance."""


def make(drawings: Drawings, watched: Drawings | None, given: Hyperparameters, folder: Path) -> dict[str, float]:
    """Write the means into a folder; return no metrics, since nothing is fitted step by step."""
    points = features.features(drawings.images)
    of_digit = drawings.labels[:, None] == np.arange(10)
    weights = of_digit * drawings.weights[:, None]
    if not weights.sum(axis=0).all():
        raise BadInput("a digit has no drawing: it has no mean")
    means = (weights / weights.sum(axis=0)).T @ points
    points -= means[drawings.labels]
    spread = float(np.einsum("nd,nd->", points, points) / len(points))
    np.savez(folder / "means.npz", means=means, softness=np.float32(given.softness * spread))
    training.tell("round", 1, 1, {"train-distance": spread})
    return {"train-distance": spread}


def main() -> None:
    """Train as the container contract says."""
    training.carry_out("nearest-mean", features.NAME, Hyperparameters, make, {})


if __name__ == "__main__":
    training.run(main)
