"""Sums up what was counted of the drawings that chance picked, and estimates how often each model is right (way 3, OPERATE).

Pure: a fold of metrics.v1. Counts are absolute for their slot, so twice is harmless. Watchers are sent the changes, one model
at a time, since each has some dozens of intervals; who asks in between is told what was computed last.

Where the server asked for digits, shares and intervals are of those drawings alone: nobody is silent about them. Who is asked
whether a guess was right may answer more often if it was, so drawings that were drawn freely stand apart.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import ClassVar, Final

from pydantic import BaseModel

from api.folds.estimate import Estimate, Stratum, estimates
from api.folds.implausible import refuse_implausible
from contracts.events import DIGITS, PICK_WINDOW_S, PICK_WINDOWS, SHADOW, Event, PicksCounted

LOOKS_BACK: Final = 15
"""How many minutes each point of the line over time looks back."""
_CELLS: Final = DIGITS * DIGITS


class OverTime(BaseModel):
    """An estimate of the last `LOOKS_BACK` minutes up to a time."""

    at: int
    """The end of the minutes, in Unix seconds."""
    estimate: Estimate


class HonestModel(BaseModel):
    """How often a model is right, as it is: estimated from the drawings that chance picked."""

    whole: Estimate
    """Of all versions that players were shown, by drawings that the server asked for; by free ones while there are none."""
    free: Estimate
    """The same by drawings that players drew freely: `least` and `most` are what is sure whoever is silent."""
    silent: int
    """The picked drawings that the server had not asked for, and whose players did not say what they were."""
    unasked: int
    """All picked drawings that the server had not asked for."""
    versions: dict[str, Estimate]
    """A shadow's stands under ``<version>/shadow``."""
    digits: list[Estimate]
    """By the digit that was drawn."""
    confusion: list[int]
    """Of the drawings of `whole`: 100 counts, row by row: rows are the digits drawn, columns the guesses."""
    recent: list[OverTime]


_Sums = dict[tuple[float, bool], list[int]]
"""By probability, and by whether the server asked: all drawings, and the confusion matrix."""


class HonestAccuracy:
    """The picks of every model."""

    takes: ClassVar[tuple[type[Event], ...]] = (PicksCounted,)

    def __init__(self) -> None:
        """Start empty."""
        self._counts: dict[str, dict[str, PicksCounted]] = {}
        self._changed: dict[str, None] = {}
        self._told: dict[str, HonestModel] = {}
        """What was computed last."""

    def apply(self, event: PicksCounted) -> None:
        """Take counts in the place of those before.

        Raises:
            Implausible: If no part of the product can have written it.
        """
        refuse_implausible(event)
        self._counts.setdefault(event.model, {})[event.pick_key] = event
        self._changed[event.model] = None

    def models(self) -> dict[str, HonestModel]:
        """Return the estimates of every model that was counted, see `told`."""
        return {model: self.told(model) for model in self._counts}

    def told(self, model: str) -> HonestModel:
        """Return a model's estimates as they were computed last: however often a stranger asks, nothing is computed anew."""
        if model not in self._told:
            if model not in self._counts:
                return self.model(model)
            self._told[model] = self.model(model)
        return self._told[model]

    def next_change(self) -> dict[str, HonestModel]:
        """Return a model whose counts have changed since it was returned; empty: there is none."""
        model = next(iter(self._changed), None)
        if model is None:
            return {}
        del self._changed[model]
        self._told[model] = self.model(model)
        return {model: self._told[model]}

    def model(self, model: str) -> HonestModel:
        """Compute the estimates of a model."""
        everything = _sum(self._totals(model, hidden=False))
        shown = _asked(everything)
        free = {stratum: counts for stratum, counts in everything.items() if not stratum[1]}
        versions = {
            version: _strata(_asked(_sum(one for one in self._totals(model, hidden=True) if one.version == version)))
            for version in sorted({str(one.version) for one in self._totals(model, hidden=True)})
        }
        digits = [_strata(shown, digit) for digit in range(DIGITS)]
        times = self._over_time(model)
        whole, freely, *rest = estimates([_strata(shown), _strata(free), *versions.values(), *digits, *times.values()])
        return HonestModel(
            whole=whole,
            free=freely,
            silent=freely.picked - freely.known,
            unasked=freely.picked,
            versions=dict(zip(versions, rest, strict=False)),
            digits=rest[len(versions) : len(versions) + DIGITS],
            confusion=[sum(column) for column in zip(*(counts[1:] for counts in shown.values()), strict=True)] or [0] * _CELLS,
            recent=[
                OverTime(at=at, estimate=one)
                for at, one in zip(times, rest[len(versions) + DIGITS :], strict=True)
                if one.known
            ],
        )

    def _totals(self, model: str, *, hidden: bool) -> Iterable[PicksCounted]:
        for one in self._counts.get(model, {}).values():
            if one.version is not None and (hidden or not one.version.endswith(SHADOW)):
                yield one

    def _over_time(self, model: str) -> dict[int, list[Stratum]]:
        """Return the strata of the minutes up to each minute of the last hour in which something was counted."""
        minutes: dict[int, list[PicksCounted]] = defaultdict(list)
        for one in self._counts.get(model, {}).values():
            if one.window is not None:
                minutes[int(one.window.timestamp())].append(one)
        oldest = max(minutes, default=0) - PICK_WINDOW_S * PICK_WINDOWS
        starts = sorted(start for start in minutes if start > oldest)
        back = PICK_WINDOW_S * LOOKS_BACK
        looks = {
            start: [one for other in starts if start - back < other <= start for one in minutes[other]] for start in starts
        }
        return {start + PICK_WINDOW_S: _strata(_asked(_sum(counts))) for start, counts in looks.items()}


def _sum(counts: Iterable[PicksCounted]) -> _Sums:
    sums: _Sums = {}
    for stratum in (stratum for one in counts for stratum in one.strata):
        told = [stratum.n, *stratum.confusion]
        kept = sums.get((stratum.picked, stratum.gold))
        sums[stratum.picked, stratum.gold] = told if kept is None else [a + b for a, b in zip(kept, told, strict=True)]
    return sums


def _asked(sums: _Sums) -> _Sums:
    """Return the drawings that the server asked for; all, if it asked for none."""
    return {stratum: counts for stratum, counts in sums.items() if stratum[1] and counts[0]} or sums


def _strata(sums: _Sums, digit: int | None = None) -> list[Stratum]:
    """Return the strata by probability; of one ``digit``, only drawings that are known to be of it count."""
    rows = range(DIGITS) if digit is None else (digit,)
    strata: dict[float, Stratum] = {}
    for (picked, _), counts in sorted(sums.items()):
        known = sum(sum(counts[1 + row * DIGITS : 1 + (row + 1) * DIGITS]) for row in rows)
        right = sum(counts[1 + row * (DIGITS + 1)] for row in rows)
        before = strata.get(picked, Stratum(picked, 0, 0, 0))
        n = counts[0] if digit is None else known
        strata[picked] = Stratum(picked, before.n + n, before.known + known, before.right + right)
    return list(strata.values())
