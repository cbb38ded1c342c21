"""Answers as a player's own model, `yours`, from what is remembered of the player (way 1, ANSWER). Pure.

It is a kernel memory: each drawing that the player has labelled votes for its label, the more the more it looks like the
drawing in question. The shared model votes too, with less weight the more often it was wrong with this player. Until the first
label the answer is the shared model's own.

    p ~ r^2 p_shared + 10 sum_i exp(20 (cos(e, e_i) - 1)) onehot(y_i) + 1e-6        r = (hits + 6) / (n + 6)
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.events import DIGITS, ModelName
from streams.additive import Floats
from streams.bandit import Belief, pick
from streams.player_memory import Memory, in_order, remembered

GENERATION: Final = "own2"
SHARPNESS: Final = 20.0
"""The sharpness of the kernel: two drawings with a cosine of .9 are worth a seventh of the same drawing twice."""
VOTE: Final = 10.0
"""The vote of a remembered drawing for one just like it, where the shared model's whole vote is 1."""
FADING: Final = 0.97
"""The factor by which each later label reduces the weight of a hit or miss of the shared model."""
_TRUST: Final = 6.0
_FLOOR: Final = 1e-6


class Player:
    """The memory of a player, ready to answer; what is remembered is never changed in place."""

    __slots__ = ("_known", "_picked", "means", "memory", "version")

    def __init__(self, memory: Memory, means: Mapping[str, float] | None = None) -> None:
        """Answer from a player's memory.

        Args:
            memory: What is remembered.
            means: Those over all players when the last correction came, on which the pick stands; None: those that the first
                pick is made with.
        """
        self.memory = memory
        self.means = means
        self._known: tuple[NDArray[np.float32], NDArray[np.float32], float] | None = None
        self._picked: tuple[Sequence[ModelName], Mapping[str, float], ModelName] | None = None
        rows = memory.rows
        self.version = f"{GENERATION}+{np.count_nonzero(remembered(rows))}" if len(rows) else f"{GENERATION}+0"

    @classmethod
    def nobody(cls) -> "Player":
        """Return a player who has corrected nothing yet."""
        return cls(Memory())

    def answer(self, embeddings: NDArray[np.float32], shared: Floats) -> Floats:
        """Answer by the formula above, for embeddings of shape (n, d) and the shared model's answers to them, shape (n, 10)."""
        if not len(self.memory.rows):
            return shared
        if self._known is None:
            self._known = self._know()
        units, votes, trust = self._known
        if not len(units):
            return shared
        asked = embeddings / np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings) + _FLOOR**2)[:, None]
        alike = np.exp(SHARPNESS * (asked @ units.T - 1.0))
        p: Floats = trust * shared + alike @ votes + _FLOOR
        p /= p.sum(axis=1, keepdims=True)
        return p

    def pick(self, player_id: str, arms: Sequence[ModelName], means: Mapping[str, float]) -> tuple[ModelName, int]:
        """Return the model to show first, and after how many corrections; ``means``: those in force."""
        belief = self.memory.belief or Belief(0, {}, {})
        if self.means is None or not belief.corrections:
            self.means = means
        if self._picked is None or self._picked[0] != arms or self._picked[1] is not self.means:
            self._picked = (arms, self.means, pick(player_id, belief, arms, self.means))
        return self._picked[2], belief.corrections

    def _know(self) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
        """Return unit embeddings, votes (m, 10), in the order of drawing, and the weight of the shared model."""
        rows = self.memory.rows
        at = in_order(rows, remembered(rows))
        embeddings = rows["embedding"][at].astype(np.float32)
        units = embeddings / np.sqrt(np.einsum("md,md->m", embeddings, embeddings))[:, None]
        votes = np.zeros((len(at), DIGITS), np.float32)
        votes[np.arange(len(at)), rows["label"][at]] = VOTE
        weights = FADING ** np.arange(len(at) - 1, -1, -1)
        r = (weights @ rows["hit"][at] + _TRUST) / (weights.sum() + _TRUST)
        return units, votes, float(r * r)
