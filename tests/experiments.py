"""Builds the events of experiments for tests."""

from typing import Any

import numpy as np

from contracts.events import ExperimentLearned, Link, ModelPromoted
from streams.additive import BASIS
from tests.histories import READER


def learned(
    name: str = "softmax-1", number: int = 0, *, link: Link = "softmax", label: int = 3, **fields: Any
) -> ExperimentLearned:
    """Return an experiment beside river after so many lessons of partition 0; it answers ``label`` to every drawing."""
    weights = np.zeros((10, BASIS.size + 1), "<f4")
    weights[label, -1] = 9.0
    given = {"offsets": [number - 1, -1, -1, -1], "numbers": [number, 0, 0, 0], "taught": number, "made_of": "m"}
    given |= {"reader": READER, "weights": weights.tobytes(), "link": link}
    return ExperimentLearned.model_validate({"model": "river", "version": f"{name}+{number}", **given, **fields})


def lets_answer(
    version: str, previous: str | None = None, kind: type[ModelPromoted] = ModelPromoted, *, own: bool = False
) -> ModelPromoted:
    """Return the event by which an experiment answers as river; or by which its ``own`` sums do."""
    return kind(model="river", version=version, title="River", endpoint="", variant="" if own else version, previous=previous)
