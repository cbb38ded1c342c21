"""Answers which digit a drawing is, from a network that MXNet trained (way 1, ANSWER)."""

import os
from typing import Final

# There is one thread, and none for the engine, so that a call is over when it returns.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MXNET_ENGINE_TYPE", "NaiveEngine")

import container
import network
import numpy as np
import own_code
import serving
from numpy.typing import NDArray
from predictor import BoundNetwork

SIZES: Final = (16, 4, 1)
"""The numbers of rows that the network is bound to; any other number is made up of these."""


class Model:
    """A trained network, ready to answer."""

    def __init__(self) -> None:
        """Load the network."""
        container.about("mxnet", "raster-1")
        symbol, numbers = network.symbol(), (container.model_dir() / "model.params").read_bytes()
        self._predictors = {rows: BoundNetwork(symbol, numbers, (rows, 1, network.SIDE, network.SIDE), 10) for rows in SIZES}

    def __call__(self, images: serving.Raster) -> NDArray[np.float32]:
        """Return probabilities, shape (n, 10)."""
        scaled = images * np.float32(1 / 255)
        parts, first = [], 0
        while first < len(scaled):
            rows = next(rows for rows in SIZES if rows <= len(scaled) - first)
            parts.append(self._predictors[rows].answer(scaled[first : first + rows]))
            first += rows
        return np.concatenate(parts)


def load() -> serving.Model:
    """Load the network from the model's folder."""
    return Model()


if __name__ == "__main__":
    own_code.serve(load)
