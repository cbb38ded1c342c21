"""Sums up what was counted of the drawings that chance picked, and estimates how often each model is right (way 3, OPERATE).

Pure: a fold of metrics.v1. Counts are absolute for their slot, so twice is harmless. Watchers are sent the changes, one model
at a time, since each has some dozens of intervals.
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
    """Of all versions that players were shown."""
    silent: int
    """The picked drawings that the server had not asked for, and whose players did not say what they were."""
    unasked: int
    """All picked drawings that the server had not asked for."""
    versions: dict[str, Estimate]
    """A shadow's stands under ``<version>/shadow``."""
    digits: list[Estimate]
    """By the digit that was drawn."""
    confusion: list[int]
    """100 counts, row by row: rows are the digits drawn, columns the guesses."""
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

    def apply(self, event: PicksCounted) -> None:
        """Take counts in the place of those before.

        Raises:
            Implausible: If no part of the product can have written it.
        """
        refuse_implausible(event)
        self._counts.setdefault(event.model, {})[event.pick_key] = event
        self._changed[event.model] = None

    def models(self) -> dict[str, HonestModel]:
        """Return the estimates of every model that was counted."""
        return {model: self.model(model) for model in self._counts}

    def wholes(self) -> dict[str, Estimate]:
        """Return each model's estimate alone, which takes less time."""
        shown = [_strata(_sum(self._totals(model, hidden=False))) for model in self._counts]
        return dict(zip(self._counts, estimates(shown), strict=True))

    def next_change(self) -> dict[str, HonestModel]:
        """Return a model whose counts have changed since it was returned; empty: there is none."""
        model = next(iter(self._changed), None)
        if model is None:
            return {}
        del self._changed[model]
        return {model: self.model(model)}

    def model(self, model: str) -> HonestModel:
        """Return the estimates of a model."""
        shown = _sum(self._totals(model, hidden=False))
        versions = {
            version: _strata(_sum(one for one in self._totals(model, hidden=True) if one.version == version))
            for version in sorted({str(one.version) for one in self._totals(model, hidden=True)})
        }
        digits = [_strata(shown, digit) for digit in range(DIGITS)]
        times = self._over_time(model)
        whole, *rest = estimates([_strata(shown), *versions.values(), *digits, *times.values()])
        free = [counts for (_, gold), counts in shown.items() if not gold]
        return HonestModel(
            whole=whole,
            silent=sum(counts[0] - sum(counts[1:]) for counts in free),
            unasked=sum(counts[0] for counts in free),
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
        return {
            start + PICK_WINDOW_S: _strata(
                _sum(one for other in starts if start - PICK_WINDOW_S * LOOKS_BACK < other <= start for one in minutes[other])
            )
            for start in starts
        }


def _sum(counts: Iterable[PicksCounted]) -> _Sums:
    sums: _Sums = {}
    for stratum in (stratum for one in counts for stratum in one.strata):
        told = [stratum.n, *stratum.confusion]
        kept = sums.get((stratum.picked, stratum.gold))
        sums[stratum.picked, stratum.gold] = told if kept is None else [a + b for a, b in zip(kept, told, strict=True)]
    return sums


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
