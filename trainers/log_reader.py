"""Reads commands and models off the log into the trainer's fold, once they are proven, or rejects them (way 3, OPERATE)."""

from collections.abc import Sequence
from typing import Final

import structlog

from contracts.events import MessageRejected, SignedEvent
from contracts.ports import Record
from contracts.records import read, rejection
from producers.rejections import Rejections
from producers.signing import NotProven, Proofs
from trainers.model_log import ModelLog

STAGE: Final = "trainers"

log = structlog.get_logger()


class LogReader:
    """The only way from a record to the fold that the trainer acts on. Twice is harmless: the fold knows ids."""

    def __init__(self, model_log: ModelLog, rejections: Rejections, proofs: Proofs) -> None:
        """Keep the fold, what publishes rejections, and what proves records."""
        self._model_log = model_log
        self._rejections = rejections
        self._proofs = proofs

    def take(self, records: Sequence[Record]) -> None:
        """Fold some records; one that cannot be read, is not proven or cannot be folded is rejected, and stops nothing."""
        for record in records:
            event = read(record, STAGE)
            if isinstance(event, MessageRejected):
                self._rejections.tell(event)
            elif event is not None:
                try:
                    if isinstance(event, SignedEvent) and (why := self._proofs.against(record, event)) is not None:
                        log.warning("not proven, rejected", topic=record.topic, type=event.type, offset=record.offset, why=why)
                        raise NotProven(why)
                    self._model_log.apply(event)
                except Exception as wrong:  # noqa: BLE001 one bad event stops nothing
                    self._rejections.tell(rejection(record, STAGE, wrong))
