"""What several models say together (way 1, ANSWER). Pure: values in, values out.

The blend is the geometric mean of their probabilities, scaled to sum up to 1: a digit must be believed in by all of them, and
one who is sure and wrong is outvoted. No model says 0: a floor keeps anyone from a veto.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

FLOOR: Final = 1e-3
"""The least probability that a model has in a blend."""
VERSION: Final = "blend1"
"""Of this rule."""


def opinions(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities as they are added up: shape (n, 10), logarithms."""
    return np.asarray(np.log(np.maximum(probabilities, FLOOR)))


def blended(total: NDArray[np.float64], voices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of the blend.

    Args:
        total: Sum of the models' `opinions`, shape (n, 10).
        voices: How many they are, shape (n,), at least 1 each.

    Returns:
        Shape (n, 10), rows sum up to 1.
    """
    mean = total / voices[:, None]
    raised = np.exp(mean - mean.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))
