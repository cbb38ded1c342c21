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
    """The embedding and one softmax, as `river` begins with."""

    def __init__(self) -> None:
        self._embedding = EmbeddingNetwork()
        with np.load(BASE / "river.npz", allow_pickle=False) as kept:
            self._weights = kept["weights"].astype("f4")

    def answer(self, drawing: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a drawing."""
        row = np.append(self._embedding.embed(rasterize(drawing["strokes"])[None])[0], np.float32(1))
        power = np.exp((scores := self._weights @ row) - scores.max())
        probabilities = [round(float(p), 6) for p in power / power.sum()]
        return {"id": drawing["drawing_id"], "player_id": drawing["player_id"], "probabilities": probabilities}


def counted(before: int, correction: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to a correction, of which its player gave ``before`` others."""
    return {"id": correction["correction_id"], "player_id": correction["player_id"], "n": before + 1}
