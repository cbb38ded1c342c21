"""Reads commands and models off the log into the trainer's fold, once they are proven, or rejects them (way 3, OPERATE).

What is rejected on models.v1 may be the last record of its slot, and the broker keeps no other: a process that starts later
would know nothing of the slot. So the trainer that works says once more what stood before it (`restore`), with the number that
it has; and, once, what has no signature by its present key, being older than signatures or of a key that it had.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog

from contracts.events import Event, ExperimentLearned, MessageRejected, ModelsEvent, SignedEvent, SnapshotTaken
from contracts.ports import Record
from contracts.records import read, rejection
from producers.proven import ProvenModels
from producers.rejections import Rejections
from producers.signing import NotProven, Proofs, SigningBus
from trainers.model_log import ModelLog

STAGE: Final = "trainers"

log = structlog.get_logger()


class LogReader:
    """The only way from a record to the fold that the trainer acts on. Twice is harmless: the fold knows ids."""

    def __init__(self, model_log: ModelLog, rejections: Rejections, proofs: Proofs, signing: SigningBus | None = None) -> None:
        """Keep the fold, what publishes rejections, what proves records, and the bus that signs; None: nothing is restored."""
        self._model_log = model_log
        self._rejections = rejections
        self._proofs = proofs
        self._signing = signing
        self._models = ProvenModels(proofs, None if signing is None else signing.signer)
        self._standing: dict[bytes | None, ModelsEvent] = {}
        """What counts of each slot that the trainer writes, as it is on the log."""
        self._hidden: set[bytes | None] = set()
        """The keys of these whose last record does not count."""
        self._restored = False

    def take(self, records: Sequence[Record], *, leads: bool = False) -> None:
        """Fold some records; one that cannot be read, is not proven or cannot be folded is rejected, and stops nothing.

        Args:
            records: The records, of which online models' count as the newest of each does.
            leads: Whether this trainer writes models.v1: it knows what it has written, and folds of it online models alone.
        """
        online: list[tuple[Record, Event]] = []
        for record in records:
            event = read(record, STAGE)
            if not isinstance(event, ModelsEvent) and record.topic == ModelsEvent.topic and record.key in self._standing:
                self._hidden.add(record.key)
            if isinstance(event, MessageRejected):
                self._rejections.tell(event)
            elif isinstance(event, SnapshotTaken | ExperimentLearned):
                online.append((record, event))
            elif event is not None:
                self._trying(record, partial(self._fold, record, event, apply=not leads))
        newest, unproven = self._models.newest(online)
        for record, event in newest:
            self._trying(record, partial(self._model_log.apply, event))
        for record, why in unproven:
            self._rejections.tell(rejection(record, STAGE, why))

    def restore(self) -> None:
        """Say once more what somebody else's record has hidden on the log; to be called while this trainer leads."""
        if self._signing is None or not self._models.restores:
            return
        if not self._restored:
            again = self._signing.signer.again
            self._hidden |= {key for key, event in self._standing.items() if again(event) != event}
            self._restored = True
        for key in self._hidden:
            if not self._signing.signer.has_said_more(self._standing[key]):
                log.info("said again, as it was", slot=self._standing[key].slot)
                self._signing.again(self._standing[key])
        self._hidden.clear()

    def _trying(self, record: Record, fold: Callable[[], None]) -> None:
        try:
            fold()
        except Exception as wrong:  # noqa: BLE001 one bad event stops nothing
            self._rejections.tell(rejection(record, STAGE, wrong))

    def _fold(self, record: Record, event: Event, *, apply: bool) -> None:
        if isinstance(event, ModelsEvent):
            event = self._proven(record, event)
        elif isinstance(event, SignedEvent) and (why := self._proofs.against(record, event)) is not None:
            log.warning("not proven, rejected", topic=record.topic, type=event.type, offset=record.offset, why=why)
            raise NotProven(why)
        if apply:
            self._model_log.apply(event)

    def _proven(self, record: Record, event: ModelsEvent) -> Event:
        """Return an event as it is folded, and note what stands on the log. Raises `NotProven`."""
        try:
            bare = self._models.check(record, event)
        except NotProven:
            if record.key in self._standing:
                self._hidden.add(record.key)
            raise
        self._standing[record.key] = event
        self._hidden.discard(record.key)
        return bare
