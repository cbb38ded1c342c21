"""One step of a fold: records in; state, offsets and outgoing events in one transaction (way 2, LEARN). No Faust here."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import structlog

from contracts.events import Event, MessageRejected
from contracts.ports import Cells, Record
from contracts.records import read, rejection
from streams.ledger import Ledger

_log = structlog.get_logger()


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
            said = _decide(ledger, fold, partition, record)
            ledger.post(said)
            ledger.move(record.topic, record.offset)
        if news:
            ledger.post(fold.settle(ledger, partition))


def _decide(ledger: Ledger, fold: Fold, partition: int, record: Record) -> list[Event]:
    event = read(record, fold.name)
    if isinstance(event, MessageRejected):
        return [told(event)]
    if event is None:
        return []
    try:
        with ledger.attempt():
            return list(fold.decide(ledger, event, partition, record.offset))
    except Exception as wrong:  # noqa: BLE001 one bad message stops nothing
        return [told(rejection(record, fold.name, wrong))]


def told(rejected: MessageRejected) -> MessageRejected:
    """A rejection, once it is in the process's own log too."""
    where = {"topic": rejected.source, "partition": rejected.source_partition, "offset": rejected.source_offset}
    _log.warning("message rejected", stage=rejected.stage, error=rejected.error, **where)
    return rejected
