"""Decides where an event goes on a bus and where reading begins, for Kafka and the bus in memory (all ways)."""

import base64
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from functools import lru_cache
from typing import Final

from kafka.partitioner.default import murmur2

from contracts.events import MAX_EVENT, TOPICS, Event
from contracts.ports import Partition, Record
from contracts.records import MARK_BYTES
from producers.connection import BrokerAbsent as BrokerAbsent
from producers.connection import BusError as BusError

MAX_VALUE: Final = MAX_EVENT
_MARKS: Final = 256
"""How many marks are drawn at a time: each time is a call of the kernel."""


class UnknownTopic(BusError):
    """The broker has no such topic."""


class EventTooLarge(BusError):
    """An event has more than `MAX_VALUE` bytes."""


class BusFull(BusError):
    """Too many bytes wait for acknowledgement."""


class Undelivered(BusError):
    """The broker refused an event, or was away longer than `DELIVERY_S`."""


class BusClosed(BusError):
    """The bus is closed."""


@lru_cache(maxsize=8192)
def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key by Java's murmur2, as aiokafka and so Faust compute it too."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


def marked(topic: str, key: bytes) -> bytes:
    """Return the key under which a record is written: on a topic that is not compacted, with a mark that no other record has.

    So one record can be cut out of the log without another: the topic is compacted for as long as that takes, and a record
    without a value and with this key removes the one, and nothing else. A record that is sent again has another mark.
    """
    spec = TOPICS.get(topic)
    if spec is None or spec.compacted:
        return key
    return key + b"/" + _mark()


_marks: Final[list[bytes]] = []
"""Marks that no record has yet, of this process."""
os.register_at_fork(after_in_child=_marks.clear)  # those are its parent's


def _mark() -> bytes:
    """Return `MARK_BYTES` of the system's randomness in base64, as no thread and no process has them twice."""
    try:
        return _marks.pop()
    except IndexError:
        drawn = os.urandom(MARK_BYTES * _MARKS)
        several = [base64.urlsafe_b64encode(drawn[at : at + MARK_BYTES]) for at in range(0, len(drawn), MARK_BYTES)]
        mark = several.pop()
        _marks.extend(several)
        return mark


def place_of(event: Event, partitions: dict[str, int]) -> tuple[int, bytes, bytes]:
    """Return the partition, key and value of an event's record; the partition is that of the event's key, without its mark.

    Raises:
        BusError: If it has no topic here, or is too large.
    """
    if event.topic not in partitions:
        raise UnknownTopic(f"no topic {event.topic!r} on this bus: it has {', '.join(sorted(partitions))}")
    key, value = event.record_key(), event.record_value()
    if len(value) > MAX_VALUE:
        raise EventTooLarge(f"a {event.type} of {len(value)} bytes: an event has at most {MAX_VALUE}")
    chosen = event.partition()
    partition = partition_of(key, partitions[event.topic]) if chosen is None else chosen
    return partition, marked(event.topic, key), value


def failed(error: BusError) -> "Future[Record]":
    future: Future[Record] = Future()
    future.set_exception(error)
    return future


def first_offset(wanted: int, begin: int, end: int) -> int:
    """Return the offset from which a partition that has ``begin`` to ``end`` - 1 is read; see `contracts.ports.Since`."""
    if wanted < 0:
        wanted += end
    return begin if wanted > end else max(begin, wanted)


class ReadPositions:
    """How far a bystander has read each partition, and whether it has seen all that was there when it began."""

    def __init__(self, starts: Mapping[Partition, int], ends: Mapping[Partition, int]) -> None:
        """Begin at these offsets; ``ends`` are behind the last record of each partition."""
        self.next = dict(starts)
        """The first offset of each partition that was not read."""
        self.behind = {place: ends[place] for place, offset in starts.items() if offset < ends[place]}
        """The partitions that had more when reading began, and where that ends."""

    def read(self, place: Partition, last: int) -> None:
        """Note that a partition is read up to the record at ``last``."""
        self.next[place] = last + 1
        self.passed(place, last + 1)

    def passed(self, place: Partition, offset: int) -> None:
        """Note that nothing more comes before ``offset``: compaction may have removed the last records."""
        if offset >= self.behind.get(place, 0):
            self.behind.pop(place, None)


def places_of(topics: Iterable[str], partitions: dict[str, int], only: int | None) -> list[Partition]:
    """Return all partitions of some topics, or the one of each that ``only`` names.

    Raises:
        UnknownTopic: If there is no such topic here.
    """
    unknown = [topic for topic in topics if topic not in partitions]
    if unknown:
        raise UnknownTopic(f"no topic {unknown[0]!r} on this bus: it has {', '.join(sorted(partitions))}")
    return [(topic, number) for topic in topics for number in range(partitions[topic]) if only in (None, number)]
