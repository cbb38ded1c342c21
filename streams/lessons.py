"""Follows the lessons of all partitions, outside any consumer group, and publishes the model that they make (way 2, LEARN).

Each process of the learning role follows them all, since receipts say what the model gave. The one that learns partition 0
publishes the snapshots, of its own following of all partitions: so whoever learns, the last snapshot has all lessons.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import structlog

from contracts.events import Event, LessonProbed, LessonTaught, MessageRejected, ReceiptProbed, now
from contracts.ports import Bus, Record
from contracts.records import read, rejection
from producers.rejections import Rejections
from streams.additive import NotASum
from streams.delivery import UnsentRecord
from streams.online_base import Base
from streams.online_model import InForce, OnlineModel, of_base

_log = structlog.get_logger()
STAGE: Final = "online"
_POLL_S: Final = 0.25
_GATHER_S: Final = 0.03
"""How long from one model to the next, at least: each is solved anew, and each is a record of 17 KB."""


class Lessons:
    """The online model as it is now, kept up to date with lessons.v1."""

    def __init__(
        self,
        base: Base,
        series: str,
        publish: Callable[[Iterable[UnsentRecord]], Awaitable[None]],
        publishes: Callable[[], bool],
    ) -> None:
        """Begin with the base.

        Args:
            base: The base of the online model.
            series: The series of lessons that count.
            publish: Sends records, and waits until the broker has them.
            publishes: Returns whether this process publishes the model now.
        """
        self._model = OnlineModel(base, series)
        self._now = of_base(base)
        self._taken = self._model.snapshot(self._now, now())
        """The snapshot of it."""
        self._tried = 0
        """The number of changes up to which the model was solved."""
        self._publish = publish
        self._publishes = publishes
        self._published: InForce | None = None
        """The model that was published last; None: none since this process began to publish."""

    def in_force(self) -> InForce:
        """Return the model as it answers now."""
        return self._now

    async def follow(self, connect: Callable[[], Bus]) -> None:
        """Read lessons.v1 from its start, for ever; records that cannot be read go to rejected.v1."""
        bus = await asyncio.to_thread(connect)
        rejections = Rejections(bus)
        tail = await asyncio.to_thread(bus.follow, [LessonTaught.topic], "start")
        known = False
        try:
            while True:
                probes, rejected = self.apply(await asyncio.to_thread(tail.poll, _POLL_S))
                for one in rejected:
                    await asyncio.to_thread(rejections.tell, one)
                if not known:
                    if not tail.caught_up():
                        continue
                    known, probes = True, []
                    _log.info("lessons known", lessons=self._model.known.lessons)
                await self._bring(probes)
        finally:
            tail.close()
            bus.close()

    def apply(self, records: Sequence[Record]) -> tuple[list[LessonProbed], list[MessageRejected]]:
        """Add the lessons that came; return the probes among them, and what is told of those that cannot be learned."""
        probes: list[LessonProbed] = []
        rejected: list[MessageRejected] = []
        for record in records:
            event = read(record, STAGE)
            try:
                match event:
                    case MessageRejected():
                        rejected.append(event)
                    case LessonTaught():
                        self._model.apply(event, record.partition, record.offset)
                    case LessonProbed():
                        probes.append(event)
            except Exception as wrong:  # noqa: BLE001 one bad lesson stops nothing
                rejected.append(rejection(record, STAGE, wrong))
        return probes, rejected

    async def _bring(self, probes: Sequence[LessonProbed]) -> None:
        """Put the model in force that the lessons so far make; publish it, and answer probes, if that is up to this process."""
        changed = self._model.known.changes != self._tried
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
        if self._published is not self._now:
            said.append(self._taken.model_copy(update={"at": now()}))
            self._published = self._now
        if said:
            await self._publish(map(UnsentRecord.of, said))
        if changed:
            await asyncio.sleep(_GATHER_S)
