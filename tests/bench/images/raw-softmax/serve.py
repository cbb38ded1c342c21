"""Answers what a softmax regression on bare pixels says of a drawing (way 1, ANSWER)."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import container
import numpy as np
import serving
from numpy.typing import NDArray


def load() -> serving.Model:
    """Load the weights in the model's folder; return the model, ready to answer."""
    container.about("raw-softmax", "bare-pixels")
    with np.load(container.model_dir() / "weights.npz", allow_pickle=False) as arrays:
        weights, looked_at = arrays["weights"], arrays["looked_at"]

    def answer(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return probabilities, shape (n, 10), for rasters of shape (n, 784)."""
        say = images[:, looked_at].astype(np.float32) / 255 @ weights[1:] + weights[0]
        say = np.exp(say - say.max(axis=1, keepdims=True))
        shares: NDArray[np.float32] = (say / say.sum(axis=1, keepdims=True)).astype(np.float32)
        return shares

    return answer


if __name__ == "__main__":
    serving.run(load())
