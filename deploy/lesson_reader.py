"""Reads lessons.v1 and models.v1 for those who ask what an online model was (beside all ways; it only reads)."""

import heapq
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Final

from contracts.events import PLAYER_PARTITIONS, Event, LessonTaught, MessageRejected
from contracts.ports import Bus
from contracts.records import read
from streams.lesson_lines import LessonLine, lesson_of
from streams.refold.lesson_history import NoSuchVersion, PlacedLesson
from streams.refold.partition_log import PartitionLog

STAGE: Final = "history"
_LAST: Final = 64


def lessons_of(bus: Bus) -> Iterator[PlacedLesson]:
    """Read the lessons of all partitions, in the order of the broker's clock, up to where the log ends now."""

    def of_one(partition: int) -> Iterator[PlacedLesson]:
        log = PartitionLog(bus, [LessonTaught.topic], partition, {})
        try:
            for records in log.batches(log.ends(), 1000):
                for record in records:
                    lesson = lesson_of(record, STAGE)
                    if lesson is None and b'"LessonsForgotten"' in (record.value or b""):
                        raise NoSuchVersion(
                            "a player was forgotten, and their lessons are not on the log any more: which lessons made the"
                            " difference of two versions cannot be told there"
                        )
                    if isinstance(lesson, LessonLine):
                        yield PlacedLesson(record.timestamp_ms, partition, record.offset, lesson)
        finally:
            log.close()

    return heapq.merge(*map(of_one, range(PLAYER_PARTITIONS)), key=lambda one: one.at_ms)


def changes_on(bus: Bus, series: str) -> int:
    """Return how many lessons were taught and taken back on the whole log: the number of the newest version."""
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
        found += last
    return found


def events_on(bus: Bus, topics: Collection[str], since: datetime | str = "start") -> Iterator[Event]:
    """Read all events that some topics have now."""
    tail = bus.follow(list(topics), since if isinstance(since, datetime) else "start")
    try:
        while not tail.caught_up():
            for record in tail.poll(0.25):
                event = read(record, STAGE)
                if event is not None and not isinstance(event, MessageRejected):
                    yield event
    finally:
        tail.close()
