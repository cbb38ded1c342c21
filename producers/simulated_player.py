"""Decides what a simulated player sends, without a socket or a clock: frames and times in, frames out (ways 1 and 2).

The handwriting is that of the 30 people of data/pen. A player knows what they drew, and judges the models by the guess that
they are shown first; until that comes, by the digit to which all guesses together give the highest probability.
`producers.simulation` gives each player a socket.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID, uuid4

import orjson

from producers.handwriting import Inked, Written, ink
from producers.simulated_drawing import Drawn, OpenDrawing
from producers.simulation_options import SimulationOptions
from producers.tally import Spread, Tally

_LOOK_S = 2.0  # after this a person stops waiting for the models that have not answered
FIRST: Final = "shown first"
"""The name under which the leading model is counted, whichever it is."""
_RETRY_S = 4.0  # a message that is not acknowledged is sent again, with the same ids; this wait doubles every time


class SimulatedPlayer:
    """A simulated player: sends drawings and answers the guesses that come back.

    Every message may be sent and received twice: a message is kept with its ids until it is acknowledged, and counted once.
    """

    def __init__(self, number: int, options: SimulationOptions, pen: Sequence[Written], tally: Tally) -> None:
        """Make a player who writes as `pen` shows.

        Args:
            number: The player's number, from 0; it gives each player random numbers of their own under the same seed.
            options: How to play.
            pen: The digits of one writer; the player draws them in an order of their own, again and again.
            tally: Counts everything.
        """
        self._number = number
        self._options = options
        self._chance = random.Random(f"{options.seed}/{number}")
        self._pen = list(pen)
        self._chance.shuffle(self._pen)
        self._tally = tally
        self._models: set[str] = set()
        """The models that should answer."""
        self._seat: str | None = None
        self._open: dict[str, OpenDrawing] = {}
        self._by_correction: dict[str, str] = {}
        self._untold: dict[str, float] = {}
        """When each correction was given that has no receipt of `yours` yet."""
        self._question: int | None = None
        """The digit that the server asks for."""
        self._indices = iter(range(number, options.drawings, options.players))
        self._made = 0

    @property
    def waiting(self) -> int:
        """Return the number of finished drawings that are not yet saved, answered by every model, and receipted."""
        return len(self._open)

    def join(self) -> bytes:
        """Return the frame to join, with the same seat as before if there was one."""
        return orjson.dumps(
            {"type": "join", "name": f"Player {self._number + 1}", "room": None, "seat": self._seat, "questions": True}
        )

    def draws(self) -> Iterator[Drawn]:
        """Yield this player's share of the drawings, in order: of the digit that the server asks for, if it does."""
        for index in self._indices:
            turn = self._made % len(self._pen)
            self._made += 1
            for later in range(turn, turn + len(self._pen)):  # what is not asked for now comes later
                place = later % len(self._pen)
                if self._question in (None, self._pen[place].label):
                    self._pen[turn], self._pen[place] = self._pen[place], self._pen[turn]
                    break
            yield self._draw(index, self._pen[turn])

    def _draw(self, index: int, written: Written) -> Drawn:
        inked = ink(written, self._chance)
        duration_s = inked.duration_ms / 1000
        count = self._options.previews
        previews = []
        for i in range(count):
            fraction = (i + 1) / (count + 1)
            previews.append(
                (fraction * duration_s, self._frame(_new_id(), inked.until(fraction), inked, written.label, final=False))
            )
        drawing_id = _new_id()
        frame = self._frame(drawing_id, inked.strokes, inked, written.label, final=True)
        return Drawn(drawing_id, index, written.label, previews, frame, duration_s)

    def _frame(self, drawing_id: str, strokes: list[list[list[float]]], inked: Inked, label: int, final: bool) -> bytes:
        return orjson.dumps(
            {
                "type": "draw",
                "drawing_id": drawing_id,
                "strokes": strokes,
                "width": inked.width,
                "height": inked.height,
                "final": final,
                "asked": self._question if self._question == label else None,
                "device": "pen",
            }
        )

    def pen_up(self, drawn: Drawn, at: float) -> list[bytes]:
        """Return the frames of the finished drawing, which is sent at this time."""
        self._open[drawn.drawing_id] = OpenDrawing(drawn.index, drawn.label, drawn.frame, at, at + _RETRY_S)
        self._tally.seen["drawn"] += 1
        return self._perhaps_twice(drawn.frame)

    def _perhaps_twice(self, frame: bytes) -> list[bytes]:
        if self._chance.random() < self._options.duplicates:
            self._tally.seen["sent twice"] += 1
            return [frame, frame]
        return [frame]

    # --- what comes back

    def receive(self, frame: Mapping[str, Any], at: float) -> tuple[str, float] | None:
        """Handle a frame from the game.

        Args:
            frame: A frame of the public protocol; unknown types are counted as errors.
            at: The time, in seconds, by the same clock as all other times.

        Returns:
            A drawing and the seconds that this person will look at it before `judge` is to be called; or None.
        """
        match frame["type"]:
            case "guess":
                return self._on_guess(frame, at)
            case "saved":
                self._on_saved(frame["drawing_id"], at)
            case "receipt":
                self._on_receipt(frame, at)
            case "missed":
                return self._on_missed(frame, at)
            case "question":
                self._question = frame["digit"]
            case "check":
                self._tally.seen["asked whether the guess was right"] += 1
                if (held := self._open.get(frame["drawing_id"])) is not None:
                    held.checked = True
            case "joined":
                self._seat = frame["seat"]
                self._models = set()
                self._tally.models = {state["model"]: place for place, state in enumerate(frame["models"])}
                self._expect(frame["models"])
            case "model":
                self._tally.seen["model frames"] += 1
                self._expect([frame])
            case "room":
                self._tally.seen["room frames"] += 1
            case "error":
                self._tally.errors[frame["code"]] += 1
            case other:
                self._tally.errors[f"unknown frame {other}"] += 1
        return None

    def _expect(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Wait for the models that are available and shown, and for no other."""
        for state in states:
            if state.get("unavailable") is None and state.get("part", "shown") == "shown":
                self._models.add(state["model"])
            else:
                self._models.discard(state["model"])
        for drawing_id, held in list(self._open.items()):
            self._perhaps_through(drawing_id, held)

    def _on_saved(self, drawing_id: str, at: float) -> None:
        held = self._open.get(drawing_id)
        if held is None or held.saved:
            self._tally.seen["saved again"] += 1
            return
        held.saved = True
        self._tally.seen["saved"] += 1
        self._tally.saved.add(UUID(drawing_id))
        self._tally.took("saved", at - held.sent_at)
        self._perhaps_through(drawing_id, held)

    def _on_guess(self, frame: Mapping[str, Any], at: float) -> tuple[str, float] | None:
        drawing_id, model = frame["drawing_id"], frame["model"]
        held = self._open.get(drawing_id)
        if held is None:
            self._tally.seen["guesses of previews, and late ones"] += 1
            return None
        if model in held.guesses:
            self._tally.seen["guesses again"] += 1
            return None
        if not held.guesses:
            self._tally.took("first guess", at - held.sent_at)
        late = self._answered(held)  # the game had given it up, and it came after all
        held.guesses[model] = frame["label"]
        for digit, probability in enumerate(frame["probabilities"]):
            held.consensus[digit] += probability
        self._tally.guess(model, held.index, frame["label"] == held.label)
        held.lead = frame.get("lead", held.lead)
        if model == held.lead:
            self._tally.guess(FIRST, held.index, frame["label"] == held.label)
        for hop, ms in frame["hops"].items():
            self._tally.hops.setdefault((model, hop), Spread()).add(ms)
        if late:
            return None
        if self._answered(held):
            return self._all_answered(drawing_id, held, at)
        return (drawing_id, _LOOK_S + self._delay()) if len(held.guesses) == 1 else None

    def _on_missed(self, frame: Mapping[str, Any], at: float) -> tuple[str, float] | None:
        drawing_id, model = frame["drawing_id"], frame["model"]
        held = self._open.get(drawing_id)
        if held is None or model in held.missed or model in held.guesses:
            return None
        held.missed.add(model)
        self._tally.missed[model] += 1
        return self._all_answered(drawing_id, held, at) if self._answered(held) else None

    def _all_answered(self, drawing_id: str, held: OpenDrawing, at: float) -> tuple[str, float] | None:
        self._tally.seen["answered by every model" if not held.missed else "answered, but not by every model"] += 1
        self._tally.took("all guesses", at - held.sent_at)
        self._perhaps_through(drawing_id, held)
        return None if held.judged else (drawing_id, self._delay())

    def _answered(self, held: OpenDrawing) -> bool:
        return bool(self._models) and held.guesses.keys() | held.missed >= self._models

    def _delay(self) -> float:
        speed = self._options.speed
        return self._options.delay_s / speed * self._chance.uniform(0.5, 1.5) if speed else 0.0

    def judge(self, drawing_id: str, at: float) -> list[bytes]:
        """Return the player's reaction to the guesses that they see now: a correction, a confirmation, or nothing."""
        held = self._open.get(drawing_id)
        if held is None or held.judged:
            return []
        held.judged = True
        shown = held.guesses.get(held.lead or "", held.consensus.index(max(held.consensus)))
        says = self._options.confirm_probability if shown == held.label else self._options.correct_probability
        if held.checked:
            says = max(says, self._options.answer_probability)
        if self._chance.random() >= says:
            self._perhaps_through(drawing_id, held)
            return []
        label = held.label
        if self._chance.random() < self._options.error_rate:
            label = (label + self._chance.randint(1, 9)) % 10
            self._tally.seen["wrong labels given"] += 1
        self._tally.seen["confirmed" if label == shown else "corrected"] += 1
        held.correction_id = _new_id()
        held.corrected_at = at
        held.retries = 0
        held.retry_at = at + _RETRY_S
        held.correction = orjson.dumps(
            {"type": "correct", "drawing_id": drawing_id, "correction_id": held.correction_id, "label": label}
        )
        self._by_correction[held.correction_id] = drawing_id
        self._untold[held.correction_id] = at
        return self._perhaps_twice(held.correction)

    def _on_receipt(self, frame: Mapping[str, Any], at: float) -> None:
        if frame.get("stage") == "personal":
            if (given_at := self._untold.pop(frame["correction_id"], None)) is not None:
                self._tally.took("receipt of yours", at - given_at)
            return
        drawing_id = self._by_correction.pop(frame["correction_id"], None)
        held = self._open.get(drawing_id) if drawing_id else None
        if drawing_id is None or held is None:
            self._tally.seen["receipts again"] += 1
            return
        held.receipted = True
        self._tally.outcomes[frame["outcome"]] += 1
        if frame["outcome"] != "refused":
            self._tally.receipted[UUID(frame["correction_id"])] = UUID(drawing_id)
        self._tally.took("receipt", at - held.corrected_at)
        self._perhaps_through(drawing_id, held)

    def _perhaps_through(self, drawing_id: str, held: OpenDrawing) -> None:
        spoken = held.judged and (held.correction_id is None or held.receipted)
        if held.saved and spoken and self._answered(held):
            del self._open[drawing_id]
            self._tally.seen["through"] += 1

    # --- what is not acknowledged

    def again(self, at: float, everything: bool = False) -> list[bytes]:
        """Return the frames to send again: those that were not acknowledged in time, with the same ids.

        Args:
            at: The time.
            everything: Whether the socket was reconnected: then everything open is sent again, since answers may be lost too.
        """
        frames = []
        for held in self._open.values():
            if not (everything or held.retry_at <= at):
                continue
            missing = not held.saved or (everything and not self._answered(held))
            if missing:
                frames.append(held.frame)
            if held.correction_id is not None and not held.receipted:
                frames.append(held.correction)
                missing = True
            if missing:
                held.retries += 1
            held.retry_at = at + _RETRY_S * 2**held.retries
        self._tally.seen["sent again"] += len(frames)
        return frames

    def give_up(self, at: float) -> None:
        """Stop waiting for drawings that are older than this player's patience, and count what was missing."""
        for drawing_id, held in list(self._open.items()):
            waited_s = at - max(held.sent_at, held.corrected_at) - self._options.patience_s
            if waited_s >= 0 and not held.late and self._options.late_s:
                held.late = True
                self._tally.seen["late"] += 1
            if waited_s < self._options.late_s:
                continue
            del self._open[drawing_id]
            self._tally.seen["unfinished"] += 1
            if not held.saved:
                self._tally.seen["never saved"] += 1
            if not self._answered(held):
                self._tally.seen["answers not seen"] += 1
            if held.correction_id is not None and not held.receipted:
                self._by_correction.pop(held.correction_id, None)
                self._untold.pop(held.correction_id, None)
                self._tally.seen["receipts not seen"] += 1


def _new_id() -> str:
    """Make an id that no run had before, or a second run with the same seed would repeat the first one's messages."""
    return str(uuid4())
