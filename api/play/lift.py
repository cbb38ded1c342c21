"""Computes how much better a player's own model is than the shared one on the same drawings, and how certain it is. Pure."""

import math
from typing import NamedTuple

from api.ops.accuracy import Z


class Lift(NamedTuple):
    """The difference of two shares of right guesses, and its 95 per cent interval; each in -1..1."""

    lift: float
    low: float
    high: float


def paired_lift(both: int, own_alone: int, shared_alone: int) -> Lift | None:
    """Compute the lift of one model over another that guessed the same drawings; None: there are none.

    Args:
        both: How many drawings both guessed.
        own_alone: On how many of them only the first was right.
        shared_alone: On how many of them only the second was right.

    Source:
        Bonett and Price 2012, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired
        data".
    """
    if both == 0:
        return None
    first, second = (own_alone + 1) / (both + 2), (shared_alone + 1) / (both + 2)
    spread = Z * math.sqrt((first + second - (first - second) ** 2) / (both + 2))
    low, high = max(-1.0, first - second - spread), min(1.0, first - second + spread)
    return Lift(*(round(share, 5) for share in ((own_alone - shared_alone) / both, low, high)))
