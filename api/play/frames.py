"""The messages of /ws/play, both ways, each defined once (ways 1 and 2). Pure.

From the browser nothing is guessed: types are strict, unknown fields are refused by name. `parse` is the only door for what a
stranger sends; it raises `Mistake` and nothing else. asyncapi.py shows the same classes as the public protocol.
"""

import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from contracts.drawing import MAX_POINTS, MAX_SIDE, MAX_STROKES, Point, Strokes, check_limits
from contracts.events import (
    DIGITS,
    Digit,
    GuessMade,
    ModelChange,
    Outcome,
    Part,
)
from contracts.roster import Kind

MAX_FRAME: Final = 65_536
"""Bytes of the largest frame; a larger one closes the socket with 1009."""
MAX_NAME: Final = 32
"""Characters of the longest name."""
ROOM_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
"""Of room names: no vowels, so that no word comes out, and nothing that looks like a digit."""
ROOM_LENGTH: Final = 4


class Mistake(ValueError):
    """A frame that cannot be acted upon: the sender's fault, told by an error frame."""

    def __init__(self, code: str, message: str, drawing_id: UUID | None = None) -> None:
        """Say what is wrong.

        Args:
            code: For programs: one word of the protocol.
            message: For people: what is wrong and what to do.
            drawing_id: The drawing it is about, where that could be read.
        """
        super().__init__(message)
        self.code = code
        self.message = message
        self.drawing_id = drawing_id


# --- from the player -------------------------------------------------------------------------------------------------


def _name(text: str) -> str:
    name = unicodedata.normalize("NFC", text).strip()
    if not 1 <= len(name) <= MAX_NAME:
        raise ValueError(f"a name has 1 to {MAX_NAME} characters")
    # Invisible characters could turn other players' names around; U+200D joins emoji.
    if any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} and c != "\u200d" for c in name):
        raise ValueError("a name has no control characters")
    return name


def _room(text: str) -> str:
    room = text.upper()
    if len(room) != ROOM_LENGTH or any(letter not in ROOM_LETTERS for letter in room):
        raise ValueError(f"a room is {ROOM_LENGTH} letters of {ROOM_LETTERS}; null opens a new one")
    return room


def drawable(strokes: Strokes) -> Strokes:
    """The strokes, if they can be drawn; raises ValueError otherwise."""
    check_limits(strokes)
    for stroke in strokes:
        for point in stroke:
            if not (-MAX_SIDE <= point[0] <= 2 * MAX_SIDE and -MAX_SIDE <= point[1] <= 2 * MAX_SIDE):
                raise ValueError(f"x and y are CSS pixels from {-MAX_SIDE} to {2 * MAX_SIDE}")
    return strokes


_Stroke = Annotated[list[Annotated[Point, Field(fail_fast=True)]], Field(min_length=1, max_length=MAX_POINTS, fail_fast=True)]
Drawable = Annotated[list[_Stroke], Field(min_length=1, max_length=MAX_STROKES, fail_fast=True), AfterValidator(drawable)]
"""Strokes of a stranger, refused at the first mistake: an error for each of thousands of points holds up everybody."""

Id = Annotated[UUID, Field(strict=False)]
"""A UUID that the sender made; it comes back in its canonical form (lower case, with hyphens)."""
Side = Annotated[float, Field(gt=0, le=MAX_SIDE, allow_inf_nan=False)]


class _FromPlayer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Join(_FromPlayer):
    """Takes a place in a room; the first message of a socket."""

    type: Literal["join"]
    name: Annotated[str, AfterValidator(_name)]
    """1 to 32 characters that can be seen."""
    room: Annotated[str, AfterValidator(_room)] | None = None
    """None: the seat's room, or a new one."""
    seat: Annotated[str, Field(max_length=512)] | None = None
    """From an earlier `joined`: makes this socket the same player again."""


class Draw(_FromPlayer):
    """A digit, finished or still under way; the same drawing_id again changes nothing once it is finished."""

    type: Literal["draw"]
    drawing_id: Id
    strokes: Drawable
    width: Side
    """Of the canvas, in CSS pixels."""
    height: Side
    final: bool
    asked: Digit | None = None


class Correct(_FromPlayer):
    """Says what a finished drawing was: puts a wrong guess right, or confirms a right one."""

    type: Literal["correct"]
    drawing_id: Id
    correction_id: Id
    label: Digit


class Withdraw(_FromPlayer):
    """Takes a correction back."""

    type: Literal["withdraw"]
    drawing_id: Id
    correction_id: Id


Message = Join | Draw | Correct | Withdraw
MESSAGES: Final[Mapping[str, type[Message]]] = {"join": Join, "draw": Draw, "correct": Correct, "withdraw": Withdraw}


def parse(data: str | bytes) -> Message:
    """The message of a frame.

    Args:
        data: Text as the socket gave it; bytes are a binary frame.

    Raises:
        Mistake: If it is no message of the protocol; nothing else is ever raised, whatever the bytes.
    """
    if isinstance(data, bytes):
        raise Mistake("not_text", "a binary frame: send JSON in a text frame")
    try:
        value = orjson.loads(data)  # refuses NaN, lone surrogates and over 1,024 brackets
    except ValueError as wrong:
        raise Mistake("not_json", f"not JSON: {str(wrong)[:120]}") from None
    if not isinstance(value, dict):
        raise Mistake("not_json", 'a message is a JSON object with a "type"')
    kind = value.get("type")
    model = MESSAGES.get(kind) if isinstance(kind, str) else None
    if model is None:
        known = ", ".join(MESSAGES)
        raise Mistake("unknown_type", f'unknown "type" {_shown(kind)}: this socket takes {known}', _drawing_of(value))
    try:
        return model.model_validate(value)
    except ValidationError as wrong:
        raise _explained(model, wrong, _drawing_of(value)) from None


def _shown(value: object) -> str:
    return repr(value[:40]) if isinstance(value, str) else f"of type {type(value).__name__}"


def _drawing_of(value: dict[str, Any]) -> UUID | None:
    try:
        return UUID(value["drawing_id"])
    except (KeyError, ValueError, AttributeError, TypeError):
        return None


def _explained(model: type[Message], wrong: ValidationError, drawing_id: UUID | None) -> Mistake:
    errors = wrong.errors(include_url=False, include_input=False, include_context=False)
    unknown = [str(error["loc"][-1])[:40] for error in errors if error["type"] == "extra_forbidden"]
    if unknown:
        fields = ", ".join(model.model_fields)
        named = ", ".join(repr(name) for name in unknown[:5]) + (" ..." if len(unknown) > 5 else "")
        return Mistake("unknown_field", f"unknown field {named}: {model.__name__.lower()} has {fields}", drawing_id)
    told = "; ".join(f"{'.'.join(str(part)[:40] for part in error['loc'])}: {error['msg'][:160]}" for error in errors[:3])
    more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
    return Mistake("invalid", told + more, drawing_id)


# --- from the server -------------------------------------------------------------------------------------------------


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
    """The one that answers; None: there is none yet, or each guess says it (`yours`, `everyone`)."""
    title: str
    kind: Kind
    hue: int | None
    """Its colour, in degrees on the circle of OKLCH; None: the colour of ink."""
    order: int
    """Its place among all: the first has 0."""
    part: Part
    """By the policy: players are shown no guess of a model that is not ``shown``."""
    lead: bool
    """The policy shows it first; none has it: a bandit picks for each player, and each guess says whom."""
    resting: str | None = None
    """Why it is not asked at the moment; it is tried again by itself."""
    unavailable: str | None = None
    """Why there is none."""


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
    """Of the version: the model's own, or one that is tried on some players."""
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
    """Who wrote it: a correction has one receipt of each that has something to say."""
    models: dict[str, ModelChange]
    why: str | None = None
    """Of a correction that is refused."""


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
    "unknown_drawing": "a word on another player's drawing; one on a drawing that is not on the log gets a receipt: refused",
    "taken": "a drawing_id that another player has used",
    "too_fast": "more frames than a player can make; the frame was dropped",
    "busy": "more than an address may ask for, perhaps by somebody else there; the frame was dropped: wait as it says",
    "too_many": "more sockets than a player may have",
    "unavailable": "not kept yet: the log is slow or away",
}
"""Every code of an error frame, and when it comes."""
