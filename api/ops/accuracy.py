"""Computes the share of right guesses, and how certain it is given their number (way 3, OPERATE). Pure."""

import math
from typing import Final

from pydantic import BaseModel

Z: Final = 1.96
"""The number of standard deviations within which 95 per cent of a normal distribution lie."""


class Accuracy(BaseModel):
    """How often players said that a version was right, with the 95 per cent interval; None if nothing was counted."""

    n: int
    correct: int
    share: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, n: int, correct: int) -> "Accuracy":
        """Compute the share of ``correct`` in ``n``.

        Source:
            Wilson 1927, "Probable inference, the law of succession, and statistical inference".
        """
        if n == 0:
            return cls(n=0, correct=0, share=None, low=None, high=None)
        p = correct / n
        spread = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
        middle, scale = p + Z * Z / (2 * n), 1 + Z * Z / n
        return cls(
            n=n,
            correct=correct,
            share=round(p, 5),
            low=round(max(0.0, (middle - spread) / scale), 5),
            high=round(min(1.0, (middle + spread) / scale), 5),
        )
