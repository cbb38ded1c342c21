"""Decides how much each lesson of a player counts in the shared model, by what the player has taught (way 2, LEARN). Pure.

The judge is a frozen model that learns from nobody; it has seen MNIST and the hands of thirty people. Where it is sure of a
drawing, the player's label agrees with it or not, and that is evidence:

- Until `FIRST` of a player's drawings are evidence, the player is a newcomer, and all lessons of all newcomers together count
  as one (`streams.online_model`).
- Then a lesson counts by how often the player agrees, over all and over the latest.
- A lesson that disagrees counts only if the player knows the digit that the judge sees: somebody whose ones look like sevens
  calls real sevens sevens; somebody who swaps the two does not. And a label that is right of nothing counts nothing.

So people with odd hands, who teach the most, keep their lessons. The weights are a function of the set of the player's drawings
and labels alone. They change for all lessons at once, back to the first, when another drawing changes what is known.

See docs/decisions/0028-trust.md for what was tried, and the figures.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.events import DIGITS
from streams.additive import EIGHTHS, Floats
from streams.taught import NONE, Rows

JUDGE_SCALE: Final = 1 << 30
"""The judge's weights are whole numbers, so that it says the same on every machine: this is a one."""
SURE: Final = 0.7
"""By how much the judge's best score must exceed the second for the drawing to be evidence; a whole digit's is 1."""
FIRST: Final = 6
"""How many drawings must be evidence before a player's lessons count by themselves."""
LATEST: Final = 24
"""How many of the latest drawings must agree as well as all do, so that nobody lives on a good name for long."""
KEPT: Final = 1000
"""How many of a player's lessons count at most, the newest: nobody outweighs the base."""


def judged(judge: NDArray[np.int64], features: Floats) -> tuple[int, bool]:
    """Return the digit that the judge sees, and whether it is sure.

    Args:
        judge: The judge's weights, shape (10, width), in units of `JUDGE_SCALE`.
        features: The drawing's features, shape (width,), of `streams.additive.Basis`.
    """
    scores = judge @ features.astype(np.int64)
    second, best = np.partition(scores, -2)[-2:]
    return int(scores.argmax()), bool(best - second >= SURE * JUDGE_SCALE)


def weigh(rows: Rows) -> tuple[NDArray[np.int8], bool]:
    """Return the weight of each of a player's lessons in eighths, shape (n,), and whether the player is known.

    A newcomer's lessons are all whole: the model makes them small. A drawing whose label was withdrawn has no weight.

    Args:
        rows: All drawings that the player has labelled, as `streams.taught` keeps them, in any order.
    """
    labelled = rows["label"] != NONE
    evidence = np.nonzero(labelled & rows["sure"])[0]
    if len(evidence) < FIRST:
        return (labelled * EIGHTHS).astype(np.int8), False
    order = np.lexsort((rows["low"], rows["high"], rows["at"]))
    agrees = rows["label"] == rows["said"]
    latest = [place for place in order[::-1] if labelled[place] and rows["sure"][place]][:LATEST]
    overall = min(_eighths(agrees[which].sum() + 2, len(which) + 3, 0.6, 0.28) for which in (evidence, latest))
    weights = np.where(labelled, overall, 0)
    knows = _by_digit(rows["said"][evidence], agrees[evidence], 0.4, 0.2)
    uses = _by_digit(rows["label"][evidence], agrees[evidence], 0.15, 0.15)
    weights = np.minimum(weights, np.where(agrees, EIGHTHS, knows[rows["said"]]))
    weights = np.minimum(weights, uses[rows["label"]])
    weights[order[labelled[order]][:-KEPT]] = 0
    return weights.astype(np.int8), True


def _by_digit(digits: NDArray[np.int8], agrees: NDArray[np.bool_], least: float, span: float) -> NDArray[np.int64]:
    """Return for each digit the weight of a share of agreement among the evidence of it; whole where there is none."""
    n = np.bincount(digits, minlength=DIGITS)
    right = np.bincount(digits, agrees, minlength=DIGITS)
    each = [_eighths(right[digit] + 1, n[digit] + 2, least, span) if n[digit] else EIGHTHS for digit in range(DIGITS)]
    return np.array(each)


def _eighths(right: float, n: float, least: float, span: float) -> int:
    """Return a weight in eighths: none at a share of ``least``, whole from ``least + span`` on."""
    return int(np.clip((right / n - least) / span, 0, 1) * EIGHTHS + 1e-9)
