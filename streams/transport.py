"""The only importer of Faust: brings records from Kafka, sends records to it, commits what is acknowledged.

Faust brings the groups, the rebalancing, the flow control and the time of commits. What must be exact is not left to it. An
agent only forwards: its message is all that one fetch has brought of a partition, since a message in Faust costs as much as the
work on a record (docs/decisions/0013). Topics are declared without Faust's own acknowledgements, which take a record after a
gap for acknowledged: `OffsetTracker` knows what may be committed. On assignment partitions are read from where ledgers stand.

Each name of the two that begins with an underscore is in tests/unit/test_transport.py; both are pinned exactly.
"""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import faust
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import KafkaError
from faust.app.base import BootStrategy
from faust.assignor import PartitionAssignor
from faust.auth import Credentials, OAuthCredentials, SASLCredentials, SSLCredentials
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, Message
from yarl import URL

from contracts.events import TOPICS
from contracts.ports import Partition, Record
from contracts.settings import Settings
from producers.connection import KafkaAddress
from producers.loop_client import cluster_id, security
from producers.pace import Pace
from producers.placement import marked, partition_of
from streams.delivery import STEP, Delivery, Fork
from streams.progress import OffsetTracker

_log = structlog.get_logger()
_GATHER_BYTES: Final = 1 << 18
"""Bytes that are handed over before the time to gather is over."""
_NOTHING_MS: Final = 500
"""How long the broker holds a request to which there is nothing to say."""
_FETCHES: Final = 16
"""Fetches of a partition that may wait for an agent before no more is fetched."""
_BATCH_BYTES: Final = 1 << 18
"""Bytes that are sent to a partition at once: a request carries one batch of each, and one request is under way at a time."""
_REQUEST_BYTES: Final = 1_000_000
"""Most bytes of one record that is sent."""

Positions = Callable[[Mapping[Partition, int], Mapping[Partition, int], str], Mapping[Partition, int]]
"""Says from where to read some of the assigned partitions, by their first offsets, their ends and the cluster's id."""


class BrokerGone(RuntimeError):
    """Kafka could not be joined at the start."""


class Transport:
    """The connection of one process to Kafka: a member of its role's group, and a producer."""

    def __init__(
        self,
        settings: Settings,
        kafka: KafkaAddress,
        role: str,
        positions: Positions,
        pace: Pace | None = None,
        *,
        prompt: bool = False,
    ) -> None:
        """Build; nothing connects before `start`.

        Args:
            settings: Where the home is.
            kafka: Where Kafka is, and how it is spoken to.
            role: Name of the consumer group.
            positions: Says at each assignment from where to read.
            pace: Says how long the broker may hold back what has come, to hand over more at once; None: not at all.
            prompt: Whether it is read on the loop of the process; else in a thread, which answers the group while that is busy.
        """
        self._kafka = kafka
        self._producer: AIOKafkaProducer | None = None
        self._app = _app(settings, kafka, role)
        driven = _Driver([URL(f"aiokafka://{server}") for server in kafka.servers], self._app)
        driven.positions, driven.pace, driven.cluster, driven.prompt = positions, pace, partial(cluster_id, kafka), prompt
        self._app.transport = self._app.producer_transport = driven

    def forward(self, sources: Sequence[str], queue: "asyncio.Queue[Any] | Fork") -> None:
        """Put what comes on topics into a queue, in the order of each partition, as `Delivery`."""
        topic = self._app.topic(
            *sources, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", internal=False, acks=False
        )

        async def forward(stream: Any) -> None:
            async for event in stream.noack().events():
                for delivery in event.value:
                    if not delivery.current():
                        break  # its offset may be beyond what is read next
                    await queue.put(delivery)

        self._app.agent(topic, name=f"forward {' '.join(sources)}")(forward)

    def on_revoked(self, release: Callable[[], Awaitable[None]]) -> None:
        """Have a coroutine let go of all that is assigned, whenever the group shares out its partitions anew."""

        async def revoked(*_: Any, **__: Any) -> None:
            await release()

        self._app.on_partitions_revoked.connect(revoked, weak=False)

    async def start(self, member: str) -> None:
        """Connect, and join the group under a member's name.

        Raises:
            BrokerGone: If that fails.
        """
        self._app.conf.consumer_group_instance_id = member
        self._producer = AIOKafkaProducer(
            bootstrap_servers=list(self._kafka.servers),
            acks="all",
            enable_idempotence=True,
            max_batch_size=_BATCH_BYTES,
            max_request_size=_REQUEST_BYTES,
            request_timeout_ms=30_000,
            **security(self._kafka),
        )
        try:
            await self._producer.start()
            await self._app.start()
        except KafkaError as absent:
            raise BrokerGone(str(absent)) from absent

    async def ended(self) -> BaseException | None:
        """Wait until the group's membership ends by itself; gives what ended it."""
        await self._app.wait_until_stopped()
        return self._app.crash_reason

    async def stop(self) -> None:
        """Leave, and send what is still to be sent."""
        await self._app.stop()
        if self._producer is not None:
            await self._producer.stop()

    async def send(self, topic: str, key: bytes, value: bytes, place: int | None) -> Awaitable[object]:
        """Send a record; what it returns is done when all replicas in sync have it (acks=all).

        Args:
            topic: One of ours.
            key: Orders the record among those of the same key.
            value: The event.
            place: The partition; None: that of the key.

        Raises:
            KafkaError: If it cannot be sent, here or from what is returned.
        """
        assert self._producer is not None, "not started"
        partition = partition_of(key, TOPICS[topic].partitions) if place is None else place
        sent: Awaitable[object] = await self._producer.send(topic, value, marked(topic, key), partition)
        return sent


# --- how Kafka is reached


def credentials(place: KafkaAddress) -> Credentials | None:
    """What Faust is told of TLS and SASL: the same as kafka-python; None: there is neither."""
    given = security(place)
    context, mechanism = given.get("ssl_context"), given.get("sasl_mechanism")
    if mechanism == "OAUTHBEARER":
        return OAuthCredentials(oauth_cb=given["sasl_oauth_token_provider"], ssl_context=context)
    if mechanism:
        user, password = given["sasl_plain_username"], given["sasl_plain_password"]
        return SASLCredentials(username=user, password=password, ssl_context=context, mechanism=mechanism)
    return SSLCredentials(context) if context else None


# --- Faust, as it is used here


class _ReadsOnly(BootStrategy):
    """Starts no producer of Faust's: aiokafka's own is used."""

    enable_kafka_producer = False


class _App(faust.App):
    BootStrategy = _ReadsOnly


class SamePlace(PartitionAssignor):
    """Gives partition n of every topic to the same member, so that what belongs together meets."""

    name = "same-place"
    version = 0

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """Tell the group of this member when it joins: its topics."""
        return ConsumerProtocolMemberMetadata(self.version, list(topics), b"")

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Remember nothing of an assignment."""

    def assign(self, cluster: ClusterMetadata, members: Mapping[str, Any]) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Share out the partitions among members; who reads other topics, as before an upgrade, is given none of these."""
        places = sorted(members)
        partitions = {t: sorted(cluster.partitions_for_topic(t) or ()) for m in members.values() for t in m.subscription}
        shares = {
            member: [(t, [n for n in partitions[t] if n % len(places) == place]) for t in sorted(members[member].subscription)]
            for place, member in enumerate(places)
        }
        return {member: ConsumerProtocolMemberAssignment(self.version, share, b"") for member, share in shares.items()}


def _app(settings: Settings, place: KafkaAddress, role: str) -> faust.App:
    """A Faust app without tables and web, that misses a killed worker within seconds."""
    return _App(
        f"gamenight-{role}",
        broker=[URL(f"aiokafka://{server}") for server in place.servers],
        broker_credentials=credentials(place),
        datadir=str(settings.home / "state" / "faust"),
        autodiscover=False,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        worker_redirect_stdouts=False,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.0,
        broker_rebalance_timeout=8.0,
        broker_request_timeout=20.0,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        broker_max_poll_records=STEP,
        stream_buffer_maxsize=_FETCHES,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
        PartitionAssignor=SamePlace,
        table_standby_replicas=1,  # there are no tables: with 0 Faust would not ask its PartitionAssignor
    )


class _OnLoop(driver.AIOKafkaConsumerThread):
    """Faust's consumer on the loop of the process; in the thread that Faust has for it, it takes turns with that loop."""

    async def maybe_start(self) -> bool:
        """Connect, on the running loop, if it was not started."""
        return await faust.Service.maybe_start(self)

    async def start(self) -> None:
        """Connect, on the running loop."""
        await faust.Service.start(self)

    async def stop(self) -> None:
        """Disconnect."""
        if self.started and not self.should_stop:
            self.set_shutdown()
            await super().stop()
            await self.on_thread_stop()

    async def call_thread(self, fun: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """Call a function of aiokafka's consumer, as everything else on the loop does."""
        found = fun(*given, **named)
        return await found if inspect.isawaitable(found) else found


class _Consumer(driver.Consumer):
    """Brings what was fetched of a partition as one message, commits by `OffsetTracker`, and starts where the ledgers stand."""

    transport: Any

    def __init__(self, *given: Any, **named: Any) -> None:
        self._progress: dict[TP, OffsetTracker] = {}
        self._told: dict[TP, int] = {}  # what was last committed
        super().__init__(*given, **named)

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        if self.transport.prompt:
            return _OnLoop(self, loop=self.loop, thread_loop=self.loop, beacon=self.beacon)
        return super()._new_consumer_thread()

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:
        """What comes within ``timeout`` seconds: in the value of each message the `Delivery` of all records of a partition."""
        fetched: dict[TP, list[Message]] = {}
        async for place, message in super().getmany(timeout):
            fetched.setdefault(place, []).append(message)
        if (pace := self.transport.pace) is not None:
            n, topics = sum(map(len, fetched.values())), {place.topic for place in fetched}
            self._gather(round(1000 * pace.wait_s(n, time.monotonic(), topics)))
            if held_s := pace.hold_s(topics):
                await asyncio.sleep(held_s)
        for place, messages in fetched.items():
            last: Any = messages[-1]  # Faust thinks that its value is bytes, and looks at it no further
            if not self.flow_active or not self._is_current(last.generation_id):
                return  # a rebalancing has begun meanwhile: what was fetched is read again
            last.value = self._deliveries(place, messages)
            yield place, last

    def _deliveries(self, place: TP, messages: Sequence[Message]) -> list[Delivery]:
        progress = self._progress.setdefault(place, OffsetTracker())
        for m in messages:
            progress.deliver(m.offset)
        records = (Record(m.topic, m.partition, m.offset, m.key, m.value, round(m.timestamp * 1000)) for m in messages)
        generation = messages[-1].generation_id
        return [
            Delivery(record, partial(progress.acknowledge, record.offset), partial(self._is_current, generation))
            for record in records
        ]

    def _is_current(self, generation: int | None) -> bool:
        return bool(generation == self.app.consumer_generation_id)

    def _gather(self, wait_ms: int) -> None:
        """Have the broker hold back what comes for so long from the next fetch on; 0: it answers with the first byte."""
        fetcher = self._thread._ensure_consumer()._fetcher  # it takes both numbers when it is made, and Faust passes none
        fetcher._fetch_min_bytes = _GATHER_BYTES if wait_ms else 1
        fetcher._fetch_max_wait_ms = wait_ms or _NOTHING_MS

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit up to where everything is acknowledged; called by Faust every second, before a rebalancing and at the end."""
        here = self.assignment()
        ready = {place: progress.next for place, progress in self._progress.items() if place in here}
        news = {place: n for place, n in ready.items() if n is not None and n != self._told.get(place)}
        if not news or not await self._thread.commit(news):
            return False
        self._told |= news
        return True

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Go to where the ledgers stand; what no fold reads goes on from Kafka's own commit."""
        positions: dict[TP, int] = {TP(*tp): offset for tp, offset in (await super().seek_to_committed()).items()}
        first = {TP(*tp): offset for tp, offset in (await self.earliest_offsets(*positions)).items()}
        end = {TP(*tp): offset for tp, offset in (await self.highwaters(*positions)).items()}
        cluster = await self.transport.cluster()
        wanted = {TP(*place): max(n, first[place]) for place, n in self.transport.positions(first, end, cluster).items()}
        self._progress.clear()
        self._told.clear()
        moves = {tp: offset for tp, offset in wanted.items() if offset != positions[tp]}
        if moves:
            await self.seek_wait(moves)
        return {**positions, **moves}


class _Driver(driver.Transport):
    Consumer = _Consumer
    positions: Positions
    pace: Pace | None
    cluster: Callable[[], Awaitable[str]]
    prompt: bool
