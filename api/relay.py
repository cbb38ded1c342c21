"""Runs the relay, which reads the bus and passes the events to subscribers, on the event loop (ways 1 and 2).

It has three readers: one of the newest guesses, receipts and codes, for which players wait; from the start, one of models and
commands and one of scores. None of these grows with what was played: a start reads a bounded number of records
(docs/decisions/0017) before the first socket is accepted, but for the scores, for which players need not wait. Drawings are not
read: they are known from their players, or from the guesses on them. Twice is harmless: every subscriber sees that an event
came before.
A record that cannot be handled is told on rejected.v1 and passed over; topics that cannot be read, whatever went wrong, are
opened again where they were left.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
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
from contracts.ports import LoopBus, Partition, Record
from contracts.records import read, rejection
from producers.connection import BusError
from producers.pace import Pace
from producers.proven import ProvenModels, Reading
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
_MOST_TOLD: Final = 64
"""How many rejections may wait to be told before the readers wait for them."""
_FEW_PROOFS: Final = 4
"""How many proofs the loop itself makes at a time, of a tenth of a millisecond each."""
_PACES: Final[Mapping[Sequence[str], Callable[[], Pace]]] = {
    LIVE: partial(Pace, rush=300, rush_s=0.004, most_s=0.014),
    STATE: partial(Pace, rush=20, rush_s=0.050),
    SCORES: partial(Pace, rush=20, rush_s=0.100),
}
"""How long each reader gathers records: somebody waits for a guess, while a score need not be shown at once."""

STAGE: Final = "api"

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
        self._models = ProvenModels(proofs)
        self._bus = bus
        self._rejections = Rejections(bus)
        self._telling: set[asyncio.Future[None]] = set()
        self._metrics = metrics
        self._subscribers: list[tuple[Subscriber, bool]] = []
        self._of_type: dict[tuple[type[Event], bool], list[Callable[[Any], object]]] = {}
        self._caught_up: set[Sequence[str]] = set()
        """The readers that have published what was there when they began."""
        for topic in (*LIVE, *STATE, *SCORES):
            metrics.rejected.labels(topic)  # it is exported at 0, so that the first rejection is seen as an increase
        self._troubles: dict[Sequence[str], str] = {}
        self._readers: list[asyncio.Task[None]] = []
        self._next: dict[Sequence[str], Mapping[Partition, int]] = {}
        """Where each reader goes on: behind what it has published."""
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
        self._began = time.monotonic()
        newest = {
            (topic, partition): -1 if topic == PreviewGuessed.topic else -NEWEST
            for topic in LIVE
            for partition in range(TOPICS[topic].partitions)
        }
        since: dict[Sequence[str], Mapping[Partition, int]] = {LIVE: newest, STATE: {}, SCORES: {}}
        self._readers = [asyncio.create_task(self._read(topics, places)) for topics, places in since.items()]

    @property
    def ready(self) -> bool:
        """Say whether subscribers have the events from before the start that players need."""
        scores = SCORES in self._caught_up or time.monotonic() - self._began > SCORES_S
        return scores and self._caught_up.issuperset((LIVE, STATE))

    @property
    def trouble(self) -> str:
        """Say why the bus cannot be read now; empty: it can."""
        return "; ".join(self._troubles.values())

    async def stop(self) -> None:
        """Stop reading, and wait for the readers to end."""
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    # --- the readers

    async def _read(self, topics: Sequence[str], since: Mapping[Partition, int]) -> None:
        self._next[topics] = since
        begun = topics != STATE or self._proofs is None
        while True:
            try:
                if not begun:
                    await asyncio.to_thread(self._begin_proofs)
                    begun = True
                await self._follow(topics)
            except Exception as wrong:  # noqa: BLE001 whatever it was, what was left is read again
                self._failed(topics, wrong)
            await asyncio.sleep(_AGAIN_S)

    def _begin_proofs(self) -> None:
        assert self._proofs is not None
        self._proofs.begin(all_records(self._bus, [CommandSettled.topic]))

    def _failed(self, topics: Sequence[str], wrong: Exception) -> None:
        self._troubles[topics] = f"reading {', '.join(topics)} failed: {wrong or type(wrong).__name__}"
        unforeseen = wrong if not isinstance(wrong, BusError) else None
        log.error("reading failed, opened again", topics=topics, error=str(wrong), exc_info=unforeseen)

    async def _follow(self, topics: Sequence[str]) -> None:
        """Read until it fails."""
        tail = await self._bus.listen(topics, self._next[topics])
        pace = _PACES[topics]()
        try:
            while True:
                if topics not in self._caught_up and tail.caught_up():
                    self._caught_up.add(topics)
                live = topics in self._caught_up
                records = await tail.poll(_POLL_S if live and topics not in self._troubles else _SHORT_POLL_S)
                if records:
                    self._publish(self._readings(records, live, await self._models_of(records, live)), live)
                    self._next[topics] = tail.positions()
                self._troubles.pop(topics, None)
                while len(self._telling) > _MOST_TOLD:
                    await asyncio.wait(self._telling, return_when=asyncio.FIRST_COMPLETED)
                if live and (wait_s := pace.wait_s(len(records), time.monotonic())):
                    await asyncio.sleep(wait_s)
        finally:
            await tail.close()

    # --- what they read

    async def _models_of(self, records: Sequence[Record], live: bool) -> Mapping[int, Event]:
        """Return by offset what counts on models.v1, of old records the newest of each key; many are proven in a thread."""
        several = [record for record in records if record.topic == ModelEvent.topic and self._models.proves]
        if len(several) <= _FEW_PROOFS:
            return self._counting(several, live)
        return await asyncio.to_thread(self._counting, several, live)

    def _counting(self, records: Sequence[Record], live: bool) -> Mapping[int, Event]:
        found = [(record, event) for record in records if (event := read(record, STAGE)) is not None]
        bad = {record.offset: event for record, event in found if isinstance(event, MessageRejected)}
        several = [(record, event) for record, event in found if record.offset not in bad]
        counting, _ = self._models.all(several) if live else self._models.newest(several)
        return bad | {record.offset: event for record, event in counting}

    def _readings(self, records: Sequence[Record], live: bool, models: Mapping[int, Event]) -> list[Reading]:
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
            proven = record.topic == ModelEvent.topic and self._models.proves
            event = models.get(record.offset) if proven else read(record, STAGE)
            if isinstance(event, MessageRejected):
                self._reject(event)
            elif event is not None and (record.topic, record.offset) not in unproven:
                readings.append((record, event))
                if whole:
                    said.add(place)
        for topic, at_ms in newest.items():
            self._metrics.lag.labels(topic).set(max(0.0, time.time() - at_ms / 1000))
        return readings[::-1]

    def _is_proven(self, record: Record) -> bool:
        """Say whether a record is by whom it says, as far as records are signed; to be asked in the order of the log."""
        if self._proofs is None or record.topic not in SIGNED or record.topic == ModelEvent.topic:
            return True
        event = read(record, STAGE)
        return not isinstance(event, SignedEvent) or self._proofs.against(record, event) is None

    def _publish(self, readings: list[Reading], live: bool) -> None:
        for record, event in readings:
            failures: list[Exception] = []
            for apply in self._takers(type(event), live):
                try:
                    apply(event)
                except Exception as wrong:  # noqa: BLE001 a subscriber that fails keeps the event from no other
                    failures.append(wrong)
            if failures:  # a record is rejected once, for the first subscriber that could not handle it
                self._reject(rejection(record, STAGE, failures[0]))

    def _reject(self, rejected: MessageRejected) -> None:
        """Reject a record from another thread: the loop must not wait for the broker's acknowledgement, since it brings it."""
        self._metrics.rejected.labels(rejected.source).inc()
        telling = asyncio.get_running_loop().run_in_executor(None, self._rejections.tell, rejected)
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    def _takers(self, kind: type[Event], live: bool) -> list[Callable[[Any], object]]:
        takers = self._of_type.get((kind, live))
        if takers is None:
            takers = self._of_type[kind, live] = [
                one.apply for one, live_only in self._subscribers if issubclass(kind, one.takes) and (live or not live_only)
            ]
        return takers
