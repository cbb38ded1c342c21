"""The frames that players are sent over /ws/play, each defined once (ways 1 and 2). Pure; asyncapi.py shows these classes."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field

from contracts.events import DIGITS, Digit, GuessMade, ModelChange, Outcome, Part
from contracts.roster import Kind


class _FromServer(BaseModel):
    model_config = ConfigDict(frozen=True)

    omitted: ClassVar[bool] = False
    """Whether fields that are None are left out."""

    def text(self) -> str:
        """The frame."""
        return self.model_dump_json(exclude_none=self.omitted)


class ModelState(BaseModel):
    """A model as it stands now."""

    model_config = ConfigDict(frozen=True)

    model: str
    version: str | None
    """The version that answers; None: there is none yet, or each guess names it (`yours`, `everyone`)."""
    title: str
    kind: Kind
    hue: int | None
    """Its colour, in degrees on the circle of OKLCH; None: the colour of ink."""
    order: int
    """Its place among all: the first has 0."""
    part: Part
    """Its part in the policy: players are shown no guess of a model that is not ``shown``."""
    lead: bool
    """The policy shows it first; none has it: a bandit picks for each player, and each guess says whom."""
    resting: str | None = None
    """Why it is not asked at the moment; it is tried again by itself."""
    unavailable: str | None = None
    """Why it cannot be served here; None: it can."""


class Joined(_FromServer):
    """Answers `join`."""

    type: Literal["joined"] = "joined"
    player_id: str
    seat: str
    """Signed; give it in the next `join` to be the same player. Good for 30 days."""
    room: str
    models: list[ModelState]
    """All there are, in the order in which they are shown."""


class Saved(_FromServer):
    """A finished drawing is kept: the broker has acknowledged it."""

    type: Literal["saved"] = "saved"
    drawing_id: UUID


class Guess(_FromServer):
    """One model's answer."""

    omitted: ClassVar[bool] = True

    type: Literal["guess"] = "guess"
    drawing_id: UUID
    model: str
    version: str
    label: Digit
    confidence: float
    """The probability of `label`."""
    probabilities: Annotated[list[float], Field(min_length=DIGITS, max_length=DIGITS)]
    final: bool
    """Whether it answers the finished drawing."""
    hops: dict[str, float]
    """Milliseconds: the router's hops, then `bus_out`; and `total` since this API had the frame, on finished drawings."""
    fallback: str | None = None
    """Why this model or version answered in the place of another."""
    role: Literal["champion", "canary"]
    """Whether the version is the model's own, or one that is tried on some players."""
    lead: str | None = None
    """The model that this player is shown first for this drawing."""
    left_out: Annotated[dict[str, str], Field(min_length=1)] | None = None
    """On the blend: who is not in it, and why."""


class Missed(_FromServer):
    """A model that gives no answer to a finished drawing; if one comes after all, it counts."""

    type: Literal["missed"] = "missed"
    drawing_id: UUID
    model: str
    resting: bool
    """Whether it was not even asked, after failures; it is tried again by itself."""
    why: str


class Receipt(_FromServer):
    """What a correction did to some models: one of the shared ones, one of the player's own, told when each has learned."""

    omitted: ClassVar[bool] = True

    type: Literal["receipt"] = "receipt"
    correction_id: UUID
    drawing_id: UUID
    outcome: Outcome
    stage: Literal["learner", "personal", "joiner"]
    """The stage that wrote it: a correction has one receipt from each stage that it concerns."""
    models: dict[str, ModelChange]
    why: str | None = None
    """Why a correction is refused."""


ModelNews = Literal[
    "published",
    "promoted",
    "rolled-back",
    "canary",
    "shadow",
    "untried",
    "policy",
    "resting",
    "back",
    "available",
    "unavailable",
]


class ModelChanged(ModelState, _FromServer):
    """Something changed about a model: the whole state after it. A ``published`` version does not answer yet."""

    type: Literal["model"] = "model"
    event: ModelNews
    note: str


class RoomChanged(_FromServer):
    """Who is in the room now, by name."""

    type: Literal["room"] = "room"
    room: str
    players: list[str]


class Error(_FromServer):
    """Something could not be done; the socket stays open."""

    omitted: ClassVar[bool] = True

    type: Literal["error"] = "error"
    code: str
    message: str
    drawing_id: UUID | None = None


def guess_text(guess: GuessMade, hops: Mapping[str, float]) -> str:
    """The `Guess` frame of a guess, as text; built by hand, since it is most of what the API does.

    Args:
        guess: As it was on the bus: checked, and its probabilities rounded.
        hops: In ms, up to this socket.
    """
    frame: dict[str, Any] = {
        "type": "guess",
        "drawing_id": guess.drawing_id,
        "model": guess.model,
        "version": guess.version,
        "label": guess.label,
        "confidence": guess.probabilities[guess.label],
        "probabilities": guess.probabilities,
        "final": guess.final,
        "hops": hops,
        "role": guess.role,
    }
    if guess.fallback is not None:
        frame["fallback"] = guess.fallback
    if guess.lead is not None:
        frame["lead"] = guess.lead
    if guess.left_out:
        frame["left_out"] = guess.left_out
    return orjson.dumps(frame).decode()


ERROR_CODES: Final[Mapping[str, str]] = {
    "not_text": "a binary frame",
    "not_json": "a text frame that is no JSON object",
    "unknown_type": "a type that this socket does not take",
    "unknown_field": "a field that the message does not have",
    "invalid": "a field that is missing, or not of its type or range",
    "not_joined": "a message before `join`",
    "already_joined": "a second `join` on one socket",
    "bad_seat": "a seat that this server did not sign, or over 30 days ago: join with seat null",
    "room_full": "a room with as many players as it takes",
    "unknown_drawing": "a correction of another player's drawing; of one that is not on the log it gets a receipt: refused",
    "taken": "a drawing_id that another player has used",
    "too_fast": "more frames than a player can make; the frame was dropped",
    "busy": "more than an address may ask for, perhaps by somebody else there; the frame was dropped: wait as it says",
    "too_many": "more sockets than a player may have",
    "unavailable": "not kept yet: the log is slow or away",
}
"""Every code of an error frame, and when it comes."""
