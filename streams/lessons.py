"""Follows the lessons of all partitions, outside any consumer group, and publishes the model that they make (way 2, LEARN).

Each process of the learning role follows them all, since receipts say what the model gave. The one that learns partition 0
publishes the snapshots, of its own following of all partitions: so whoever learns, the last snapshot has all lessons.

While an operator has frozen the model, nothing newer is published: the last snapshot on models.v1 is what answers, in every
process and after every restart. Lessons are added up all the same, so that all of them are in force when it is thawed.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import structlog

from contracts.events import (
    CommandsEvent,
    Event,
    LearningSet,
    LessonProbed,
    LessonsForgotten,
    LessonTaught,
    MessageRejected,
    ReceiptProbed,
    SnapshotTaken,
    now,
)
from contracts.ports import Bus, LoopBus, Record
from contracts.records import read, rejection
from producers.pace import Pace
from producers.proven import ProvenModels
from producers.rejections import Rejections
from producers.signing import NotProven
from producers.whole_log import all_records
from streams.additive import NotASum
from streams.delivery import UnsentRecord
from streams.lesson_lines import forgotten_of
from streams.online_base import Base
from streams.online_model import SHARED, InForce, OnlineModel, OutOfSequence, of_base, stands_still

_log = structlog.get_logger()
STAGE: Final = "online"
_MOST_GAPPED: Final = 50_000
"""How many lessons behind a gap are kept until the gap is explained; the oldest go first."""
_POLL_S: Final = 0.25
_MODELS: Final = partial(Pace, rush=15, rush_s=0.03, calm_s=0.005)
"""How long to gather lessons after a model: each is solved anew, and each is a record of 17 KB."""
_KNOWN_S: Final = 5.0
_SNAPSHOT: Final = SHARED.encode()
"""The key of the model's snapshots on models.v1."""
_LEARNING: Final = LearningSet(model=SHARED, frozen=True).record_key()
"""The key by which its learning is frozen and thawed."""


class Lessons:
    """The online model as it is now, kept up to date with lessons.v1."""

    def __init__(
        self,
        base: Base,
        series: str,
        publish: Callable[[Iterable[UnsentRecord]], Awaitable[None]],
        publishes: Callable[[], bool],
        proven: ProvenModels | None = None,
    ) -> None:
        """Begin with the base.

        Args:
            base: The base of the online model.
            series: The series of lessons that count.
            publish: Sends records, and waits until the broker has them.
            publishes: Returns whether this process publishes the model now.
            proven: Says which records of models.v1 count, and the trainer tells of the others; None: all do.
        """
        self._proven = ProvenModels(None) if proven is None else proven
        self._base = base
        self._model = OnlineModel(base, series)
        self._now = of_base(base)
        self._taken = self._model.snapshot(self._now, now())
        """The snapshot of it."""
        self._tried = 0
        """The number of changes up to which the model was solved."""
        self._publish = publish
        self._publishes = publishes
        self._gapped: dict[Record, MessageRejected] = {}
        """The records behind a gap that nothing has explained yet, and what is told of each."""
        self._published: InForce | None = None
        """The model that was published last; None: none since this process began to publish."""
        self._last: Record | None = None
        """The newest snapshot on models.v1, whoever published it; it is only read when the model is frozen."""
        self._known = asyncio.Event()
        """Set once all that was on the log at the start is known."""
        self._pace = _MODELS()
        self._frozen: InForce | None = None
        """The model that answers while its learning is frozen; None: it learns."""

    def in_force(self) -> InForce:
        """Return the model as it answers now."""
        return self._now if self._frozen is None else self._frozen

    async def known(self) -> None:
        """Wait until the model that answers is known, `_KNOWN_S` at most: receipts say what it gives, and if it is frozen."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._known.wait(), _KNOWN_S)

    async def follow(self, connect: Callable[[], LoopBus]) -> None:
        """Read lessons.v1 and models.v1 from their start, for ever; records that cannot be read go to rejected.v1."""
        bus = await asyncio.to_thread(connect)
        rejections = Rejections(bus)
        await asyncio.to_thread(self._proven.begin, bus)
        tail = await bus.listen([LessonTaught.topic, LearningSet.topic, *self._proven.topics], {})
        known = looked = False
        try:
            while True:
                probes, rejected = self.apply(await tail.poll(_POLL_S))
                if self._gapped and not known and not looked:
                    looked = True
                    rejected = without(rejected, self.explain(await asyncio.to_thread(explanations, bus)))
                behind = not known and not tail.caught_up()
                if not known:  # what is behind a gap is told once the end of the log is reached, unless it is explained
                    unexplained = list(self._gapped.values())
                    rejected = [*(() if behind else unexplained), *without(rejected, unexplained)]
                for one in rejected:
                    await asyncio.to_thread(rejections.tell, one)
                if not known:
                    if behind:
                        continue
                    known, probes = True, []
                    self._known.set()
                    _log.info("lessons known", lessons=self._model.known.lessons, frozen=self._frozen is not None)
                await self._bring(probes)
        finally:
            await tail.close()
            bus.close()

    def apply(self, records: Sequence[Record]) -> tuple[list[LessonProbed], list[MessageRejected]]:
        """Add the lessons that came; return the probes among them, and what is told of those that cannot be learned."""
        probes: list[LessonProbed] = []
        rejected: list[MessageRejected] = []
        snapshots, learning = [], None
        for record in records:
            if record.topic == CommandsEvent.topic:
                self._proven.hear([record])
                continue
            if record.topic == LearningSet.topic:
                if record.key == _SNAPSHOT:
                    snapshots.append(record)
                if record.key != _LEARNING:
                    continue  # it is the router that reads all of it
            event = read(record, STAGE)
            try:
                match event:
                    case MessageRejected():
                        rejected.append(event)
                    case LessonTaught():
                        self._model.apply(event, record.partition, record.offset)
                    case LessonsForgotten():
                        rejected = without(rejected, self._explain(event, record))
                    case LessonProbed():
                        probes.append(event)
                    case LearningSet():
                        self._proven.check(record, event)
                        learning = event
            except NotProven:
                continue
            except OutOfSequence as gap:
                rejected += self._wait(record, gap)
            except Exception as wrong:  # noqa: BLE001 one bad lesson stops nothing
                rejected.append(rejection(record, STAGE, wrong))
        self._stand(self._newest(snapshots), learning)
        return probes, rejected

    def _newest(self, snapshots: Sequence[Record]) -> Record | None:
        """Return the newest snapshot that counts; if others have hidden it on the log, it is published once more."""
        if not self._proven.proves:
            return snapshots[-1] if snapshots else self._last
        readings = [(one, event) for one in snapshots if isinstance(event := read(one, STAGE), SnapshotTaken)]
        counting, unproven = self._proven.newest(readings)
        if (unproven or len(readings) < len(snapshots)) and self._proven.restores:
            self._published = None
        return counting[-1][0] if counting else self._last

    def _stand(self, snapshot: Record | None, learning: LearningSet | None) -> None:
        """Freeze or thaw the model, and keep to the newest snapshot while it is frozen: that is the one that answers."""
        news, self._last = snapshot is not self._last, snapshot
        frozen = self._frozen is not None if learning is None else learning.frozen
        if not frozen:
            self._frozen = None
        elif self._frozen is None or news:
            self._frozen = self._standing(snapshot)
        if learning is not None:
            _log.info("learning frozen" if frozen else "learning thawed", model=SHARED, by=learning.by, why=learning.note)

    def _standing(self, record: Record | None) -> InForce:
        """Return the frozen model of a snapshot, or the frozen base if the snapshot is missing or of another kind."""
        taken = None if record is None else read(record, STAGE)
        try:
            return stands_still(taken if isinstance(taken, SnapshotTaken) else None, self._base)
        except ValueError as wrong:
            _log.error("a frozen model of another kind: receipts say what the base gives", error=str(wrong))
            return stands_still(None, self._base)

    def _wait(self, record: Record, gap: OutOfSequence) -> list[MessageRejected]:
        """Keep a record that is behind a gap: an event that comes later may explain the gap. Return what is told of it.

        At the start, of which nothing is told before the end of the log, that may be of another, which there is no room for.
        """
        left = [] if len(self._gapped) < _MOST_GAPPED else [self._gapped.pop(next(iter(self._gapped)))]
        self._gapped[record] = rejection(record, STAGE, gap)
        return [self._gapped[record], *([] if self._known.is_set() else left)]

    def explain(self, records: Sequence[Record]) -> list[MessageRejected]:
        """Take note of lessons that are missing by what is further on in the log; return whose gap was explained by it.

        Without that all lessons behind a gap would have to wait in memory until the log is read to where the gap is explained.
        """
        for record in records:
            if (event := forgotten_of(record, STAGE)) is not None:
                self._model.explain(event, record.partition)
        return [one for partition in sorted({record.partition for record in records}) for one in self._retry(partition)]

    def _explain(self, event: LessonsForgotten, record: Record) -> list[MessageRejected]:
        """Take note of missing lessons, and add those of the partition that waited behind the gap; return their rejections."""
        with suppress(OutOfSequence):
            self._model.forget(event, record.partition, record.offset)
        explained = self._retry(record.partition)
        self._model.forget(event, record.partition, record.offset)
        return explained

    def _retry(self, partition: int) -> list[MessageRejected]:
        """Add what waited behind a gap of a partition, as far as it is explained now; return its rejections."""
        explained: list[MessageRejected] = []
        for one in sorted((one for one in self._gapped if one.partition == partition), key=lambda one: one.offset):
            gapped = read(one, STAGE)
            with suppress(OutOfSequence):
                if isinstance(gapped, LessonTaught):
                    self._model.apply(gapped, one.partition, one.offset)
                elif isinstance(gapped, LessonsForgotten):
                    self._model.forget(gapped, one.partition, one.offset)
                explained.append(self._gapped.pop(one))
        return explained

    async def _bring(self, probes: Sequence[LessonProbed]) -> None:
        """Put the model in force that the lessons so far make; publish it, and answer probes, if that is up to this process."""
        changed = self._frozen is None and self._model.known.changes != self._tried
        if changed:
            self._tried = self._model.known.changes
            try:
                self._now = await asyncio.to_thread(self._model.in_force)
                self._taken = self._model.snapshot(self._now, now())
            except NotASum as wrong:
                _log.error("lessons that make no model: the last one stays", changes=self._tried, error=str(wrong))
        if not self._publishes():
            self._published = None
            return
        said: list[Event] = [
            ReceiptProbed(probe_id=probe.probe_id, player_id=probe.player_id, stage="learner", at=now()) for probe in probes
        ]
        if self._frozen is None and self._published is not self._now:
            said.append(self._taken.model_copy(update={"at": now()}))
            self._published = self._now
        if said:
            await self._publish(map(UnsentRecord.of, said))
        if changed:
            await asyncio.sleep(self._pace.wait_s(1, time.monotonic()))


def without(rejected: Sequence[MessageRejected], others: Sequence[MessageRejected]) -> list[MessageRejected]:
    """Return the rejections that are not among the others, in their order."""
    ids = {one.rejection_id for one in others}
    return [one for one in rejected if one.rejection_id not in ids]


def explanations(bus: Bus) -> list[Record]:
    """Return the records on the log by which lessons are missing, of all partitions.

    Raises:
        BusError: If the log cannot be read.
    """
    return [record for record in all_records(bus, [LessonTaught.topic]) if forgotten_of(record, STAGE) is not None]
