"""Marks a drawing's guesses for the counts, and keeps counts and what each drawing has added to them (way 2, LEARN). Pure."""

import json
from bisect import bisect_left
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from pydantic import BaseModel

from contracts.events import (
    LATENCY_BUCKETS_MS,
    SHADOW,
    WINDOW_S,
    CountedGuess,
    DrawingPicked,
    ExampleLabelled,
    ShownGuess,
    generation,
)
from contracts.ports import Cells


class Total(NamedTuple):
    """A version's counts over all time."""

    model: str
    version: str

    @property
    def cell(self) -> str:
        """The key of the counts' cell, after what all counts of their kind begin with."""
        return f"total/{self.model}/{self.version}"


class Slot(NamedTuple):
    """A model's counts over a window of the last hour."""

    model: str
    number: int
    """The number of the window, modulo how many an hour has."""

    @property
    def cell(self) -> str:
        """The key of the counts' cell, after what all counts of their kind begin with."""
        return f"window/{self.model}/{self.number}"


class WrittenCounts(Protocol):
    """The counts of one total or one window."""

    def cell(self) -> bytes:
        """Write the counts as their cell."""
        ...


def totals(cells: Cells, index: str) -> list[Total]:
    """Return the totals that there are; ``index`` is the key of their list."""
    kept = cells.get(index)
    return [] if kept is None else [Total(*pair) for pair in json.loads(kept)]


def write_counts(cells: Cells, index: str, prefix: str, changed: Mapping[Total | Slot, WrittenCounts]) -> None:
    """Write the counts that a step has changed, and the list of totals if there are new ones."""
    known = totals(cells, index)
    new = [of for of in changed if isinstance(of, Total) and of not in known]
    if new:
        cells.put(index, json.dumps([*known, *new]).encode())
    for of, counts in changed.items():
        cells.put(prefix + of.cell, counts.cell())


class Marked(NamedTuple):
    """A shown guess, ready to be counted."""

    model: str
    version: str
    """Its `generation`; with `SHADOW`, if nobody was shown it."""
    label: int
    bucket: int
    """The bucket of the latency."""

    @property
    def hidden(self) -> bool:
        """Whether nobody was shown the guess: it counts for its version, but not in the windows of the last hour."""
        return self.version.endswith(SHADOW)


class Counted(BaseModel):
    """What a drawing has added to the counts."""

    revision: int = 0
    labelled: bool = False
    """Whether its player has given it a label, in force or withdrawn: only then it is in the scores."""
    label: int | None = None
    window: int = 0
    """Number of the `WINDOW_S` seconds in which it was drawn, since the epoch."""
    guesses: list[Marked] = []
    picked: float | None = None
    """The probability with which it was picked; None: it was not, and is not in the counts of those that were."""
    asked: int | None = None
    """The digit that the server had asked for, if it had."""
    replaced: bool = False
    """Whether another drawing of the same question has taken its place among the picks."""
    restricted: bool = False
    """Whether an operator has restricted its player, so that it is left out of the picks."""

    @property
    def counts(self) -> bool:
        """Whether it is in the counts of picks."""
        return not (self.replaced or self.restricted)

    @property
    def digit(self) -> int | None:
        """The digit of a picked drawing: what the server asked for, or else what its player says; None: nobody knows.

        A label never counts more than the question, since it comes after the guess: players say more often that they drew
        something else when the guess was wrong, or only then.
        """
        return self.label if self.asked is None else self.asked


def counted(event: ExampleLabelled | DrawingPicked) -> Counted:
    """Return what a revision of a drawing adds to the counts."""
    labelled = event if isinstance(event, ExampleLabelled) else None
    gold = event.gold if isinstance(event, ExampleLabelled) else True
    return Counted(
        revision=event.revision,
        labelled=labelled is not None,
        label=None if labelled is None else labelled.label,
        window=int(event.drawn_at.timestamp()) // WINDOW_S,
        guesses=[_marked(guess) for guess in event.guesses],
        picked=event.picked,
        asked=event.asked if gold else None,
    )


def _marked(guess: ShownGuess | CountedGuess) -> Marked:
    bucket = bisect_left(LATENCY_BUCKETS_MS, guess.latency_ms)
    return Marked(guess.model, generation(guess.version) + SHADOW * guess.shadow, guess.label, bucket)
