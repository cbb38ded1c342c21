"""Reads lessons.v1 and models.v1 for those who ask what an online model was (beside all ways; it only reads)."""

import heapq
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Final

from contracts.events import PLAYER_PARTITIONS, Event, LessonsForgotten, LessonTaught, MessageRejected, PlayersForgotten
from contracts.ports import Bus, Since
from contracts.records import read
from producers.whole_log import all_records
from streams.learner import Learner
from streams.lesson_lines import LessonLine, forgotten_of, lesson_of
from streams.lessons import explanations
from streams.online_base import Base
from streams.online_model import LessonError, OnlineModel
from streams.refold.lesson_history import NO_GAPS, Gaps, PlacedLesson
from streams.refold.partition_log import PartitionLog

STAGE: Final = "history"
_LAST: Final = 64


def lessons_of(bus: Bus) -> Iterator[PlacedLesson]:
    """Read the lessons of all partitions, and which are missing, in the order of the broker's clock, to the end of now."""

    def of_one(partition: int) -> Iterator[PlacedLesson]:
        log = PartitionLog(bus, [LessonTaught.topic], partition, {})
        try:
            for records in log.batches(log.ends(), 1000):
                for record in records:
                    lesson = lesson_of(record, STAGE)
                    told = lesson if lesson is not None else forgotten_of(record, STAGE)
                    if isinstance(told, LessonLine | LessonsForgotten):
                        yield PlacedLesson(record.timestamp_ms, partition, record.offset, told)
        finally:
            log.close()

    return heapq.merge(*map(of_one, range(PLAYER_PARTITIONS)), key=lambda one: one.at_ms)


def gaps_on(bus: Bus, series: str, models: Iterable[Event]) -> Gaps:
    """Return which lessons are missing on the log; ``models`` is what models.v1 has, which says whether any may be."""
    if not any(isinstance(event, PlayersForgotten) and event.marks for event in models):
        return NO_GAPS
    told = ((record.partition, forgotten_of(record, STAGE)) for record in explanations(bus))
    return Gaps(((partition, event) for partition, event in told if event is not None), series)


def changes_on(bus: Bus, series: str, gaps: Gaps = NO_GAPS) -> int:
    """Return how many lessons were ever taught and taken back: the number of the newest version."""
    found = 0
    for partition in range(PLAYER_PARTITIONS):
        last = 0
        for since in (-_LAST, 0):  # the last lesson of a partition has the highest number; probes may come after it
            log = PartitionLog(bus, [LessonTaught.topic], partition, {LessonTaught.topic: since})
            for records in log.batches(log.ends(), 1000):
                several = (lesson_of(record, STAGE) for record in records)
                last = max([last, *(one.number for one in several if isinstance(one, LessonLine) and one.series == series)])
            log.close()
            if last:
                break
        found += gaps.changes(partition, last)
    return found


def model_at(bus: Bus, at: datetime, base: Base, models: Collection[Event]) -> tuple[OnlineModel, int, int]:
    """Return the online model of the lessons that the broker had taken by a time.

    Returns:
        The model, how many lessons were of another series, and how many are missing, since their players were forgotten.
    """
    series = Learner(base).series
    model, others = OnlineModel(base, series), 0
    gaps = gaps_on(bus, series, models)
    for partition, event in gaps.events:
        model.explain(event, partition)
    for one in lessons_of(bus):
        if one.at_ms > at.timestamp() * 1000:
            break
        others += one.lesson.series != series and not isinstance(one.lesson, LessonsForgotten)
        try:
            if isinstance(one.lesson, LessonsForgotten):
                model.forget(one.lesson, one.partition, one.offset)
            else:
                model.apply(one.lesson, one.partition, one.offset)
        except LessonError:
            continue  # it was rejected then too
    return model, others, gaps.unsettled(gaps.missing(model.numbers))


def events_on(bus: Bus, topics: Collection[str], since: Since = "start") -> Iterator[Event]:
    """Read all events that some topics have now."""
    for record in all_records(bus, list(topics), since):
        event = read(record, STAGE)
        if event is not None and not isinstance(event, MessageRejected):
            yield event
