"""Defines what every peer does to a record: two decisions, the same for all peers, and the records that they read and write.

``answer``: a drawing is read, rastered, embedded and put through one softmax. ``fold``: a player's corrections are counted,
each exactly once. The output is JSON, and names the record that it answers.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from contracts.drawing import rasterize
from streams.embedding import BASE, EmbeddingNetwork

KAFKA = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092")
STATE = Path(os.environ.get("PEER_STATE", "."))
"""The peer's own folder."""
DRAWINGS, CORRECTIONS = "drawings.v1", "corrections.v1"
ANSWERS, COUNTS = "peer-answers", "peer-counts"


class Model:
    """The embedding and one softmax: what `river` begins with, without its random projections.

    The numbers are those of streams.additive, which needs more packages than a peer's environment has.
    """

    def __init__(self) -> None:
        self._embedding = EmbeddingNetwork()
        with np.load(BASE / "river.npz", allow_pickle=False) as kept:
            triangle, labelled = kept["products"], kept["labelled"].astype(float)
        width = len(labelled)
        products = np.zeros((width, width))
        products[np.triu_indices(width)] = triangle
        products += np.triu(products, 1).T
        mine = [*range(self._embedding.size), width - 1]
        ridge = 256.0 * 8 * np.eye(len(mine))
        self._weights = 9.0 * np.linalg.solve(products[np.ix_(mine, mine)] + ridge, labelled[mine]).T
        """Shape (10, 65), the one last; they give scores that are sharp already."""

    def answer(self, drawing: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a drawing."""
        embedding = self._embedding.embed(rasterize(drawing["strokes"])[None])[0]
        row = np.append(np.clip(np.rint(32.0 * embedding), -2047, 2047), 64.0)
        power = np.exp((scores := self._weights @ row) - scores.max())
        probabilities = [round(float(p), 6) for p in power / power.sum()]
        return {"id": drawing["drawing_id"], "player_id": drawing["player_id"], "probabilities": probabilities}


def counted(before: int, correction: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to a correction, of which its player gave ``before`` others."""
    return {"id": correction["correction_id"], "player_id": correction["player_id"], "n": before + 1}
