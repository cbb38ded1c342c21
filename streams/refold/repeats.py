"""Leaves out what has come already, before it is folded anew. Pure.

A writer that is killed sends again, and so messages may lie on the log twice, or more of them in one record than before.
"""

from typing import Any
from uuid import UUID

from contracts.events import DrawingAnswered, DrawingPicked, EvidenceGathered, ExampleLabelled


class Repeats:
    """What has come."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._seen: set[tuple[Any, ...]] = set()
        self._revisions: dict[UUID, int] = {}
        self._evidence: dict[tuple[str, int], int] = {}
        """By series and partition, the number of the newest drawing."""

    def first(self, *identity: Any) -> bool:
        """Whether this comes for the first time."""
        known = identity in self._seen
        self._seen.add(identity)
        return not known

    def newer(self, example: ExampleLabelled | DrawingPicked) -> bool:
        """Whether this is a newer revision of the example than came before."""
        newer = example.revision > self._revisions.get(example.drawing_id, 0)
        if newer:
            self._revisions[example.drawing_id] = example.revision
        return newer

    def new_guesses(self, event: DrawingAnswered) -> DrawingAnswered | None:
        """Return the part without what came before; None: nothing is new. Features without a guess come first only."""
        whose = (event.drawing_id, event.player_id)
        begun = ("guessed", *whose) in self._seen
        guesses = [guess for guess in event.guesses if self.first("guess", *whose, guess.part)]
        if guesses:
            self.first("guessed", *whose)
        counts = event.features is not None and (bool(guesses) or not begun)
        features = event.features if counts and self.first("features", *whose) else None
        if not guesses and features is None:
            return None
        return event.model_copy(update={"guesses": guesses, "features": features})

    def new_evidence(self, event: EvidenceGathered) -> EvidenceGathered | None:
        """Return the record without the drawings whose numbers came before; None: all did. A gap is left to the fold."""
        whose = (event.series, event.source_partition)
        number = self._evidence.get(whose, 0) + 1
        if event.behind is not None and event.behind < number < event.number:
            self._evidence[whose] = event.number - 1
        if event.number > number:
            return event
        drawings = event.drawings[number - event.number :]
        if not drawings:
            return None
        self._evidence[whose] = number + len(drawings) - 1
        return event.model_copy(update={"number": number, "drawings": drawings})
