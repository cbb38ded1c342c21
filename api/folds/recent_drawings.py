"""Remembers recent drawings: whose each is, whether it is kept, and its answers (ways 1 and 2).

It is a fold over guesses and receipts, the newest of which are read again at a start. Pure and bounded: the oldest drawing
is forgotten first, and nothing depends on it: a drawing that is not known here is put on the log again, where the joiner
knows it, and a correction of it is the joiner's to judge. Twice is harmless: the fold sees that an event came before.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import ClassVar, Final
from uuid import UUID

from cachetools import FIFOCache

from contracts.events import CorrectionReceipt, Event, GuessMade, GuessMissed

MAX_DRAWINGS: Final = 30_000
MAX_CORRECTIONS: Final = 30_000
MAX_TOLD: Final = 5_000
"""How many drawings keep their frames, to be sent again: seven of half a kilobyte each. Of older ones, who answered is kept."""
ANSWERED_S: Final = 5.0
"""How many seconds the answers to a drawing may take: a player who sends the drawing again sooner need only wait."""


@dataclass(slots=True)
class Drawing:
    """A finished drawing."""

    player_id: str
    received_at: float | None = None
    """When this process received the frame, in seconds of its monotonic clock; None: another process did."""
    size: int | None = None
    """Bytes of the drawing on the log; None: another process received it."""
    corrections: int = 0
    """How many corrections of the drawing this process received."""
    kept: bool = False
    """Whether the broker has acknowledged the drawing."""
    guesses: dict[str, str] = field(default_factory=dict)
    """The frame of each model's answer; empty: the frame is no longer kept."""
    misses: dict[str, str] = field(default_factory=dict)
    """The frame about each model that has missed the drawing so far."""
    sought_at: float | None = None
    """When the drawing was put on the log again, to get the answers that are not known here."""

    def frames(self) -> list[str]:
        """Return the frames that can be sent again."""
        return [text for text in (*self.guesses.values(), *self.misses.values()) if text]

    def seek(self, shown: Iterable[str], now: float) -> bool:
        """Say whether to put the drawing on the log again, since the answers of some models that are shown are not known here.

        If this process received the drawing, its answers get some time to come. Answers that come after this call count as new.
        """
        here = {model for told in (self.guesses, self.misses) for model, text in told.items() if text}
        last = max((at for at in (self.received_at, self.sought_at) if at is not None), default=-inf)
        if here.issuperset(shown) or now - last < ANSWERED_S:
            return False
        self.sought_at = now
        self.guesses = {model: text for model, text in self.guesses.items() if text}
        self.misses = {model: text for model, text in self.misses.items() if text}
        return True

    def forget_frames(self) -> None:
        """Forget the frames, but not who answered."""
        self.guesses = dict.fromkeys(self.guesses, "")
        self.misses = dict.fromkeys(self.misses, "")


@dataclass(slots=True)
class Correction:
    """A correction that a player gave."""

    player_id: str
    receipts: dict[tuple[str, str], str] = field(default_factory=dict)
    """The frame of each outcome and stage."""


PlayerEvent = GuessMade | GuessMissed | CorrectionReceipt
"""An event that its player is told of."""
Hops = dict[str, float]
"""How long a guess took, in milliseconds, by hop."""


class RecentDrawings:
    """The newest finished drawings and corrections, by id."""

    takes: ClassVar[tuple[type[Event], ...]] = (GuessMade, GuessMissed, CorrectionReceipt)

    def __init__(
        self,
        frame_of: Callable[[PlayerEvent, Hops | None], str],
        max_drawings: int = MAX_DRAWINGS,
        max_corrections: int = MAX_CORRECTIONS,
        max_told: int = MAX_TOLD,
    ) -> None:
        """Start empty; ``frame_of`` gives the frame by which a player is told an event, a guess with the hops that are told."""
        self._frame_of = frame_of
        self._drawings: FIFOCache[UUID, Drawing] = FIFOCache(max_drawings)
        self._corrections: FIFOCache[UUID, Correction] = FIFOCache(max_corrections)
        self._told: deque[UUID] = deque()
        self._max_told = max_told
        self.total = 0
        """How many drawings were finished, including those that are forgotten."""

    def drawing(self, drawing_id: UUID) -> Drawing | None:
        """Return what is known of a finished drawing; None if nothing is known."""
        return self._drawings.get(drawing_id)

    def add_drawing(self, drawing_id: UUID, player_id: str, received_at: float | None = None) -> Drawing:
        """Remember a finished drawing; a drawing that is already known stays as it is."""
        drawing = self._drawings.get(drawing_id)
        if drawing is None:
            drawing = self._drawings[drawing_id] = Drawing(player_id, received_at)
            self.total += 1
            self._told.append(drawing_id)
            if len(self._told) > self._max_told:
                old = self._drawings.get(self._told.popleft())
                if old is not None:
                    old.forget_frames()
        return drawing

    def drop_drawing(self, drawing_id: UUID) -> None:
        """Forget a drawing that was not kept, so that it can be sent again."""
        drawing = self._drawings.get(drawing_id)
        if drawing is not None and not drawing.kept:
            del self._drawings[drawing_id]

    def correction(self, correction_id: UUID) -> Correction | None:
        """Return what is known of a correction; None if nothing is known."""
        return self._corrections.get(correction_id)

    def add_correction(self, correction_id: UUID, player_id: str) -> Correction:
        """Remember a correction."""
        correction = self._corrections.get(correction_id)
        if correction is None:
            correction = self._corrections[correction_id] = Correction(player_id)
        return correction

    def drop_correction(self, correction_id: UUID) -> None:
        """Forget a correction that was not kept, so that it can be sent again."""
        correction = self._corrections.get(correction_id)
        if correction is not None and not correction.receipts:
            del self._corrections[correction_id]

    def forget(self, player_id: str) -> None:
        """Forget all drawings and corrections of a player."""
        for drawing_id in [one for one, drawing in self._drawings.items() if drawing.player_id == player_id]:
            del self._drawings[drawing_id]
        for correction_id in [one for one, given in self._corrections.items() if given.player_id == player_id]:
            del self._corrections[correction_id]

    @property
    def players(self) -> set[str]:
        """The players of whom something is remembered."""
        drawn = {drawing.player_id for drawing in self._drawings.values()}
        return drawn | {given.player_id for given in self._corrections.values()}

    def timed(self, guess: GuessMade, at: datetime, now: float) -> Hops:
        """Return a guess's hops up to here, in hundredths of a millisecond.

        `bus_out` is how long it was on the bus; `total` is there if this process received the frame of the finished drawing.

        Args:
            guess: The guess as it was on the bus, not applied yet.
            at: When the guess arrived.
            now: The same time by the clock of `Drawing.received_at`, in seconds.
        """
        hops = {name: _hundredths(ms) for name, ms in guess.hops.items() if name != "total"}
        hops["bus_out"] = _hundredths(max(0.0, (at - guess.at).total_seconds() * 1000))
        drawing = self._drawings.get(guess.drawing_id)
        if guess.final and drawing is not None and drawing.received_at is not None and drawing.sought_at is None:
            hops["total"] = _hundredths((now - drawing.received_at) * 1000)
        return hops

    def apply(self, event: PlayerEvent, hops: Hops | None = None) -> str | None:
        """Apply an event from the bus; return the frame for its player.

        Args:
            event: The event.
            hops: Of a guess, from `timed`; None: as they were on the bus.

        Returns:
            None if the event came before, or answers an unfinished drawing that is finished by now.
        """
        match event:
            case GuessMade():
                return self._guessed(event, hops)
            case GuessMissed():
                return self._missed(event)
            case CorrectionReceipt():
                return self._receipted(event)

    def _guessed(self, guess: GuessMade, hops: Hops | None) -> str | None:
        drawing = self._drawings.get(guess.drawing_id)
        if drawing is not None and (drawing.player_id != guess.player_id or not guess.final or guess.model in drawing.guesses):
            return None
        text = self._frame_of(guess, hops)
        if guess.final:
            drawing = drawing or self.add_drawing(guess.drawing_id, guess.player_id)  # it was answered, so it is on the log
            drawing.kept = True
            drawing.guesses[guess.model] = text
            drawing.misses.pop(guess.model, None)
        return text

    def _missed(self, miss: GuessMissed) -> str | None:
        drawing = self.add_drawing(miss.drawing_id, miss.player_id)
        if drawing.player_id != miss.player_id or miss.model in drawing.guesses or miss.model in drawing.misses:
            return None
        drawing.kept = True
        drawing.misses[miss.model] = text = self._frame_of(miss, None)
        return text

    def _receipted(self, receipt: CorrectionReceipt) -> str | None:
        correction = self.add_correction(receipt.correction_id, receipt.player_id)
        identity = (receipt.outcome.value, receipt.stage)
        if correction.player_id != receipt.player_id or identity in correction.receipts:
            return None
        correction.receipts[identity] = text = self._frame_of(receipt, None)
        return text


def _hundredths(ms: float) -> float:
    """Round to two digits, in a tenth of the time that ``round`` takes."""
    return int(ms * 100 + 0.5) / 100
