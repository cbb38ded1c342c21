"""Runs one process of the stream layer: its folds and takers, from the start to an orderly or hasty end.

A message that cannot be handled becomes MessageRejected (`streams.fold`). A send that fails is not caught: the process ends
with an error, the supervisor starts it again, and it reads the records again.
"""

import asyncio
import fcntl
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final

import structlog
import uvloop

from contracts.events import PROCESSES, TOPICS
from contracts.ports import Bus, Partition, Tail
from contracts.settings import Settings
from producers.bus import open_bus
from producers.connection import kafka_of, knock
from producers.pace import Pace
from producers.process_metrics import TELL_S, ProcessMetrics
from producers.signing import Signer
from streams.delivery import QUEUED, STEP, Delivery, Fork, Taker, UnsentRecord, take_gathered
from streams.fold import Fold
from streams.fold_runner import FoldRunner
from streams.progress import least
from streams.stage_metrics import StageMetrics
from streams.transport import BrokerGone, Transport

_log = structlog.get_logger()
_NAMES: Final = 64
"""The most processes of a role in one home."""
BROKER_S: Final = 30.0
"""How long to wait at the start for a broker that is not up yet."""
_LOOK_S: Final = 10.0
"""How long to search the log for records that did not come."""
STOP_S: Final = 2.0
"""The longest time of an orderly stop."""

Alongside = Callable[[], Coroutine[Any, Any, None]]


class Worker:
    """A role, its folds and takers, and a producer."""

    def __init__(
        self, settings: Settings, role: str, pace: Pace | None = None, signer: Signer | None = None, *, prompt: bool = False
    ) -> None:
        """Build; nothing connects before `run`.

        Args:
            settings: Where Kafka and the home are.
            role: Name of the consumer group.
            pace: Says how long the broker may hold back what has come, to hand over more at once; None: not at all.
            signer: Signs what is sent, where its topic is signed; None: what is sent is signed already, or need not be.
            prompt: Whether people wait for what this process says, and none of its steps takes seconds: see `Transport`.

        Raises:
            NotAdmitted: If the settings of TLS and SASL do not fit together.
        """
        self._settings = settings
        self._role = role
        self._signer = signer
        self._kafka = kafka_of(settings)
        self._transport = Transport(settings, self._kafka, role, self._positions, pace, prompt=prompt)
        self._transport.on_revoked(self._release)
        self.metrics = ProcessMetrics(role, role, settings.home)
        """What the process counts of itself."""
        self._stages = StageMetrics(self.metrics.registry)
        self._folds: list[FoldRunner] = []
        self._forks: dict[tuple[str, ...], Fork] = {}
        self._handing: set[str] = set()
        self._alongside: list[Alongside] = []
        self._second_reader = SecondReader(settings)

    def fold(self, fold: Fold, step: int = STEP, after: Alongside | None = None, every_s: float = 0.0) -> None:
        """Run a fold: its ledgers are in ``<home>/state/<name>/``, one a partition.

        Args:
            fold: The fold. Several may have the same sources; a topic in two different lists of sources is refused.
            step: The most records in one transaction.
            after: What is awaited before the first record is folded; None: nothing.
            every_s: How long from one step to the next, at least: for a fold that nobody waits for.
        """
        counts = {TOPICS[topic].partitions for topic in fold.sources}
        if len(counts) != 1:
            raise ValueError(f"{fold.name} reads topics of different numbers of partitions: {', '.join(fold.sources)}")
        self._apart(fold.sources, self._handing | {topic for one in self._forks.keys() - {fold.sources} for topic in one})
        folder = self._settings.home / "state" / fold.name
        stepped = self._stages.stage(fold.name, lambda: runner.gathered.qsize())
        runner = FoldRunner(fold, folder, self._send, self._on_the_log, step, every_s, stepped)
        self._folds.append(runner)
        if fold.sources not in self._forks:
            self._forks[fold.sources] = Fork()
            self._transport.forward(fold.sources, self._forks[fold.sources])
        self._forks[fold.sources].add(runner.gathered)

        async def run() -> None:
            if after is not None:
                await after()
            await runner.run()

        self.alongside(run)

    def hand(self, sources: Sequence[str], taker: Taker, pace: Pace | None = None) -> None:
        """Hand what comes on topics to a taker, in order, as much at a time as has gathered.

        Args:
            sources: The topics.
            taker: Takes it.
            pace: Says how long from one time to the next, at least; None: the next time is as soon as something is there.
        """
        self._apart(sources, {topic for several in self._forks for topic in several} | self._handing)
        self._handing.update(sources)
        gathered: asyncio.Queue[Delivery] = asyncio.Queue(maxsize=QUEUED)
        stepped = self._stages.stage(self._role, gathered.qsize)

        async def run() -> None:
            while True:
                several = await take_gathered(gathered)
                began = time.monotonic()
                await taker.take(several)
                stepped(len(several), time.monotonic() - began)
                if pace is not None:
                    await asyncio.sleep(began + pace.wait_s(len(several), began) - time.monotonic())

        self._transport.forward(sources, gathered)
        self.alongside(run)

    def alongside(self, work: Alongside) -> None:
        """Run a coroutine as long as the process; if it fails, the process fails."""
        self._alongside.append(work)

    async def publish(self, records: Iterable[UnsentRecord]) -> None:
        """Send records, and wait until the broker has acknowledged all of them (acks=all).

        Raises:
            KafkaError: If one could not be sent: let it end the process.
        """
        pending: list[Awaitable[object]] = [await self._send(*record) for record in records]
        if pending:
            await asyncio.gather(*pending)

    async def _send(self, topic: str, key: bytes, value: bytes, place: int | None) -> Awaitable[object]:
        self._stages.sent.of[topic] += 1
        if self._signer is not None:
            value = self._signer.sealed(topic, value)
        return await self._transport.send(topic, key, value, place)

    async def _tell(self) -> None:
        """Tell again and again what the process counts of itself; what cannot be told now is told the next time."""
        while True:
            await asyncio.sleep(TELL_S)
            try:
                await self.publish([UnsentRecord.of(self.metrics.told())])
            except Exception as wrong:  # noqa: BLE001 nobody waits for it
                _log.warning("metrics not told", error=str(wrong) or type(wrong).__name__)

    @property
    def mark(self) -> str:
        """A mark of the topics that are read here, a part of the member's name.

        Kafka gives who joins under the name of another what that one had, without asking anybody; and aiokafka does not recover
        from being given topics that it does not read, as after an upgrade.
        """
        return sha256(" ".join(sorted(self._handing.union(*self._forks))).encode()).hexdigest()[:8]

    def run(self) -> None:
        """Work until SIGTERM or SIGINT, then end the process, with status 1 if a part of it failed.

        Raises:
            BusError: If there is no broker at the start, or it refuses us.
        """
        uvloop.run(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        await asyncio.to_thread(knock, self._kafka, BROKER_S)
        folder = self._settings.home / "state" / "faust"
        folder.mkdir(parents=True, exist_ok=True)
        member = member_name(folder, self._role)
        _log.info("starting", member=member.name)
        try:
            await self._transport.start(f"{member.name}-{self.mark}")
        except BrokerGone as absent:
            _log.error("no broker", at=self._settings.bootstrap_servers, error=str(absent))
            raise SystemExit(1) from absent
        self.metrics.instance = member.name
        telling = [self._tell] if self._role in PROCESSES else []
        working = [asyncio.create_task(work()) for work in (*self._alongside, *telling)]
        member_ended = asyncio.create_task(self._transport.ended())
        ends = [*working, member_ended, asyncio.create_task(stopping.wait())]
        _log.info("started")
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        wrong = next((task.exception() for task in working if task.done() and not task.cancelled()), None)
        if wrong is None and member_ended.done():
            wrong = member_ended.result()
        failed = wrong is not None or not stopping.is_set()
        if failed:
            _log.error("failed, going down", exc_info=wrong)
        # What is folded is in the ledgers and what is not acknowledged is read again, so a stop may be cut short.
        overdue = threading.Timer(STOP_S, os._exit, [1 if failed else 0])
        overdue.daemon = True
        overdue.start()
        await self._release()
        for task in ends:
            task.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        await self._transport.stop()
        _log.info("stopped")
        os._exit(1 if failed else 0)  # threads that wait for Kafka have nothing to bring to an end, and would take 2 s for it

    def _apart(self, sources: Sequence[str], others: set[str]) -> None:
        """Refuse a topic that others read in another way: a record is acknowledged once, and nobody waits for another."""
        if shared := others.intersection(sources):
            raise ValueError(f"{self._role} hands {', '.join(shared)} to two who would acknowledge for each other")

    async def _release(self) -> None:
        for runner in self._folds:
            await runner.release()

    def _positions(
        self, first: Mapping[Partition, int], ends: Mapping[Partition, int], cluster: str
    ) -> Mapping[Partition, int]:
        """Return the next offset of each assigned partition that a fold reads; of several folds, the least."""
        return least([runner.positions(first, ends, cluster) for runner in self._folds])

    async def _on_the_log(self, topic: str, partition: int, first: int) -> int | None:
        """Return the offset of the first record from ``first`` on, by a separate reader; None: it found none in time."""
        return await asyncio.to_thread(self._second_reader.first, topic, partition, first)


class SecondReader:
    """Reads a partition of the log beside the transport, to say which records it has.

    Where players were forgotten the log has many gaps, and they are asked for in order. So it goes on from where it stands, and
    is opened anew only for an earlier offset.
    """

    def __init__(self, settings: Settings) -> None:
        """Keep the settings; it is opened when it is first asked."""
        self._settings = settings
        self._lock = threading.Lock()
        self._place: Partition | None = None
        self._bus: Bus | None = None
        self._tail: Tail | None = None
        self._offsets: deque[int] = deque()
        """The offsets that were read and not asked for yet, rising."""
        self._past = 0
        """The least offset that it can still say."""

    def first(self, topic: str, partition: int, wanted: int) -> int | None:
        """Return the offset of the first record from ``wanted`` on; None: it found none in time."""
        with self._lock:
            if self._place != (topic, partition) or wanted < self._past:
                self._open(topic, partition, wanted)
            self._past = wanted
            deadline = time.monotonic() + _LOOK_S
            while time.monotonic() < deadline:
                while self._offsets and self._offsets[0] < wanted:
                    self._offsets.popleft()
                if self._offsets:
                    return self._offsets[0]
                assert self._tail is not None
                self._offsets += (record.offset for record in self._tail.poll(0.5) if record.partition == partition)
            self._close()
            return None

    def _open(self, topic: str, partition: int, first: int) -> None:
        self._close()
        self._bus = open_bus(self._settings, [topic])
        others = {(topic, number): -1 for number in range(TOPICS[topic].partitions)}
        self._tail = self._bus.follow([topic], others | {(topic, partition): first})
        self._place = (topic, partition)

    def _close(self) -> None:
        if self._tail is not None:
            self._tail.close()
        if self._bus is not None:
            self._bus.close()
        self._place, self._bus, self._tail = None, None, None
        self._offsets.clear()


@dataclass(frozen=True, slots=True)
class Member:
    """The name of a process within its role, which no other has while this process lives."""

    name: str
    lock: IO[bytes]


def member_name(folder: Path, role: str) -> Member:
    """Take the first free name of a role in this home.

    A process that takes the name of a killed one gets its partitions at once; with another name it would have to wait until the
    group misses the dead process: 3 s instead of 9. The lock ends with the process, however it ends.
    """
    for number in range(_NAMES):
        lock = (folder / f"{role}-{number}.lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            here = sha256(str(folder.resolve()).encode()).hexdigest()[:8]
            return Member(f"{role}-{number}-{here}-{socket.gethostname()}", lock)
    raise RuntimeError(f"{_NAMES} processes of the role {role} run in this home already")
