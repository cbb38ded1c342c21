"""Runs the relay, which reads the bus and passes the events to subscribers, on the event loop (ways 1 and 2).

It has three readers: on the loop itself one of the newest guesses, receipts and codes, for which players wait; in threads,
since they read from the start, one of models and commands and one of scores. None of these grows with what was played: a start
reads a bounded number of records (docs/decisions/0017), and players need not wait for the scores. Drawings are not read: they
are known from their players, or from the guesses on them. Twice is harmless: every subscriber sees that an event came before.
A record that cannot be handled is told on rejected.v1 and passed over; topics that cannot be read, whatever went wrong, are
opened again where they were left.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol

import structlog

from api.metrics import Metrics
from contracts.events import (
    SIGNED,
    TOPICS,
    CommandSettled,
    CorrectionReceipt,
    DriftDetected,
    Event,
    GuessMade,
    MessageRejected,
    ModelEvent,
    PreviewGuessed,
    ScoresCounted,
    SeatOffered,
    SignedEvent,
)
from contracts.ports import LoopBus, Partition, Record, Since
from contracts.records import read, rejection
from producers.connection import BusError
from producers.pace import Pace
from producers.rejections import Rejections
from producers.signing import Proofs
from producers.whole_log import all_records

LIVE: Final = (GuessMade.topic, PreviewGuessed.topic, CorrectionReceipt.topic, SeatOffered.topic)
STATE: Final = (ModelEvent.topic, CommandSettled.topic, DriftDetected.topic)
SCORES: Final = (ScoresCounted.topic,)
NEWEST: Final = 500
"""How many records of each partition of guesses, receipts and codes are read again at a start: players waited for these when
the process ended. It is a number and not a time, so that a start takes no longer, however much was played and however long the
process was away. Older answers are asked for again: see `api.folds.recent_drawings.Drawing.seek`."""
SCORES_S: Final = 1.0
"""How many seconds a start waits for the scores; after that they come while people play."""
_POLL_S = 1.0
_SHORT_POLL_S = 0.05
"""The timeout of a poll while the reader does not know whether all old records are read, or whether reading works again."""
_AGAIN_S = 0.5
_PACES: Final[Mapping[Sequence[str], Callable[[], Pace]]] = {
    LIVE: partial(Pace, rush=300, rush_s=0.008, most_s=0.030),
    STATE: partial(Pace, rush=20, rush_s=0.050),
    SCORES: partial(Pace, rush=20, rush_s=0.100),
}
"""How long each reader gathers records: somebody waits for a guess, while a score need not be shown at once."""

STAGE: Final = "api"
Reading = tuple[Record, Event]
"""A record, and the event that it carries."""

log = structlog.get_logger(__name__)


class Subscriber(Protocol):
    """Takes events of some types, one after another, on the event loop."""

    @property
    def takes(self) -> tuple[type[Event], ...]:
        """Return the types of events that the subscriber takes, each with its subtypes."""
        ...

    def apply(self, event: Any) -> object:
        """Apply an event of one of the types; the relay ignores the returned value."""
        ...


class Relay:
    """Passes the events of the bus to its subscribers, in the order in which they subscribed."""

    def __init__(self, bus: LoopBus, metrics: Metrics, proofs: Proofs | None = None) -> None:
        """Keep the bus; call `subscribe`, and then `start`.

        Args:
            bus: What is read.
            metrics: Count records, and say how late they are.
            proofs: Prove what is signed: nobody is told of anything else there, which the trainer rejects. None: all count.
        """
        self._proofs = proofs
        self._bus = bus
        self._rejections = Rejections(bus)
        self._metrics = metrics
        self._subscribers: list[tuple[Subscriber, bool]] = []
        self._of_type: dict[tuple[type[Event], bool], list[Callable[[Any], object]]] = {}
        self._stopping = threading.Event()
        self._caught_up: dict[Sequence[str], threading.Event] = {topics: threading.Event() for topics in (LIVE, STATE, SCORES)}
        self._since: dict[Sequence[str], Since] = {}
        self._troubles: dict[Sequence[str], str] = {}
        self._threads: list[threading.Thread] = []
        self._listening: asyncio.Task[None] | None = None
        self._heard: dict[Partition, int] = {}
        """Up to where the loop's reader has published."""
        self._began = 0.0

    def subscribe(self, *subscribers: Subscriber, live_only: bool = False) -> None:
        """Pass to each subscriber the events of the types that it takes.

        Args:
            subscribers: The subscribers; each gets an event after those that subscribed before it.
            live_only: Whether they get only events that came after the start.
        """
        self._subscribers += [(subscriber, live_only) for subscriber in subscribers]
        self._of_type.clear()

    def start(self) -> None:
        """Begin to read the bus; call this on the event loop."""
        loop = asyncio.get_running_loop()
        self._began = time.monotonic()
        newest: dict[Partition, int] = {
            (topic, partition): -1 if topic == PreviewGuessed.topic else -NEWEST
            for topic in LIVE
            for partition in range(TOPICS[topic].partitions)
        }
        self._listening = loop.create_task(self._listen(newest))
        for topics in (STATE, SCORES):
            thread = threading.Thread(target=self._read, args=(loop, topics), name=f"relay-{topics[0]}", daemon=True)
            thread.start()
            self._threads.append(thread)

    @property
    def ready(self) -> bool:
        """Say whether subscribers have the events from before the start that players need."""
        scores = self._caught_up[SCORES].is_set() or time.monotonic() - self._began > SCORES_S
        return scores and self._caught_up[LIVE].is_set() and self._caught_up[STATE].is_set()

    @property
    def trouble(self) -> str:
        """Say why the bus cannot be read now; empty: it can."""
        return "; ".join(self._troubles.values())

    async def stop(self) -> None:
        """Stop reading, and wait for the readers to end."""
        self._stopping.set()
        if self._listening is not None:
            self._listening.cancel()
            with suppress(asyncio.CancelledError):
                await self._listening
        for thread in self._threads:
            await asyncio.to_thread(thread.join, 2.0)

    # --- in the threads

    def _read(self, loop: asyncio.AbstractEventLoop, topics: Sequence[str]) -> None:
        self._since[topics] = "start"
        begun = False
        while not self._stopping.is_set():
            try:
                if topics == STATE and self._proofs is not None and not begun:
                    self._proofs.begin(all_records(self._bus, [CommandSettled.topic]))
                    begun = True
                self._follow(loop, topics)
                return
            except Exception as wrong:  # noqa: BLE001 whatever it was, what was left is read again
                if loop.is_closed():
                    return
                self._failed(topics, wrong)
                self._stopping.wait(_AGAIN_S)

    def _failed(self, topics: Sequence[str], wrong: Exception) -> None:
        self._troubles[topics] = f"reading {', '.join(topics)} failed: {wrong or type(wrong).__name__}"
        unforeseen = wrong if not isinstance(wrong, BusError) else None
        log.error("reading failed, opened again", topics=topics, error=str(wrong), exc_info=unforeseen)

    def _follow(self, loop: asyncio.AbstractEventLoop, topics: Sequence[str]) -> None:
        """Read until told to stop."""
        tail = self._bus.follow(topics, self._since[topics])
        caught_up = self._caught_up[topics]
        live = caught_up.is_set()
        pace = _PACES[topics]()
        try:
            while not self._stopping.is_set():
                if not live and tail.caught_up():
                    live = True
                    loop.call_soon_threadsafe(caught_up.set)
                records = tail.poll(_POLL_S if live and topics not in self._troubles else _SHORT_POLL_S)
                if records:
                    loop.call_soon_threadsafe(self._publish, self._readings(records, live, self._reject), live)
                    self._since[topics] = tail.positions()
                self._troubles.pop(topics, None)
                if live and (wait_s := pace.wait_s(len(records), time.monotonic())):
                    self._stopping.wait(wait_s)
        finally:
            tail.close()

    def _readings(self, records: Sequence[Record], live: bool, reject: Callable[[MessageRejected], object]) -> list[Reading]:
        """Read the events of records; of counts, and of old records of a compacted topic, only the newest of each key."""
        newest: dict[str, int] = {}
        unproven = {(record.topic, record.offset) for record in records if not self._is_proven(record)}
        readings: list[Reading] = []
        said: set[tuple[str, bytes]] = set()
        for record in reversed(records):
            newest.setdefault(record.topic, record.timestamp_ms)
            whole = record.key is not None and (
                record.topic == ScoresCounted.topic or (not live and TOPICS[record.topic].compacted)
            )
            place = record.topic, record.key or b""
            if whole and place in said:
                continue
            event = read(record, STAGE)
            if isinstance(event, MessageRejected):
                reject(event)
            elif event is not None and (record.topic, record.offset) not in unproven:
                readings.append((record, event))
                if whole:
                    said.add(place)
        for topic, at_ms in newest.items():
            self._metrics.lag.labels(topic).set(max(0.0, time.time() - at_ms / 1000))
        return readings[::-1]

    def _is_proven(self, record: Record) -> bool:
        """Say whether a record is by whom it says, as far as records are signed; to be asked in the order of the log."""
        if self._proofs is None or record.topic not in SIGNED:
            return True
        event = read(record, STAGE)
        return not isinstance(event, SignedEvent) or self._proofs.against(record, event) is None

    def _reject(self, rejected: MessageRejected) -> None:
        self._metrics.rejected.labels(rejected.source).inc()
        self._rejections.tell(rejected)

    # --- on the event loop

    async def _listen(self, since: Mapping[Partition, int]) -> None:
        while True:
            try:
                await self._hear(since)
            except Exception as wrong:  # noqa: BLE001 whatever it was, players go on waiting for what comes next
                self._failed(LIVE, wrong)
                since = self._heard or since
            await asyncio.sleep(_AGAIN_S)

    async def _hear(self, since: Mapping[Partition, int]) -> None:
        """Read what players wait for, until it cannot be read."""
        tail = await self._bus.listen(LIVE, since)
        caught_up = self._caught_up[LIVE]
        pace = _PACES[LIVE]()
        try:
            while True:
                if not caught_up.is_set() and tail.caught_up():
                    caught_up.set()
                live = caught_up.is_set()
                records = await tail.poll(_POLL_S if live and LIVE not in self._troubles else _SHORT_POLL_S)
                if records:
                    self._publish(self._readings(records, live, self._reject_later), live)
                    self._heard = tail.positions()
                self._troubles.pop(LIVE, None)
                if live and (wait_s := pace.wait_s(len(records), time.monotonic())):
                    await asyncio.sleep(wait_s)
        finally:
            await tail.close()

    def _publish(self, readings: list[Reading], live: bool) -> None:
        for record, event in readings:
            failures: list[Exception] = []
            for apply in self._takers(type(event), live):
                try:
                    apply(event)
                except Exception as wrong:  # noqa: BLE001 a subscriber that fails keeps the event from no other
                    failures.append(wrong)
            if failures:  # a record is rejected once, for the first subscriber that could not handle it
                self._reject_later(rejection(record, STAGE, failures[0]))

    def _reject_later(self, rejected: MessageRejected) -> None:
        """Reject a record from the loop, which must not wait for the broker's acknowledgement of others: it brings them."""
        asyncio.get_running_loop().run_in_executor(None, self._reject, rejected)

    def _takers(self, kind: type[Event], live: bool) -> list[Callable[[Any], object]]:
        takers = self._of_type.get((kind, live))
        if takers is None:
            takers = self._of_type[kind, live] = [
                one.apply for one, live_only in self._subscribers if issubclass(kind, one.takes) and (live or not live_only)
            ]
        return takers
