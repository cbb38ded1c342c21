"""Defines and parses the messages that players send over /ws/play; strangers' bytes come in here only (ways 1 and 2).

Nothing is guessed: types are strict, unknown fields are refused by name. `parse` raises `Mistake` and nothing else. asyncapi.py
shows the same classes as the public protocol. Pure.
"""

import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from api.limits import RequestRefused
from contracts.drawing import MAX_POINTS, MAX_SIDE, MAX_STROKES, Point, Strokes, check_limits
from contracts.events import Device, Digit

MAX_FRAME: Final = 65_536
"""The size of the largest frame in bytes; a larger one closes the socket with 1009."""
MAX_NAME: Final = 32
"""The length of the longest name in characters."""
ROOM_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
"""The letters of room names: no vowels, so that no word comes out, and nothing that looks like a digit."""
ROOM_LENGTH: Final = 4
CODE_LENGTH: Final = 10
"""The length of a code for another device: of ten such letters there are ten million million."""


class Mistake(RequestRefused):
    """A frame cannot be handled, by its sender's fault. The code is one of `api.play.frames.ERROR_CODES`."""


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


def _code(text: str) -> str:
    code = "".join(text.upper().replace("-", " ").split())
    if len(code) != CODE_LENGTH or any(letter not in ROOM_LETTERS for letter in code):
        raise ValueError(f"a code is {CODE_LENGTH} letters of {ROOM_LETTERS}; spaces and hyphens do not count")
    return code


def drawable(strokes: Strokes) -> Strokes:
    """Return the strokes if they can be drawn; raise ValueError otherwise."""
    check_limits(strokes)
    for stroke in strokes:
        for point in stroke:
            if not (-MAX_SIDE <= point[0] <= 2 * MAX_SIDE and -MAX_SIDE <= point[1] <= 2 * MAX_SIDE):
                raise ValueError(f"x and y are CSS pixels from {-MAX_SIDE} to {2 * MAX_SIDE}")
    return strokes


_Stroke = Annotated[list[Annotated[Point, Field(fail_fast=True)]], Field(min_length=1, max_length=MAX_POINTS, fail_fast=True)]
Drawable = Annotated[list[_Stroke], Field(min_length=1, max_length=MAX_STROKES, fail_fast=True), AfterValidator(drawable)]
"""Strokes of a stranger, refused at the first mistake: to report each of thousands of points would hold up everybody."""

Id = Annotated[UUID, Field(strict=False)]
"""A UUID that the sender made; the server sends it back in canonical form (lower case, with hyphens)."""
Side = Annotated[float, Field(gt=0, le=MAX_SIDE, allow_inf_nan=False)]


class _FromPlayer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Join(_FromPlayer):
    """Join a room; the first message on a socket."""

    type: Literal["join"]
    name: Annotated[str, AfterValidator(_name)]
    """1 to 32 visible characters."""
    room: Annotated[str, AfterValidator(_room)] | None = None
    """The room; None: the room of the seat, or a new one."""
    seat: Annotated[str, Field(max_length=512)] | None = None
    """The seat of an earlier `joined`, which makes this socket the same player again."""
    questions: bool = False
    """Whether this page shows the digits that the server asks for, and may ask whether a guess was right."""
    code: Annotated[str, Field(max_length=64), AfterValidator(_code)] | None = None
    """A code that the player was given on another device: it makes this socket the same player. Give no seat with it."""


class Draw(_FromPlayer):
    """Send a drawing, finished or not; once a drawing_id is finished, sending it again changes nothing."""

    type: Literal["draw"]
    drawing_id: Id
    strokes: Drawable
    width: Side
    """The width of the canvas, in CSS pixels."""
    height: Side
    final: bool
    asked: Digit | None = None
    device: Device | None = None
    """What is drawn with, as PointerEvent.pointerType says; null: something else, or not known."""


class Correct(_FromPlayer):
    """Give the digit of a finished drawing: correct a wrong guess, or confirm a right one."""

    type: Literal["correct"]
    drawing_id: Id
    correction_id: Id
    label: Digit


class Withdraw(_FromPlayer):
    """Withdraw a correction."""

    type: Literal["withdraw"]
    drawing_id: Id
    correction_id: Id


class Another(_FromPlayer):
    """Ask for another question, since this digit is not to be drawn."""

    type: Literal["another"]


class Card(_FromPlayer):
    """Ask what your own model remembers of you, as counts or as a file with each drawing."""

    type: Literal["card"]
    whole: bool = False


class Reset(_FromPlayer):
    """Let your own model forget all that you have drawn until now; shared models keep what they learned from it."""

    type: Literal["reset"]
    reset_id: Id


class Carry(_FromPlayer):
    """Ask for a code by which another device plays as the same player: valid once, and for ten minutes."""

    type: Literal["carry"]


class Forget(_FromPlayer):
    """Be forgotten: all that is this player's is cut out of every store, and cannot be brought back."""

    type: Literal["forget"]


ClientMessage = Join | Draw | Correct | Withdraw | Another | Card | Reset | Carry | Forget
MESSAGES: Final[Mapping[str, type[ClientMessage]]] = {
    "join": Join,
    "draw": Draw,
    "correct": Correct,
    "withdraw": Withdraw,
    "another": Another,
    "card": Card,
    "reset": Reset,
    "carry": Carry,
    "forget": Forget,
}


def parse(data: str | bytes) -> ClientMessage:
    """Read the message in a frame.

    Args:
        data: The frame as the socket gave it: text, or the bytes of a binary frame.

    Raises:
        Mistake: If the frame is no message of the protocol; nothing else is raised, whatever the bytes.
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


def _explained(model: type[ClientMessage], wrong: ValidationError, drawing_id: UUID | None) -> Mistake:
    errors = wrong.errors(include_url=False, include_input=False, include_context=False)
    unknown = [str(error["loc"][-1])[:40] for error in errors if error["type"] == "extra_forbidden"]
    if unknown:
        fields = ", ".join(model.model_fields)
        named = ", ".join(repr(name) for name in unknown[:5]) + (" ..." if len(unknown) > 5 else "")
        return Mistake("unknown_field", f"unknown field {named}: {model.__name__.lower()} has {fields}", drawing_id)
    told = "; ".join(f"{'.'.join(str(part)[:40] for part in error['loc'])}: {error['msg'][:160]}" for error in errors[:3])
    more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
    return Mistake("invalid", told + more, drawing_id)
