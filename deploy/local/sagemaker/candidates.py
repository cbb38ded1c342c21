"""Chooses the hyperparameters that a tuning job tries: at random within ranges, or every combination.

The same seed gives the same candidates, so a job that is taken up after a kill goes on where it was.
"""

import itertools
import math
import random
from collections.abc import Iterator
from typing import Final

from deploy.local.sagemaker.document import Document

_WHOLE: Final = 2**63
_WIDE: Final = 100.0
"""ScalingType Auto: a range whose ends are further apart than this, as a ratio, is searched by orders of magnitude."""


def candidates(strategy: str, ranges: Document, seed: int) -> Iterator[dict[str, str]]:
    """Yield hyperparameters: for Grid, every combination once; else without end, and none twice while there are others.

    Args:
        strategy: Random, Bayesian (which is random here) or Grid.
        ranges: ParameterRanges of the tuning job.
        seed: Where chance comes from.
    """
    words = {one["Name"]: one["Values"] for one in ranges.get("CategoricalParameterRanges", [])}
    if strategy == "Grid":
        for values in itertools.product(*words.values()):
            yield dict(zip(words, values, strict=True))
        return
    chance = random.Random(seed)
    seen: set[tuple[str, ...]] = set()
    while True:
        for _ in range(_TRIES):
            found = {name: chance.choice(values) for name, values in words.items()}
            for one in ranges.get("IntegerParameterRanges", []):
                found[one["Name"]] = str(_whole(one, chance))
            for one in ranges.get("ContinuousParameterRanges", []):
                found[one["Name"]] = repr(_between(one, float(one["MinValue"]), float(one["MaxValue"]), chance))
            if tuple(found.values()) not in seen:
                break
        seen.add(tuple(found.values()))
        yield found


_TRIES: Final = 20
"""How often a candidate that was there before is drawn again; a small range may have no others."""


def combinations(ranges: Document) -> int:
    """Return how many combinations a grid has."""
    return math.prod(len(one["Values"]) for one in ranges.get("CategoricalParameterRanges", []))


def wrong(strategy: str, ranges: Document) -> str:
    """Say what is wrong with the ranges of a tuning job; empty: nothing."""
    numbers = [(one, int) for one in ranges.get("IntegerParameterRanges", [])]
    numbers += [(one, float) for one in ranges.get("ContinuousParameterRanges", [])]  # type: ignore[misc]
    names = [one["Name"] for one, _ in numbers] + [one["Name"] for one in ranges.get("CategoricalParameterRanges", [])]
    if not names:
        return "no hyperparameter has a range: nothing can be tuned"
    if len(set(names)) < len(names):
        return "each hyperparameter needs one range"
    if strategy == "Grid" and numbers:
        return "Grid search supports only categorical hyperparameters"
    for one, kind in numbers:
        try:
            low, high = kind(one["MinValue"]), kind(one["MaxValue"])
        except ValueError:
            return f"the range of {one['Name']} has no numbers: {one['MinValue']} to {one['MaxValue']}"
        if kind is int and max(abs(low), abs(high)) >= _WHOLE:
            return f"the range of {one['Name']} goes beyond whole numbers of 64 bits"
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            return f"the range of {one['Name']} is empty: {one['MinValue']} to {one['MaxValue']}"
        if not math.isfinite(high - low):
            return f"the range of {one['Name']} is wider than any number: {one['MinValue']} to {one['MaxValue']}"
        if one.get("ScalingType") == "Logarithmic" and low <= 0:
            return f"the range of {one['Name']} must be above 0 for ScalingType Logarithmic"
        if one.get("ScalingType") == "ReverseLogarithmic" and (kind is int or low < 0 or high >= 1):
            return f"the range of {one['Name']} must be continuous and within 0 and 1 for ScalingType ReverseLogarithmic"
    return ""


def _whole(one: Document, chance: random.Random) -> int:
    low, high = int(one["MinValue"]), int(one["MaxValue"])
    if _scale(one, low, high) == "Linear":
        return chance.randint(low, high)
    return min(high, max(low, round(_between(one, low - 0.5 + 1e-9, high + 0.5 - 1e-9, chance))))


def _between(one: Document, low: float, high: float, chance: random.Random) -> float:
    match _scale(one, low, high):
        case "Logarithmic":
            found = math.exp(chance.uniform(math.log(low), math.log(high)))
        case "ReverseLogarithmic":
            found = 1 - math.exp(chance.uniform(math.log(1 - high), math.log(1 - low)))
        case _:
            found = chance.uniform(low, high)
    return min(high, max(low, found))


def _scale(one: Document, low: float, high: float) -> str:
    told: str = one.get("ScalingType", "Auto")
    if told == "Auto":
        return "Logarithmic" if low > 0 and high / low >= _WIDE else "Linear"
    return told
