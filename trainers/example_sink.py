"""Reads examples from the log and hands them in batches to the sinks that keep them (way 3, REBUILD).

A batch is written while the next one is read (docs/decisions/0052-the-archive-writes-while-it-reads.md).

A sink records its progress beside the examples that it keeps: in the names of the archive's objects, in the table of
observations itself. So each can be thrown away and fills again from the log, and none waits for another.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol, Self

import structlog

from contracts.events import ExampleLabelled, MessageRejected, now
from contracts.ports import Bus, Record
from contracts.records import read, rejection

log = structlog.get_logger()

TOPIC: Final = ExampleLabelled.topic
MAX_EXAMPLES: Final = 1000
MAX_BYTES: Final = 4 * 1024 * 1024
"""Bounds of a batch, in examples and in bytes on the log, since a sink holds it in memory."""
FEW: Final = 25
"""How many examples a batch of observations has while others play: a sixth of a second's work, then it is their turn."""
TURN_S: Final = 0.0003
"""How long a thread may hold the interpreter while another waits, in the process that archives: whoever writes waits after each
call of the system for whoever decodes."""
ACKNOWLEDGED_S: Final = 150.0
"""How long the broker may take to acknowledge an event, in seconds: longer than the bus tries."""
RUSH: Final = 40.0
"""From so many examples a second on, observations wait: each takes as much of the machine as answering its drawing."""
_LATELY_S: Final = 1.0
_LOOK_S: Final = 0.5
"""How long from one question whether there is a rush to the next: each costs some milliseconds."""
_REST_S: Final = 1.0
"""The longest rest after a batch: one that took longer waited for DynamoDB."""
LONGEST_S: Final = 900.0
"""How long observations wait for a rush to end at most."""
_FAULTS: Final = (ValueError, TypeError, ArithmeticError, LookupError)
"""What is raised because of an example; an outage raises none of them."""


@dataclass(frozen=True, slots=True)
class Placed:
    """An example with its place on the log; the example is None if the message could not be read."""

    offset: int
    example: ExampleLabelled | None


class ExampleSink(Protocol):
    """A place that keeps examples and knows up to which offset it has them."""

    def places(self) -> dict[int, int]:
        """Return the first offset that the sink does not have, by partition; a missing partition has nothing yet."""
        ...

    def lay(self, partition: int, batch: Iterable[Placed]) -> Callable[[], None]:
        """Lay a batch out, in the order of the log, and return what writes it, in any thread; both raise if they cannot.

        Each example is decoded as it is taken, so a sink need not hold them all.
        """
        ...


def catch_up(
    bus: Bus,
    sink: ExampleSink,
    stop: threading.Event | None = None,
    look: Callable[[], None] = lambda: None,
    rest: Callable[[float], object] | None = None,
) -> int:
    """Bring a sink up to where the topic ended when this was called.

    A message that is no example is rejected and skipped. Twice is harmless: the sink knows the next offset.

    Args:
        bus: The bus with the examples.
        sink: The sink to fill.
        stop: Ends the work early, between two batches.
        look: Is called between two batches; what it raises ends the work too.
        rest: Is called with the seconds that each batch took, once it is written, to leave the machine to others. Then no
            batch is laid out while another is written, and each has `FEW` examples at most. None: nobody is waited for.

    Returns:
        How many messages it took.
    """
    taken, most = 0, FEW if rest else MAX_EXAMPLES
    begin = {(TOPIC, partition): offset for partition, offset in sink.places().items()}
    waiting: dict[int, list[Record]] = {}
    with asyncio.Runner() as loop, _Writing(bus, sink) as writing:
        tail = loop.run(bus.listen([TOPIC], begin))  # the loop stands still between two polls, and nothing waits for it
        try:
            while not (stop and stop.is_set()):
                finished = tail.caught_up()
                for record in () if finished else loop.run(tail.poll(1.0)):
                    waiting.setdefault(record.partition, []).append(record)
                ready = [(one, batch) for one in sorted(waiting) for batch in batches(waiting[one], most, whole=not finished)]
                for partition, batch in ready:
                    began = time.monotonic()
                    writing.keep(partition, batch)
                    taken += len(batch)
                    if rest:
                        writing.finish()
                        rest(time.monotonic() - began)
                    if stop and stop.is_set():
                        break
                    look()
                if finished:
                    break
            writing.finish()
        finally:
            loop.run(tail.close())
    return taken


class _Writing:
    """Writes a batch in a thread of its own while the next one is read and laid out.

    One is written at a time and at most one more is laid out, so what is written follows the order of the log, and no more than
    two are held. At the end of the context nothing is being written any more.
    """

    def __init__(self, bus: Bus, sink: ExampleSink) -> None:
        self._bus, self._sink, self._stage = bus, sink, stage_of(sink)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=self._stage)
        self._under_way: tuple[int, Sequence[Record], Future[None]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def keep(self, partition: int, batch: Sequence[Record]) -> None:
        """Lay a batch out and begin to write it; raises if the one before could not be written."""
        try:
            write = _laid(self._bus, self._sink, self._stage, partition, batch)
        except _FAULTS:
            self.finish()
            _keep(self._bus, self._sink, self._stage, partition, batch)
        else:
            self.finish()
            context = copy_context()  # so that its log lines say which service
            self._under_way = partition, batch, self._thread.submit(context.run, write)

    def finish(self) -> None:
        """Wait until what was laid out is written; raises if it could not be."""
        if self._under_way is None:
            return
        (partition, batch, written), self._under_way = self._under_way, None
        try:
            written.result()
        except _FAULTS:
            _keep(self._bus, self._sink, self._stage, partition, batch)


class PutOff(Exception):
    """So many players draw that what nobody waits for is put off; or somebody waits for whoever writes to end."""


def rushing(bus: Bus) -> bool:
    """Return whether `RUSH` or more examples a second came lately."""
    tail = bus.follow([TOPIC], now() - timedelta(seconds=_LATELY_S))
    try:
        ends, begins = tail.ends(), tail.positions()
    finally:
        tail.close()
    return sum(ends.values()) - sum(begins.values()) >= RUSH * _LATELY_S


class Sinks:
    """Archive and observations, each brought up to the log by one thread at a time."""

    def __init__(
        self,
        bus: Bus,
        archive: ExampleSink,
        observations: ExampleSink,
        prepare: Callable[[], None],
        tidy: Callable[[], object],
        stop: threading.Event,
    ) -> None:
        """Keep the sinks; ``prepare`` makes the place of observations if need be, ``tidy`` merges the archive."""
        self._bus, self._archive, self._observations = bus, archive, observations
        self._prepare, self._tidy, self._stop = prepare, tidy, stop
        self._archiving, self._observing = threading.RLock(), threading.RLock()
        self._wanted = threading.Event()
        """Set while somebody waits for both."""
        self._observed_at = time.monotonic()
        """When the observations were last known to be up to date."""

    def archive(self, look: Callable[[], None] = lambda: None) -> int:
        """Bring the archive up to the log's end; return how many messages it took. ``look`` raises to end it in the middle."""
        with self._archiving:
            return catch_up(self._bus, self._archive, self._stop, look)

    def archive_and_tidy(self) -> int:
        """Bring the archive up to the log's end, then merge what is over; return how many messages it took."""
        with self._archiving:
            taken = self.archive()
            self._tidy()
            return taken

    def observe(self) -> int:
        """Bring the observations up to the log's end; return how many messages they took."""
        with self._observing:
            return self._observe(lambda: None)

    def observe_in_calm(self) -> int:
        """Do as `observe`, unless there is a rush, or until one begins; none is waited for longer than `LONGEST_S`.

        After each batch it rests for as long as that took, so that whoever plays has half of the machine; and it ends when
        `held` is waited for.
        """
        looked_at = -math.inf

        def look() -> None:
            nonlocal looked_at
            if self._wanted.is_set():
                raise PutOff
            now = time.monotonic()
            if now < self._observed_at + LONGEST_S and now >= looked_at + _LOOK_S:
                looked_at = now
                if rushing(self._bus):
                    raise PutOff

        try:
            look()
            with self._observing:
                return self._observe(look, lambda took_s: self._wanted.wait(min(took_s, _REST_S)))
        except PutOff:
            log.info("observations wait")
            return 0

    def _observe(self, look: Callable[[], None], rest: Callable[[float], object] | None = None) -> int:
        self._prepare()
        taken = catch_up(self._bus, self._observations, self._stop, look, rest)
        self._observed_at = time.monotonic()
        return taken

    @contextmanager
    def held(self) -> Iterator[None]:
        """Bring both up to the log's end, and let nothing come as long as the context lasts."""
        self._wanted.set()
        with self._archiving, self._observing:
            self._wanted.clear()
            self.archive()
            self.observe()
            yield


def batches(waiting: list[Record], most: int, whole: bool) -> Iterator[list[Record]]:
    """Take batches of at most ``most`` examples and `MAX_BYTES` off ``waiting``; the last may be smaller unless only ``whole``
    ones are wanted. A record larger than the bound is a batch of its own."""
    start, size = 0, 0
    for at, record in enumerate(waiting):
        if at > start and (at - start >= most or size + _size(record) > MAX_BYTES):
            yield waiting[start:at]
            start, size = at, 0
        size += _size(record)
    if not whole and start < len(waiting):
        yield waiting[start:]
        start = len(waiting)
    del waiting[:start]


def stage_of(sink: ExampleSink) -> str:
    """Return the stage that a rejection names when a sink cannot keep a record."""
    return f"trainers.{type(sink).__name__.lower()}"


def _keep(bus: Bus, sink: ExampleSink, stage: str, partition: int, batch: Sequence[Record]) -> None:
    """Keep a batch; an example that the sink cannot hold is rejected, and the others are kept without it."""
    try:
        _laid(bus, sink, stage, partition, batch)()
    except _FAULTS as wrong:
        if len(batch) > 1:
            for record in batch:
                _keep(bus, sink, stage, partition, [record])
            return
        [record] = batch
        if not isinstance(read(record, stage), ExampleLabelled):
            raise
        _tell(bus, rejection(record, stage, wrong))
        sink.lay(partition, [Placed(record.offset, None)])()


def _laid(bus: Bus, sink: ExampleSink, stage: str, partition: int, batch: Sequence[Record]) -> Callable[[], None]:
    return sink.lay(partition, (_placed(bus, stage, record) for record in batch))


def _tell(bus: Bus, rejected: MessageRejected) -> None:
    where = {"topic": rejected.source, "partition": rejected.source_partition, "offset": rejected.source_offset}
    log.warning("message rejected", stage=rejected.stage, error=rejected.error[:300], **where)
    bus.publish(rejected).result(ACKNOWLEDGED_S)


def _size(record: Record) -> int:
    return len(record.value or b"")


def _placed(bus: Bus, stage: str, record: Record) -> Placed:
    event = read(record, stage)
    if isinstance(event, MessageRejected):
        _tell(bus, event)
    return Placed(record.offset, event if isinstance(event, ExampleLabelled) else None)
