"""Checks the answers of players' own models, which are in no ledger, by making them again for a sample of players. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from contracts.events import PERSONAL_MODEL, DrawingAnswered, generation
from streams.kernel_memory import GENERATION, Player
from streams.online_model import SHARED
from streams.refold.published import ALIKE

SAMPLE: Final = 12
"""How many players are in the sample."""

_Asked = Sequence[tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float64]]]
"""A drawing's embedding and raster, with each answer of the shared model to it."""


@dataclass(slots=True)
class _OnTheLog:
    """An answer of a player's own model on the log."""

    version: str
    probabilities: list[float]


class OwnAnswers:
    """The answers of the sample's own models, their inputs, and each state that the models went through."""

    def __init__(self) -> None:
        """Begin with nobody; the first players who are answered are the sample."""
        self._states: dict[str, list[Player]] = {}
        """By player, one state after the other."""
        self._answers: dict[tuple[str, UUID], list[_OnTheLog]] = defaultdict(list)
        self._shared: dict[UUID, list[NDArray[np.float64]]] = defaultdict(list)
        """The shared model's answers to a drawing."""
        self._drawings: dict[UUID, list[tuple[NDArray[np.float32], NDArray[np.uint8]]]] = defaultdict(list)

    def __contains__(self, player_id: str) -> bool:
        """Whether a player is in the sample."""
        return player_id in self._states

    def apply(self, answered: DrawingAnswered) -> None:
        """Keep the answers to a player of the sample."""
        if answered.player_id not in self._states:
            if len(self._states) == SAMPLE:
                return
            self._states[answered.player_id] = [Player.nobody()]
        drawing_id = answered.drawing_id
        if answered.features is not None:
            features = answered.features
            read = np.frombuffer(features.embedding, "<f4")[None], np.frombuffer(features.raster, np.uint8)[None]
            self._drawings[drawing_id].append(read)
        for guess in answered.guesses:
            if guess.model == PERSONAL_MODEL:
                if generation(guess.version) != GENERATION:
                    continue  # an earlier kind of model answered, which is not made anew
                self._answers[answered.player_id, drawing_id].append(_OnTheLog(guess.version, guess.probabilities))
            elif guess.model == SHARED:
                self._shared[drawing_id].append(np.array([guess.probabilities]))

    def learned(self, player_id: str, state: Player) -> None:
        """Keep the memory of a player of the sample after an example."""
        self._states[player_id].append(state)

    def faults(self) -> Iterator[str]:
        """Yield each answer that the player's model gives in none of its states."""
        for (player_id, drawing_id), answers in self._answers.items():
            asked = [(*read, said) for read in self._drawings[drawing_id] for said in self._shared[drawing_id]]
            for answer in answers if asked else ():
                if not _explained(answer, self._states[player_id], asked):
                    yield (
                        f"personal: the answer of {answer.version} to drawing {drawing_id} of player {player_id} is none that a"
                        " fresh fold of their examples gives"
                    )


def _explained(answer: _OnTheLog, states: Sequence[Player], asked: _Asked) -> bool:
    """Return whether a player's model gives this answer in one of these states."""
    return any(
        player.version == answer.version and np.allclose(player.answer(*drawing)[0], answer.probabilities, atol=ALIKE)
        for player in states
        for drawing in asked
    )
