"""Decides how much the labels of players of whom nothing is known yet count in a dataset. Pure.

Anybody can be as many newcomers as they like, and one who labels only what the learner is not sure of stays one for ever. So it
is their sum that is bounded: three hundred guests with five wrong labels each count no more than one with one (way 3, REBUILD).
"""

import math
from collections.abc import Iterable
from typing import Final

PART: Final = 0.01
"""What newcomers' labels count together at most, as a part of what known players' labels that are trained on count."""
LEAST: Final = 1.0
"""What they may count together in any case, in labels that are wholly trusted: as where nobody is known yet."""


def trust_of_each(known: Iterable[float], newcomers: int) -> float:
    """Return how much each of the newcomers' labels counts, beside a known player's that is wholly trusted.

    That depends on the set of labels alone: the sum is exact, whatever the order.

    >>> trust_of_each([1.0] * 3000, 1500), trust_of_each([], 4), trust_of_each([1.0] * 900, 5)
    (0.02, 0.25, 1.0)

    Args:
        known: How much each label of known players counts that is trained on, 0..1.
        newcomers: How many labels of newcomers are trained on, above 0.
    """
    return min(1.0, max(LEAST, PART * math.fsum(known)) / newcomers)
