"""Decides what a player's client makes of the game's frames: values in, what the player has seen out (ways 1 and 2). Pure.

Every frame may come twice, on the same socket or on the next one; a drawing has one guess a model, and a correction one receipt
a stage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import index
from typing import Any, Final
from uuid import UUID

import orjson

from contracts.events import Device
from gamenight.errors import GameNightRefused
from gamenight.outbox import ClientFrame, ClientOutbox

PenPath = Sequence[Sequence[float]]
"""A pen path: its points as (x, y), or (x, y, milliseconds); y downwards."""

_PASSING: Final = frozenset({"unavailable", "too_fast", "busy", "not_joined"})
"""Errors that pass: the frame stays in the outbox; a join is said again."""
_JOINING: Final = frozenset({"bad_seat", "bad_code", "room_full", "too_many", "already_joined"})
_STAGES: Final = frozenset({"learner", "personal"})
_NEWS: Final = ("type", "event", "note")
_SIDE: Final = 280.0
_FRAME_BYTES: Final = 65_536
"""What the game takes at most; it closes the socket on more."""
_KEPT: Final = 1000
"""Drawings of which is remembered what was seen."""


@dataclass(frozen=True, slots=True)
class SeenGuess:
    """A model's guess, as its player is shown it."""

    model: str
    version: str
    label: int
    """The digit."""
    probability: float
    """The model's probability of `label`."""
    probabilities: list[float]
    """Of each digit, 0 to 9."""
    hops_ms: dict[str, float]
    """How long each step took, in milliseconds."""
    fallback: str | None = None
    """Why this version answered in place of another."""


@dataclass(slots=True)
class SeenDrawing:
    """A drawing, and what the game has said of it so far."""

    drawing_id: UUID
    final: bool
    saved: bool = False
    """Whether the log has it."""
    guesses: dict[str, SeenGuess] = field(default_factory=dict)
    """By model."""
    missed: dict[str, str] = field(default_factory=dict)
    """Why a model has not answered, by model."""
    first: str | None = None
    """The model that the player is shown first."""
    check: bool = False
    """Whether the game asks if the guess was right."""

    @property
    def lead(self) -> SeenGuess:
        """The guess that the player is shown first.

        Raises:
            LookupError: If there is no guess yet.
        """
        if self.first in self.guesses:
            return self.guesses[self.first]
        if not self.guesses:
            raise LookupError("no model has guessed yet")
        return next(iter(self.guesses.values()))

    @property
    def digit(self) -> int:
        """The digit that the player is shown first."""
        return self.lead.label


@dataclass(slots=True)
class SeenReceipt:
    """What a correction did, as far as the game has said it."""

    correction_id: UUID
    drawing_id: UUID
    outcomes: dict[str, str] = field(default_factory=dict)
    """learned, weighted, quarantined, superseded or refused, by stage: ``learner`` (everybody's model), ``personal``
    (the player's own), ``joiner`` (only where it is refused)."""
    models: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """By model: version_before, version_after, and p_before and p_after, its probabilities of the label."""
    weight: float | None = None
    """How much it counts in everybody's model, of a whole lesson."""
    why: str | None = None
    """Why it is refused, or counts less than others or not yet."""

    @property
    def whole(self) -> bool:
        """Whether all who learn have told what they did."""
        return self.outcomes.keys() >= _STAGES or "joiner" in self.outcomes

    @property
    def outcome(self) -> str:
        """What it did in everybody's model; or why it did nothing."""
        return self.outcomes.get("joiner") or self.outcomes.get("learner") or next(iter(self.outcomes.values()), "")


def drawing_id_of(drawing: "SeenDrawing | UUID | str") -> UUID:
    """Return the id of a drawing, which may be given as text.

    Raises:
        GameNightRefused: If it is none.
    """
    try:
        return drawing.drawing_id if isinstance(drawing, SeenDrawing) else UUID(str(drawing))
    except ValueError:
        raise GameNightRefused("invalid", f"{drawing!r}: neither a drawing nor the id of one, a UUID") from None


class Conversation:
    """What a player has said and seen, over all their sockets."""

    def __init__(self, name: str, room: str | None, seat: str | None, questions: bool) -> None:
        """Begin; nothing was said yet.

        Args:
            name: What others in the room see.
            room: Four letters; None: the seat's, or a new one.
            seat: That of an earlier conversation, to be the same player; None: a new player.
            questions: Whether the game may ask for digits, and whether guesses were right.
        """
        self._join = {"type": "join", "name": name, "room": room, "questions": questions}
        self.seat = seat
        self.player_id = ""
        self.room = room or ""
        self.players: list[str] = []
        """The names of who is in the room."""
        self.models: dict[str, Mapping[str, Any]] = {}
        """The state of each model, by its name, in the order in which they are shown."""
        self.question: int | None = None
        """The digit that the game asks for."""
        self.joined = False
        """Whether this socket has a seat."""
        self.refused: GameNightRefused | None = None
        """Why the game does not let this player in."""
        self.put_off: GameNightRefused | None = None
        """Why the last join was dropped; the same join is taken later. None: it was not."""
        self.join_again = False
        """Whether this socket has to join once more."""
        self.outbox = ClientOutbox()
        self.drawings: dict[str, SeenDrawing] = {}
        self.receipts: dict[str, SeenReceipt] = {}
        self.refusals: dict[str, GameNightRefused] = {}
        """Why a drawing, or its correction, is not taken, by drawing."""

    def join(self) -> ClientFrame:
        """Return the frame to join by, always as the same player."""
        self.join_again = False
        return {**self._join, "seat": self.seat}

    def draw(
        self,
        drawing_id: UUID,
        strokes: Sequence[PenPath],
        size: tuple[float, float] | None,
        final: bool,
        asked: int | None,
        device: Device | None = None,
    ) -> ClientFrame:
        """Note a drawing, and return its frame.

        A finished drawing that is known already is the same one: what was seen of it stays, but for why it was not taken.

        Raises:
            GameNightRefused: If it is larger than the game takes, or its strokes are none, or no JSON can hold it.
        """
        try:
            points = [[[round(float(value), 2) for value in point] for point in stroke] for stroke in strokes]
        except (TypeError, ValueError) as wrong:
            told = f"strokes: a list of pen paths, each a list of (x, y) or (x, y, milliseconds); {wrong}"
            raise GameNightRefused("invalid", told) from wrong
        side = max([_SIDE, *(value for stroke in points for point in stroke for value in point[:2])])
        try:
            width, height = size or (side, side)
        except (TypeError, ValueError):
            raise GameNightRefused("invalid", f"size: width and height of the canvas, not {size!r}") from None
        frame: dict[str, Any] = {
            "type": "draw",
            "drawing_id": str(drawing_id),
            "strokes": points,
            "width": width,
            "height": height,
            "final": final,
            "asked": asked,
        }
        if device is not None:  # a game of before has no such field, and refuses what it does not know
            frame["device"] = device
        if (size_bytes := len(_sendable(frame))) > _FRAME_BYTES:
            told = f"the drawing takes {size_bytes:,} bytes, and the game takes {_FRAME_BYTES:,}: give fewer points"
            raise GameNightRefused("too_large", told)
        self.refusals.pop(str(drawing_id), None)
        known = self.drawings.get(str(drawing_id))
        if known is None or not (known.final and final):
            self._note(self.drawings, str(drawing_id), SeenDrawing(drawing_id, final))
        if final:
            self.outbox.add(str(drawing_id), frame)
        return frame

    def correct(self, drawing_id: UUID, correction_id: UUID, label: int) -> ClientFrame:
        """Note a correction, and return its frame.

        Raises:
            GameNightRefused: If the label is no whole number.
        """
        try:
            digit = index(label)
        except TypeError:
            raise GameNightRefused("invalid", f"label: a digit from 0 to 9, not {label!r}") from None
        return self._teach(drawing_id, correction_id, {"type": "correct", "label": digit})

    def withdraw(self, drawing_id: UUID, correction_id: UUID) -> ClientFrame:
        """Note that what was said of a drawing is withdrawn, and return the frame."""
        return self._teach(drawing_id, correction_id, {"type": "withdraw"})

    def _teach(self, drawing_id: UUID, correction_id: UUID, said: Mapping[str, Any]) -> ClientFrame:
        frame = {**said, "drawing_id": str(drawing_id), "correction_id": str(correction_id)}
        _sendable(frame)
        self.refusals.pop(str(drawing_id), None)
        self._note(self.receipts, str(correction_id), SeenReceipt(correction_id, drawing_id))
        self.outbox.add(str(correction_id), frame)
        return frame

    @staticmethod
    def _note(seen: dict[str, Any], name: str, what: Any) -> None:
        seen[name] = what
        while len(seen) > _KEPT:
            del seen[next(iter(seen))]

    def answered(self, drawing: SeenDrawing) -> bool:
        """Say whether a drawing is saved, if it is finished, and every model that is shown has answered or is missed."""
        told = drawing.guesses.keys() | drawing.missed.keys()
        return (drawing.saved or not drawing.final) and bool(told) and told >= set(self.expected)

    @property
    def expected(self) -> list[str]:
        """The models that should answer."""
        return [name for name, one in self.models.items() if not one.get("unavailable") and one.get("part", "shown") == "shown"]

    def lost(self) -> None:
        """Note that there is no socket any more."""
        self.joined = self.join_again = False
        self.put_off = None

    def receive(self, frame: Mapping[str, Any]) -> None:
        """Take in a frame; types that are not known are passed by, since the game may be newer."""
        match frame["type"]:
            case "joined":
                self.joined, self.seat = True, frame["seat"]
                self.put_off, self.join_again = None, False
                self.player_id, self.room = frame["player_id"], frame["room"]
                self.models = {state["model"]: state for state in frame["models"]}
            case "saved":
                self.outbox.settle(frame["drawing_id"])
                if drawing := self.drawings.get(frame["drawing_id"]):
                    drawing.saved = True
            case "guess":
                self._guessed(frame)
            case "missed":
                if drawing := self.drawings.get(frame["drawing_id"]):
                    drawing.missed.setdefault(frame["model"], frame["why"])
            case "receipt":
                self._learned(frame)
            case "model":
                self.models[frame["model"]] = {
                    name: value for name, value in frame.items() if name not in ("type", "event", "note")
                }
            case "question":
                self.question = frame["digit"]
            case "check":
                if drawing := self.drawings.get(frame["drawing_id"]):
                    drawing.check = True
            case "room":
                self.players = list(frame["players"])
            case "error":
                self._failed(frame)

    def _guessed(self, frame: Mapping[str, Any]) -> None:
        drawing = self.drawings.get(frame["drawing_id"])
        if drawing is None or frame["model"] in drawing.guesses:
            return
        drawing.guesses[frame["model"]] = SeenGuess(
            model=frame["model"],
            version=frame["version"],
            label=frame["label"],
            probability=frame["confidence"],
            probabilities=list(frame["probabilities"]),
            hops_ms=dict(frame["hops"]),
            fallback=frame.get("fallback"),
        )
        drawing.missed.pop(frame["model"], None)
        drawing.first = frame.get("lead") or drawing.first

    def _learned(self, frame: Mapping[str, Any]) -> None:
        self.outbox.settle(frame["correction_id"])
        receipt = self.receipts.get(frame["correction_id"])
        if receipt is None:
            return
        receipt.outcomes[frame.get("stage", "learner")] = frame["outcome"]
        receipt.models.update(frame["models"])
        receipt.weight = frame.get("weight", receipt.weight)
        receipt.why = frame.get("why") or receipt.why

    def _failed(self, frame: Mapping[str, Any]) -> None:
        refusal = GameNightRefused(frame["code"], frame["message"])
        if frame["code"] in _PASSING:
            if not self.joined and frame["code"] != "not_joined":  # nothing but the join can have been dropped
                self.put_off, self.join_again = refusal, True
            return
        drawing_id = frame.get("drawing_id")
        if drawing_id is not None:
            self.outbox.drop(drawing_id)
            self._note(self.refusals, drawing_id, refusal)
        elif frame["code"] in _JOINING or not self.joined:
            self.refused = refusal


def _sendable(frame: ClientFrame) -> bytes:
    """Return a frame's JSON: one that has none may not come into the outbox, since all that waits there is sent together.

    Raises:
        GameNightRefused: If it has none.
    """
    try:
        return orjson.dumps(frame)
    except TypeError as wrong:
        raise GameNightRefused("invalid", f"the frame has no JSON: {wrong}") from wrong
