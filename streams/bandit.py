"""Which model a player is shown first, picked by what they have said of all models' guesses (way 1, ANSWER). Pure.

Thompson sampling: for each model a share of right guesses is drawn from what is believed of it, and the highest draw leads.
What is believed is a Beta distribution: `STRENGTH` outcomes at the mean over all players of the partition, and the player's own
outcomes, of which a later one weighs more. Every model guesses every drawing, so each word teaches about all of them.

**A pick is a function of the log.** Take the partition of examples.v1 that the player is in, in its order, up to and with the
example in which the player's word number ``words`` came (`streams.personal_model` says what counts as one; GuessMade.lead_after
is that number). The player's outcomes then, of the drawings that are kept, and the means then in force, are the belief;
``player_id`` and ``words`` are the seed. So it stays as it is until the player says something. Before their first word the
means in force when the drawing came take that place: they change only with each `REFRESH` words of all players. The draws are
those of Python's `random.Random`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.events import ModelName

ARMS: Final[tuple[ModelName, ...]] = ("everyone", "xgboost", "tensorflow", "mxnet", "kmeans", "river", "yours")
"""Who can be picked. Position is the column in the cells: append only."""
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

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Belief:
    """What a player's words come to, for each of `ARMS`; never changed in place."""

    words: int
    """The player's, so far."""
    n: Floats
    """Outcomes, discounted."""
    correct: Floats
    """Of them right, discounted."""
    means: Floats
    """Over all players, when the last word came."""


def outcomes(labels: NDArray[Any], said: NDArray[Any]) -> tuple[Floats, Floats]:
    """How many guesses of each model were labelled, and how many of them were right, discounted.

    Args:
        labels: Of a player's labelled drawings, shape (m,), the newest last.
        said: What each of `ARMS` was shown to say of them, shape (m, arms); -1: nothing.

    Returns:
        n and correct, shape (arms,) each.
    """
    weights = np.power(DISCOUNT, np.arange(len(labels) - 1, -1, -1), dtype=np.float64)
    n: Floats = weights @ (said >= 0)
    correct: Floats = weights @ (said == labels[:, None])
    return n, correct


def pick(player_id: str, belief: Belief, arms: Sequence[ModelName]) -> ModelName:
    """Who of ``arms`` this player is shown first; a model that is none of `ARMS` never is.

    Every one of `ARMS` takes its draw, whoever is asked for: so who is there does not change what the others draw.

    Raises:
        ValueError: If none of `ARMS` is among them.
    """
    random = Random(f"{player_id}/{belief.words}")
    right = STRENGTH * belief.means + belief.correct
    wrong = STRENGTH * (1 - belief.means) + belief.n - belief.correct
    draws = {arm: random.betavariate(a, b) for arm, a, b in zip(ARMS, right.tolist(), wrong.tolist(), strict=True)}
    return max((arm for arm in ARMS if arm in arms), key=draws.__getitem__)


@dataclass(frozen=True, slots=True)
class Means:
    """The share of right guesses of each of `ARMS` over all players of a partition."""

    words: int
    """Of all players."""
    n: Floats
    correct: Floats
    in_force: Floats
    """The means as they were at the last `REFRESH` words."""

    @property
    def in_force_since(self) -> int:
        """After how many words of all players the means in force were taken."""
        return self.words - self.words % REFRESH

    def counting(self, labels: NDArray[Any], said: NDArray[Any], times: int) -> "Means":
        """With drawings counted so many times more; see `outcomes` for the shapes. Any label that is none is below 0."""
        there = (said >= 0) & (labels >= 0)[:, None]
        n = self.n + times * there.sum(axis=0)
        correct = self.correct + times * (there & (said == labels[:, None])).sum(axis=0)
        return Means(self.words, n, correct, self.in_force)

    def another_word(self) -> "Means":
        """After one more word of a player, whatever it changed."""
        words, n, correct = self.words + 1, np.maximum(self.n, 0.0), np.maximum(self.correct, 0.0)
        if words % REFRESH:
            return Means(words, self.n, self.correct, self.in_force)
        halved = np.where(n >= _HALVE_AT, 0.5, 1.0)
        n, correct = n * halved, np.minimum(correct, n) * halved
        in_force = (correct + _START_STRENGTH * START) / (n + _START_STRENGTH)
        return Means(words, n, correct, in_force)

    def cell(self) -> bytes:
        """As it is kept."""
        return np.concatenate([[float(self.words)], self.n, self.correct, self.in_force]).tobytes()

    @classmethod
    def of(cls, cell: bytes | None) -> "Means":
        """As it was kept; nobody has said anything where there is no cell."""
        if cell is None:
            return cls(0, np.zeros(len(ARMS)), np.zeros(len(ARMS)), np.full(len(ARMS), START))
        kept = np.frombuffer(cell)
        return cls(int(kept[0]), *kept[1:].reshape(3, len(ARMS)))
