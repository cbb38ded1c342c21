"""Reads people's handwriting as the router does: the drawings of data/pen as embeddings, and the guesses of a new `river`."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from contracts.drawing import rasterize_all
from contracts.events import ExampleLabelled, Features
from producers.handwriting import handwriting
from streams.embedding import EmbeddingNetwork
from streams.online_base import load_base
from streams.online_model import of_base
from tests.histories import example, shown


@dataclass(frozen=True, slots=True)
class Drawings:
    """A writer's drawings, in the order of the file."""

    reader: str
    embeddings: NDArray[np.float32]
    """Shape (n, d)."""
    rasters: NDArray[np.uint8]
    """Shape (n, 784)."""
    shared: NDArray[np.float64]
    """Probabilities by the base that the online model starts from. Shape (n, 10)."""
    labels: NDArray[np.int64]

    def example(
        self, player: str, number: int, label: int | None = None, *, turn: int | None = None, **fields: object
    ) -> ExampleLabelled:
        """Return a drawing by its number as an example with river's guess, labelled with its true digit by default.

        ``turn``: when the player draws it, and may draw it again, as another drawing; None: drawings are drawn in their order.
        """
        number = int(number)
        said = self.shared[number].tolist()
        river = shown(int(np.argmax(said))).model_copy(update={"probabilities": said})
        read = Features(raster=self.rasters[number].tobytes(), embedding=self.embeddings[number].tobytes(), reader=self.reader)
        label = int(self.labels[number]) if label is None else label
        again = "" if turn is None else f" in turn {turn}"
        given = {
            "correction": f"{player} said {number}{again}",
            "at": number if turn is None else turn,
            "player_id": player,
            "features": read,
            "guesses": [river],
        }
        return example(f"{player} {number}{again}", label, **given | fields)


@cache
def _network() -> EmbeddingNetwork:
    return EmbeddingNetwork()


@cache
def drawings(writer: str) -> Drawings:
    """Return all drawings of a writer of data/pen."""
    base, network, written = load_base(), _network(), handwriting()[writer]
    strokes = [[[list(point) for point in stroke] for stroke in one.strokes] for one in written]
    rasters = rasterize_all(strokes).reshape(len(strokes), -1)
    embeddings = network.embed(rasters)
    labels = np.array([one.label for one in written])
    return Drawings(
        network.reader, embeddings, rasters, of_base(base).solved.probabilities(base.basis.rows(embeddings)), labels
    )
