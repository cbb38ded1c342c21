"""Defines a drawing that waits for guesses, and what one model answers (way 1, ANSWER). Pure values."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from contracts.events import DrawingSubmitted, Features, Role
from streams.blend import opinions


class Moment(NamedTuple):
    """A moment by the monotonic clock and by the calendar."""

    s: float
    """Seconds of the monotonic clock."""
    at: datetime


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a drawing waits, in seconds from the moment it was read."""

    blend_s: float
    """How long the blend waits for models, and guesses wait to be published together."""
    budget_s: float
    """How long a model may take, all tries together."""

    @property
    def first_s(self) -> float:
        """Seconds until the blend awaits no model any more, and all guesses so far are published together."""
        return min(self.blend_s, self.budget_s)


@dataclass(frozen=True, slots=True, eq=False)
class PendingDrawing:
    """A drawing that waits for guesses."""

    drawing: DrawingSubmitted
    raster: NDArray[np.uint8]
    """Shape (784,)."""
    features: Features | None
    """The features for the learners; None: nobody learns from them."""
    bus_in_ms: float
    read_ms: float
    read_at: float
    """When the drawing had been read, on the monotonic clock."""
    lead: str | None = None
    lead_after: int | None = None

    @property
    def urgent(self) -> bool:
        """Whether the drawing must be answered, whatever comes after it."""
        return self.drawing.final or self.drawing.probe


@dataclass(frozen=True, slots=True)
class CallDetails:
    """The details of a call that was answered, beside its rows."""

    version: str
    role: Role
    """The role of the version that answered, if it is the model's own: see `Round.answered`."""
    table: str
    """The digest of the routing table that was used."""
    asked_at: float
    """When the call began, on the monotonic clock."""
    model_ms: float
    fallback: str | None = None
    """Why this version stands in for another; None: it was its turn."""


class Row(NamedTuple):
    """A model's answer to one drawing."""

    label: int
    probabilities: list[float]
    """The probabilities as they are published: six digits, which is what a guess is good for."""
    opinion: NDArray[np.float64]
    """The opinion as it goes into the blend, shape (10,): see `streams.blend.opinions`."""


def rows(probabilities: NDArray[np.float64]) -> list[Row]:
    """Return the rows of some probabilities, shape (n, 10)."""
    labels: list[int] = probabilities.argmax(axis=1).tolist()
    return list(map(Row, labels, probabilities.round(6).tolist(), opinions(probabilities)))
