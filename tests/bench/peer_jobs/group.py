"""The stream layer's transport over a plain consumer group of aiokafka, after its documentation: what Faust is weighed against.

It does what `streams.transport` does, with the same `OffsetTracker`, positions and producer, but the group, commits and flow
are aiokafka's own (docs/decisions/0022). It knows nothing of TLS, SASL, or of a broker that holds back records.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from contracts.events import TOPICS
from contracts.ports import Record
from contracts.settings import Settings
from producers.connection import KafkaAddress
from producers.pace import Pace
from producers.placement import partition_of
from streams.delivery import STEP, Delivery, Fork
from streams.progress import OffsetTracker
from streams.transport import Positions

COMMIT_S = 1.0


class SamePlace(RoundRobinPartitionAssignor):
    """Gives partition n of every topic to the same member."""

    name = "same-place"

    @classmethod
    def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Share out the partitions of all topics."""
        places = sorted(members)
        topics = sorted({topic for member in members.values() for topic in member.subscription})
        there = {topic: sorted(cluster.partitions_for_topic(topic) or ()) for topic in topics}
        return {
            member: ConsumerProtocolMemberAssignment(
                cls.version, [(t, [n for n in there[t] if n % len(places) == place]) for t in topics], b""
            )
            for place, member in enumerate(places)
        }


class Group(ConsumerRebalanceListener):
    """A transport like `streams.transport.Transport`, without Faust."""

    def __init__(
        self,
        settings: Settings,
        kafka: KafkaAddress,
        role: str,
        positions: Positions,
        pace: Pace | None = None,
    ) -> None:
        """Keep the settings; nothing connects before `start`."""
        self._servers = list(kafka.servers)
        self._role = role
        self._positions = positions
        self._queues: dict[str, list[asyncio.Queue[Any]]] = {}
        self._progress: dict[TopicPartition, OffsetTracker] = {}
        self._generation = 0
        """The number of the assignment: records that were fetched in an earlier one are read again, not delivered."""
        self._begin: dict[TopicPartition, int] = {}
        self._release: Callable[[], Awaitable[None]] | None = None
        self._working: list[asyncio.Task[None]] = []

    def forward(self, sources: Sequence[str], queue: "asyncio.Queue[Any] | Fork") -> None:
        """Put the records of topics into a queue."""
        for source in sources:
            self._queues.setdefault(source, []).append(queue)

    def on_revoked(self, release: Callable[[], Awaitable[None]]) -> None:
        """Set the coroutine function that lets go of all assigned partitions."""
        self._release = release

    async def start(self, member: str) -> None:
        """Connect, and join the group."""
        self._producer = AIOKafkaProducer(bootstrap_servers=self._servers, acks="all", enable_idempotence=True)
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._servers,
            group_id=f"gamenight-{self._role}",
            group_instance_id=member,
            partition_assignment_strategy=(SamePlace,),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=6_000,
            heartbeat_interval_ms=1_000,
            rebalance_timeout_ms=8_000,
        )
        self._admin = AIOKafkaAdminClient(bootstrap_servers=self._servers)
        await self._producer.start()
        await self._admin.start()
        self._consumer.subscribe(list(self._queues), listener=self)
        await self._consumer.start()
        self._working = [asyncio.create_task(self._read()), asyncio.create_task(self._commit())]

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Let go of all assigned partitions."""
        self._generation += 1
        if self._release is not None:
            await self._release()

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Seek to the ledgers' positions, or else to Kafka's commit, since records may have been fetched meanwhile."""
        first = await self._consumer.beginning_offsets(assigned)
        ends = await self._consumer.end_offsets(assigned)
        cluster = str((await self._admin.describe_cluster())["cluster_id"])
        kept = {place: await self._consumer.committed(place) for place in assigned}
        self._progress.clear()
        self._begin.clear()
        wanted = self._positions(first, ends, cluster)
        for place in assigned:
            committed = kept[place]
            self._begin[place] = wanted.get(place, first[place] if committed is None else committed)
            self._consumer.seek(place, self._begin[place])
        self._generation += 1

    async def _read(self) -> None:
        while True:
            generation = self._generation
            fetched = await self._consumer.getmany(timeout_ms=1000, max_records=STEP)
            if generation != self._generation:  # it may be of an earlier assignment, and is read again
                for place in self._begin.keys() & self._consumer.assignment():
                    self._consumer.seek(place, self._begin[place])
                continue
            for place, records in fetched.items():
                progress = self._progress.setdefault(place, OffsetTracker())
                for r in records:
                    if generation != self._generation:
                        break
                    progress.deliver(r.offset)
                    record = Record(r.topic, r.partition, r.offset, r.key, r.value, r.timestamp)
                    for queue in self._queues[place.topic]:
                        await queue.put(Delivery(record, partial(progress.acknowledge, r.offset)))

    async def _commit(self) -> None:
        told: dict[TopicPartition, int] = {}
        while True:
            await asyncio.sleep(COMMIT_S)
            here = self._consumer.assignment()
            news = {p: n for p, one in self._progress.items() if p in here and (n := one.next) and n != told.get(p)}
            if news:
                await self._consumer.commit(news)
                told |= news

    async def ended(self) -> BaseException | None:
        """Wait until reading or committing fails, and return the failure."""
        done, _ = await asyncio.wait(self._working, return_when=asyncio.FIRST_COMPLETED)
        return next((task.exception() for task in done), None)

    async def stop(self) -> None:
        """Leave the group."""
        for task in self._working:
            task.cancel()
        await self._consumer.stop()
        await self._producer.stop()
        await self._admin.close()

    async def send(self, topic: str, key: bytes, value: bytes, place: int | None) -> Awaitable[object]:
        """Send a record; the returned awaitable is done at the broker's acknowledgement."""
        partition = partition_of(key, TOPICS[topic].partitions) if place is None else place
        return await self._producer.send(topic, value, key, partition)
