"""Estimates how often a model is right from the drawings that chance picked (way 3, OPERATE). Pure.

A drawing that was picked with probability p stands for 1 / p drawings (Horvitz and Thompson 1952, in the ratio form of
Hajek). The interval is a confidence sequence: with a probability of 95 % it holds the truth at every moment, so one may look
after every drawing, and stop when one likes. The truth is the mean of the probabilities with which the model was right on
each drawing so far, given all before it: a model that learns may change as it likes meanwhile. All of it is a function of
counts.

If drawing i is guessed right with probability m_i, then for each number x, the product of exp(x right_i) / (1 - m_i + m_i
exp(x)) over all i is a martingale that begins at 1. The logarithm of the denominator is concave in m_i, so with the mean m of
all m_i in place of each, the quotient is at most the martingale, and so is the mean of such quotients over several x. By
Ville's inequality it ever exceeds 1 / a with a probability of at most a. The interval has the means m for which it does not.

Source:
    Howard, Ramdas, McAuliffe, Sekhon 2021, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of
    Statistics 49: sub-Bernoulli processes and discrete mixtures of them; Robbins 1970 for mixtures; Ville 1939.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel

_Floats = NDArray[np.float64]

ALPHA: Final = 0.05
"""The probability with which an interval may ever miss the truth."""
_BETS: Final[_Floats] = 0.01 * 1.3 ** np.arange(27.0)
"""The numbers x of the mixture, for few drawings and for very many; their mean is taken."""
_HALVINGS: Final = 34
_GRID: Final = 301
_MULTIPLIERS: Final = 24
_LOOKS: Final = 5


class Stratum(NamedTuple):
    """The drawings that were picked with one probability."""

    picked: float
    """The probability."""
    n: int
    """All of them."""
    known: int
    """Those of which the digit is known."""
    right: int
    """The guesses on these that were right."""


class Estimate(BaseModel):
    """How often a model is right, by the drawings that chance picked; None while nothing is known."""

    picked: int
    """The drawings that chance picked."""
    known: int
    """Those of which the digit is known: the server had asked for it, or the player said it."""
    share: float | None
    """The estimate: the share of right guesses, each weighted by one over the probability of its pick."""
    low: float | None
    """The interval holds the truth with 95 per cent, however often one looks."""
    high: float | None
    least: float | None
    """The share if all guesses were wrong on those of which nobody knows the digit."""
    most: float | None
    """The share if all of these were right."""


def estimates(cells: Sequence[Sequence[Stratum]], alpha: float = ALPHA) -> list[Estimate]:
    """Estimate several shares at once, which takes little longer than one.

    Args:
        cells: For each the strata, one for each probability.
        alpha: The probability with which an interval may ever miss the truth.
    """
    whole = [[stratum for stratum in strata if stratum.known] for strata in cells]
    single = [strata[0] if len(strata) == 1 else Stratum(1.0, 0, 0, 0) for strata in whole]
    low, high = interval([one.right for one in single], [one.known for one in single], alpha)
    return [
        _estimate(strata, known, (float(low[place]), float(high[place])) if len(known) < 2 else _of_strata(tuple(known), alpha))
        for place, (strata, known) in enumerate(zip(cells, whole, strict=True))
    ]


def interval(right: ArrayLike, known: ArrayLike, alpha: float = ALPHA) -> tuple[_Floats, _Floats]:
    """Return the ends of the confidence sequence after ``known`` drawings of which ``right`` were guessed right.

    Args:
        right: Counts, shape (n,).
        known: Counts, shape (n,), none less than its ``right``; where it is 0, the interval is everything.
        alpha: The probability with which it may ever miss the truth.
    """
    hits, n = np.asarray(right, float), np.asarray(known, float)
    return _lower(hits, n, alpha / 2), 1 - _lower(n - hits, n, alpha / 2)


def _lower(right: _Floats, known: _Floats, alpha: float) -> _Floats:
    """Return the least mean that the counts do not refute, by halving what lies between nothing and what was counted."""
    below, above = np.zeros(len(right)), right / np.maximum(known, 1)
    for _ in range(_HALVINGS):
        middle = (below + above) / 2
        refuted = _log_mean(_log_capital(middle, right, known, _BETS)) >= -math.log(alpha)
        below, above = np.where(refuted, middle, below), np.where(refuted, above, middle)
    return below


def _log_capital(mean: _Floats, right: _Floats | float, known: _Floats | float, bets: _Floats) -> _Floats:
    """Return the logarithm of each bet's quotient if ``mean`` were the mean, shape (n, bets)."""
    hits, n = np.broadcast_to(right, mean.shape), np.broadcast_to(known, mean.shape)
    return np.asarray(hits[:, None] * bets - n[:, None] * np.log1p(mean[:, None] * np.expm1(bets)))


def _log_mean(logs: _Floats) -> _Floats:
    """Return the logarithm of the mean along the last axis."""
    most = logs.max(axis=-1, keepdims=True)
    return np.asarray(most[..., 0] + np.log(np.exp(logs - most).mean(axis=-1)))


@lru_cache(1024)
def _of_strata(strata: tuple[Stratum, ...], alpha: float) -> tuple[float, float]:
    """Return the interval of the weighted mean of several strata's means, each weighted by what was picked of it.

    What it holds is that mean: the chances of being right over the drawings that were picked, each standing for one over its
    probability. How many were picked is taken as it is. That it might have been more or fewer is no part of the interval, so of
    all drawings, picked or not, the mean can differ by more, if models are better in one stratum than in the other.

    The product of the strata's capitals is at most a martingale too. The ends are the least and the greatest weighted mean over
    all means of the strata that it does not refute: a convex problem, of which each value of the dual is a bound that holds.
    """
    weights = np.array([one.known / one.picked for one in strata])
    weights /= weights.sum()
    both = np.concatenate([_BETS, -_BETS])
    grids, capitals = [], []
    for one in strata:
        middle = (one.right + 0.5) / (one.known + 1)
        wide = 12 * math.sqrt(middle * (1 - middle) / (one.known + 1)) + 30 / (one.known + 1)
        near = np.linspace(max(0.0, middle - wide), min(1.0, middle + wide), _GRID)
        grids.append(np.unique(np.concatenate([near, np.linspace(0, 1, 101)])))
        capitals.append(_log_mean(_log_capital(grids[-1], one.right, one.known, both)))
    mirrored = [1 - grid for grid in grids]  # right and wrong change places, and bets their signs: the capital is the same
    return _least(weights, grids, capitals, alpha), 1 - _least(weights, mirrored, capitals, alpha)


def _least(weights: _Floats, grids: Sequence[_Floats], capitals: Sequence[_Floats], alpha: float) -> float:
    """Return the greatest value of the dual; it is concave in the multiplier, so it is looked for closer and closer."""
    left, right, found = -16.0, 4.0, 0.0
    for _ in range(_LOOKS):
        logs = np.linspace(left, right, _MULTIPLIERS)
        multipliers = np.exp(logs)
        dual = multipliers * math.log(alpha)
        for weight, grid, capital in zip(weights, grids, capitals, strict=True):
            dual += (weight * grid + multipliers[:, None] * capital).min(axis=1)
        best = int(dual.argmax())
        found = max(found, float(dual[best]))
        left, right = logs[max(best - 1, 0)], logs[min(best + 1, _MULTIPLIERS - 1)]
    return found


def _estimate(strata: Sequence[Stratum], known: Sequence[Stratum], ends: tuple[float, float]) -> Estimate:
    n, told = sum(one.n for one in strata), sum(one.known for one in strata)
    share = _share(known, lambda one: one.right, lambda one: one.known)
    return Estimate(
        picked=n,
        known=told,
        share=share,
        low=None if share is None else round(ends[0], 5),
        high=None if share is None else round(ends[1], 5),
        least=_share(strata, lambda one: one.right, lambda one: one.n),
        most=_share(strata, lambda one: one.right + one.n - one.known, lambda one: one.n),
    )


def _share(strata: Sequence[Stratum], part: Callable[[Stratum], int], whole: Callable[[Stratum], int]) -> float | None:
    """Return the share that a part has of the whole, each drawing standing for one over its probability; None: of nothing."""
    n = sum(whole(one) / one.picked for one in strata)
    return round(sum(part(one) / one.picked for one in strata) / n, 5) if n else None
