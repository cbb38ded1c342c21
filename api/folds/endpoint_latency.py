"""What the guesses of late say: how fast each endpoint answers, and which routing tables are in force (way 1).

Pure and bounded; it starts anew with the process.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from contracts.events import GuessMade

LAST: Final = 256
"""Answers of each model that are remembered."""
TABLES: Final = 16


@dataclass(slots=True)
class InForce:
    """A routing table that guesses have named."""

    guesses: int
    last: datetime


class Live:
    """The last answers of each endpoint, and the last tables."""

    def __init__(self, batch_models: Iterable[str]) -> None:
        """Start empty, with an endpoint for each of these models."""
        self._call_ms: dict[str, deque[float]] = {model: deque(maxlen=LAST) for model in batch_models}
        self._tables: OrderedDict[str, InForce] = OrderedDict()

    def heard(self, guess: GuessMade) -> None:
        """Take note of a guess."""
        table = self._tables.get(guess.table)
        if table is None:
            table = self._tables[guess.table] = InForce(0, guess.at)
            if len(self._tables) > TABLES:
                self._tables.popitem(last=False)
        table.guesses += 1
        table.last = guess.at
        calls = self._call_ms.get(guess.model)
        if calls is not None and guess.role != "shadow" and "model" in guess.hops:
            calls.append(guess.hops["model"])

    def tables(self) -> dict[str, InForce]:
        """The tables of late by name, the one heard last first."""
        return dict(sorted(self._tables.items(), key=lambda item: item[1].last, reverse=True))

    def latency(self, model: str) -> tuple[int, float, float] | None:
        """Number, median and 95th percentile in ms of a batch model's last calls; None: there were none."""
        calls = sorted(self._call_ms.get(model, ()))
        if not calls:
            return None
        return len(calls), calls[(len(calls) - 1) // 2], calls[(len(calls) - 1) * 95 // 100]
