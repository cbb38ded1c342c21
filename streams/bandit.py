"""Which model a player is shown first, picked by what they have said of all models' guesses (way 1, ANSWER). Pure.

Thompson sampling: for each model a share of right guesses is drawn from what is believed of it, and the highest draw leads.
What is believed is a Beta distribution: `STRENGTH` outcomes at the mean over all players of the partition, and the player's own
outcomes, of which a later one weighs more. Every model guesses every drawing, so each word teaches about all of them.

**A pick is a function of the log.** Take the partition of examples.v1 that the player is in, in its order, up to and with the
example in which the player's word number ``words`` came (`streams.personal_model` says what counts as one; GuessMade.lead_after
is that number). The player's outcomes then, of the drawings that are kept, and the means then in force, are the belief;
``player_id``, ``words`` and the model's name are the seed of its draw, so that who is there does not change what the others
draw. So a pick stays as it is until the player says something. Before their first word the means in force when the drawing came
take that place: they change only with each `REFRESH` words of all players. The draws are those of Python's `random.Random`.

Everything is kept by the models' names: of a model that nobody has heard of yet is believed what is believed of all at birth.
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
"""Of a player's outcome with each later one: about the last hundred count, so that a pick follows a model that changed."""
STRENGTH: Final = 8.0
"""Of what is believed of a model before the player has said anything, in outcomes."""
START: Final = 0.95
"""The mean before anybody has said anything: the same for all, since no model is anybody's favourite by birth."""
_START_STRENGTH: Final = 20.0
REFRESH: Final = 25
"""Words of all players after which the means are taken anew: rarely, so that they can be told from the log by hand."""
_HALVE_AT: Final = 400.0
"""Outcomes of a model over all players, at which its counts are halved: so the means follow one that was rebuilt."""

Counts = Mapping[str, float]
"""By model; 0 of one that is not in it."""


@dataclass(frozen=True, slots=True)
class Belief:
    """What a player's words come to, for each model; never changed in place."""

    words: int
    """The player's, so far."""
    n: Counts
    """Outcomes, discounted."""
    correct: Counts
    """Of them right, discounted."""
    means: Mapping[str, float]
    """Over all players, when the last word came; `START` of a model that is not in it."""


def outcomes(labels: NDArray[Any], said: NDArray[Any], models: Sequence[ModelName]) -> tuple[Counts, Counts]:
    """How many guesses of each model were labelled, and how many of them were right, discounted.

    Args:
        labels: Of a player's labelled drawings, shape (m,), the newest last.
        said: What each of ``models`` was shown to say of them, shape (m, models); -1: nothing.
        models: The columns.

    Returns:
        n and correct, of the models that said anything.
    """
    weights = np.power(DISCOUNT, np.arange(len(labels) - 1, -1, -1), dtype=np.float64)
    n = (weights @ (said >= 0)).tolist()
    correct = (weights @ (said == labels[:, None])).tolist()
    heard = [place for place, count in enumerate(n) if count]
    return {models[place]: n[place] for place in heard}, {models[place]: correct[place] for place in heard}


def pick(player_id: str, belief: Belief, arms: Sequence[ModelName]) -> ModelName:
    """Who of ``arms`` this player is shown first.

    Raises:
        ValueError: If there are none.
    """

    def draw(arm: ModelName) -> float:
        mean, n, correct = belief.means.get(arm, START), belief.n.get(arm, 0.0), belief.correct.get(arm, 0.0)
        random = Random(f"{player_id}/{belief.words}/{arm}")
        return random.betavariate(STRENGTH * mean + correct, STRENGTH * (1 - mean) + n - correct)

    return max(arms, key=draw)


@dataclass(frozen=True, slots=True)
class Means:
    """The share of right guesses of each model over all players of a partition; never changed in place."""

    words: int = 0
    """Of all players."""
    n: Counts = field(default_factory=dict)
    correct: Counts = field(default_factory=dict)
    in_force: Mapping[str, float] = field(default_factory=dict)
    """The means as they were at the last `REFRESH` words; `START` of a model that is not in it."""

    @property
    def in_force_since(self) -> int:
        """After how many words of all players the means in force were taken."""
        return self.words - self.words % REFRESH

    def mean(self, model: str) -> float:
        """The mean of a model that is in force."""
        return self.in_force.get(model, START)

    def counting(self, label: int, said: Mapping[str, int], times: int) -> "Means":
        """With a drawing counted so many times more.

        Args:
            label: Below 0: it has none, and nothing is counted.
            said: What each model was shown to say of it.
            times: Below 0: it is counted no longer.
        """
        if label < 0:
            return self
        n, correct = dict(self.n), dict(self.correct)
        for model, guess in said.items():
            n[model] = n.get(model, 0.0) + times
            correct[model] = correct.get(model, 0.0) + times * (guess == label)
        return replace(self, n=n, correct=correct)

    def another_word(self) -> "Means":
        """After one more word of a player, whatever it changed."""
        words = self.words + 1
        if words % REFRESH:
            return replace(self, words=words)
        n, correct, in_force = {}, {}, {}
        for model in self.n:
            counted, right = max(self.n[model], 0.0), max(self.correct[model], 0.0)
            half = 0.5 if counted >= _HALVE_AT else 1.0
            n[model], correct[model] = counted * half, min(right, counted) * half
            in_force[model] = (correct[model] + _START_STRENGTH * START) / (n[model] + _START_STRENGTH)
        return Means(words, n, correct, in_force)

    def cell(self) -> bytes:
        """As it is kept."""
        kept = {"words": self.words, "n": self.n, "correct": self.correct, "in_force": self.in_force}
        return json.dumps(kept, sort_keys=True).encode()

    @classmethod
    def of(cls, cell: bytes | None) -> "Means":
        """As it was kept; nobody has said anything where there is no cell."""
        return cls() if cell is None else cls(**json.loads(cell))
