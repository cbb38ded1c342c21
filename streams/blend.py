"""What several models say together (way 1, ANSWER). Pure: values in, values out.

The blend is the weighted geometric mean of their probabilities, scaled to sum up to 1: a digit must be believed in by all of
them, and one who is sure and wrong is outvoted. No model says 0: a floor keeps anyone from a veto.

Whose word counts for how much is what players say of them: the voice of a model is the inverse cube of its share of wrong
guesses, so one that errs half as often as another has eight times its say. Until somebody has said anything all are equal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.bandit import ARMS, START, Means

FLOOR: Final = 1e-3
"""The least probability that a model has in a blend."""
POWER: Final = 3.0
"""Of a model's share of errors, in its voice: measured on players' drawings (docs/decisions/0010)."""
GENERATION: Final = "blend2"
"""Of this rule."""


@dataclass(frozen=True, slots=True)
class Voices:
    """How much each model's opinion counts."""

    by_model: Mapping[str, float]
    version: str
    """The rule, and how many of the partition's words (see `streams.personal_model`) the voices stand on: ``blend2+75``."""

    def of(self, model: str) -> float:
        """A model's voice; 1 is that of one of whom nothing is known."""
        return self.by_model.get(model, 1.0)


def voices(means: Means) -> Voices:
    """The voices that follow from the shares of right guesses that are in force."""
    by_model = ((1.0 - START) / (1.0 - means.in_force)) ** POWER
    return Voices(MappingProxyType(dict(zip(ARMS, by_model.tolist(), strict=True))), f"{GENERATION}+{means.in_force_since}")


def opinions(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities as they are added up: shape (n, 10), logarithms."""
    return np.asarray(np.log(np.maximum(probabilities, FLOOR)))


def blended(total: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of the blend.

    Args:
        total: Sum of the models' `opinions`, each times its voice, shape (n, 10).
        weight: Sum of those voices, shape (n,), above 0 each.

    Returns:
        Shape (n, 10), rows sum up to 1.
    """
    mean = total / weight[:, None]
    raised = np.exp(mean - mean.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))
