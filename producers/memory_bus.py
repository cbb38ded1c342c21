"""Implements the bus in the memory of one process, for tests (all ways)."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager

from contracts.events import TOPICS, Event
from contracts.ports import Partition, Record, Since, Tail
from producers.connection import BrokerAbsent as BrokerAbsent
from producers.connection import BusError as BusError
from producers.placement import (
    BusClosed,
    Undelivered,
    failed,
    first_offset,
    place_of,
    places_of,
)


class MemoryLog:
    """The log that all buses of one name share."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.logs: dict[tuple[str, int], list[Record]] = {}


_logs: dict[str, MemoryLog] = {}


def log_of(name: str) -> MemoryLog:
    """Return the log of a name: the same one each time."""
    return _logs.setdefault(name, MemoryLog())


class MemoryBus:
    """A bus that keeps topics as lists, for tests."""

    def __init__(self, memory: MemoryLog, topics: Collection[str]) -> None:
        """Use the log ``memory``."""
        self._memory = memory
        self._partitions = {topic: TOPICS[topic].partitions if topic in TOPICS else 1 for topic in topics}
        self._closed = False

    def publish(self, event: Event) -> "Future[Record]":
        """Append an event; the future is done already."""
        try:
            partition, key, value = place_of(event, self._partitions)
            if self._closed:
                raise BusClosed("the bus is closed")
            if not 0 <= partition < self._partitions[event.topic]:
                raise Undelivered(f"{event.topic} has no partition {partition}")
        except BusError as error:
            return failed(error)
        with self._memory.changed:
            log = self._memory.logs.setdefault((event.topic, partition), [])
            log.append(Record(event.topic, partition, len(log), key, value, int(time.time() * 1000)))
            self._memory.changed.notify_all()
            kept = log[-1]
        future: Future[Record] = Future()
        future.set_result(Record(kept.topic, kept.partition, kept.offset, key, b"", kept.timestamp_ms))
        return future

    def flush(self, timeout_s: float) -> None:
        """Return at once: an event is kept as soon as it is published."""

    def follow(self, topics: Sequence[str], since: Since, only: int | None = None) -> Tail:
        """Read topics as a bystander."""
        return _MemoryTail(self._memory, places_of(topics, self._partitions, only), since)

    @asynccontextmanager
    async def attached(self) -> AsyncIterator[None]:
        """Change nothing: nothing is sent anywhere."""
        yield

    async def listen(self, topics: Sequence[str], since: Mapping[Partition, int]) -> "_MemoryListener":
        """Read topics as a bystander, on the running loop."""
        return _MemoryListener(self.follow(topics, since))

    def close(self) -> None:
        """Take no more events; the log stays, as a broker's does."""
        self._closed = True


class _MemoryTail:
    """A tail that keeps a position in each list."""

    def __init__(self, memory: MemoryLog, places: Sequence[Partition], since: Since) -> None:
        self._memory = memory
        self._closing = False
        with memory.changed:
            self._ends = {place: len(memory.logs.get(place, ())) for place in places}
            self._next = {place: self._start(place, since) for place in places}

    def _start(self, place: tuple[str, int], since: Since) -> int:
        if since == "start":
            return 0
        if since == "end":
            return self._ends[place]
        if isinstance(since, Mapping):
            return first_offset(since.get(place, 0), 0, self._ends[place])
        least = int(since.timestamp() * 1000)
        return next((r.offset for r in self._memory.logs.get(place, ()) if r.timestamp_ms >= least), self._ends[place])

    def poll(self, timeout_s: float) -> list[Record]:
        """Return the records that came since; none after ``timeout_s`` without any, or once closed."""
        with self._memory.changed:
            self._memory.changed.wait_for(lambda: self._closing or self._waiting(), timeout_s)
            if self._closing:
                return []
            out: list[Record] = []
            for place in self._next:
                new = self._memory.logs.get(place, [])[self._next[place] :]
                self._next[place] += len(new)
                out += new
            return out

    def _waiting(self) -> bool:
        return any(len(self._memory.logs.get(place, ())) > at for place, at in self._next.items())

    def caught_up(self) -> bool:
        """Say whether everything that was on the topics when it was opened has been polled."""
        return all(self._next[place] >= end for place, end in self._ends.items())

    def positions(self) -> dict[Partition, int]:
        """Return the first offset of each partition that was not polled."""
        return dict(self._next)

    def ends(self) -> dict[Partition, int]:
        """Return the offset behind the last record that each partition had when the tail was opened."""
        return dict(self._ends)

    def close(self) -> None:
        """Stop reading; a poll in another thread returns."""
        with self._memory.changed:
            self._closing = True
            self._memory.changed.notify_all()


class _MemoryListener:
    """A tail that is polled from an event loop."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self.caught_up = tail.caught_up
        self.positions = tail.positions

    async def poll(self, timeout_s: float) -> list[Record]:
        """Return the records that came since; none after ``timeout_s`` without any."""
        return await asyncio.to_thread(self._tail.poll, timeout_s)

    async def close(self) -> None:
        """Stop reading."""
        self._tail.close()
