"""The events that these programs know, copied from contracts/events.py of 2026-11-23 (commit f9f7148)."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Digit = Annotated[int, Field(ge=0, le=9)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Probabilities = Annotated[list[Probability], Field(min_length=10, max_length=10)]
PlayerId = Annotated[str, Field(min_length=1, max_length=64)]
ModelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
Version = Annotated[str, Field(min_length=1, max_length=64)]


def now() -> datetime:
    return datetime.now(UTC)


class Event(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="null"
    )

    type: str
    at: AwareDatetime = Field(default_factory=now)


class DrawingSubmitted(Event):
    type: Literal["DrawingSubmitted"] = "DrawingSubmitted"
    drawing_id: UUID
    player_id: PlayerId
    room: str | None = None
    strokes: list[list[list[float]]]
    width: float
    height: float
    final: bool
    asked: Digit | None = None
    probe: bool = False
    raster: bytes | None = None
    models: list[ModelName] | None = None


class CorrectionGiven(Event):
    type: Literal["CorrectionGiven"] = "CorrectionGiven"
    correction_id: UUID
    drawing_id: UUID
    player_id: PlayerId
    label: Digit


class Features(BaseModel):
    model_config = Event.model_config

    raster: bytes
    embedding: bytes
    reader: str


class GuessMade(Event):
    type: Literal["GuessMade"] = "GuessMade"
    drawing_id: UUID
    player_id: PlayerId
    model: ModelName
    version: Version
    label: Digit
    probabilities: Probabilities
    final: bool
    hops: dict[str, float]
    table: str = ""
    features: Features | None = None
    fallback: str | None = None
    role: Literal["champion", "canary", "shadow"] = "champion"
    lead: ModelName | None = None
    lead_after: int | None = None
    left_out: dict[ModelName, str] = {}


class GuessMissed(Event):
    type: Literal["GuessMissed"] = "GuessMissed"
    drawing_id: UUID
    player_id: PlayerId
    model: ModelName
    final: bool
    resting: bool
    why: str


class Outcome(StrEnum):
    LEARNED = "learned"
    WEIGHTED = "weighted"
    QUARANTINED = "quarantined"
    SUPERSEDED = "superseded"


class ModelChange(BaseModel):
    version_before: Version
    version_after: Version
    p_before: Probability
    p_after: Probability


class CorrectionReceipt(Event):
    type: Literal["CorrectionReceipt"] = "CorrectionReceipt"
    correction_id: UUID
    drawing_id: UUID
    player_id: PlayerId
    outcome: Outcome
    models: dict[ModelName, ModelChange]
    stage: Literal["learner", "personal", "joiner"] = "learner"


KNOWN: dict[str, dict[str, type[Event]]] = {
    "guesses.v1": {"GuessMade": GuessMade, "GuessMissed": GuessMissed},
    "receipts.v1": {"CorrectionReceipt": CorrectionReceipt},
}
"""What the consumer reads: by topic, the events by type."""
