"""Combines the guesses of several models on a drawing into one (way 1, ANSWER). Pure: values in, values out.

The blend is the weighted geometric mean of their probabilities, scaled to a sum of 1: a likely digit must be likely to all
models, and a model that is sure and wrong is outvoted. A floor keeps every probability above 0, so that no model has a veto.

Players' corrections decide the weights: a weight is the inverse cube of the model's share of wrong guesses, so a model that
errs half as often as another counts eight times as much. Until the first corrections all weights are equal.

A `Blend` belongs to one drawing: it knows which models it still awaits and which it leaves out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.events import DIGITS
from streams.bandit import START, Means

FLOOR: Final = 1e-3
"""The least probability of a model in a blend."""
POWER: Final = 3.0
"""The power of a model's share of errors in its weight: measured on players' drawings (docs/decisions/0010)."""
GENERATION: Final = "blend2"
"""The name of this rule."""


@dataclass(frozen=True, slots=True)
class BlendWeights:
    """The weight of each model's opinion."""

    by_model: Mapping[str, float]
    version: str
    """The rule, and how many of the partition's corrections the weights are based on: ``blend2+75``."""

    def of(self, model: str) -> float:
        """Return a model's weight, which is 1 if nothing is known of the model."""
        return self.by_model.get(model, 1.0)


def blend_weights(means: Means) -> BlendWeights:
    """Compute the weights that follow from the shares of right guesses that are in force."""
    weights = {model: ((1.0 - START) / (1.0 - mean)) ** POWER for model, mean in means.in_force.items()}
    return BlendWeights(MappingProxyType(weights), f"{GENERATION}+{means.in_force_since}")


def opinions(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn probabilities into what is added up: logarithms, shape (n, 10)."""
    return np.asarray(np.log(np.maximum(probabilities, FLOOR)))


def blended(total: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn a sum of opinions into the probabilities of the blend.

    Args:
        total: Sum of the models' `opinions`, each times its weight, shape (n, 10).
        weight: Sum of those weights, shape (n,), above 0 each.

    Returns:
        Shape (n, 10), rows sum up to 1.
    """
    mean = total / weight[:, None]
    raised = np.exp(mean - mean.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


class Blend:
    """The blend of one drawing, until it is made."""

    def __init__(self, weights: BlendWeights, awaited: Iterable[str], left_out: Mapping[str, str]) -> None:
        """Await these models; ``left_out``: those that are not awaited, and why."""
        self.weights = weights
        self.awaited = set(awaited)
        self.left_out = dict(left_out)
        self._total = np.zeros(DIGITS)
        self._weight = 0.0

    @property
    def complete(self) -> bool:
        """Whether no model is awaited any more."""
        return not self.awaited

    def hear(self, model: str, opinion: NDArray[np.float64]) -> None:
        """Add a model's opinion, shape (10,), also one that was not awaited but comes in time."""
        weight = self.weights.of(model)
        self._total += weight * opinion
        self._weight += weight
        self.awaited.discard(model)
        self.left_out.pop(model, None)

    def leave_out(self, model: str, why: str) -> None:
        """Stop waiting for a model; nothing happens if it is not awaited."""
        if model in self.awaited:
            self.awaited.discard(model)
            self.left_out[model] = why

    def probabilities(self, otherwise: NDArray[np.float64]) -> NDArray[np.float64]:
        """Combine the opinions that have come, shape (10,); ``otherwise`` is the opinion if none has."""
        total, weight = (self._total, self._weight) if self._weight else (otherwise, 1.0)
        row: NDArray[np.float64] = blended(total[None], np.array([weight]))[0]
        return row
