"""Checks that each guess reached the learners as it was shown (between ways 1 and 2). Pure: events in, faults out."""

from collections.abc import Collection, Iterator
from typing import NamedTuple
from uuid import UUID

from contracts.events import (
    ONLINE_MODELS,
    AnswerGuess,
    DrawingAnswered,
    DrawingSubmitted,
    Event,
    GuessMade,
    GuessMissed,
)


class _Slot(NamedTuple):
    """The key of a guess: a drawing has at most one guess for each slot."""

    drawing_id: UUID
    player_id: str
    part: str
    """See `contracts.events.guess_part`."""
    model: str
    shadow: bool


class Answers:
    """Compares the guesses of each drawing as players were shown them (guesses.v1) with what learners got (answers.v1)."""

    def __init__(self, drawings: Collection[UUID]) -> None:
        """Begin with nothing read.

        Args:
            drawings: The drawings to check.
        """
        self._drawings = frozenset(drawings)
        self._drawn_by: dict[UUID, str] = {}
        self._shown: dict[_Slot, set[int]] = {}
        """Hashes of the guesses on guesses.v1."""
        self._told: dict[_Slot, set[int]] = {}
        self._missed: set[tuple[UUID, str]] = set()
        self._answered: set[UUID] = set()
        self._before: set[UUID] = set()
        """Drawings that an older router answered, before `DrawingAnswered` existed, unless they are in `_answered` too."""

    def apply(self, event: Event) -> None:
        """Apply an event of a drawing that is checked; other events change nothing."""
        match event:
            case DrawingSubmitted(final=True) if event.drawing_id in self._drawings:
                self._drawn_by.setdefault(event.drawing_id, event.player_id)
            case GuessMade(final=True, type="GuessMade") if event.drawing_id in self._drawings:
                self._shown.setdefault(_slot(event), set()).add(_content(event))
                if event.features is not None:
                    self._before.add(event.drawing_id)
            case GuessMissed(final=True) if event.drawing_id in self._drawings:
                self._missed.add((event.drawing_id, event.model))
            case DrawingAnswered() if event.drawing_id in self._drawings:
                self._answered.add(event.drawing_id)
                for guess in event.made():
                    self._told.setdefault(_slot(guess), set()).add(_content(guess))
            case _:
                pass

    def faults(self) -> Iterator[str]:
        """Yield each guess that the learners did not get as it was shown, and each guess that they got though nobody saw it.

        A restarted router answers again the drawings that it had not acknowledged. A guess that was shown the first time and
        then missed, or was then a shadow's, is no fault if the learners got only the second answer.
        """
        before = self._before - self._answered
        for slot in sorted(self._shown.keys() | self._told.keys()):
            if slot.drawing_id in before or self._drawn_by.get(slot.drawing_id) != slot.player_id:
                continue
            what = f"{slot.drawing_id} by {slot.part}"
            if slot not in self._told:
                if not slot.shadow and (slot.drawing_id, slot.model) not in self._missed:
                    yield f"{what} was shown, and those who learn were not told"
            elif slot not in self._shown and slot.shadow and slot.model in ONLINE_MODELS:
                continue  # what is beside an online model is only told to those who learn
            elif slot not in self._shown:
                yield f"{what} was told to those who learn, and not shown"
            elif not self._told[slot] <= self._shown[slot]:
                yield f"{what} was told to those who learn otherwise than it was shown"


def _slot(guess: GuessMade) -> _Slot:
    shadow = guess.role == "shadow"
    return _Slot(guess.drawing_id, guess.player_id, guess.part, guess.model, shadow)


def _content(guess: GuessMade) -> int:
    """Return a hash of what a guess says, without the time of its writing."""
    return hash((AnswerGuess.model_validate(dict(guess)).model_dump_json(), guess.lead, guess.lead_after))
