"""Gathers the events of one drawing, each once, and makes the example of them (way 2, LEARN). Pure.

A drawing, the answers to it and its player's corrections come on three topics, so in any order. A story holds the events
themselves, and an example is only a view of it: so every order of arrival ends in the same example. Twice is harmless: a
drawing_id, a guess of the same part of the answer, or a correction_id that the story holds adds nothing to it.

Answers come in parts, and the features come with the first part that has them. Only what is new in a part is kept.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic_core import to_json

from contracts.events import (
    MAX_CORRECTIONS,
    MAX_GUESSES,
    ONLINE_MODELS,
    AnswerGuess,
    CorrectionGiven,
    CorrectionWithdrawn,
    CountedGuess,
    DrawingAnswered,
    DrawingPicked,
    DrawingSubmitted,
    ExampleLabelled,
    Features,
    GivenLabel,
    GuessMade,
    ShownGuess,
)

UNKNOWN: Final = "no finished drawing of yours has this id, or it is over a week old, or too many have come since"
TOO_MANY: Final = f"you have corrected this drawing {MAX_CORRECTIONS} times already"

CorrectionEvent = Annotated[CorrectionGiven | CorrectionWithdrawn, Field(discriminator="type")]
"""A player gives a correction of their drawing, or withdraws it."""


class AnotherPlayersDrawing(ValueError):
    """An event is by another player than the drawing."""


class TooManyGuesses(ValueError):
    """A drawing has more guesses than there are models."""


class _Cell(BaseModel):
    """A story as it is kept: its events, and beside each list the bytes of their records."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    news: AwareDatetime
    drawing: DrawingSubmitted | None = None
    parts: list[DrawingAnswered] = []
    corrections: list[CorrectionEvent] = []
    drawing_bytes: int = 0
    part_bytes: list[int] = []
    correction_bytes: list[int] = []


@dataclass(slots=True)
class Story:
    """The events of one drawing, each once, in the order of its own topic."""

    news: datetime
    """When the newest of the events was written."""
    drawing: DrawingSubmitted | None = None
    drawing_bytes: int = 0
    """The bytes of the drawing's record; 0 while it is not there."""
    _parts: list[tuple[DrawingAnswered, int]] = field(default_factory=list)
    """The answers, each with the bytes of its record."""
    _corrections: list[tuple[CorrectionEvent, int]] = field(default_factory=list)
    """The corrections, each with the bytes of its record."""

    @classmethod
    def of(cls, cell: bytes) -> "Story":
        """Read a story from its cell."""
        kept = _Cell.model_validate_json(zlib.decompress(cell))
        parts = list(zip(kept.parts, kept.part_bytes, strict=True))
        corrections = list(zip(kept.corrections, kept.correction_bytes, strict=True))
        return cls(kept.news, kept.drawing, kept.drawing_bytes, parts, corrections)

    def cell(self) -> bytes:
        """Write the story as its cell: compressed, it takes less than half the bytes."""
        kept = _Cell.model_construct(
            news=self.news,
            drawing=self.drawing,
            parts=self.parts,
            corrections=self.corrections,
            drawing_bytes=self.drawing_bytes,
            part_bytes=[size for _, size in self._parts],
            correction_bytes=[size for _, size in self._corrections],
        )
        return zlib.compress(kept.model_dump_json().encode(), 1)

    @property
    def parts(self) -> list[DrawingAnswered]:
        """The answers; each part has only the guesses and features that no earlier part of its player has."""
        return [part for part, _ in self._parts]

    @property
    def corrections(self) -> list[CorrectionEvent]:
        """All corrections, in the order in which they came."""
        return [correction for correction, _ in self._corrections]

    @property
    def size(self) -> int:
        """The bytes of all records that the story keeps something of."""
        return self.drawing_bytes + sum(size for _, size in (*self._parts, *self._corrections))

    def apply(self, event: DrawingSubmitted | DrawingAnswered | CorrectionEvent, size: int) -> bool:
        """Add an event, whose record has ``size`` bytes; returns whether that changed the story.

        Raises:
            AnotherPlayersDrawing: If it is by another player than the drawing.
            TooManyGuesses: If the story would have too many guesses.
        """
        if self.drawing is not None and event.player_id != self.drawing.player_id:
            raise AnotherPlayersDrawing(f"drawing {event.drawing_id} is not by player {event.player_id}")
        match event:
            case DrawingSubmitted():
                if self.drawing is not None:
                    return False
                self.drawing, self.drawing_bytes = event, size
                self._parts = [kept for kept in self._parts if kept[0].player_id == event.player_id]
            case DrawingAnswered():
                part = self._new_of(event)
                if part is None:
                    return False
                if len(self.guesses) + len(part.guesses) > MAX_GUESSES:
                    raise TooManyGuesses(f"drawing {event.drawing_id} would have more than {MAX_GUESSES} guesses")
                self._parts.append((part, size))
            case _:
                if not self.is_news(event):
                    return False
                self._corrections.append((event, size))
        self.news = max(self.news, event.at)
        return True

    @property
    def guesses(self) -> list[AnswerGuess]:
        """All guesses, in the order in which they came."""
        return [guess for part, _ in self._parts for guess in part.guesses]

    @property
    def features(self) -> Features | None:
        """The features that the models read; None while no online model has answered."""
        if not any(guess.model in ONLINE_MODELS for guess in self.guesses):
            return None
        return next((part.features for part, _ in self._parts if part.features is not None), None)

    def made(self) -> list[GuessMade]:
        """The guesses as they were shown."""
        return [guess for part, _ in self._parts for guess in part.made()]

    @property
    def events(self) -> list[DrawingSubmitted | DrawingAnswered | CorrectionEvent]:
        """All events."""
        return [*self.parts, *self.corrections, *((self.drawing,) if self.drawing else ())]

    @property
    def began(self) -> datetime:
        """When the oldest of the events was written."""
        return min((event.at for event in self.events), default=self.news)

    def is_of(self, player_id: str) -> bool:
        """Whether a player has sent any of it, or was answered."""
        return any(event.player_id == player_id for event in self.events)

    def is_news(self, correction: CorrectionEvent) -> bool:
        """Whether a correction changes anything after its player's earlier ones."""
        return _is_news(self._corrections_of(correction.player_id), correction)

    def refusal(self, correction: CorrectionEvent) -> str | None:
        """Why a correction cannot be part of the story; None: it can, or the drawing has not come yet."""
        if self.drawing is not None and correction.player_id != self.drawing.player_id:
            return UNKNOWN
        return TOO_MANY if len(self._corrections) >= MAX_CORRECTIONS and self.is_news(correction) else None

    def expel(self, stays: Callable[[CorrectionEvent], bool]) -> list[CorrectionEvent]:
        """Remove the corrections for which ``stays`` is false, and return them."""
        gone = [correction for correction, _ in self._corrections if not stays(correction)]
        self._corrections = [kept for kept in self._corrections if stays(kept[0])]
        return gone

    def forget(self, player_id: str) -> None:
        """Remove all that a player has sent, or was answered."""
        if self.drawing is not None and self.drawing.player_id == player_id:
            self.drawing, self.drawing_bytes = None, 0
        self._parts = [kept for kept in self._parts if kept[0].player_id != player_id]
        self._corrections = [kept for kept in self._corrections if kept[0].player_id != player_id]

    def in_force(self, player_id: str) -> CorrectionGiven | None:
        """The player's correction that is in force; None: they have given none, or withdrawn it."""
        given = self._corrections_of(player_id)
        return given[-1] if given and isinstance(given[-1], CorrectionGiven) else None

    def example(self, at: datetime) -> ExampleLabelled | None:
        """The story as an example; None while the drawing or the player's correction is missing.

        The revision is the number of events in the story: it grows with each, and is the same in whatever order they came.

        Args:
            at: When it is written.
        """
        drawing, guesses, corrections = self.drawing, self.guesses, self.corrections
        if drawing is None or not corrections:
            return None
        newest = corrections[-1]
        return ExampleLabelled(
            at=at,
            drawing_id=drawing.drawing_id,
            player_id=drawing.player_id,
            revision=1 + len(guesses) + len(corrections),
            correction_id=newest.correction_id,
            label=newest.label if isinstance(newest, CorrectionGiven) else None,
            over_quota=isinstance(newest, CorrectionGiven) and newest.over_quota,
            labels=[
                GivenLabel(correction_id=given.correction_id, label=given.label, over_quota=given.over_quota)
                for given in corrections
                if isinstance(given, CorrectionGiven)
            ],
            asked=drawing.asked,
            gold=drawing.gold,
            picked=drawing.picked,
            instead_of=drawing.instead_of,
            device=drawing.device,
            drawn_at=drawing.at,
            strokes=drawing.strokes,
            width=drawing.width,
            height=drawing.height,
            features=self.features,
            guesses=[_shown(guess) for guess in guesses],
        )

    def told(self, at: datetime) -> ExampleLabelled | DrawingPicked | None:
        """The story as an example; while it has no correction, as a picked drawing, if it was picked; None: neither.

        Both have the same revisions, so the highest is the same whichever came on the way to it.

        Args:
            at: When it is written.
        """
        drawing, guesses = self.drawing, self.guesses
        if drawing is None or self._corrections or drawing.picked is None or not guesses:
            return self.example(at)
        return DrawingPicked(
            at=at,
            drawing_id=drawing.drawing_id,
            player_id=drawing.player_id,
            revision=1 + len(guesses),
            asked=drawing.asked if drawing.gold else None,
            picked=drawing.picked,
            instead_of=drawing.instead_of,
            drawn_at=drawing.at,
            guesses=[_counted(guess) for guess in guesses],
        )

    def _new_of(self, event: DrawingAnswered) -> DrawingAnswered | None:
        """Return the part without what its player's earlier parts have; None: nothing is new.

        Features that come late count only together with a guess, so that no example changes without a higher revision.
        """
        before = [part for part, _ in self._parts if part.player_id == event.player_id]
        known = [guess for part in before for guess in part.guesses]
        guesses: list[AnswerGuess] = []
        for guess in event.guesses:
            if not any(_same_guess(earlier, guess) for earlier in (*known, *guesses)):
                guesses.append(guess)
        read = any(part.features is not None for part in before)
        features = None if read or (known and not guesses) else event.features
        if not guesses and features is None:
            return None
        return event.model_copy(update={"guesses": guesses, "features": features, "missed": {}})

    def _corrections_of(self, player_id: str) -> list[CorrectionEvent]:
        return [correction for correction, _ in self._corrections if correction.player_id == player_id]


def names(cell: bytes, player_id: str) -> bool:
    """Whether the story of a cell can be a player's; false only if nothing is. It takes a tenth of the time of reading it."""
    return b'"player_id":' + to_json(player_id) in zlib.decompress(cell)


def _is_news(earlier: Sequence[CorrectionEvent], correction: CorrectionEvent) -> bool:
    """Whether a player's correction changes anything after their earlier ones."""
    if isinstance(correction, CorrectionGiven):
        return all(one.correction_id != correction.correction_id for one in earlier)
    same = [one for one in earlier if one.correction_id == correction.correction_id]
    return not same or (same[-1] is earlier[-1] and isinstance(same[-1], CorrectionGiven))


def _same_guess(one: AnswerGuess, other: AnswerGuess) -> bool:
    """Whether two guesses of one drawing and player have one `guess_id`, which need not be made for that."""
    return one.part == other.part


def _counted(guess: AnswerGuess) -> CountedGuess:
    return CountedGuess(
        model=guess.model,
        version=guess.version,
        label=guess.label,
        latency_ms=sum(guess.hops.values()),
        shadow=guess.shadow,
    )


def _shown(guess: AnswerGuess) -> ShownGuess:
    return ShownGuess(
        model=guess.model,
        version=guess.version,
        label=guess.label,
        probabilities=guess.probabilities,
        latency_ms=sum(guess.hops.values()),
        shadow=guess.shadow,
        place=guess.place,
    )
