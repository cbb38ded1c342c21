"""Decides how much each lesson of a player counts in the shared model, by what the player has taught (way 2, LEARN). Pure.

The judge is a frozen model that learns from nobody; it has seen MNIST and the hands of thirty people. Where it is sure of a
drawing, the player's label agrees with it or not, and that is evidence:

- Until `FIRST` of a player's drawings are evidence, the player is a newcomer, and all lessons of all newcomers together count
  as the first of them does alone: an eighth (`streams.online_model`).
- Then a lesson counts by how often the player agrees, over all and over the latest.
- A lesson that disagrees counts only if the player knows the digit that the judge sees: somebody whose ones look like sevens
  calls real sevens sevens; somebody who swaps the two does not. And a label that is right of nothing counts nothing.
- Where the judge is not sure, a lesson that disagrees counts if enough of the player's others of that kind agree.
- Of the lessons that disagree the newest count: after the first `FIRST` different drawings that agree, one for each four more
  where the judge is not sure, and one for each sixteen where it is. So whoever knows these rules cannot earn lies by what costs
  nothing, the same clear drawing again and again, and pays for each with truths that teach everybody more.

So people with odd hands, who teach the most, keep their lessons. The weights are a function of the set of the player's drawings
and labels alone. They change for all lessons at once, back to the first, when what is known of the player changes. That is
looked at after each drawing at first, and then after some more, so that little is taught anew for a drawing.

See docs/decisions/0028-trust.md for what was tried, and the figures.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.events import DIGITS
from streams.additive import EIGHTHS, Floats
from streams.player_memory import Rows, in_order
from streams.shown_labels import NONE

TRUST: Final = 3
"""The version of these rules: others begin a new series of lessons, so whoever changes a rule or a number raises it."""
JUDGE_SCALE: Final = 1 << 30
"""The judge's weights are whole numbers, so that it says the same on every machine: this is a one."""
SURE: Final = 0.7
"""By how much the judge's best score must exceed the second for the drawing to be evidence; a whole digit's is 1."""
FIRST: Final = 6
"""How many drawings must be evidence before a player's lessons count by themselves."""
LATEST: Final = 24
"""How many of the latest of these must agree as well as all do, so that nobody lives on a good name for long."""
KEPT: Final = 256
"""How many of a player's lessons count at most, the newest: nobody outweighs the base, and no change touches more."""
FOR_ONE_UNSURE: Final = 4
"""How many different drawings that agree a lesson takes that disagrees, where the judge is not sure."""
FOR_ONE_SURE: Final = 16
"""How many it takes where the judge is sure."""
_AT_ONCE: Final = 32
"""So many drawings are compared with those before them at a time."""
_ALIKE: Final = (995, 1000)
"""From this cosine on, two drawings are one: a copy of which each point is moved by a pixel has 0.9994."""
_PICTURE: Final = 32
"""What embeddings are multiplied with before they are whole numbers: then what is alike is so on every machine."""
LOOKS: Final = 16
"""What is known of a player is looked at again when there are this part or twice this part more drawings, and after sixteen at
the latest: so 32 lessons are taught anew for a drawing on average at most, if drawings are labelled in their order."""


def judged(judge: NDArray[np.int64], features: Floats) -> tuple[int, bool]:
    """Return the digit that the judge sees, and whether it is sure.

    Args:
        judge: The judge's weights, shape (10, width), in units of `JUDGE_SCALE`.
        features: The drawing's features, shape (width,), of `streams.additive.Basis`.
    """
    scores: list[float] = (judge @ features).tolist()  # whole numbers below 2^53: exact in floats, in whatever order
    second, best = sorted(scores)[-2:]
    return scores.index(best), best - second >= SURE * JUDGE_SCALE


def weigh(rows: Rows, embeddings: NDArray[np.float32] | None = None) -> tuple[NDArray[np.int8], bool]:
    """Return the weight of each of a player's lessons in eighths, shape (n,), and whether the player is known.

    A newcomer's lessons are all whole: the model makes them small. A drawing whose label was withdrawn has no weight, nor has
    one whose label came over the quota; that is evidence all the same.

    Args:
        rows: All drawings that the player has labelled, as `streams.taught` keeps them, in any order.
        embeddings: Those of the drawings, shape (n, size); None: no two drawings are taken for one.
    """
    labelled = rows["label"] != NONE
    counts = labelled & ~rows["over"]
    order = in_order(rows, labelled)
    sure, unsure = order[rows["sure"][order]], order[~rows["sure"][order]]
    if len(sure) < FIRST:
        weights = counts * EIGHTHS
        weights[order[:-KEPT]] = 0
        return weights.astype(np.int8), False
    step = min(1 << max(0, (2 * len(order) // LOOKS).bit_length() - 1), KEPT // LOOKS)
    sure, unsure = _looked_at(sure, step, FIRST), _looked_at(unsure, step, 0)
    agrees = rows["label"] == rows["said"]
    overall = believed(*((int(agrees[which].sum()), len(which)) for which in (sure, sure[-LATEST:])))
    knows = _by_digit(rows["said"][sure], agrees[sure], 0.4, 0.2)
    uses = _by_digit(rows["label"][sure], agrees[sure], 0.15, 0.15)
    of_all = _level(agrees[unsure].sum() + 1, len(unsure) + 2, 0.3, 0.2)
    guesses = np.minimum(_by_digit(rows["said"][unsure], agrees[unsure], 0.1, 0.15), of_all)
    disagreeing = np.minimum(knows[rows["said"]], np.where(rows["sure"], EIGHTHS, guesses[rows["said"]]))
    weights = np.minimum(overall, np.where(agrees, EIGHTHS, disagreeing))
    weights = np.where(counts, np.minimum(weights, uses[rows["label"]]), 0)
    weights[order[:-KEPT]] = 0
    disagreeing = order[(weights[order] > 0) & ~agrees[order]]
    if len(disagreeing):
        kept = order[-KEPT:]
        is_sure = rows["sure"][disagreeing]
        bought = (disagreeing[~is_sure], FOR_ONE_UNSURE), (disagreeing[is_sure], FOR_ONE_SURE)
        good = kept[rows["sure"][kept] & agrees[kept]]
        enough = FIRST + max(price * len(odd) for odd, price in bought)
        paying = max(0, _different(good, embeddings, enough) - FIRST)
        for odd, price in bought:
            weights[odd[: max(0, len(odd) - paying // price)]] = 0
    return weights.astype(np.int8), True


def _different(places: NDArray[np.intp], embeddings: NDArray[np.float32] | None, enough: int) -> int:
    """Return how many of the drawings are like none before them, ``enough`` at most."""
    if embeddings is None:
        return min(len(places), enough)
    pictures = np.rint(embeddings[places].astype(np.float64) * _PICTURE)
    squares = np.einsum("nd,nd->n", pictures, pictures)
    found, (part, whole) = 0, _ALIKE
    for first in range(0, len(places), _AT_ONCE):
        last = min(first + _AT_ONCE, len(places))
        products = pictures[first:last] @ pictures[:last].T  # whole numbers below 2^53: exact
        alike = (products > 0) & (products**2 * whole**2 >= np.outer(squares[first:last], squares[:last]) * part**2)
        found += int((~np.tril(alike, first - 1).any(axis=1)).sum())
        if found >= enough:
            return enough
    return found


def believed(*agreements: tuple[int, int]) -> int:
    """Return how much a known player's word counts at most, in eighths.

    Args:
        agreements: Of how many drawings, of which the judge is sure, the label agrees, and how many there are: of all, and of
            the latest. The worst counts.
    """
    return min(_level(right + 2, n + 3, 0.6, 0.28) for right, n in agreements)


def _looked_at(places: NDArray[np.intp], step: int, least: int) -> NDArray[np.intp]:
    """Return the places, in the order of drawing, of which something is known already: the last few wait for more."""
    return places[: max(least, len(places) - len(places) % step)]


def _by_digit(digits: NDArray[np.int8], agrees: NDArray[np.bool_], least: float, span: float) -> NDArray[np.int64]:
    """Return for each digit the weight of a share of agreement among the evidence of it; whole where there is none."""
    n = np.bincount(digits, minlength=DIGITS).tolist()
    right = np.bincount(digits, agrees, minlength=DIGITS).tolist()
    return np.array([_level(a + 1, b + 2, least, span) if b else EIGHTHS for a, b in zip(right, n, strict=True)])


def _level(right: float, n: float, least: float, span: float) -> int:
    """Return a weight in eighths: none at a share of ``least``, whole from ``least + span`` on, and a half between."""
    return EIGHTHS // 2 * int(min(max((float(right) / n - least) / span, 0.0), 1.0) * 2 + 1e-9)
