"""Counts lessons as the audit reads them: what was ever taught, and what is in force more than once. Pure."""

from collections import Counter
from collections.abc import Iterator
from uuid import UUID

from contracts.events import LessonTaught


class LessonTally:
    """The lessons on the log; one whose number comes again counts once."""

    def __init__(self) -> None:
        """Begin with none."""
        self._taught: set[tuple[UUID | None, str]] = set()
        self._copies: Counter[tuple[str, str, int]] = Counter()
        self._in_force: Counter[tuple[str, UUID, str]] = Counter()

    def apply(self, lesson: LessonTaught) -> None:
        """Count a lesson, taught or taken back; one from before models were sums has no series and is passed by."""
        if not lesson.series:
            return
        self._taught.add((lesson.drawing_id, lesson.model))
        copy = (lesson.series, lesson.player_id, lesson.number)
        self._copies[copy] += 1
        if self._copies[copy] == 1:
            self._in_force[lesson.series, lesson.drawing_id, lesson.model] += lesson.sign

    def taught(self, drawing_id: UUID | None, model: str) -> bool:
        """Whether a model was ever taught a drawing."""
        return (drawing_id, model) in self._taught

    def doubled(self) -> Iterator[str]:
        """Yield each drawing with more lessons in force than one."""
        return (f"{drawing} of {model}" for (_, drawing, model), n in self._in_force.items() if n > 1)

    @property
    def repeated(self) -> int:
        """How many lessons came again under a number that had come."""
        return self._copies.total() - len(self._copies)
