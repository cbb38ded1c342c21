"""Whether those who learn were told each guess as it was shown (between ways 1 and 2). Pure: events in, faults out."""

from collections.abc import Collection, Iterator
from typing import NamedTuple
from uuid import UUID

from contracts.events import SHADOW, AnswerGuess, DrawingAnswered, DrawingSubmitted, Event, GuessMade, GuessMissed


class _Slot(NamedTuple):
    """What a drawing has one guess of."""

    drawing_id: UUID
    player_id: str
    model: str
    shadow: bool


class Answers:
    """The guesses of each drawing as they were shown on guesses.v1, and as they are on answers.v1."""

    def __init__(self, drawings: Collection[UUID]) -> None:
        """Begin with nothing read.

        Args:
            drawings: Those that are looked at.
        """
        self._drawings = frozenset(drawings)
        self._drawn_by: dict[UUID, str] = {}
        self._shown: dict[_Slot, set[int]] = {}
        """Hashes of what was said."""
        self._told: dict[_Slot, set[int]] = {}
        self._missed: set[tuple[UUID, str]] = set()
        self._answered: set[UUID] = set()
        self._before: set[UUID] = set()
        """Answered by a router that had no `DrawingAnswered` yet, unless they are in `_answered` too."""

    def apply(self, event: Event) -> None:
        """Apply an event of a drawing that is looked at; others change nothing."""
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
        """Where those who learn were not told what was shown, or something else.

        A router that is started again answers once more what it had not acknowledged: what was shown first and then missed, or
        was a shadow's, is no fault where only the second time is told.
        """
        before = self._before - self._answered
        for slot in sorted(self._shown.keys() | self._told.keys()):
            if slot.drawing_id in before or self._drawn_by.get(slot.drawing_id) != slot.player_id:
                continue
            what = f"{slot.drawing_id} by {slot.model}{SHADOW * slot.shadow}"
            if slot not in self._told:
                if not slot.shadow and (slot.drawing_id, slot.model) not in self._missed:
                    yield f"{what} was shown, and those who learn were not told"
            elif slot not in self._shown:
                yield f"{what} was told to those who learn, and not shown"
            elif not self._told[slot] <= self._shown[slot]:
                yield f"{what} was told to those who learn otherwise than it was shown"


def _slot(guess: GuessMade) -> _Slot:
    return _Slot(guess.drawing_id, guess.player_id, guess.model, guess.role == "shadow")


def _content(guess: GuessMade) -> int:
    """A hash of what a guess says; when it was written is not among it."""
    return hash((AnswerGuess.model_validate(dict(guess)).model_dump_json(), guess.lead, guess.lead_after))
