"""Says what lessons do to an online model's answers: with them, without them, and without those of one player. Pure.

The model is a sum, so a model without somebody's lessons is made by subtraction, exactly.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.events import DIGITS
from streams.additive import Floats, Solved, Sums
from streams.online_base import Base
from streams.online_model import OnlineModel, newcomers_share
from streams.refold.lesson_history import Change, VersionPair

_AT_ONCE: Final = 4096
"""Of how many lessons the features are made at a time: each takes 2.5 KB."""


@dataclass(frozen=True, slots=True)
class DigitRows:
    """Drawings with their right answers."""

    rows: Floats
    """Shape (n, width)."""
    labels: NDArray[np.integer]
    players: NDArray[np.str_] | None = None
    """Who made each; None: nobody of the game."""

    @classmethod
    def of_players(cls, base: Base, changes: Iterable[Change]) -> "DigitRows":
        """Return the drawings of lessons as questions."""
        several = list(changes)
        embeddings = np.array([np.frombuffer(one.embedding, "<f4") for one in several]).reshape(-1, base.basis.size)
        labels, players = [one.label for one in several], [one.player_id for one in several]
        return cls(base.basis.rows(embeddings), np.array(labels, int), np.array(players, str))

    def of_others(self, player_id: str) -> "DigitRows":
        """Return the questions that this player has not made."""
        if self.players is None:
            return self
        others = self.players != player_id
        return DigitRows(self.rows[others], self.labels[others], self.players[others])

    def marks(self, model: Solved) -> "DigitMarks":
        """Ask a model."""
        answers = model.probabilities(self.rows)
        right = answers.argmax(axis=1) == self.labels
        p = answers[np.arange(len(answers)), self.labels]
        right_by_digit, p_by_digit = (np.bincount(self.labels, one.astype(float), DIGITS) for one in (right, p))
        return DigitMarks(np.bincount(self.labels, minlength=DIGITS), right_by_digit.astype(float), p_by_digit.astype(float))


@dataclass(frozen=True, slots=True)
class DigitMarks:
    """How a model answered, by digit: shape (10,) each."""

    n: NDArray[np.integer]
    right: Floats
    p: Floats
    """The sum of the probabilities that it gave to the right digits."""

    @property
    def accuracy(self) -> float:
        """The share of right answers; 0 if nothing was asked."""
        return float(self.right.sum() / max(self.n.sum(), 1))

    def points_over(self, other: "DigitMarks") -> Floats:
        """Return by how many points the mean probability of the right digit is higher than another's, by digit."""
        points: Floats = 100 * (self.p - other.p) / np.maximum(self.n, 1)
        return points


@dataclass(frozen=True, slots=True)
class PartedSums:
    """The sums of a model, those of newcomers apart."""

    own: Sums
    newcomers: Sums
    count: int
    """How many lessons of newcomers are in force."""

    @classmethod
    def of(cls, model: OnlineModel) -> "PartedSums":
        """Return those of a model."""
        return cls(model.sums(), model.sums(newcomers=True), model.known.newcomers)

    def with_changes(self, base: Base, changes: Iterable[Change], sign: int) -> "PartedSums":
        """Return the sums with these lessons too, or without them."""
        both, count = [self.own, self.newcomers], self.count
        apart: dict[bool, list[Change]] = defaultdict(list)
        for change in changes:
            apart[change.newcomer].append(change)
        for newcomer, all_of_them in apart.items():
            for begin in range(0, len(all_of_them), _AT_ONCE):
                several = all_of_them[begin : begin + _AT_ONCE]
                rows = base.basis.rows(np.stack([np.frombuffer(one.embedding, "<f4") for one in several]))
                eighths = np.array([sign * one.eighths for one in several])
                both[newcomer] = both[newcomer].plus(rows, np.array([one.label for one in several]), eighths)
            count += sign * len(all_of_them) * newcomer
        return PartedSums(both[0], both[1], count)

    def solved(self) -> Solved:
        """Return what the sums answer."""
        if not self.count:
            return Solved(self.own)
        return Solved(self.own.merged(self.newcomers.share(newcomers_share(self.count))))


@dataclass(frozen=True, slots=True)
class Effect:
    """What one player's part of a difference does."""

    player_id: str
    came: NDArray[np.integer]
    """How many of their lessons are in the second version only, by digit."""
    went: NDArray[np.integer]
    points: Mapping[str, Floats]
    """By the name of the questions: by how many points the mean probability of the right digit is higher with it, by digit."""
    hits: Mapping[str, int]
    """By how many more of the questions are answered rightly with it."""

    @property
    def size(self) -> float:
        """The largest effect on any digit, in points."""
        return max((float(np.abs(points).max()) for points in self.points.values()), default=0.0)


def both_solved(base: Base, pair: VersionPair) -> tuple[PartedSums, PartedSums]:
    """Return the sums of both versions."""
    first = PartedSums.of(pair.first)
    return first, first.with_changes(base, pair.came, 1).with_changes(base, pair.went, -1)


def effects(base: Base, second: PartedSums, pair: VersionPair, asked: Mapping[str, DigitRows], most: int) -> list[Effect]:
    """Return each player's effect on the second version, the largest first; of those with most changes, so many at most."""
    mine: dict[str, tuple[list[Change], list[Change]]] = defaultdict(lambda: ([], []))
    for number, several in enumerate((pair.came, pair.went)):
        for change in several:
            mine[change.player_id][number].append(change)
    with_all, out = second.solved(), []
    for player, (came, went) in sorted(mine.items(), key=lambda one: -sum(map(len, one[1])))[:most]:
        without = second.with_changes(base, came, -1).with_changes(base, went, 1).solved()
        points, hits = {}, {}
        for name, questions in asked.items():
            others = questions.of_others(player)
            here, there = others.marks(with_all), others.marks(without)
            points[name], hits[name] = here.points_over(there), int(here.right.sum() - there.right.sum())
        out.append(Effect(player, _by_digit(came), _by_digit(went), points, hits))
    return sorted(out, key=lambda effect: -effect.size)


def _by_digit(changes: Sequence[Change]) -> NDArray[np.integer]:
    return np.bincount([change.label for change in changes], minlength=DIGITS)
