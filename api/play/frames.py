"""Defines every frame that the server sends to players over /ws/play (ways 1 and 2). Pure; asyncapi.py shows these classes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field

from api.folds.model_state import ModelState, StateChange
from api.play.lift import paired_lift
from contracts.events import DIGITS, CorrectionReceipt, Digit, GuessMade, GuessMissed, MemoryTold, ModelChange, Outcome


class _FromServer(BaseModel):
    model_config = ConfigDict(frozen=True)

    omitted: ClassVar[bool] = False
    """Whether fields that are None are left out."""

    def text(self) -> str:
        """Return the frame as JSON text."""
        return self.model_dump_json(exclude_none=self.omitted)


class Joined(_FromServer):
    """Answers `join`."""

    type: Literal["joined"] = "joined"
    player_id: str
    seat: str
    """A signed token; give it in the next `join` to be the same player. It is valid for 30 days."""
    room: str
    models: list[ModelState]
    """All models, in the order in which they are shown."""


class Saved(_FromServer):
    """A finished drawing is saved: the broker has acknowledged it."""

    type: Literal["saved"] = "saved"
    drawing_id: UUID


class Question(_FromServer):
    """The digit that the player is asked to draw next; only on a socket that joined with `questions`.

    It is chosen by chance, and stands until a finished drawing says that it was `asked`, or the player wants another.
    """

    type: Literal["question"] = "question"
    digit: Digit


class Check(_FromServer):
    """Chance has picked a drawing that was not asked for: ask the player whether the guess was right.

    Only on a socket that joined with `questions`. A `correct` answers; without one, nothing follows.
    """

    type: Literal["check"] = "check"
    drawing_id: UUID


class Forgotten(_FromServer):
    """The player of this socket is forgotten: their seat is no longer valid, and the socket is closed."""

    type: Literal["forgotten"] = "forgotten"


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
    """Whether the guess answers the finished drawing."""
    hops: dict[str, float]
    """Milliseconds: the router's hops, then `bus_out`; on finished drawings also `total`, since the API received the frame."""
    fallback: str | None = None
    """Why this model or version answered in place of another."""
    role: Literal["champion", "canary"]
    """``champion``: the model's own version; ``canary``: a version that is tried on some players."""
    lead: str | None = None
    """The model that this player is shown first for this drawing."""
    left_out: Annotated[dict[str, str], Field(min_length=1)] | None = None
    """On the blend: the models that it leaves out, and why."""


class Missed(_FromServer):
    """A model has not answered a finished drawing; if its answer comes after all, that counts."""

    type: Literal["missed"] = "missed"
    drawing_id: UUID
    model: str
    resting: bool
    """Whether the model was not asked, since it rests after failures; it is tried again automatically."""
    why: str


class Receipt(_FromServer):
    """What a correction did: one frame for the shared models, one for the player's own, each sent when it has learned."""

    omitted: ClassVar[bool] = True

    type: Literal["receipt"] = "receipt"
    correction_id: UUID
    drawing_id: UUID
    outcome: Outcome
    stage: Literal["learner", "personal", "joiner"]
    """The stage that sent the receipt; a correction has one receipt from each stage that it concerns."""
    models: dict[str, ModelChange]
    weight: float | None = None
    """How much it counts in the shared model, of a whole lesson; None: another stage says so."""
    why: str | None = None
    """Why the correction is refused, or counts less than others or not yet."""
    frozen: bool | None = None
    """True: the shared model's learning is frozen, and the correction counts once it is thawed."""


class MemoryCard(_FromServer):
    """What the player's own model remembers of them."""

    type: Literal["card"] = "card"
    request_id: UUID
    """The `reset_id`, if this says that a reset is done."""
    version: str
    lessons: int
    """How many labelled drawings the model learns from."""
    most: int
    """How many it remembers at most, the newest."""
    size: int
    """Bytes of the memory."""
    both: int
    """Labelled drawings on which the player saw both this model and the shared one."""
    own_alone: int
    """On how many of `both` this model was right, and the shared one wrong."""
    shared_alone: int
    lift: float | None
    """By how much a larger share of `both` this model got right, in -1..1; None: there is none to compare."""
    low: float | None
    """The 95 per cent interval of the lift, Bonett and Price's (2012) for paired shares."""
    high: float | None
    reset_until: datetime | None
    """What was drawn up to this time is forgotten; None: nothing was."""


class FiledDrawing(BaseModel):
    """A drawing in a `MemoryFile`."""

    drawing_id: UUID
    drawn_at: datetime
    label: Digit
    said: dict[str, int]
    """The digit that each model was shown to see."""
    raster: list[str]
    """28 lines of 28 characters: ``#`` is ink."""


class MemoryFile(_FromServer):
    """All that the player's own model remembers of them, for people to read and to keep."""

    type: Literal["memory"] = "memory"
    format: Literal["gamenight-memory-1"] = "gamenight-memory-1"
    at: datetime
    player_id: str
    version: str
    size: int
    """Bytes of the memory as the model keeps it."""
    drawings: list[FiledDrawing]


class SeatCode(_FromServer):
    """A code by which another device plays as the same player."""

    type: Literal["code"] = "code"
    code: str
    valid_s: int
    """For how many seconds it is valid, once."""


class ModelChanged(StateChange, _FromServer):
    """A model has changed; the frame has its whole new state. A ``published`` version does not answer yet."""

    type: Literal["model"] = "model"


class RoomChanged(_FromServer):
    """The players who are in the room now, by name."""

    type: Literal["room"] = "room"
    room: str
    players: list[str]


class Error(_FromServer):
    """A frame could not be handled; the socket stays open."""

    omitted: ClassVar[bool] = True

    type: Literal["error"] = "error"
    code: str
    message: str
    drawing_id: UUID | None = None


def frame_of(event: GuessMade | GuessMissed | CorrectionReceipt, hops: Mapping[str, float] | None = None) -> str:
    """Return the frame by which its player is told of an event, as text; a guess with other ``hops`` than its own, if given."""
    match event:
        case GuessMade():
            return _guess_text(event, event.hops if hops is None else hops)
        case GuessMissed():
            return Missed(drawing_id=event.drawing_id, model=event.model, resting=event.resting, why=event.why).text()
        case CorrectionReceipt():
            return Receipt(
                correction_id=event.correction_id,
                drawing_id=event.drawing_id,
                outcome=event.outcome,
                stage=event.stage,
                models=dict(event.models),
                weight=event.weight,
                why=event.why or None,
                frozen=event.frozen or None,
            ).text()


def memory_text(told: MemoryTold) -> str:
    """Return the frame by which a player is told what is remembered of them, as text."""
    if told.drawings is not None:
        return MemoryFile(
            at=told.at,
            player_id=told.player_id,
            version=told.version,
            size=told.size,
            drawings=[
                FiledDrawing(
                    drawing_id=one.drawing_id,
                    drawn_at=one.drawn_at,
                    label=one.label,
                    said=dict(one.said),
                    raster=_lines(one.bits),
                )
                for one in told.drawings
            ],
        ).text()
    lift = paired_lift(told.both, told.own_alone, told.shared_alone)
    counts = told.model_dump(exclude={"type", "at", "player_id", "drawings"})
    interval = dict.fromkeys(("lift", "low", "high")) if lift is None else lift._asdict()
    return MemoryCard(**counts, **interval).text()


def _lines(ink: bytes) -> list[str]:
    """Draw a raster of bits with characters, a line for each row."""
    pixels = f"{int.from_bytes(ink):0{8 * len(ink)}b}".replace("0", ".").replace("1", "#")
    return [pixels[start : start + 28] for start in range(0, len(pixels), 28)]


def _guess_text(guess: GuessMade, hops: Mapping[str, float]) -> str:
    """Return the `Guess` frame of a guess, as text; it is built by hand, since it is most of what the API does.

    The guess is checked, its probabilities are rounded, and its hops go up to this socket.
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
    "not_text": "the frame is binary",
    "not_json": "the frame is not a JSON object in text",
    "unknown_type": "this socket does not accept the type",
    "unknown_field": "the message has no such field",
    "invalid": "a field is missing, or has a wrong type or range",
    "not_joined": "the first message must be `join`",
    "already_joined": "the socket has joined already",
    "bad_seat": "the seat was not signed here, or over 30 days ago, or its player is forgotten: join with seat null",
    "bad_code": "the code for another device was used, is too old, or was never given",
    "room_full": "the room is full",
    "unknown_drawing": "the corrected drawing is another player's; if it is not on the log, a receipt says ``refused`` instead",
    "no_questions": "another question is wanted by a player who joined without `questions`",
    "taken": "another player has used this drawing_id",
    "too_fast": "too many frames for a human player; the frame was dropped",
    "busy": "too much from this address, perhaps by somebody else there; the frame was dropped: wait as the message says",
    "not_forgotten": "the player asked to be forgotten, and it is not done: operators see why under the id in the message",
    "too_many": "the player has too many sockets",
    "unavailable": "the drawing or correction is not saved yet: the log is slow or away",
}
"""Every code of an error frame, and when it is sent."""
