"""Cuts single records out of Kafka's log; offsets and order of all others stay (way 3, OPERATE).

Kafka deletes no single record. But a compacted topic keeps only the last record of a key, and none if that has no value; and
here no two records have one key (`producers.placement.marked`). So a topic is compacted only while records are cut out of it,
and then loses those for whose key a record without a value was written, and no others. A topic is never compacted if that is
not so: if it has records from before keys had marks, where all but a player's last would be lost; two records with one key; or
a record without a value under the key of somebody who stays. The product writes none such, but others may.

Twice is harmless: what is not there any more is not found, and a topic that was left compacted loses nothing by it.
"""

import hashlib
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import structlog
from kafka import KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

from contracts.events import EVENTS, TOPICS
from contracts.ports import Bus, Partition, Record, Since
from contracts.records import key_of
from contracts.settings import Settings
from producers.connection import DIRECT, BusError, kafka_of
from producers.placement import marked
from producers.topics import open_admin
from producers.whole_log import all_records

log = structlog.get_logger(__name__)
T = TypeVar("T")

CUTTABLE: Final = tuple(name for name, spec in TOPICS.items() if not spec.compacted)
"""The topics whose records have marks."""
OF_PLAYERS: Final = frozenset(event.topic for event in EVENTS if event.key == "player_id")
"""The topics whose records are players'."""
_FOR_GOOD: Final = frozenset(name for name in CUTTABLE if TOPICS[name].retention_ms < 0)
_SEGMENT_MS: Final = 50
_NUDGE_S: Final = 0.25
"""How often a record without a value is added: it closes the segment before it, and only closed segments are cleaned."""
_NOBODY: Final = b"/nobody"
"""The key of a record without a value that removes nothing."""
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
"""The settings of a topic while records are cut out of it; the contract has what each is otherwise."""
_RESTORED: Final[Mapping[str, str | None]] = dict.fromkeys(_CLEANING)


class NotCut(BusError):
    """Records could not be cut out of the log; the message says of which topic, why, and what to do."""


@dataclass(slots=True)
class Found:
    """What a scan of the log has found."""

    records: list[Record] = field(default_factory=list)
    """The records that were looked for, without those that have no value."""
    cut: dict[Partition, int] = field(default_factory=lambda: defaultdict(int))
    """By partition: how many records without a value still name the key of one that was looked for."""
    unmarked: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """How many records of each cuttable topic have a key without a mark."""
    scanned: int = 0
    ends: dict[Partition, int] = field(default_factory=dict)
    """The offset after the last record of each partition, from where another scan can go on."""
    others: dict[Partition, "hashlib._Hash"] = field(default_factory=lambda: defaultdict(hashlib.sha256))
    """Of each partition of a topic that is kept for good, the sum over all other records, up to the bounds of the scan."""
    bounds: dict[Partition, int] = field(default_factory=dict)
    """The offset after the last record of each such partition."""
    staying: dict[Partition, "array[int]"] = field(default_factory=lambda: defaultdict(lambda: array("q")))
    """The hashes of the keys of all other records of the cuttable topics, by partition."""
    entries: Set[Partition] = frozenset()
    """Partitions of compacted topics that hold old entries of what was looked for, and newer ones without."""
    planted: dict[Partition, set[int]] = field(default_factory=lambda: defaultdict(set))
    """The hashes of the keys of all other records without a value, by partition."""

    @property
    def is_left(self) -> bool:
        """Whether anything that was looked for is on the log."""
        return bool(self.records or self.cut)

    def count_key(self, record: Record, looked_for: bool) -> None:
        """Count the key of a record of a cuttable topic."""
        place = record.topic, record.partition
        if record.value is not None and key_of(record.key) is None:
            self.unmarked[record.topic] += 1
        if not looked_for and record.key is not None:
            if record.value is not None:
                self.staying[place].append(hash(record.key))
            elif key_of(record.key) != _NOBODY:
                self.planted[place].add(hash(record.key))

    def digests(self) -> dict[str, str]:
        """Return the sha256 over all other records of each partition that is kept for good, as ``topic/partition``."""
        return named({place: self.others[place].hexdigest() for place in self.bounds})

    @property
    def keys(self) -> dict[Partition, set[bytes]]:
        """The keys of the records, by partition; none for one where an earlier try has left no more than their ends."""
        keys: dict[Partition, set[bytes]] = defaultdict(set, {place: set() for place in (*self.cut, *self.entries)})
        for record in self.records:
            if record.key is not None:
                keys[record.topic, record.partition].add(record.key)
        return keys

    def refuse_lossy(self, topics: Set[str]) -> None:
        """Refuse if a topic would lose more than what was looked for while it is compacted.

        Raises:
            NotCut: If it would; the message says what is there.
        """
        for topic in sorted(topics & self.unmarked.keys()):
            raise NotCut(
                f"{topic} has {self.unmarked[topic]} records whose keys have no mark: nothing is cut, since all but the last"
                " of each key would go (docs/forgetting.md)"
            )
        for topic, partition in sorted(self.staying):
            if topic not in topics:
                continue
            hashes = self.staying[topic, partition]
            once = set(hashes)
            if removed := once & self.planted[topic, partition]:
                raise NotCut(
                    f"{topic}/{partition} has records without a value under the keys of {len(removed)} others, who would go"
                    " too: nothing is cut. No part of the game writes these: see who may write the topic (docs/forgetting.md)"
                )
            if len(once) != len(hashes):
                raise NotCut(
                    f"{topic}/{partition} has {len(hashes) - len(once)} records under keys of others, of which only the last"
                    " would stay: nothing is cut. No part of the game writes these: see who may write the topic"
                    " (docs/forgetting.md)"
                )


def named(places: Mapping[Partition, T]) -> dict[str, T]:
    """Return what is told of partitions under ``topic/partition``, as JSON has it; `unnamed` is the inverse."""
    return {f"{topic}/{partition}": places[topic, partition] for topic, partition in sorted(places)}


def unnamed(places: Mapping[str, T]) -> dict[Partition, T]:
    """Return what `named` was given."""
    return {(topic, int(partition)): one for place, one in places.items() for topic, _, partition in [place.rpartition("/")]}


def scan(
    bus: Bus,
    topics: Collection[str],
    wanted: Callable[[Record], bool],
    bounds: Mapping[Partition, int] | None = None,
    since: Since = "start",
) -> Found:
    """Read topics to where they end now, and return the records that are ``wanted``.

    Args:
        bus: Where the log is.
        topics: The topics.
        wanted: Says which records are looked for, also of those without a value.
        bounds: Up to where the others are summed, as an earlier scan has it; None: up to the end.
        since: Where to begin.

    Raises:
        BusError: If they cannot be read.
    """
    found = Found()
    for record in all_records(bus, list(topics), since):
        place = record.topic, record.partition
        found.scanned += 1
        found.ends[place] = record.offset + 1
        looked_for = wanted(record)
        if record.topic in CUTTABLE:
            found.count_key(record, looked_for)
        if looked_for:
            if record.value is None:
                found.cut[place] += 1
            else:
                found.records.append(record)
        elif record.topic not in _FOR_GOOD or record.value is None:
            continue
        elif bounds is None or record.offset < bounds.get(place, 0):
            found.bounds[place] = record.offset + 1
            found.others[place].update(b"%d %d " % (record.offset, len(record.value)) + record.value)
    return found


class LogCutter:
    """Cuts records out of topics of the Kafka of some settings."""

    def __init__(self, settings: Settings, bus: Bus, pause: Callable[[float], None]) -> None:
        """Keep the address; nothing connects before the first call.

        Args:
            settings: Where Kafka is.
            bus: Where the log is.
            pause: Waits; raises when the process must stop.
        """
        self._settings = settings
        self._bus = bus
        self._pause = pause

    def cut(self, found: Found, wanted: Callable[[Record], bool], within_s: float) -> None:
        """Cut the records that were found out of the log, and wait until they are gone, with all that names their keys.

        Args:
            found: What a scan of all topics has found just now.
            wanted: Says which records were looked for.
            within_s: How long the broker may take.

        Raises:
            NotCut: If others would lose records, the broker does not let us, or it takes too long.
        """
        keys = found.keys
        if unmarked := [key for several in keys.values() for key in several if key_of(key) is None]:
            raise NotCut(f"{len(unmarked)} keys have no mark: nothing is cut, since others may have them too")
        left = {topic for topic, _ in keys}
        found.refuse_lossy(left)
        deadline = time.monotonic() + within_s
        producer = self._producer()
        try:
            self.configure(left, _CLEANING)
            for (topic, partition), several in keys.items():
                for key in several:
                    producer.send(topic, None, key, partition=partition)
            producer.flush(within_s)
            while left:
                for topic, partition in keys:
                    if topic in left:
                        producer.send(topic, None, marked(topic, _NOBODY), partition=partition)
                producer.flush(within_s)
                self._pause(_NUDGE_S)
                left = {topic for topic in left if scan(self._bus, [topic], wanted).is_left}
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
            self.configure(TOPICS, _RESTORED)  # also what an earlier try has left

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
