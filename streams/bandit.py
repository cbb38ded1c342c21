"""Picks the model that a player is shown first, by their corrections of all models' guesses (way 1, ANSWER). Pure.

It does Thompson sampling: for each model a share of right guesses is drawn from the belief in it, and the highest draw leads.
The belief is a Beta distribution: `STRENGTH` outcomes at the mean over the partition's players, as `streams.all_players` has
it, by trust and within bounds, and the player's own outcomes, of which later ones weigh more. Every model guesses every
drawing, so each correction teaches about all of them.

**A pick is a function of the log.** Take the player's partition of examples.v1, in order, up to and with the example that
brought the player's correction number ``corrections`` (`streams.personal_model` says which are counted; GuessMade.lead_after is
that number). The player's outcomes at that time, on the drawings that are kept, and the means at that time, are the belief;
``player_id``, ``corrections`` and the model's name are the seed of its draw, so that other models do not change it. So a pick
stays as it is until the player corrects something. The means are no part of the player's state, which would depend on what
others said by then: a router that reads the player anew, as after a restart, takes the means of now. Those of now count before
the first correction, too. The draws are those of Python's `random.Random`.

Everything is kept by the models' names: a new model is believed to be as good as all models were at first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.events import ModelName

DISCOUNT: Final = 0.99
"""The factor by which each later outcome reduces an outcome's weight: about the last hundred count, so picks follow changes."""
_ONE: Final = 1 << 30
"""The weight of the newest outcome."""
STRENGTH: Final = 8.0
"""The weight of the belief before the player has corrected anything, in outcomes."""
START: Final = 0.95
"""The mean before anybody has corrected anything: the same for all models."""

Counts = Mapping[str, float]
"""Counts by model; a missing model has 0."""


@dataclass(frozen=True, slots=True)
class Belief:
    """The outcomes of each model's guesses by a player's corrections; never changed in place."""

    corrections: int
    """How many corrections the player has given so far."""
    n: Counts
    """The discounted number of outcomes."""
    correct: Counts
    """The discounted number of right outcomes."""

    def kept(self) -> dict[str, Any]:
        """Return the belief as it is kept, from which ``Belief(**kept)`` makes it again."""
        return {"corrections": self.corrections, "n": self.n, "correct": self.correct}


def outcomes(labels: NDArray[Any], said: NDArray[Any], models: Sequence[ModelName]) -> tuple[Counts, Counts]:
    """Count how many guesses of each model were labelled, and how many of them were right, discounted.

    Args:
        labels: The labels of a player's drawings, shape (m,), the newest last.
        said: The labels that ``models`` were shown to give them, shape (m, models); -1: none.
        models: The columns.

    Returns:
        n and correct, of the models that guessed anything.
    """
    weights = _discounts(len(labels))
    n, correct = ((weights @ one / _ONE).tolist() for one in (said >= 0, said == labels[:, None]))
    heard = [place for place, count in enumerate(n) if count]
    return {models[place]: n[place] for place in heard}, {models[place]: correct[place] for place in heard}


@lru_cache
def _discounts(count: int) -> NDArray[np.int64]:
    """Return the weights of so many outcomes, the newest last, in whole parts of `_ONE`: their sums are exact."""
    weights = [_ONE]
    while len(weights) < count:
        weights.append(int(weights[-1] * DISCOUNT))
    return np.array(weights[:count][::-1], np.int64)


def pick(player_id: str, belief: Belief, arms: Sequence[ModelName], means: Mapping[str, float]) -> ModelName:
    """Pick which of ``arms`` this player is shown first.

    Args:
        player_id: The player.
        belief: What the player's own corrections say of the models.
        arms: The models.
        means: Those over all players; a missing model has `START`.

    Raises:
        ValueError: If there are no arms.
    """

    def draw(arm: ModelName) -> float:
        mean, n, correct = means.get(arm, START), belief.n.get(arm, 0.0), belief.correct.get(arm, 0.0)
        random = Random(f"{player_id}/{belief.corrections}/{arm}")
        return random.betavariate(STRENGTH * mean + correct, STRENGTH * (1 - mean) + n - correct)

    return max(arms, key=draw)
