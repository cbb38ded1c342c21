"""The bus that is Apache Kafka, through librdkafka: idempotent, acks=all, retried until `DELIVERY_S` (all ways).

librdkafka does in its own threads, in C, what a client in Python does under the interpreter's lock: see decision 0024.
"""

import logging
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from contracts.events import Event
from contracts.ports import Partition, Record, Since, Tail
from producers.connection import BrokerAbsent, BusError, NotAdmitted, Place, knock
from producers.placement import BusClosed, BusFull, Undelivered, failed, first_offset, known_partitions, place_of

MAX_UNACKNOWLEDGED: Final = 64 * 1024 * 1024
"""Bytes that may wait for the broker's acknowledgement before publishing fails."""
DELIVERY_S: Final = 120.0
"""An event is tried for so long before its future fails; a broker that was killed is back in 3.3 s."""
MAX_BATCH: Final = 2000
"""Records that one poll gives."""
_ASK_S: Final = 5.0  # one question to the broker
_CLOSE_S: Final = 2.5
_SLICE_S: Final = 0.25  # how soon a poll sees that its tail was closed
_PAUSE_S: Final = 0.05

_CLIENT: Final[dict[str, Any]] = {
    "client.id": "gamenight",
    "reconnect.backoff.max.ms": 500,
    "socket.timeout.ms": 10_000,
    "socket.nagle.disable": True,
    "log.connection.close": False,
}
_GRAVE: Final = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART})
"""Errors of a reader that do not pass by themselves; librdkafka tries again after all others."""


class KafkaBus:
    """Apache Kafka. Events may be published from any thread; one thread of its own takes the acknowledgements."""

    def __init__(self, place: Place, topics: Collection[str], deadline_s: float) -> None:
        """Connect, and learn the partitions of every topic, so that no later publish waits for them."""
        self._place = place
        self._client = {"bootstrap.servers": ",".join(place.servers), **_CLIENT, **place.librdkafka}
        self._lock = threading.Lock()
        self._unacknowledged = 0
        self._closed = False
        deadline = time.monotonic() + deadline_s
        knock(place, deadline - time.monotonic())
        self._producer = self._connect()
        self._acknowledging = threading.Thread(target=self._acknowledge, name="bus", daemon=True)
        self._acknowledging.start()
        try:
            self._partitions = self._learn(topics, deadline)
        except BaseException:
            self._closed = True
            raise

    def _connect(self) -> Producer:
        settings = {
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 0,
            "message.timeout.ms": int(DELIVERY_S * 1000),
            "message.max.bytes": 2 * 1024 * 1024,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 128 * 1024,  # over `MAX_UNACKNOWLEDGED`, which is the bound
        }
        return Producer({**settings, **self._client}, logger=_log)

    def _acknowledge(self) -> None:
        """Take acknowledgements until the bus is closed, and what was published is settled."""
        while not self._closed or len(self._producer):
            self._producer.poll(_SLICE_S)

    def _learn(self, topics: Collection[str], deadline: float) -> dict[str, int]:
        servers = ",".join(self._place.servers)
        while True:
            try:
                found = self._producer.list_topics(timeout=_ASK_S).topics
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise BrokerAbsent(f"Kafka at {servers} does not answer ({error})") from error
                continue
            there = {topic: len(found[topic].partitions) for topic in topics if topic in found and not found[topic].error}
            missing = next((topic for topic in topics if not there.get(topic)), None)
            if missing is None:
                return there
            if self._hidden(missing):
                raise NotAdmitted(f"Kafka at {servers} does not let us see {missing!r}: `gamenight acls` gives the right")
            if time.monotonic() > deadline:
                raise BrokerAbsent(f"Kafka at {servers} has no topic {missing!r}: `gamenight topics` makes it")
            time.sleep(_PAUSE_S)

    def _hidden(self, topic: str) -> bool:
        """Whether we have no right to see a topic. To ask for it by a producer could make it."""
        asked = AdminClient({**self._client}, logger=_log).describe_topics(TopicCollection([topic]), request_timeout=_ASK_S)
        try:
            asked[topic].result()
        except KafkaException as error:
            return bool(error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED)
        return False

    def publish(self, event: Event) -> "Future[Record]":
        """Send an event without ever waiting; what goes wrong is the future's."""
        try:
            partition, key, value = place_of(event, self._partitions)
            self._reserve(len(value))
        except BusError as error:
            return failed(error)
        future: Future[Record] = Future()
        future.set_running_or_notify_cancel()  # it is on its way: nobody can take it back
        timestamp_ms, size = int(time.time() * 1000), len(value)

        def settled(error: KafkaError | None, message: Message) -> None:
            self._release(size)
            if error is None:
                future.set_result(Record(event.topic, partition, message.offset() or 0, key, b"", timestamp_ms))
            else:
                future.set_exception(Undelivered(f"{event.type} not delivered to {event.topic}: {error.str()}"))

        try:
            self._producer.produce(event.topic, value, key, partition=partition, timestamp=timestamp_ms, on_delivery=settled)
        except (KafkaException, BufferError) as error:
            self._release(size)
            future.set_exception(Undelivered(f"{event.type} not delivered to {event.topic}: {error}"))
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

    def flush(self, timeout_s: float) -> None:
        """Wait until everything that was published is acknowledged.

        Raises:
            Undelivered: If it was not within ``timeout_s``.
        """
        if self._producer.flush(timeout_s):
            raise Undelivered(f"{self._unacknowledged} bytes not acknowledged after {timeout_s} s")

    def follow(self, topics: Sequence[str], since: Since) -> Tail:
        """Read topics as a bystander: every partition, no group, nothing committed.

        Raises:
            BusError: If there is no such topic, or the broker is away.
        """
        partitions = known_partitions(topics, self._partitions)
        try:
            return _KafkaTail(self._client, partitions, since)
        except KafkaException as error:
            raise BusError(f"{', '.join(topics)} cannot be read: {error}") from error

    def close(self) -> None:
        """Flush for a short while, then let go of every connection and thread."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._producer.flush(_CLOSE_S):
            self._producer.purge()  # what was not acknowledged fails its futures now
        self._acknowledging.join(_CLOSE_S)


class _KafkaTail:
    """Reads with a consumer of its own; its offsets live and die with it."""

    def __init__(self, client: Mapping[str, Any], partitions: dict[str, int], since: Since) -> None:
        self._lock = threading.Lock()
        self._closing = False
        settings = {
            "group.id": "gamenight-bystander",  # it is never joined
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",  # where retention has overtaken it; twice is harmless, never is not
            "fetch.min.bytes": 1,  # the broker answers with the first byte: waiting is the broker's, not a timer's
            "fetch.wait.max.ms": 500,
            "max.partition.fetch.bytes": 4 * 1024 * 1024,
            "queued.max.messages.kbytes": 16 * 1024,
        }
        self._consumer = Consumer({**settings, **client}, logger=_log)
        try:
            assigned = [(topic, part) for topic, count in partitions.items() for part in range(count)]
            deadline = time.monotonic() + _ASK_S
            ends = {place: self._ends(place, deadline) for place in assigned}
            self._next: dict[Partition, int] = self._starts(ends, since)
            self._behind = {place: end for place, (_, end) in ends.items() if self._next[place] < end}
            self._consumer.assign([TopicPartition(*place, offset) for place, offset in self._next.items()])
        except BaseException:
            self._consumer.close()
            raise

    def _ends(self, place: Partition, deadline: float) -> tuple[int, int]:
        """The first offset of a partition, and the one after the last; a broker that just starts is asked again."""
        while True:
            try:
                return self._consumer.get_watermark_offsets(TopicPartition(*place), _ASK_S)
            except KafkaException as error:
                if error.args[0].code() in _GRAVE or time.monotonic() > deadline:
                    raise
            time.sleep(_PAUSE_S)

    def _starts(self, ends: Mapping[Partition, tuple[int, int]], since: Since) -> dict[Partition, int]:
        if since == "end":
            return {place: end for place, (_, end) in ends.items()}
        if since == "start":
            return {place: begin for place, (begin, _) in ends.items()}
        if isinstance(since, Mapping):
            return {place: first_offset(since.get(place, 0), begin, end) for place, (begin, end) in ends.items()}
        at_ms = int(since.timestamp() * 1000)
        found = self._consumer.offsets_for_times([TopicPartition(*place, at_ms) for place in ends], _ASK_S)
        return {
            (one.topic, one.partition): one.offset if one.offset >= 0 else ends[one.topic, one.partition][1] for one in found
        }

    def poll(self, timeout_s: float) -> list[Record]:
        """The records that came since; empty after ``timeout_s`` without any, or once closed."""
        deadline = time.monotonic() + timeout_s
        while True:
            with self._lock:
                if self._closing:
                    return []
                first = self._consumer.poll(min(_SLICE_S, max(0.0, deadline - time.monotonic())))
                messages = [] if first is None else [first, *self._consumer.consume(MAX_BATCH - 1, 0)]
            records = [record for message in messages if (record := self._record(message)) is not None]
            if records or time.monotonic() >= deadline:
                return records

    def _record(self, message: Message) -> Record | None:
        """What a message carries; None: it is a note of librdkafka."""
        error, place = message.error(), (message.topic() or "", message.partition() or 0)
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                self._behind.pop(place, None)
            elif error.code() in _GRAVE:
                raise BusError(f"reading failed: {error.str()}")
            return None
        offset = message.offset() or 0
        self._next[place] = offset + 1
        if offset + 1 >= self._behind.get(place, offset + 2):
            del self._behind[place]
        return Record(place[0], place[1], offset, message.key(), message.value(), message.timestamp()[1])

    def caught_up(self) -> bool:
        """Whether everything that was on the topics when it was opened has been polled."""
        return not self._behind

    def positions(self) -> dict[Partition, int]:
        """The first offset of each partition that was not polled."""
        return dict(self._next)

    def close(self) -> None:
        """Stop; a poll under way in another thread returns."""
        self._closing = True
        with self._lock:
            self._consumer.close()


_log = logging.getLogger("kafka.librdkafka")
