"""Sums up what was counted of the drawings that chance picked, and estimates how often each model is right (way 3, OPERATE).

Pure: a fold of metrics.v1. Counts are absolute for their slot, so twice is harmless. Each model has some dozens of intervals,
which take milliseconds each: so the fold says what is to be estimated, an `Estimation`, which is computed in another thread
(`api.watch.watchers`), and who asks is told what was computed last.

Where the server asked for digits, shares and intervals are of those drawings alone: nobody is silent about them. Who is asked
whether a guess was right may answer more often if it was, so drawings that were drawn freely stand apart.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
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


_Sums = Mapping[tuple[float, bool], NDArray[np.int64]]
"""By probability, and by whether the server asked: all drawings, then the confusion matrix, or known and right ones alone."""


@dataclass(frozen=True, slots=True)
class _Counted:
    """What a record says, ready to be added up."""

    version: str | None
    start: int
    """The start of the window, in Unix seconds; 0 on a total."""
    sums: _Sums


@dataclass(frozen=True, slots=True)
class Estimation:
    """The counts of a model, which nobody changes any more."""

    model: str
    counted: tuple[_Counted, ...]

    def compute(self) -> HonestModel:
        """Compute the estimates, some tens of milliseconds; may be called in any thread."""
        totals: dict[str, list[_Sums]] = defaultdict(list)
        minutes: dict[int, list[_Sums]] = defaultdict(list)
        for one in self.counted:
            if one.version is None:
                minutes[one.start].append(one.sums)
            else:
                totals[one.version].append(one.sums)
        everything = _sum(sums for version, several in totals.items() if not version.endswith(SHADOW) for sums in several)
        shown = _asked(everything)
        unasked = {stratum: counts for stratum, counts in everything.items() if not stratum[1]}
        versions = {version: _strata(_outline(_asked(_sum(totals[version])))) for version in sorted(totals)}
        digits = [_strata(_outline(shown, digit)) for digit in range(DIGITS)]
        times = _over_time({start: _outline(_sum(several)) for start, several in minutes.items()})
        parts = [_strata(_outline(shown)), _strata(_outline(unasked)), *versions.values(), *digits, *times.values()]
        whole, free, *rest = estimates(parts)
        after = len(versions) + DIGITS
        return HonestModel(
            whole=whole,
            free=free,
            silent=free.picked - free.known,
            unasked=free.picked,
            versions=dict(zip(versions, rest, strict=False)),
            digits=rest[len(versions) : after],
            confusion=np.sum([np.zeros(_CELLS, np.int64), *(counts[1:] for counts in shown.values())], axis=0).tolist(),
            recent=[OverTime(at=at, estimate=one) for at, one in zip(times, rest[after:], strict=True) if one.known],
        )


class HonestAccuracy:
    """The picks of every model."""

    takes: ClassVar[tuple[type[Event], ...]] = (PicksCounted,)

    def __init__(self) -> None:
        """Start empty."""
        self._counts: dict[str, dict[str, _Counted]] = {}
        self._changed: dict[str, None] = {}
        self._told: dict[str, HonestModel] = {}
        """What was computed last."""
        self._begun: set[str] = set()
        """The models of which an estimation was begun."""

    def apply(self, event: PicksCounted) -> None:
        """Take counts in the place of those before.

        Raises:
            Implausible: If no part of the product can have written it.
        """
        refuse_implausible(event)
        told = [((one.picked, one.gold), np.array([one.n, *one.confusion])) for one in event.strata]
        start = 0 if event.window is None else int(event.window.timestamp())
        counted = _Counted(event.version, start, _sum([{key: counts} for key, counts in told]))
        self._counts.setdefault(event.model, {})[event.pick_key] = counted
        self._changed[event.model] = None

    def models(self) -> dict[str, HonestModel]:
        """Return the estimates of every model of which any were computed, see `told`."""
        return dict(self._told)

    def told(self, model: str) -> HonestModel:
        """Return a model's estimates as they were computed last: however often a stranger asks, nothing is computed."""
        return self._told.get(model, UNKNOWN)

    def next_estimation(self) -> Estimation | None:
        """Return what is to be estimated of a model whose counts have changed since; None: of none.

        A model of which none was begun comes first; one that could not be computed has to wait as all others do.
        """
        model = min(self._changed, key=self._begun.__contains__, default=None)
        if model is None:
            return None
        self._begun.add(model)
        del self._changed[model]
        return self.estimation(model)

    def keep(self, model: str, computed: HonestModel) -> None:
        """Tell these estimates of a model from now on."""
        self._told[model] = computed

    def estimation(self, model: str) -> Estimation:
        """Return what is to be estimated of a model."""
        return Estimation(model, tuple(self._counts.get(model, {}).values()))


def _over_time(minutes: Mapping[int, _Sums]) -> dict[int, list[Stratum]]:
    """Return the strata of the minutes up to each minute of the last hour in which something was counted."""
    oldest = max(minutes, default=0) - PICK_WINDOW_S * PICK_WINDOWS
    starts = sorted(start for start in minutes if start > oldest)
    keys = sorted({key for start in starts for key in minutes[start]})
    table = np.zeros((len(starts) + 1, len(keys), 3), np.int64)
    for row, start in enumerate(starts, 1):
        for key, counts in minutes[start].items():
            table[row, keys.index(key)] = counts
    until = table.cumsum(axis=0)
    first = np.searchsorted(starts, np.array(starts) - PICK_WINDOW_S * LOOKS_BACK, side="right")
    looks = until[1:] - until[first]
    return {
        start + PICK_WINDOW_S: _strata(_asked({key: look[n] for n, key in enumerate(keys) if look[n, 0]}))
        for start, look in zip(starts, looks, strict=True)
    }


def _sum(several: Iterable[_Sums]) -> dict[tuple[float, bool], NDArray[np.int64]]:
    sums: dict[tuple[float, bool], NDArray[np.int64]] = {}
    for stratum, told in (pair for one in several for pair in one.items()):
        kept = sums.get(stratum)
        sums[stratum] = told if kept is None else kept + told
    return sums


def _asked(sums: _Sums) -> _Sums:
    """Return the drawings that the server asked for; all, if it asked for none."""
    return {stratum: counts for stratum, counts in sums.items() if stratum[1] and counts[0]} or sums


def _outline(sums: _Sums, digit: int | None = None) -> _Sums:
    """Return all drawings, known and right ones; of one ``digit``, only drawings that are known to be of it count."""
    out: dict[tuple[float, bool], NDArray[np.int64]] = {}
    for stratum, counts in sums.items():
        confusion = counts[1:].reshape(DIGITS, DIGITS)
        known, right = confusion.sum(axis=1), confusion.diagonal()
        if digit is None:
            out[stratum] = np.array([counts[0], known.sum(), right.sum()])
        else:
            out[stratum] = np.array([known[digit], known[digit], right[digit]])
    return out


def _strata(sums: _Sums) -> list[Stratum]:
    """Return the strata by probability, of `_outline` s."""
    strata: dict[float, Stratum] = {}
    for (picked, _), counts in sorted(sums.items(), key=lambda item: item[0]):
        n, known, right = counts.tolist()
        before = strata.get(picked, Stratum(picked, 0, 0, 0))
        strata[picked] = Stratum(picked, before.n + n, before.known + known, before.right + right)
    return list(strata.values())


UNKNOWN: Final = HonestAccuracy().estimation("").compute()
"""What is told of a model before anything was computed."""
