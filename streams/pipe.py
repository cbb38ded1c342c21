"""The only seam to Faust: hands records to folds and takers, publishes what they say, then acknowledges (ways 1 and 2).

Faust brings the groups, the rebalancing and the commits. What must be exact is not left to it: an agent only forwards, one task
takes all that has gathered, the ledger (streams.ledger) decides what is new, and Kafka's own commit comes last. On assignment a
fold's topics are read from where its ledger stands, so a state that was thrown away is folded again from the log.

A message in Faust costs as much as the work on a record, so an agent's message is all that one fetch has brought of a partition
(docs/decisions/0013), and what is acknowledged is kept here, in whatever order it comes (`Progress`).

A message that cannot be handled becomes MessageRejected. A send that fails is not caught: the process ends with an error, the
supervisor starts it again, and it reads again.
"""

import asyncio
import fcntl
import os
import signal
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final, Protocol, TypeVar

import faust
import structlog
import uvloop
from aiokafka.abc import AbstractTokenProvider
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2
from faust.auth import Credentials, OAuthCredentials, SASLCredentials, SSLCredentials
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage
from yarl import URL

from contracts.events import TOPICS, Event, FoldAdvanced
from contracts.ports import Partition, Record
from contracts.settings import Settings
from producers.bus import open_bus
from producers.connection import Place, Tokens, kafka_of, knock
from streams.fold import Fold, Log, advance, take_up
from streams.ledger import Ledger

_log = structlog.get_logger()
_T = TypeVar("_T")
STEP: Final = 500
"""Most records that a fold takes in one transaction: while it is under way nothing else in the process moves."""
_TURNS: Final = 12
"""Of the event loop, in which Faust brings at least one message if it has any."""
_PLACES: Final = 64
"""Most processes of a role in one home."""
_GATHER_BYTES: Final = 1 << 18
"""So much is handed over before its time."""
_NOTHING_MS: Final = 500
"""How long the broker holds a request to which there is nothing to say."""
_FETCHES: Final = 16
"""Of a partition, that may wait for an agent before no more is fetched."""
_BATCH_BYTES: Final = 1 << 18
"""Of what is sent to a partition at once: a request carries one batch of each, and one request is under way at a time."""
BROKER_S: Final = 30.0
"""How long to wait at the start for a broker that is not up yet."""
_TELL_S: Final = 0.5
"""How often it is said how far a state is folded again."""
_LOOK_S: Final = 10.0
"""How long the log is asked for records that did not come."""
STOP_S: Final = 2.0
"""Longest that an orderly stop may take."""


@dataclass(frozen=True, slots=True)
class Handed:
    """A record, and how to say that nobody needs to read it again."""

    record: Record
    ack: Callable[[], object]


class Progress:
    """Up to where a partition is dealt with: records are handed over in order and acknowledged in any.

    One that is acknowledged twice, or after its partition was read anew, changes nothing.
    """

    def __init__(self) -> None:
        """Nothing was handed over."""
        self._handed: deque[int] = deque()  # those that the first unacknowledged one is among, and all after it
        self._acknowledged: set[int] = set()
        self._next: int | None = None

    def hand(self, offset: int) -> None:
        """Remember that the record at ``offset``, after all before, was handed over."""
        self._handed.append(offset)

    def acknowledge(self, offset: int) -> None:
        """Nobody needs to read this one again."""
        if self._handed and offset >= self._handed[0]:
            self._acknowledged.add(offset)

    @property
    def next(self) -> int | None:
        """The offset to go on from if all this is lost, as Kafka commits it; None: from where it began."""
        while self._handed and self._handed[0] in self._acknowledged:
            self._next = self._handed.popleft() + 1
            self._acknowledged.discard(self._next - 1)
        return self._next


class Taker(Protocol):
    """Takes records as they come, and acknowledges each when all that it causes is published."""

    async def take(self, gathered: Sequence[Handed]) -> None:
        """Take what has gathered; called again only when it returns, which is how it holds the flow back."""
        ...


Alongside = Callable[[], Coroutine[Any, Any, None]]


class Pipe:
    """One process of the stream layer: a role, its folds and takers, and a producer."""

    def __init__(self, settings: Settings, role: str, gather_ms: int = 0, linger_ms: int = 0) -> None:
        """Build; nothing connects before `run`.

        Args:
            settings: Where Kafka and the home are.
            role: Name of the consumer group.
            gather_ms: How long the broker may hold back what has come, to hand over more at once; 0: not at all.
            linger_ms: How long what is sent may wait for more.

        Raises:
            NotAdmitted: If the settings of TLS and SASL do not fit together.
        """
        self._settings = settings
        self._role = role
        self._kafka = kafka_of(settings)
        self._app = _app(settings, self._kafka, role, linger_ms)
        transport = _Transport([URL(f"aiokafka://{server}") for server in self._kafka.servers], self._app)
        transport.positions = self._positions
        transport.gather_ms = gather_ms
        self._app.transport = self._app.producer_transport = transport
        self._folding: list[_Folding] = []
        self._handing: set[str] = set()
        self._alongside: list[Alongside] = []
        self._app.on_partitions_revoked.connect(self._revoked, weak=False)

    def fold(self, fold: Fold, step: int = STEP) -> None:
        """Run a fold: its ledgers are in ``<home>/state/<name>/``, one a partition.

        Args:
            fold: What is folded.
            step: Most records that it takes in one transaction.
        """
        counts = {TOPICS[topic].partitions for topic in fold.sources}
        if len(counts) != 1:
            raise ValueError(f"{fold.name} reads topics of different numbers of partitions: {', '.join(fold.sources)}")
        self._apart(fold.sources, self._handing)
        folding = _Folding(fold, self._settings, self._send, self._on_the_log, step)
        self._folding.append(folding)
        self._forward(fold.sources, folding.gathered)
        self.alongside(folding.run)

    def hand(self, sources: Sequence[str], taker: Taker) -> None:
        """Hand what comes on topics to a taker, in order, as much at a time as has gathered."""
        self._apart(sources, {topic for folding in self._folding for topic in folding.fold.sources} | self._handing)
        self._handing.update(sources)
        gathered: asyncio.Queue[Handed] = asyncio.Queue(maxsize=4096)

        async def run() -> None:
            while True:
                await taker.take(await _all(gathered))

        self._forward(sources, gathered)
        self.alongside(run)

    def alongside(self, work: Alongside) -> None:
        """Run a coroutine as long as the process; if it fails, the process does."""
        self._alongside.append(work)

    async def publish(self, events: Iterable[Event]) -> None:
        """Send events, and wait until the broker has acknowledged all of them (acks=all).

        Raises:
            KafkaError: If one could not be sent: let it end the process.
        """
        pending: list[Awaitable[object]] = []
        for event in events:
            key, partition = event.record_key(), event.partition()
            place = _hashed(key, TOPICS[event.topic].partitions) if partition is None else partition
            pending.append(await self._send(event.topic, key, event.record_value(), place))
        if pending:
            await asyncio.gather(*pending)

    def run(self) -> None:
        """Work until SIGTERM or SIGINT, and end the process: with 1, if a part of it failed.

        Raises:
            BusError: If there is no broker at the start, or it does not admit us.
        """
        uvloop.run(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        app = self._app
        await asyncio.to_thread(knock, self._kafka, BROKER_S)
        (self._settings.home / "state" / "faust").mkdir(parents=True, exist_ok=True)
        place = _place(self._settings.home / "state" / "faust", self._role)
        app.conf.consumer_group_instance_id = place.name
        _log.info("starting", member=place.name)
        try:
            await app.start()
        except KafkaError as absent:
            _log.error("no broker", at=self._settings.bootstrap_servers, error=str(absent))
            raise SystemExit(1) from absent
        working = [asyncio.create_task(work()) for work in self._alongside]
        ends = [*working, asyncio.create_task(stopping.wait()), asyncio.create_task(app.wait_until_stopped())]
        _log.info("started")
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        wrong = next((task.exception() for task in working if task.done() and not task.cancelled()), app.crash_reason)
        failed = wrong is not None or not stopping.is_set()
        if failed:
            _log.error("failed, going down", exc_info=wrong)
        # What is folded is in the ledgers and what is not acknowledged is read again, so a stop may be cut short.
        overdue = threading.Timer(STOP_S, os._exit, [1 if failed else 0])
        overdue.daemon = True
        overdue.start()
        for folding in self._folding:
            await folding.release()
        for task in ends:
            task.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        await app.stop()
        _log.info("stopped")
        os._exit(1 if failed else 0)  # threads that wait for Kafka have nothing to bring to an end, and would take 2 s for it

    def _apart(self, sources: Sequence[str], others: set[str]) -> None:
        """What a taker reads nobody else here may: a record is acknowledged once, and a fold does not wait for a taker."""
        if shared := others.intersection(sources):
            raise ValueError(f"{self._role} hands {', '.join(shared)} to two who would acknowledge for each other")

    def _forward(self, sources: Sequence[str], queue: "asyncio.Queue[Any]") -> None:
        topic = self._app.topic(
            *sources, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", internal=False
        )

        async def forward(stream: Any) -> None:
            async for event in stream.noack().events():
                for handed in event.value:
                    if event.message.generation_id != self._app.consumer_generation_id:
                        break  # of an assignment that is over: its offset may be beyond what is read next
                    await queue.put(handed)

        self._app.agent(topic, name=f"forward {' '.join(sources)}")(forward)

    async def _send(self, topic: str, key: bytes, value: bytes, partition: int | None) -> Awaitable[object]:
        sent: Awaitable[object] = await self._app.producer.send(topic, key, value, partition, None, None)
        return sent

    async def _revoked(self, *_: Any, **__: Any) -> None:
        for folding in self._folding:
            await folding.release()

    def _positions(self, first: Mapping[TP, int], ends: Mapping[TP, int], cluster: str) -> dict[TP, int]:
        """The next offset of each assigned partition that a fold reads; of several folds, the least."""
        wanted: dict[TP, int] = {}
        for folding in self._folding:
            mine = [tp for tp in ends if tp.topic in folding.fold.sources]
            for partition in {tp.partition for tp in mine}:
                here = [tp for tp in mine if tp.partition == partition]
                log = Log(cluster, {tp.topic: first[tp] for tp in here}, {tp.topic: ends[tp] for tp in here})
                ledger = folding.take_up(partition, log)
                for tp in here:
                    offset = max(ledger.offset(tp.topic) + 1, first[tp])
                    wanted[tp] = min(offset, wanted.get(tp, offset))
        return wanted

    async def _on_the_log(self, topic: str, partition: int, first: int) -> int | None:
        """The offset of the first record from ``first`` on, as a reader of its own finds it; None: it found none in time."""
        return await asyncio.to_thread(_first_on_the_log, self._settings, topic, partition, first)


Send = Callable[[str, bytes, bytes, int | None], Coroutine[Any, Any, Awaitable[object]]]
OnTheLog = Callable[[str, int, int], Coroutine[Any, Any, int | None]]


class RecordsPassedOver(RuntimeError):
    """Records that are on the log did not come: the process ends, and its next one reads them from where the ledger stands."""


class _Folding:
    """A fold at work: one ledger a partition that is assigned here."""

    def __init__(self, fold: Fold, settings: Settings, send: Send, on_the_log: OnTheLog, step: int = STEP) -> None:
        self.fold = fold
        self._on_the_log = on_the_log
        self._step = step
        self.gathered: asyncio.Queue[Handed | None] = asyncio.Queue(maxsize=4096)
        """None: a ledger was opened, and may have something to say."""
        self._folder = settings.home / "state" / fold.name
        self._send = send
        self._ledgers: dict[int, Ledger] = {}
        self._begun: dict[Partition, int] = {}
        """The offset at which reading began, of the partitions that are here."""
        self._told: dict[int, float] = {}
        """How much was said to be folded."""
        self._told_at = 0.0
        self._working = asyncio.Lock()

    def take_up(self, partition: int, log: Log) -> Ledger:
        """The partition's ledger, opened if it is not: see `streams.fold.take_up`."""
        if partition not in self._ledgers:
            ledger = take_up(self._folder / f"{partition}.sqlite", self.fold, partition, log)
            self._ledgers[partition] = ledger
            if not self.gathered.full():
                self.gathered.put_nowait(None)
        ledger = self._ledgers[partition]
        for topic, first in log.first.items():
            self._begun[topic, partition] = max(ledger.offset(topic) + 1, first)
        return ledger

    async def release(self) -> None:
        """Finish the step under way and let go of all partitions: their next owner may be another process."""
        async with self._working:
            while self._ledgers:
                partition, ledger = self._ledgers.popitem()
                self.fold.close(partition)
                ledger.close()
            self._begun.clear()
            self._told.clear()
            while not self.gathered.empty():
                self.gathered.get_nowait()

    async def run(self) -> None:
        """Fold what comes; say what it causes; acknowledge it."""
        while True:
            gathered = await _all(self.gathered, self._step)
            async with self._working:
                by_partition: dict[int, list[Handed]] = defaultdict(list)
                for handed in filter(None, gathered):
                    by_partition[handed.record.partition].append(handed)
                mine = [(p, several) for p, several in by_partition.items() if p in self._ledgers]
                for partition, several in mine:
                    records = [handed.record for handed in several]
                    await self._look_for_gaps(self._ledgers[partition], records)
                    advance(self._ledgers[partition], self.fold, partition, records)
                await self._publish()
                await self._tell()
                for _, several in mine:
                    for handed in several:
                        handed.ack()

    async def _look_for_gaps(self, ledger: Ledger, records: Sequence[Record]) -> None:
        """See that nothing between what is folded and what has come is on the log.

        Offsets may be missing there: those of transactions' markers, of what was compacted, of what retention has taken. A
        reader of its own says which it is: the log's own gaps it has too.

        Raises:
            RecordsPassedOver: If there is a record that did not come.
        """
        wanted: dict[Partition, int] = {}
        for record in records:
            place = record.topic, record.partition
            if place not in wanted:
                wanted[place] = max(ledger.offset(record.topic) + 1, self._begun.get(place, 0))
            if record.offset > wanted[place]:
                first = await self._on_the_log(*place, wanted[place])
                if first is None or first < record.offset:
                    raise RecordsPassedOver(f"{place[0]}/{place[1]}: {wanted[place]} was to come, and {record.offset} came")
                _log.warning("offsets that the log does not have", topic=place[0], partition=place[1], first=wanted[place],
                             n=record.offset - wanted[place])  # fmt: skip
            wanted[place] = max(wanted[place], record.offset + 1)

    async def _tell(self) -> None:
        """Say how far a state is that is folded again: at once when a partition is taken up or done, else now and then."""
        pending: list[Awaitable[object]] = []
        now = time.monotonic()
        for partition, ledger in self._ledgers.items():
            folded, told = ledger.folded, self._told.get(partition)
            if folded == told or not (told is None or folded == 1 or now - self._told_at > _TELL_S):
                continue
            self._told[partition] = folded
            self._told_at = now
            if folded < 1:
                _log.info("folded again", fold=self.fold.name, partition=partition, percent=int(folded * 100))
            event = FoldAdvanced(fold=self.fold.name, source_partition=partition, fraction=folded)
            place = _hashed(event.record_key(), TOPICS[event.topic].partitions)
            pending.append(await self._send(event.topic, event.record_key(), event.record_value(), place))
        if pending:
            await asyncio.gather(*pending)

    async def _publish(self) -> None:
        sent = {ledger: unsent for ledger in self._ledgers.values() if (unsent := ledger.outgoing())}
        pending = [
            await self._send(out.topic, out.key, out.value, out.partition) for several in sent.values() for out in several
        ]
        if pending:
            await asyncio.gather(*pending)
        for ledger, several in sent.items():
            ledger.sent(several)


def _first_on_the_log(settings: Settings, topic: str, partition: int, first: int) -> int | None:
    bus = open_bus(settings, [topic])
    try:
        others = {(topic, number): -1 for number in range(TOPICS[topic].partitions)}
        tail = bus.follow([topic], others | {(topic, partition): first})
        try:
            deadline = time.monotonic() + _LOOK_S
            while time.monotonic() < deadline:
                found = [record.offset for record in tail.poll(0.5) if record.partition == partition]
                if found:
                    return found[0]
        finally:
            tail.close()
    finally:
        bus.close()
    return None


@lru_cache(maxsize=16_384)
def _hashed(key: bytes, partitions: int) -> int:
    """The partition that Kafka's own partitioner gives a key; remembered, since players speak often and hashing is slow."""
    return (int(murmur2(key)) & 0x7FFFFFFF) % partitions


async def _all(queue: "asyncio.Queue[_T]", most: int = STEP) -> list[_T]:
    """All that has gathered, at least one, at most ``most``.

    Faust takes some turns of the loop to bring each message, and a step takes none until it is done: so that steps grow with
    the load, this waits until some turns have brought nothing more. Without load that is some 0.1 ms.
    """
    several = [await queue.get()]
    idle = 0
    while idle < _TURNS and len(several) < most:
        if queue.empty():
            idle += 1
            await asyncio.sleep(0)
        else:
            idle = 0
            several.append(queue.get_nowait())
    return several


@dataclass(frozen=True, slots=True)
class _Place:
    """A name among the processes of a role that nobody else has while this one lives."""

    name: str
    lock: IO[bytes]


def _place(folder: Path, role: str) -> _Place:
    """The first free place of a role in this home.

    Who comes back under the name of one that was killed gets its partitions at once, where a stranger would have to wait until
    the group has missed the dead: 3 s instead of 9. The lock ends with the process, however it ends.
    """
    for number in range(_PLACES):
        lock = (folder / f"{role}-{number}.lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            here = sha256(str(folder.resolve()).encode()).hexdigest()[:8]
            return _Place(f"{role}-{number}-{here}-{socket.gethostname()}", lock)
    raise RuntimeError(f"{_PLACES} processes of the role {role} run in this home already")


# --- Faust, as it is used here


def _app(settings: Settings, place: Place, role: str, linger_ms: int) -> faust.App:
    """A Faust app without tables and web, that misses a killed worker within seconds."""
    return faust.App(
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
        producer_acks=-1,
        producer_max_batch_size=_BATCH_BYTES,
        producer_linger=linger_ms / 1000,
        producer_request_timeout=30.0,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
    )


class _Bearer(AbstractTokenProvider):  # type: ignore[misc]
    """The tokens of producers.connection, for aiokafka."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def token(self) -> str:
        return await asyncio.to_thread(self._tokens.token)


def credentials(place: Place) -> Credentials | None:
    """What Faust is told of TLS and SASL: the same as kafka-python; None: there is neither."""
    security = place.security
    context, mechanism = security.get("ssl_context"), security.get("sasl_mechanism")
    if mechanism == "OAUTHBEARER":
        return OAuthCredentials(oauth_cb=_Bearer(security["sasl_oauth_token_provider"]), ssl_context=context)
    if mechanism:
        return SASLCredentials(
            username=security["sasl_plain_username"],
            password=security["sasl_plain_password"],
            ssl_context=context,
            mechanism=mechanism,
        )
    return SSLCredentials(context) if context else None


class _SamePlace(RoundRobinPartitionAssignor):  # type: ignore[misc]
    """Partition n of every topic to the same member, so that what belongs together meets."""

    name = "same-place"

    @classmethod
    def assign(cls, cluster: ClusterMetadata, members: Mapping[str, Any]) -> dict[str, ConsumerProtocolMemberAssignment]:
        places = sorted(members)
        topics = sorted({topic for member in members.values() for topic in member.subscription})
        partitions = {topic: sorted(cluster.partitions_for_topic(topic) or ()) for topic in topics}
        return {
            member: ConsumerProtocolMemberAssignment(
                cls.version, [(t, [n for n in partitions[t] if n % len(places) == place]) for t in topics], b""
            )
            for place, member in enumerate(places)
        }


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    """Sets what Faust leaves no settings for."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._partition_assignment_strategy = [_SamePlace]
        self._remember_cluster(consumer._client.cluster)
        return consumer

    def _remember_cluster(self, cluster: ClusterMetadata) -> None:
        """aiokafka forgets the cluster's id, which every answer about topics names."""
        self.cluster_id = ""
        update = cluster.update_metadata

        def updated(metadata: Any) -> None:
            self.cluster_id = getattr(metadata, "cluster_id", None) or self.cluster_id
            update(metadata)

        cluster.update_metadata = updated

    def gather(self, wait_ms: int) -> None:
        """Have the broker hold back what comes for so long from the next fetch on; 0: it answers with the first byte."""
        fetcher = self._ensure_consumer()._fetcher
        fetcher._fetch_min_bytes = _GATHER_BYTES if wait_ms else 1
        fetcher._fetch_max_wait_ms = wait_ms or _NOTHING_MS


class _Consumer(driver.Consumer):
    """Brings what was fetched of a partition as one message, and commits by `Progress`.

    Starts each partition where the ledger stands, not where Kafka's commit does.
    """

    transport: Any
    _thread: _ConsumerThread

    def __init__(self, *given: Any, **named: Any) -> None:
        self._progress: dict[TP, Progress] = {}
        super().__init__(*given, **named)

    def _new_consumer_thread(self) -> Any:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """What comes within ``timeout`` seconds: `Handed` in each message's value."""
        fetched, active = await self._wait_next_records(timeout)
        if self.transport.gather_ms:  # while nothing comes, asking every few ms would be all that this process does
            self._thread.gather(self.transport.gather_ms if fetched else 0)
        generation = self.app.consumer_generation_id
        if fetched is None or self.should_stop:
            return
        if not self.flow_active:  # a rebalancing has begun meanwhile: what was fetched is read again
            try:
                await self.perform_seek()
            except KafkaError as error:  # partitions that are not here any more; those that come are sought at their assignment
                _log.warning("not sought", error=str(error))
            return
        for place, records in fetched.items():
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return
            if records and (active is None or place in active or place in self._buffered_partitions):
                self.app.monitor.track_tp_end_offset(place, self.highwater(place))
                yield place, self._gathered(place, records, generation)

    def _gathered(self, place: TP, records: Sequence[Any], generation: int) -> ConsumerMessage:
        progress = self._progress.setdefault(place, Progress())
        several: Any = []  # Faust thinks that it is bytes, and looks at it no further
        for r in records:
            progress.hand(r.offset)
            record = Record(r.topic, r.partition, r.offset, r.key, r.value, r.timestamp)
            several.append(Handed(record, partial(progress.acknowledge, r.offset)))
        last = records[-1]
        return ConsumerMessage(
            last.topic,
            last.partition,
            last.offset,
            last.timestamp / 1000,
            last.timestamp_type,
            headers=None,
            key=None,
            value=several,
            checksum=None,
            tp=place,
            generation_id=generation,
        )

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Offsets between messages are no gap: they are those of the records before the last."""

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return iter(list(self._progress))

    def _new_offset(self, tp: TP) -> int | None:
        return self._progress[tp].next if tp in self._progress else None

    async def seek_to_committed(self) -> Mapping[TP, int]:
        positions: dict[TP, int] = {TP(*tp): offset for tp, offset in (await super().seek_to_committed()).items()}
        first = {TP(*tp): offset for tp, offset in (await self.earliest_offsets(*positions)).items()}
        end = {TP(*tp): offset for tp, offset in (await self.highwaters(*positions)).items()}
        wanted = {
            tp: max(offset, first[tp]) for tp, offset in self.transport.positions(first, end, self._thread.cluster_id).items()
        }
        self._progress.clear()
        moves = {tp: offset for tp, offset in wanted.items() if offset != positions[tp]}
        if moves:
            await self._thread.seek_wait(moves)
        return {**positions, **moves}


class _Producer(driver.Producer):
    """Idempotent: a resend within the producer does not double a record."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}


class _Transport(driver.Transport):
    Consumer = _Consumer
    Producer = _Producer
    positions: Callable[[Mapping[TP, int], Mapping[TP, int], str], Mapping[TP, int]]
    gather_ms: int
