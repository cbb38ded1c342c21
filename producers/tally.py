"""Counts what simulated players are sent, in bounded memory (ways 1 and 2)."""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

BLOCKS: Final = 1000
"""How many blocks of a run right guesses are counted in: fine enough for the first and last tenth."""


class Spread:
    """A distribution of positive numbers in bounded memory: counts on a logarithmic scale, accurate to 1 %."""

    _STEP: Final = math.log(1.01)
    _LEAST: Final = 0.001

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, value: float) -> None:
        """Count a value; one below 0.001 counts as 0.001."""
        self._counts[round(math.log(max(value, self._LEAST) / self._LEAST) / self._STEP)] += 1

    def update(self, other: "Spread") -> None:
        """Add all that another distribution has counted."""
        self._counts.update(other._counts)

    @property
    def n(self) -> int:
        """Return how many values were counted."""
        return self._counts.total()

    def quantile(self, share: float) -> float:
        """Return the value that this share of all values does not exceed; NaN if there are none."""
        left = math.ceil(share * self.n)
        for step in sorted(self._counts):
            left -= self._counts[step]
            if left <= 0:
                return self._LEAST * math.exp(step * self._STEP)
        return math.nan


@dataclass
class Tally:
    """Counts of all players together; only the ids for an audit grow with the number of drawings."""

    drawings: int
    """How many drawings the run will have."""
    seen: Counter[str] = field(default_factory=Counter)
    """Plain counts: drawn, saved, previews, answered, corrected, ..."""
    missed: Counter[str] = field(default_factory=Counter)
    """The number of finished drawings that each model missed, by the game's frames."""
    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    right: Counter[tuple[str, int]] = field(default_factory=Counter)
    """The number of guesses that named the digit drawn, by model and block of the run."""
    guessed: Counter[tuple[str, int]] = field(default_factory=Counter)
    models: dict[str, int] = field(default_factory=dict)
    """The place of each model in the game's order."""
    latency: dict[str, Spread] = field(default_factory=dict)
    hops: dict[tuple[str, str], Spread] = field(default_factory=dict)
    saved: set[UUID] = field(default_factory=set)
    """The finished drawings that were acknowledged."""
    receipted: dict[UUID, UUID] = field(default_factory=dict)
    """The drawing of every correction that was acknowledged."""

    def took(self, what: str, seconds: float) -> None:
        """Count a latency."""
        self.latency.setdefault(what, Spread()).add(seconds * 1000)

    def guess(self, model: str, index: int, right: bool) -> None:
        """Count a model's first answer to a finished drawing."""
        block = index * BLOCKS // self.drawings
        self.guessed[model, block] += 1
        self.right[model, block] += right
