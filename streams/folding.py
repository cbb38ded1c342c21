"""One step of a fold: records in; state, offsets and outgoing events in one transaction (way 2, LEARN). No Faust here."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import structlog

from contracts.events import Event, MessageRejected
from contracts.ports import Cells, Record
from contracts.records import read, rejection
from streams.ledger import Ledger, LedgerTaken

_log = structlog.get_logger()
_NOT_OF_A_RECORD: Final = (sqlite3.Error, LedgerTaken, OSError)
"""What fails for the state's sake, and not for that of what is folded in: it ends the process."""


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
        """Write what memory holds to the cells: called once a step, in its transaction. Gives what is said once a step.

        Raises:
            Exception: The step's records are folded in one by one, after `close` and `open`; one that fails alone is rejected.
        """
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
    decided is rejected, and the next one is handled. If the step as a whole fails, its records are folded in one by one from
    what the ledger holds, so that whichever is to blame is rejected too.
    """
    news = [record for record in records if record.offset > ledger.offset(record.topic)]
    try:
        _step(ledger, fold, partition, news)
    except _NOT_OF_A_RECORD:
        raise
    except Exception:  # noqa: BLE001 one bad message stops nothing: find it
        _log.exception("step failed, its records are folded in one by one", fold=fold.name, partition=partition)
        _again(ledger, fold, partition)
        for record in news:
            try:
                _step(ledger, fold, partition, [record])
            except _NOT_OF_A_RECORD:
                raise
            except Exception as wrong:  # noqa: BLE001 one bad message stops nothing
                _again(ledger, fold, partition)
                with ledger.step():
                    ledger.post([told(rejection(record, fold.name, wrong))])
                    ledger.move(record.topic, record.offset)


def _step(ledger: Ledger, fold: Fold, partition: int, records: Sequence[Record]) -> None:
    with ledger.step():
        folded = False
        for record in records:
            if record.offset <= ledger.offset(record.topic):
                continue
            folded = True
            ledger.post(_decide(ledger, fold, partition, record))
            ledger.move(record.topic, record.offset)
        if folded:
            ledger.post(fold.settle(ledger, partition))


def _again(ledger: Ledger, fold: Fold, partition: int) -> None:
    """What a fold holds in memory is of a step that failed: it reads the ledger again."""
    fold.close(partition)
    begin(ledger, fold, partition)


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
