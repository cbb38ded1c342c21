"""Sends and reads on an event loop, through aiokafka: for the process for whose answers people wait, and for the archive.

kafka-python sends and reads in threads of its own, which take turns with a loop beside them: a drawing came to the broker, and
a guess back, milliseconds later for it, and the API was dearer by a third in a rush (docs/decisions/0051). `KafkaBus` hands
over to a `LoopSender` while it is attached to a loop, and all that the API follows a `LoopTail` reads. Who may wait goes on
with kafka-python, but for the archive and the observations: they read every example, and aiokafka's parser is compiled.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import AbstractTokenProvider
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from contracts.ports import Partition, Record
from producers.connection import BusError, KafkaAddress, Tokens
from producers.pace import Pace
from producers.placement import ReadPositions, first_offset
from producers.sending import Sending

_BATCH_BYTES: Final = 1 << 18
"""Bytes that are sent to a partition at once: a request carries one batch of each, and one request is under way at a time."""
_REQUEST_BYTES: Final = 1_100_000  # of one record with what is around it
_REQUEST_MS: Final = 30_000
_LOOK_S: Final = 1.0  # how often is looked for what was not delivered in time
_AGAIN_S: Final = 0.5
_PACE: Final = partial(Pace, rush=100, rush_s=0.003, most_s=0.008)
"""How long records are gathered in a rush, of all partitions together: each request to the broker has its price (0060)."""
_STOP_S: Final = 1.0
"""How long a producer may take to stop that has nothing more to send, or cannot send it."""
_FETCH_BYTES: Final = 4 * 1024 * 1024
_POLLED: Final = 2000  # most records of one poll

log = structlog.get_logger(__name__)


class LoopSender:
    """An idempotent producer with acks=all on the running loop; records of a partition keep their order.

    aiokafka tries again for as long as it takes, and after a batch that failed it can send no other to that partition: the
    numbers that Kafka checks have a gap. So here a record is given up when it is due, and the producer is replaced by a new one
    after any failure.
    """

    def __init__(self, address: KafkaAddress) -> None:
        """Build on the running loop; `start` connects."""
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._producer: AIOKafkaProducer | None = None
        self._renewing = asyncio.Lock()
        self._waiting: dict[Partition, deque[Sending]] = {}
        """What was not handed to aiokafka, by partition; each has a task that does."""
        self._pending: dict[Sending, None] = {}
        """All that is neither acknowledged nor refused, the oldest first."""
        self._pace = _PACE()
        self._gathered: list[Sending] = []
        self._gathering: asyncio.TimerHandle | None = None
        self._sent = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        """The tasks that disconnect producers which failed: aiokafka leaves open what is cut off halfway."""
        self._closed = False

    def start(self) -> None:
        """Connect, in the background."""
        self._spawn(self._connect())
        self._spawn(self._give_up())

    def send(
        self,
        place: Partition,
        key: bytes,
        value: bytes,
        timestamp_ms: int,
        within_s: float,
        acknowledged: Callable[[int, int], object],
        refused: Callable[[BaseException | str], object],
    ) -> None:
        """Send a record without waiting; any thread may.

        Args:
            place: Its topic and partition.
            key: Its key.
            value: Its value.
            timestamp_ms: Its time, in ms since 1970.
            within_s: How long it is tried.
            acknowledged: Called on the loop with its offset and its timestamp.
            refused: Called with why it was not delivered.
        """
        record = Sending(place, key, value, timestamp_ms, time.monotonic() + within_s, acknowledged, refused)
        if threading.get_ident() == self._thread:
            self._take(record)
            return
        try:
            self._loop.call_soon_threadsafe(self._take, record)
        except RuntimeError:  # the loop has ended meanwhile
            record.refused("the bus is closed")

    async def stop(self, within_s: float) -> None:
        """Wait so long until all is acknowledged, refuse the rest, and disconnect."""
        deadline = time.monotonic() + within_s
        while self._pending and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S), self._renewing:
                pass  # a connection that is being made is finished first, and one that is being ended, for the same reason
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._ending, return_exceptions=True)
        for record in list(self._pending):
            self._refuse(record, "the bus is closed")
        await self._end(self._producer)

    # --- on the loop

    def _spawn(self, work: Any, ending: bool = False) -> None:
        task, tasks = self._loop.create_task(work), self._ending if ending else self._tasks
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _take(self, record: Sending) -> None:
        if self._closed:
            record.refused("the bus is closed")
            return
        self._sent += 1
        record.number = self._sent
        self._pending[record] = None
        self._gathered.append(record)
        if self._gathering is None:
            self._flush()

    def _flush(self) -> None:
        """Queue what was gathered, and gather on in a rush; who sends alone is not waited for."""
        self._gathering = None
        gathered, self._gathered = [] if self._closed else self._gathered, []
        for record in gathered:
            self._queue(record)
        if gathered and (wait_s := self._pace.wait_s(len(gathered), time.monotonic())):
            self._gathering = self._loop.call_later(wait_s, self._flush)

    def _queue(self, record: Sending) -> None:
        waiting = self._waiting.get(record.place)
        if waiting is None:
            self._waiting[record.place] = deque([record])
            self._spawn(self._hand_over(record.place))
        elif not waiting or waiting[-1].number < record.number:
            waiting.append(record)
        else:  # it failed and is sent again, before those that came later
            ordered = sorted([*waiting, record], key=lambda each: each.number)
            waiting.clear()
            waiting.extend(ordered)

    async def _hand_over(self, place: Partition) -> None:
        """Hand what waits for a partition to aiokafka, which takes no more while a whole batch of it waits."""
        waiting = self._waiting[place]
        topic, partition = place
        while waiting:
            producer = await self._connect()
            record = waiting.popleft() if waiting else None
            if record not in self._pending:
                continue
            try:
                kept = await producer.send(topic, record.value, record.key, partition, record.timestamp_ms)
            except Exception as wrong:  # noqa: BLE001 whatever it is, it is told to whoever waits
                self._failed(record, producer, wrong)
            else:
                kept.add_done_callback(partial(self._settle, record, producer))
        del self._waiting[place]

    def _settle(self, record: Sending, producer: AIOKafkaProducer, kept: "asyncio.Future[Any]") -> None:
        if kept.cancelled():
            return
        if (wrong := kept.exception()) is not None:
            self._failed(record, producer, wrong)
        elif self._pending.pop(record, False) is None:
            record.acknowledged(kept.result().offset, kept.result().timestamp)

    def _failed(self, record: Sending, producer: AIOKafkaProducer, wrong: BaseException) -> None:
        if self._producer is producer:
            log.warning("producer replaced", error=str(wrong) or type(wrong).__name__)
            self._producer = None
            self._spawn(self._end(producer), ending=True)
        if record not in self._pending:
            return
        if getattr(wrong, "retriable", False) and not self._closed:
            self._queue(record)
        else:
            self._refuse(record, wrong)

    def _refuse(self, record: Sending, why: BaseException | str) -> None:
        if self._pending.pop(record, False) is None:
            waiting = self._waiting.get(record.place, ())
            while waiting and waiting[0] not in self._pending:  # while no broker answers nobody else takes it out
                waiting.popleft()
            record.refused(why)

    async def _connect(self) -> AIOKafkaProducer:
        """Return a producer that works; waits for as long as no broker answers."""
        if self._producer is not None:
            return self._producer
        async with self._renewing:
            while self._producer is None:
                if self._closed:
                    raise asyncio.CancelledError
                producer = AIOKafkaProducer(
                    bootstrap_servers=list(self._address.servers),
                    acks="all",
                    enable_idempotence=True,
                    max_batch_size=_BATCH_BYTES,
                    max_request_size=_REQUEST_BYTES,
                    request_timeout_ms=_REQUEST_MS,
                    **security(self._address),
                )
                try:
                    await producer.start()
                except Exception as absent:  # noqa: BLE001 it is tried again, whatever it is: who waits is told when it is due
                    log.warning("no producer yet", error=str(absent))
                    await self._end(producer)
                    await asyncio.sleep(_AGAIN_S)
                except BaseException:
                    await self._end(producer)
                    raise
                else:
                    self._producer = producer
            return self._producer

    async def _end(self, producer: AIOKafkaProducer | None) -> None:
        if producer is not None:
            with suppress(TimeoutError, KafkaError):
                await asyncio.wait_for(producer.stop(), _STOP_S)

    async def _give_up(self) -> None:
        """Refuse what is due."""
        while True:
            await asyncio.sleep(_LOOK_S)
            now = time.monotonic()
            while self._pending and (oldest := next(iter(self._pending))).due <= now:
                self._refuse(oldest, "the broker did not acknowledge it in time")


class LoopTail:
    """A bystander's view of some topics, read on the running loop; see `contracts.ports.Listener`."""

    def __init__(self, address: KafkaAddress, places: Sequence[Partition]) -> None:
        """Build on the running loop; `start` connects."""
        self._places = [TopicPartition(*place) for place in places]
        self._read = ReadPositions({}, {})
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=list(address.servers),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # if retention has deleted the offset: reading twice is harmless, skipping is not
            fetch_min_bytes=1,  # the broker answers with the first byte, so that it waits and not a timer
            fetch_max_wait_ms=500,
            max_partition_fetch_bytes=_FETCH_BYTES,
            **security(address),
        )

    async def start(self, since: Mapping[Partition, int]) -> None:
        """Connect, and begin at these offsets.

        Raises:
            BusError: If no broker answers, or does not let us read.
        """
        try:
            await self._consumer.start()
            self._consumer.assign(self._places)
            ends = await self._consumer.end_offsets(self._places)
            begin = await self._consumer.beginning_offsets(self._places)
        except (KafkaError, OSError) as error:
            await self.close()
            raise BusError(f"{', '.join(sorted({p.topic for p in self._places}))} cannot be read: {error}") from error
        except BaseException:
            await self.close()
            raise
        starts = {p: first_offset(since.get((p.topic, p.partition), 0), begin[p], ends[p]) for p in self._places}
        for place, offset in starts.items():
            self._consumer.seek(place, offset)
        self._read = ReadPositions(starts, ends)

    async def poll(self, timeout_s: float) -> list[Record]:
        """Return the records that came since, in order within each partition; none after ``timeout_s`` without any.

        Raises:
            BusError: If a record cannot be read.
        """
        try:
            batches = await self._consumer.getmany(timeout_ms=round(timeout_s * 1000), max_records=_POLLED)
            records: list[Record] = []
            for place, batch in batches.items():
                self._read.read(place, batch[-1].offset)
                records += [Record(r.topic, r.partition, r.offset, r.key, r.value, r.timestamp) for r in batch]
            if self._read.behind and not batches:  # compaction may have removed the last records, so the position decides
                for behind in list(self._read.behind):
                    self._read.passed(behind, await self._consumer.position(TopicPartition(*behind)))
        except KafkaError as error:
            raise BusError(f"reading failed: {error}") from error
        return records

    def caught_up(self) -> bool:
        """Say whether everything that was on the topics when it was opened has been polled."""
        return not self._read.behind

    def positions(self) -> dict[Partition, int]:
        """Return the first offset of each partition that was not polled."""
        return {(topic, number): offset for (topic, number), offset in self._read.next.items()}

    async def close(self) -> None:
        """Disconnect."""
        with suppress(KafkaError):
            await self._consumer.stop()


async def cluster_id(address: KafkaAddress) -> str:
    """Return the id of the Kafka cluster that answers now."""
    admin = AIOKafkaAdminClient(bootstrap_servers=list(address.servers), request_timeout_ms=20_000, **security(address))
    await admin.start()
    try:
        return str((await admin.describe_cluster())["cluster_id"])
    finally:
        await admin.close()


class _Bearer(AbstractTokenProvider):  # type: ignore[misc]
    """The tokens of producers.connection, for aiokafka."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def token(self) -> str:
        return await asyncio.to_thread(self._tokens.token)


def security(address: KafkaAddress) -> dict[str, Any]:
    """TLS and SASL as arguments of aiokafka's own clients, which have kafka-python's names; empty: there is neither."""
    given = dict(address.security)
    if tokens := given.get("sasl_oauth_token_provider"):
        given["sasl_oauth_token_provider"] = _Bearer(tokens)
    return given
