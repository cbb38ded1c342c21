"""Tells which experiments have learned from players whose lessons count no more, and which lessons none learns (way 2). Pure.

An experiment cannot unlearn (`streams.experiments`). So one that has learned from a player who is forgotten, or restricted by
an operator, begins anew, and one that has not read that far goes on; both pass the player's lessons by, whether these are on
the log still or not. What says so is on the log of lessons, so every process decides alike. Twice is harmless: a state that has
read the notice is without them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from contracts.events import LessonsForgotten, LessonsRestricted, LessonTaught
from contracts.lesson_marks import is_whole
from contracts.ports import Record
from contracts.records import read
from streams.lesson_lines import LessonLine, lesson_of


@dataclass(frozen=True, slots=True)
class Notice:
    """That lessons of a player count no more."""

    partition: int
    offset: int
    """Of the record that says so: a state that has read it is without the lessons."""
    first: int
    """The number of the first of the lessons: a state that has not read so far has learned none of them."""

    def is_about(self, offsets: Mapping[int, int], numbers: Mapping[int, int]) -> bool:
        """Say whether a state may have learned one of the lessons.

        Args:
            offsets: By partition, the offset of the last record that it has read.
            numbers: By partition, the number of the last lesson.
        """
        return offsets.get(self.partition, -1) < self.offset and numbers.get(self.partition, 0) >= self.first


class Unlearning:
    """All such notices of a log, as far as it is read."""

    def __init__(self, series: str) -> None:
        """Begin with none; ``series`` is that of the lessons that count."""
        self._series = series
        self._notices: list[Notice] = []
        self._missing: dict[int, set[int]] = defaultdict(set)
        """By partition, the numbers of lessons that are missing on the log, or will be."""
        self._restricted: dict[str, int] = {}
        """By player, the number up to which none of their lessons counts."""
        self._restricting: list[tuple[str, Record]] = []
        """What says so of whom."""
        self.read_to: dict[int, int] = {}
        """By partition, the offset of the last notice."""

    def read(self, records: Callable[[], Iterable[Record]], stage: str) -> None:
        """Take in the notices among records; these are read again if a player is restricted, for what such have taught."""
        for record in records():
            self.apply(record, stage)
        firsts: dict[str, int] = {}
        names = [player.encode() for player in self._restricted]
        for record in records() if names else ():
            if record.value is not None and any(name in record.value for name in names):
                lesson = lesson_of(record, stage)
                if isinstance(lesson, LessonLine) and self.is_held(lesson) and is_whole(lesson):
                    firsts[lesson.player_id] = min(lesson.number, firsts.get(lesson.player_id, lesson.number))
        for player, record in self._restricting:
            if player in firsts:
                self._notices.append(Notice(record.partition, record.offset, firsts[player]))

    def apply(self, record: Record, stage: str) -> Notice | None:
        """Take in a record; return the notice, if it is a new one about what an experiment may have learned."""
        event = notice_of(record, stage)
        if event is None or record.offset <= self.read_to.get(record.partition, -1):
            return None
        self.read_to[record.partition] = record.offset
        if event.series != self._series:
            return None
        if isinstance(event, LessonsRestricted):
            self._restricted[event.player_id] = max(event.number, self._restricted.get(event.player_id, 0))
            self._restricting.append((event.player_id, record))
            return Notice(record.partition, record.offset, 0)  # who has learned from them is found by `read`
        self._missing[record.partition].update(*(range(first, last + 1) for first, last in event.numbers))
        if not (event.counted and event.numbers):
            return None
        self._notices.append(Notice(record.partition, record.offset, event.numbers[0][0]))
        return self._notices[-1]

    def is_about(self, offsets: Iterable[int], numbers: Iterable[int]) -> bool:
        """Say whether a state may have learned from any of the players; both are by partition, from the first on."""
        read_to, taught = dict(enumerate(offsets)), dict(enumerate(numbers))
        return any(notice.is_about(read_to, taught) for notice in self._notices)

    def is_missing(self, number: int, partition: int) -> bool:
        """Say whether a lesson is one of those that are missing on the log, or will be."""
        return number in self._missing.get(partition, ())

    def is_held(self, lesson: LessonTaught | LessonLine) -> bool:
        """Say whether a lesson is of a player who was restricted after it."""
        return lesson.series == self._series and lesson.number <= self._restricted.get(lesson.player_id, 0)


def notice_of(record: Record, stage: str) -> LessonsForgotten | LessonsRestricted | None:
    """Return what a record says of lessons that count no more; None: it says something else."""
    value = record.value or b""
    event = read(record, stage) if b'"LessonsForgotten"' in value or b'"LessonsRestricted"' in value else None
    return event if isinstance(event, LessonsForgotten | LessonsRestricted) else None
