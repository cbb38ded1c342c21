"""Gathers the events of one drawing, each once, and makes the example of them (way 2, LEARN). Pure.

A drawing, the answers to it and its player's corrections come on three topics, so in any order. A story holds the events
themselves, and an example is only a view of it: so every order of arrival ends in the same example. Twice is harmless: a
drawing_id, a guess of a model or of its shadow, or a correction_id that the story holds adds nothing to it.

Answers come in parts, and the features come with the first part that has them. Only what is new in a part is kept.
"""

import zlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Annotated, Final, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from contracts.events import (
    MAX_CORRECTIONS,
    MAX_GUESSES,
    ONLINE_MODELS,
    AnswerGuess,
    CorrectionGiven,
    CorrectionWithdrawn,
    DrawingAnswered,
    DrawingSubmitted,
    ExampleLabelled,
    Features,
    GivenLabel,
    GuessMade,
    ShownGuess,
)

UNKNOWN: Final = "no finished drawing of yours has this id, or it is over a week old, or too many have come since"
TOO_MANY: Final = f"you have corrected this drawing {MAX_CORRECTIONS} times already"

_Kind = TypeVar("_Kind")
CorrectionEvent = Annotated[CorrectionGiven | CorrectionWithdrawn, Field(discriminator="type")]
"""A player gives a correction of their drawing, or withdraws it."""


class AnotherPlayersDrawing(ValueError):
    """An event is by another player than the drawing."""


class TooManyGuesses(ValueError):
    """A drawing has more guesses than there are models."""


class Story(BaseModel):
    """The events of one drawing, each once, in the order of its own topic."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    news: AwareDatetime
    """When the newest of the events was written."""
    drawing: DrawingSubmitted | None = None
    parts: list[DrawingAnswered] = []
    """The answers; each part has only the guesses and features that no earlier part of its player has."""
    corrections: list[CorrectionEvent] = []
    drawing_bytes: int = 0
    """The bytes of the drawing's record; 0 while it is not there."""
    part_bytes: list[int] = []
    """The bytes of the record that each part came in."""
    correction_bytes: list[int] = []
    """The bytes of each correction's record."""

    @classmethod
    def of(cls, cell: bytes) -> "Story":
        """Read a story from its cell."""
        return cls.model_validate_json(zlib.decompress(cell))

    def cell(self) -> bytes:
        """Write the story as its cell: compressed, it takes less than half the bytes."""
        return zlib.compress(self.model_dump_json().encode(), 1)

    @property
    def size(self) -> int:
        """The bytes of all records that the story keeps something of."""
        return self.drawing_bytes + sum(self.part_bytes) + sum(self.correction_bytes)

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
                self.parts, self.part_bytes, _ = _split(
                    self.parts, self.part_bytes, lambda part: part.player_id == event.player_id
                )
            case DrawingAnswered():
                part = self._new_of(event)
                if part is None:
                    return False
                if sum(len(one.guesses) for one in (*self.parts, part)) > MAX_GUESSES:
                    raise TooManyGuesses(f"drawing {event.drawing_id} would have more than {MAX_GUESSES} guesses")
                self.parts.append(part)
                self.part_bytes.append(size)
            case _:
                if not self.is_news(event):
                    return False
                self.corrections.append(event)
                self.correction_bytes.append(size)
        self.news = max(self.news, event.at)
        return True

    @property
    def guesses(self) -> list[AnswerGuess]:
        """All guesses, in the order in which they came."""
        return [guess for part in self.parts for guess in part.guesses]

    @property
    def features(self) -> Features | None:
        """The features that the models read; None while no online model has answered."""
        if not any(guess.model in ONLINE_MODELS for guess in self.guesses):
            return None
        return next((part.features for part in self.parts if part.features is not None), None)

    def made(self) -> list[GuessMade]:
        """The guesses as they were shown."""
        return [guess for part in self.parts for guess in part.made()]

    @property
    def began(self) -> datetime:
        """When the oldest of the events was written."""
        events = (*self.parts, *self.corrections, *((self.drawing,) if self.drawing else ()))
        return min((event.at for event in events), default=self.news)

    def is_news(self, correction: CorrectionEvent) -> bool:
        """Whether a correction changes anything after its player's earlier ones."""
        return _is_news(self._corrections_of(correction.player_id), correction)

    def refusal(self, correction: CorrectionEvent) -> str | None:
        """Why a correction cannot be part of the story; None: it can, or the drawing has not come yet."""
        if self.drawing is not None and correction.player_id != self.drawing.player_id:
            return UNKNOWN
        return TOO_MANY if len(self.corrections) >= MAX_CORRECTIONS and self.is_news(correction) else None

    def expel(self, stays: Callable[[CorrectionEvent], bool]) -> list[CorrectionEvent]:
        """Remove the corrections for which ``stays`` is false, and return them."""
        self.corrections, self.correction_bytes, gone = _split(self.corrections, self.correction_bytes, stays)
        return gone

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
        if self.drawing is None or not self.corrections:
            return None
        drawing, newest, guesses = self.drawing, self.corrections[-1], self.guesses
        return ExampleLabelled(
            at=at,
            drawing_id=drawing.drawing_id,
            player_id=drawing.player_id,
            revision=1 + len(guesses) + len(self.corrections),
            correction_id=newest.correction_id,
            label=newest.label if isinstance(newest, CorrectionGiven) else None,
            labels=[
                GivenLabel(correction_id=given.correction_id, label=given.label)
                for given in self.corrections
                if isinstance(given, CorrectionGiven)
            ],
            asked=drawing.asked,
            drawn_at=drawing.at,
            strokes=drawing.strokes,
            width=drawing.width,
            height=drawing.height,
            features=self.features,
            guesses=[_shown(guess) for guess in guesses],
        )

    def _new_of(self, event: DrawingAnswered) -> DrawingAnswered | None:
        """Return the part without what its player's earlier parts have; None: nothing is new.

        Features that come late count only together with a guess, so that no example changes without a higher revision.
        """
        before = [part for part in self.parts if part.player_id == event.player_id]
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
        return [correction for correction in self.corrections if correction.player_id == player_id]


def _split(
    events: Iterable[_Kind], sizes: Iterable[int], stays: Callable[[_Kind], bool]
) -> tuple[list[_Kind], list[int], list[_Kind]]:
    """Part events, each with the bytes of its record: those that stay, their bytes, and those that do not."""
    pairs = list(zip(events, sizes, strict=True))
    staying = [(event, size) for event, size in pairs if stays(event)]
    return [event for event, _ in staying], [size for _, size in staying], [event for event, _ in pairs if not stays(event)]


def _is_news(earlier: Sequence[CorrectionEvent], correction: CorrectionEvent) -> bool:
    """Whether a player's correction changes anything after their earlier ones."""
    if isinstance(correction, CorrectionGiven):
        return all(one.correction_id != correction.correction_id for one in earlier)
    same = [one for one in earlier if one.correction_id == correction.correction_id]
    return not same or (same[-1] is earlier[-1] and isinstance(same[-1], CorrectionGiven))


def _same_guess(one: AnswerGuess, other: AnswerGuess) -> bool:
    """Whether two guesses of one drawing and player have one `guess_id`, which need not be made for that."""
    return (one.model, one.shadow) == (other.model, other.shadow)


def _shown(guess: AnswerGuess) -> ShownGuess:
    return ShownGuess(
        model=guess.model,
        version=guess.version,
        label=guess.label,
        probabilities=guess.probabilities,
        latency_ms=sum(guess.hops.values()),
        shadow=guess.shadow,
    )
