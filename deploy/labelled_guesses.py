"""Says what a row of an export is: one model's guess on one labelled drawing (beside all ways). Pure; docs/export.md shows it.

A file without pyarrow in mind reads it as well: every column has one plain type, and no column is nested.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import pyarrow as pa

from contracts.events import DIGITS, ExampleLabelled, ShownGuess, mark_of


class Column(NamedTuple):
    """A column of an export."""

    name: str
    type: "pa.DataType"
    about: str
    nullable: bool = False


_TIME: Final = pa.timestamp("us", tz="UTC")
_PROBABILITIES: Final = tuple(f"p{digit}" for digit in range(DIGITS))

COLUMNS: Final = (
    Column("drawing_id", pa.string(), "the drawing; its rows are one for each model that guessed"),
    Column("drawn_at", _TIME, "when the API had the finished drawing, UTC"),
    Column("labelled_at", _TIME, "when the label, or a late guess, came to the drawing, UTC"),
    Column("player", pa.string(), "the player's mark, a hash of their id: the one that a certificate of forgetting names"),
    Column("width", pa.float64(), "width of the canvas, in CSS pixels: a phone's is narrow"),
    Column("height", pa.float64(), "height of the canvas, in CSS pixels"),
    Column("device", pa.string(), "what it was drawn with: mouse, pen or touch; null: not known", nullable=True),
    Column("strokes", pa.int16(), "how many strokes the drawing has"),
    Column("points", pa.int32(), "how many points its strokes have"),
    Column("label", pa.int8(), "the digit that the player says it is, by their last word"),
    Column("labels", pa.int16(), "how often the player gave it a label; above 1: it was changed, or withdrawn and given again"),
    Column("asked", pa.int8(), "the digit that the player was asked to draw", nullable=True),
    Column("gold", pa.bool_(), "whether the server itself had asked, so that the digit was known before anybody guessed"),
    Column("picked", pa.float64(), "the probability with which chance picked it, to estimate accuracy by it", nullable=True),
    Column("over_quota", pa.bool_(), "whether the label came over the quota, so that only the player's own model learns it"),
    Column("quarantined", pa.bool_(), "whether what the player teaches counts nowhere for now"),
    Column("weight", pa.float64(), "what the label counts in the online model; null: no lesson is in force", nullable=True),
    Column("newcomer", pa.bool_(), "whether it is a newcomer's: all of these together count as an eighth", nullable=True),
    Column("model", pa.string(), "who guessed"),
    Column("version", pa.string(), "in which version"),
    Column("shadow", pa.bool_(), "whether the guess was not shown to the player"),
    Column("guess", pa.int8(), "the digit guessed"),
    Column("probability", pa.float64(), "the model's probability of its guess"),
    *(Column(name, pa.float64(), f"the model's probability of {name[1:]}") for name in _PROBABILITIES),
    Column("correct", pa.bool_(), "whether guess and label are the same"),
    Column("latency_ms", pa.float64(), "milliseconds from the drawing's arrival to the guess"),
)  # fmt: skip
"""The columns, in order."""
SCHEMA: Final = pa.schema(
    [pa.field(one.name, one.type, nullable=one.nullable, metadata={"about": one.about}) for one in COLUMNS],
    metadata={"gamenight": "labelled guesses 1"},
)


class CountedLesson(NamedTuple):
    """The lesson of a drawing that is in force in the online model."""

    weight: float
    newcomer: bool


@dataclass(frozen=True, slots=True)
class LabelledDrawing:
    """What an export keeps of an example until it is written."""

    example: dict[str, Any]
    """The columns that all its rows share."""
    guesses: list[tuple[str, str, bool, int, list[float], float]]
    """Model, version, shadow, label, probabilities and latency of each guess."""


def drawing_of(example: ExampleLabelled) -> LabelledDrawing | None:
    """Return what an export says of an example; None if its label was withdrawn."""
    if example.label is None:
        return None
    shared = {
        "drawing_id": str(example.drawing_id),
        "drawn_at": microseconds(example.drawn_at.timestamp()),
        "labelled_at": microseconds(example.at.timestamp()),
        "player": mark_of(example.player_id),
        "width": example.width,
        "height": example.height,
        "device": example.device,
        "strokes": len(example.strokes),
        "points": sum(map(len, example.strokes)),
        "label": example.label,
        "labels": max(1, len(example.labels)),  # older examples do not have them
        "asked": example.asked,
        "gold": example.gold,
        "picked": example.picked,
        "over_quota": example.over_quota,
    }
    return LabelledDrawing(shared, [_kept(guess) for guess in example.guesses])


def microseconds(timestamp: float) -> int:
    """Return a time as microseconds since 1970."""
    return round(timestamp * 1_000_000)


def _kept(guess: ShownGuess) -> tuple[str, str, bool, int, list[float], float]:
    return guess.model, guess.version, guess.shadow, guess.label, list(guess.probabilities), guess.latency_ms


def rows(
    drawing: LabelledDrawing, lesson: CountedLesson | None, quarantined: bool, models: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a drawing, one a guess.

    Args:
        drawing: The drawing.
        lesson: What its label counts in the online model; None: there is no lesson of it.
        quarantined: Whether its player is quarantined.
        models: Whose guesses; empty: everybody's.
    """
    label = drawing.example["label"]
    for model, version, shadow, guess, probabilities, latency_ms in drawing.guesses:
        if models and model not in models:
            continue
        yield {
            **drawing.example,
            "quarantined": quarantined,
            "weight": lesson and lesson.weight,
            "newcomer": lesson and lesson.newcomer,
            "model": model,
            "version": version,
            "shadow": shadow,
            "guess": guess,
            "probability": probabilities[guess],
            **dict(zip(_PROBABILITIES, probabilities, strict=True)),
            "correct": guess == label,
            "latency_ms": latency_ms,
        }
