"""Answers which digit's mean a drawing is nearest to (way 1, ANSWER)."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import container
import features
import numpy as np
import serving
from numpy.typing import NDArray


def load() -> serving.Model:
    """Load the means in the model's folder; return the model, ready to answer."""
    container.about("nearest-mean", features.NAME)
    with np.load(container.model_dir() / "means.npz", allow_pickle=False) as arrays:
        means, softness = arrays["means"], float(arrays["softness"])

    def answer(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return probabilities, shape (n, 10), for rasters of shape (n, 784)."""
        points = features.features(images)
        say = (2 * points @ means.T - (means**2).sum(axis=1)) / softness
        say = np.exp(say - say.max(axis=1, keepdims=True))
        shares: NDArray[np.float32] = (say / say.sum(axis=1, keepdims=True)).astype(np.float32)
        return shares

    return answer


if __name__ == "__main__":
    serving.run(load())
