"""Combines the guesses of several models on a drawing into one (way 1, ANSWER). Pure: values in, values out.

The blend is the weighted geometric mean of their probabilities, scaled to a sum of 1: a likely digit must be likely to all
models, and a model that is sure and wrong is outvoted. A floor keeps every probability above 0, so that no model has a veto.

Players' corrections decide the weights, by Hedge (Freund and Schapire, 1997): a model's weight falls exponentially with how
many more wrong guesses it made than the best one, so the blend soon follows its best voice, whichever that is. What a player
says of models counts by trust and within bounds (`streams.player_outcomes`), so nobody turns the blend. Until the first
corrections the voice that learns at once has the most to say, as it is the best on most people's drawings.

A `Blend` belongs to one drawing: it knows which models it still awaits and which it leaves out.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.events import BLEND, DIGITS, PERSONAL_MODEL
from streams.all_players import Means
from streams.online_model import SHARED
from streams.player_outcomes import well_heard

FLOOR: Final = 1e-3
"""The least probability of a model in a blend."""
RATE: Final = 0.5
"""How fast a weight falls: four wrong guesses more than the best model's are worth a seventh (docs/decisions/0035)."""
PRIOR: Final = MappingProxyType(dict.fromkeys((PERSONAL_MODEL, SHARED), 50.0))
"""The weight before any correction; a missing model has 1. Of these two at most one is in a blend: see `Lineup.voice`."""
GENERATION: Final = "blend5"
"""The name of this rule."""


@dataclass(frozen=True, slots=True)
class BlendWeights:
    """The weight of each model's opinion."""

    by_model: Mapping[str, float]
    version: str
    """The rule, and how many labelled drawings of the partition's players the weights are based on: ``blend5+75``."""

    def of(self, model: str) -> float:
        """Return a model's weight, which is 1 if nothing is known of the model."""
        return self.by_model.get(model, 1.0)


def blend_weights(means: Means) -> BlendWeights:
    """Compute the weights that follow from the shares of right guesses that are in force, and from how much they rest on.

    The best one is among those that are well heard. Who is not, as one that is new, or rests, or is mostly missed, loses by
    what it was heard to say, and weighs as much as the heaviest of these at most.
    """
    shares = means.shares_blend
    by = well_heard(means.counts.n)
    best = max((shares[model] for model in by), default=0.0)
    weights = dict(PRIOR)
    for model in shares.keys() - {BLEND}:
        behind = max(0.0, best - shares[model]) * means.believed(model)
        weights[model] = PRIOR.get(model, 1.0) * math.exp(-RATE * behind)
    most = max((weights[model] for model in by), default=math.inf)
    for model in shares.keys() - {BLEND, *by}:
        weights[model] = min(weights[model], most)
    return BlendWeights(MappingProxyType(weights), f"{GENERATION}+{means.counts.drawings}")


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
