"""Answers which digit a drawing is, from a network that TensorFlow trained, with LiteRT (way 1, ANSWER)."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import container
import numpy as np
import own_code
import serving
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray


class Model:
    """A trained network, ready to answer."""

    def __init__(self) -> None:
        """Load the network."""
        container.about("tensorflow", "raster-1")
        self._network = Interpreter(str(container.model_dir() / "model.tflite"), num_threads=1)
        self._input = self._network.get_input_details()[0]["index"]
        self._output = self._network.get_output_details()[0]["index"]
        self._network.allocate_tensors()

    def __call__(self, images: serving.Raster) -> NDArray[np.float32]:
        """Return probabilities, shape (n, 10)."""
        out = np.empty((len(images), 10), np.float32)
        for i in range(len(images)):
            self._network.set_tensor(self._input, images[i : i + 1])
            self._network.invoke()
            out[i] = self._network.get_tensor(self._output)[0]
        return out


def load() -> serving.Model:
    """Load the network from the model's folder."""
    return Model()


if __name__ == "__main__":
    own_code.serve(load)
