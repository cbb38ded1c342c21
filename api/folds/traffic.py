"""Counts what comes off the bus, for Prometheus (all ways). Pure and bounded; it starts anew with the process.

It takes what comes while the process lives. Twice is harmless but for guesses, receipts and misses, whose counters may be
larger by what was sent again after a failure: rates do not show it. A version is published anew whenever something of it
changes: what was known of it before is not counted again, also after a restart.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import ClassVar, Final, cast
from uuid import UUID

from cachetools import FIFOCache

from contracts.events import (
    TRAINING_ENDS,
    CommandSettled,
    CorrectionReceipt,
    Event,
    GuessMade,
    GuessMissed,
    ModelPublished,
    PreviewGuessed,
    TrainingAdvanced,
)
from contracts.prices import dollars

BOUNDS_MS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 35.0, 50.0, 80.0, 150.0, 250.0, 500.0, 1000.0, 2500.0)
"""The upper bounds of the buckets of hops."""
HOPS: Final = ("bus_in", "read", "wait", "model", "bus_out", "total")
"""The hops that are counted: no other name makes a series of its own."""
_REMEMBERED: Final = 1000
_GUESSES: Final = (GuessMade, PreviewGuessed)


class Buckets:
    """A histogram of milliseconds, as cheap as it can be: a drawing has some thirty hops."""

    __slots__ = ("counts", "sum_ms")

    def __init__(self) -> None:
        """Begin at nothing."""
        self.counts = [0] * (len(BOUNDS_MS) + 1)
        self.sum_ms = 0.0

    def add(self, ms: float) -> None:
        """Add one."""
        self.counts[bisect_left(BOUNDS_MS, ms)] += 1
        self.sum_ms += ms


class Traffic:
    """What came."""

    takes: ClassVar[tuple[type[Event], ...]] = (
        GuessMade,
        GuessMissed,
        CorrectionReceipt,
        TrainingAdvanced,
        ModelPublished,
        CommandSettled,
    )

    def __init__(self, known: Callable[[str, str], ModelPublished | None] = lambda model, version: None) -> None:
        """Begin at nothing.

        Args:
            known: Returns what was known of a model's version before the event that is applied; None: nothing was.
        """
        self._known = known
        self.guesses: Counter[tuple[str, str]] = Counter()
        """By model, and by whether the drawing is ``finished``, a ``preview``, or the guess a ``shadow``."""
        self.misses: Counter[tuple[str, str]] = Counter()
        """By model and cause: it rests, or was late."""
        self.receipts: Counter[tuple[str, str]] = Counter()
        """By stage and outcome."""
        self.trainings: Counter[tuple[str, str]] = Counter()
        """By model and outcome."""
        self.verdicts: Counter[tuple[str, str]] = Counter()
        """Of the gate, by model and verdict."""
        self.rollouts: Counter[tuple[str, str]] = Counter()
        """Steps of versions on their way to the players by policy, or back, by model and step."""
        self.spent: dict[str, Decimal] = {}
        """On trainings in dollars, by model; of those without a version too."""
        self.commands: Counter[str] = Counter()
        """Commands that were settled, by outcome."""
        self.hops: dict[tuple[str, str], Buckets] = {}
        """Of guesses on finished drawings, by hop and model."""
        self._ended: FIFOCache[UUID, None] = FIFOCache(_REMEMBERED)

    def apply(self, event: Event) -> None:
        """Apply an event; guesses are many, and are found by their type: a pattern of a class takes microseconds."""
        if type(event) in _GUESSES:
            self._guessed(cast(GuessMade, event))
            return
        match event:
            case GuessMissed():
                self.misses[event.model, "resting" if event.resting else "late"] += 1
            case CorrectionReceipt():
                self.receipts[event.stage, event.outcome.value] += 1
            case TrainingAdvanced() if event.step in TRAINING_ENDS and self._first(event.command_id):
                self.trainings[event.model, event.step] += 1
                self._spend(event.model, event.cost or Decimal(0))
            case ModelPublished():
                self._published(event)
            case CommandSettled() if self._first(event.command_id):
                self.commands[event.outcome] += 1
            case _:
                pass

    def _published(self, event: ModelPublished) -> None:
        known = self._known(event.model, event.version)
        if known is None and "training_job" in event.lineage:
            self.verdicts[event.model, event.verdict or ("promoted" if event.approved else "refused")] += 1
            for name in ("training_cost_usd", "tuning_cost_usd"):
                self._spend(event.model, dollars(event.metrics.get(name, 0.0)))
        taken = {step.at for step in known.rollout} if known else set()
        for step in event.rollout:
            if step.at not in taken:
                self.rollouts[event.model, step.step] += 1

    def _spend(self, model: str, cost: Decimal) -> None:
        self.spent[model] = self.spent.get(model, Decimal(0)) + cost

    def _guessed(self, guess: GuessMade) -> None:
        model = guess.model
        if guess.role == "shadow":
            self.guesses[model, "shadow"] += 1
            return
        if not guess.final:
            self.guesses[model, "preview"] += 1
            return
        self.guesses[model, "finished"] += 1
        self.took(model, guess.hops)

    def took(self, model: str, hops: "dict[str, float]") -> None:
        """Count how long the hops of a guess took, in milliseconds."""
        for hop, ms in hops.items():
            key = hop, model
            buckets = self.hops.get(key)
            if buckets is None:
                if hop not in HOPS:
                    continue
                buckets = self.hops[key] = Buckets()
            buckets.add(ms)

    def _first(self, what: UUID) -> bool:
        """Say whether something is heard for the first time."""
        if what in self._ended:
            return False
        self._ended[what] = None
        return True
