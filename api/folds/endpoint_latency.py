"""Computes from the newest guesses how fast each endpoint answers, and which routing tables are in force (way 1).

Pure and bounded; it starts anew with the process.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final

from cachetools import FIFOCache

from contracts.events import Event, GuessMade

LAST: Final = 256
"""How many answers of each model are remembered."""
TABLES: Final = 16


@dataclass(slots=True)
class TableUse:
    """A routing table that guesses have named."""

    guesses: int
    last: datetime


class EndpointLatency:
    """The last answers of each endpoint, and the last routing tables."""

    takes: ClassVar[tuple[type[Event], ...]] = (GuessMade,)

    def __init__(self, batch_models: Iterable[str]) -> None:
        """Start empty, with an endpoint for each of these models."""
        self._call_ms: dict[str, deque[float]] = {model: deque(maxlen=LAST) for model in batch_models}
        self._tables: FIFOCache[str, TableUse] = FIFOCache(TABLES)

    def apply(self, guess: GuessMade) -> None:
        """Apply a guess."""
        table = self._tables.get(guess.table)
        if table is None:
            table = self._tables[guess.table] = TableUse(0, guess.at)
        table.guesses += 1
        table.last = guess.at
        calls = self._call_ms.get(guess.model)
        if calls is not None and guess.role != "shadow" and "model" in guess.hops:
            calls.append(guess.hops["model"])

    def tables(self) -> dict[str, TableUse]:
        """Return the latest tables by name; the table that was named last comes first."""
        return dict(sorted(self._tables.items(), key=lambda item: item[1].last, reverse=True))

    def latency(self, model: str) -> tuple[int, float, float] | None:
        """Return the number, median and 95th percentile in ms of a batch model's last calls; None if there were none."""
        calls = sorted(self._call_ms.get(model, ()))
        if not calls:
            return None
        return len(calls), calls[(len(calls) - 1) // 2], calls[(len(calls) - 1) * 95 // 100]
