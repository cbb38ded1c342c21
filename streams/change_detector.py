"""Notices when something begins to happen more often than it used to, without being told how often that was. Pure.

Some indicators are watched together, each of which holds of a drawing or not: "the guess was wrong", "the digit was a 7". For
each there are a few bets that it holds more often than `MARGIN` above what it did so far. A bet multiplies its stake by the
likelihood ratio of each drawing, and is begun anew whenever it has lost; the mean of all stakes is an e-detector (Shin, Ramdas
and Rinaldo, E-detectors: a nonparametric framework for sequential change detection, 2023, section 5: e-CUSUM, mixed). If the
indicator holds no more often than the bets take for granted, whatever else is true of the drawings, then a stake of e^`ALARM`
comes once in that many drawings at most, on average. What they take for granted is learned: by how often it held in all
drawings but the latest that look suspicious, with what is uncertain about that on top.
"""

import json
import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

ALARM: Final = 10.5
"""The logarithm of the stakes at which a change is told."""
WARM_UP: Final = 100
"""How many drawings are only learned from, at the beginning and after each change."""
MARGIN: Final = 0.02
"""By how much a share may rise without being a change."""
_UNSURE: Final = 1.5
"""How many standard errors of the share that was learned are allowed on top."""
_MEMORY: Final = 2000
"""How many drawings the share that was learned is of, at most; older ones fade."""
_BETS: Final = np.array([0.1, 0.3, 0.6])
"""How far each bet says that the share has risen: this part of the way to always."""
_MOST: Final = 1 - 1e-9

_Floats = NDArray[np.float64]
_ARRAYS: Final = ("held", "n", "waiting_held", "waiting", "stake", "run", "run_held")


class DetectedChange(NamedTuple):
    """What has changed."""

    indicator: int
    """Its number."""
    statistic: float
    """The logarithm of the mean stake."""
    before: float
    """The share of the drawings of which it held."""
    after: float
    """The share since the change began, as far as that can be told."""
    n: int
    """How many drawings that are."""
    won: float
    """What a drawing of which it holds adds to the logarithm of the stake."""
    lost: float
    """What another adds to it; it is negative."""


class ChangeDetector:
    """Watches some indicators; its state is a function of the drawings in their order."""

    def __init__(self, indicators: int, kept: dict[str, Any] | None = None) -> None:
        """Begin with nothing, or with what `kept` returned."""
        self._indicators = indicators
        self.seen = 0
        """How many drawings were learned from since the last change."""
        wide = (indicators, len(_BETS))
        shapes = {"stake": wide, "run": wide, "run_held": wide}
        self._state: dict[str, _Floats] = {name: np.zeros(shapes.get(name, (indicators,))) for name in _ARRAYS}
        if kept is not None:
            self.seen = int(kept["seen"])
            self._state = {name: np.array(kept[name], np.float64) for name in _ARRAYS}

    def kept(self) -> dict[str, Any]:
        """Return the state as plain numbers, which JSON gives back exactly."""
        return {"seen": self.seen, **{name: values.tolist() for name, values in self._state.items()}}

    @property
    def winning(self) -> int:
        """The length, in drawings, of the longest bet that is still winning."""
        return int(np.where(self._state["stake"] > 0, self._state["run"], 0).max())

    def learn(self, holds: NDArray[np.bool_]) -> None:
        """Learn from a drawing without asking whether anything has changed; ``holds`` has shape (indicators,)."""
        self.seen += 1
        self._state["n"] += 1
        self._state["held"] += holds

    def update(self, holds: NDArray[np.bool_]) -> DetectedChange | None:
        """Take in a drawing; return what has changed, if anything has: then all is learned anew."""
        if self.seen < WARM_UP:
            self.learn(holds)
            return None
        state = self._state
        self.seen += 1
        share = (state["held"] + 1) / (state["n"] + 2)
        usual = np.minimum(share + MARGIN + _UNSURE * np.sqrt(share * (1 - share) / state["n"]), _MOST)[:, None]
        bet = usual + (1 - usual) * _BETS
        fresh = state["stake"] <= 0
        won = np.where(holds[:, None], np.log(bet / usual), np.log((1 - bet) / (1 - usual)))
        state["stake"] = np.where(fresh, 0.0, state["stake"]) + won
        state["run"] = np.where(fresh, 0.0, state["run"]) + 1
        state["run_held"] = np.where(fresh, 0.0, state["run_held"]) + holds[:, None]
        statistic = math.log(float(np.exp(state["stake"]).mean()))
        if statistic >= ALARM:
            where, which = np.unravel_index(int(state["stake"].argmax()), state["stake"].shape)
            n, held = int(state["run"][where, which]), int(state["run_held"][where, which])
            before = float(share[where])
            usually, stakes = float(usual[where, 0]), float(bet[where, which])
            won, lost = math.log(stakes / usually), math.log((1 - stakes) / (1 - usually))
            self.__init__(self._indicators)  # type: ignore[misc]
            return DetectedChange(int(where), statistic, before, held / n, n, won, lost)
        self._remember(holds)
        return None

    def _remember(self, holds: NDArray[np.bool_]) -> None:
        """Learn from the drawings that look like the others; those of a bet that is winning wait."""
        state = self._state
        state["waiting"] += 1
        state["waiting_held"] += holds
        lost = (state["stake"] <= 0).all(axis=1)
        for name, waiting in (("n", "waiting"), ("held", "waiting_held")):
            state[name] += np.where(lost, state[waiting], 0.0)
            state[waiting] = np.where(lost, 0.0, state[waiting])
        fade = np.minimum(1.0, _MEMORY / state["n"])
        state["n"] *= fade
        state["held"] *= fade


def of_json(kept: bytes | None) -> dict[str, Any] | None:
    """Read a cell."""
    return None if kept is None else dict(json.loads(kept))
