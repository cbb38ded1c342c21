"""Gathers the events of one drawing, each once, and makes the example of them (way 2, LEARN). Pure.

A drawing, the answers to it and its player's corrections come on three topics, so in any order. A story holds the events
themselves, and an example is only a view of it: so every order of arrival ends in the same example. Twice is harmless: a
drawing_id, a guess of the same part of the answer, or a correction_id that the story holds adds nothing to it.

Answers come in parts, and the features come with the first part that has them. Only what is new in a part is kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from contracts.events import (
    MAX_CORRECTIONS,
    MAX_GUESSES,
    ONLINE_MODELS,
    AnswerGuess,
    CorrectionGiven,
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
from streams import story_cell
from streams.story_cell import CorrectionEvent, KeptEvent, StoryEvents, kept

UNKNOWN: Final = "no finished drawing of yours has this id, or it is over a week old, or too many have come since"
TOO_MANY: Final = f"you have corrected this drawing {MAX_CORRECTIONS} times already"


class AnotherPlayersDrawing(ValueError):
    """An event is by another player than the drawing."""


class TooManyGuesses(ValueError):
    """A drawing has more guesses than there are models."""


@dataclass(slots=True)
class Story:
    """The events of one drawing, each once, in the order of its own topic."""

    news: datetime
    """When the newest of the events was written."""
    _drawing: KeptEvent[DrawingSubmitted] | None = None
    _parts: list[KeptEvent[DrawingAnswered]] = field(default_factory=list)
    _corrections: list[KeptEvent[CorrectionEvent]] = field(default_factory=list)

    @classmethod
    def of(cls, cell: bytes) -> "Story":
        """Read a story from its cell."""
        held = story_cell.read(cell)
        return cls(held.news, held.drawing, held.parts, held.corrections)

    def cell(self) -> bytes:
        """Write the story as its cell."""
        return story_cell.write(StoryEvents(self.news, self._drawing, self._parts, self._corrections))

    @property
    def drawing(self) -> DrawingSubmitted | None:
        """The drawing; None: it has not come."""
        return None if self._drawing is None else self._drawing.event

    @property
    def parts(self) -> list[DrawingAnswered]:
        """The answers; each part has only the guesses and features that no earlier part of its player has."""
        return [one.event for one in self._parts]

    @property
    def corrections(self) -> list[CorrectionEvent]:
        """All corrections, in the order in which they came."""
        return [one.event for one in self._corrections]

    @property
    def size(self) -> int:
        """The bytes of all records that the story keeps something of."""
        drawing = 0 if self._drawing is None else self._drawing.size
        return drawing + sum([one.size for one in self._parts]) + sum([one.size for one in self._corrections])

    def apply(self, event: DrawingSubmitted | DrawingAnswered | CorrectionEvent, size: int, value: bytes = b"") -> bool:
        """Add an event, whose record has ``size`` bytes, and a ``value`` if that is known; return whether the story is another.

        Raises:
            AnotherPlayersDrawing: If it is by another player than the drawing.
            TooManyGuesses: If the story would have too many guesses.
        """
        if self._drawing is not None and event.player_id != self._drawing.event.player_id:
            raise AnotherPlayersDrawing(f"drawing {event.drawing_id} is not by player {event.player_id}")
        match event:
            case DrawingSubmitted():
                if self._drawing is not None:
                    return False
                self._drawing = kept(event, size, value)
                self._parts = [one for one in self._parts if one.event.player_id == event.player_id]
            case DrawingAnswered():
                part = self._new_of(event)
                if part is None:
                    return False
                if len(self.guesses) + len(part.guesses) > MAX_GUESSES:
                    raise TooManyGuesses(f"drawing {event.drawing_id} would have more than {MAX_GUESSES} guesses")
                self._parts.append(kept(part, size, value if part is event else b""))
            case _:
                if not self.is_news(event):
                    return False
                self._corrections.append(kept(event, size, value))
        self.news = max(self.news, event.at)
        return True

    @property
    def guesses(self) -> list[AnswerGuess]:
        """All guesses, in the order in which they came."""
        return [guess for one in self._parts for guess in one.event.guesses]

    @property
    def features(self) -> Features | None:
        """The features that the models read; None while no online model has answered."""
        if not any(guess.model in ONLINE_MODELS for one in self._parts for guess in one.event.guesses):
            return None
        return next((one.event.features for one in self._parts if one.event.features is not None), None)

    def made(self) -> list[GuessMade]:
        """The guesses as they were shown."""
        return [guess for one in self._parts for guess in one.event.made()]

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
        gone = [one.event for one in self._corrections if not stays(one.event)]
        self._corrections = [one for one in self._corrections if stays(one.event)]
        return gone

    def forget(self, player_id: str) -> None:
        """Remove all that a player has sent, or was answered."""
        if self._drawing is not None and self._drawing.event.player_id == player_id:
            self._drawing = None
        self._parts = [one for one in self._parts if one.event.player_id != player_id]
        self._corrections = [one for one in self._corrections if one.event.player_id != player_id]

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
        drawing = self.drawing
        if drawing is None or not self._corrections:
            return None
        guesses, corrections = self.guesses, self.corrections
        newest = corrections[-1]
        return ExampleLabelled.model_construct(  # all of it was validated, in events with the same bounds
            type="ExampleLabelled",
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
        drawing = self.drawing
        if drawing is None or self._corrections or drawing.picked is None or not (guesses := self.guesses):
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
        before = [one.event for one in self._parts if one.event.player_id == event.player_id]
        known = {_part_of(guess) for part in before for guess in part.guesses}
        new: dict[str, AnswerGuess] = {}
        for guess in event.guesses:
            if (part_of := _part_of(guess)) not in known:
                new.setdefault(part_of, guess)
        guesses = list(new.values())
        read = any(part.features is not None for part in before)
        features = None if read or (known and not guesses) else event.features
        if not guesses and features is None:
            return None
        if len(guesses) == len(event.guesses) and features is event.features and not event.missed:
            return event
        return event.model_copy(update={"guesses": guesses, "features": features, "missed": {}})

    def _corrections_of(self, player_id: str) -> list[CorrectionEvent]:
        return [one.event for one in self._corrections if one.event.player_id == player_id]


def _is_news(earlier: Sequence[CorrectionEvent], correction: CorrectionEvent) -> bool:
    """Whether a player's correction changes anything after their earlier ones."""
    if isinstance(correction, CorrectionGiven):
        return all(one.correction_id != correction.correction_id for one in earlier)
    same = [one for one in earlier if one.correction_id == correction.correction_id]
    return not same or (same[-1] is earlier[-1] and isinstance(same[-1], CorrectionGiven))


def _part_of(guess: AnswerGuess) -> str:
    """Return what two guesses of one drawing and player have in common if they have one `guess_id`, which need not be made."""
    return guess.part


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
