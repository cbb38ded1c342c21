"""Asks the models in the router's own process: the online ones, and each player's own (way 1, ANSWER).

They answer all drawings of a step at once; the frozen network reads the rasters once for all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.events import DIGITS, PERSONAL_MODEL, DrawingSubmitted, Features, MemoryAsked, MemoryTold
from streams.blend import BlendWeights, opinions
from streams.lineup import Lineup
from streams.online_model import SHARED
from streams.pending import CallDetails, Row, rows
from streams.routing import Table


class Reader(Protocol):
    """The frozen network: see streams.embedding."""

    reader: str

    def embed(self, rasters: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute embeddings, shape (n, d), of rasters, shape (n, 784)."""
        ...


class PersonalGuesser(Protocol):
    """Guesses as each player's own model: see streams.personal_model."""

    def answers(
        self,
        whose: Sequence[tuple[int, str]],
        embeddings: NDArray[np.float32],
        rasters: NDArray[np.uint8],
        shared: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], list[str]]:
        """Return probabilities, shape (n, 10), for drawings, given the shared model's; and the versions.

        ``whose``: The partition and the player of each.
        """
        ...

    def pick(self, partition: int, player_id: str, arms: Sequence[str]) -> tuple[str, int]:
        """Return the model that the player's labels favour, and on how many labelled drawings that is based."""
        ...

    def blend_weights(self, partition: int) -> BlendWeights:
        """Return how much each model's opinion counts in the blend."""
        ...

    def told(self, partition: int, asked: MemoryAsked, at: datetime) -> MemoryTold | None:
        """Return what the player's own model remembers; None: it is not known here."""
        ...


class RasterizedDrawing(NamedTuple):
    """A drawing with its raster, as the models in this process need it."""

    drawing: DrawingSubmitted
    partition: int
    raster: NDArray[np.uint8]
    """Shape (784,)."""
    read_at: float
    """When it had been read."""


@dataclass(frozen=True, slots=True)
class LocalGuesses:
    """The guesses of the models in this process on a drawing."""

    guesses: Mapping[str, tuple[CallDetails, Row]]
    """The guesses by model."""
    beside: Sequence[tuple[str, CallDetails, Row]]
    """The guesses of what is beside the online models, each with its model; on a finished drawing."""
    opinion: NDArray[np.float64]
    """The opinion that goes into the blend, shape (10,): see `Lineup.voice`."""
    features: Features | None
    """The features of the drawing, if anybody learns from it."""


class LocalModels:
    """Asks the models in this process."""

    def __init__(self, reader: Reader, personal: PersonalGuesser, clock: Callable[[], float]) -> None:
        """Build; ``clock`` gives all times here, in monotonic seconds."""
        self._reader = reader
        self._personal = personal
        self._clock = clock

    def answers(self, asked: Sequence[RasterizedDrawing], lineup: Lineup) -> list[LocalGuesses]:
        """Ask the models in this process about each drawing."""
        start = self._clock()
        rasters = np.stack([one.raster for one in asked])
        embeddings = self._reader.embed(rasters)
        guesses: list[dict[str, tuple[CallDetails, Row]]] = [{} for _ in asked]
        table = lineup.table

        def answered(model: str, versions: Sequence[str], shares: NDArray[np.float64]) -> None:
            role, model_ms, instead = table.role(model), (self._clock() - start) * 1000, table.stand_in(model)
            for one, here, version, row in zip(asked, guesses, versions, rows(shares), strict=True):
                here[model] = CallDetails(version, role, table.digest, one.read_at, model_ms, instead), row

        shared = np.full((len(asked), DIGITS), 1 / DIGITS)
        for model, online in table.answering.items():
            shares = online.answer(embeddings)
            if model == SHARED:
                shared = shares
            answered(model, [online.version] * len(asked), shares)
        whose = [(one.partition, one.drawing.player_id) for one in asked]
        own, versions = self._personal.answers(whose, embeddings, rasters, shared)
        if PERSONAL_MODEL in lineup.here:
            answered(PERSONAL_MODEL, versions, own)
        spoken = opinions(shared if lineup.voice == SHARED else own)
        beside = self._beside(asked, embeddings, table, start)
        return list(map(LocalGuesses, guesses, beside, spoken, map(self._features, asked, embeddings)))

    def _beside(
        self, asked: Sequence[RasterizedDrawing], embeddings: NDArray[np.float32], table: Table, start: float
    ) -> list[list[tuple[str, CallDetails, Row]]]:
        """Ask what is beside the online models about the finished drawings, which alone are scored.

        Its probabilities have three digits: they are kept with every example, and its label is what is counted.
        """
        guesses: list[list[tuple[str, CallDetails, Row]]] = [[] for _ in asked]
        final = [place for place, one in enumerate(asked) if one.drawing.final]
        if not final:
            return guesses
        read = embeddings[final]
        for model, several in table.beside.items():
            for online in several:
                shares = online.answer(read)
                model_ms = (self._clock() - start) * 1000
                for place, row in zip(final, rows(shares), strict=True):
                    said = row._replace(probabilities=[round(p, 3) for p in row.probabilities])
                    call = CallDetails(online.version, "shadow", table.digest, asked[place].read_at, model_ms)
                    guesses[place].append((model, call, said))
        return guesses

    def _features(self, one: RasterizedDrawing, embedding: NDArray[np.float32]) -> Features | None:
        if not one.drawing.final:
            return None
        return Features(raster=one.raster.tobytes(), embedding=embedding.astype("<f4").tobytes(), reader=self._reader.reader)
