"""Decides whether a candidate may answer the players (way 3, REBUILD). Pure.

A version reaches players only if it still knows MNIST (its test images) and is no worse on players' own drawings (the held-back
ones). Both versions answer the same pictures through the same serving code, so they are compared picture by picture: pictures
that both get right, or both wrong, tell nothing; the rest must not favour the champion by more than chance.
"""

from dataclasses import dataclass
from math import comb
from typing import Final

import numpy as np
from numpy.typing import NDArray

LEAST_MNIST: Final = 0.985
"""Accuracy on MNIST below which a candidate is broken, whatever the champion's is."""
MNIST_SLACK: Final = 0.001
"""How far below the champion a candidate may always be on MNIST: ten pictures of 10,000, as much as another seed changes."""
MNIST_MOST: Final = 0.003
"""How far below the champion a candidate may be at most, whatever the test of chance says."""
LEAST_HELD_BACK: Final = 30
"""With fewer held-back drawings than this, they are not compared."""
LIKELY: Final = 0.05
"""A loss counts if chance alone gives it less often than this."""


@dataclass(frozen=True, slots=True)
class Marks:
    """The pictures that a version got right."""

    mnist: NDArray[np.bool_]
    """One for each of MNIST's 10,000 test images."""
    held_back: NDArray[np.bool_]
    """One for each held-back drawing."""

    def metrics(self) -> dict[str, float]:
        """Return counts and shares, as ModelPublished has them."""
        out = {"mnist_n": float(self.mnist.size), "mnist_correct": float(self.mnist.sum()), "mnist_accuracy": _mean(self.mnist)}
        out |= {"held_back_n": float(self.held_back.size), "held_back_correct": float(self.held_back.sum())}
        return out | ({"held_back_accuracy": _mean(self.held_back)} if self.held_back.size else {})


@dataclass(frozen=True, slots=True)
class GateDecision:
    """What the gate decided, and why."""

    passed: bool
    reason: str


def least(own: float | None) -> float:
    """Return the least accuracy on MNIST: the model's own bound, since some models are weaker by nature, or `LEAST_MNIST`."""
    return LEAST_MNIST if own is None else own


def judge(own_least: float | None, candidate: Marks, champion: Marks | None) -> GateDecision:
    """Decide whether the candidate may replace the champion, and say why.

    The first version of a model, which has no champion to be compared with, needs the least accuracy only.

    It is refused if its MNIST accuracy is under the least of its model; or if it loses to the champion by more than chance
    (one-sided sign test over the pictures that one of the two got right, `LIKELY`), on MNIST with more than `MNIST_SLACK` lost,
    or on at least `LEAST_HELD_BACK` held-back drawings; or if more than `MNIST_MOST` is lost. Of 60 MNIST pictures that two
    equal models disagree about, chance alone gives one of them 11 fewer in one case of ten: too often for ten pictures to be a
    verdict.

    Source:
        Dietterich 1998, "Approximate statistical tests for comparing supervised classification learning algorithms".
    """
    needed = least(own_least)
    mnist = _mean(candidate.mnist)
    against = f"MNIST {mnist:.2%}" + (f" against {_mean(champion.mnist):.2%}" if champion else ", the first version")
    if mnist < needed:
        return GateDecision(False, f"refused: {against}, at least {needed:.1%} is needed")
    if champion is None:
        return GateDecision(True, f"passed: {against}")
    fewer = round(_mean(champion.mnist) - mnist, 9)
    won, lost = _decided(candidate.mnist, champion.mnist)
    if fewer > MNIST_MOST or (fewer > MNIST_SLACK and by_chance(lost, won + lost) < LIKELY):
        most = MNIST_MOST if fewer > MNIST_MOST else MNIST_SLACK
        return GateDecision(
            False, f"refused: {against}, more than {most * 100:.1f} points lost ({won} pictures won, {lost} lost)"
        )
    n = candidate.held_back.size
    if n < LEAST_HELD_BACK:
        return GateDecision(True, f"passed: {against}; {n} held-back drawings are too few to judge by")
    won, lost = _decided(candidate.held_back, champion.held_back)
    against += (
        f"; {n} held-back drawings {_mean(candidate.held_back):.1%} against {_mean(champion.held_back):.1%}"
        f" ({won} won, {lost} lost)"
    )
    if lost > won and by_chance(lost, won + lost) < LIKELY:
        return GateDecision(False, f"refused: {against}: worse by more than chance")
    return GateDecision(True, f"passed: {against}")


def _decided(candidate: NDArray[np.bool_], champion: NDArray[np.bool_]) -> tuple[int, int]:
    """Count the pictures that only the candidate got right, and those that only the champion did."""
    return int((candidate & ~champion).sum()), int((champion & ~candidate).sum())


def by_chance(at_least: int, tosses: int) -> float:
    """Return how likely a fair coin falls on one side at least that often.

    >>> by_chance(5, 5)
    0.03125
    """
    ways: int = sum(comb(tosses, k) for k in range(at_least, tosses + 1))
    return ways / (1 << tosses)


def _mean(hits: NDArray[np.bool_]) -> float:
    return float(hits.mean()) if hits.size else 0.0
