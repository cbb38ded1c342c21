"""Cuts single records out of Kafka's log; offsets and order of all others stay (way 3, OPERATE).

Kafka deletes no single record. But a compacted topic keeps only the last record of a key, and none if that has no value; and
here no two records have one key (`producers.placement.marked`). So a topic is compacted only while records are cut out of it,
and then loses those for whose key a record without a value was written, and no others. A topic with records from before keys
had marks is never compacted: all records of a player had one key, and all but the last would be lost.

Twice is harmless: what is not there any more is not found, and a topic that was left compacted loses nothing by it.
"""

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from kafka import KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

from contracts.events import TOPICS
from contracts.ports import Bus, Partition, Record
from contracts.records import key_of
from contracts.settings import Settings
from producers.connection import DIRECT, BusError, kafka_of
from producers.placement import marked
from producers.topics import open_admin

log = structlog.get_logger(__name__)

CUTTABLE: Final = tuple(name for name, spec in TOPICS.items() if not spec.compacted)
"""The topics whose records have marks."""
_FOR_GOOD: Final = frozenset(name for name in CUTTABLE if TOPICS[name].retention_ms < 0)
_SEGMENT_MS: Final = 50
_NUDGE_S: Final = 0.25
"""How often a record without a value is added: it closes the segment before it, and only closed segments are cleaned."""
_NOBODY: Final = b"/nobody"
"""The key of a record without a value that removes nothing."""
_POLL_S: Final = 0.2
_CLEANING: Final[Mapping[str, str]] = {
    "cleanup.policy": "compact,delete",
    "segment.ms": str(_SEGMENT_MS),
    "segment.jitter.ms": "0",
    "min.cleanable.dirty.ratio": "0.0",
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": "1",
    "delete.retention.ms": "0",
    "file.delete.delay.ms": "0",
}
"""The settings of a topic while records are cut out of it."""
_RESTORED: Final[Mapping[str, str | None]] = dict.fromkeys(_CLEANING)


class NotCut(BusError):
    """Records could not be cut out of the log; the message says of which topic, why, and what to do."""


@dataclass(slots=True)
class Found:
    """What a scan of the log has found."""

    records: list[Record] = field(default_factory=list)
    """The records that were looked for, without those that have no value."""
    cut: int = 0
    """How many records without a value still name the key of one that was looked for."""
    unmarked: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """How many records of each cuttable topic have a key without a mark."""
    scanned: int = 0
    others: dict[Partition, "hashlib._Hash"] = field(default_factory=lambda: defaultdict(hashlib.sha256))
    """Of each partition of a topic that is kept for good, the sum over all other records, up to the bounds of the scan."""
    bounds: dict[Partition, int] = field(default_factory=dict)
    """The offset after the last record of each such partition."""

    def digests(self) -> dict[str, str]:
        """Return the sha256 over all other records of each partition that is kept for good, as ``topic/partition``."""
        return {f"{topic}/{partition}": self.others[topic, partition].hexdigest() for topic, partition in sorted(self.bounds)}

    @property
    def keys(self) -> dict[Partition, set[bytes]]:
        """The keys of the records, by partition."""
        keys: dict[Partition, set[bytes]] = defaultdict(set)
        for record in self.records:
            if record.key is not None:
                keys[record.topic, record.partition].add(record.key)
        return keys


def scan(
    bus: Bus, topics: Collection[str], wanted: Callable[[Record], bool], bounds: Mapping[Partition, int] | None = None
) -> Found:
    """Read topics from the start to where they end now, and return the records that are ``wanted``.

    Args:
        bus: Where the log is.
        topics: The topics.
        wanted: Says which records are looked for, also of those without a value.
        bounds: Up to where the others are summed, as an earlier scan has it; None: up to the end.

    Raises:
        BusError: If they cannot be read.
    """
    found = Found()
    tail = bus.follow(list(topics), "start")
    try:
        while True:
            last = tail.caught_up()
            for record in tail.poll(0.0 if last else _POLL_S):
                found.scanned += 1
                if record.value is not None and record.topic in CUTTABLE and key_of(record.key) is None:
                    found.unmarked[record.topic] += 1
                if wanted(record):
                    if record.value is None:
                        found.cut += 1
                    else:
                        found.records.append(record)
                elif record.topic in _FOR_GOOD and record.value is not None:
                    place = record.topic, record.partition
                    if bounds is None or record.offset < bounds.get(place, 0):
                        found.bounds[place] = record.offset + 1
                        found.others[place].update(b"%d %d " % (record.offset, len(record.value)) + record.value)
            if last:
                return found
    finally:
        tail.close()


class LogCutter:
    """Cuts records out of topics of the Kafka of some settings."""

    def __init__(self, settings: Settings, pause: Callable[[float], None]) -> None:
        """Keep the address; nothing connects before the first call.

        Args:
            settings: Where Kafka is.
            pause: Waits; raises when the process must stop.
        """
        self._settings = settings
        self._pause = pause

    def cut(
        self, keys: Mapping[Partition, Collection[bytes]], are_gone: Callable[[Collection[str]], bool], within_s: float
    ) -> None:
        """Cut the records with these keys out of the log, and wait until they are gone, with all that names their keys.

        Args:
            keys: The keys, by partition; each with a mark.
            are_gone: Scans these topics, and says whether nothing is left.
            within_s: How long the broker may take.

        Raises:
            NotCut: If the broker does not let us, or takes too long.
        """
        left = {topic for topic, _ in keys}
        if not left:
            return
        if unmarked := [key for several in keys.values() for key in several if key_of(key) is None]:
            raise NotCut(f"{len(unmarked)} keys have no mark: nothing is cut, since others may have them too")
        deadline = time.monotonic() + within_s
        producer = self._producer()
        try:
            self.configure(left, _CLEANING)
            for (topic, partition), several in keys.items():
                for key in several:
                    producer.send(topic, None, key, partition=partition)
            producer.flush(within_s)
            places = list(keys)
            while left:
                for topic, partition in places:
                    if topic in left:
                        producer.send(topic, None, marked(topic, _NOBODY), partition=partition)
                producer.flush(within_s)
                self._pause(_NUDGE_S)
                left = {topic for topic in left if not are_gone([topic])}
                if left and time.monotonic() > deadline:
                    raise NotCut(
                        f"{', '.join(sorted(left))}: the broker has not cleaned the log in {within_s:.0f} s: is its log cleaner"
                        " on? Give the command again"
                    )
        except KafkaError as error:
            raise NotCut(
                f"the log is not cut ({type(error).__name__}: {error}): see docs/forgetting.md for the rights"
            ) from error
        finally:
            producer.close(timeout=2)
            self.configure({topic for topic, _ in keys}, _RESTORED)

    def configure(self, topics: Iterable[str], configs: Mapping[str, str | None]) -> None:
        """Set settings of topics; None: back to what the contract says, or else the broker's default.

        Raises:
            NotCut: If the broker does not let us.
        """
        admin = open_admin(self._settings)
        try:
            asked = []
            for topic in sorted(topics):
                wanted: dict[str, Any] = {}
                contract = TOPICS[topic].configs(self._settings.log_bytes)
                for name, value in configs.items():
                    value = contract.get(name) if value is None else value
                    wanted[name] = ("DELETE", None) if value is None else value
                asked.append(ConfigResource(ConfigResourceType.TOPIC, topic, wanted))
            done = admin.alter_configs(asked)
        except KafkaError as error:
            raise NotCut(f"the topics' settings may not be changed ({type(error).__name__}: {error})") from error
        finally:
            admin.close()
        refused = {topic: outcome for topic, outcome in done["topic"].items() if outcome != "OK"}
        if refused:
            raise NotCut(f"the topics' settings may not be changed: {refused}")

    def _producer(self) -> Any:
        place = kafka_of(self._settings)
        return KafkaProducer(
            bootstrap_servers=list(place.servers),
            acks="all",
            enable_idempotence=True,
            proxy_url=DIRECT,
            metrics_enabled=False,
            allow_auto_create_topics=False,
            **place.security,
        )
