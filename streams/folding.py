"""One step of a fold: records in; state, offsets and outgoing events in one transaction (way 2, LEARN). No Faust here."""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import structlog

from contracts.events import Event, MessageRejected, decode
from contracts.ports import Cells, Record
from streams.ledger import Ledger

_log = structlog.get_logger()
MAX_REJECTED_BYTES: Final = 700_000
"""Of a message kept in MessageRejected, so that it passes the broker's limit as base64."""


class Fold(Protocol):
    """A state that is a function of topics, and what it has to say as it changes. Values in, events out.

    Every method is called by one task, one partition at a time. State lives in the cells: what is kept in memory beside them is
    a copy that `open` reads and `settle` writes.
    """

    @property
    def name(self) -> str:
        """Of its state files."""
        ...

    @property
    def sources(self) -> tuple[str, ...]:
        """The topics that it reads, of one number of partitions; partition n of all of them meets on one worker."""
        ...

    def open(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Take up a partition: nothing in memory of it is valid any more. Gives what is worth saying again."""
        ...

    def decide(self, cells: Cells, event: Event, partition: int, offset: int) -> Iterable[Event]:
        """Fold one event in. Offsets are those of the event's own topic and rise; each is given once.

        Raises:
            Exception: The event becomes a MessageRejected and its cells are put back; so change memory last, after all that
                can fail.
        """
        ...

    def settle(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Write what memory holds to the cells: called once a step, in its transaction. Gives what is said once a step."""
        ...

    def close(self, partition: int) -> None:
        """Let go of a partition, whose cells can be read no more: another process may have it from here on."""
        ...


def begin(ledger: Ledger, fold: Fold, partition: int) -> None:
    """Take up a partition where its ledger says."""
    with ledger.step():
        ledger.post(fold.open(ledger, partition))


def advance(ledger: Ledger, fold: Fold, partition: int, records: Sequence[Record]) -> None:
    """Fold records of one partition in, in one transaction; what they cause waits in the ledger's outbox.

    A record at or below the offset of its topic in the ledger has been folded in: twice is once. One that cannot be read or
    decided is rejected, and the next one is handled.
    """
    with ledger.step():
        news = False
        for record in records:
            if record.offset <= ledger.offset(record.topic):
                continue
            news = True
            try:
                event = decode(record.topic, record.value)
                with ledger.attempt():
                    said = list(fold.decide(ledger, event, partition, record.offset))
            except Exception as wrong:  # noqa: BLE001 one bad message stops nothing
                said = [rejected(record, fold.name, wrong)]
            ledger.post(said)
            ledger.move(record.topic, record.offset)
        if news:
            ledger.post(fold.settle(ledger, partition))


def rejected(record: Record, stage: str, wrong: Exception) -> MessageRejected:
    """What becomes of a message that ``stage`` could not handle."""
    error = f"{type(wrong).__name__}: {wrong}"[:2000]
    if len(record.value) > MAX_REJECTED_BYTES:
        error = f"only the first {MAX_REJECTED_BYTES} of {len(record.value)} bytes are kept; {error}"
    where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    _log.warning("message rejected", stage=stage, error=error, **where)
    return MessageRejected(
        source=record.topic,
        source_partition=record.partition,
        source_offset=record.offset,
        source_key=record.key,
        value=record.value[:MAX_REJECTED_BYTES],
        stage=stage,
        error=error,
    )
