"""Implements the bus on Apache Kafka, through kafka-python, and on an event loop through aiokafka (all ways)."""

import threading
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import AuthorizationError, KafkaError
from kafka.structs import TopicPartition

from contracts.events import Event
from contracts.ports import Partition, Record, Since, Tail
from producers.connection import DIRECT, KafkaAddress, NotAdmitted, knock
from producers.connection import BrokerAbsent as BrokerAbsent
from producers.connection import BusError as BusError
from producers.placement import (
    BusClosed,
    BusFull,
    ReadPositions,
    Undelivered,
    failed,
    first_offset,
    place_of,
    places_of,
)

if TYPE_CHECKING:
    from producers.loop_client import LoopSender, LoopTail

MAX_UNACKNOWLEDGED: Final = 64 * 1024 * 1024
"""Bytes that may wait for the broker's acknowledgement before publishing fails: kafka-python itself has no bound."""

DELIVERY_S: Final = 120.0
"""How long sending an event is tried before its future fails; a broker that was killed is back in 3.3 s."""

_CLOSE_S = 2.5

_SLICE_S = 0.25  # how soon a poll notices that its tail was closed

_CLIENT: Final[dict[str, Any]] = {
    "proxy_url": DIRECT,
    "request_timeout_ms": 10_000,
    "reconnect_backoff_max_ms": 500,
    "allow_auto_create_topics": False,
    "metrics_enabled": False,
}


class KafkaBus:
    """Apache Kafka through kafka-python: idempotent, acks=all, retried until `DELIVERY_S`."""

    def __init__(self, place: KafkaAddress, topics: Collection[str], deadline_s: float) -> None:
        """Connect, and learn the partitions of every topic, so that no later publish waits for them."""
        self._place = place
        self._client = {"bootstrap_servers": list(place.servers), **_CLIENT, **place.security}
        self._lock = threading.Condition()
        self._unacknowledged = 0
        self._closed = False
        self._sender: LoopSender | None = None
        """What sends while the bus is attached to a loop."""
        deadline = time.monotonic() + deadline_s
        self._producer = self._connect(deadline)
        try:
            self._partitions = self._learn(topics, deadline)
        except BaseException:
            self._producer.close(timeout=0)
            raise
        self._producer.config["max_block_ms"] = 0  # from here on a send that would block fails instead

    def _connect(self, deadline: float) -> Any:
        while True:
            knock(self._place, deadline - time.monotonic())
            try:
                return KafkaProducer(
                    acks="all",
                    enable_idempotence=True,
                    linger_ms=0,
                    delivery_timeout_ms=int(DELIVERY_S * 1000),
                    bootstrap_timeout_ms=5_000,
                    max_block_ms=1_000,
                    **self._client,
                )
            except KafkaError as error:
                if time.monotonic() > deadline:
                    raise BrokerAbsent(f"Kafka at {','.join(self._place.servers)} does not answer ({error})") from error
            time.sleep(0.05)

    def _learn(self, topics: Collection[str], deadline: float) -> dict[str, int]:
        with ThreadPoolExecutor(max(1, len(topics))) as asking:  # one after another they would take a tenth of a second each
            counts = asking.map(lambda topic: self._count(topic, deadline), topics)
            return dict(zip(topics, counts, strict=True))

    def _count(self, topic: str, deadline: float) -> int:
        while True:
            try:
                return len(self._producer.partitions_for(topic))
            except AuthorizationError as refused:
                raise NotAdmitted(
                    f"Kafka at {','.join(self._place.servers)} does not let us see {topic!r}: `gamenight acls` gives the right"
                ) from refused
            except KafkaError as error:
                if time.monotonic() > deadline:
                    raise BrokerAbsent(
                        f"Kafka at {','.join(self._place.servers)} has no topic {topic!r}: `gamenight topics` makes it"
                    ) from error

    def publish(self, event: Event) -> "Future[Record]":
        """Send an event without waiting; the future gets the record or the error."""
        try:
            partition, key, value = place_of(event, self._partitions)
            self._reserve(len(value))
        except BusError as error:
            return failed(error)
        future: Future[Record] = Future()
        future.set_running_or_notify_cancel()  # it is on its way and cannot be cancelled
        timestamp_ms = int(time.time() * 1000)

        def kept(offset: int, at_ms: int) -> None:
            self._release(len(value))
            future.set_result(Record(event.topic, partition, offset, key, b"", at_ms))

        def refused(error: BaseException | str) -> None:
            self._release(len(value))
            future.set_exception(Undelivered(f"{event.type} not delivered to {event.topic}: {error}"))

        if self._sender is not None:
            self._sender.send((event.topic, partition), key, value, timestamp_ms, DELIVERY_S, kept, refused)
            return future
        try:
            sent = self._producer.send(event.topic, value, key, partition=partition, timestamp_ms=timestamp_ms)
        except (KafkaError, ValueError) as error:
            refused(error)
        else:
            sent.add_callback(lambda metadata: kept(metadata.offset, metadata.timestamp))
            sent.add_errback(refused)
        return future

    def _reserve(self, size: int) -> None:
        with self._lock:
            if self._closed:
                raise BusClosed("the bus is closed")
            if self._unacknowledged + size > MAX_UNACKNOWLEDGED:
                raise BusFull(f"{self._unacknowledged} bytes wait for Kafka's acknowledgement: is it up?")
            self._unacknowledged += size

    def _release(self, size: int) -> None:
        with self._lock:
            self._unacknowledged -= size
            self._lock.notify_all()

    def flush(self, timeout_s: float) -> None:
        """Wait until everything that was published is acknowledged; not on the loop that the bus is attached to.

        Raises:
            Undelivered: If it was not within ``timeout_s``.
        """
        if self._sender is not None:
            with self._lock:
                if self._lock.wait_for(lambda: self._unacknowledged == 0, timeout_s):
                    return
            raise Undelivered(f"{self._unacknowledged} bytes not acknowledged after {timeout_s} s")
        try:
            self._producer.flush(timeout_s)
        except KafkaError as error:
            raise Undelivered(f"{self._unacknowledged} bytes not acknowledged after {timeout_s} s") from error

    @asynccontextmanager
    async def attached(self) -> AsyncIterator[None]:
        """Send on the running loop while the context lasts; at its end what was published is flushed for a while."""
        from producers.loop_client import LoopSender

        sender = self._sender = LoopSender(self._place)
        sender.start()
        try:
            yield
        finally:
            self._sender = None
            await sender.stop(_CLOSE_S)

    async def listen(self, topics: Sequence[str], since: Mapping[Partition, int]) -> "LoopTail":
        """Read topics as a bystander, on the running loop.

        Raises:
            BusError: If there is no such topic, or no broker answers.
        """
        from producers.loop_client import LoopTail

        tail = LoopTail(self._place, places_of(topics, self._partitions, None))
        await tail.start(since)
        return tail

    def follow(self, topics: Sequence[str], since: Since, only: int | None = None) -> Tail:
        """Read topics as a bystander: no group, nothing committed; every partition, or the one that ``only`` names.

        Raises:
            BusError: If there is no such topic, or no broker answers.
        """
        places = places_of(topics, self._partitions, only)
        try:
            return _KafkaTail(self._client, places, since)
        except KafkaError as error:
            raise BusError(f"{', '.join(topics)} cannot be read: {error}") from error

    def close(self) -> None:
        """Flush for a short while, then let go of every connection and thread."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            self._producer.flush(_CLOSE_S)
        except KafkaError:
            self._producer.close(timeout=0)  # the futures of unacknowledged events fail now
        else:
            self._producer.close(timeout=_CLOSE_S)


class _KafkaTail:
    """A tail with a consumer of its own, whose offsets are kept nowhere else."""

    def __init__(self, client: Mapping[str, Any], places: Sequence[Partition], since: Since) -> None:
        self._lock = threading.Lock()
        self._closing = False
        self._consumer = KafkaConsumer(
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # if retention has deleted the offset: reading twice is harmless, skipping is not
            fetch_min_bytes=1,  # the broker answers with the first byte, so that it waits and not a timer
            fetch_max_wait_ms=500,
            max_partition_fetch_bytes=4 * 1024 * 1024,
            max_poll_records=2000,
            **client,
        )
        try:
            assigned = [TopicPartition(topic, number) for topic, number in places]
            self._consumer.assign(assigned)
            ends = self._consumer.end_offsets(assigned)
            starts = self._starts(assigned, ends, since)
            for place, offset in starts.items():
                self._consumer.seek(place, offset)
            self._ends: dict[Partition, int] = {(place.topic, place.partition): end for place, end in ends.items()}
            self._read = ReadPositions({(p.topic, p.partition): offset for p, offset in starts.items()}, self._ends)
        except BaseException:
            self._consumer.close(autocommit=False, timeout_ms=0)
            raise

    def _starts(self, assigned: list[Any], ends: dict[Any, int], since: Since) -> dict[Any, int]:
        if since == "end":
            return ends
        if since == "start":
            return dict(self._consumer.beginning_offsets(assigned))
        if isinstance(since, Mapping):
            begin = self._consumer.beginning_offsets(assigned)
            return {p: first_offset(since.get((p.topic, p.partition), 0), begin[p], ends[p]) for p in assigned}
        found = self._consumer.offsets_for_times(dict.fromkeys(assigned, int(since.timestamp() * 1000)))
        return {place: found[place].offset if found.get(place) else ends[place] for place in assigned}

    def poll(self, timeout_s: float) -> list[Record]:
        """Return the records that came since; none after ``timeout_s`` without any, or once closed."""
        deadline = time.monotonic() + timeout_s
        while True:
            with self._lock:
                if self._closing:
                    return []
                wait_s = min(_SLICE_S, max(0.0, deadline - time.monotonic()))
                try:
                    batches = self._consumer.poll(timeout_ms=wait_s * 1000)
                    self._note(batches)
                except KafkaError as error:
                    raise BusError(f"reading failed: {error}") from error
            if batches or time.monotonic() >= deadline:
                return [
                    Record(r.topic, r.partition, r.offset, r.key, r.value, r.timestamp)
                    for r in chain.from_iterable(batches.values())
                ]

    def _note(self, batches: dict[Any, list[Any]]) -> None:
        for place, batch in batches.items():
            self._read.read((place.topic, place.partition), batch[-1].offset)
        if self._read.behind and not batches:  # compaction may have removed the last records, so the position decides
            for behind in list(self._read.behind):
                self._read.passed(behind, self._consumer.position(TopicPartition(*behind), timeout_ms=100) or 0)

    def caught_up(self) -> bool:
        """Say whether everything that was on the topics when it was opened has been polled."""
        return not self._read.behind

    def positions(self) -> dict[Partition, int]:
        """Return the first offset of each partition that was not polled."""
        return dict(self._read.next)

    def ends(self) -> dict[Partition, int]:
        """Return the offset behind the last record that each partition had when the tail was opened."""
        return dict(self._ends)

    def close(self) -> None:
        """Stop reading; a poll in another thread returns."""
        self._closing = True
        with self._lock:
            self._consumer.close(autocommit=False, timeout_ms=1000)
