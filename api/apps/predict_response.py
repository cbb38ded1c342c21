"""Builds the answer to an app: the digit, and the prediction of each model that was asked (way 1). Pure."""

from typing import Literal
from uuid import UUID

from pydantic import BaseModel

from contracts.events import BLEND, GuessMade


class ModelPrediction(BaseModel):
    """What one model says."""

    version: str
    digit: int
    confidence: float
    """The probability of `digit`, 0..1."""
    probabilities: list[float]
    """The probability of each digit, 0 to 9."""


class NoPrediction(BaseModel):
    """Why a model that was asked has no prediction."""

    error: str


class Prediction(BaseModel):
    """The digit, by the first of the asked models that answered, and the prediction of each model."""

    digit: int
    confidence: float
    """The probability of `digit`, 0..1."""
    model: str
    version: str
    probabilities: list[float]
    """The probability of each digit, 0 to 9."""
    models: dict[str, ModelPrediction | NoPrediction]
    left_out: dict[str, str]
    """On `everyone`: the models that it leaves out, and why."""
    ink: Literal["dark", "light"] | None
    """What was taken for ink on an image or PNG; null for strokes."""
    ms: float
    """Milliseconds from the whole request to the answer."""
    drawing_id: UUID
    """The id of the request in logs."""

    @classmethod
    def of(
        cls, names: list[str], guesses: dict[str, GuessMade], silent: dict[str, str], drawing_id: UUID, dark: bool | None
    ) -> "Prediction":
        """Make the prediction from some guesses; ``ms`` is set later.

        Args:
            names: The requested models, in order; at least one has answered.
            guesses: The guesses by model.
            silent: Why each of the other models gave no answer.
            drawing_id: The id of the drawing.
            dark: Whether the ink was dark; None: the drawing was given as strokes.
        """
        first = next(guesses[name] for name in names if name in guesses)
        said = {name: _said(guesses[name]) if name in guesses else NoPrediction(error=silent[name]) for name in names}
        return cls(
            **_said(first).model_dump(),
            model=first.model,
            models=said,
            left_out=dict(guesses[BLEND].left_out) if BLEND in names and BLEND in guesses else {},
            ink=None if dark is None else "dark" if dark else "light",
            ms=0.0,
            drawing_id=drawing_id,
        )


def _said(guess: GuessMade) -> ModelPrediction:
    return ModelPrediction(
        version=guess.version,
        digit=guess.label,
        confidence=guess.probabilities[guess.label],
        probabilities=guess.probabilities,
    )
