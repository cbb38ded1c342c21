"""Computes the features of the online models from rasters, with a frozen network (way 1, ANSWER).

The network was trained once on MNIST alone by trainers/images/embedding, and never changes: every lesson holds its embeddings.
Another network is another `reader`.
"""

from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from contracts.drawing import READER, SIDE

BASE: Final = Path(__file__).with_name("base")
"""The folder of the artefacts that models start from."""
LENGTH: Final = 4.0
"""The length of every embedding, as a vector."""


class EmbeddingNetwork:
    """The frozen network, loaded into memory. Only one thread may use it at a time."""

    def __init__(self, path: Path = BASE / "embedding.tflite") -> None:
        """Load the network; some milliseconds."""
        content = path.read_bytes()
        self.reader = f"{READER}/{sha256(content).hexdigest()[:8]}"
        """The reader of its features, for `contracts.events.Features`."""
        self._network = Interpreter(model_content=content, num_threads=1)
        self._network.allocate_tensors()
        [given], [made] = self._network.get_input_details(), self._network.get_output_details()
        self._input, self._output = given["index"], made["index"]
        self.size = int(made["shape"][1])
        """The numbers of one embedding."""

    def embed(self, rasters: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the embedding of each raster: standardised over MNIST and scaled to length 4.

        It computes one row at a time, so that a drawing's features do not depend, bit for bit, on the other rows.

        Args:
            rasters: Shape (n, 784), 0 is paper, 255 is ink.

        Returns:
            Shape (n, size).
        """
        rows = np.ascontiguousarray(rasters, np.uint8).reshape(-1, 1, SIDE * SIDE)
        out = np.empty((len(rows), self.size), np.float32)
        for i, row in enumerate(rows):
            self._network.set_tensor(self._input, row)
            self._network.invoke()
            out[i] = self._network.get_tensor(self._output)[0]
        return out
