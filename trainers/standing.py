"""Says how far a training job is, in words: rounds, metrics, the time that is left, and what it has cost so far. Pure."""

import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Final

_PASS: Final = re.compile(r"\b(round|epoch|step)=(\d+)/(\d+)\b((?: [\w-]+=[\d.]+)*)")
_SHOWN: Final = ("validation-accuracy", "train-accuracy", "train-loss", "train-distance", "train-mlogloss")
"""The metrics that say most, the best first; one is shown."""


class JobStanding:
    """What is known of a job from its log; times are seconds of any clock."""

    def __init__(self, cost: Callable[[float], Decimal | None]) -> None:
        """Begin without a line.

        Args:
            cost: Returns what so many seconds cost, in dollars; None: there is no price of the job's instance.
        """
        self._price = cost
        self._first: tuple[float, int] | None = None
        self._last: tuple[float, int] | None = None
        self._of = 0
        self._step = self._metric = ""
        self._began: float | None = None

    def told(self, stage: str, lines: Iterable[str], at: float, spent: float = 0.0) -> str:
        """Take new lines of the log; return the words.

        Args:
            stage: SageMaker's secondary status.
            lines: The lines since the last call.
            at: The time now.
            spent: For how many seconds it has trained by then: a trainer may come to a job that was begun by another.

        >>> standing = JobStanding(lambda seconds: Decimal("0.115") * round(seconds) / 3600)
        >>> standing.told("Training", ["round=10/40 train-mlogloss=0.9 train-accuracy=0.91"], 100.0)
        'Training, round 10/40, train-accuracy 0.91, $0.0000 so far'
        >>> standing.told("Training", ["round=20/40 train-accuracy=0.95"], 110.0)
        'Training, round 20/40, train-accuracy 0.95, about 20 s left, $0.0003 so far'
        """
        if stage == "Training" and self._began is None:
            self._began = at - spent
        first = self._first is None
        for line in lines:
            if found := _PASS.search(line):
                self._step, self._of = found[1], int(found[3])
                self._last = at, int(found[2])
                metrics = dict(pair.split("=") for pair in found[4].split())
                name = next((name for name in _SHOWN if name in metrics), next(iter(metrics), ""))
                self._metric = f"{name} {metrics[name]}" if name else ""
        if first:  # these lines may have been written long ago
            self._first = self._last
        return ", ".join(filter(None, (stage, *self._progress(stage), self._cost(at))))

    def _progress(self, stage: str) -> tuple[str, ...]:
        if self._last is None or self._first is None:
            return ()
        (then, low), (now, high) = self._first, self._last
        left = ""
        if stage == "Training" and high > low and now > then:
            left = f"about {(self._of - high) * (now - then) / (high - low):.0f} s left"
        return f"{self._step} {high}/{self._of}", self._metric, left

    def _cost(self, at: float) -> str:
        cost = None if self._began is None else self._price(at - self._began)
        return "" if cost is None else f"${cost:.4f} so far"
