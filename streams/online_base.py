"""Reads the base of the online models from streams/base/, where `streams.make_base` has put it (way 2, LEARN)."""

import json
from pathlib import Path

import numpy as np

from streams.embedding import BASE
from streams.learner import Base


def load_base(folder: Path = BASE) -> Base:
    """Load the base that is in a folder, by default that of the repository.

    Raises:
        OSError: If one of its files cannot be read.
    """
    told = json.loads((folder / "base.json").read_text())
    with np.load(folder / "river.npz", allow_pickle=False) as kept:
        rehearsal = kept["rehearsal"].astype(np.float64)
        return Base(
            generation=told["generation"],
            reader=told["reader"],
            weights=kept["weights"],
            rehearsal=np.concatenate([rehearsal, np.ones((len(rehearsal), 1))], axis=1),
            labels=kept["labels"],
        )
