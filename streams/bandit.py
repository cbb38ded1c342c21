"""Picks the model that a player is shown first, by their corrections of all models' guesses (way 1, ANSWER). Pure.

It does Thompson sampling: for each model a share of right guesses is drawn from the belief in it, and the highest draw leads.
The belief is a Beta distribution: `STRENGTH` outcomes at the mean over all players of the partition, and the player's own
outcomes, of which later ones weigh more. Every model guesses every drawing, so each correction teaches about all of them.

**A pick is a function of the log.** Take the player's partition of examples.v1, in order, up to and with the example that
brought the player's correction number ``corrections`` (`streams.personal_model` says which are counted; GuessMade.lead_after is
that number). The player's outcomes at that time, on the drawings that are kept, and the means then in force, are the belief;
``player_id``, ``corrections`` and the model's name are the seed of its draw, so that other models do not change it. So a pick
stays as it is until the player corrects something. Before their first correction the means in force when the drawing came are
the belief: they change only with each `REFRESH` corrections of all players. The draws are those of Python's `random.Random`.

Everything is kept by the models' names: a new model is believed to be as good as all models were at first.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.events import ModelName

DISCOUNT: Final = 0.99
"""The factor by which each later outcome reduces an outcome's weight: about the last hundred count, so picks follow changes."""
STRENGTH: Final = 8.0
"""The weight of the belief before the player has corrected anything, in outcomes."""
START: Final = 0.95
"""The mean before anybody has corrected anything: the same for all models."""
_START_STRENGTH: Final = 20.0
REFRESH: Final = 25
"""After how many corrections of all players the means are renewed: rarely, so that they can be checked by hand."""
_HALVE_AT: Final = 400.0
"""The outcomes of a model over all players at which its counts are halved, so that the means follow a rebuilt model."""

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
    means: Mapping[str, float]
    """The means over all players when the last correction came; a missing model has `START`."""

    def kept(self) -> dict[str, Any]:
        """Return the belief as it is kept, from which ``Belief(**kept)`` makes it again."""
        return {"corrections": self.corrections, "n": self.n, "correct": self.correct, "means": self.means}


def outcomes(labels: NDArray[Any], said: NDArray[Any], models: Sequence[ModelName]) -> tuple[Counts, Counts]:
    """Count how many guesses of each model were labelled, and how many of them were right, discounted.

    Args:
        labels: The labels of a player's drawings, shape (m,), the newest last.
        said: The labels that ``models`` were shown to give them, shape (m, models); -1: none.
        models: The columns.

    Returns:
        n and correct, of the models that guessed anything.
    """
    weights = np.power(DISCOUNT, np.arange(len(labels) - 1, -1, -1), dtype=np.float64)
    n = (weights @ (said >= 0)).tolist()
    correct = (weights @ (said == labels[:, None])).tolist()
    heard = [place for place, count in enumerate(n) if count]
    return {models[place]: n[place] for place in heard}, {models[place]: correct[place] for place in heard}


def pick(player_id: str, belief: Belief, arms: Sequence[ModelName]) -> ModelName:
    """Pick which of ``arms`` this player is shown first.

    Raises:
        ValueError: If there are no arms.
    """

    def draw(arm: ModelName) -> float:
        mean, n, correct = belief.means.get(arm, START), belief.n.get(arm, 0.0), belief.correct.get(arm, 0.0)
        random = Random(f"{player_id}/{belief.corrections}/{arm}")
        return random.betavariate(STRENGTH * mean + correct, STRENGTH * (1 - mean) + n - correct)

    return max(arms, key=draw)


@dataclass(frozen=True, slots=True)
class Means:
    """The share of right guesses of each model over all players of a partition; never changed in place."""

    corrections: int = 0
    """How many corrections all players have given."""
    n: Counts = field(default_factory=dict)
    correct: Counts = field(default_factory=dict)
    in_force: Mapping[str, float] = field(default_factory=dict)
    """The means at the last `REFRESH` corrections; a missing model has `START`."""
    n_in_force: Counts = field(default_factory=dict)
    """The outcomes that the means in force are made of."""

    @property
    def in_force_since(self) -> int:
        """After how many corrections of all players the means in force were computed."""
        return self.corrections - self.corrections % REFRESH

    def mean(self, model: str) -> float:
        """Return the mean of a model that is in force."""
        return self.in_force.get(model, START)

    def counting(self, label: int, said: Mapping[str, int], times: int) -> "Means":
        """Return the means with a drawing counted so many times more.

        Args:
            label: The label; below 0: there is none, and nothing is counted.
            said: The label that each model was shown to give.
            times: How often; below 0: so many times less.
        """
        if label < 0:
            return self
        n, correct = dict(self.n), dict(self.correct)
        for model, guess in said.items():
            n[model] = n.get(model, 0.0) + times
            correct[model] = correct.get(model, 0.0) + times * (guess == label)
        return replace(self, n=n, correct=correct)

    def after_correction(self) -> "Means":
        """Return the means after one more correction of a player, whatever it changed."""
        corrections = self.corrections + 1
        if corrections % REFRESH:
            return replace(self, corrections=corrections)
        n, correct, in_force = {}, {}, {}
        for model in self.n:
            counted, right = max(self.n[model], 0.0), max(self.correct[model], 0.0)
            half = 0.5 if counted >= _HALVE_AT else 1.0
            n[model], correct[model] = counted * half, min(right, counted) * half
            in_force[model] = (correct[model] + _START_STRENGTH * START) / (n[model] + _START_STRENGTH)
        return Means(corrections, n, correct, in_force, n)

    def cell(self) -> bytes:
        """Write the means as their cell."""
        kept = {"corrections": self.corrections, "n": self.n, "correct": self.correct}
        in_force = {"in_force": self.in_force, "n_in_force": self.n_in_force}
        return json.dumps(kept | in_force, sort_keys=True).encode()

    @classmethod
    def of(cls, cell: bytes | None) -> "Means":
        """Read the means from their cell; None: nobody has corrected anything."""
        return cls() if cell is None else cls(**json.loads(cell))
